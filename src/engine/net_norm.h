/* Batch norms, and the convolutions that they can be folded into. */
#ifndef MERGESCAPE_ENGINE_NET_NORM_H
#define MERGESCAPE_ENGINE_NET_NORM_H

#include "engine/net.h"

#define NET_NORM_EPS 1e-5f /* beside the variance, as in PyTorch */

/* Offsets in the flat vector, of [c] each. */
struct net_norm {
  unsigned c;
  size_t weight, bias, mean, var;
  size_t conv; /* of the convolution [c][row] that nothing but this norm reads; SIZE_MAX: none */
  size_t row;
};

const struct net_norm *net_norms(struct arena *, const struct net *, size_t *n);

#endif
