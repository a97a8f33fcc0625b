/* Tables for TeX. */
#include "config.h"

#include "paper/paper_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void interval(FILE *out, const struct claims_result *r)
{
  tex_number(out, r->statistic, 3);
  if (isnan(r->low))
    return;
  fputs(" [", out);
  tex_number(out, r->low, 3);
  fputs(", ", out);
  tex_number(out, r->high, 3);
  fputs("]", out);
}

void paper_claims_table(const struct paper *p, FILE *out)
{
  fputs("\\begin{ClaimsTable}\n", out);
  for (size_t i = 0; i < p->n_claims; i++) {
    const struct claims_row *row = &p->claims[i];
    const struct claims_result *r = &row->result;
    tex_text(out, row->claim->name);
    fputs(" & ", out);
    tex_text(out, row->claim->text);
    fprintf(out, " & %s & ", tex_verdict(r->verdict));
    if (r->verdict <= CLAIMS_UNDECIDED) {
      interval(out, r);
      fprintf(out, " & $%c %g$ & %zu %s%s", row->claim->greater ? '>' : '<', row->claim->bound,
              r->n_units, row->claim->unit, r->n_units == 1 ? "" : "s");
    } else {
      fputs("& &", out);
    }
    fputs(" \\\\\n", out);
  }
  fputs("\\end{ClaimsTable}\n", out);
}

void paper_assumptions_table(const struct paper *p, FILE *out)
{
  size_t n;
  const struct paper_assumption *v = paper_assumptions(p, &n);
  fputs("\\begin{AssumptionsTable}\n", out);
  for (size_t i = 0; i < n; i++) {
    if (!i || strcmp(v[i].file, v[i - 1].file)) {
      fputs("\\AssumptionsFile{", out);
      tex_text(out, v[i].file);
      fputs("}\n", out);
    }
    tex_words(out, v[i].block);
    fputs(" & \\raggedright\\ttfamily ", out);
    tex_words(out, v[i].what);
    fputs(" & ", out);
    tex_text(out, v[i].why);
    fputs(" \\\\\n", out);
  }
  fputs("\\end{AssumptionsTable}\n", out);
}

static void define(FILE *out, const char *name, const char *value)
{
  fprintf(out, "\\newcommand{\\%s}{", name);
  tex_text(out, value);
  fputs("}\n", out);
}

static unsigned verdicts(const struct paper *p, enum claims_verdict v)
{
  unsigned n = 0;
  for (size_t i = 0; i < p->n_claims; i++)
    n += p->claims[i].result.verdict == v;
  return n;
}

static void write_numbers(const struct paper *p, size_t figures, const struct paper_cost *all,
                          FILE *out)
{
  static const struct {
    const char *name;
    enum claims_verdict verdict;
  } counts[] = {{"ClaimsPass", CLAIMS_PASS},
                {"ClaimsFail", CLAIMS_FAIL},
                {"ClaimsUndecided", CLAIMS_UNDECIDED},
                {"ClaimsNotJudged", CLAIMS_NOT_JUDGED},
                {"ClaimsNotAvailable", CLAIMS_NOT_AVAILABLE}};
  size_t n_assumed;
  char *folder = realpath(p->figures, NULL);
  fprintf(out, "\\graphicspath{{%s/}}\n", folder ? folder : p->figures);
  free(folder);
  define(out, "Tier", p->tier);
  define(out, "Version", PACKAGE_VERSION);
  fprintf(out, "\\newcommand{\\FigureCount}{%zu}\n", figures);
  fprintf(out, "\\newcommand{\\ClaimCount}{%zu}\n", p->n_claims);
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    fprintf(out, "\\newcommand{\\%s}{%u}\n", counts[i].name, verdicts(p, counts[i].verdict));
  paper_assumptions(p, &n_assumed);
  fprintf(out, "\\newcommand{\\AssumptionCount}{%zu}\n", n_assumed);
  fprintf(out, "\\newcommand{\\StepCount}{%u}\n", all->steps);
  fprintf(out, "\\newcommand{\\OptimizerSteps}{%.0f}\n", all->optimizer_steps);
  fprintf(out, "\\newcommand{\\TotalMinutes}{%.1f}\n", all->seconds / 60);
  fprintf(out, "\\newcommand{\\TotalMegabytes}{%.0f}\n", all->bytes / 1e6);
  if (all->memory > 0)
    fprintf(out, "\\newcommand{\\WorkerMemory}{%.0f\\,MB}\n", all->memory / 1e6);
  else
    define(out, "WorkerMemory", "an unknown amount");
  const struct ast_block *tier = p->dsl->n_tiers ? p->dsl->tiers[p->dsl->n_tiers - 1] : NULL;
  define(out, "TierTitle", tier && tier->title.text ? tier->title.text : "");
}

static void cost_row(FILE *out, const struct paper_cost *c)
{
  fprintf(out, " & %u & %.0f & %.0f & %.0f & %.1f & ", c->steps, c->optimizer_steps, c->seconds,
          c->alone, c->bytes / 1e6);
  if (c->memory > 0)
    fprintf(out, "%.0f", c->memory / 1e6);
  else
    fputs("unknown", out);
  fputs(" \\\\\n", out);
}

bool paper_artifact(const struct paper *p, FILE *out, FILE *numbers, struct diag *d)
{
  size_t n;
  const struct paper_cost *costs = paper_costs(p, &n, d);
  fputs("\\begin{CostTable}\n", out);
  for (size_t i = 0; i < n; i++) {
    fprintf(out, "%u & ", costs[i].figure->number);
    tex_text(out, costs[i].figure->title);
    cost_row(out, &costs[i]);
  }
  fputs("\\midrule\n & all together, what is shared once", out);
  cost_row(out, &costs[n]);
  fputs("\\end{CostTable}\n", out);
  write_numbers(p, n, &costs[n], numbers);
  return !diag_errors(d);
}
