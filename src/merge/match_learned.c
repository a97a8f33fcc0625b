#include "merge/match.h"

#include "engine/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct learning {
  const struct match *match;
  const struct match_learning *how;
  struct net_work *work;
  const struct data_set *data;
  unsigned batch;
  float *permuted, *middle; /* net_count floats */
  float *free, *velocity, *grad;
  float *x;
  int32_t *labels;
  uint32_t *order;
  double lowest;
};

/* The loss at the midpoint, with the batch's statistics; its gradient into `grad`. */
static double midpoint_loss(struct learning *l, const uint32_t *samples, unsigned n)
{
  const float *to = l->match->to;
  for (size_t i = 0; i < net_count(l->match->net); i++)
    l->middle[i] = (float)(0.5 * ((double)to[i] + (double)l->permuted[i]));
  data_batch(l->data, DATA_TRAIN, samples, n, NULL, 0, 0, 0, l->x, l->labels);
  return (double)net_loss_gradient(l->work, l->middle, l->x, l->labels, n, l->grad);
}

static void permute(struct learning *l, uint32_t *const *perms)
{
  net_permute(l->match->net, l->match->groups, perms, l->match->from, l->permuted);
}

/* Keeps the permutations if the midpoint is the best so far on the samples that are looked at:
 * evenly spaced, the same each time. */
static void look(struct learning *l, uint32_t **perms, uint32_t **best)
{
  const struct net_groups *groups = l->match->groups;
  const unsigned all = l->data->split[DATA_TRAIN].n;
  const unsigned n = all < MATCH_LEARNED_SAMPLES ? all : MATCH_LEARNED_SAMPLES;
  uint32_t *samples = mem_alloc(l->batch * sizeof *samples);
  double sum = 0;
  for (unsigned first = 0, m; first < n; first += m) {
    m = n - first < l->batch ? n - first : l->batch;
    for (unsigned i = 0; i < m; i++)
      samples[i] = (uint32_t)((uint64_t)(first + i) * all / n);
    sum += m * midpoint_loss(l, samples, m);
  }
  free(samples);
  if (!(sum / n < l->lowest) && !isnan(l->lowest))
    return;
  if (isfinite(sum))
    l->lowest = sum / n;
  for (size_t g = 0; g < groups->n; g++)
    memcpy(best[g], perms[g], groups->v[g].size * sizeof **best);
}

/* One batch.  The midpoint has half of the permuted weights: half of its gradient is theirs. */
static bool learn(struct learning *l, const uint32_t *samples, uint32_t **perms)
{
  const struct match project = {l->match->ops, l->match->net, l->match->groups, l->free,
                                l->match->from};
  struct match_search warm = l->how->search;
  const struct optim_sgd sgd = {.lr = (float)(0.5 * l->how->lr),
                                .momentum = (float)l->how->momentum};
  warm.restarts = 1;
  match_weights(&project, &warm, perms);
  permute(l, perms);
  if (!isfinite(midpoint_loss(l, samples, l->batch)))
    return false;
  optim_sgd_step(l->match->ops, &sgd, net_params(l->match->net), l->free, l->velocity, l->grad);
  return true;
}

static void learn_all(struct learning *l, uint32_t **best)
{
  struct arena *a = arena_new();
  const struct net_groups *groups = l->match->groups;
  const unsigned n = l->data->split[DATA_TRAIN].n, batches = n / l->batch;
  uint32_t **perms = match_identity(a, groups);
  for (size_t g = 0; g < groups->n; g++)
    memcpy(perms[g], best[g], groups->v[g].size * sizeof **best);
  match_weights(l->match, &l->how->search, perms);
  permute(l, perms);
  look(l, perms, best);
  bool learns = isfinite(l->lowest);
  for (unsigned epoch = 0; learns && epoch < l->how->epochs; epoch++) {
    unsigned looks = 0;
    data_order(l->how->search.seed, 0, epoch, l->order, n);
    for (unsigned k = 0; learns && k < batches; k++) {
      learns = learn(l, l->order + (size_t)k * l->batch, perms);
      if ((k + 1) * MATCH_LEARNED_LOOKS / batches == looks)
        continue;
      looks = (k + 1) * MATCH_LEARNED_LOOKS / batches;
      look(l, perms, best);
    }
  }
  arena_free(a);
}

double match_learned(const struct match *match, const struct match_learning *how,
                     struct net_work *work, const struct data_set *data, uint32_t **perms)
{
  struct arena *a = arena_new();
  const size_t count = net_count(match->net), params = net_params(match->net);
  const unsigned n = data->split[DATA_TRAIN].n;
  struct learning l = {.match = match,
                       .how = how,
                       .work = work,
                       .data = data,
                       .batch = how->batch < n ? how->batch : n,
                       .lowest = NAN};
  l.permuted = arena_array(a, count, sizeof *l.permuted);
  l.middle = arena_array(a, count, sizeof *l.middle);
  l.free = arena_copy(a, match->to, count * sizeof *l.free);
  l.velocity = arena_array(a, params, sizeof *l.velocity);
  l.grad = arena_array(a, params, sizeof *l.grad);
  l.x = arena_array(a, l.batch * net_inputs(match->net), sizeof *l.x);
  l.labels = arena_array(a, (size_t)l.batch * data->targets, sizeof *l.labels);
  l.order = arena_array(a, n, sizeof *l.order);
  learn_all(&l, perms);
  arena_free(a);
  return l.lowest;
}
