/* base + the sum of scale_k * (model_k - base) (Ilharco et al. 2023), with one coefficient for
 * all models or one for each. */
#include "merge/merge_int.h"

#include <string.h>

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  const double *base = p->in[r->n_models];
  const size_t n = p->n;
  double sum[MERGE_PIECE], delta[MERGE_PIECE];
  if (r->n_models == 1) { /* exact at a scale of 1 */
    merge_between(r, merge_weight(r->args, 0) * merge_factor(r->args), base, p->in[0], n, out);
    return;
  }
  memset(sum, 0, sizeof sum);
  for (size_t k = 0; k < r->n_models; k++) {
    r->loops->delta(p->in[k], base, n, delta);
    r->loops->accumulate(merge_weight(r->args, k), delta, n, sum);
  }
  r->loops->add(base, merge_factor(r->args), sum, n, out);
}

const struct merge_method merge_task_arithmetic = {
    .name = "task_arithmetic",
    .meaning = "base + scale * the sum of (model - base)",
    .source = "Ilharco et al. 2023",
    .min_models = 1,
    .extra = MERGE_BASE,
    .apply = apply,
};
