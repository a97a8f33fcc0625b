/* Vision transformers, and the operations that only they and convolutional networks with
 * patches need. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "twin.h"

#include "base/arena.h"
#include "engine/ops.h"

#include <string.h>

/* ---- patches ---- */

struct patches_shape {
  struct ops_patches p;
  unsigned n;
};

/* A convolution's weight at [channel][row][column] meets x there. */
static void patches_twin(const struct twin *t, double *y)
{
  const struct patches_shape *s = t->shape;
  const unsigned k = s->p.k, c = s->p.c, down = s->p.h / k, across = s->p.w / k;
  for (size_t i = 0; i < t->n_y; i++) {
    const size_t column = i % k, row = i / k % k, channel = i / k / k % c;
    const size_t window = i / k / k / c, j = window % across, r = window / across % down;
    const size_t line = window / across / down * s->p.h + r * k + row;
    y[i] = t->in[0][(line * s->p.w + j * k + column) * c + channel];
  }
}

static void check_patches(const struct ops *ops, const struct patches_shape *s)
{
  struct arena *a = arena_new();
  const struct ops_patches *p = &s->p;
  const size_t n_y = (size_t)s->n * (p->h / p->k) * (p->w / p->k) * p->c * p->k * p->k;
  struct twin t = {.shape = s, .run = patches_twin, .n_y = n_y};
  const float *x = input(a, &t, 0, (size_t)s->n * p->h * p->w * p->c);
  float *y = arena_array(a, n_y, sizeof *y), *dx = arena_array(a, t.n[0], sizeof *dx);
  const float *dy = random_floats(a, n_y, 8);
  ops->patches_forward(ops, p, s->n, x, y);
  check_output(a, &t, y, "patches");
  memset(dx, 0xff, t.n[0] * sizeof *dx);
  ops->patches_backward(ops, p, s->n, dy, dx, false);
  check_gradient(a, &t, 0, dy, dx, "patches, dx");
  double sums[2] = {0};
  for (size_t i = 0; i < t.n[0]; i++)
    sums[0] += (double)dx[i];
  for (size_t i = 0; i < n_y; i++)
    sums[1] += (double)dy[i];
  assert_near(sums[0], sums[1], 1e-5, "patches, all of dx", 0);
  float *added = arena_copy(a, x, t.n[0] * sizeof *added);
  ops->patches_backward(ops, p, s->n, dy, added, true);
  for (size_t i = 0; i < t.n[0]; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-6, "patches, dx added", i);
  arena_free(a);
}

static void patches_shapes(const struct ops *ops)
{
  static const struct patches_shape shapes[] = {
      {{1, 1, 1, 1}, 1},    {{4, 6, 3, 2}, 2},  {{7, 7, 1, 7}, 3},  {{28, 14, 2, 7}, 2},
      {{32, 32, 3, 16}, 1}, {{5, 7, 20, 2}, 2}, {{9, 8, 33, 4}, 1}, {{3, 2, 5, 2}, 2},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    check_patches(ops, &shapes[i]);
}

static void patches_match_twin(void **state)
{
  (void)state;
  each_set(patches_shapes);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(patches_match_twin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
