/* Models with a base, of tensors of odd sizes, and merges of them.  Include after cmocka.h. */
#ifndef MERGESCAPE_TESTS_MERGE_FIXTURE_H
#define MERGESCAPE_TESTS_MERGE_FIXTURE_H

#include "base/rng.h"
#include "merge/merge_int.h"

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

static inline void fill(uint32_t seed, bool coarse)
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

static inline void merge(const char *name, const struct merge_args *args, size_t n_models,
                         const float *const *from, float *out)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  if (!merge_flat(merge_find(name), args, n_models, tensors, TENSORS, from, out, d))
    fail_msg("%s: %s", name, diag_message(d, 0));
  arena_free(a);
}

/* The models k .. k + n - 1 and the base behind them. */
static inline const float **with_base(size_t k, size_t n)
{
  static const float *list[MODELS];
  for (size_t i = 0; i < n; i++)
    list[i] = inputs[k + i];
  list[n] = inputs[MODELS - 1];
  return list;
}

static inline void assert_same(const float *out, const double *expected, double tolerance)
{
  for (int i = 0; i < N; i++)
    if (!(fabs((double)out[i] - expected[i]) <= tolerance))
      fail_msg("[%d]: %.9g, not %.9g", i, (double)out[i], expected[i]);
}

/* ---- TIES, as the article says it ---- */

static inline int falling(const void *a, const void *b)
{
  const double *x = a, *y = b;
  return *x > *y ? -1 : *x < *y;
}

/* Zeroes what is below the K-th largest magnitude of a task vector's entries from .. to, of
 * which running statistics are none. */
static inline void trim(double *delta, size_t from, size_t to, double keep)
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

static inline int side(double x)
{
  return (x > 0) - (x < 0);
}

static inline void plain_ties(const struct merge_args *args, size_t n_models, double *out)
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

#endif
