/* The paper's generated part: sections woven from the experiment files, and tables; and the
 * report, a page of all results. */
#ifndef MERGESCAPE_PAPER_PAPER_H
#define MERGESCAPE_PAPER_PAPER_H

#include "base/diag.h"
#include "dsl/lower.h"
#include "dsl/resolve.h"
#include "figure/claims.h"
#include "plan/plan.h"
#include "run/store.h"

/* What it is made of; all of it has been run. */
struct paper {
  struct arena *arena;
  struct ast_program *program;
  struct dsl *dsl;
  const struct lower_result *lowered;
  const struct plan *plan;
  struct store *store;
  const char *tier;
  const char *program_version; /* "mergescape 0.1.0" */
  const char *figures; /* folder of the pictures */
  const struct claims_row *claims;
  size_t n_claims;
  const bool *wanted; /* steps of the figures that were asked for; NULL: all */
  const bool *cached; /* steps whose result was there before this run; NULL: not known */
};

/* What a figure needs, as measured when it was computed. */
struct paper_cost {
  const struct plan_figure *figure;
  uint32_t step;
  uint32_t steps, stored;   /* planned; with a result */
  double optimizer_steps;   /* of training */
  double seconds, bytes;    /* of one worker; in the store */
  double alone;             /* seconds that no other figure needs */
  double memory;            /* most of a worker at a step, bytes; 0: no result says */
};

/* Wanted figures in order, and behind them (figure NULL) all together. */
struct paper_cost *paper_costs(const struct paper *, size_t *n, struct diag *);

/* One @assumed of a setting or statement. */
struct paper_assumption {
  const char *file, *block; /* "fig01-noise.exp", "noise" */
  const char *what, *why;   /* "momentum = 0.9"; the note's text */
};
struct paper_assumption *paper_assumptions(const struct paper *, size_t *n);

/* Writes sections.tex, claims.tex, assumptions.tex, artifact.tex and numbers.tex into the
 * folder, which exists. */
bool paper_weave(const struct paper *, const char *folder, struct diag *);

/* Writes one HTML page that needs no other file. */
bool paper_report(const struct paper *, const char *path, struct diag *);

/* Writes what another run can be held against: figNN.csv of the wanted figures, claims.csv, and
 * run.json about the run (the plan's hash, machine, versions, costs).  Files of figures that no
 * experiment draws any more go, all else that the folder holds stays; it changes at once, when the
 * new one is whole.  `commit` of the program; NULL: not known. */
bool paper_record(const struct paper *, const char *folder, const char *commit, struct diag *);
/* run.json by itself; NULL: a diagnostic. */
char *paper_run_json(const struct paper *, const char *commit, struct diag *);

/* One .tar.gz: figures, claims.csv, run.json, plan.json, the experiment files, the results in the
 * store, a README and SHA256SUMS.  The same store and figures give the same bytes. */
struct paper_export {
  const char *commit; /* of the program; NULL: not known */
  const char *source; /* an archive of the program's source, or NULL */
  bool models;        /* weights too */
};
bool paper_export(const struct paper *, const char *path, const struct paper_export *,
                  struct diag *);

#endif
