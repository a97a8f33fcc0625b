#include "engine/net_positions.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Keys' kernel with a = -1/2. */
static double cubic(double x)
{
  x = fabs(x);
  if (x < 1)
    return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/* What each of n points takes of each of m: [n][m].  Centers of both are spread over the same
 * length. */
static double *shares(unsigned n, unsigned m)
{
  const double step = (double)m / n, stretch = step > 1 ? step : 1;
  double *share = mem_alloc((size_t)n * m * sizeof *share);
  for (unsigned i = 0; i < n; i++) {
    double *row = share + (size_t)i * m, sum = 0;
    for (unsigned k = 0; k < m; k++)
      sum += row[k] = cubic((k + 0.5 - (i + 0.5) * step) / stretch);
    for (unsigned k = 0; k < m; k++)
      row[k] /= sum;
  }
  return share;
}

/* sums += what `share` takes of m vectors of c floats, `apart` floats apart. */
static void add_shares(double *sums, const double *share, unsigned m, const float *from,
                       size_t apart, unsigned c)
{
  for (unsigned k = 0; k < m; k++)
    for (unsigned i = 0; share[k] != 0 && i < c; i++)
      sums[i] += share[k] * (double)from[k * apart + i];
}

void net_resample_positions(const float *from, unsigned side, float *to, unsigned h, unsigned w,
                            unsigned c)
{
  double *down = shares(h, side), *across = shares(w, side), *sums = mem_alloc(c * sizeof *sums);
  float *rows = mem_alloc((size_t)side * w * c * sizeof *rows); /* of w patches */
  memcpy(to, from, c * sizeof *to);
  for (size_t i = 0; i < (size_t)side * w; i++) {
    memset(sums, 0, c * sizeof *sums);
    add_shares(sums, across + i % w * side, side, from + (1 + i / w * side) * c, c, c);
    for (unsigned k = 0; k < c; k++)
      rows[i * c + k] = (float)sums[k];
  }
  for (size_t i = 0; i < (size_t)h * w; i++) {
    memset(sums, 0, c * sizeof *sums);
    add_shares(sums, down + i / w * side, side, rows + i % w * c, (size_t)w * c, c);
    for (unsigned k = 0; k < c; k++)
      to[(1 + i) * c + k] = (float)sums[k];
  }
  free(rows);
  free(sums);
  free(across);
  free(down);
}
