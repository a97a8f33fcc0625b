#include "merge/match_path.h"

#include "engine/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct learning {
  const struct match *match;
  const struct match_learning *how;
  struct match_path path;
  float *free, *velocity;
  uint32_t *order;
  double lowest;
};

static void permute(struct learning *l, uint32_t *const *perms)
{
  net_permute(l->match->net, l->match->groups, perms, l->match->from, l->path.mapped);
}

/* Keeps the permutations if the midpoint is the best so far. */
static void look(struct learning *l, uint32_t **perms, uint32_t **best)
{
  const struct net_groups *groups = l->match->groups;
  const double loss = match_path_look(&l->path);
  if (!(loss < l->lowest) && !isnan(l->lowest))
    return;
  if (isfinite(loss))
    l->lowest = loss;
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
  if (!isfinite(match_path_loss(&l->path, 0.5, samples, l->path.batch)))
    return false;
  optim_sgd_step(l->match->ops, &sgd, net_params(l->match->net), l->free, l->velocity,
                 l->path.grad);
  return true;
}

static void learn_all(struct learning *l, uint32_t **best)
{
  struct arena *a = arena_new();
  const struct net_groups *groups = l->match->groups;
  const unsigned n = l->path.data->split[DATA_TRAIN].n, batch = l->path.batch, batches = n / batch;
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
      learns = learn(l, l->order + (size_t)k * batch, perms);
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
  struct learning l = {.match = match,
                       .how = how,
                       .path = match_path_new(a, match, work, data, how->batch),
                       .lowest = NAN};
  l.free = arena_copy(a, match->to, net_count(match->net) * sizeof *l.free);
  l.velocity = arena_array(a, net_params(match->net), sizeof *l.velocity);
  l.order = arena_array(a, data->split[DATA_TRAIN].n, sizeof *l.order);
  learn_all(&l, perms);
  arena_free(a);
  return l.lowest;
}
