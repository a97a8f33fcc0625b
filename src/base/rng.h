/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011).
 *
 * A number is a pure function of (seed, purpose, stream, epoch, index): any
 * worker can draw it, in any order, after any interruption. */
#ifndef MERGESCAPE_BASE_RNG_H
#define MERGESCAPE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a stream of numbers is for.  The values are part of every result's
 * reproducibility: never renumber. */
enum rng_purpose {
  RNG_INIT = 1,    /* weights; index = tensor number */
  RNG_ORDER = 2,   /* order of the training samples in an epoch */
  RNG_AUGMENT = 3, /* flips and crops; index = sample */
  RNG_SUBSET = 4,  /* which samples a derived data set takes */
  RNG_PAIR = 5,    /* which items a composed sample is made of */
  RNG_BOOTSTRAP = 6, /* which units a resample holds; epoch = resample */
  RNG_SHIFT = 7,   /* noise in a shifted test split; index = sample */
  RNG_PROBE = 8,   /* random directions in weight space; index = tensor, stream = direction */
  RNG_MATCH = 9,   /* order of groups; stream = restart, epoch = pass, index 1 + g: to start from */
  RNG_DROP = 10,   /* which entries DARE drops; index and epoch = hash of the tensor's name */
  RNG_PATH = 11,   /* where on a path learned matching takes the loss; index = step */
  RNG_FISHER = 12, /* labels that a model predicts; index = sample */
  RNG_TEST = 1000  /* tests and benchmarks */
};

struct rng {
  uint32_t key[2];
  uint32_t counter[4];
  uint32_t block[4];
  unsigned left;
};

/* stream: 0 the trunk, k the k-th continuation of a branch. */
struct rng rng_at(uint64_t seed, enum rng_purpose, uint32_t stream, uint32_t epoch, uint32_t index);

uint32_t rng_u32(struct rng *);
uint32_t rng_below(struct rng *, uint32_t n); /* uniform in [0, n), unbiased; n > 0 */
double rng_uniform(struct rng *);             /* [0, 1), 53 bits */
double rng_normal(struct rng *);              /* Box-Muller, one of the pair */
void rng_shuffle(struct rng *, uint32_t *items, size_t n); /* Fisher-Yates */

/* The bare block function, for known-answer tests. */
void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
