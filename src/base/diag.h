/* Diagnostics: collected, then printed together.
 *
 *   fig01.exp:7:15: error: unknown model "resnet81"
 *      7 |   model = resnet81;
 *        |           ^~~~~~~~
 *   hint: did you mean "resnet18"?
 *   note: included from paper.exp:1:9
 *
 * A user's mistake and a fault of the environment are both diagnostics; the
 * latter have no span.  Only main turns them into an exit status. */
#ifndef MERGESCAPE_BASE_DIAG_H
#define MERGESCAPE_BASE_DIAG_H

#include "base/source.h"

#include <stdbool.h>
#include <stdio.h>

enum diag_level { DIAG_ERROR, DIAG_WARNING };

struct diag;

struct diag *diag_new(struct arena *);

void diag_error(struct diag *, struct span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void diag_warning(struct diag *, struct span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Both belong to the diagnostic added last. */
void diag_hint(struct diag *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void diag_note(struct diag *, struct span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));


/* What is the same (place, level, text) is kept once: a mistake that several
 * experiments inherit is found for each of them.  Hints and notes behind the
 * second one are dropped with it. */

/* While this is open, an error that lies outside `block` (a whole block, as
 * ast_block.extent) gets a note at the block's head, such as "`a` inherits it".
 * Several can be open, in one another. */
void diag_within(struct diag *, struct span block, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void diag_within_end(struct diag *);

/* How many errors were added.  The same one counts each time, so that a function
 * can tell whether it found any; diag_count is what is kept. */
unsigned diag_errors(const struct diag *);
unsigned diag_count(const struct diag *);
/* The level, message and hint of the k-th, for tests and for passing between processes. */
enum diag_level diag_level_of(const struct diag *, unsigned k);
const char *diag_message(const struct diag *, unsigned k);
const char *diag_hint_of(const struct diag *, unsigned k); /* NULL: none */

/* Prints all of them, ordered by place; `sources` may be NULL when no
 * diagnostic has a span.  The first one in an included file says what included
 * it.  Ends with "2 errors, 1 warning" where there was a span.  diag_clear
 * empties the collection. */
void diag_print(const struct diag *, const struct source_set *, FILE *, bool colour);
void diag_clear(struct diag *);

/* The nearest of `n` words to `word` by Damerau-Levenshtein distance, or NULL
 * when none is near enough to be worth suggesting. */
const char *diag_nearest(const char *word, const char *const *words, size_t n);

/* Should `file` get colour?  (isatty, NO_COLOR, TERM=dumb) */
bool diag_colour(FILE *file);

#endif
