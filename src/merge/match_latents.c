#include "merge/match_latents.h"

#include "base/rng.h"
#include "merge/assignment.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_latent(struct match_learner *l, struct match_latent z)
{
  double **const all[] = {&z.z, &z.grad, &z.mean, &z.square, &z.u, &z.vt};
  z.count = z.kind == MATCH_SCALE ? z.n : z.n * z.n;
  for (int k = 0; k < 6; k++)
    *all[k] = arena_array(l->arena, z.count, sizeof(double));
  z.s = arena_array(l->arena, z.n, sizeof *z.s);
  for (size_t i = 0; i < z.count && z.kind == MATCH_SCALE; i++)
    z.z[i] = log(z.map[i]);
  if (z.kind == MATCH_STREAM || z.kind == MATCH_HEAD)
    memcpy(z.z, z.map, z.count * sizeof *z.z);
  for (size_t i = 0; i < z.n && z.kind == MATCH_ORDER; i++)
    z.z[i * z.n + l->maps->perms[z.group][i]] = 1;
  ARENA_PUSH(l->arena, l->latents, l->n, l->cap, z);
}

static void add_latents(struct match_learner *l)
{
  const struct net_groups *groups = l->match->groups;
  for (size_t g = 0; g < groups->n; g++) {
    const struct net_group *group = &groups->v[g];
    const size_t square = (size_t)group->inner * group->inner;
    if (l->maps->turn[g])
      add_latent(l,
                 (struct match_latent){
                     .group = g, .kind = MATCH_STREAM, .n = group->size, .map = l->maps->turn[g]});
    else
      add_latent(l, (struct match_latent){.group = g, .kind = MATCH_ORDER, .n = group->size});
    if (l->maps->scale[g])
      add_latent(l,
                 (struct match_latent){
                     .group = g, .kind = MATCH_SCALE, .n = group->size, .map = l->maps->scale[g]});
    for (unsigned h = 0; l->maps->qk[g] && h < group->size; h++) {
      struct match_latent z = {.group = g, .kind = MATCH_HEAD, .n = group->inner, .head = h};
      z.factor = MATCH_QUERY;
      z.map = l->maps->qk[g] + h * square;
      add_latent(l, z);
      z.factor = MATCH_VALUE;
      z.map = l->maps->ov[g] + h * square;
      add_latent(l, z);
    }
  }
}

/* ---- maps of latents ---- */

/* Another neuron at a place is scaled to fit it, for what was learned is another's. */
static void rescale(struct match_learner *l, const struct match_latent *order, const uint32_t *old)
{
  const uint32_t *perm = l->maps->perms[order->group];
  for (size_t k = 0; k < l->n; k++) {
    const struct match_latent *z = &l->latents[k];
    for (size_t i = 0; z->kind == MATCH_SCALE && z->group == order->group && i < z->n; i++)
      if (perm[i] != old[i])
        z->z[i] = log(
            match_fit_neuron(&l->match->groups->v[z->group], l->match->to, i, l->outer, perm[i]));
  }
}

/* The same of heads, which are turned. */
static void refit(struct match_learner *l, const struct match_latent *order, const uint32_t *old)
{
  const struct net_group *g = &l->match->groups->v[order->group];
  struct arena *a = arena_new();
  const struct match_heads to = match_heads_of(a, g, l->match->to);
  const struct match_heads from = match_heads_of(a, g, l->outer);
  for (size_t k = 0; k < l->n; k++) {
    const struct match_latent *z = &l->latents[k];
    const uint32_t comes = l->maps->perms[order->group][z->head];
    if (z->kind != MATCH_HEAD || z->group != order->group || comes == old[z->head])
      continue;
    match_fit_head(&to, z->head, &from, comes, z->factor, z->map);
    memcpy(z->z, z->map, z->n * z->n * sizeof *z->z);
  }
  arena_free(a);
}

static void find_order(struct match_learner *l, const struct match_latent *z)
{
  uint32_t *perm = l->maps->perms[z->group];
  uint32_t *old = mem_alloc(z->n * sizeof *old);
  memcpy(old, perm, z->n * sizeof *old);
  assignment_solve(z->n, z->z, ASSIGNMENT_MAXIMISE, perm, NULL, NULL);
  if (l->maps->qk[z->group] && memcmp(old, perm, z->n * sizeof *old))
    refit(l, z, old);
  if (l->maps->scale[z->group])
    rescale(l, z, old);
  free(old);
}

/* The stream's maps first, for heads and neurons are fitted to what is turned; a group's scales
 * come behind its order. */
void match_learner_map(struct match_learner *l)
{
  const size_t count = net_count(l->match->net);
  for (size_t k = 0; k < l->n; k++) {
    const struct match_latent *z = &l->latents[k];
    if (match_is_inner(&l->match->groups->v[z->group]))
      continue;
    if (z->kind == MATCH_ORDER) {
      find_order(l, z);
      continue;
    }
    double *copy = mem_alloc(z->n * z->n * sizeof *copy);
    memcpy(copy, z->z, z->n * z->n * sizeof *copy);
    match_polar((unsigned)z->n, copy, z->map, z->u, z->s, z->vt);
    free(copy);
  }
  memcpy(l->outer, l->from, count * sizeof *l->outer);
  match_apply(l->maps, false, l->outer);
  for (size_t k = 0; k < l->n; k++) {
    const struct match_latent *z = &l->latents[k];
    if (z->kind == MATCH_HEAD)
      svd_polar(z->n, z->z, z->map, z->u, z->s, z->vt);
    else if (z->kind == MATCH_SCALE)
      for (size_t i = 0; i < z->n; i++)
        z->map[i] = exp(z->z[i]);
    else if (match_is_inner(&l->match->groups->v[z->group]))
      find_order(l, z);
  }
  memcpy(l->path.mapped, l->outer, count * sizeof *l->outer);
  match_apply(l->maps, true, l->path.mapped);
}

/* ---- gradients of latents ---- */

static void add_use_products(struct match_learner *l, const struct match_latent *z,
                             const float *mapped)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  for (size_t k = 0; k < g->n_uses; k++)
    if (z->kind == MATCH_ORDER || match_turns(&g->uses[k]))
      match_add_products(&g->uses[k], g->size, l->path.grad, mapped, z->grad);
}

/* Of which neuron comes where, each scaled as the one that is there. */
static void add_scaled_products(struct match_learner *l, const struct match_latent *z)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  const double *scale = l->maps->scale[z->group];
  double *product = mem_alloc(z->count * sizeof *product);
  for (size_t k = 0; k < g->n_uses; k++) {
    const bool made = g->uses[k].role == NET_WRITES;
    memset(product, 0, z->count * sizeof *product);
    match_add_products(&g->uses[k], g->size, l->path.grad, l->outer, product);
    for (size_t i = 0; i < z->count; i++)
      z->grad[i] += product[i] * (made ? scale[i / z->n] : 1 / scale[i / z->n]);
  }
  free(product);
}

/* Of a scale's logarithm: what makes a neuron grows with it, what reads the neuron shrinks. */
static void add_scale_gradient(struct match_learner *l, const struct match_latent *z)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    const double sign = u->role == NET_WRITES ? 1 : -1;
    for (size_t c = 0; c < u->outer * u->run; c++) {
      const size_t at = u->offset + c / u->run * u->stride + c % u->run;
      for (size_t i = 0; i < z->n; i++)
        z->grad[i] +=
            sign * (double)l->path.grad[at + i * u->run] * (double)l->path.mapped[at + i * u->run];
    }
  }
}

/* A stream's products are with what all other maps have made of `from`. */
static void add_group_products(struct match_learner *l, const struct match_latent *z)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  if (z->kind == MATCH_SCALE) {
    add_scale_gradient(l, z);
  } else if (g->relu) {
    add_scaled_products(l, z);
  } else if (match_is_inner(g)) {
    add_use_products(l, z, l->outer);
  } else {
    memcpy(l->but, l->from, net_count(l->match->net) * sizeof *l->but);
    match_apply_but(l->maps, z->group, l->but);
    add_use_products(l, z, l->but);
  }
}

/* A group's heads: gradients of what is mapped, and what the maps are of. */
struct head_pair {
  struct match_heads grad, from;
};

/* Of which head comes where, each turned as the one that is there, and of how that one turns. */
static void add_head_products(struct match_learner *l, const struct head_pair *heads,
                              const struct match_latent *z)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  const size_t square = heads->grad.n * heads->grad.n;
  double *product = mem_alloc(square * sizeof *product);
  for (size_t i = 0; z->kind == MATCH_ORDER && i < g->size; i++)
    for (size_t j = 0; j < g->size; j++)
      for (int r = 0; r < MATCH_FACTORS; r++) {
        const double *map = (r < MATCH_VALUE ? l->maps->qk : l->maps->ov)[z->group] + i * square;
        match_head_products(&heads->grad, i, &heads->from, j, r, product);
        for (size_t k = 0; k < square; k++)
          z->grad[i * g->size + j] += map[k] * product[k];
      }
  for (int r = z->factor; z->kind == MATCH_HEAD && r < z->factor + 2; r++) {
    match_head_products(&heads->grad, z->head, &heads->from, l->maps->perms[z->group][z->head], r,
                        product);
    for (size_t k = 0; k < square; k++)
      z->grad[k] += product[k];
  }
  free(product);
}

static void find_gradient(struct match_learner *l, const struct head_pair *heads,
                          struct match_latent *z)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  memset(z->grad, 0, z->count * sizeof *z->grad);
  if (g->inner > 1)
    add_head_products(l, &heads[z->group], z);
  else
    add_group_products(l, z);
  if (z->kind == MATCH_HEAD)
    svd_polar_gradient(z->n, z->u, z->s, z->vt, z->grad, z->grad);
  else if (z->kind == MATCH_STREAM)
    match_polar_gradient((unsigned)z->n, z->u, z->s, z->vt, z->grad);
}

double match_learner_gradient(struct match_learner *l, double lambda, const uint32_t *samples,
                              unsigned n)
{
  const double loss = match_path_loss(&l->path, lambda, samples, n);
  const struct net_groups *groups = l->match->groups;
  struct arena *a = arena_new();
  struct head_pair *heads = arena_array(a, groups->n, sizeof *heads);
  for (size_t g = 0; g < groups->n; g++)
    if (groups->v[g].inner > 1)
      heads[g] = (struct head_pair){match_heads_of(a, &groups->v[g], l->path.grad),
                                    match_heads_of(a, &groups->v[g], l->outer)};
  for (size_t k = 0; k < l->n; k++)
    find_gradient(l, heads, &l->latents[k]);
  arena_free(a);
  return loss;
}

/* Adam (Kingma & Ba 2015). */
static void move(const struct match_learning *how, double step, struct match_latent *z)
{
  static const double keep_square = 0.999, epsilon = 1e-8;
  const double mean = 1 - pow(how->momentum, step), square = 1 - pow(keep_square, step);
  for (size_t k = 0; k < z->count; k++) {
    z->mean[k] += (1 - how->momentum) * (z->grad[k] - z->mean[k]);
    z->square[k] += (1 - keep_square) * (z->grad[k] * z->grad[k] - z->square[k]);
    z->z[k] -= how->lr * (z->mean[k] / mean) / (sqrt(z->square[k] / square) + epsilon);
  }
}

/* ---- learning ---- */

/* Near the middle of the path, but not at one point of it alone. */
static bool learn(struct match_learner *l, const struct match_learning *how,
                  const uint32_t *samples, unsigned step)
{
  struct rng r = rng_at(how->search.seed, RNG_PATH, 0, 0, step);
  const double lambda = 0.4 + 0.2 * rng_uniform(&r);
  if (!isfinite(match_learner_gradient(l, lambda, samples, l->path.batch)))
    return false;
  for (size_t k = 0; k < l->n; k++)
    move(how, step + 1, &l->latents[k]);
  match_learner_map(l);
  return true;
}

/* The lowest loss so far, with its maps. */
static double look(struct match_learner *l, double lowest, struct match_maps *best)
{
  const double loss = match_path_look(&l->path);
  if (!isfinite(loss) || !(loss < lowest || isnan(lowest)))
    return lowest;
  match_maps_move(l->maps, best);
  return loss;
}

static double learn_all(struct match_learner *l, const struct match_learning *how,
                        struct match_maps *best)
{
  const unsigned n = l->path.data->split[DATA_TRAIN].n, batches = n / l->path.batch;
  uint32_t *order = arena_array(l->arena, n, sizeof *order);
  double lowest = look(l, NAN, best);
  bool learns = isfinite(lowest);
  for (unsigned epoch = 0, step = 0; learns && epoch < how->epochs; epoch++) {
    unsigned looks = 0;
    data_order(how->search.seed, 0, epoch, order, n);
    for (unsigned k = 0; learns && k < batches; k++) {
      learns = learn(l, how, order + (size_t)k * l->path.batch, step++);
      if (!learns || (k + 1) * MATCH_LEARNED_LOOKS / batches == looks)
        continue;
      looks = (k + 1) * MATCH_LEARNED_LOOKS / batches;
      lowest = look(l, lowest, best);
    }
  }
  return lowest;
}

struct match_learner *match_learner_new(struct arena *a, const struct match *match,
                                        struct net_work *work, const struct data_set *data,
                                        unsigned batch, const struct match_maps *start)
{
  struct match_learner *l = arena_alloc(a, sizeof *l);
  *l = (struct match_learner){.match = match,
                              .path = match_path_new(a, match, work, data, batch),
                              .arena = a,
                              .maps = match_maps_new(a, match->groups)};
  l->from = arena_copy(a, match->from, net_count(match->net) * sizeof *l->from);
  l->outer = arena_array(a, net_count(match->net), sizeof *l->outer);
  l->but = arena_array(a, net_count(match->net), sizeof *l->but);
  match_split(start, l->from);
  match_maps_move(start, l->maps);
  add_latents(l);
  match_learner_map(l);
  return l;
}

double match_general_learned(const struct match *match, const struct match_learning *how,
                             struct net_work *work, const struct data_set *data,
                             struct match_maps *best)
{
  struct arena *a = arena_new();
  match_general(match, &how->search, best);
  struct match_learner *l = match_learner_new(a, match, work, data, how->batch, best);
  const double lowest = learn_all(l, how, best);
  arena_free(a);
  return lowest;
}
