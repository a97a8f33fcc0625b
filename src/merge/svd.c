#include "merge/svd.h"

#include "base/arena.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of LAPACK, which OpenBLAS contains; its header is not everywhere installed. */
void dgesdd_(const char *job, const blasint *m, const blasint *n, double *a, const blasint *lda,
             double *s, double *u, const blasint *ldu, double *vt, const blasint *ldvt,
             double *work, const blasint *lwork, blasint *iwork, blasint *info);

void svd_product(bool ta, bool tb, size_t m, size_t n, size_t k, const double *a, const double *b,
                 double *y)
{
  cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
              (blasint)m, (blasint)n, (blasint)k, 1, a, (blasint)(ta ? m : k), b,
              (blasint)(tb ? k : n), 0, y, (blasint)n);
}

/* What is row by row is the transpose to LAPACK: u and vt change places. */
bool svd(size_t m, size_t n, const double *a, double *u, double *s, double *vt)
{
  const size_t k = m < n ? m : n;
  const blasint rows = (blasint)n, cols = (blasint)m, least = (blasint)k, ask = -1;
  double sum = 0, size;
  blasint info;
  for (size_t i = 0; i < m * n; i++)
    sum += 0 * a[i];
  if (sum != 0 || !k)
    return false;
  double *copy = mem_alloc(m * n * sizeof *copy);
  blasint *iwork = mem_alloc(8 * k * sizeof *iwork);
  memcpy(copy, a, m * n * sizeof *copy);
  dgesdd_("S", &rows, &cols, copy, &rows, s, vt, &rows, u, &least, &size, &ask, iwork, &info);
  const blasint length = (blasint)size;
  double *work = mem_alloc((size_t)length * sizeof *work);
  dgesdd_("S", &rows, &cols, copy, &rows, s, vt, &rows, u, &least, work, &length, iwork, &info);
  free(work);
  free(iwork);
  free(copy);
  return info == 0;
}

bool svd_polar(size_t n, const double *a, double *q, double *u, double *s, double *vt)
{
  if (!svd(n, n, a, u, s, vt))
    return false;
  svd_product(false, false, n, n, n, u, vt, q);
  return true;
}

/* q changes by u e vt, where e[i][j] = (c[i][j] - c[j][i]) / (s[i] + s[j]) of c = u' da v. */
void svd_polar_gradient(size_t n, const double *u, const double *s, const double *vt,
                        const double *dq, double *da)
{
  double *c = mem_alloc(2 * n * n * sizeof *c), *e = c + n * n;
  svd_product(true, false, n, n, n, u, dq, e);
  svd_product(false, true, n, n, n, e, vt, c);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      e[i * n + j] = s[i] + s[j] > 1e-12 * s[0] ? (c[i * n + j] - c[j * n + i]) / (s[i] + s[j]) : 0;
  svd_product(false, false, n, n, n, u, e, c);
  svd_product(false, false, n, n, n, c, vt, da);
  free(c);
}
