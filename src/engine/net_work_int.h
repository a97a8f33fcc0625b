/* A network at work: its memory (net_layout.c) and the walk over its layers (net_work.c). */
#ifndef MERGESCAPE_ENGINE_NET_WORK_INT_H
#define MERGESCAPE_ENGINE_NET_WORK_INT_H

#include "engine/net_int.h"
#include "engine/net_linear.h"

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

/* What the layer reads, x, as rows of the k-th of net_linears, if it is wanted; false: it is none
 * of them. */
bool net_show_rows(const struct net *, const struct net_layer *, const float *x, unsigned n,
                   size_t k, const bool *wanted, net_rows_visitor *, void *context);

static inline size_t net_pixels(const struct net_value *v)
{
  return (size_t)v->h * v->w;
}

#endif
