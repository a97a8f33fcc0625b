/* The report: claims, figures with their code and provenance, costs and assumptions as one
 * page that needs nothing else. */
#include "config.h"

#include "paper/report_int.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const verdict_class[] = {[CLAIMS_PASS] = " pass",
                                            [CLAIMS_FAIL] = " fail",
                                            [CLAIMS_UNDECIDED] = " undecided",
                                            [CLAIMS_NOT_JUDGED] = "",
                                            [CLAIMS_NOT_AVAILABLE] = ""};

static const char *id_of(const struct report *r, size_t figure)
{
  return plan_figure_id(r->p->arena, r->costs[figure].figure);
}

static uint32_t file_of(const struct report *r, size_t figure)
{
  return plan_step(r->p->plan, r->costs[figure].step)->origin.span.file;
}

static void verdict(const struct report *r, enum claims_verdict v)
{
  fprintf(r->out, "<span class=\"verdict%s\">%s</span>", verdict_class[v], claims_verdict_name(v));
}

void report_table(const struct report *r, const char *label, const char *caption)
{
  fprintf(r->out,
          "<div class=wide role=region tabindex=0 aria-label=\"%s\">\n<table>\n"
          "<caption>%s</caption>\n<thead><tr class=head>",
          label, caption);
}

void report_section(const struct report *r, const char *id, const char *title)
{
  fprintf(r->out, "<section id=%s aria-labelledby=h-%s>\n<h2 id=h-%s>%s</h2>\n", id, id, id,
          title);
}

/* ---- claims ---- */

static void claim_figures(const struct report *r, const struct plan_claim *c)
{
  size_t said = 0;
  for (size_t f = 0; f < r->n; f++)
    if (file_of(r, f) == c->span.file)
      fprintf(r->out, "%s<a href=\"#%s\">Figure&nbsp;%u</a>", said++ ? ", " : "", id_of(r, f),
              r->costs[f].figure->number);
  if (!said)
    fputs("not drawn", r->out);
}

/* What the claim's file says, which is easier to read than the statistic as it is compiled. */
static void expected(const struct report *r, const struct plan_claim *c)
{
  const struct ast_program *program = r->p->program;
  size_t length;
  const char *text = source_text(program->sources, c->span.file, &length);
  for (size_t i = 0; i < program->n_blocks; i++) {
    const struct ast_block *b = &program->blocks[i];
    for (size_t s = 0; s < b->n_stmts; s++) {
      if (b->kind != AST_CLAIM || b->stmts[s].kind != AST_EXPECT || strcmp(b->name.text, c->name))
        continue;
      const struct span span = b->stmts[s].value->span;
      fputs("<br><code class=soft>", r->out);
      html_bytes(r->out, text + span.begin, span.end - span.begin);
      fputs("</code>", r->out);
    }
  }
}

/* A cell that says what it is where the table is too narrow for columns.  Of "0.12 [0.10, 0.15]"
 * and "8 seed-epochs" a line may end at the first space alone. */
static void cell(const struct report *r, const char *label, const char *text)
{
  const size_t n = strcspn(text, " ");
  fprintf(r->out, "</td><td role=cell data-is=\"%s\">", label);
  html_bytes(r->out, text, n);
  if (!text[n])
    return;
  fputs(" <span class=line>", r->out);
  html_text(r->out, text + n + 1);
  fputs("</span>", r->out);
}

static void claim_row(const struct report *r, const struct claims_row *row)
{
  FILE *out = r->out;
  struct arena *a = r->p->arena;
  const struct plan_claim *c = row->claim;
  const char *notes[CLAIMS_MAX_NOTES];
  const size_t n = claims_notes(a, row, notes);
  const bool judged = row->result.verdict <= CLAIMS_UNDECIDED;
  fprintf(out, "<tr role=row class=v%d id=\"claim-", row->result.verdict);
  html_text(out, c->name);
  fputs("\"><th scope=row role=rowheader>", out);
  html_text(out, c->name);
  fputs("</th><td role=cell>", out);
  verdict(r, row->result.verdict);
  fputs("</td><td role=cell class=text>", out);
  html_text(out, c->text);
  expected(r, c);
  for (size_t i = 0; i < n; i++) {
    fputs("<br><span class=soft>", out);
    html_text(out, notes[i]);
    fputs("</span>", out);
  }
  if (c->omitted) {
    fputs("<br><span class=soft>", out);
    html_text(out, c->omitted);
    fputs("</span>", out);
  }
  cell(r, "Statistic [interval]", judged ? claims_interval_text(a, &row->result) : "–");
  cell(r, "Claimed", claims_bound_text(a, c));
  cell(r, "Units", judged ? claims_units_text(a, c, row->result.n_units) : "–");
  cell(r, "Figure", "");
  claim_figures(r, c);
  fputs("</td></tr>\n", out);
}

static size_t count(const struct report *r, int v)
{
  size_t n = 0;
  for (size_t i = 0; i < r->p->n_claims; i++)
    n += (int)r->p->claims[i].result.verdict == v;
  return n;
}

/* It is no table any more where its rows are laid out as blocks, unless roles say so. */
static void claims_head(const struct report *r)
{
  static const char *const columns[] = {"Claim", "Verdict", "What is claimed",
                                        "Statistic [interval]", "Claimed", "Units", "Figure"};
  fputs("<div class=wide>\n<table class=claims role=table>\n"
        "<caption>What the paper says, and what these results say of it</caption>\n"
        "<thead role=rowgroup><tr class=head role=row>",
        r->out);
  for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
    fprintf(r->out, "<th scope=col role=columnheader>%s</th>", columns[i]);
  fputs("</tr></thead>\n<tbody role=rowgroup>\n", r->out);
}

static void claims(const struct report *r)
{
  FILE *out = r->out;
  report_section(r, "claims", "Claims");
  fprintf(out,
          "<p>A claim is a statistic of an experiment's results and the side of a bound on which "
          "it is said to lie. PASS: the whole interval lies there; FAIL: the whole interval lies "
          "on the other side; UNDECIDED: neither. Intervals are at 95&nbsp;%%, by a bootstrap of "
          "whole units, %d resamples. Units other than seeds are checkpoints of one run, which "
          "are not independent; with fewer than %d units no interval reaches 95&nbsp;%%.</p>\n"
          "<div role=group aria-label=\"Claims to show\">\n"
          "<input class=only type=radio name=only id=only-all checked>"
          "<label for=only-all>all %zu</label>\n",
          CLAIMS_RESAMPLES, CLAIMS_FULL_UNITS, r->p->n_claims);
  for (int v = CLAIMS_PASS; v <= CLAIMS_NOT_AVAILABLE; v++)
    if (count(r, v))
      fprintf(out,
              "<input class=only type=radio name=only id=only-%d><label for=only-%d>%zu %s"
              "</label>\n",
              v, v, count(r, v), claims_verdict_name((enum claims_verdict)v));
  claims_head(r);
  for (size_t i = 0; i < r->p->n_claims; i++)
    claim_row(r, &r->p->claims[i]);
  fputs("</tbody>\n</table></div>\n</div>\n</section>\n", out);
}

/* ---- code ---- */

static void code(const struct report *r, const struct ast_block *b)
{
  FILE *out = r->out;
  size_t length;
  const char *text = source_text(r->p->program->sources, b->extent.file, &length);
  const bool named = b->kind == AST_EXPERIMENT;
  fprintf(out, "<details><summary>%s ", named ? "Experiment" : "Code of the figure");
  fputs("<code>", out);
  html_words(out, named ? b->name.text : paper_file_name(r->p, b->extent.file));
  fputs("</code>", out);
  if (b->base.text) {
    fputs(", after <code>", out);
    html_words(out, b->base.text);
    fputs("</code>", out);
  }
  fputs("</summary>\n<pre tabindex=0", out);
  if (named) {
    fputs(" id=\"exp-", out);
    html_text(out, b->name.text);
    fputs("\"", out);
  }
  fputs("><code>", out);
  html_code(out, r->p->arena, text + b->extent.begin, b->extent.end - b->extent.begin);
  fputs("</code></pre></details>\n", out);
}

static size_t block_of(const struct report *r, const char *experiment)
{
  const struct ast_program *program = r->p->program;
  for (size_t i = 0; i < program->n_blocks; i++)
    if (program->blocks[i].kind == AST_EXPERIMENT && program->blocks[i].name.text &&
        !strcmp(program->blocks[i].name.text, experiment))
      return i;
  return SIZE_MAX;
}

/* Marks the experiments that a table or union is of, with all that they inherit from. */
static void mark(const struct report *r, const struct plan_step *table, bool *marks)
{
  for (uint32_t i = 0; !table->table && i < table->n_inputs; i++)
    mark(r, plan_step(r->p->plan, table->inputs[i]), marks);
  const char *name = table->table ? table->table->experiment : NULL;
  while (name) {
    const size_t k = block_of(r, name);
    if (k == SIZE_MAX || marks[k])
      return;
    marks[k] = true;
    name = r->p->program->blocks[k].base.text;
  }
}

static bool has_home(const struct report *r, uint32_t file)
{
  for (size_t f = 0; f < r->n; f++)
    if (file_of(r, f) == file)
      return true;
  return false;
}

/* The code of a file stands with the first figure that it draws; a figure links to what else
 * it is made of. */
static void figure_code(const struct report *r, size_t figure, bool *elsewhere)
{
  const struct ast_program *program = r->p->program;
  const struct plan_step *step = plan_step(r->p->plan, r->costs[figure].step);
  const uint32_t file = file_of(r, figure);
  bool *marks = arena_array(r->p->arena, program->n_blocks + 1, sizeof *marks);
  bool first = true;
  size_t said = 0;
  for (size_t f = 0; f < figure; f++)
    first &= file_of(r, f) != file;
  for (uint32_t k = 0; k < step->n_inputs; k++)
    mark(r, plan_step(r->p->plan, step->inputs[k]), marks);
  for (size_t i = 0; i < program->n_blocks; i++) {
    const struct ast_block *b = &program->blocks[i];
    const bool here = step->origin.span.file == b->span.file &&
                      step->origin.span.begin >= b->extent.begin &&
                      step->origin.span.begin < b->extent.end;
    if (b->kind == AST_FIGURE ? here : b->kind == AST_EXPERIMENT && first && b->span.file == file)
      code(r, b);
  }
  for (size_t i = 0; i < program->n_blocks; i++) {
    const struct ast_block *b = &program->blocks[i];
    if (!marks[i] || (first && b->span.file == file))
      continue;
    elsewhere[i] |= !has_home(r, b->span.file);
    fputs(said++ ? ", " : "<p>Also of: ", r->out);
    fputs("<a href=\"#exp-", r->out);
    html_text(r->out, b->name.text);
    fputs("\"><code>", r->out);
    html_words(r->out, b->name.text);
    fputs("</code></a>", r->out);
  }
  if (said)
    fputs("</p>\n", r->out);
}

/* ---- figures ---- */

static void picture(const struct report *r, size_t figure)
{
  const struct plan_figure *f = r->costs[figure].figure;
  struct arena *a = r->p->arena;
  const char *id = id_of(r, figure), *path;
  path = file_join(a, r->p->figures, arena_printf(a, "%s.svg", id));
  const char *label = arena_printf(a, "Figure %u. %s. %s", f->number, f->title, f->subtitle);
  size_t length = 0;
  const char *text = file_exists(path) ? file_read(a, path, &length, r->d) : NULL;
  if (!text) {
    fputs("<p>It has not been drawn.</p>\n", r->out);
    return;
  }
  fprintf(r->out,
          "<div class=card role=region tabindex=0 aria-label=\"Picture of figure %u, scrolls "
          "sideways\">\n",
          f->number);
  if (!html_svg(r->out, text, length, id, label))
    diag_error(r->d, SPAN_NONE, "%s is no SVG picture", path);
  fputs("</div>\n", r->out);
}

static void caption(const struct report *r, size_t figure)
{
  const struct plan_figure *f = r->costs[figure].figure;
  size_t rows, failed, said = 0;
  paper_count_rows(r->p, plan_step(r->p->plan, r->costs[figure].step), &rows, &failed, r->d);
  fputs("<figcaption>", r->out);
  for (size_t k = 0; k < f->n_panels; k++) {
    const struct plan_panel *panel = &f->panels[k];
    if (!panel->omitted && !*panel->title)
      continue;
    fputs(said++ ? "; (" : "(", r->out);
    html_text(r->out, panel->name);
    fputs(") ", r->out);
    html_text(r->out, panel->title);
    if (panel->omitted) {
      fputs(*panel->title ? ", empty: " : "empty: ", r->out);
      html_text(r->out, panel->omitted);
    }
  }
  fprintf(r->out, "%s%zu measured points", said ? ". " : "", rows);
  if (failed)
    fprintf(r->out, ", of which %zu come of training that failed", failed);
  fputs(".</figcaption>\n", r->out);
}

static void figure_claims(const struct report *r, size_t figure)
{
  size_t said = 0;
  for (size_t i = 0; i < r->p->n_claims; i++) {
    const struct claims_row *row = &r->p->claims[i];
    if (row->claim->span.file != file_of(r, figure))
      continue;
    fputs(said++ ? "<li>" : "<ul class=claims>\n<li>", r->out);
    fputs("<a href=\"#claim-", r->out);
    html_text(r->out, row->claim->name);
    fputs("\">", r->out);
    html_text(r->out, row->claim->name);
    fputs("</a> ", r->out);
    verdict(r, row->result.verdict);
    fputs(" ", r->out);
    html_text(r->out, row->claim->text);
    fputs("</li>\n", r->out);
  }
  if (said)
    fputs("</ul>\n", r->out);
}

static void figure_section(const struct report *r, size_t figure, bool *elsewhere)
{
  const struct plan_figure *f = r->costs[figure].figure;
  const char *id = id_of(r, figure);
  fprintf(r->out, "<section id=%s aria-labelledby=h-%s>\n<h3 id=h-%s>Figure %u. ", id, id, id,
          f->number);
  html_text(r->out, f->title);
  fputs("</h3>\n<p class=soft>", r->out);
  html_text(r->out, f->subtitle);
  fputs("</p>\n<figure>\n", r->out);
  picture(r, figure);
  caption(r, figure);
  fputs("</figure>\n", r->out);
  figure_claims(r, figure);
  report_provenance(r, figure);
  figure_code(r, figure, elsewhere);
  fputs("</section>\n", r->out);
}

/* Those that the program cannot draw yet, where all figures were asked for. */
static void not_available(const struct report *r)
{
  const struct lower_result *l = r->p->lowered;
  size_t said = 0;
  for (size_t i = 0; i < l->n; i++)
    if (r->p->wanted && !l->targets[i].experiment && !l->targets[i].unavailable &&
        !r->p->wanted[l->targets[i].step])
      return;
  for (size_t i = 0; i < l->n; i++) {
    const struct lower_target *t = &l->targets[i];
    if (t->experiment || !t->unavailable)
      continue;
    fputs(said++ ? "<li>" : "<p>Not drawn yet:</p>\n<ul>\n<li>", r->out);
    fprintf(r->out, "Figure %u. ", t->number);
    html_text(r->out, plan_step(r->p->plan, t->step)->figure->title);
    fputs(": ", r->out);
    html_text(r->out, t->unavailable);
    fputs("</li>\n", r->out);
  }
  if (said)
    fputs("</ul>\n", r->out);
}

static void figures(const struct report *r)
{
  const struct ast_program *program = r->p->program;
  bool *elsewhere = arena_array(r->p->arena, program->n_blocks + 1, sizeof *elsewhere);
  report_section(r, "figures", "Figures");
  fputs("<nav class=numbers aria-label=Figures><ul>\n", r->out);
  for (size_t f = 0; f < r->n; f++)
    fprintf(r->out, "<li><a href=\"#%s\" aria-label=\"Figure %u\">%u</a></li>\n", id_of(r, f),
            r->costs[f].figure->number, r->costs[f].figure->number);
  fputs("</ul></nav>\n", r->out);
  not_available(r);
  for (size_t f = 0; f < r->n; f++)
    figure_section(r, f, elsewhere);
  fputs("</section>\n", r->out);
  report_section(r, "code", "What several figures are made of");
  for (size_t i = 0; i < program->n_blocks; i++)
    if (elsewhere[i])
      code(r, &program->blocks[i]);
  fputs("</section>\n", r->out);
}

/* ---- the page ---- */

static void head(const struct report *r)
{
  const struct paper *p = r->p;
  const struct paper_cost *all = &r->costs[r->n];
  const struct ast_block *tier = p->dsl->n_tiers ? p->dsl->tiers[p->dsl->n_tiers - 1] : NULL;
  fputs("<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
        "<title>mergescape: results at tier ",
        r->out);
  html_text(r->out, p->tier);
  fputs("</title>\n<link rel=icon href=\"data:,\">\n<style>\n", r->out);
  for (size_t i = 0; report_style[i]; i++)
    fputs(report_style[i], r->out);
  fputs("</style>\n</head>\n<body>\n"
        "<a class=skip href=\"#claims\">Skip to the claims</a>\n<header>\n"
        "<h1>How does the optimizer implicitly bias the model merging loss landscape? "
        "Results at tier ",
        r->out);
  html_text(r->out, p->tier);
  fputs("</h1>\n<p class=soft>", r->out);
  if (tier && tier->title.text) {
    html_text(r->out, tier->title.text);
    fputs(". ", r->out);
  }
  fprintf(r->out,
          "mergescape " PACKAGE_VERSION ": %zu figures and %zu claims from %u results, with "
          "%.0f training steps of the optimizer; ",
          r->n, p->n_claims, all->stored, all->optimizer_steps);
  html_seconds(r->out, all->seconds);
  fprintf(r->out,
          " of one worker, %.0f MB. Every number on this page is read from stored results.</p>\n"
          "</header>\n<nav class=top aria-label=Contents><ul>\n"
          "<li><a href=\"#claims\">Claims</a></li>\n<li><a href=\"#figures\">Figures</a></li>\n"
          "<li><a href=\"#costs\">Cost</a></li>\n<li><a href=\"#standins\">Stand-ins</a></li>\n"
          "<li><a href=\"#assumptions\">Assumptions</a></li>\n"
          "<li><a href=\"#machines\">Machines</a></li>\n</ul></nav>\n<main>\n",
          all->bytes / 1e6);
}

bool paper_report(const struct paper *p, const char *path, struct diag *d)
{
  char *text = NULL;
  size_t length = 0;
  struct report r = {.p = p, .d = d};
  if (!paper_memory(&r.out, &text, &length, d))
    return false;
  r.costs = paper_costs(p, &r.n, d);
  r.provenance = paper_provenance(p, r.costs, r.n, &r.machines);
  head(&r);
  claims(&r);
  figures(&r);
  report_costs(&r);
  report_stand_ins(&r);
  report_assumptions(&r);
  report_machines(&r);
  fputs("</main>\n</body>\n</html>\n", r.out);
  bool ok = !fclose(r.out) && !diag_errors(d);
  ok = ok && file_write_atomic(path, text, length, d);
  free(text);
  return ok;
}
