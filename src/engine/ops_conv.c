/* Convolutions for the CPU: which way a shape goes.
 *
 * The number of samples has no say, nor in the weights' gradient that of output channels: so
 * a call split into parts has the whole's bits. */
#include "engine/ops_int.h"

/* A 1x1 convolution is a product over pixels, and needs no padded copy. */
static bool is_product(const struct ops_conv *c)
{
  return c->k == 1 && c->stride == 1 && c->pad == 0;
}

/* With fewer input channels, packing them costs more than a padded copy. */
enum { PRODUCT_CHANNELS = 40 };

static unsigned pixels(const struct ops_conv *c, unsigned n)
{
  return n * c->h * c->w;
}

void cpu_conv_forward(const struct ops *ops, const struct ops_conv *c, unsigned n, const float *x,
                      const float *w, float *y, float *scratch)
{
  if (is_product(c))
    cpu_gemm(ops,
             &(struct cpu_gemm){.m = pixels(c, n),
                                .n = c->co,
                                .k = c->ci,
                                .a = x,
                                .a_row = c->ci,
                                .a_step = 1,
                                .b = w,
                                .b_row = 1,
                                .b_column = c->ci,
                                .c = y,
                                .c_row = ops_conv_y_pixel(c)},
             scratch);
  else if (cpu_winograd_fits(c))
    cpu_winograd_forward(ops, c, n, x, w, y, scratch);
  else
    cpu_direct_forward(ops, c, n, x, w, y, scratch);
}

void cpu_conv_backward_data(const struct ops *ops, const struct ops_conv *c, unsigned n,
                            const float *dy, const float *w, float *dx, bool add, float *scratch)
{
  if (is_product(c))
    cpu_gemm(ops,
             &(struct cpu_gemm){.m = pixels(c, n),
                                .n = c->ci,
                                .k = c->co,
                                .a = dy,
                                .a_row = ops_conv_y_pixel(c),
                                .a_step = 1,
                                .b = w,
                                .b_row = c->ci,
                                .b_column = 1,
                                .c = dx,
                                .c_row = c->ci,
                                .add = add},
             scratch);
  else if (cpu_winograd_fits(c))
    cpu_winograd_backward_data(ops, c, n, dy, w, dx, add, scratch);
  else
    cpu_direct_backward_data(ops, c, n, dy, w, dx, add, scratch);
}

void cpu_conv_backward_weights(const struct ops *ops, const struct ops_conv *c, unsigned n,
                               const float *x, const float *dy, float *dw, float *scratch)
{
  if (is_product(c) && c->ci >= PRODUCT_CHANNELS)
    cpu_gemm(ops,
             &(struct cpu_gemm){.m = c->co,
                                .n = c->ci,
                                .k = pixels(c, n),
                                .a = dy,
                                .a_row = 1,
                                .a_step = ops_conv_y_pixel(c),
                                .b = x,
                                .b_row = c->ci,
                                .b_column = 1,
                                .c = dw,
                                .c_row = c->ci},
             scratch);
  else if (cpu_winograd_fits_weights(c))
    cpu_winograd_backward_weights(ops, c, n, x, dy, dw, scratch);
  else
    cpu_direct_backward_weights(ops, c, n, x, dy, dw, scratch);
}

size_t cpu_conv_scratch(const struct ops *ops, const struct ops_conv *c, unsigned n)
{
  const bool tiles = cpu_winograd_fits(c) || cpu_winograd_fits_weights(c);
  const size_t direct = cpu_direct_scratch(ops, c, n);
  const size_t other = is_product(c) ? cpu_gemm_scratch()
                       : tiles       ? cpu_winograd_scratch(ops, c, n)
                                     : 0;
  return direct > other ? direct : other;
}
