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

/* Without the weights. */
static bool bind_own(struct work *w, size_t k, struct own *own)
{
  const struct plan_step *model = work_input(w, (uint32_t)k);
  const uint32_t last = w->step->n_inputs - 1;
  const uint32_t data = k ? (uint32_t)(work_count_models(w) + k - 1) : last;
  own->net = bind_net_as(w->bind, w->plan, model, bind_is_canonical(w->plan, w->step), w->diag);
  own->set = own->net ? work_data_at(w, data, model, true) : NULL;
  return own->set != NULL;
}

static bool load_own(struct work *w, size_t k, struct own *own)
{
  own->flat = bind_own(w, k, own) ? work_weights(w, own->net, work_input(w, (uint32_t)k)) : NULL;
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

/* ---- Gram matrices ----
 * They are measured when they are asked for: of as many layers at once as are held together, so
 * that a large network's are not all in memory.  A layer that is too large to be held is measured
 * into the caller's memory, for one model at a time. */

struct grams {
  struct work *w;
  size_t n_models, n;
  const struct net_linear *linears; /* of the merge's network */
  const float **flats;              /* [model]: its own weights */
  bool unfolds;
  struct arena *held;
  double ***of; /* [model][layer], NULL: not held */
};

static size_t gram_bytes(const struct net_linear *l)
{
  return l->in * l->in * sizeof(double);
}

/* Of the layer in all models. */
static bool is_held(const struct grams *g, size_t k)
{
  return g->n_models * gram_bytes(&g->linears[k]) <= g->w->bind->grams_held;
}

/* The layer of a tensor; SIZE_MAX: it is averaged. */
static size_t layer_of(const struct grams *g, size_t tensor)
{
  for (size_t k = 0; k < g->n; k++)
    if (g->linears[k].tensor == tensor)
      return g->unfolds || !g->linears[k].convolution ? k : SIZE_MAX;
  return SIZE_MAX;
}

static bool find_gram(void *context, size_t tensor, struct merge_gram *out)
{
  const struct grams *g = context;
  const size_t k = layer_of(g, tensor);
  if (k != SIZE_MAX)
    *out = (struct merge_gram){g->linears[k].in, g->linears[k].out, g->linears[k].in_first};
  return k != SIZE_MAX;
}

/* By layer into those of `grams` that are not NULL.  All networks have the same layers, but for the
 * classifier's outputs. */
static bool measure_own_grams(struct grams *g, size_t model, double *const *grams)
{
  struct own own;
  if (!bind_own(g->w, model, &own))
    return false;
  measure_grams(bind_eval_work(g->w->bind), BIND_EVAL_BATCH, g->flats[model], own.set,
                (unsigned)plan_num(g->w->step, PLAN_A_samples), g->linears, g->n, grams);
  return true;
}

static size_t last_tensor(const struct grams *g)
{
  size_t last = 0;
  for (size_t k = 0; k < g->n; k++)
    last = g->linears[k].tensor > last ? g->linears[k].tensor : last;
  return last;
}

/* From this tensor on. */
static bool hold(struct grams *g, size_t tensor)
{
  size_t left = g->w->bind->grams_held;
  arena_free(g->held);
  g->held = arena_new();
  for (size_t m = 0; m < g->n_models; m++)
    g->of[m] = arena_array(g->held, g->n + 1, sizeof **g->of);
  for (size_t t = tensor; t <= last_tensor(g); t++) {
    const size_t k = layer_of(g, t);
    if (k == SIZE_MAX || !is_held(g, k))
      continue;
    const size_t bytes = g->n_models * gram_bytes(&g->linears[k]);
    if (bytes > left)
      break;
    left -= bytes;
    for (size_t m = 0; m < g->n_models; m++)
      g->of[m][k] = arena_alloc(g->held, gram_bytes(&g->linears[k]));
  }
  for (size_t m = 0; m < g->n_models; m++)
    if (!measure_own_grams(g, m, g->of[m]))
      return false;
  return true;
}

/* What goes wrong is told as of the step, whose diagnostics these are. */
static bool load_gram(void *context, size_t tensor, size_t model, double *gram, struct diag *d)
{
  struct grams *g = context;
  const size_t k = layer_of(g, tensor);
  (void)d;
  if (!is_held(g, k)) {
    double **one = arena_array(g->w->arena, g->n + 1, sizeof *one);
    one[k] = gram;
    return measure_own_grams(g, model, one);
  }
  if (!g->of[model] || !g->of[model][k])
    if (!hold(g, tensor))
      return false;
  memcpy(gram, g->of[model][k], gram_bytes(&g->linears[k]));
  return true;
}

const struct merge_grams *work_grams(struct work *w, size_t n_models)
{
  struct grams *g = arena_alloc(w->arena, sizeof *g);
  struct merge_grams *out = arena_alloc(w->arena, sizeof *out);
  *g = (struct grams){.w = w,
                      .n_models = n_models,
                      .unfolds = !strcmp(plan_str(w->step, PLAN_A_convolutions), "unfolded"),
                      .flats = arena_array(w->arena, n_models, sizeof *g->flats),
                      .of = arena_array(w->arena, n_models, sizeof *g->of)};
  for (size_t k = 0; k < n_models; k++) {
    struct own own;
    if (!load_own(w, k, &own))
      return NULL;
    g->flats[k] = own.flat;
  }
  g->linears = net_linears(w->arena, bind_net(w->bind, w->plan, w->step, w->diag), &g->n);
  *out = (struct merge_grams){g, find_gram, load_gram};
  return out;
}

void work_grams_end(const struct merge_grams *grams)
{
  if (grams)
    arena_free(((struct grams *)grams->context)->held);
}
