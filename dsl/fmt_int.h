/* What fmt.c (text to lines) and fmt_print.c (lines to text) share. */
#ifndef MERGESCAPE_DSL_FMT_INT_H
#define MERGESCAPE_DSL_FMT_INT_H

#include "dsl/parse_int.h"

#include <stdio.h>

enum {
  FMT_INDENT = 2,
  FMT_NOTES = 60,   /* column of annotations */
  FMT_WIDTH = 100,  /* lines are broken at this width where they can be */
  FMT_ALIGNED = 32  /* what is wider than this has nothing aligned to it */
};

struct fmt_comment {
  const char *text; /* from # on, without blanks at its end */
  size_t length;
  bool own;   /* it begins its line */
  bool prose;
  bool blank; /* a blank line stands before it */
};

/* Small, for a file may have millions. */
struct fmt_token {
  const char *text;
  uint32_t length;
  uint32_t comments, n_comments; /* between the token before and this one */
  int16_t kind;
  bool first; /* on its line */
  bool blank; /* a blank line stands directly before it */
};

/* Lines of the output, before long ones are broken. */
enum fmt_line_kind {
  FMT_COMMENT,
  FMT_STMT,
  FMT_HEAD,
  FMT_SHORT_BLOCK, /* head, one statement and } */
  FMT_CLOSE
};

struct fmt_line {
  enum fmt_line_kind kind;
  size_t from, to; /* tokens; COMMENT: from is the comment */
  size_t notes_to; /* tokens from `to` up to here are annotations in a column */
  size_t tail;     /* comment behind it, plus 1; 0: none */
  size_t align;    /* the token before which blanks are put in; 0: none */
  int group;       /* neighbours of one group are aligned */
  unsigned indent, pad, column; /* column: of annotations or tail */
  bool blank;      /* a blank line before it */
};

struct fmt {
  struct arena *arena;
  struct fmt_token *tokens;
  size_t n_tokens, cap_tokens;
  struct fmt_comment *comments;
  size_t n_comments, cap_comments;
  struct fmt_line *lines;
  size_t n_lines, cap_lines;
};

/* Sets the lines' pads and columns. */
void fmt_align(struct fmt *);
void fmt_print(const struct fmt *, FILE *);
/* Width of the tokens [from, to) on one line. */
size_t fmt_width(const struct fmt *, size_t from, size_t to);

#endif
