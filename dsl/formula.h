/* Expressions over settings, at a sweep point. */
#ifndef MERGESCAPE_DSL_FORMULA_H
#define MERGESCAPE_DSL_FORMULA_H

#include "dsl/resolve.h"

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

/* A length such as `20 epochs`, said here or by the variable that is named. */
bool formula_length(const struct formula_point *, const struct ast_expr *, double *number,
                    bool *epochs, struct diag *);
/* The word that a name stands for: a setting's or a variable's at this point, or
 * itself where it names neither.  NULL: it is a number. */
const char *formula_word(const struct formula_point *, const struct ast_expr *);
/* What the name stands for at this point, followed through variables; itself
 * where it names none. */
const struct ast_expr *formula_follow(const struct formula_point *, const struct ast_expr *);

/* A variable's value at a point as a table shows it: a number (a length in its
 * own unit), or a word. */
struct formula_value {
  double num;
  const char *str; /* NULL: a number */
};
bool formula_value(const struct formula_point *, const struct dsl_var *, struct formula_value *,
                   struct diag *);

/* Names near a misspelt one, for a hint. */
void formula_suggest(const char *word, const char *const *names, size_t n, struct diag *);

#endif
