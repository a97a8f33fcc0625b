/* Optimizers: one fused pass over the flat vector. */
#ifndef MERGESCAPE_ENGINE_OPTIM_H
#define MERGESCAPE_ENGINE_OPTIM_H

#include "engine/ops.h"

#include <stddef.h>

/* SGD as torch.optim.SGD (dampening 0, no Nesterov):
 *   g += weight_decay * w;  v = momentum * v + g;  w -= lr * v
 * v starts at zero, which equals PyTorch's v = g at the first step. */
struct optim_sgd {
  float lr, momentum, weight_decay;
};

void optim_sgd_step(const struct ops *, const struct optim_sgd *, size_t n, float *w, float *v,
                    const float *grad);

#endif
