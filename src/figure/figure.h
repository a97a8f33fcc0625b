/* Tables and figures: from results to CSV, gnuplot scripts and pictures. */
#ifndef MERGESCAPE_FIGURE_FIGURE_H
#define MERGESCAPE_FIGURE_FIGURE_H

#include "base/diag.h"
#include "plan/plan.h"
#include "run/store.h"

#include <stdbool.h>

/* Raised when what a table's object holds, or how a figure is drawn, changes. */
#define FIGURE_TABLE_VERSION "1"
#define FIGURE_DRAW_VERSION "7"

struct figure_context {
  const char *folder;  /* where figNN.csv, .gp, .pdf, .svg and .json go */
  const char *style;   /* path of style.gp; copied into the folder when it is elsewhere */
  const char *gnuplot; /* program name */
};

/* A table step: evaluates every row from its inputs' results; the object holds
 * table.csv (all columns, then `failed`: 1 where an input diverged). */
bool figure_execute_table(void *context, struct store *, const struct plan *,
                          const struct plan_step *, struct diag *);

/* A union step, from its tables' results: the object holds table.csv with the
 * rows of all, behind a column `experiment` the columns that all have in the
 * order of the first, then `failed`. */
bool figure_execute_union(void *context, struct store *, const struct plan *,
                          const struct plan_step *, struct diag *);

/* A figure step: writes figNN.csv, figNN.gp, runs gnuplot for .pdf and .svg,
 * then figNN.json, the manifest (key, style digest, the keys behind each
 * panel).  Each file is written under a temporary name and renamed. */
bool figure_execute(void *context, struct store *, const struct plan *, const struct plan_step *,
                    struct diag *);
/* What figNN.csv of a figure step holds, from its tables in the store.  NULL: one is not there. */
char *figure_csv_text(struct arena *, struct store *, const struct plan *,
                      const struct plan_step *, struct diag *);
/* Does the folder hold this very figure?  (manifest's key and style, files exist) */
bool figure_is_current(void *context, const struct plan *, const struct plan_step *);

#endif
