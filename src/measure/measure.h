/* Measurements of models: one file a measurement. */
#ifndef MERGESCAPE_MEASURE_MEASURE_H
#define MERGESCAPE_MEASURE_MEASURE_H

#include "engine/data.h"
#include "engine/net.h"

#define MEASURE_VERSION "1"

struct measure_evaluation {
  double loss;     /* mean cross-entropy, nats a label: of text, a token */
  double accuracy; /* share of labels whose logit is the largest, in [0, 1] */
};

/* Over a whole split, without augmentation, in inference mode; `work` is for
 * `batch` samples.  A logit that is not finite makes the loss NaN, and its
 * label counts as wrong. */
struct measure_evaluation measure_evaluate(struct net_work *, unsigned batch, const float *flat,
                                           const struct net *, const struct data_set *,
                                           enum data_split);

/* Euclidean distance, and cosine of the angle, of two weight vectors: over their
 * first n floats, net_params for all that is trained.  A cosine with a vector of
 * zeros is NaN. */
double measure_distance(const float *a, const float *b, size_t n);
double measure_cosine(const float *a, const float *b, size_t n);

/* The penultimate layer's features of up to `samples` samples, evenly spaced over
 * the split: [*count][net_features(net)], in inference mode, without augmentation;
 * `work` is for `batch` samples.  Release with free. */
double *measure_features(struct net_work *, unsigned batch, const float *flat, const struct net *,
                         const struct data_set *, enum data_split, unsigned samples, size_t *count);
/* Linear CKA (Kornblith et al. 2019, eq. 3 with linear kernels) of features x [n][p]
 * and y [n][q] of the same samples; both are centred in place.  From 0 to 1; NaN
 * where the features do not vary over the samples, or one is not finite. */
double measure_cka(size_t n, size_t p, double *x, size_t q, double *y);

/* Recomputes the batch-norm running statistics in `flat` as the plain average
 * over one pass of augmented training data (REPAIR, Jordan et al. 2023, and
 * SWA's update_bn): batches of `batch`, in the order of (seed, stream 0, epoch 0);
 * an incomplete last batch is left out. */
void measure_recalibrate(struct net_work *, unsigned batch, float *flat, const struct net *,
                         const struct data_set *, const struct data_augment *, uint64_t seed);

#endif
