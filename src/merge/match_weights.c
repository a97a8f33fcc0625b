#include "merge/match.h"

#include "base/rng.h"
#include "merge/assignment.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of the product of the two vectors' lengths. */
static const double progress = 1e-12;

static double dot(const float *a, const float *b, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)a[i] * (double)b[i];
  return sum;
}

/* Gains of a group come only from tensors that another group has changed since it was looked
 * at, along their other axis; `changed` and `seen` tell when that was. */
struct search {
  const struct match *match;
  float *current;    /* `from` with `perms` applied */
  double *gains;     /* [n][n] of a group */
  double *to, *from; /* a use's channels as rows */
  uint32_t *better, *old;
  uint64_t (*changed)[2]; /* by tensor and axis: of 0 and 1, the only ones that channels lie on */
  uint64_t *seen, clock;  /* by group */
  double least;           /* gain that counts */
};

static size_t use_row(const struct net_use *u)
{
  return u->outer * u->run;
}

/* Channels of a use as the rows of a matrix. */
static void unfold(const struct net_use *u, unsigned n, const float *flat, double *rows)
{
  for (unsigned i = 0; i < n; i++) {
    for (size_t o = 0; o < u->outer; o++) {
      const float *at = flat + u->offset + o * u->stride + i * u->run;
      double *row = rows + i * use_row(u) + o * u->run;
      for (size_t t = 0; t < u->run; t++)
        row[t] = (double)at[t];
    }
  }
}

/* gains[i][j]: inner product of the weights of `to` at channel i with the current ones at j. */
static void find_gains(struct search *s, const struct net_group *g)
{
  const blasint n = (blasint)g->size;
  memset(s->gains, 0, (size_t)g->size * g->size * sizeof *s->gains);
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    const blasint row = (blasint)use_row(u);
    if (u->buffer)
      continue;
    unfold(u, g->size, s->match->to, s->to);
    unfold(u, g->size, s->current, s->from);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, row, 1, s->to, row, s->from, row, 1,
                s->gains, n);
  }
}

static bool is_stale(const struct search *s, size_t group)
{
  const struct net_group *g = &s->match->groups->v[group];
  for (size_t k = 0; k < g->n_uses; k++)
    if (s->changed[g->uses[k].tensor][!g->uses[k].axis] > s->seen[group])
      return true;
  return !s->seen[group];
}

static void permute(struct search *s, const struct net_group *g, const uint32_t *by, uint32_t *perm)
{
  memcpy(s->old, perm, g->size * sizeof *perm);
  for (unsigned i = 0; i < g->size; i++)
    perm[i] = s->old[by[i]];
  net_permute_group(g, by, s->current);
}

static double inner_product(const struct search *s)
{
  return dot(s->match->to, s->current, net_params(s->match->net));
}

/* A group on both axes of one tensor: its gains hold for a change on one of them. */
static bool is_on_both_axes(const struct net_group *g)
{
  for (size_t k = 0; k < g->n_uses; k++)
    for (size_t j = 0; j < k; j++)
      if (g->uses[j].tensor == g->uses[k].tensor && g->uses[j].axis != g->uses[k].axis)
        return true;
  return false;
}

static bool improve(struct search *s, size_t group, uint32_t *perm)
{
  const struct net_group *g = &s->match->groups->v[group];
  double gain = 0;
  s->seen[group] = ++s->clock;
  find_gains(s, g);
  if (!assignment_solve(g->size, s->gains, ASSIGNMENT_MAXIMISE, s->better, NULL, NULL))
    return false;
  for (size_t i = 0; i < g->size; i++)
    gain += s->gains[i * g->size + s->better[i]] - s->gains[i * g->size + i];
  if (!(gain > s->least))
    return false;
  const double before = is_on_both_axes(g) ? inner_product(s) : -INFINITY;
  permute(s, g, s->better, perm);
  if (isfinite(before) && !(inner_product(s) - before > s->least)) {
    uint32_t *back = mem_alloc(g->size * sizeof *back);
    for (uint32_t i = 0; i < g->size; i++)
      back[s->better[i]] = i;
    permute(s, g, back, perm);
    free(back);
    return false;
  }
  ++s->clock;
  for (size_t k = 0; k < g->n_uses; k++)
    s->changed[g->uses[k].tensor][g->uses[k].axis] = s->clock;
  return true;
}

static void begin(struct search *s, const struct match *match)
{
  size_t n_tensors, most = 0, row = 0;
  net_tensors(match->net, &n_tensors);
  for (size_t g = 0; g < match->groups->n; g++) {
    const struct net_group *group = &match->groups->v[g];
    most = group->size > most ? group->size : most;
    for (size_t k = 0; k < group->n_uses; k++) {
      const size_t floats = group->size * use_row(&group->uses[k]);
      row = floats > row ? floats : row;
    }
  }
  *s = (struct search){.match = match};
  s->current = mem_alloc(net_count(match->net) * sizeof *s->current);
  s->gains = mem_alloc((most * most + 2 * row + 1) * sizeof *s->gains);
  s->to = s->gains + most * most;
  s->from = s->to + row;
  s->better = mem_alloc((2 * most + 1) * sizeof *s->better);
  s->old = s->better + most;
  s->changed = mem_alloc(n_tensors * sizeof *s->changed);
  s->seen = mem_alloc((match->groups->n + 1) * sizeof *s->seen);
  s->least = progress * sqrt(dot(match->to, match->to, net_params(match->net)) *
                             dot(match->from, match->from, net_params(match->net)));
}

static void end(struct search *s)
{
  free(s->current);
  free(s->gains);
  free(s->better);
  free(s->changed);
  free(s->seen);
}

static double climb(struct search *s, const struct match_search *how, uint32_t restart,
                    uint32_t **perms)
{
  const struct net_groups *groups = s->match->groups;
  uint32_t *order = mem_alloc((groups->n + 1) * sizeof *order);
  size_t n_tensors;
  bool gained = true;
  net_tensors(s->match->net, &n_tensors);
  memset(s->changed, 0, n_tensors * sizeof *s->changed);
  memset(s->seen, 0, groups->n * sizeof *s->seen);
  net_permute(s->match->net, groups, perms, s->match->from, s->current);
  for (uint32_t g = 0; g < groups->n; g++)
    order[g] = g;
  for (uint32_t pass = 0; gained && pass < how->passes; pass++) {
    struct rng r = rng_at(how->seed, RNG_MATCH, restart, pass, 0);
    rng_shuffle(&r, order, groups->n);
    gained = false;
    for (size_t k = 0; k < groups->n; k++)
      if (is_stale(s, order[k]))
        gained |= improve(s, order[k], perms[order[k]]);
  }
  free(order);
  return inner_product(s);
}

double match_weights(const struct match *match, const struct match_search *how, uint32_t **perms)
{
  const struct net_groups *groups = match->groups;
  struct arena *a = arena_new();
  struct search s;
  begin(&s, match);
  double best = climb(&s, how, 0, perms);
  for (uint32_t restart = 1; restart < how->restarts; restart++) {
    uint32_t **tried = match_identity(a, groups);
    for (uint32_t g = 0; g < groups->n; g++) {
      struct rng r = rng_at(how->seed, RNG_MATCH, restart, 0, 1 + g);
      rng_shuffle(&r, tried[g], groups->v[g].size);
    }
    const double product = climb(&s, how, restart, tried);
    for (size_t g = 0; product > best && g < groups->n; g++)
      memcpy(perms[g], tried[g], groups->v[g].size * sizeof **tried);
    best = fmax(best, product);
  }
  end(&s);
  arena_free(a);
  return best;
}
