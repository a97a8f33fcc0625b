/* Fusing units by optimal transport: within a network, which makes it narrower, and of two
 * networks.
 *
 * The units of a group (engine/net_groups.h) are sources; m targets take them up.  A plan says how
 * much of each source goes to each target, at the least cost: the L1 distance of the units'
 * features, which are all weights that make the unit or read it, divided by their length.  A
 * target's own weights become the mean of its sources', weighted by the plan; what reads a source
 * reads its targets instead, by the shares that they have of it.  So units that are alike merge
 * without changing the function, however many are one.
 *
 * Batch norms are folded into the convolutions before them first, so that weights say what a unit
 * puts out; a norm without one of its own (DenseNet's first of a layer) counts as a scale and a
 * shift a channel.  Afterwards each has running statistics again, with which it computes what was
 * fused, and its scale and bias are the fused ones, so that recalibration makes sense.
 *
 * Of transformers feed-forward neurons are fused, within a network; the residual stream and heads
 * stay as they are.
 *
 * (Singh & Jaggi 2020; Theus et al. 2024, "Towards Meta-Pruning via Optimal Transport".) */
#ifndef MERGESCAPE_MERGE_FUSE_H
#define MERGESCAPE_MERGE_FUSE_H

#include "engine/net_groups.h"

enum fuse_method { FUSE_INTRA, FUSE_OT };

/* "intra_fusion", "ot_fusion"; false: another name. */
bool fuse_find(const char *name, enum fuse_method *);

/* A network, which of its units may be fused, and weights. */
struct fuse_model {
  const struct net *net;
  const struct net_groups *groups;
  const float *flat;
};

/* How important a unit is, of the weights that make it or read it: the sum of their magnitudes, or
 * the root of the sum of their squares (Li et al. 2017; Fang et al. 2023, for whole groups); or the
 * sum of |weight x gradient of the loss| (Molchanov et al. 2019), by how much to first order the
 * loss would change without each. */
enum fuse_importance { FUSE_L1, FUSE_L2, FUSE_TAYLOR };
/* "l1", "l2", "taylor"; false: another word. */
bool fuse_importance_find(const char *word, enum fuse_importance *);

/* What Theus et al. (2024) leave open; all 0 is their plain form. */
struct fuse_how {
  enum fuse_importance importance;
  /* Sources and targets count by their importance, instead of all the same.  A source without any
   * goes nowhere, and a target without any makes nothing. */
  bool marginals_by_importance;
  /* Group after group, in net_groups' order, each as those before it have left it; else all groups
   * are looked at as they are. */
  bool sequential;
  const double *gradient; /* taylor: of the loss, [net_params]; else not read */
};

/* Intra-Fusion (Theus et al. 2024, section 4): `from` as the narrower network `to`, whose flat is
 * not read.  Targets are the most important units of each group; of equal ones the first.  A group
 * that has no fewer units there stays as it is.
 * `carried`: NULL, or a model of the same widths whose weights are fused instead, by what was found
 * for `from`: it has another task's classifier, and so has `to`.
 * false: `to` is no narrower `from`, or weights are not finite (diagnostic). */
bool fuse_narrower(const struct fuse_model *from, const struct fuse_model *carried,
                   const struct fuse_how *, const struct fuse_model *to, float *out, struct diag *);

/* Fusion of two networks: the units of b are carried to those of a, whose number may be another,
 * and then (1 - alpha) a + alpha b, with norms folded.  All units count the same.  A group's
 * features are weights whose other ends have been carried already: in the first pass those that
 * come before it, and in the others all; it ends when a pass changes nothing, or after `passes`.
 * false: the networks are not the same but for their widths, or weights are not finite. */
bool fuse_pair(const struct fuse_model *a, const struct fuse_model *b, double alpha,
               unsigned passes, float *out, struct diag *);

#endif
