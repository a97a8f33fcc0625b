/* An operation against its naive twin in double, and its gradients against central
 * differences of the twin, for every instruction set of this machine.  After cmocka.h. */
#ifndef MERGESCAPE_TESTS_TWIN_H
#define MERGESCAPE_TESTS_TWIN_H

#include "base/arena.h"
#include "base/rng.h"
#include "engine/ops.h"

#include <math.h>
#include <string.h>

enum { MOST_INPUTS = 4 };

/* A function of some arrays, in double. */
struct twin {
  const void *shape;
  void (*run)(const struct twin *, double *y);
  size_t n[MOST_INPUTS], n_y;
  double *in[MOST_INPUTS];
};

static inline float *random_floats(struct arena *a, size_t n, uint32_t stream)
{
  struct rng r = rng_at(7, RNG_TEST, stream, 0, 0);
  float *v = arena_array(a, n + 1, sizeof *v);
  for (size_t i = 0; i < n; i++)
    v[i] = (float)rng_normal(&r);
  return v;
}

/* Random numbers, the same in float and in double. */
static inline float *input(struct arena *a, struct twin *t, unsigned k, size_t n)
{
  float *v = random_floats(a, n, k);
  t->n[k] = n;
  t->in[k] = arena_array(a, n + 1, sizeof *t->in[k]);
  for (size_t i = 0; i < n; i++)
    t->in[k][i] = (double)v[i];
  return v;
}

static inline void assert_near(double got, double want, double tolerance, const char *what,
                               size_t i)
{
  if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
    fail_msg("%s: [%zu] is %.9g, not %.9g", what, i, got, want);
}

static inline void check_output(struct arena *a, const struct twin *t, const float *y,
                                const char *what)
{
  double *want = arena_array(a, t->n_y, sizeof *want);
  t->run(t, want);
  for (size_t i = 0; i < t->n_y; i++)
    assert_near((double)y[i], want[i], 1e-5, what, i);
}

static inline double dot(const double *y, const float *upstream, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += y[i] * (double)upstream[i];
  return sum;
}

/* The slope of sum(upstream * y) along `way` of input k. */
static inline double slope_along(struct arena *a, const struct twin *t, unsigned k,
                                 const float *upstream, const double *way)
{
  double *y = arena_array(a, t->n_y, sizeof *y), rise = 0;
  double *was = arena_copy(a, t->in[k], t->n[k] * sizeof *was);
  const double h = 1e-6;
  for (int side = 1; side >= -1; side -= 2) {
    for (size_t i = 0; i < t->n[k]; i++)
      t->in[k][i] = was[i] + side * h * way[i];
    t->run(t, y);
    rise += side * dot(y, upstream, t->n_y);
  }
  memcpy(t->in[k], was, t->n[k] * sizeof *was);
  return rise / (2 * h);
}

/* grad, of sum(upstream * y) with respect to input k: some of its values, and all of them by the
 * slope along a random vector. */
static inline void check_gradient(struct arena *a, const struct twin *t, unsigned k,
                                  const float *upstream, const float *grad, const char *what)
{
  const size_t n = t->n[k];
  double *way = arena_array(a, n + 1, sizeof *way), square = 0, got = 0;
  for (size_t i = 0; i < n; i += 1 + n / 12) {
    way[i] = 1;
    assert_near((double)grad[i], slope_along(a, t, k, upstream, way), 1e-4, what, i);
    way[i] = 0;
  }
  const float *random = random_floats(a, n, 9);
  for (size_t i = 0; i < n; i++) {
    way[i] = (double)random[i];
    got += way[i] * (double)grad[i];
    square += pow((double)grad[i], 2);
  }
  const double want = slope_along(a, t, k, upstream, way);
  if (!(fabs(got - want) <= 2e-5 * sqrt(square) + 1e-6))
    fail_msg("%s: all together %.9g, not %.9g, with a norm of %g", what, got, want, sqrt(square));
}

typedef void check(const struct ops *);

static inline void each_set(check *one)
{
  static const char *const sets[] = {"baseline", "avx2", "avx512"};
  for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (ops)
      one(ops);
  }
}

#endif
