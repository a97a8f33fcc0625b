/* Depthwise 7x7 convolution: a vector of channels, a row of output pixels in registers.
 *
 * An input pixel is loaded once for all taps of a row that it meets.  Nothing is padded: rows
 * and columns outside of the image are left out, which on small images is most of the work. */
#include "engine/kernels_vec.h"

enum { SIDE = KERNEL_DEPTHWISE_SIDE, REACH = SIDE / 2, TAPS = SIDE * SIDE };

/* Registers: pixels, a row of taps, and what is loaded. */
enum { MAX_COLS = REGISTERS == 32 ? 14 : 7 };
/* Rows that all blocks of channels go over before the next ones. */
enum { BAND = 4 };

/* The weight gradient's: rows of taps, pixels of dy, and what is loaded. */
enum { GRAD_COLS = 7, GRAD_ROWS = REGISTERS == 32 ? 3 : 1 };

INLINE vec get(const float *p, const bool whole, unsigned channels)
{
  return whole ? vec_load(p) : vec_load_part(p, channels);
}

INLINE void put(float *p, vec v, const bool whole, unsigned channels)
{
  if (whole)
    vec_store(p, v);
  else
    vec_store_part(p, v, channels);
}

/* Where a tile lies, and what its block of channels has. */

struct tile {
  const struct kernel_depthwise *job;
  unsigned row, col; /* first output pixel */
  unsigned first, channels;
};

INLINE void tile(const struct tile *t, const int P, const bool whole)
{
  const struct kernel_depthwise *j = t->job;
  const unsigned c = j->c, n = t->channels;
  const size_t line = (size_t)j->w * c;
  vec acc[MAX_COLS];
  const vec bias = j->bias ? get(j->bias + t->first, whole, n) : (vec){0};
  UNROLL
  for (int p = 0; p < P; p++)
    acc[p] = bias;
  const unsigned top = t->row < REACH ? REACH - t->row : 0;
  const unsigned bottom = j->h + REACH - t->row < SIDE ? j->h + REACH - t->row : SIDE;
  const float *weights = j->weights + ((size_t)t->first * SIDE + (size_t)top * LANES) * SIDE;
  for (unsigned k = top; k < bottom; k++, weights += SIDE * LANES) {
    /* The first pixel that a tap meets may lie left of the image: then it is not read. */
    const float *x = j->x + (t->row + k - REACH) * line + t->first;
    vec w[SIDE];
    UNROLL
    for (int q = 0; q < SIDE; q++)
      w[q] = vec_load(weights + q * LANES);
    UNROLL
    for (int i = 0; i < P + SIDE - 1; i++) {
      const unsigned at = t->col + (unsigned)i - REACH;
      if (at >= j->w)
        continue;
      const vec v = get(x + (size_t)at * c, whole, n);
      UNROLL
      for (int p = 0; p < P; p++) {
        if (i >= p && i - p < SIDE)
          acc[p] += v * w[i >= p && i - p < SIDE ? i - p : 0];
      }
    }
  }
  float *y = j->y + t->row * line + (size_t)t->col * c + t->first;
  UNROLL
  for (int p = 0; p < P; p++, y += c)
    put(y, j->add ? get(y, whole, n) + acc[p] : acc[p], whole, n);
}

typedef void tile_function(const struct tile *);

#define TILES(P)                                                                                   \
  static void whole_##P(const struct tile *t)                                                      \
  {                                                                                                \
    tile(t, P, true);                                                                              \
  }                                                                                                \
  static void part_##P(const struct tile *t)                                                       \
  {                                                                                                \
    tile(t, P, false);                                                                             \
  }
#define ENTRY(P) [P] = {part_##P, whole_##P},
#define UP_TO_7(T) T(1) T(2) T(3) T(4) T(5) T(6) T(7)
#if REGISTERS == 32
#define WIDTHS(T) UP_TO_7(T) T(8) T(9) T(10) T(11) T(12) T(13) T(14)
#else
#define WIDTHS(T) UP_TO_7(T)
#endif

WIDTHS(TILES)

static tile_function *const tiles[MAX_COLS + 1][2] = {WIDTHS(ENTRY)};

INLINE void one_row(struct tile *t)
{
  unsigned cols, strips = (t->job->w + MAX_COLS - 1) / MAX_COLS;
  for (t->col = 0; strips; strips--, t->col += cols) {
    cols = (t->job->w - t->col + strips - 1) / strips;
    tiles[cols][t->channels == LANES](t);
  }
}

void KERNEL(depthwise)(const struct kernel_depthwise *j)
{
  struct tile t = {.job = j};
  for (unsigned row = 0; row < j->h; row += BAND) {
    for (t.first = 0; t.first < j->c; t.first += LANES) {
      t.channels = j->c - t.first < LANES ? j->c - t.first : LANES;
      for (t.row = row; t.row < j->h && t.row < row + BAND; t.row++)
        one_row(&t);
    }
  }
}

/* ---- gradient of the weights ---- */

struct sum {
  const struct kernel_depthwise_grad *job;
  unsigned first, channels; /* of the block */
  unsigned tap;             /* first row of taps */
};

/* K rows of taps, strips of P pixels; in the last one dy may end before. */
INLINE void sum(const struct sum *s, const int K, const int P, const bool whole)
{
  const struct kernel_depthwise_grad *j = s->job;
  const unsigned c = j->pixel, n = s->channels;
  const size_t line = (size_t)j->w * c, sample = j->h * line;
  vec acc[GRAD_ROWS * SIDE];
  vec bias = {0};
  UNROLL
  for (int q = 0; q < K * SIDE; q++)
    acc[q] = (vec){0};
  for (unsigned r = 0; r < j->samples * j->rows; r++) {
    const unsigned row = j->row + r % j->rows;
    const float *x = j->x + r / j->rows * sample + s->first;
    const float *dy = j->dy + r / j->rows * sample + row * line + s->first;
    for (unsigned col = 0; col < j->w; col += (unsigned)P) {
      vec d[GRAD_COLS];
      UNROLL
      for (int p = 0; p < P; p++)
        d[p] = col + (unsigned)p < j->w ? get(dy + (size_t)(col + (unsigned)p) * c, whole, n)
                                        : (vec){0};
      if (!s->tap) {
        UNROLL
        for (int p = 0; p < P; p++)
          bias += d[p];
      }
      UNROLL
      for (int k = 0; k < K; k++) {
        const unsigned from = row + s->tap + (unsigned)k - REACH;
        if (from >= j->h)
          continue;
        UNROLL
        for (int i = 0; i < P + SIDE - 1; i++) {
          const unsigned at = col + (unsigned)i - REACH;
          if (at >= j->w)
            continue;
          const vec v = get(x + from * line + (size_t)at * c, whole, n);
          UNROLL
          for (int q = 0; q < SIDE; q++) {
            if (i >= q && i - q < P)
              acc[k * SIDE + q] += v * d[i >= q && i - q < P ? i - q : 0];
          }
        }
      }
    }
  }
  float *dw = j->dw + ((size_t)s->first * SIDE + (size_t)s->tap * LANES) * SIDE;
  UNROLL
  for (int q = 0; q < K * SIDE; q++)
    vec_store(dw + q * LANES, vec_load(dw + q * LANES) + acc[q]);
  if (!s->tap) {
    float *to = j->dbias + s->first;
    put(to, get(to, whole, n) + bias, whole, n);
  }
}

typedef void sum_function(const struct sum *);

#define SUM(K, P)                                                                                  \
  static void sum_whole_##K##_##P(const struct sum *s)                                             \
  {                                                                                                \
    sum(s, K, P, true);                                                                            \
  }                                                                                                \
  static void sum_part_##K##_##P(const struct sum *s)                                              \
  {                                                                                                \
    sum(s, K, P, false);                                                                           \
  }
#define SUM_ENTRY(K, P) [K][P] = {sum_part_##K##_##P, sum_whole_##K##_##P},
#define SUMS_OF(T, K) T(K, 1) T(K, 2) T(K, 3) T(K, 4) T(K, 5) T(K, 6) T(K, 7)
#if REGISTERS == 32
#define SUMS(T) SUMS_OF(T, 2) SUMS_OF(T, 3)
#else
#define SUMS(T) SUMS_OF(T, 1)
#endif

SUMS(SUM)

static sum_function *const sums[GRAD_ROWS + 1][GRAD_COLS + 1][2] = {SUMS(SUM_ENTRY)};

void KERNEL(depthwise_grad)(const struct kernel_depthwise_grad *j)
{
  struct sum s = {.job = j};
  const unsigned strips = (j->w + GRAD_COLS - 1) / GRAD_COLS, cols = (j->w + strips - 1) / strips;
  for (s.first = 0; s.first < j->channels; s.first += LANES) {
    s.channels = j->channels - s.first < LANES ? j->channels - s.first : LANES;
    unsigned rows;
    for (s.tap = 0; s.tap < SIDE; s.tap += rows) {
      rows = REGISTERS == 16 ? 1 : s.tap ? 2 : 3;
      sums[rows][cols][s.channels == LANES](&s);
    }
  }
}
