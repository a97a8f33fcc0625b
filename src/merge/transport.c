#include "merge/transport.h"

#include "base/arena.h"
#include "merge/assignment.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Reduced costs are cost[i][j] - dual[j]; a row carries only to columns where its own is the
 * smallest.  Rows are sources, columns targets. */
struct solver {
  size_t n, m;
  const double *cost;
  double *plan;
  double *left, *wanted; /* of supplies and demands */
  double *dual;          /* [m] */
  double *distance;      /* [m], of columns from the row that looks for a path */
  size_t *row_before;    /* [m]: the row that a path comes to a column from */
  size_t *column_before; /* [n] */
  bool *column_done, *row_done;
};

static double reduced(const struct solver *s, size_t i, size_t j)
{
  return s->cost[i * s->m + j] - s->dual[j];
}

static void look_from(struct solver *s, size_t row, double reached, double own)
{
  s->row_done[row] = true;
  for (size_t k = 0; k < s->m; k++) {
    const double d = reached + (reduced(s, row, k) - own);
    if (s->column_done[k] || d >= s->distance[k])
      continue;
    s->distance[k] = d;
    s->row_before[k] = row;
  }
}

static size_t nearest(const struct solver *s)
{
  size_t best = SIZE_MAX;
  for (size_t j = 0; j < s->m; j++) {
    if (s->column_done[j])
      continue;
    if (best == SIZE_MAX || s->distance[j] < s->distance[best] ||
        (s->distance[j] <= s->distance[best] && s->wanted[j] > 0 && !(s->wanted[best] > 0)))
      best = j;
  }
  return best;
}

/* The nearest column that wants something, by way of what is carried already. */
static size_t find_path(struct solver *s, size_t row)
{
  memset(s->column_done, 0, s->m * sizeof *s->column_done);
  memset(s->row_done, 0, s->n * sizeof *s->row_done);
  for (size_t j = 0; j < s->m; j++)
    s->distance[j] = INFINITY;
  look_from(s, row, 0, 0);
  for (;;) {
    const size_t j = nearest(s);
    if (j == SIZE_MAX || s->wanted[j] > 0)
      return j;
    s->column_done[j] = true;
    for (size_t i = 0; i < s->n; i++) {
      if (s->row_done[i] || !(s->plan[i * s->m + j] > 0))
        continue;
      s->column_before[i] = j;
      look_from(s, i, s->distance[j], reduced(s, i, j));
    }
  }
}

static void carry(struct solver *s, size_t row, size_t end)
{
  double most = fmin(s->left[row], s->wanted[end]);
  for (size_t i = s->row_before[end]; i != row; i = s->row_before[s->column_before[i]])
    most = fmin(most, s->plan[i * s->m + s->column_before[i]]);
  for (size_t j = end;;) {
    const size_t i = s->row_before[j];
    s->plan[i * s->m + j] += most;
    if (i == row)
      break;
    j = s->column_before[i];
    s->plan[i * s->m + j] -= most;
  }
  s->left[row] -= most;
  s->wanted[end] -= most;
}

static void solve(struct solver *s)
{
  for (size_t row = 0; row < s->n; row++)
    while (s->left[row] > 0) {
      const size_t end = find_path(s, row);
      if (end == SIZE_MAX)
        break; /* sums that differ by rounding */
      for (size_t j = 0; j < s->m; j++)
        if (s->column_done[j])
          s->dual[j] += s->distance[j] - s->distance[end];
      carry(s, row, end);
    }
}

static bool is_assignment(size_t n, size_t m, const double *supply, const double *demand)
{
  for (size_t i = 0; i < n && n == m; i++)
    if (supply[i] != supply[0] || demand[i] != supply[0])
      return false;
  return n == m;
}

static bool assign(size_t n, const double *cost, double each, double *plan)
{
  uint32_t *column = mem_alloc((n + 1) * sizeof *column);
  const bool ok = assignment_solve(n, cost, ASSIGNMENT_MINIMISE, column, NULL, NULL);
  for (size_t i = 0; ok && i < n; i++)
    plan[i * n + column[i]] = each;
  free(column);
  return ok;
}

bool transport_solve(size_t n, size_t m, const double *cost, const double *supply,
                     const double *demand, double *plan)
{
  double bad = 0; /* 0 * x is NaN for every x that is not finite */
  for (size_t k = 0; k < n * m; k++)
    bad += 0 * cost[k];
  memset(plan, 0, n * m * sizeof *plan);
  if (bad != 0)
    return false;
  if (n && is_assignment(n, m, supply, demand))
    return assign(n, cost, supply[0], plan);
  struct arena *a = arena_new();
  struct solver s = {.n = n,
                     .m = m,
                     .cost = cost,
                     .plan = plan,
                     .left = arena_copy(a, supply, n * sizeof *supply),
                     .wanted = arena_copy(a, demand, m * sizeof *demand),
                     .dual = arena_array(a, m, sizeof *s.dual),
                     .distance = arena_array(a, m, sizeof *s.distance),
                     .row_before = arena_array(a, m, sizeof *s.row_before),
                     .column_before = arena_array(a, n, sizeof *s.column_before),
                     .column_done = arena_array(a, m, sizeof *s.column_done),
                     .row_done = arena_array(a, n, sizeof *s.row_done)};
  solve(&s);
  arena_free(a);
  return true;
}
