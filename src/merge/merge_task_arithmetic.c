#include "merge/merge_int.h"

enum { CHUNK = 512 };

bool merge_task_arithmetic(const struct merge_args *args, const float *const *models,
                           size_t n_models, size_t n, float *out, struct diag *d)
{
  (void)d;
  const float *base = models[n_models - 1];
  double sum[CHUNK];
  if (n_models == 2) { /* exact at a scale of 1 */
    merge_between(args->scale, base, models[0], n, out);
    return true;
  }
  for (size_t first = 0; first < n; first += CHUNK) {
    size_t m = n - first < CHUNK ? n - first : CHUNK;
    for (size_t i = 0; i < m; i++)
      sum[i] = 0;
    for (size_t k = 0; k + 1 < n_models; k++)
      for (size_t i = 0; i < m; i++)
        sum[i] += (double)models[k][first + i] - (double)base[first + i];
    for (size_t i = 0; i < m; i++)
      out[first + i] = (float)((double)base[first + i] + args->scale * sum[i]);
  }
  return true;
}
