/* Steps of a plan through the engine into the store: a made-up data set of a few
 * images, and networks of a few units. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_fixture.h"

#include "base/checkpoint.h"
#include "base/file.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "measure/measure.h"
#include "merge/merge.h"
#include "run/bind_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 28, TRAIN = 40, TEST = 24, SIZE = 7, BATCH = 8, PER_EPOCH = 4, MOST_ATTRS = 24 };

struct world {
  struct fixture *f;
  struct bind *bind;
  const char *dirs[1];
  uint32_t data;
};

/* ---- a data set ---- */

static void write_idx(struct arena *a, const char *folder, const char *name, bool images,
                      unsigned n)
{
  const uint32_t words[4] = {images ? 0x803 : 0x801, n, SIDE, SIDE};
  size_t each = images ? SIDE * SIDE : 1, head = images ? 16 : 8;
  uint8_t *bytes = arena_alloc(a, head + n * each);
  uint32_t r = n;
  for (size_t i = 0; i < head; i++)
    bytes[i] = (uint8_t)(words[i / 4] >> (24 - 8 * (i % 4)));
  for (size_t i = 0; i < n * each; i++) {
    r = r * 1664525 + 1013904223;
    bytes[head + i] = images ? (uint8_t)(r >> 24) : (uint8_t)((r >> 16) % 10);
  }
  assert_true(file_write_synced(file_join(a, folder, name), bytes, head + n * each, diag_new(a)));
}

/* ---- a plan ---- */

struct attrs {
  struct plan_attr list[MOST_ATTRS];
  uint32_t n;
};

static void put(struct attrs *a, enum plan_attr_id id, double num, const char *str)
{
  uint32_t at = a->n++;
  assert_true(a->n <= MOST_ATTRS);
  for (; at > 0 && a->list[at - 1].id > id; at--)
    a->list[at] = a->list[at - 1];
  a->list[at] = (struct plan_attr){id, num, str};
}

static uint32_t add(struct world *w, enum plan_kind kind, const struct attrs *a,
                    const uint32_t *inputs, uint32_t n_inputs, const char *path)
{
  struct plan_step s = {.kind = kind,
                        .attrs = a->list,
                        .n_attrs = a->n,
                        .inputs = inputs,
                        .n_inputs = n_inputs,
                        .origin = {"test", "", SPAN_NONE, path}};
  return plan_add_step(w->f->plan, &s);
}

static uint32_t add_data(struct world *w, const char *name, unsigned size)
{
  struct attrs a = {0};
  put(&a, PLAN_A_data, 0, name);
  put(&a, PLAN_A_image_size, size, NULL);
  put(&a, PLAN_A_compose, 0, "none");
  put(&a, PLAN_A_train_size, BATCH * PER_EPOCH, NULL);
  put(&a, PLAN_A_test_size, TEST, NULL);
  return add(w, PLAN_DATA, &a, NULL, 0, NULL);
}

static struct attrs model(const char *name, double seed)
{
  struct attrs a = {0};
  put(&a, PLAN_A_model, 0, name);
  put(&a, PLAN_A_width, 6, NULL);
  if (!strcmp(name, "mlp")) {
    put(&a, PLAN_A_layers, 2, NULL);
  } else if (!strcmp(name, "vit_s_16")) {
    put(&a, PLAN_A_layers, 2, NULL);
    put(&a, PLAN_A_heads, 2, NULL);
    put(&a, PLAN_A_patch, 7, NULL);
  } else {
    put(&a, PLAN_A_stages, 1, NULL);
    put(&a, PLAN_A_blocks, 1, NULL);
  }
  put(&a, PLAN_A_seed, seed, NULL);
  return a;
}

static uint32_t add_init(struct world *w, const char *name, double seed)
{
  struct attrs a = model(name, seed);
  return add(w, PLAN_INIT, &a, &w->data, 1, NULL);
}

static uint32_t add_init_from(struct world *w, const char *name, double seed, uint32_t from,
                              const char *head)
{
  struct attrs a = model(name, seed);
  put(&a, PLAN_A_head, 0, head);
  return add(w, PLAN_INIT, &a, (uint32_t[]){w->data, from}, 2, NULL);
}

static uint32_t add_init_file(struct world *w, const char *name, const char *path, const char *head)
{
  struct attrs a = model(name, 1);
  struct checkpoint file;
  struct hash digest;
  char hex[HASH_HEX];
  assert_true(checkpoint_open(w->f->arena, path, &file, w->f->diag));
  assert_true(checkpoint_digest(&file, &digest, w->f->diag));
  checkpoint_close(&file);
  hash_hex(digest, hex);
  put(&a, PLAN_A_head, 0, head);
  put(&a, PLAN_A_weights, 0, arena_strdup(w->f->arena, hex));
  return add(w, PLAN_INIT, &a, &w->data, 1, path);
}

struct schedule {
  const char *name;
  double from, length;
};

static void put_optimizer(struct attrs *a, const char *name, const char *decay)
{
  bool sgd = !strcmp(name, "sgd");
  put(a, PLAN_A_optimizer, 0, name);
  put(a, PLAN_A_lr, sgd ? 0.05 : 1e-3, NULL);
  put(a, PLAN_A_weight_decay, sgd ? 1e-3 : 0.1, NULL);
  if (decay)
    put(a, PLAN_A_decay, 0, decay);
  if (sgd) {
    put(a, PLAN_A_momentum, 0.9, NULL);
    return;
  }
  put(a, PLAN_A_beta1, 0.9, NULL);
  put(a, PLAN_A_beta2, 0.99, NULL);
  put(a, PLAN_A_epsilon, 1e-8, NULL);
}

static uint32_t add_training(struct world *w, const struct attrs *optimizer, uint32_t start,
                             double from, double to, double stream, struct schedule s)
{
  struct attrs a = *optimizer;
  put(&a, PLAN_A_batch, BATCH, NULL);
  put(&a, PLAN_A_augment, 0, "flip_crop");
  put(&a, PLAN_A_crop_padding, 1, NULL);
  put(&a, PLAN_A_schedule, 0, s.name);
  put(&a, PLAN_A_schedule_from, s.from, NULL);
  put(&a, PLAN_A_schedule_length, s.length, NULL);
  if (!strncmp(s.name, "warmup", 6))
    put(&a, PLAN_A_schedule_warmup, 3, NULL);
  put(&a, PLAN_A_from, from, NULL);
  put(&a, PLAN_A_to, to, NULL);
  put(&a, PLAN_A_steps_per_epoch, PER_EPOCH, NULL);
  put(&a, PLAN_A_seed, 1, NULL);
  put(&a, PLAN_A_stream, stream, NULL);
  return add(w, PLAN_TRAIN, &a, (uint32_t[]){start, w->data}, 2, NULL);
}

static uint32_t add_train(struct world *w, uint32_t start, double from, double to, double stream,
                          struct schedule s)
{
  struct attrs sgd = {0};
  put_optimizer(&sgd, "sgd", NULL);
  return add_training(w, &sgd, start, from, to, stream, s);
}

static const struct schedule constant = {"constant", 0, 0};

static uint32_t add_merge(struct world *w, const char *method, const char *batchnorm,
                          const struct attrs *args, const uint32_t *models, uint32_t n)
{
  struct attrs a = args ? *args : (struct attrs){0};
  uint32_t inputs[8];
  memcpy(inputs, models, n * sizeof *inputs);
  inputs[n] = w->data;
  put(&a, PLAN_A_method, 0, method);
  put(&a, PLAN_A_batchnorm, 0, batchnorm);
  if (!strcmp(batchnorm, "recalibrated")) {
    put(&a, PLAN_A_batch, BATCH, NULL);
    put(&a, PLAN_A_augment, 0, "none");
    put(&a, PLAN_A_crop_padding, 0, NULL);
    put(&a, PLAN_A_seed, 1, NULL);
  }
  return add(w, PLAN_MERGE, &a, inputs, n + 1, NULL);
}

static uint32_t add_measure(struct world *w, const char *name, const uint32_t *models, uint32_t n,
                            uint32_t data)
{
  struct attrs a = {0};
  uint32_t inputs[4];
  memcpy(inputs, models, n * sizeof *inputs);
  inputs[n] = data;
  put(&a, PLAN_A_measurement, 0, name);
  if (!strcmp(name, "evaluate") || !strcmp(name, "cka") || !strcmp(name, "disagreement"))
    put(&a, PLAN_A_split, 0, "test");
  if (!strcmp(name, "cka"))
    put(&a, PLAN_A_samples, 20, NULL);
  return add(w, PLAN_MEASURE, &a, inputs, n + 1, NULL);
}

/* ---- running it ---- */

static const struct plan_step *step_at(struct world *w, uint32_t k)
{
  return plan_step(w->f->plan, k);
}

/* What the step needs, and the step. */
static bool try_step(struct world *w, uint32_t k)
{
  const struct plan_step *s = step_at(w, k);
  for (uint32_t i = 0; i < s->n_inputs; i++)
    if (!try_step(w, s->inputs[i]))
      return false;
  return store_has(w->f->store, s->key) ||
         bind_execute(w->bind, w->f->store, w->f->plan, s, w->f->diag);
}

static void run(struct world *w, uint32_t k)
{
  if (!try_step(w, k))
    fail_msg("%s", diag_message(w->f->diag, diag_count(w->f->diag) - 1));
}

static void fails(struct world *w, uint32_t k, const char *message, const char *hint)
{
  assert_false(try_step(w, k));
  assert_true(diag_errors(w->f->diag) > 0);
  if (!fixture_said(w->f->diag, message))
    fail_msg("\"%s\", not \"%s\"", diag_message(w->f->diag, diag_count(w->f->diag) - 1), message);
  const char *said = diag_hint_of(w->f->diag, diag_count(w->f->diag) - 1);
  if (hint && !(said && strstr(said, hint)))
    fail_msg("\"%s\", not \"%s\"", said ? said : "no hint", hint);
  assert_false(store_has(w->f->store, step_at(w, k)->key));
  diag_clear(w->f->diag);
}

static struct store_result result(struct world *w, uint32_t k)
{
  struct store_result r = {0};
  run(w, k);
  assert_true(store_read(w->f->store, step_at(w, k)->key, w->f->arena, &r, w->f->diag));
  return r;
}

static double value(struct world *w, uint32_t k, const char *name)
{
  struct store_result r = result(w, k);
  return store_get(&r, name);
}

static struct net *net_of(struct world *w, const char *name, unsigned classes)
{
  struct net_spec spec = {.model = name,
                          .width = 6,
                          .stages = 1,
                          .blocks = 1,
                          .layers = 2,
                          .channels = 1,
                          .height = SIZE,
                          .image_width = SIZE,
                          .classes = classes};
  struct net *net = net_new(w->f->arena, &spec, w->f->diag);
  assert_non_null(net);
  return net;
}

static float *weights(struct world *w, const struct net *net, uint32_t k)
{
  float *flat = arena_array(w->f->arena, net_count(net), sizeof *flat);
  run(w, k);
  assert_true(net_load(net, fixture_path(w->f, k, "weights.safetensors"), flat, w->f->diag));
  return flat;
}

static bool has_momentum(struct world *w, uint32_t k)
{
  run(w, k);
  return file_exists(fixture_path(w->f, k, "optimizer.safetensors"));
}

static int begin(void **state)
{
  static const char *const folders[] = {"mnist", "fashion-mnist"};
  void *fixture;
  if (fixture_begin(&fixture))
    return -1;
  struct fixture *f = fixture;
  struct world *w = arena_alloc(f->arena, sizeof *w);
  w->f = f;
  w->dirs[0] = f->root;
  for (int i = 0; i < 2; i++) {
    const char *folder = file_join(f->arena, f->root, folders[i]);
    assert_true(file_make_dir(folder, f->diag));
    write_idx(f->arena, folder, "train-images-idx3-ubyte", true, TRAIN);
    write_idx(f->arena, folder, "train-labels-idx1-ubyte", false, TRAIN);
    write_idx(f->arena, folder, "t10k-images-idx3-ubyte", true, TEST);
    write_idx(f->arena, folder, "t10k-labels-idx1-ubyte", false, TEST);
  }
  w->bind = bind_new(f->arena, w->dirs, 1);
  w->data = add_data(w, "mnist", SIZE);
  *state = w;
  return 0;
}

static int end(void **state)
{
  struct world *w = *state;
  void *fixture = w->f;
  bind_free(w->bind);
  return fixture_end(&fixture);
}

/* ---- training ---- */

static const char *const MODELS[] = {"mlp", "resnet18"};

/* A branch in one segment and in three: bit for bit the same, and the last
 * segment's momentum is not kept. */
static void a_branch_may_be_cut(void **state)
{
  struct world *w = *state;
  static const struct schedule schedules[] = {{"sqrt_decay", 4, 7},      {"constant", 4, 7},
                                              {"linear_decay", 4, 7},    {"cosine", 0, 11},
                                              {"warmup_constant", 4, 7}, {"warmup_cosine", 4, 7}};
  for (int m = 0; m < 2; m++) {
    struct net *net = net_of(w, MODELS[m], 10);
    uint32_t trunk = add_train(w, add_init(w, MODELS[m], 1), 0, 4, 0, constant);
    assert_true(has_momentum(w, trunk));
    for (int k = 0; k < 6; k++) {
      const struct schedule s = schedules[k];
      uint32_t whole = add_train(w, trunk, 4, 11, 1, s), first = add_train(w, trunk, 4, 6, 1, s);
      uint32_t second = add_train(w, first, 6, 10, 1, s),
               third = add_train(w, second, 10, 11, 1, s);
      const float *one = weights(w, net, whole), *cut = weights(w, net, third);
      assert_memory_equal(one, cut, net_count(net) * sizeof *one);
      assert_true(has_momentum(w, first) && has_momentum(w, second));
      assert_false(has_momentum(w, third) || has_momentum(w, whole));
      /* Kept momentum is part of the cost. */
      struct cost kept = bind_cost(w->bind, w->f->plan, step_at(w, first));
      struct cost dropped = bind_cost(w->bind, w->f->plan, step_at(w, third));
      assert_true(kept.bytes - dropped.bytes > 4 * (double)net_params(net));
    }
    assert_false(has_momentum(w, add_train(w, trunk, 4, 11, 1, constant)));
  }
}

/* The same with Adam's two means, whose correction needs the number of steps since the trunk
 * began; and with norms and biases spared. */
static void adamw_goes_on_where_it_was(void **state)
{
  struct world *w = *state;
  static const char *const decays[] = {NULL, "weights"};
  const struct schedule decay = {"sqrt_decay", 4, 7};
  struct net *net = net_of(w, "resnet18", 10);
  const float *ends[2];
  for (int k = 0; k < 2; k++) {
    struct attrs o = {0};
    put_optimizer(&o, "adamw", decays[k]);
    uint32_t init = add_init(w, "resnet18", 1);
    uint32_t trunk = add_training(w, &o, init, 0, 4, 0, constant);
    uint32_t half = add_training(w, &o, init, 0, 2, 0, constant);
    uint32_t other = add_training(w, &o, half, 2, 4, 0, constant);
    const float *one = weights(w, net, trunk), *cut = weights(w, net, other);
    assert_memory_equal(one, cut, net_count(net) * sizeof *one);
    uint32_t whole = add_training(w, &o, trunk, 4, 11, 1, decay);
    uint32_t first = add_training(w, &o, other, 4, 9, 1, decay);
    uint32_t second = add_training(w, &o, first, 9, 11, 1, decay);
    ends[k] = weights(w, net, whole);
    cut = weights(w, net, second);
    assert_memory_equal(ends[k], cut, net_count(net) * sizeof *cut);
    assert_true(has_momentum(w, first));
    assert_false(has_momentum(w, second) || has_momentum(w, whole));
    struct safetensors file;
    assert_true(safetensors_open(w->f->arena, fixture_path(w->f, first, "optimizer.safetensors"),
                                 &file, w->f->diag));
    assert_int_equal(file.n_tensors, 2);
    assert_non_null(safetensors_find(&file, "exp_avg"));
    assert_non_null(safetensors_find(&file, "exp_avg_sq"));
    safetensors_close(&file);
    struct cost kept = bind_cost(w->bind, w->f->plan, step_at(w, first));
    struct cost dropped = bind_cost(w->bind, w->f->plan, step_at(w, second));
    assert_true(kept.bytes - dropped.bytes > 8 * (double)net_params(net));
    /* Another trunk from its end begins anew: as from a copy of its weights. */
    const float *anew = weights(w, net, add_training(w, &o, whole, 0, 2, 0, constant));
    uint32_t copy = add_init_from(w, "resnet18", 1, whole, "kept");
    cut = weights(w, net, add_training(w, &o, copy, 0, 2, 0, constant));
    assert_memory_equal(anew, cut, net_count(net) * sizeof *cut);
  }
  assert_memory_not_equal(ends[0], ends[1], net_params(net) * sizeof *ends[0]);
  /* What SGD left behind is not Adam's. */
  struct attrs o = {0};
  put_optimizer(&o, "adamw", NULL);
  uint32_t sgd = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant);
  run(w, sgd);
  assert_false(try_step(w, add_training(w, &o, sgd, 4, 8, 1, decay)));
  assert_true(fixture_said(w->f->diag, "no exp_avg_sq"));
  diag_clear(w->f->diag);
}

/* At the first step of a trunk there is no momentum, whatever it starts from. */
static void a_trunk_starts_without_momentum(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t other = add_train(w, add_init(w, "resnet18", 1), 0, 4, 0, constant);
  uint32_t straight = add_train(w, other, 0, 4, 0, constant);
  uint32_t init = add_init_from(w, "resnet18", 1, other, "kept");
  const float *a = weights(w, net, straight);
  const float *b = weights(w, net, add_train(w, init, 0, 4, 0, constant));
  assert_memory_equal(a, b, net_count(net) * sizeof *a);
}

/* ---- first weights ---- */

static void first_weights_may_be_another_model(void **state)
{
  struct world *w = *state;
  for (int m = 0; m < 2; m++) {
    struct net *net = net_of(w, MODELS[m], 10);
    uint32_t other = add_train(w, add_init(w, MODELS[m], 1), 0, 4, 0, constant);
    const float *source = weights(w, net, other);
    const float *kept = weights(w, net, add_init_from(w, MODELS[m], 5, other, "kept"));
    const float *anew = weights(w, net, add_init_from(w, MODELS[m], 5, other, "new"));
    const float *drawn = weights(w, net, add_init(w, MODELS[m], 5));
    assert_memory_equal(kept, source, net_count(net) * sizeof *kept);
    size_t n;
    const struct net_tensor *t = net_tensors(net, &n);
    for (size_t i = 0; i < n; i++) {
      const float *want = net_in_classifier(net, &t[i]) ? drawn : source;
      assert_memory_equal(anew + t[i].offset, want + t[i].offset, t[i].count * sizeof *anew);
    }
    assert_memory_not_equal(anew, source, net_count(net) * sizeof *anew);
  }
}

/* The same weights as PyTorch's users have them: "module." before each name, doubles. */
static void write_wrapped(struct world *w, const char *from, const char *to)
{
  struct safetensors file;
  assert_true(safetensors_open(w->f->arena, from, &file, w->f->diag));
  for (size_t i = 0; i < file.n_tensors; i++) {
    struct safetensors_tensor *t = &file.tensors[i];
    t->name = arena_printf(w->f->arena, "module.%s", t->name);
    if (t->dtype != SAFETENSORS_F32)
      continue;
    const size_t n = t->bytes / sizeof(float);
    float *v = arena_array(w->f->arena, n, sizeof *v);
    double *wide = arena_array(w->f->arena, n, sizeof *wide);
    safetensors_floats(t, 0, n, v);
    for (size_t k = 0; k < n; k++)
      wide[k] = (double)v[k];
    t->dtype = SAFETENSORS_F64;
    t->bytes = n * sizeof *wide;
    t->data = wide;
  }
  assert_true(safetensors_write(to, &file, w->f->diag));
  safetensors_close(&file);
}

static void first_weights_may_be_a_file(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10), *wide = net_of(w, "resnet18", 15);
  const char *same = file_join(w->f->arena, w->f->root, "same.safetensors");
  const char *other = file_join(w->f->arena, w->f->root, "other.safetensors");
  float *flat = arena_array(w->f->arena, net_count(wide), sizeof *flat);
  net_init(net, 77, flat);
  assert_true(net_save(net, flat, same, w->f->diag));
  const float *kept = weights(w, net, add_init_file(w, "resnet18", same, "kept"));
  assert_memory_equal(kept, flat, net_count(net) * sizeof *kept);
  const char *folder = file_join(w->f->arena, w->f->root, "shards");
  assert_true(net_save_as(net, flat, folder, 20000, &(struct safetensors_meta){"format", "pt"},
                          w->f->diag));
  kept = weights(w, net, add_init_file(w, "resnet18", folder, "kept"));
  assert_memory_equal(kept, flat, net_count(net) * sizeof *kept);
  const char *wrapped = file_join(w->f->arena, w->f->root, "wrapped.safetensors");
  write_wrapped(w, same, wrapped);
  kept = weights(w, net, add_init_file(w, "resnet18", wrapped, "kept"));
  assert_memory_equal(kept, flat, net_count(net) * sizeof *kept);
  float *body = arena_array(w->f->arena, net_count(net), sizeof *body);
  net_init(wide, 78, flat);
  assert_true(net_save(wide, flat, other, w->f->diag));
  fails(w, add_init_file(w, "resnet18", other, "kept"), "\"fc.weight\" has shape [15, 6]",
        "head = new");
  const float *anew = weights(w, net, add_init_file(w, "resnet18", other, "new"));
  net_init(net, 1, body);
  assert_true(net_load_body(net, other, body, w->f->diag));
  assert_memory_equal(anew, body, net_count(net) * sizeof *body);
  write_wrapped(w, other, wrapped);
  anew = weights(w, net, add_init_file(w, "resnet18", wrapped, "new"));
  assert_memory_equal(anew, body, net_count(net) * sizeof *body);
  fails(w, add_init_file(w, "mlp", other, "new"), "\"fc1.weight\" is missing",
        "such as \"fc1.weight\"");
  /* A number that is none is found before training. */
  size_t n;
  const struct net_tensor *bad = &net_tensors(net, &n)[3];
  const char *nan = file_join(w->f->arena, w->f->root, "nan.safetensors");
  flat[bad->offset + 2] = NAN;
  assert_true(net_save(net, flat, nan, w->f->diag));
  fails(w, add_init_file(w, "resnet18", nan, "new"),
        arena_printf(w->f->arena, "%s: tensor \"%s\" is NaN", nan, bad->name), NULL);
  flat[bad->offset + 2] = 0;
  /* Another file under the name, then none. */
  uint32_t changed = add_init_file(w, "mlp", same, "kept");
  assert_true(net_save(wide, flat, same, w->f->diag));
  fails(w, changed, "has changed", "again");
  assert_int_equal(remove(same), 0);
  fails(w, changed, "same.safetensors", NULL);
}

/* ---- merges ---- */

static struct attrs numbers(enum plan_attr_id id, double value_of, enum plan_attr_id id2,
                            double value2)
{
  struct attrs a = {0};
  put(&a, id, value_of, NULL);
  if (id2 != id)
    put(&a, id2, value2, NULL);
  return a;
}

static void merges_are_what_they_say(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "mlp", 10);
  uint32_t trunk = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant), m[3];
  for (int k = 0; k < 3; k++)
    m[k] = add_train(w, trunk, 4, 8, k + 1, (struct schedule){"sqrt_decay", 4, 4});
  const float *a = weights(w, net, m[0]), *b = weights(w, net, m[1]), *c = weights(w, net, m[2]);
  struct attrs scale = numbers(PLAN_A_scale, 0.4, PLAN_A_scale, 0);
  struct attrs origin = numbers(PLAN_A_x, 1, PLAN_A_y, 0),
               alpha = numbers(PLAN_A_alpha, 1, PLAN_A_alpha, 0);
  const float *swa = weights(w, net, add_merge(w, "swa", "none", NULL, m, 3));
  const float *sum = weights(w, net, add_merge(w, "task_arithmetic", "none", &scale, m, 3));
  struct attrs own = {0}, shares = {0};
  put(&own, PLAN_A_coefficients, 0, "0.3 -0.5");
  put(&shares, PLAN_A_coefficients, 0, "0.2 0.3 0.5");
  const float *each = weights(w, net, add_merge(w, "task_arithmetic", "none", &own, m, 3));
  const float *mixed = weights(w, net, add_merge(w, "linear", "none", &shares, m, 3));
  const float *plane = weights(w, net, add_merge(w, "plane", "none", &origin, m, 3));
  const float *slerp = weights(w, net, add_merge(w, "slerp", "none", &alpha, m, 2));
  for (size_t i = 0; i < net_count(net); i++) {
    double x = (double)a[i], y = (double)b[i], z = (double)c[i];
    assert_true(fabs((double)swa[i] - (x + y + z) / 3) < 1e-6);
    assert_true(fabs((double)sum[i] - (z + 0.4 * (x - z + y - z))) < 1e-6);
    assert_true(fabs((double)each[i] - (z + 0.3 * (x - z) - 0.5 * (y - z))) < 1e-6);
    assert_true(fabs((double)mixed[i] - (0.2 * x + 0.3 * y + 0.5 * z)) < 1e-6);
  }
  assert_memory_equal(plane, b, net_count(net) * sizeof *b);
  assert_memory_equal(slerp, b, net_count(net) * sizeof *b);
  /* A merge of merges, and its distance: the architecture is that of the first. */
  uint32_t merged[] = {add_merge(w, "swa", "none", NULL, m, 3), m[0]};
  assert_true(value(w, add_measure(w, "distance", merged, 2, w->data), "distance") > 0);
  origin = numbers(PLAN_A_x, 0, PLAN_A_y, 1);
  fails(w, add_merge(w, "plane", "none", &origin, (uint32_t[]){m[0], m[1], m[1]}, 3), "on a line",
        "line");
  fails(w, add_merge(w, "slerp", "none", NULL, m, 3), "`slerp` does not merge 3 models", NULL);
  fails(w, add_merge(w, "stew", "none", NULL, m, 3), "no merging method `stew`", NULL);
}

static struct attrs matching(const char *method)
{
  struct attrs a = {0};
  if (!strcmp(method, "activation_matching")) {
    put(&a, PLAN_A_samples, 20, NULL);
    return a;
  }
  put(&a, PLAN_A_passes, 100, NULL);
  put(&a, PLAN_A_restarts, 2, NULL);
  put(&a, PLAN_A_seed, 1, NULL);
  if (!strcmp(method, "learned_matching")) {
    put(&a, PLAN_A_epochs, 1, NULL);
    put(&a, PLAN_A_batch, BATCH, NULL);
    put(&a, PLAN_A_lr, 0.01, NULL);
    put(&a, PLAN_A_momentum, 0.9, NULL);
  }
  return a;
}

/* The same function, other weights; those of weight matching nearer to the other model's. */
static void matching_permutes_a_model(void **state)
{
  static const char *const methods[] = {"weight_matching", "activation_matching",
                                        "learned_matching"};
  struct world *w = *state;
  for (int i = 0; i < 2; i++) {
    uint32_t b = add_train(w, add_init(w, MODELS[i], 1), 0, 8, 0, constant);
    uint32_t a = add_train(w, add_init(w, MODELS[i], 2), 0, 8, 0, constant);
    uint32_t apart = add_measure(w, "distance", (uint32_t[]){b, a}, 2, w->data);
    for (int k = 0; k < 3; k++) {
      struct attrs args = matching(methods[k]);
      uint32_t matched = add_merge(w, methods[k], "none", &args, (uint32_t[]){b, a}, 2);
      uint32_t moved = add_measure(w, "distance", (uint32_t[]){matched, b}, 2, w->data);
      uint32_t left = add_measure(w, "distance", (uint32_t[]){matched, a}, 2, w->data);
      uint32_t before = add_measure(w, "evaluate", &b, 1, w->data);
      uint32_t after = add_measure(w, "evaluate", &matched, 1, w->data);
      assert_true(fabs(value(w, after, "loss") - value(w, before, "loss")) < 1e-5);
      assert_true(value(w, moved, "distance") > 0);
      assert_true(k || value(w, left, "distance") < value(w, apart, "distance"));
      assert_true(bind_cost(w->bind, w->f->plan, step_at(w, matched)).flops > 0);
    }
  }
}

static double loss_of(struct world *w, uint32_t step)
{
  return value(w, add_measure(w, "evaluate", &step, 1, w->data), "loss");
}

/* What is merged with a model in canonical form is brought into it: both ends of the path compute
 * what they did. */
static void general_matching_of_a_transformer(void **state)
{
  static const char *const methods[] = {"weight_matching", "learned_matching"};
  struct world *w = *state;
  const uint32_t b = add_train(w, add_init(w, "vit_s_16", 1), 0, 8, 0, constant);
  const uint32_t a = add_train(w, add_init(w, "vit_s_16", 2), 0, 8, 0, constant);
  for (int k = 0; k < 2; k++) {
    struct attrs args = matching(methods[k]);
    put(&args, PLAN_A_symmetries, 0, "general");
    const uint32_t matched = add_merge(w, methods[k], "none", &args, (uint32_t[]){b, a}, 2);
    assert_true(bind_is_canonical(w->f->plan, step_at(w, matched)));
    assert_false(bind_is_canonical(w->f->plan, step_at(w, a)));
    assert_true(fabs(loss_of(w, matched) - loss_of(w, b)) < 1e-5);
    for (int end = 0; end < 2; end++) {
      const struct attrs alpha = numbers(PLAN_A_alpha, end, PLAN_A_alpha, 0);
      const uint32_t path = add_merge(w, "linear", "none", &alpha, (uint32_t[]){a, matched}, 2);
      assert_true(bind_is_canonical(w->f->plan, step_at(w, path)));
      assert_true(fabs(loss_of(w, path) - loss_of(w, end ? b : a)) < 1e-5);
    }
    /* Matched again, and by permutations alone. */
    const uint32_t again = add_merge(w, methods[k], "none", &args, (uint32_t[]){matched, a}, 2);
    args = matching("activation_matching");
    const uint32_t permuted =
        add_merge(w, "activation_matching", "none", &args, (uint32_t[]){again, a}, 2);
    assert_true(fabs(loss_of(w, permuted) - loss_of(w, b)) < 1e-5);
    const uint32_t both[] = {a, matched}, plain[] = {a, b};
    assert_true(value(w, add_measure(w, "distance", both, 2, w->data), "distance") > 0);
    assert_true(value(w, add_measure(w, "disagreement", plain, 2, w->data), "disagreement") ==
                value(w, add_measure(w, "disagreement", both, 2, w->data), "disagreement"));
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, matched)).flops > 0);
  }
}

/* Each attribute reaches the method: the same weights come out of it as with the arguments
 * said here. */
static void arguments_reach_the_method(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "mlp", 10);
  uint32_t trunk = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant), m[3];
  for (int k = 0; k < 2; k++)
    m[k] = add_train(w, trunk, 4, 8, k + 1, (struct schedule){"sqrt_decay", 4, 4});
  m[2] = trunk;
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  struct merge_tensor *tensors = arena_array(w->f->arena, n, sizeof *tensors);
  for (size_t i = 0; i < n; i++)
    tensors[i] = (struct merge_tensor){t[i].name, t[i].count, t[i].buffer};
  const float *const models[] = {weights(w, net, m[0]), weights(w, net, m[1]),
                                 weights(w, net, m[2])};
  struct attrs ties = numbers(PLAN_A_scale, 0.5, PLAN_A_keep, 0.3), sum = ties;
  struct attrs dare = numbers(PLAN_A_drop, 0.5, PLAN_A_seed, 3);
  put(&ties, PLAN_A_scope, 0, "model");
  put(&ties, PLAN_A_aggregate, 0, "mean");
  put(&sum, PLAN_A_scope, 0, "tensor");
  put(&sum, PLAN_A_aggregate, 0, "sum");
  const struct {
    const char *method;
    const struct attrs *attrs;
    struct merge_args args;
  } cases[] = {
      {"ties", &ties, {.scale = 0.5, .keep = 0.3}},
      {"ties",
       &sum,
       {.scale = 0.5, .keep = 0.3, .scope = MERGE_EACH_TENSOR, .aggregate = MERGE_SUM}},
      {"dare", &dare, {.scale = 1, .drop = 0.5, .seed = 3}},
  };
  float *expected = arena_array(w->f->arena, net_count(net), sizeof *expected);
  for (int c = 0; c < 3; c++) {
    uint32_t step = add_merge(w, cases[c].method, "none", cases[c].attrs, m, 3);
    assert_true(merge_flat(merge_find(cases[c].method), &cases[c].args, 2, tensors, n, models,
                           expected, w->f->diag));
    assert_memory_equal(weights(w, net, step), expected, net_count(net) * sizeof *expected);
  }
}

static uint32_t add_pairs(struct world *w, const char *labels)
{
  struct attrs a = {0};
  put(&a, PLAN_A_data, 0, "mnist");
  put(&a, PLAN_A_image_size, SIZE, NULL);
  put(&a, PLAN_A_compose, 0, "pairs");
  put(&a, PLAN_A_labels, 0, labels);
  put(&a, PLAN_A_train_size, BATCH * PER_EPOCH, NULL);
  put(&a, PLAN_A_test_size, TEST, NULL);
  return add(w, PLAN_DATA, &a, NULL, 0, NULL);
}

static struct attrs fisher_args(const char *expectation, double alpha)
{
  struct attrs a = numbers(PLAN_A_samples, 20, PLAN_A_alpha, alpha);
  put(&a, PLAN_A_expectation, 0, expectation);
  put(&a, PLAN_A_floor, 0, NULL);
  put(&a, PLAN_A_normalize, 0, "no");
  put(&a, PLAN_A_seed, 3, NULL);
  return a;
}

/* A model's Fisher matrix, as the engine measures it. */
static float *fisher_of(struct world *w, const struct net *net, uint32_t model, uint32_t data,
                        enum measure_expectation how)
{
  struct net_work *work = net_work_new(net, ops_cpu(), 1, true);
  const struct measure_loss loss = {
      .work = work,
      .net = net,
      .set = bind_data(w->bind, w->f->store, w->f->plan, step_at(w, data), w->f->diag),
      .split = DATA_TRAIN,
      .samples = 20,
      .batch = 1};
  double *wide = arena_array(w->f->arena, net_params(net), sizeof *wide);
  float *fisher = arena_array(w->f->arena, net_count(net), sizeof *fisher);
  measure_fisher(&loss, weights(w, net, model), how, 3, wide);
  for (size_t i = 0; i < net_params(net); i++)
    fisher[i] = (float)wide[i];
  net_work_free(work);
  return fisher;
}

/* Each model's Fisher matrix is measured on the data that it was trained on. */
static void fishers_are_measured(void **state)
{
  static const char *const ways[] = {"exact", "sampled", "empirical"};
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  const uint32_t first = w->data, second = add_data(w, "fashion_mnist", SIZE);
  uint32_t inputs[] = {add_train(w, add_init(w, "resnet18", 1), 0, 6, 0, constant), 0, second};
  w->data = second;
  inputs[1] = add_train(w, inputs[0], 0, 6, 0, constant);
  w->data = first;
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  struct merge_tensor *tensors = arena_array(w->f->arena, n, sizeof *tensors);
  for (size_t i = 0; i < n; i++)
    tensors[i] = (struct merge_tensor){t[i].name, t[i].count, t[i].buffer};
  float *expected = arena_array(w->f->arena, net_count(net), sizeof *expected);
  for (int k = 0; k < 3; k++) {
    const double alpha = k ? 0.5 : 0.25;
    struct attrs a = fisher_args(ways[k], alpha);
    const struct merge_args args = {.weights = (double[]){1 - alpha, alpha}};
    const uint32_t step = add_merge(w, "fisher", "averaged", &a, inputs, 3);
    const float *merged = weights(w, net, step);
    const enum measure_expectation how = (enum measure_expectation)k;
    const float *in[] = {weights(w, net, inputs[0]), weights(w, net, inputs[1]),
                         fisher_of(w, net, inputs[0], first, how),
                         fisher_of(w, net, inputs[1], second, how)};
    assert_true(merge_flat(merge_find("fisher"), &args, 2, tensors, n, in, expected, w->f->diag));
    assert_memory_equal(merged, expected, net_count(net) * sizeof *merged);
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, step)).flops > 0);
  }
}

/* Of an MLP all layers are linear; of a ResNet convolutions are averaged unless they are asked
 * for. */
static void regmean_merges_layers(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < 2; i++) {
    struct net *net = net_of(w, MODELS[i], 10);
    const uint32_t init = add_init(w, MODELS[i], 1);
    uint32_t inputs[] = {add_train(w, init, 0, 8, 1, constant),
                         add_train(w, init, 0, 8, 2, constant), w->data};
    struct attrs a = numbers(PLAN_A_samples, 20, PLAN_A_scale, 0.9), unfolded = a;
    put(&a, PLAN_A_convolutions, 0, "averaged");
    put(&unfolded, PLAN_A_convolutions, 0, "unfolded");
    const char *batchnorm = i ? "averaged" : "none";
    const uint32_t step = add_merge(w, "regmean", batchnorm, &a, inputs, 3);
    const float *mean = weights(w, net, add_merge(w, "swa", batchnorm, NULL, inputs, 2));
    const float *merged = weights(w, net, step);
    const float *all = weights(w, net, add_merge(w, "regmean", batchnorm, &unfolded, inputs, 3));
    size_t n;
    const struct net_tensor *t = net_tensors(net, &n);
    for (size_t k = 0; k < n; k++) {
      const size_t bytes = t[k].count * sizeof *mean;
      const bool kept = !memcmp(merged + t[k].offset, mean + t[k].offset, bytes);
      const bool kept_all = !memcmp(all + t[k].offset, mean + t[k].offset, bytes);
      /* The first layer reads the same samples in both: there the mean is best. */
      assert_int_equal(kept, t[k].rank != 2 || !k);
      assert_int_equal(kept_all, t[k].rank < 2 || !k);
    }
    /* Whatever is held at a time: nothing, one or two layers, more. */
    static const size_t held[] = {0, 10000, 60000};
    for (int k = 0; k < 3; k++) {
      struct attrs same_args = unfolded;
      put(&same_args, PLAN_A_x, k, NULL); /* another key */
      w->bind->grams_held = held[k];
      const float *same = weights(w, net, add_merge(w, "regmean", batchnorm, &same_args, inputs, 3));
      assert_memory_equal(same, all, net_count(net) * sizeof *all);
    }
    w->bind->grams_held = BIND_GRAMS_HELD;
    /* A model with itself. */
    inputs[1] = inputs[0];
    const float *same = weights(w, net, add_merge(w, "regmean", batchnorm, &unfolded, inputs, 3));
    assert_memory_equal(same, weights(w, net, inputs[0]), net_count(net) * sizeof *same);
    struct cost cost = bind_cost(w->bind, w->f->plan, step_at(w, step));
    assert_true(cost.flops > 0 && cost.seconds > 0);
  }
}

/* Of a task with other classes: the classifier is the first model's. */
static void fishers_of_other_classes(void **state)
{
  struct world *w = *state;
  const uint32_t first = add_pairs(w, "first"), both = add_pairs(w, "both");
  w->data = first;
  uint32_t inputs[] = {add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant), 0, both};
  w->data = both;
  inputs[1] = add_train(w, add_init(w, "mlp", 2), 0, 4, 0, constant);
  w->data = first;
  struct attrs a = fisher_args("sampled", 0.5);
  const uint32_t step = add_merge(w, "fisher", "none", &a, inputs, 3);
  run(w, step);
  const struct net *net = bind_net(w->bind, w->f->plan, step_at(w, step), w->f->diag);
  const float *merged = weights(w, net, step), *own = weights(w, net, inputs[0]);
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) {
    const size_t bytes = t[i].count * sizeof *own;
    const bool equal = !memcmp(merged + t[i].offset, own + t[i].offset, bytes);
    assert_int_equal(equal, net_in_classifier(net, &t[i]));
  }
}

static uint32_t add_narrow_init(struct world *w, const char *name, unsigned width)
{
  struct attrs a = model(name, 1);
  for (uint32_t i = 0; i < a.n; i++)
    if (a.list[i].id == PLAN_A_width)
      a.list[i].num = width;
  return add(w, PLAN_INIT, &a, &w->data, 1, NULL);
}

/* A narrower network, which what follows takes for what it is; and two models in one. */
static void fusing_makes_models(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < 2; i++) {
    const uint32_t init = add_init(w, MODELS[i], 1);
    const uint32_t a = add_train(w, init, 0, 8, 1, constant);
    const uint32_t b = add_train(w, init, 0, 8, 2, constant);
    struct attrs keep = numbers(PLAN_A_keep, 0.5, PLAN_A_keep, 0);
    struct attrs pair = numbers(PLAN_A_alpha, 0.5, PLAN_A_passes, 10);
    const char *batchnorm = i ? "recalibrated" : "none";
    const uint32_t narrow = add_merge(w, "intra_fusion", batchnorm, &keep,
                                      (uint32_t[]){add_narrow_init(w, MODELS[i], 3), a}, 2);
    const uint32_t same = add_merge(w, "intra_fusion", i ? "averaged" : "none", &keep,
                                    (uint32_t[]){init, a}, 2);
    const uint32_t both = add_merge(w, "ot_fusion", batchnorm, &pair, (uint32_t[]){a, b}, 2);
    assert_true(isfinite(value(w, add_measure(w, "evaluate", &narrow, 1, w->data), "loss")));
    assert_true(isfinite(value(w, add_measure(w, "evaluate", &both, 1, w->data), "loss")));
    const double before = value(w, add_measure(w, "evaluate", &a, 1, w->data), "loss");
    const double after = value(w, add_measure(w, "evaluate", &same, 1, w->data), "loss");
    assert_true(fabs(before - after) < 1e-4);
    /* It can be trained. */
    const uint32_t tuned = add_train(w, narrow, 0, 2, 0, constant);
    assert_true(isfinite(value(w, add_measure(w, "evaluate", &tuned, 1, w->data), "loss")));
    run(w, narrow);
    const struct net *net = bind_net(w->bind, w->f->plan, step_at(w, narrow), w->f->diag);
    size_t n;
    assert_int_equal(net_tensors(net, &n)[0].shape[0], 3);
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, both)).flops > 0);
  }
}

/* A model of two tasks that is made narrower: with the classifier of the second, of other classes,
 * which was fused as the model was. */
static void fused_classifiers_of_other_classes(void **state)
{
  struct world *w = *state;
  const uint32_t first = add_pairs(w, "first"), both = add_pairs(w, "both");
  w->data = both;
  const uint32_t b = add_train(w, add_init(w, "mlp", 2), 0, 4, 0, constant);
  const uint32_t inits[] = {add_init(w, "mlp", 1), add_narrow_init(w, "mlp", 3)};
  w->data = first;
  const uint32_t a = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant);
  const uint32_t mid = add_merge(w, "swa", "none", NULL, (uint32_t[]){a, b}, 2);
  const uint32_t narrow_inits[] = {add_init(w, "mlp", 1), add_narrow_init(w, "mlp", 3)};
  for (int k = 0; k < 2; k++) {
    struct attrs args = numbers(PLAN_A_keep, k ? 0.5 : 1, PLAN_A_samples, 20);
    put(&args, PLAN_A_importance, 0, "taylor");
    const uint32_t narrow = add_merge(w, "intra_fusion", "none", &args,
                                      (uint32_t[]){narrow_inits[k], mid}, 2);
    const uint32_t head = add_merge(w, "intra_fusion", "none", &args,
                                    (uint32_t[]){inits[k], mid, b}, 3);
    const uint32_t lent[] = {narrow, head}, whole[] = {mid, b};
    const double loss = value(w, add_measure(w, "evaluate", lent, 2, both), "loss");
    assert_true(isfinite(loss) && isfinite(loss_of(w, narrow)));
    if (!k) /* all units stay */
      assert_true(loss == value(w, add_measure(w, "evaluate", whole, 2, both), "loss"));
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, head)).flops > 0);
  }
}

static uint32_t add_with_hidden(struct world *w, unsigned hidden)
{
  struct attrs a = model("vit_s_16", 1);
  put(&a, PLAN_A_hidden, hidden, NULL);
  return add(w, PLAN_INIT, &a, &w->data, 1, NULL);
}

/* By its variants, of convolutions and of a transformer's feed-forward neurons. */
static void fusing_has_variants(void **state)
{
  struct world *w = *state;
  static const char *const names[] = {"resnet18", "vit_s_16"};
  for (int i = 0; i < 2; i++) {
    const uint32_t model = add_train(w, add_init(w, names[i], 1), 0, 8, 0, constant);
    const uint32_t narrow = i ? add_with_hidden(w, 12) : add_narrow_init(w, names[i], 3);
    const uint32_t inputs[] = {narrow, model};
    const char *batchnorm = i ? "none" : "recalibrated";
    struct attrs plain = {0}, length = {0}, taylor = {0}, all = {0};
    put(&length, PLAN_A_importance, 0, "l2");
    put(&taylor, PLAN_A_importance, 0, "taylor");
    put(&taylor, PLAN_A_samples, 20, NULL);
    all = taylor;
    put(&all, PLAN_A_marginals, 0, "importance");
    put(&all, PLAN_A_order, 0, "sequential");
    const struct attrs *const ways[] = {&plain, &length, &taylor, &all};
    const float *fused[4];
    struct cost cost[4];
    for (int k = 0; k < 4; k++) {
      struct attrs a = *ways[k];
      put(&a, PLAN_A_keep, 0.5, NULL);
      const uint32_t step = add_merge(w, "intra_fusion", batchnorm, &a, inputs, 2);
      assert_true(isfinite(loss_of(w, step)));
      run(w, step);
      const struct net *net = bind_net(w->bind, w->f->plan, step_at(w, step), w->f->diag);
      fused[k] = weights(w, net, step);
      cost[k] = bind_cost(w->bind, w->f->plan, step_at(w, step));
      for (int other = 0; other < k && k == 3; other++) /* by any importance the same may stay */
        assert_memory_not_equal(fused[k], fused[other], net_params(net) * sizeof(float));
    }
    assert_true(cost[2].flops > cost[1].flops && cost[2].memory > cost[1].memory);
    assert_true(cost[1].flops == cost[0].flops);
  }
}

/* base - 50 (model - base) of running variances is below 0 for some. */
static void negative_variances_are_no_model(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t init = add_init(w, "resnet18", 1), both[2] = {0, init};
  both[0] = add_train(w, init, 0, 12, 0, constant);
  struct attrs back = numbers(PLAN_A_scale, -50, PLAN_A_scale, 0);
  struct attrs half = numbers(PLAN_A_scale, 0.5, PLAN_A_scale, 0);
  uint32_t averaged = add_merge(w, "task_arithmetic", "averaged", &back, both, 2);
  uint32_t anew = add_merge(w, "task_arithmetic", "recalibrated", &back, both, 2);
  struct store_result r = result(w, averaged);
  assert_true(r.diverged);
  assert_non_null(strstr(r.note, "running_var"));
  assert_non_null(strstr(r.note, "recalibrated"));
  r = result(w, add_measure(w, "evaluate", &averaged, 1, w->data));
  assert_true(r.diverged && isnan(store_get(&r, "accuracy")));
  r = result(w, add_measure(w, "cka", (uint32_t[]){init, averaged}, 2, w->data));
  assert_true(r.diverged && isnan(store_get(&r, "cka")));
  assert_true(result(w, add_init_from(w, "resnet18", 1, averaged, "new")).diverged);
  assert_false(result(w, anew).diverged);
  assert_false(result(w, add_merge(w, "task_arithmetic", "averaged", &half, both, 2)).diverged);
  const float *flat = weights(w, net, anew);
  for (size_t i = 0; i < net_count(net); i++)
    assert_true(isfinite(flat[i]));
}

/* As many samples as there are say nothing new; fewer give other statistics, and the same
 * weights. */
static void statistics_may_be_of_some_samples(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t init = add_init(w, "resnet18", 1), m[2] = {init, 0};
  m[1] = add_train(w, init, 0, 4, 0, constant);
  struct attrs some = numbers(PLAN_A_alpha, 0.5, PLAN_A_recalibration, 2 * BATCH);
  struct attrs all = numbers(PLAN_A_alpha, 0.5, PLAN_A_recalibration, TRAIN);
  struct attrs unsaid = numbers(PLAN_A_alpha, 0.5, PLAN_A_x, 0);
  const size_t params = net_params(net), buffers = net_count(net) - params;
  const float *few = weights(w, net, add_merge(w, "linear", "recalibrated", &some, m, 2));
  const float *many = weights(w, net, add_merge(w, "linear", "recalibrated", &all, m, 2));
  const float *plain = weights(w, net, add_merge(w, "linear", "recalibrated", &unsaid, m, 2));
  assert_memory_equal(many, plain, net_count(net) * sizeof *many);
  assert_memory_equal(few, plain, params * sizeof *few);
  assert_memory_not_equal(few + params, plain + params, buffers * sizeof *few);
}

/* ---- measures ---- */

static void two_models_are_compared(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t init = add_init(w, "resnet18", 1), pair[2] = {init, 0}, same[2] = {init, init};
  pair[1] = add_train(w, init, 0, 8, 0, constant);
  const float *a = weights(w, net, pair[0]), *b = weights(w, net, pair[1]);
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < net_params(net); i++) { /* without running statistics */
    aa += (double)a[i] * (double)a[i];
    bb += (double)b[i] * (double)b[i];
    ab += (double)a[i] * (double)b[i];
  }
  double distance = value(w, add_measure(w, "distance", pair, 2, w->data), "distance");
  double cosine = value(w, add_measure(w, "cosine", pair, 2, w->data), "cosine");
  assert_true(fabs(distance - sqrt(aa + bb - 2 * ab)) < 1e-9);
  assert_true(fabs(cosine - ab / sqrt(aa * bb)) < 1e-12);
  assert_true(value(w, add_measure(w, "distance", same, 2, w->data), "distance") == 0);
  fails(w, add_measure(w, "distance", (uint32_t[]){pair[0], pair[1], init}, 3, w->data),
        "on two models", NULL);
  double cka = value(w, add_measure(w, "cka", pair, 2, w->data), "cka");
  assert_true(cka > 0 && cka < 0.9999);
  assert_true(fabs(value(w, add_measure(w, "cka", same, 2, w->data), "cka") - 1) < 1e-12);
  /* CKA compares networks of any two architectures. */
  pair[1] = add_init(w, "mlp", 1);
  cka = value(w, add_measure(w, "cka", pair, 2, w->data), "cka");
  assert_true(cka > 0 && cka < 1);
  fails(w, add_measure(w, "cosine", pair, 2, w->data), "is missing", NULL);
  fails(w, add_measure(w, "cka", pair, 1, w->data), "on two models", NULL);
  fails(w, add_measure(w, "charm", pair, 1, w->data), "no measurement `charm`", NULL);
}

/* Plain sums over all weights but a classifier's, where `body`. */
static double plain_task_cosine(const struct net *net, bool body, const float *a, const float *b,
                                const float *base)
{
  double aa = 0, bb = 0, ab = 0;
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++)
    for (size_t k = t[i].offset; k < t[i].offset + t[i].count; k++) {
      const double x = (double)a[k] - (double)base[k], y = (double)b[k] - (double)base[k];
      if (t[i].buffer || (body && net_in_classifier(net, &t[i])))
        continue;
      aa += x * x;
      bb += y * y;
      ab += x * y;
    }
  return ab / sqrt(aa * bb);
}

/* Without a classifier where the base has one for other classes. */
static void task_vectors_are_compared(void **state)
{
  struct world *w = *state;
  const uint32_t base = add_init(w, "resnet18", 1);
  uint32_t trio[] = {add_train(w, base, 0, 8, 1, constant), add_train(w, base, 0, 8, 2, constant),
                     base};
  const struct net *net = net_of(w, "resnet18", 10);
  const uint32_t angle = add_measure(w, "cosine", trio, 3, w->data);
  const double cosine = value(w, angle, "cosine");
  assert_true(fabs(cosine - plain_task_cosine(net, false, weights(w, net, trio[0]),
                                              weights(w, net, trio[1]), weights(w, net, base))) <
              1e-12);
  assert_true(cosine < value(w, add_measure(w, "cosine", trio, 2, w->data), "cosine"));
  assert_true(bind_seconds(w->bind, w->f->plan, step_at(w, angle)) > 0);

  w->data = add_pairs(w, "both");
  trio[2] = add_init(w, "mlp", 1);
  const float *wide = weights(w, bind_net(w->bind, w->f->plan, step_at(w, trio[2]), w->f->diag),
                              trio[2]);
  w->data = add_pairs(w, "first");
  const uint32_t start = add_init_from(w, "mlp", 1, trio[2], "new");
  for (int k = 0; k < 2; k++)
    trio[k] = add_train(w, start, 0, 8, k + 1, constant);
  const double of_bodies = value(w, add_measure(w, "cosine", trio, 3, w->data), "cosine");
  net = bind_net(w->bind, w->f->plan, step_at(w, start), w->f->diag);
  const float *a = weights(w, net, trio[0]), *b = weights(w, net, trio[1]);
  net = bind_net(w->bind, w->f->plan, step_at(w, start), w->f->diag);
  assert_true(fabs(of_bodies - plain_task_cosine(net, true, a, b, wide)) < 1e-12);
  assert_true(fabs(of_bodies - plain_task_cosine(net, true, b, a, wide)) < 1e-12);
}

/* A body with the classifier of an untrained model: what `head = new` makes, too. */
static void a_classifier_may_be_lent(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "resnet18", 1), lender = add_init(w, "resnet18", 9);
  uint32_t trained = add_train(w, init, 0, 8, 0, constant);
  uint32_t made = add_init_from(w, "resnet18", 9, trained, "new"), lent[] = {trained, lender};
  double loss = value(w, add_measure(w, "evaluate", &made, 1, w->data), "loss");
  assert_true(value(w, add_measure(w, "evaluate", lent, 2, w->data), "loss") == loss);
  assert_true(value(w, add_measure(w, "evaluate", &trained, 1, w->data), "loss") != loss);
}

static void data_must_fit_the_model(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "resnet18", 1), other = add_data(w, "fashion_mnist", SIZE);
  uint32_t large = add_data(w, "mnist", 2 * SIZE);
  assert_true(isfinite(value(w, add_measure(w, "evaluate", &init, 1, other), "loss")));
  fails(w, add_measure(w, "evaluate", &init, 1, large), "7x7x1 and 10 classes, these are 14x14x1",
        NULL);
}

/* ---- costs ---- */

static void every_step_has_its_cost(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "resnet18", 1);
  uint32_t trunk = add_train(w, init, 0, 400, 0, constant), pair[] = {init, trunk};
  uint32_t later = add_init_from(w, "resnet18", 2, trunk, "new");
  uint32_t merge = add_merge(w, "swa", "averaged", NULL, pair, 2);
  uint32_t measures[] = {add_measure(w, "evaluate", pair, 1, w->data),
                         add_measure(w, "cka", pair, 2, w->data),
                         add_measure(w, "distance", pair, 2, w->data)};
  for (uint32_t k = 0; k < plan_count(w->f->plan); k++) {
    struct cost c = bind_cost(w->bind, w->f->plan, step_at(w, k));
    assert_true(c.seconds > 0 && isfinite(c.seconds) && c.bytes > 0);
    assert_true(bind_seconds(w->bind, w->f->plan, step_at(w, k)) == c.seconds);
  }
  struct cost c[3];
  for (int i = 0; i < 3; i++)
    c[i] = bind_cost(w->bind, w->f->plan, step_at(w, measures[i]));
  assert_true(c[1].flops > 1.5 * c[0].flops); /* 2 x 20 samples against 24 */
  assert_true(c[2].flops == 0 && c[2].seconds < c[0].seconds);
  /* One network whatever its first weights: no probe of its own. */
  struct cost a = bind_cost(w->bind, w->f->plan, step_at(w, init));
  struct cost b = bind_cost(w->bind, w->f->plan, step_at(w, later));
  assert_true(a.bytes == b.bytes && a.seconds < b.seconds);
  assert_true(bind_cost(w->bind, w->f->plan, step_at(w, merge)).bytes == a.bytes);
}

/* What was probed is kept, and an update is the optimizer's own. */
static void costs_know_the_optimizer(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "mlp", 1);
  struct attrs adamw = {0};
  put_optimizer(&adamw, "adamw", NULL);
  uint32_t steps[] = {add_train(w, init, 0, 9, 0, constant),
                      add_training(w, &adamw, init, 0, 9, 0, constant)};
  const char *path = file_join(w->f->arena, store_path(w->f->store), "calibration.json");
  for (int i = 0; i < 2; i++) {
    bind_calibrate(w->bind, w->f->arena, w->f->store);
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, steps[i])).seconds > 0);
    bind_calibrate_save(w->bind);
    const char *text = fixture_read(w->f, path, NULL);
    assert_non_null(strstr(text, "\"what\": \"gradient\""));
    assert_non_null(strstr(text, "\"what\": \"sgd\""));
    assert_true(!strstr(text, "\"what\": \"adamw\"") == !i);
  }
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(a_branch_may_be_cut),
      WORLD_TEST(adamw_goes_on_where_it_was),
      WORLD_TEST(a_trunk_starts_without_momentum),
      WORLD_TEST(first_weights_may_be_another_model),
      WORLD_TEST(first_weights_may_be_a_file),
      WORLD_TEST(merges_are_what_they_say),
      WORLD_TEST(matching_permutes_a_model),
      WORLD_TEST(general_matching_of_a_transformer),
      WORLD_TEST(arguments_reach_the_method),
      WORLD_TEST(fishers_are_measured),
      WORLD_TEST(fishers_of_other_classes),
      WORLD_TEST(regmean_merges_layers),
      WORLD_TEST(fusing_makes_models),
      WORLD_TEST(fusing_has_variants),
      WORLD_TEST(fused_classifiers_of_other_classes),
      WORLD_TEST(negative_variances_are_no_model),
      WORLD_TEST(statistics_may_be_of_some_samples),
      WORLD_TEST(two_models_are_compared),
      WORLD_TEST(task_vectors_are_compared),
      WORLD_TEST(a_classifier_may_be_lent),
      WORLD_TEST(data_must_fit_the_model),
      WORLD_TEST(every_step_has_its_cost),
      WORLD_TEST(costs_know_the_optimizer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
