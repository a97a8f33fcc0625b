/* diff-results A B [FILE]...: two runs' figures and claims held against one another. */
#include "config.h"

#include "base/file.h"
#include "figure/claims.h"
#include "figure/compare.h"
#include "session.h"

#include <string.h>

static bool is_store(struct session *s, const char *path)
{
  return file_exists(file_join(s->arena, path, "objects"));
}

/* The tables that a figure draws, and those behind its unions. */
static bool has_tables(const struct session *s, const struct store *store,
                       const struct plan_step *step)
{
  bool all = true;
  for (uint32_t i = 0; all && i < step->n_inputs; i++)
    all = store_has(store, plan_step(s->plan, step->inputs[i])->key);
  return all;
}

/* Figures and claims as they come out of a store; what is not there is left out. */
static bool read_store(struct session *s, const char *path, struct compare_results *r)
{
  *r = (struct compare_results){.name = path};
  struct store *store = store_open(s->arena, path, s->diag);
  for (size_t i = 0; store && i < s->lowered.n; i++) {
    const struct lower_target *t = &s->lowered.targets[i];
    const struct plan_step *step = plan_step(s->plan, t->step);
    if (t->experiment || t->unavailable || !session_asks_for(s, t->number) ||
        !has_tables(s, store, step))
      continue;
    const char *text = figure_csv_text(s->arena, store, s->plan, step, s->diag);
    if (!text || !compare_add(s->arena, r, plan_figure_id(s->arena, step->figure), text,
                              strlen(text), s->diag))
      return false;
  }
  size_t n, n_tables, n_rows = 0, n_judged = 0;
  uint32_t *tables = arena_array(s->arena, s->lowered.n_claims + 1, sizeof *tables);
  struct claims_row *rows = session_claims(s, &n, tables, &n_tables);
  for (size_t i = 0; store && i < n; i++) {
    const struct plan_claim *c = rows[i].claim;
    if (c->judged && !c->omitted && !store_has(store, plan_step(s->plan, c->table)->key))
      continue;
    rows[n_rows] = rows[i];
    n_judged += c->judged && !c->omitted;
    if (!claims_judge(store, s->plan, c, &rows[n_rows++].result, s->diag))
      return false;
  }
  if (n_rows) {
    const char *text = claims_csv(s->arena, rows, n_rows, s->options.tier);
    if (!figure_csv_parse(s->arena, "claims.csv", text, strlen(text), &r->claims, s->diag))
      return false;
  }
  if (store && !r->n && !n_judged)
    diag_error(s->diag, SPAN_NONE, "the store %s has no results of these experiments at tier %s",
               path, s->options.tier);
  return !diag_errors(s->diag);
}

static bool read_results(struct session *s, const char *path, struct compare_results *r)
{
  if (!is_store(s, path))
    return compare_read(s->arena, path, r, s->diag);
  if (s->options.n_files)
    return read_store(s, path, r);
  diag_error(s->diag, SPAN_NONE, "%s is a store: it takes the experiment files to compare it",
             path);
  diag_hint(s->diag, "mergescape diff-results A B experiments/fig*.exp");
  return false;
}

int command_diff_results(struct session *s)
{
  struct compare_results results[2];
  struct compare c;
  bool ok = true;
  for (int k = 0; k < 2; k++)
    ok = read_results(s, s->options.results[k], &results[k]) && ok;
  if (ok && s->options.noise)
    compare_read_noise(s->arena, s->options.noise, &results[0], s->diag);
  if (!session_report(s) || !ok)
    return EXIT_ENVIRONMENT;
  compare_run(s->arena, &results[0], &results[1], &c);
  if (s->options.csv)
    fputs(compare_csv(s->arena, &c), stdout);
  else if (s->options.json)
    ok = compare_json(&c, stdout);
  else
    compare_print(&c, s->options.all, diag_colour(stdout), stdout);
  if (!ok)
    return EXIT_ENVIRONMENT;
  return compare_agrees(&c) ? EXIT_DONE : EXIT_CHECK;
}
