/* Claims: their expressions over an experiment's table. */
#ifndef MERGESCAPE_DSL_CLAIM_H
#define MERGESCAPE_DSL_CLAIM_H

#include "dsl/rows.h"
#include "plan/claim.h"

/* The statistic, side and bound of an `expect` expression; false after a
 * diagnostic.  The experiments are complete. */
bool claim_compile(struct dsl *, const struct rows *, const struct ast_expr *, struct plan_claim *,
                   struct diag *);
/* An expression that makes one number of rows; NULL after a diagnostic. */
const struct plan_claim_node *claim_compile_number(struct dsl *, const struct rows *,
                                                   const struct ast_expr *, struct diag *);

/* What a claim's block says; NULL: it does not. */
const struct ast_stmt *claim_setting(const struct ast_block *, const char *name);
const struct ast_stmt *claim_expect(const struct ast_block *);

/* check_claim.c */
void check_claim(struct dsl *, const struct ast_block *, struct diag *);

#endif
