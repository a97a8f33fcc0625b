#include "merge/merge_loops.h"

#include <string.h>

#ifdef MERGE_AVX2
#define LOOPS merge_loops_avx2
enum { LANES = 4 };
#else
#define LOOPS merge_loops_baseline
enum { LANES = 2 };
#endif

/* Doubles, what comparing them gives, and as many floats and keys. */
typedef double vec __attribute__((vector_size(8 * LANES)));
typedef double vec_any __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
typedef int64_t mask __attribute__((vector_size(8 * LANES)));
typedef float narrow __attribute__((vector_size(4 * LANES)));
typedef int32_t key __attribute__((vector_size(4 * LANES)));
typedef int32_t key_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Macros, for a function that takes vectors has no fixed interface. */
#define AT(p, i) ((vec) * (const vec_any *)((p) + (i)))
#define INTO(p, i) (*(vec_any *)((p) + (i)))
#define WHERE(m, v) ((vec)((m) & (mask)(v)))
#define PICK(m, a, b) ((vec)(((m) & (mask)(a)) | (~(m) & (mask)(b))))
#define ALL(x) ((vec){0} + (x))

static void between(double alpha, const double *a, const double *b, size_t n, double *out)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec x = AT(a, i), y = AT(b, i);
    INTO(out, i) = PICK(x == y, x, x + alpha * (y - x));
  }
}

static void delta(const double *model, const double *base, size_t n, double *out)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec x = AT(model, i), y = AT(base, i);
    INTO(out, i) = WHERE(x != y, x - y);
  }
}

static void add(const double *base, double factor, const double *sum, size_t n, double *out)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec b = AT(base, i), s = AT(sum, i);
    INTO(out, i) = PICK(s == 0.0, b, b + factor * s);
  }
}

static void find_keys(const double *x, size_t n, int32_t *keys)
{
  for (size_t i = 0; i < n; i += LANES)
    *(key_any *)(keys + i) = (key) __builtin_convertvector(AT(x, i), narrow) & 0x7fffffff;
}

static void trim(double *x, const int32_t *keys, int32_t least, size_t n)
{
  for (size_t i = 0; i < n; i += LANES) {
    key kept = (key) * (const key_any *)(keys + i) >= least;
    INTO(x, i) = WHERE(__builtin_convertvector(kept, mask), AT(x, i));
  }
}

/* Few lie in the bins: eight are looked at before one is taken. */
static uint64_t count(const int32_t *keys, size_t n, int32_t low, int32_t n_bins, uint64_t *bins)
{
  enum { BLOCK = 8 };
  typedef int32_t block __attribute__((vector_size(4 * BLOCK), aligned(4), may_alias));
  const int32_t high = low + n_bins;
  block above = {0};
  size_t i = 0;
  uint64_t all = 0;
  for (; i + BLOCK <= n; i += BLOCK) {
    block k = *(const block *)(keys + i), over = k >= high, inside = (k >= low) & ~over;
    uint64_t any[BLOCK / 2];
    memcpy(any, &inside, sizeof any);
    above -= over;
    if (any[0] | any[1] | any[2] | any[3])
      for (size_t j = i; j < i + BLOCK; j++)
        if (keys[j] >= low && keys[j] < high)
          bins[keys[j] - low]++;
  }
  for (size_t j = 0; j < BLOCK; j++)
    all += (uint64_t)above[j];
  for (; i < n; i++) {
    all += keys[i] >= high;
    if (keys[i] >= low && keys[i] < high)
      bins[keys[i] - low]++;
  }
  return all;
}

static void vote(struct merge_votes *v, const double *entries, size_t n)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec e = AT(entries, i);
    mask up = e > 0.0, down = e < 0.0;
    INTO(v->above, i) += WHERE(up, e);
    INTO(v->below, i) -= WHERE(down, e);
    INTO(v->n_above, i) += WHERE(up, ALL(1.0));
    INTO(v->n_below, i) += WHERE(down, ALL(1.0));
  }
}

static void elect(const struct merge_votes *v, bool mean, int undecided, double scale,
                  const double *base, size_t n, double *out)
{
  const mask up_if_equal = (mask){0} - (undecided > 0), down_if_equal = (mask){0} - (undecided < 0);
  for (size_t i = 0; i < n; i += LANES) {
    vec above = AT(v->above, i), below = AT(v->below, i), b = AT(base, i);
    mask equal = above == below;
    mask up = (above > below) | (equal & up_if_equal);
    mask down = (above < below) | (equal & down_if_equal);
    vec voters = PICK(up, AT(v->n_above, i), AT(v->n_below, i));
    vec sum = PICK(up, above, -below);
    mask changes = (up | down) & (voters > 0.0);
    vec value = mean ? sum / PICK(changes, voters, ALL(1.0)) : sum;
    INTO(out, i) = PICK(changes, b + scale * value, b);
  }
}

const struct merge_loops LOOPS = {between, delta, add, find_keys, trim, count, vote, elect};
