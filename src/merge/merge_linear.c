/* The weighted sum of the models (Frankle et al. 2020; Wortsman et al. 2022).
 *
 * Two models without weights: (1 - alpha) * a + alpha * b (paper, eq. 1), computed as
 * a + alpha * (b - a).  Others without weights: the mean.  Weights are taken as they are; who
 * wants an average makes their sum 1, and then an entry that is equal in all models stays. */
#include "merge/merge_int.h"

#include <math.h>
#include <string.h>

static void sum(const struct merge_run *r, const double *const *models, size_t n, double *out)
{
  double total = 0;
  for (size_t k = 0; k < r->n_models; k++)
    total += r->args->weights[k];
  /* A sum of 1, but for rounding. */
  const bool average = fabs(total - 1) <= 1e-9;
  r->loops->mix(models, r->n_models, r->args->weights, 1, !average, n, out);
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  if (r->args->weights)
    sum(r, p->in, p->n, out);
  else if (r->n_models == 2)
    merge_between(r, r->args->alpha, p->in[0], p->in[1], p->n, out);
  else
    merge_mean(r, p->in, p->n, out);
}

const struct merge_method merge_linear = {
    .name = "linear",
    .meaning = "the weighted sum of the models; their mean where no weights are given",
    .source = "Frankle et al. 2020; Wortsman et al. 2022",
    .min_models = 1,
    .apply = apply,
};
