/* Optimizers: one fused pass over the flat vector. */
#ifndef MERGESCAPE_ENGINE_OPTIM_H
#define MERGESCAPE_ENGINE_OPTIM_H

#include "engine/net.h"
#include "engine/ops.h"

#include <stddef.h>
#include <stdint.h>

enum { OPTIM_MOST_STATES = 2 };

/* What an optimizer keeps for each weight: a vector of each name, zero at first. */
struct optim_rule {
  const char *name; /* "sgd", "adamw" */
  unsigned n_states;
  const char *states[OPTIM_MOST_STATES]; /* PyTorch's names */
};

const struct optim_rule *optim_find(const char *name); /* NULL: unknown */

/* A stretch of the flat vector. */
struct optim_range {
  size_t begin, end;
  bool decays;
};

/* The trainable weights as stretches of those that decay and those that do not (net_decays). */
struct optim_range *optim_ranges(struct arena *, const struct net *, size_t *n);

struct optim {
  const struct optim_rule *rule;
  double lr, weight_decay;
  double momentum;                  /* sgd */
  double beta1, beta2, epsilon;     /* adamw */
  const struct optim_range *ranges; /* NULL: every weight decays */
  size_t n_ranges;
};

/* The step-th step, from 0, counted since the states were zero: of n weights, with
 * rule->n_states states.
 *
 * sgd, as torch.optim.SGD (dampening 0, no Nesterov):
 *   g += weight_decay * w;  v = momentum * v + g;  w -= lr * v
 * v starts at zero, which equals PyTorch's v = g at the first step.
 *
 * adamw (Loshchilov and Hutter 2019), as torch.optim.AdamW, with t = step + 1:
 *   w -= lr * weight_decay * w;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *   w -= lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + epsilon) */
void optim_step(const struct ops *, const struct optim *, uint64_t step, size_t n, float *w,
                float *const *states, const float *grad);

/* SGD alone, over all weights. */
struct optim_sgd {
  float lr, momentum, weight_decay;
};

void optim_sgd_step(const struct ops *, const struct optim_sgd *, size_t n, float *w, float *v,
                    const float *grad);

#endif
