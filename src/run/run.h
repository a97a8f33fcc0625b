/* Doing a plan: worker processes, a ready queue that finishes what the plan
 * names first, and in it prefers the longest remaining chain, progress, failures.
 *
 * The runner knows steps only through `struct run_kind`, so that tests run
 * plans with fake kinds, and figures need not be known here. */
#ifndef MERGESCAPE_RUN_RUN_H
#define MERGESCAPE_RUN_RUN_H

#include "base/diag.h"
#include "plan/plan.h"
#include "run/store.h"

#include <stdbool.h>
#include <stdio.h>

struct run_kind {
  void *context;
  /* Is the step's result there already?  NULL: store_has(key). */
  bool (*done)(void *context, const struct plan *, const struct plan_step *);
  /* Computes the step and commits its result; called in a worker process (or
   * in this one when jobs is 0, for tests).  false: diagnostics say why. */
  bool (*execute)(void *context, struct store *, const struct plan *, const struct plan_step *,
                  struct diag *);
  /* Seconds of the step on one worker; NULL: 1. */
  double (*cost)(void *context, const struct plan *, const struct plan_step *);
  /* How many threads the steps that follow may use, before one is executed; NULL: they use
   * one.  No result depends on it. */
  void (*threads)(void *context, unsigned threads);
};

struct run_options {
  unsigned jobs;    /* worker processes; 0: no fork, for tests and debugging */
  unsigned threads; /* of each; 0: one, but more where steps cannot keep all cores busy */
  unsigned cores;   /* that these share */
  FILE *progress;     /* NULL: silent */
  bool terminal;      /* one line rewritten in place, instead of plain lines */
  bool colour;
  const struct source_set *sources; /* to name the source line of a failure */
  /* Called once it is known what there is to do and what it costs; NULL: nothing is. */
  void (*begun)(void *context);
  void *context;
};

struct run_summary {
  uint32_t wanted; /* all that are cached or had to run */
  uint32_t cached, ran, failed;
  uint32_t skipped; /* an input failed, or the store was full */
  uint32_t diverged; /* of those that ran */
  double seconds;
  bool interrupted; /* SIGINT or SIGTERM: finished steps are kept */
};

/* Runs every wanted step that is not done and is a target (no other wanted step
 * reads it) or an input of a step that runs.  Failures are added to diag with
 * experiment, sweep point and source line; steps that don't depend on them go
 * on.  A step that fails because an input turned out to be damaged is put back
 * until that input is computed again.  A full store ends the run early. */
struct run_summary run_plan(const struct plan *, const bool *wanted, struct store *,
                            const struct run_kind kinds[PLAN_KIND_COUNT],
                            const struct run_options *, struct diag *);

/* What run_plan would do, for explain: status of each step (indexed by step).
 * A wanted step whose result is gone, but whose readers are all cached, is
 * RUN_UNWANTED: nothing needs it. */
enum run_state { RUN_UNWANTED, RUN_CACHED, RUN_TODO };
void run_states(const struct plan *, const bool *wanted, struct store *,
                const struct run_kind kinds[PLAN_KIND_COUNT], enum run_state *states);

#endif
