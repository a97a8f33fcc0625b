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

/* The plain way, for all shapes. */
size_t cpu_direct_scratch(const struct ops *, const struct ops_conv *, unsigned n);
void cpu_direct_forward(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                        const float *w, float *y, float *scratch);
void cpu_direct_backward_data(const struct ops *, const struct ops_conv *, unsigned n,
                              const float *dy, const float *w, float *dx, bool add, float *scratch);
void cpu_direct_backward_weights(const struct ops *, const struct ops_conv *, unsigned n,
                                 const float *x, const float *dy, float *dw, float *scratch);

size_t cpu_depthwise_scratch(const struct ops *, const struct ops_depthwise *);
void cpu_depthwise_forward(const struct ops *, const struct ops_depthwise *, unsigned n,
                           const float *x, const float *w, const float *bias, float *y,
                           float *scratch);
void cpu_depthwise_backward_data(const struct ops *, const struct ops_depthwise *, unsigned n,
                                 const float *dy, const float *w, float *dx, bool add,
                                 float *scratch);
void cpu_depthwise_backward_weights(const struct ops *, const struct ops_depthwise *, unsigned n,
                                    unsigned first, unsigned count, const float *x, const float *dy,
                                    float *dw, float *dbias, float *scratch);

/* By Winograd's F(4x4, 3x3), for the shapes that fit. */
bool cpu_winograd_fits(const struct ops_conv *);
bool cpu_winograd_fits_weights(const struct ops_conv *);
size_t cpu_winograd_scratch(const struct ops *, const struct ops_conv *, unsigned n);
void cpu_winograd_forward(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                          const float *w, float *y, float *scratch);
void cpu_winograd_backward_data(const struct ops *, const struct ops_conv *, unsigned n,
                                const float *dy, const float *w, float *dx, bool add,
                                float *scratch);
void cpu_winograd_backward_weights(const struct ops *, const struct ops_conv *, unsigned n,
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
                        const float *w, const float *bias, bool relu, float *y, float *scratch);
void cpu_linear_backward(const struct ops *, unsigned n, unsigned in, unsigned out, const float *x,
                         const float *w, const float *y, float *dy, float *dx, bool add, float *dw,
                         float *dbias, float *scratch);
float cpu_softmax_loss(const struct ops *, unsigned n, unsigned classes, const float *logits,
                       const int32_t *labels, float *dlogits);
void cpu_sgd(const struct ops *, size_t n, float lr, float momentum, float weight_decay, float *w,
             float *v, const float *grad);
void cpu_adamw(const struct ops *, const struct ops_adamw *, size_t n, float *w, float *m, float *v,
               const float *grad);

enum { OPS_MAX_CHANNELS = 4096 };

/* c [m][n] = a [m][k] b [k][n], or added; a(i, k) at a[i * a_row + k * a_step], b(k, j) at
 * b[k * b_row + j * b_column], one of these being 1. */
struct cpu_gemm {
  unsigned m, n, k;
  const float *a;
  size_t a_row, a_step;
  const float *b;
  size_t b_row, b_column;
  float *c;
  size_t c_row;
  bool add;
};

size_t cpu_gemm_scratch(void);
void cpu_gemm(const struct ops *, const struct cpu_gemm *, float *scratch);

void cpu_patches_forward(const struct ops *, const struct ops_patches *, unsigned n, const float *x,
                         float *y);
void cpu_patches_backward(const struct ops *, const struct ops_patches *, unsigned n,
                          const float *dy, float *dx, bool add);
size_t cpu_dense_scratch(const struct ops *, const struct ops_dense *);
void cpu_dense_forward(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                       const float *w, const float *bias, const float *residual, float *y,
                       float *slope, float *scratch);
void cpu_dense_backward(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                        const float *w, const float *slope, float *dy, float *dx, bool add,
                        float *dw, float *dbias, float *scratch);
void cpu_dense_product(const struct ops *, const struct ops_dense *, unsigned rows, const float *x,
                       const float *w, float *y, float *scratch); /* y = x w */
void cpu_dense_weights(const struct ops *, const struct ops_dense *, unsigned rows, const float *x,
                       const float *dy, float *dw, bool add, float *scratch);
void cpu_dense_data(const struct ops *, const struct ops_dense *, unsigned rows, const float *w,
                    const float *dy, float *dx, bool add, float *scratch);
void cpu_dense_backward_weights(const struct ops *, const struct ops_dense *, size_t rows,
                                unsigned first, unsigned count, const float *x, const float *slope,
                                float *dy, bool add, float *dw, float *dbias, float *scratch);
void cpu_dense_backward_data(const struct ops *, const struct ops_dense *, size_t rows,
                             const float *w, const float *dy, float *dx, bool add, float *scratch);
void cpu_layernorm_backward_weights(const struct ops *, size_t rows, unsigned c, unsigned first,
                                    unsigned count, const float *x, const float *mean,
                                    const float *inv_std, const float *dy, float *dgamma,
                                    float *dbeta);
void cpu_layernorm_backward_data(const struct ops *, size_t rows, unsigned c, const float *x,
                                 const float *mean, const float *inv_std, const float *gamma,
                                 const float *dy, float *dx, bool add);
void cpu_softmax_rows(const struct ops *, size_t rows, unsigned classes, float scale,
                      const int32_t *labels, float *logits, double *losses);
size_t cpu_scaled_scratch(const struct ops *, const struct ops_dense *);
void cpu_scaled_forward(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                        const float *w, const float *bias, const float *scale,
                        const float *residual, float *y, float *scratch);
void cpu_scaled_backward_weights(const struct ops *, const struct ops_dense *, size_t rows,
                                 unsigned first, unsigned count, const float *x, const float *w,
                                 const float *bias, const float *scale, float *dy, float *dw,
                                 float *dbias, float *dscale, float *scratch);
void cpu_scaled_backward_data(const struct ops *, const struct ops_dense *, size_t rows,
                              const float *w, const float *scale, const float *dy, float *dx,
                              bool add, float *scratch);
void cpu_layernorm_forward(const struct ops *, size_t rows, unsigned c, float eps, const float *x,
                           const float *gamma, const float *beta, float *y, float *mean,
                           float *inv_std);
void cpu_layernorm_backward(const struct ops *, size_t rows, unsigned c, const float *x,
                            const float *mean, const float *inv_std, const float *gamma,
                            const float *dy, float *dx, bool add, float *dgamma, float *dbeta);
size_t cpu_attention_scratch(const struct ops *, const struct ops_attention *);
void cpu_attention_forward(const struct ops *, const struct ops_attention *, unsigned n,
                           const float *qkv, float *y, float *log_sum, float *scratch);
void cpu_attention_backward(const struct ops *, const struct ops_attention *, unsigned n,
                            const float *qkv, const float *y, const float *log_sum, const float *dy,
                            float *dqkv, float *scratch);
void cpu_class_token_forward(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                             const float *x, const float *token, const float *positions, float *y);
void cpu_class_token_backward(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                              const float *dy, float *dx, bool add, float *dtoken,
                              float *dpositions);
void cpu_first_token_forward(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                             const float *x, float *y);
void cpu_first_token_backward(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                              const float *dy, float *dx, bool add);
void cpu_embedding_forward(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                           const float *ids, const float *words, const float *positions, float *y);
void cpu_embedding_backward(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                            const float *ids, const float *dy, float *dwords, float *dpositions);
size_t cpu_token_loss_scratch(const struct ops *, size_t rows, const struct ops_dense *);
float cpu_token_loss(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                     const float *w, const int32_t *labels, float *dx, float *dw, float *scratch);

#endif
