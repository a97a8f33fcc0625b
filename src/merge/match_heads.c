#include "merge/match_int.h"

#include "merge/assignment.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const enum net_role roles[MATCH_FACTORS] = {NET_QUERIES, NET_KEYS, NET_VALUES, NET_MIXES};

struct match_heads match_heads_of(struct arena *a, const struct net_group *g, const float *flat)
{
  struct match_heads all = {.n = g->inner};
  for (int r = 0; r < MATCH_FACTORS; r++) {
    all.columns[r] = match_head_rows(g, roles[r], flat, 0, NULL);
    all.rows[r] = arena_array(a, g->size * all.n * all.columns[r], sizeof(double));
    for (unsigned h = 0; h < g->size; h++)
      match_head_rows(g, roles[r], flat, h, all.rows[r] + h * all.n * all.columns[r]);
  }
  return all;
}

void match_head_products(const struct match_heads *a, size_t i, const struct match_heads *b,
                         size_t j, int r, double *out)
{
  const size_t size = a->n * a->columns[r];
  svd_product(false, true, a->n, a->n, a->columns[r], a->rows[r] + i * size, b->rows[r] + j * size,
              out);
}

/* The inner product of what two heads' factors r and r + 1 make together. */
static double circuit_product(const struct match_heads *a, size_t i, const struct match_heads *b,
                              size_t j, int r, double *memory)
{
  const size_t square = a->n * a->n;
  double sum = 0;
  match_head_products(a, i, b, j, r, memory);
  match_head_products(a, i, b, j, r + 1, memory + square);
  for (size_t k = 0; k < square; k++)
    sum += memory[k] * memory[square + k];
  return sum;
}

/* Of each pair: |QK of one - QK of the other| + |OV of one - OV of the other|. */
static void head_costs(const struct match_heads *to, const struct match_heads *from, size_t heads,
                       double *cost)
{
  double *memory = mem_alloc(2 * to->n * to->n * sizeof *memory);
  memset(cost, 0, heads * heads * sizeof *cost);
  for (size_t i = 0; i < heads; i++)
    for (size_t j = 0; j < heads; j++)
      for (int r = MATCH_QUERY; r < MATCH_FACTORS; r += 2) {
        const double square = circuit_product(to, i, to, i, r, memory) +
                              circuit_product(from, j, from, j, r, memory) -
                              2 * circuit_product(to, i, from, j, r, memory);
        cost[i * heads + j] += sqrt(fmax(0, square));
      }
  free(memory);
}

void match_fit_head(const struct match_heads *to, size_t i, const struct match_heads *from,
                    size_t j, int r, double *map)
{
  const size_t n = to->n, square = n * n;
  double *memory = mem_alloc((4 * square + n) * sizeof *memory), *sum = memory + square;
  match_head_products(to, i, from, j, r, sum);
  match_head_products(to, i, from, j, r + 1, memory);
  for (size_t k = 0; k < square; k++)
    sum[k] += memory[k];
  svd_polar(n, sum, map, memory + 2 * square, memory + 4 * square, memory + 3 * square);
  free(memory);
}

void match_by_circuits(const struct match_maps *m, size_t group, const float *to, const float *from)
{
  const struct net_group *g = &m->groups->v[group];
  struct arena *a = arena_new();
  const struct match_heads of_to = match_heads_of(a, g, to), of_from = match_heads_of(a, g, from);
  const size_t square = of_to.n * of_to.n;
  double *cost = arena_array(a, (size_t)g->size * g->size, sizeof *cost);
  uint32_t *perm = m->perms[group];
  head_costs(&of_to, &of_from, g->size, cost);
  assignment_solve(g->size, cost, ASSIGNMENT_MINIMISE, perm, NULL, NULL);
  for (size_t h = 0; h < g->size; h++) {
    match_fit_head(&of_to, h, &of_from, perm[h], MATCH_QUERY, m->qk[group] + h * square);
    match_fit_head(&of_to, h, &of_from, perm[h], MATCH_VALUE, m->ov[group] + h * square);
  }
  arena_free(a);
}
