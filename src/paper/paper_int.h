#ifndef MERGESCAPE_PAPER_PAPER_INT_H
#define MERGESCAPE_PAPER_PAPER_INT_H

#include "paper/paper.h"

#include <stdio.h>

/* "fig01-noise.exp" */
const char *paper_file_name(const struct paper *, uint32_t file);
/* The claim of this name as judged, or NULL. */
const struct claims_row *paper_claim(const struct paper *, const char *name);
/* The table step of an experiment; UINT32_MAX: it is left out. */
uint32_t paper_table(const struct paper *, const struct dsl_experiment *);

/* Text for TeX: its own characters escaped. */
void tex_text(FILE *, const char *);
/* The same of code, which may break behind an underline, a slash, a point or a parenthesis. */
void tex_words(FILE *, const char *);
/* A number with `digits` significant ones, as TeX sets it in a text; NaN: a dash. */
void tex_number(FILE *, double, unsigned digits);
/* Source code, highlighted, without its annotations. */
void tex_code(FILE *, struct arena *, const char *text, size_t length);
const char *tex_verdict(enum claims_verdict);

void paper_claims_table(const struct paper *, FILE *);
void paper_assumptions_table(const struct paper *, FILE *);
bool paper_artifact(const struct paper *, FILE *, FILE *numbers, struct diag *);

/* Opens a text in memory to be written; free(*text) after fclose. */
bool paper_memory(FILE **, char **text, size_t *length, struct diag *);
/* Rows behind a figure's panels: how many there are, and how many failed. */
void paper_count_rows(const struct paper *, const struct plan_step *figure, size_t *rows,
                      size_t *failed, struct diag *);

/* One host with one set of versions. */
struct paper_machine {
  const char *host, *versions;
  size_t results;
  const char *first, *last; /* dates */
};
struct paper_machines {
  struct paper_machine *list;
  size_t n, cap;
};

/* Of one figure's results. */
struct paper_provenance {
  unsigned of_kind[PLAN_KIND_COUNT]; /* steps */
  unsigned stored, cached;           /* results; that were there before this run */
  const char *seeds;                 /* "1, 2" */
  const char *first, *last;          /* dates; NULL: there is no result */
  uint64_t machines;                 /* a bit each; all from the last bit on share it */
};
enum { PAPER_LAST_MACHINE = 63 };
struct paper_provenance *paper_provenance(const struct paper *, const struct paper_cost *,
                                          size_t n, struct paper_machines *);

/* Text for HTML, also within quotes. */
void html_bytes(FILE *, const char *, size_t n);
void html_text(FILE *, const char *);
/* The same of code, which may break behind an underline, a slash, a parenthesis or a comma. */
void html_words(FILE *, const char *);
/* "12.0 s", "3.5 min" */
void html_seconds(FILE *, double);
/* Source code, highlighted. */
void html_code(FILE *, struct arena *, const char *text, size_t length);
/* A picture with its names made unique by `id`; false: it is no SVG. */
bool html_svg(FILE *, const char *text, size_t length, const char *id, const char *label);
/* CSS, up to NULL. */
extern const char *const report_style[];

#endif
