/* A dense layer whose output is scaled by channel before it is added to the residual stream
 * (layer scale: Touvron et al. 2021), for the CPU.
 *
 * The gradient of the scale needs the output before scaling, which is not kept: its sum over
 * rows with dy is that of the weights with their unscaled gradient dy' x, which is there. */
#include "engine/kernels_token.h"
#include "engine/ops_int.h"

#include <assert.h>

enum { BLOCK = 256 };

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

void cpu_scaled_backward_weights(const struct ops *ops, const struct ops_dense *d, size_t rows,
                                 unsigned first, unsigned count, const float *x, const float *w,
                                 const float *bias, const float *scale, float *dy, float *dw,
                                 float *dbias, float *dscale, float *scratch)
{
  assert(!d->in_first && d->act == OPS_IDENTITY);
  cpu_dense_backward_weights(ops, d, rows, first, count, x, NULL, dy, false, dw, dbias, scratch);
  for (unsigned o = first; o < first + count; o++) {
    float *row = dw + (size_t)o * d->in;
    dscale[o] = ops->kernels->token->dot(d->in, w + (size_t)o * d->in, row) + bias[o] * dbias[o];
    for (unsigned i = 0; i < d->in; i++)
      row[i] *= scale[o];
    dbias[o] *= scale[o];
  }
}

void cpu_scaled_backward_data(const struct ops *ops, const struct ops_dense *d, size_t rows,
                              const float *w, const float *scale, const float *dy, float *dx,
                              bool add, float *scratch)
{
  float *scaled = scratch + cpu_dense_scratch(ops, d);
  for (size_t r = 0; r < rows; r += BLOCK) {
    const unsigned m = (unsigned)(rows - r < BLOCK ? rows - r : BLOCK);
    ops->kernels->token->scale(m, d->out, scale, dy + r * d->out, scaled);
    cpu_dense_data(ops, d, m, w, scaled, dx + r * d->in, add, scratch);
  }
}
