#include "measure/measure_int.h"

#include "base/arena.h"

#include <cblas.h>
#include <stdlib.h>

enum { CONVERTED = 1 << 16 }; /* doubles at a time, a row at least */

struct summing {
  const struct net_linear *linears;
  double *const *grams;
};

/* Rows are converted in pieces, and a piece's products are one matrix product. */
static void add_rows(void *context, size_t k, size_t n, const float *rows)
{
  const struct summing *s = context;
  const size_t in = s->linears[k].in, most = CONVERTED / in + 1;
  double *wide = mem_alloc(most * in * sizeof *wide);
  for (size_t first = 0; first < n; first += most) {
    const size_t m = n - first < most ? n - first : most;
    for (size_t i = 0; i < m * in; i++)
      wide[i] = (double)rows[first * in + i];
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (blasint)in, (blasint)m, 1, wide,
                (blasint)in, 1, s->grams[k], (blasint)in);
  }
  free(wide);
}

void measure_grams(struct net_work *work, unsigned batch, const float *flat,
                   const struct data_set *set, unsigned samples, const struct net_linear *linears,
                   size_t n, double *const *grams)
{
  struct summing s = {linears, grams};
  struct measure_batches b;
  bool *wanted = mem_alloc((n + 1) * sizeof *wanted);
  for (size_t k = 0; k < n; k++)
    wanted[k] = grams[k] != NULL;
  for (size_t k = 0; k < n; k++)
    for (size_t i = 0; grams[k] && i < linears[k].in * linears[k].in; i++)
      grams[k][i] = 0;
  measure_batches_begin(&b, set, DATA_TRAIN, samples, batch);
  while (measure_batches_next(&b))
    net_visit_rows(work, flat, b.x, b.n, wanted, add_rows, &s);
  measure_batches_end(&b);
  free(wanted);
  for (size_t k = 0; k < n; k++)
    for (size_t i = 0; grams[k] && i < linears[k].in; i++)
      for (size_t j = 0; j < i; j++)
        grams[k][j * linears[k].in + i] = grams[k][i * linears[k].in + j];
}
