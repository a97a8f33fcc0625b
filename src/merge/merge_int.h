/* What several merging methods do. */
#ifndef MERGESCAPE_MERGE_MERGE_INT_H
#define MERGESCAPE_MERGE_MERGE_INT_H

#include "merge/merge.h"

/* a + alpha * (b - a); for alpha 0 and 1 the model itself. */
void merge_between(double alpha, const float *a, const float *b, size_t n, float *out);
void merge_mean(const float *const *models, size_t n_models, size_t n, float *out);
double merge_dot(const float *a, const float *b, size_t n);

#endif
