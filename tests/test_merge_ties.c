/* Merges of task vectors and of Fisher-weighted models against short, plain references. */
#include "base/rng.h"
#include "merge/merge_int.h"
#include "merge/merge_select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5000, MODELS = 4, TENSORS = 4 };

/* Tensors of odd sizes, of which one is of running statistics. */
static const struct merge_tensor tensors[TENSORS] = {{"a.weight", 4100, false},
                                                     {"a.bias", 7, false},
                                                     {"n.running_var", 93, true},
                                                     {"b", 800, false}};
static const size_t offsets[TENSORS + 1] = {0, 4100, 4107, 4200, 5000};

/* Models of which many entries are those of the base, and many as far from it as others:
 * differences are multiples of 1/8 up to 2. */
static float inputs[MODELS][N];
static const float *const pointers[MODELS] = {inputs[0], inputs[1], inputs[2], inputs[3]};

static void fill(uint32_t seed, bool coarse)
{
  struct rng r = rng_at(seed, RNG_TEST, 0, 0, 0);
  for (int k = MODELS; k--;)
    for (int i = 0; i < N; i++) {
      float base = inputs[MODELS - 1][i];
      float step = coarse ? (float)((int)rng_below(&r, 33) - 16) / 8 : (float)rng_normal(&r);
      if (k == MODELS - 1)
        inputs[k][i] = (float)rng_below(&r, 64);
      else
        inputs[k][i] = rng_below(&r, 3) ? base + step : base;
    }
}

static void merge(const char *name, const struct merge_args *args, size_t n_models,
                  const float *const *from, float *out)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  if (!merge_flat(merge_find(name), args, n_models, tensors, TENSORS, from, out, d))
    fail_msg("%s: %s", name, diag_message(d, 0));
  arena_free(a);
}

/* The models k .. k + n - 1 and the base behind them. */
static const float **with_base(size_t k, size_t n)
{
  static const float *list[MODELS];
  for (size_t i = 0; i < n; i++)
    list[i] = inputs[k + i];
  list[n] = inputs[MODELS - 1];
  return list;
}

static void assert_same(const float *out, const double *expected, double tolerance)
{
  for (int i = 0; i < N; i++)
    if (!(fabs((double)out[i] - expected[i]) <= tolerance))
      fail_msg("[%d]: %.9g, not %.9g", i, (double)out[i], expected[i]);
}

/* ---- TIES ---- */

static int falling(const void *a, const void *b)
{
  const double *x = a, *y = b;
  return *x > *y ? -1 : *x < *y;
}

/* Zeroes what is below the K-th largest magnitude of a task vector's entries from .. to, of
 * which running statistics are none. */
static void trim(double *delta, size_t from, size_t to, double keep)
{
  static double size[N];
  size_t n = 0;
  for (size_t i = from; i < to; i++)
    if (i < offsets[2] || i >= offsets[3])
      size[n++] = fabs(delta[i]);
  qsort(size, n, sizeof *size, falling);
  double wanted = floor(keep * (double)n + 0.5);
  double least = n ? size[wanted < 1 ? 0 : (size_t)wanted - 1] : 0;
  for (size_t i = from; i < to; i++)
    if ((i < offsets[2] || i >= offsets[3]) && fabs(delta[i]) < least)
      delta[i] = 0;
}

static int side(double x)
{
  return (x > 0) - (x < 0);
}

static void plain_ties(const struct merge_args *args, size_t n_models, double *out)
{
  static double delta[MODELS][N];
  const float *base = inputs[MODELS - 1];
  for (size_t k = 0; k < n_models; k++) {
    for (int i = 0; i < N; i++)
      delta[k][i] = (double)inputs[k][i] - (double)base[i];
    if (args->scope == MERGE_WHOLE_MODEL)
      trim(delta[k], 0, N, args->keep);
    else
      for (int t = 0; t < TENSORS; t++)
        trim(delta[k], offsets[t], offsets[t + 1], args->keep);
  }
  int votes[TENSORS] = {0}, all = 0, sign[N];
  for (int t = 0; t < TENSORS; t++)
    for (size_t i = offsets[t]; i < offsets[t + 1]; i++) {
      double sum = 0;
      for (size_t k = 0; k < n_models; k++)
        sum += delta[k][i];
      sign[i] = side(sum);
      votes[t] += tensors[t].buffer ? 0 : sign[i];
      all += tensors[t].buffer ? 0 : sign[i];
    }
  for (int t = 0; t < TENSORS; t++)
    for (size_t i = offsets[t]; i < offsets[t + 1]; i++) {
      int elected = sign[i], n = 0;
      double sum = 0;
      if (!elected && args->undecided == MERGE_MAJORITY)
        elected = side(args->scope == MERGE_WHOLE_MODEL ? all : votes[t]);
      for (size_t k = 0; k < n_models; k++)
        if (elected && side(delta[k][i]) == elected) {
          sum += delta[k][i];
          n++;
        }
      if (n && args->aggregate == MERGE_MEAN)
        sum /= n;
      out[i] = (double)base[i] + args->scale * sum;
    }
}

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

/* ---- pieces ---- */

struct source {
  size_t n_inputs;
  const float *const *in;
  double *out;
};

static bool load(void *context, size_t tensor, uint64_t first, size_t n, double *const *in,
                 struct diag *d)
{
  const struct source *s = context;
  (void)d;
  for (size_t k = 0; k < s->n_inputs; k++)
    for (size_t i = 0; i < n; i++)
      in[k][i] = (double)s->in[k][offsets[tensor] + first + i];
  return true;
}

static bool store(void *context, size_t tensor, uint64_t first, size_t n, const double *const *in,
                  const double *out, struct diag *d)
{
  const struct source *s = context;
  (void)in, (void)d;
  memcpy(s->out + offsets[tensor] + first, out, n * sizeof *out);
  return true;
}

/* Bit for bit, in double: no method knows where its pieces begin. */
static void pieces_do_not_matter(void **state)
{
  (void)state;
  static double whole[N], parts[N];
  static float fishers[MODELS][N];
  static const size_t sizes[] = {1, 3, 255, 256, 1000};
  struct rng r = rng_at(8, RNG_TEST, 0, 0, 0);
  for (int k = 0; k < MODELS; k++)
    for (int i = 0; i < N; i++)
      fishers[k][i] = (float)rng_uniform(&r);
  fill(8, false);
  for (size_t m = 0; merge_at(m); m++)
    for (int variant = 0; variant < 2; variant++) {
      const struct merge_method *method = merge_at(m);
      size_t n = method->max_models ? method->max_models : 3;
      const float *from[2 * MODELS] = {inputs[0], inputs[1], inputs[2], inputs[3]};
      for (size_t k = 0; k < n && method->extra == MERGE_FISHERS; k++)
        from[n + k] = fishers[k];
      const struct merge_args args = {.alpha = 0.3,
                                      .scale = 0.7,
                                      .keep = 0.4,
                                      .drop = 0.3,
                                      .seed = 11,
                                      .x = 0.2,
                                      .y = 0.4,
                                      .elect = variant,
                                      .undecided = variant ? MERGE_MAJORITY : MERGE_NEITHER,
                                      .scope = variant ? MERGE_EACH_TENSOR : MERGE_WHOLE_MODEL};
      for (int c = -1; c < 5; c++) {
        struct arena *a = arena_new();
        struct source s = {merge_inputs(method, n), from, c < 0 ? whole : parts};
        struct merge_io io = {
            .context = &s, .load = load, .store = store, .piece = c < 0 ? 0 : sizes[c]};
        memset(s.out, 0xff, sizeof whole);
        assert_true(merge_tensors(method, &args, n, tensors, TENSORS, &io, NULL, a, diag_new(a)));
        if (c >= 0 && memcmp(whole, parts, sizeof whole))
          fail_msg("%s in pieces of %zu differs", method->name, sizes[c]);
        arena_free(a);
      }
    }
}

/* Two passes at model scope: one for the thresholds, one to merge; the sample is not counted. */
static void ties_reads_twice(void **state)
{
  (void)state;
  enum { BIG = 5 << 20 };
  struct arena *a = arena_new();
  float *v[3], *out = arena_array(a, BIG, sizeof *out);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  for (int k = 0; k < 3; k++) {
    v[k] = arena_array(a, BIG, sizeof *out);
    for (size_t i = 0; i < BIG; i++)
      v[k][i] = (float)rng_uniform(&r) * (float)(1 + i / 100000 % 5);
  }
  const struct merge_tensor tensor = {"w", BIG, false};
  const float *const models[] = {v[0], v[1], v[2]};
  double *doubles = arena_array(a, BIG, sizeof *doubles);
  struct source s = {3, models, doubles};
  struct merge_io io = {.context = &s, .load = load, .store = store};
  const struct merge_args args = {.keep = 0.2, .scale = 1};
  struct merge_report report;
  assert_true(merge_tensors(&merge_ties, &args, 2, &tensor, 1, &io, &report, a, diag_new(a)));
  assert_int_equal(report.scans, 1);
  assert_string_equal(report.remark, "20 % of the task vectors' entries were kept");
  /* As the whole vector at once has it. */
  assert_true(merge_flat(&merge_ties, &args, 2, &tensor, 1, models, out, diag_new(a)));
  for (size_t i = 0; i < BIG; i++)
    assert_true(out[i] == (float)doubles[i]);
  arena_free(a);
}

/* ---- instruction sets ---- */

static void fill_loops(struct rng *r, double *x, size_t n)
{
  for (size_t i = 0; i < n; i++)
    x[i] = rng_below(r, 3) ? rng_normal(r) : (double)rng_below(r, 3) - 1;
}

enum { LOOPS_OUT = 10, BINS = 1000, BLOCKS = MERGE_VOTES / 4 + 8 };

/* What every loop makes of the same numbers. */
struct loops_result {
  double out[LOOPS_OUT][MERGE_VOTES];
  int32_t keys[MERGE_VOTES];
  uint64_t bins[BINS], above;
  uint32_t drawn[4 * (BLOCKS + MERGE_LANES)];
};

struct loops_case {
  double a[MERGE_VOTES], b[MERGE_VOTES], c[MERGE_VOTES];
  size_t n, n_blocks;
  int undecided;
  int32_t low;
  uint32_t limit;
  struct merge_draws draws;
};

static void draw_case(struct rng *r, struct loops_case *c)
{
  c->n = 1 + rng_below(r, MERGE_VOTES);
  c->n_blocks = (c->n + 3) / 4 + rng_below(r, 8);
  fill_loops(r, c->a, MERGE_VOTES);
  fill_loops(r, c->b, MERGE_VOTES);
  memcpy(c->c, rng_below(r, 2) ? c->a : c->b, sizeof c->c);
  c->undecided = (int)rng_below(r, 3) - 1;
  c->low = (int32_t)rng_below(r, 0x3f800000);
  c->limit = rng_below(r, 9) ? rng_u32(r) : rng_below(r, 2) ? 0 : UINT32_MAX;
  for (int k = 0; k < 6; k++)
    (k < 2 ? c->draws.key : c->draws.counter)[k < 2 ? k : k - 2] = rng_u32(r);
}

static void run_loops(const struct merge_loops *l, const struct loops_case *c,
                      struct loops_result *o)
{
  static struct merge_votes v, w;
  const double *const models[] = {c->a, c->b, c->c};
  const double weights[] = {0.3, -0.7, 1.4};
  const int32_t least[] = {0x3f000000, 0x3f100000, c->low};
  const size_t n = c->n;
  memset(o, 0, sizeof *o);
  l->between(0.3, c->a, c->b, n, o->out[0]);
  l->delta(c->a, c->b, n, o->out[1]);
  l->add(c->a, 0.7, c->b, n, o->out[2]);
  l->mix(models, 3, weights, 1, false, n, o->out[3]);
  l->mix(models, 3, NULL, 3, true, n, o->out[4]);
  memcpy(o->out[5], c->b, sizeof c->b);
  l->accumulate(0.6, c->a, n, o->out[5]);
  l->draw(&c->draws, c->n_blocks, o->drawn);
  memcpy(o->out[6], c->a, sizeof c->a);
  l->drop(o->drawn, c->limit, 1.7, n, o->out[6]);
  l->keys(c->a, c->b, n, o->keys);
  o->above = l->count(o->keys, n, c->low, BINS, o->bins);
  merge_votes_clear(&w, n);
  l->vote(&w, 0.5, c->a, n);
  l->vote(&w, -2, c->b, n);
  l->elect(&w, true, c->undecided, 0.4, c->a, n, o->out[7]);
  l->ballot(models, c->b, least, 3, n, &v);
  l->elect(&v, true, c->undecided, 0.4, c->a, n, o->out[8]);
  l->elect(&v, false, c->undecided, 0.4, c->a, n, o->out[9]);
}

/* The numbers that nothing else compares with a plain reference. */
static void check_draws(const struct loops_case *c, const struct loops_result *o)
{
  size_t larger = 0;
  for (size_t i = 0; i < c->n_blocks; i++) {
    uint32_t counter[4], plain[4];
    memcpy(counter, c->draws.counter, sizeof counter);
    counter[0] += (uint32_t)i;
    rng_philox(counter, c->draws.key, plain);
    assert_memory_equal(plain, o->drawn + 4 * i, sizeof plain);
  }
  for (size_t i = 0; i < c->n; i++) {
    larger += o->keys[i] >= c->low + BINS;
    assert_true(o->out[6][i] == (o->drawn[i] < c->limit ? 0 : c->a[i] * 1.7));
  }
  assert_int_equal(o->above, larger);
}

/* The same bits, whatever the instruction set. */
static void loops_agree(void **state)
{
  (void)state;
  static const char *const names[] = {"avx2", "avx512"};
  static struct loops_case c;
  static struct loops_result plain, other;
  struct rng r = rng_at(9, RNG_TEST, 0, 0, 0);
  for (unsigned round = 0; round < 200; round++) {
    draw_case(&r, &c);
    run_loops(merge_loops_isa("baseline"), &c, &plain);
    check_draws(&c, &plain);
    for (int k = 0; k < 2; k++) {
      if (!merge_loops_isa(names[k]))
        continue;
      run_loops(merge_loops_isa(names[k]), &c, &other);
      for (int j = 0; j < LOOPS_OUT; j++)
        if (memcmp(plain.out[j], other.out[j], c.n * sizeof **plain.out))
          fail_msg("%s: loop %d gives other bits", names[k], j);
      assert_memory_equal(plain.keys, other.keys, c.n * sizeof *plain.keys);
      assert_memory_equal(plain.bins, other.bins, sizeof plain.bins);
      assert_int_equal(plain.above, other.above);
      assert_memory_equal(plain.drawn, other.drawn, 16 * c.n_blocks);
    }
  }
  assert_null(merge_loops_isa("avx"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ties_agrees_with_the_reference),
      cmocka_unit_test(ties_by_hand),
      cmocka_unit_test(ties_of_one_model_trims),
      cmocka_unit_test(selection_is_exact),
      cmocka_unit_test(selection_survives_a_bad_sample),
      cmocka_unit_test(dare_without_dropping_is_task_arithmetic),
      cmocka_unit_test(dare_drops_and_rescales),
      cmocka_unit_test(dare_is_right_on_average),
      cmocka_unit_test(dare_can_elect),
      cmocka_unit_test(fisher_weighs_entries),
      cmocka_unit_test(fishers_of_one_length),
      cmocka_unit_test(weights_are_taken_as_they_are),
      cmocka_unit_test(pieces_do_not_matter),
      cmocka_unit_test(ties_reads_twice),
      cmocka_unit_test(loops_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
