/* Batch normalisation for the CPU (Ioffe & Szegedy 2015; PyTorch's semantics). */
#include "engine/ops_int.h"

#include <assert.h>
#include <string.h>

/* Sums are taken around the first row, so that a mean far from zero does not
 * cancel the variance away. */
void cpu_norm_statistics(const struct ops *ops, size_t rows, unsigned c, const float *x,
                         float *mean, float *var)
{
  assert(c <= OPS_MAX_CHANNELS && rows > 0);
  double sum[OPS_MAX_CHANNELS], square[OPS_MAX_CHANNELS];
  memset(sum, 0, c * sizeof *sum);
  memset(square, 0, c * sizeof *square);
  const struct kernel_norm job = {.rows = rows, .c = c, .x = x, .a = x};
  ops->kernels->norm_sums(&job, sum, square);
  for (unsigned i = 0; i < c; i++) {
    const double d = sum[i] / (double)rows, v = square[i] / (double)rows - d * d;
    mean[i] = (float)((double)x[i] + d);
    var[i] = (float)(v < 0 ? 0 : v);
  }
}

void cpu_norm_apply(const struct ops *ops, size_t rows, unsigned c, const float *x,
                    const float *scale, const float *shift, const float *residual, bool relu,
                    float *y)
{
  const struct kernel_norm job = {.rows = rows, .c = c, .x = x, .a = scale, .b = shift};
  ops->kernels->norm_apply(&job, residual, relu, y);
}

/* With g the masked dy and z = (x - mean) * inv_std:
 *   dx = gamma * inv_std * (g - mean(g) - z * mean(g * z)). */
void cpu_norm_backward(const struct ops *ops, size_t rows, unsigned c, const float *x,
                       const float *y, bool relu, const float *mean, const float *inv_std,
                       const float *gamma, float *dy, float *dx, float *dgamma, float *dbeta)
{
  assert(c <= OPS_MAX_CHANNELS && rows > 0);
  double sum[OPS_MAX_CHANNELS], product[OPS_MAX_CHANNELS];
  float a[OPS_MAX_CHANNELS], b[OPS_MAX_CHANNELS], s[OPS_MAX_CHANNELS];
  memset(sum, 0, c * sizeof *sum);
  memset(product, 0, c * sizeof *product);
  const struct kernel_norm sums = {.rows = rows, .c = c, .x = x, .a = mean};
  ops->kernels->norm_grad_sums(&sums, relu ? y : NULL, dy, sum, product);
  for (unsigned i = 0; i < c; i++) {
    const double inv = (double)inv_std[i], scale = (double)gamma[i] * inv;
    const double slope = -scale * inv * inv * product[i] / (double)rows;
    dgamma[i] = (float)(product[i] * inv);
    dbeta[i] = (float)sum[i];
    a[i] = (float)scale;
    b[i] = (float)slope;
    s[i] = (float)(-scale * sum[i] / (double)rows - slope * (double)mean[i]);
  }
  const struct kernel_norm job = {.rows = rows, .c = c, .x = x, .a = a, .b = b, .s = s};
  ops->kernels->norm_grad(&job, dy, dx);
}
