#include "engine/net_norm.h"

#include "engine/net_int.h"

/* The layer that makes the value, if it is a convolution whose output only one layer reads. */
static const struct net_layer *own_convolution(const struct net *net, unsigned value)
{
  const struct net_layer *made_by = NULL;
  unsigned readers = 0;
  if (net->values[value].whole != value)
    return NULL;
  for (size_t i = 0; i < net->n_layers; i++) {
    const struct net_layer *l = &net->layers[i];
    readers += (l->in == value) + (l->residual == value);
    if (l->out == value)
      made_by = l;
  }
  return made_by && made_by->kind == LAYER_CONV && readers == 1 ? made_by : NULL;
}

const struct net_norm *net_norms(struct arena *a, const struct net *net, size_t *n)
{
  struct net_norm *list = NULL;
  size_t cap = 0;
  *n = 0;
  for (size_t i = 0; i < net->n_layers; i++) {
    const struct net_layer *l = &net->layers[i];
    if (l->kind != LAYER_BATCHNORM)
      continue;
    const struct net_layer *conv = own_convolution(net, l->in);
    const struct net_norm norm = {
        .c = net->values[l->in].c,
        .weight = l->weight,
        .bias = l->bias,
        .mean = l->mean,
        .var = l->var,
        .conv = conv ? conv->weight : SIZE_MAX,
        .row = conv ? (size_t)conv->conv.ci * conv->conv.k * conv->conv.k : 0};
    ARENA_PUSH(a, list, *n, cap, norm);
  }
  return list;
}
