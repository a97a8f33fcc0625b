/* The memory of a network at work.
 *
 * Time in a step: layer i runs forward at i, the loss at n, layer i backward at
 * 2 n - i.  Buffers are planned over these times (net_plan.c).
 *
 * Gradients share buffers where an operation allows it: a batch norm's input
 * gradient overwrites its output gradient, unless that is also the gradient of
 * the residual added there. */
#include "engine/net_work_int.h"

#include <assert.h>
#include <stdlib.h>

struct planner {
  const struct net *net;
  unsigned n;                                /* layers */
  struct net_buffer *values, *grads, *saved; /* saved: by layer */
  unsigned *root;                            /* whose gradient buffer a value uses */
  bool *written;                             /* has a gradient, going backward */
  size_t activations;                        /* floats that all of these need */
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
    touch(&p->values[whole], max_batch * net_pixels(v) * v->c, time);
}

static void touch_grad(struct planner *p, unsigned max_batch, unsigned value, unsigned time)
{
  const unsigned whole = p->net->values[value].whole;
  const struct net_value *v = &p->net->values[whole];
  touch(&p->grads[p->root[whole]], max_batch * net_pixels(v) * v->c, time);
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
  const size_t rows = net_pixels(&net->values[l->in]);
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
      need = ops->token_loss_scratch(ops, max_batch * net_pixels(&net->values[l->in]), &l->dense);
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

/* Where everything lies; nothing is allocated for it yet. */
static struct planner lay_out(struct net_work *w)
{
  const struct net *net = w->net;
  const size_t n = net->n_values, n_buffers = 2 * n + net->n_layers;
  struct net_buffer *buffers = arena_array(w->arena, n_buffers, sizeof *buffers);
  struct planner p = {.net = net,
                      .n = (unsigned)net->n_layers,
                      .values = buffers,
                      .grads = buffers + n,
                      .saved = buffers + 2 * n,
                      .root = arena_array(w->arena, n, sizeof *p.root),
                      .written = arena_array(w->arena, n, sizeof *p.written)};
  for (unsigned i = 0; i < n; i++)
    p.root[i] = i;
  w->layers = arena_array(w->arena, net->n_layers, sizeof *w->layers);
  plan_forward(&p, w->max_batch);
  if (w->train)
    plan_backward(&p, w->max_batch, w->layers);
  p.activations = net_plan_memory(w->arena, buffers, n_buffers);
  w->floats = p.activations + norm_floats(net) + scratch_floats(net, w->ops, w->max_batch);
  return p;
}

size_t net_work_need(const struct net *net, const struct ops *ops, unsigned max_batch, bool train)
{
  struct net_work w = {
      .net = net, .ops = ops, .arena = arena_new(), .max_batch = max_batch, .train = train};
  lay_out(&w);
  const size_t bytes = net_work_bytes(&w);
  arena_free(w.arena);
  return bytes;
}

struct net_work *net_work_new(const struct net *net, const struct ops *ops, unsigned max_batch,
                              bool train)
{
  struct arena *arena = arena_new();
  struct net_work *w = arena_alloc(arena, sizeof *w);
  const size_t n = net->n_values;
  *w = (struct net_work){
      .net = net, .ops = ops, .arena = arena, .max_batch = max_batch, .train = train};
  const struct planner p = lay_out(w);
  w->value = arena_array(arena, n, sizeof *w->value);
  w->grad = arena_array(arena, n, sizeof *w->grad);
  w->memory = mem_alloc(w->floats * sizeof *w->memory);
  for (size_t i = 1; i < n; i++) {
    const struct net_value *v = &net->values[i];
    w->value[i] = w->memory + p.values[v->whole].offset + v->first;
    w->grad[i] =
        train && v->gradient ? w->memory + p.grads[p.root[v->whole]].offset + v->first : NULL;
  }
  for (size_t i = 0; i < net->n_layers; i++)
    w->layers[i].saved = p.saved[i].floats ? w->memory + p.saved[i].offset : NULL;
  place_norms(w, w->memory + p.activations);
  w->scratch = w->memory + p.activations + norm_floats(net);
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
