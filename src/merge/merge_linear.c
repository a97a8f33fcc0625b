/* The weighted sum of the models (Frankle et al. 2020; Wortsman et al. 2022).
 *
 * Two models without weights: (1 - alpha) * a + alpha * b (paper, eq. 1), computed as
 * a + alpha * (b - a).  Others without weights: the mean.  Weights are taken as they are; who
 * wants an average makes their sum 1, and then an entry that is equal in all models stays. */
#include "merge/merge_int.h"

#include <math.h>
#include <string.h>

static void sum(const struct merge_args *args, const double *const *models, size_t n_models,
                size_t n, double *out)
{
  double total = 0;
  for (size_t k = 0; k < n_models; k++)
    total += args->weights[k];
  uint64_t differs[MERGE_PIECE];
  /* A sum of 1, but for rounding. */
  memset(differs, fabs(total - 1) > 1e-9, n * sizeof *differs);
  for (size_t i = 0; i < n; i++)
    out[i] = args->weights[0] * models[0][i];
  for (size_t k = 1; k < n_models; k++)
    for (size_t i = 0; i < n; i++) {
      differs[i] |= models[k][i] != models[0][i];
      out[i] += args->weights[k] * models[k][i];
    }
  for (size_t i = 0; i < n; i++)
    out[i] = differs[i] ? out[i] : models[0][i];
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  if (r->args->weights)
    sum(r->args, p->in, r->n_models, p->n, out);
  else if (r->n_models == 2)
    merge_between(r, r->args->alpha, p->in[0], p->in[1], p->n, out);
  else
    merge_mean(p->in, r->n_models, p->n, out);
}

const struct merge_method merge_linear = {
    .name = "linear",
    .meaning = "the weighted sum of the models; their mean where no weights are given",
    .source = "Frankle et al. 2020; Wortsman et al. 2022",
    .min_models = 1,
    .apply = apply,
};
