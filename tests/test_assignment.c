#include "merge/assignment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 300 };

enum costs { UNIFORM, NORMAL, FEW_VALUES, EQUAL, PRODUCT, MIXED_SIZES, ZERO_ROWS, COST_KINDS };

static void draw(enum costs kind, uint32_t seed, size_t n, double *c)
{
  struct rng r = rng_at(seed, RNG_TEST, 0, 0, kind);
  for (size_t k = 0; k < n * n; k++) {
    const size_t i = k / n, j = k % n;
    switch (kind) {
    case UNIFORM:
      c[k] = rng_uniform(&r);
      break;
    case NORMAL:
      c[k] = rng_normal(&r);
      break;
    case FEW_VALUES:
      c[k] = (double)rng_below(&r, 4) - 2;
      break;
    case EQUAL:
      c[k] = -3;
      break;
    case PRODUCT: /* one good assignment, far from every greedy one (Machol & Wien 1977) */
      c[k] = (double)((i + 1) * (j + 1));
      break;
    case MIXED_SIZES:
      c[k] = ldexp(rng_normal(&r), (int)rng_below(&r, 40) - 20);
      break;
    default: /* dead units */
      c[k] = i % 3 && j % 2 ? rng_normal(&r) : 0;
      break;
    }
  }
}

static double sum(size_t n, const double *c, const uint32_t *column)
{
  double s = 0;
  for (size_t i = 0; i < n; i++)
    s += c[i * n + column[i]];
  return s;
}

static void assert_permutation(size_t n, const uint32_t *column)
{
  bool seen[MOST] = {false};
  for (size_t i = 0; i < n; i++) {
    assert_true(column[i] < n);
    assert_false(seen[column[i]]);
    seen[column[i]] = true;
  }
}

/* The best of all assignments that begin as column[0 .. fixed). */
static double best(size_t n, const double *c, double sign, uint32_t *column, size_t fixed)
{
  double most = -INFINITY;
  if (fixed == n)
    return sign * sum(n, c, column);
  for (size_t k = fixed; k < n; k++) {
    const uint32_t first = column[fixed];
    column[fixed] = column[k];
    column[k] = first;
    most = fmax(most, best(n, c, sign, column, fixed + 1));
    column[k] = column[fixed];
    column[fixed] = first;
  }
  return most;
}

static void small_ones_are_as_good_as_the_best_of_all(void **state)
{
  (void)state;
  double c[49];
  for (size_t n = 1; n <= 7; n++) {
    for (int kind = 0; kind < COST_KINDS; kind++) {
      for (uint32_t seed = 0; seed < (n == 7 ? 8 : 40); seed++) {
        draw((enum costs)kind, seed, n, c);
        for (int goal = 0; goal < 2; goal++) {
          const double sign = goal == ASSIGNMENT_MAXIMISE ? 1 : -1;
          uint32_t column[7], all[7] = {0, 1, 2, 3, 4, 5, 6};
          double size = 0;
          for (size_t k = 0; k < n * n; k++)
            size = fmax(size, fabs(c[k]));
          assert_true(assignment_solve(n, c, (enum assignment_goal)goal, column, NULL, NULL));
          assert_permutation(n, column);
          assert_true(fabs(sign * sum(n, c, column) - best(n, c, sign, all, 0)) <= 1e-14 * size);
        }
      }
    }
  }
}

/* A dual solution with the same sum: none can be better (weak duality). */
static void large_ones_are_proved(void **state)
{
  (void)state;
  static double c[MOST * MOST], u[MOST], v[MOST];
  static uint32_t column[MOST];
  static const size_t sizes[] = {8, 31, 100, MOST};
  for (int k = 0; k < 4; k++) {
    const size_t n = sizes[k];
    for (int kind = 0; kind < COST_KINDS; kind++) {
      for (int goal = 0; goal < 2; goal++) {
        const double sign = goal == ASSIGNMENT_MAXIMISE ? 1 : -1;
        draw((enum costs)kind, 11, n, c);
        assert_true(assignment_solve(n, c, (enum assignment_goal)goal, column, u, v));
        assert_permutation(n, column);
        double size = 0;
        for (size_t i = 0; i < n * n; i++)
          size = fmax(size, fabs(c[i]));
        for (size_t i = 0; i < n; i++) {
          for (size_t j = 0; j < n; j++)
            assert_true(sign * (u[i] + v[j] - c[i * n + j]) >= -1e-12 * size);
          assert_true(fabs(u[i] + v[column[i]] - c[i * n + column[i]]) <= 1e-12 * size);
        }
      }
    }
  }
}

static void planted_ones_are_found(void **state)
{
  (void)state;
  static double c[MOST * MOST];
  static uint32_t planted[MOST], column[MOST];
  struct rng r = rng_at(5, RNG_TEST, 0, 0, 0);
  draw(UNIFORM, 1, MOST, c);
  for (uint32_t i = 0; i < MOST; i++)
    planted[i] = i;
  rng_shuffle(&r, planted, MOST);
  for (size_t i = 0; i < MOST; i++)
    c[i * MOST + planted[i]] += 1;
  assert_true(assignment_solve(MOST, c, ASSIGNMENT_MAXIMISE, column, NULL, NULL));
  assert_memory_equal(column, planted, sizeof column);
}

static void what_is_not_finite_is_refused(void **state)
{
  (void)state;
  static const double bad[] = {NAN, INFINITY, -INFINITY};
  for (int k = 0; k < 3; k++) {
    double c[4] = {1, 2, 3, bad[k]};
    uint32_t column[2];
    assert_false(assignment_solve(2, c, ASSIGNMENT_MINIMISE, column, NULL, NULL));
  }
  assert_true(assignment_solve(0, NULL, ASSIGNMENT_MINIMISE, NULL, NULL, NULL));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_ones_are_as_good_as_the_best_of_all),
      cmocka_unit_test(large_ones_are_proved),
      cmocka_unit_test(planted_ones_are_found),
      cmocka_unit_test(what_is_not_finite_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
