#include "merge/merge_int.h"

#include <math.h>

static const double nearly_parallel = 0.9995;

bool merge_slerp(const struct merge_args *args, const float *const *models, size_t n_models,
                 size_t n, float *out, struct diag *d)
{
  (void)n_models;
  (void)d;
  const float *a = models[0], *b = models[1];
  double lengths = sqrt(merge_dot(a, a, args->n_params)) * sqrt(merge_dot(b, b, args->n_params));
  double cosine = merge_dot(a, b, args->n_params) / lengths;
  /* So that a cosine of 0 / 0 is linear too. */
  bool turns = fabs(cosine) <= nearly_parallel;
  if (!turns || args->alpha == 0 || args->alpha == 1) {
    merge_between(args->alpha, a, b, n, out);
    return true;
  }
  double angle = acos(cosine);
  double first = sin((1 - args->alpha) * angle) / sin(angle);
  double second = sin(args->alpha * angle) / sin(angle);
  for (size_t i = 0; i < n; i++)
    out[i] = (float)(first * (double)a[i] + second * (double)b[i]);
  return true;
}
