#ifndef MERGESCAPE_PAPER_REPORT_INT_H
#define MERGESCAPE_PAPER_REPORT_INT_H

#include "paper/paper_int.h"

struct report {
  const struct paper *p;
  FILE *out;
  struct diag *d;
  struct paper_cost *costs; /* [n], and behind them all together */
  struct paper_provenance *provenance;
  struct paper_machines machines;
  size_t n; /* figures */
};

/* Begins a section of the page; the texts are HTML. */
void report_section(const struct report *, const char *id, const char *title);
/* Begins a table that scrolls by itself, up to the first cell of its head. */
void report_table(const struct report *, const char *label, const char *caption);

/* What a figure's results are, under it. */
void report_provenance(const struct report *, size_t figure);
/* Sections. */
void report_costs(const struct report *);
void report_stand_ins(const struct report *);
void report_assumptions(const struct report *);
void report_machines(const struct report *);

#endif
