/* DARE: what it drops, rescales and elects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "merge_fixture.h"

/* ---- DARE ---- */

static void dare_without_dropping_is_task_arithmetic(void **state)
{
  (void)state;
  static float dare[N], plain[N];
  static const double scales[] = {0.5, -1, 0.25};
  fill(1, false);
  for (size_t n = 2; n < MODELS; n++)
    for (int listed = 0; listed < 2; listed++) {
      const struct merge_args args = {.scale = 0.3, .scales = listed ? scales : NULL};
      merge("dare", &args, n, with_base(0, n), dare);
      merge("task_arithmetic", &args, n, with_base(0, n), plain);
      assert_memory_equal(dare, plain, sizeof dare);
      double expected[N];
      for (int i = 0; i < N; i++) {
        expected[i] = (double)inputs[MODELS - 1][i];
        for (size_t k = 0; k < n; k++)
          expected[i] +=
              (listed ? scales[k] : 0.3) * ((double)inputs[k][i] - (double)inputs[MODELS - 1][i]);
      }
      assert_same(plain, expected, 1e-5);
    }
}

/* An entry of one model's task vector is dropped or grows by 1 / (1 - p); running statistics
 * are neither. */
static void dare_drops_and_rescales(void **state)
{
  (void)state;
  static float out[N], full[N];
  static const double drops[] = {0.1, 0.5, 0.9};
  fill(2, false);
  for (int c = 0; c < 3; c++) {
    const double p = drops[c];
    const struct merge_args args = {.scale = 1, .drop = p, .seed = 5};
    size_t dropped = 0, entries = 0;
    merge("dare", &args, 1, with_base(0, 1), out);
    for (int t = 0; t < TENSORS; t++)
      for (size_t i = offsets[t]; i < offsets[t + 1]; i++) {
        double base = (double)inputs[MODELS - 1][i], d = (double)inputs[0][i] - base;
        if (d == 0 || tensors[t].buffer) {
          assert_true(out[i] == inputs[0][i]);
          continue;
        }
        bool gone = out[i] == inputs[MODELS - 1][i];
        entries++;
        dropped += gone;
        if (!gone)
          assert_true(fabs((double)out[i] - (base + d / (1 - p))) < 1e-5);
      }
    double share = (double)dropped / (double)entries;
    assert_true(fabs(share - p) < 4 * sqrt(p * (1 - p) / (double)entries));
    merge("dare", &args, 1, with_base(0, 1), full);
    assert_memory_equal(out, full, sizeof out);
  }
}

/* The mean over seeds is the task arithmetic that it thins out, and two models' masks are
 * independent: the variance of a sum is the sum of variances. */
static void dare_is_right_on_average(void **state)
{
  (void)state;
  enum { SEEDS = 400 };
  static float out[N], plain[N];
  static double mean[N], square[N];
  struct merge_args args = {.scale = 1, .drop = 0.6};
  fill(4, false);
  merge("task_arithmetic", &args, 2, with_base(0, 2), plain);
  memset(mean, 0, sizeof mean);
  memset(square, 0, sizeof square);
  for (args.seed = 0; args.seed < SEEDS; args.seed++) {
    merge("dare", &args, 2, with_base(0, 2), out);
    for (int i = 0; i < N; i++) {
      double moved = (double)out[i] - (double)plain[i];
      mean[i] += moved / SEEDS;
      square[i] += moved * moved / SEEDS;
    }
  }
  double chi = 0, ratio = 0;
  size_t n = 0;
  for (int i = 0; i < N; i++) {
    double a = (double)inputs[0][i] - (double)inputs[MODELS - 1][i];
    double b = (double)inputs[1][i] - (double)inputs[MODELS - 1][i];
    double variance = args.drop / (1 - args.drop) * (a * a + b * b);
    if (variance == 0 || ((size_t)i >= offsets[2] && (size_t)i < offsets[3]))
      continue;
    if (fabs(mean[i]) > 5 * sqrt(variance / SEEDS))
      fail_msg("[%d]: off by %g on average", i, mean[i]);
    chi += mean[i] * mean[i] / (variance / SEEDS);
    ratio += square[i] / variance;
    n++;
  }
  assert_true(n > 2000);
  assert_true(fabs(chi / (double)n - 1) < 5 * sqrt(2 / (double)n));
  assert_true(fabs(ratio / (double)n - 1) < 0.01);
}

/* Dropping, then an election without trimming. */
static void dare_can_elect(void **state)
{
  (void)state;
  static float out[N];
  static double expected[N];
  fill(5, true);
  struct merge_args args = {.scale = 0.7, .elect = true, .aggregate = MERGE_SUM};
  for (int c = 0; c < 2; c++) {
    args.aggregate = c ? MERGE_MEAN : MERGE_SUM;
    args.keep = 1;
    merge("dare", &args, 3, with_base(0, 3), out);
    plain_ties(&args, 3, expected);
    assert_same(out, expected, 1e-5);
  }
  /* Of one model nothing is to be elected. */
  static float summed[N];
  struct merge_args one = {.scale = 0.7, .drop = 0.5, .seed = 9};
  merge("dare", &one, 1, with_base(1, 1), summed);
  one.elect = true;
  merge("dare", &one, 1, with_base(1, 1), out);
  for (int i = 0; i < N; i++)
    expected[i] = (double)summed[i];
  assert_same(out, expected, 1e-5);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dare_without_dropping_is_task_arithmetic),
      cmocka_unit_test(dare_drops_and_rescales),
      cmocka_unit_test(dare_is_right_on_average),
      cmocka_unit_test(dare_can_elect),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
