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
  uint32_t *asked = arena_array(s->arena, (size_t)n + 1, sizeof *asked);
  plan_asked(s->plan, s->wanted, asked);
  return (struct explain){s->plan,         s->wanted, shown, costs, s->program->sources,
                          s->options.jobs, asked};
}

static bool is_of(const struct ast_block *b, const char *experiment)
{
  for (size_t i = 0; i < b->n_of; i++)
    if (!strcmp(b->of[i].text, experiment))
      return true;
  return false;
}

/* Does a figure that was asked for draw it? */
static bool is_asked_for(const struct session *s, const char *experiment)
{
  const struct ast_program *p = s->program;
  if (!session_has_figures(s) || !s->options.n_figures)
    return true;
  for (size_t i = 0; i < p->n_blocks; i++)
    for (size_t k = 0; p->blocks[i].kind == AST_FIGURE && k < p->blocks[i].n_blocks; k++)
      if (session_asks_for(s, (unsigned)p->blocks[i].number->number) &&
          is_of(&p->blocks[i].blocks[k], experiment))
        return true;
  return false;
}

/* Adds what is planned and cannot be computed yet to what is told of, and to what is
 * wanted. */
static void add_later(struct session *s, struct explain *e)
{
  uint32_t n = plan_count(s->plan);
  uint32_t *targets = arena_array(s->arena, s->lowered.n + 1, sizeof *targets);
  uint32_t *asked = arena_array(s->arena, (size_t)n + 1, sizeof *asked);
  enum explain_state *states = arena_copy(s->arena, e->states, n * sizeof *states);
  bool *later = arena_array(s->arena, (size_t)n + 1, sizeof *later);
  size_t n_targets = 0;
  for (size_t i = 0; i < s->lowered.n; i++) {
    const struct lower_target *t = &s->lowered.targets[i];
    if (t->experiment && t->unavailable && is_asked_for(s, t->experiment))
      targets[n_targets++] = t->step;
  }
  plan_closure(s->plan, targets, n_targets, later);
  for (uint32_t i = 0; i < n; i++) {
    if (later[i] && !s->wanted[i])
      states[i] = EXPLAIN_LATER;
    later[i] = later[i] || s->wanted[i];
  }
  plan_asked(s->plan, later, asked);
  e->wanted = s->wanted = later;
  e->states = states;
  e->asked = asked;
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
  add_later(s, &e);
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
