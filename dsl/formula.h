/* Expressions: numbers at a sweep point, and programs over results. */
#ifndef MERGESCAPE_DSL_FORMULA_H
#define MERGESCAPE_DSL_FORMULA_H

#include "dsl/resolve.h"
#include "plan/expr.h"

/* One combination of the sweeps' values: choice[i] indexes vars[i].values. */
struct formula_point {
  const struct dsl_experiment *experiment;
  const size_t *choice;
};

/* Number of a constant expression over settings and lets at a point. */
bool formula_number(const struct formula_point *, const struct ast_expr *, double *,
                    struct diag *);
/* A condition on settings: comparisons of numbers, == and != also of words, joined
 * by and, or, not. */
bool formula_condition(const struct formula_point *, const struct ast_expr *, bool *,
                       struct diag *);
/* Does the expression hold no name at all? */
bool formula_is_literal(const struct ast_expr *);

/* A value that a measure reads from one evaluation of one model. */
enum formula_target { FORMULA_TRUNK, FORMULA_BRANCH, FORMULA_MERGE };

struct formula_slot {
  enum formula_target target;
  size_t index;            /* of the branch or merge in the experiment */
  size_t member;           /* of the branch */
  const char *measurement; /* accuracy, loss */
  const char *split;
};

struct formula_slots {
  struct formula_slot *slots;
  size_t n, cap;
};

/* Compiles a measure's expression; slots are shared by all of an experiment. */
bool formula_compile(struct arena *, const struct dsl_experiment *, const struct ast_expr *,
                     struct formula_slots *, struct plan_expr *, struct diag *);

/* How many continuations a branch has (its count was checked). */
size_t formula_branch_count(const struct ast_stmt *branch);
/* Index of the branch or merge of that name, or SIZE_MAX. */
size_t formula_find(const struct ast_stmt *const *list, size_t n, const char *name);

#endif
