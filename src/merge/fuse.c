#include "merge/fuse_int.h"

#include "merge/transport.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool fuse_find(const char *name, enum fuse_method *out)
{
  if (strcmp(name, "intra_fusion") && strcmp(name, "ot_fusion"))
    return false;
  *out = strcmp(name, "ot_fusion") ? FUSE_INTRA : FUSE_OT;
  return true;
}

/* ---- features ---- */

/* A row a unit. */
struct features {
  size_t n, width;
  double *v;
};

static bool is_weight(const struct net *net, const struct net_use *u)
{
  size_t n;
  const struct net_tensor *t = &net_tensors(net, &n)[u->tensor];
  return !u->buffer && (t->rank == 2 || t->rank == 4);
}

/* Are all channels of a tensor's axis where they belong? */
static bool is_carried(const struct fuse_model *m, const struct fuse_map *maps, uint32_t tensor,
                       unsigned axis)
{
  for (size_t g = 0; g < m->groups->n; g++)
    for (size_t k = 0; k < m->groups->v[g].n_uses; k++)
      if (!maps[g].known && m->groups->v[g].uses[k].tensor == tensor &&
          m->groups->v[g].uses[k].axis == axis)
        return false;
  return true;
}

static void append(struct arena *a, struct features *f, const struct fuse_tensor *t, unsigned axis,
                   size_t first, size_t run)
{
  const size_t outer = axis ? t->d[0] : 1, inner = axis ? t->rest : t->d[1] * t->rest;
  const size_t added = outer * run * inner, width = f->width + added;
  double *v = arena_array(a, f->n * width + 1, sizeof *v);
  for (size_t i = 0; i < f->n; i++) {
    double *row = v + i * width;
    if (f->width)
      memcpy(row, f->v + i * f->width, f->width * sizeof *row);
    row += f->width;
    for (size_t o = 0; o < outer; o++, row += run * inner)
      memcpy(row, t->v + (o * t->d[axis] + first + i * run) * inner, run * inner * sizeof *row);
  }
  f->v = v;
  f->width = width;
}

/* Of a group's units.  maps NULL: all weights as they are.  Else those whose other axis is carried,
 * and with `carries` they are carried along it. */
static struct features features_of(struct arena *a, const struct fuse_model *m, const double *w,
                                   size_t group, const struct fuse_map *maps, bool carries)
{
  const struct net_group *g = &m->groups->v[group];
  struct features f = {.n = g->size, .v = arena_array(a, 1, sizeof *f.v)}; /* there may be none */
  size_t n, first, run;
  const struct net_tensor *tensors = net_tensors(m->net, &n);
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    if (!is_weight(m->net, u) || (maps && !is_carried(m, maps, u->tensor, !u->axis)))
      continue;
    struct fuse_tensor t = fuse_view(&tensors[u->tensor], w);
    fuse_place(m->net, u, &first, &run);
    if (carries)
      t = fuse_carry(a, m, maps, u->tensor, !u->axis, t);
    append(a, &f, &t, u->axis, first, run);
  }
  return f;
}

static double importance(const struct features *f, size_t i)
{
  double sum = 0;
  for (size_t k = 0; k < f->width; k++)
    sum += fabs(f->v[i * f->width + k]);
  return sum;
}

static void normalize(struct features *f)
{
  for (size_t i = 0; i < f->n; i++) {
    double square = 0;
    for (size_t k = 0; k < f->width; k++)
      square += f->v[i * f->width + k] * f->v[i * f->width + k];
    for (size_t k = 0; k < f->width && square > 0; k++)
      f->v[i * f->width + k] /= sqrt(square);
  }
}

/* The m most important, in their own order; of equal ones the first. */
static struct features most_important(struct arena *a, const struct features *f, size_t m)
{
  struct features kept = {m, f->width, arena_array(a, m * f->width + 1, sizeof *kept.v)};
  double *of = arena_array(a, f->n, sizeof *of);
  size_t taken = 0;
  for (size_t i = 0; i < f->n; i++)
    of[i] = importance(f, i);
  for (size_t i = 0; i < f->n && taken < m; i++) {
    size_t before = 0;
    for (size_t k = 0; k < f->n; k++)
      before += of[k] > of[i] || (k < i && of[k] >= of[i]);
    if (before < m)
      memcpy(kept.v + taken++ * f->width, f->v + i * f->width, f->width * sizeof *kept.v);
  }
  return kept;
}

/* ---- maps ---- */

static size_t divisor(size_t a, size_t b)
{
  while (b) {
    const size_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

static double distance(const double *x, const double *y, size_t n)
{
  double sum = 0;
  for (size_t k = 0; k < n; k++)
    sum += fabs(x[k] - y[k]);
  return sum;
}

/* Returns whether the map has changed.  Costs are finite where the weights are. */
static bool find_map(struct arena *a, const struct features *from, const struct features *to,
                     struct fuse_map *map)
{
  const size_t n = from->n, m = to->n, common = divisor(n, m);
  double *cost = arena_array(a, n * m, sizeof *cost), *plan = arena_array(a, n * m, sizeof *plan);
  double *supply = arena_array(a, n, sizeof *supply), *demand = arena_array(a, m, sizeof *demand);
  bool changed = !map->known;
  for (size_t i = 0; i < n; i++)
    supply[i] = (double)(m / common);
  for (size_t j = 0; j < m; j++)
    demand[j] = (double)(n / common);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++)
      cost[i * m + j] = distance(from->v + i * from->width, to->v + j * to->width, from->width);
  transport_solve(n, m, cost, supply, demand, plan);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++) {
      double *make = &map->make[j * n + i];
      changed |= *make != plan[i * m + j] / demand[j];
      *make = plan[i * m + j] / demand[j];
      map->read[j * n + i] = plan[i * m + j] / supply[i];
    }
  map->known = true;
  return changed;
}

static struct fuse_map *new_maps(struct arena *a, const struct fuse_model *from,
                                 const struct fuse_model *to)
{
  struct fuse_map *maps = arena_array(a, from->groups->n + 1, sizeof *maps);
  for (size_t g = 0; g < from->groups->n; g++) {
    maps[g].from = from->groups->v[g].size;
    maps[g].to = to->groups->v[g].size;
    const size_t n = (size_t)maps[g].from * maps[g].to;
    maps[g].make = arena_array(a, n, sizeof(double));
    maps[g].read = arena_array(a, n, sizeof(double));
  }
  return maps;
}

/* ---- networks ---- */

static bool differ(struct diag *d, const char *why)
{
  diag_error(d, SPAN_NONE, "the networks differ in more than their widths: %s", why);
  return false;
}

/* Groups of one unit are none, so that a width of 1 does not fit. */
static bool check_networks(const struct fuse_model *a, const struct fuse_model *b, struct diag *d)
{
  size_t n, m;
  const struct net_tensor *s = net_tensors(a->net, &n), *t = net_tensors(b->net, &m);
  if (n != m || a->groups->n != b->groups->n)
    return differ(d, n != m ? "they have other tensors" : "one has layers of a single unit");
  for (size_t i = 0; i < n; i++)
    if (strcmp(s[i].name, t[i].name) || s[i].rank != t[i].rank)
      return differ(d, t[i].name);
  for (size_t g = 0; g < a->groups->n; g++)
    if (a->groups->v[g].n_uses != b->groups->v[g].n_uses)
      return differ(d, b->groups->v[g].name);
  return true;
}

static bool check_finite(const struct fuse_model *m, struct diag *d)
{
  double bad = 0; /* 0 * x is NaN for every x that is not finite */
  for (size_t i = 0; i < net_count(m->net); i++)
    bad += 0 * (double)m->flat[i];
  if (bad != 0)
    diag_error(d, SPAN_NONE, "weights that are not finite cannot be fused");
  return bad == 0;
}

/* All tensors along both axes, as `to` has them.  false: it has other shapes. */
static bool carry_all(const struct fuse_model *from, const double *w, const struct fuse_map *maps,
                      const struct fuse_model *to, double *out, struct diag *d)
{
  size_t n;
  const struct net_tensor *t = net_tensors(from->net, &n), *other = net_tensors(to->net, &n);
  bool ok = true;
  for (uint32_t i = 0; i < n && ok; i++) {
    struct arena *a = arena_new();
    struct fuse_tensor v = fuse_view(&t[i], w);
    const struct fuse_tensor want = fuse_view(&other[i], NULL);
    for (int axis = t[i].rank > 1; axis >= 0; axis--)
      v = fuse_carry(a, from, maps, i, (unsigned)axis, v);
    ok = v.d[0] == want.d[0] && v.d[1] == want.d[1] && v.rest == want.rest;
    if (ok)
      memcpy(out + other[i].offset, v.v, other[i].count * sizeof *out);
    else
      differ(d, t[i].name);
    arena_free(a);
  }
  return ok;
}

bool fuse_narrower(const struct fuse_model *from, const struct fuse_model *to, float *out,
                   struct diag *d)
{
  if (!check_networks(from, to, d) || !check_finite(from, d))
    return false;
  struct arena *a = arena_new();
  struct fuse_map *maps = new_maps(a, from, to);
  const double *w = fuse_fold(a, from);
  double *fused = arena_array(a, net_count(to->net), sizeof *fused);
  bool ok = true;
  for (size_t g = 0; g < from->groups->n && ok; g++) {
    struct arena *scratch = arena_new();
    struct features all = features_of(scratch, from, w, g, NULL, false);
    ok = maps[g].to <= maps[g].from;
    if (ok) {
      struct features kept = most_important(scratch, &all, maps[g].to);
      normalize(&all);
      normalize(&kept);
      find_map(scratch, &all, &kept, &maps[g]);
    } else {
      diag_error(d, SPAN_NONE, "`%s` makes %u units, and would make %u: fusing makes none",
                 from->groups->v[g].name, maps[g].from, maps[g].to);
    }
    arena_free(scratch);
  }
  ok = ok && carry_all(from, w, maps, to, fused, d);
  if (ok)
    fuse_unfold(to->net, fused, out);
  arena_free(a);
  return ok;
}

bool fuse_pair(const struct fuse_model *a, const struct fuse_model *b, double alpha,
               unsigned passes, float *out, struct diag *d)
{
  if (!check_networks(b, a, d) || !check_finite(a, d) || !check_finite(b, d))
    return false;
  struct arena *arena = arena_new();
  struct fuse_map *maps = new_maps(arena, b, a);
  const double *w[] = {fuse_fold(arena, a), fuse_fold(arena, b)};
  const size_t count = net_count(a->net);
  double *fused = arena_array(arena, count, sizeof *fused);
  bool changed = true;
  for (unsigned pass = 0; pass < passes && changed; pass++) {
    changed = false;
    for (size_t g = 0; g < b->groups->n; g++) {
      struct arena *scratch = arena_new();
      struct features from = features_of(scratch, b, w[1], g, maps, true);
      struct features to = features_of(scratch, a, w[0], g, maps, false);
      normalize(&from);
      normalize(&to);
      changed |= find_map(scratch, &from, &to, &maps[g]);
      arena_free(scratch);
    }
  }
  const bool ok = carry_all(b, w[1], maps, a, fused, d);
  for (size_t i = 0; i < count && ok; i++)
    fused[i] = fused[i] == w[0][i] ? w[0][i] : w[0][i] + alpha * (fused[i] - w[0][i]);
  if (ok)
    fuse_unfold(a->net, fused, out);
  arena_free(arena);
  return ok;
}
