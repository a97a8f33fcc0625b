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

/* ---- maps ---- */

static double distance(const double *x, const double *y, size_t n)
{
  double sum = 0;
  for (size_t k = 0; k < n; k++)
    sum += fabs(x[k] - y[k]);
  return sum;
}

static double share(double part, double whole)
{
  return whole > 0 ? part / whole : 0;
}

/* What the sources [n] supply, and targets [m] want.  Returns whether the map has changed.  Costs
 * are finite where the weights are. */
static bool find_map(struct arena *a, const struct fuse_features *from,
                     const struct fuse_features *to, const double *supply, const double *demand,
                     struct fuse_map *map)
{
  const size_t n = from->n, m = to->n;
  double *cost = arena_array(a, n * m, sizeof *cost), *plan = arena_array(a, n * m, sizeof *plan);
  bool changed = !map->known;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++)
      cost[i * m + j] = distance(from->v + i * from->width, to->v + j * to->width, from->width);
  transport_solve(n, m, cost, supply, demand, plan);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++) {
      double *make = &map->make[j * n + i];
      const double part = share(plan[i * m + j], demand[j]);
      changed |= *make != part;
      *make = part;
      map->read[j * n + i] = share(plan[i * m + j], supply[i]);
    }
  map->known = true;
  return changed;
}

/* `narrower`: groups that are as large there get none. */
static struct fuse_map *new_maps(struct arena *a, const struct fuse_model *from,
                                 const struct fuse_model *to, bool narrower)
{
  struct fuse_map *maps = arena_array(a, from->groups->n + 1, sizeof *maps);
  for (size_t g = 0; g < from->groups->n; g++) {
    maps[g].from = from->groups->v[g].size;
    maps[g].to = to->groups->v[g].size;
    const size_t n = (size_t)maps[g].from * maps[g].to;
    if (narrower && maps[g].to >= maps[g].from)
      continue;
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

static bool check_widths(const struct fuse_model *a, const struct fuse_model *b, struct diag *d)
{
  for (size_t g = 0; g < a->groups->n; g++)
    if (a->groups->v[g].size != b->groups->v[g].size) {
      diag_error(d, SPAN_NONE, "the units of `%s` are %u in one network and %u in the other",
                 a->groups->v[g].name, a->groups->v[g].size, b->groups->v[g].size);
      return false;
    }
  return true;
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

/* What a narrowing looks at: weights and derivatives with norms folded, what has been found so far,
 * and the same for derivatives. */
struct narrowing {
  const struct fuse_model *from;
  const struct fuse_how *how;
  const double *weights, *gradient;
  struct fuse_map *maps, *duals;
};

/* Of a sum that units are merged in, a reader's derivative is the mean that makes the unit, and a
 * maker's the sum of its readers' shares: where units are alike, exactly. */
static struct fuse_map *duals_of(struct arena *a, const struct fuse_map *maps, size_t n)
{
  struct fuse_map *duals = arena_copy(a, maps, (n + 1) * sizeof *duals);
  for (size_t g = 0; g < n; g++) {
    duals[g].make = maps[g].read;
    duals[g].read = maps[g].make;
  }
  return duals;
}

static struct fuse_features rows_of(struct arena *a, const struct fuse_features *f,
                                    const size_t *kept, size_t m)
{
  struct fuse_features out = {m, f->width, arena_array(a, m * f->width + 1, sizeof *out.v)};
  for (size_t j = 0; j < m; j++)
    memcpy(out.v + j * f->width, f->v + kept[j] * f->width, f->width * sizeof *out.v);
  return out;
}

static void narrow_group(const struct narrowing *w, size_t g)
{
  struct arena *a = arena_new();
  const enum fuse_which which = w->how->sequential ? FUSE_CARRIED : FUSE_AS_THEY_ARE;
  const bool taylor = w->how->importance == FUSE_TAYLOR;
  const size_t n = w->maps[g].from, m = w->maps[g].to;
  double *supply = arena_array(a, n, sizeof *supply), *demand = arena_array(a, m, sizeof *demand);
  size_t *kept = arena_array(a, m, sizeof *kept);
  struct fuse_features all = fuse_features_of(a, w->from, w->weights, g, w->maps, which);
  struct fuse_features slope = {0};
  if (taylor)
    slope = fuse_features_of(a, w->from, w->gradient, g, w->duals, which);
  const double *importance = fuse_importances(a, &all, w->how->importance, &slope);
  fuse_most_important(n, importance, m, kept);
  fuse_marginals(n, m, w->how->marginals_by_importance ? importance : NULL, kept, supply, demand);
  fuse_normalize(&all);
  const struct fuse_features targets = rows_of(a, &all, kept, m);
  find_map(a, &all, &targets, supply, demand, &w->maps[g]);
  w->duals[g].known = true;
  arena_free(a);
}

static bool check_narrower(const struct fuse_model *from, const struct fuse_map *maps,
                           struct diag *d)
{
  for (size_t g = 0; g < from->groups->n; g++) {
    if (maps[g].to <= maps[g].from)
      continue;
    diag_error(d, SPAN_NONE, "`%s` makes %u units, and would make %u: fusing makes none",
               from->groups->v[g].name, maps[g].from, maps[g].to);
    return false;
  }
  return true;
}

static bool check_gradient(const struct fuse_model *m, const struct fuse_how *how, struct diag *d)
{
  double bad = 0;
  for (size_t i = 0; how->importance == FUSE_TAYLOR && i < net_params(m->net); i++)
    bad += 0 * how->gradient[i];
  if (bad != 0)
    diag_error(d, SPAN_NONE, "the loss has no finite gradient, by which units would be important");
  return bad == 0;
}

bool fuse_narrower(const struct fuse_model *from, const struct fuse_model *carried,
                   const struct fuse_how *how, const struct fuse_model *to, float *out,
                   struct diag *d)
{
  carried = carried ? carried : from;
  if (!check_networks(from, to, d) || !check_networks(carried, from, d) ||
      !check_widths(carried, from, d) || !check_finite(from, d) || !check_finite(carried, d) ||
      !check_gradient(from, how, d))
    return false;
  struct arena *a = arena_new();
  struct fuse_map *maps = new_maps(a, from, to, true);
  const struct narrowing w = {.from = from,
                              .how = how,
                              .weights = fuse_fold(a, from),
                              .gradient = how->importance == FUSE_TAYLOR
                                              ? fuse_fold_gradient(a, from, how->gradient)
                                              : NULL,
                              .maps = maps,
                              .duals = duals_of(a, maps, from->groups->n)};
  double *fused = arena_array(a, net_count(to->net), sizeof *fused);
  bool ok = check_narrower(from, maps, d);
  for (size_t g = 0; g < from->groups->n && ok; g++)
    if (maps[g].to < maps[g].from)
      narrow_group(&w, g);
  const double *taken = carried == from ? w.weights : fuse_fold(a, carried);
  ok = ok && carry_all(carried, taken, maps, to, fused, d);
  if (ok)
    fuse_unfold(to->net, fused, out);
  arena_free(a);
  return ok;
}

/* All units count the same. */
static bool find_pair_map(const struct fuse_model *a, const struct fuse_model *b,
                          double *const *weights, size_t g, struct fuse_map *maps)
{
  struct arena *scratch = arena_new();
  const size_t n = maps[g].from, m = maps[g].to;
  double *supply = arena_array(scratch, n, sizeof *supply);
  double *demand = arena_array(scratch, m, sizeof *demand);
  struct fuse_features from =
      fuse_features_of(scratch, b, weights[1], g, maps, FUSE_SETTLED_CARRIED);
  struct fuse_features to = fuse_features_of(scratch, a, weights[0], g, maps, FUSE_SETTLED);
  fuse_normalize(&from);
  fuse_normalize(&to);
  fuse_marginals(n, m, NULL, NULL, supply, demand);
  const bool changed = find_map(scratch, &from, &to, supply, demand, &maps[g]);
  arena_free(scratch);
  return changed;
}

bool fuse_pair(const struct fuse_model *a, const struct fuse_model *b, double alpha,
               unsigned passes, float *out, struct diag *d)
{
  if (!check_networks(b, a, d) || !check_finite(a, d) || !check_finite(b, d))
    return false;
  struct arena *arena = arena_new();
  struct fuse_map *maps = new_maps(arena, b, a, false);
  double *const w[] = {fuse_fold(arena, a), fuse_fold(arena, b)};
  const size_t count = net_count(a->net);
  double *fused = arena_array(arena, count, sizeof *fused);
  bool changed = true;
  for (unsigned pass = 0; pass < passes && changed; pass++) {
    changed = false;
    for (size_t g = 0; g < b->groups->n; g++)
      changed |= find_pair_map(a, b, w, g, maps);
  }
  const bool ok = carry_all(b, w[1], maps, a, fused, d);
  for (size_t i = 0; i < count && ok; i++)
    fused[i] = fused[i] == w[0][i] ? w[0][i] : w[0][i] + alpha * (fused[i] - w[0][i]);
  if (ok)
    fuse_unfold(a->net, fused, out);
  arena_free(arena);
  return ok;
}
