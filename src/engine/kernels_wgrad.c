/* Gradient of a convolution's weights: channels times a vector in registers,
 * over pixels. */
#include "engine/kernels_token.h"
#include "engine/kernels_vec.h"
#include "engine/kernels_winograd.h"

#if REGISTERS == 32
enum { ACCUMULATORS = 24, MAX_ONE = 16, MAX_TWO = 8, MAX_HALF = 8 };
#else
enum { ACCUMULATORS = 12, MAX_ONE = 8, MAX_TWO = 4, MAX_HALF = 8 };
#endif
enum { NEAR_ONE = 4, NEAR_TWO = REGISTERS == 32 ? 4 : 2, NEAR_HALF = 4, MAX_CHANNELS = 16 };

#if LANES == 16
INLINE vec multiply_half(vec acc, const float *x, vec dy)
{
  return acc + broadcast_pair(x) * dy;
}
#else
/* Narrower vectors have no half blocks: never called. */
INLINE vec multiply_half(vec acc, const float *x, vec dy)
{
  return acc + *x * dy;
}
#endif

/* Each call sums from zero, so that a sum over all pixels of a batch is one of short sums.
 * K taps that are neighbours in the grid, C channels (pairs if half), V vectors. */
INLINE void accumulate(const struct kernel_wgrad *j, const int K, const int C, const int V,
                       const bool half)
{
  vec acc[ACCUMULATORS];
  UNROLL
  for (int i = 0; i < K * C * V; i++)
    acc[i] = (vec){0};
  for (unsigned n = 0; n < j->samples; n++) {
    for (unsigned r = 0; r < j->rows; r++) {
      const float *x = j->x + n * j->x_sample + r * j->x_row;
      const float *dy = j->dy + n * j->dy_sample + r * j->dy_row;
      const float *end = x + (size_t)j->cols * KERNEL_BLOCK;
      for (; x < end; x += KERNEL_BLOCK, dy += j->dy_pixel) {
        const vec d0 = vec_load(dy), d1 = vec_load(dy + (V - 1) * LANES);
        UNROLL
        for (int k = 0; k < K; k++) {
          UNROLL
          for (int c = 0; c < C; c++) {
            if (half) {
              acc[k * C + c] = multiply_half(acc[k * C + c], x + k * KERNEL_BLOCK + 2 * c, d0);
            } else {
              acc[(k * C + c) * V] += x[k * KERNEL_BLOCK + c] * d0;
              if (V > 1)
                acc[(k * C + c) * V + V - 1] += x[k * KERNEL_BLOCK + c] * d1;
            }
          }
        }
      }
    }
  }
  UNROLL
  for (int i = 0; i < K * C * V; i++)
    vec_store(j->dw + i * LANES, vec_load(j->dw + i * LANES) + acc[i]);
}

#define ONE(K, C)                                                                                  \
  static void one_##K##_##C(const struct kernel_wgrad *j)                                          \
  {                                                                                                \
    accumulate(j, K, C, 1, false);                                                                 \
  }
#define TWO(K, C)                                                                                  \
  static void two_##K##_##C(const struct kernel_wgrad *j)                                          \
  {                                                                                                \
    accumulate(j, K, C, 2, false);                                                                 \
  }
#define HALF(K, C)                                                                                 \
  static void half_##K##_##C(const struct kernel_wgrad *j)                                         \
  {                                                                                                \
    accumulate(j, K, C, 1, true);                                                                  \
  }

#define UP_TO_2(T, K) T(K, 1) T(K, 2)
#define UP_TO_4(T, K) UP_TO_2(T, K) T(K, 3) T(K, 4)
#define UP_TO_8(T, K) UP_TO_4(T, K) T(K, 5) T(K, 6) T(K, 7) T(K, 8)
#define UP_TO_16(T, K)                                                                             \
  UP_TO_8(T, K) T(K, 9) T(K, 10) T(K, 11) T(K, 12) T(K, 13) T(K, 14) T(K, 15) T(K, 16)
#if REGISTERS == 32
#define ONES(T) UP_TO_16(T, 1) UP_TO_4(T, 3)
#define TWOS(T) UP_TO_8(T, 1) UP_TO_4(T, 3)
#else
#define ONES(T) UP_TO_8(T, 1) UP_TO_4(T, 3)
#define TWOS(T) UP_TO_4(T, 1) UP_TO_2(T, 3)
#endif
#define HALVES(T) UP_TO_8(T, 1) UP_TO_4(T, 3)

ONES(ONE)
TWOS(TWO)
#if LANES == 16
HALVES(HALF)
#endif

typedef void wgrad_function(const struct kernel_wgrad *);

#define ENTRY1(K, C) [KERNEL_ONE][K][C] = one_##K##_##C,
#define ENTRY2(K, C) [KERNEL_TWO][K][C] = two_##K##_##C,
#define ENTRYH(K, C) [KERNEL_HALF][K][C] = half_##K##_##C,

static wgrad_function *const functions[KERNEL_FORMS][4][MAX_CHANNELS + 1] = {ONES(ENTRY1)
                                                                                 TWOS(ENTRY2)
#if LANES == 16
                                                                                     HALVES(ENTRYH)
#endif
};

void KERNEL(wgrad)(const struct kernel_wgrad *j)
{
  functions[j->form][j->taps][j->channels](j);
}

/* The rest of the table: copies and elementwise passes that need no file of their own. */

/* n pixels of `count` channels, `stride` floats apart, into slots of 16. */
INLINE void fill_pixels(const float *from, size_t stride, unsigned n, unsigned count, float *to)
{
  if (count == KERNEL_BLOCK) {
    for (unsigned i = 0; i < n; i++, from += stride, to += KERNEL_BLOCK)
      memcpy(to, from, KERNEL_BLOCK * sizeof *to);
  } else if (count == KERNEL_BLOCK / 2) {
    for (unsigned i = 0; i < n; i++, from += stride, to += KERNEL_BLOCK)
      memcpy(to, from, KERNEL_BLOCK / 2 * sizeof *to);
  } else {
    const unsigned part = count % LANES;
    for (unsigned i = 0; i < n; i++, from += stride, to += KERNEL_BLOCK) {
      for (unsigned c = 0; c < count - part; c += LANES)
        vec_store(to + c, vec_load(from + c));
      /* The slot's other lanes are 0 anyway. */
      vec_store(to + count - part, vec_load_part(from + count - part, part));
    }
  }
}

static void fill(const struct kernel_grid *g, unsigned h, unsigned w, const float *x, float *grid)
{
  const size_t line = (size_t)g->cols * KERNEL_BLOCK;
  for (unsigned phase = 0; phase < g->phases; phase++) {
    /* The first column of this phase, where it goes, and how many there are. */
    const unsigned first = (phase + g->phases - g->left % g->phases) % g->phases;
    const unsigned col = (first + g->left) / g->phases;
    unsigned n = first < w ? (w - first + g->phases - 1) / g->phases : 0;
    n = col >= g->cols ? 0 : n < g->cols - col ? n : g->cols - col;
    for (unsigned b = 0; b < g->blocks; b++) {
      const unsigned left = g->channels - b * KERNEL_BLOCK;
      const unsigned count = left < KERNEL_BLOCK ? left : KERNEL_BLOCK;
      const float *from = x + (size_t)first * g->x_pixel + b * KERNEL_BLOCK;
      float *to = grid + (((size_t)b * g->rows + g->top) * g->phases + phase) * line +
                  (size_t)col * KERNEL_BLOCK;
      for (unsigned iy = 0; iy < h && iy + g->top < g->rows; iy++) {
        fill_pixels(from, g->phases * g->x_pixel, n, count, to);
        from += w * g->x_pixel;
        to += g->phases * line;
      }
    }
  }
}

static void pairs(size_t pixels, unsigned channels, const float *from, size_t stride, float *to,
                  size_t width)
{
  for (size_t i = 0; i < pixels; i++, from += stride, to += width) {
#if LANES == 16
    if (channels == LANES / 2) {
      vec_store(to, make_pairs(*(const half_any *)from));
      continue;
    }
#endif
    for (unsigned c = 0; c < LANES / 2; c++)
      to[2 * c] = to[2 * c + 1] = c < channels ? from[c] : 0;
  }
}

static void bias(size_t rows, unsigned c, const float *b, bool relu, float *y)
{
  for (size_t r = 0; r < rows; r++, y += c) {
    unsigned i = 0;
    for (; i + LANES <= c; i += LANES) {
      vec v = vec_load(y + i) + vec_load(b + i);
      vec_store(y + i, relu ? vec_mask(v, v) : v);
    }
    for (; i < c; i++) {
      float v = y[i] + b[i];
      y[i] = relu && v <= 0 ? 0 : v;
    }
  }
}

static void mask(size_t n, const float *y, float *dy)
{
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    vec_store(dy + i, vec_mask(vec_load(dy + i), vec_load(y + i)));
  for (; i < n; i++)
    dy[i] = y[i] <= 0 ? 0 : dy[i];
}

static void sgd(size_t n, float lr, float momentum, float weight_decay, float *w, float *v,
                const float *grad)
{
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    const vec wi = vec_load(w + i);
    const vec vi = momentum * vec_load(v + i) + (vec_load(grad + i) + weight_decay * wi);
    vec_store(v + i, vi);
    vec_store(w + i, wi - lr * vi);
  }
  for (; i < n; i++) {
    v[i] = momentum * v[i] + (grad[i] + weight_decay * w[i]);
    w[i] -= lr * v[i];
  }
}

const struct kernels KERNEL_TABLE = {
    .isa = KERNEL_NAME,
    .token = &KERNEL_TOKEN_TABLE,
    .winograd = &KERNEL_WINOGRAD_TABLE,
    .lanes = LANES,
    .half = LANES == 16,
    .wgrad_channels = {MAX_ONE, MAX_TWO, MAX_HALF},
    .wgrad_near = {NEAR_ONE, NEAR_TWO, NEAR_HALF},
    .fill = fill,
    .pairs = pairs,
    .conv = KERNEL(conv),
    .wgrad = KERNEL(wgrad),
    .depthwise = KERNEL(depthwise),
    .depthwise_grad = KERNEL(depthwise_grad),
    .norm_sums = KERNEL(norm_sums),
    .norm_apply = KERNEL(norm_apply),
    .norm_grad_sums = KERNEL(norm_grad_sums),
    .norm_grad = KERNEL(norm_grad),
    .bias = bias,
    .mask = mask,
    .sgd = sgd,
    .adamw = KERNEL(adamw),
};
