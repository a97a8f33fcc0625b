/* Ways of merging weights: one file a method, one table.
 *
 * A method sees its models piece by piece, in double.  So the same code merges flat
 * vectors in memory (merge_flat) and checkpoints larger than memory (merge_files.h).
 * It may ask for passes over all pieces first, in which it adds up lengths or looks for
 * a threshold; then each piece of the result is made from the same piece of the models.
 * The result does not depend on where pieces begin.
 *
 * Arithmetic is in double, and one rounding is left.  Equal models merge to themselves
 * bit for bit. */
#ifndef MERGESCAPE_MERGE_MERGE_H
#define MERGESCAPE_MERGE_MERGE_H

#include "base/arena.h"
#include "base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MERGE_VERSION "3"

enum merge_scope { MERGE_WHOLE_MODEL, MERGE_EACH_TENSOR };
enum merge_aggregate { MERGE_MEAN, MERGE_SUM };
enum merge_undecided { MERGE_NEITHER, MERGE_MAJORITY };

/* A linear layer's weight, [out][in] or [in][out], and its inputs' products X'X, [in][in], of each
 * model; X has a row a sample. */
struct merge_gram {
  size_t in, out;
  bool in_first;
};
struct merge_grams {
  void *context;
  /* false: the tensor has none. */
  bool (*find)(void *context, size_t tensor, struct merge_gram *);
  /* gram [in][in] of one that was found; false: a diagnostic was added. */
  bool (*load)(void *context, size_t tensor, size_t model, double *gram, struct diag *);
};

struct merge_args {
  double alpha;          /* linear, slerp: 0 is the first of two models, 1 the second */
  const double *weights; /* linear, fisher: one a model; NULL: linear takes alpha for two models
                            and the mean of others, fisher weighs all the same */
  double scale;          /* task_arithmetic, ties, dare; regmean: 0 to 1 */
  const double *scales;  /* task_arithmetic, dare: one a model; NULL: `scale` for all */
  enum merge_scope scope; /* slerp, ties: what the angle or the ranking is over */
  double keep;                    /* ties: share of the entries, above 0 to 1 */
  enum merge_aggregate aggregate; /* ties, dare with `elect` */
  enum merge_undecided undecided; /* ties */
  double drop;   /* dare: probability, from 0 to below 1 */
  uint64_t seed; /* dare */
  bool elect;    /* dare: signs are elected as by ties */
  double floor;  /* fisher */
  bool normalize; /* fisher: each Fisher matrix is divided by its length first */
  double x, y;   /* plane */
  const struct merge_grams *grams; /* regmean; NULL: the mean of everything */
};

/* What a method is given behind its models. */
enum merge_extra {
  MERGE_NO_EXTRA,
  MERGE_BASE,    /* the model that task vectors begin at */
  MERGE_FISHERS, /* for each model the diagonal of its Fisher matrix */
  MERGE_GRAMS,   /* Gram matrices, which are no inputs: merge_args.grams */
};

struct merge_run; /* a method at work, merge_int.h */
struct merge_piece;

/* What a method needs next. */
enum merge_next { MERGE_APPLY, MERGE_SAMPLE, MERGE_SCAN, MERGE_FAIL };

struct merge_method {
  const char *name;
  const char *meaning, *source; /* a line each, for the user */
  size_t min_models, max_models; /* without what is extra; max 0: any number */
  enum merge_extra extra;
  bool takes_scope; /* its passes may be over each tensor by itself */
  unsigned scans;   /* passes over everything that it mostly asks for */
  /* All but apply may be NULL.  next is called first, and after each pass. */
  enum merge_next (*next)(struct merge_run *);
  void (*scan)(struct merge_run *, const struct merge_piece *);
  void (*apply)(const struct merge_run *, const struct merge_piece *, double *out);
  /* Tensors, by their number, that are not merged in pieces: in[model][count] -> out [count],
   * in arrays that hold whole vectors for the loops.
   * apply_whole is false after a diagnostic. */
  bool (*is_whole)(const struct merge_run *, size_t tensor);
  bool (*apply_whole)(const struct merge_run *, size_t tensor, size_t count,
                      const double *const *in, double *out);
  /* Afterwards: a remark for the user, or NULL. */
  const char *(*remark)(const struct merge_run *, struct arena *);
};

/* NULL: no such method. */
const struct merge_method *merge_find(const char *name);
const struct merge_method *merge_at(size_t k); /* NULL behind the last */
size_t merge_inputs(const struct merge_method *, size_t n_models); /* with what is extra */

struct merge_tensor {
  const char *name;
  uint64_t count;
  bool buffer; /* batch-norm running statistics: lengths, angles and rankings are not over
                  them, and they are not thinned out; coefficients hold for them too */
};

/* Where pieces come from and go to.  `in` are merge_inputs arrays: the models, then
 * what is extra.  false: a diagnostic was added. */
struct merge_io {
  void *context;
  bool (*load)(void *context, size_t tensor, uint64_t first, size_t n, double *const *in,
               struct diag *);
  bool (*store)(void *context, size_t tensor, uint64_t first, size_t n, const double *const *in,
                const double *out, struct diag *);
  size_t piece; /* elements of a piece; 0: MERGE_PIECE */
  /* Before a pass that loads all elements of tensors from .. to - 1 (of buffers, where it says
   * so), in order; may be NULL.  Load may be called for others again afterwards. */
  void (*announce)(void *context, size_t from, size_t to, bool buffers);
};

enum { MERGE_PIECE = 1024 }; /* elements of a piece at most */

struct merge_report {
  unsigned scans; /* passes over everything before the last, at most for one tensor */
  const char *remark;
};

/* Every element of every tensor is stored once, tensor by tensor, in order.
 * false: the models do not determine the result, or load or store failed. */
bool merge_tensors(const struct merge_method *, const struct merge_args *, size_t n_models,
                   const struct merge_tensor *, size_t n_tensors, const struct merge_io *,
                   struct merge_report *, struct arena *, struct diag *);

/* The tensors one behind the other in flat vectors: inputs[merge_inputs], out overlaps none. */
bool merge_flat(const struct merge_method *, const struct merge_args *, size_t n_models,
                const struct merge_tensor *, size_t n_tensors, const float *const *inputs,
                float *out, struct diag *);

#endif
