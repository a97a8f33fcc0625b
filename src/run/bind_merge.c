#include "run/bind_work.h"

#include "measure/measure.h"
#include "merge/merge.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static double optional(const struct plan_step *s, enum plan_attr_id id, double otherwise)
{
  const struct plan_attr *a = plan_attr(s, id);
  return a ? a->num : otherwise;
}

/* Models of one architecture for different data have classifiers of different
 * shapes, of which there is no mean: all have the first one's. */
static const float **load_models(struct work *w, const struct net *net, size_t n, size_t n_inputs)
{
  const float **models = arena_array(w->arena, n_inputs, sizeof *models);
  for (uint32_t k = 0; k < n; k++) {
    const struct plan_step *from = work_input(w, k);
    float *flat = NULL;
    if (!k || bind_shape(w->plan, from).classes == net_classes(net)) {
      flat = work_weights(w, net, from);
    } else {
      flat = arena_copy(w->arena, models[0], net_count(net) * sizeof *flat);
      flat = work_body(w, net, from, flat) ? flat : NULL;
    }
    if (!flat)
      return NULL;
    models[k] = flat;
  }
  return models;
}

/* Coefficients below 0 or above 1 can make a variance negative, which no network
 * has: such a point has no value, and is not bent into one that has. */
static const char *negative_variance(struct arena *a, const struct net *net, const float *flat)
{
  static const char suffix[] = "running_var";
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) {
    size_t length = strlen(t[i].name), m = sizeof suffix - 1;
    if (!t[i].buffer || length < m || strcmp(t[i].name + length - m, suffix))
      continue;
    for (size_t k = 0; k < t[i].count; k++)
      if (flat[t[i].offset + k] < 0)
        return arena_printf(a,
                            "diverged: %s is negative after merging; `with batchnorm "
                            "recalibrated` computes it anew",
                            t[i].name);
  }
  return NULL;
}

static bool recalibrate(struct work *w, const struct net *net, float *merged)
{
  const struct plan_step *s = w->step;
  const struct data_set *data = work_data(w, s, false);
  if (!data)
    return false;
  struct data_augment augment = work_augment(s);
  unsigned batch = (unsigned)plan_num(s, PLAN_A_batch);
  measure_recalibrate(bind_forward_work(w->bind, batch), batch, merged, net, data,
                      augment.flip ? &augment : NULL,
                      (unsigned)optional(s, PLAN_A_recalibration, 0),
                      (uint64_t)plan_num(s, PLAN_A_seed));
  return true;
}

/* What is merged: the models without a base. */
static const struct merge_method *find_method(struct work *w, size_t *n_models)
{
  const char *name = plan_str(w->step, PLAN_A_method);
  const struct merge_method *m = merge_find(name);
  const size_t inputs = work_count_models(w);
  *n_models = m && m->extra == MERGE_BASE ? inputs - 1 : inputs;
  if (!m)
    diag_error(w->diag, SPAN_NONE, "no merging method `%s`", name);
  else if (*n_models < m->min_models || (m->max_models && *n_models > m->max_models))
    diag_error(w->diag, SPAN_NONE, "`%s` does not merge %zu models", name, *n_models);
  else
    return m;
  return NULL;
}

static bool says(const struct plan_step *s, enum plan_attr_id id, const char *word)
{
  const struct plan_attr *a = plan_attr(s, id);
  return a && !strcmp(a->str, word);
}

/* Of fisher; the weights of two models. */
static const double *read_weights(struct work *w, const struct merge_method *m, size_t n_models)
{
  const double alpha = optional(w->step, PLAN_A_alpha, 0.5), two[] = {1 - alpha, alpha};
  return m->extra == MERGE_FISHERS && n_models == 2 ? arena_copy(w->arena, two, sizeof two) : NULL;
}

static struct merge_args read_args(const struct plan_step *s)
{
  return (struct merge_args){
      .floor = optional(s, PLAN_A_floor, 0),
      .normalize = says(s, PLAN_A_normalize, "length"),
      .alpha = optional(s, PLAN_A_alpha, 0.5),
      .scale = optional(s, PLAN_A_scale, 1),
      .scope = says(s, PLAN_A_scope, "tensor") ? MERGE_EACH_TENSOR : MERGE_WHOLE_MODEL,
      .keep = optional(s, PLAN_A_keep, 1),
      .aggregate = says(s, PLAN_A_aggregate, "sum") ? MERGE_SUM : MERGE_MEAN,
      .drop = optional(s, PLAN_A_drop, 0),
      .seed = (uint64_t)optional(s, PLAN_A_seed, 0),
      .x = optional(s, PLAN_A_x, 0),
      .y = optional(s, PLAN_A_y, 0),
  };
}

/* One a model, where the step says so. */
static const double *coefficients(struct work *w, size_t n_models)
{
  const struct plan_attr *a = plan_attr(w->step, PLAN_A_coefficients);
  double *v = arena_array(w->arena, n_models, sizeof *v);
  const char *at = a ? a->str : NULL;
  for (size_t k = 0; at && k < n_models; k++) {
    char *end;
    v[k] = strtod(at, &end);
    assert(end > at);
    at = end;
  }
  return at ? v : NULL;
}

static bool merge_nets(struct work *w, const struct merge_method *method, const struct net *net,
                       const float *const *models, size_t n_models,
                       const struct merge_grams *grams, float *merged)
{
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  struct merge_tensor *tensors = arena_array(w->arena, n, sizeof *tensors);
  for (size_t i = 0; i < n; i++)
    tensors[i] = (struct merge_tensor){arena_strdup(w->arena, t[i].name), t[i].count, t[i].buffer};
  struct merge_args args = read_args(w->step);
  args.weights = args.scales = coefficients(w, n_models);
  if (!args.weights)
    args.weights = read_weights(w, method, n_models);
  args.grams = grams;
  return merge_flat(method, &args, n_models, tensors, n, models, merged, w->diag);
}

bool work_save_merge(struct work *w, const struct net *net, float *merged)
{
  if (!strcmp(plan_str(w->step, PLAN_A_batchnorm), "recalibrated")) {
    if (!recalibrate(w, net, merged))
      return false;
  } else {
    w->result.note = negative_variance(w->arena, net, merged);
  }
  if (!work_all_finite(merged, net_count(net)))
    w->result.note = "diverged: the merged weights are not finite";
  w->result.diverged = w->result.note != NULL;
  return (w->result.diverged || work_save_weights(w, net, merged)) && work_commit(w);
}

bool work_merge(struct work *w)
{
  const struct plan_step *s = w->step;
  size_t n_models;
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return work_commit(w);
  const struct merge_method *method = find_method(w, &n_models);
  const struct net *net = method ? bind_net(w->bind, w->plan, s, w->diag) : NULL;
  const float **models =
      net ? load_models(w, net, work_count_models(w), merge_inputs(method, n_models)) : NULL;
  if (!models)
    return false;
  const struct merge_grams *grams = NULL;
  if ((method->extra == MERGE_FISHERS && !work_fishers(w, n_models, models)) ||
      (method->extra == MERGE_GRAMS && !(grams = work_grams(w, n_models))))
    return false;
  net = bind_net(w->bind, w->plan, s, w->diag); /* the last one's may have been another */
  float *merged = arena_array(w->arena, net_count(net), sizeof *merged);
  const bool ok = merge_nets(w, method, net, models, n_models, grams, merged);
  work_grams_end(grams);
  return ok && work_save_merge(w, bind_net(w->bind, w->plan, s, w->diag), merged);
}
