/* Names of models: the trunk, what it starts from, branches, merges, and models
 * of other experiments (`use`). */
#ifndef MERGESCAPE_DSL_MODEL_H
#define MERGESCAPE_DSL_MODEL_H

#include "dsl/formula.h"

enum model_kind { MODEL_TRUNK, MODEL_START, MODEL_BRANCH, MODEL_USE, MODEL_MERGE };

struct model_name {
  enum model_kind kind;
  size_t index;  /* of the branch, use or merge in the experiment */
  size_t member; /* ends[1]; SIZE_MAX: all of them */
};

/* What `ends` or `ends[0]` calls; false after a diagnostic.  `x` is a NAME or an
 * INDEX; anything else is refused. */
bool model_find(const struct dsl_experiment *, const struct ast_expr *x, struct model_name *,
                struct diag *);
/* How many models that is, where the whole name is meant. */
size_t model_members(const struct dsl_experiment *, const struct model_name *);
/* The same, where a member may have been picked. */
size_t model_count(const struct dsl_experiment *, const struct model_name *);
/* Members of a branch, as its count says. */
size_t model_branch_count(const struct ast_stmt *branch);
/* Index of the statement called `name`; SIZE_MAX: there is none. */
size_t model_index(const struct ast_stmt *const *list, size_t n, const char *name);
/* Does the merge make one model for each that it is given (swa)? */
bool model_maps(const struct ast_expr *call);
/* The first argument without a name; NULL: there is none. */
const struct ast_expr *model_first(const struct ast_expr *call);

/* ---- of other experiments: `trunk of base(lr = 0.1)` ---- */

/* file("weights.safetensors"): the path as written; NULL: it is no such thing. */
const char *model_file(const struct ast_expr *);
/* The path as it can be opened: from the folder of the file that says it. */
char *model_file_path(struct arena *, const struct dsl *, const struct ast_expr *);
/* The experiment that is asked; NULL: there is none of this name. */
struct dsl_experiment *model_target(const struct dsl *, const struct ast_expr *of);
/* An argument of the reference, such as checkpoint; or NULL. */
const struct ast_expr *model_argument(const struct ast_expr *of, const char *name);
/* All that can be wrong whatever the sweep point. */
bool model_check_reference(const struct dsl_experiment *asking, const struct ast_expr *of,
                           struct diag *);
/* The sweep point of the target that is meant at a point of the asking
 * experiment: its choice[n_vars]. */
bool model_point(const struct formula_point *asking, const struct ast_expr *of, size_t *choice,
                 struct diag *);

#endif
