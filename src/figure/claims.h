/* Claims: is what the paper says so, as far as these results can tell?
 *
 * The interval is a bootstrap over independent units (Efron 1979): all rows of a
 * unit (a seed, a checkpoint's epoch) are drawn together, with replacement.  Its
 * levels are those of the expanded percentile interval (Hesterberg, "What
 * teachers should know about the bootstrap", Am. Stat. 69, 2015), for the plain
 * percentile interval is much too narrow for few units. */
#ifndef MERGESCAPE_FIGURE_CLAIMS_H
#define MERGESCAPE_FIGURE_CLAIMS_H

#include "base/diag.h"
#include "figure/csv.h"
#include "plan/claim.h"
#include "plan/plan.h"
#include "run/store.h"

#include <stdbool.h>
#include <stdio.h>

enum claims_verdict {
  CLAIMS_PASS,      /* the whole interval lies on the claimed side */
  CLAIMS_FAIL,      /* the whole interval lies on the other side */
  CLAIMS_UNDECIDED, /* it lies on both, or there is none */
  CLAIMS_NOT_JUDGED,   /* not meant for this tier */
  CLAIMS_NOT_AVAILABLE /* the experiment was left out */
};

enum { CLAIMS_RESAMPLES = 2000, CLAIMS_MIN_UNITS = 3, CLAIMS_FULL_UNITS = 6 };

struct claims_result {
  enum claims_verdict verdict;
  double statistic, low, high; /* NaN where there is none; 95 % */
  size_t n_rows, n_units;
  size_t n_dropped; /* rows with a column of the statistic that is no number: failed runs */
  double needed;    /* UNDECIDED: units that would decide, were the statistic what it is
                     * now; infinite: it lies on the bound; NaN: unknown */
  const char *note; /* why there is no interval, or NULL */
};

/* Deterministic: the same rows give the same verdict. */
void claims_evaluate(const struct plan_claim *, const struct figure_csv *,
                     struct claims_result *);
/* Of all rows; NaN where it is not defined.  Only for statistics that are a number. */
double claims_statistic(const struct plan_claim_node *, const struct figure_csv *);

/* Reads the claim's table from the store, which the plan's run has filled. */
bool claims_judge(struct store *, const struct plan *, const struct plan_claim *,
                  struct claims_result *, struct diag *);

struct claims_row {
  const struct plan_claim *claim;
  struct claims_result result;
  const char *file; /* where the claim stands */
};

/* "PASS", "not judged" */
const char *claims_verdict_name(enum claims_verdict);
/* "0.52 [0.1, 0.9]", "> 0 + 0.1", "3 seeds" */
const char *claims_interval_text(struct arena *, const struct claims_result *);
const char *claims_bound_text(struct arena *, const struct plan_claim *);
const char *claims_units_text(struct arena *, const struct plan_claim *, size_t n);
/* What else there is to know, in sentences; how many. */
enum { CLAIMS_MAX_NOTES = 3 };
size_t claims_notes(struct arena *, const struct claims_row *, const char *notes[CLAIMS_MAX_NOTES]);

void claims_print(const struct claims_row *, size_t n, const char *tier, bool colour, FILE *);
/* claims.csv: one row a claim. */
char *claims_csv(struct arena *, const struct claims_row *, size_t n, const char *tier);
bool claims_write_csv(const char *path, const struct claims_row *, size_t n, const char *tier,
                      struct diag *);

#endif
