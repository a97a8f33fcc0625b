#include "merge/match_int.h"

#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 512 }; /* of a matrix at a time */

static double *identities(struct arena *a, size_t how_many, size_t n)
{
  double *all = arena_array(a, how_many * n * n, sizeof *all);
  for (size_t k = 0; k < how_many; k++)
    for (size_t i = 0; i < n; i++)
      all[(k * n + i) * n + i] = 1;
  return all;
}

static double *ones(struct arena *a, size_t n)
{
  double *all = arena_array(a, n, sizeof *all);
  for (size_t i = 0; i < n; i++)
    all[i] = 1;
  return all;
}

struct match_maps *match_maps_new(struct arena *a, const struct net_groups *groups)
{
  struct match_maps *m = arena_alloc(a, sizeof *m);
  *m = (struct match_maps){.groups = groups, .perms = match_identity(a, groups)};
  m->turn = arena_array(a, groups->n, sizeof *m->turn);
  m->qk = arena_array(a, groups->n, sizeof *m->qk);
  m->ov = arena_array(a, groups->n, sizeof *m->ov);
  m->source = arena_array(a, groups->n, sizeof *m->source);
  m->share = arena_array(a, groups->n, sizeof *m->share);
  m->scale = arena_array(a, groups->n, sizeof *m->scale);
  for (size_t g = 0; g < groups->n; g++) {
    const struct net_group *group = &groups->v[g];
    if (group->turns)
      m->turn[g] = identities(a, 1, group->size);
    if (group->relu) {
      m->source[g] = arena_copy(a, m->perms[g], group->size * sizeof **m->source);
      m->share[g] = ones(a, group->size);
      m->scale[g] = ones(a, group->size);
    }
    if (group->inner == 1)
      continue;
    m->qk[g] = identities(a, group->size, group->inner);
    m->ov[g] = identities(a, group->size, group->inner);
  }
  return m;
}

void match_maps_copy(const struct match_maps *from, struct match_maps *to)
{
  match_maps_move(from, to);
  for (size_t g = 0; g < from->groups->n; g++) {
    const size_t n = from->groups->v[g].size;
    if (!from->scale[g])
      continue;
    memcpy(to->source[g], from->source[g], n * sizeof **to->source);
    memcpy(to->share[g], from->share[g], n * sizeof **to->share);
  }
}

void match_maps_move(const struct match_maps *from, struct match_maps *to)
{
  for (size_t g = 0; g < from->groups->n; g++) {
    const struct net_group *group = &from->groups->v[g];
    const size_t n = group->size, heads = n * group->inner * group->inner;
    memcpy(to->perms[g], from->perms[g], n * sizeof **to->perms);
    if (from->turn[g])
      memcpy(to->turn[g], from->turn[g], n * n * sizeof **to->turn);
    if (from->scale[g])
      memcpy(to->scale[g], from->scale[g], n * sizeof **to->scale);
    if (!from->qk[g])
      continue;
    memcpy(to->qk[g], from->qk[g], heads * sizeof **to->qk);
    memcpy(to->ov[g], from->ov[g], heads * sizeof **to->ov);
  }
}

bool match_turns(const struct net_use *u)
{
  return u->role == NET_WRITES || u->role == NET_READS || u->role == NET_SHIFTS;
}

bool match_is_inner(const struct net_group *g)
{
  for (size_t k = 0; k < g->n_uses; k++)
    if (g->uses[k].role == NET_SCALES)
      return false;
  return true;
}

/* Columns [first, first + count) of the matrix whose row i is what channel i has. */
static void take_rows(const struct net_use *u, unsigned n, size_t first, size_t count,
                      const float *flat, double *rows)
{
  for (size_t c = 0; c < count; c++) {
    const float *at = flat + u->offset + (first + c) / u->run * u->stride + (first + c) % u->run;
    for (unsigned i = 0; i < n; i++)
      rows[i * count + c] = (double)at[i * u->run];
  }
}

static void put_rows(const struct net_use *u, unsigned n, size_t first, size_t count,
                     const double *rows, float *flat)
{
  for (size_t c = 0; c < count; c++) {
    float *at = flat + u->offset + (first + c) / u->run * u->stride + (first + c) % u->run;
    for (unsigned i = 0; i < n; i++)
      at[i * u->run] = (float)rows[i * count + c];
  }
}

static size_t piece(const struct net_use *u, size_t first)
{
  const size_t rest = u->outer * u->run - first;
  return rest < COLUMNS ? rest : COLUMNS;
}

void match_add_products(const struct net_use *u, unsigned n, const float *a, const float *b,
                        double *sum)
{
  double *x = mem_alloc((2 * COLUMNS + n) * (size_t)n * sizeof *x), *y = x + COLUMNS * (size_t)n;
  double *product = y + COLUMNS * (size_t)n;
  for (size_t first = 0, count; first < u->outer * u->run; first += count) {
    count = piece(u, first);
    take_rows(u, n, first, count, a, x);
    take_rows(u, n, first, count, b, y);
    svd_product(false, true, n, n, count, x, y, product);
    for (size_t k = 0; k < (size_t)n * n; k++)
      sum[k] += product[k];
  }
  free(x);
}

static void turn_use(const struct net_use *u, unsigned n, const double *turn, float *flat)
{
  double *x = mem_alloc(2 * COLUMNS * (size_t)n * sizeof *x), *y = x + COLUMNS * (size_t)n;
  for (size_t first = 0, count; first < u->outer * u->run; first += count) {
    count = piece(u, first);
    take_rows(u, n, first, count, flat, x);
    svd_product(false, false, n, count, n, turn, x, y);
    put_rows(u, n, first, count, y, flat);
  }
  free(x);
}

/* Unit h's part of a use, at inner channel i and column c. */
static size_t head_place(const struct net_group *g, const struct net_use *u, unsigned h, size_t i,
                         size_t c)
{
  const size_t width = u->run / g->inner;
  return u->offset + c / width * u->stride + h * u->run + i * width + c % width;
}

static size_t head_columns(const struct net_group *g, const struct net_use *u)
{
  return u->outer * u->run / g->inner;
}

size_t match_head_rows(const struct net_group *g, enum net_role role, const float *flat, unsigned h,
                       double *rows)
{
  size_t all = 0, first = 0;
  for (size_t k = 0; k < g->n_uses; k++)
    all += g->uses[k].role == role ? head_columns(g, &g->uses[k]) : 0;
  for (size_t k = 0; rows && k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    if (u->role != role)
      continue;
    for (size_t i = 0; i < g->inner; i++)
      for (size_t c = 0; c < head_columns(g, u); c++)
        rows[i * all + first + c] = (double)flat[head_place(g, u, h, i, c)];
    first += head_columns(g, u);
  }
  return all;
}

void match_put_head_rows(const struct net_group *g, enum net_role role, const double *rows,
                         unsigned h, float *flat)
{
  const size_t all = match_head_rows(g, role, flat, h, NULL);
  size_t first = 0;
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    if (u->role != role)
      continue;
    for (size_t i = 0; i < g->inner; i++)
      for (size_t c = 0; c < head_columns(g, u); c++)
        flat[head_place(g, u, h, i, c)] = (float)rows[i * all + first + c];
    first += head_columns(g, u);
  }
}

static void turn_heads(const struct match_maps *m, size_t group, float *flat)
{
  static const enum net_role roles[] = {NET_QUERIES, NET_KEYS, NET_VALUES, NET_MIXES};
  const struct net_group *g = &m->groups->v[group];
  const size_t square = (size_t)g->inner * g->inner;
  for (int r = 0; r < 4; r++) {
    const double *maps = r < 2 ? m->qk[group] : m->ov[group];
    const size_t columns = match_head_rows(g, roles[r], flat, 0, NULL);
    double *x = mem_alloc(2 * g->inner * columns * sizeof *x), *y = x + g->inner * columns;
    for (unsigned h = 0; h < g->size; h++) {
      match_head_rows(g, roles[r], flat, h, x);
      svd_product(false, false, g->inner, columns, g->inner, maps + h * square, x, y);
      match_put_head_rows(g, roles[r], y, h, flat);
    }
    free(x);
  }
}

void match_split(const struct match_maps *m, float *flat)
{
  for (size_t g = 0; g < m->groups->n; g++) {
    const struct net_group *group = &m->groups->v[g];
    if (!m->scale[g])
      continue;
    net_permute_group(group, m->source[g], flat);
    for (size_t j = 0; j < group->size; j++)
      match_scale_neuron(group, j, 1, m->share[g][j], flat);
  }
}

static void apply_group(const struct match_maps *m, size_t g, float *flat)
{
  const struct net_group *group = &m->groups->v[g];
  if (!m->turn[g])
    net_permute_group(group, m->perms[g], flat);
  for (size_t k = 0; m->turn[g] && k < group->n_uses; k++)
    if (match_turns(&group->uses[k]))
      turn_use(&group->uses[k], group->size, m->turn[g], flat);
  for (size_t i = 0; m->scale[g] && i < group->size; i++)
    match_scale_neuron(group, i, m->scale[g][i], 1 / m->scale[g][i], flat);
  if (m->qk[g])
    turn_heads(m, g, flat);
}

void match_apply(const struct match_maps *m, bool inner, float *flat)
{
  for (size_t g = 0; g < m->groups->n; g++)
    if (match_is_inner(&m->groups->v[g]) == inner)
      apply_group(m, g, flat);
}

void match_apply_but(const struct match_maps *m, size_t but, float *flat)
{
  match_apply(m, true, flat);
  for (size_t g = 0; g < m->groups->n; g++)
    if (g != but && !match_is_inner(&m->groups->v[g]))
      apply_group(m, g, flat);
}

void match_map(const struct match_maps *m, const float *flat, size_t count, float *out)
{
  memcpy(out, flat, count * sizeof *out);
  match_split(m, out);
  match_apply(m, true, out);
  match_apply(m, false, out);
}

/* Rows and columns that sum to 0; then ones leave the vector of ones as it is. */
static void centre(unsigned n, double *a)
{
  for (int axis = 0; axis < 2; axis++) {
    const size_t step = axis ? n : 1, line = axis ? 1 : n;
    for (size_t i = 0; i < n; i++) {
      double mean = 0;
      for (size_t j = 0; j < n; j++)
        mean += a[i * line + j * step] / n;
      for (size_t j = 0; j < n; j++)
        a[i * line + j * step] -= mean;
    }
  }
}

bool match_polar(unsigned n, double *gains, double *turn, double *u, double *s, double *vt)
{
  double *own = mem_alloc((2 * (size_t)n + 1) * n * sizeof *own), largest = 0;
  const size_t square = (size_t)n * n;
  centre(n, gains);
  for (size_t k = 0; k < square; k++)
    largest = fmax(largest, fabs(gains[k]));
  /* Large, so that it does not mix with small singular values. */
  for (size_t k = 0; k < square; k++)
    gains[k] += largest > 0 ? largest : 1;
  const bool ok =
      svd_polar(n, gains, turn, u ? u : own, s ? s : own + 2 * square, vt ? vt : own + square);
  free(own);
  return ok;
}

/* What is added to the gains, and the part of their change that has a mean, moves nothing. */
void match_polar_gradient(unsigned n, const double *u, const double *s, const double *vt,
                          double *grad)
{
  svd_polar_gradient(n, u, s, vt, grad, grad);
  centre(n, grad);
}
