/* Walking over a network's layers, forward and backward.
 *
 * Time in a step: layer i runs forward at i, the loss at n, layer i backward at
 * 2 n - i.  Buffers are planned over these times (net_plan.c).
 *
 * Gradients share buffers where an operation allows it: a batch norm's input
 * gradient overwrites its output gradient, unless that is also the gradient of
 * the residual added there. */
#include "engine/net_int.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float NORM_EPS = 1e-5f, NORM_MOMENTUM = 0.1f;

struct layer_work {
  /* Transformers, kept for the backward pass: a layer norm's mean and inv_std [2][rows], a
   * dense layer's slope, attention's log_sum.  NULL: not a training work. */
  float *saved;
  float *mean, *inv_std, *scale, *shift; /* batch norm, [c] each */
  bool add;                              /* the input's gradient has a part already */
};

struct net_work {
  const struct net *net;
  const struct ops *ops;
  struct arena *arena;
  unsigned max_batch;
  bool train;
  float *memory, *scratch;
  size_t floats;
  float **value, **grad; /* by value; grad NULL: not wanted */
  struct layer_work *layers;
  float **open; /* by value: 1 where its ReLU lets through, 0 elsewhere; NULL: not recorded */
};

static size_t pixels(const struct net_value *v)
{
  return (size_t)v->h * v->w;
}

struct planner {
  const struct net *net;
  unsigned n;                                /* layers */
  struct net_buffer *values, *grads, *saved; /* saved: by layer */
  unsigned *root;                            /* whose gradient buffer a value uses */
  bool *written;                             /* has a gradient, going backward */
};

static void touch(struct net_buffer *b, size_t floats, unsigned time)
{
  if (!b->floats) {
    b->floats = floats;
    b->first = b->last = time;
  }
  b->first = time < b->first ? time : b->first;
  b->last = time > b->last ? time : b->last;
}

static void touch_value(struct planner *p, unsigned max_batch, unsigned value, unsigned time)
{
  const unsigned whole = p->net->values[value].whole;
  const struct net_value *v = &p->net->values[whole];
  if (value)
    touch(&p->values[whole], max_batch * pixels(v) * v->c, time);
}

static void touch_grad(struct planner *p, unsigned max_batch, unsigned value, unsigned time)
{
  const unsigned whole = p->net->values[value].whole;
  const struct net_value *v = &p->net->values[whole];
  touch(&p->grads[p->root[whole]], max_batch * pixels(v) * v->c, time);
}

static void plan_forward(struct planner *p, unsigned max_batch)
{
  for (unsigned i = 0; i < p->n; i++) {
    const struct net_layer *l = &p->net->layers[i];
    touch_value(p, max_batch, l->in, i);
    if (l->kind != LAYER_HEAD)
      touch_value(p, max_batch, l->out, i);
    if (l->residual != NET_NONE)
      touch_value(p, max_batch, l->residual, i);
  }
  const struct net_layer *head = net_head(p->net);
  touch_value(p, max_batch, head ? head->in : p->net->logits, p->n);
}

static size_t saved_floats(const struct net *net, const struct net_layer *l)
{
  const size_t rows = pixels(&net->values[l->in]);
  switch (l->kind) {
  case LAYER_LAYERNORM:
    return 2 * rows;
  case LAYER_DENSE:
    return l->dense.act == OPS_IDENTITY ? 0 : rows * l->dense.out;
  case LAYER_ATTENTION:
    return rows * l->attention.heads;
  default:
    return 0;
  }
}

/* A batch norm is the last reader of its residual but for earlier layers: no
 * architecture here needs more.  Where a later layer read its input too (in a dense
 * block), or its output is a part of something, its input's gradient lies elsewhere. */
static void share_norm(struct planner *p, const struct net_layer *l)
{
  const unsigned in = p->net->values[l->in].whole;
  const bool shared = l->residual != NET_NONE && p->net->values[l->residual].gradient;
  if (shared) {
    assert(!p->written[l->residual]);
    p->root[l->residual] = p->root[l->out];
    p->written[l->residual] = true;
  } else if (!p->written[in] && p->net->values[l->out].whole == l->out) {
    p->root[in] = p->root[l->out];
  }
  assert(p->written[in] || in == l->in);
}

/* The gradient of what is added is that of the sum, until earlier layers add to it. */
static void share_residual(struct planner *p, const struct net_layer *l)
{
  if (l->residual == NET_NONE)
    return;
  assert(!p->written[l->residual]);
  p->root[l->residual] = p->root[l->out];
  p->written[l->residual] = true;
}

/* Which values a layer reads again, going backward. */
static bool reads_input(enum net_layer_kind kind)
{
  return kind == LAYER_CONV || kind == LAYER_LINEAR || kind == LAYER_BATCHNORM ||
         kind == LAYER_MAX || kind == LAYER_LAYERNORM || kind == LAYER_DENSE ||
         kind == LAYER_SCALED || kind == LAYER_DEPTHWISE || kind == LAYER_ATTENTION;
}

static void plan_backward(struct planner *p, unsigned max_batch, struct layer_work *work)
{
  const struct net_layer *head = net_head(p->net);
  const unsigned last = head ? head->in : p->net->logits;
  touch_grad(p, max_batch, last, p->n);
  p->written[last] = head != NULL;
  for (unsigned i = p->n; i-- > 0;) {
    const struct net_layer *l = &p->net->layers[i];
    const unsigned time = 2 * p->n - i;
    const unsigned in = p->net->values[l->in].whole;
    if (l == head)
      continue;
    if (reads_input(l->kind))
      touch_value(p, max_batch, l->in, time);
    const size_t saved = max_batch * saved_floats(p->net, l);
    if (saved) {
      touch(&p->saved[i], saved, i);
      touch(&p->saved[i], saved, time);
    }
    if (l->relu || l->kind == LAYER_ATTENTION)
      touch_value(p, max_batch, l->out, time);
    if (p->net->values[l->out].gradient)
      touch_grad(p, max_batch, l->out, time);
    if (!p->net->values[l->in].gradient)
      continue;
    if (l->kind == LAYER_BATCHNORM)
      share_norm(p, l);
    else if (l->kind == LAYER_DENSE || l->kind == LAYER_SCALED)
      share_residual(p, l);
    work[i].add = p->written[in];
    p->written[in] = true;
    touch_grad(p, max_batch, l->in, time);
  }
}

static size_t norm_floats(const struct net *net)
{
  size_t floats = 0;
  for (size_t i = 0; i < net->n_layers; i++) {
    if (net->layers[i].kind == LAYER_BATCHNORM)
      floats += 4 * (size_t)net->values[net->layers[i].in].c;
  }
  return (floats + 15) & ~(size_t)15;
}

static size_t scratch_floats(const struct net *net, const struct ops *ops, unsigned max_batch)
{
  size_t most = 0;
  for (size_t i = 0; i < net->n_layers; i++) {
    const struct net_layer *l = &net->layers[i];
    size_t need = 0;
    if (l->kind == LAYER_CONV)
      need = ops->conv_scratch(ops, &l->conv, max_batch);
    else if (l->kind == LAYER_DEPTHWISE)
      need = ops->depthwise_scratch(ops, &l->depthwise);
    else if (l->kind == LAYER_DENSE)
      need = ops->dense_scratch(ops, &l->dense);
    else if (l->kind == LAYER_SCALED)
      need = ops->scaled_scratch(ops, &l->dense);
    else if (l->kind == LAYER_LINEAR)
      need = ops->dense_scratch(ops, &(struct ops_dense){.in = net->values[l->in].c,
                                                         .out = net->values[l->out].c});
    else if (l->kind == LAYER_ATTENTION)
      need = ops->attention_scratch(ops, &l->attention);
    else if (l->kind == LAYER_HEAD)
      need = ops->token_loss_scratch(ops, max_batch * pixels(&net->values[l->in]), &l->dense);
    most = need > most ? need : most;
  }
  return most;
}

static void place_norms(struct net_work *w, float *at)
{
  for (size_t i = 0; i < w->net->n_layers; i++) {
    if (w->net->layers[i].kind != LAYER_BATCHNORM)
      continue;
    const unsigned c = w->net->values[w->net->layers[i].in].c;
    struct layer_work *l = &w->layers[i];
    l->mean = at;
    l->inv_std = at + c;
    l->scale = at + 2 * c;
    l->shift = at + 3 * c;
    at += 4 * c;
  }
}

struct net_work *net_work_new(const struct net *net, const struct ops *ops, unsigned max_batch,
                              bool train)
{
  struct arena *arena = arena_new();
  struct net_work *w = arena_alloc(arena, sizeof *w);
  const size_t n = net->n_values;
  *w = (struct net_work){
      .net = net, .ops = ops, .arena = arena, .max_batch = max_batch, .train = train};
  w->value = arena_array(arena, n, sizeof *w->value);
  w->grad = arena_array(arena, n, sizeof *w->grad);
  w->layers = arena_array(arena, net->n_layers, sizeof *w->layers);
  const size_t n_buffers = 2 * n + net->n_layers;
  struct net_buffer *buffers = arena_array(arena, n_buffers, sizeof *buffers);
  struct planner p = {.net = net,
                      .n = (unsigned)net->n_layers,
                      .values = buffers,
                      .grads = buffers + n,
                      .saved = buffers + 2 * n,
                      .root = arena_array(arena, n, sizeof *p.root),
                      .written = arena_array(arena, n, sizeof *p.written)};
  for (unsigned i = 0; i < n; i++)
    p.root[i] = i;
  plan_forward(&p, max_batch);
  if (train)
    plan_backward(&p, max_batch, w->layers);
  const size_t activations = net_plan_memory(arena, buffers, n_buffers);
  const size_t norms = norm_floats(net);
  w->floats = activations + norms + scratch_floats(net, ops, max_batch);
  w->memory = mem_alloc(w->floats * sizeof *w->memory);
  for (size_t i = 1; i < n; i++) {
    const struct net_value *v = &net->values[i];
    w->value[i] = w->memory + p.values[v->whole].offset + v->first;
    w->grad[i] =
        train && v->gradient ? w->memory + p.grads[p.root[v->whole]].offset + v->first : NULL;
  }
  for (size_t i = 0; i < net->n_layers; i++)
    w->layers[i].saved = p.saved[i].floats ? w->memory + p.saved[i].offset : NULL;
  place_norms(w, w->memory + activations);
  w->scratch = w->memory + activations + norms;
  return w;
}

void net_work_free(struct net_work *w)
{
  if (!w)
    return;
  for (size_t i = 0; w->open && i < w->net->n_values; i++)
    free(w->open[i]);
  free(w->memory);
  arena_free(w->arena);
}

size_t net_work_bytes(const struct net_work *w)
{
  return w->floats * sizeof *w->memory + arena_bytes(w->arena);
}

struct step {
  struct net_work *work;
  const float *flat;
  float *running; /* the same vector when statistics move; NULL: inference */
  float momentum;
  const float *x;
  unsigned n;
  net_visitor *visit; /* NULL: nobody looks on */
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
  return (struct ops_rows){s->n * pixels(in), in->c, values[in->whole].c,
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
    k->inv_std[i] = 1 / sqrtf(var[i] + NORM_EPS);
    k->scale[i] = gamma[i] * k->inv_std[i];
    k->shift[i] = beta[i] - mean[i] * k->scale[i];
  }
  ops->norm_apply(ops, &rows, x, k->scale, k->shift,
                  l->residual == NET_NONE ? NULL : input(s, l->residual), l->relu && !s->fixed,
                  s->work->value[l->out]);
}

static void forward_token_layer(const struct step *s, size_t i)
{
  const struct net_work *w = s->work;
  const struct ops *ops = w->ops;
  const struct net_layer *l = &w->net->layers[i];
  const struct net_value *in = &w->net->values[l->in];
  const size_t rows = s->n * pixels(in);
  const float *x = input(s, l->in), *weight = s->flat + l->weight;
  const float *bias = l->bias == SIZE_MAX ? NULL : s->flat + l->bias;
  float *y = w->value[l->out], *saved = w->layers[i].saved;
  if (l->kind == LAYER_EMBEDDING)
    ops->embedding_forward(ops, s->n, in->w, w->net->values[l->out].c, x, weight, bias, y);
  else if (l->kind == LAYER_LAYERNORM)
    ops->layernorm_forward(ops, rows, in->c, l->eps, x, weight, bias, y, saved,
                           saved ? saved + rows : NULL);
  else if (l->kind == LAYER_DENSE)
    ops->dense_forward(ops, &l->dense, rows, x, weight, bias,
                       l->residual == NET_NONE ? NULL : input(s, l->residual), y, saved,
                       w->scratch);
  else if (l->kind == LAYER_SCALED)
    ops->scaled_forward(ops, &l->dense, rows, x, weight, bias, s->flat + l->scale,
                        input(s, l->residual), y, w->scratch);
  else if (l->kind == LAYER_ATTENTION)
    ops->attention_forward(ops, &l->attention, s->n, x, y, saved, w->scratch);
  else if (l->kind == LAYER_PATCHES)
    ops->patches_forward(ops, &l->patches, s->n, x, y);
  else if (l->kind == LAYER_CLASS_TOKEN)
    ops->class_token_forward(ops, s->n, (unsigned)pixels(in) + 1, in->c, x, weight, bias, y);
  else if (l->kind == LAYER_FIRST_TOKEN)
    ops->first_token_forward(ops, s->n, (unsigned)pixels(in), in->c, x, y);
}

static void backward_token_layer(const struct step *s, size_t i, float *grad)
{
  const struct net_work *w = s->work;
  const struct ops *ops = w->ops;
  const struct net_layer *l = &w->net->layers[i];
  const struct net_value *in = &w->net->values[l->in];
  const size_t rows = s->n * pixels(in);
  const bool add = w->layers[i].add;
  const float *x = input(s, l->in), *weight = s->flat + l->weight, *saved = w->layers[i].saved;
  float *dy = w->grad[l->out], *dx = w->grad[l->in];
  float *dweight = grad + l->weight, *dbias = l->bias == SIZE_MAX ? NULL : grad + l->bias;
  if (l->kind == LAYER_EMBEDDING) /* the tied head has set dweight */
    ops->embedding_backward(ops, s->n, in->w, w->net->values[l->out].c, x, dy, dweight, dbias);
  else if (l->kind == LAYER_LAYERNORM)
    ops->layernorm_backward(ops, rows, in->c, x, saved, saved + rows, weight, dy, dx, add, dweight,
                            dbias);
  else if (l->kind == LAYER_DENSE)
    ops->dense_backward(ops, &l->dense, rows, x, weight, saved, dy, dx, add, dweight, dbias,
                        w->scratch);
  else if (l->kind == LAYER_SCALED)
    ops->scaled_backward(ops, &l->dense, rows, x, weight, s->flat + l->bias, s->flat + l->scale, dy,
                         dx, add, dweight, dbias, grad + l->scale, w->scratch);
  else if (l->kind == LAYER_ATTENTION)
    ops->attention_backward(ops, &l->attention, s->n, x, w->value[l->out], saved, dy, dx,
                            w->scratch);
  else if (l->kind == LAYER_PATCHES && dx)
    ops->patches_backward(ops, &l->patches, s->n, dy, dx, add);
  else if (l->kind == LAYER_CLASS_TOKEN)
    ops->class_token_backward(ops, s->n, (unsigned)pixels(in) + 1, in->c, dy, dx, add, dweight,
                              dbias);
  else if (l->kind == LAYER_FIRST_TOKEN)
    ops->first_token_backward(ops, s->n, (unsigned)pixels(in), in->c, dy, dx, add);
}

static void show(const struct step *s, unsigned value)
{
  const struct net_value *values = s->work->net->values, *v = &values[value];
  const struct net_activation shown = {s->work->value[value], s->n * pixels(v), v->c,
                                       values[v->whole].c};
  s->visit(s->context, value, &shown);
}

/* What a value's ReLU let through when it was recorded. */
static void let_through(const struct step *s, unsigned value)
{
  const struct net_value *values = s->work->net->values, *v = &values[value];
  const size_t rows = s->n * pixels(v), row = values[v->whole].c;
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
  for (size_t i = 0; i < w->net->n_layers; i++) {
    const struct net_layer *l = &w->net->layers[i];
    const struct net_value *in = &w->net->values[l->in];
    const float *x = input(s, l->in);
    float *y = w->value[l->out];
    const unsigned area = (unsigned)pixels(in);
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
  w->ops->depthwise_backward_weights(w->ops, &l->depthwise, s->n, input(s, l->in), dy,
                                     grad + l->weight, grad + l->bias, w->scratch);
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
  const unsigned area = (unsigned)pixels(in);
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
      head ? w->ops->token_loss(w->ops, &head->dense, s->n * pixels(&w->net->values[head->in]),
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
    const size_t row = values[v->whole].c, rows = n * pixels(v);
    if (!l->relu)
      continue;
    if (!w->open[l->out])
      w->open[l->out] = mem_alloc(w->max_batch * pixels(v) * row * sizeof **w->open);
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
    w->ops->dense_forward(w->ops, &head->dense, n * pixels(&w->net->values[head->in]),
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
