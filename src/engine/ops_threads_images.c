/* Convolutions, batch norm and pooling in parts. */
#include "engine/ops_threads_int.h"

/* Channels at a time: whole blocks of output channels, cache lines and vectors. */
enum { CONV_CHANNELS = 32, NORM_CHANNELS = 16, NORM_ROWS = 16 };

/* ---- convolutions and windows ---- */

struct images {
  const struct ops_conv *c;
  unsigned n; /* samples */
  const float *x, *w;
  float *y;
  const float *dy;
  float *dx, *dw;
  bool add;
};

static size_t x_sample(const struct ops_conv *c)
{
  return (size_t)c->h * c->w * c->ci;
}

static size_t y_sample(const struct ops_conv *c)
{
  return (size_t)ops_conv_out(c, c->h) * ops_conv_out(c, c->w) * ops_conv_y_pixel(c);
}

/* A convolution with the output channels of the part alone. */
static struct ops_conv of_channels(const struct ops_conv *c, const struct part *p)
{
  struct ops_conv some = *c;
  some.co = (unsigned)p->count;
  some.y_pixel = ops_conv_y_pixel(c);
  return some;
}

/* For any part of a call: a part's scratch memory need not grow with it. */
static size_t part_scratch(const struct threaded *t, const struct ops_conv *c, unsigned n)
{
  const struct ops *base = t->base;
  const unsigned samples = split_parts(t, n, 1), channels = split_parts(t, c->co, CONV_CHANNELS);
  size_t most = base->conv_scratch(base, c, (n + samples - 1) / samples);
  for (unsigned k = 0; k < channels; k++) {
    const struct part p = split_part(c->co, CONV_CHANNELS, channels, k);
    const struct ops_conv some = of_channels(c, &p);
    const size_t need = base->conv_scratch(base, &some, n);
    most = need > most ? need : most;
  }
  return split_align(most);
}

static size_t conv_scratch(const struct ops *ops, const struct ops_conv *c, unsigned n)
{
  const struct threaded *t = threaded_of(ops);
  const size_t one = t->base->conv_scratch(t->base, c, n);
  const size_t parts = t->threads * part_scratch(t, c, n);
  return one > parts ? one : parts;
}

static double conv_work(const struct ops_conv *c, unsigned n)
{
  return (double)n * ops_conv_out(c, c->h) * ops_conv_out(c, c->w) * c->co * c->ci * c->k * c->k;
}

/* Does making weights ready take longer than making the samples ready?  Each part does the one
 * for itself, and has its own of the other: a weight takes about as long as 32 / k^2 pixels. */
static bool is_deep(const struct ops_conv *c, unsigned n)
{
  return 32.0 * c->co > (double)n * c->h * c->w;
}

static void run_conv(const struct ops *ops, const struct images *i, size_t total, size_t grain,
                     void (*run)(const struct ops *, const void *, const struct part *),
                     float *scratch)
{
  const struct threaded *t = threaded_of(ops);
  split_run(t, &(struct split){.run = run,
                               .args = i,
                               .total = total,
                               .grain = grain,
                               .work = conv_work(i->c, i->n),
                               .scratch = scratch,
                               .scratch_part = part_scratch(t, i->c, i->n)});
}

static void conv_forward_channels(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  const struct ops_conv some = of_channels(i->c, p);
  base->conv_forward(base, &some, i->n, i->x, i->w + p->first * i->c->ci * i->c->k * i->c->k,
                     i->y + p->first, p->scratch);
}

static void conv_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  base->conv_forward(base, i->c, (unsigned)p->count, i->x + p->first * x_sample(i->c), i->w,
                     i->y + p->first * y_sample(i->c), p->scratch);
}

static void conv_forward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                         const float *x, const float *w, float *y, float *scratch)
{
  const struct images i = {.c = c, .n = n, .x = x, .w = w, .y = y};
  if (c->co >= CONV_CHANNELS * threaded_of(ops)->threads && is_deep(c, n))
    run_conv(ops, &i, c->co, CONV_CHANNELS, conv_forward_channels, scratch);
  else
    run_conv(ops, &i, n, 1, conv_forward_part, scratch);
}

static void conv_data_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  base->conv_backward_data(base, i->c, (unsigned)p->count, i->dy + p->first * y_sample(i->c), i->w,
                           i->dx + p->first * x_sample(i->c), i->add, p->scratch);
}

static void conv_backward_data(const struct ops *ops, const struct ops_conv *c, unsigned n,
                               const float *dy, const float *w, float *dx, bool add, float *scratch)
{
  const struct images i = {.c = c, .n = n, .w = w, .dy = dy, .dx = dx, .add = add};
  run_conv(ops, &i, n, 1, conv_data_part, scratch);
}

static void conv_weights_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  const struct ops_conv some = of_channels(i->c, p);
  base->conv_backward_weights(base, &some, i->n, i->x, i->dy + p->first,
                              i->dw + p->first * i->c->ci * i->c->k * i->c->k, p->scratch);
}

/* A weight's gradient is a sum over all samples: parts are output channels. */
static void conv_backward_weights(const struct ops *ops, const struct ops_conv *c, unsigned n,
                                  const float *x, const float *dy, float *dw, float *scratch)
{
  const struct images i = {.c = c, .n = n, .x = x, .dy = dy, .dw = dw};
  run_conv(ops, &i, c->co, CONV_CHANNELS, conv_weights_part, scratch);
}

/* Pooling: by samples, each of which is read or written about once. */
static void run_windows(const struct ops *ops, const struct images *i,
                        void (*run)(const struct ops *, const void *, const struct part *))
{
  split_run(threaded_of(ops),
            &(struct split){.run = run,
                            .args = i,
                            .total = i->n,
                            .grain = 1,
                            .work = (double)i->n * x_sample(i->c) * SPLIT_PASS * 2});
}

static void average_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  base->average_forward(base, i->c, (unsigned)p->count, i->x + p->first * x_sample(i->c),
                        i->y + p->first * y_sample(i->c));
}

static void average_forward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                            const float *x, float *y)
{
  run_windows(ops, &(struct images){.c = c, .n = n, .x = x, .y = y}, average_forward_part);
}

static void average_backward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  base->average_backward(base, i->c, (unsigned)p->count, i->dy + p->first * y_sample(i->c),
                         i->dx + p->first * x_sample(i->c), i->add);
}

static void average_backward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                             const float *dy, float *dx, bool add)
{
  run_windows(ops, &(struct images){.c = c, .n = n, .dy = dy, .dx = dx, .add = add},
              average_backward_part);
}

static void max_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  base->max_forward(base, i->c, (unsigned)p->count, i->x + p->first * x_sample(i->c),
                    i->y + p->first * y_sample(i->c));
}

static void max_forward(const struct ops *ops, const struct ops_conv *c, unsigned n, const float *x,
                        float *y)
{
  run_windows(ops, &(struct images){.c = c, .n = n, .x = x, .y = y}, max_forward_part);
}

static void max_backward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct images *i = args;
  base->max_backward(base, i->c, (unsigned)p->count, i->x + p->first * x_sample(i->c),
                     i->dy + p->first * y_sample(i->c), i->dx + p->first * x_sample(i->c), i->add);
}

static void max_backward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                         const float *x, const float *dy, float *dx, bool add)
{
  run_windows(ops, &(struct images){.c = c, .n = n, .x = x, .dy = dy, .dx = dx, .add = add},
              max_backward_part);
}

/* ---- the mean over pixels ---- */

struct pool {
  unsigned pixels, c;
  const float *from;
  float *to;
  bool add;
};

static void pool_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct pool *q = args;
  base->pool_forward(base, (unsigned)p->count, q->pixels, q->c,
                     q->from + p->first * q->pixels * q->c, q->to + p->first * q->c);
}

static void pool_backward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct pool *q = args;
  base->pool_backward(base, (unsigned)p->count, q->pixels, q->c, q->from + p->first * q->c,
                      q->to + p->first * q->pixels * q->c, q->add);
}

static void run_pool(const struct ops *ops, unsigned n, const struct pool *q,
                     void (*run)(const struct ops *, const void *, const struct part *))
{
  split_run(threaded_of(ops), &(struct split){.run = run,
                                              .args = q,
                                              .total = n,
                                              .grain = 1,
                                              .work = (double)n * q->pixels * q->c * SPLIT_PASS});
}

static void pool_forward(const struct ops *ops, unsigned n, unsigned pixels, unsigned c,
                         const float *x, float *y)
{
  run_pool(ops, n, &(struct pool){.pixels = pixels, .c = c, .from = x, .to = y}, pool_forward_part);
}

static void pool_backward(const struct ops *ops, unsigned n, unsigned pixels, unsigned c,
                          const float *dy, float *dx, bool add)
{
  run_pool(ops, n, &(struct pool){pixels, c, dy, dx, add}, pool_backward_part);
}

/* ---- batch norm ---- */

struct norm {
  const struct ops_rows *rows;
  const float *x, *y;
  bool relu, add;
  float *mean, *var; /* statistics */
  const float *scale, *shift, *residual;
  float *out;
  const float *moments[2], *gamma; /* backward: mean and inv_std */
  float *dy, *dx, *dgamma, *dbeta;
};

static struct ops_rows norm_channels(const struct ops_rows *r, const struct part *p)
{
  struct ops_rows some = *r;
  some.c = (unsigned)p->count;
  return some;
}

static void statistics_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct norm *j = args;
  const struct ops_rows some = norm_channels(j->rows, p);
  base->norm_statistics(base, &some, j->x + p->first, j->mean + p->first, j->var + p->first);
}

static void apply_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct norm *j = args;
  struct ops_rows some = *j->rows;
  const size_t x = p->first * some.x_row, y = p->first * some.y_row;
  some.rows = p->count;
  base->norm_apply(base, &some, j->x + x, j->scale, j->shift, j->residual ? j->residual + y : NULL,
                   j->relu, j->out + y);
}

static void backward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct norm *j = args;
  const size_t at = p->first;
  const struct ops_rows some = norm_channels(j->rows, p);
  base->norm_backward(base, &some, j->x + at, j->relu ? j->y + at : j->y, j->relu,
                      j->moments[0] + at, j->moments[1] + at, j->gamma + at, j->dy + at,
                      j->dx ? j->dx + at : NULL, j->add, j->dgamma + at, j->dbeta + at);
}

static double pass(const struct ops_rows *r, unsigned times)
{
  return (double)r->rows * r->c * SPLIT_PASS * times;
}

/* Sums go over the rows: parts are channels. */
static void norm_statistics(const struct ops *ops, const struct ops_rows *r, const float *x,
                            float *mean, float *var)
{
  const struct norm j = {.rows = r, .x = x, .mean = mean, .var = var};
  split_run(threaded_of(ops), &(struct split){.run = statistics_part,
                                              .args = &j,
                                              .total = r->c,
                                              .grain = NORM_CHANNELS,
                                              .work = pass(r, 1)});
}

/* A grain of rows is whole vectors, however few channels there are. */
static void norm_apply(const struct ops *ops, const struct ops_rows *r, const float *x,
                       const float *scale, const float *shift, const float *residual, bool relu,
                       float *y)
{
  const struct norm j = {.rows = r,
                         .x = x,
                         .scale = scale,
                         .shift = shift,
                         .residual = residual,
                         .relu = relu,
                         .out = y};
  split_run(
      threaded_of(ops),
      &(struct split){
          .run = apply_part, .args = &j, .total = r->rows, .grain = NORM_ROWS, .work = pass(r, 2)});
}

static void norm_backward(const struct ops *ops, const struct ops_rows *r, const float *x,
                          const float *y, bool relu, const float *mean, const float *inv_std,
                          const float *gamma, float *dy, float *dx, bool add, float *dgamma,
                          float *dbeta)
{
  const struct norm j = {.rows = r,
                         .x = x,
                         .y = y,
                         .relu = relu,
                         .moments = {mean, inv_std},
                         .gamma = gamma,
                         .dy = dy,
                         .dx = dx,
                         .add = add,
                         .dgamma = dgamma,
                         .dbeta = dbeta};
  split_run(threaded_of(ops), &(struct split){.run = backward_part,
                                              .args = &j,
                                              .total = r->c,
                                              .grain = NORM_CHANNELS,
                                              .work = pass(r, 5)});
}

void ops_threads_images(struct ops *ops)
{
  ops->conv_scratch = conv_scratch;
  ops->conv_forward = conv_forward;
  ops->conv_backward_data = conv_backward_data;
  ops->conv_backward_weights = conv_backward_weights;
  ops->average_forward = average_forward;
  ops->average_backward = average_backward;
  ops->max_forward = max_forward;
  ops->max_backward = max_backward;
  ops->pool_forward = pool_forward;
  ops->pool_backward = pool_backward;
  ops->norm_statistics = norm_statistics;
  ops->norm_apply = norm_apply;
  ops->norm_backward = norm_backward;
}
