/* Two runs' results held against one another: are they the same, and where they are not, is
 * that more than training again on another machine does?
 *
 * Another instruction set rounds differently, and training amplifies that: after some hundred
 * steps the weights have little in common but their statistics.  So values are compared with
 * what is known of their noise (docs/compare.md):
 *   - the run-to-run difference itself, where it was measured (noise.csv in the folder);
 *   - else the spread of the rows behind a value: checkpoints or seeds;
 *   - else a tenth of the panel's range.
 * A claim's statistic is compared with the other run's interval. */
#ifndef MERGESCAPE_FIGURE_COMPARE_H
#define MERGESCAPE_FIGURE_COMPARE_H

#include "base/diag.h"
#include "figure/csv.h"

#include <stdbool.h>
#include <stdio.h>

/* What one run came to. */
struct compare_figure {
  const char *id; /* "fig01" */
  struct figure_csv csv;
};

struct compare_results {
  const char *name;               /* as the user gave it */
  struct compare_figure *figures; /* ascending by id */
  size_t n, cap;
  struct figure_csv claims, noise; /* n_columns = 0: there is none */
};

/* figNN.csv, claims.csv and noise.csv in the folder, or in `figures` in it.  false: none of them
 * is there, or one cannot be read. */
bool compare_read(struct arena *, const char *folder, struct compare_results *, struct diag *);
/* The text is kept. */
bool compare_add(struct arena *, struct compare_results *, const char *id, const char *text,
                 size_t length, struct diag *);
/* noise.csv from elsewhere: what compare_csv wrote of two runs that differ in rounding only. */
bool compare_read_noise(struct arena *, const char *path, struct compare_results *, struct diag *);

/* In the order of their weight: the verdict on a whole is the heaviest of its parts. */
enum compare_verdict {
  COMPARE_EQUAL,   /* the same bits */
  COMPARE_ADDED,   /* only in the second run */
  COMPARE_WITHIN,  /* within tolerance */
  COMPARE_MISSING, /* only in the first run */
  COMPARE_SHIFTED, /* beyond tolerance */
  COMPARE_FLIPPED, /* a claim: PASS and FAIL */
  COMPARE_VERDICTS
};
const char *compare_verdict_name(enum compare_verdict);

enum compare_basis { COMPARE_MEASURED, COMPARE_SPREAD, COMPARE_RANGE };
const char *compare_basis_name(enum compare_basis);

/* A series of a panel.  A place is a value of x (in a grid of x and y); rows at the same place
 * are compared by their mean. */
struct compare_series {
  const char *figure, *panel, *series;
  enum compare_verdict verdict;
  size_t places, outside; /* compared; beyond tolerance */
  size_t lost, gained;    /* places only in the first, only in the second run */
  size_t failed[2];       /* diverged rows */
  double rms;             /* root mean square of the differences; 0 for no place */
  /* Where the difference is largest beside its tolerance: */
  const char *at; /* "0.1"; NULL: no place */
  double value[2], tolerance;
  enum compare_basis basis;
};

struct compare_claim {
  const char *name, *verdicts[2]; /* "PASS"; "" where the run does not have it */
  enum compare_verdict verdict;
  double statistic[2], low[2], high[2]; /* NaN: none */
};

struct compare {
  const char *names[2];
  struct compare_series *series; /* by figure; a figure in one run only is one entry, panel "" */
  size_t n_series, cap_series;
  struct compare_claim *claims;
  size_t n_claims, cap_claims;
};

void compare_run(struct arena *, const struct compare_results *a, const struct compare_results *b,
                 struct compare *);

/* Is nothing lost, shifted or flipped? */
bool compare_agrees(const struct compare *);

/* A summary, a line a figure and a claim, then what is not within tolerance; `all`: every
 * series. */
void compare_print(const struct compare *, bool all, bool colour, FILE *);
/* One row a series and a claim. */
char *compare_csv(struct arena *, const struct compare *);
bool compare_json(const struct compare *, FILE *);

#endif
