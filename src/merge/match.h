/* Permuting the channels of one network so that it fits another: three ways to find the
 * permutations, of which all leave the network's function as it is.
 *
 * Permutations are perms[g][i], of group g of the network (engine/net_groups.h): which channel
 * of `from` comes to place i. */
#ifndef MERGESCAPE_MERGE_MATCH_H
#define MERGESCAPE_MERGE_MATCH_H

#include "engine/data.h"
#include "engine/net_groups.h"
#include "engine/ops.h"

enum match_method { MATCH_WEIGHTS, MATCH_ACTIVATIONS, MATCH_LEARNED };

/* "weight_matching", "activation_matching", "learned_matching"; false: another name. */
bool match_find(const char *name, enum match_method *);

/* Two weight vectors of one network. */
struct match {
  const struct ops *ops;
  const struct net *net;
  const struct net_groups *groups;
  const float *to;   /* stays as it is */
  const float *from; /* is permuted */
};

uint32_t **match_identity(struct arena *, const struct net_groups *);

struct match_search {
  unsigned passes;   /* most passes over all groups */
  unsigned restarts; /* searches, of which the best is kept; 1 or more */
  uint64_t seed;     /* of the order of groups, and of where the second search on begins */
};

/* Weight matching (Ainsworth et al. 2023, section 3.2): the permutations with the largest inner
 * product of the trainable weights of `to` with those of the permuted `from`, by coordinate
 * ascent.  In each pass every group in turn, in random order, gets the best permutation for what
 * the others are (a linear assignment); a search ends with a pass that gains nothing (1e-12 of
 * the product of the vectors' lengths).  The first search begins with `perms`, the others with
 * random ones; perms becomes the best.  Assignments are exact for gains that are rounded to about
 * a float's precision; the product, in double, never falls.  Returns the product.
 * Weights must be finite. */
double match_weights(const struct match *, const struct match_search *, uint32_t **perms);

/* Activation matching (Li et al. 2016; Jordan et al. 2023): a group's units are assigned so that
 * the sum of the correlations of their activations is the largest, over pixels and up to
 * `samples` training samples, evenly spaced, without augmentation.  Activations are those behind
 * the activation function; where several layers share a group, their correlations are added up.
 * A unit that does not vary is correlated with none.  `work` is for `batch` samples.
 * false: an activation is not finite (diagnostic). */
bool match_activations(const struct match *, struct net_work *, unsigned batch,
                       const struct data_set *, unsigned samples, uint32_t **perms, struct diag *);

struct match_learning {
  struct match_search search; /* the first projection; the others go on from the last */
  unsigned epochs, batch;
  double lr, momentum; /* of SGD */
};

/* Learned matching, by the straight-through estimator (Ainsworth et al. 2023, section 3.3).
 * Free weights start at `to`.  For each batch `from` is projected onto them (weight matching from
 * where the last batch ended); the gradient of the loss at the midpoint of `to` and the permuted
 * `from`, with respect to the latter, moves the free weights.  Training samples, no augmentation;
 * batch norm uses the batch's statistics.  perms becomes the permutation whose midpoint had the
 * lowest loss on the same MATCH_LEARNED_SAMPLES training samples, looked at after the first
 * projection and MATCH_LEARNED_LOOKS times an epoch: so it is never worse there than weight
 * matching.  `work` is for training, for `batch` samples.  Returns that loss, NaN where none was
 * finite. */
double match_learned(const struct match *, const struct match_learning *, struct net_work *,
                     const struct data_set *, uint32_t **perms);

enum { MATCH_LEARNED_SAMPLES = 1024, MATCH_LEARNED_LOOKS = 4 };

/* ---- symmetries of transformers beyond permutations ----
 *
 * After Theus et al. 2025, "Generalized Linear Mode Connectivity for Transformers".  Beside the
 * order of neurons and heads, a transformer's function leaves open how its residual stream is
 * turned (orthogonal maps) and what basis a head has inside, for queries and keys, and for values
 * (invertible maps); where the feed-forward part has ReLU, also semi-permutations of its neurons.
 *
 * Semi-permutations: as relu(s x) = s relu(x) for s > 0, a neuron's incoming weights and bias b may
 * be multiplied by s and its outgoing weights d divided by it; and it may be k neurons, with s_i b
 * and (w_i / s_i) d, for any s_i, w_i > 0 with w_1 + ... + w_k = 1.  Here a neuron has one place
 * and one scale (a matrix with one positive entry in each row and column), but that parts of it
 * take the places of dead neurons, which no function sees: those with no incoming weights and a
 * bias not above 0, or without outgoing weights.  So the incoming side has one positive entry in
 * each row, and columns of dead neurons are empty.  Left out: to make one neuron of several whose
 * incoming weights point the same way, for trained ones do not.
 *
 * Heads are matched one to one, for mixing them keeps no function.  A layer's attention is the sum
 * over heads h of A_h X C_h: A_h are probabilities, which depend on the head's circuit QK and X,
 * and C_h is its circuit OV.  Heads with other probabilities A'_h and mixtures sum_j M_hj C_j of
 * the old circuits make the same of every X, where the C_j are linearly independent, only if A_j =
 * sum_h M_hj A'_h for every j.  Between two tokens a probability is the logistic function of the
 * difference of their scores; as a function of that difference it has poles, which lie elsewhere
 * for heads that score differently.  So the sum has one term, with factor 1: M has a single 1 in
 * each column, and as there are as many different heads as before, it is a permutation.  (A head
 * can be divided, as a neuron can, but only where another one is dead.)  Nor has a head a scale:
 * that of QK is the temperature of its attention, and that of OV is balanced below.
 *
 * Maps are found between, and applied to, weights in canonical form, in which the choices that
 * interpolation could not undo are made: norms scale nothing and what is written has no mean
 * (engine/net_fold.h), a language model's head is not tied (net_spec.untied), a head's queries and
 * keys are balanced, as are its values and outputs, and keys have no bias; of a neuron with ReLU
 * incoming weights with bias are as long as outgoing ones, and all are 0 where it is dead.  What is
 * left of the invertible maps are rotations.  CLIP's stream begins with a norm, whose output cannot
 * be turned; a linear layer behind it (net_spec.turned) makes two streams that can, before the norm
 * and behind it.  Without that layer, which files for other programs cannot have, its channels are
 * permuted. */

/* The weights of `from` for the canonical network `to`, which is the same but for `untied` and
 * `turned`, with its groups; `from` may be `to`.  The function stays.  false: a diagnostic. */
bool match_canonical(const struct net *from, const float *flat, const struct net *to,
                     const struct net_groups *, float *out, struct diag *);

/* Does a network have heads?  Where it has none, permutations are all there is. */
bool match_has_heads(const struct net_groups *);

struct match_maps;
struct match_maps *match_maps_new(struct arena *, const struct net_groups *); /* identities */
void match_maps_copy(const struct match_maps *from, struct match_maps *to);
/* The weights of `flat`, mapped; count: floats. */
void match_map(const struct match_maps *, const float *flat, size_t count, float *out);

/* Weight matching: `maps` becomes the maps with the smallest distance of the mapped `from` from
 * `to`, of at most `passes` (15 in the article).  In each pass the stream is turned by the singular
 * vectors of its stacked readers and writers (in the first pass only of those that neither heads
 * nor neurons touch: embeddings, head and biases); then heads are assigned by the distance of their
 * products QK and OV and turned inside to fit, and neurons are assigned by the distance of their
 * normalised weights.  Those with ReLU are assigned by the distance of incoming and outgoing
 * weights, each pair with the scale where it is smallest; then each dead neuron that was assigned
 * gets the part of another one that lowers the distance most, and parts of one are evened out.  All
 * but the first of the `restarts` begin with heads and neurons in random order and heads turned at
 * random inside, to which the stream is fitted first.  Both models are canonical and finite.
 * Returns half of what the squared distance is less than the sum of the squared lengths of `to` and
 * `from`: the inner product, where no scale changes lengths. */
double match_general(const struct match *, const struct match_search *, struct match_maps *maps);

/* Learned matching: free matrices start at what weight matching finds, and the maps are the
 * nearest to them: of a rotation the polar factor, through which the gradient goes exactly; of an
 * order the best assignment, whose gradient goes straight through; of a scale it is the
 * exponential, and parts of neurons stay as weight matching has them.  A batch's loss is taken at a
 * share of the mapped `from` drawn from (0.4, 0.6), and Adam moves the matrices (`momentum` is its
 * first decay; the second is 0.999).  Where another head or neuron comes to a place, the
 * map inside or the scale is fitted to its weights.  maps becomes the best at the midpoint of those
 * looked at, as with match_learned, and so is never worse there than weight matching.  Returns that
 * loss. */
double match_general_learned(const struct match *, const struct match_learning *, struct net_work *,
                             const struct data_set *, struct match_maps *maps);

/* Do two weight vectors compute the same function?  Each has its own work, which may be the same;
 * `net` is the first's network.  Logits of random inputs may differ by 1e-5 of the largest, or of
 * 1; of a network that rounding upsets more, such as one that has hardly been trained at a large
 * learning rate, by MATCH_UNREST times what moving each weight by its last place does to it.
 * false: a diagnostic. */
bool match_same_function(const struct net *net, struct net_work *of_a, const float *a,
                         struct net_work *of_b, const float *b, struct diag *);
enum { MATCH_CHECKED = 8 }; /* samples of either work, at least */
enum { MATCH_UNREST = 8 };

/* Floating-point operations of one pass of weight matching, assignments left out; and of the
 * correlations of a sample's activations. */
double match_pass_flops(const struct net_groups *);
double match_sample_flops(const struct net_groups *);

#endif
