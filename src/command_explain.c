/* explain: the plan, and what is to be done of it. */
#include "config.h"

#include "dsl/values.h"
#include "run/bind.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

static struct cost step_cost(void *context, const struct plan *plan, const struct plan_step *step)
{
  struct session *s = context;
  if (step->kind < PLAN_TABLE)
    return bind_cost(s->bind, plan, step);
  const struct run_kind *kind = &s->kinds[step->kind];
  return (struct cost){.seconds = kind->cost(kind->context, plan, step)};
}

struct explain session_describe(struct session *s)
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

/* Does the wanted part of the plan hold the experiment's table? */
static bool is_wanted(void *context, const char *experiment)
{
  struct session *s = context;
  for (uint32_t i = 0; i < plan_count(s->plan); i++) {
    const struct plan_step *step = plan_step(s->plan, i);
    if (s->wanted[i] && step->table && !strcmp(step->table->experiment, experiment))
      return true;
  }
  return false;
}

int command_explain(struct session *s)
{
  if (!session_choose(s, !session_has_figures(s)))
    return EXIT_EXPERIMENT;
  if (!session_open_store(s))
    return EXIT_ENVIRONMENT;
  struct explain e = session_describe(s);
  if (s->options.json)
    return explain_json(&e, stdout) ? EXIT_DONE : EXIT_ENVIRONMENT;
  if (s->options.dot) {
    explain_dot(&e, stdout);
    return EXIT_DONE;
  }
  dsl_values_print(s->dsl, is_wanted, s, stdout);
  if (!s->options.summary)
    explain_steps(&e, stdout);
  explain_summary(&e, stdout);
  explain_sharing(&e, stdout);
  return EXIT_DONE;
}
