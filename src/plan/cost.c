#include "plan/cost.h"

#include <math.h>
#include <stdio.h>

void cost_of_steps(const struct plan *p, const bool *chosen, cost_function *cost, void *context,
                   struct cost *costs)
{
  for (uint32_t i = 0; i < plan_count(p); i++)
    costs[i] = chosen[i] ? cost(context, p, plan_step(p, i)) : (struct cost){0};
}

struct cost_total cost_total(const struct plan *p, const bool *chosen, const struct cost *costs)
{
  struct cost_total total = {0};
  struct arena *a = arena_new();
  double *chain = arena_array(a, (size_t)plan_count(p) + 1, sizeof *chain);
  for (uint32_t i = 0; i < plan_count(p); i++) {
    if (!chosen[i])
      continue;
    const struct plan_step *s = plan_step(p, i);
    for (uint32_t k = 0; k < s->n_inputs; k++)
      chain[i] = fmax(chain[i], chain[s->inputs[k]]);
    chain[i] += costs[i].seconds;
    total.steps++;
    total.sum.flops += costs[i].flops;
    total.sum.seconds += costs[i].seconds;
    total.sum.bytes += costs[i].bytes;
    total.sum.memory = fmax(total.sum.memory, costs[i].memory);
    total.chain = fmax(total.chain, chain[i]);
  }
  arena_free(a);
  return total;
}

double cost_wall(const struct cost_total *total, unsigned jobs)
{
  return fmax(total->chain, total->sum.seconds / (jobs ? jobs : 1));
}

char *cost_duration(double seconds, char text[32])
{
  unsigned long whole = seconds < 1e12 ? (unsigned long)(seconds + 0.5) : (unsigned long)1e12;
  if (seconds < 9.95)
    snprintf(text, 32, "%.1f s", seconds);
  else if (whole < 100)
    snprintf(text, 32, "%lu s", whole);
  else if (whole < 3600)
    snprintf(text, 32, "%lu min %02lu s", whole / 60, whole % 60);
  else if (whole < 4 * 86400UL)
    snprintf(text, 32, "%lu h %02lu min", whole / 3600, whole / 60 % 60);
  else
    snprintf(text, 32, "%lu days", whole / 86400);
  return text;
}

char *cost_amount(double v, const char *unit, char text[32])
{
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
  size_t k = 0;
  for (; v >= 999.5 && k + 1 < sizeof prefixes / sizeof *prefixes; k++)
    v /= 1000;
  snprintf(text, 32, "%.*f %s%s", k && v < 9.95 ? 1 : 0, v, prefixes[k], unit);
  return text;
}
