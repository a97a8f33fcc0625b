#include "merge/match_int.h"

#include "engine/net_fold.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void scale(double *row, size_t n, double by)
{
  for (size_t i = 0; i < n; i++)
    row[i] *= by;
}

/* p [n][pc] and r [n][rc], of which p' r counts, become another pair with the same product: p p'
 * and r r' are the same diagonal matrix, so that only rotations are left to choose. */
static bool balance(size_t n, size_t pc, double *p, size_t rc, double *r)
{
  const size_t pk = n < pc ? n : pc, rk = n < rc ? n : rc, k = pk < rk ? pk : rk;
  double *pu = mem_alloc((5 * n * n + n * (pc + rc) + 3 * n) * sizeof *pu), *ru = pu + n * n;
  double *middle = ru + n * n, *u = middle + n * n, *vt = u + n * n, *pvt = vt + n * n;
  double *rvt = pvt + n * pc, *ps = rvt + n * rc, *rs = ps + n, *s = rs + n;
  bool ok = svd(n, pc, p, pu, ps, pvt) && svd(n, rc, r, ru, rs, rvt);
  if (ok) {
    svd_product(true, false, pk, rk, n, pu, ru, middle);
    for (size_t i = 0; i < pk; i++)
      for (size_t j = 0; j < rk; j++)
        middle[i * rk + j] *= ps[i] * rs[j];
    ok = svd(pk, rk, middle, u, s, vt);
  }
  if (ok) {
    memset(p, 0, n * pc * sizeof *p);
    memset(r, 0, n * rc * sizeof *r);
    svd_product(true, false, k, pc, pk, u, pvt, p);
    svd_product(false, false, k, rc, rk, vt, rvt, r);
  }
  for (size_t i = 0; ok && i < k; i++) {
    scale(p + i * pc, pc, sqrt(s[i]));
    scale(r + i * rc, rc, sqrt(s[i]));
  }
  free(pu);
  return ok;
}

/* A key's bias adds to all scores of a query alike, which softmax does not see. */
static void drop_key_biases(const struct net_group *g, float *flat)
{
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    if (u->role == NET_KEYS && u->outer == 1 && u->run == g->inner)
      memset(flat + u->offset, 0, g->size * u->run * sizeof *flat);
  }
}

static bool balance_heads(const struct net_group *g, float *flat)
{
  static const enum net_role pairs[2][2] = {{NET_QUERIES, NET_KEYS}, {NET_VALUES, NET_MIXES}};
  bool ok = true;
  drop_key_biases(g, flat);
  for (int k = 0; k < 2; k++) {
    const size_t pc = match_head_rows(g, pairs[k][0], flat, 0, NULL);
    const size_t rc = match_head_rows(g, pairs[k][1], flat, 0, NULL);
    double *p = mem_alloc(g->inner * (pc + rc) * sizeof *p), *r = p + g->inner * pc;
    for (unsigned h = 0; ok && h < g->size; h++) {
      match_head_rows(g, pairs[k][0], flat, h, p);
      match_head_rows(g, pairs[k][1], flat, h, r);
      ok = balance(g->inner, pc, p, rc, r);
      match_put_head_rows(g, pairs[k][0], p, h, flat);
      match_put_head_rows(g, pairs[k][1], r, h, flat);
    }
    free(p);
  }
  return ok;
}

/* What only `to` has: a head, which was tied to the embedding, the first tensor; or a linear layer
 * that changes nothing yet. */
static void make_tensor(const struct net *from, const float *flat, const struct net_tensor *t,
                        float *out)
{
  size_t n;
  const struct net_tensor *words = net_tensors(from, &n);
  if (net_reads_text(from)) {
    memcpy(out + t->offset, flat + words->offset, t->count * sizeof *out);
    return;
  }
  memset(out + t->offset, 0, t->count * sizeof *out);
  for (size_t i = 0; t->rank == 2 && i < t->shape[0]; i++)
    out[t->offset + i * t->shape[1] + i] = 1;
}

static void copy_tensors(const struct net *from, const float *flat, const struct net *to,
                         float *out)
{
  size_t n, m;
  const struct net_tensor *a = net_tensors(from, &n), *b = net_tensors(to, &m);
  for (size_t i = 0; i < m; i++) {
    size_t k = 0;
    while (k < n && strcmp(a[k].name, b[i].name))
      k++;
    if (k < n)
      memcpy(out + b[i].offset, flat + a[k].offset, b[i].count * sizeof *out);
    else
      make_tensor(from, flat, &b[i], out);
  }
}

bool match_canonical(const struct net *from, const float *flat, const struct net *to,
                     const struct net_groups *groups, float *out, struct diag *d)
{
  copy_tensors(from, flat, to, out);
  if (!net_fold(to, groups, out, d))
    return false;
  for (size_t g = 0; g < groups->n; g++) {
    if (groups->v[g].relu && match_has_heads(groups))
      match_balance_neurons(&groups->v[g], out);
    if (groups->v[g].inner == 1 || balance_heads(&groups->v[g], out))
      continue;
    diag_error(d, SPAN_NONE, "the weights of `%s` are not finite", groups->v[g].name);
    return false;
  }
  return true;
}
