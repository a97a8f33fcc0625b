/* What merging methods are made of. */
#ifndef MERGESCAPE_MERGE_MERGE_INT_H
#define MERGESCAPE_MERGE_MERGE_INT_H

#include "merge/merge.h"
#include "merge/merge_loops.h"

/* The same elements of all models. */
struct merge_piece {
  const char *tensor;
  uint64_t first; /* of the tensor's elements; the piece's own first */
  size_t n;       /* MERGE_PIECE at most, which every array holds */
  bool buffer;
  const double *const *in;
};

/* One for the model, or one after the other for each of its tensors. */
struct merge_run {
  const struct merge_args *args;
  const struct merge_loops *loops;
  size_t n_models;
  uint64_t n_counted; /* elements that scan is given in a pass */
  struct arena *arena;
  struct diag *diag;
  void *state; /* the method's; NULL at first, kept from tensor to tensor */
  unsigned passes; /* that are over */
};

/* MERGE_SCAN: scan gets every element but buffers'.  MERGE_SAMPLE: the same where there are
 * MERGE_SAMPLES at most, else so many spread evenly. */
enum { MERGE_SAMPLES = 1 << 20 };

/* a + alpha * (b - a); for alpha 0 and 1, and where they are equal, the model itself. */
void merge_between(const struct merge_run *, double alpha, const double *a, const double *b,
                   size_t n, double *out);
/* The mean; where all are equal, their value. */
void merge_mean(const struct merge_run *, const double *const *models, size_t n, double *out);
/* The coefficients of task vectors: each one's own, where there are such, times all's. */
double merge_weight(const struct merge_args *, size_t k);
double merge_factor(const struct merge_args *);

void merge_votes_clear(struct merge_votes *, size_t n);

/* The methods: each file says what it does. */
extern const struct merge_method merge_linear, merge_slerp, merge_task_arithmetic, merge_ties,
    merge_dare, merge_fisher, merge_regmean, merge_swa, merge_plane;

#endif
