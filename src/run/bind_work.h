/* What computing a step begins and ends with: inputs out of the store, results into it. */
#ifndef MERGESCAPE_RUN_BIND_WORK_H
#define MERGESCAPE_RUN_BIND_WORK_H

#include "merge/fuse.h"
#include "merge/match.h"
#include "merge/merge.h"
#include "run/bind_int.h"

/* One step's work: everything in the arena goes with the step. */
struct work {
  struct bind *bind;
  struct store *store;
  const struct plan *plan;
  const struct plan_step *step;
  struct diag *diag;
  struct arena *arena;
  struct store_result result;
  struct store_draft *draft;
  double started; /* by work_now */
};

double work_now(void); /* seconds */
const struct plan_step *work_input(const struct work *, uint32_t k);
/* The data that the last input names, if they are fit for a model step's network: in
 * their pixels, and with `labelled` in their classes.  NULL: a diagnostic. */
const struct data_set *work_data(struct work *, const struct plan_step *model, bool labelled);
/* The same of input k. */
const struct data_set *work_data_at(struct work *, uint32_t k, const struct plan_step *model,
                                    bool labelled);
/* False, too, where an input is not in the store (diagnostic).  A step whose model comes from a
 * run that diverged is itself a result, diverged: w->result says so. */
bool work_inherits_divergence(struct work *, bool *diverged);

/* Path of a checked file of a step's object; NULL: a diagnostic. */
const char *work_file(struct work *, const struct plan_step *from, const char *name);
/* Weights of a model step, of this network; NULL: a diagnostic. */
float *work_weights(struct work *, const struct net *, const struct plan_step *from);
/* All but the classifier, into `flat`. */
bool work_body(struct work *, const struct net *, const struct plan_step *from, float *flat);
extern const char work_weights_file[], work_optimizer_file[];

/* Where to write a file of the result; NULL: a diagnostic. */
const char *work_draft_file(struct work *, const char *name);
bool work_save_weights(struct work *, const struct net *, const float *flat);
bool work_commit(struct work *);

bool work_all_finite(const float *, size_t n);
struct data_augment work_augment(const struct plan_step *);

/* Of a merge: its models, a base among them, are the inputs before the data. */
size_t work_count_models(const struct work *);
/* Of merges that look at each model's own training data (bind_own.c): Fisher matrices behind the
 * models in inputs [2 * n_models], and Gram matrices, which are measured while they are loaded.
 * false, NULL: a diagnostic.  bind_net may hold another network afterwards, and after a load. */
bool work_fishers(struct work *, size_t n_models, const float **inputs);
const struct merge_grams *work_grams(struct work *, size_t n_models);
void work_grams_end(const struct merge_grams *); /* may be NULL */

/* A merge's result, with its running statistics mended as the step says; commits. */
bool work_save_merge(struct work *, const struct net *, float *merged);

/* By kind of step. */
bool work_merge(struct work *);
bool work_match(struct work *, enum match_method);
bool work_fuse(struct work *, enum fuse_method);
bool work_measure(struct work *);

#endif
