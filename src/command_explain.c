/* explain: the plan, and what is to be done of it. */
#include "config.h"

#include "plan/explain.h"
#include "run/bind.h"
#include "session.h"

static struct cost step_cost(void *context, const struct plan *plan, const struct plan_step *step)
{
  struct session *s = context;
  if (step->kind < PLAN_TABLE)
    return bind_cost(s->bind, plan, step);
  const struct run_kind *kind = &s->kinds[step->kind];
  return (struct cost){.seconds = kind->cost(kind->context, plan, step)};
}

/* The plan with the states of its steps and what they cost. */
static struct explain describe(struct session *s)
{
  uint32_t n = plan_count(s->plan);
  enum run_state *states = arena_array(s->arena, (size_t)n + 1, sizeof *states);
  enum explain_state *shown = arena_array(s->arena, (size_t)n + 1, sizeof *shown);
  struct cost *costs = arena_array(s->arena, (size_t)n + 1, sizeof *costs);
  run_states(s->plan, s->wanted, s->store, s->kinds, states);
  for (uint32_t i = 0; i < n; i++)
    shown[i] = states[i] == RUN_CACHED ? EXPLAIN_CACHED
               : states[i] == RUN_TODO ? EXPLAIN_TODO
                                       : EXPLAIN_UNWANTED;
  cost_of_steps(s->plan, s->wanted, step_cost, s, costs);
  bind_calibrate_save(s->bind);
  return (struct explain){s->plan, s->wanted, shown, costs, s->program->sources, s->options.jobs};
}

int command_explain(struct session *s)
{
  if (!session_choose(s, !session_has_figures(s)))
    return EXIT_EXPERIMENT;
  if (!session_open_store(s))
    return EXIT_ENVIRONMENT;
  struct explain e = describe(s);
  if (!s->options.summary)
    explain_steps(&e, stdout);
  explain_summary(&e, stdout);
  explain_sharing(&e, stdout);
  return EXIT_DONE;
}
