/* What bind.c (caches), bind_cost.c and those that compute steps share. */
#ifndef MERGESCAPE_RUN_BIND_INT_H
#define MERGESCAPE_RUN_BIND_INT_H

#include "engine/data.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "run/bind.h"

enum { BIND_DATA_SETS = 3 };

/* A data set that this process has loaded. */
struct bind_data {
  struct hash key;
  struct arena *arena; /* NULL: the slot is empty */
  struct data_set set;
  unsigned used; /* for replacing the one unused the longest */
};

struct bind_costs; /* bind_cost.c */

struct bind {
  struct arena *arena;
  const char *const *dirs;
  size_t n_dirs;
  struct bind_data data[BIND_DATA_SETS];
  unsigned clock;
  /* The network of the last step, and its memory for training or evaluation. */
  struct arena *net_arena;
  struct hash net_key;
  struct net *net;
  const struct plan_step *init; /* it is the network of */
  bool canonical;               /* is it the canonical network? */
  struct net_work *train, *eval;
  unsigned train_batch;
  unsigned threads;           /* 0, 1: one */
  size_t grams_held;          /* BIND_GRAMS_HELD; tests hold less */
  const struct ops *threaded; /* NULL: not needed yet */
  struct bind_costs *costs; /* NULL until it is asked for */
};

/* Activations of more samples at a time leave the second-level cache. */
enum { BIND_EVAL_BATCH = 64, BIND_GRADIENT_BATCH = 128 };
/* Bytes of Gram matrices, of all models of a merge, that are in memory at a time. */
enum { BIND_GRAMS_HELD = 256 << 20 };

/* Each returns NULL after a diagnostic. */
const struct data_set *bind_data(struct bind *, struct store *, const struct plan *,
                                 const struct plan_step *data, struct diag *);
/* The network of a model step; valid until the next call.  `canonical`: the one for weights in
 * canonical form (merge/match.h), whatever the step's own are in. */
const struct net *bind_net(struct bind *, const struct plan *, const struct plan_step *model,
                           struct diag *);
const struct net *bind_net_as(struct bind *, const struct plan *, const struct plan_step *model,
                              bool canonical, struct diag *);
/* Is a model step's weights' form canonical, or one of those that a measurement reads?  It is where
 * any model that it comes from was matched by general symmetries: other models that are merged or
 * compared with it are then brought into the same form. */
bool bind_is_canonical(const struct plan *, const struct plan_step *);
struct net_work *bind_train_work(struct bind *, unsigned batch);
struct net_work *bind_eval_work(struct bind *);
/* For forward passes of `batch` samples: keeps no more than it must. */
struct net_work *bind_forward_work(struct bind *, unsigned batch);
const struct ops *bind_ops(void); /* on one thread */
/* On as many as bind_threads said; valid until it says another number. */
const struct ops *bind_step_ops(struct bind *);

/* The network of an init step. */
struct net *bind_make_net(struct arena *, const struct plan *, const struct plan_step *init,
                          bool canonical, struct diag *);
/* The shape of the data that a model step's network is for; zeros: unknown data. */
struct data_set bind_shape(const struct plan *, const struct plan_step *model);
/* Does a train step keep its momentum for a segment that goes on from it? */
bool bind_keeps_momentum(const struct plan_step *train);

struct data_spec bind_data_spec(const struct plan_step *data);
enum data_split bind_split(const struct plan_step *measure);

#endif
