/* TIES against a short, plain reference, and the K-th largest that it selects by. */
#include "merge/merge_select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "merge_fixture.h"

/* ---- TIES ---- */

static void ties_agrees_with_the_reference(void **state)
{
  (void)state;
  static float out[N];
  static double expected[N];
  static const double keeps[] = {0.001, 0.1, 0.2, 0.5, 0.99, 1};
  for (int coarse = 0; coarse < 2; coarse++)
    for (unsigned c = 0; c < 6 * 8; c++) {
      struct merge_args args = {.keep = keeps[c / 8],
                                .scale = c % 3 ? 1 : 0.4,
                                .scope = c & 1 ? MERGE_EACH_TENSOR : MERGE_WHOLE_MODEL,
                                .aggregate = c & 2 ? MERGE_SUM : MERGE_MEAN,
                                .undecided = c & 4 ? MERGE_MAJORITY : MERGE_NEITHER};
      fill(c, coarse);
      for (size_t n = 1; n < MODELS; n++) {
        merge("ties", &args, n, with_base(0, n), out);
        plain_ties(&args, n, expected);
        assert_same(out, expected, 1e-5);
      }
    }
}

/* Two models of five entries, base 10, keep 0.4 of them: two.
 *
 *          model - base          of the two largest
 *   A    4   -3    2   0   1      4   -3    0   0   0
 *   B   -4    5    5   0  -1      0    5    5   0   0     (5 twice; -4 is third)
 *   sum                           4    2    5   0   0
 *   mean of those of that sign    4    5    5   0   0
 *
 * With keep 0.6 (three): A keeps 4 -3 2, B keeps -4 5 5; the first entry's sum is zero. */
static void ties_by_hand(void **state)
{
  (void)state;
  static const float a[] = {14, 7, 12, 10, 11}, b[] = {6, 15, 15, 10, 9};
  static const float base[] = {10, 10, 10, 10, 10};
  const float *const models[] = {a, b, base};
  const struct merge_tensor tensor = {"w", 5, false};
  static const struct {
    double keep, scale;
    enum merge_aggregate aggregate;
    enum merge_undecided undecided;
    float expected[5];
  } cases[] = {
      {0.4, 1, MERGE_MEAN, MERGE_NEITHER, {14, 15, 15, 10, 10}},
      {0.4, 0.5, MERGE_MEAN, MERGE_NEITHER, {12, 12.5, 12.5, 10, 10}},
      {0.6, 1, MERGE_MEAN, MERGE_NEITHER, {10, 15, 13.5, 10, 10}},
      /* The second and third entry are above: so is the first. */
      {0.6, 1, MERGE_MEAN, MERGE_MAJORITY, {14, 15, 13.5, 10, 10}},
      {0.6, 1, MERGE_SUM, MERGE_NEITHER, {10, 15, 17, 10, 10}},
      {1, 1, MERGE_SUM, MERGE_MAJORITY, {14, 15, 17, 10, 11}},
  };
  struct arena *arena = arena_new();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct merge_args args = {.keep = cases[i].keep,
                                    .scale = cases[i].scale,
                                    .aggregate = cases[i].aggregate,
                                    .undecided = cases[i].undecided};
    float out[5];
    assert_true(merge_flat(&merge_ties, &args, 2, &tensor, 1, models, out, diag_new(arena)));
    assert_memory_equal(out, cases[i].expected, sizeof out);
  }
  arena_free(arena);
}

/* One model: its largest entries move by scale, the others stay. */
static void ties_of_one_model_trims(void **state)
{
  (void)state;
  static float out[N];
  fill(3, false);
  const struct merge_args args = {.keep = 0.25, .scale = 1};
  merge("ties", &args, 1, with_base(0, 1), out);
  size_t moved = 0, ranked = 0;
  for (int t = 0; t < TENSORS; t++)
    for (size_t i = offsets[t]; i < offsets[t + 1]; i++) {
      assert_true(out[i] == inputs[0][i] || out[i] == inputs[MODELS - 1][i]);
      if (tensors[t].buffer)
        assert_true(out[i] == inputs[0][i]);
      ranked += !tensors[t].buffer;
      moved += !tensors[t].buffer && out[i] != inputs[MODELS - 1][i];
    }
  assert_int_equal(moved, (ranked + 2) / 4);
}

/* ---- the K-th largest ---- */

enum { KEYS = 3 << 20 };

static int32_t keys[KEYS], sorted[KEYS];

static int falling_keys(const void *a, const void *b)
{
  const int32_t *x = a, *y = b;
  return *x > *y ? -1 : *x < *y;
}

/* The passes that it took; each shows all, the first but one stretch in three. */
static unsigned select_in_passes(struct merge_select *s, size_t n, uint64_t k, bool sample)
{
  unsigned passes = 0;
  merge_select_begin(s, n, k);
  while (!merge_select_next(s)) {
    for (size_t at = 0; at < n; at += 1000)
      if (passes || !sample || at / 1000 % 3 == 0)
        merge_select_add(s, merge_loops(), keys + at, n - at < 1000 ? n - at : 1000);
    passes++;
    assert_true(passes < 6);
  }
  return passes;
}

static void check_select(struct merge_select *s, size_t n, bool sample, unsigned most)
{
  memcpy(sorted, keys, n * sizeof *keys);
  qsort(sorted, n, sizeof *sorted, falling_keys);
  const uint64_t ranks[] = {1, 2, n / 5, n / 2, n - 1, n};
  for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
    uint64_t k = ranks[i] ? ranks[i] : 1, kept = 0;
    unsigned passes = select_in_passes(s, n, k, sample);
    /* A sample says little about the smallest of all. */
    if (passes > (k > n / 2 ? 4 : most))
      fail_msg("%u passes for number %u of %zu", passes, (unsigned)k, n);
    int32_t key = merge_select_key(s);
    assert_int_equal(key, k < n ? sorted[k - 1] : 0);
    while (kept < n && sorted[kept] >= key)
      kept++;
    assert_int_equal(merge_select_kept(s), kept);
  }
}

static void selection_is_exact(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct merge_select *s = merge_select_new(a);
  struct rng r = rng_at(1, RNG_TEST, 0, 0, 0);
  static const size_t sizes[] = {1, 2, 3, 1000, 70000};
  /* All of it fits: one pass. */
  for (int i = 0; i < 5; i++)
    for (uint32_t range = 1; range; range = range < 1u << 30 ? range << 10 : 0) {
      for (size_t k = 0; k < sizes[i]; k++)
        keys[k] = (int32_t)rng_below(&r, range);
      check_select(s, sizes[i], false, 1);
    }
  /* Magnitudes of normal numbers, of several sizes: a sample and one pass. */
  for (size_t k = 0; k < KEYS; k++) {
    float f = fabsf((float)rng_normal(&r)) * (float)(1 + k / 1000 % 7);
    memcpy(&keys[k], &f, sizeof f);
  }
  check_select(s, KEYS, true, 2);
  arena_free(a);
}

/* What is sampled is unlike the rest: two passes more, and the answer is exact all the same. */
static void selection_survives_a_bad_sample(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct merge_select *s = merge_select_new(a);
  struct rng r = rng_at(2, RNG_TEST, 0, 0, 0);
  for (size_t k = 0; k < KEYS; k++)
    keys[k] = (int32_t)(k / 1000 % 3 ? rng_below(&r, INT32_MAX) : rng_below(&r, 5));
  check_select(s, KEYS, true, 4);
  assert_int_equal(select_in_passes(s, KEYS, KEYS / 5, true), 4);
  arena_free(a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ties_agrees_with_the_reference),
      cmocka_unit_test(ties_by_hand),
      cmocka_unit_test(ties_of_one_model_trims),
      cmocka_unit_test(selection_is_exact),
      cmocka_unit_test(selection_survives_a_bad_sample),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
