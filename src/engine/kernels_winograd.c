/* Winograd's F(4x4, 3x3): the transforms.
 *
 * The polynomials are evaluated at 0, a, -a, b, -b and infinity with a = 11/16, b = 11/8.  Of
 * the points tried these have the smallest error: 8e-7 of the result's standard deviation,
 * where 0, 1, -1, 2, -2 have 1.8e-6 and plain sums 2e-7 to 4e-7 (Barabasz et al. 2020 choose
 * points by such a search).  Opposite points share all but the last addition. */
#include "engine/kernels_winograd.h"
#include "engine/kernels_vec.h"

enum { T = WINOGRAD_TILE, W = WINOGRAD_WINDOW, TAPS = 9 };

#define A 0.6875f
#define B 1.375f
#define AA (A * A)
#define BB (B * B)
/* 1 over the product of a point's distances to the others. */
#define G_ZERO (1 / (AA * BB))
#define G_A (1 / (2 * AA * (AA - BB)))
#define G_B (1 / (2 * BB * (BB - AA)))

static const float zeros[WINOGRAD_MAX_CHANNELS];

INLINE vec get(const float *p, const unsigned part)
{
  return part ? vec_load_part(p, part) : vec_load(p);
}

INLINE void put(float *p, vec v, const unsigned part)
{
  if (part)
    vec_store_part(p, v, part);
  else
    vec_store(p, v);
}

/* B', of every `step`-th. */
INLINE void window_points(const vec *d, const int step, vec *to, const int to_step)
{
  const vec e = d[4 * step] - BB * d[2 * step], o = d[3 * step] - BB * d[step];
  const vec f = d[4 * step] - AA * d[2 * step], p = d[3 * step] - AA * d[step];
  to[0] = d[4 * step] - (AA + BB) * d[2 * step] + AA * BB * d[0];
  to[to_step] = e + A * o;
  to[2 * to_step] = e - A * o;
  to[3 * to_step] = f + B * p;
  to[4 * to_step] = f - B * p;
  to[5 * to_step] = d[5 * step] - (AA + BB) * d[3 * step] + AA * BB * d[step];
}

/* A */
INLINE void tile_points(const vec *y, const int step, vec *to, const int to_step)
{
  const vec e = y[0] + AA * y[2 * step], o = A * y[step] + A * AA * y[3 * step];
  const vec f = y[0] + BB * y[2 * step], p = B * y[step] + B * BB * y[3 * step];
  to[0] = y[0];
  to[to_step] = e + o;
  to[2 * to_step] = e - o;
  to[3 * to_step] = f + p;
  to[4 * to_step] = f - p;
  to[5 * to_step] = y[3 * step];
}

/* A' */
INLINE void points_tile(const vec *m, const int step, vec *to, const int to_step)
{
  const vec s = m[step] + m[2 * step], d = m[step] - m[2 * step];
  const vec t = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
  to[0] = m[0] + s + t;
  to[to_step] = A * d + B * f;
  to[2 * to_step] = AA * s + BB * t;
  to[3 * to_step] = A * AA * d + B * BB * f + m[5 * step];
}

/* G */
INLINE void tap_points(const vec *g, const int step, vec *to, const int to_step)
{
  const vec e = G_A * g[0] + G_A * AA * g[2 * step], o = G_A * A * g[step];
  const vec f = G_B * g[0] + G_B * BB * g[2 * step], p = G_B * B * g[step];
  to[0] = G_ZERO * g[0];
  to[to_step] = e + o;
  to[2 * to_step] = e - o;
  to[3 * to_step] = f + p;
  to[4 * to_step] = f - p;
  to[5 * to_step] = g[2 * step];
}

/* G' */
INLINE void points_taps(const vec *m, const int step, vec *to, const int to_step)
{
  const vec s = m[step] + m[2 * step], d = m[step] - m[2 * step];
  const vec t = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
  to[0] = G_ZERO * m[0] + G_A * s + G_B * t;
  to[to_step] = G_A * A * d + G_B * B * f;
  to[2 * to_step] = G_A * AA * s + G_B * BB * t + m[5 * step];
}

/* Where a tile lies. */
struct place {
  size_t image;
  int row, col; /* of its window or itself; may begin outside */
};

static struct place place(const struct kernel_tiles *t, size_t index)
{
  const size_t n = (size_t)t->down * t->across;
  const unsigned in = (unsigned)(index % n);
  return (struct place){index / n, (int)(in / t->across * T) - (int)t->pad,
                        (int)(in % t->across * T) - (int)t->pad};
}

/* The pixels of a square of `side`; those outside of the image are zeros. */
INLINE void pixels(const struct kernel_tiles *t, const struct place *at, const float *image,
                   const int side, const float **p)
{
  const float *x = image + at->image * t->h * t->w * t->pixel;
  for (int r = 0; r < side; r++) {
    const unsigned row = (unsigned)(at->row + r);
    for (int c = 0; c < side; c++) {
      const unsigned col = (unsigned)(at->col + c);
      p[r * side + c] =
          row < t->h && col < t->w ? x + ((size_t)row * t->w + col) * t->pixel : zeros;
    }
  }
}

INLINE void window(const float *const *p, unsigned c, const unsigned part, float *to, size_t point)
{
  vec t[W * W];
  UNROLL
  for (int j = 0; j < W; j++) {
    vec d[W];
    UNROLL
    for (int i = 0; i < W; i++)
      d[i] = get(p[i * W + j] + c, part);
    window_points(d, 1, t + j, W);
  }
  UNROLL
  for (int i = 0; i < W; i++) {
    vec v[W];
    window_points(t + i * W, 1, v, 1);
    UNROLL
    for (int j = 0; j < W; j++)
      vec_store(to + (size_t)(i * W + j) * point + c, v[j]);
  }
}

static void windows(const struct kernel_tiles *t, const float *x, float *points)
{
  const unsigned part = t->channels % LANES, whole = t->channels - part;
  for (unsigned i = 0; i < t->count; i++) {
    const struct place at = place(t, t->first + i);
    const float *p[W * W];
    pixels(t, &at, x, W, p);
    float *to = points + i * t->tile;
    for (unsigned c = 0; c < whole; c += LANES)
      window(p, c, 0, to, t->point);
    if (part)
      window(p, whole, part, to, t->point);
  }
}

INLINE void tile(const float *const *p, unsigned c, const unsigned part, float *to, size_t point)
{
  vec t[W * T];
  UNROLL
  for (int j = 0; j < T; j++) {
    vec y[T];
    UNROLL
    for (int i = 0; i < T; i++)
      y[i] = get(p[i * T + j] + c, part);
    tile_points(y, 1, t + j, T);
  }
  UNROLL
  for (int i = 0; i < W; i++) {
    vec v[W];
    tile_points(t + i * T, 1, v, 1);
    UNROLL
    for (int j = 0; j < W; j++)
      vec_store(to + (size_t)(i * W + j) * point + c, v[j]);
  }
}

static void tiles(const struct kernel_tiles *t, const float *dy, float *points)
{
  const unsigned part = t->channels % LANES, whole = t->channels - part;
  for (unsigned i = 0; i < t->count; i++) {
    const struct place at = place(t, t->first + i);
    const float *p[T * T];
    pixels(t, &at, dy, T, p);
    float *to = points + i * t->tile;
    for (unsigned c = 0; c < whole; c += LANES)
      tile(p, c, 0, to, t->point);
    if (part)
      tile(p, whole, part, to, t->point);
  }
}

/* Of a tile, `rows` x `cols` pixels are in the image. */
struct target {
  float *y;
  size_t row, pixel;
  unsigned rows, cols;
};

INLINE void tile_back(const float *from, size_t point, const struct target *y, unsigned c,
                      const unsigned part, const bool add)
{
  vec t[T * W];
  UNROLL
  for (int j = 0; j < W; j++) {
    vec m[W];
    UNROLL
    for (int i = 0; i < W; i++)
      m[i] = vec_load(from + (size_t)(i * W + j) * point + c);
    points_tile(m, 1, t + j, W);
  }
  UNROLL
  for (unsigned i = 0; i < T; i++) {
    if (i >= y->rows)
      break;
    vec v[T];
    points_tile(t + i * W, 1, v, 1);
    float *to = y->y + i * y->row + c;
    UNROLL
    for (unsigned j = 0; j < T; j++, to += y->pixel) {
      if (j < y->cols)
        put(to, add ? get(to, part) + v[j] : v[j], part);
    }
  }
}

INLINE void back_to(const struct kernel_tiles *t, const float *points, float *y, const bool add)
{
  const unsigned part = t->channels % LANES, whole = t->channels - part;
  for (unsigned i = 0; i < t->count; i++, points += t->tile) {
    const struct place at = place(t, t->first + i);
    const unsigned down = t->h - (unsigned)at.row, across = t->w - (unsigned)at.col;
    const struct target to = {
        .y = y + ((at.image * t->h + (unsigned)at.row) * t->w + (unsigned)at.col) * t->pixel,
        .row = t->w * t->pixel,
        .pixel = t->pixel,
        .rows = down < T ? down : T,
        .cols = across < T ? across : T,
    };
    for (unsigned c = 0; c < whole; c += LANES)
      tile_back(points, t->point, &to, c, 0, add);
    if (part)
      tile_back(points, t->point, &to, whole, part, add);
  }
}

static void back(const struct kernel_tiles *t, const float *points, float *y, bool add)
{
  if (add)
    back_to(t, points, y, true);
  else
    back_to(t, points, y, false);
}

/* Nine taps of LANES output channels; taps in registers, a channel a lane. */
INLINE void load_taps(const float *w, size_t lane, unsigned lanes, vec taps[TAPS])
{
  UNROLL
  for (int first = 0; first < TAPS; first += LANES) {
    const int n = TAPS - first < LANES ? TAPS - first : LANES;
    vec rows[LANES];
    UNROLL
    for (unsigned i = 0; i < LANES; i++) {
      const float *from = w + first + (i < lanes ? i : lanes - 1) * lane;
      rows[i] = n == LANES ? vec_load(from) : vec_load_part(from, (unsigned)n);
    }
    vec_transpose(rows);
    UNROLL
    for (int i = 0; i < n; i++)
      taps[first + i] = rows[i];
  }
}

INLINE void store_taps(const vec taps[TAPS], float *w, size_t lane, unsigned lanes)
{
  UNROLL
  for (int first = 0; first < TAPS; first += LANES) {
    const int n = TAPS - first < LANES ? TAPS - first : LANES;
    vec rows[LANES];
    UNROLL
    for (int i = 0; i < LANES; i++)
      rows[i] = taps[first + (i < n ? i : 0)];
    vec_transpose(rows);
    for (unsigned i = 0; i < lanes; i++) {
      float *to = w + first + i * lane;
      if (n == LANES)
        vec_store(to, rows[i]);
      else
        vec_store_part(to, rows[i], (unsigned)n);
    }
  }
}

static void taps_of(const struct kernel_taps *k, const float *w, unsigned lanes, float *to)
{
  for (unsigned r = 0; r < k->rows; r++, w += k->row, to += k->width) {
    vec g[TAPS], t[W * 3];
    load_taps(w, k->lane, lanes, g);
    if (k->flip) {
      UNROLL
      for (int i = 0; i < TAPS / 2; i++) {
        const vec v = g[i];
        g[i] = g[TAPS - 1 - i];
        g[TAPS - 1 - i] = v;
      }
    }
    UNROLL
    for (int j = 0; j < 3; j++)
      tap_points(g + j, 3, t + j, 3);
    UNROLL
    for (int i = 0; i < W; i++) {
      vec v[W];
      tap_points(t + i * 3, 1, v, 1);
      UNROLL
      for (int j = 0; j < W; j++)
        vec_store(to + (size_t)(i * W + j) * k->point, v[j]);
    }
  }
}

static void taps(const struct kernel_taps *k, const float *w, float *points)
{
  for (unsigned i = 0; i < k->lanes; i += LANES) {
    const unsigned lanes = k->lanes - i < LANES ? k->lanes - i : LANES;
    taps_of(k, w + i * k->lane, lanes, points + i);
  }
}

static void taps_back(const struct kernel_taps *k, const float *points, float *w)
{
  for (unsigned i = 0; i < k->lanes; i += LANES) {
    const unsigned lanes = k->lanes - i < LANES ? k->lanes - i : LANES;
    for (unsigned r = 0; r < k->rows; r++) {
      const float *from = points + i + r * k->width;
      vec t[3 * W], g[TAPS];
      UNROLL
      for (int j = 0; j < W; j++) {
        vec m[W];
        UNROLL
        for (int p = 0; p < W; p++)
          m[p] = vec_load(from + (size_t)(p * W + j) * k->point);
        points_taps(m, 1, t + j, W);
      }
      UNROLL
      for (int p = 0; p < 3; p++)
        points_taps(t + p * W, 1, g + p * 3, 1);
      store_taps(g, w + i * k->lane + r * k->row, k->lane, lanes);
    }
  }
}

const struct kernels_winograd KERNEL_WINOGRAD_TABLE = {
    .windows = windows, .tiles = tiles, .back = back, .taps = taps, .taps_back = taps_back};
