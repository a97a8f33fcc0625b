/* The CPU backend's inner loops.  One source (kernels_*.c), compiled once an
 * instruction set; each gives one table.
 *
 * A convolution works on a "grid": a zero-padded copy of one sample's input,
 * channels in blocks of 16, and, for stride s, columns sorted by their rest
 * modulo s: [block][row][phase][column][16].  In a grid, the inputs of
 * neighbouring output pixels always lie 16 floats apart, so that every
 * convolution (any stride, forward and with respect to the input) is the same
 * loop: a row of pixels times one or two vectors of output channels in
 * registers, over a list of segments (a tap and a block of channels).
 *
 * Output channels ("lanes") come in blocks of one or two vectors.  A last block
 * that fills at most half a vector of 16 is a "half" block: the even lanes take
 * the even input channels and the odd lanes the odd ones, added at the end, so
 * that narrow layers use the whole vector too. */
#ifndef MERGESCAPE_ENGINE_KERNELS_H
#define MERGESCAPE_ENGINE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KERNEL_BLOCK = 16, KERNEL_MAX_VECTORS = 2 };

struct kernel_grid {
  unsigned rows, cols, phases; /* columns a phase */
  unsigned top, left;          /* padding */
  unsigned channels, blocks;
  size_t x_pixel; /* floats between pixels of what is filled in */
};

struct kernel_segment {
  size_t offset;     /* floats in the grid, from output pixel (0, 0) */
  unsigned channels; /* 1..16 */
};

enum kernel_form { KERNEL_ONE, KERNEL_TWO, KERNEL_HALF, KERNEL_FORMS };

/* One sample, one block of output channels. */
struct kernel_conv {
  enum kernel_form form;
  const float *x; /* grid */
  size_t x_row;   /* floats between output rows */
  const struct kernel_segment *segments;
  size_t n_segments;
  /* By segment [channels][vectors * lanes]; half: [(channels + 1) / 2][lanes], lane
   * 2 * out + parity. */
  const float *w;
  float *y; /* first channel of the block in output pixel (0, 0) */
  size_t y_row, y_pixel;
  unsigned rows, cols;
  unsigned channels; /* of the block that exist: the rest is not stored */
  bool add;
};

/* Weight gradient: a number of taps (1 or 3 neighbours) and channels, one block. */
struct kernel_wgrad {
  enum kernel_form form;
  unsigned taps, channels; /* half: pairs of channels */
  const float *x;          /* grid, at the tap and channel, of the first sample */
  size_t x_row, x_sample;
  const float *dy; /* half: every value twice */
  size_t dy_row, dy_sample, dy_pixel;
  unsigned samples, rows, cols;
  float *dw; /* as packed weights; added to */
};

/* Passes over [rows][c] with per-channel vectors. */
struct kernel_norm {
  size_t rows;
  unsigned c;
  size_t x_row, y_row; /* floats between rows: of x and dx; of y, dy and the residual */
  const float *x;
  const float *a, *b, *s; /* [c] */
};

enum { KERNEL_DEPTHWISE_SIDE = 7 };

/* Depthwise convolution of one sample [h][w][c], padding 3.  Weights lie by blocks of `lanes`
 * channels, [7][7][lanes], zeros behind the last channel. */
struct kernel_depthwise {
  unsigned h, w, c;
  const float *x, *weights;
  const float *bias; /* [c], or NULL */
  float *y;
  bool add;
};

/* Its weight gradient, of some channels: some rows of dy, of a number of samples. */
struct kernel_depthwise_grad {
  unsigned samples, h, w, channels;
  unsigned pixel; /* floats from one pixel to the next */
  unsigned row, rows;
  const float *x, *dy;
  float *dw, *dbias; /* as weights, [channels]; added to */
};

struct ops_adamw; /* ops.h */
struct kernels_token;
struct kernels_winograd;

struct kernels {
  const char *isa;
  const struct kernels_token *token; /* of transformers, kernels_token.h */
  const struct kernels_winograd *winograd;
  unsigned lanes;
  bool half;                             /* are there half blocks? */
  unsigned wgrad_channels[KERNEL_FORMS]; /* most channels (half: pairs) a call, one tap */
  unsigned wgrad_near[KERNEL_FORMS];     /* the same with three taps */

  /* x [h][w][c] into a zeroed grid; what doesn't fit below or right is left out. */
  void (*fill)(const struct kernel_grid *, unsigned h, unsigned w, const float *x, float *grid);
  /* A half block's dy: every channel twice, zeros behind, in rows of `width`. */
  void (*pairs)(size_t pixels, unsigned channels, const float *from, size_t stride, float *to,
                size_t width);
  void (*conv)(const struct kernel_conv *);
  void (*wgrad)(const struct kernel_wgrad *);

  /* sum[c] += x - a, square[c] += (x - a)^2 */
  void (*norm_sums)(const struct kernel_norm *, double *sum, double *square);
  /* y = relu(x * a + b + residual) */
  void (*norm_apply)(const struct kernel_norm *, const float *residual, bool relu, float *y);
  /* Masks dy by y > 0 where y is given; sum[c] += dy, product[c] += dy * (x - a) */
  void (*norm_grad_sums)(const struct kernel_norm *, const float *y, float *dy, double *sum,
                         double *product);
  /* dx = dy * a + x * b + s, set or added to */
  void (*norm_grad)(const struct kernel_norm *, const float *dy, bool add, float *dx);

  void (*depthwise)(const struct kernel_depthwise *);
  void (*depthwise_grad)(const struct kernel_depthwise_grad *);

  /* y = max(0, y + bias) or without max; [rows][c] */
  void (*bias)(size_t rows, unsigned c, const float *bias, bool relu, float *y);
  /* dy = 0 where y = 0 */
  void (*mask)(size_t n, const float *y, float *dy);
  void (*sgd)(size_t n, float lr, float momentum, float weight_decay, float *w, float *v,
              const float *grad);
  void (*adamw)(const struct ops_adamw *, size_t n, float *w, float *m, float *v,
                const float *grad);
};

extern const struct kernels kernels_baseline;
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;

#endif
