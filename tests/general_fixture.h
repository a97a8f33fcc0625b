/* Small transformers in canonical form, for tests of matching by general symmetries.  After
 * cmocka.h. */
#ifndef MERGESCAPE_TESTS_GENERAL_FIXTURE_H
#define MERGESCAPE_TESTS_GENERAL_FIXTURE_H

#include "merge/match_latents.h"

enum { BATCH = 16, TRAIN = 512, TEST = 256, BLOCK = 12, VOCABULARY = 13 };
extern const struct net_spec GPT, VIT, CLIP;
enum { NETWORKS = 3 };
extern const struct net_spec *const SPECS[NETWORKS];
extern const struct match_search SEARCH; /* 15 passes, one search */

/* A network as it is trained, and the one for its canonical form. */
struct general_pair {
  struct arena *arena;
  struct diag *diag;
  const struct net *own, *net;
  const struct net_groups *groups;
  struct net_work *own_work, *work;
  float *own_a, *own_b, *a, *b, *out; /* of either */
  struct match match;                 /* b to a, canonical */
};

/* Weights drawn anew; teardown fails where there is a diagnostic. */
struct general_pair general_setup(const struct net_spec *spec);
void general_teardown(struct general_pair *p);
void general_canonical(struct general_pair *p);
/* The first group with this in its name. */
const struct net_group *general_group(const struct general_pair *p, const char *part);
/* Of everything that is free, at random. */
struct match_maps *general_random_maps(struct general_pair *p, uint32_t seed);
/* Distance of parameters, of a length of 1. */
double general_apart(const struct general_pair *p, const float *a, const float *b);

/* Each token is mostly decided by the two before it. */
struct data_set general_text(struct arena *arena);
/* Six patterns a class, and noise. */
struct data_set general_images(struct arena *arena);
/* AdamW, 600 steps. */
void general_train(const struct general_pair *p, const struct data_set *data, uint64_t seed,
                   float *flat);
/* The largest excess of the loss over the straight line, of 9 points. */
double general_barrier(const struct general_pair *p, const struct net *net, struct net_work *work,
                       const struct data_set *data, const float *a, const float *b);

#endif
