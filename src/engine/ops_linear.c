/* Linear layers, pooling, flattening, the loss and the SGD update for the CPU. */
#include "engine/ops_int.h"

#include <math.h>
#include <string.h>

/* By the table's products: a table that splits them splits these layers. */
void cpu_linear_forward(const struct ops *ops, unsigned n, unsigned in, unsigned out,
                        const float *x, const float *w, const float *bias, bool relu, float *y,
                        float *scratch)
{
  const struct ops_dense d = {.in = in, .out = out};
  ops->dense_forward(ops, &d, n, x, w, NULL, NULL, y, NULL, scratch);
  ops->kernels->bias(n, out, bias, relu, y);
}

void cpu_linear_backward(const struct ops *ops, unsigned n, unsigned in, unsigned out,
                         const float *x, const float *w, const float *y, float *dy, float *dx,
                         bool add, float *dw, float *dbias, float *scratch)
{
  const struct ops_dense d = {.in = in, .out = out};
  if (y)
    ops->kernels->mask((size_t)n * out, y, dy);
  ops->dense_backward(ops, &d, n, x, w, NULL, dy, dx, add, dw, dbias, scratch);
}

void cpu_pool_forward(const struct ops *ops, unsigned n, unsigned pixels, unsigned c,
                      const float *x, float *y)
{
  (void)ops;
  const float scale = 1 / (float)pixels;
  for (unsigned i = 0; i < n; i++, y += c) {
    memset(y, 0, c * sizeof *y);
    for (unsigned p = 0; p < pixels; p++, x += c) {
      for (unsigned k = 0; k < c; k++)
        y[k] += x[k];
    }
    for (unsigned k = 0; k < c; k++)
      y[k] *= scale;
  }
}

void cpu_pool_backward(const struct ops *ops, unsigned n, unsigned pixels, unsigned c,
                       const float *dy, float *dx, bool add)
{
  (void)ops;
  const float scale = 1 / (float)pixels;
  for (unsigned i = 0; i < n; i++, dy += c) {
    for (unsigned p = 0; p < pixels; p++, dx += c) {
      for (unsigned k = 0; k < c; k++)
        dx[k] = (add ? dx[k] : 0) + dy[k] * scale;
    }
  }
}

void cpu_flatten_forward(const struct ops *ops, unsigned n, unsigned pixels, unsigned c,
                         const float *x, float *y)
{
  (void)ops;
  for (unsigned i = 0; i < n; i++, x += (size_t)pixels * c, y += (size_t)pixels * c) {
    for (unsigned p = 0; p < pixels; p++) {
      for (unsigned k = 0; k < c; k++)
        y[(size_t)k * pixels + p] = x[(size_t)p * c + k];
    }
  }
}

void cpu_flatten_backward(const struct ops *ops, unsigned n, unsigned pixels, unsigned c,
                          const float *dy, float *dx, bool add)
{
  (void)ops;
  for (unsigned i = 0; i < n; i++, dx += (size_t)pixels * c, dy += (size_t)pixels * c) {
    for (unsigned p = 0; p < pixels; p++) {
      for (unsigned k = 0; k < c; k++) {
        float *to = dx + (size_t)p * c + k;
        *to = (add ? *to : 0) + dy[(size_t)k * pixels + p];
      }
    }
  }
}

/* log(sum exp) around the largest logit (NaN where one is NaN: it must show in the loss). */
static double log_sum(const float *logits, unsigned classes, float *most)
{
  float m = logits[0];
  for (unsigned k = 1; k < classes; k++)
    m = logits[k] > m ? logits[k] : m;
  double sum = 0;
  for (unsigned k = 0; k < classes; k++)
    sum += (double)expf(logits[k] - m);
  *most = m;
  return log(sum);
}

float cpu_softmax_loss(const struct ops *ops, unsigned n, unsigned classes, const float *logits,
                       const int32_t *labels, float *dlogits)
{
  (void)ops;
  double loss = 0;
  const float scale = 1 / (float)n;
  for (unsigned i = 0; i < n; i++, logits += classes) {
    float most;
    const double ls = log_sum(logits, classes, &most);
    loss += (double)most + ls - (double)logits[labels[i]];
    if (!dlogits)
      continue;
    for (unsigned k = 0; k < classes; k++)
      dlogits[k] = scale * expf(logits[k] - most - (float)ls);
    dlogits[labels[i]] -= scale;
    dlogits += classes;
  }
  return (float)(loss / n);
}

void cpu_sgd(const struct ops *ops, size_t n, float lr, float momentum, float weight_decay,
             float *w, float *v, const float *grad)
{
  ops->kernels->sgd(n, lr, momentum, weight_decay, w, v, grad);
}

void cpu_adamw(const struct ops *ops, const struct ops_adamw *p, size_t n, float *w, float *m,
               float *v, const float *grad)
{
  ops->kernels->adamw(p, n, w, m, v, grad);
}
