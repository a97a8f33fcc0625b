/* Ways of merging weight vectors: one file a method, one table. */
#ifndef MERGESCAPE_MERGE_MERGE_H
#define MERGESCAPE_MERGE_MERGE_H

#include "base/diag.h"

#include <stdbool.h>
#include <stddef.h>

#define MERGE_VERSION "1"

struct merge_args {
  size_t n_params; /* of the n floats, trainable ones, which come first: lengths and angles are
                      over these; what is computed from them holds for all n */
  double alpha;    /* linear, slerp: 0 is the first of two models, 1 the second */
  double scale;    /* task_arithmetic */
  double x, y;     /* plane */
};

/* out[i] from models[k][i], n floats each; out overlaps no input.  In double, so
 * that one rounding is left.  Equal models merge to themselves bit for bit.
 * false: the models do not determine the result (diagnostic). */
typedef bool merge_function(const struct merge_args *, const float *const *models, size_t n_models,
                            size_t n, float *out, struct diag *);

struct merge_method {
  const char *name;
  size_t min_models, max_models; /* the base is one of them; max 0: any number */
  merge_function *merge;
};

/* NULL: no such method. */
const struct merge_method *merge_find(const char *name);

/* (1 - alpha) * a + alpha * b (Frankle et al. 2020; paper, eq. 1); with other
 * than two models, their mean.  Computed as a + alpha * (b - a). */
merge_function merge_linear;

/* sin((1 - alpha) w) / sin(w) * a + sin(alpha w) / sin(w) * b with w the angle
 * between a and b (Shoemake 1985), over the whole model; linear where |cos w| is
 * above 0.9995 or a model is zero. */
merge_function merge_slerp;

/* base + scale * sum of (model - base) (Ilharco et al. 2023); the last model is the base. */
merge_function merge_task_arithmetic;

/* The mean of all models: snapshots of one run (Izmailov et al. 2018, SWA). */
merge_function merge_swa;

/* The point (x, y) of the plane through a, b and c (Izmailov et al. 2018, figure 1):
 * a + x * (b - a) + y * |b - a| * the unit vector of c - a's part at a right angle
 * to b - a.  a is (0, 0), b is (1, 0).  false: the three lie on a line, and y is not 0. */
merge_function merge_plane;

#endif
