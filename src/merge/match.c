#include "merge/match.h"

#include "base/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool match_find(const char *name, enum match_method *out)
{
  static const char *const names[] = {"weight_matching", "activation_matching", "learned_matching"};
  for (int k = 0; k < 3; k++) {
    if (strcmp(names[k], name))
      continue;
    *out = (enum match_method)k;
    return true;
  }
  return false;
}

uint32_t **match_identity(struct arena *a, const struct net_groups *groups)
{
  uint32_t **perms = arena_array(a, groups->n + 1, sizeof *perms);
  for (size_t g = 0; g < groups->n; g++) {
    perms[g] = arena_array(a, groups->v[g].size, sizeof **perms);
    for (uint32_t i = 0; i < groups->v[g].size; i++)
      perms[g][i] = i;
  }
  return perms;
}

/* The largest difference; NaN stays. */
static double apart(const float *x, const float *y, size_t n)
{
  double most = 0;
  for (size_t i = 0; i < n; i++) {
    const double difference = fabs((double)x[i] - (double)y[i]);
    most = difference <= most ? most : difference;
  }
  return most;
}

/* How far logits move where each weight moves by its last place: what rounding may do. */
static double unrest(const struct net *net, struct net_work *work, const float *w, const float *x,
                     const float *of_w, size_t n)
{
  const size_t count = net_params(net), all = net_count(net);
  float *moved = mem_alloc(all * sizeof *moved), *of_moved = mem_alloc(n * sizeof *of_moved);
  struct rng r = rng_at(0, RNG_MATCH, UINT32_MAX - 1, 0, 0);
  memcpy(moved, w, all * sizeof *moved);
  for (size_t i = 0; i < count; i++)
    moved[i] *= rng_below(&r, 2) ? 1 + FLT_EPSILON : 1 - FLT_EPSILON;
  net_logits(work, moved, x, MATCH_CHECKED, of_moved);
  const double most = apart(of_w, of_moved, n);
  free(moved);
  free(of_moved);
  return most;
}

bool match_same_function(const struct net *net, struct net_work *work_a, const float *a,
                         struct net_work *work_b, const float *b, struct diag *d)
{
  const size_t inputs = MATCH_CHECKED * net_inputs(net);
  const size_t n = (size_t)MATCH_CHECKED * net_targets(net) * net_classes(net);
  float *x = mem_alloc(inputs * sizeof *x), *of_a = mem_alloc(2 * n * sizeof *of_a);
  float *of_b = of_a + n;
  double largest = 1;
  struct rng r = rng_at(0, RNG_MATCH, UINT32_MAX, 0, 0);
  for (size_t i = 0; i < inputs; i++)
    x[i] = net_reads_text(net) ? (float)rng_below(&r, net_classes(net)) : (float)rng_normal(&r);
  net_logits(work_a, a, x, MATCH_CHECKED, of_a);
  net_logits(work_b, b, x, MATCH_CHECKED, of_b);
  for (size_t i = 0; i < n; i++)
    largest = fmax(largest, fabs((double)of_a[i]));
  const double most = apart(of_a, of_b, n);
  const bool same =
      most <= 1e-5 * largest || most <= MATCH_UNREST * unrest(net, work_a, a, x, of_a, n);
  free(x);
  free(of_a);
  if (same)
    return true;
  diag_error(d, SPAN_NONE,
             "the permuted network computes another function: logits differ by %g, the largest "
             "is %g",
             most, largest);
  diag_hint(d, "this is a fault of the program, or the weights are far from what a network can "
               "compute with");
  return false;
}

double match_pass_flops(const struct net_groups *groups)
{
  double flops = 0;
  for (size_t g = 0; g < groups->n; g++) {
    const struct net_group *group = &groups->v[g];
    for (size_t k = 0; k < group->n_uses; k++)
      if (!group->uses[k].buffer)
        flops +=
            2.0 * group->size * group->size * (double)(group->uses[k].outer * group->uses[k].run);
  }
  return flops;
}
