#include "run/bind_int.h"

#include "engine/ops_threads.h"
#include "merge/merge.h"
#include "measure/measure.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cblas.h>

/* The numerics class is part of every version: results of another backend do not mix. */
#define JOIN(a, b) a "." b ".f32-cpu"

void bind_versions(const char *versions[PLAN_KIND_COUNT])
{
  versions[PLAN_DATA] = DATA_VERSION;
  versions[PLAN_INIT] = ENGINE_VERSION ".f32-cpu";
  versions[PLAN_TRAIN] = JOIN(DATA_VERSION, ENGINE_VERSION);
  versions[PLAN_MERGE] = JOIN(MERGE_VERSION, ENGINE_VERSION);
  versions[PLAN_MEASURE] = JOIN(MEASURE_VERSION, ENGINE_VERSION);
}

struct bind *bind_new(struct arena *a, const char *const *dirs, size_t n_dirs)
{
  struct bind *b = arena_alloc(a, sizeof *b);
  b->arena = a;
  b->dirs = dirs;
  b->n_dirs = n_dirs;
  b->grams_held = BIND_GRAMS_HELD;
  return b;
}

const struct ops *bind_ops(void)
{
  return ops_cpu();
}

const char *bind_libraries(void)
{
  static char text[256];
  snprintf(text, sizeof text, "%s; kernels %s", openblas_get_config(), bind_ops()->isa);
  return text;
}

/* Where the attribute's word stands in the list; where it is not said, the first. */
static unsigned word_at(const struct plan_step *s, enum plan_attr_id id, const char *const *words,
                        unsigned n)
{
  const struct plan_attr *a = plan_attr(s, id);
  unsigned i = 0;
  while (a && i < n && strcmp(words[i], a->str))
    i++;
  assert(i < n);
  return i;
}

struct data_spec bind_data_spec(const struct plan_step *s)
{
  static const char *const labels[] = {"both", "first", "second"};
  static const char *const transforms[] = {"none", "turned", "inverted"};
  static const char *const shifts[] = {"none", "noise", "contrast", "moved"};
  const struct plan_attr *block = plan_attr(s, PLAN_A_block);
  if (block)
    return (struct data_spec){
        .name = plan_str(s, PLAN_A_data),
        .block = (unsigned)block->num,
        .tokenizer = plan_str(s, PLAN_A_tokenizer),
        .size = {(unsigned)plan_num(s, PLAN_A_train_size), (unsigned)plan_num(s, PLAN_A_test_size)},
    };
  return (struct data_spec){
      .labels = (enum data_labels)word_at(s, PLAN_A_labels, labels, 3),
      .transform = (enum data_transform)word_at(s, PLAN_A_transform, transforms, 3),
      .shift = (enum data_shift)word_at(s, PLAN_A_shift, shifts, 4),
      .name = plan_str(s, PLAN_A_data),
      .image_size = (unsigned)plan_num(s, PLAN_A_image_size),
      .pairs = !strcmp(plan_str(s, PLAN_A_compose), "pairs"),
      .size = {(unsigned)plan_num(s, PLAN_A_train_size), (unsigned)plan_num(s, PLAN_A_test_size)},
  };
}

enum data_split bind_split(const struct plan_step *s)
{
  const char *split = plan_str(s, PLAN_A_split);
  return !strcmp(split, "train") ? DATA_TRAIN : !strcmp(split, "ood") ? DATA_OOD : DATA_TEST;
}

/* The data's digest is the data step's note: two runs that find different files
 * under one name must not share a store. */
static bool same_data(struct store *store, const struct plan_step *s, const struct data_set *set,
                      struct diag *d)
{
  struct arena *a = arena_new();
  struct store_result known = {0};
  char hex[HASH_HEX];
  hash_hex(set->digest, hex);
  bool same = !store_read(store, s->key, a, &known, d) || !known.note || !strcmp(known.note, hex);
  if (!same) {
    diag_error(d, SPAN_NONE,
               "data set `%s` is not the one that this store's results were made with",
               plan_str(s, PLAN_A_data));
    diag_hint(d, "bring the earlier files back, or use another folder with --store");
  }
  arena_free(a);
  return same;
}

const struct data_set *bind_data(struct bind *b, struct store *store, const struct plan *plan,
                                 const struct plan_step *s, struct diag *d)
{
  (void)plan;
  struct bind_data *slot = &b->data[0];
  for (int i = 0; i < BIND_DATA_SETS; i++) {
    if (b->data[i].arena && hash_equal(b->data[i].key, s->key)) {
      b->data[i].used = ++b->clock;
      return &b->data[i].set;
    }
    if (b->data[i].used < slot->used)
      slot = &b->data[i];
  }
  arena_free(slot->arena);
  *slot = (struct bind_data){.key = s->key, .arena = arena_new(), .used = ++b->clock};
  struct data_spec spec = bind_data_spec(s);
  if (data_load(slot->arena, &spec, b->dirs, b->n_dirs, &slot->set, d) &&
      same_data(store, s, &slot->set, d))
    return &slot->set;
  arena_free(slot->arena);
  *slot = (struct bind_data){0};
  return NULL;
}

static unsigned optional(const struct plan_step *s, enum plan_attr_id id)
{
  const struct plan_attr *a = plan_attr(s, id);
  return a ? (unsigned)a->num : 0;
}

void bind_model_spec(const struct plan_step *init, struct net_spec *spec)
{
  *spec = (struct net_spec){
      .model = plan_str(init, PLAN_A_model),
      .width = optional(init, PLAN_A_width),
      .stages = optional(init, PLAN_A_stages),
      .blocks = optional(init, PLAN_A_blocks),
      .layers = optional(init, PLAN_A_layers),
      .growth = optional(init, PLAN_A_growth),
      .stem = plan_attr(init, PLAN_A_stem) ? plan_str(init, PLAN_A_stem) : NULL,
      .heads = optional(init, PLAN_A_heads),
      .patch = optional(init, PLAN_A_patch),
      .hidden = optional(init, PLAN_A_hidden),
      .activation = plan_attr(init, PLAN_A_activation) ? plan_str(init, PLAN_A_activation) : NULL,
  };
}

struct net *bind_make_net(struct arena *a, const struct plan *plan, const struct plan_step *init,
                          bool canonical, struct diag *d)
{
  struct data_spec data = bind_data_spec(plan_step(plan, init->inputs[0]));
  struct data_set shape;
  if (!data_shape(&data, &shape, d))
    return NULL;
  struct net_spec spec;
  bind_model_spec(init, &spec);
  spec.block = shape.block;
  spec.channels = shape.channels;
  spec.height = shape.height;
  spec.image_width = shape.width;
  spec.classes = shape.classes;
  spec.untied = spec.turned = canonical;
  return net_new(a, &spec, d);
}

struct data_set bind_shape(const struct plan *plan, const struct plan_step *model)
{
  const struct plan_step *init = plan_model_of(plan, model);
  struct data_spec data = bind_data_spec(plan_step(plan, init->inputs[0]));
  struct arena *a = arena_new();
  struct data_set shape;
  if (!data_shape(&data, &shape, diag_new(a)))
    shape = (struct data_set){0};
  arena_free(a);
  return shape;
}

static void drop_work(struct bind *b)
{
  net_work_free(b->train);
  net_work_free(b->eval);
  b->train = b->eval = NULL;
}

void bind_threads(void *bind, unsigned threads)
{
  struct bind *b = bind;
  if (threads == b->threads)
    return;
  drop_work(b);
  ops_threads_free(b->threaded);
  b->threaded = NULL;
  b->threads = threads;
}

const struct ops *bind_step_ops(struct bind *b)
{
  if (b->threads < 2)
    return bind_ops();
  if (!b->threaded)
    b->threaded = ops_threads_new(bind_ops(), b->threads);
  return b->threaded;
}

static void drop_net(struct bind *b)
{
  drop_work(b);
  arena_free(b->net_arena);
  b->net_arena = NULL;
  b->net = NULL;
}

void bind_free(struct bind *b)
{
  drop_net(b);
  bind_threads(b, 0);
  for (int i = 0; i < BIND_DATA_SETS; i++) {
    arena_free(b->data[i].arena);
    b->data[i] = (struct bind_data){0};
  }
}

bool bind_is_canonical(const struct plan *plan, const struct plan_step *s)
{
  const struct plan_attr *symmetries = plan_attr(s, PLAN_A_symmetries);
  if (s->kind == PLAN_DATA)
    return false;
  if (symmetries && !strcmp(symmetries->str, "general"))
    return true;
  for (uint32_t k = 0; k < s->n_inputs; k++)
    if (bind_is_canonical(plan, plan_step(plan, s->inputs[k])))
      return true;
  return false;
}

const struct net *bind_net_as(struct bind *b, const struct plan *plan,
                              const struct plan_step *model, bool canonical, struct diag *d)
{
  const struct plan_step *init = plan_model_of(plan, model);
  b->init = init;
  if (b->net && hash_equal(b->net_key, init->key) && b->canonical == canonical)
    return b->net;
  drop_net(b);
  b->net_arena = arena_new();
  b->net_key = init->key;
  b->canonical = canonical;
  b->net = bind_make_net(b->net_arena, plan, init, canonical, d);
  return b->net;
}

const struct net *bind_net(struct bind *b, const struct plan *plan, const struct plan_step *model,
                           struct diag *d)
{
  return bind_net_as(b, plan, model, bind_is_canonical(plan, model), d);
}

struct net_work *bind_train_work(struct bind *b, unsigned batch)
{
  if (b->train && b->train_batch == batch)
    return b->train;
  net_work_free(b->train);
  b->train_batch = batch;
  return b->train = net_work_new(b->net, bind_step_ops(b), batch, true);
}

struct net_work *bind_forward_work(struct bind *b, unsigned batch)
{
  return batch <= BIND_EVAL_BATCH ? bind_eval_work(b) : bind_train_work(b, batch);
}

struct net_work *bind_eval_work(struct bind *b)
{
  if (!b->eval)
    b->eval = net_work_new(b->net, bind_step_ops(b), BIND_EVAL_BATCH, false);
  return b->eval;
}
