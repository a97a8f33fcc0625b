/* sin((1 - alpha) w) / sin(w) * a + sin(alpha w) / sin(w) * b with w the angle between a and b
 * (Shoemake 1985), over the whole model or each tensor; linear where |cos w| is above 0.9995 or
 * a model is zero. */
#include "merge/merge_int.h"

#include <math.h>

static const double nearly_parallel = 0.9995;

struct slerp {
  double aa, bb, ab;
  bool turns;
  double first, second; /* coefficients of a and b */
};

static enum merge_next next(struct merge_run *r)
{
  double alpha = r->args->alpha;
  if (!r->state)
    r->state = arena_alloc(r->arena, sizeof(struct slerp));
  struct slerp *s = r->state;
  if (!r->passes) {
    *s = (struct slerp){0};
    return alpha == 0 || alpha == 1 ? MERGE_APPLY : MERGE_SCAN;
  }
  double cosine = s->ab / (sqrt(s->aa) * sqrt(s->bb));
  /* So that a cosine of 0 / 0 is linear too. */
  s->turns = fabs(cosine) <= nearly_parallel;
  double angle = acos(cosine);
  s->first = sin((1 - alpha) * angle) / sin(angle);
  s->second = sin(alpha * angle) / sin(angle);
  return MERGE_APPLY;
}

static void scan(struct merge_run *r, const struct merge_piece *p)
{
  struct slerp *s = r->state;
  const double *a = p->in[0], *b = p->in[1];
  double aa = s->aa, bb = s->bb, ab = s->ab;
  for (size_t i = 0; i < p->n; i++) {
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
  }
  s->aa = aa;
  s->bb = bb;
  s->ab = ab;
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  const struct slerp *s = r->state;
  const double *a = p->in[0], *b = p->in[1];
  if (!s->turns) {
    merge_between(r, r->args->alpha, a, b, p->n, out);
    return;
  }
  for (size_t i = 0; i < p->n; i++)
    out[i] = s->first * a[i] + s->second * b[i];
}

const struct merge_method merge_slerp = {
    .name = "slerp",
    .meaning = "the point at t on the arc from the first model to the second",
    .source = "Shoemake 1985",
    .min_models = 2,
    .max_models = 2,
    .takes_scope = true,
    .scans = 1,
    .next = next,
    .scan = scan,
    .apply = apply,
};
