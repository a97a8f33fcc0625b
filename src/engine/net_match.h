/* Which tensors of a file are a network's. */
#ifndef MERGESCAPE_ENGINE_NET_MATCH_H
#define MERGESCAPE_ENGINE_NET_MATCH_H

#include "base/checkpoint.h"
#include "engine/net_int.h"
#include "engine/zoo_names.h"

/* A tensor of the file that must equal one of the network's. */
struct net_tied {
  const struct checkpoint_tensor *tensor;
  size_t same; /* of the network */
};

struct net_match {
  const struct checkpoint_tensor **of;    /* [n_tensors] of the network; NULL: missing */
  const struct checkpoint_tensor **again; /* a second one for the same, or NULL */
  const struct checkpoint_tensor **extra; /* not of this model */
  size_t n_extra, cap_extra;
  struct net_tied tied[ZOO_TIED];
  size_t n_tied;
  size_t wrapped; /* bytes before each name that a training framework put there */
  size_t found;   /* of the network's tensors */
};

/* By the names of zoo_names.h; where all of the file's begin with module., model. or
 * _orig_mod., these are left out. */
struct net_match net_match(struct arena *, const struct net *, const struct checkpoint *);

/* "bn1.running_var" -> "bn1.num_batches_tracked", which PyTorch keeps beside it; NULL: another
 * tensor. */
const char *net_tracked_name(struct arena *, const struct net_tensor *);

#endif
