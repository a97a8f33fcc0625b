/* Permuting the channels of one network so that it fits another: three ways to find the
 * permutations, of which all leave the network's function as it is.
 *
 * Permutations are perms[g][i], of group g of the network (engine/net_groups.h): which channel
 * of `from` comes to place i. */
#ifndef MERGESCAPE_MERGE_MATCH_H
#define MERGESCAPE_MERGE_MATCH_H

#include "engine/data.h"
#include "engine/net_groups.h"
#include "engine/ops.h"

enum match_method { MATCH_WEIGHTS, MATCH_ACTIVATIONS, MATCH_LEARNED };

/* "weight_matching", "activation_matching", "learned_matching"; false: another name. */
bool match_find(const char *name, enum match_method *);

/* Two weight vectors of one network. */
struct match {
  const struct ops *ops;
  const struct net *net;
  const struct net_groups *groups;
  const float *to;   /* stays as it is */
  const float *from; /* is permuted */
};

uint32_t **match_identity(struct arena *, const struct net_groups *);

struct match_search {
  unsigned passes;   /* most passes over all groups */
  unsigned restarts; /* searches, of which the best is kept; 1 or more */
  uint64_t seed;     /* of the order of groups, and of where the second search on begins */
};

/* Weight matching (Ainsworth et al. 2023, section 3.2): the permutations with the largest inner
 * product of the trainable weights of `to` with those of the permuted `from`, by coordinate
 * ascent.  In each pass every group in turn, in random order, gets the best permutation for what
 * the others are (a linear assignment); a search ends with a pass that gains nothing (1e-12 of
 * the product of the vectors' lengths).  The first search begins with `perms`, the others with
 * random ones; perms becomes the best.  Assignments are exact for gains that are rounded to about
 * a float's precision; the product, in double, never falls.  Returns the product.
 * Weights must be finite. */
double match_weights(const struct match *, const struct match_search *, uint32_t **perms);

/* Activation matching (Li et al. 2016; Jordan et al. 2023): a group's units are assigned so that
 * the sum of the correlations of their activations is the largest, over pixels and up to
 * `samples` training samples, evenly spaced, without augmentation.  Activations are those behind
 * the activation function; where several layers share a group, their correlations are added up.
 * A unit that does not vary is correlated with none.  `work` is for `batch` samples.
 * false: an activation is not finite (diagnostic). */
bool match_activations(const struct match *, struct net_work *, unsigned batch,
                       const struct data_set *, unsigned samples, uint32_t **perms, struct diag *);

struct match_learning {
  struct match_search search; /* the first projection; the others go on from the last */
  unsigned epochs, batch;
  double lr, momentum; /* of SGD */
};

/* Learned matching, by the straight-through estimator (Ainsworth et al. 2023, section 3.3).
 * Free weights start at `to`.  For each batch `from` is projected onto them (weight matching from
 * where the last batch ended); the gradient of the loss at the midpoint of `to` and the permuted
 * `from`, with respect to the latter, moves the free weights.  Training samples, no augmentation;
 * batch norm uses the batch's statistics.  perms becomes the permutation whose midpoint had the
 * lowest loss on the same MATCH_LEARNED_SAMPLES training samples, looked at after the first
 * projection and MATCH_LEARNED_LOOKS times an epoch: so it is never worse there than weight
 * matching.  `work` is for training, for `batch` samples.  Returns that loss, NaN where none was
 * finite. */
double match_learned(const struct match *, const struct match_learning *, struct net_work *,
                     const struct data_set *, uint32_t **perms);

enum { MATCH_LEARNED_SAMPLES = 1024, MATCH_LEARNED_LOOKS = 4 };

/* Do two weight vectors compute the same function?  Logits of random inputs may differ by 1e-5
 * of the largest, or of 1.  false: a diagnostic. */
bool match_same_function(const struct net *, struct net_work *, const float *a, const float *b,
                         struct diag *);

/* Floating-point operations of one pass of weight matching, assignments left out; and of the
 * correlations of a sample's activations. */
double match_pass_flops(const struct net_groups *);
double match_sample_flops(const struct net_groups *);

#endif
