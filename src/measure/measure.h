/* Measurements of models: one file a measurement. */
#ifndef MERGESCAPE_MEASURE_MEASURE_H
#define MERGESCAPE_MEASURE_MEASURE_H

#include "engine/data.h"
#include "engine/net.h"
#include "engine/net_linear.h"

#define MEASURE_VERSION "1"

struct measure_evaluation {
  double loss;     /* mean cross-entropy, nats a label: of text, a token */
  double accuracy; /* share of labels whose logit is the largest, in [0, 1] */
};

/* Over up to `samples` samples, evenly spaced over a split (0: all), without augmentation, in
 * inference mode; `work` is for `batch` samples.  A logit that is not finite makes the loss NaN,
 * and its label counts as wrong. */
struct measure_evaluation measure_evaluate(struct net_work *, unsigned batch, const float *flat,
                                           const struct net *, const struct data_set *,
                                           enum data_split, unsigned samples);

/* Euclidean distance, and cosine of the angle, of two weight vectors: over their
 * first n floats, net_params for all that is trained.  A cosine with a vector of
 * zeros is NaN. */
double measure_distance(const float *a, const float *b, size_t n);
double measure_cosine(const float *a, const float *b, size_t n);
double measure_norm(const float *a, size_t n);
/* The same cosine of the task vectors a - base and b - base (Ilharco et al. 2023). */
double measure_task_cosine(const float *a, const float *b, const float *base, size_t n);

/* The penultimate layer's features of up to `samples` samples, evenly spaced over
 * the split: [*count][net_features(net)], in inference mode, without augmentation;
 * `work` is for `batch` samples.  Release with free. */
double *measure_features(struct net_work *, unsigned batch, const float *flat, const struct net *,
                         const struct data_set *, enum data_split, unsigned samples, size_t *count);
/* Linear CKA (Kornblith et al. 2019, eq. 3 with linear kernels) of features x [n][p]
 * and y [n][q] of the same samples; both are centred in place.  From 0 to 1; NaN
 * where the features do not vary over the samples, or one is not finite. */
double measure_cka(size_t n, size_t p, double *x, size_t q, double *y);

/* The share of labels for which two models predict another class, over a whole split, in
 * inference mode. */
double measure_disagreement(struct net_work *, unsigned batch, const float *a, const float *b,
                            const struct net *, const struct data_set *, enum data_split);

/* The length of the weights whose scale changes nothing (net_scale_invariant): with a learning
 * rate lr they move as if it were lr / length^2 (van Laarhoven 2017; Arora et al. 2019).
 * NaN where a network has none. */
double measure_invariant_norm(const struct net *, const float *flat);

/* ---- the loss around a model ---- */

/* The mean loss over up to `samples` samples, evenly spaced over a split, in inference mode
 * (batch norm with its running statistics) and without augmentation, as a function of the
 * trainable weights.  `work` is a training one, for `batch` samples. */
struct measure_loss {
  struct net_work *work;
  const struct net *net;
  const struct data_set *set;
  enum data_split split;
  unsigned samples, batch;
};

/* The mean loss and its gradient [net_params], both in double. */
double measure_gradient(const struct measure_loss *, const float *flat, double *gradient);

/* A number, and how far off it may be. */
struct measure_estimate {
  double value, error;
};

/* Products with the Hessian are central differences of gradients, at a distance of a
 * thousandth of the weights' length to both sides, with ReLUs fixed as they are at the model:
 * their kinks count no more than in automatic differentiation.
 *
 * The largest eigenvalue: Lanczos (1950) from a random start, at most `steps` products; it
 * ends where the residual |Hv - value v| is below a thousandth of the value.  error: the
 * residual, within which there is an eigenvalue. */
struct measure_estimate measure_sharpness(const struct measure_loss *, const float *flat,
                                          unsigned steps);
/* The trace: the mean of v'Hv over `probes` random vectors of signs (Hutchinson 1990);
 * error: its standard error (NaN for one probe). */
struct measure_estimate measure_hessian_trace(const struct measure_loss *, const float *flat,
                                              unsigned probes);
/* The mean rise of the loss along `directions` random directions, in which each tensor moves
 * by `radius` times its length (after Li et al. 2018 and Andriushchenko et al. 2023);
 * error: its standard error. */
struct measure_estimate measure_average_sharpness(const struct measure_loss *, const float *flat,
                                                  double radius, unsigned directions);

/* Gradient noise, from the gradients of batches of `batch` samples: the trace of one
 * sample's covariance, batch times the variance between batches; and the tail index of the
 * noise's components by Mohammadi et al. (2015), as Simsekli et al. (2019) use it: 2 for
 * Gaussian noise, less for heavy tails.  NaN for fewer than two batches, the index for fewer
 * than 64 components. */
struct measure_noise {
  double trace, tail_index;
};
struct measure_noise measure_gradient_noise(const struct measure_loss *, const float *flat);

/* The diagonal of the Fisher matrix (Matena & Raffel 2022, section 3.2): the mean over up to
 * `samples` samples of the expected squares of the gradient of log p(y | x), in inference mode.
 * The expectation is over y as the model itself predicts it: over all classes, or of one draw a
 * sample (a label of a text each its own draw, given the tokens before it, which is unbiased too);
 * `empirical` takes the label that the sample has.  Over all classes needs a gradient a class,
 * and one label a sample. */
enum measure_expectation { MEASURE_EXACT, MEASURE_SAMPLED, MEASURE_EMPIRICAL };
/* "exact", "sampled", "empirical"; false: another word. */
bool measure_expectation_find(const char *word, enum measure_expectation *);
/* fisher [net_params], one for each trainable weight; m->batch does not matter.  A gradient that
 * is not finite stays so. */
void measure_fisher(const struct measure_loss *m, const float *flat, enum measure_expectation,
                    uint64_t seed, double *fisher);

/* Gram matrices X'X of what linear layers read, X a row a sample, token or pixel, over up to
 * `samples` training samples, evenly spaced, in inference mode and without augmentation.
 * linears [n] is the network's, all of them; grams[k] is [in][in], or NULL where it is not wanted.
 * `work` is for `batch` samples. */
void measure_grams(struct net_work *work, unsigned batch, const float *flat,
                   const struct data_set *, unsigned samples, const struct net_linear *linears,
                   size_t n, double *const *grams);

/* Recomputes the batch-norm running statistics in `flat` as the plain average
 * over one pass of augmented training data (REPAIR, Jordan et al. 2023, and
 * SWA's update_bn): batches of `batch`, in the order of (seed, stream 0, epoch 0);
 * an incomplete last batch is left out.  `samples`: the pass ends there; 0: all. */
void measure_recalibrate(struct net_work *, unsigned batch, float *flat, const struct net *,
                         const struct data_set *, const struct data_augment *, unsigned samples,
                         uint64_t seed);

#endif
