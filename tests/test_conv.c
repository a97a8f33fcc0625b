/* Convolutions, and the means and maxima of windows: against naive twins in double, their
 * gradients against central differences of the twins, for every instruction set. */
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

static size_t x_floats(const struct conv_case *k)
{
  return x_at(&k->c, k->n, 0, 0, 0);
}

static size_t y_floats(const struct conv_case *k)
{
  const struct ops_conv *c = &k->c;
  return (size_t)k->n * ops_conv_out(c, c->h) * ops_conv_out(c, c->w) * ops_conv_y_pixel(c);
}

/* Calls visit for every product of the convolution. */
typedef void product(void *context, size_t x, size_t w, size_t y);

static void each_product(const struct conv_case *k, product *visit, void *context)
{
  const struct ops_conv *c = &k->c;
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w);
  for (size_t p = 0; p < (size_t)k->n * oh * ow; p++) {
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

struct sums {
  const double *x, *w;
  const float *dy;
  double *y, *dx, *dw;
};

static void add_product(void *context, size_t x, size_t w, size_t y)
{
  const struct sums *s = context;
  s->y[y] += s->x[x] * s->w[w];
}

static void add_products(void *context, size_t x, size_t w, size_t y)
{
  const struct sums *s = context;
  add_product(context, x, w, y);
  s->dx[x] += s->w[w] * (double)s->dy[y];
  s->dw[w] += s->x[x] * (double)s->dy[y];
}

static void conv_twin(const struct twin *t, double *y)
{
  struct sums s = {.x = t->in[0], .w = t->in[1], .y = y};
  memset(y, 0, t->n_y * sizeof *y);
  each_product(t->shape, add_product, &s);
}

/* A case's arrays, and what all products of the twin add up to. */
struct conv_fixture {
  struct arena *arena;
  struct twin twin;
  struct sums want;
  const float *x, *w;
  float *y, *dx, *dw, *scratch; /* all NaN: nothing may be read that was not written */
  size_t scratch_floats;
};

static float *nothing(float *v, size_t n)
{
  memset(v, 0xff, n * sizeof *v);
  return v;
}

static struct conv_fixture conv_setup(const struct ops *ops, const struct conv_case *k)
{
  struct arena *a = arena_new();
  const struct ops_conv *c = &k->c;
  struct conv_fixture f = {
      .arena = a, .twin = {.shape = k, .run = conv_twin, .n_y = y_floats(k)}};
  struct twin *t = &f.twin;
  f.x = input(a, t, 0, x_floats(k));
  float *w = input(a, t, 1, w_at(c, c->co, 0, 0, 0));
  /* As weights are drawn: what Winograd's tiles add up differently stays small beside y. */
  for (size_t i = 0; i < t->n[1]; i++) {
    w[i] /= sqrtf((float)(c->ci * c->k * c->k));
    t->in[1][i] = (double)w[i];
  }
  f.w = w;
  f.y = nothing(arena_array(a, t->n_y, sizeof *f.y), t->n_y);
  f.dx = nothing(arena_array(a, t->n[0], sizeof *f.dx), t->n[0]);
  f.dw = nothing(arena_array(a, t->n[1], sizeof *f.dw), t->n[1]);
  f.scratch_floats = ops->conv_scratch(ops, c, k->n);
  f.scratch = nothing(mem_alloc(f.scratch_floats * sizeof *f.scratch), f.scratch_floats);
  f.want = (struct sums){.x = t->in[0],
                         .w = t->in[1],
                         .dy = random_floats(a, t->n_y, 8),
                         .y = arena_array(a, t->n_y, sizeof *f.want.y),
                         .dx = arena_array(a, t->n[0], sizeof *f.want.dx),
                         .dw = arena_array(a, t->n[1], sizeof *f.want.dw)};
  each_product(k, add_products, &f.want);
  return f;
}

static void conv_teardown(struct conv_fixture *f)
{
  free(f->scratch);
  arena_free(f->arena);
}

static void assert_all_near(const float *got, const double *want, size_t n, const char *what)
{
  for (size_t i = 0; i < n; i++)
    assert_near((double)got[i], want[i], 1e-4, what, i);
}

/* A convolution is linear in each of its inputs: the gradients are sums of the products too. Where
 * there are few, they are compared with the twin's differences besides. */
static void check_conv(const struct ops *ops, const struct conv_case *k)
{
  enum { FEW = 5000 };
  struct conv_fixture f = conv_setup(ops, k);
  const struct ops_conv *c = &k->c;
  const struct twin *t = &f.twin;
  char what[128];
  snprintf(what, sizeof what, "%s conv %ux%u %u->%u k%u s%u p%u n%u", ops->isa, c->h, c->w, c->ci,
           c->co, c->k, c->stride, c->pad, k->n);
  ops->conv_forward(ops, c, k->n, f.x, f.w, f.y, f.scratch);
  for (size_t i = 0; i < t->n_y; i++) { /* other channels between the pixels are left alone */
    if (i % ops_conv_y_pixel(c) < c->co)
      continue;
    assert_true(isnan(f.y[i]));
    f.y[i] = 0;
  }
  assert_all_near(f.y, f.want.y, t->n_y, what);
  nothing(f.scratch, f.scratch_floats);
  ops->conv_backward_weights(ops, c, k->n, f.x, f.want.dy, f.dw, f.scratch);
  assert_all_near(f.dw, f.want.dw, t->n[1], what);
  nothing(f.scratch, f.scratch_floats);
  ops->conv_backward_data(ops, c, k->n, f.want.dy, f.w, f.dx, false, f.scratch);
  assert_all_near(f.dx, f.want.dx, t->n[0], what);
  if (t->n[1] * t->n_y / c->co < FEW) {
    check_gradient(f.arena, t, 0, f.want.dy, f.dx, what);
    check_gradient(f.arena, t, 1, f.want.dy, f.dw, what);
  }
  for (size_t i = 0; i < t->n[0]; i++)
    f.want.dx[i] += (double)f.dx[i];
  ops->conv_backward_data(ops, c, k->n, f.want.dy, f.w, f.dx, true, f.scratch);
  assert_all_near(f.dx, f.want.dx, t->n[0], what);
  conv_teardown(&f);
}

static void conv_cases(const struct ops *ops)
{
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
      {{20, 17, 3, 16, 7, 2, 3, 0}, 2},   {{5, 7, 45, 37, 1, 1, 0, 41}, 9},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check_conv(ops, &cases[i]);
}

static void conv_matches_twin(void **state)
{
  (void)state;
  each_set(conv_cases);
}

/* All combinations of small sizes around the vectors' and the tiles' edges. */
static void conv_edges(const struct ops *ops)
{
  static const unsigned channels[] = {1, 2, 4, 5, 8, 9, 12, 16, 20, 24, 25, 32, 36};
  enum { CHANNELS = sizeof channels / sizeof *channels };
  for (unsigned i = 0; i < CHANNELS * CHANNELS; i++) {
    const unsigned k = i % 2 ? 3 : 1;
    const struct conv_case c = {{1 + i % 5, 1 + i % 17, channels[i % CHANNELS],
                                 channels[i / CHANNELS], k, 1 + i % 3 % 2, k / 2,
                                 i % 4 ? 0 : channels[i / CHANNELS] + i % 7},
                                1 + i % 3};
    check_conv(ops, &c);
  }
}

static void conv_matches_twin_at_edges(void **state)
{
  (void)state;
  each_set(conv_edges);
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
static void long_sums(const struct ops *ops)
{
  static const struct conv_case cases[] = {{{8, 8, 512, 16, 3, 2, 1, 0}, 2},
                                           {{64, 64, 2, 4, 3, 1, 1, 0}, 2}};
  for (int i = 0; i < 2; i++) {
    const struct conv_case *k = &cases[i];
    struct conv_fixture f = conv_setup(ops, k);
    ops->conv_forward(ops, &k->c, k->n, f.x, f.w, f.y, f.scratch);
    ops->conv_backward_weights(ops, &k->c, k->n, f.x, f.want.dy, f.dw, f.scratch);
    assert_true(distance(f.y, f.want.y, f.twin.n_y) < 4e-7);
    assert_true(distance(f.dw, f.want.dw, f.twin.n[1]) < 5e-7);
    conv_teardown(&f);
  }
}

static void conv_sums_in_stretches(void **state)
{
  (void)state;
  each_set(long_sums);
}

static void conv_is_the_same_every_time(void **state)
{
  (void)state;
  const struct conv_case k = {{14, 14, 16, 16, 3, 1, 1, 0}, 4};
  const struct ops *ops = ops_cpu();
  struct conv_fixture f = conv_setup(ops, &k);
  float *again = arena_array(f.arena, f.twin.n[1], sizeof *again);
  ops->conv_backward_weights(ops, &k.c, k.n, f.x, f.want.dy, f.dw, f.scratch);
  ops->conv_backward_weights(ops, &k.c, k.n, f.x, f.want.dy, again, f.scratch);
  assert_memory_equal(f.dw, again, f.twin.n[1] * sizeof *again);
  conv_teardown(&f);
}

/* ---- means and maxima of windows ---- */

struct window_case {
  struct conv_case k;
  bool max;
};

static void window_twin(const struct twin *t, double *y)
{
  const struct window_case *s = t->shape;
  const struct ops_conv *c = &s->k.c;
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w);
  memset(y, 0, t->n_y * sizeof *y);
  for (size_t i = 0; i < (size_t)s->k.n * oh * ow * c->co; i++) {
    const unsigned o = (unsigned)(i % c->co), p = (unsigned)(i / c->co % (oh * ow));
    const unsigned n = (unsigned)(i / c->co / (oh * ow));
    double most = -INFINITY, sum = 0;
    for (unsigned q = 0; q < c->k * c->k; q++) {
      const unsigned iy = p / ow * c->stride + q / c->k - c->pad;
      const unsigned ix = p % ow * c->stride + q % c->k - c->pad;
      if (iy >= c->h || ix >= c->w)
        continue;
      const double v = t->in[0][x_at(c, n, iy, ix, o)];
      most = v > most ? v : most;
      sum += v / (c->k * c->k);
    }
    y[(i / c->co) * ops_conv_y_pixel(c) + o] = s->max ? most : sum;
  }
}

static void windows_forward(const struct ops *ops, const struct window_case *s, const float *x,
                            float *y)
{
  if (s->max)
    ops->max_forward(ops, &s->k.c, s->k.n, x, y);
  else
    ops->average_forward(ops, &s->k.c, s->k.n, x, y);
}

static void check_windows(const struct ops *ops, const struct ops_conv *c, bool max)
{
  struct arena *a = arena_new();
  const struct window_case s = {{*c, 2}, max};
  struct twin t = {.shape = &s, .run = window_twin, .n_y = y_floats(&s.k)};
  const float *x = input(a, &t, 0, x_floats(&s.k));
  float *dy = random_floats(a, t.n_y, 8), *y = arena_array(a, t.n_y, sizeof *y);
  float *dx = random_floats(a, t.n[0], 3), *added = random_floats(a, t.n[0], 4);
  const float *start = arena_copy(a, added, t.n[0] * sizeof *added);
  for (size_t i = 0; i < t.n_y; i++)
    dy[i] = i % ops_conv_y_pixel(c) < c->co ? dy[i] : 0;
  windows_forward(ops, &s, x, y);
  check_output(a, &t, y, "windows");
  if (max) {
    ops->max_backward(ops, c, 2, x, dy, dx, false);
    ops->max_backward(ops, c, 2, x, dy, added, true);
  } else {
    ops->average_backward(ops, c, 2, dy, dx, false);
    ops->average_backward(ops, c, 2, dy, added, true);
  }
  check_gradient(a, &t, 0, dy, dx, "windows, dx");
  for (size_t i = 0; i < t.n[0]; i++)
    assert_near((double)added[i], (double)start[i] + (double)dx[i], 1e-5, "windows, added", i);
  arena_free(a);
}

static void window_cases(const struct ops *ops)
{
  static const struct ops_conv cases[] = {
      {4, 4, 3, 3, 2, 2, 0, 0},   {7, 5, 18, 18, 2, 2, 0, 20}, {2, 3, 16, 16, 2, 2, 0, 0},
      {6, 6, 2, 2, 3, 2, 0, 0},   {7, 8, 17, 17, 3, 2, 1, 30}, {1, 1, 4, 4, 3, 2, 1, 0},
      {5, 5, 33, 33, 3, 2, 1, 0}, {6, 4, 3, 3, 3, 1, 1, 4},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    check_windows(ops, &cases[i], true);
    if (!cases[i].pad)
      check_windows(ops, &cases[i], false);
  }
}

static void windows_match_twin(void **state)
{
  (void)state;
  each_set(window_cases);
}

/* Of equals the first has the gradient, as in PyTorch; a NaN is never lost. */
static void a_window_has_one_largest(void **state)
{
  (void)state;
  const struct ops *ops = ops_cpu();
  const struct ops_conv c = {2, 2, 1, 1, 2, 2, 0, 0};
  const float equal[4] = {1, 3, 3, 3}, nan[4] = {1, NAN, 7, 2}, one = 1;
  float y, dx[4];
  ops->max_forward(ops, &c, 1, equal, &y);
  ops->max_backward(ops, &c, 1, equal, &one, dx, false);
  assert_true(y == 3);
  assert_true(dx[0] == 0 && dx[1] == 1 && dx[2] == 0 && dx[3] == 0);
  ops->max_forward(ops, &c, 1, nan, &y);
  ops->max_backward(ops, &c, 1, nan, &one, dx, false);
  assert_true(isnan(y));
  assert_true(dx[1] == 1 && dx[2] == 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(conv_matches_twin),
      cmocka_unit_test(conv_matches_twin_at_edges),
      cmocka_unit_test(conv_sums_in_stretches),
      cmocka_unit_test(conv_is_the_same_every_time),
      cmocka_unit_test(windows_match_twin),
      cmocka_unit_test(a_window_has_one_largest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
