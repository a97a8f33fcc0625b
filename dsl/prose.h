/* Numbers in prose.  In the `##` lines above a block,
 *
 *   \result{median(gain)}               of the block's own experiment
 *   \result[noise]{median(gain)}        of another one
 *   \result[noise, 2]{median(gain)}     with two significant digits (3 where it is not said)
 *   \verdict{C1}                        PASS, FAIL or UNDECIDED
 *
 * stand for what comes out; the first is any statistic that panels can draw. */
#ifndef MERGESCAPE_DSL_PROSE_H
#define MERGESCAPE_DSL_PROSE_H

#include "dsl/resolve.h"
#include "plan/claim.h"

struct prose_part {
  const char *text; /* as it is, without a terminator; NULL: one of the others */
  size_t length;
  const struct plan_claim_node *number; /* of the experiment's table; NULL: none */
  const struct dsl_experiment *of;
  unsigned digits;
  const char *claim; /* NULL: none */
};

enum { PROSE_DIGITS = 3, PROSE_MOST_DIGITS = 9 };

/* The parts of a block's prose, in the dsl's arena; *n 0: it has none.  What is wrong is
 * reported, and left out. */
struct prose_part *prose_read(struct ast_program *, struct dsl *, const struct ast_block *,
                              size_t *n, struct diag *);
/* Reports what is wrong in all prose. */
void prose_check(struct ast_program *, struct dsl *, struct diag *);

#endif
