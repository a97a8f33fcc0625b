/* The point (x, y) of the plane through a, b and c (Izmailov et al. 2018, figure 1):
 * a + x * (b - a) + y * |b - a| * the unit vector of c - a's part at a right angle to b - a.
 * a is (0, 0), b is (1, 0).  Fails where the three lie on a line, and y is not 0. */
#include "merge/merge_int.h"

#include <math.h>

/* A part at a right angle that is shorter than this share of the models' lengths
 * is what rounding to float leaves of none. */
static const double rounding = 2.5e-7;

/* With u = b - a and v = c - a: v is `along` of u, and w at a right angle to it. */
struct plane {
  double uu, uv, ww, aa, cc;
  double along, y;
  bool one_point;
};

static bool span_plane(struct merge_run *r, struct plane *p)
{
  double length = sqrt(p->uu), rest = sqrt(p->ww), size = sqrt(fmax(p->aa, p->cc));
  p->one_point = length == 0 && rest == 0;
  if (r->args->y == 0 || p->one_point)
    return true;
  if (length == 0 || rest <= rounding * size) {
    diag_error(r->diag, SPAN_NONE,
               length == 0 ? "plane: the first two models are equal, so y has no unit"
                           : "plane: the three models lie on a line");
    diag_hint(r->diag, "name three models of which none lies on the line through the others");
    return false;
  }
  p->y = r->args->y * length / rest;
  return true;
}

static enum merge_next next(struct merge_run *r)
{
  if (!r->state)
    r->state = arena_alloc(r->arena, sizeof(struct plane));
  struct plane *p = r->state;
  if (r->passes == 2)
    return span_plane(r, p) ? MERGE_APPLY : MERGE_FAIL;
  p->along = p->uu > 0 ? p->uv / p->uu : 0;
  return MERGE_SCAN;
}

static void scan(struct merge_run *r, const struct merge_piece *piece)
{
  struct plane *p = r->state;
  const double *a = piece->in[0], *b = piece->in[1], *c = piece->in[2];
  for (size_t i = 0; i < piece->n; i++) {
    double u = b[i] - a[i], v = c[i] - a[i];
    if (r->passes) {
      double w = v - p->along * u;
      p->ww += w * w;
    } else {
      p->uu += u * u;
      p->uv += u * v;
      p->aa += a[i] * a[i];
      p->cc += c[i] * c[i];
    }
  }
}

static void apply(const struct merge_run *r, const struct merge_piece *piece, double *out)
{
  const struct plane *p = r->state;
  const double *a = piece->in[0], *b = piece->in[1], *c = piece->in[2];
  if (r->args->y == 0 || p->one_point) {
    merge_between(r, p->one_point ? 0 : r->args->x, a, b, piece->n, out);
    return;
  }
  for (size_t i = 0; i < piece->n; i++) {
    double u = b[i] - a[i], v = c[i] - a[i];
    out[i] = a[i] + r->args->x * u + p->y * (v - p->along * u);
  }
}

const struct merge_method merge_plane = {
    .name = "plane",
    .meaning = "the point (x, y) of the plane through three models",
    .source = "Izmailov et al. 2018",
    .min_models = 3,
    .max_models = 3,
    .scans = 2,
    .next = next,
    .scan = scan,
    .apply = apply,
};
