#include "merge/fuse_int.h"

#include "engine/net_norm.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* ---- norms ---- */

double *fuse_fold(struct arena *a, const struct fuse_model *m)
{
  size_t n;
  const struct net_norm *norms = net_norms(a, m->net, &n);
  double *w = arena_array(a, net_count(m->net), sizeof *w);
  for (size_t i = 0; i < net_count(m->net); i++)
    w[i] = (double)m->flat[i];
  for (size_t k = 0; k < n; k++) {
    const struct net_norm *norm = &norms[k];
    for (size_t i = 0; i < norm->c; i++) {
      double *gamma = w + norm->weight + i, *beta = w + norm->bias + i, *mean = w + norm->mean + i;
      const double scale = *gamma / sqrt(w[norm->var + i] + (double)NET_NORM_EPS);
      const double shift = *beta - *mean * scale;
      if (norm->conv == SIZE_MAX) {
        *gamma = scale;
        *beta = shift;
        continue;
      }
      for (size_t t = 0; t < norm->row; t++)
        w[norm->conv + i * norm->row + t] *= scale;
      *gamma = fabs(*gamma);
      *mean = shift;
    }
  }
  return w;
}

double *fuse_fold_gradient(struct arena *a, const struct fuse_model *m, const double *gradient)
{
  size_t n;
  const struct net_tensor *t = net_tensors(m->net, &n);
  double *g = arena_array(a, net_count(m->net), sizeof *g);
  for (size_t i = 0; i < n; i++)
    if (t[i].rank == 2 || t[i].rank == 4)
      memcpy(g + t[i].offset, gradient + t[i].offset, t[i].count * sizeof *g);
  const struct net_norm *norms = net_norms(a, m->net, &n);
  for (size_t k = 0; k < n; k++) {
    const struct net_norm *norm = &norms[k];
    for (size_t i = 0; i < norm->c && norm->conv != SIZE_MAX; i++) {
      const double scale = (double)m->flat[norm->weight + i] /
                           sqrt((double)m->flat[norm->var + i] + (double)NET_NORM_EPS);
      for (size_t r = 0; r < norm->row; r++) {
        double *at = &g[norm->conv + i * norm->row + r];
        *at = scale != 0 ? *at / scale : 0;
      }
    }
  }
  return g;
}

/* Behind a folded convolution gamma / sqrt(var + eps) is 1, and beta - mean the shift; gamma is
 * kept away from where that would need a variance below 0. */
void fuse_unfold(const struct net *net, const double *folded, float *out)
{
  const double eps = (double)NET_NORM_EPS;
  struct arena *a = arena_new();
  size_t n;
  const struct net_norm *norms = net_norms(a, net, &n);
  for (size_t i = 0; i < net_count(net); i++)
    out[i] = (float)folded[i];
  for (size_t k = 0; k < n; k++)
    for (size_t i = 0; i < norms[k].c; i++) {
      const struct net_norm *norm = &norms[k];
      const double weight = folded[norm->weight + i], bias = folded[norm->bias + i];
      const double mean = folded[norm->mean + i], var = folded[norm->var + i];
      if (norm->conv == SIZE_MAX) {
        out[norm->weight + i] = (float)(weight * sqrt(var + eps));
        out[norm->bias + i] = (float)(bias + mean * weight);
        continue;
      }
      const float gamma = (float)fmax(weight, sqrt(2 * eps));
      out[norm->weight + i] = gamma;
      out[norm->var + i] = (float)((double)gamma * (double)gamma - eps);
      out[norm->mean + i] = (float)((double)out[norm->bias + i] - mean);
    }
  arena_free(a);
}

/* ---- axes ---- */

struct fuse_tensor fuse_view(const struct net_tensor *t, const double *flat)
{
  struct fuse_tensor v = {.d = {t->shape[0], t->rank > 1 ? t->shape[1] : 1}, .rest = 1};
  for (unsigned k = 2; k < t->rank; k++)
    v.rest *= t->shape[k];
  v.v = flat ? flat + t->offset : NULL;
  return v;
}

void fuse_place(const struct net *net, const struct net_use *u, size_t *first, size_t *run)
{
  size_t n;
  const struct net_tensor *t = &net_tensors(net, &n)[u->tensor];
  const struct fuse_tensor v = fuse_view(t, NULL);
  const size_t inner = u->axis ? v.rest : v.d[1] * v.rest;
  *first = (u->offset - t->offset) / inner;
  *run = u->run / inner;
}

/* The group whose channels begin at this place of the axis, where its map is known. */
static const struct net_use *use_at(const struct fuse_model *m, const struct fuse_map *maps,
                                    uint32_t tensor, unsigned axis, size_t at, size_t *group,
                                    size_t *run)
{
  for (size_t g = 0; g < m->groups->n; g++)
    for (size_t k = 0; maps[g].known && k < m->groups->v[g].n_uses; k++) {
      const struct net_use *u = &m->groups->v[g].uses[k];
      size_t first;
      if (u->tensor != tensor || u->axis != axis)
        continue;
      fuse_place(m->net, u, &first, run);
      *group = g;
      if (first == at)
        return u;
    }
  return NULL;
}

/* A stretch of the axis: places `from` of the source become `to` by a map, or stay: then it is as
 * long as can be. */
struct stretch {
  size_t from, to, run;
  const double *by; /* [to / run][from / run]; NULL: they stay */
};

static struct stretch *find_stretches(struct arena *a, const struct fuse_model *m,
                                      const struct fuse_map *maps, uint32_t tensor, unsigned axis,
                                      size_t length, size_t *n, size_t *new_length)
{
  struct stretch *list = NULL;
  size_t cap = 0, g, run, last;
  *n = *new_length = 0;
  for (size_t at = 0; at < length; at += last) {
    const struct net_use *u = use_at(m, maps, tensor, axis, at, &g, &run);
    struct stretch s = {1, 1, 1, NULL};
    if (u)
      s = (struct stretch){maps[g].from * run, maps[g].to * run, run,
                           u->role == NET_READS ? maps[g].read : maps[g].make};
    if (!u && *n && !list[*n - 1].by)
      list[*n - 1].from = ++list[*n - 1].to;
    else
      ARENA_PUSH(a, list, *n, cap, s);
    last = s.from;
    *new_length += s.to;
  }
  return list;
}

struct fuse_tensor fuse_carry(struct arena *a, const struct fuse_model *m,
                              const struct fuse_map *maps, uint32_t tensor, unsigned axis,
                              struct fuse_tensor t)
{
  size_t n, length;
  const struct stretch *s = find_stretches(a, m, maps, tensor, axis, t.d[axis], &n, &length);
  const size_t outer = axis ? t.d[0] : 1, inner = axis ? t.rest : t.d[1] * t.rest;
  if (n < 2 && !(n && s->by))
    return t;
  double *out = arena_array(a, outer * length * inner, sizeof *out), *to = out;
  const double *from = t.v;
  for (size_t o = 0; o < outer; o++)
    for (size_t k = 0; k < n; k++) {
      const size_t width = s[k].run * inner;
      if (!s[k].by)
        memcpy(to, from, s[k].from * inner * sizeof *to);
      else
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)(s[k].to / s[k].run),
                    (blasint)width, (blasint)(s[k].from / s[k].run), 1, s[k].by,
                    (blasint)(s[k].from / s[k].run), from, (blasint)width, 0, to, (blasint)width);
      from += s[k].from * inner;
      to += s[k].to * inner;
    }
  t.d[axis] = length;
  t.v = out;
  return t;
}
