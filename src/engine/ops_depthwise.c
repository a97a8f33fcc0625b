/* Depthwise 7x7 convolution for the CPU.
 *
 * Backward with respect to the input it is the same convolution, the taps turned round. */
#include "engine/ops_int.h"

#include <string.h>

enum {
  SIDE = OPS_DEPTHWISE_SIDE,
  TAPS = SIDE * SIDE,
  NEAR_FLOATS = 16 << 10 /* of x and dy, what a sum of the weight gradient goes over */
};

static unsigned padded(const struct kernels *k, unsigned c)
{
  return (c + k->lanes - 1) / k->lanes * k->lanes;
}

size_t cpu_depthwise_scratch(const struct ops *ops, const struct ops_depthwise *d)
{
  return (size_t)padded(ops->kernels, d->c) * TAPS;
}

/* Where tap t of channel c lies among packed weights. */
static size_t packed_at(const struct kernels *k, unsigned c, unsigned t)
{
  return ((size_t)(c / k->lanes) * TAPS + t) * k->lanes + c % k->lanes;
}

/* w [c][7][7], its taps turned round or not */
static void pack(const struct kernels *k, unsigned channels, const float *w, bool turned, float *to)
{
  memset(to, 0, (size_t)padded(k, channels) * TAPS * sizeof *to);
  for (unsigned c = 0; c < channels; c++) {
    for (unsigned t = 0; t < TAPS; t++)
      to[packed_at(k, c, turned ? TAPS - 1 - t : t)] = w[(size_t)c * TAPS + t];
  }
}

static void each_sample(const struct ops *ops, const struct ops_depthwise *d, unsigned n,
                        struct kernel_depthwise job)
{
  const size_t sample = (size_t)d->h * d->w * d->c;
  for (unsigned i = 0; i < n; i++, job.x += sample, job.y += sample)
    ops->kernels->depthwise(&job);
}

void cpu_depthwise_forward(const struct ops *ops, const struct ops_depthwise *d, unsigned n,
                           const float *x, const float *w, const float *bias, float *y,
                           float *scratch)
{
  pack(ops->kernels, d->c, w, false, scratch);
  each_sample(
      ops, d, n,
      (struct kernel_depthwise){
          .h = d->h, .w = d->w, .c = d->c, .x = x, .weights = scratch, .bias = bias, .y = y});
}

void cpu_depthwise_backward_data(const struct ops *ops, const struct ops_depthwise *d, unsigned n,
                                 const float *dy, const float *w, float *dx, bool add,
                                 float *scratch)
{
  pack(ops->kernels, d->c, w, true, scratch);
  each_sample(
      ops, d, n,
      (struct kernel_depthwise){
          .h = d->h, .w = d->w, .c = d->c, .x = dy, .weights = scratch, .y = dx, .add = add});
}

/* Some rows of a sample, or some samples, at a time: what is summed in one go stays in the
 * cache, and each sum is short. */
void cpu_depthwise_backward_weights(const struct ops *ops, const struct ops_depthwise *d,
                                    unsigned n, unsigned first, unsigned count, const float *x,
                                    const float *dy, float *dw, float *dbias, float *scratch)
{
  const struct kernels *k = ops->kernels;
  const unsigned line = 2 * d->w * k->lanes;
  const unsigned near = NEAR_FLOATS / line > 1 ? NEAR_FLOATS / line : 1;
  const unsigned rows = near < d->h ? near : d->h;
  const unsigned samples = near / d->h > 1 ? near / d->h : 1;
  const size_t sample = (size_t)d->h * d->w * d->c;
  memset(scratch, 0, (size_t)padded(k, count) * TAPS * sizeof *scratch);
  memset(dbias + first, 0, count * sizeof *dbias);
  for (unsigned i = 0; i < n; i += samples) {
    for (unsigned r = 0; r < d->h; r += rows) {
      const struct kernel_depthwise_grad job = {.samples = samples < n - i ? samples : n - i,
                                                .h = d->h,
                                                .w = d->w,
                                                .channels = count,
                                                .pixel = d->c,
                                                .row = r,
                                                .rows = rows < d->h - r ? rows : d->h - r,
                                                .x = x + i * sample + first,
                                                .dy = dy + i * sample + first,
                                                .dw = scratch,
                                                .dbias = dbias + first};
      k->depthwise_grad(&job);
    }
  }
  for (unsigned q = 0; q < count; q++) {
    for (unsigned t = 0; t < TAPS; t++)
      dw[(size_t)(first + q) * TAPS + t] = scratch[packed_at(k, q, t)];
  }
}
