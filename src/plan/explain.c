#include "plan/explain.h"

#include <string.h>

static void print_inputs(const struct plan_step *s, FILE *out)
{
  enum { SHOWN = 4 };
  for (uint32_t k = 0; k < s->n_inputs && k < SHOWN; k++)
    fprintf(out, "%s#%u", k ? " " : " <- ", (unsigned)s->inputs[k]);
  if (s->n_inputs > SHOWN)
    fprintf(out, " and %u more", (unsigned)(s->n_inputs - SHOWN));
}

void explain_steps(const struct plan *p, const enum explain_state *states,
                   const struct source_set *sources, FILE *out)
{
  struct arena *a = arena_new();
  for (uint32_t i = 0; i < plan_count(p); i++) {
    const struct plan_step *s = plan_step(p, i);
    if (states[i] == EXPLAIN_UNWANTED)
      continue;
    fprintf(out, "#%-5u %-6s %s", (unsigned)i, states[i] == EXPLAIN_CACHED ? "cached" : "to do",
            plan_step_text(a, s));
    print_inputs(s, out);
    fprintf(out, "  [%s%s%s, %s", s->origin.experiment, *s->origin.point ? " " : "",
            s->origin.point, source_line_name(sources, s->origin.span, a));
    if (s->asked > 1)
      fprintf(out, ", shared %u times", (unsigned)s->asked);
    fputs("]\n", out);
  }
  arena_free(a);
}

void explain_summary(const struct plan *p, const bool *wanted, const enum explain_state *states,
                     FILE *out)
{
  unsigned count[PLAN_KIND_COUNT] = {0}, cached[PLAN_KIND_COUNT] = {0};
  unsigned todo[PLAN_KIND_COUNT] = {0}, all = 0, all_cached = 0, all_todo = 0;
  double training_todo = 0;
  for (uint32_t i = 0; i < plan_count(p); i++) {
    const struct plan_step *s = plan_step(p, i);
    if (!wanted[i])
      continue;
    count[s->kind]++;
    cached[s->kind] += states[i] == EXPLAIN_CACHED;
    todo[s->kind] += states[i] == EXPLAIN_TODO;
    if (s->kind == PLAN_TRAIN && states[i] == EXPLAIN_TODO)
      training_todo += plan_num(s, PLAN_A_to) - plan_num(s, PLAN_A_from);
  }
  fprintf(out, "%-8s %8s %8s %8s\n", "steps", "planned", "cached", "to do");
  for (int k = 0; k < PLAN_KIND_COUNT; k++) {
    if (count[k])
      fprintf(out, "%-8s %8u %8u %8u\n", plan_kind_name((enum plan_kind)k), count[k], cached[k],
              todo[k]);
    all += count[k];
    all_cached += cached[k];
    all_todo += todo[k];
  }
  fprintf(out, "%-8s %8u %8u %8u\n", "all", all, all_cached, all_todo);
  struct plan_sharing sharing = plan_sharing(p, wanted);
  fprintf(out, "training steps: %.0f planned, %.0f without sharing", sharing.steps,
          sharing.steps_unshared);
  if (sharing.steps_unshared > 0)
    fprintf(out, " (%.1f%% saved)", 100 * (1 - sharing.steps / sharing.steps_unshared));
  fprintf(out, ", %.0f to do\n", training_todo);
}
