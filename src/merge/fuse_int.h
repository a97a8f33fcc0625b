/* Weights with norms folded in, units' features, and carrying along the axes that groups lie on. */
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
/* Derivatives by the same weights, of derivatives by those of the model [net_params]: of matrices
 * and convolutions alone, 0 elsewhere and where a norm's scale is 0. */
double *fuse_fold_gradient(struct arena *, const struct fuse_model *, const double *gradient);
/* Back from folded weights, for a network of that kind. */
void fuse_unfold(const struct net *, const double *folded, float *out);

/* flat NULL: the shape alone. */
struct fuse_tensor fuse_view(const struct net_tensor *, const double *flat);
/* Along one axis by the maps that are known; the result is in the arena, or t as it is. */
struct fuse_tensor fuse_carry(struct arena *, const struct fuse_model *, const struct fuse_map *,
                              uint32_t tensor, unsigned axis, struct fuse_tensor t);
/* Where a use's channels begin on its axis, and how many places each takes. */
void fuse_place(const struct net *, const struct net_use *, size_t *first, size_t *run);

/* A row a unit. */
struct fuse_features {
  size_t n, width;
  double *v;
};

enum fuse_which {
  FUSE_AS_THEY_ARE, /* all weights, whatever the maps say */
  FUSE_CARRIED,     /* all, along their other axis carried by the maps that are known */
  FUSE_SETTLED,     /* those whose other axis is known in full */
  FUSE_SETTLED_CARRIED
};
/* Of a group's units: all weights that make or read them, in `w` [net_count]. */
struct fuse_features fuse_features_of(struct arena *, const struct fuse_model *, const double *w,
                                      size_t group, const struct fuse_map *, enum fuse_which);
void fuse_normalize(struct fuse_features *); /* each row by its length */
/* [n], of features f; gradient has the same rows and columns, and is read for FUSE_TAYLOR alone. */
double *fuse_importances(struct arena *, const struct fuse_features *f, enum fuse_importance,
                         const struct fuse_features *gradient);
/* The m most important, ascending; of equal ones the first. */
void fuse_most_important(size_t n, const double *importance, size_t m, size_t *kept);

/* What sources supply and targets want, in whole numbers of equal sums: all the same, or with
 * `importance` [n] (NULL: none) in its proportion, that of the target j being importance[kept[j]];
 * where all are 0 all are the same. */
void fuse_marginals(size_t n, size_t m, const double *importance, const size_t *kept,
                    double *supply, double *demand);

#endif
