#include "merge/match_int.h"

#include "base/rng.h"
#include "merge/assignment.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A gain that counts, of the product of the two vectors' lengths. */
static const double progress = 1e-9;

static double dot(const float *a, const float *b, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)a[i] * (double)b[i];
  return sum;
}

bool match_has_heads(const struct net_groups *groups)
{
  for (size_t g = 0; g < groups->n; g++)
    if (groups->v[g].inner > 1)
      return true;
  return false;
}

/* ---- the stream ---- */

/* Does another group lie in the tensor, of those that are not matched yet: all but the streams
 * before this one? */
static bool shared(const struct net_groups *groups, size_t group, uint32_t tensor)
{
  for (size_t g = 0; g < groups->n; g++)
    for (size_t k = 0; g != group && k < groups->v[g].n_uses; k++)
      if (groups->v[g].uses[k].tensor == tensor && (g > group || match_is_inner(&groups->v[g])))
        return true;
  return false;
}

/* `first`: only by tensors that no group lies in that is not matched yet. */
static void match_stream(const struct match_maps *m, size_t group, bool first, const float *to,
                         const float *from)
{
  const struct net_group *g = &m->groups->v[group];
  double *gains = mem_zalloc((size_t)g->size * g->size * sizeof *gains);
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    if ((!m->turn[group] || match_turns(u)) && !(first && shared(m->groups, group, u->tensor)))
      match_add_products(u, g->size, to, from, gains);
  }
  if (m->turn[group])
    match_polar(g->size, gains, m->turn[group], NULL, NULL, NULL);
  else
    assignment_solve(g->size, gains, ASSIGNMENT_MAXIMISE, m->perms[group], NULL, NULL);
  free(gains);
}

/* ---- all together ---- */

/* Half of what the squared distance from `to` loses, were it to that of `from` as it is; what no
 * map here changes is left out, so that without scales it is the inner product. */
static double gain_of(const struct match *match, const struct match_maps *m, const float *mapped)
{
  const size_t params = net_params(match->net);
  bool scales = false;
  for (size_t g = 0; g < m->groups->n; g++)
    scales |= m->scale[g] != NULL;
  double gain = dot(match->to, mapped, params);
  if (scales)
    gain += (dot(match->from, match->from, params) - dot(mapped, mapped, params)) / 2;
  return gain;
}

/* Inner groups share tensors only with the stream, so that each can be matched by itself. */
static double improve(const struct match *match, struct match_maps *m, bool first, float *scratch)
{
  const struct net_groups *groups = match->groups;
  const size_t count = net_count(match->net);
  for (size_t g = 0; g < groups->n; g++) {
    if (match_is_inner(&groups->v[g]))
      continue;
    memcpy(scratch, match->from, count * sizeof *scratch);
    match_split(m, scratch);
    match_apply_but(m, g, scratch);
    match_stream(m, g, first, match->to, scratch);
  }
  memcpy(scratch, match->from, count * sizeof *scratch);
  match_apply(m, false, scratch);
  for (size_t g = 0; g < groups->n; g++) {
    if (groups->v[g].inner > 1)
      match_by_circuits(m, g, match->to, scratch);
    else if (match_is_inner(&groups->v[g]))
      match_neurons(m, g, match->to, scratch);
  }
  match_split(m, scratch);
  match_apply(m, true, scratch);
  return gain_of(match, m, scratch);
}

/* Neurons and heads in random order, heads turned at random inside; the rest is found first. */
static void start_at_random(const struct match_search *how, uint32_t restart, struct match_maps *m)
{
  for (uint32_t g = 0; g < m->groups->n; g++) {
    const struct net_group *group = &m->groups->v[g];
    const size_t n = group->inner, square = n * n;
    struct rng r = rng_at(how->seed, RNG_MATCH, restart, 0, 1 + g);
    if (!match_is_inner(group))
      continue;
    rng_shuffle(&r, m->perms[g], group->size);
    double *drawn = mem_alloc((3 * square + n) * sizeof *drawn);
    for (size_t h = 0; m->qk[g] && h < 2 * (size_t)group->size; h++) {
      double *map = (h % 2 ? m->ov : m->qk)[g] + h / 2 * square;
      for (size_t k = 0; k < square; k++)
        drawn[k] = rng_normal(&r);
      svd_polar(n, drawn, map, drawn + square, drawn + 3 * square, drawn + 2 * square);
    }
    free(drawn);
  }
}

double match_general(const struct match *match, const struct match_search *how,
                     struct match_maps *best)
{
  const size_t params = net_params(match->net);
  const double least =
      progress * sqrt(dot(match->to, match->to, params) * dot(match->from, match->from, params));
  double most = -INFINITY;
  for (uint32_t restart = 0; !restart || restart < how->restarts; restart++) {
    struct arena *a = arena_new();
    struct match_maps *m = match_maps_new(a, match->groups);
    float *scratch = arena_array(a, net_count(match->net), sizeof *scratch);
    double highest = -INFINITY;
    if (restart)
      start_at_random(how, restart, m);
    for (unsigned pass = 0; pass < how->passes; pass++) {
      const double now = improve(match, m, !pass && !restart, scratch), gain = now - highest;
      if (now > most)
        match_maps_copy(m, best);
      most = fmax(most, now);
      highest = fmax(highest, now);
      if (pass > 1 && gain <= least)
        break;
    }
    arena_free(a);
  }
  return most;
}
