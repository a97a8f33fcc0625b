/* sum_k w_k F_k model_k / sum_k w_k F_k, entry by entry, with F_k the diagonal of the k-th
 * model's Fisher matrix (Matena and Raffel 2022).  Each F_k counts as `floor` at least, as in
 * the article's code, so that entries of which no model knows anything are averaged; where the
 * sum is zero for all that, they are too.  Equal Fishers give the average, with weights w_k.
 *
 * Normalized, each F_k is first divided by its Euclidean length, as the article's code does where
 * nothing else is said: then models of different confidence count the same. */
#include "merge/merge_int.h"

#include <math.h>

/* Of one entry; the weighted mean is what equal Fishers give. */
static double fuse(const struct merge_run *r, const double *const *in, size_t i)
{
  const size_t m = r->n_models;
  const double *scale = r->state;
  double sum = 0, total = 0, plain = 0, weights = 0;
  bool same = true, same_fisher = true;
  for (size_t k = 0; k < m; k++) {
    double weight = r->args->weights ? r->args->weights[k] : 1, v = in[k][i];
    double fisher = fmax(r->args->floor, scale ? scale[k] * in[m + k][i] : in[m + k][i]);
    double first = fmax(r->args->floor, scale ? scale[0] * in[m][i] : in[m][i]);
    same &= v == in[0][i];
    same_fisher &= fisher == first;
    sum += weight * fisher * v;
    total += weight * fisher;
    plain += weight * v;
    weights += weight;
  }
  if (same)
    return in[0][i];
  return same_fisher || total == 0 ? plain / weights : sum / total;
}

static enum merge_next next(struct merge_run *r)
{
  double *scale = r->state;
  if (!r->args->normalize)
    return MERGE_APPLY;
  if (!r->passes) {
    r->state = arena_array(r->arena, r->n_models, sizeof(double));
    return MERGE_SCAN;
  }
  for (size_t k = 0; k < r->n_models; k++)
    scale[k] = scale[k] > 0 ? 1 / sqrt(scale[k]) : 1;
  return MERGE_APPLY;
}

static void scan(struct merge_run *r, const struct merge_piece *p)
{
  double *squares = r->state;
  for (size_t k = 0; k < r->n_models; k++)
    for (size_t i = 0; i < p->n; i++)
      squares[k] += p->in[r->n_models + k][i] * p->in[r->n_models + k][i];
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  for (size_t i = 0; i < p->n; i++)
    out[i] = fuse(r, p->in, i);
}

const struct merge_method merge_fisher = {
    .name = "fisher",
    .meaning = "the mean of each entry, weighted by the diagonals of Fisher matrices",
    .source = "Matena and Raffel 2022",
    .min_models = 1,
    .extra = MERGE_FISHERS,
    .next = next,
    .scan = scan,
    .apply = apply,
};
