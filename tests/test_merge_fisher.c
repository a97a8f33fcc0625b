/* Fisher-weighted merges against plain sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "merge_fixture.h"

/* ---- Fisher ---- */

static void fisher_weighs_entries(void **state)
{
  (void)state;
  static float fishers[2][N], out[N], linear[N];
  static const double halves[] = {0.5, 0.5}, uneven[] = {0.75, 0.25};
  struct rng r = rng_at(6, RNG_TEST, 0, 0, 0);
  fill(6, false);
  const float *from[] = {inputs[0], inputs[1], fishers[0], fishers[1]};
  for (int c = 0; c < 2; c++) {
    const double *w = c ? uneven : halves;
    struct merge_args args = {.weights = w};
    for (int k = 0; k < 2; k++)
      for (int i = 0; i < N; i++)
        fishers[k][i] = rng_below(&r, 3) ? (float)rng_uniform(&r) : 0;
    merge("fisher", &args, 2, from, out);
    for (int i = 0; i < N; i++) {
      double a = (double)inputs[0][i], b = (double)inputs[1][i];
      double fa = w[0] * (double)fishers[0][i], fb = w[1] * (double)fishers[1][i];
      double expected = fa + fb > 0 ? (fa * a + fb * b) / (fa + fb) : w[0] * a + w[1] * b;
      assert_true(fabs((double)out[i] - expected) < 1e-5);
    }
    /* A floor above all of them leaves the average, and so do equal ones. */
    args.floor = 2;
    merge("linear", &args, 2, from, linear);
    merge("fisher", &args, 2, from, out);
    for (int i = 0; i < N; i++)
      assert_true(fabsf(out[i] - linear[i]) <= 1e-6f * fabsf(linear[i]));
    args.floor = 0;
    const float *equal[] = {inputs[0], inputs[1], fishers[0], fishers[0]};
    merge("fisher", &args, 2, equal, out);
    for (int i = 0; i < N; i++)
      assert_true(fabsf(out[i] - linear[i]) <= 1e-6f * fabsf(linear[i]));
  }
  const struct merge_args none = {.alpha = 0.5};
  merge("linear", &none, 2, pointers, linear);
  merge("fisher", &none, 2, from, out);
  const float *equal[] = {inputs[0], inputs[1], fishers[0], fishers[0]};
  merge("fisher", &none, 2, equal, out);
  for (int i = 0; i < N; i++)
    assert_true(fabsf(out[i] - linear[i]) <= 1e-6f * fabsf(linear[i]));
}

/* A Fisher matrix four times as large weighs the same where all are brought to one length. */
static void fishers_of_one_length(void **state)
{
  (void)state;
  static float fishers[3][N], out[N], other[N], plain[N];
  const struct merge_args args = {.normalize = true}, none = {.floor = 0};
  struct rng r = rng_at(8, RNG_TEST, 0, 0, 0);
  fill(8, false);
  for (int i = 0; i < N; i++)
    for (int k = 0; k < 2; k++)
      fishers[k][i] = (float)rng_uniform(&r);
  for (int i = 0; i < N; i++)
    fishers[2][i] = 4 * fishers[1][i];
  const float *one[] = {inputs[0], inputs[1], fishers[0], fishers[1]};
  const float *large[] = {inputs[0], inputs[1], fishers[0], fishers[2]};
  merge("fisher", &args, 2, one, out);
  merge("fisher", &args, 2, large, other);
  assert_memory_equal(out, other, sizeof out);
  merge("fisher", &none, 2, large, plain);
  assert_memory_not_equal(out, plain, sizeof out);
}

static void weights_are_taken_as_they_are(void **state)
{
  (void)state;
  static float out[N];
  static double expected[N];
  static const double weights[] = {0.5, 0.3, 0.4};
  fill(7, false);
  const struct merge_args args = {.weights = weights};
  merge("linear", &args, 3, pointers, out);
  for (int i = 0; i < N; i++)
    expected[i] =
        0.5 * (double)inputs[0][i] + 0.3 * (double)inputs[1][i] + 0.4 * (double)inputs[2][i];
  assert_same(out, expected, 1e-5);
  const float *const same[] = {inputs[0], inputs[0], inputs[0]};
  merge("linear", &args, 3, same, out);
  for (int i = 0; i < N; i++)
    expected[i] = 1.2 * (double)inputs[0][i];
  assert_same(out, expected, 1e-5);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fisher_weighs_entries),
      cmocka_unit_test(fishers_of_one_length),
      cmocka_unit_test(weights_are_taken_as_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
