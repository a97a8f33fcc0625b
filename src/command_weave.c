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

/* Which results there are before anything is run. */
static bool *cached(struct session *s)
{
  const uint32_t n = plan_count(s->plan);
  enum run_state *states = arena_array(s->arena, (size_t)n + 1, sizeof *states);
  bool *there = arena_array(s->arena, (size_t)n + 1, sizeof *there);
  run_states(s->plan, s->wanted, s->store, s->kinds, states);
  for (uint32_t i = 0; i < n; i++)
    there[i] = states[i] == RUN_CACHED;
  return there;
}

int session_paper(struct session *s, struct paper *paper)
{
  struct claims_row *rows;
  size_t n;
  if (!choose(s, &rows, &n))
    return EXIT_EXPERIMENT;
  if (!session_can_draw(s) || !session_open_store(s))
    return EXIT_ENVIRONMENT;
  *paper = (struct paper){.arena = s->arena,
                          .program = s->program,
                          .dsl = s->dsl,
                          .lowered = &s->lowered,
                          .plan = s->plan,
                          .store = s->store,
                          .tier = s->options.tier,
                          .program_version = PACKAGE_STRING,
                          .figures = s->options.output,
                          .claims = rows,
                          .n_claims = n,
                          .wanted = s->wanted,
                          .cached = cached(s)};
  const int status = session_run(s);
  if (status != EXIT_DONE)
    return status;
  for (size_t i = 0; i < n; i++)
    claims_judge(s->store, s->plan, rows[i].claim, &rows[i].result, s->diag);
  return session_report(s) ? EXIT_DONE : EXIT_ENVIRONMENT;
}

int command_weave(struct session *s)
{
  const char *folder = s->options.paper;
  struct paper paper;
  if (file_make_dir(folder, s->diag) && access(folder, W_OK))
    file_report(s->diag, "write into", folder, errno);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  const int status = session_paper(s, &paper);
  if (status != EXIT_DONE)
    return status;
  paper_weave(&paper, folder, s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  if (!s->options.quiet)
    printf("%s/sections.tex\n", folder);
  return EXIT_DONE;
}
