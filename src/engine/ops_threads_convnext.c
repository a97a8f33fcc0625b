/* What ConvNeXt needs, in parts: samples or channels of depthwise convolutions, rows or outputs
 * of scaled dense layers. */
#include "engine/ops_threads_int.h"

/* Channels at a time, cache lines and whole vectors; rows and outputs as dense layers have them. */
enum { CHANNELS = 16, ROWS = 24, OUTPUTS = 64, TAPS = OPS_DEPTHWISE_SIDE * OPS_DEPTHWISE_SIDE };

typedef void run_part(const struct ops *, const void *, const struct part *);

/* ---- depthwise convolution ---- */

struct depthwise {
  const struct ops_depthwise *d;
  unsigned n, first; /* samples; the first channel */
  const float *x, *w, *bias, *dy;
  float *out, *dw, *dbias; /* out: y or dx */
  bool add;
};

static size_t depthwise_scratch(const struct ops *ops, const struct ops_depthwise *d)
{
  const struct threaded *t = threaded_of(ops);
  return t->threads * split_align(t->base->depthwise_scratch(t->base, d));
}

static void run_depthwise(const struct ops *ops, const struct depthwise *j, size_t total,
                          size_t grain, run_part *run, float *scratch)
{
  const struct threaded *t = threaded_of(ops);
  const size_t pixels = (size_t)j->d->h * j->d->w;
  split_run(
      t, &(struct split){.run = run,
                         .args = j,
                         .total = total,
                         .grain = grain,
                         .work = (double)j->n * pixels * j->d->c * TAPS,
                         .scratch = scratch,
                         .scratch_part = split_align(t->base->depthwise_scratch(t->base, j->d))});
}

static void depthwise_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct depthwise *j = args;
  const size_t at = p->first * j->d->h * j->d->w * j->d->c;
  base->depthwise_forward(base, j->d, (unsigned)p->count, j->x + at, j->w, j->bias, j->out + at,
                          p->scratch);
}

static void depthwise_forward(const struct ops *ops, const struct ops_depthwise *d, unsigned n,
                              const float *x, const float *w, const float *bias, float *y,
                              float *scratch)
{
  const struct depthwise j = {.d = d, .n = n, .x = x, .w = w, .bias = bias, .out = y};
  run_depthwise(ops, &j, n, 1, depthwise_forward_part, scratch);
}

static void depthwise_data_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct depthwise *j = args;
  const size_t at = p->first * j->d->h * j->d->w * j->d->c;
  base->depthwise_backward_data(base, j->d, (unsigned)p->count, j->dy + at, j->w, j->out + at,
                                j->add, p->scratch);
}

static void depthwise_backward_data(const struct ops *ops, const struct ops_depthwise *d,
                                    unsigned n, const float *dy, const float *w, float *dx,
                                    bool add, float *scratch)
{
  const struct depthwise j = {.d = d, .n = n, .w = w, .dy = dy, .out = dx, .add = add};
  run_depthwise(ops, &j, n, 1, depthwise_data_part, scratch);
}

static void depthwise_weights_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct depthwise *j = args;
  base->depthwise_backward_weights(base, j->d, j->n, j->first + (unsigned)p->first,
                                   (unsigned)p->count, j->x, j->dy, j->dw, j->dbias, p->scratch);
}

static void depthwise_backward_weights(const struct ops *ops, const struct ops_depthwise *d,
                                       unsigned n, unsigned first, unsigned count, const float *x,
                                       const float *dy, float *dw, float *dbias, float *scratch)
{
  const struct depthwise j = {
      .d = d, .n = n, .first = first, .x = x, .dy = dy, .dw = dw, .dbias = dbias};
  run_depthwise(ops, &j, count, CHANNELS, depthwise_weights_part, scratch);
}

/* ---- dense layers with layer scale ---- */

struct scaled {
  const struct ops_dense *d;
  size_t rows;
  unsigned first; /* output */
  const float *x, *w, *bias, *scale, *residual, *dy;
  float *out, *dy_read, *dw, *dbias, *dscale; /* out: y or dx */
  bool add;
};

static size_t scaled_scratch(const struct ops *ops, const struct ops_dense *d)
{
  const struct threaded *t = threaded_of(ops);
  return t->threads * split_align(t->base->scaled_scratch(t->base, d));
}

static void run_scaled(const struct ops *ops, const struct scaled *j, size_t total, size_t grain,
                       run_part *run, float *scratch)
{
  const struct threaded *t = threaded_of(ops);
  split_run(t,
            &(struct split){.run = run,
                            .args = j,
                            .total = total,
                            .grain = grain,
                            .work = (double)j->rows * j->d->in * j->d->out,
                            .scratch = scratch,
                            .scratch_part = split_align(t->base->scaled_scratch(t->base, j->d))});
}

static void scaled_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct scaled *j = args;
  const size_t at = p->first * j->d->out;
  base->scaled_forward(base, j->d, p->count, j->x + p->first * j->d->in, j->w, j->bias, j->scale,
                       j->residual + at, j->out + at, p->scratch);
}

static void scaled_forward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                           const float *x, const float *w, const float *bias, const float *scale,
                           const float *residual, float *y, float *scratch)
{
  const struct scaled j = {.d = d,
                           .rows = rows,
                           .x = x,
                           .w = w,
                           .bias = bias,
                           .scale = scale,
                           .residual = residual,
                           .out = y};
  run_scaled(ops, &j, rows, ROWS, scaled_forward_part, scratch);
}

static void scaled_weights_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct scaled *j = args;
  base->scaled_backward_weights(base, j->d, j->rows, j->first + (unsigned)p->first,
                                (unsigned)p->count, j->x, j->w, j->bias, j->scale, j->dy_read,
                                j->dw, j->dbias, j->dscale, p->scratch);
}

static void scaled_backward_weights(const struct ops *ops, const struct ops_dense *d, size_t rows,
                                    unsigned first, unsigned count, const float *x, const float *w,
                                    const float *bias, const float *scale, float *dy, float *dw,
                                    float *dbias, float *dscale, float *scratch)
{
  const struct scaled j = {.d = d,
                           .rows = rows,
                           .first = first,
                           .x = x,
                           .w = w,
                           .bias = bias,
                           .scale = scale,
                           .dy_read = dy,
                           .dw = dw,
                           .dbias = dbias,
                           .dscale = dscale};
  run_scaled(ops, &j, count, OUTPUTS, scaled_weights_part, scratch);
}

static void scaled_data_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct scaled *j = args;
  base->scaled_backward_data(base, j->d, p->count, j->w, j->scale, j->dy + p->first * j->d->out,
                             j->out + p->first * j->d->in, j->add, p->scratch);
}

static void scaled_backward_data(const struct ops *ops, const struct ops_dense *d, size_t rows,
                                 const float *w, const float *scale, const float *dy, float *dx,
                                 bool add, float *scratch)
{
  const struct scaled j = {
      .d = d, .rows = rows, .w = w, .scale = scale, .dy = dy, .out = dx, .add = add};
  run_scaled(ops, &j, rows, ROWS, scaled_data_part, scratch);
}

void ops_threads_convnext(struct ops *ops)
{
  ops->depthwise_scratch = depthwise_scratch;
  ops->depthwise_forward = depthwise_forward;
  ops->depthwise_backward_data = depthwise_backward_data;
  ops->depthwise_backward_weights = depthwise_backward_weights;
  ops->scaled_scratch = scaled_scratch;
  ops->scaled_forward = scaled_forward;
  ops->scaled_backward_weights = scaled_backward_weights;
  ops->scaled_backward_data = scaled_backward_data;
}
