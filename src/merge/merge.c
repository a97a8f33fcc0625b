#include "merge/merge_int.h"

#include <string.h>

static const struct merge_method *const methods[] = {
    &merge_linear, &merge_slerp,  &merge_task_arithmetic, &merge_ties,
    &merge_dare,   &merge_fisher, &merge_swa,             &merge_plane,
};

enum { METHODS = sizeof methods / sizeof *methods };

const struct merge_method *merge_find(const char *name)
{
  for (size_t i = 0; i < METHODS; i++)
    if (!strcmp(methods[i]->name, name))
      return methods[i];
  return NULL;
}

const struct merge_method *merge_at(size_t k)
{
  return k < METHODS ? methods[k] : NULL;
}

size_t merge_inputs(const struct merge_method *m, size_t n_models)
{
  return m->extra == MERGE_BASE ? n_models + 1 : m->extra == MERGE_FISHERS ? 2 * n_models : n_models;
}

/* The ends are copied: b - a loses small values of b beside a large a. */
void merge_between(double alpha, const double *a, const double *b, size_t n, double *out)
{
  if (alpha == 0 || alpha == 1) {
    memcpy(out, alpha == 0 ? a : b, n * sizeof *out);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    double between = a[i] + alpha * (b[i] - a[i]);
    out[i] = a[i] == b[i] ? a[i] : between;
  }
}

void merge_mean(const double *const *models, size_t n_models, size_t n, double *out)
{
  uint64_t differs[MERGE_PIECE];
  memset(differs, 0, n * sizeof *differs);
  memcpy(out, models[0], n * sizeof *out);
  for (size_t k = 1; k < n_models; k++)
    for (size_t i = 0; i < n; i++) {
      differs[i] |= models[k][i] != models[0][i];
      out[i] += models[k][i];
    }
  for (size_t i = 0; i < n; i++)
    out[i] = differs[i] ? out[i] / (double)n_models : models[0][i];
}

void merge_delta(const double *model, const double *base, size_t n, double *out)
{
  for (size_t i = 0; i < n; i++) {
    double delta = model[i] - base[i];
    out[i] = model[i] == base[i] ? 0 : delta;
  }
}

void merge_add(const double *base, double factor, const double *sum, size_t n, double *out)
{
  for (size_t i = 0; i < n; i++) {
    double moved = base[i] + factor * sum[i];
    out[i] = sum[i] == 0 ? base[i] : moved;
  }
}

double merge_weight(const struct merge_args *args, size_t k)
{
  return args->scales ? args->scales[k] : 1;
}

double merge_factor(const struct merge_args *args)
{
  return args->scales ? 1 : args->scale;
}

void merge_votes_clear(struct merge_votes *v, size_t n)
{
  memset(v->above, 0, n * sizeof *v->above);
  memset(v->below, 0, n * sizeof *v->below);
  memset(v->n_above, 0, n * sizeof *v->n_above);
  memset(v->n_below, 0, n * sizeof *v->n_below);
}

void merge_votes_add(struct merge_votes *v, const double *entries, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    double e = entries[i];
    v->above[i] += e > 0 ? e : 0;
    v->below[i] += e < 0 ? -e : 0;
    v->n_above[i] += e > 0;
    v->n_below[i] += e < 0;
  }
}

void merge_votes_elect(const struct merge_votes *v, enum merge_aggregate aggregate, int undecided,
                       double scale, const double *base, size_t n, double *out)
{
  for (size_t i = 0; i < n; i++) {
    double above = v->above[i], below = v->below[i];
    int side = above > below ? 1 : above < below ? -1 : undecided;
    double sum = side > 0 ? above : -below, voters = side > 0 ? v->n_above[i] : v->n_below[i];
    bool changes = side && voters > 0;
    double value = aggregate == MERGE_MEAN ? sum / voters : sum;
    out[i] = changes ? base[i] + scale * value : base[i];
  }
}
