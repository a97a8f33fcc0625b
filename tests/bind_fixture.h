/* Steps of a plan through the engine into the store: a made-up data set of a few images, and
 * networks of a few units.  Include after cmocka.h. */
#ifndef MERGESCAPE_TESTS_BIND_FIXTURE_H
#define MERGESCAPE_TESTS_BIND_FIXTURE_H

#include "run_fixture.h"

#include "base/checkpoint.h"
#include "base/file.h"
#include "base/safetensors.h"
#include "engine/net.h"
#include "engine/ops.h"
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

static inline void write_idx(struct arena *a, const char *folder, const char *name, bool images,
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

static inline void put(struct attrs *a, enum plan_attr_id id, double num, const char *str)
{
  uint32_t at = a->n++;
  assert_true(a->n <= MOST_ATTRS);
  for (; at > 0 && a->list[at - 1].id > id; at--)
    a->list[at] = a->list[at - 1];
  a->list[at] = (struct plan_attr){id, num, str};
}

static inline uint32_t add(struct world *w, enum plan_kind kind, const struct attrs *a,
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

static inline uint32_t add_data(struct world *w, const char *name, unsigned size)
{
  struct attrs a = {0};
  put(&a, PLAN_A_data, 0, name);
  put(&a, PLAN_A_image_size, size, NULL);
  put(&a, PLAN_A_compose, 0, "none");
  put(&a, PLAN_A_train_size, BATCH * PER_EPOCH, NULL);
  put(&a, PLAN_A_test_size, TEST, NULL);
  return add(w, PLAN_DATA, &a, NULL, 0, NULL);
}

static inline struct attrs model(const char *name, double seed)
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

static inline uint32_t add_init(struct world *w, const char *name, double seed)
{
  struct attrs a = model(name, seed);
  return add(w, PLAN_INIT, &a, &w->data, 1, NULL);
}

static inline uint32_t add_init_from(struct world *w, const char *name, double seed, uint32_t from,
                                     const char *head)
{
  struct attrs a = model(name, seed);
  put(&a, PLAN_A_head, 0, head);
  return add(w, PLAN_INIT, &a, (uint32_t[]){w->data, from}, 2, NULL);
}

static inline uint32_t add_init_file(struct world *w, const char *name, const char *path,
                                     const char *head)
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

static inline void put_optimizer(struct attrs *a, const char *name, const char *decay)
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

static inline uint32_t add_training(struct world *w, const struct attrs *optimizer, uint32_t start,
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

static inline uint32_t add_train(struct world *w, uint32_t start, double from, double to,
                                 double stream, struct schedule s)
{
  struct attrs sgd = {0};
  put_optimizer(&sgd, "sgd", NULL);
  return add_training(w, &sgd, start, from, to, stream, s);
}

static const struct schedule constant = {"constant", 0, 0};

static inline uint32_t add_merge(struct world *w, const char *method, const char *batchnorm,
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

static inline uint32_t add_measure(struct world *w, const char *name, const uint32_t *models,
                                   uint32_t n, uint32_t data)
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

static inline const struct plan_step *step_at(struct world *w, uint32_t k)
{
  return plan_step(w->f->plan, k);
}

/* What the step needs, and the step. */
static inline bool try_step(struct world *w, uint32_t k)
{
  const struct plan_step *s = step_at(w, k);
  for (uint32_t i = 0; i < s->n_inputs; i++)
    if (!try_step(w, s->inputs[i]))
      return false;
  return store_has(w->f->store, s->key) ||
         bind_execute(w->bind, w->f->store, w->f->plan, s, w->f->diag);
}

static inline void run(struct world *w, uint32_t k)
{
  if (!try_step(w, k))
    fail_msg("%s", diag_message(w->f->diag, diag_count(w->f->diag) - 1));
}

static inline void fails(struct world *w, uint32_t k, const char *message, const char *hint)
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

static inline struct store_result result(struct world *w, uint32_t k)
{
  struct store_result r = {0};
  run(w, k);
  assert_true(store_read(w->f->store, step_at(w, k)->key, w->f->arena, &r, w->f->diag));
  return r;
}

static inline double value(struct world *w, uint32_t k, const char *name)
{
  struct store_result r = result(w, k);
  return store_get(&r, name);
}

static inline struct net *net_of(struct world *w, const char *name, unsigned classes)
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

static inline float *weights(struct world *w, const struct net *net, uint32_t k)
{
  float *flat = arena_array(w->f->arena, net_count(net), sizeof *flat);
  run(w, k);
  assert_true(net_load(net, fixture_path(w->f, k, "weights.safetensors"), flat, w->f->diag));
  return flat;
}

static inline bool has_momentum(struct world *w, uint32_t k)
{
  run(w, k);
  return file_exists(fixture_path(w->f, k, "optimizer.safetensors"));
}

static inline int begin(void **state)
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

static inline int end(void **state)
{
  struct world *w = *state;
  void *fixture = w->f;
  bind_free(w->bind);
  return fixture_end(&fixture);
}

static const char *const MODELS[] = {"mlp", "resnet18"};

static inline struct attrs numbers(enum plan_attr_id id, double value_of, enum plan_attr_id id2,
                                   double value2)
{
  struct attrs a = {0};
  put(&a, id, value_of, NULL);
  if (id2 != id)
    put(&a, id2, value2, NULL);
  return a;
}

static inline uint32_t add_pairs(struct world *w, const char *labels)
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

static inline double loss_of(struct world *w, uint32_t step)
{
  return value(w, add_measure(w, "evaluate", &step, 1, w->data), "loss");
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

#endif
