/* Weights with norms folded in, and carrying them along the axes that groups lie on. */
#ifndef MERGESCAPE_MERGE_FUSE_INT_H
#define MERGESCAPE_MERGE_FUSE_INT_H

#include "merge/fuse.h"

/* Of a group: what its `to` targets are made of, [to][from]. */
struct fuse_map {
  unsigned from, to;
  double *make; /* rows add up to 1: of weights that make a unit */
  double *read; /* columns add up to 1: of weights that read it */
  bool known;   /* else units stay as they are */
};

/* A tensor as [d0][d1][rest]. */
struct fuse_tensor {
  size_t d[2], rest;
  const double *v;
};

/* The model's weights in double, norms folded: [net_count].  A folded norm has its scale's
 * magnitude as its weight and the shift as its mean; another one scale and shift as weight and
 * bias. */
double *fuse_fold(struct arena *, const struct fuse_model *);
/* The other way round, for a network of that kind. */
void fuse_unfold(const struct net *, const double *folded, float *out);

/* flat NULL: the shape alone. */
struct fuse_tensor fuse_view(const struct net_tensor *, const double *flat);
/* Along one axis by the maps that are known; the result is in the arena. */
struct fuse_tensor fuse_carry(struct arena *, const struct fuse_model *, const struct fuse_map *,
                              uint32_t tensor, unsigned axis, struct fuse_tensor);
/* Where a use's channels begin on its axis, and how many places each takes. */
void fuse_place(const struct net *, const struct net_use *, size_t *first, size_t *run);

#endif
