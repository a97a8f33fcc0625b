/* Tables of results: RFC 4180. */
#ifndef MERGESCAPE_FIGURE_CSV_H
#define MERGESCAPE_FIGURE_CSV_H

#include "base/diag.h"
#include "plan/plan.h"
#include "run/store.h"

#include <stdbool.h>
#include <stddef.h>

struct figure_csv {
  size_t n_columns, n_rows;
  const char **names; /* [n_columns] */
  bool *numeric;      /* [n_columns]: every field reads as a number */
  const char **text;  /* [n_rows][n_columns] */
  double *num;        /* the same as numbers; NaN where it is none */
};

/* false: a diagnostic names the path and the line.  The text is not changed. */
bool figure_csv_parse(struct arena *, const char *path, const char *text, size_t length,
                      struct figure_csv *, struct diag *);
/* The rows of a table or union step, from the store. */
bool figure_read_table(struct arena *, struct store *, const struct plan *,
                       const struct plan_step *, struct figure_csv *, struct diag *);
/* SIZE_MAX: no such column. */
size_t figure_csv_column(const struct figure_csv *, const char *name);

#endif
