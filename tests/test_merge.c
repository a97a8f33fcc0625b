#include "merge/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

enum { N = 1300, MODELS = 5 };

static float models[MODELS][N];
static const float *const pointers[MODELS] = {models[0], models[1], models[2], models[3],
                                              models[4]};

/* Numbers of very different sizes. */
static int fill(void **state)
{
  (void)state;
  uint32_t r = 7;
  for (int k = 0; k < MODELS; k++)
    for (int i = 0; i < N; i++) {
      r = r * 1664525 + 1013904223;
      models[k][i] = ldexpf((float)(int32_t)r, (int)(r >> 8) % 40 - 50);
    }
  return 0;
}

static void the_table(void **state)
{
  (void)state;
  assert_non_null(merge_find("linear"));
  assert_string_equal(merge_find("linear")->name, "linear");
  assert_int_equal(merge_find("linear")->min_models, 1);
  assert_int_equal(merge_find("linear")->max_models, 0);
  assert_null(merge_find("linea"));
  assert_null(merge_find(""));
}

static void two_models_interpolate(void **state)
{
  (void)state;
  static float out[N];
  static const double alphas[] = {0.5, 0.25, -0.5, 1.5, 1.0 / 3};
  for (int k = 0; k < 5; k++) {
    merge_linear(&(struct merge_args){alphas[k]}, pointers, 2, N, out);
    for (int i = 0; i < N; i++) {
      double a = (double)models[0][i], b = (double)models[1][i];
      double expected = (1 - alphas[k]) * a + alphas[k] * b;
      assert_true(fabs((double)out[i] - expected) <= 1e-7 * (fabs(a) + fabs(b)));
    }
  }
}

static void the_ends_are_exact(void **state)
{
  (void)state;
  static float out[N];
  merge_linear(&(struct merge_args){0}, pointers, 2, N, out);
  assert_memory_equal(out, models[0], sizeof out);
  merge_linear(&(struct merge_args){1}, pointers, 2, N, out);
  assert_memory_equal(out, models[1], sizeof out);
}

static void equal_models_merge_to_themselves(void **state)
{
  (void)state;
  static float out[N];
  const float *same[MODELS] = {models[2], models[2], models[2], models[2], models[2]};
  for (size_t n = 1; n <= MODELS; n++)
    for (double alpha = 0; alpha <= 1; alpha += 0.1) {
      memset(out, 0xff, sizeof out);
      merge_linear(&(struct merge_args){alpha}, same, n, N, out);
      assert_memory_equal(out, models[2], sizeof out);
    }
}

static void more_models_average(void **state)
{
  (void)state;
  static float out[N];
  for (size_t n = 3; n <= MODELS; n++) {
    merge_linear(&(struct merge_args){0.5}, pointers, n, N, out);
    for (int i = 0; i < N; i++) {
      double sum = 0, size = 0;
      for (size_t k = 0; k < n; k++) {
        sum += (double)models[k][i];
        size += fabs((double)models[k][i]);
      }
      assert_true(fabs((double)out[i] - sum / (double)n) <= 1e-7 * size);
    }
  }
}

static void sums_do_not_overflow(void **state)
{
  (void)state;
  const float a = 3e38f, b = -3e38f;
  const float *const p[] = {&a, &a, &a}, *const q[] = {&a, &b};
  float out;
  merge_linear(&(struct merge_args){0.5}, p, 3, 1, &out);
  assert_true(out == a);
  merge_linear(&(struct merge_args){0.5}, q, 2, 1, &out);
  assert_true(out == 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_table),           cmocka_unit_test(two_models_interpolate),
      cmocka_unit_test(the_ends_are_exact),  cmocka_unit_test(equal_models_merge_to_themselves),
      cmocka_unit_test(more_models_average), cmocka_unit_test(sums_do_not_overflow),
  };
  return cmocka_run_group_tests(tests, fill, NULL);
}
