/* Direct convolution: a tile of pixels times one or two vectors of channels. */
#include "engine/kernels_vec.h"

/* Registers for accumulators; the rest holds weights and a broadcast. */
#if REGISTERS == 32
enum { ACCUMULATORS = 28, MAX_COLS = 14 };
#else
enum { ACCUMULATORS = 12, MAX_COLS = 12 };
#endif
enum { MAX_ROWS = 4, STRETCH = 16 /* segments: up to 256 products */ };

struct tile {
  const struct kernel_conv *job;
  const float *x;
  float *y;
};

INLINE void put(float *y, vec v, bool add)
{
  vec_store(y, add ? vec_load(y) + v : v);
}

/* Stores the first `channels` of n lanes. */
INLINE void put_part(float *y, const float *lanes, unsigned channels, bool add)
{
  for (unsigned i = 0; i < channels; i++)
    y[i] = add ? y[i] + lanes[i] : lanes[i];
}

INLINE void store_pixel(float *y, const vec *acc, const int V, unsigned channels, bool add)
{
  if (channels == (unsigned)(V * LANES)) {
    put(y, acc[0], add);
    if (V > 1)
      put(y + LANES, acc[V - 1], add);
    return;
  }
  float lanes[KERNEL_MAX_VECTORS * LANES];
  vec_store(lanes, acc[0]);
  vec_store(lanes + LANES, acc[V - 1]);
  put_part(y, lanes, channels, add);
}

#if LANES == 16
INLINE void store_half(float *y, vec acc, unsigned channels, bool add)
{
  const half_vec v = fold_pairs(acc);
  if (channels == LANES / 2) {
    half_any *to = (half_any *)y;
    *to = add ? (half_vec)*to + v : v;
    return;
  }
  float lanes[LANES / 2];
  memcpy(lanes, &v, sizeof lanes);
  put_part(y, lanes, channels, add);
}

INLINE vec multiply_half(vec acc, const float *x, vec w)
{
  return acc + broadcast_pair(x) * w;
}
#else
/* Narrower vectors have no half blocks: never called. */
INLINE void store_half(float *y, vec acc, unsigned channels, bool add)
{
  store_pixel(y, &acc, 1, channels, add);
}

INLINE vec multiply_half(vec acc, const float *x, vec w)
{
  return acc + *x * w;
}
#endif

INLINE void store_tile(const struct tile *t, const vec *acc, const int R, const int P, const int V,
                       const bool half)
{
  const struct kernel_conv *j = t->job;
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int p = 0; p < P; p++) {
      float *y = t->y + (size_t)r * j->y_row + (size_t)p * j->y_pixel;
      if (half)
        store_half(y, acc[r * P + p], j->channels, j->add);
      else
        store_pixel(y, acc + (r * P + p) * V, V, j->channels, j->add);
    }
  }
}

/* What was summed so far goes aside: the rounding error of a sum grows with the root of its
 * length, and 512 channels times 9 taps are 4608 products. */
INLINE void carry(vec *acc, vec *total, const int n)
{
  UNROLL
  for (int i = 0; i < n; i++) {
    total[i] += acc[i];
    acc[i] = (vec){0};
  }
}

INLINE void tile(const struct tile *t, const int R, const int P, const int V, const bool half)
{
  const struct kernel_conv *j = t->job;
  const bool far = j->n_segments > STRETCH;
  vec acc[ACCUMULATORS], total[ACCUMULATORS];
  UNROLL
  for (int i = 0; i < R * P * V; i++)
    acc[i] = (vec){0};
  if (far)
    memset(total, 0, sizeof *total * (unsigned)(R * P * V));
  const size_t row = j->x_row;
  const float *w = j->w;
  const int step = half ? 2 : 1;
  for (size_t s = 0; s < j->n_segments; s++) {
    if (s && s % STRETCH == 0)
      carry(acc, total, R * P * V);
    const float *x = t->x + j->segments[s].offset;
    const float *end = x + j->segments[s].channels;
    for (; x < end; x += step, w += V * LANES) {
      const vec w0 = vec_load(w), w1 = vec_load(w + (V - 1) * LANES);
      UNROLL
      for (int r = 0; r < R; r++) {
        UNROLL
        for (int p = 0; p < P; p++) {
          const float *at = x + (size_t)r * row + p * KERNEL_BLOCK;
          if (half) {
            acc[r * P + p] = multiply_half(acc[r * P + p], at, w0);
          } else {
            acc[(r * P + p) * V] += *at * w0;
            if (V > 1)
              acc[(r * P + p) * V + V - 1] += *at * w1;
          }
        }
      }
    }
  }
  if (far) {
    UNROLL
    for (int i = 0; i < R * P * V; i++)
      acc[i] += total[i];
  }
  store_tile(t, acc, R, P, V, half);
}

#define TILE(R, P)                                                                                 \
  static void one_##R##_##P(const struct tile *t)                                                  \
  {                                                                                                \
    tile(t, R, P, 1, false);                                                                       \
  }
#define TILE2(R, P)                                                                                \
  static void two_##R##_##P(const struct tile *t)                                                  \
  {                                                                                                \
    tile(t, R, P, 2, false);                                                                       \
  }
#define TILEH(R, P)                                                                                \
  static void half_##R##_##P(const struct tile *t)                                                 \
  {                                                                                                \
    tile(t, R, P, 1, true);                                                                        \
  }

#define UP_TO_3(T, R) T(R, 1) T(R, 2) T(R, 3)
#define UP_TO_6(T, R) UP_TO_3(T, R) T(R, 4) T(R, 5) T(R, 6)
#define UP_TO_12(T, R) UP_TO_6(T, R) T(R, 7) T(R, 8) T(R, 9) T(R, 10) T(R, 11) T(R, 12)
#if REGISTERS == 32
#define ONES(T) UP_TO_12(T, 1) T(1, 13) T(1, 14) UP_TO_6(T, 2) T(2, 7) UP_TO_3(T, 4) T(4, 4)
#define TWOS(T) UP_TO_12(T, 1) T(1, 13) T(1, 14) UP_TO_6(T, 2) T(2, 7) UP_TO_3(T, 4)
#else
#define ONES(T) UP_TO_12(T, 1) UP_TO_6(T, 2) UP_TO_3(T, 4)
#define TWOS(T) UP_TO_6(T, 1) UP_TO_3(T, 2) T(4, 1)
#endif

ONES(TILE)
TWOS(TILE2)
#if LANES == 16
ONES(TILEH)
#endif

typedef void tile_function(const struct tile *);

#define ENTRY1(R, P) [KERNEL_ONE][R][P] = one_##R##_##P,
#define ENTRY2(R, P) [KERNEL_TWO][R][P] = two_##R##_##P,
#define ENTRYH(R, P) [KERNEL_HALF][R][P] = half_##R##_##P,

static tile_function *const tiles[KERNEL_FORMS][MAX_ROWS + 1][MAX_COLS + 1] = {
    ONES(ENTRY1) TWOS(ENTRY2)
#if LANES == 16
    ONES(ENTRYH)
#endif
};

/* All rows of a strip of columns. */
static void strip(const struct kernel_conv *j, unsigned col, unsigned cols)
{
  unsigned height = MAX_ROWS;
  for (unsigned row = 0; row < j->rows; row += height) {
    while (height > j->rows - row || !tiles[j->form][height][cols])
      height /= 2;
    const struct tile t = {j, j->x + row * j->x_row + (size_t)col * KERNEL_BLOCK,
                           j->y + row * j->y_row + col * j->y_pixel};
    tiles[j->form][height][cols](&t);
  }
}

void KERNEL(conv)(const struct kernel_conv *j)
{
  const unsigned most = j->form == KERNEL_TWO && ACCUMULATORS / 2 < MAX_COLS ? ACCUMULATORS / 2
                                                                             : MAX_COLS;
  unsigned strips = (j->cols + most - 1) / most;
  for (unsigned col = 0; strips; strips--) {
    unsigned cols = (j->cols - col + strips - 1) / strips;
    strip(j, col, cols);
    col += cols;
  }
}
