/* Layer normalisation for the CPU (Ba, Kiros & Hinton 2016). */
#include "engine/kernels_token.h"
#include "engine/ops_int.h"

#include <string.h>

enum { STRETCH = 32 };

void cpu_layernorm_forward(const struct ops *ops, size_t rows, unsigned c, float eps,
                           const float *x, const float *gamma, const float *beta, float *y,
                           float *mean, float *inv_std)
{
  const struct kernel_layernorm job = {.rows = rows, .c = c, .x = x, .gamma = gamma, .beta = beta};
  ops->kernels->token->layernorm(&job, eps, y, mean, inv_std);
}

/* Some rows at a time: each is read twice, the second time from the cache. */
void cpu_layernorm_backward(const struct ops *ops, size_t rows, unsigned c, const float *x,
                            const float *mean, const float *inv_std, const float *gamma,
                            const float *dy, float *dx, bool add, float *dgamma, float *dbeta)
{
  memset(dgamma, 0, c * sizeof *dgamma);
  memset(dbeta, 0, c * sizeof *dbeta);
  for (size_t r = 0; r < rows; r += STRETCH) {
    const struct kernel_layernorm job = {
        .rows = rows - r < STRETCH ? rows - r : STRETCH, .c = c, .x = x + r * c, .gamma = gamma};
    ops->kernels->token->layernorm_grad(&job, mean + r, inv_std + r, dy + r * c, dx + r * c, add,
                                        dgamma, dbeta);
  }
}
