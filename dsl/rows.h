/* Whose rows a panel draws, or a claim is about: those of one experiment's
 * table, or of several together, with a column `experiment`. */
#ifndef MERGESCAPE_DSL_ROWS_H
#define MERGESCAPE_DSL_ROWS_H

#include "dsl/resolve.h"

struct rows {
  const struct dsl_experiment **of; /* in the order that is written */
  size_t n;
};

/* The experiments that a panel's or a claim's head names; unknown ones are left
 * out. */
struct rows rows_find(const struct dsl *, const struct ast_block *);
/* The same, and says what is wrong.  false: the columns are not known. */
bool rows_check(struct dsl *, const struct ast_block *, struct rows *, struct diag *);

/* Is it a column of all of them? */
bool rows_has_column(const struct rows *, const char *name);
/* The same, and says so where it is none; x is an AST_NAME. */
bool rows_check_column(struct dsl *, const struct rows *, const struct ast_expr *x, struct diag *);
/* Does the column hold words? */
bool rows_is_words(const struct rows *, const char *column);
/* Is the column measured, and not what was swept? */
bool rows_is_result(const struct rows *, const char *column);
/* Can a column of words hold this one?  Says so where it cannot. */
bool rows_check_word(struct dsl *, const struct rows *, const char *column,
                     const struct ast_expr *x, struct diag *);

/* "wsd, cosine" */
const char *rows_name(struct arena *, const struct rows *);
/* Why they cannot be had yet; NULL: they can. */
const char *rows_omitted(struct arena *, const struct rows *);

#endif
