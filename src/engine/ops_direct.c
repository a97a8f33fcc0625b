/* Direct convolutions for the CPU: what the kernels of kernels_conv.c and
 * kernels_wgrad.c work on.
 *
 * Forward, an output pixel reads k * k taps of the padded input.  Backward with
 * respect to the input, the pixels of dx fall into stride * stride classes by
 * their coordinates' rests; each class is a convolution of dy with some of the
 * taps, input and output channels swapped.  Weights are repacked in each call:
 * that is little beside the arithmetic. */
#include "engine/ops_int.h"

#include <assert.h>
#include <string.h>

enum {
  MAX_TAPS = OPS_MAX_KERNEL * OPS_MAX_KERNEL,
  L1_FLOATS = 8 << 10,   /* what a block of the weight gradient may touch */
  L2_FLOATS = 256 << 10, /* packed weights above this are read once for several samples */
  CHUNK = 16
};

struct tap {
  unsigned row, col; /* in the grid, for output pixel (0, 0), before phases */
  unsigned index;    /* in the k * k taps of PyTorch's layout */
};

/* A convolution of a grid: forward, or one class of backward-data. */
struct pass {
  const struct kernels *k;
  struct kernel_grid grid;
  unsigned n_taps, lanes; /* lanes: output channels */
  struct tap taps[MAX_TAPS];
  size_t x_row;
  struct kernel_segment *segments; /* [blocks][taps] */
};

/* A block of output channels. */
struct lane_block {
  enum kernel_form form;
  unsigned first, channels; /* of the output */
  unsigned width;           /* floats in a packed row */
};

static size_t round_up(size_t n)
{
  return (n + 15) & ~(size_t)15;
}

static struct lane_block lane_block(const struct kernels *k, unsigned first, unsigned total)
{
  const unsigned left = total - first, v = k->lanes;
  struct lane_block b = {.form = KERNEL_ONE, .first = first, .width = v};
  if (k->half && left <= v / 2) {
    b.form = KERNEL_HALF;
    b.channels = left;
  } else if (left > v && !(k->half && left <= v + v / 2)) {
    b.form = KERNEL_TWO;
    b.width = 2 * v;
    b.channels = left < 2 * v ? left : 2 * v;
  } else {
    b.channels = left < v ? left : v;
  }
  return b;
}

static unsigned total_width(const struct kernels *k, unsigned lanes)
{
  unsigned width = 0;
  for (unsigned first = 0; first < lanes;) {
    const struct lane_block b = lane_block(k, first, lanes);
    width += b.width;
    first += b.channels;
  }
  return width;
}

static size_t packed_floats(const struct kernels *k, unsigned lanes, unsigned channels,
                            unsigned taps)
{
  return round_up((size_t)total_width(k, lanes) * channels * taps);
}

static size_t grid_floats(const struct kernel_grid *g)
{
  return (size_t)g->blocks * g->rows * g->phases * g->cols * KERNEL_BLOCK;
}

static size_t segment_floats(unsigned blocks, unsigned taps)
{
  return round_up((size_t)blocks * taps * (sizeof(struct kernel_segment) / sizeof(float)));
}

static unsigned blocks_of(unsigned channels)
{
  return (channels + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
}

static struct kernel_grid forward_grid(const struct ops_conv *c)
{
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w), s = c->stride;
  return (struct kernel_grid){
      .rows = (oh - 1) * s + c->k,
      .cols = ((ow - 1) * s + c->k + s - 1) / s,
      .phases = s,
      .top = c->pad,
      .left = c->pad,
      .channels = c->ci,
      .blocks = blocks_of(c->ci),
      .x_pixel = c->ci,
  };
}

static void forward_pass(const struct kernels *k, const struct ops_conv *c, struct pass *p)
{
  *p = (struct pass){.k = k, .grid = forward_grid(c), .lanes = c->co};
  for (unsigned ky = 0; ky < c->k; ky++) {
    for (unsigned kx = 0; kx < c->k; kx++)
      p->taps[p->n_taps++] = (struct tap){ky, kx, ky * c->k + kx};
  }
  p->x_row = (size_t)c->stride * p->grid.phases * p->grid.cols * KERNEL_BLOCK;
}

/* How far dy must be padded on either side, along one axis of length `size`. */
static void margins(const struct ops_conv *c, unsigned size, unsigned *before, unsigned *length)
{
  const int s = (int)c->stride, out = (int)ops_conv_out(c, size);
  int low = 0, high = out;
  for (int phase = 0; phase < s && phase < (int)size; phase++) {
    const int n = ((int)size - phase + s - 1) / s;
    for (int ky = 0; ky < (int)c->k; ky++) {
      const int shift = phase + (int)c->pad - ky;
      if (shift % s)
        continue;
      low = shift / s < low ? shift / s : low;
      high = n + shift / s > high ? n + shift / s : high;
    }
  }
  *before = (unsigned)-low;
  *length = (unsigned)(high - low);
}

static struct kernel_grid backward_grid(const struct ops_conv *c)
{
  struct kernel_grid g = {
      .phases = 1, .channels = c->co, .blocks = blocks_of(c->co), .x_pixel = ops_conv_y_pixel(c)};
  margins(c, c->h, &g.top, &g.rows);
  margins(c, c->w, &g.left, &g.cols);
  return g;
}

/* The class of dx's pixels (row, col) + stride * (i, j). */
static void backward_pass(const struct kernels *k, const struct ops_conv *c, unsigned row,
                          unsigned col, struct pass *p)
{
  *p = (struct pass){.k = k, .grid = backward_grid(c), .lanes = c->ci};
  const int s = (int)c->stride, pad = (int)c->pad;
  for (int ky = 0; ky < (int)c->k; ky++) {
    for (int kx = 0; kx < (int)c->k; kx++) {
      const int y = (int)row + pad - ky, x = (int)col + pad - kx;
      if (y % s || x % s)
        continue;
      p->taps[p->n_taps++] =
          (struct tap){(unsigned)(y / s + (int)p->grid.top), (unsigned)(x / s + (int)p->grid.left),
                       (unsigned)ky * c->k + (unsigned)kx};
    }
  }
  p->x_row = (size_t)p->grid.cols * KERNEL_BLOCK;
}

/* Fills p->segments; returns the scratch behind them. */
static float *place_segments(struct pass *p, float *scratch)
{
  const struct kernel_grid *g = &p->grid;
  p->segments = (struct kernel_segment *)(void *)scratch;
  struct kernel_segment *s = p->segments;
  for (unsigned b = 0; b < g->blocks; b++) {
    const unsigned left = g->channels - b * KERNEL_BLOCK;
    for (unsigned t = 0; t < p->n_taps; t++, s++) {
      const struct tap *tap = &p->taps[t];
      const size_t line = ((size_t)b * g->rows + tap->row) * g->phases + tap->col % g->phases;
      s->offset = (line * g->cols + tap->col / g->phases) * KERNEL_BLOCK;
      s->channels = left < KERNEL_BLOCK ? left : KERNEL_BLOCK;
    }
  }
  return scratch + segment_floats(g->blocks, p->n_taps);
}

/* Where a weight of (lane, channel, tap 0) lies in PyTorch's layout. */
struct strides {
  size_t lane, channel;
};

/* Packed rows of one block that a segment takes. */
static unsigned packed_rows(const struct lane_block *b, unsigned channels)
{
  return b->form == KERNEL_HALF ? (channels + 1) / 2 : channels;
}

static void pack_segment(const struct lane_block *b, unsigned channels, struct strides st,
                         const float *w, float *to)
{
  const unsigned step = b->form == KERNEL_HALF ? 2 : 1;
  const unsigned used = step * b->channels;
  for (unsigned c = 0; c < channels; c++) {
    float *row = to + (size_t)(c / step) * b->width + c % step;
    const float *from = w + c * st.channel;
    for (unsigned l = 0; l < used; l += step, from += st.lane)
      row[l] = *from;
    if (c % step == 0) {
      for (unsigned l = used; l < b->width; l++)
        row[l] = 0;
    }
  }
  if (channels % step) {
    float *row = to + (size_t)(channels / step) * b->width + 1;
    for (unsigned l = 0; l < used; l += step)
      row[l] = 0;
  }
}

static void unpack_segment(const struct lane_block *b, unsigned channels, struct strides st,
                           const float *from, float *w)
{
  const unsigned step = b->form == KERNEL_HALF ? 2 : 1;
  for (unsigned c = 0; c < channels; c++) {
    const float *row = from + (size_t)(c / step) * b->width + c % step;
    float *to = w + c * st.channel;
    for (unsigned l = 0; l < b->channels; l++, to += st.lane)
      *to = row[l * step];
  }
}

/* Weights into packed order, [block][segment][channel][lane]; or, with `back`,
 * from packed order into w. */
static void repack(const struct pass *p, struct strides st, float *w, float *packed, bool back)
{
  for (unsigned first = 0; first < p->lanes;) {
    const struct lane_block b = lane_block(p->k, first, p->lanes);
    const struct kernel_segment *s = p->segments;
    for (unsigned block = 0; block < p->grid.blocks; block++) {
      for (unsigned t = 0; t < p->n_taps; t++, s++) {
        float *at =
            w + first * st.lane + (size_t)block * KERNEL_BLOCK * st.channel + p->taps[t].index;
        if (back)
          unpack_segment(&b, s->channels, st, packed, at);
        else
          pack_segment(&b, s->channels, st, at, packed);
        packed += (size_t)packed_rows(&b, s->channels) * b.width;
      }
    }
    first += b.channels;
  }
}

static size_t packed_block(const struct pass *p, const struct lane_block *b)
{
  size_t rows = 0;
  for (unsigned i = 0; i < p->grid.blocks; i++)
    rows += packed_rows(b, p->segments[(size_t)i * p->n_taps].channels);
  return rows * p->n_taps * b->width;
}

/* Samples whose grids are made together. */
static unsigned chunk_of(size_t packed, unsigned n)
{
  const unsigned chunk = packed > L2_FLOATS ? CHUNK : 1;
  return chunk < n ? chunk : n;
}

struct output {
  float *y;
  size_t sample, row, pixel; /* strides */
  unsigned rows, cols;
  bool add;
};

/* All blocks of output channels, for grids that are filled. */
static void convolve(const struct pass *p, const float *packed, const float *grids, unsigned n,
                     const struct output *out)
{
  const size_t grid = grid_floats(&p->grid);
  for (unsigned first = 0; first < p->lanes;) {
    const struct lane_block b = lane_block(p->k, first, p->lanes);
    for (unsigned i = 0; i < n; i++) {
      const struct kernel_conv job = {
          .form = b.form,
          .x = grids + i * grid,
          .x_row = p->x_row,
          .segments = p->segments,
          .n_segments = (size_t)p->grid.blocks * p->n_taps,
          .w = packed,
          .y = out->y + i * out->sample + first,
          .y_row = out->row,
          .y_pixel = out->pixel,
          .rows = out->rows,
          .cols = out->cols,
          .channels = b.channels,
          .add = out->add,
      };
      p->k->conv(&job);
    }
    packed += packed_block(p, &b);
    first += b.channels;
  }
}

/* The weights of a const vector are only read when they are packed. */
static void pack(const struct pass *p, struct strides st, const float *w, float *packed)
{
  union {
    const float *in;
    float *out;
  } u = {w};
  repack(p, st, u.out, packed, false);
}

void cpu_direct_forward(const struct ops *ops, const struct ops_conv *c, unsigned n, const float *x,
                        const float *w, float *y, float *scratch)
{
  struct pass p;
  forward_pass(ops->kernels, c, &p);
  float *packed = place_segments(&p, scratch);
  pack(&p, (struct strides){(size_t)c->ci * c->k * c->k, (size_t)c->k * c->k}, w, packed);
  const size_t weights = packed_floats(p.k, c->co, c->ci, c->k * c->k);
  float *grids = packed + weights;
  const size_t grid = grid_floats(&p.grid), sample = (size_t)c->h * c->w * c->ci;
  const unsigned chunk = chunk_of(weights, n);
  struct output out = {.rows = ops_conv_out(c, c->h), .cols = ops_conv_out(c, c->w)};
  out.pixel = ops_conv_y_pixel(c);
  out.row = out.cols * out.pixel;
  out.sample = out.rows * out.row;
  memset(grids, 0, chunk * grid * sizeof *grids);
  for (unsigned i = 0; i < n; i += chunk) {
    const unsigned count = n - i < chunk ? n - i : chunk;
    for (unsigned j = 0; j < count; j++)
      p.k->fill(&p.grid, c->h, c->w, x + (i + j) * sample, grids + j * grid);
    out.y = y + i * out.sample;
    convolve(&p, packed, grids, count, &out);
  }
}

/* One class of dx's pixels, with dy's grids filled. */
static void backward_class(const struct pass *p, const struct ops_conv *c, const float *packed,
                           const float *grids, unsigned n, unsigned row, unsigned col, float *dx,
                           bool add)
{
  const unsigned s = c->stride;
  const struct output out = {
      .y = dx + ((size_t)row * c->w + col) * c->ci,
      .sample = (size_t)c->h * c->w * c->ci,
      .row = (size_t)s * c->w * c->ci,
      .pixel = (size_t)s * c->ci,
      .rows = (c->h - row + s - 1) / s,
      .cols = (c->w - col + s - 1) / s,
      .add = add,
  };
  convolve(p, packed, grids, n, &out);
}

enum { MAX_STRIDE = 4 };

void cpu_direct_backward_data(const struct ops *ops, const struct ops_conv *c, unsigned n,
                              const float *dy, const float *w, float *dx, bool add, float *scratch)
{
  assert(c->stride <= MAX_STRIDE);
  struct pass passes[MAX_STRIDE * MAX_STRIDE];
  float *packed[MAX_STRIDE * MAX_STRIDE];
  const unsigned s = c->stride, kk = c->k * c->k;
  for (unsigned i = 0; i < s * s; i++) {
    backward_pass(ops->kernels, c, i / s, i % s, &passes[i]);
    packed[i] = place_segments(&passes[i], scratch);
    pack(&passes[i], (struct strides){kk, (size_t)c->ci * kk}, w, packed[i]);
    scratch = packed[i] + packed_floats(ops->kernels, c->ci, c->co, passes[i].n_taps);
  }
  const struct kernel_grid *g = &passes[0].grid;
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w);
  const size_t grid = grid_floats(g), sample = (size_t)oh * ow * ops_conv_y_pixel(c);
  const unsigned chunk = chunk_of(packed_floats(ops->kernels, c->ci, c->co, kk), n);
  memset(scratch, 0, chunk * grid * sizeof *scratch);
  if (!add && c->k < s) /* pixels of dx that no output reads get no gradient */
    memset(dx, 0, (size_t)n * c->h * c->w * c->ci * sizeof *dx);
  for (unsigned i = 0; i < n; i += chunk) {
    const unsigned count = n - i < chunk ? n - i : chunk;
    for (unsigned j = 0; j < count; j++)
      ops->kernels->fill(g, oh, ow, dy + (i + j) * sample, scratch + j * grid);
    for (unsigned q = 0; q < s * s; q++) {
      if (passes[q].n_taps && q / s < c->h && q % s < c->w)
        backward_class(&passes[q], c, packed[q], scratch, count, q / s, q % s,
                       dx + (size_t)i * c->h * c->w * c->ci, add);
    }
  }
}

/* dy as the kernels want it: lanes padded to whole vectors, doubled in half blocks. */
static void widen(const struct kernels *k, size_t pixels, const struct ops_conv *c, const float *dy,
                  float *to)
{
  const unsigned width = total_width(k, c->co);
  const size_t dy_pixel = ops_conv_y_pixel(c);
  unsigned column = 0;
  for (unsigned first = 0; first < c->co;) {
    const struct lane_block b = lane_block(k, first, c->co);
    if (b.form == KERNEL_HALF)
      k->pairs(pixels, b.channels, dy + first, dy_pixel, to + column, width);
    for (size_t i = 0; i < pixels && b.form != KERNEL_HALF; i++) {
      float *row = to + i * width + column;
      memcpy(row, dy + i * dy_pixel + first, b.channels * sizeof *row);
      memset(row + b.channels, 0, (b.width - b.channels) * sizeof *row);
    }
    column += b.width;
    first += b.channels;
  }
}

static bool needs_widening(const struct kernels *k, unsigned co)
{
  return total_width(k, co) != co;
}

/* All taps and channels of one block of channels, for the pixels of `job`. */
static void wgrad_segments(const struct pass *p, const struct lane_block *b, unsigned block,
                           struct kernel_wgrad job, float *packed)
{
  const float *x = job.x;
  const struct kernel_segment *s = p->segments + (size_t)block * p->n_taps;
  const unsigned rows = packed_rows(b, s->channels), step = b->form == KERNEL_HALF ? 2 : 1;
  const unsigned near = rows <= p->k->wgrad_near[b->form] && p->grid.phases == 1 ? 3 : 1;
  for (unsigned t = 0; t < p->n_taps;) {
    const bool three = near == 3 && p->n_taps - t >= 3 && p->taps[t + 2].row == p->taps[t].row;
    const unsigned most = p->k->wgrad_channels[b->form];
    job.taps = three ? 3 : 1;
    for (unsigned c = 0; c < rows; c += job.channels) {
      job.channels = rows - c < most ? rows - c : most;
      job.x = x + s[t].offset + (size_t)c * step;
      job.dw = packed + ((size_t)t * rows + c) * b->width;
      p->k->wgrad(&job);
    }
    t += job.taps;
  }
}

/* Everything for a stretch of rows of some samples. */
static void wgrad_stretch(const struct pass *p, const struct kernel_wgrad *stretch, float *packed)
{
  unsigned column = 0;
  for (unsigned first = 0; first < p->lanes;) {
    const struct lane_block b = lane_block(p->k, first, p->lanes);
    struct kernel_wgrad job = *stretch;
    job.form = b.form;
    job.dy += column;
    for (unsigned block = 0; block < p->grid.blocks; block++) {
      wgrad_segments(p, &b, block, job, packed);
      packed += (size_t)p->n_taps * b.width *
                packed_rows(&b, p->segments[(size_t)block * p->n_taps].channels);
    }
    column += b.width;
    first += b.channels;
  }
}

static unsigned clamp(size_t n, unsigned most)
{
  return n < 1 ? 1 : n > most ? most : (unsigned)n;
}

/* Floats of an output pixel that a block of the weight gradient reads. */
static unsigned block_width(const struct kernels *k, unsigned co)
{
  const unsigned width = total_width(k, co);
  return width < 2 * k->lanes ? width : 2 * k->lanes;
}

/* Samples whose grids are made together: so many that one block of input
 * channels and one of output channels stay in the first cache for all taps,
 * and no more than fit the second.  The same for any 32 output channels or
 * more: what is summed together must not depend on the others. */
static unsigned wgrad_chunk(const struct kernels *k, const struct ops_conv *c, unsigned n)
{
  const struct kernel_grid g = forward_grid(c);
  const size_t area = (size_t)ops_conv_out(c, c->h) * ops_conv_out(c, c->w);
  const size_t dy = area * block_width(k, c->co);
  const unsigned most = clamp(L2_FLOATS / (grid_floats(&g) + dy), n);
  return clamp(L1_FLOATS / (grid_floats(&g) / g.blocks + dy), most);
}

void cpu_direct_backward_weights(const struct ops *ops, const struct ops_conv *c, unsigned n,
                                 const float *x, const float *dy, float *dw, float *scratch)
{
  struct pass p;
  forward_pass(ops->kernels, c, &p);
  float *packed = place_segments(&p, scratch);
  const size_t weights = packed_floats(p.k, c->co, c->ci, c->k * c->k);
  const size_t grid = grid_floats(&p.grid), sample = (size_t)c->h * c->w * c->ci;
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w);
  const unsigned chunk = wgrad_chunk(p.k, c, n), width = total_width(p.k, c->co);
  float *grids = packed + weights, *wide = grids + chunk * grid;
  const bool widened = needs_widening(p.k, c->co);
  const size_t dy_pixel = widened ? width : ops_conv_y_pixel(c);
  const size_t touched = p.x_row + (size_t)ow * block_width(p.k, c->co);
  const unsigned rows = chunk > 1 ? oh : clamp(L1_FLOATS / touched, oh);
  memset(packed, 0, weights * sizeof *packed);
  memset(grids, 0, chunk * grid * sizeof *grids);
  for (unsigned i = 0; i < n; i += chunk) {
    const unsigned count = n - i < chunk ? n - i : chunk;
    const float *from = dy + (size_t)i * oh * ow * ops_conv_y_pixel(c);
    for (unsigned j = 0; j < count; j++)
      p.k->fill(&p.grid, c->h, c->w, x + (i + j) * sample, grids + j * grid);
    if (widened)
      widen(p.k, (size_t)count * oh * ow, c, from, wide);
    for (unsigned r = 0; r < oh; r += rows) {
      const struct kernel_wgrad job = {
          .x = grids + r * p.x_row,
          .x_row = p.x_row,
          .x_sample = grid,
          .dy = (widened ? wide : from) + r * ow * dy_pixel,
          .dy_row = ow * dy_pixel,
          .dy_sample = oh * ow * dy_pixel,
          .dy_pixel = dy_pixel,
          .samples = count,
          .rows = oh - r < rows ? oh - r : rows,
          .cols = ow,
      };
      wgrad_stretch(&p, &job, packed);
    }
  }
  repack(&p, (struct strides){(size_t)c->ci * c->k * c->k, (size_t)c->k * c->k}, dw, packed, true);
}

size_t cpu_direct_scratch(const struct ops *ops, const struct ops_conv *c, unsigned n)
{
  const struct kernels *k = ops->kernels;
  const unsigned kk = c->k * c->k;
  const struct kernel_grid f = forward_grid(c), b = backward_grid(c);
  const size_t forward_weights = packed_floats(k, c->co, c->ci, kk);
  const size_t backward_weights = packed_floats(k, c->ci, c->co, kk);
  const size_t rounding = (size_t)c->stride * c->stride * 32;
  const size_t dy = (size_t)ops_conv_out(c, c->h) * ops_conv_out(c, c->w) * total_width(k, c->co);
  const size_t need[3] = {
      segment_floats(f.blocks, kk) + forward_weights +
          chunk_of(forward_weights, n) * grid_floats(&f),
      segment_floats(b.blocks, kk) + backward_weights + rounding +
          chunk_of(backward_weights, n) * grid_floats(&b),
      segment_floats(f.blocks, kk) + forward_weights +
          wgrad_chunk(k, c, n) * (grid_floats(&f) + round_up(dy)),
  };
  size_t most = need[0];
  for (int i = 1; i < 3; i++)
    most = need[i] > most ? need[i] : most;
  return round_up(most);
}
