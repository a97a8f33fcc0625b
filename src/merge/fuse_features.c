#include "merge/fuse_int.h"

#include <math.h>
#include <string.h>

bool fuse_importance_find(const char *word, enum fuse_importance *out)
{
  static const char *const words[] = {"l1", "l2", "taylor"};
  for (int k = 0; k < 3; k++)
    if (!strcmp(words[k], word)) {
      *out = (enum fuse_importance)k;
      return true;
    }
  return false;
}

/* ---- features ---- */

static bool is_weight(const struct net *net, const struct net_use *u)
{
  size_t n;
  const struct net_tensor *t = &net_tensors(net, &n)[u->tensor];
  return !u->buffer && (t->rank == 2 || t->rank == 4);
}

/* Are all channels of a tensor's axis where they belong? */
static bool is_settled(const struct fuse_model *m, const struct fuse_map *maps, uint32_t tensor,
                       unsigned axis)
{
  for (size_t g = 0; g < m->groups->n; g++)
    for (size_t k = 0; k < m->groups->v[g].n_uses; k++)
      if (!maps[g].known && m->groups->v[g].uses[k].tensor == tensor &&
          m->groups->v[g].uses[k].axis == axis)
        return false;
  return true;
}

static void append(struct arena *a, struct fuse_features *f, const struct fuse_tensor *t,
                   unsigned axis, size_t first, size_t run)
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

struct fuse_features fuse_features_of(struct arena *a, const struct fuse_model *m, const double *w,
                                      size_t group, const struct fuse_map *maps,
                                      enum fuse_which which)
{
  const struct net_group *g = &m->groups->v[group];
  struct fuse_features f = {.n = g->size,
                            .v = arena_array(a, 1, sizeof *f.v)}; /* there may be none */
  const bool settled = which == FUSE_SETTLED || which == FUSE_SETTLED_CARRIED;
  size_t n, first, run;
  const struct net_tensor *tensors = net_tensors(m->net, &n);
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    if (!is_weight(m->net, u) || (settled && !is_settled(m, maps, u->tensor, !u->axis)))
      continue;
    struct fuse_tensor t = fuse_view(&tensors[u->tensor], w);
    fuse_place(m->net, u, &first, &run);
    if (which == FUSE_CARRIED || which == FUSE_SETTLED_CARRIED)
      t = fuse_carry(a, m, maps, u->tensor, !u->axis, t);
    append(a, &f, &t, u->axis, first, run);
  }
  return f;
}

void fuse_normalize(struct fuse_features *f)
{
  for (size_t i = 0; i < f->n; i++) {
    double square = 0;
    for (size_t k = 0; k < f->width; k++)
      square += f->v[i * f->width + k] * f->v[i * f->width + k];
    for (size_t k = 0; k < f->width && square > 0; k++)
      f->v[i * f->width + k] /= sqrt(square);
  }
}

/* ---- importance ---- */

double *fuse_importances(struct arena *a, const struct fuse_features *f, enum fuse_importance how,
                         const struct fuse_features *gradient)
{
  double *out = arena_array(a, f->n, sizeof *out);
  for (size_t i = 0; i < f->n; i++) {
    const double *v = f->v + i * f->width;
    const double *by = how == FUSE_TAYLOR ? gradient->v + i * f->width : v;
    double sum = 0;
    for (size_t k = 0; k < f->width; k++)
      sum += how == FUSE_L1 ? fabs(v[k]) : fabs(v[k] * by[k]);
    out[i] = how == FUSE_L2 ? sqrt(sum) : sum;
  }
  return out;
}

void fuse_most_important(size_t n, const double *importance, size_t m, size_t *kept)
{
  size_t taken = 0;
  for (size_t i = 0; i < n && taken < m; i++) {
    size_t before = 0;
    for (size_t k = 0; k < n; k++)
      before += importance[k] > importance[i] || (k < i && importance[k] >= importance[i]);
    if (before < m)
      kept[taken++] = i;
  }
}

static size_t divisor(size_t a, size_t b)
{
  while (b) {
    const size_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* Parts of `total` in proportion, in whole numbers; what rounding leaves is the largest one's. */
static void divide(size_t n, double *part, double sum, double total)
{
  double left = total;
  size_t largest = 0;
  for (size_t i = 0; i < n; i++) {
    largest = part[i] > part[largest] ? i : largest;
    part[i] = floor(part[i] / sum * total);
    left -= part[i];
  }
  part[largest] += left;
}

static double sum_of(size_t n, const double *v)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += v[i];
  return sum;
}

void fuse_marginals(size_t n, size_t m, const double *importance, const size_t *kept,
                    double *supply, double *demand)
{
  static const double total = 1099511627776; /* 2^40: shares to twelve digits, sums exact */
  const size_t common = divisor(n, m);
  for (size_t i = 0; i < n; i++)
    supply[i] = importance ? importance[i] : (double)(m / common);
  for (size_t j = 0; j < m; j++)
    demand[j] = importance ? importance[kept[j]] : (double)(n / common);
  if (!importance)
    return;
  const double sums[] = {sum_of(n, supply), sum_of(m, demand)};
  if (!(sums[0] > 0)) {
    fuse_marginals(n, m, NULL, kept, supply, demand);
    return;
  }
  divide(n, supply, sums[0], total);
  divide(m, demand, sums[1], total);
}
