/* Every operation that networks of all kinds use, but for convolutions: against naive twins in
 * double, gradients against central differences of the twins, for every instruction set. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "twin.h"

#include "base/arena.h"
#include "engine/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- batch norm ---- */

struct norm_shape {
  size_t rows;
  unsigned c, x_row, y_row; /* floats from one row to the next */
  bool relu, residual;
};

/* Training mode: x, gamma, beta, residual. */
static void norm_twin(const struct twin *t, double *y)
{
  const struct norm_shape *s = t->shape;
  for (unsigned c = 0; c < s->c; c++) {
    const double *x = t->in[0] + c;
    double mean = 0, var = 0;
    for (size_t r = 0; r < s->rows; r++)
      mean += x[r * s->c] / (double)s->rows;
    for (size_t r = 0; r < s->rows; r++)
      var += pow(x[r * s->c] - mean, 2) / (double)s->rows;
    for (size_t r = 0; r < s->rows; r++) {
      const size_t i = r * s->c + c;
      y[i] = (x[r * s->c] - mean) / sqrt(var + 1e-5) * t->in[1][c] + t->in[2][c];
      y[i] += s->residual ? t->in[3][i] : 0;
      y[i] = s->relu && y[i] < 0 ? 0 : y[i];
    }
  }
}

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

/* What the backward pass reads, in rows that lie apart. */
struct norm_values {
  struct ops_rows rows;
  const float *x, *gamma;
  float *y, *mean, *inv_std;
};

static struct norm_values norm_forward(const struct ops *ops, struct arena *a,
                                       const struct norm_shape *s, const float *const *in)
{
  struct norm_values v = {.rows = {s->rows, s->c, s->x_row, s->y_row}, .gamma = in[1]};
  v.x = spread(a, in[0], s->rows, s->c, s->x_row);
  v.y = spread(a, in[3], s->rows, s->c, s->y_row);
  const float *residual = arena_copy(a, v.y, s->rows * s->y_row * sizeof *residual);
  v.mean = arena_array(a, s->c, sizeof *v.mean);
  v.inv_std = arena_array(a, s->c, sizeof *v.inv_std);
  float *scale = arena_array(a, s->c, sizeof *scale), *shift = arena_array(a, s->c, sizeof *shift);
  ops->norm_statistics(ops, &v.rows, v.x, v.mean, v.inv_std);
  for (unsigned c = 0; c < s->c; c++) {
    v.inv_std[c] = 1 / sqrtf(v.inv_std[c] + 1e-5f);
    scale[c] = in[1][c] * v.inv_std[c];
    shift[c] = in[2][c] - v.mean[c] * scale[c];
  }
  ops->norm_apply(ops, &v.rows, v.x, scale, shift, s->residual ? residual : NULL, s->relu, v.y);
  return v;
}

/* In place where the rows are as long, and where dx is not wanted. */
static void check_norm_in_place(const struct ops *ops, struct arena *a, const struct norm_shape *s,
                                const struct norm_values *v, const float *upstream,
                                const float *dx)
{
  float *dgamma = arena_array(a, s->c, sizeof *dgamma);
  float *dbeta = arena_array(a, s->c, sizeof *dbeta);
  float *dy = spread(a, upstream, s->rows, s->c, s->y_row);
  ops->norm_backward(ops, &v->rows, v->x, v->y, s->relu, v->mean, v->inv_std, v->gamma, dy, dy,
                     false, dgamma, dbeta);
  assert_memory_equal(gather(a, dy, s->rows, s->c, s->y_row), dx, s->rows * s->c * sizeof *dx);
  ops->norm_backward(ops, &v->rows, v->x, v->y, s->relu, v->mean, v->inv_std, v->gamma, dy, NULL,
                     false, dgamma, dbeta);
}

static void check_norm(const struct ops *ops, const struct norm_shape *s)
{
  struct arena *a = arena_new();
  struct twin t = {.shape = s, .run = norm_twin, .n_y = s->rows * s->c};
  const float *const in[] = {input(a, &t, 0, t.n_y), input(a, &t, 1, s->c), input(a, &t, 2, s->c),
                             input(a, &t, 3, t.n_y)};
  char what[96];
  snprintf(what, sizeof what, "%s norm %zux%u in %u and %u%s%s", ops->isa, s->rows, s->c, s->x_row,
           s->y_row, s->relu ? " relu" : "", s->residual ? " residual" : "");
  const struct norm_values v = norm_forward(ops, a, s, in);
  check_output(a, &t, gather(a, v.y, s->rows, s->c, s->y_row), what);
  const float *upstream = random_floats(a, t.n_y, 8);
  float *dy = spread(a, upstream, s->rows, s->c, s->y_row);
  float *dx = spread(a, in[0], s->rows, s->c, s->x_row);
  float *dgamma = arena_array(a, s->c, sizeof *dgamma);
  float *dbeta = arena_array(a, s->c, sizeof *dbeta);
  ops->norm_backward(ops, &v.rows, v.x, v.y, s->relu, v.mean, v.inv_std, v.gamma, dy, dx, false,
                     dgamma, dbeta);
  dx = gather(a, dx, s->rows, s->c, s->x_row);
  check_gradient(a, &t, 0, upstream, dx, what);
  check_gradient(a, &t, 1, upstream, dgamma, what);
  check_gradient(a, &t, 2, upstream, dbeta, what);
  const float *masked = gather(a, dy, s->rows, s->c, s->y_row);
  if (s->residual)
    check_gradient(a, &t, 3, upstream, masked, what);
  dy = spread(a, upstream, s->rows, s->c, s->y_row);
  float *added = spread(a, in[0], s->rows, s->c, s->x_row);
  ops->norm_backward(ops, &v.rows, v.x, v.y, s->relu, v.mean, v.inv_std, v.gamma, dy, added, true,
                     dgamma, dbeta);
  added = gather(a, added, s->rows, s->c, s->x_row);
  for (size_t i = 0; i < t.n_y; i++)
    assert_near((double)added[i], (double)in[0][i] + (double)dx[i], 1e-5, what, i);
  if (s->x_row == s->y_row)
    check_norm_in_place(ops, a, s, &v, upstream, dx);
  arena_free(a);
}

static void norm_shapes(const struct ops *ops)
{
  static const unsigned channels[] = {1, 2, 3, 4, 8, 12, 16, 20, 32, 65};
  for (unsigned i = 0; i < 8 * sizeof channels / sizeof *channels; i++) {
    const unsigned c = channels[i / 8], gap = i % 2 ? 1 + i / 2 % 8 : 0;
    const struct norm_shape s = {.rows = 37 + 60 * (i / 2 % 3),
                                 .c = c,
                                 .x_row = c + gap / 3,
                                 .y_row = c + gap % 3,
                                 .relu = i & 2,
                                 .residual = i & 4};
    check_norm(ops, &s);
  }
}

static void norm_matches_twin(void **state)
{
  (void)state;
  each_set(norm_shapes);
}

/* Statistics of values far from zero must not cancel. */
static void far_from_zero(const struct ops *ops)
{
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
  for (size_t c = 0; c < C; c++) {
    assert_near((double)mean[c], want_mean[c], 1e-6, "mean", c);
    assert_true(fabs((double)var[c] / want_var[c] - 1) < 1e-4);
  }
  arena_free(a);
}

static void norm_statistics_are_exact_far_from_zero(void **state)
{
  (void)state;
  each_set(far_from_zero);
}

/* A diverged run must show: no ReLU may turn NaN into 0. */
static void nan_in_relu(const struct ops *ops)
{
  float x[40], y[40];
  const float one = 1, zero = 0;
  for (int i = 0; i < 40; i++)
    x[i] = i % 2 ? NAN : -1;
  ops->norm_apply(ops, &(struct ops_rows){40, 1, 1, 1}, x, &one, &zero, NULL, true, y);
  for (int i = 0; i < 40; i++)
    assert_true(i % 2 ? isnan(y[i]) : y[i] == 0);
}

static void relu_keeps_nan(void **state)
{
  (void)state;
  each_set(nan_in_relu);
}

/* ---- linear layers ---- */

struct linear_shape {
  unsigned n, in, out;
  bool relu;
};

static void linear_twin(const struct twin *t, double *y)
{
  const struct linear_shape *s = t->shape;
  for (size_t i = 0; i < t->n_y; i++) {
    const double *x = t->in[0] + i / s->out * s->in, *w = t->in[1] + i % s->out * s->in;
    y[i] = t->in[2][i % s->out];
    for (unsigned k = 0; k < s->in; k++)
      y[i] += x[k] * w[k];
    y[i] = s->relu && y[i] < 0 ? 0 : y[i];
  }
}

static void check_linear(const struct ops *ops, const struct linear_shape *s)
{
  struct arena *a = arena_new();
  struct twin t = {.shape = s, .run = linear_twin, .n_y = (size_t)s->n * s->out};
  const float *x = input(a, &t, 0, (size_t)s->n * s->in);
  const float *w = input(a, &t, 1, (size_t)s->out * s->in), *b = input(a, &t, 2, s->out);
  const float *upstream = random_floats(a, t.n_y, 8);
  float *y = arena_array(a, t.n_y, sizeof *y);
  float *dy = arena_copy(a, upstream, t.n_y * sizeof *dy);
  float *dx = arena_array(a, t.n[0], sizeof *dx), *dw = arena_array(a, t.n[1], sizeof *dw);
  float *db = arena_array(a, s->out, sizeof *db);
  const struct ops_dense d = {.in = s->in, .out = s->out};
  float *scratch = mem_alloc(ops->dense_scratch(ops, &d) * sizeof *scratch);
  ops->linear_forward(ops, s->n, s->in, s->out, x, w, b, s->relu, y, scratch);
  check_output(a, &t, y, "linear");
  const float *masked_by = s->relu ? y : NULL;
  ops->linear_backward(ops, s->n, s->in, s->out, x, w, masked_by, dy, dx, false, dw, db, scratch);
  check_gradient(a, &t, 0, upstream, dx, "linear, dx");
  check_gradient(a, &t, 1, upstream, dw, "linear, dw");
  check_gradient(a, &t, 2, upstream, db, "linear, dbias");
  float *added = arena_copy(a, x, t.n[0] * sizeof *added);
  ops->linear_backward(ops, s->n, s->in, s->out, x, w, masked_by, dy, added, true, dw, db, scratch);
  for (size_t i = 0; i < t.n[0]; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-5, "linear, dx added", i);
  free(scratch);
  arena_free(a);
}

static void linear_shapes(const struct ops *ops)
{
  static const struct linear_shape shapes[] = {
      {1, 1, 1, false}, {3, 7, 5, false}, {32, 196, 33, false}, {5, 64, 100, false},
      {2, 300, 17, false}, {1, 1, 1, true}, {3, 7, 5, true}, {32, 196, 33, true},
      {5, 64, 100, true}, {2, 300, 17, true}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    check_linear(ops, &shapes[i]);
}

static void linear_matches_twin(void **state)
{
  (void)state;
  each_set(linear_shapes);
}

/* ---- pooling, flattening ---- */

enum { SAMPLES = 3, PIXELS = 35, CHANNELS = 6, IMAGES = SAMPLES * PIXELS * CHANNELS };

static void pool_twin(const struct twin *t, double *y)
{
  memset(y, 0, t->n_y * sizeof *y);
  for (size_t i = 0; i < IMAGES; i++)
    y[i / (PIXELS * CHANNELS) * CHANNELS + i % CHANNELS] += t->in[0][i] / PIXELS;
}

/* y is [n][c][pixel] */
static void flatten_twin(const struct twin *t, double *y)
{
  for (size_t i = 0; i < IMAGES; i++) {
    const size_t n = i / (PIXELS * CHANNELS), c = i / PIXELS % CHANNELS, p = i % PIXELS;
    y[i] = t->in[0][(n * PIXELS + p) * CHANNELS + c];
  }
}

static void check_pool(const struct ops *ops)
{
  struct arena *a = arena_new();
  struct twin t = {.run = pool_twin, .n_y = SAMPLES * CHANNELS};
  const float *x = input(a, &t, 0, IMAGES), *dy = random_floats(a, t.n_y, 8);
  float y[SAMPLES * CHANNELS], dx[IMAGES], *added = arena_copy(a, x, sizeof dx);
  ops->pool_forward(ops, SAMPLES, PIXELS, CHANNELS, x, y);
  check_output(a, &t, y, "pool");
  ops->pool_backward(ops, SAMPLES, PIXELS, CHANNELS, dy, dx, false);
  check_gradient(a, &t, 0, dy, dx, "pool, dx");
  ops->pool_backward(ops, SAMPLES, PIXELS, CHANNELS, dy, added, true);
  for (size_t i = 0; i < IMAGES; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-6, "pool, dx added", i);
  arena_free(a);
}

static void check_flatten(const struct ops *ops)
{
  struct arena *a = arena_new();
  struct twin t = {.run = flatten_twin, .n_y = IMAGES};
  const float *x = input(a, &t, 0, IMAGES), *dy = random_floats(a, t.n_y, 8);
  float y[IMAGES], dx[IMAGES], *added = arena_copy(a, x, sizeof dx);
  ops->flatten_forward(ops, SAMPLES, PIXELS, CHANNELS, x, y);
  check_output(a, &t, y, "flatten");
  ops->flatten_backward(ops, SAMPLES, PIXELS, CHANNELS, dy, dx, false);
  check_gradient(a, &t, 0, dy, dx, "flatten, dx");
  ops->flatten_backward(ops, SAMPLES, PIXELS, CHANNELS, dy, added, true);
  for (size_t i = 0; i < IMAGES; i++)
    assert_true(added[i] == x[i] + dx[i]);
  ops->flatten_forward(ops, SAMPLES, PIXELS * CHANNELS, 1, x, y);
  assert_memory_equal(y, x, sizeof y);
  arena_free(a);
}

static void pool_and_flatten_match_twins(void **state)
{
  (void)state;
  each_set(check_pool);
  each_set(check_flatten);
}

/* ---- loss ---- */

enum { LOGITS = 5, CLASSES = 13 };
static const int32_t labels[LOGITS] = {0, 12, 5, 5, 7};

static void softmax_twin(const struct twin *t, double *y)
{
  y[0] = 0;
  for (unsigned i = 0; i < LOGITS; i++) {
    const double *logits = t->in[0] + i * CLASSES;
    double sum = 0;
    for (unsigned k = 0; k < CLASSES; k++)
      sum += exp(logits[k]);
    y[0] += (log(sum) - logits[labels[i]]) / LOGITS;
  }
}

static void check_softmax(const struct ops *ops)
{
  struct arena *a = arena_new();
  struct twin t = {.run = softmax_twin, .n_y = 1};
  float *logits = input(a, &t, 0, LOGITS * CLASSES), grad[LOGITS * CLASSES];
  const float one = 1, loss = ops->softmax_loss(ops, LOGITS, CLASSES, logits, labels, grad);
  check_output(a, &t, &loss, "loss");
  check_gradient(a, &t, 0, &one, grad, "loss, dlogits");
  assert_true(loss == ops->softmax_loss(ops, LOGITS, CLASSES, logits, labels, NULL));
  double losses[LOGITS], mean = 0;
  ops->softmax_rows(ops, LOGITS, CLASSES, 1.0f / LOGITS, labels, logits, losses);
  check_gradient(a, &t, 0, &one, logits, "losses of rows, dlogits");
  for (int i = 0; i < LOGITS; i++)
    mean += losses[i] / LOGITS;
  assert_near(mean, (double)loss, 1e-6, "losses of rows", 0);
  const float huge[3] = {1e30f, 0, -1e30f}, nan[3] = {0, NAN, 1};
  const int32_t second = 1;
  assert_true(ops->softmax_loss(ops, 1, 3, huge, &second, NULL) > 9e29f);
  assert_true(isnan(ops->softmax_loss(ops, 1, 3, nan, &second, NULL)));
  arena_free(a);
}

static void softmax_matches_twin(void **state)
{
  (void)state;
  each_set(check_softmax);
}

/* ---- the rest ---- */

static void check_sgd(const struct ops *ops)
{
  struct arena *a = arena_new();
  enum { N = 53 };
  float *w = random_floats(a, N, 1), *v = random_floats(a, N, 2), *g = random_floats(a, N, 3);
  double want_w[N], want_v[N];
  for (int i = 0; i < N; i++) {
    want_v[i] = 0.9 * (double)v[i] + ((double)g[i] + 5e-4 * (double)w[i]);
    want_w[i] = (double)w[i] - 0.1 * want_v[i];
  }
  ops->sgd(ops, N, 0.1f, 0.9f, 5e-4f, w, v, g);
  for (size_t i = 0; i < N; i++) {
    assert_near((double)w[i], want_w[i], 1e-6, "sgd w", i);
    assert_near((double)v[i], want_v[i], 1e-6, "sgd v", i);
  }
  arena_free(a);
}

static void sgd_follows_its_formula(void **state)
{
  (void)state;
  each_set(check_sgd);
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
      cmocka_unit_test(norm_matches_twin),
      cmocka_unit_test(norm_statistics_are_exact_far_from_zero),
      cmocka_unit_test(relu_keeps_nan),
      cmocka_unit_test(linear_matches_twin),
      cmocka_unit_test(pool_and_flatten_match_twins),
      cmocka_unit_test(softmax_matches_twin),
      cmocka_unit_test(sgd_follows_its_formula),
      cmocka_unit_test(isa_is_chosen_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
