/* Dense layers for the CPU: with our own kernels, for OpenBLAS has chosen those of a lesser
 * instruction set on many machines, cannot fuse what comes behind, and need not give a row the
 * same bits beside other rows. */
#include "engine/kernels_token.h"
#include "engine/ops_int.h"

#include <assert.h>
#include <string.h>

/* b is packed in pieces that stay in the second-level cache; the rows of a and c go by in
 * blocks, so that what is fused behind finds them there. */
enum { PIECE_K = 256, PIECE_N = 1024, SLACK = 16, ROW_BLOCK = 512, STRETCH = 64 };

size_t cpu_gemm_scratch(void)
{
  return (size_t)PIECE_K * (PIECE_N + SLACK);
}

void cpu_gemm(const struct ops *ops, const struct cpu_gemm *g, float *scratch)
{
  const struct kernels_token *kernels = ops->kernels->token;
  for (unsigned j = 0; j < g->n; j += PIECE_N) {
    const unsigned n = g->n - j < PIECE_N ? g->n - j : PIECE_N;
    for (unsigned k = 0; k < g->k; k += PIECE_K) {
      const unsigned steps = g->k - k < PIECE_K ? g->k - k : PIECE_K;
      kernels->gemm_pack(n, steps, g->b + k * g->b_row + j * g->b_column, g->b_row, g->b_column,
                         scratch);
      const struct kernel_gemm job = {.m = g->m,
                                      .n = n,
                                      .k = steps,
                                      .a = g->a + k * g->a_step,
                                      .a_row = g->a_row,
                                      .a_step = g->a_step,
                                      .b = scratch,
                                      .packed_k = steps,
                                      .c = g->c + j,
                                      .c_row = g->c_row,
                                      .add = g->add || k};
      kernels->gemm(&job);
    }
  }
}

static enum kernel_act kernel_act(enum ops_act act)
{
  switch (act) {
  case OPS_GELU_TANH:
    return KERNEL_GELU_TANH;
  case OPS_GELU:
    return KERNEL_GELU;
  case OPS_QUICK_GELU:
    return KERNEL_QUICK_GELU;
  case OPS_RELU:
    return KERNEL_RELU;
  case OPS_IDENTITY:
    break;
  }
  return KERNEL_IDENTITY;
}

size_t cpu_dense_scratch(const struct ops *ops, const struct ops_dense *d)
{
  (void)ops;
  (void)d;
  return cpu_gemm_scratch();
}

void cpu_dense_product(const struct ops *ops, const struct ops_dense *d, unsigned rows,
                       const float *x, const float *w, float *y, float *scratch)
{
  const struct cpu_gemm g = {.m = rows,
                             .n = d->out,
                             .k = d->in,
                             .a = x,
                             .a_row = d->in,
                             .a_step = 1,
                             .b = w,
                             .b_row = d->in_first ? d->out : 1,
                             .b_column = d->in_first ? 1 : d->in,
                             .c = y,
                             .c_row = d->out};
  cpu_gemm(ops, &g, scratch);
}

void cpu_dense_forward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                       const float *x, const float *w, const float *bias, const float *residual,
                       float *y, float *slope, float *scratch)
{
  const struct kernels_token *kernels = ops->kernels->token;
  const unsigned out = d->out;
  assert(bias || (!residual && d->act == OPS_IDENTITY));
  for (size_t r = 0; r < rows; r += ROW_BLOCK) {
    const unsigned m = (unsigned)(rows - r < ROW_BLOCK ? rows - r : ROW_BLOCK);
    float *to = y + r * out;
    cpu_dense_product(ops, d, m, x + r * d->in, w, to, scratch);
    if (residual)
      kernels->add_rows(m, out, bias, residual + r * out, to);
    else if (bias)
      kernels->act(m, out, bias, kernel_act(d->act), to, slope ? slope + r * out : NULL);
  }
}

/* Of `count` outputs from `first` on. */
static void some_weights(const struct ops *ops, const struct ops_dense *d, unsigned first,
                         unsigned count, unsigned rows, const float *x, const float *dy, float *dw,
                         bool add, float *scratch)
{
  const unsigned in = d->in, out = d->out;
  struct cpu_gemm g = {.k = rows, .a_row = 1, .b_column = 1, .add = add};
  if (d->in_first) { /* dw [in][out] = x' dy */
    g.m = in;
    g.n = count;
    g.a = x;
    g.b = dy + first;
    g.c = dw + first;
  } else { /* dw [out][in] = dy' x */
    g.m = count;
    g.n = in;
    g.a = dy + first;
    g.b = x;
    g.c = dw + (size_t)first * in;
  }
  g.a_step = d->in_first ? in : out;
  g.b_row = g.c_row = d->in_first ? out : in;
  cpu_gemm(ops, &g, scratch);
}

void cpu_dense_weights(const struct ops *ops, const struct ops_dense *d, unsigned rows,
                       const float *x, const float *dy, float *dw, bool add, float *scratch)
{
  some_weights(ops, d, 0, d->out, rows, x, dy, dw, add, scratch);
}

void cpu_dense_data(const struct ops *ops, const struct ops_dense *d, unsigned rows, const float *w,
                    const float *dy, float *dx, bool add, float *scratch)
{
  const unsigned in = d->in, out = d->out;
  const struct cpu_gemm g = {.m = rows,
                             .n = in,
                             .k = out,
                             .a = dy,
                             .a_row = out,
                             .a_step = 1,
                             .b = w,
                             .b_row = d->in_first ? 1 : in,
                             .b_column = d->in_first ? out : 1,
                             .c = dx,
                             .c_row = in,
                             .add = add};
  cpu_gemm(ops, &g, scratch);
}

/* Multiplies some outputs' dy by the slope and adds them up. */
static void bend(const struct ops *ops, const struct ops_dense *d, unsigned first, unsigned count,
                 unsigned rows, const float *slope, float *dy, float *dbias)
{
  for (unsigned k = 0; k < rows; k += STRETCH) {
    const size_t at = (size_t)k * d->out + first;
    ops->kernels->token->slope(rows - k < STRETCH ? rows - k : STRETCH, count, d->out,
                               slope ? slope + at : NULL, dy + at, dbias + first);
  }
}

void cpu_dense_backward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                        const float *x, const float *w, const float *slope, float *dy, float *dx,
                        bool add, float *dw, float *dbias, float *scratch)
{
  const unsigned in = d->in, out = d->out;
  assert(dbias || !slope);
  if (dbias)
    memset(dbias, 0, out * sizeof *dbias);
  for (size_t r = 0; r < rows; r += PIECE_K) {
    const unsigned m = (unsigned)(rows - r < PIECE_K ? rows - r : PIECE_K);
    float *from = dy + r * out;
    if (dbias)
      bend(ops, d, 0, out, m, slope ? slope + r * out : NULL, from, dbias);
    cpu_dense_weights(ops, d, m, x + r * in, from, dw, r > 0, scratch);
    if (dx)
      cpu_dense_data(ops, d, m, w, from, dx + r * in, add, scratch);
  }
}

void cpu_dense_backward_weights(const struct ops *ops, const struct ops_dense *d, size_t rows,
                                unsigned first, unsigned count, const float *x, const float *slope,
                                float *dy, bool add, float *dw, float *dbias, float *scratch)
{
  const unsigned out = d->out;
  assert(dbias || !slope);
  if (dbias)
    memset(dbias + first, 0, count * sizeof *dbias);
  for (size_t r = 0; r < rows; r += PIECE_K) {
    const unsigned m = (unsigned)(rows - r < PIECE_K ? rows - r : PIECE_K);
    if (dbias)
      bend(ops, d, first, count, m, slope ? slope + r * out : NULL, dy + r * out, dbias);
    some_weights(ops, d, first, count, m, x + r * d->in, dy + r * out, dw, add || r, scratch);
  }
}

void cpu_dense_backward_data(const struct ops *ops, const struct ops_dense *d, size_t rows,
                             const float *w, const float *dy, float *dx, bool add, float *scratch)
{
  for (size_t r = 0; r < rows; r += ROW_BLOCK) {
    const unsigned m = (unsigned)(rows - r < ROW_BLOCK ? rows - r : ROW_BLOCK);
    cpu_dense_data(ops, d, m, w, dy + r * d->out, dx + r * d->in, add, scratch);
  }
}
