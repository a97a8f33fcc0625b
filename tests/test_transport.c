/* Optimal transport against brute force and against assignment. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fuse_fixture.h"

#include "merge/assignment.h"

/* ---- transport ---- */

enum { MOST = 4 };

struct problem {
  size_t n, m;
  double cost[MOST * MOST], supply[MOST], demand[MOST];
};

static double total(size_t n, const double *cost, const double *plan)
{
  double sum = 0;
  for (size_t k = 0; k < n; k++)
    sum += cost[k] * plan[k];
  return sum;
}

/* All plans of whole numbers, place by place. */
static double least(const struct problem *p, size_t at, double *supply, double *demand)
{
  if (at == p->n * p->m) {
    for (size_t i = 0; i < p->n; i++)
      if (supply[i] > 0)
        return INFINITY;
    return 0;
  }
  const size_t i = at / p->m, j = at % p->m;
  const double most = fmin(supply[i], demand[j]);
  double best = INFINITY;
  if (j == 0 && i > 0 && supply[i - 1] > 0)
    return INFINITY;
  for (double amount = 0; amount <= most; amount++) {
    supply[i] -= amount;
    demand[j] -= amount;
    best = fmin(best, amount * p->cost[at] + least(p, at + 1, supply, demand));
    supply[i] += amount;
    demand[j] += amount;
  }
  return best;
}

static void transport_is_optimal(void **state)
{
  (void)state;
  double plan[MOST * MOST];
  for (uint32_t seed = 0; seed < 600; seed++) {
    struct rng r = rng_at(seed, RNG_TEST, 0, 0, 0);
    struct problem p = {.n = 1 + rng_below(&r, MOST), .m = 1 + rng_below(&r, 3)};
    const bool ties = seed % 2;
    for (unsigned k = 0; k < 3 * p.m; k++) { /* both sides of one sum */
      p.supply[rng_below(&r, (uint32_t)p.n)]++;
      p.demand[rng_below(&r, (uint32_t)p.m)]++;
    }
    for (size_t k = 0; k < p.n * p.m; k++)
      p.cost[k] = ties ? rng_below(&r, 3) : rng_normal(&r);
    assert_true(transport_solve(p.n, p.m, p.cost, p.supply, p.demand, plan));
    check_plan(p.n, p.m, p.supply, p.demand, plan);
    double supply[MOST], demand[MOST];
    memcpy(supply, p.supply, sizeof supply);
    memcpy(demand, p.demand, sizeof demand);
    const double best = least(&p, 0, supply, demand), found = total(p.n * p.m, p.cost, plan);
    if (fabs(found - best) > 1e-9)
      fail_msg("seed %u: cost %g, the least is %g", seed, found, best);
  }
  const double nan[] = {1, NAN}, one[] = {1, 1}, two[] = {2};
  assert_false(transport_solve(2, 1, nan, one, two, plan));
}

/* Each target as so many columns of an assignment; and units where the numbers do not divide. */
static void transport_is_an_assignment(void **state)
{
  (void)state;
  enum { N = 24 };
  static double cost[N * N], wide[N * N], supply[N], demand[N], plan[N * N];
  static uint32_t column[N];
  for (uint32_t m = 1; m < N; m++) {
    struct rng r = rng_at(m, RNG_TEST, 1, 0, 0);
    const size_t copies = N / m, rows = copies * m;
    for (size_t k = 0; k < rows * m; k++)
      cost[k] = rng_uniform(&r);
    for (size_t i = 0; i < rows; i++)
      for (size_t j = 0; j < rows; j++)
        wide[i * rows + j] = cost[i * m + j / copies];
    for (size_t i = 0; i < rows; i++)
      supply[i] = 1;
    for (size_t j = 0; j < m; j++)
      demand[j] = (double)copies;
    double want = 0;
    assert_true(assignment_solve(rows, wide, ASSIGNMENT_MINIMISE, column, NULL, NULL));
    for (size_t i = 0; i < rows; i++)
      want += wide[i * rows + column[i]];
    assert_true(transport_solve(rows, m, cost, supply, demand, plan));
    check_plan(rows, m, supply, demand, plan);
    assert_true(fabs(total(rows * m, cost, plan) - want) < 1e-9);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(transport_is_optimal),
      cmocka_unit_test(transport_is_an_assignment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
