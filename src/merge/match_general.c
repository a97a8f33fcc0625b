#include "merge/match_int.h"

#include "merge/assignment.h"

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

static bool shared(const struct net_groups *groups, size_t group, uint32_t tensor)
{
  for (size_t g = 0; g < groups->n; g++)
    for (size_t k = 0; g != group && k < groups->v[g].n_uses; k++)
      if (groups->v[g].uses[k].tensor == tensor)
        return true;
  return false;
}

/* `first`: only by tensors that no other group lies in, as these are not matched yet. */
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

/* ---- neurons and heads ---- */

static void add_squares(const struct net_use *u, unsigned n, const float *flat, double *sum)
{
  for (unsigned i = 0; i < n; i++)
    for (size_t o = 0; o < u->outer; o++)
      for (size_t t = 0; t < u->run; t++) {
        const double v = (double)flat[u->offset + o * u->stride + i * u->run + t];
        sum[i] += v * v;
      }
}

/* Neurons by the distance of their rows, of incoming and outgoing weights, scaled to length 1. */
static void match_neurons(const struct match_maps *m, size_t group, const float *to,
                          const float *from)
{
  const struct net_group *g = &m->groups->v[group];
  const size_t n = g->size;
  double *gains = mem_zalloc((n + 2) * n * sizeof *gains), *a = gains + n * n, *b = a + n;
  for (size_t k = 0; k < g->n_uses; k++) {
    match_add_products(&g->uses[k], g->size, to, from, gains);
    add_squares(&g->uses[k], g->size, to, a);
    add_squares(&g->uses[k], g->size, from, b);
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      gains[i * n + j] = a[i] * b[j] > 0 ? gains[i * n + j] / sqrt(a[i] * b[j]) : 0;
  assignment_solve(n, gains, ASSIGNMENT_MAXIMISE, m->perms[group], NULL, NULL);
  free(gains);
}

/* ---- all together ---- */

/* Inner groups share tensors only with the stream, so that each can be matched by itself. */
static double improve(const struct match *match, struct match_maps *m, bool first, float *scratch)
{
  const struct net_groups *groups = match->groups;
  const size_t count = net_count(match->net);
  memcpy(scratch, match->from, count * sizeof *scratch);
  match_apply(m, true, scratch);
  for (size_t g = 0; g < groups->n; g++)
    if (!match_is_inner(&groups->v[g]))
      match_stream(m, g, first, match->to, scratch);
  memcpy(scratch, match->from, count * sizeof *scratch);
  match_apply(m, false, scratch);
  for (size_t g = 0; g < groups->n; g++) {
    if (groups->v[g].inner > 1)
      match_by_circuits(m, g, match->to, scratch);
    else if (match_is_inner(&groups->v[g]))
      match_neurons(m, g, match->to, scratch);
  }
  match_apply(m, true, scratch);
  return dot(match->to, scratch, net_params(match->net));
}

double match_general(const struct match *match, unsigned passes, struct match_maps *best)
{
  struct arena *a = arena_new();
  const size_t params = net_params(match->net);
  struct match_maps *m = match_maps_new(a, match->groups);
  float *scratch = arena_array(a, net_count(match->net), sizeof *scratch);
  const double least =
      progress * sqrt(dot(match->to, match->to, params) * dot(match->from, match->from, params));
  double most = -INFINITY;
  for (unsigned pass = 0; pass < passes; pass++) {
    const double product = improve(match, m, !pass, scratch), gain = product - most;
    if (product > most)
      match_maps_copy(m, best);
    most = fmax(most, product);
    if (pass > 1 && gain <= least)
      break;
  }
  arena_free(a);
  return most;
}
