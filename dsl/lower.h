/* From resolved experiments to the plan. */
#ifndef MERGESCAPE_DSL_LOWER_H
#define MERGESCAPE_DSL_LOWER_H

#include "dsl/resolve.h"
#include "plan/claim.h"
#include "plan/plan.h"

struct lower_options {
  double max_steps; /* refuse to plan more steps than this */
};

struct lower_target {
  const char *experiment; /* a table's; NULL: a figure's */
  unsigned number;        /* of a figure */
  uint32_t step;
  const char *unavailable; /* what the engine cannot do yet of it; NULL: it can be run */
};

struct lower_result {
  struct lower_target *targets; /* tables, then figures, each in the files' order */
  size_t n, cap;
  struct plan_claim *claims; /* in the files' order */
  size_t n_claims, cap_claims;
};

/* Expands every planned experiment's sweeps and every figure.  Call it when
 * dsl_check found no error.  false: a diagnostic says why. */
bool dsl_lower(struct dsl *, struct plan *, const struct lower_options *, struct lower_result *,
               struct diag *);

#endif
