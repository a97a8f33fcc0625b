#include "merge/merge_int.h"

#include <math.h>

/* A part at a right angle that is shorter than this share of the models' lengths
 * is what rounding to float leaves of none. */
static const double rounding = 2.5e-7;

/* Of b - a (length), and of c - a: `along` of b - a, and a rest at a right angle. */
struct plane {
  double length, along, rest;
};

static struct plane span_plane(const float *a, const float *b, const float *c, size_t n)
{
  double uu = 0, uv = 0, ww = 0;
  for (size_t i = 0; i < n; i++) {
    double u = (double)b[i] - (double)a[i], v = (double)c[i] - (double)a[i];
    uu += u * u;
    uv += u * v;
  }
  struct plane p = {.length = sqrt(uu), .along = uu > 0 ? uv / uu : 0};
  for (size_t i = 0; i < n; i++) {
    double w = (double)c[i] - (double)a[i] - p.along * ((double)b[i] - (double)a[i]);
    ww += w * w;
  }
  p.rest = sqrt(ww);
  return p;
}

bool merge_plane(const struct merge_args *args, const float *const *models, size_t n_models,
                 size_t n, float *out, struct diag *d)
{
  (void)n_models;
  const float *a = models[0], *b = models[1], *c = models[2];
  const struct plane p = span_plane(a, b, c, args->n_params);
  bool one_point = p.length == 0 && p.rest == 0;
  if (args->y == 0 || one_point) {
    merge_between(one_point ? 0 : args->x, a, b, n, out);
    return true;
  }
  double size = sqrt(fmax(merge_dot(a, a, args->n_params), merge_dot(c, c, args->n_params)));
  if (p.length == 0 || p.rest <= rounding * size) {
    diag_error(d, SPAN_NONE,
               p.length == 0 ? "plane: the first two models are equal, so y has no unit"
                             : "plane: the three models lie on a line");
    diag_hint(d, "name three models of which none lies on the line through the others");
    return false;
  }
  double y = args->y * p.length / p.rest;
  for (size_t i = 0; i < n; i++) {
    double u = (double)b[i] - (double)a[i], v = (double)c[i] - (double)a[i];
    out[i] = (float)((double)a[i] + args->x * u + y * (v - p.along * u));
  }
  return true;
}
