/* Layers as free operations, reached through one table a backend.
 *
 * Activations are channels last, [n][h][w][c]; weights and their gradients have
 * PyTorch's layouts.  Pointers need no alignment.  No operation allocates: a
 * convolution is given scratch memory.  With one table and one instruction set
 * the results are the same bit for bit.
 *
 * So are those of parts: a sample of y or dx has the same bits whatever samples go with it, and
 * the gradient of an output channel's weights whatever 31 others or more do.
 *
 * A backend fills a `struct ops`; net, zoo and optim know nothing else of it. */
#ifndef MERGESCAPE_ENGINE_OPS_H
#define MERGESCAPE_ENGINE_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Square kernel, zero padding on all sides.  At most OPS_MAX_KERNEL wide. */
struct ops_conv {
  unsigned h, w;   /* input */
  unsigned ci, co; /* channels in and out */
  unsigned k, stride, pad;
  unsigned y_pixel; /* floats from one output pixel to the next; 0: co */
};

enum { OPS_MAX_KERNEL = 7 };

static inline unsigned ops_conv_out(const struct ops_conv *c, unsigned size)
{
  return (size + 2 * c->pad - c->k) / c->stride + 1;
}

/* A step of AdamW: what is the same for all weights. */
struct ops_adamw {
  float keep;         /* 1 - learning rate * weight decay */
  float mean, square; /* 1 - beta1, 1 - beta2 */
  float rate, root;   /* learning rate and root, corrected for the first steps' bias */
  float epsilon;
};

static inline unsigned ops_conv_y_pixel(const struct ops_conv *c)
{
  return c->y_pixel ? c->y_pixel : c->co;
}

/* Rows of c channels that lie in longer ones, as a dense block's do. */
struct ops_rows {
  size_t rows;
  unsigned c;
  unsigned x_row, y_row; /* floats from one row to the next: of x, dx; of y, dy and the residual */
};

/* What a transformer's linear layer ends with: GELU as GPT-2 has it (tanh), exactly (erf),
 * or x * sigmoid(1.702 x) as CLIP has it (Hendrycks & Gimpel 2016); ReLU, of slope 0 at 0. */
enum ops_act { OPS_IDENTITY, OPS_GELU_TANH, OPS_GELU, OPS_QUICK_GELU, OPS_RELU };

/* A linear layer over rows; w [out][in], or [in][out] where in_first (GPT-2's Conv1D). */
struct ops_dense {
  unsigned in, out;
  bool in_first;
  enum ops_act act;
};

/* Windows k x k, side by side; what is left over at the right and below belongs to none. */
struct ops_patches {
  unsigned h, w, c; /* input */
  unsigned k;
};

/* Self-attention; causal: a token sees itself and those before. */
struct ops_attention {
  unsigned tokens, heads, size; /* channels are heads * size */
  bool causal;
  unsigned queries; /* the tokens, from the first on, that ask; 0: all (causal: always) */
};

static inline unsigned ops_attention_queries(const struct ops_attention *a)
{
  return a->queries ? a->queries : a->tokens;
}

enum { OPS_DEPTHWISE_SIDE = 7 };

/* Depthwise convolution of an image: 7x7, padding 3, a filter a channel. */
struct ops_depthwise {
  unsigned h, w, c;
};

struct kernels; /* of one instruction set, kernels.h; CPU backend only */

struct ops {
  const char *numerics; /* class of results that may be mixed: "f32-cpu" */
  const char *isa;      /* "baseline", "avx2", "avx512" */
  const struct kernels *kernels;

  /* Floats of scratch, 64-byte aligned, for any of the three below with up to n samples. */
  size_t (*conv_scratch)(const struct ops *, const struct ops_conv *, unsigned n);
  /* x [n][h][w][ci], w [co][ci][k][k] -> y [n][oh][ow][co] */
  void (*conv_forward)(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                       const float *w, float *y, float *scratch);
  /* dy [n][oh][ow][co] -> dx [n][h][w][ci], set or added to */
  void (*conv_backward_data)(const struct ops *, const struct ops_conv *, unsigned n,
                             const float *dy, const float *w, float *dx, bool add, float *scratch);
  /* -> dw [co][ci][k][k].  A channel's are the same whatever the others, where there are 32
   * or more. */
  void (*conv_backward_weights)(const struct ops *, const struct ops_conv *, unsigned n,
                                const float *x, const float *dy, float *dw, float *scratch);

  /* x [n][h][w][c], w [c][7][7], bias [c] -> y [n][h][w][c]; and back, as above.  Weights: of
   * the channels first ... first + count alone.
   * scratch: depthwise_scratch floats, 64-byte aligned. */
  size_t (*depthwise_scratch)(const struct ops *, const struct ops_depthwise *);
  void (*depthwise_forward)(const struct ops *, const struct ops_depthwise *, unsigned n,
                            const float *x, const float *w, const float *bias, float *y,
                            float *scratch);
  void (*depthwise_backward_data)(const struct ops *, const struct ops_depthwise *, unsigned n,
                                  const float *dy, const float *w, float *dx, bool add,
                                  float *scratch);
  void (*depthwise_backward_weights)(const struct ops *, const struct ops_depthwise *, unsigned n,
                                     unsigned first, unsigned count, const float *x,
                                     const float *dy, float *dw, float *dbias, float *scratch);

  /* x [rows][c] -> mean [c] and biased variance [c] over rows; y_row is not used */
  void (*norm_statistics)(const struct ops *, const struct ops_rows *, const float *x, float *mean,
                          float *var);
  /* y = x * scale[c] + shift[c], then + residual (NULL: none), then max(0, .) if relu.
   * y may be x. */
  void (*norm_apply)(const struct ops *, const struct ops_rows *, const float *x,
                     const float *scale, const float *shift, const float *residual, bool relu,
                     float *y);
  /* Batch norm's backward pass in training mode.  x: input of the norm; y: output, read
   * where relu; mean, inv_std [c] of the forward pass.  dy is masked by the ReLU in place
   * (then it is the residual's gradient).  -> dgamma, dbeta [c]; dx [rows][c], set or added to,
   * which may be dy where the rows are as long, or NULL: not wanted. */
  void (*norm_backward)(const struct ops *, const struct ops_rows *, const float *x, const float *y,
                        bool relu, const float *mean, const float *inv_std, const float *gamma,
                        float *dy, float *dx, bool add, float *dgamma, float *dbeta);

  /* x [n][pixels][c] -> y [n][c], the mean; and back: dx set or added to */
  void (*pool_forward)(const struct ops *, unsigned n, unsigned pixels, unsigned c, const float *x,
                       float *y);
  void (*pool_backward)(const struct ops *, unsigned n, unsigned pixels, unsigned c,
                        const float *dy, float *dx, bool add);
  /* The mean or the largest (the first of equals; a NaN is larger than all) of each k x k
   * window of x [n][h][w][ci], co = ci.  Outside of the image there is nothing; the mean
   * has no padding. */
  void (*average_forward)(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                          float *y);
  void (*average_backward)(const struct ops *, const struct ops_conv *, unsigned n, const float *dy,
                           float *dx, bool add);
  void (*max_forward)(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                      float *y);
  void (*max_backward)(const struct ops *, const struct ops_conv *, unsigned n, const float *x,
                       const float *dy, float *dx, bool add);
  /* x [n][pixels][c] -> y [n][c][pixels]: PyTorch's order of a flattened image */
  void (*flatten_forward)(const struct ops *, unsigned n, unsigned pixels, unsigned c,
                          const float *x, float *y);
  void (*flatten_backward)(const struct ops *, unsigned n, unsigned pixels, unsigned c,
                           const float *dy, float *dx, bool add);

  /* x [n][in], w [out][in], bias [out] -> y [n][out], max(0, .) if relu.  scratch: what
   * dense_scratch says for in and out, 64-byte aligned. */
  void (*linear_forward)(const struct ops *, unsigned n, unsigned in, unsigned out, const float *x,
                         const float *w, const float *bias, bool relu, float *y, float *scratch);
  /* dy is masked in place where y (not NULL: there was a ReLU) is 0.  dx NULL: not wanted. */
  void (*linear_backward)(const struct ops *, unsigned n, unsigned in, unsigned out, const float *x,
                          const float *w, const float *y, float *dy, float *dx, bool add, float *dw,
                          float *dbias, float *scratch);

  /* Mean cross-entropy of softmax(logits [n][classes]); its gradient into dlogits (NULL: none;
   * may be logits). */
  float (*softmax_loss)(const struct ops *, unsigned n, unsigned classes, const float *logits,
                        const int32_t *labels, float *dlogits);

  /* g += weight_decay * w;  v = momentum * v + g;  w -= lr * v */
  void (*sgd)(const struct ops *, size_t n, float lr, float momentum, float weight_decay, float *w,
              float *v, const float *grad);
  /* w *= keep;  m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v);
   * w -= rate * m / (root * sqrt(v) + epsilon) */
  void (*adamw)(const struct ops *, const struct ops_adamw *, size_t n, float *w, float *m,
                float *v, const float *grad);

  /* x [n][h][w][c] -> y [n][h / k][w / k][c][k][k]: a window as a convolution's weight has it,
   * so that a dense layer over y is a convolution with stride k.  Back: dx set or added to;
   * what belongs to no window is 0, or stays. */
  void (*patches_forward)(const struct ops *, const struct ops_patches *, unsigned n,
                          const float *x, float *y);
  void (*patches_backward)(const struct ops *, const struct ops_patches *, unsigned n,
                           const float *dy, float *dx, bool add);

  /* x [rows][in] -> y [rows][out] = act(x w + bias), and act's derivative there (slope NULL:
   * not wanted); or y = x w + bias + residual (NULL: none), without act; or y = x w where
   * bias is NULL (then neither).  scratch: dense_scratch floats, 64-byte aligned, here and below.
   */
  size_t (*dense_scratch)(const struct ops *, const struct ops_dense *);
  void (*dense_forward)(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                        const float *w, const float *bias, const float *residual, float *y,
                        float *slope, float *scratch);
  /* dy is multiplied by slope in place (NULL: no act).  -> dx (NULL: not wanted) set or
   * added to, dw, dbias (NULL: there is no bias, nor act) */
  void (*dense_backward)(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                         const float *w, const float *slope, float *dy, float *dx, bool add,
                         float *dw, float *dbias, float *scratch);
  /* The same in two: first dy, dw (set or added to) and dbias of `count` outputs from `first`
   * on, a multiple of 16, and then dx. */
  void (*dense_backward_weights)(const struct ops *, const struct ops_dense *, size_t rows,
                                 unsigned first, unsigned count, const float *x,
                                 const float *slope, float *dy, bool add, float *dw, float *dbias,
                                 float *scratch);
  void (*dense_backward_data)(const struct ops *, const struct ops_dense *, size_t rows,
                              const float *w, const float *dy, float *dx, bool add,
                              float *scratch);

  /* The same with w [out][in], no act, and scaled by channel: y = (x w + bias) * scale[out] +
   * residual.  dy, which is the residual's gradient too, stays as it is.  Weights: of the
   * outputs first ... first + count alone. */
  size_t (*scaled_scratch)(const struct ops *, const struct ops_dense *);
  void (*scaled_forward)(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                         const float *w, const float *bias, const float *scale,
                         const float *residual, float *y, float *scratch);
  void (*scaled_backward_weights)(const struct ops *, const struct ops_dense *, size_t rows,
                                  unsigned first, unsigned count, const float *x, const float *w,
                                  const float *bias, const float *scale, float *dy, float *dw,
                                  float *dbias, float *dscale, float *scratch);
  void (*scaled_backward_data)(const struct ops *, const struct ops_dense *, size_t rows,
                               const float *w, const float *scale, const float *dy, float *dx,
                               bool add, float *scratch);

  /* Over the last axis of x [rows][c]; mean, inv_std [rows] for the backward pass (NULL: not
   * wanted), which sets dx or adds to it; dx may be dy. */
  void (*layernorm_forward)(const struct ops *, size_t rows, unsigned c, float eps, const float *x,
                            const float *gamma, const float *beta, float *y, float *mean,
                            float *inv_std);
  void (*layernorm_backward)(const struct ops *, size_t rows, unsigned c, const float *x,
                             const float *mean, const float *inv_std, const float *gamma,
                             const float *dy, float *dx, bool add, float *dgamma, float *dbeta);
  /* The same in two, as above. */
  void (*layernorm_backward_weights)(const struct ops *, size_t rows, unsigned c, unsigned first,
                                     unsigned count, const float *x, const float *mean,
                                     const float *inv_std, const float *dy, float *dgamma,
                                     float *dbeta);
  void (*layernorm_backward_data)(const struct ops *, size_t rows, unsigned c, const float *x,
                                  const float *mean, const float *inv_std, const float *gamma,
                                  const float *dy, float *dx, bool add);

  /* qkv [n][tokens][3][heads][size] -> y [n][queries][heads][size], scores scaled by
   * 1/sqrt(size); log_sum [n][heads][queries] for the backward pass (NULL: not wanted) */
  size_t (*attention_scratch)(const struct ops *, const struct ops_attention *);
  void (*attention_forward)(const struct ops *, const struct ops_attention *, unsigned n,
                            const float *qkv, float *y, float *log_sum, float *scratch);
  void (*attention_backward)(const struct ops *, const struct ops_attention *, unsigned n,
                             const float *qkv, const float *y, const float *log_sum,
                             const float *dy, float *dqkv, float *scratch);

  /* x [n][tokens - 1][c], token [c], positions [tokens][c] -> y [n][tokens][c]: the token, then
   * x, and positions added.  Back: dx set or added to, dtoken, dpositions. */
  void (*class_token_forward)(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                              const float *x, const float *token, const float *positions, float *y);
  void (*class_token_backward)(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                               const float *dy, float *dx, bool add, float *dtoken,
                               float *dpositions);
  /* x [n][tokens][c] -> y [n][c], each sample's first token; and back: dx set or added to */
  void (*first_token_forward)(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                              const float *x, float *y);
  void (*first_token_backward)(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                               const float *dy, float *dx, bool add);

  /* ids [n][tokens] (whole numbers), words [vocabulary][c], positions [tokens][c]
   * -> y [n][tokens][c], their sum.  Back: dwords is added to, dpositions set. */
  void (*embedding_forward)(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                            const float *ids, const float *words, const float *positions, float *y);
  void (*embedding_backward)(const struct ops *, unsigned n, unsigned tokens, unsigned c,
                             const float *ids, const float *dy, float *dwords, float *dpositions);

  /* Rows of logits become scale * their cross-entropy's gradient; losses [rows]. */
  void (*softmax_rows)(const struct ops *, size_t rows, unsigned classes, float scale,
                       const int32_t *labels, float *logits, double *losses);
  /* Mean cross-entropy of softmax(x w), labels [rows], and its gradients dx, dw: all logits
   * are never there at one time. */
  size_t (*token_loss_scratch)(const struct ops *, size_t rows, const struct ops_dense *);
  float (*token_loss)(const struct ops *, const struct ops_dense *, size_t rows, const float *x,
                      const float *w, const int32_t *labels, float *dx, float *dw, float *scratch);
};

/* The CPU's table for the best instruction set that it has; the environment
 * variable MERGESCAPE_ISA (baseline, avx2, avx512) asks for a lesser one. */
const struct ops *ops_cpu(void);
/* For one instruction set; NULL: unknown, or not of this machine. */
const struct ops *ops_cpu_isa(const char *isa);

#endif
