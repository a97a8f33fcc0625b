/* The mean of all models: snapshots of one run (Izmailov et al. 2018, SWA). */
#include "merge/merge_int.h"

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  merge_mean(r, p->in, p->n, out);
}

const struct merge_method merge_swa = {
    .name = "swa",
    .meaning = "the mean of the models: snapshots of one run",
    .source = "Izmailov et al. 2018",
    .min_models = 1,
    .apply = apply,
};
