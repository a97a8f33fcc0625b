/* The plan as text: the very object that runs. */
#ifndef MERGESCAPE_PLAN_EXPLAIN_H
#define MERGESCAPE_PLAN_EXPLAIN_H

#include "plan/plan.h"

#include <stdio.h>

enum explain_state { EXPLAIN_UNWANTED, EXPLAIN_CACHED, EXPLAIN_TODO };

/* A line a step, in order of execution: number, state, kind, who asked for it,
 * its attributes, inputs and source line. Steps that are not wanted are left out. */
void explain_steps(const struct plan *, const enum explain_state *, const struct source_set *,
                   FILE *);
/* Counts by kind, and the training steps with and without sharing. */
void explain_summary(const struct plan *, const bool *wanted, const enum explain_state *, FILE *);

#endif
