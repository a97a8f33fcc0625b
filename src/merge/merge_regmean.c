/* RegMean (Jin et al. 2023, section 3.1): of the weights W of a linear layer those whose outputs
 * are nearest to the models' own on their own inputs X_k,
 *
 *   minimise sum_k |X_k W - X_k W_k|^2:   W = (sum_k G_k)^-1 sum_k G_k W_k,   G_k = X_k' X_k,
 *
 * where the entries of G_k beside its diagonal are first multiplied by `scale`: 0.9 in the article
 * (0.1 for T5), for less bias towards the inputs that were seen (its section 3.2).  All other
 * tensors are averaged.  So are convolutions, unless they come with Gram matrices of unfolded
 * windows, which the article does not have.
 *
 * It is computed as the mean plus the solution for what the models differ from it by.  Equal
 * models merge to themselves, and what the samples do not determine (inputs that are always zero,
 * fewer samples than inputs and scale 1) stays at the mean. */
#include "merge/merge_int.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- S x = b, S symmetric and positive semidefinite ---- */

struct factor {
  size_t n, rank;
  double *l;      /* [n][n]: of rows and columns in the order `at`, the lower half */
  size_t *at;     /* [n] */
  double *scaled; /* [n]: 1 / sqrt of the diagonal, 0 where that is 0 */
};

static void swap_rows(struct factor *f, size_t a, size_t b, double *left)
{
  const size_t at = f->at[a];
  const double rest = left[a];
  if (a == b)
    return;
  f->at[a] = f->at[b];
  f->at[b] = at;
  left[a] = left[b];
  left[b] = rest;
  cblas_dswap((blasint)a, f->l + a * f->n, 1, f->l + b * f->n, 1);
}

/* Cholesky's, with the largest pivot next and the diagonal scaled to ones; the rank is how many
 * pivots are larger than rounding (Higham 2002, section 10.3). */
static void factorize(struct factor *f, const double *s)
{
  const size_t n = f->n;
  double *left = mem_alloc(n * sizeof *left); /* of the diagonal */
  for (size_t i = 0; i < n; i++) {
    f->scaled[i] = s[i * n + i] > 0 ? 1 / sqrt(s[i * n + i]) : 0;
    f->at[i] = i;
    left[i] = f->scaled[i] > 0 ? 1 : 0;
  }
  for (f->rank = 0; f->rank < n; f->rank++) {
    const size_t k = f->rank;
    size_t p = k;
    for (size_t i = k + 1; i < n; i++)
      p = left[i] > left[p] ? i : p;
    if (!(left[p] > (double)n * DBL_EPSILON))
      break;
    swap_rows(f, k, p, left);
    double *l = f->l + k * n, *below = l + n, *column = mem_alloc(n * sizeof *column);
    const double pivot = l[k] = sqrt(left[k]);
    const size_t m = n - k - 1;
    for (size_t i = 0; i < m; i++) {
      const size_t row = f->at[k + 1 + i], at = f->at[k];
      column[i] = s[row * n + at] * f->scaled[row] * f->scaled[at];
    }
    if (m && k)
      cblas_dgemv(CblasRowMajor, CblasNoTrans, (blasint)m, (blasint)k, -1, below, (blasint)n, l, 1,
                  1, column, 1);
    for (size_t i = 0; i < m; i++) {
      below[i * n + k] = column[i] / pivot;
      left[k + 1 + i] -= below[i * n + k] * below[i * n + k];
    }
    free(column);
  }
  free(left);
}

/* b [m][n], a right-hand side a row, becomes x; unknowns behind the rank are 0. */
static void solve(const struct factor *f, size_t m, double *b)
{
  const size_t n = f->n, r = f->rank;
  double *x = mem_alloc((m * r + 1) * sizeof *x);
  for (size_t i = 0; i < m; i++)
    for (size_t k = 0; k < r; k++)
      x[i * r + k] = b[i * n + f->at[k]] * f->scaled[f->at[k]];
  if (m && r)
    for (int transposed = 1; transposed >= 0; transposed--)
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, transposed ? CblasTrans : CblasNoTrans,
                  CblasNonUnit, (blasint)m, (blasint)r, 1, f->l, (blasint)n, x, (blasint)r);
  memset(b, 0, m * n * sizeof *b);
  for (size_t i = 0; i < m; i++)
    for (size_t k = 0; k < r; k++)
      b[i * n + f->at[k]] = x[i * r + k] * f->scaled[f->at[k]];
  free(x);
}

/* ---- a tensor ---- */

static void mean_of(const struct merge_run *r, size_t count, const double *const *in, double *out)
{
  const double **at = mem_alloc(r->n_models * sizeof *at);
  for (size_t first = 0; first < count; first += MERGE_PIECE) {
    for (size_t k = 0; k < r->n_models; k++)
      at[k] = in[k] + first;
    merge_mean(r, at, count - first < MERGE_PIECE ? count - first : MERGE_PIECE, out + first);
  }
  free(at);
}

static void scale_beside_diagonal(double *g, size_t n, double scale)
{
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      g[i * n + j] *= i == j ? 1 : scale;
}

/* What a model differs from the mean by, as [out][in]. */
static void differences(const struct merge_gram *g, const double *model, const double *mean,
                        double *d)
{
  for (size_t o = 0; o < g->out; o++)
    for (size_t i = 0; i < g->in; i++) {
      const size_t at = g->in_first ? i * g->out + o : o * g->in + i;
      d[o * g->in + i] = model[at] - mean[at];
    }
}

/* sum_k G_k into `sum`, and sum_k D_k G_k into `right`. */
static bool add_up(const struct merge_run *r, size_t tensor, const struct merge_gram *g,
                   const double *const *in, const double *mean, double *sum, double *right)
{
  const size_t n = g->in;
  const struct merge_grams *grams = r->args->grams;
  double *gram = mem_alloc(n * n * sizeof *gram), *d = mem_alloc(g->out * n * sizeof *d);
  bool ok = true;
  for (size_t k = 0; k < r->n_models && ok; k++) {
    ok = grams->load(grams->context, tensor, k, gram, r->diag);
    if (!ok)
      break;
    scale_beside_diagonal(gram, n, r->args->scale);
    differences(g, in[k], mean, d);
    cblas_daxpy((blasint)(n * n), 1, gram, 1, sum, 1);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)g->out, (blasint)n, (blasint)n,
                1, d, (blasint)n, gram, (blasint)n, 1, right, (blasint)n);
  }
  free(d);
  free(gram);
  return ok;
}

static bool apply_whole(const struct merge_run *r, size_t tensor, size_t count,
                        const double *const *in, double *out)
{
  struct merge_gram g = {0};
  r->args->grams->find(r->args->grams->context, tensor, &g);
  mean_of(r, count, in, out);
  const size_t n = g.in;
  struct factor f = {
      .n = n, .at = mem_alloc(n * sizeof *f.at), .scaled = mem_alloc(n * sizeof *f.scaled)};
  double *sum = mem_zalloc(n * n * sizeof *sum), *x = mem_zalloc(count * sizeof *x);
  const bool ok = add_up(r, tensor, &g, in, out, sum, x);
  if (ok) {
    f.l = mem_zalloc(n * n * sizeof *f.l); /* where a Gram matrix was while they were added up */
    factorize(&f, sum);
    solve(&f, g.out, x);
    for (size_t o = 0; o < g.out; o++)
      for (size_t i = 0; i < n; i++)
        out[g.in_first ? i * g.out + o : o * n + i] += x[o * n + i];
  }
  free(x);
  free(sum);
  free(f.scaled);
  free(f.at);
  free(f.l);
  return ok;
}

static bool is_whole(const struct merge_run *r, size_t tensor)
{
  struct merge_gram g;
  return r->args->grams && r->args->grams->find(r->args->grams->context, tensor, &g);
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  merge_mean(r, p->in, p->n, out);
}

const struct merge_method merge_regmean = {
    .name = "regmean",
    .meaning = "of linear layers the weights whose outputs are nearest to the models' own",
    .source = "Jin et al. 2023",
    .min_models = 1,
    .extra = MERGE_GRAMS,
    .is_whole = is_whole,
    .apply = apply,
    .apply_whole = apply_whole,
};
