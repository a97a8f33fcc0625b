#include "measure/measure_int.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>

enum { LEAST_COMPONENTS = 64 };

/* Alpha-stable numbers: a sum of k is k^(1/alpha) times as large as one, so that the means of
 * log|sum| and log|one| differ by log(k)/alpha.  k is near the root of n. */
double measure_tail_index(size_t n, const double *x)
{
  if (n < LEAST_COMPONENTS)
    return NAN;
  const size_t k = (size_t)sqrt((double)n), groups = n / k;
  double of_sums = 0, of_each = 0;
  size_t zeros = 0;
  for (size_t g = 0; g < groups; g++) {
    double sum = 0;
    for (size_t i = g * k; i < (g + 1) * k; i++) {
      sum += x[i];
      zeros += x[i] == 0;
      of_each += x[i] != 0 ? log(fabs(x[i])) : 0;
    }
    zeros += sum == 0;
    of_sums += sum != 0 ? log(fabs(sum)) : 0;
  }
  if (zeros)
    return NAN;
  return log((double)k) / (of_sums / (double)groups - of_each / (double)(groups * k));
}

/* Components that no batch moves (a dead unit's weights) are no noise. */
static size_t moving(size_t n, double *x)
{
  size_t kept = 0;
  for (size_t i = 0; i < n; i++)
    if (x[i] != 0)
      x[kept++] = x[i];
  return kept;
}

struct measure_noise measure_gradient_noise(const struct measure_loss *m, const float *flat)
{
  const size_t n = net_params(m->net);
  double *mean = mem_alloc(n * sizeof *mean), *noise = mem_alloc(n * sizeof *noise);
  float *grad = mem_alloc(n * sizeof *grad);
  struct measure_batches b;
  struct measure_loss whole = *m;
  unsigned batches = 0, indexed = 0;
  double squares = 0, index = 0;
  const unsigned all = m->set->split[m->split].n;
  whole.samples = (m->samples < all ? m->samples : all) / m->batch * m->batch;
  if (whole.samples)
    measure_gradient(&whole, flat, mean);
  measure_batches_begin(&b, m->set, m->split, whole.samples, m->batch);
  while (whole.samples && measure_batches_next(&b)) {
    net_inference_gradient(m->work, flat, b.x, b.labels, b.n, grad);
    for (size_t i = 0; i < n; i++) {
      noise[i] = (double)grad[i] - mean[i];
      squares += noise[i] * noise[i];
    }
    const double here = measure_tail_index(moving(n, noise), noise);
    indexed += isfinite(here);
    index += isfinite(here) ? here : 0;
    batches++;
  }
  measure_batches_end(&b);
  free(grad);
  free(noise);
  free(mean);
  return (struct measure_noise){batches > 1 ? m->batch * squares / (batches - 1) : NAN,
                                batches > 1 && indexed ? index / indexed : NAN};
}
