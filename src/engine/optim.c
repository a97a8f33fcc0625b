#include "engine/optim.h"

#include <math.h>
#include <string.h>

static const struct optim_rule rules[] = {
    {"sgd", 1, {"momentum_buffer"}},
    {"adamw", 2, {"exp_avg", "exp_avg_sq"}},
};

const struct optim_rule *optim_find(const char *name)
{
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (!strcmp(rules[i].name, name))
      return &rules[i];
  return NULL;
}

struct optim_range *optim_ranges(struct arena *a, const struct net *net, size_t *n)
{
  size_t n_tensors;
  const struct net_tensor *t = net_tensors(net, &n_tensors);
  struct optim_range *ranges = arena_array(a, n_tensors, sizeof *ranges);
  *n = 0;
  for (size_t i = 0; i < n_tensors && !t[i].buffer; i++) {
    const bool decays = net_decays(net, &t[i]);
    if (*n && ranges[*n - 1].decays == decays && ranges[*n - 1].end == t[i].offset)
      ranges[*n - 1].end += t[i].count;
    else
      ranges[(*n)++] = (struct optim_range){t[i].offset, t[i].offset + t[i].count, decays};
  }
  return ranges;
}

void optim_sgd_step(const struct ops *ops, const struct optim_sgd *sgd, size_t n, float *w,
                    float *v, const float *grad)
{
  ops->sgd(ops, n, sgd->lr, sgd->momentum, sgd->weight_decay, w, v, grad);
}

/* In double, as PyTorch has them: 1 - beta^t loses most of a float's digits at first. */
static struct ops_adamw adamw_at(const struct optim *o, uint64_t step)
{
  const double t = (double)step + 1;
  return (struct ops_adamw){
      .keep = (float)(1 - o->lr * o->weight_decay),
      .mean = (float)(1 - o->beta1),
      .square = (float)(1 - o->beta2),
      .rate = (float)(o->lr / (1 - pow(o->beta1, t))),
      .root = (float)(1 / sqrt(1 - pow(o->beta2, t))),
      .epsilon = (float)o->epsilon,
  };
}

void optim_step(const struct ops *ops, const struct optim *o, uint64_t step, size_t n, float *w,
                float *const *states, const float *grad)
{
  const struct optim_range whole = {0, n, true};
  const struct optim_range *ranges = o->ranges ? o->ranges : &whole;
  const size_t n_ranges = o->ranges ? o->n_ranges : 1;
  const bool adamw = o->rule->n_states == 2;
  const struct ops_adamw decayed = adamw ? adamw_at(o, step) : (struct ops_adamw){0};
  struct ops_adamw exempt = decayed;
  exempt.keep = 1;
  for (size_t i = 0; i < n_ranges; i++) {
    const size_t at = ranges[i].begin, count = ranges[i].end - at;
    if (adamw)
      ops->adamw(ops, ranges[i].decays ? &decayed : &exempt, count, w + at, states[0] + at,
                 states[1] + at, grad + at);
    else
      ops->sgd(ops, count, (float)o->lr, (float)o->momentum,
               ranges[i].decays ? (float)o->weight_decay : 0, w + at, states[0] + at, grad + at);
  }
}
