/* Batch normalisation for the CPU (Ioffe & Szegedy 2015; PyTorch's semantics). */
#include "engine/ops_int.h"

#include <assert.h>
#include <string.h>

static struct kernel_norm norm_job(const struct ops_rows *r, const float *x)
{
  return (struct kernel_norm){
      .rows = r->rows, .c = r->c, .x_row = r->x_row, .y_row = r->y_row, .x = x};
}

/* Sums are taken around the first row, so that a mean far from zero does not
 * cancel the variance away. */
void cpu_norm_statistics(const struct ops *ops, const struct ops_rows *r, const float *x,
                         float *mean, float *var)
{
  const size_t rows = r->rows;
  const unsigned c = r->c;
  assert(c <= OPS_MAX_CHANNELS && rows > 0);
  double sum[OPS_MAX_CHANNELS], square[OPS_MAX_CHANNELS];
  memset(sum, 0, c * sizeof *sum);
  memset(square, 0, c * sizeof *square);
  struct kernel_norm job = norm_job(r, x);
  job.y_row = job.x_row;
  job.a = x;
  ops->kernels->norm_sums(&job, sum, square);
  for (unsigned i = 0; i < c; i++) {
    const double d = sum[i] / (double)rows, v = square[i] / (double)rows - d * d;
    mean[i] = (float)((double)x[i] + d);
    var[i] = (float)(v < 0 ? 0 : v);
  }
}

void cpu_norm_apply(const struct ops *ops, const struct ops_rows *r, const float *x,
                    const float *scale, const float *shift, const float *residual, bool relu,
                    float *y)
{
  struct kernel_norm job = norm_job(r, x);
  job.a = scale;
  job.b = shift;
  ops->kernels->norm_apply(&job, residual, relu, y);
}

/* With g the masked dy and z = (x - mean) * inv_std:
 *   dx = gamma * inv_std * (g - mean(g) - z * mean(g * z)). */
void cpu_norm_backward(const struct ops *ops, const struct ops_rows *r, const float *x,
                       const float *y, bool relu, const float *mean, const float *inv_std,
                       const float *gamma, float *dy, float *dx, bool add, float *dgamma,
                       float *dbeta)
{
  const size_t rows = r->rows;
  const unsigned c = r->c;
  assert(c <= OPS_MAX_CHANNELS && rows > 0);
  double sum[OPS_MAX_CHANNELS], product[OPS_MAX_CHANNELS];
  float a[OPS_MAX_CHANNELS], b[OPS_MAX_CHANNELS], s[OPS_MAX_CHANNELS];
  memset(sum, 0, c * sizeof *sum);
  memset(product, 0, c * sizeof *product);
  struct kernel_norm job = norm_job(r, x);
  job.a = mean;
  ops->kernels->norm_grad_sums(&job, relu ? y : NULL, dy, sum, product);
  for (unsigned i = 0; i < c; i++) {
    const double inv = (double)inv_std[i], scale = (double)gamma[i] * inv;
    const double slope = -scale * inv * inv * product[i] / (double)rows;
    dgamma[i] = (float)(product[i] * inv);
    dbeta[i] = (float)sum[i];
    a[i] = (float)scale;
    b[i] = (float)slope;
    s[i] = (float)(-scale * sum[i] / (double)rows - slope * (double)mean[i]);
  }
  if (!dx)
    return;
  job.a = a;
  job.b = b;
  job.s = s;
  ops->kernels->norm_grad(&job, dy, add, dx);
}
