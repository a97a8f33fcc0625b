/* Vision transformers, and the operations that only they and convolutional networks with
 * patches need. */
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
#include "base/safetensors.h"
#include "engine/net.h"
#include "engine/net_positions.h"
#include "engine/ops.h"

#include <math.h>
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

/* ---- class tokens ---- */

enum { TOKENS = 6, WIDTH = 19, ROWS = 3 };

static void class_token_twin(const struct twin *t, double *y)
{
  for (size_t i = 0; i < t->n_y; i++) {
    const size_t k = i % WIDTH, token = i / WIDTH % TOKENS, row = i / WIDTH / TOKENS;
    y[i] = t->in[2][token * WIDTH + k] +
           (token ? t->in[0][(row * (TOKENS - 1) + token - 1) * WIDTH + k] : t->in[1][k]);
  }
}

static void check_class_token(const struct ops *ops)
{
  struct arena *a = arena_new();
  struct twin t = {.run = class_token_twin, .n_y = ROWS * TOKENS * WIDTH};
  const float *x = input(a, &t, 0, ROWS * (TOKENS - 1) * WIDTH), *token = input(a, &t, 1, WIDTH);
  const float *positions = input(a, &t, 2, TOKENS * WIDTH), *dy = random_floats(a, t.n_y, 8);
  float y[ROWS * TOKENS * WIDTH], dx[ROWS * TOKENS * WIDTH], dtoken[WIDTH];
  float dpositions[TOKENS * WIDTH];
  ops->class_token_forward(ops, ROWS, TOKENS, WIDTH, x, token, positions, y);
  check_output(a, &t, y, "class token");
  ops->class_token_backward(ops, ROWS, TOKENS, WIDTH, dy, dx, false, dtoken, dpositions);
  check_gradient(a, &t, 0, dy, dx, "class token, dx");
  check_gradient(a, &t, 1, dy, dtoken, "class token, dtoken");
  check_gradient(a, &t, 2, dy, dpositions, "class token, dpositions");
  float *added = arena_copy(a, x, t.n[0] * sizeof *added);
  ops->class_token_backward(ops, ROWS, TOKENS, WIDTH, dy, added, true, dtoken, dpositions);
  for (size_t i = 0; i < t.n[0]; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-6, "class token, added", i);
  arena_free(a);
}

static void first_token_twin(const struct twin *t, double *y)
{
  for (size_t i = 0; i < t->n_y; i++)
    y[i] = t->in[0][i / WIDTH * TOKENS * WIDTH + i % WIDTH];
}

static void check_first_token(const struct ops *ops)
{
  struct arena *a = arena_new();
  struct twin t = {.run = first_token_twin, .n_y = ROWS * WIDTH};
  const float *x = input(a, &t, 0, ROWS * TOKENS * WIDTH), *dy = random_floats(a, t.n_y, 8);
  float y[ROWS * WIDTH], dx[ROWS * TOKENS * WIDTH];
  ops->first_token_forward(ops, ROWS, TOKENS, WIDTH, x, y);
  check_output(a, &t, y, "first token");
  ops->first_token_backward(ops, ROWS, TOKENS, WIDTH, dy, dx, false);
  for (size_t i = 0; i < t.n[0]; i++) {
    const size_t k = i % WIDTH, row = i / WIDTH / TOKENS;
    assert_true(dx[i] == (i / WIDTH % TOKENS ? 0 : dy[row * WIDTH + k]));
  }
  check_gradient(a, &t, 0, dy, dx, "first token, dx");
  float *added = arena_copy(a, x, t.n[0] * sizeof *added);
  ops->first_token_backward(ops, ROWS, TOKENS, WIDTH, dy, added, true);
  for (size_t i = 0; i < t.n[0]; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-6, "first token, added", i);
  arena_free(a);
}

static void class_tokens_match_twin(void **state)
{
  (void)state;
  each_set(check_class_token);
  each_set(check_first_token);
}

/* ---- networks ---- */

enum { BATCH = 5, SIDE = 8, PATCH = 4, CHANNELS = 3, CLASSES = 7, PIXELS = SIDE * SIDE * CHANNELS };

static struct net_spec small(const char *model)
{
  return (struct net_spec){.model = model,
                           .width = 24,
                           .layers = 2,
                           .heads = 3,
                           .patch = PATCH,
                           .channels = CHANNELS,
                           .height = SIDE,
                           .image_width = SIDE,
                           .classes = CLASSES};
}

static const char *const models[] = {"vit_s_16", "clip_vit_b_16"};

struct images {
  struct arena *arena;
  struct diag *diag;
  struct net *net;
  float *flat, *grad, *x;
  int32_t labels[BATCH];
};

static struct images setup(const struct net_spec *spec)
{
  struct images t = {.arena = arena_new()};
  t.diag = diag_new(t.arena);
  t.net = net_new(t.arena, spec, t.diag);
  assert_non_null(t.net);
  t.flat = arena_array(t.arena, net_count(t.net), sizeof *t.flat);
  t.grad = arena_array(t.arena, net_count(t.net), sizeof *t.grad);
  t.x = random_floats(t.arena, BATCH * PIXELS, 1);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < BATCH; i++)
    t.labels[i] = (int32_t)rng_below(&r, CLASSES);
  net_init(t.net, 1, t.flat);
  for (size_t i = 0; i < net_count(t.net); i++) /* so that no gradient is tiny */
    t.flat[i] += 0.1f * (float)rng_normal(&r);
  return t;
}

static const struct net_tensor *tensor(const struct net *net, const char *name)
{
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) {
    if (!strcmp(t[i].name, name))
      return &t[i];
  }
  fail_msg("no tensor %s", name);
  return NULL;
}

struct shape {
  const char *name;
  unsigned rank;
  size_t shape[4];
};

static void check_shapes(const struct net *net, const struct shape *shapes, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    const struct net_tensor *t = tensor(net, shapes[i].name);
    assert_int_equal(t->rank, shapes[i].rank);
    for (unsigned k = 0; k < t->rank; k++)
      assert_int_equal(t->shape[k], shapes[i].shape[k]);
  }
}

static void vit_has_timms_tensors(void **state)
{
  (void)state;
  static const struct shape shapes[] = {{"cls_token", 3, {1, 1, 24}},
                                        {"pos_embed", 3, {1, 5, 24}},
                                        {"patch_embed.proj.weight", 4, {24, 3, 4, 4}},
                                        {"patch_embed.proj.bias", 1, {24}},
                                        {"blocks.0.norm1.weight", 1, {24}},
                                        {"blocks.0.attn.qkv.weight", 2, {72, 24}},
                                        {"blocks.0.attn.qkv.bias", 1, {72}},
                                        {"blocks.0.attn.proj.weight", 2, {24, 24}},
                                        {"blocks.1.norm2.bias", 1, {24}},
                                        {"blocks.1.mlp.fc1.weight", 2, {96, 24}},
                                        {"blocks.1.mlp.fc2.weight", 2, {24, 96}},
                                        {"norm.weight", 1, {24}},
                                        {"head.weight", 2, {7, 24}},
                                        {"head.bias", 1, {7}}};
  const struct net_spec spec = small("vit_s_16");
  struct images t = setup(&spec);
  size_t n;
  check_shapes(t.net, shapes, sizeof shapes / sizeof *shapes);
  net_tensors(t.net, &n);
  assert_int_equal(n, 4 + 2 * 12 + 2 + 2);
  assert_int_equal(net_features(t.net), 24);
  assert_true(net_in_classifier(t.net, tensor(t.net, "head.bias")));
  assert_false(net_in_classifier(t.net, tensor(t.net, "norm.bias")));
  arena_free(t.arena);
}

static void clip_has_open_clips_tensors(void **state)
{
  (void)state;
  static const struct shape shapes[] = {
      {"visual.class_embedding", 1, {24}},
      {"visual.positional_embedding", 2, {5, 24}},
      {"visual.conv1.weight", 4, {24, 3, 4, 4}},
      {"visual.ln_pre.weight", 1, {24}},
      {"visual.transformer.resblocks.0.ln_1.weight", 1, {24}},
      {"visual.transformer.resblocks.0.attn.in_proj_weight", 2, {72, 24}},
      {"visual.transformer.resblocks.0.attn.in_proj_bias", 1, {72}},
      {"visual.transformer.resblocks.0.attn.out_proj.weight", 2, {24, 24}},
      {"visual.transformer.resblocks.1.ln_2.bias", 1, {24}},
      {"visual.transformer.resblocks.1.mlp.c_fc.weight", 2, {96, 24}},
      {"visual.transformer.resblocks.1.mlp.c_proj.bias", 1, {24}},
      {"visual.ln_post.bias", 1, {24}},
      {"visual.proj", 2, {24, 16}},
      {"classifier.weight", 2, {7, 16}}};
  const struct net_spec spec = small("clip_vit_b_16");
  struct images t = setup(&spec);
  size_t n;
  check_shapes(t.net, shapes, sizeof shapes / sizeof *shapes);
  net_tensors(t.net, &n);
  assert_int_equal(n, 3 + 2 + 2 * 12 + 2 + 1 + 2);
  assert_int_equal(net_features(t.net), 16);
  assert_true(net_in_classifier(t.net, tensor(t.net, "classifier.weight")));
  assert_false(net_in_classifier(t.net, tensor(t.net, "visual.proj")));
  arena_free(t.arena);
}

/* As timm counts them for 1000 classes, and open_clip its encoder without a classifier. */
static void full_sizes_are_the_originals(void **state)
{
  (void)state;
  static const struct {
    const char *model;
    size_t params;
  } full[] = {
      {"vit_s_16", 22050664}, {"vit_b_16", 86567656}, {"clip_vit_b_16", 86192640 + 513 * 1000}};
  for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
    struct arena *a = arena_new();
    const struct net_spec spec = {
        .model = full[i].model, .channels = 3, .height = 224, .image_width = 224, .classes = 1000};
    const struct net *net = net_new(a, &spec, diag_new(a));
    assert_non_null(net);
    assert_int_equal(net_params(net), full[i].params);
    arena_free(a);
  }
}

static void assert_spread(const struct images *t, const char *name, double want)
{
  const struct net_tensor *w = tensor(t->net, name);
  double square = 0;
  for (size_t i = 0; i < w->count; i++)
    square += pow((double)t->flat[w->offset + i], 2);
  const double spread = sqrt(square / (double)w->count);
  if (!(fabs(spread - want) <= 0.08 * want))
    fail_msg("%s: standard deviation %g, not %g", name, spread, want);
}

static void weights_are_drawn_as_the_originals(void **state)
{
  (void)state;
  struct net_spec spec = small("vit_s_16");
  spec.width = 192;
  struct images t = setup(&spec);
  net_init(t.net, 1, t.flat);
  assert_spread(&t, "cls_token", 1e-6);
  assert_spread(&t, "pos_embed", 0.02);
  assert_spread(&t, "patch_embed.proj.weight", 1 / sqrt(3.0 * 48));
  assert_spread(&t, "blocks.1.attn.qkv.weight", 0.02);
  assert_spread(&t, "blocks.1.mlp.fc2.weight", 0.02);
  assert_spread(&t, "blocks.1.mlp.fc2.bias", 0);
  assert_spread(&t, "head.weight", 0.02);
  assert_spread(&t, "head.bias", 0);
  arena_free(t.arena);
  spec.model = "clip_vit_b_16";
  t = setup(&spec);
  net_init(t.net, 1, t.flat);
  assert_spread(&t, "visual.positional_embedding", 1 / sqrt(192));
  assert_spread(&t, "visual.proj", 1 / sqrt(192));
  assert_spread(&t, "visual.transformer.resblocks.0.attn.in_proj_weight", sqrt(0.5 / 192));
  assert_spread(&t, "visual.transformer.resblocks.0.attn.in_proj_bias", 0);
  assert_spread(&t, "visual.transformer.resblocks.0.attn.out_proj.weight", 1 / sqrt(3.0 * 192));
  assert_spread(&t, "visual.transformer.resblocks.0.attn.out_proj.bias", 0);
  assert_spread(&t, "visual.transformer.resblocks.1.mlp.c_fc.bias", 1 / sqrt(3.0 * 192));
  assert_spread(&t, "visual.transformer.resblocks.1.mlp.c_proj.weight", 1 / sqrt(3.0 * 768));
  arena_free(t.arena);
}

/* Along the gradient the loss rises as the gradient says, tensor by tensor; ReLUs are held, for at
 * their kinks it does not. */
static void check_network(const struct ops *ops, const char *model, const char *activation)
{
  struct net_spec spec = small(model);
  spec.activation = activation;
  spec.turned = activation == NULL; /* of CLIP */
  struct images t = setup(&spec);
  struct net_work *w = net_work_new(t.net, ops, BATCH, true);
  net_loss_gradient(w, t.flat, t.x, t.labels, BATCH, t.grad);
  float *scrap = arena_array(t.arena, net_count(t.net), sizeof *scrap);
  size_t n;
  const struct net_tensor *all = net_tensors(t.net, &n);
  net_record_relu(w, t.flat, t.x, BATCH);
  net_fixed_relu_gradient(w, t.flat, t.x, t.labels, BATCH, scrap);
  assert_memory_equal(scrap, t.grad, net_params(t.net) * sizeof *scrap);
  for (size_t i = 0; i < n; i++) {
    const float *g = t.grad + all[i].offset;
    double square = 0, loss[2];
    for (size_t k = 0; k < all[i].count; k++)
      square += (double)(g[k] * g[k]);
    const double h = 0.01 / sqrt(square);
    for (int side = 0; side < 2; side++) {
      float *moved = arena_copy(t.arena, t.flat, net_count(t.net) * sizeof *moved);
      for (size_t k = 0; k < all[i].count; k++)
        moved[all[i].offset + k] += (float)((side ? h : -h) * (double)g[k]);
      loss[side] = (double)net_fixed_relu_gradient(w, moved, t.x, t.labels, BATCH, scrap);
    }
    const double rise = (loss[1] - loss[0]) / (2 * h);
    if (!(fabs(rise - square) <= 0.02 * square + 2e-5 * sqrt(square)))
      fail_msg("%s, %s: %g, not %g", model, all[i].name, rise, square);
  }
  net_work_free(w);
  arena_free(t.arena);
}

static void check_networks(const struct ops *ops)
{
  static const char *const activations[] = {NULL, "gelu", "relu"};
  for (size_t i = 0; i < sizeof models / sizeof *models; i++)
    for (int k = 0; k < 3; k++)
      check_network(ops, models[i], activations[k]);
}

static void gradient_is_the_losss(void **state)
{
  (void)state;
  each_set(check_networks);
}

/* The image with its first and last patch exchanged. */
static void exchange_patches(float *x)
{
  enum { LINE = SIDE * CHANNELS, PART = PATCH * CHANNELS };
  const size_t there = (SIDE - PATCH) * LINE + LINE - PART;
  for (unsigned i = 0; i < PATCH * PART; i++) {
    float *a = x + i / PART * LINE + i % PART, *b = a + there, was = *a;
    *a = *b;
    *b = was;
  }
}

/* A sample's neighbours change nothing; patches that move with their positions change nothing,
 * those that move without do; the classifier reads the features. */
static void check_tokens(const char *model)
{
  const struct net_spec spec = small(model);
  struct images t = setup(&spec);
  struct net_work *w = net_work_new(t.net, ops_cpu(), BATCH, true);
  struct net_work *lean = net_work_new(t.net, ops_cpu(), 1, false);
  const bool clip = !strcmp(model, "clip_vit_b_16");
  const struct net_tensor *p = tensor(t.net, clip ? "visual.positional_embedding" : "pos_embed");
  const struct net_tensor *head = tensor(t.net, clip ? "classifier.weight" : "head.weight");
  const struct net_tensor *bias = tensor(t.net, clip ? "classifier.bias" : "head.bias");
  float logits[BATCH * CLASSES], one[CLASSES], moved[CLASSES], features[24];
  net_logits(w, t.flat, t.x, BATCH, logits);
  net_logits(lean, t.flat, t.x + PIXELS, 1, one);
  net_penultimate(lean, t.flat, t.x + PIXELS, 1, features);
  for (size_t i = 0; i < CLASSES; i++) {
    double sum = (double)t.flat[bias->offset + i];
    for (size_t k = 0; k < net_features(t.net); k++)
      sum += (double)features[k] * (double)t.flat[head->offset + i * net_features(t.net) + k];
    assert_near((double)one[i], (double)logits[CLASSES + i], 1e-5, "alone", i);
    assert_near((double)one[i], sum, 1e-5, "features", i);
  }
  exchange_patches(t.x + PIXELS);
  net_logits(lean, t.flat, t.x + PIXELS, 1, moved);
  double change = 0;
  for (size_t i = 0; i < CLASSES; i++)
    change += fabs((double)(moved[i] - one[i]));
  assert_true(change > 1e-3);
  for (size_t k = 0; k < 24; k++) {
    float *at = t.flat + p->offset + k, was = at[24];
    at[24] = at[4 * 24];
    at[4 * 24] = was;
  }
  net_logits(lean, t.flat, t.x + PIXELS, 1, moved);
  for (size_t i = 0; i < CLASSES; i++)
    assert_near((double)moved[i], (double)one[i], 1e-5, "with their positions", i);
  net_work_free(lean);
  net_work_free(w);
  arena_free(t.arena);
}

static void tokens_are_patches_with_positions(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof models / sizeof *models; i++)
    check_tokens(models[i]);
}

/* All of it, and all but the classifier into a network with more classes. */
static void goes_through_a_file(void **state)
{
  struct scratch *s = *state;
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    const char *path = scratch_path(s, models[i]);
    struct net_spec spec = small(models[i]);
    struct images t = setup(&spec);
    assert_true(net_save(t.net, t.flat, path, t.diag));
    float *again = arena_array(t.arena, net_count(t.net), sizeof *again);
    assert_true(net_load(t.net, path, again, t.diag));
    assert_memory_equal(again, t.flat, net_count(t.net) * sizeof *again);
    spec.classes = CLASSES + 4;
    struct images more = setup(&spec);
    const struct net_tensor *head = tensor(more.net, i ? "classifier.weight" : "head.weight");
    const float drawn = more.flat[head->offset];
    assert_true(net_load_body(more.net, path, more.flat, more.diag));
    assert_memory_equal(more.flat, t.flat, head->offset * sizeof *again);
    assert_true(more.flat[head->offset] == drawn);
    assert_false(net_load(more.net, path, more.flat, more.diag));
    arena_free(more.arena);
    arena_free(t.arena);
  }
}

/* What open_clip saves: the encoder, a language model, and no classifier. */
static void encoder_of_a_whole_clip_is_taken(void **state)
{
  const char *path = scratch_path(*state, "clip");
  static const char *const language[] = {
      "positional_embedding",   "text_projection", "logit_scale",
      "token_embedding.weight", "ln_final.bias",   "transformer.resblocks.0.attn.in_proj_weight"};
  enum { LANGUAGE = sizeof language / sizeof *language };
  const struct net_spec spec = small("clip_vit_b_16");
  struct images t = setup(&spec);
  const float number = 1;
  size_t n;
  const struct net_tensor *all = net_tensors(t.net, &n);
  struct safetensors file = {.tensors = arena_array(t.arena, n + LANGUAGE, sizeof *file.tensors)};
  for (size_t i = 0; i < n + LANGUAGE; i++) {
    struct safetensors_tensor *s = &file.tensors[file.n_tensors];
    const struct net_tensor *own = i < n ? &all[i] : NULL;
    if (own && net_in_classifier(t.net, own))
      continue;
    *s = (struct safetensors_tensor){.name = own ? own->name : language[i - n],
                                     .dtype = SAFETENSORS_F32,
                                     .rank = own ? own->rank : 0,
                                     .bytes = (own ? own->count : 1) * sizeof number,
                                     .data = own ? t.flat + own->offset : &number};
    for (unsigned k = 0; k < s->rank; k++)
      s->shape[k] = own->shape[k];
    file.n_tensors++;
  }
  assert_true(safetensors_write(path, &file, t.diag));
  float *again = arena_array(t.arena, net_count(t.net), sizeof *again);
  assert_true(net_load_body(t.net, path, again, t.diag));
  const size_t body = tensor(t.net, "classifier.weight")->offset;
  assert_memory_equal(again, t.flat, body * sizeof *again);
  file.tensors[file.n_tensors - 1].name = "visual.transformer.resblocks.2.ln_1.weight";
  assert_true(safetensors_write(path, &file, t.diag));
  assert_false(net_load_body(t.net, path, again, t.diag));
  assert_non_null(strstr(diag_message(t.diag, 0), "resblocks.2.ln_1.weight"));
  arena_free(t.arena);
}

/* Against F.interpolate(mode = "bicubic", antialias = True) of PyTorch 1.13, on a grid that grows,
 * one that shrinks, and one that does either. */
static void positions_are_resampled_as_in_pytorch(void **state)
{
  static const struct {
    unsigned shape[4]; /* side, then height, width, channels */
    float want[16];
  } cases[] = {
      {{3, 4, 2, 2},
       {-1.278844f, 1.035577f, -0.7161184f, -0.2263722f, -0.04661422f, -0.3506987f, -0.009166098f,
        -0.9823139f, 0.8901946f, -1.142316f, 0.1625377f, -0.8558046f, 0.9442844f, -0.8429991f,
        -0.3086505f, 0.07384533f}},
      {{4, 2, 5, 1},
       {-0.7396544f, 0.01397008f, -0.01200929f, -0.4528674f, -0.4791849f, 1.231559f, -0.586762f,
        -0.615186f, -0.1273164f, -0.9750428f}},
      {{5, 3, 3, 1},
       {-0.1885798f, -0.1432559f, -0.2180471f, -0.525331f, 0.02194162f, -0.1137926f, -0.7243785f,
        -0.3398747f, 0.1281656f}},
  };
  (void)state;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    const unsigned *s = cases[k].shape, c = s[3];
    float from[2 + 25] = {7, 8}, to[2 + 16];
    for (unsigned i = 0; i < s[0] * s[0] * c; i++)
      from[c + i] = (float)((int)((7 * i * i + 3 * i) % 11) - 5) / 4;
    net_resample_positions(from, s[0], to, s[1], s[2], c);
    assert_memory_equal(to, from, c * sizeof *to); /* the class token's */
    for (unsigned i = 0; i < s[1] * s[2] * c; i++)
      assert_float_equal(to[c + i], cases[k].want[i], 2e-6);
  }
}

static void refuses_what_does_not_fit(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct net_spec spec = small("vit_b_16");
  spec.image_width = 10;
  assert_null(net_new(a, &spec, d));
  assert_non_null(strstr(diag_message(d, 0), "8x10 pixels cannot be cut into patches of 4x4"));
  diag_clear(d);
  spec = small("clip_vit_b_16");
  spec.heads = 5;
  assert_null(net_new(a, &spec, d));
  assert_non_null(strstr(diag_message(d, 0), "width 24 with 5 heads"));
  diag_clear(d);
  spec = small("vit_s_16");
  spec.patch = 16;
  assert_null(net_new(a, &spec, d));
  arena_free(a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(patches_match_twin),
      cmocka_unit_test(class_tokens_match_twin),
      cmocka_unit_test(vit_has_timms_tensors),
      cmocka_unit_test(clip_has_open_clips_tensors),
      cmocka_unit_test(full_sizes_are_the_originals),
      cmocka_unit_test(weights_are_drawn_as_the_originals),
      cmocka_unit_test(gradient_is_the_losss),
      cmocka_unit_test(tokens_are_patches_with_positions),
      cmocka_unit_test_setup_teardown(goes_through_a_file, scratch_setup, scratch_teardown),
      cmocka_unit_test_setup_teardown(encoder_of_a_whole_clip_is_taken, scratch_setup,
                                      scratch_teardown),
      cmocka_unit_test(positions_are_resampled_as_in_pytorch),
      cmocka_unit_test(refuses_what_does_not_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
