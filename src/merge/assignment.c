/* Reduced costs are c[i][j] - v[j]; an assigned row has its smallest at its column.  Three
 * phases: every column takes its smallest row; rows that are left bid for the columns that they
 * want most; what is left then finds a shortest augmenting path, by Dijkstra's algorithm. */
#include "merge/assignment.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct solver {
  size_t n;
  double *c;                    /* [n][n], to be minimised */
  double *v;                    /* duals of columns */
  double *open, *closed, *dist; /* of columns, while a path is sought */
  uint32_t *row_of, *column_of, *from, *path;
};

static bool copy_costs(struct solver *s, const double *cost, bool maximise)
{
  double sum = 0; /* 0 * x is NaN for every x that is not finite */
  for (size_t k = 0; k < s->n * s->n; k++) {
    s->c[k] = maximise ? -cost[k] : cost[k];
    sum += 0 * cost[k];
  }
  return sum == 0;
}

static void assign(struct solver *s, uint32_t i, uint32_t j)
{
  s->column_of[i] = j;
  s->row_of[j] = i;
}

/* Each column takes the row where it is cheapest, if no other has it. */
static void reduce_columns(struct solver *s)
{
  uint32_t *least = s->from;
  for (size_t j = 0; j < s->n; j++)
    s->v[j] = INFINITY;
  for (uint32_t i = 0; i < s->n; i++) {
    const double *c = s->c + i * s->n;
    for (size_t j = 0; j < s->n; j++) {
      if (c[j] < s->v[j]) {
        s->v[j] = c[j];
        least[j] = i;
      }
    }
  }
  for (uint32_t j = 0; j < s->n; j++) {
    if (s->column_of[least[j]] == NONE)
      assign(s, least[j], j);
  }
}

struct bid {
  uint32_t first, second; /* columns */
  double least, next;     /* reduced costs of the two */
};

static struct bid two_least(const struct solver *s, uint32_t i)
{
  const double *c = s->c + i * s->n;
  struct bid b = {0, 0, INFINITY, INFINITY};
  for (uint32_t j = 0; j < s->n; j++) {
    const double reduced = c[j] - s->v[j];
    if (reduced >= b.next)
      continue;
    if (reduced < b.least) {
      b.second = b.first;
      b.next = b.least;
      b.first = j;
      b.least = reduced;
    } else {
      b.second = j;
      b.next = reduced;
    }
  }
  return b;
}

/* A free row takes its best column, which is made dearer by how much better it is than the
 * second best; whose column it was goes on bidding.  Two rounds, as in the article; the count of
 * bids is bounded, for rounding can make two rows take a column from one another for ever. */
static size_t bid_for_columns(struct solver *s, uint32_t *free_rows, size_t n_free)
{
  for (int round = 0; round < 2; round++) {
    size_t n = n_free, k = 0, bids = 0;
    n_free = 0;
    while (k < n) {
      const uint32_t i = free_rows[k++];
      if (bids++ >= 4 * s->n) {
        free_rows[n_free++] = i;
        continue;
      }
      const struct bid b = two_least(s, i);
      const bool better = b.least < b.next;
      uint32_t j = b.first;
      if (better && isfinite(b.next))
        s->v[j] -= b.next - b.least;
      else if (!better && s->row_of[j] != NONE)
        j = b.second;
      const uint32_t loser = s->row_of[j];
      assign(s, i, j);
      if (loser == NONE)
        continue;
      s->column_of[loser] = NONE;
      if (better)
        free_rows[--k] = loser;
      else
        free_rows[n_free++] = loser;
    }
  }
  return n_free;
}

/* The nearest open column; a free one where several are as near, for it ends the path. */
static uint32_t nearest(const struct solver *s)
{
  double least = s->open[0];
  uint32_t best = 0;
  for (size_t j = 1; j < s->n; j++)
    least = s->open[j] < least ? s->open[j] : least;
  for (uint32_t j = 0; j < s->n; j++) {
    if (s->open[j] > least)
      continue;
    best = j;
    if (s->row_of[j] == NONE)
      break;
  }
  return best;
}

/* A column whose distance is known is closed: `open` is infinite there, and with a dual of
 * minus infinity no path through it looks shorter. */
static void augment(struct solver *s, uint32_t row)
{
  const size_t n = s->n;
  size_t n_path = 0;
  uint32_t j;
  memcpy(s->closed, s->v, n * sizeof *s->v);
  for (size_t k = 0; k < n; k++) {
    s->open[k] = s->c[row * n + k] - s->v[k];
    s->from[k] = row;
  }
  for (;;) {
    j = nearest(s);
    const double reached = s->open[j];
    const uint32_t i = s->row_of[j];
    s->dist[j] = reached;
    if (i == NONE)
      break;
    s->path[n_path++] = j;
    s->open[j] = INFINITY;
    const double *c = s->c + i * n;
    const double base = c[j] - s->v[j] - reached;
    s->closed[j] = -INFINITY;
    for (size_t k = 0; k < n; k++) {
      const double d = c[k] - s->closed[k] - base;
      s->from[k] = d < s->open[k] ? i : s->from[k];
      s->open[k] = d < s->open[k] ? d : s->open[k];
    }
  }
  for (size_t k = 0; k < n_path; k++)
    s->v[s->path[k]] += s->dist[s->path[k]] - s->dist[j];
  for (uint32_t i = NONE; i != row;) {
    const uint32_t before = s->column_of[i = s->from[j]];
    assign(s, i, j);
    j = before;
  }
}

static void solve(struct solver *s)
{
  uint32_t *free_rows = mem_alloc(s->n * sizeof *free_rows);
  size_t n_free = 0;
  reduce_columns(s);
  for (uint32_t i = 0; i < s->n; i++) {
    if (s->column_of[i] == NONE)
      free_rows[n_free++] = i;
  }
  n_free = bid_for_columns(s, free_rows, n_free);
  for (size_t k = 0; k < n_free; k++)
    augment(s, free_rows[k]);
  free(free_rows);
}

bool assignment_solve(size_t n, const double *cost, enum assignment_goal goal, uint32_t *column,
                      double *row, double *col)
{
  const bool maximise = goal == ASSIGNMENT_MAXIMISE;
  double *numbers = mem_alloc((n * n + 4 * n) * sizeof *numbers);
  uint32_t *counts = mem_alloc(4 * n * sizeof *counts);
  struct solver s = {.n = n, .c = numbers, .v = numbers + n * n, .row_of = counts};
  s.open = s.v + n;
  s.closed = s.open + n;
  s.dist = s.closed + n;
  s.column_of = s.row_of + n;
  s.from = s.column_of + n;
  s.path = s.from + n;
  memset(counts, 0xff, 2 * n * sizeof *counts); /* NONE */
  const bool finite = copy_costs(&s, cost, maximise);
  if (finite && n) {
    solve(&s);
    memcpy(column, s.column_of, n * sizeof *column);
  }
  const double sign = maximise ? -1 : 1;
  for (size_t i = 0; finite && row && i < n; i++) {
    row[i] = sign * (s.c[i * n + column[i]] - s.v[column[i]]);
    col[i] = sign * s.v[i];
  }
  free(counts);
  free(numbers);
  return finite;
}
