/* What resolve.c and sweeps.c share. */
#ifndef MERGESCAPE_DSL_RESOLVE_INT_H
#define MERGESCAPE_DSL_RESOLVE_INT_H

#include "dsl/resolve.h"

/* "did you mean ...", among the blocks of a kind. */
void dsl_suggest_block(struct arena *, const struct ast_program *, enum ast_block_kind,
                       const char *name, struct diag *);
/* Fills in the values of the experiment's sweeps, once; those that it takes of other
 * experiments are read first.  `paper`: of what the files alone say. */
void dsl_read_sweeps(struct dsl *, struct dsl_experiment *, bool paper, struct diag *);

#endif
