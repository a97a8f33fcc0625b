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

double measure_cosine(const float *a, const float *b, size_t n)
{
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < n; i++) {
    aa += (double)a[i] * (double)a[i];
    bb += (double)b[i] * (double)b[i];
    ab += (double)a[i] * (double)b[i];
  }
  return ab / (sqrt(aa) * sqrt(bb));
}

double measure_norm(const float *a, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)a[i] * (double)a[i];
  return sqrt(sum);
}
