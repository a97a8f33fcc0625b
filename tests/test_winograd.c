/* Winograd's convolutions against a naive reference in double, for every instruction set of
 * this machine, and whether parts of a call have the whole's bits. */
#include "config.h"

#include "base/arena.h"
#include "base/rng.h"
#include "engine/ops_int.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const sets[] = {"baseline", "avx2", "avx512"};
enum { SETS = sizeof sets / sizeof *sets };

struct fixture {
  struct arena *arena;
  const struct ops *ops;
  struct ops_conv c;
  unsigned n;
  size_t nx, nw, ny; /* floats */
  float *x, *w, *dy, *y, *dx, *dw, *scratch;
};

static float *random_floats(struct arena *a, size_t n, uint32_t stream)
{
  struct rng r = rng_at(11, RNG_TEST, stream, 0, 0);
  float *v = arena_array(a, n, sizeof *v);
  for (size_t i = 0; i < n; i++)
    v[i] = (float)rng_normal(&r);
  return v;
}

/* NaN: nothing may be read that was not written, nor left alone. */
static float *nothing(float *v, size_t n)
{
  memset(v, 0xff, n * sizeof *v);
  return v;
}

static struct fixture set_up(const struct ops *ops, const struct ops_conv *c, unsigned n)
{
  struct arena *a = arena_new();
  struct fixture f = {.arena = a, .ops = ops, .c = *c, .n = n};
  f.nx = (size_t)n * c->h * c->w * c->ci;
  f.nw = (size_t)c->co * c->ci * 9;
  f.ny = (size_t)n * ops_conv_out(c, c->h) * ops_conv_out(c, c->w) * ops_conv_y_pixel(c);
  f.x = random_floats(a, f.nx, 1);
  f.w = random_floats(a, f.nw, 2);
  f.dy = random_floats(a, f.ny, 3);
  f.y = nothing(arena_array(a, f.ny, sizeof *f.y), f.ny);
  f.dx = nothing(arena_array(a, f.nx, sizeof *f.dx), f.nx);
  f.dw = nothing(arena_array(a, f.nw, sizeof *f.dw), f.nw);
  const size_t floats = cpu_winograd_scratch(ops, c, n);
  f.scratch = nothing(mem_alloc(floats * sizeof(float)), floats);
  return f;
}

static void tear_down(struct fixture *f)
{
  free(f->scratch);
  arena_free(f->arena);
}

/* The largest error is small beside the results' spread: a sum's error does not shrink
 * where its terms cancel. */
static void assert_close(const float *got, const double *want, size_t n, const char *what)
{
  double square = 0, worst = 0;
  for (size_t i = 0; i < n; i++) {
    const double d = fabs((double)got[i] - want[i]);
    square += want[i] * want[i];
    worst = d <= worst ? worst : d;
  }
  if (!(worst <= 1.5e-5 * sqrt(square / (double)n)))
    fail_msg("%s: %.3g off, where the spread is %.3g", what, worst, sqrt(square / (double)n));
}

struct reference {
  double *y, *dx, *dw;
};

/* One output pixel and one tap. */
static void add_products(const struct fixture *f, const struct reference *r, size_t x, size_t y,
                         unsigned tap)
{
  for (unsigned o = 0; o < f->c.co; o++) {
    for (unsigned i = 0; i < f->c.ci; i++) {
      const size_t w = ((size_t)o * f->c.ci + i) * 9 + tap;
      r->y[y + o] += (double)f->x[x + i] * (double)f->w[w];
      r->dx[x + i] += (double)f->w[w] * (double)f->dy[y + o];
      r->dw[w] += (double)f->x[x + i] * (double)f->dy[y + o];
    }
  }
}

static struct reference refer(const struct fixture *f)
{
  const struct ops_conv *c = &f->c;
  const struct reference r = {arena_array(f->arena, f->ny, sizeof *r.y),
                              arena_array(f->arena, f->nx, sizeof *r.dx),
                              arena_array(f->arena, f->nw, sizeof *r.dw)};
  const unsigned oh = ops_conv_out(c, c->h), ow = ops_conv_out(c, c->w);
  for (unsigned p = 0; p < f->n * oh * ow; p++) {
    const unsigned s = p / (oh * ow), row = p / ow % oh, col = p % ow;
    for (unsigned tap = 0; tap < 9; tap++) {
      const unsigned y = row + tap / 3 - c->pad, x = col + tap % 3 - c->pad;
      if (y < c->h && x < c->w)
        add_products(f, &r, (((size_t)s * c->h + y) * c->w + x) * c->ci,
                     (size_t)p * ops_conv_y_pixel(c), tap);
    }
  }
  return r;
}

static void check(const struct ops *ops, const struct ops_conv *c, unsigned n)
{
  struct fixture f = set_up(ops, c, n);
  const struct reference r = refer(&f);
  char what[128];
  snprintf(what, sizeof what, "%s %ux%u %u->%u pad %u n %u", ops->isa, c->h, c->w, c->ci, c->co,
           c->pad, n);
  cpu_winograd_forward(ops, c, n, f.x, f.w, f.y, f.scratch);
  for (size_t i = 0; i < f.ny; i++) { /* other channels between the pixels are left alone */
    if (i % ops_conv_y_pixel(c) < c->co)
      continue;
    assert_true(isnan(f.y[i]));
    f.y[i] = 0;
  }
  assert_close(f.y, r.y, f.ny, what);
  nothing(f.scratch, cpu_winograd_scratch(ops, c, n));
  cpu_winograd_backward_weights(ops, c, n, f.x, f.dy, f.dw, f.scratch);
  assert_close(f.dw, r.dw, f.nw, what);
  nothing(f.scratch, cpu_winograd_scratch(ops, c, n));
  cpu_winograd_backward_data(ops, c, n, f.dy, f.w, f.dx, false, f.scratch);
  assert_close(f.dx, r.dx, f.nx, what);
  for (size_t i = 0; i < f.nx; i++)
    r.dx[i] += (double)f.dx[i];
  cpu_winograd_backward_data(ops, c, n, f.dy, f.w, f.dx, true, f.scratch);
  assert_close(f.dx, r.dx, f.nx, what);
  tear_down(&f);
}

static void matches_reference(void **state)
{
  (void)state;
  static const struct ops_conv cases[] = {
      {.h = 4, .w = 4, .ci = 16, .co = 16, .pad = 1},
      {.h = 14, .w = 14, .ci = 32, .co = 32, .pad = 1},
      {.h = 7, .w = 9, .ci = 48, .co = 12, .pad = 1, .y_pixel = 60},
      {.h = 5, .w = 6, .ci = 70, .co = 65, .pad = 1},
      {.h = 3, .w = 13, .ci = 17, .co = 33, .pad = 1, .y_pixel = 34},
      {.h = 1, .w = 1, .ci = 1, .co = 1, .pad = 1},
      {.h = 2, .w = 10, .ci = 5, .co = 129, .pad = 1},
      {.h = 8, .w = 7, .ci = 20, .co = 40, .pad = 0},
      {.h = 6, .w = 5, .ci = 31, .co = 47, .pad = 2},
      {.h = 4, .w = 4, .ci = 300, .co = 140, .pad = 1},
      {.h = 8, .w = 8, .ci = 96, .co = 80, .pad = 1},
  };
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      print_message("%s: not of this machine\n", sets[s]);
    for (size_t i = 0; ops && i < sizeof cases / sizeof *cases; i++) {
      struct ops_conv c = cases[i];
      c.k = 3;
      c.stride = 1;
      check(ops, &c, 1);
      check(ops, &c, 2 + (unsigned)i % 5);
    }
  }
}

/* Added up one by one in a float, 512 products at each point would be 1.4 millionths off. */
static void sums_in_stretches(void **state)
{
  (void)state;
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    const struct ops_conv c = {.h = 4, .w = 4, .ci = 512, .co = 16, .k = 3, .stride = 1, .pad = 1};
    struct fixture f = set_up(ops, &c, 4);
    const struct reference r = refer(&f);
    cpu_winograd_forward(ops, &c, f.n, f.x, f.w, f.y, f.scratch);
    double off = 0, all = 0;
    for (size_t i = 0; i < f.ny; i++) {
      off += pow((double)f.y[i] - r.y[i], 2);
      all += r.y[i] * r.y[i];
    }
    assert_true(sqrt(off / all) < 1e-6);
    tear_down(&f);
  }
}

/* More tiles than one stretch holds, the last not full. */
static void matches_reference_over_stretches(void **state)
{
  (void)state;
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    const struct ops_conv c = {.h = 14, .w = 10, .ci = 24, .co = 36, .k = 3, .stride = 1, .pad = 1};
    if (ops)
      check(ops, &c, 11);
  }
}

static void parts_have_the_same_bits(void **state)
{
  (void)state;
  enum { SAMPLES = 9, FIRST = 4, CHANNELS = 80 };
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    const struct ops_conv c = {
        .h = 13, .w = 14, .ci = 40, .co = CHANNELS, .k = 3, .stride = 1, .pad = 1};
    assert_true(cpu_winograd_fits(&c) && cpu_winograd_fits_weights(&c));
    struct fixture f = set_up(ops, &c, SAMPLES);
    float *some = arena_array(f.arena, f.nx + f.ny + f.nw, sizeof *some);
    ops->conv_forward(ops, &c, f.n, f.x, f.w, f.y, f.scratch);
    ops->conv_backward_data(ops, &c, f.n, f.dy, f.w, f.dx, false, f.scratch);
    ops->conv_backward_weights(ops, &c, f.n, f.x, f.dy, f.dw, f.scratch);
    const size_t x = FIRST * f.nx / SAMPLES, y = FIRST * f.ny / SAMPLES;
    ops->conv_forward(ops, &c, SAMPLES - FIRST, f.x + x, f.w, some, f.scratch);
    assert_memory_equal(some, f.y + y, (f.ny - y) * sizeof *some);
    ops->conv_backward_data(ops, &c, SAMPLES - FIRST, f.dy + y, f.w, some, false, f.scratch);
    assert_memory_equal(some, f.dx + x, (f.nx - x) * sizeof *some);
    for (unsigned o = 0; o < CHANNELS; o += 7) {
      struct ops_conv part = c;
      part.co = CHANNELS - o;
      part.y_pixel = CHANNELS;
      const size_t w = (size_t)o * c.ci * 9;
      ops->conv_backward_weights(ops, &part, f.n, f.x, f.dy + o, some, f.scratch);
      assert_memory_equal(some, f.dw + w, (f.nw - w) * sizeof *some);
    }
    tear_down(&f);
  }
}

/* A convolution is linear in x and in w, so that all three give the same sum. */
static void gradients_are_adjoint(void **state)
{
  (void)state;
  for (int s = 0; s < SETS; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    const struct ops_conv c = {.h = 16, .w = 15, .ci = 64, .co = 48, .k = 3, .stride = 1, .pad = 1};
    struct fixture f = set_up(ops, &c, 3);
    cpu_winograd_forward(ops, &c, f.n, f.x, f.w, f.y, f.scratch);
    cpu_winograd_backward_data(ops, &c, f.n, f.dy, f.w, f.dx, false, f.scratch);
    cpu_winograd_backward_weights(ops, &c, f.n, f.x, f.dy, f.dw, f.scratch);
    double of_y = 0, of_x = 0, of_w = 0, square = 0;
    for (size_t i = 0; i < f.ny; i++) {
      of_y += (double)f.y[i] * (double)f.dy[i];
      square += pow((double)f.y[i] * (double)f.dy[i], 2);
    }
    for (size_t i = 0; i < f.nx; i++)
      of_x += (double)f.x[i] * (double)f.dx[i];
    for (size_t i = 0; i < f.nw; i++)
      of_w += (double)f.w[i] * (double)f.dw[i];
    assert_true(fabs(of_y - of_x) < 1e-5 * sqrt(square));
    assert_true(fabs(of_y - of_w) < 1e-5 * sqrt(square));
    tear_down(&f);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(matches_reference),     cmocka_unit_test(matches_reference_over_stretches),
      cmocka_unit_test(sums_in_stretches),     cmocka_unit_test(parts_have_the_same_bits),
      cmocka_unit_test(gradients_are_adjoint),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
