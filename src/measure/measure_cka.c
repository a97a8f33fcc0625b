#include "measure/measure.h"

#include "base/arena.h"

#include <cblas.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { BLOCK = 64 };

double *measure_features(struct net_work *work, unsigned batch, const float *flat,
                         const struct net *net, const struct data_set *set, enum data_split split,
                         unsigned samples, size_t *count)
{
  unsigned all = set->split[split].n, n = samples < all ? samples : all, p = net_features(net);
  size_t pixels = (size_t)set->height * set->width * set->channels;
  double *features = mem_alloc((size_t)n * p * sizeof *features);
  float *x = mem_alloc(batch * pixels * sizeof *x);
  float *y = mem_alloc((size_t)batch * p * sizeof *y);
  int32_t *labels = mem_alloc((size_t)batch * net_targets(net) * sizeof *labels);
  uint32_t *indices = mem_alloc(batch * sizeof *indices);
  for (unsigned first = 0, m; first < n; first += m) {
    m = n - first < batch ? n - first : batch;
    for (unsigned i = 0; i < m; i++)
      indices[i] = (uint32_t)((uint64_t)(first + i) * all / n);
    data_batch(set, split, indices, m, NULL, 0, 0, 0, x, labels);
    net_penultimate(work, flat, x, m, y);
    for (size_t i = 0; i < (size_t)m * p; i++)
      features[(size_t)first * p + i] = (double)y[i];
  }
  free(indices);
  free(labels);
  free(y);
  free(x);
  *count = n;
  return features;
}

static void centre(size_t n, size_t p, double *x)
{
  for (size_t k = 0; k < p; k++) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
      sum += x[i * p + k];
    for (size_t i = 0; i < n; i++)
      x[i * p + k] -= sum / (double)n;
  }
}

/* The squared Frobenius norm of transposed x times y, some columns at a time:
 * all of the product may be larger than both. */
static double product_norm(size_t n, size_t p, const double *x, size_t q, const double *y)
{
  double *block = mem_alloc(p * BLOCK * sizeof *block), sum = 0;
  for (size_t first = 0, m; first < q; first += m) {
    m = q - first < BLOCK ? q - first : BLOCK;
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)p, (blasint)m, (blasint)n, 1, x,
                (blasint)p, y + first, (blasint)q, 0, block, (blasint)m);
    for (size_t i = 0; i < p * m; i++)
      sum += block[i] * block[i];
  }
  free(block);
  return sum;
}

double measure_cka(size_t n, size_t p, double *x, size_t q, double *y)
{
  centre(n, p, x);
  centre(n, q, y);
  return product_norm(n, p, x, q, y) /
         (sqrt(product_norm(n, p, x, p, x)) * sqrt(product_norm(n, q, y, q, y)));
}
