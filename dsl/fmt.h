/* The canonical layout of an .exp file.
 *
 * Only blanks and line ends change: two blanks an indent, one statement a line,
 * `=` and `over` of neighbouring statements below one another, annotations in a
 * column, at most one blank line in a row, lines broken at 100 characters.  What
 * is written, comments and prose stay as they are and where they are, so that
 * the tree and every key of the plan stay the same.  The layout depends on
 * tokens, comments and blank lines only: it is its own canonical form. */
#ifndef MERGESCAPE_DSL_FMT_H
#define MERGESCAPE_DSL_FMT_H

#include "base/diag.h"
#include "dsl/ast.h"

/* The text in canonical layout, in the program's arena.  `program` is an empty
 * one: its sources serve the messages.  Included files are not read.  NULL after
 * an error: the text has syntax errors, or its layout could not be changed
 * without changing its meaning. */
char *fmt_text(struct ast_program *, const char *name, const char *text, size_t length,
               size_t *out_length, struct diag *);

#endif
