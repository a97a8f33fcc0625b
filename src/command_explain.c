/* explain: the plan, and what is to be done of it. */
#include "config.h"

#include "plan/explain.h"
#include "session.h"

int command_explain(struct session *s)
{
  if (!session_choose(s, !session_has_figures(s)))
    return EXIT_EXPERIMENT;
  if (!session_open_store(s))
    return EXIT_ENVIRONMENT;
  uint32_t n = plan_count(s->plan);
  enum run_state *states = arena_array(s->arena, n + 1, sizeof *states);
  enum explain_state *shown = arena_array(s->arena, n + 1, sizeof *shown);
  run_states(s->plan, s->wanted, s->store, s->kinds, states);
  for (uint32_t i = 0; i < n; i++)
    shown[i] = states[i] == RUN_CACHED ? EXPLAIN_CACHED
               : states[i] == RUN_TODO ? EXPLAIN_TODO
                                       : EXPLAIN_UNWANTED;
  if (!s->options.summary)
    explain_steps(s->plan, shown, s->program->sources, stdout);
  explain_summary(s->plan, s->wanted, shown, stdout);
  return EXIT_DONE;
}
