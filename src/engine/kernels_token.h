/* The CPU backend's inner loops of transformers: products and passes over rows.
 * Compiled once an instruction set, as kernels.h says. */
#ifndef MERGESCAPE_ENGINE_KERNELS_TOKEN_H
#define MERGESCAPE_ENGINE_KERNELS_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

/* c [m][n] = a [m][k] b [k][n], or added.  a(i, k) lies at a[i * a_row + k * a_step]. */
struct kernel_gemm {
  unsigned m, n, k;
  const float *a;
  size_t a_row, a_step;
  const float *b;    /* packed, from its first row */
  unsigned packed_k; /* rows that were packed: at least k.  n may be less than was packed, if a
                      * multiple of 64 */
  float *c;
  size_t c_row;
  bool add;
  unsigned stretch; /* products that are summed in one go; 0: as many as is quick */
};

/* Passes over x [rows][c]; gamma, beta [c]. */
struct kernel_layernorm {
  size_t rows;
  unsigned c;
  const float *x, *gamma, *beta;
};

enum kernel_act { KERNEL_IDENTITY, KERNEL_GELU_TANH, KERNEL_GELU, KERNEL_QUICK_GELU, KERNEL_RELU };

struct kernels_token {
  unsigned panel;                                /* columns of a packed b that lie together */
  size_t (*gemm_floats)(unsigned n, unsigned k); /* of a packed b */
  /* b(k, j) lies at b[k * b_row + j * b_column]; one of the two is 1. */
  void (*gemm_pack)(unsigned n, unsigned k, const float *b, size_t b_row, size_t b_column,
                    float *packed);
  void (*gemm)(const struct kernel_gemm *);

  /* y = act(y + bias), slope = act'(y + bias) (NULL: not wanted); [rows][c] */
  void (*act)(size_t rows, unsigned c, const float *bias, enum kernel_act, float *y, float *slope);
  /* y += bias + residual */
  void (*add_rows)(size_t rows, unsigned c, const float *bias, const float *residual, float *y);
  /* y = (y + bias) * scale[c] + residual */
  void (*add_scaled)(size_t rows, unsigned c, const float *bias, const float *scale,
                     const float *residual, float *y);
  /* to = dy * scale[c] */
  void (*scale)(size_t rows, unsigned c, const float *scale, const float *dy, float *to);
  /* dy *= slope (NULL: as it is); sum[c] += dy; `row` floats from one row to the next */
  void (*slope)(size_t rows, unsigned c, size_t row, const float *slope, float *dy, float *sum);

  /* mean and inv_std [rows], NULL: not wanted */
  void (*layernorm)(const struct kernel_layernorm *, float eps, float *y, float *mean,
                    float *inv_std);
  /* dgamma and dbeta of `count` channels, added to; x and dy begin at the first of them */
  void (*layernorm_sums)(const struct kernel_layernorm *, unsigned count, const float *mean,
                         const float *inv_std, const float *dy, float *dgamma, float *dbeta);
  /* dx may be dy */
  void (*layernorm_grad)(const struct kernel_layernorm *, const float *mean, const float *inv_std,
                         const float *dy, float *dx, bool add);

  /* to = softmax(scale * s) (to may be s); returns log(sum(exp(scale * s))) */
  float (*softmax)(unsigned n, const float *s, float scale, float *to);
  float (*log_sum)(unsigned n, const float *s, float *scratch);
  /* s = exp(scale * s - log_sum), the probabilities; dp = s * (dp - inner) * scale */
  void (*attention_grad)(unsigned n, float *s, float scale, float log_sum, float inner, float *dp);
  float (*dot)(unsigned n, const float *a, const float *b);
};

extern const struct kernels_token kernels_token_baseline;
extern const struct kernels_token kernels_token_avx2;
extern const struct kernels_token kernels_token_avx512;

#endif
