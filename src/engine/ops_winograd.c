/* 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3), for the CPU: a fourth of the direct
 * one's products (Lavin & Gray 2016; transforms in kernels_winograd.c).
 *
 * The tiles of all samples go by in stretches whose transforms stay in the second-level cache,
 * and output channels in blocks, for which the weights are transformed once.  A stretch is
 * 36 products, [tiles][input channels] times [input channels][output channels]; the weights'
 * gradient sums products of transformed windows and tiles, and is transformed back at the end.
 *
 * A pixel's value depends on neither the number of samples nor the stretch that it falls into;
 * a weight's gradient not on the other output channels. */
#include "engine/kernels_token.h"
#include "engine/kernels_winograd.h"
#include "engine/ops_int.h"

enum {
  STRETCH = 48,     /* tiles; of products' tiles of 6 rows, eight */
  SUMMANDS = 96,    /* tiles that a gradient's product sums over */
  LANE_BLOCK = 128, /* output channels */
  /* Products summed in one go.  The transforms make rounding errors larger, those of the
   * products most: with 256 instead of 32 the result is twice as far off, and 3% faster. */
  SUM = 32
};

static size_t least(size_t a, size_t b)
{
  return a < b ? a : b;
}

static size_t round_up(size_t n)
{
  return (n + 15) & ~(size_t)15;
}

/* A convolution: forward, or backward with respect to the input. */
struct job {
  const struct kernels_token *token;
  const struct kernels_winograd *kernels;
  struct kernel_tiles x, y;
  struct kernel_taps taps;
  unsigned co, vector;
  size_t tiles, stretch; /* tiles: of all samples */
  bool add;
};

static unsigned tiles_along(unsigned pixels)
{
  return (pixels + WINOGRAD_TILE - 1) / WINOGRAD_TILE;
}

/* At most 0.6 of the direct one's products, for tiles hang over the edge. */
static bool tiles_fit(const struct ops_conv *c)
{
  const unsigned h = ops_conv_out(c, c->h), w = ops_conv_out(c, c->w);
  return c->k == 3 && c->stride == 1 && c->pad <= 2 && c->ci <= WINOGRAD_MAX_CHANNELS &&
         c->co <= WINOGRAD_MAX_CHANNELS &&
         (size_t)tiles_along(h) * tiles_along(w) * WINOGRAD_POINTS * 5 <= (size_t)h * w * 9 * 3;
}

/* With fewer channels the transforms cost more than they save. */
bool cpu_winograd_fits(const struct ops_conv *c)
{
  return tiles_fit(c) && c->ci >= 12 && c->co >= 12 && c->ci + c->co >= 40;
}

/* Whatever the number of output channels: they may be split over calls. */
bool cpu_winograd_fits_weights(const struct ops_conv *c)
{
  return tiles_fit(c) && c->ci >= 24;
}

static unsigned whole_vectors(const struct job *j, unsigned channels)
{
  return (channels + j->vector - 1) / j->vector * j->vector;
}

static void set_tiles(struct job *j, unsigned n, unsigned stretch)
{
  j->x.down = j->y.down = tiles_along(j->y.h);
  j->x.across = j->y.across = tiles_along(j->y.w);
  j->tiles = (size_t)n * j->x.down * j->x.across;
  j->stretch = least(stretch, j->tiles);
  j->x.tile = whole_vectors(j, j->x.channels);
  /* A line more: else all points of a tile fall into the same few places of a cache. */
  j->x.point = round_up(j->stretch * j->x.tile) + 16;
  j->y.point = round_up(j->stretch * j->token->panel) + 16;
}

static struct job forward_job(const struct ops *ops, const struct ops_conv *c, unsigned n,
                              unsigned stretch)
{
  struct job j = {.token = ops->kernels->token,
                  .kernels = ops->kernels->winograd,
                  .vector = ops->kernels->lanes,
                  .co = c->co};
  j.x =
      (struct kernel_tiles){.h = c->h, .w = c->w, .pad = c->pad, .channels = c->ci, .pixel = c->ci};
  j.y = (struct kernel_tiles){
      .h = ops_conv_out(c, c->h), .w = ops_conv_out(c, c->w), .pixel = ops_conv_y_pixel(c)};
  j.taps = (struct kernel_taps){.rows = c->ci, .row = 9, .lane = (size_t)c->ci * 9};
  set_tiles(&j, n, stretch);
  return j;
}

/* dx is the convolution of dy with turned weights. */
static struct job backward_job(const struct ops *ops, const struct ops_conv *c, unsigned n)
{
  struct job j = {.token = ops->kernels->token,
                  .kernels = ops->kernels->winograd,
                  .vector = ops->kernels->lanes,
                  .co = c->ci};
  j.x = (struct kernel_tiles){.h = ops_conv_out(c, c->h),
                              .w = ops_conv_out(c, c->w),
                              .pad = 2 - c->pad,
                              .channels = c->co,
                              .pixel = ops_conv_y_pixel(c)};
  j.y = (struct kernel_tiles){.h = c->h, .w = c->w, .pixel = c->ci};
  j.taps = (struct kernel_taps){.rows = c->co, .row = (size_t)c->ci * 9, .lane = 9, .flip = true};
  set_tiles(&j, n, STRETCH);
  return j;
}

/* Floats of one panel's weights at all points. */
static size_t panel_floats(const struct job *j)
{
  return (size_t)WINOGRAD_POINTS * j->taps.rows * j->token->panel;
}

/* Scratch memory: windows, tiles, and the weights of a block of output channels. */
static size_t job_floats(const struct job *j)
{
  const size_t panel = j->token->panel;
  return WINOGRAD_POINTS * (j->x.point + j->y.point) +
         (least(j->co, LANE_BLOCK) + panel - 1) / panel * panel_floats(j);
}

/* From here on, about a panel of output channels. */
static void set_panel(struct job *j, unsigned first, unsigned end)
{
  j->y.channels = (unsigned)least(end - first, j->token->panel);
  j->y.tile = whole_vectors(j, j->y.channels);
  j->taps.lanes = j->y.channels;
  j->taps.width = j->y.tile;
  j->taps.point = j->taps.rows * j->taps.width;
}

static void set_stretch(struct job *j, size_t first)
{
  j->x.first = j->y.first = first;
  j->x.count = j->y.count = (unsigned)least(j->tiles - first, j->stretch);
}

/* A product at each point, `a`, `b` and `c` floats from one to the next. */
static void multiply(const struct job *j, struct kernel_gemm g, size_t a, size_t b, size_t c)
{
  g.n = (unsigned)j->y.tile;
  g.packed_k = g.k;
  g.c_row = j->y.tile;
  g.stretch = SUM;
  for (unsigned p = 0; p < WINOGRAD_POINTS; p++, g.a += a, g.b += b, g.c += c)
    j->token->gemm(&g);
}

static void convolve(struct job *j, const float *x, const float *w, float *y, float *scratch)
{
  const unsigned panel = j->token->panel;
  float *windows = scratch, *tiles = windows + WINOGRAD_POINTS * j->x.point;
  float *weights = tiles + WINOGRAD_POINTS * j->y.point;
  for (unsigned first = 0; first < j->co; first += LANE_BLOCK) {
    const unsigned end = first + (unsigned)least(j->co - first, LANE_BLOCK);
    float *at = weights;
    for (unsigned o = first; o < end; o += panel, at += panel_floats(j)) {
      set_panel(j, o, end);
      j->kernels->taps(&j->taps, w + o * j->taps.lane, at);
    }
    for (size_t t = 0; t < j->tiles; t += j->stretch) {
      set_stretch(j, t);
      j->kernels->windows(&j->x, x, windows);
      at = weights;
      for (unsigned o = first; o < end; o += panel, at += panel_floats(j)) {
        set_panel(j, o, end);
        const struct kernel_gemm g = {.m = j->x.count,
                                      .k = j->taps.rows,
                                      .a = windows,
                                      .a_row = j->x.tile,
                                      .a_step = 1,
                                      .b = at,
                                      .c = tiles};
        multiply(j, g, j->x.point, j->taps.point, j->y.point);
        j->kernels->back(&j->y, tiles, y + o, j->add);
      }
    }
  }
}

void cpu_winograd_forward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                          const float *x, const float *w, float *y, float *scratch)
{
  struct job j = forward_job(ops, c, n, STRETCH);
  convolve(&j, x, w, y, scratch);
}

void cpu_winograd_backward_data(const struct ops *ops, const struct ops_conv *c, unsigned n,
                                const float *dy, const float *w, float *dx, bool add,
                                float *scratch)
{
  struct job j = backward_job(ops, c, n);
  j.add = add;
  convolve(&j, dy, w, dx, scratch);
}

void cpu_winograd_backward_weights(const struct ops *ops, const struct ops_conv *c, unsigned n,
                                   const float *x, const float *dy, float *dw, float *scratch)
{
  struct job j = forward_job(ops, c, n, SUMMANDS);
  const unsigned panel = j.token->panel;
  float *windows = scratch, *tiles = windows + WINOGRAD_POINTS * j.x.point;
  float *sums = tiles + WINOGRAD_POINTS * j.y.point;
  for (unsigned first = 0; first < j.co; first += LANE_BLOCK) {
    const unsigned end = first + (unsigned)least(j.co - first, LANE_BLOCK);
    float *at;
    for (size_t t = 0; t < j.tiles; t += j.stretch) {
      set_stretch(&j, t);
      j.kernels->windows(&j.x, x, windows);
      at = sums;
      for (unsigned o = first; o < end; o += panel, at += panel_floats(&j)) {
        set_panel(&j, o, end);
        j.kernels->tiles(&j.y, dy + o, tiles);
        const struct kernel_gemm g = {.m = j.taps.rows,
                                      .k = j.x.count,
                                      .a = windows,
                                      .a_row = 1,
                                      .a_step = j.x.tile,
                                      .b = tiles,
                                      .c = at,
                                      .add = t > 0};
        multiply(&j, g, j.x.point, j.y.point, j.taps.point);
      }
    }
    at = sums;
    for (unsigned o = first; o < end; o += panel, at += panel_floats(&j)) {
      set_panel(&j, o, end);
      j.kernels->taps_back(&j.taps, at, dw + o * j.taps.lane);
    }
  }
}

size_t cpu_winograd_scratch(const struct ops *ops, const struct ops_conv *c, unsigned n)
{
  const struct job f = forward_job(ops, c, n, STRETCH), b = backward_job(ops, c, n);
  const struct job g = forward_job(ops, c, n, SUMMANDS);
  const size_t forward = job_floats(&f), backward = job_floats(&b), gradient = job_floats(&g);
  const size_t most = forward > backward ? forward : backward;
  return gradient > most ? gradient : most;
}
