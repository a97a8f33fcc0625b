#include "merge/match.h"

#include "base/rng.h"
#include "merge/assignment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of the product of the two vectors' lengths. */
static const double progress = 1e-12;

enum { COLUMNS = 1024 }; /* of a product at a time: its sums are floats, their sums doubles */

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
  float *current;             /* `from` with `perms` applied */
  double *gains;              /* [n][n] of a group */
  float *to, *from, *product; /* channels as rows; of these, and all rows' products */
  float *scratch;
  uint32_t *better, *old;
  uint64_t (*changed)[2]; /* by tensor and axis: of 0 and 1, the only ones that channels lie on */
  uint64_t *seen, clock;  /* by group */
  double least;           /* gain that counts */
};

/* Part of a use: outer [o, o_end), run [t, t_end). */
struct piece {
  size_t o, o_end, t, t_end;
};

static size_t piece_columns(const struct piece *p)
{
  return (p->o_end - p->o) * (p->t_end - p->t);
}

/* The next piece of at most COLUMNS columns; all 0 before the first.  false: there is none. */
static bool next_piece(const struct net_use *u, struct piece *p)
{
  if (p->o_end == u->outer) {
    p->t = p->t_end;
    p->o_end = 0;
  }
  if (p->t == u->run)
    return false;
  const size_t rest = u->run - p->t, width = rest < COLUMNS ? rest : COLUMNS;
  p->t_end = p->t + width;
  p->o = p->o_end;
  p->o_end = p->o + COLUMNS / width < u->outer ? p->o + COLUMNS / width : u->outer;
  return true;
}

static void unfold(const struct net_use *u, const struct piece *p, unsigned n, const float *flat,
                   float *rows)
{
  const size_t width = p->t_end - p->t;
  for (unsigned i = 0; i < n; i++) {
    const float *at = flat + u->offset + i * u->run + p->t;
    for (size_t o = p->o; o < p->o_end; o++, rows += width)
      memcpy(rows, at + o * u->stride, width * sizeof *rows);
  }
}

static void add_piece(struct search *s, const struct net_use *u, const struct piece *p, unsigned n)
{
  const struct ops *ops = s->match->ops;
  const struct ops_dense product = {.in = (unsigned)piece_columns(p), .out = n};
  unfold(u, p, n, s->match->to, s->to);
  unfold(u, p, n, s->current, s->from);
  ops->dense_forward(ops, &product, n, s->to, s->from, NULL, NULL, s->product, NULL, s->scratch);
  for (size_t k = 0; k < (size_t)n * n; k++)
    s->gains[k] += (double)s->product[k];
}

/* gains[i][j]: inner product of the weights of `to` at channel i with the current ones at j. */
static void find_gains(struct search *s, const struct net_group *g)
{
  memset(s->gains, 0, (size_t)g->size * g->size * sizeof *s->gains);
  for (size_t k = 0; k < g->n_uses; k++) {
    struct piece p = {0};
    while (!g->uses[k].buffer && next_piece(&g->uses[k], &p))
      add_piece(s, &g->uses[k], &p, g->size);
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

/* Of the tensors that a group lies in; uses of one tensor follow one another. */
static double product_of(const struct search *s, const struct net_group *g)
{
  size_t n_tensors;
  const struct net_tensor *tensors = net_tensors(s->match->net, &n_tensors);
  double sum = 0;
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_tensor *t = &tensors[g->uses[k].tensor];
    if (!t->buffer && (!k || g->uses[k - 1].tensor != g->uses[k].tensor))
      sum += dot(s->match->to + t->offset, s->current + t->offset, t->count);
  }
  return sum;
}

static void permute_back(struct search *s, const struct net_group *g, uint32_t *perm)
{
  uint32_t *back = mem_alloc(g->size * sizeof *back);
  for (uint32_t i = 0; i < g->size; i++)
    back[s->better[i]] = i;
  permute(s, g, back, perm);
  free(back);
}

/* What counts is the product in double: gains are rounded, and where a group lies on both axes
 * of one tensor they hold for a change along one of them. */
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
  if (!(gain > 0))
    return false;
  const double before = product_of(s, g);
  permute(s, g, s->better, perm);
  if (!(product_of(s, g) - before > s->least)) {
    permute_back(s, g, perm);
    return false;
  }
  ++s->clock;
  for (size_t k = 0; k < g->n_uses; k++)
    s->changed[g->uses[k].tensor][g->uses[k].axis] = s->clock;
  return true;
}

static void begin(struct search *s, const struct match *match)
{
  const size_t params = net_params(match->net), n_groups = match->groups->n;
  size_t n_tensors, n = 0;
  net_tensors(match->net, &n_tensors);
  for (size_t g = 0; g < n_groups; g++)
    n = match->groups->v[g].size > n ? match->groups->v[g].size : n;
  const struct ops_dense product = {.in = COLUMNS, .out = (unsigned)n};
  const size_t scratch = match->ops->dense_scratch(match->ops, &product);
  *s = (struct search){.match = match};
  s->current = mem_alloc(net_count(match->net) * sizeof *s->current);
  s->gains = mem_alloc((n * n + 1) * sizeof *s->gains);
  s->scratch = mem_alloc((scratch + n * n + 2 * n * COLUMNS) * sizeof *s->scratch);
  s->product = s->scratch + scratch;
  s->to = s->product + n * n;
  s->from = s->to + n * COLUMNS;
  s->better = mem_alloc((2 * n + 1) * sizeof *s->better);
  s->old = s->better + n;
  s->changed = mem_alloc(n_tensors * sizeof *s->changed);
  s->seen = mem_alloc((n_groups + 1) * sizeof *s->seen);
  s->least = progress * sqrt(dot(match->to, match->to, params) *
                             dot(match->from, match->from, params));
}

static void end(struct search *s)
{
  free(s->current);
  free(s->gains);
  free(s->scratch);
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
  return dot(s->match->to, s->current, net_params(s->match->net));
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
