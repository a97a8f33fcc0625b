#include "run/bind_work.h"

#include "measure/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static unsigned count_of(const struct work *w, enum plan_attr_id id)
{
  return (unsigned)plan_num(w->step, id);
}

/* Loss and accuracy.  A second model lends its classifier. */
static bool evaluate(struct work *w, bool diverged)
{
  struct measure_evaluation e = {NAN, NAN};
  if (!diverged) {
    bool lent = w->step->n_inputs > 2;
    const struct plan_step *head = work_input(w, lent ? 1 : 0);
    const struct net *net =
        bind_net_as(w->bind, w->plan, head, bind_is_canonical(w->plan, w->step), w->diag);
    const struct data_set *data = net ? work_data(w, head, true) : NULL;
    float *flat = data ? work_weights(w, net, head) : NULL;
    if (!flat || (lent && !work_body(w, net, work_input(w, 0), flat)))
      return false;
    e = measure_evaluate(bind_eval_work(w->bind), BIND_EVAL_BATCH, flat, net, data,
                         bind_split(w->step),
                         plan_attr(w->step, PLAN_A_samples) ? count_of(w, PLAN_A_samples) : 0);
  }
  store_set(w->arena, &w->result, "loss", e.loss);
  store_set(w->arena, &w->result, "accuracy", e.accuracy);
  return true;
}

/* Weights of one of the models, with zeros for a classifier that is not compared. */
static const float *weights_of(struct work *w, const struct net *net, uint32_t k, bool whole)
{
  if (whole)
    return work_weights(w, net, work_input(w, k));
  float *flat = arena_array(w->arena, net_count(net), sizeof *flat);
  return work_body(w, net, work_input(w, k), flat) ? flat : NULL;
}

/* Of two models, and the base of their task vectors.  Classifiers of different shapes cannot be
 * compared: they are left out. */
static bool between_weights(struct work *w, double *value)
{
  const uint32_t n_models = w->step->n_inputs - 1;
  const struct net *net = bind_net_as(w->bind, w->plan, work_input(w, 0),
                                      bind_is_canonical(w->plan, w->step), w->diag);
  const float *v[3] = {NULL};
  bool whole = net != NULL;
  for (uint32_t k = 1; whole && k < n_models; k++)
    whole = bind_shape(w->plan, work_input(w, k)).classes == net_classes(net);
  for (uint32_t k = 0; net && k < n_models; k++) {
    v[k] = weights_of(w, net, k, whole);
    if (!v[k])
      return false;
  }
  if (!net)
    return false;
  const size_t n = net_params(net);
  if (!strcmp(plan_str(w->step, PLAN_A_measurement), "distance"))
    *value = measure_distance(v[0], v[1], n);
  else
    *value = v[2] ? measure_task_cosine(v[0], v[1], v[2], n) : measure_cosine(v[0], v[1], n);
  return true;
}

/* One model after the other, as they may be of different architectures. */
static bool cka(struct work *w, double *value)
{
  double *features[2] = {NULL, NULL};
  size_t n = 0, width[2] = {0, 0};
  bool ok = true;
  for (uint32_t k = 0; ok && k < 2; k++) {
    const struct plan_step *model = work_input(w, k);
    const struct net *net = bind_net(w->bind, w->plan, model, w->diag);
    const struct data_set *data = net ? work_data(w, model, false) : NULL;
    float *flat = data ? work_weights(w, net, model) : NULL;
    ok = flat != NULL;
    if (!ok)
      break;
    width[k] = net_features(net);
    features[k] =
        measure_features(bind_eval_work(w->bind), BIND_EVAL_BATCH, flat, net, data,
                         bind_split(w->step), (unsigned)plan_num(w->step, PLAN_A_samples), &n);
  }
  if (ok)
    *value = measure_cka(n, width[0], features[0], width[1], features[1]);
  free(features[0]);
  free(features[1]);
  return ok;
}

static bool disagreement(struct work *w, double *value)
{
  const struct plan_step *one = work_input(w, 0), *other = work_input(w, 1);
  const struct net *net =
      bind_net_as(w->bind, w->plan, one, bind_is_canonical(w->plan, w->step), w->diag);
  const struct data_set *data = net ? work_data(w, one, true) : NULL;
  if (!data)
    return false;
  if (bind_shape(w->plan, other).classes != net_classes(net)) {
    diag_error(w->diag, SPAN_NONE, "models of %u and %u classes always disagree",
               net_classes(net), bind_shape(w->plan, other).classes);
    return false;
  }
  const float *a = work_weights(w, net, one), *b = a ? work_weights(w, net, other) : NULL;
  if (b)
    *value = measure_disagreement(bind_eval_work(w->bind), BIND_EVAL_BATCH, a, b, net, data,
                                  bind_split(w->step));
  return b != NULL;
}

struct measurement {
  const char *name; /* of the value, too */
  bool (*measure)(struct work *, double *value);
  bool base; /* it may have one */
};

static const struct measurement of_two[] = {{"cka", cka, false},
                                            {"distance", between_weights, false},
                                            {"cosine", between_weights, true},
                                            {"disagreement", disagreement, false}};

static bool two_models(struct work *w, const struct measurement *m, bool diverged)
{
  double value = NAN;
  if (w->step->n_inputs != 3 && !(m->base && w->step->n_inputs == 4)) {
    diag_error(w->diag, SPAN_NONE, "`%s` is measured on two models", m->name);
    return false;
  }
  if (!diverged && !m->measure(w, &value))
    return false;
  store_set(w->arena, &w->result, m->name, value);
  return work_commit(w);
}

/* ---- the loss around a model ---- */

static struct measure_estimate sharpness(const struct work *w, const struct measure_loss *m,
                                         const float *flat)
{
  return measure_sharpness(m, flat, count_of(w, PLAN_A_products));
}

static struct measure_estimate hessian_trace(const struct work *w, const struct measure_loss *m,
                                             const float *flat)
{
  return measure_hessian_trace(m, flat, count_of(w, PLAN_A_probes));
}

static struct measure_estimate average_sharpness(const struct work *w,
                                                 const struct measure_loss *m, const float *flat)
{
  return measure_average_sharpness(m, flat, plan_num(w->step, PLAN_A_radius),
                                   count_of(w, PLAN_A_directions));
}

static struct measure_estimate gradient_noise(const struct work *w, const struct measure_loss *m,
                                              const float *flat)
{
  (void)w;
  return (struct measure_estimate){measure_gradient_noise(m, flat).trace, NAN};
}

static struct measure_estimate tail_index(const struct work *w, const struct measure_loss *m,
                                          const float *flat)
{
  (void)w;
  return (struct measure_estimate){measure_gradient_noise(m, flat).tail_index, NAN};
}

static const struct {
  const char *name;
  struct measure_estimate (*measure)(const struct work *, const struct measure_loss *,
                                     const float *flat);
} around[] = {{"sharpness", sharpness},
              {"hessian_trace", hessian_trace},
              {"average_sharpness", average_sharpness},
              {"gradient_noise", gradient_noise},
              {"tail_index", tail_index}};

static bool around_model(struct work *w, size_t which, bool diverged)
{
  const struct plan_step *model = work_input(w, 0);
  const struct plan_attr *own = plan_attr(w->step, PLAN_A_batch);
  struct measure_estimate e = {NAN, NAN};
  if (!diverged) {
    const unsigned batch = own ? (unsigned)own->num : BIND_GRADIENT_BATCH;
    const struct net *net = bind_net(w->bind, w->plan, model, w->diag);
    const struct data_set *data = net ? work_data(w, model, false) : NULL;
    const float *flat = data ? work_weights(w, net, model) : NULL;
    if (!flat)
      return false;
    const struct measure_loss loss = {.work = bind_train_work(w->bind, batch),
                                      .net = net,
                                      .set = data,
                                      .split = bind_split(w->step),
                                      .samples = count_of(w, PLAN_A_samples),
                                      .batch = batch};
    e = around[which].measure(w, &loss, flat);
  }
  store_set(w->arena, &w->result, around[which].name, e.value);
  if (!isnan(e.error))
    store_set(w->arena, &w->result, "error", e.error);
  return work_commit(w);
}

static bool length_of(struct work *w, bool invariant, bool diverged)
{
  const struct plan_step *model = work_input(w, 0);
  double value = NAN;
  if (!diverged) {
    const struct net *net = bind_net(w->bind, w->plan, model, w->diag);
    const float *flat = net ? work_weights(w, net, model) : NULL;
    if (!flat)
      return false;
    value = invariant ? measure_invariant_norm(net, flat) : measure_norm(flat, net_params(net));
  }
  store_set(w->arena, &w->result, plan_str(w->step, PLAN_A_measurement), value);
  return work_commit(w);
}

bool work_measure(struct work *w)
{
  const char *name = plan_str(w->step, PLAN_A_measurement);
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (!strcmp(name, "evaluate"))
    return evaluate(w, diverged) && work_commit(w);
  for (size_t i = 0; i < sizeof of_two / sizeof *of_two; i++)
    if (!strcmp(of_two[i].name, name))
      return two_models(w, &of_two[i], diverged);
  for (size_t i = 0; i < sizeof around / sizeof *around; i++)
    if (!strcmp(around[i].name, name))
      return around_model(w, i, diverged);
  if (!strcmp(name, "norm") || !strcmp(name, "invariant_norm"))
    return length_of(w, *name == 'i', diverged);
  diag_error(w->diag, SPAN_NONE, "no measurement `%s`", name);
  return false;
}
