/* Source text as runs of one kind, for the paper and the report. */
#ifndef MERGESCAPE_DSL_HIGHLIGHT_H
#define MERGESCAPE_DSL_HIGHLIGHT_H

#include "base/arena.h"

#include <stddef.h>

enum highlight_kind {
  HIGHLIGHT_PLAIN, /* blanks, operators, names */
  HIGHLIGHT_KEYWORD,
  HIGHLIGHT_SETTING, /* a name before `=` */
  HIGHLIGHT_NUMBER,  /* with its unit */
  HIGHLIGHT_STRING,
  HIGHLIGHT_COMMENT,
  HIGHLIGHT_NOTE /* @paper("...") */
};

struct highlight_run {
  enum highlight_kind kind;
  const char *text;
  size_t length;
};

/* All of text[0..length), which the parser has accepted, in order.  The runs point into
 * it; a run ends with its line at the latest. */
struct highlight_run *highlight(struct arena *, const char *text, size_t length, size_t *n);

#endif
