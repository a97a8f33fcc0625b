/* Every operation against a naive reference in double, for every instruction
 * set of this machine; and gradients against central differences of the
 * reference. */
#include "config.h"

#include "base/arena.h"
#include "base/rng.h"
#include "engine/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const sets[] = {"baseline", "avx2", "avx512"};
enum { SETS = sizeof sets / sizeof *sets };

static float *random_floats(struct arena *a, size_t n, uint32_t stream)
{
  struct rng r = rng_at(7, RNG_TEST, stream, 0, 0);
  float *v = arena_array(a, n ? n : 1, sizeof *v);
  for (size_t i = 0; i < n; i++)
    v[i] = (float)rng_normal(&r);
  return v;
}

static void assert_near(const float *got, const double *want, size_t n, double tolerance,
                        const char *what)
{
  for (size_t i = 0; i < n; i++) {
    if (!(fabs((double)got[i] - want[i]) <= tolerance * (1 + fabs(want[i]))))
      fail_msg("%s: [%zu] is %.9g, not %.9g", what, i, (double)got[i], want[i]);
  }
}

/* The sum over outputs of upstream[i] * y[i], whose gradient is checked. */
static double dot(const double *y, const float *upstream, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += y[i] * (double)upstream[i];
  return sum;
}

static double *widen(struct arena *a, const float *x, size_t n)
{
  double *y = arena_array(a, n ? n : 1, sizeof *y);
  for (size_t i = 0; i < n; i++)
    y[i] = (double)x[i];
  return y;
}

/* ---- convolution ---- */

struct conv_case {
  struct ops_conv c;
  unsigned n;
};

static size_t x_at(const struct ops_conv *c, unsigned n, unsigned y, unsigned x, unsigned k)
{
  return (((size_t)n * c->h + y) * c->w + x) * c->ci + k;
}

static size_t w_at(const struct ops_conv *c, unsigned o, unsigned i, unsigned ky, unsigned kx)
{
  return (((size_t)o * c->ci + i) * c->k + ky) * c->k + kx;
}

/* Calls visit for every product of the convolution. */
typedef void product(void *context, size_t x, size_t w, size_t y);

static void each_product(const struct ops_conv *c, unsigned n, product *visit, void *context)
{
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w);
  for (size_t p = 0; p < (size_t)n * oh * ow; p++) {
    size_t y = p * ops_conv_y_pixel(c);
    const unsigned s = (unsigned)(p / (oh * ow)), oy = (unsigned)(p / ow % oh),
                   ox = (unsigned)(p % ow);
    for (unsigned o = 0; o < c->co; o++, y++) {
      for (unsigned t = 0; t < c->k * c->k * c->ci; t++) {
        const unsigned i = t % c->ci, ky = t / c->ci / c->k, kx = t / c->ci % c->k;
        const unsigned iy = oy * c->stride + ky - c->pad, ix = ox * c->stride + kx - c->pad;
        if (iy < c->h && ix < c->w)
          visit(context, x_at(c, s, iy, ix, i), w_at(c, o, i, ky, kx), y);
      }
    }
  }
}

struct conv_reference {
  const float *x, *w, *dy;
  double *y, *dx, *dw;
};

static void add_product(void *context, size_t x, size_t w, size_t y)
{
  const struct conv_reference *r = context;
  r->y[y] += (double)r->x[x] * (double)r->w[w];
  r->dx[x] += (double)r->w[w] * (double)r->dy[y];
  r->dw[w] += (double)r->x[x] * (double)r->dy[y];
}

static void check_conv(const struct ops *ops, const struct conv_case *k)
{
  struct arena *a = arena_new();
  const struct ops_conv *c = &k->c;
  const size_t nx = (size_t)k->n * c->h * c->w * c->ci, nw = (size_t)c->co * c->ci * c->k * c->k;
  const size_t pixels = (size_t)k->n * ops_conv_out(c, c->h) * ops_conv_out(c, c->w);
  const size_t ny = pixels * ops_conv_y_pixel(c);
  float *w = random_floats(a, nw, 2);
  struct conv_reference r = {.x = random_floats(a, nx, 1),
                             .w = w,
                             .dy = random_floats(a, ny, 3),
                             .y = arena_array(a, ny, sizeof *r.y),
                             .dx = arena_array(a, nx, sizeof *r.dx),
                             .dw = arena_array(a, nw, sizeof *r.dw)};
  /* As weights are drawn: what Winograd's tiles add up differently stays small beside y. */
  for (size_t i = 0; i < nw; i++)
    w[i] /= sqrtf((float)(c->ci * c->k * c->k));
  each_product(c, k->n, add_product, &r);
  const size_t scratch_bytes = ops->conv_scratch(ops, c, k->n) * sizeof(float);
  float *scratch = mem_alloc(scratch_bytes);
  memset(scratch, 0xff, scratch_bytes); /* NaN: nothing may be read that was not written */
  float *y = arena_array(a, ny, sizeof *y), *dx = arena_array(a, nx, sizeof *dx);
  float *dw = arena_array(a, nw, sizeof *dw);
  char what[128];
  snprintf(what, sizeof what, "%s conv %ux%u %u->%u k%u s%u p%u n%u", ops->isa, c->h, c->w, c->ci,
           c->co, c->k, c->stride, c->pad, k->n);
  memset(y, 0xff, ny * sizeof *y);
  memset(dx, 0xff, nx * sizeof *dx);
  memset(dw, 0xff, nw * sizeof *dw);
  ops->conv_forward(ops, c, k->n, r.x, r.w, y, scratch);
  for (size_t i = 0; i < ny; i++) { /* other channels between the pixels are left alone */
    if (i % ops_conv_y_pixel(c) < c->co)
      continue;
    assert_true(isnan(y[i]));
    y[i] = 0;
  }
  assert_near(y, r.y, ny, 1e-4, what);
  memset(scratch, 0xff, scratch_bytes);
  ops->conv_backward_weights(ops, c, k->n, r.x, r.dy, dw, scratch);
  assert_near(dw, r.dw, nw, 1e-4, what);
  memset(scratch, 0xff, scratch_bytes);
  ops->conv_backward_data(ops, c, k->n, r.dy, r.w, dx, false, scratch);
  assert_near(dx, r.dx, nx, 1e-4, what);
  for (size_t i = 0; i < nx; i++)
    r.dx[i] += (double)dx[i];
  ops->conv_backward_data(ops, c, k->n, r.dy, r.w, dx, true, scratch);
  assert_near(dx, r.dx, nx, 1e-4, what);
  free(scratch);
  arena_free(a);
}

static void conv_matches_reference(void **state)
{
  (void)state;
  static const struct conv_case cases[] = {
      {{14, 14, 16, 16, 3, 1, 1, 0}, 2},  {{14, 14, 2, 16, 3, 1, 1, 0}, 3},
      {{14, 14, 8, 8, 3, 1, 1, 0}, 2},    {{14, 14, 16, 32, 3, 2, 1, 0}, 2},
      {{7, 7, 32, 64, 3, 2, 1, 0}, 5},    {{4, 4, 64, 64, 3, 1, 1, 0}, 5},
      {{14, 14, 16, 32, 1, 2, 0, 0}, 2},  {{7, 7, 32, 64, 1, 2, 0, 0}, 3},
      {{9, 11, 3, 5, 3, 1, 1, 0}, 2},     {{5, 3, 7, 9, 3, 2, 1, 0}, 4},
      {{6, 6, 17, 33, 3, 1, 1, 0}, 2},    {{13, 29, 1, 24, 3, 1, 1, 0}, 1},
      {{1, 1, 19, 21, 3, 1, 1, 0}, 2},    {{2, 2, 4, 4, 3, 2, 1, 0}, 2},
      {{1, 5, 3, 3, 1, 2, 0, 0}, 2},      {{8, 8, 6, 10, 5, 1, 2, 0}, 2},
      {{9, 9, 5, 12, 5, 3, 2, 0}, 2},     {{10, 7, 4, 3, 7, 2, 3, 0}, 2},
      {{6, 7, 31, 48, 1, 1, 0, 0}, 3},    {{8, 8, 40, 20, 3, 1, 0, 0}, 2},
      {{6, 6, 12, 18, 2, 2, 0, 0}, 2},    {{32, 32, 3, 8, 3, 1, 1, 0}, 2},
      {{16, 15, 9, 7, 3, 2, 1, 0}, 2},    {{4, 4, 300, 140, 3, 1, 1, 0}, 2},
      {{4, 4, 160, 270, 3, 2, 1, 0}, 20}, {{40, 40, 16, 16, 3, 1, 1, 0}, 1},
      {{3, 3, 2, 2, 3, 1, 1, 0}, 5},      {{7, 7, 48, 12, 3, 1, 1, 60}, 3},
      {{7, 6, 16, 32, 3, 1, 1, 40}, 3},   {{6, 6, 16, 4, 3, 1, 1, 20}, 4},
      {{9, 7, 12, 8, 3, 2, 1, 9}, 3},     {{6, 6, 24, 48, 1, 1, 0, 49}, 3},
      {{20, 17, 3, 16, 7, 2, 3, 0}, 2},
  };
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops) {
      print_message("%s: not of this machine\n", sets[s]);
      continue;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
      check_conv(ops, &cases[i]);
  }
}

/* All combinations of small sizes around the vectors' and the tiles' edges. */
static void conv_matches_reference_at_edges(void **state)
{
  (void)state;
  static const unsigned channels[] = {1, 2, 4, 5, 8, 9, 12, 16, 20, 24, 25, 32, 36};
  enum { CHANNELS = sizeof channels / sizeof *channels };
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    for (unsigned i = 0; ops && i < CHANNELS * CHANNELS; i++) {
      const unsigned k = i % 2 ? 3 : 1;
      const struct conv_case c = {{1 + i % 5, 1 + i % 17, channels[i % CHANNELS],
                                   channels[i / CHANNELS], k, 1 + i % 3 % 2, k / 2,
                                   i % 4 ? 0 : channels[i / CHANNELS] + i % 7},
                                  1 + i % 3};
      check_conv(ops, &c);
    }
  }
}

static double distance(const float *got, const double *want, size_t n)
{
  double off = 0, all = 0;
  for (size_t i = 0; i < n; i++) {
    off += pow((double)got[i] - want[i], 2);
    all += want[i] * want[i];
  }
  return sqrt(off / all);
}

/* Sums of thousands of products, of inputs and of pixels: added up one by one in a float they
 * would be 0.8 and 1.1 millionths off. */
static void conv_sums_in_stretches(void **state)
{
  (void)state;
  static const struct conv_case cases[] = {{{8, 8, 512, 16, 3, 2, 1, 0}, 2},
                                           {{64, 64, 2, 4, 3, 1, 1, 0}, 2}};
  for (int k = 0; k < 2 * SETS; k++) {
    const struct ops *ops = ops_cpu_isa(sets[k / 2]);
    if (!ops)
      continue;
    struct arena *a = arena_new();
    const struct ops_conv *c = &cases[k % 2].c;
    const unsigned n = cases[k % 2].n;
    const size_t nx = (size_t)n * c->h * c->w * c->ci, ny = (size_t)n * c->h * c->w * c->co;
    const size_t nw = (size_t)c->co * c->ci * c->k * c->k;
    struct conv_reference r = {.x = random_floats(a, nx, 1),
                               .w = random_floats(a, nw, 2),
                               .dy = random_floats(a, ny, 3),
                               .y = arena_array(a, ny, sizeof *r.y),
                               .dx = arena_array(a, nx, sizeof *r.dx),
                               .dw = arena_array(a, nw, sizeof *r.dw)};
    each_product(c, n, add_product, &r);
    float *scratch = mem_alloc(ops->conv_scratch(ops, c, n) * sizeof(float));
    float *y = arena_array(a, ny, sizeof *y), *dw = arena_array(a, nw, sizeof *dw);
    ops->conv_forward(ops, c, n, r.x, r.w, y, scratch);
    ops->conv_backward_weights(ops, c, n, r.x, r.dy, dw, scratch);
    assert_true(distance(y, r.y, ny) < 4e-7);
    assert_true(distance(dw, r.dw, nw) < 5e-7);
    free(scratch);
    arena_free(a);
  }
}

static void conv_is_the_same_every_time(void **state)
{
  (void)state;
  const struct ops_conv c = {14, 14, 16, 16, 3, 1, 1, 0};
  const struct ops *ops = ops_cpu();
  struct arena *a = arena_new();
  const size_t n = 4 * 14 * 14 * 16;
  const float *x = random_floats(a, n, 1), *dy = random_floats(a, n, 2);
  float *scratch = mem_alloc(ops->conv_scratch(ops, &c, 4) * sizeof(float));
  float *first = arena_array(a, 16 * 16 * 9, sizeof *first);
  float *again = arena_array(a, 16 * 16 * 9, sizeof *again);
  ops->conv_backward_weights(ops, &c, 4, x, dy, first, scratch);
  ops->conv_backward_weights(ops, &c, 4, x, dy, again, scratch);
  assert_memory_equal(first, again, 16 * 16 * 9 * sizeof *first);
  free(scratch);
  arena_free(a);
}

/* ---- batch norm ---- */

struct norm_case {
  size_t rows;
  unsigned c, x_row, y_row; /* floats from one row to the next */
  bool relu, residual;
  const float *x, *residual_values, *gamma, *beta, *dy;
};

/* y of the whole operation in training mode, in double. */
static void norm_reference(const struct norm_case *k, const double *x, const double *gamma,
                           const double *beta, double *y)
{
  for (unsigned c = 0; c < k->c; c++) {
    double mean = 0, var = 0;
    for (size_t r = 0; r < k->rows; r++)
      mean += x[r * k->c + c] / (double)k->rows;
    for (size_t r = 0; r < k->rows; r++)
      var += pow(x[r * k->c + c] - mean, 2) / (double)k->rows;
    for (size_t r = 0; r < k->rows; r++) {
      const size_t i = r * k->c + c;
      y[i] = (x[i] - mean) / sqrt(var + 1e-5) * gamma[c] + beta[c];
      y[i] += k->residual ? (double)k->residual_values[i] : 0;
      y[i] = k->relu && y[i] < 0 ? 0 : y[i];
    }
  }
}

struct norm_result {
  float *mean, *inv_std, *y, *dy, *dx, *dgamma, *dbeta;
};

/* Rows of c floats `row` apart, with NaN between them; and back, which must still be there. */
static float *spread(struct arena *a, const float *v, size_t rows, unsigned c, unsigned row)
{
  float *to = arena_array(a, rows * row, sizeof *to);
  for (size_t i = 0; i < rows * row; i++)
    to[i] = i % row < c ? v[i / row * c + i % row] : NAN;
  return to;
}

static float *gather(struct arena *a, const float *v, size_t rows, unsigned c, unsigned row)
{
  float *to = arena_array(a, rows * c, sizeof *to);
  for (size_t i = 0; i < rows * row; i++) {
    if (i % row < c)
      to[i / row * c + i % row] = v[i];
    else
      assert_true(isnan(v[i]));
  }
  return to;
}

/* The gradient comes once as it is, and once, with `added`, added to something. */
static struct norm_result run_norm(const struct ops *ops, struct arena *a,
                                   const struct norm_case *k, bool added)
{
  const size_t n = k->rows * k->c;
  const struct ops_rows rows = {k->rows, k->c, k->x_row, k->y_row};
  struct norm_result r;
  float **vectors[] = {&r.mean, &r.inv_std, &r.dgamma, &r.dbeta};
  for (int i = 0; i < 4; i++)
    *vectors[i] = arena_array(a, k->c, sizeof(float));
  const float *x = spread(a, k->x, k->rows, k->c, k->x_row);
  const float *residual = spread(a, k->residual_values, k->rows, k->c, k->y_row);
  float *y = spread(a, k->dy, k->rows, k->c, k->y_row),
        *dy = arena_copy(a, y, k->rows * k->y_row * 4);
  float *dx = arena_copy(a, x, k->rows * k->x_row * sizeof *x);
  float *scale = arena_array(a, k->c, sizeof *scale), *shift = arena_array(a, k->c, sizeof *shift);
  ops->norm_statistics(ops, &rows, x, r.mean, r.inv_std);
  for (unsigned c = 0; c < k->c; c++) {
    r.inv_std[c] = 1 / sqrtf(r.inv_std[c] + 1e-5f);
    scale[c] = k->gamma[c] * r.inv_std[c];
    shift[c] = k->beta[c] - r.mean[c] * scale[c];
  }
  ops->norm_apply(ops, &rows, x, scale, shift, k->residual ? residual : NULL, k->relu, y);
  ops->norm_backward(ops, &rows, x, y, k->relu, r.mean, r.inv_std, k->gamma, dy, dx, added,
                     r.dgamma, r.dbeta);
  r.y = gather(a, y, k->rows, k->c, k->y_row);
  r.dy = gather(a, dy, k->rows, k->c, k->y_row);
  r.dx = gather(a, dx, k->rows, k->c, k->x_row);
  for (size_t i = 0; added && i < n; i++)
    r.dx[i] -= k->x[i];
  if (k->x_row == k->y_row && !added) { /* in place, and not wanted */
    float *again = spread(a, k->dy, k->rows, k->c, k->y_row), *none = arena_copy(a, dy, 4);
    ops->norm_backward(ops, &rows, x, y, k->relu, r.mean, r.inv_std, k->gamma, again, again, false,
                       r.dgamma, r.dbeta);
    assert_memory_equal(gather(a, again, k->rows, k->c, k->y_row), r.dx, n * sizeof *again);
    ops->norm_backward(ops, &rows, x, y, k->relu, r.mean, r.inv_std, k->gamma, dy, NULL, false,
                       r.dgamma, r.dbeta);
    assert_memory_equal(none, dy, 4);
  }
  return r;
}

static double norm_objective(const struct norm_case *k, const double *x, const double *gamma,
                             const double *beta, double *y)
{
  norm_reference(k, x, gamma, beta, y);
  return dot(y, k->dy, k->rows * k->c);
}

/* Central differences by one of x, gamma, beta; entries where a ReLU flips are
 * rare and give a wide miss: none is hit with these seeds. */
static void check_norm_gradient(const struct norm_case *k, double *by, size_t n, const double *x,
                                const double *gamma, const double *beta, double *y,
                                const float *got, const char *what)
{
  const double h = 1e-6;
  for (size_t i = 0; i < n; i += 1 + n / 23) {
    const double was = by[i];
    by[i] = was + h;
    const double up = norm_objective(k, x, gamma, beta, y);
    by[i] = was - h;
    const double down = norm_objective(k, x, gamma, beta, y);
    by[i] = was;
    const double want = (up - down) / (2 * h);
    assert_near(&got[i], &want, 1, 2e-4, what);
  }
}

static void check_norm(const struct ops *ops, size_t rows, unsigned c, unsigned gap, bool relu,
                       bool residual)
{
  struct arena *a = arena_new();
  const size_t n = rows * c;
  struct norm_case k = {rows,
                        c,
                        c + gap / 3,
                        c + gap % 3,
                        relu,
                        residual,
                        random_floats(a, n, 4),
                        random_floats(a, n, 5),
                        random_floats(a, c, 6),
                        random_floats(a, c, 7),
                        random_floats(a, n, 8)};
  double *x = widen(a, k.x, n), *gamma = widen(a, k.gamma, c), *beta = widen(a, k.beta, c);
  double *y = arena_array(a, n, sizeof *y);
  const struct norm_result r = run_norm(ops, a, &k, gap % 2);
  char what[96];
  snprintf(what, sizeof what, "%s norm %zux%u gap %u%s%s", ops->isa, rows, c, gap,
           relu ? " relu" : "", residual ? " residual" : "");
  norm_reference(&k, x, gamma, beta, y);
  assert_near(r.y, y, n, 2e-5, what);
  for (size_t i = 0; i < n; i++) /* dy is the residual's gradient now */
    assert_true(r.dy[i] == (relu && y[i] <= 0 ? 0 : k.dy[i]) || fabs(y[i]) < 1e-5);
  check_norm_gradient(&k, x, n, x, gamma, beta, y, r.dx, what);
  check_norm_gradient(&k, gamma, c, x, gamma, beta, y, r.dgamma, what);
  check_norm_gradient(&k, beta, c, x, gamma, beta, y, r.dbeta, what);
  arena_free(a);
}

static void norm_matches_reference(void **state)
{
  (void)state;
  static const unsigned channels[] = {1, 2, 3, 4, 8, 12, 16, 20, 32, 65};
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    for (unsigned i = 0; ops && i < 4 * sizeof channels / sizeof *channels; i++) {
      check_norm(ops, 37 + 60 * (i % 3), channels[i / 4], 0, i & 1, i & 2);
      check_norm(ops, 37 + 60 * (i % 3), channels[i / 4], 1 + i % 8, i & 1, i & 2);
    }
  }
}

/* Statistics of values far from zero must not cancel. */
static void norm_statistics_are_exact_far_from_zero(void **state)
{
  (void)state;
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    struct arena *a = arena_new();
    enum { ROWS = 5000, C = 6 };
    float *x = random_floats(a, ROWS * C, 9), mean[C], var[C];
    double want_mean[C] = {0}, want_var[C] = {0};
    for (int i = 0; i < ROWS * C; i++)
      x[i] = x[i] * 0.1f + 1000;
    for (int i = 0; i < ROWS * C; i++)
      want_mean[i % C] += (double)x[i] / ROWS;
    for (int i = 0; i < ROWS * C; i++)
      want_var[i % C] += pow((double)x[i] - want_mean[i % C], 2) / ROWS;
    ops->norm_statistics(ops, &(struct ops_rows){ROWS, C, C, C}, x, mean, var);
    assert_near(mean, want_mean, C, 1e-6, "mean");
    for (int c = 0; c < C; c++)
      assert_true(fabs((double)var[c] / want_var[c] - 1) < 1e-4);
    arena_free(a);
  }
}

/* A diverged run must show: no ReLU may turn NaN into 0. */
static void relu_keeps_nan(void **state)
{
  (void)state;
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    float x[40], y[40];
    const float one = 1, zero = 0;
    for (int i = 0; i < 40; i++)
      x[i] = i % 2 ? NAN : -1;
    ops->norm_apply(ops, &(struct ops_rows){40, 1, 1, 1}, x, &one, &zero, NULL, true, y);
    for (int i = 0; i < 40; i++)
      assert_true(i % 2 ? isnan(y[i]) : y[i] == 0);
  }
}

/* ---- linear, pool, flatten, loss, sgd ---- */

static void check_linear(const struct ops *ops, unsigned n, unsigned in, unsigned out, bool relu)
{
  struct arena *a = arena_new();
  const float *x = random_floats(a, n * in, 1), *w = random_floats(a, out * in, 2);
  const float *b = random_floats(a, out, 3), *upstream = random_floats(a, n * out, 4);
  double *y = arena_array(a, n * out, sizeof *y), *dx = arena_array(a, n * in, sizeof *dx);
  double *dw = arena_array(a, out * in, sizeof *dw), *db = arena_array(a, out, sizeof *db);
  for (unsigned i = 0; i < n * out; i++) {
    const unsigned s = i / out, o = i % out;
    y[i] = (double)b[o];
    for (unsigned k = 0; k < in; k++)
      y[i] += (double)x[s * in + k] * (double)w[o * in + k];
    const double g = relu && y[i] <= 0 ? 0 : (double)upstream[i];
    y[i] = relu && y[i] < 0 ? 0 : y[i];
    db[o] += g;
    for (unsigned k = 0; k < in; k++) {
      dx[s * in + k] += g * (double)w[o * in + k];
      dw[o * in + k] += g * (double)x[s * in + k];
    }
  }
  float *got = arena_array(a, n * out, sizeof *got), *dy = arena_copy(a, upstream, n * out * 4);
  float *gx = arena_array(a, n * in, sizeof *gx), *gw = arena_array(a, out * in, sizeof *gw);
  float *gb = arena_array(a, out, sizeof *gb);
  const struct ops_dense d = {.in = in, .out = out};
  float *scratch = mem_alloc(ops->dense_scratch(ops, &d) * sizeof *scratch);
  ops->linear_forward(ops, n, in, out, x, w, b, relu, got, scratch);
  assert_near(got, y, n * out, 1e-4, "linear");
  ops->linear_backward(ops, n, in, out, x, w, relu ? got : NULL, dy, gx, false, gw, gb, scratch);
  assert_near(gx, dx, n * in, 1e-4, "linear dx");
  assert_near(gw, dw, out * in, 1e-4, "linear dw");
  assert_near(gb, db, out, 1e-4, "linear db");
  ops->linear_backward(ops, n, in, out, x, w, relu ? got : NULL, dy, gx, true, gw, gb, scratch);
  for (unsigned i = 0; i < n * in; i++)
    dx[i] *= 2;
  assert_near(gx, dx, n * in, 1e-4, "linear dx, added");
  free(scratch);
  arena_free(a);
}

static void linear_matches_reference(void **state)
{
  (void)state;
  static const unsigned shapes[][3] = {
      {1, 1, 1}, {3, 7, 5}, {32, 196, 33}, {5, 64, 100}, {2, 300, 17}};
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    for (int i = 0; ops && i < 10; i++)
      check_linear(ops, shapes[i / 2][0], shapes[i / 2][1], shapes[i / 2][2], i % 2);
  }
}

static void pool_and_flatten_follow_their_definitions(void **state)
{
  (void)state;
  const struct ops *ops = ops_cpu();
  struct arena *a = arena_new();
  enum { N = 3, PIXELS = 35, C = 6, ALL = N * PIXELS * C };
  const float *x = random_floats(a, ALL, 1), *dy = random_floats(a, ALL, 2);
  float y[ALL], dx[ALL];
  ops->pool_forward(ops, N, PIXELS, C, x, y);
  ops->pool_backward(ops, N, PIXELS, C, dy, dx, false);
  for (int i = 0; i < N * C; i++) {
    double mean = 0;
    for (int p = 0; p < PIXELS; p++) {
      const int at = (i / C * PIXELS + p) * C + i % C;
      mean += (double)x[at] / PIXELS;
      assert_true(fabsf(dx[at] - dy[i] / PIXELS) < 1e-7f);
    }
    assert_near(&y[i], &mean, 1, 1e-6, "pool");
  }
  ops->pool_backward(ops, N, PIXELS, C, dy, dx, true);
  assert_true(fabsf(dx[C - 1] - 2 * dy[C - 1] / PIXELS) < 1e-6f);
  ops->flatten_forward(ops, N, PIXELS, C, x, y);
  for (int i = 0; i < ALL; i++) { /* y is [n][c][pixel] */
    const int n = i / (PIXELS * C), c = i / PIXELS % C, p = i % PIXELS;
    assert_true(y[i] == x[(n * PIXELS + p) * C + c]);
  }
  ops->flatten_backward(ops, N, PIXELS, C, y, dx, false);
  assert_memory_equal(dx, x, sizeof dx);
  ops->flatten_backward(ops, N, PIXELS, C, y, dx, true);
  for (int i = 0; i < ALL; i++)
    assert_true(dx[i] == 2 * x[i]);
  ops->flatten_forward(ops, N, PIXELS * C, 1, x, y);
  assert_memory_equal(y, x, sizeof y);
  arena_free(a);
}

/* Means and maxima of windows, in double. */
static void window_reference(const struct ops_conv *c, unsigned n, bool max, const double *x,
                             double *y)
{
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w);
  for (size_t i = 0; i < (size_t)n * oh * ow * c->co; i++) {
    const unsigned o = (unsigned)(i % c->co), p = (unsigned)(i / c->co % (oh * ow));
    const unsigned s = (unsigned)(i / c->co / (oh * ow));
    double most = -INFINITY, sum = 0;
    for (unsigned t = 0; t < c->k * c->k; t++) {
      const unsigned iy = p / ow * c->stride + t / c->k - c->pad;
      const unsigned ix = p % ow * c->stride + t % c->k - c->pad;
      if (iy >= c->h || ix >= c->w)
        continue;
      const double v = x[x_at(c, s, iy, ix, o)];
      most = v > most ? v : most;
      sum += v / (c->k * c->k);
    }
    y[(i / c->co) * ops_conv_y_pixel(c) + o] = max ? most : sum;
  }
}

static void run_windows(const struct ops *ops, const struct ops_conv *c, unsigned n, bool max,
                        const float *x, const float *dy, float *y, float *dx, bool add)
{
  if (max) {
    ops->max_forward(ops, c, n, x, y);
    ops->max_backward(ops, c, n, x, dy, dx, add);
  } else {
    ops->average_forward(ops, c, n, x, y);
    ops->average_backward(ops, c, n, dy, dx, add);
  }
}

static void check_windows(const struct ops *ops, const struct ops_conv *c, unsigned n, bool max)
{
  struct arena *a = arena_new();
  const size_t nx = (size_t)n * c->h * c->w * c->ci;
  const size_t ny = (size_t)n * ops_conv_out(c, c->h) * ops_conv_out(c, c->w) * ops_conv_y_pixel(c);
  const float *x = random_floats(a, nx, 1);
  float *upstream = random_floats(a, ny, 2), *y = arena_array(a, ny, sizeof *y);
  float *dx = random_floats(a, nx, 3), *added = random_floats(a, nx, 4);
  for (size_t i = 0; i < ny; i++)
    upstream[i] = i % ops_conv_y_pixel(c) < c->co ? upstream[i] : 0;
  double *wide = widen(a, x, nx), *want = arena_array(a, ny, sizeof *want);
  run_windows(ops, c, n, max, x, upstream, y, dx, false);
  window_reference(c, n, max, wide, want);
  assert_near(y, want, ny, 1e-6, "windows");
  for (size_t i = 0; i < nx; i++) {
    const double was = wide[i], h = 1e-9;
    wide[i] = was + h;
    window_reference(c, n, max, wide, want);
    const double up = dot(want, upstream, ny);
    wide[i] = was - h;
    window_reference(c, n, max, wide, want);
    const double slope = (up - dot(want, upstream, ny)) / (2 * h);
    wide[i] = was;
    assert_near(&dx[i], &slope, 1, 1e-4, "windows' gradient");
  }
  const float *start = arena_copy(a, added, nx * sizeof *added);
  run_windows(ops, c, n, max, x, upstream, y, added, true);
  for (size_t i = 0; i < nx; i++)
    assert_true(fabsf(added[i] - start[i] - dx[i]) < 1e-5f);
  arena_free(a);
}

static void windows_match_their_reference(void **state)
{
  (void)state;
  static const struct ops_conv cases[] = {
      {4, 4, 3, 3, 2, 2, 0, 0},   {7, 5, 18, 18, 2, 2, 0, 20}, {2, 3, 16, 16, 2, 2, 0, 0},
      {6, 6, 2, 2, 3, 2, 0, 0},   {7, 8, 17, 17, 3, 2, 1, 30}, {1, 1, 4, 4, 3, 2, 1, 0},
      {5, 5, 33, 33, 3, 2, 1, 0}, {6, 4, 3, 3, 3, 1, 1, 4},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    check_windows(ops_cpu(), &cases[i], 2, true);
    if (!cases[i].pad)
      check_windows(ops_cpu(), &cases[i], 2, false);
  }
}

/* Of equals the first has the gradient, as in PyTorch; a NaN is never lost. */
static void a_window_has_one_largest(void **state)
{
  (void)state;
  const struct ops *ops = ops_cpu();
  const struct ops_conv c = {2, 2, 1, 1, 2, 2, 0, 0};
  const float equal[4] = {1, 3, 3, 3}, nan[4] = {1, NAN, 7, 2}, one = 1;
  float y, dx[4];
  run_windows(ops, &c, 1, true, equal, &one, &y, dx, false);
  assert_true(y == 3);
  assert_true(dx[0] == 0 && dx[1] == 1 && dx[2] == 0 && dx[3] == 0);
  run_windows(ops, &c, 1, true, nan, &one, &y, dx, false);
  assert_true(isnan(y));
  assert_true(dx[1] == 1 && dx[2] == 0);
}

static double softmax_reference(const double *logits, const int32_t *labels, unsigned n, unsigned c)
{
  double loss = 0;
  for (unsigned i = 0; i < n; i++) {
    double sum = 0;
    for (unsigned k = 0; k < c; k++)
      sum += exp(logits[i * c + k]);
    loss += (log(sum) - logits[i * c + (unsigned)labels[i]]) / n;
  }
  return loss;
}

static void softmax_loss_matches_reference(void **state)
{
  (void)state;
  const struct ops *ops = ops_cpu();
  struct arena *a = arena_new();
  enum { N = 5, C = 13 };
  const float *logits = random_floats(a, N * C, 1);
  double *wide = widen(a, logits, N * C);
  const int32_t labels[N] = {0, 12, 5, 5, 7};
  float grad[N * C];
  const float loss = ops->softmax_loss(ops, N, C, logits, labels, grad);
  const double want = softmax_reference(wide, labels, N, C);
  assert_near(&loss, &want, 1, 1e-6, "loss");
  assert_true(loss == ops->softmax_loss(ops, N, C, logits, labels, NULL));
  for (int i = 0; i < N * C; i++) {
    const double was = wide[i];
    wide[i] = was + 1e-5;
    const double up = softmax_reference(wide, labels, N, C);
    wide[i] = was - 1e-5;
    const double slope = (up - softmax_reference(wide, labels, N, C)) / 2e-5;
    wide[i] = was;
    assert_near(&grad[i], &slope, 1, 1e-6, "softmax gradient");
  }
  const float huge[3] = {1e30f, 0, -1e30f};
  const int32_t second = 1;
  assert_true(ops->softmax_loss(ops, 1, 3, huge, &second, NULL) > 9e29f);
  const float nan[3] = {0, NAN, 1};
  assert_true(isnan(ops->softmax_loss(ops, 1, 3, nan, &second, NULL)));
  arena_free(a);
}

static void sgd_follows_its_formula(void **state)
{
  (void)state;
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    struct arena *a = arena_new();
    enum { N = 53 };
    float *w = random_floats(a, N, 1), *v = random_floats(a, N, 2), *g = random_floats(a, N, 3);
    double *want_w = widen(a, w, N), *want_v = widen(a, v, N);
    for (int i = 0; i < N; i++) {
      want_v[i] = 0.9 * want_v[i] + ((double)g[i] + 5e-4 * want_w[i]);
      want_w[i] -= 0.1 * want_v[i];
    }
    ops->sgd(ops, N, 0.1f, 0.9f, 5e-4f, w, v, g);
    assert_near(w, want_w, N, 1e-6, "sgd w");
    assert_near(v, want_v, N, 1e-6, "sgd v");
    arena_free(a);
  }
}

static void isa_is_chosen_by_name(void **state)
{
  (void)state;
  assert_null(ops_cpu_isa("sse9"));
  assert_non_null(ops_cpu_isa("baseline"));
  assert_string_equal(ops_cpu_isa("baseline")->isa, "baseline");
  setenv("MERGESCAPE_ISA", "baseline", 1);
  assert_string_equal(ops_cpu()->isa, "baseline");
  unsetenv("MERGESCAPE_ISA");
  assert_string_equal(ops_cpu()->numerics, "f32-cpu");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(conv_matches_reference),
      cmocka_unit_test(conv_matches_reference_at_edges),
      cmocka_unit_test(conv_sums_in_stretches),
      cmocka_unit_test(conv_is_the_same_every_time),
      cmocka_unit_test(norm_matches_reference),
      cmocka_unit_test(norm_statistics_are_exact_far_from_zero),
      cmocka_unit_test(relu_keeps_nan),
      cmocka_unit_test(linear_matches_reference),
      cmocka_unit_test(pool_and_flatten_follow_their_definitions),
      cmocka_unit_test(windows_match_their_reference),
      cmocka_unit_test(a_window_has_one_largest),
      cmocka_unit_test(softmax_loss_matches_reference),
      cmocka_unit_test(sgd_follows_its_formula),
      cmocka_unit_test(isa_is_chosen_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
