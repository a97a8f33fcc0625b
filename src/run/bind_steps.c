#include "run/bind_work.h"

#include "base/file.h"
#include "base/checkpoint.h"
#include "engine/optim.h"
#include "engine/schedule.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* The optimizer's state of the checkpoint: zeros where training begins, whatever it begins
 * from.  How many steps it has seen is the number of the step. */
static bool load_states(struct work *w, const struct net *net, const struct plan_step *from,
                        const struct optim_rule *rule, float **states)
{
  size_t n = net_params(net);
  for (unsigned k = 0; k < rule->n_states; k++)
    states[k] = arena_array(w->arena, n, sizeof *states[k]);
  if (from->kind != PLAN_TRAIN || plan_num(w->step, PLAN_A_from) == 0)
    return true;
  const char *path = work_file(w, from, work_optimizer_file);
  struct safetensors file;
  if (!path || !safetensors_open(w->arena, path, &file, w->diag))
    return false;
  unsigned before = diag_errors(w->diag);
  for (unsigned k = 0; k < rule->n_states; k++) {
    const struct safetensors_tensor *t = safetensors_find(&file, rule->states[k]);
    if (t && t->dtype == SAFETENSORS_F32 && t->bytes == n * sizeof *states[k])
      memcpy(states[k], t->data, t->bytes);
    else
      diag_error(w->diag, SPAN_NONE, "%s: no %s of %zu floats, which %s goes on from", path,
                 rule->states[k], n, rule->name);
  }
  safetensors_close(&file);
  return diag_errors(w->diag) == before;
}

static bool save_states(struct work *w, size_t n, const struct optim_rule *rule,
                        float *const *states)
{
  const char *path = work_draft_file(w, work_optimizer_file);
  struct safetensors_tensor t[OPTIM_MOST_STATES];
  for (unsigned k = 0; k < rule->n_states; k++)
    t[k] = (struct safetensors_tensor){rule->states[k],       SAFETENSORS_F32, 1, {n},
                                       n * sizeof *states[k], states[k]};
  struct safetensors file = {.tensors = t, .n_tensors = rule->n_states};
  return path && safetensors_write(path, &file, w->diag);
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
  return work_commit(w);
}

/* The file of a plan must be the one that was planned with. */
static const char *planned_file(struct work *w)
{
  const char *path = w->step->origin.path, *digest = plan_str(w->step, PLAN_A_weights);
  struct checkpoint file;
  struct hash found;
  char hex[HASH_HEX];
  if (!path) {
    diag_error(w->diag, SPAN_NONE, "no file is named for the weights %s", digest);
    return NULL;
  }
  if (!checkpoint_open(w->arena, path, &file, w->diag))
    return NULL;
  const bool read = checkpoint_digest(&file, &found, w->diag);
  checkpoint_close(&file);
  if (!read)
    return NULL;
  hash_hex(found, hex);
  if (!strcmp(hex, digest))
    return path;
  diag_error(w->diag, SPAN_NONE, "%s: the file has changed since it was planned with", path);
  diag_hint(w->diag, "run the command again: it plans with the file as it is now");
  return NULL;
}

/* First weights are drawn even where others take their place: the classifier is
 * then the one that the seed gives. */
static bool run_init(struct work *w)
{
  const struct plan_step *s = w->step;
  const char *from = NULL;
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return work_commit(w);
  const struct net *net = bind_net(w->bind, w->plan, s, w->diag);
  bool takes_over = s->n_inputs > 1 || plan_attr(s, PLAN_A_weights);
  if (!net)
    return false;
  if (takes_over)
    from = s->n_inputs > 1 ? work_file(w, work_input(w, 1), work_weights_file) : planned_file(w);
  float *flat = arena_array(w->arena, net_count(net), sizeof *flat);
  net_init(net, (uint64_t)plan_num(s, PLAN_A_seed), flat);
  if (takes_over) {
    bool anew = !strcmp(plan_str(s, PLAN_A_head), "new");
    if (!from || !(anew ? net_load_body : net_load)(net, from, flat, w->diag) ||
        !net_check_values(net, flat, from, w->diag))
      return false;
  }
  store_set(w->arena, &w->result, "parameters", (double)net_params(net));
  return work_save_weights(w, net, flat) && work_commit(w);
}

/* ---- train ---- */

struct training {
  const struct net *net;
  struct net_work *work;
  const struct data_set *data;
  struct optim optim;
  float *flat, *states[OPTIM_MOST_STATES], *grad, *x;
  int32_t *labels;
  uint32_t *order;
  double loss; /* mean over the segment */
  const char *diverged;
};

static double number_or(const struct plan_step *s, enum plan_attr_id id, double otherwise)
{
  const struct plan_attr *at = plan_attr(s, id);
  return at ? at->num : otherwise;
}

static bool find_optimizer(struct work *w, struct training *t)
{
  const struct plan_step *s = w->step;
  const struct plan_attr *decay = plan_attr(s, PLAN_A_decay);
  struct optim *o = &t->optim;
  o->rule = optim_find(plan_str(s, PLAN_A_optimizer));
  if (!o->rule) {
    diag_error(w->diag, SPAN_NONE, "no optimizer `%s`", plan_str(s, PLAN_A_optimizer));
    return false;
  }
  o->weight_decay = plan_num(s, PLAN_A_weight_decay);
  o->momentum = number_or(s, PLAN_A_momentum, 0);
  o->beta1 = number_or(s, PLAN_A_beta1, 0);
  o->beta2 = number_or(s, PLAN_A_beta2, 0);
  o->epsilon = number_or(s, PLAN_A_epsilon, 0);
  if (decay && !strcmp(decay->str, "weights"))
    o->ranges = optim_ranges(w->arena, t->net, &o->n_ranges);
  return true;
}

static bool begin_training(struct work *w, struct training *t)
{
  const struct plan_step *s = w->step;
  unsigned batch = (unsigned)plan_num(s, PLAN_A_batch);
  t->net = bind_net(w->bind, w->plan, s, w->diag);
  t->data = t->net ? work_data(w, s, true) : NULL;
  if (!t->data || !find_optimizer(w, t) || !(t->flat = work_weights(w, t->net, work_input(w, 0))) ||
      !load_states(w, t->net, work_input(w, 0), t->optim.rule, t->states))
    return false;
  size_t pixels = (size_t)t->data->channels * t->data->height * t->data->width;
  t->work = bind_train_work(w->bind, batch);
  t->grad = arena_array(w->arena, net_params(t->net), sizeof *t->grad);
  t->x = arena_array(w->arena, batch * pixels, sizeof *t->x);
  t->labels = arena_array(w->arena, (size_t)batch * t->data->targets, sizeof *t->labels);
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
  double lr = plan_num(s, PLAN_A_lr), warmup = number_or(s, PLAN_A_schedule_warmup, 0), sum = 0;
  struct data_augment augment = work_augment(s);
  enum schedule_kind schedule = SCHEDULE_CONSTANT;
  schedule_find(plan_str(s, PLAN_A_schedule), &schedule);
  const struct ops *ops = bind_step_ops(w->bind);
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
    t->optim.lr = lr * schedule_factor(schedule, (double)i - start, length, warmup);
    optim_step(ops, &t->optim, i, net_params(t->net), t->flat, t->states, t->grad);
  }
  t->loss = sum / (double)(to - from);
  if (!work_all_finite(t->flat, net_count(t->net)))
    t->diverged = arena_printf(w->arena, "diverged: weights are not finite at step %llu",
                               (unsigned long long)to);
}

/* The trunk may always go on; a branch does until its schedule ends.  One without
 * a length (a constant trunk's, or an earlier version's branch) ends at once. */
bool bind_keeps_momentum(const struct plan_step *train)
{
  double end = plan_num(train, PLAN_A_schedule_from) + plan_num(train, PLAN_A_schedule_length);
  return plan_num(train, PLAN_A_stream) == 0 || plan_num(train, PLAN_A_to) < end;
}

static bool run_train(struct work *w)
{
  struct training t = {0};
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return work_commit(w);
  if (!begin_training(w, &t))
    return false;
  train_segment(w, &t);
  w->result.diverged = t.diverged != NULL;
  w->result.note = t.diverged;
  store_set(w->arena, &w->result, "train_loss", t.diverged ? NAN : t.loss);
  if (t.diverged)
    return work_commit(w);
  bool goes_on = bind_keeps_momentum(w->step);
  return work_save_weights(w, t.net, t.flat) &&
         (!goes_on || save_states(w, net_params(t.net), t.optim.rule, t.states)) && work_commit(w);
}

/* Permuting a model is a merge, too, but makes no new weights; fusing may make fewer. */
static bool run_merge(struct work *w)
{
  const char *name = plan_str(w->step, PLAN_A_method);
  enum match_method match;
  enum fuse_method fuse;
  if (match_find(name, &match))
    return work_match(w, match);
  return fuse_find(name, &fuse) ? work_fuse(w, fuse) : work_merge(w);
}

bool bind_execute(void *context, struct store *store, const struct plan *plan,
                  const struct plan_step *step, struct diag *d)
{
  struct work w = {.bind = context,
                   .store = store,
                   .plan = plan,
                   .step = step,
                   .diag = d,
                   .arena = arena_new(),
                   .started = work_now()};
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
    ok = work_measure(&w);
    break;
  default:
    diag_error(d, SPAN_NONE, "no way to compute a %s step", plan_kind_name(step->kind));
  }
  if (!ok && w.draft)
    store_abandon(w.draft);
  arena_free(w.arena);
  return ok;
}
