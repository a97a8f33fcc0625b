#include "run/bind_int.h"

#include "base/safetensors.h"
#include "engine/optim.h"
#include "engine/schedule.h"
#include "measure/measure.h"
#include "merge/merge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char weights_file[] = "weights.safetensors";
static const char optimizer_file[] = "optimizer.safetensors";

/* One step's work: everything in the arena goes with the step. */
struct work {
  struct bind *bind;
  struct store *store;
  const struct plan *plan;
  const struct plan_step *step;
  struct diag *diag;
  struct arena *arena;
  struct store_result result;
  struct store_draft *draft;
  double started;
};

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const struct plan_step *input(const struct work *w, uint32_t k)
{
  return plan_step(w->plan, w->step->inputs[k]);
}

static const struct plan_step *data_input(const struct work *w)
{
  return input(w, w->step->n_inputs - 1);
}

static bool commit(struct work *w)
{
  w->result.seconds = now() - w->started;
  if (!w->draft)
    w->draft = store_begin(w->store, w->arena, w->diag);
  return w->draft && store_commit(w->draft, w->plan, w->step, &w->result, w->diag);
}

static const char *draft_file(struct work *w, const char *name)
{
  if (!w->draft)
    w->draft = store_begin(w->store, w->arena, w->diag);
  if (!w->draft)
    return NULL;
  struct store_file file = {.name = name};
  ARENA_PUSH(w->arena, w->result.files, w->result.n_files, w->result.cap_files, file);
  return store_draft_path(w->draft, name);
}

static bool save_weights(struct work *w, const struct net *net, const float *flat)
{
  const char *path = draft_file(w, weights_file);
  return path && net_save(net, flat, path, w->diag);
}

static float *load_weights(struct work *w, const struct net *net, const struct plan_step *from)
{
  const char *path = store_file(w->store, from->key, weights_file, w->arena, w->diag);
  if (!path) {
    if (!diag_errors(w->diag))
      diag_error(w->diag, SPAN_NONE, "the weights that this step starts from are not in the store");
    return NULL;
  }
  float *flat = arena_array(w->arena, net_count(net), sizeof *flat);
  return net_load(net, path, flat, w->diag) ? flat : NULL;
}

/* Momentum of the checkpoint; zeros behind the first weights. */
static float *load_momentum(struct work *w, const struct net *net, const struct plan_step *from)
{
  size_t n = net_params(net);
  float *v = arena_array(w->arena, n, sizeof *v);
  if (from->kind != PLAN_TRAIN)
    return v;
  const char *path = store_file(w->store, from->key, optimizer_file, w->arena, w->diag);
  struct safetensors file;
  if (!path || !safetensors_open(w->arena, path, &file, w->diag))
    return NULL;
  const struct safetensors_tensor *t = safetensors_find(&file, "momentum_buffer");
  bool fits = t && t->dtype == SAFETENSORS_F32 && t->bytes == n * sizeof *v;
  if (fits)
    memcpy(v, t->data, t->bytes);
  else
    diag_error(w->diag, SPAN_NONE, "%s: no momentum_buffer of %zu floats", path, n);
  safetensors_close(&file);
  return fits ? v : NULL;
}

static bool save_momentum(struct work *w, size_t n, const float *v)
{
  const char *path = draft_file(w, optimizer_file);
  struct safetensors_tensor t = {"momentum_buffer", SAFETENSORS_F32, 1, {n}, n * sizeof *v, v};
  struct safetensors file = {.tensors = &t, .n_tensors = 1};
  return path && safetensors_write(path, &file, w->diag);
}

static bool all_finite(const float *v, size_t n)
{
  /* 0 * x is NaN for every x that is not finite. */
  float sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += 0 * v[i];
  return sum == 0;
}

static struct data_augment augment_of(const struct plan_step *s)
{
  bool on = !strcmp(plan_str(s, PLAN_A_augment), "flip_crop");
  return (struct data_augment){on, on ? (unsigned)plan_num(s, PLAN_A_crop_padding) : 0};
}

/* A model that comes from a run that diverged is itself a result: diverged. */
static bool inherits_divergence(struct work *w, bool *diverged)
{
  *diverged = false;
  for (uint32_t k = 0; k + 1 < w->step->n_inputs; k++) {
    struct store_result r = {0};
    if (!store_read(w->store, input(w, k)->key, w->arena, &r, w->diag)) {
      if (!diag_errors(w->diag))
        diag_error(w->diag, SPAN_NONE, "an input of this step is not in the store");
      return false;
    }
    if (r.diverged) {
      w->result.diverged = *diverged = true;
      w->result.note = r.note;
    }
  }
  return true;
}

/* ---- data, init ---- */

static bool run_data(struct work *w)
{
  const struct data_set *set = bind_data(w->bind, w->store, w->plan, w->step, w->diag);
  if (!set)
    return false;
  char hex[HASH_HEX];
  hash_hex(set->digest, hex);
  w->result.note = hex;
  store_set(w->arena, &w->result, "train_size", set->split[DATA_TRAIN].n);
  store_set(w->arena, &w->result, "test_size", set->split[DATA_TEST].n);
  store_set(w->arena, &w->result, "channels", set->channels);
  store_set(w->arena, &w->result, "height", set->height);
  store_set(w->arena, &w->result, "width", set->width);
  store_set(w->arena, &w->result, "classes", set->classes);
  return commit(w);
}

static bool run_init(struct work *w)
{
  const struct net *net = bind_net(w->bind, w->plan, w->step, w->diag);
  if (!net)
    return false;
  float *flat = arena_array(w->arena, net_count(net), sizeof *flat);
  net_init(net, (uint64_t)plan_num(w->step, PLAN_A_seed), flat);
  store_set(w->arena, &w->result, "parameters", (double)net_params(net));
  return save_weights(w, net, flat) && commit(w);
}

/* ---- train ---- */

struct training {
  const struct net *net;
  struct net_work *work;
  const struct data_set *data;
  float *flat, *momentum, *grad, *x;
  int32_t *labels;
  uint32_t *order;
  double loss; /* mean over the segment */
  const char *diverged;
};

static bool begin_training(struct work *w, struct training *t)
{
  const struct plan_step *s = w->step;
  unsigned batch = (unsigned)plan_num(s, PLAN_A_batch);
  t->net = bind_net(w->bind, w->plan, s, w->diag);
  t->data = t->net ? bind_data(w->bind, w->store, w->plan, data_input(w), w->diag) : NULL;
  if (!t->data || !(t->flat = load_weights(w, t->net, input(w, 0))) ||
      !(t->momentum = load_momentum(w, t->net, input(w, 0))))
    return false;
  size_t pixels = (size_t)t->data->channels * t->data->height * t->data->width;
  t->work = bind_train_work(w->bind, batch);
  t->grad = arena_array(w->arena, net_params(t->net), sizeof *t->grad);
  t->x = arena_array(w->arena, batch * pixels, sizeof *t->x);
  t->labels = arena_array(w->arena, batch, sizeof *t->labels);
  t->order = arena_array(w->arena, t->data->split[DATA_TRAIN].n, sizeof *t->order);
  return true;
}

static void train_segment(struct work *w, struct training *t)
{
  const struct plan_step *s = w->step;
  unsigned batch = (unsigned)plan_num(s, PLAN_A_batch);
  uint64_t seed = (uint64_t)plan_num(s, PLAN_A_seed);
  uint32_t stream = (uint32_t)plan_num(s, PLAN_A_stream);
  uint64_t per_epoch = (uint64_t)plan_num(s, PLAN_A_steps_per_epoch);
  uint64_t from = (uint64_t)plan_num(s, PLAN_A_from), to = (uint64_t)plan_num(s, PLAN_A_to);
  double start = plan_num(s, PLAN_A_schedule_from), length = plan_num(s, PLAN_A_schedule_length);
  const struct plan_attr *rise = plan_attr(s, PLAN_A_schedule_warmup);
  double lr = plan_num(s, PLAN_A_lr), warmup = rise ? rise->num : 0, sum = 0;
  struct data_augment augment = augment_of(s);
  struct optim_sgd sgd = {.momentum = (float)plan_num(s, PLAN_A_momentum),
                          .weight_decay = (float)plan_num(s, PLAN_A_weight_decay)};
  enum schedule_kind schedule = SCHEDULE_CONSTANT;
  schedule_find(plan_str(s, PLAN_A_schedule), &schedule);
  uint64_t ordered = UINT64_MAX;
  for (uint64_t i = from; i < to; i++) {
    uint32_t epoch = (uint32_t)(i / per_epoch), at = (uint32_t)(i % per_epoch);
    if (epoch != ordered)
      data_order(seed, stream, epoch, t->order, t->data->split[DATA_TRAIN].n);
    ordered = epoch;
    data_batch(t->data, DATA_TRAIN, t->order + (size_t)at * batch, batch,
               augment.flip ? &augment : NULL, seed, stream, epoch, t->x, t->labels);
    float loss = net_loss_gradient(t->work, t->flat, t->x, t->labels, batch, t->grad);
    if (!isfinite(loss)) {
      t->diverged = arena_printf(w->arena, "diverged: loss is not finite at step %llu",
                                 (unsigned long long)i);
      return;
    }
    sum += loss;
    sgd.lr = (float)(lr * schedule_factor(schedule, (double)i - start, length, warmup));
    optim_sgd_step(bind_ops(), &sgd, net_params(t->net), t->flat, t->momentum, t->grad);
  }
  t->loss = sum / (double)(to - from);
  if (!all_finite(t->flat, net_count(t->net)))
    t->diverged = arena_printf(w->arena, "diverged: weights are not finite at step %llu",
                               (unsigned long long)to);
}

/* Branches end; only the trunk goes on, and needs its momentum. */
bool bind_keeps_momentum(const struct plan_step *train)
{
  return plan_num(train, PLAN_A_stream) == 0;
}

static bool run_train(struct work *w)
{
  struct training t = {0};
  bool diverged;
  if (!inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return commit(w);
  if (!begin_training(w, &t))
    return false;
  train_segment(w, &t);
  w->result.diverged = t.diverged != NULL;
  w->result.note = t.diverged;
  store_set(w->arena, &w->result, "train_loss", t.diverged ? NAN : t.loss);
  if (t.diverged)
    return commit(w);
  bool goes_on = bind_keeps_momentum(w->step);
  return save_weights(w, t.net, t.flat) &&
         (!goes_on || save_momentum(w, net_params(t.net), t.momentum)) && commit(w);
}

/* ---- merge, measure ---- */

static bool run_merge(struct work *w)
{
  const struct plan_step *s = w->step;
  bool diverged;
  if (!inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return commit(w);
  const struct merge_method *method = merge_find(plan_str(s, PLAN_A_method));
  const struct net *net = bind_net(w->bind, w->plan, s, w->diag);
  if (!method || !net) {
    if (!method)
      diag_error(w->diag, SPAN_NONE, "no merging method `%s`", plan_str(s, PLAN_A_method));
    return false;
  }
  size_t n_models = s->n_inputs - 1;
  const float **models = arena_array(w->arena, n_models, sizeof *models);
  for (uint32_t k = 0; k < n_models; k++)
    if (!(models[k] = load_weights(w, net, input(w, k))))
      return false;
  const struct plan_attr *alpha = plan_attr(s, PLAN_A_alpha);
  struct merge_args args = {.alpha = alpha ? alpha->num : 0.5};
  float *merged = arena_array(w->arena, net_count(net), sizeof *merged);
  method->merge(&args, models, n_models, net_count(net), merged);
  if (!strcmp(plan_str(s, PLAN_A_batchnorm), "recalibrated")) {
    const struct data_set *data = bind_data(w->bind, w->store, w->plan, data_input(w), w->diag);
    if (!data)
      return false;
    struct data_augment augment = augment_of(s);
    unsigned batch = (unsigned)plan_num(s, PLAN_A_batch);
    measure_recalibrate(bind_train_work(w->bind, batch), batch, merged, net, data,
                        augment.flip ? &augment : NULL, (uint64_t)plan_num(s, PLAN_A_seed));
  }
  return save_weights(w, net, merged) && commit(w);
}

static bool run_measure(struct work *w)
{
  const struct plan_step *model = input(w, 0);
  bool diverged;
  struct measure_evaluation e = {NAN, NAN};
  if (!inherits_divergence(w, &diverged))
    return false;
  if (!diverged) {
    const struct net *net = bind_net(w->bind, w->plan, model, w->diag);
    const struct data_set *data =
        net ? bind_data(w->bind, w->store, w->plan, data_input(w), w->diag) : NULL;
    float *flat = data ? load_weights(w, net, model) : NULL;
    if (!flat)
      return false;
    bool train = !strcmp(plan_str(w->step, PLAN_A_split), "train");
    e = measure_evaluate(bind_eval_work(w->bind), BIND_EVAL_BATCH, flat, net, data,
                         train ? DATA_TRAIN : DATA_TEST);
  }
  store_set(w->arena, &w->result, "loss", e.loss);
  store_set(w->arena, &w->result, "accuracy", e.accuracy);
  return commit(w);
}

bool bind_execute(void *context, struct store *store, const struct plan *plan,
                  const struct plan_step *step, struct diag *d)
{
  struct work w = {.bind = context, .store = store, .plan = plan, .step = step, .diag = d,
                   .arena = arena_new(), .started = now()};
  bool ok = false;
  switch (step->kind) {
  case PLAN_DATA:
    ok = run_data(&w);
    break;
  case PLAN_INIT:
    ok = run_init(&w);
    break;
  case PLAN_TRAIN:
    ok = run_train(&w);
    break;
  case PLAN_MERGE:
    ok = run_merge(&w);
    break;
  case PLAN_MEASURE:
    ok = run_measure(&w);
    break;
  default:
    diag_error(d, SPAN_NONE, "no way to compute a %s step", plan_kind_name(step->kind));
  }
  if (!ok && w.draft)
    store_abandon(w.draft);
  arena_free(w.arena);
  return ok;
}
