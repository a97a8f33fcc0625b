#include "run/bind_work.h"

#include "measure/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Loss and accuracy.  A second model lends its classifier. */
static bool evaluate(struct work *w, bool diverged)
{
  struct measure_evaluation e = {NAN, NAN};
  if (!diverged) {
    bool lent = w->step->n_inputs > 2;
    const struct plan_step *head = work_input(w, lent ? 1 : 0);
    const struct net *net = bind_net(w->bind, w->plan, head, w->diag);
    const struct data_set *data = net ? work_data(w, head, true) : NULL;
    float *flat = data ? work_weights(w, net, head) : NULL;
    if (!flat || (lent && !work_body(w, net, work_input(w, 0), flat)))
      return false;
    e = measure_evaluate(bind_eval_work(w->bind), BIND_EVAL_BATCH, flat, net, data,
                         bind_split(w->step));
  }
  store_set(w->arena, &w->result, "loss", e.loss);
  store_set(w->arena, &w->result, "accuracy", e.accuracy);
  return true;
}

/* Classifiers of different shapes can't be compared: they are left out. */
static bool between_weights(struct work *w, double *value)
{
  const struct plan_step *second = work_input(w, 1);
  const struct net *net = bind_net(w->bind, w->plan, work_input(w, 0), w->diag);
  float *a = net ? work_weights(w, net, work_input(w, 0)) : NULL, *b = NULL;
  if (!a)
    return false;
  if (bind_shape(w->plan, second).classes == net_classes(net)) {
    b = work_weights(w, net, second);
  } else {
    size_t n;
    const struct net_tensor *t = net_tensors(net, &n);
    b = arena_array(w->arena, net_count(net), sizeof *b);
    for (size_t i = 0; i < n; i++)
      if (net_in_classifier(net, &t[i]))
        memset(a + t[i].offset, 0, t[i].count * sizeof *a);
    b = work_body(w, net, second, b) ? b : NULL;
  }
  if (!b)
    return false;
  bool distance = !strcmp(plan_str(w->step, PLAN_A_measurement), "distance");
  *value = (distance ? measure_distance : measure_cosine)(a, b, net_params(net));
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

struct measurement {
  const char *name; /* of the value, too */
  bool (*measure)(struct work *, double *value);
};

static const struct measurement of_two[] = {
    {"cka", cka}, {"distance", between_weights}, {"cosine", between_weights}};

bool work_measure(struct work *w)
{
  const char *name = plan_str(w->step, PLAN_A_measurement);
  bool diverged;
  double value = NAN;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (!strcmp(name, "evaluate"))
    return evaluate(w, diverged) && work_commit(w);
  for (size_t i = 0; i < sizeof of_two / sizeof *of_two; i++) {
    if (strcmp(of_two[i].name, name))
      continue;
    if (w->step->n_inputs != 3) {
      diag_error(w->diag, SPAN_NONE, "`%s` is measured on two models", name);
      return false;
    }
    if (!diverged && !of_two[i].measure(w, &value))
      return false;
    store_set(w->arena, &w->result, name, value);
    return work_commit(w);
  }
  diag_error(w->diag, SPAN_NONE, "no measurement `%s`", name);
  return false;
}
