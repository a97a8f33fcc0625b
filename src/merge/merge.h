/* Ways of merging weight vectors: one file a method, one table. */
#ifndef MERGESCAPE_MERGE_MERGE_H
#define MERGESCAPE_MERGE_MERGE_H

#include "base/diag.h"

#include <stdbool.h>
#include <stddef.h>

#define MERGE_VERSION "1"

struct merge_args {
  double alpha; /* linear: weight of the second of two models (paper, eq. 1) */
};

struct merge_method {
  const char *name;
  size_t min_models, max_models; /* max 0: any number */
  /* out[i] from models[k][i], n floats each; out overlaps no input. */
  void (*merge)(const struct merge_args *, const float *const *models, size_t n_models, size_t n,
                float *out);
};

/* NULL: no such method. */
const struct merge_method *merge_find(const char *name);

/* (1 - alpha) * a + alpha * b (Frankle et al. 2020; paper, eq. 1); with other
 * than two models, their mean.  Computed as a + alpha * (b - a), so that two
 * equal models merge to themselves bit for bit. */
void merge_linear(const struct merge_args *, const float *const *models, size_t n_models, size_t n,
                  float *out);

#endif
