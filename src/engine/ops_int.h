/* The CPU backend's operations; ops_cpu.c puts them into tables. */
#ifndef MERGESCAPE_ENGINE_OPS_INT_H
#define MERGESCAPE_ENGINE_OPS_INT_H

#include "engine/kernels.h"
#include "engine/ops.h"

size_t cpu_conv_scratch(const struct ops *, const struct ops_conv *, unsigned n);
void cpu_conv_forward(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                      const float *w, float *y, float *scratch);
void cpu_conv_backward_data(const struct ops *, const struct ops_conv *, unsigned n,
                            const float *dy, const float *w, float *dx, bool add, float *scratch);
void cpu_conv_backward_weights(const struct ops *, const struct ops_conv *, unsigned n,
                               const float *x, const float *dy, float *dw, float *scratch);

void cpu_norm_statistics(const struct ops *, const struct ops_rows *, const float *x, float *mean,
                         float *var);
void cpu_norm_apply(const struct ops *, const struct ops_rows *, const float *x, const float *scale,
                    const float *shift, const float *residual, bool relu, float *y);
void cpu_norm_backward(const struct ops *, const struct ops_rows *, const float *x, const float *y,
                       bool relu, const float *mean, const float *inv_std, const float *gamma,
                       float *dy, float *dx, bool add, float *dgamma, float *dbeta);

void cpu_average_forward(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                         float *y);
void cpu_average_backward(const struct ops *, const struct ops_conv *, unsigned n, const float *dy,
                          float *dx, bool add);
void cpu_max_forward(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                     float *y);
void cpu_max_backward(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                      const float *dy, float *dx, bool add);

void cpu_pool_forward(const struct ops *, unsigned n, unsigned pixels, unsigned c, const float *x,
                      float *y);
void cpu_pool_backward(const struct ops *, unsigned n, unsigned pixels, unsigned c, const float *dy,
                       float *dx, bool add);
void cpu_flatten_forward(const struct ops *, unsigned n, unsigned pixels, unsigned c,
                         const float *x, float *y);
void cpu_flatten_backward(const struct ops *, unsigned n, unsigned pixels, unsigned c,
                          const float *dy, float *dx, bool add);
void cpu_linear_forward(const struct ops *, unsigned n, unsigned in, unsigned out, const float *x,
                        const float *w, const float *bias, bool relu, float *y);
void cpu_linear_backward(const struct ops *, unsigned n, unsigned in, unsigned out, const float *x,
                         const float *w, const float *y, float *dy, float *dx, bool add, float *dw,
                         float *dbias);
float cpu_softmax_loss(const struct ops *, unsigned n, unsigned classes, const float *logits,
                       const int32_t *labels, float *dlogits);
void cpu_sgd(const struct ops *, size_t n, float lr, float momentum, float weight_decay, float *w,
             float *v, const float *grad);
void cpu_adamw(const struct ops *, const struct ops_adamw *, size_t n, float *w, float *m, float *v,
               const float *grad);

enum { OPS_MAX_CHANNELS = 4096 };

#endif
