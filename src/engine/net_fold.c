#include "engine/net_fold.h"

#include "engine/net_int.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* Of what division of a bias would leave nothing. */
static const float smallest = 1e-6f;

static bool reads(const struct net_layer *reader, const struct net_layer *norm)
{
  return reader->in == norm->out;
}

static bool has_bias(const struct net_layer *l)
{
  return l->bias != SIZE_MAX;
}

/* bias += w shift, if it has one; then w's columns are scaled. */
static void fold_into(const struct net *net, const struct net_layer *l, bool takes_shift,
                      const float *scale, const float *shift, float *flat)
{
  const unsigned in = net->values[l->in].c, out = net->values[l->out].c;
  const bool in_first = l->kind == LAYER_DENSE && l->dense.in_first;
  assert(l->kind == LAYER_DENSE || l->kind == LAYER_LINEAR || l->kind == LAYER_HEAD);
  for (size_t o = 0; o < out; o++) {
    double moved = 0;
    for (size_t i = 0; i < in; i++) {
      float *w = flat + l->weight + (in_first ? i * out + o : o * in + i);
      moved += (double)*w * (double)shift[i];
      *w *= scale[i];
    }
    if (takes_shift)
      flat[l->bias + o] = (float)((double)flat[l->bias + o] + moved);
  }
}

static bool fold_norm(const struct net *net, const struct net_layer *norm, float *flat,
                      struct diag *diag)
{
  const unsigned c = net->values[norm->out].c;
  float *scale = flat + norm->weight, *shift = flat + norm->bias;
  bool keeps = false;
  for (size_t i = 0; i < net->n_layers; i++)
    keeps |= reads(&net->layers[i], norm) && !has_bias(&net->layers[i]);
  for (unsigned i = 0; keeps && i < c; i++) {
    if (fabsf(scale[i]) >= smallest || shift[i] == 0)
      continue;
    diag_error(diag, SPAN_NONE,
               "the last norm's scale of channel %u is %g: its bias cannot be given to the head", i,
               (double)scale[i]);
    diag_hint(diag, "match by permutations alone: `symmetries = permutations`");
    return false;
  }
  for (size_t i = 0; i < net->n_layers; i++)
    if (reads(&net->layers[i], norm))
      fold_into(net, &net->layers[i], !keeps, scale, shift, flat);
  for (unsigned i = 0; i < c; i++) {
    shift[i] = keeps && shift[i] != 0 ? shift[i] / scale[i] : 0;
    scale[i] = 1;
  }
  return true;
}

static void take_mean_away(const struct net_use *u, unsigned n, float *flat)
{
  for (size_t o = 0; o < u->outer; o++) {
    for (size_t t = 0; t < u->run; t++) {
      float *at = flat + u->offset + o * u->stride + t;
      double mean = 0;
      for (unsigned i = 0; i < n; i++)
        mean += (double)at[i * u->run] / n;
      for (unsigned i = 0; i < n; i++)
        at[i * u->run] = (float)((double)at[i * u->run] - mean);
    }
  }
}

static const struct net_layer *norm_of(const struct net *net, const struct net_use *u)
{
  for (size_t i = 0; u->role == NET_SCALES && i < net->n_layers; i++)
    if (net->layers[i].kind == LAYER_LAYERNORM && net->layers[i].weight == u->offset)
      return &net->layers[i];
  return NULL;
}

bool net_fold(const struct net *net, const struct net_groups *groups, float *flat,
              struct diag *diag)
{
  for (size_t g = 0; g < groups->n; g++) {
    const struct net_group *group = &groups->v[g];
    for (size_t k = 0; group->turns && k < group->n_uses; k++) {
      const struct net_use *u = &group->uses[k];
      const struct net_layer *norm = norm_of(net, u);
      if (norm && !fold_norm(net, norm, flat, diag))
        return false;
      if (u->role == NET_WRITES)
        take_mean_away(u, group->size, flat);
    }
  }
  return true;
}
