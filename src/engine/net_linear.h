/* Layers whose output is a matrix times what they read: linear layers, and convolutions over
 * unfolded windows. */
#ifndef MERGESCAPE_ENGINE_NET_LINEAR_H
#define MERGESCAPE_ENGINE_NET_LINEAR_H

#include "engine/net.h"

struct net_linear {
  uint32_t tensor; /* the weight, number in net_tensors */
  size_t in, out;  /* of a convolution `in` is [channels][rows][columns] of its window */
  size_t rows;     /* that a sample has: 1, its tokens, or the pixels that are put out */
  bool in_first;   /* the weight is [in][out], not [out][in] */
  bool convolution;
};

/* In the order in which they work.  A head that is tied to an embedding is none, nor is a
 * depthwise convolution. */
const struct net_linear *net_linears(struct arena *, const struct net *, size_t *n);

/* rows [n][in]: some of what layer k of net_linears reads, a row a sample, token or pixel that it
 * puts out. */
typedef void net_rows_visitor(void *context, size_t k, size_t n, const float *rows);

/* A forward pass in inference mode that shows what each of these layers reads, or what those read
 * that are `wanted` (by layer; NULL: all), all rows of a layer together or in pieces. */
void net_visit_rows(struct net_work *, const float *flat, const float *x, unsigned n,
                    const bool *wanted, net_rows_visitor *, void *context);

#endif
