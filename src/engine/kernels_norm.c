/* Batch normalisation: passes over [rows][c] with per-channel constants.
 *
 * Where c divides the vector, several rows make one: the constants are
 * repeated.  Sums run in floats over short stretches, then in doubles. */
#include "engine/kernels_vec.h"

enum { STRETCH = 64 };

/* n values as rows of c >= LANES, or of LANES where c divides it. */
struct rows {
  size_t rows;
  unsigned c;
  size_t rest; /* floats behind the last whole row (c < LANES alone) */
  const float *a, *b, *s;
  float store[3][LANES];
};

static const float *repeat(const float *v, unsigned c, float store[LANES])
{
  if (!v)
    return NULL;
  for (unsigned i = 0; i < LANES; i++)
    store[i] = v[i % c];
  return store;
}

static void fold_rows(const struct kernel_norm *j, struct rows *r)
{
  *r = (struct rows){.rows = j->rows, .c = j->c, .a = j->a, .b = j->b, .s = j->s};
  if (j->c >= LANES || LANES % j->c)
    return;
  const size_t n = j->rows * j->c;
  r->rows = n / LANES;
  r->rest = n % LANES;
  r->c = LANES;
  r->a = repeat(j->a, j->c, r->store[0]);
  r->b = repeat(j->b, j->c, r->store[1]);
  r->s = repeat(j->s, j->c, r->store[2]);
}

static void add_lanes(vec v, double *sum, unsigned first, unsigned c)
{
  float lanes[LANES];
  vec_store(lanes, v);
  for (unsigned i = 0; i < LANES; i++)
    sum[(first + i) % c] += (double)lanes[i];
}

/* Four rows at a time hide the latency of the additions. */
INLINE void sums_column(const float *x, size_t rows, unsigned c, vec a, vec *sum, vec *square)
{
  vec s[4] = {{0}}, q[4] = {{0}};
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    UNROLL
    for (int k = 0; k < 4; k++) {
      const vec d = vec_load(x + (r + (unsigned)k) * c) - a;
      s[k] += d;
      q[k] += d * d;
    }
  }
  for (; r < rows; r++) {
    const vec d = vec_load(x + r * c) - a;
    s[0] += d;
    q[0] += d * d;
  }
  *sum = s[0] + s[1] + (s[2] + s[3]);
  *square = q[0] + q[1] + (q[2] + q[3]);
}

void KERNEL(norm_sums)(const struct kernel_norm *j, double *sum, double *square)
{
  struct rows f;
  fold_rows(j, &f);
  const unsigned whole = f.c - f.c % LANES;
  for (size_t r = 0; r < f.rows; r += STRETCH) {
    const size_t rows = f.rows - r < STRETCH ? f.rows - r : STRETCH;
    const float *x = j->x + r * f.c;
    for (unsigned i = 0; i < whole; i += LANES) {
      vec s, q;
      sums_column(x + i, rows, f.c, vec_load(f.a + i), &s, &q);
      add_lanes(s, sum, i, j->c);
      add_lanes(q, square, i, j->c);
    }
    for (unsigned i = whole; i < f.c; i++) {
      for (size_t k = 0; k < rows; k++) {
        const float d = x[k * f.c + i] - f.a[i];
        sum[i] += (double)d;
        square[i] += (double)(d * d);
      }
    }
  }
  const float *x = j->x + f.rows * f.c;
  for (size_t i = 0; i < f.rest; i++) {
    const float d = x[i] - f.a[i];
    sum[i % j->c] += (double)d;
    square[i % j->c] += (double)(d * d);
  }
}

INLINE float apply_one(float x, float a, float b, float residual, bool relu)
{
  const float v = x * a + b + residual;
  return relu && v <= 0 ? 0 : v;
}

INLINE void apply(const struct rows *f, const float *x, const float *residual, const bool add,
                  const bool relu, float *y)
{
  for (size_t r = 0; r < f->rows; r++, x += f->c, y += f->c) {
    unsigned i = 0;
    for (; i + LANES <= f->c; i += LANES) {
      vec v = vec_load(x + i) * vec_load(f->a + i) + vec_load(f->b + i);
      if (add)
        v += vec_load(residual + i);
      vec_store(y + i, relu ? vec_mask(v, v) : v);
    }
    for (; i < f->c; i++)
      y[i] = apply_one(x[i], f->a[i], f->b[i], add ? residual[i] : 0, relu);
    residual += add ? f->c : 0;
  }
  for (size_t i = 0; i < f->rest; i++)
    y[i] = apply_one(x[i], f->a[i], f->b[i], add ? residual[i] : 0, relu);
}

void KERNEL(norm_apply)(const struct kernel_norm *j, const float *residual, bool relu, float *y)
{
  struct rows f;
  fold_rows(j, &f);
  if (residual && relu)
    apply(&f, j->x, residual, true, true, y);
  else if (residual)
    apply(&f, j->x, residual, true, false, y);
  else if (relu)
    apply(&f, j->x, residual, false, true, y);
  else
    apply(&f, j->x, residual, false, false, y);
}

INLINE void grad_column(const float *x, const float *y, float *dy, const bool relu, size_t rows,
                        unsigned c, vec a, vec *sum, vec *product)
{
  vec s[4] = {{0}}, q[4] = {{0}};
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    UNROLL
    for (int k = 0; k < 4; k++) {
      const size_t at = (r + (unsigned)k) * c;
      vec g = vec_load(dy + at);
      if (relu) {
        g = vec_mask(g, vec_load(y + at));
        vec_store(dy + at, g);
      }
      s[k] += g;
      q[k] += g * (vec_load(x + at) - a);
    }
  }
  for (; r < rows; r++) {
    vec g = vec_load(dy + r * c);
    if (relu) {
      g = vec_mask(g, vec_load(y + r * c));
      vec_store(dy + r * c, g);
    }
    s[0] += g;
    q[0] += g * (vec_load(x + r * c) - a);
  }
  *sum = s[0] + s[1] + (s[2] + s[3]);
  *product = q[0] + q[1] + (q[2] + q[3]);
}

INLINE void grad_one(float x, const float *y, float *dy, float a, double *sum, double *product)
{
  if (y && *y <= 0)
    *dy = 0;
  *sum += (double)*dy;
  *product += (double)(*dy * (x - a));
}

void KERNEL(norm_grad_sums)(const struct kernel_norm *j, const float *y, float *dy, double *sum,
                            double *product)
{
  struct rows f;
  fold_rows(j, &f);
  const unsigned whole = f.c - f.c % LANES;
  for (size_t r = 0; r < f.rows; r += STRETCH) {
    const size_t rows = f.rows - r < STRETCH ? f.rows - r : STRETCH, at = r * f.c;
    for (unsigned i = 0; i < whole; i += LANES) {
      vec s, q;
      const vec a = vec_load(f.a + i);
      if (y)
        grad_column(j->x + at + i, y + at + i, dy + at + i, true, rows, f.c, a, &s, &q);
      else
        grad_column(j->x + at + i, NULL, dy + at + i, false, rows, f.c, a, &s, &q);
      add_lanes(s, sum, i, j->c);
      add_lanes(q, product, i, j->c);
    }
    for (unsigned i = whole; i < f.c; i++) {
      for (size_t k = at + i; k < at + rows * f.c; k += f.c)
        grad_one(j->x[k], y ? y + k : NULL, dy + k, f.a[i], sum + i, product + i);
    }
  }
  const size_t at = f.rows * f.c;
  for (size_t i = 0; i < f.rest; i++)
    grad_one(j->x[at + i], y ? y + at + i : NULL, dy + at + i, f.a[i], sum + i % j->c,
             product + i % j->c);
}

void KERNEL(norm_grad)(const struct kernel_norm *j, const float *dy, float *dx)
{
  struct rows f;
  fold_rows(j, &f);
  const float *x = j->x;
  for (size_t r = 0; r < f.rows; r++, x += f.c, dy += f.c, dx += f.c) {
    unsigned i = 0;
    for (; i + LANES <= f.c; i += LANES)
      vec_store(dx + i, vec_load(dy + i) * vec_load(f.a + i) +
                            (vec_load(x + i) * vec_load(f.b + i) + vec_load(f.s + i)));
    for (; i < f.c; i++)
      dx[i] = dy[i] * f.a[i] + (x[i] * f.b[i] + f.s[i]);
  }
  for (size_t i = 0; i < f.rest; i++)
    dx[i] = dy[i] * f.a[i] + (x[i] * f.b[i] + f.s[i]);
}
