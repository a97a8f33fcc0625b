#include "merge/merge.h"

#include <string.h>

enum { CHUNK = 512 };

/* In double, so that one rounding is left.  The ends are copied: b - a loses
 * small values of b beside a large a. */
static void between(double alpha, const float *a, const float *b, size_t n, float *out)
{
  if (alpha == 0 || alpha == 1) {
    memcpy(out, alpha == 0 ? a : b, n * sizeof *out);
    return;
  }
  for (size_t i = 0; i < n; i++)
    out[i] = (float)((double)a[i] + alpha * ((double)b[i] - (double)a[i]));
}

/* A piece at a time, which stays in the first-level cache for all models.  The
 * sum of equal floats is exact in double, and so is their mean. */
static void mean(const float *const *models, size_t n_models, size_t n, float *out)
{
  double sum[CHUNK];
  for (size_t first = 0; first < n; first += CHUNK) {
    size_t m = n - first < CHUNK ? n - first : CHUNK;
    for (size_t i = 0; i < m; i++)
      sum[i] = (double)models[0][first + i];
    for (size_t k = 1; k < n_models; k++)
      for (size_t i = 0; i < m; i++)
        sum[i] += (double)models[k][first + i];
    for (size_t i = 0; i < m; i++)
      out[first + i] = (float)(sum[i] / (double)n_models);
  }
}

void merge_linear(const struct merge_args *args, const float *const *models, size_t n_models,
                  size_t n, float *out)
{
  if (n_models == 2)
    between(args->alpha, models[0], models[1], n, out);
  else
    mean(models, n_models, n, out);
}
