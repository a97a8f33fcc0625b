/* The loss between two models while one of them is matched to the other. */
#ifndef MERGESCAPE_MERGE_MATCH_PATH_H
#define MERGESCAPE_MERGE_MATCH_PATH_H

#include "merge/match.h"

struct match_path {
  const struct match *match;
  struct net_work *work;
  const struct data_set *data;
  unsigned batch;                /* not more than there are samples */
  float *mapped, *middle, *grad; /* `mapped`: what `from` is matched to so far */
  float *x;
  int32_t *labels;
};

struct match_path match_path_new(struct arena *, const struct match *, struct net_work *,
                                 const struct data_set *, unsigned batch);

/* At (1 - lambda) to + lambda mapped, of training samples without augmentation, with the batch's
 * statistics; its gradient with respect to these weights into `grad`. */
double match_path_loss(struct match_path *, double lambda, const uint32_t *samples, unsigned n);

/* The mean over MATCH_LEARNED_SAMPLES samples at the midpoint: evenly spaced, the same each
 * time. */
double match_path_look(struct match_path *);

#endif
