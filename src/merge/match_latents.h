/* What learned matching by general symmetries moves. */
#ifndef MERGESCAPE_MERGE_MATCH_LATENTS_H
#define MERGESCAPE_MERGE_MATCH_LATENTS_H

#include "merge/match_int.h"
#include "merge/match_path.h"

enum match_latent_kind { MATCH_ORDER, MATCH_STREAM, MATCH_HEAD, MATCH_SCALE };

/* A free matrix, of which a map is the nearest: of a group's order, of how its channels turn, or
 * of how one head's circuit turns; or the logarithms of neurons' scales. */
struct match_latent {
  size_t group;
  enum match_latent_kind kind;
  size_t n, count;                  /* n x n, MATCH_SCALE: n */
  double *z, *grad, *mean, *square; /* [count]; the latter two Adam's */
  double *map;                      /* [count], where it goes; MATCH_ORDER: none */
  double *u, *s, *vt;               /* of z; MATCH_STREAM and MATCH_HEAD alone */
  unsigned head;
  int factor; /* MATCH_HEAD: MATCH_QUERY or MATCH_VALUE, the first of the circuit's two */
};

struct match_learner {
  const struct match *match;
  struct match_path path;
  struct arena *arena;
  struct match_maps *maps;
  struct match_latent *latents;
  size_t n, cap;
  float *from;        /* with parts of neurons in the place of dead ones; `maps` has none */
  float *outer, *but; /* `from` with all streams' maps; memory, for all maps but one stream's */
};

/* Free matrices that are the maps `start`; what takes the place of dead neurons stays. */
struct match_learner *match_learner_new(struct arena *, const struct match *, struct net_work *,
                                        const struct data_set *, unsigned batch,
                                        const struct match_maps *start);
/* The maps of what the matrices are, and path.mapped. */
void match_learner_map(struct match_learner *);
/* The loss at a share lambda of the mapped model, with these maps, and each matrix's gradient,
 * divided by lambda: so all shares count alike. */
double match_learner_gradient(struct match_learner *, double lambda, const uint32_t *samples,
                              unsigned n);

#endif
