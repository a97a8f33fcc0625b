/* Which channels of a network may be permuted without changing its function.
 *
 * A permutation group is a set of channels that layers make in one place and that are read
 * wherever they go in the same order: the units of a hidden layer, the channels of a residual
 * stage (all of whose additions tie them together), those that one layer adds to a dense block.
 * Any order of a group's channels computes the same function if every tensor axis that they lie
 * along is put in that order: outputs and inputs of linear layers and convolutions, biases,
 * norms and their running statistics (Ainsworth et al. 2023, section 2 and appendix A.4).
 * Of a transformer they are the channels of the residual stream, the feed-forward neurons of a
 * block, and its heads, each of which is one unit of many channels.
 * Channels of the input and logits have no group.
 *
 * Groups are derived from the list of layers, so that a new architecture of known layers needs
 * nothing here. */
#ifndef MERGESCAPE_ENGINE_NET_GROUPS_H
#define MERGESCAPE_ENGINE_NET_GROUPS_H

#include "engine/net.h"

/* What a tensor has to do with a group's channels. */
enum net_role {
  NET_WRITES, /* makes them: outputs and biases of linear layers, vectors of an embedding */
  NET_READS,  /* is multiplied by them */
  NET_SCALES, /* a norm's scale or variance, a filter: it belongs to one channel */
  NET_SHIFTS, /* a norm's bias or mean */
  NET_QUERIES,
  NET_KEYS,
  NET_VALUES, /* make these three of a head */
  NET_MIXES   /* reads what attention makes of a head's values */
};

/* Where a group lies along an axis of a tensor: channel i has the floats
 * flat[offset + o * stride + i * run + t] for o < outer and t < run. */
struct net_use {
  uint32_t tensor; /* number in net_tensors */
  unsigned axis; /* 0: the tensor's first; 1: another */
  enum net_role role;
  bool buffer; /* running statistics */
  size_t offset, outer, stride, run;
};

/* Where it lies in an activation, which net_visit names `value`: from channel `first` on, at
 * each of a sample's pixels, each unit with `run` channels (an attention head; else 1). */
struct net_place {
  unsigned value, first, pixels, run;
};

struct net_group {
  const char *name; /* of the tensor that makes it: "layer1.0.conv1.weight" */
  unsigned size;    /* channels, 2 or more */
  unsigned inner;   /* channels of an attention head, which is one unit here; else 1 */
  /* The residual stream of a transformer: linear layers and embeddings write its channels, and
   * only norms over all of them read them, whose outputs only linear layers read.  Where the norms
   * scale nothing, any rotation that leaves the mean over channels as it is keeps the function. */
  bool turns;
  /* Neurons with ReLU: linear layers make them, with bias, and linear layers alone read them.  What
   * makes one times s > 0, and what reads it divided by s, keeps the function. */
  bool relu;
  struct net_use *uses;
  size_t n_uses, cap_uses;
  struct net_place *places; /* outputs of activation functions; where there are none, of layers */
  size_t n_places, cap_places;
};

struct net_groups {
  struct net_group *v;
  size_t n;
};

/* NULL: the network has a layer whose symmetries are not known here (diagnostic). */
const struct net_groups *net_groups_new(struct arena *, const struct net *, struct diag *);

/* In place: channel perm[i] comes to place i. */
void net_permute_group(const struct net_group *, const uint32_t *perm, float *flat);
/* All groups; perms[g][i] for group g.  out may not be flat. */
void net_permute(const struct net *, const struct net_groups *, uint32_t *const *perms,
                 const float *flat, float *out);

/* A checkpoint that net_load reads, as another: channels permuted as net_permute does; names, types
 * and metadata stay.  shard_bytes: as of checkpoint_create.  `also`: more metadata, or NULL. */
struct safetensors_meta;
bool net_permute_file(const struct net *, const struct net_groups *, uint32_t *const *perms,
                      const char *from, const char *to, uint64_t shard_bytes,
                      const struct safetensors_meta *also, struct diag *);

#endif
