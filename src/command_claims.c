/* claims: what the paper says, judged by the results. */
#include "config.h"

#include "base/file.h"
#include "figure/claims.h"
#include "session.h"

#include <string.h>

/* With --figure=N: those that stand in the file of figure N. */
static bool is_wanted(const struct session *s, const struct plan_claim *c)
{
  bool wanted = s->options.n_figures == 0;
  for (size_t i = 0; i < s->lowered.n; i++) {
    const struct lower_target *t = &s->lowered.targets[i];
    wanted |= !t->experiment && session_asks_for(s, t->number) &&
              plan_step(s->plan, t->step)->origin.span.file == c->span.file;
  }
  return wanted;
}

struct claims_row *session_claims(struct session *s, size_t *n, uint32_t *tables, size_t *n_tables)
{
  struct claims_row *rows = arena_array(s->arena, s->lowered.n_claims + 1, sizeof *rows);
  *n_tables = 0;
  *n = 0;
  for (size_t i = 0; i < s->lowered.n_claims; i++) {
    const struct plan_claim *c = &s->lowered.claims[i];
    if (!is_wanted(s, c))
      continue;
    const char *path = source_name(s->program->sources, c->span.file), *last = strrchr(path, '/');
    rows[(*n)++] = (struct claims_row){.claim = c, .file = last ? last + 1 : path};
    if (c->judged && !c->omitted)
      tables[(*n_tables)++] = c->table;
  }
  return rows;
}

int command_claims(struct session *s)
{
  size_t n, n_tables;
  uint32_t *tables = arena_array(s->arena, s->lowered.n_claims + 1, sizeof *tables);
  struct claims_row *rows = session_claims(s, &n, tables, &n_tables);
  s->wanted = arena_array(s->arena, plan_count(s->plan) + 1, sizeof *s->wanted);
  plan_closure(s->plan, tables, n_tables, s->wanted);
  if (!n) {
    fprintf(stderr, "mergescape: error: the files make no claim%s\n"
                    "hint: `claim NAME \"text\" on EXPERIMENT { expect ...; }` makes one\n",
            s->options.n_figures ? " beside these figures" : "");
    return EXIT_EXPERIMENT;
  }
  if (!session_can_write(s))
    return EXIT_ENVIRONMENT;
  int status = session_run(s);
  if (status != EXIT_DONE)
    return status;
  for (size_t i = 0; i < n; i++)
    claims_judge(s->store, s->plan, rows[i].claim, &rows[i].result, s->diag);
  if (!diag_errors(s->diag))
    claims_write_csv(file_join(s->arena, s->options.output, "claims.csv"), rows, n,
                     s->options.tier, s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  claims_print(rows, n, s->options.tier, diag_colour(stdout), stdout);
  for (size_t i = 0; i < n; i++)
    if (rows[i].result.verdict == CLAIMS_FAIL)
      status = EXIT_CHECK;
  return status;
}
