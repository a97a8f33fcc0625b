/* The plan as text, as a drawing and as data: the very object that runs. */
#ifndef MERGESCAPE_PLAN_EXPLAIN_H
#define MERGESCAPE_PLAN_EXPLAIN_H

#include "plan/cost.h"
#include "plan/plan.h"

#include <stdio.h>

/* LATER: it is planned, but something that it needs cannot be computed yet. */
enum explain_state { EXPLAIN_UNWANTED, EXPLAIN_CACHED, EXPLAIN_TODO, EXPLAIN_LATER };

/* What is told of; arrays are indexed by step. */
struct explain {
  const struct plan *plan;
  const bool *wanted;                 /* the targets and all that they need */
  const enum explain_state *states;   /* UNWANTED also where only lost results would need it */
  const struct cost *costs;           /* of the wanted steps; of LATER ones not known */
  const struct source_set *sources;
  unsigned jobs;
  const uint32_t *asked;              /* how many tables need each, see plan_asked */
};

/* A line a step, in order of execution: number, state, kind, who asked for it,
 * its attributes, inputs, cost and source line.  Steps that are not wanted are
 * left out. */
void explain_steps(const struct explain *, FILE *);
/* Counts by kind, the training steps with and without sharing, and the cost. */
void explain_summary(const struct explain *, FILE *);
/* Training steps of the optimizer that two figures both need; nothing is
 * printed where no two figures share any. */
void explain_sharing(const struct explain *, FILE *);

/* For Graphviz; cached steps are grey, a figure is a box of its own. */
void explain_dot(const struct explain *, FILE *);
/* {"steps": [{"number", "key", "kind", "attributes", "inputs", "state",
 * "origin", "asked", "cost"}...], "sharing": {...}, "planned": {...}, "to_do":
 * {...}, "jobs"}.  false: it could not be written. */
bool explain_json(const struct explain *, FILE *);

/* The totals of the steps in one state (EXPLAIN_UNWANTED: of all that are wanted). */
struct cost_total explain_total(const struct explain *, enum explain_state);

/* Figures of the plan and what they share.  steps[a * n + b]: training steps of
 * the optimizer that both a and b need; a == b: that a needs.  alone[a]: that a
 * needs and no other figure does. */
struct explain_figures {
  size_t n;
  const struct plan_figure **figures;
  double *steps, *alone;
};
struct explain_figures explain_figures(const struct explain *, struct arena *);

#endif
