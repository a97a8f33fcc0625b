/* What the ways of matching by general symmetries share. */
#ifndef MERGESCAPE_MERGE_MATCH_INT_H
#define MERGESCAPE_MERGE_MATCH_INT_H

#include "merge/match.h"

/* Maps, by group; NULL where a group has none of the kind. */
struct match_maps {
  const struct net_groups *groups;
  uint32_t **perms;  /* [n]; of a group that turns it stays as it is */
  double **turn;     /* [n][n]: channels c become turn c */
  double **qk, **ov; /* [n][inner][inner]: of the head that comes to a place */
  /* Of neurons with ReLU.  Neuron j is made `share` of neuron source[j], which is j itself but for
   * dead ones, in whose place a part of another one is; shares of one source sum to 1.  Then perms
   * puts them in order, and what makes the one that comes to place i is multiplied by scale[i]. */
  uint32_t **source;
  double **share, **scale; /* [n] */
};

/* Does a map of the group mix its uses' rows? */
bool match_turns(const struct net_use *);
/* Is it a feed-forward neuron's or a head's, not the stream's? */
bool match_is_inner(const struct net_group *);

/* Copies all but what takes the place of dead neurons. */
void match_maps_move(const struct match_maps *from, struct match_maps *to);

/* In place: parts of neurons in the place of dead ones. */
void match_split(const struct match_maps *, float *flat);
/* In place, but for these: the maps of the inner groups, or of the others, or of all but one. */
void match_apply(const struct match_maps *, bool inner, float *flat);
void match_apply_but(const struct match_maps *, size_t group, float *flat);

/* sum [n][n] += inner products of a's rows and b's, a row being what channel i has of the use. */
void match_add_products(const struct net_use *, unsigned n, const float *a, const float *b,
                        double *sum);

/* What all uses of `role` have of unit h, as a matrix [inner][columns]; returns columns
 * (rows NULL: nothing else). */
size_t match_head_rows(const struct net_group *, enum net_role, const float *flat, unsigned h,
                       double *rows);
/* And back. */
void match_put_head_rows(const struct net_group *, enum net_role, const double *rows, unsigned h,
                         float *flat);

/* The rotation with the largest inner product with `gains` [n][n] of those that leave the mean
 * over channels as it is; u, s, vt as svd_polar's, n x n, may be NULL.  gains is changed.
 * false: not finite. */
bool match_polar(unsigned n, double *gains, double *turn, double *u, double *s, double *vt);

/* From the gradient with respect to that rotation to that with respect to the gains. */
void match_polar_gradient(unsigned n, const double *u, const double *s, const double *vt,
                          double *grad);

/* ---- neurons ---- */

/* Neurons by their weights: order, splits and scales. */
void match_neurons(const struct match_maps *, size_t group, const float *to, const float *from);
/* The scale of neuron j of `from` with the smallest distance from neuron i of `to`; 1 if it is
 * dead. */
double match_fit_neuron(const struct net_group *, const float *to, size_t i, const float *from,
                        size_t j);
/* In place: what makes neuron i times `in`, what reads it times `out`. */
void match_scale_neuron(const struct net_group *, size_t i, double in, double out, float *flat);
/* In place: incoming weights as long as outgoing ones, and zeros where a neuron is dead. */
void match_balance_neurons(const struct net_group *, float *flat);

/* ---- heads ---- */

enum { MATCH_QUERY, MATCH_KEY, MATCH_VALUE, MATCH_MIX, MATCH_FACTORS };

/* A head's four matrices [n][columns]. */
struct match_heads {
  size_t n, columns[MATCH_FACTORS];
  double *rows[MATCH_FACTORS]; /* of one head after the other */
};

struct match_heads match_heads_of(struct arena *, const struct net_group *, const float *flat);
/* [n][n]: inner products of the rows of head i of a and head j of b. */
void match_head_products(const struct match_heads *a, size_t i, const struct match_heads *b,
                         size_t j, int factor, double *out);
/* The rotation of head j's factors `factor` and the next that fits them to head i's. */
void match_fit_head(const struct match_heads *to, size_t i, const struct match_heads *from,
                    size_t j, int factor, double *map);
/* Heads by their circuits, then the maps inside. */
void match_by_circuits(const struct match_maps *, size_t group, const float *to, const float *from);

#endif
