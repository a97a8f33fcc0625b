/* Batches of some of a split's samples, and gradients over them. */
#ifndef MERGESCAPE_MEASURE_INT_H
#define MERGESCAPE_MEASURE_INT_H

#include "measure/measure.h"

/* Of up to `samples` samples, evenly spaced over the split. */
struct measure_batches {
  const struct data_set *set;
  enum data_split split;
  unsigned samples, batch;
  unsigned first, n; /* of this batch */
  float *x;
  int32_t *labels;
  uint32_t *indices;
};

void measure_batches_begin(struct measure_batches *, const struct data_set *, enum data_split,
                           unsigned samples, unsigned batch);
bool measure_batches_next(struct measure_batches *); /* false: that was the last */
void measure_batches_end(struct measure_batches *);

/* A language model's logits are many a sample: as many samples as fit in 64 MB. */
unsigned measure_at_once(const struct net *, unsigned batch);

/* -log softmax(z)[label]; the largest is taken out first, so that nothing
 * overflows.  NaN where a logit is not finite.  *best: the first largest. */
double measure_cross_entropy(const float *z, unsigned n, int32_t label, unsigned *best);

/* Of n numbers that are not 0; NaN for fewer than 64. */
double measure_tail_index(size_t n, const double *x);

#endif
