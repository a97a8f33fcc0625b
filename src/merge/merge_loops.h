/* The loops that merging spends its time in, compiled once an instruction set.  The results are
 * the same bits in all.
 *
 * Arrays hold whole vectors: a loop over n entries may read and write up to the next multiple of
 * MERGE_LANES. */
#ifndef MERGESCAPE_MERGE_MERGE_LOOPS_H
#define MERGESCAPE_MERGE_MERGE_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MERGE_LANES = 8 };

/* Sums of entries on each side of zero, and how many there are.  Of few entries at a time, so
 * that all of it stays in the first-level cache. */
enum { MERGE_VOTES = 512 };
struct merge_votes {
  double above[MERGE_VOTES], below[MERGE_VOTES];
  double n_above[MERGE_VOTES], n_below[MERGE_VOTES];
};

/* Random numbers of Philox4x32-10, as rng_philox has them of counter[0], counter[0] + 1, ... */
struct merge_draws {
  uint32_t key[2], counter[4];
};

struct merge_loops {
  /* a + alpha * (b - a); where they are equal, a. */
  void (*between)(double alpha, const double *a, const double *b, size_t n, double *out);
  /* model - base; where they are equal, infinities too, 0. */
  void (*delta)(const double *model, const double *base, size_t n, double *out);
  /* base + factor * sum; where the sum is zero, base. */
  void (*add)(const double *base, double factor, const double *sum, size_t n, double *out);
  /* The sum of the models times their weights (NULL: 1), divided; where all are equal, and not
   * `always`, the first. */
  void (*mix)(const double *const *models, size_t n_models, const double *weights, double divisor,
              bool always, size_t n, double *out);
  /* sum += weight * x */
  void (*accumulate)(double weight, const double *x, size_t n, double *sum);
  /* Four numbers a block, rounded up to MERGE_LANES blocks. */
  void (*draw)(const struct merge_draws *, size_t n_blocks, uint32_t *out);
  /* x *= factor; zero where the number drawn is below `limit`. */
  void (*drop)(const uint32_t *drawn, uint32_t limit, double factor, size_t n, double *x);
  /* The magnitudes of model - base as floats: of floats without sign the bits rank as the
   * values do. */
  void (*keys)(const double *model, const double *base, size_t n, int32_t *keys);
  /* Counts those of low .. low + n_bins - 1, each in its bin; returns how many lie above.
   * low + n_bins at most 2^31 - 1. */
  uint64_t (*count)(const int32_t *keys, size_t n, int32_t low, int32_t n_bins, uint64_t *bins);
  /* Of the entries times `weight`. */
  void (*vote)(struct merge_votes *, double weight, const double *entries, size_t n);
  /* Anew, of each model - base those whose key is the model's `least` or more. */
  void (*ballot)(const double *const *models, const double *base, const int32_t *least,
                 size_t n_models, size_t n, struct merge_votes *);
  /* base + scale * the mean (or sum) of the entries on the side whose sum is larger; where they
   * are equal, on the side that `undecided` is of (-1, 1), or on neither (0). */
  void (*elect)(const struct merge_votes *, bool mean, int undecided, double scale,
                const double *base, size_t n, double *out);
};

extern const struct merge_loops merge_loops_baseline, merge_loops_avx2, merge_loops_avx512;
/* "baseline", "avx2" or "avx512"; NULL: this machine does not run it. */
const struct merge_loops *merge_loops_isa(const char *name);
/* The fastest that this machine runs. */
const struct merge_loops *merge_loops(void);

#endif
