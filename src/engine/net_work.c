/* Walking over a network's layers, forward and backward. */
#include "engine/net_norm.h"
#include "engine/net_work_int.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float NORM_MOMENTUM = 0.1f;

struct step {
  struct net_work *work;
  const float *flat;
  float *running; /* the same vector when statistics move; NULL: inference */
  float momentum;
  const float *x;
  unsigned n;
  net_visitor *visit; /* NULL: nobody looks on */
  net_rows_visitor *visit_rows; /* likewise */
  const bool *wanted;           /* of linear layers; NULL: all */
  void *context;
  bool fixed; /* ReLUs let through what they did when they were recorded */
};

static const float *input(const struct step *s, unsigned value)
{
  return value ? s->work->value[value] : s->x;
}

/* PyTorch keeps the unbiased variance, and normalises with the biased one. */
static void move_running(const struct step *s, const struct net_layer *l, size_t rows, unsigned c,
                         const float *mean, const float *var)
{
  float *m = s->running + l->mean, *v = s->running + l->var;
  const float unbiased = rows > 1 ? (float)((double)rows / (double)(rows - 1)) : 1;
  for (unsigned i = 0; i < c; i++) {
    m[i] = (1 - s->momentum) * m[i] + s->momentum * mean[i];
    v[i] = (1 - s->momentum) * v[i] + s->momentum * (var[i] * unbiased);
  }
}

static struct ops_rows norm_rows(const struct step *s, const struct net_layer *l)
{
  const struct net_value *values = s->work->net->values, *in = &values[l->in];
  return (struct ops_rows){s->n * net_pixels(in), in->c, values[in->whole].c,
                           values[values[l->out].whole].c};
}

static void norm_forward(const struct step *s, const struct net_layer *l,
                         const struct layer_work *k)
{
  const struct ops *ops = s->work->ops;
  const struct net_value *v = &s->work->net->values[l->in];
  const struct ops_rows rows = norm_rows(s, l);
  const float *x = input(s, l->in), *mean = s->flat + l->mean, *var = s->flat + l->var;
  if (s->running) {
    ops->norm_statistics(ops, &rows, x, k->mean, k->scale);
    move_running(s, l, rows.rows, v->c, k->mean, k->scale);
    mean = k->mean;
    var = k->scale;
  }
  if (mean != k->mean)
    memcpy(k->mean, mean, v->c * sizeof *mean); /* for the backward pass */
  const float *gamma = s->flat + l->weight, *beta = s->flat + l->bias;
  for (unsigned i = 0; i < v->c; i++) {
    k->inv_std[i] = 1 / sqrtf(var[i] + NET_NORM_EPS);
    k->scale[i] = gamma[i] * k->inv_std[i];
    k->shift[i] = beta[i] - mean[i] * k->scale[i];
  }
  ops->norm_apply(ops, &rows, x, k->scale, k->shift,
                  l->residual == NET_NONE ? NULL : input(s, l->residual), l->relu && !s->fixed,
                  s->work->value[l->out]);
}

/* A ReLU that is held as it was makes a layer without activation, of which let_through takes. */
static void dense_forward(const struct step *s, const struct net_layer *l, size_t rows, float *y,
                          float *slope)
{
  const struct ops *ops = s->work->ops;
  struct ops_dense dense = l->dense;
  const bool held = s->fixed && l->relu;
  dense.act = held ? OPS_IDENTITY : dense.act;
  ops->dense_forward(ops, &dense, rows, input(s, l->in), s->flat + l->weight,
                     l->bias == SIZE_MAX ? NULL : s->flat + l->bias,
                     l->residual == NET_NONE ? NULL : input(s, l->residual), y, held ? NULL : slope,
                     s->work->scratch);
}

static void forward_token_layer(const struct step *s, size_t i)
{
  const struct net_work *w = s->work;
  const struct ops *ops = w->ops;
  const struct net_layer *l = &w->net->layers[i];
  const struct net_value *in = &w->net->values[l->in];
  const size_t rows = s->n * net_pixels(in);
  const float *x = input(s, l->in), *weight = s->flat + l->weight;
  const float *bias = l->bias == SIZE_MAX ? NULL : s->flat + l->bias;
  float *y = w->value[l->out], *saved = w->layers[i].saved;
  if (l->kind == LAYER_EMBEDDING)
    ops->embedding_forward(ops, s->n, in->w, w->net->values[l->out].c, x, weight, bias, y);
  else if (l->kind == LAYER_LAYERNORM)
    ops->layernorm_forward(ops, rows, in->c, l->eps, x, weight, bias, y, saved,
                           saved ? saved + rows : NULL);
  else if (l->kind == LAYER_DENSE)
    dense_forward(s, l, rows, y, saved);
  else if (l->kind == LAYER_SCALED)
    ops->scaled_forward(ops, &l->dense, rows, x, weight, bias, s->flat + l->scale,
                        input(s, l->residual), y, w->scratch);
  else if (l->kind == LAYER_ATTENTION)
    ops->attention_forward(ops, &l->attention, s->n, x, y, saved, w->scratch);
  else if (l->kind == LAYER_PATCHES)
    ops->patches_forward(ops, &l->patches, s->n, x, y);
  else if (l->kind == LAYER_CLASS_TOKEN)
    ops->class_token_forward(ops, s->n, (unsigned)net_pixels(in) + 1, in->c, x, weight, bias, y);
  else if (l->kind == LAYER_FIRST_TOKEN)
    ops->first_token_forward(ops, s->n, (unsigned)net_pixels(in), in->c, x, y);
}

static void backward_scaled(const struct step *s, const struct net_layer *l, bool add, float *grad)
{
  const struct net_work *w = s->work;
  const size_t rows = s->n * net_pixels(&w->net->values[l->in]);
  const float *weight = s->flat + l->weight, *scale = s->flat + l->scale;
  float *dy = w->grad[l->out];
  w->ops->scaled_backward_weights(w->ops, &l->dense, rows, 0, l->dense.out, input(s, l->in), weight,
                                  s->flat + l->bias, scale, dy, grad + l->weight, grad + l->bias,
                                  grad + l->scale, w->scratch);
  w->ops->scaled_backward_data(w->ops, &l->dense, rows, weight, scale, dy, w->grad[l->in], add,
                               w->scratch);
}

static void backward_token_layer(const struct step *s, size_t i, float *grad)
{
  const struct net_work *w = s->work;
  const struct ops *ops = w->ops;
  const struct net_layer *l = &w->net->layers[i];
  const struct net_value *in = &w->net->values[l->in];
  const size_t rows = s->n * net_pixels(in);
  const bool add = w->layers[i].add;
  const float *x = input(s, l->in), *weight = s->flat + l->weight, *saved = w->layers[i].saved;
  float *dy = w->grad[l->out], *dx = w->grad[l->in];
  float *dweight = grad + l->weight, *dbias = l->bias == SIZE_MAX ? NULL : grad + l->bias;
  if (l->kind == LAYER_EMBEDDING && net_head(w->net)->weight != l->weight)
    memset(dweight, 0, (size_t)net_classes(w->net) * w->net->values[l->out].c * sizeof *dweight);
  if (l->kind == LAYER_EMBEDDING) /* a tied head has set dweight */
    ops->embedding_backward(ops, s->n, in->w, w->net->values[l->out].c, x, dy, dweight, dbias);
  else if (l->kind == LAYER_LAYERNORM)
    ops->layernorm_backward(ops, rows, in->c, x, saved, saved + rows, weight, dy, dx, add, dweight,
                            dbias);
  else if (l->kind == LAYER_DENSE)
    ops->dense_backward(ops, &l->dense, rows, x, weight,
                        s->fixed && l->relu ? w->open[l->out] : saved, dy, dx, add, dweight, dbias,
                        w->scratch);
  else if (l->kind == LAYER_SCALED)
    backward_scaled(s, l, add, grad);
  else if (l->kind == LAYER_ATTENTION)
    ops->attention_backward(ops, &l->attention, s->n, x, w->value[l->out], saved, dy, dx,
                            w->scratch);
  else if (l->kind == LAYER_PATCHES && dx)
    ops->patches_backward(ops, &l->patches, s->n, dy, dx, add);
  else if (l->kind == LAYER_CLASS_TOKEN)
    ops->class_token_backward(ops, s->n, (unsigned)net_pixels(in) + 1, in->c, dy, dx, add, dweight,
                              dbias);
  else if (l->kind == LAYER_FIRST_TOKEN)
    ops->first_token_backward(ops, s->n, (unsigned)net_pixels(in), in->c, dy, dx, add);
}

static void show(const struct step *s, unsigned value)
{
  const struct net_value *values = s->work->net->values, *v = &values[value];
  const struct net_activation shown = {s->work->value[value], s->n * net_pixels(v), v->c,
                                       values[v->whole].c};
  s->visit(s->context, value, &shown);
}

/* What a value's ReLU let through when it was recorded. */
static void let_through(const struct step *s, unsigned value)
{
  const struct net_value *values = s->work->net->values, *v = &values[value];
  const size_t rows = s->n * net_pixels(v), row = values[v->whole].c;
  const float *open = s->work->open[value];
  float *y = s->work->value[value];
  for (size_t i = 0; i < rows; i++, y += row, open += row)
    for (unsigned k = 0; k < v->c; k++)
      y[k] = open[k] > 0 ? y[k] : 0;
}

/* What the backward pass knows a layer's ReLU by: its output, or what was recorded. */
static const float *relu_of(const struct step *s, const struct net_layer *l)
{
  return s->fixed && l->relu ? s->work->open[l->out] : s->work->value[l->out];
}

static void forward(const struct step *s)
{
  const struct net_work *w = s->work;
  const struct ops *ops = w->ops;
  size_t linear = 0;
  for (size_t i = 0; i < w->net->n_layers; i++) {
    const struct net_layer *l = &w->net->layers[i];
    const struct net_value *in = &w->net->values[l->in];
    const float *x = input(s, l->in);
    float *y = w->value[l->out];
    const unsigned area = (unsigned)net_pixels(in);
    if (s->visit_rows)
      linear +=
          net_show_rows(w->net, l, x, s->n, linear, s->wanted, s->visit_rows, s->context);
    switch (l->kind) {
    case LAYER_CONV:
      ops->conv_forward(ops, &l->conv, s->n, x, s->flat + l->weight, y, w->scratch);
      break;
    case LAYER_DEPTHWISE:
      ops->depthwise_forward(ops, &l->depthwise, s->n, x, s->flat + l->weight, s->flat + l->bias, y,
                             w->scratch);
      break;
    case LAYER_BATCHNORM:
      norm_forward(s, l, &w->layers[i]);
      break;
    case LAYER_POOL:
      ops->pool_forward(ops, s->n, area, in->c, x, y);
      break;
    case LAYER_AVERAGE:
      ops->average_forward(ops, &l->conv, s->n, x, y);
      break;
    case LAYER_MAX:
      ops->max_forward(ops, &l->conv, s->n, x, y);
      break;
    case LAYER_FLATTEN:
      ops->flatten_forward(ops, s->n, area, in->c, x, y);
      break;
    case LAYER_LINEAR:
      ops->linear_forward(ops, s->n, in->c, w->net->values[l->out].c, x, s->flat + l->weight,
                          s->flat + l->bias, l->relu && !s->fixed, y, w->scratch);
      break;
    case LAYER_EMBEDDING:
    case LAYER_LAYERNORM:
    case LAYER_DENSE:
    case LAYER_SCALED:
    case LAYER_ATTENTION:
    case LAYER_PATCHES:
    case LAYER_CLASS_TOKEN:
    case LAYER_FIRST_TOKEN:
      forward_token_layer(s, i);
      break;
    case LAYER_HEAD:
      break;
    }
    if (l->relu && s->fixed)
      let_through(s, l->out);
    if (s->visit && l->kind != LAYER_HEAD)
      show(s, l->out);
  }
}

static void backward_conv(const struct step *s, const struct net_layer *l, bool add, float *grad)
{
  const struct net_work *w = s->work;
  const float *dy = w->grad[l->out];
  w->ops->conv_backward_weights(w->ops, &l->conv, s->n, input(s, l->in), dy, grad + l->weight,
                                w->scratch);
  if (w->grad[l->in])
    w->ops->conv_backward_data(w->ops, &l->conv, s->n, dy, s->flat + l->weight, w->grad[l->in], add,
                               w->scratch);
}

static void backward_depthwise(const struct step *s, const struct net_layer *l, bool add,
                               float *grad)
{
  const struct net_work *w = s->work;
  const float *dy = w->grad[l->out];
  w->ops->depthwise_backward_weights(w->ops, &l->depthwise, s->n, 0, l->depthwise.c,
                                     input(s, l->in), dy, grad + l->weight, grad + l->bias,
                                     w->scratch);
  w->ops->depthwise_backward_data(w->ops, &l->depthwise, s->n, dy, s->flat + l->weight,
                                  w->grad[l->in], add, w->scratch);
}

/* With fixed statistics the norm is a scale and a shift a channel. */
static void norm_backward(const struct step *s, const struct net_layer *l,
                          const struct layer_work *k, float *grad)
{
  const struct net_work *w = s->work;
  const struct ops *ops = w->ops;
  const struct ops_rows rows = norm_rows(s, l);
  float *dy = w->grad[l->out], *dx = w->grad[l->in];
  ops->norm_backward(ops, &rows, input(s, l->in), relu_of(s, l), l->relu, k->mean, k->inv_std,
                     s->flat + l->weight, dy, s->running ? dx : NULL, k->add, grad + l->weight,
                     grad + l->bias);
  if (s->running || !dx)
    return;
  const struct ops_rows back = {rows.rows, rows.c, rows.y_row, rows.x_row};
  memset(k->shift, 0, rows.c * sizeof *k->shift);
  ops->norm_apply(ops, &back, dy, k->scale, k->shift, k->add ? dx : NULL, false, dx);
}

static void backward_layer(const struct step *s, size_t i, float *grad)
{
  const struct net_work *w = s->work;
  const struct ops *ops = w->ops;
  const struct net_layer *l = &w->net->layers[i];
  const struct layer_work *k = &w->layers[i];
  const struct net_value *in = &w->net->values[l->in];
  const unsigned area = (unsigned)net_pixels(in);
  float *dy = w->grad[l->out], *dx = w->grad[l->in];
  switch (l->kind) {
  case LAYER_CONV:
    backward_conv(s, l, k->add, grad);
    break;
  case LAYER_DEPTHWISE:
    backward_depthwise(s, l, k->add, grad);
    break;
  case LAYER_BATCHNORM:
    norm_backward(s, l, k, grad);
    break;
  case LAYER_POOL:
    if (dx)
      ops->pool_backward(ops, s->n, area, in->c, dy, dx, k->add);
    break;
  case LAYER_AVERAGE:
    if (dx)
      ops->average_backward(ops, &l->conv, s->n, dy, dx, k->add);
    break;
  case LAYER_MAX:
    if (dx)
      ops->max_backward(ops, &l->conv, s->n, input(s, l->in), dy, dx, k->add);
    break;
  case LAYER_FLATTEN:
    if (dx)
      ops->flatten_backward(ops, s->n, area, in->c, dy, dx, k->add);
    break;
  case LAYER_LINEAR:
    ops->linear_backward(ops, s->n, in->c, w->net->values[l->out].c, input(s, l->in),
                         s->flat + l->weight, l->relu ? relu_of(s, l) : NULL, dy, dx, k->add,
                         grad + l->weight, grad + l->bias, w->scratch);
    break;
  case LAYER_EMBEDDING:
  case LAYER_LAYERNORM:
  case LAYER_DENSE:
  case LAYER_SCALED:
  case LAYER_ATTENTION:
  case LAYER_PATCHES:
  case LAYER_CLASS_TOKEN:
  case LAYER_FIRST_TOKEN:
    backward_token_layer(s, i, grad);
    break;
  case LAYER_HEAD:
    break;
  }
}

static float loss_gradient(const struct step *s, const int32_t *labels, float *grad)
{
  struct net_work *w = s->work;
  const unsigned logits = w->net->logits;
  assert(w->train && s->n > 0 && s->n <= w->max_batch);
  forward(s);
  const struct net_layer *head = net_head(w->net);
  const float loss =
      head ? w->ops->token_loss(w->ops, &head->dense, s->n * net_pixels(&w->net->values[head->in]),
                                w->value[head->in], s->flat + head->weight, labels,
                                w->grad[head->in], grad + head->weight, w->scratch)
           : w->ops->softmax_loss(w->ops, s->n, net_classes(w->net), w->value[logits], labels,
                                  w->grad[logits]);
  for (size_t i = w->net->n_layers; i-- > 0;)
    backward_layer(s, i, grad);
  return loss;
}

float net_loss_gradient(struct net_work *w, float *flat, const float *x, const int32_t *labels,
                        unsigned n, float *grad)
{
  return loss_gradient(&(struct step){.work = w,
                                      .flat = flat,
                                      .running = flat,
                                      .momentum = NORM_MOMENTUM,
                                      .x = x,
                                      .n = n},
                       labels, grad);
}

float net_inference_gradient(struct net_work *w, const float *flat, const float *x,
                             const int32_t *labels, unsigned n, float *grad)
{
  return loss_gradient(&(struct step){.work = w, .flat = flat, .x = x, .n = n}, labels, grad);
}

void net_record_relu(struct net_work *w, const float *flat, const float *x, unsigned n)
{
  const struct net_value *values = w->net->values;
  const struct step s = {.work = w, .flat = flat, .x = x, .n = n};
  assert(n > 0 && n <= w->max_batch);
  if (!w->open)
    w->open = arena_array(w->arena, w->net->n_values, sizeof *w->open);
  forward(&s);
  for (size_t i = 0; i < w->net->n_layers; i++) {
    const struct net_layer *l = &w->net->layers[i];
    const struct net_value *v = &values[l->out];
    const size_t row = values[v->whole].c, rows = n * net_pixels(v);
    if (!l->relu)
      continue;
    if (!w->open[l->out])
      w->open[l->out] = mem_alloc(w->max_batch * net_pixels(v) * row * sizeof **w->open);
    for (size_t r = 0; r < rows; r++)
      for (unsigned k = 0; k < v->c; k++)
        w->open[l->out][r * row + k] = w->value[l->out][r * row + k] > 0 ? 1 : 0;
  }
}

float net_fixed_relu_gradient(struct net_work *w, const float *flat, const float *x,
                              const int32_t *labels, unsigned n, float *grad)
{
  assert(w->open);
  return loss_gradient(&(struct step){.work = w, .flat = flat, .x = x, .n = n, .fixed = true},
                       labels, grad);
}

void net_logits(struct net_work *w, const float *flat, const float *x, unsigned n, float *logits)
{
  assert(n > 0 && n <= w->max_batch);
  const struct step s = {.work = w, .flat = flat, .x = x, .n = n};
  forward(&s);
  const struct net_layer *head = net_head(w->net);
  if (head)
    w->ops->dense_forward(w->ops, &head->dense, n * net_pixels(&w->net->values[head->in]),
                          w->value[head->in], flat + head->weight, NULL, NULL, logits, NULL,
                          w->scratch);
  else
    memcpy(logits, w->value[w->net->logits], (size_t)n * net_classes(w->net) * sizeof *logits);
}

void net_penultimate(struct net_work *w, const float *flat, const float *x, unsigned n,
                     float *features)
{
  assert(n > 0 && n <= w->max_batch);
  const struct step s = {.work = w, .flat = flat, .x = x, .n = n};
  forward(&s);
  const struct net_layer *head = net_head(w->net);
  if (head) {
    w->ops->pool_forward(w->ops, n, net_targets(w->net), net_features(w->net), w->value[head->in],
                         features);
    return;
  }
  /* No layer comes behind the classifier, so that its input is still there. */
  memcpy(features, input(&s, w->net->layers[w->net->n_layers - 1].in),
         (size_t)n * net_features(w->net) * sizeof *features);
}

void net_update_statistics(struct net_work *w, float *flat, const float *x, unsigned n,
                           float momentum)
{
  assert(n > 0 && n <= w->max_batch);
  const struct step s = {
      .work = w, .flat = flat, .running = flat, .momentum = momentum, .x = x, .n = n};
  forward(&s);
}

void net_visit(struct net_work *w, const float *flat, const float *x, unsigned n,
               net_visitor *visit, void *context)
{
  assert(n > 0 && n <= w->max_batch);
  const struct step s = {
      .work = w, .flat = flat, .x = x, .n = n, .visit = visit, .context = context};
  forward(&s);
}

void net_visit_rows(struct net_work *w, const float *flat, const float *x, unsigned n,
                    const bool *wanted, net_rows_visitor *visit, void *context)
{
  assert(n > 0 && n <= w->max_batch);
  const struct step s = {.work = w,
                         .flat = flat,
                         .x = x,
                         .n = n,
                         .visit_rows = visit,
                         .wanted = wanted,
                         .context = context};
  forward(&s);
}
