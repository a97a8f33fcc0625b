/* Means and maxima of windows for the CPU. */
#include "engine/ops_int.h"

#include <assert.h>
#include <string.h>

enum { GROUP = 16 }; /* channels at a time */

/* One window: the pixels of x (or dx) that it covers, and its pixel of y. */
struct window {
  size_t x, y; /* floats in the sample */
  unsigned rows, cols;
};

static struct window window_at(const struct ops_conv *c, unsigned row, unsigned col)
{
  const unsigned s = c->stride, p = c->pad;
  const unsigned top = row * s < p ? 0 : row * s - p, left = col * s < p ? 0 : col * s - p;
  const unsigned bottom = row * s + c->k - p, right = col * s + c->k - p;
  return (struct window){
      .x = ((size_t)top * c->w + left) * c->ci,
      .y = ((size_t)row * ops_conv_out(c, c->w) + col) * ops_conv_y_pixel(c),
      .rows = (bottom < c->h ? bottom : c->h) - top,
      .cols = (right < c->w ? right : c->w) - left,
  };
}

static size_t x_sample(const struct ops_conv *c)
{
  return (size_t)c->h * c->w * c->ci;
}

static unsigned windows(const struct ops_conv *c)
{
  assert(c->ci == c->co && c->pad < c->k);
  return ops_conv_out(c, c->h) * ops_conv_out(c, c->w);
}

/* The window of the i-th of all output pixels of all samples. */
static struct window nth_window(const struct ops_conv *c, unsigned per_sample, size_t i)
{
  const unsigned ow = ops_conv_out(c, c->w), p = (unsigned)(i % per_sample);
  struct window w = window_at(c, p / ow, p % ow);
  w.x += i / per_sample * x_sample(c);
  w.y += i / per_sample * per_sample * ops_conv_y_pixel(c);
  return w;
}

void cpu_average_forward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                         const float *x, float *y)
{
  (void)ops;
  assert(!c->pad);
  const unsigned per_sample = windows(c);
  const float scale = 1 / (float)(c->k * c->k);
  for (size_t i = 0; i < (size_t)n * per_sample; i++) {
    const struct window w = nth_window(c, per_sample, i);
    float *to = y + w.y;
    memset(to, 0, c->ci * sizeof *to);
    for (unsigned q = 0; q < c->k * c->k; q++) {
      const float *from = x + w.x + ((size_t)(q / c->k) * c->w + q % c->k) * c->ci;
      for (unsigned k = 0; k < c->ci; k++)
        to[k] += from[k];
    }
    for (unsigned k = 0; k < c->ci; k++)
      to[k] *= scale;
  }
}

void cpu_average_backward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                          const float *dy, float *dx, bool add)
{
  (void)ops;
  const unsigned per_sample = windows(c);
  const float scale = 1 / (float)(c->k * c->k);
  if (!add)
    memset(dx, 0, n * x_sample(c) * sizeof *dx);
  for (size_t i = 0; i < (size_t)n * per_sample; i++) {
    const struct window w = nth_window(c, per_sample, i);
    const float *from = dy + w.y;
    for (unsigned q = 0; q < c->k * c->k; q++) {
      float *to = dx + w.x + ((size_t)(q / c->k) * c->w + q % c->k) * c->ci;
      for (unsigned k = 0; k < c->ci; k++)
        to[k] += from[k] * scale;
    }
  }
}

/* The largest of some channels over a window, and which of its pixels has it. */
static void largest(const struct ops_conv *c, const struct window *w, const float *x,
                    unsigned channels, float best[GROUP], unsigned at[GROUP])
{
  memcpy(best, x, channels * sizeof *best);
  memset(at, 0, GROUP * sizeof *at);
  for (unsigned q = 1; q < w->rows * w->cols; q++) {
    const float *from = x + ((size_t)(q / w->cols) * c->w + q % w->cols) * c->ci;
    for (unsigned k = 0; k < channels; k++) {
      const bool more = from[k] > best[k] || from[k] != from[k];
      best[k] = more ? from[k] : best[k];
      at[k] = more ? q : at[k];
    }
  }
}

void cpu_max_forward(const struct ops *ops, const struct ops_conv *c, unsigned n, const float *x,
                     float *y)
{
  (void)ops;
  const unsigned per_sample = windows(c);
  for (size_t i = 0; i < (size_t)n * per_sample; i++) {
    const struct window w = nth_window(c, per_sample, i);
    for (unsigned k = 0; k < c->ci; k += GROUP) {
      const unsigned channels = c->ci - k < GROUP ? c->ci - k : GROUP;
      float best[GROUP];
      unsigned at[GROUP];
      largest(c, &w, x + w.x + k, channels, best, at);
      memcpy(y + w.y + k, best, channels * sizeof *best);
    }
  }
}

/* Which pixel was the largest is found again: that is cheaper than storing it. */
void cpu_max_backward(const struct ops *ops, const struct ops_conv *c, unsigned n, const float *x,
                      const float *dy, float *dx, bool add)
{
  (void)ops;
  const unsigned per_sample = windows(c);
  if (!add)
    memset(dx, 0, n * x_sample(c) * sizeof *dx);
  for (size_t i = 0; i < (size_t)n * per_sample; i++) {
    const struct window w = nth_window(c, per_sample, i);
    for (unsigned k = 0; k < c->ci; k += GROUP) {
      const unsigned channels = c->ci - k < GROUP ? c->ci - k : GROUP;
      float best[GROUP];
      unsigned at[GROUP];
      largest(c, &w, x + w.x + k, channels, best, at);
      for (unsigned g = 0; g < channels; g++)
        dx[w.x + ((size_t)(at[g] / w.cols) * c->w + at[g] % w.cols) * c->ci + k + g] +=
            dy[w.y + k + g];
    }
  }
}
