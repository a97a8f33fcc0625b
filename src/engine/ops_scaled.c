/* A dense layer whose output is scaled by channel before it is added to the residual stream
 * (layer scale: Touvron et al. 2021), for the CPU.
 *
 * The gradient of the scale needs the output before scaling, which is not kept: its sum over
 * rows with dy is that of the weights with their unscaled gradient dy' x, which is there. */
#include "engine/kernels_token.h"
#include "engine/ops_int.h"

#include <assert.h>
#include <string.h>

enum { BLOCK = 256, STRETCH = 64 };

size_t cpu_scaled_scratch(const struct ops *ops, const struct ops_dense *d)
{
  return cpu_dense_scratch(ops, d) + (size_t)BLOCK * d->out;
}

void cpu_scaled_forward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                        const float *x, const float *w, const float *bias, const float *scale,
                        const float *residual, float *y, float *scratch)
{
  for (size_t r = 0; r < rows; r += BLOCK) {
    const unsigned m = (unsigned)(rows - r < BLOCK ? rows - r : BLOCK);
    float *to = y + r * d->out;
    cpu_dense_product(ops, d, m, x + r * d->in, w, to, scratch);
    ops->kernels->token->add_scaled(m, d->out, bias, scale, residual + r * d->out, to);
  }
}

/* From the unscaled gradients of weights and bias to those that are wanted. */
static void finish(const struct ops *ops, const struct ops_dense *d, const float *w,
                   const float *bias, const float *scale, float *dw, float *dbias, float *dscale)
{
  for (unsigned o = 0; o < d->out; o++, w += d->in, dw += d->in) {
    dscale[o] = ops->kernels->token->dot(d->in, w, dw) + bias[o] * dbias[o];
    for (unsigned i = 0; i < d->in; i++)
      dw[i] *= scale[o];
    dbias[o] *= scale[o];
  }
}

void cpu_scaled_backward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                         const float *x, const float *w, const float *bias, const float *scale,
                         const float *dy, float *dx, bool add, float *dw, float *dbias,
                         float *dscale, float *scratch)
{
  const unsigned in = d->in, out = d->out;
  float *scaled = scratch + cpu_dense_scratch(ops, d);
  assert(!d->in_first && d->act == OPS_IDENTITY);
  memset(dbias, 0, out * sizeof *dbias);
  for (size_t r = 0; r < rows; r += BLOCK) {
    const unsigned m = (unsigned)(rows - r < BLOCK ? rows - r : BLOCK);
    const float *from = dy + r * out;
    for (unsigned k = 0; k < m; k += STRETCH)
      ops->kernels->token->scale(m - k < STRETCH ? m - k : STRETCH, out, scale,
                                 from + (size_t)k * out, scaled + (size_t)k * out, dbias);
    cpu_dense_weights(ops, d, m, x + r * in, from, dw, r > 0, scratch);
    cpu_dense_data(ops, d, m, w, scaled, dx + r * in, add, scratch);
  }
  finish(ops, d, w, bias, scale, dw, dbias, dscale);
}
