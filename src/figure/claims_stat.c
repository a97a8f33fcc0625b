#include "figure/claims_int.h"

#include "plan/expr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double claims_reduce(enum plan_claim_op op, struct arena *a, const double *v, size_t n, double q)
{
  double *kept = arena_array(a, n + 1, sizeof *kept), sum = 0;
  size_t m = 0;
  for (size_t i = 0; i < n; i++)
    if (isfinite(v[i])) {
      kept[m++] = v[i];
      sum += v[i];
    }
  if (!m)
    return NAN;
  switch (op) {
  case PLAN_CLAIM_MEAN:
    return sum / (double)m;
  case PLAN_CLAIM_MIN:
    return plan_quantile(kept, m, 0);
  case PLAN_CLAIM_MAX:
    return plan_quantile(kept, m, 1);
  case PLAN_CLAIM_QUANTILE:
    return q >= 0 && q <= 1 ? plan_quantile(kept, m, q) : NAN;
  default:
    return plan_quantile(kept, m, 0.5);
  }
}

/* The correlation of what does not vary is taken as 0: it follows nothing. */
static double correlation(const double *x, const double *y, size_t n)
{
  double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
  if (n < 2)
    return NAN;
  for (size_t i = 0; i < n; i++) {
    mx += x[i] / (double)n;
    my += y[i] / (double)n;
  }
  for (size_t i = 0; i < n; i++) {
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  return xx > 0 && yy > 0 ? fmax(-1, fmin(1, xy / sqrt(xx * yy))) : 0;
}

struct ranked {
  double v;
  size_t at;
};

static int by_value(const void *left, const void *right)
{
  const struct ranked *l = left, *r = right;
  return (l->v > r->v) - (l->v < r->v);
}

/* Ranks from 1; equal values share the mean of theirs. */
static double *ranks(struct arena *a, const double *v, size_t n)
{
  struct ranked *sorted = arena_array(a, n + 1, sizeof *sorted);
  double *rank = arena_array(a, n + 1, sizeof *rank);
  for (size_t i = 0; i < n; i++)
    sorted[i] = (struct ranked){v[i], i};
  qsort(sorted, n, sizeof *sorted, by_value);
  for (size_t i = 0, j; i < n; i = j) {
    for (j = i + 1; j < n && sorted[j].v <= sorted[i].v;)
      j++;
    for (size_t k = i; k < j; k++)
      rank[sorted[k].at] = (double)(i + j + 1) / 2;
  }
  return rank;
}

/* Copies the rows in which all of the columns are finite; returns how many. */
static size_t keep(struct arena *a, const double *const *from, double **to, size_t columns,
                   size_t n)
{
  size_t m = 0;
  for (size_t c = 0; c < columns; c++)
    to[c] = arena_array(a, n + 1, sizeof **to);
  for (size_t i = 0; i < n; i++) {
    bool fine = true;
    for (size_t c = 0; c < columns; c++) {
      fine = fine && isfinite(from[c][i]);
      to[c][m] = from[c][i];
    }
    m += fine;
  }
  return m;
}

double claims_pearson(struct arena *a, const double *x, const double *y, size_t n)
{
  const double *from[] = {x, y};
  double *to[2];
  n = keep(a, from, to, 2, n);
  return correlation(to[0], to[1], n);
}

double claims_spearman(struct arena *a, const double *x, const double *y, size_t n)
{
  const double *from[] = {x, y};
  double *to[2];
  n = keep(a, from, to, 2, n);
  return correlation(ranks(a, to[0], n), ranks(a, to[1], n), n);
}

double claims_partial(struct arena *a, const double *x, const double *y, const double *z, size_t n)
{
  const double *from[] = {x, y, z};
  double *to[3];
  n = keep(a, from, to, 3, n);
  for (size_t c = 0; c < 3; c++)
    to[c] = ranks(a, to[c], n);
  double xy = correlation(to[0], to[1], n), xz = correlation(to[0], to[2], n);
  double yz = correlation(to[1], to[2], n), rest = (1 - xz * xz) * (1 - yz * yz);
  return n < 3 || rest < 1e-12 ? NAN : fmax(-1, fmin(1, (xy - xz * yz) / sqrt(rest)));
}

double claims_peak(const double *v, size_t n)
{
  double inner = -INFINITY;
  if (n < 3)
    return NAN;
  for (size_t i = 1; i + 1 < n; i++)
    inner = fmax(inner, v[i]);
  return inner - fmax(v[0], v[n - 1]);
}

static double scaled(double x, bool logarithmic)
{
  return logarithmic ? log(x) : x;
}

static double value_at(const struct claims_curve *c, double at, bool logarithmic)
{
  for (size_t i = 1; i < c->n; i++) {
    double from = scaled(c->x[i - 1], logarithmic), to = scaled(c->x[i], logarithmic);
    if (at <= to)
      return c->v[i - 1] + (c->v[i] - c->v[i - 1]) * (at - from) / (to - from);
  }
  return c->v[c->n - 1];
}

/* Integral of |d| over a length on which d goes from d0 to d1 in a straight line. */
static double area(double d0, double d1, double length)
{
  double a0 = fabs(d0), a1 = fabs(d1);
  if (d0 * d1 >= 0)
    return length * (a0 + a1) / 2;
  return length * (a0 * a0 + a1 * a1) / (2 * (a0 + a1));
}

double claims_distance(const struct claims_curve *c, const struct claims_curve *o, bool logarithmic)
{
  if (!c->n || !o->n)
    return NAN;
  double low = scaled(fmax(c->x[0], o->x[0]), logarithmic);
  double high = scaled(fmin(c->x[c->n - 1], o->x[o->n - 1]), logarithmic);
  if (low > high)
    return NAN;
  double d = value_at(c, low, logarithmic) - value_at(o, low, logarithmic);
  double at = low, sum = 0;
  for (size_t i = 0, j = 0; at < high;) {
    /* The next knot of either curve, or the end. */
    while (i < c->n && scaled(c->x[i], logarithmic) <= at)
      i++;
    while (j < o->n && scaled(o->x[j], logarithmic) <= at)
      j++;
    double next = high;
    if (i < c->n)
      next = fmin(next, scaled(c->x[i], logarithmic));
    if (j < o->n)
      next = fmin(next, scaled(o->x[j], logarithmic));
    double e = value_at(c, next, logarithmic) - value_at(o, next, logarithmic);
    sum += area(d, e, next - at);
    at = next;
    d = e;
  }
  return high > low ? sum / (high - low) : fabs(d);
}
