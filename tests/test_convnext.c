/* ConvNeXt, and the operations that only it needs. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scratch.h"
#include "twin.h"

#include "base/arena.h"
#include "base/rng.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "engine/optim.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 7, REACH = 3, TAPS = SIDE * SIDE };

/* ---- depthwise convolution ---- */

struct depthwise_shape {
  struct ops_depthwise d;
  unsigned n;
};

/* All that meets: calls back with places in x, among the weights, and in y. */
static void each_product(const struct depthwise_shape *s, void *context,
                         void (*meet)(void *context, size_t x, size_t w, size_t y))
{
  const struct ops_depthwise *d = &s->d;
  const size_t all = (size_t)s->n * d->h * d->w * d->c;
  for (size_t i = 0; i < all; i++) {
    const size_t c = i % d->c, column = i / d->c % d->w, row = i / d->c / d->w % d->h;
    for (size_t k = 0; k < TAPS; k++) {
      const size_t r = row + k / SIDE, q = column + k % SIDE;
      if (r >= REACH && r < d->h + REACH && q >= REACH && q < d->w + REACH)
        meet(context, i + ((r - row) * d->w + q - column) * d->c - (REACH * d->w + REACH) * d->c,
             c * TAPS + k, i);
    }
  }
}

struct sums {
  const double *x, *w;
  const float *dy;
  double *y, *dx, *dw;
};

static void meet_forward(void *context, size_t x, size_t w, size_t y)
{
  struct sums *s = context;
  s->y[y] += s->x[x] * s->w[w];
}

static void meet_backward(void *context, size_t x, size_t w, size_t y)
{
  struct sums *s = context;
  s->dx[x] += s->w[w] * (double)s->dy[y];
  s->dw[w] += s->x[x] * (double)s->dy[y];
}

static void depthwise_twin(const struct twin *t, double *y)
{
  const struct depthwise_shape *s = t->shape;
  struct sums sums = {.x = t->in[0], .w = t->in[1], .y = y};
  for (size_t i = 0; i < t->n_y; i++)
    y[i] = t->in[2][i % s->d.c];
  each_product(s, &sums, meet_forward);
}

/* n floats, and some behind them that nobody may write. */
static float *guarded(struct arena *a, size_t n)
{
  float *v = arena_array(a, n + 16, sizeof *v);
  memset(v, 0xff, (n + 16) * sizeof *v);
  return v;
}

static void check_guard(const float *v, size_t n)
{
  static const uint32_t ones = UINT32_MAX;
  for (size_t i = n; i < n + 16; i++)
    assert_memory_equal(v + i, &ones, sizeof ones);
}

/* Every entry, not only those that are moved: which taps meet depends on the place.  A
 * weight's sum over many pixels errs by its terms' rounding, not by its own. */
static void check_sums(struct arena *a, const struct twin *t, const float *dy, const float *dx,
                       const float *dw, const float *dbias)
{
  const struct depthwise_shape *s = t->shape;
  struct sums want = {.x = t->in[0], .w = t->in[1], .dy = dy};
  want.dx = arena_array(a, t->n[0], sizeof *want.dx);
  want.dw = arena_array(a, t->n[1], sizeof *want.dw);
  double *bias = arena_array(a, t->n[2], sizeof *bias);
  each_product(s, &want, meet_backward);
  for (size_t i = 0; i < t->n_y; i++)
    bias[i % s->d.c] += (double)dy[i];
  const double terms = sqrt((double)(t->n_y / t->n[2]));
  for (size_t i = 0; i < t->n[0]; i++)
    assert_near((double)dx[i], want.dx[i], 1e-5, "depthwise, all of dx", i);
  for (size_t i = 0; i < t->n[1]; i++)
    assert_near((double)dw[i], want.dw[i], 1e-6 * terms, "depthwise, all of dw", i);
  for (size_t i = 0; i < t->n[2]; i++)
    assert_near((double)dbias[i], bias[i], 1e-6 * terms, "depthwise, all of dbias", i);
}

static void check_depthwise(const struct ops *ops, const struct depthwise_shape *s)
{
  struct arena *a = arena_new();
  const struct ops_depthwise *d = &s->d;
  const size_t n = (size_t)s->n * d->h * d->w * d->c;
  struct twin t = {.shape = s, .run = depthwise_twin, .n_y = n};
  const float *x = input(a, &t, 0, n), *w = input(a, &t, 1, (size_t)d->c * TAPS);
  const float *bias = input(a, &t, 2, d->c), *dy = random_floats(a, n, 8);
  float *y = guarded(a, n), *dx = guarded(a, n), *dw = guarded(a, t.n[1]);
  float *dbias = guarded(a, d->c);
  float *scratch = mem_alloc(ops->depthwise_scratch(ops, d) * sizeof *scratch);
  ops->depthwise_forward(ops, d, s->n, x, w, bias, y, scratch);
  check_output(a, &t, y, "depthwise");
  ops->depthwise_backward_data(ops, d, s->n, dy, w, dx, false, scratch);
  ops->depthwise_backward_weights(ops, d, s->n, 0, d->c, x, dy, dw, dbias, scratch);
  check_gradient(a, &t, 0, dy, dx, "depthwise, dx");
  check_gradient(a, &t, 1, dy, dw, "depthwise, dw");
  check_gradient(a, &t, 2, dy, dbias, "depthwise, dbias");
  check_sums(a, &t, dy, dx, dw, dbias);
  float *added = guarded(a, n);
  memcpy(added, x, n * sizeof *added);
  ops->depthwise_backward_data(ops, d, s->n, dy, w, added, true, scratch);
  for (size_t i = 0; i < n; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-6, "depthwise, added", i);
  check_guard(y, n);
  check_guard(dx, n);
  check_guard(added, n);
  check_guard(dw, t.n[1]);
  check_guard(dbias, d->c);
  free(scratch);
  arena_free(a);
}

/* Of each width that a tile can have; channels that fill no vector; images in several pieces. */
static void depthwise_shapes(const struct ops *ops)
{
  static const struct depthwise_shape shapes[] = {
      {{1, 1, 1}, 1},  {{1, 1, 33}, 5},  {{1, 9, 3}, 2},   {{9, 1, 8}, 2},   {{3, 3, 16}, 3},
      {{2, 5, 7}, 2},  {{6, 4, 20}, 2},  {{7, 7, 17}, 2},  {{8, 6, 4}, 1},   {{5, 8, 12}, 1},
      {{4, 10, 9}, 1}, {{3, 11, 16}, 1}, {{2, 12, 5}, 1},  {{4, 13, 31}, 1}, {{14, 14, 19}, 2},
      {{6, 15, 6}, 1}, {{3, 29, 18}, 1}, {{43, 30, 2}, 1}, {{3, 2, 1}, 701}, {{10, 56, 16}, 3},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    check_depthwise(ops, &shapes[i]);
}

static void depthwise_matches_twin(void **state)
{
  (void)state;
  each_set(depthwise_shapes);
}

/* ---- a dense layer with layer scale ---- */

struct scaled_shape {
  struct ops_dense d;
  unsigned rows;
  const float *residual;
};

static void scaled_twin(const struct twin *t, double *y)
{
  const struct scaled_shape *s = t->shape;
  const size_t in = s->d.in, out = s->d.out;
  for (size_t i = 0; i < t->n_y; i++) {
    const size_t r = i / out, o = i % out;
    double u = t->in[2][o];
    for (size_t k = 0; k < in; k++)
      u += t->in[0][r * in + k] * t->in[1][o * in + k];
    y[i] = u * t->in[3][o] + (double)s->residual[i];
  }
}

static void check_scaled(const struct ops *ops, unsigned rows, unsigned in, unsigned out)
{
  struct arena *a = arena_new();
  const size_t n = (size_t)rows * out;
  const struct scaled_shape s = {{.in = in, .out = out}, rows, random_floats(a, n, 9)};
  struct twin t = {.shape = &s, .run = scaled_twin, .n_y = n};
  const float *x = input(a, &t, 0, (size_t)rows * in), *w = input(a, &t, 1, (size_t)in * out);
  const float *bias = input(a, &t, 2, out);
  float *scale = input(a, &t, 3, out);
  for (size_t o = 0; o < out; o++) { /* small, as trained scales are; one not at all there */
    scale[o] = o + 1 == out ? 0 : 0.125f * scale[o];
    t.in[3][o] = (double)scale[o];
  }
  float *dy = random_floats(a, n, 8), *dy_was = arena_copy(a, dy, n * sizeof *dy);
  float *y = guarded(a, n), *dx = guarded(a, t.n[0]), *dw = guarded(a, t.n[1]);
  float *dbias = guarded(a, out), *dscale = guarded(a, out);
  float *scratch = mem_alloc(ops->scaled_scratch(ops, &s.d) * sizeof *scratch);
  ops->scaled_forward(ops, &s.d, rows, x, w, bias, scale, s.residual, y, scratch);
  check_output(a, &t, y, "scaled");
  ops->scaled_backward_weights(ops, &s.d, rows, 0, out, x, w, bias, scale, dy, dw, dbias, dscale,
                               scratch);
  ops->scaled_backward_data(ops, &s.d, rows, w, scale, dy, dx, false, scratch);
  check_gradient(a, &t, 0, dy, dx, "scaled, dx");
  check_gradient(a, &t, 1, dy, dw, "scaled, dw");
  check_gradient(a, &t, 2, dy, dbias, "scaled, dbias");
  check_gradient(a, &t, 3, dy, dscale, "scaled, dscale");
  assert_memory_equal(dy, dy_was, n * sizeof *dy);
  float *added = arena_copy(a, x, t.n[0] * sizeof *added);
  ops->scaled_backward_data(ops, &s.d, rows, w, scale, dy, added, true, scratch);
  for (size_t i = 0; i < t.n[0]; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-5, "scaled, added", i);
  check_guard(y, n);
  check_guard(dscale, out);
  free(scratch);
  arena_free(a);
}

static void scaled_shapes(const struct ops *ops)
{
  check_scaled(ops, 1, 1, 1);
  check_scaled(ops, 5, 12, 3);
  check_scaled(ops, 40, 64, 16);
  check_scaled(ops, 300, 20, 33);
  check_scaled(ops, 7, 300, 50);
}

static void scaled_matches_twin(void **state)
{
  (void)state;
  each_set(scaled_shapes);
}

/* ---- the network ---- */

static const struct net_spec SMALL = {.model = "convnext_tiny",
                                      .width = 6,
                                      .stages = 2,
                                      .blocks = 1,
                                      .channels = 2,
                                      .height = 14,
                                      .image_width = 21,
                                      .classes = 5};

enum { BATCH = 4 };

struct images {
  struct arena *arena;
  struct net *net;
  size_t values; /* floats a sample */
  float *flat, *grad, *x;
  int32_t labels[BATCH];
};

/* With random weights of a size that leaves no gradient tiny. */
static struct images setup(const struct net_spec *spec)
{
  struct images s = {.arena = arena_new()};
  s.net = net_new(s.arena, spec, diag_new(s.arena));
  assert_non_null(s.net);
  const size_t count = net_count(s.net);
  s.values = (size_t)spec->height * spec->image_width * spec->channels;
  s.flat = arena_array(s.arena, count, sizeof *s.flat);
  s.grad = arena_array(s.arena, count, sizeof *s.grad);
  s.x = random_floats(s.arena, BATCH * s.values, 1);
  net_init(s.net, 1, s.flat);
  const float *more = random_floats(s.arena, count, 2);
  for (size_t i = 0; i < count; i++)
    s.flat[i] += 0.3f * more[i];
  for (int i = 0; i < BATCH; i++)
    s.labels[i] = i % 5;
  return s;
}

static const struct net_tensor *tensor(const struct net *net, const char *name)
{
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++)
    if (!strcmp(t[i].name, name))
      return &t[i];
  fail_msg("no tensor %s", name);
  return NULL;
}

static void convnext_has_torchvisions_tensors(void **state)
{
  (void)state;
  static const struct {
    const char *name;
    unsigned rank;
    size_t shape[4];
  } want[] = {
      {"features.0.0.weight", 4, {96, 3, 4, 4}},
      {"features.0.0.bias", 1, {96}},
      {"features.0.1.weight", 1, {96}},
      {"features.1.0.layer_scale", 3, {96, 1, 1}},
      {"features.1.2.block.0.weight", 4, {96, 1, 7, 7}},
      {"features.1.2.block.0.bias", 1, {96}},
      {"features.1.2.block.2.weight", 1, {96}},
      {"features.1.2.block.3.weight", 2, {384, 96}},
      {"features.1.2.block.5.weight", 2, {96, 384}},
      {"features.2.0.bias", 1, {96}},
      {"features.2.1.weight", 4, {192, 96, 2, 2}},
      {"features.5.8.block.5.bias", 1, {384}},
      {"features.6.1.bias", 1, {768}},
      {"features.7.2.layer_scale", 3, {768, 1, 1}},
      {"classifier.0.weight", 1, {768}},
      {"classifier.2.weight", 2, {1000, 768}},
      {"classifier.2.bias", 1, {1000}},
  };
  const struct net_spec spec = {
      .model = "convnext_tiny", .channels = 3, .height = 224, .image_width = 224, .classes = 1000};
  struct arena *a = arena_new();
  struct net *net = net_new(a, &spec, diag_new(a));
  assert_int_equal(net_params(net), 28589128);
  assert_int_equal(net_count(net), net_params(net));
  assert_true(fabs(net_flops(net) / 2 / 4.456e9 - 1) < 2e-3);
  assert_int_equal(net_features(net), 768);
  size_t n;
  net_tensors(net, &n);
  assert_int_equal(n, 182);
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    assert_int_equal(tensor(net, want[i].name)->rank, want[i].rank);
    assert_memory_equal(tensor(net, want[i].name)->shape, want[i].shape, sizeof want[i].shape);
  }
  assert_true(net_in_classifier(net, tensor(net, "classifier.2.weight")));
  assert_false(net_in_classifier(net, tensor(net, "classifier.0.weight")));
  arena_free(a);
}

static void convnext_is_drawn_as_torchvisions(void **state)
{
  (void)state;
  static const char *const drawn[] = {"features.0.0.weight",         "features.1.0.block.0.weight",
                                      "features.3.0.block.3.weight", "features.3.0.block.5.weight",
                                      "features.2.1.weight",         "classifier.2.weight"};
  struct net_spec spec = SMALL;
  spec.width = 64;
  spec.classes = 50;
  struct images s = setup(&spec);
  net_init(s.net, 1, s.flat);
  for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++) {
    const struct net_tensor *t = tensor(s.net, drawn[i]);
    double square = 0;
    for (size_t k = 0; k < t->count; k++)
      square += pow((double)s.flat[t->offset + k], 2);
    assert_true(fabs(sqrt(square / (double)t->count) / 0.02 - 1) < 0.05);
  }
  const struct {
    const char *name;
    float value;
  } constant[] = {{"features.1.0.layer_scale", 1e-6f},
                  {"features.0.0.bias", 0},
                  {"features.1.0.block.0.bias", 0},
                  {"features.1.0.block.2.weight", 1},
                  {"features.1.0.block.2.bias", 0},
                  {"features.3.0.block.3.bias", 0},
                  {"features.3.0.block.5.bias", 0},
                  {"features.2.0.weight", 1},
                  {"classifier.2.bias", 0}};
  for (size_t i = 0; i < sizeof constant / sizeof *constant; i++) {
    const struct net_tensor *t = tensor(s.net, constant[i].name);
    for (size_t k = 0; k < t->count; k++)
      assert_true(s.flat[t->offset + k] == constant[i].value);
  }
  arena_free(s.arena);
}

/* Along the gradient the loss rises as the gradient says, tensor by tensor. */
static void check_slopes(const struct net_spec *spec)
{
  struct images s = setup(spec);
  struct net_work *w = net_work_new(s.net, ops_cpu(), BATCH, true);
  const size_t bytes = net_count(s.net) * sizeof(float);
  float *scrap = arena_alloc(s.arena, bytes), *moved = arena_alloc(s.arena, bytes);
  net_loss_gradient(w, s.flat, s.x, s.labels, BATCH, s.grad);
  size_t n;
  const struct net_tensor *all = net_tensors(s.net, &n);
  for (size_t i = 0; i < n; i++) {
    const float *g = s.grad + all[i].offset;
    double square = 0, loss[2];
    for (size_t k = 0; k < all[i].count; k++)
      square += (double)(g[k] * g[k]);
    const double h = 2e-3 / sqrt(square);
    for (int side = 0; side < 2; side++) {
      memcpy(moved, s.flat, bytes);
      for (size_t k = 0; k < all[i].count; k++)
        moved[all[i].offset + k] += (float)((side ? h : -h) * (double)g[k]);
      loss[side] = (double)net_loss_gradient(w, moved, s.x, s.labels, BATCH, scrap);
    }
    const double rise = (loss[1] - loss[0]) / (2 * h);
    if (!(fabs(rise - square) <= 0.01 * square + 2e-4 * sqrt(square)))
      fail_msg("%s: %g, not %g", all[i].name, rise, square);
  }
  net_work_free(w);
  arena_free(s.arena);
}

static void convnext_gradient_is_the_losss(void **state)
{
  (void)state;
  check_slopes(&SMALL);
  struct net_spec spec = SMALL;
  spec.width = 16;
  spec.stages = 3;
  spec.blocks = 2;
  spec.height = 19;
  check_slopes(&spec);
}

/* A sample's neighbours change nothing, nor do pixels that the stem leaves over, nor other work
 * before; in a training step the loss is that of the logits. */
static void convnext_sees_one_sample_at_a_time(void **state)
{
  (void)state;
  enum { C = 5 };
  struct images s = setup(&SMALL);
  struct net_work *w = net_work_new(s.net, ops_cpu(), BATCH, true);
  struct net_work *lean = net_work_new(s.net, ops_cpu(), 1, false);
  float logits[BATCH * C], one[C], again[C];
  net_logits(w, s.flat, s.x, BATCH, logits);
  net_logits(lean, s.flat, s.x + s.values, 1, one);
  double loss = 0;
  for (int i = 0; i < BATCH; i++) {
    double sum = 0;
    for (int k = 0; k < C; k++)
      sum += exp((double)logits[i * C + k]);
    loss += log(sum) - (double)logits[i * C + s.labels[i]];
  }
  for (size_t k = 0; k < C; k++)
    assert_near((double)one[k], (double)logits[C + k], 1e-5, "alone", k);
  const float said = net_loss_gradient(w, s.flat, s.x, s.labels, BATCH, s.grad);
  assert_near((double)said, loss / BATCH, 1e-5, "loss", 0);
  assert_true(said == net_loss_gradient(w, s.flat, s.x, s.labels, BATCH, s.grad));
  float *x = s.x + s.values;
  for (size_t row = 0; row < SMALL.height; row++)
    for (size_t k = 0; k < 2; k++)
      x[(row * SMALL.image_width + SMALL.image_width - 1) * 2 + k] = 1e3f; /* column 21 of 20 */
  memset(x + (size_t)12 * SMALL.image_width * 2, 0, (size_t)2 * SMALL.image_width * 2 * sizeof *x);
  net_logits(lean, s.flat, x, 1, again);
  assert_memory_equal(again, one, sizeof one);
  x[0] += 1;
  net_logits(lean, s.flat, x, 1, again);
  assert_memory_not_equal(again, one, sizeof one);
  net_work_free(lean);
  net_work_free(w);
  arena_free(s.arena);
}

static void convnext_goes_through_a_file(void **state)
{
  const char *path = scratch_path(*state, "convnext.safetensors");
  struct images s = setup(&SMALL);
  struct diag *d = diag_new(s.arena);
  assert_true(net_save(s.net, s.flat, path, d));
  float *loaded = arena_array(s.arena, net_count(s.net), sizeof *loaded);
  assert_true(net_load(s.net, path, loaded, d));
  assert_memory_equal(loaded, s.flat, net_count(s.net) * sizeof *loaded);
  arena_free(s.arena);
}

/* Where norms and biases are exempt from weight decay, so are layer scales (Liu et al. 2022). */
static void layer_scales_do_not_decay(void **state)
{
  (void)state;
  struct images s = setup(&SMALL);
  size_t n, n_tensors;
  const struct optim_range *r = optim_ranges(s.arena, s.net, &n);
  const struct net_tensor *t = net_tensors(s.net, &n_tensors);
  for (size_t i = 0; i < n_tensors; i++) {
    const bool weight = strstr(t[i].name, "weight") && t[i].rank > 1;
    for (size_t k = 0; k < n; k++)
      if (t[i].offset >= r[k].begin && t[i].offset < r[k].end)
        assert_int_equal(r[k].decays, weight);
  }
  arena_free(s.arena);
}

static void what_does_not_fit_is_diagnosed(void **state)
{
  (void)state;
  static const struct {
    struct net_spec spec;
    const char *says, *hint;
  } bad[] = {
      {{.stages = 5}, "5 stages are too many", "up to 6"},
      {{.stages = 7, .blocks = 1}, "7 stages are too many", "there are 4"},
      {{.width = 4096, .stages = 2, .blocks = 1}, "width 4096 with 2 stages", "may be 4096"},
      {{.height = 14}, "4 stages leave nothing of 14 x 40 pixels", "32 pixels are the fewest"},
      {{.height = 3, .stages = 1, .blocks = 1}, "1 stages leave nothing", "4 pixels are"},
  };
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct net_spec spec = bad[i].spec;
    spec.model = "convnext_tiny";
    spec.channels = 3;
    spec.classes = 10;
    spec.height = spec.height ? spec.height : 400;
    spec.image_width = 40;
    diag_clear(d);
    assert_null(net_new(a, &spec, d));
    assert_int_equal(diag_errors(d), 1);
    assert_non_null(strstr(diag_message(d, 0), bad[i].says));
    assert_non_null(strstr(diag_hint_of(d, 0), bad[i].hint));
  }
  arena_free(a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(depthwise_matches_twin),
      cmocka_unit_test(scaled_matches_twin),
      cmocka_unit_test(convnext_has_torchvisions_tensors),
      cmocka_unit_test(convnext_is_drawn_as_torchvisions),
      cmocka_unit_test(convnext_gradient_is_the_losss),
      cmocka_unit_test(convnext_sees_one_sample_at_a_time),
      cmocka_unit_test_setup_teardown(convnext_goes_through_a_file, scratch_setup,
                                      scratch_teardown),
      cmocka_unit_test(layer_scales_do_not_decay),
      cmocka_unit_test(what_does_not_fit_is_diagnosed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
