#include "merge/match_int.h"
#include "merge/match_path.h"

#include "base/rng.h"
#include "merge/assignment.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum matrix_kind { ORDER, STREAM, HEAD };

/* Free matrices, of which the maps are the nearest: of a group's order, of how its channels turn,
 * or of how one head's circuit turns. */
struct latent {
  size_t group;
  enum matrix_kind kind;
  size_t n;
  double *z, *grad, *mean, *square; /* [n][n]; the latter two Adam's */
  double *map;                      /* [n][n], where it goes; ORDER: none */
  double *u, *s, *vt;               /* of z; ORDER: none */
  unsigned head;
  int factor; /* HEAD: MATCH_QUERY or MATCH_VALUE, the first of the circuit's two */
};

struct learning {
  const struct match *match;
  const struct match_learning *how;
  struct match_path path;
  struct arena *arena;
  struct match_maps *maps;
  struct latent *latents;
  size_t n, cap;
  float *inner, *outer; /* `from` with the inner groups' maps, and with the others' */
  uint32_t *order;
  double lowest;
};

static void add_latent(struct learning *l, struct latent z)
{
  double **const squares[] = {&z.z, &z.grad, &z.mean, &z.square, &z.u, &z.vt};
  for (int k = 0; k < 6; k++)
    *squares[k] = arena_array(l->arena, z.n * z.n, sizeof(double));
  z.s = arena_array(l->arena, z.n, sizeof *z.s);
  if (z.map)
    memcpy(z.z, z.map, z.n * z.n * sizeof *z.z);
  for (size_t i = 0; !z.map && i < z.n; i++)
    z.z[i * z.n + l->maps->perms[z.group][i]] = 1;
  ARENA_PUSH(l->arena, l->latents, l->n, l->cap, z);
}

static void add_latents(struct learning *l)
{
  const struct net_groups *groups = l->match->groups;
  for (size_t g = 0; g < groups->n; g++) {
    const struct net_group *group = &groups->v[g];
    const size_t square = (size_t)group->inner * group->inner;
    if (l->maps->turn[g])
      add_latent(l, (struct latent){
                        .group = g, .kind = STREAM, .n = group->size, .map = l->maps->turn[g]});
    else
      add_latent(l, (struct latent){.group = g, .kind = ORDER, .n = group->size});
    for (unsigned h = 0; l->maps->qk[g] && h < group->size; h++) {
      struct latent z = {.group = g, .kind = HEAD, .n = group->inner, .head = h};
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

/* Another head at this place is turned to fit it, for what was learned is another's. */
static void refit(struct learning *l, const struct latent *order, const uint32_t *old)
{
  const struct net_group *g = &l->match->groups->v[order->group];
  struct arena *a = arena_new();
  const struct match_heads to = match_heads_of(a, g, l->match->to);
  const struct match_heads from = match_heads_of(a, g, l->outer);
  for (size_t k = 0; k < l->n; k++) {
    const struct latent *z = &l->latents[k];
    const uint32_t comes = l->maps->perms[order->group][z->head];
    if (z->kind != HEAD || z->group != order->group || comes == old[z->head])
      continue;
    match_fit_head(&to, z->head, &from, comes, z->factor, z->map);
    memcpy(z->z, z->map, z->n * z->n * sizeof *z->z);
  }
  arena_free(a);
}

static void find_order(struct learning *l, const struct latent *z)
{
  uint32_t *perm = l->maps->perms[z->group];
  uint32_t *old = mem_alloc(z->n * sizeof *old);
  memcpy(old, perm, z->n * sizeof *old);
  assignment_solve(z->n, z->z, ASSIGNMENT_MAXIMISE, perm, NULL, NULL);
  if (l->maps->qk[z->group] && memcmp(old, perm, z->n * sizeof *old))
    refit(l, z, old);
  free(old);
}

/* The stream's maps first, for heads are fitted to what is turned. */
static void find_maps(struct learning *l)
{
  const size_t count = net_count(l->match->net);
  for (size_t k = 0; k < l->n; k++) {
    const struct latent *z = &l->latents[k];
    if (match_is_inner(&l->match->groups->v[z->group]))
      continue;
    if (z->kind == ORDER) {
      find_order(l, z);
      continue;
    }
    double *copy = mem_alloc(z->n * z->n * sizeof *copy);
    memcpy(copy, z->z, z->n * z->n * sizeof *copy);
    match_polar((unsigned)z->n, copy, z->map, z->u, z->s, z->vt);
    free(copy);
  }
  memcpy(l->outer, l->match->from, count * sizeof *l->outer);
  match_apply(l->maps, false, l->outer);
  for (size_t k = 0; k < l->n; k++) {
    const struct latent *z = &l->latents[k];
    if (z->kind == HEAD)
      svd_polar(z->n, z->z, z->map, z->u, z->s, z->vt);
    else if (match_is_inner(&l->match->groups->v[z->group]))
      find_order(l, z);
  }
  memcpy(l->inner, l->match->from, count * sizeof *l->inner);
  match_apply(l->maps, true, l->inner);
  memcpy(l->path.mapped, l->outer, count * sizeof *l->outer);
  match_apply(l->maps, true, l->path.mapped);
}

/* ---- gradients of latents ---- */

static void add_use_products(struct learning *l, const struct latent *z, const float *mapped)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  for (size_t k = 0; k < g->n_uses; k++)
    if (z->kind == ORDER || match_turns(&g->uses[k]))
      match_add_products(&g->uses[k], g->size, l->path.grad, mapped, z->grad);
}

/* A group's heads: gradients of what is mapped, and what the maps are of. */
struct head_pair {
  struct match_heads grad, from;
};

/* Of which head comes where, each turned as the one that is there, and of how that one turns. */
static void add_head_products(struct learning *l, const struct head_pair *heads,
                              const struct latent *z)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  const size_t square = heads->grad.n * heads->grad.n;
  double *product = mem_alloc(square * sizeof *product);
  for (size_t i = 0; z->kind == ORDER && i < g->size; i++)
    for (size_t j = 0; j < g->size; j++)
      for (int r = 0; r < MATCH_FACTORS; r++) {
        const double *map = (r < MATCH_VALUE ? l->maps->qk : l->maps->ov)[z->group] + i * square;
        match_head_products(&heads->grad, i, &heads->from, j, r, product);
        for (size_t k = 0; k < square; k++)
          z->grad[i * g->size + j] += map[k] * product[k];
      }
  for (int r = z->factor; z->kind == HEAD && r < z->factor + 2; r++) {
    match_head_products(&heads->grad, z->head, &heads->from, l->maps->perms[z->group][z->head], r,
                        product);
    for (size_t k = 0; k < square; k++)
      z->grad[k] += product[k];
  }
  free(product);
}

static void find_gradient(struct learning *l, const struct head_pair *heads, struct latent *z)
{
  const struct net_group *g = &l->match->groups->v[z->group];
  memset(z->grad, 0, z->n * z->n * sizeof *z->grad);
  if (g->inner > 1)
    add_head_products(l, &heads[z->group], z);
  else
    add_use_products(l, z, match_is_inner(g) ? l->outer : l->inner);
  if (z->kind == HEAD)
    svd_polar_gradient(z->n, z->u, z->s, z->vt, z->grad, z->grad);
  else if (z->kind == STREAM)
    match_polar_gradient((unsigned)z->n, z->u, z->s, z->vt, z->grad);
}

static void find_gradients(struct learning *l)
{
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
}

/* Adam (Kingma & Ba 2015). */
static void move(const struct match_learning *how, double step, struct latent *z)
{
  static const double keep_square = 0.999, epsilon = 1e-8;
  const double mean = 1 - pow(how->momentum, step), square = 1 - pow(keep_square, step);
  for (size_t k = 0; k < z->n * z->n; k++) {
    z->mean[k] += (1 - how->momentum) * (z->grad[k] - z->mean[k]);
    z->square[k] += (1 - keep_square) * (z->grad[k] * z->grad[k] - z->square[k]);
    z->z[k] -= how->lr * (z->mean[k] / mean) / (sqrt(z->square[k] / square) + epsilon);
  }
}

/* ---- learning ---- */

static void look(struct learning *l, struct match_maps *best)
{
  const double loss = match_path_look(&l->path);
  if (!isfinite(loss) || !(loss < l->lowest || isnan(l->lowest)))
    return;
  l->lowest = loss;
  match_maps_copy(l->maps, best);
}

/* Near the middle of the path, but not at one point of it alone. */
static bool learn(struct learning *l, const uint32_t *samples, unsigned step)
{
  struct rng r = rng_at(l->how->search.seed, RNG_PATH, 0, 0, step);
  const double lambda = 0.4 + 0.2 * rng_uniform(&r);
  if (!isfinite(match_path_loss(&l->path, lambda, samples, l->path.batch)))
    return false;
  find_gradients(l);
  for (size_t k = 0; k < l->n; k++)
    move(l->how, step + 1, &l->latents[k]);
  find_maps(l);
  return true;
}

static void learn_all(struct learning *l, struct match_maps *best)
{
  const unsigned n = l->path.data->split[DATA_TRAIN].n, batches = n / l->path.batch;
  find_maps(l);
  look(l, best);
  bool learns = isfinite(l->lowest);
  for (unsigned epoch = 0, step = 0; learns && epoch < l->how->epochs; epoch++) {
    unsigned looks = 0;
    data_order(l->how->search.seed, 0, epoch, l->order, n);
    for (unsigned k = 0; learns && k < batches; k++) {
      learns = learn(l, l->order + (size_t)k * l->path.batch, step++);
      if (!learns || (k + 1) * MATCH_LEARNED_LOOKS / batches == looks)
        continue;
      looks = (k + 1) * MATCH_LEARNED_LOOKS / batches;
      look(l, best);
    }
  }
}

double match_general_learned(const struct match *match, const struct match_learning *how,
                             struct net_work *work, const struct data_set *data,
                             struct match_maps *best)
{
  struct arena *a = arena_new();
  struct learning l = {.match = match,
                       .how = how,
                       .path = match_path_new(a, match, work, data, how->batch),
                       .arena = a,
                       .maps = match_maps_new(a, match->groups),
                       .lowest = NAN};
  l.inner = arena_array(a, net_count(match->net), sizeof *l.inner);
  l.outer = arena_array(a, net_count(match->net), sizeof *l.outer);
  l.order = arena_array(a, data->split[DATA_TRAIN].n, sizeof *l.order);
  match_general(match, how->search.passes, l.maps);
  match_maps_copy(l.maps, best);
  add_latents(&l);
  learn_all(&l, best);
  arena_free(a);
  return l.lowest;
}
