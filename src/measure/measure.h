/* Measurements of a model: one file a measurement, one table. */
#ifndef MERGESCAPE_MEASURE_MEASURE_H
#define MERGESCAPE_MEASURE_MEASURE_H

#include "engine/data.h"
#include "engine/net.h"

#define MEASURE_VERSION "1"

struct measure_evaluation {
  double loss;     /* mean cross-entropy, nats */
  double accuracy; /* share of samples whose largest logit is the label's, in [0, 1] */
};

/* Over a whole split, without augmentation, in inference mode; `work` is for
 * `batch` samples.  A logit that is not finite makes the loss NaN, and its
 * sample counts as wrong. */
struct measure_evaluation measure_evaluate(struct net_work *, unsigned batch, const float *flat,
                                           const struct net *, const struct data_set *,
                                           enum data_split);

/* Recomputes the batch-norm running statistics in `flat` as the plain average
 * over one pass of augmented training data (REPAIR, Jordan et al. 2023, and
 * SWA's update_bn): batches of `batch`, in the order of (seed, stream 0, epoch 0);
 * an incomplete last batch is left out. */
void measure_recalibrate(struct net_work *, unsigned batch, float *flat, const struct net *,
                         const struct data_set *, const struct data_augment *, uint64_t seed);

#endif
