#include "measure/measure.h"

#include <math.h>

double measure_distance(const float *a, const float *b, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    double d = (double)a[i] - (double)b[i];
    sum += d * d;
  }
  return sqrt(sum);
}

struct products {
  double aa, bb, ab;
};

static double cosine(const struct products *p)
{
  return p->ab / (sqrt(p->aa) * sqrt(p->bb));
}

double measure_cosine(const float *a, const float *b, size_t n)
{
  struct products p = {0};
  for (size_t i = 0; i < n; i++) {
    p.aa += (double)a[i] * (double)a[i];
    p.bb += (double)b[i] * (double)b[i];
    p.ab += (double)a[i] * (double)b[i];
  }
  return cosine(&p);
}

double measure_task_cosine(const float *a, const float *b, const float *base, size_t n)
{
  struct products p = {0};
  for (size_t i = 0; i < n; i++) {
    const double x = (double)a[i] - (double)base[i], y = (double)b[i] - (double)base[i];
    p.aa += x * x;
    p.bb += y * y;
    p.ab += x * y;
  }
  return cosine(&p);
}

double measure_norm(const float *a, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)a[i] * (double)a[i];
  return sqrt(sum);
}
