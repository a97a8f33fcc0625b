/* Norms without scales: what has to be done before a transformer's residual stream can be turned
 * (Ashkboos et al. 2024, section 3; Theus et al. 2025). */
#ifndef MERGESCAPE_ENGINE_NET_FOLD_H
#define MERGESCAPE_ENGINE_NET_FOLD_H

#include "engine/net_groups.h"

/* In place, for all streams that turn, without changing the function:
 *
 * - a layer norm's scale goes into the columns of the linear layers that read it, its bias into
 *   their biases.  Where one of them has no bias (a language model's head), the norm keeps a bias,
 *   divided by the scale;
 * - what linear layers and embeddings write has its mean over channels taken away: the norms would
 *   do so anyway.
 *
 * All norms then scale by 1, and only divide by the root of the mean square.  A head must not be
 * tied to the embedding.  false: a scale that a bias has to be divided by is 0 (diagnostic). */
bool net_fold(const struct net *, const struct net_groups *, float *flat, struct diag *);

#endif
