#include "engine/optim.h"

void optim_sgd_step(const struct ops *ops, const struct optim_sgd *sgd, size_t n, float *w,
                    float *v, const float *grad)
{
  ops->sgd(ops, n, sgd->lr, sgd->momentum, sgd->weight_decay, w, v, grad);
}
