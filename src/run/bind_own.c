/* What merging methods want to know of each model on its own task's training data. */
#include "run/bind_work.h"

#include "measure/measure.h"

#include <string.h>

size_t work_count_models(const struct work *w)
{
  uint32_t n = 0;
  while (work_input(w, n)->kind != PLAN_DATA)
    n++;
  return n;
}

/* A model on its own task, whose network may have other classes than the merge's, in the form that
 * the merge's has.  The network is bind_net's, and valid until another is asked for. */
struct own {
  const struct net *net;
  const struct data_set *set;
  const float *flat;
};

static bool load_own(struct work *w, size_t k, struct own *own)
{
  const struct plan_step *model = work_input(w, (uint32_t)k);
  const uint32_t last = w->step->n_inputs - 1;
  const uint32_t data = k ? (uint32_t)(work_count_models(w) + k - 1) : last;
  own->net = bind_net_as(w->bind, w->plan, model, bind_is_canonical(w->plan, w->step), w->diag);
  own->set = own->net ? work_data_at(w, data, model, true) : NULL;
  own->flat = own->set ? work_weights(w, own->net, model) : NULL;
  return own->flat != NULL;
}

static bool has_classes_of(const struct work *w, size_t k, const struct net *net)
{
  return bind_shape(w->plan, work_input(w, (uint32_t)k)).classes == net_classes(net);
}

/* ---- Fisher matrices ---- */

static bool measure_own_fisher(struct work *w, size_t k, enum measure_expectation how, float **out)
{
  struct own own;
  if (!load_own(w, k, &own))
    return false;
  const struct measure_loss loss = {.work = bind_train_work(w->bind, 1),
                                    .net = own.net,
                                    .set = own.set,
                                    .split = DATA_TRAIN,
                                    .samples = (unsigned)plan_num(w->step, PLAN_A_samples),
                                    .batch = 1};
  const size_t n = net_params(own.net);
  double *fisher = arena_array(w->arena, n, sizeof *fisher);
  measure_fisher(&loss, own.flat, how, (uint64_t)plan_num(w->step, PLAN_A_seed), fisher);
  *out = arena_array(w->arena, net_count(own.net), sizeof **out);
  for (size_t i = 0; i < n; i++)
    (*out)[i] = (float)fisher[i];
  if (work_all_finite(*out, n))
    return true;
  diag_error(w->diag, SPAN_NONE, "a model's gradients are not finite, or too large to be squared");
  return false;
}

/* Where a task has other classes, its classifier is not merged: it is the first model's, with any
 * Fisher matrix.  Running statistics have none. */
bool work_fishers(struct work *w, size_t n_models, const float **inputs)
{
  enum measure_expectation how;
  float **own = arena_array(w->arena, n_models, sizeof *own);
  if (!measure_expectation_find(plan_str(w->step, PLAN_A_expectation), &how))
    return false;
  for (size_t k = 0; k < n_models; k++)
    if (!measure_own_fisher(w, k, how, &own[k]))
      return false;
  const struct net *net = bind_net(w->bind, w->plan, w->step, w->diag);
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t k = 0; k < n_models; k++) {
    float *fisher = arena_array(w->arena, net_count(net), sizeof *fisher);
    for (size_t i = 0; i < n; i++)
      if (!t[i].buffer && (!net_in_classifier(net, &t[i]) || has_classes_of(w, k, net)))
        memcpy(fisher + t[i].offset, own[k] + t[i].offset, t[i].count * sizeof *fisher);
    inputs[n_models + k] = fisher;
  }
  return true;
}

/* ---- Gram matrices ---- */

struct grams {
  const struct net_linear *linears;
  size_t n;
  double ***of; /* [model][layer]; NULL: a layer that is averaged */
};

static const struct net_linear *linear_of(const struct grams *g, size_t tensor, size_t *k)
{
  for (*k = 0; *k < g->n; ++*k)
    if (g->linears[*k].tensor == tensor)
      return g->of[0][*k] ? &g->linears[*k] : NULL;
  return NULL;
}

static bool find_gram(void *context, size_t tensor, struct merge_gram *out)
{
  size_t k;
  const struct net_linear *l = linear_of(context, tensor, &k);
  if (l)
    *out = (struct merge_gram){l->in, l->out, l->in_first};
  return l != NULL;
}

static bool load_gram(void *context, size_t tensor, size_t model, double *gram, struct diag *d)
{
  const struct grams *g = context;
  size_t k;
  const struct net_linear *l = linear_of(g, tensor, &k);
  (void)d;
  memcpy(gram, g->of[model][k], l->in * l->in * sizeof *gram);
  return true;
}

const struct merge_grams *work_grams(struct work *w, size_t n_models)
{
  struct grams *g = arena_alloc(w->arena, sizeof *g);
  struct merge_grams *out = arena_alloc(w->arena, sizeof *out);
  const bool unfolds = !strcmp(plan_str(w->step, PLAN_A_convolutions), "unfolded");
  g->of = arena_array(w->arena, n_models, sizeof *g->of);
  for (size_t k = 0; k < n_models; k++) {
    struct own own;
    if (!load_own(w, k, &own))
      return NULL;
    /* All networks have the same layers, but for the classifier's outputs. */
    g->linears = net_linears(w->arena, own.net, &g->n);
    g->of[k] = arena_array(w->arena, g->n + 1, sizeof **g->of);
    for (size_t i = 0; i < g->n; i++)
      if (unfolds || !g->linears[i].convolution)
        g->of[k][i] = arena_array(w->arena, g->linears[i].in * g->linears[i].in, sizeof(double));
    measure_grams(bind_eval_work(w->bind), BIND_EVAL_BATCH, own.flat, own.set,
                  (unsigned)plan_num(w->step, PLAN_A_samples), g->linears, g->n, g->of[k]);
  }
  g->linears = net_linears(w->arena, bind_net(w->bind, w->plan, w->step, w->diag), &g->n);
  *out = (struct merge_grams){g, find_gram, load_gram};
  return out;
}
