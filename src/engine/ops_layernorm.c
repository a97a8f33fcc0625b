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

/* Some rows at a time: each is read twice, the second time from the cache.  The sums first,
 * for dx may be dy. */
void cpu_layernorm_backward(const struct ops *ops, size_t rows, unsigned c, const float *x,
                            const float *mean, const float *inv_std, const float *gamma,
                            const float *dy, float *dx, bool add, float *dgamma, float *dbeta)
{
  memset(dgamma, 0, c * sizeof *dgamma);
  memset(dbeta, 0, c * sizeof *dbeta);
  for (size_t r = 0; r < rows; r += STRETCH) {
    const struct kernel_layernorm job = {
        .rows = rows - r < STRETCH ? rows - r : STRETCH, .c = c, .x = x + r * c, .gamma = gamma};
    ops->kernels->token->layernorm_sums(&job, c, mean + r, inv_std + r, dy + r * c, dgamma, dbeta);
    ops->kernels->token->layernorm_grad(&job, mean + r, inv_std + r, dy + r * c, dx + r * c, add);
  }
}

void cpu_layernorm_backward_weights(const struct ops *ops, size_t rows, unsigned c, unsigned first,
                                    unsigned count, const float *x, const float *mean,
                                    const float *inv_std, const float *dy, float *dgamma,
                                    float *dbeta)
{
  memset(dgamma + first, 0, count * sizeof *dgamma);
  memset(dbeta + first, 0, count * sizeof *dbeta);
  for (size_t r = 0; r < rows; r += STRETCH) {
    const struct kernel_layernorm job = {
        .rows = rows - r < STRETCH ? rows - r : STRETCH, .c = c, .x = x + r * c + first};
    ops->kernels->token->layernorm_sums(&job, count, mean + r, inv_std + r, dy + r * c + first,
                                        dgamma + first, dbeta + first);
  }
}

void cpu_layernorm_backward_data(const struct ops *ops, size_t rows, unsigned c, const float *x,
                                 const float *mean, const float *inv_std, const float *gamma,
                                 const float *dy, float *dx, bool add)
{
  const struct kernel_layernorm job = {.rows = rows, .c = c, .x = x, .gamma = gamma};
  ops->kernels->token->layernorm_grad(&job, mean, inv_std, dy, dx, add);
}
