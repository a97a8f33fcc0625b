#include "merge/merge_int.h"

#include <string.h>

static const struct merge_method *const methods[] = {
    &merge_linear, &merge_slerp, &merge_task_arithmetic, &merge_ties, &merge_dare,
    &merge_fisher, &merge_swa,   &merge_plane,
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
  if (m->extra == MERGE_NO_EXTRA)
    return n_models;
  return m->extra == MERGE_BASE ? n_models + 1 : 2 * n_models;
}

const struct merge_loops *merge_loops(void)
{
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2"))
    return &merge_loops_avx2;
#endif
  return &merge_loops_baseline;
}

/* The ends are copied: b - a loses small values of b beside a large a. */
void merge_between(const struct merge_run *r, double alpha, const double *a, const double *b,
                   size_t n, double *out)
{
  if (alpha == 0 || alpha == 1)
    memcpy(out, alpha == 0 ? a : b, n * sizeof *out);
  else
    r->loops->between(alpha, a, b, n, out);
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
  n = (n + MERGE_LANES - 1) / MERGE_LANES * MERGE_LANES;
  memset(v->above, 0, n * sizeof *v->above);
  memset(v->below, 0, n * sizeof *v->below);
  memset(v->n_above, 0, n * sizeof *v->n_above);
  memset(v->n_below, 0, n * sizeof *v->n_below);
}
