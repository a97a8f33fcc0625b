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

#endif
