/* A checkpoint that net_load reads, written anew with some tensors changed: names, order, metadata
 * and all that is not of the network stay. */
#ifndef MERGESCAPE_ENGINE_NET_COPY_H
#define MERGESCAPE_ENGINE_NET_COPY_H

#include "base/checkpoint.h"
#include "engine/net.h"

/* What becomes of each tensor of the file.  i: the network's number for it (of a tied head the
 * embedding's), or SIZE_MAX. */
struct net_copier {
  void *context;
  /* `to` is the tensor as it is, for another type or shape; false: it is left out.
   * NULL: all stay as they are. */
  bool (*describe)(void *context, size_t i, struct safetensors_tensor *to);
  /* bytes [to->bytes] hold the file's where the size is the same, else zeros.  false: a
   * diagnostic was added. */
  bool (*fill)(void *context, size_t i, const struct safetensors_tensor *to, void *bytes,
               struct diag *);
};

/* shard_bytes: as of checkpoint_create; `also`: more metadata, or NULL.  false: a diagnostic; a
 * tensor that is kept and is for another size of images or texts than the network is one. */
bool net_copy_file(const struct net *, const struct net_copier *, const char *from, const char *to,
                   uint64_t shard_bytes, const struct safetensors_meta *also, struct diag *);

/* Has the file that size?  What net_copy_file would find late. */
bool net_copy_fits(const struct net *, const char *path, struct diag *);

/* The network's tensors are those of `flat`, as F32; the others stay. */
bool net_copy_weights(const struct net *, const float *flat, const char *from, const char *to,
                      uint64_t shard_bytes, const struct safetensors_meta *also, struct diag *);

#endif
