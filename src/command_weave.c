/* weave: the paper's sections and tables, from experiment files and results. */
#include "config.h"

#include "base/file.h"
#include "paper/paper.h"
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* All figures that can be drawn, and the claims' tables. */
static bool choose(struct session *s, struct claims_row **rows, size_t *n)
{
  uint32_t *targets =
      arena_array(s->arena, s->lowered.n + s->lowered.n_claims + 1, sizeof *targets);
  size_t n_targets;
  *rows = session_claims(s, n, targets, &n_targets);
  for (size_t i = 0; i < s->lowered.n; i++)
    if (!s->lowered.targets[i].experiment && !s->lowered.targets[i].unavailable &&
        session_asks_for(s, s->lowered.targets[i].number))
      targets[n_targets++] = s->lowered.targets[i].step;
  s->wanted = arena_array(s->arena, plan_count(s->plan) + 1, sizeof *s->wanted);
  plan_closure(s->plan, targets, n_targets, s->wanted);
  return session_report(s);
}

int command_weave(struct session *s)
{
  struct claims_row *rows;
  size_t n;
  const char *folder = s->options.paper;
  if (!choose(s, &rows, &n))
    return EXIT_EXPERIMENT;
  if (file_make_dir(folder, s->diag) && access(folder, W_OK))
    file_report(s->diag, "write into", folder, errno);
  if (!session_report(s) || !session_can_write(s))
    return EXIT_ENVIRONMENT;
  const int status = session_run(s);
  if (status != EXIT_DONE)
    return status;
  for (size_t i = 0; i < n; i++)
    claims_judge(s->store, s->plan, rows[i].claim, &rows[i].result, s->diag);
  const struct paper paper = {.arena = s->arena,
                              .program = s->program,
                              .dsl = s->dsl,
                              .lowered = &s->lowered,
                              .plan = s->plan,
                              .store = s->store,
                              .tier = s->options.tier,
                              .figures = s->options.output,
                              .claims = rows,
                              .n_claims = n};
  if (!diag_errors(s->diag))
    paper_weave(&paper, folder, s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  if (!s->options.quiet)
    printf("%s/sections.tex\n", folder);
  return EXIT_DONE;
}
