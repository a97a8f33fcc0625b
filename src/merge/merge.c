#include "merge/merge_int.h"

#include <string.h>

static const struct merge_method *const methods[] = {
    &merge_linear, &merge_slerp, &merge_task_arithmetic, &merge_ties, &merge_dare,
    &merge_fisher, &merge_regmean, &merge_swa, &merge_plane,
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
  if (m->extra == MERGE_NO_EXTRA || m->extra == MERGE_GRAMS)
    return n_models;
  return m->extra == MERGE_BASE ? n_models + 1 : 2 * n_models;
}

const struct merge_loops *merge_loops_isa(const char *name)
{
  if (!strcmp(name, "baseline"))
    return &merge_loops_baseline;
#ifdef __x86_64__
  __builtin_cpu_init();
  if (!strcmp(name, "avx2") && __builtin_cpu_supports("avx2"))
    return &merge_loops_avx2;
  if (!strcmp(name, "avx512") && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return &merge_loops_avx512;
#endif
  return NULL;
}

const struct merge_loops *merge_loops(void)
{
  static const char *const names[] = {"avx512", "avx2", "baseline"};
  const struct merge_loops *found = NULL;
  for (int k = 0; !found; k++)
    found = merge_loops_isa(names[k]);
  return found;
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

double merge_weight(const struct merge_args *args, size_t k)
{
  return args->scales ? args->scales[k] : 1;
}

double merge_factor(const struct merge_args *args)
{
  return args->scales ? 1 : args->scale;
}

void merge_mean(const struct merge_run *r, const double *const *models, size_t n, double *out)
{
  r->loops->mix(models, r->n_models, NULL, (double)r->n_models, false, n, out);
}

void merge_votes_clear(struct merge_votes *v, size_t n)
{
  n = (n + MERGE_LANES - 1) / MERGE_LANES * MERGE_LANES;
  memset(v->above, 0, n * sizeof *v->above);
  memset(v->below, 0, n * sizeof *v->below);
  memset(v->n_above, 0, n * sizeof *v->n_above);
  memset(v->n_below, 0, n * sizeof *v->n_below);
}
