/* Experiment files as sections: prose, code, pictures, verdicts, in reading order. */
#include "config.h"

#include "paper/paper_int.h"

#include "base/file.h"
#include "dsl/prose.h"
#include "figure/csv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *paper_file_name(const struct paper *p, uint32_t file)
{
  const char *path = source_name(p->program->sources, file), *last = strrchr(path, '/');
  return last ? last + 1 : path;
}

const struct claims_row *paper_claim(const struct paper *p, const char *name)
{
  for (size_t i = 0; i < p->n_claims; i++)
    if (!strcmp(p->claims[i].claim->name, name))
      return &p->claims[i];
  return NULL;
}

uint32_t paper_table(const struct paper *p, const struct dsl_experiment *e)
{
  for (size_t i = 0; i < p->lowered->n; i++) {
    const struct lower_target *t = &p->lowered->targets[i];
    if (t->experiment && !t->unavailable && !strcmp(t->experiment, e->name))
      return t->step;
  }
  return UINT32_MAX;
}

/* ---- prose ---- */

static double result_of(const struct paper *p, const struct prose_part *part, struct diag *d)
{
  const uint32_t table = paper_table(p, part->of);
  struct figure_csv csv;
  if (table == UINT32_MAX || !store_has(p->store, plan_step(p->plan, table)->key) ||
      !figure_read_table(p->arena, p->store, p->plan, plan_step(p->plan, table), &csv, d))
    return NAN;
  return claims_statistic(part->number, &csv);
}

static void weave_prose(const struct paper *p, const struct ast_block *b, FILE *out,
                        struct diag *d)
{
  size_t n;
  const struct prose_part *parts = prose_read(p->program, p->dsl, b, &n, d);
  for (size_t i = 0; i < n; i++) {
    if (parts[i].text) {
      fwrite(parts[i].text, 1, parts[i].length, out);
    } else if (parts[i].claim) {
      const struct claims_row *row = paper_claim(p, parts[i].claim);
      fputs(tex_verdict(row ? row->result.verdict : CLAIMS_NOT_AVAILABLE), out);
    } else {
      tex_number(out, result_of(p, &parts[i], d), parts[i].digits);
    }
  }
  if (n)
    fputs("\n\n", out);
}

/* ---- code ---- */

static void weave_code(const struct paper *p, const struct ast_block *b, FILE *out)
{
  size_t length;
  const char *text = source_text(p->program->sources, b->extent.file, &length);
  tex_code(out, p->arena, text + b->extent.begin, b->extent.end - b->extent.begin);
}

/* ---- figures ---- */

static const struct plan_step *figure_step(const struct paper *p, const struct ast_block *b)
{
  for (size_t i = 0; i < p->lowered->n; i++) {
    const struct plan_step *s = plan_step(p->plan, p->lowered->targets[i].step);
    if (s->kind == PLAN_FIGURE && s->origin.span.file == b->span.file &&
        s->origin.span.begin >= b->extent.begin && s->origin.span.begin < b->extent.end)
      return s;
  }
  return NULL;
}

void paper_count_rows(const struct paper *p, const struct plan_step *figure, size_t *rows,
                      size_t *failed, struct diag *d)
{
  *rows = *failed = 0;
  for (uint32_t k = 0; k < figure->n_inputs; k++) {
    const struct plan_step *table = plan_step(p->plan, figure->inputs[k]);
    struct figure_csv csv;
    if (!store_has(p->store, table->key) ||
        !figure_read_table(p->arena, p->store, p->plan, table, &csv, d))
      continue;
    const size_t column = figure_csv_column(&csv, "failed");
    *rows += csv.n_rows;
    for (size_t i = 0; column != SIZE_MAX && i < csv.n_rows; i++)
      *failed += csv.num[i * csv.n_columns + column] != 0;
  }
}

static void weave_caption(const struct paper *p, const struct ast_block *b,
                          const struct plan_step *step, FILE *out, struct diag *d)
{
  size_t rows, failed;
  fputs("\\caption{", out);
  tex_text(out, b->title.text ? b->title.text : "");
  fputs(".", out);
  size_t said = 0;
  for (size_t i = 0; i < b->n_blocks; i++) {
    const struct ast_block *panel = &b->blocks[i];
    if (!panel->title.text)
      continue;
    fprintf(out, "%s (%s) ", said++ ? ";" : "", panel->name.text);
    tex_text(out, panel->title.text);
  }
  paper_count_rows(p, step, &rows, &failed, d);
  fprintf(out, "%s %zu measured points", said ? "." : "", rows);
  if (failed)
    fprintf(out, ", of which %zu come of training that failed", failed);
  fprintf(out, "; \\texttt{");
  tex_text(out, paper_file_name(p, b->span.file));
  fputs("}.}", out);
}

static void weave_figure(const struct paper *p, const struct ast_block *b, FILE *out,
                         struct diag *d)
{
  const struct plan_step *step = figure_step(p, b);
  if (!step)
    return;
  const char *id = plan_figure_id(p->arena, step->figure);
  const char *file = arena_printf(p->arena, "%s.pdf", id);
  if (!file_exists(file_join(p->arena, p->figures, file))) {
    fprintf(out, "\\NotDrawn{%s}\n\n", id);
    return;
  }
  fprintf(out, "\\begin{figure}[tbp]\n\\centering\n\\includegraphics[width=\\DrawnWidth]{%s}\n",
          file);
  weave_caption(p, b, step, out, d);
  fprintf(out, "\\label{%s}\n\\end{figure}\n\n", id);
}

/* ---- claims ---- */

static void weave_claim(const struct paper *p, const struct ast_block *b, FILE *out)
{
  const struct claims_row *row = paper_claim(p, b->name.text);
  if (!row)
    return;
  const struct claims_result *r = &row->result;
  fputs("\\Claim{", out);
  tex_text(out, b->name.text);
  fputs("}{", out);
  tex_text(out, b->title.text ? b->title.text : "");
  fprintf(out, "}{%s}{", tex_verdict(r->verdict));
  if (r->verdict <= CLAIMS_UNDECIDED) {
    fprintf(out, "statistic ");
    tex_number(out, r->statistic, 3);
    if (!isnan(r->low)) {
      fputs(", interval ", out);
      tex_number(out, r->low, 3);
      fputs(" to ", out);
      tex_number(out, r->high, 3);
    }
    fprintf(out, ", claimed $%c %g$; %zu %s%s", row->claim->greater ? '>' : '<',
            row->claim->bound, r->n_units, row->claim->unit, r->n_units == 1 ? "" : "s");
  }
  fputs("}\n\n", out);
}

/* ---- files ---- */

static void weave_blocks(const struct paper *p, FILE *out, struct diag *d)
{
  uint32_t file = 0;
  for (size_t i = 0; i < p->program->n_blocks; i++) {
    const struct ast_block *b = &p->program->blocks[i];
    if (b->kind == AST_TIER)
      continue;
    if (b->span.file != file)
      fprintf(out, "\n%% ---- %s ----\n", paper_file_name(p, file = b->span.file));
    weave_prose(p, b, out, d);
    if (b->kind == AST_EXPERIMENT)
      weave_code(p, b, out);
    else if (b->kind == AST_FIGURE)
      weave_figure(p, b, out, d);
    else if (b->kind == AST_CLAIM)
      weave_claim(p, b, out);
  }
}

/* Written whole or not at all, by way of memory. */
struct page {
  char *text;
  size_t length;
  FILE *out;
};

bool paper_memory(FILE **out, char **text, size_t *length, struct diag *d)
{
  *out = open_memstream(text, length);
  if (!*out)
    file_report(d, "make", "a page", errno);
  return *out != NULL;
}

static bool end(const struct paper *p, struct page *page, const char *folder, const char *name,
                struct diag *d)
{
  bool ok = !fclose(page->out);
  ok = ok && file_write_atomic(file_join(p->arena, folder, name), page->text, page->length, d);
  free(page->text);
  return ok;
}

bool paper_weave(const struct paper *p, const char *folder, struct diag *d)
{
  struct page pages[5] = {0};
  static const char *const names[] = {"sections.tex", "claims.tex", "assumptions.tex",
                                      "artifact.tex", "numbers.tex"};
  bool ok = true;
  for (int i = 0; i < 5; i++)
    ok = ok && paper_memory(&pages[i].out, &pages[i].text, &pages[i].length, d);
  if (!ok)
    return false;
  weave_blocks(p, pages[0].out, d);
  paper_claims_table(p, pages[1].out);
  paper_assumptions_table(p, pages[2].out);
  ok = paper_artifact(p, pages[3].out, pages[4].out, d);
  for (int i = 0; i < 5; i++)
    ok = end(p, &pages[i], folder, names[i], d) && ok;
  return ok && !diag_errors(d);
}
