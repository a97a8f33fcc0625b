/* Where, when and with what the results behind each figure were computed. */
#include "paper/paper_int.h"

#include <stdlib.h>
#include <string.h>

struct step_origin {
  size_t machine; /* SIZE_MAX: there is no result */
  const char *date;
};

static size_t machine_of(const struct paper *p, const struct store_provenance *from,
                         struct paper_machines *m)
{
  char *versions = arena_strdup(p->arena, "");
  for (size_t i = 0; i < from->n_versions; i++)
    versions = arena_printf(p->arena, "%s%s%s %s", versions, i ? "; " : "",
                            from->versions[i].name, from->versions[i].value);
  for (size_t i = 0; i < m->n; i++)
    if (!strcmp(m->list[i].host, from->host) && !strcmp(m->list[i].versions, versions))
      return i;
  const struct paper_machine one = {.host = arena_strdup(p->arena, from->host),
                                    .versions = versions};
  ARENA_PUSH(p->arena, m->list, m->n, m->cap, one);
  return m->n - 1;
}

static void widen(const char **first, const char **last, const char *date)
{
  if (!*first || strcmp(date, *first) < 0)
    *first = date;
  if (!*last || strcmp(date, *last) > 0)
    *last = date;
}

static struct step_origin origin_of(const struct paper *p, uint32_t step, struct paper_machines *m)
{
  struct step_origin origin = {SIZE_MAX, NULL};
  struct store_provenance from;
  struct arena *scratch = arena_new();
  if (store_read_provenance(p->store, plan_step(p->plan, step)->key, scratch, &from)) {
    origin.machine = machine_of(p, &from, m);
    origin.date = arena_strdup(p->arena, from.date);
    struct paper_machine *machine = &m->list[origin.machine];
    machine->results++;
    widen(&machine->first, &machine->last, origin.date);
  }
  arena_free(scratch);
  return origin;
}

static int ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* "0, 1, 2": of initial weights and of training. */
static const char *seeds_of(const struct paper *p, const bool *wanted)
{
  double *seeds = NULL;
  size_t n = 0, cap = 0;
  for (uint32_t i = 0; i < plan_count(p->plan); i++) {
    const struct plan_step *s = plan_step(p->plan, i);
    const struct plan_attr *seed = plan_attr(s, PLAN_A_seed);
    size_t k = 0;
    if (!wanted[i] || !seed || (s->kind != PLAN_INIT && s->kind != PLAN_TRAIN))
      continue;
    while (k < n && seeds[k] != seed->num)
      k++;
    if (k == n)
      ARENA_PUSH(p->arena, seeds, n, cap, seed->num);
  }
  if (n)
    qsort(seeds, n, sizeof *seeds, ascending);
  char *text = arena_strdup(p->arena, n ? "" : "none");
  for (size_t i = 0; i < n; i++)
    text = arena_printf(p->arena, "%s%s%.0f", text, i ? ", " : "", seeds[i]);
  return text;
}

struct paper_provenance *paper_provenance(const struct paper *p, const struct paper_cost *costs,
                                          size_t n, struct paper_machines *m)
{
  const uint32_t steps = plan_count(p->plan);
  struct paper_provenance *v = arena_array(p->arena, n + 1, sizeof *v);
  struct step_origin *origins = arena_array(p->arena, steps + 1, sizeof *origins);
  bool *wanted = arena_array(p->arena, steps + 1, sizeof *wanted);
  bool *seen = arena_array(p->arena, steps + 1, sizeof *seen);
  *m = (struct paper_machines){0};
  for (size_t f = 0; f < n; f++) {
    struct paper_provenance *one = &v[f];
    *one = (struct paper_provenance){0};
    plan_closure(p->plan, &costs[f].step, 1, wanted);
    one->seeds = seeds_of(p, wanted);
    for (uint32_t i = 0; i < steps; i++) {
      if (!wanted[i])
        continue;
      one->of_kind[plan_step(p->plan, i)->kind]++;
      if (!seen[i])
        origins[i] = origin_of(p, i, m);
      seen[i] = true;
      if (origins[i].machine == SIZE_MAX)
        continue;
      one->stored++;
      one->cached += p->cached && p->cached[i];
      one->machines |=
          1ull << (origins[i].machine < PAPER_LAST_MACHINE ? origins[i].machine
                                                           : PAPER_LAST_MACHINE);
      widen(&one->first, &one->last, origins[i].date);
    }
  }
  return v;
}
