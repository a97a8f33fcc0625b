#include "merge/merge_int.h"

#include <string.h>

enum { CHUNK = 512 };

static const struct merge_method methods[] = {
    {"linear", 1, 0, merge_linear},
    {"slerp", 2, 2, merge_slerp},
    {"task_arithmetic", 2, 0, merge_task_arithmetic},
    {"swa", 1, 0, merge_swa},
    {"plane", 3, 3, merge_plane},
};

const struct merge_method *merge_find(const char *name)
{
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
    if (!strcmp(methods[i].name, name))
      return &methods[i];
  return NULL;
}

/* The ends are copied: b - a loses small values of b beside a large a. */
void merge_between(double alpha, const float *a, const float *b, size_t n, float *out)
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
void merge_mean(const float *const *models, size_t n_models, size_t n, float *out)
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

double merge_dot(const float *a, const float *b, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)a[i] * (double)b[i];
  return sum;
}
