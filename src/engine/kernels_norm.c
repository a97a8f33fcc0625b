/* Batch normalisation: passes over rows of c channels with per-channel constants.
 *
 * Where c divides the vector and the rows lie behind each other, several rows
 * make one: the constants are repeated.  Sums run in floats over short
 * stretches, then in doubles. */
#include "engine/kernels_vec.h"

enum { STRETCH = 64 };

typedef double double_vec __attribute__((vector_size(8 * LANES)));
typedef double double_any __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

/* Rows of c, or of LANES where c divides it. */
struct rows {
  size_t rows;
  unsigned c;
  size_t x_row, y_row;
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
  *r = (struct rows){.rows = j->rows,
                     .c = j->c,
                     .x_row = j->x_row,
                     .y_row = j->y_row,
                     .a = j->a,
                     .b = j->b,
                     .s = j->s};
  if (j->c >= LANES || LANES % j->c || j->x_row != j->c || j->y_row != j->c)
    return;
  const size_t n = j->rows * j->c;
  r->rows = n / LANES;
  r->rest = n % LANES;
  r->c = LANES;
  r->x_row = r->y_row = LANES;
  r->a = repeat(j->a, j->c, r->store[0]);
  r->b = repeat(j->b, j->c, r->store[1]);
  r->s = repeat(j->s, j->c, r->store[2]);
}

/* A vector, or the `part` lanes of one that are there (part 0: all). */
INLINE vec get(const float *p, unsigned part)
{
  return part ? vec_load_part(p, part) : vec_load(p);
}

INLINE void set(float *p, vec v, unsigned part)
{
  if (part)
    vec_store_part(p, v, part);
  else
    vec_store(p, v);
}

/* Adds the lanes to sum[first...]; where several rows of c make a vector, around and around. */
INLINE void add_lanes(vec v, const unsigned lanes, double *sum, unsigned first, unsigned c)
{
  if (lanes == LANES && c >= LANES) {
    double_any *to = (double_any *)(sum + first);
    *to += __builtin_convertvector(v, double_vec);
    return;
  }
  float values[LANES];
  vec_store(values, v);
  if (c >= LANES) {
    for (unsigned i = 0; i < lanes; i++)
      sum[first + i] += (double)values[i];
    return;
  }
  for (unsigned i = 0, k = 0; i < lanes; i++, k = k + 1 < c ? k + 1 : 0)
    sum[k] += (double)values[i];
}

/* Four rows at a time hide the latency of the additions. */
INLINE void sums_column(const float *x, size_t rows, size_t row, vec a, const unsigned part,
                        vec *sum, vec *square)
{
  vec s[4] = {{0}}, q[4] = {{0}};
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    UNROLL
    for (int k = 0; k < 4; k++) {
      const vec d = get(x + (r + (unsigned)k) * row, part) - a;
      s[k] += d;
      q[k] += d * d;
    }
  }
  for (; r < rows; r++) {
    const vec d = get(x + r * row, part) - a;
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
  const unsigned part = f.c % LANES, whole = f.c - part;
  for (size_t r = 0; r < f.rows; r += STRETCH) {
    const size_t rows = f.rows - r < STRETCH ? f.rows - r : STRETCH;
    const float *x = j->x + r * f.x_row;
    vec s, q;
    for (unsigned i = 0; i < whole; i += LANES) {
      sums_column(x + i, rows, f.x_row, vec_load(f.a + i), 0, &s, &q);
      add_lanes(s, LANES, sum, i, j->c);
      add_lanes(q, LANES, square, i, j->c);
    }
    if (part) {
      sums_column(x + whole, rows, f.x_row, get(f.a + whole, part), part, &s, &q);
      add_lanes(s, part, sum, whole, j->c);
      add_lanes(q, part, square, whole, j->c);
    }
  }
  const float *x = j->x + f.rows * f.x_row;
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

INLINE void apply_vec(const struct rows *f, const float *x, const float *residual, const bool add,
                      const bool relu, float *y, unsigned i, unsigned part)
{
  vec v = get(x + i, part) * get(f->a + i, part) + get(f->b + i, part);
  if (add)
    v += get(residual + i, part);
  set(y + i, relu ? vec_mask(v, v) : v, part);
}

INLINE void apply(const struct rows *f, const float *x, const float *residual, const bool add,
                  const bool relu, float *y)
{
  const unsigned part = f->c % LANES, whole = f->c - part;
  for (size_t r = 0; r < f->rows; r++, x += f->x_row, y += f->y_row) {
    for (unsigned i = 0; i < whole; i += LANES)
      apply_vec(f, x, residual, add, relu, y, i, 0);
    if (part)
      apply_vec(f, x, residual, add, relu, y, whole, part);
    residual += add ? f->y_row : 0;
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

/* One vector of channels over some rows. */
struct column {
  const float *x, *y;
  float *dy;
  size_t rows, x_row, y_row;
  vec a;
};

INLINE void grad_row(const struct column *c, const bool relu, const unsigned part, size_t r, vec *s,
                     vec *q)
{
  vec g = get(c->dy + r * c->y_row, part);
  if (relu) {
    g = vec_mask(g, get(c->y + r * c->y_row, part));
    set(c->dy + r * c->y_row, g, part);
  }
  *s += g;
  *q += g * (get(c->x + r * c->x_row, part) - c->a);
}

INLINE void grad_column(const struct column *c, const bool relu, const unsigned part, vec *sum,
                        vec *product)
{
  vec s[4] = {{0}}, q[4] = {{0}};
  size_t r = 0;
  for (; r + 4 <= c->rows; r += 4) {
    UNROLL
    for (unsigned k = 0; k < 4; k++)
      grad_row(c, relu, part, r + k, &s[k], &q[k]);
  }
  for (; r < c->rows; r++)
    grad_row(c, relu, part, r, &s[0], &q[0]);
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

INLINE void grad_sums(const struct kernel_norm *j, const struct rows *f, const float *y,
                      const bool relu, float *dy, double *sum, double *product)
{
  const unsigned part = f->c % LANES, whole = f->c - part;
  for (size_t r = 0; r < f->rows; r += STRETCH) {
    struct column c = {.rows = f->rows - r < STRETCH ? f->rows - r : STRETCH,
                       .x_row = f->x_row,
                       .y_row = f->y_row};
    for (unsigned i = 0; i < f->c; i += LANES) {
      vec s, q;
      c.x = j->x + r * f->x_row + i;
      c.y = relu ? y + r * f->y_row + i : NULL;
      c.dy = dy + r * f->y_row + i;
      c.a = get(f->a + i, i < whole ? 0 : part);
      if (i < whole)
        grad_column(&c, relu, 0, &s, &q);
      else
        grad_column(&c, relu, part, &s, &q);
      add_lanes(s, i < whole ? LANES : part, sum, i, j->c);
      add_lanes(q, i < whole ? LANES : part, product, i, j->c);
    }
  }
}

void KERNEL(norm_grad_sums)(const struct kernel_norm *j, const float *y, float *dy, double *sum,
                            double *product)
{
  struct rows f;
  fold_rows(j, &f);
  if (y)
    grad_sums(j, &f, y, true, dy, sum, product);
  else
    grad_sums(j, &f, y, false, dy, sum, product);
  const size_t at = f.rows * f.x_row;
  for (size_t i = 0; i < f.rest; i++)
    grad_one(j->x[at + i], y ? y + at + i : NULL, dy + at + i, f.a[i], sum + i % j->c,
             product + i % j->c);
}

INLINE void grad_vec(const struct rows *f, const float *x, const float *dy, const bool add,
                     float *dx, unsigned i, unsigned part)
{
  vec v = get(dy + i, part) * get(f->a + i, part) +
          (get(x + i, part) * get(f->b + i, part) + get(f->s + i, part));
  if (add)
    v += get(dx + i, part);
  set(dx + i, v, part);
}

INLINE void grad(const struct rows *f, const float *x, const float *dy, const bool add, float *dx)
{
  const unsigned part = f->c % LANES, whole = f->c - part;
  for (size_t r = 0; r < f->rows; r++, x += f->x_row, dy += f->y_row, dx += f->x_row) {
    for (unsigned i = 0; i < whole; i += LANES)
      grad_vec(f, x, dy, add, dx, i, 0);
    if (part)
      grad_vec(f, x, dy, add, dx, whole, part);
  }
  for (size_t i = 0; i < f->rest; i++)
    dx[i] = (add ? dx[i] : 0) + (dy[i] * f->a[i] + (x[i] * f->b[i] + f->s[i]));
}

void KERNEL(norm_grad)(const struct kernel_norm *j, const float *dy, bool add, float *dx)
{
  struct rows f;
  fold_rows(j, &f);
  if (add)
    grad(&f, j->x, dy, true, dx);
  else
    grad(&f, j->x, dy, false, dx);
}
