/* What the scanner, the grammar and their helpers share.
 *
 *   text -> exp_scan.l (characters to tokens)
 *        -> parse_token.c (looks ahead, keeps brackets, skips after a mistake)
 *        -> exp.y (tokens to tree) */
#ifndef MERGESCAPE_DSL_PARSE_INT_H
#define MERGESCAPE_DSL_PARSE_INT_H

#include "dsl/parse.h"

enum {
  PARSE_MAX_BRACKETS = 200, /* open at one time */
  PARSE_MAX_INCLUDES = 64,  /* files that include one another */
  PARSE_MAX_ERRORS = 40,    /* in one file, before the rest is given up */
  PARSE_MAX_BYTES = 16 << 20
};

struct parse_value {
  const char *text; /* name, or text of a string without quotes and escapes */
  double number;
};

struct parse_token {
  int kind;
  struct span span;
  struct parse_value value;
  unsigned index;  /* counted as scanned, from 1 */
  bool first;      /* on its line */
  bool quiet;      /* a syntax error here has a cause that was reported */
};

struct parse_bracket {
  int kind; /* '(' '[' '{' */
  struct span span;
  int head; /* '{': the token that began its head, as TOK_FIGURE */
};

struct parse_doc {
  struct span span, owner; /* owner: the token that follows */
  char *text;
  size_t length, cap;
  bool used;
};

struct parse_notes {
  struct ast_note *v;
  size_t n, cap;
};

struct parse_open {
  struct ast_block *block;
  size_t stmts; /* where its own begin */
};

enum { PARSE_DISK, PARSE_MEMORY, PARSE_NOTHING };

/* Where included files come from. */
struct parse_library {
  int from; /* PARSE_DISK, ... */
  const struct parse_memory *files; /* PARSE_MEMORY */
  size_t n;
};

struct parser {
  struct ast_program *program;
  struct diag *diag;
  uint32_t file;
  const struct parse_library *library;
  bool alone;             /* the text is one thing, no file */
  struct ast_expr *thing; /* it */
  void *scanner;

  /* scanner */
  uint32_t at;          /* bytes scanned */
  bool newline;         /* since the last token */
  unsigned scanned;     /* tokens */
  unsigned quiet_until; /* tokens up to this one are quiet */
  unsigned syntax_errors;
  bool given_up;
  struct parse_doc *docs;
  size_t n_docs, cap_docs;
  bool doc_open; /* the last of docs has no owner yet */

  /* tokens */
  struct parse_token ahead[3]; /* scanned, not yet given to the grammar */
  unsigned n_ahead;
  struct parse_token end; /* TOK_END_INSIDE once the text has ended */
  int fetched;            /* kind of the token that was taken last */
  struct parse_token last, before; /* given last, and before that */
  struct parse_token start;        /* first of the statement or head that `last` is in */
  bool complete;                   /* nothing begun: at the start of a statement */
  bool recovering;
  bool missing_end;       /* the last mistake was that a statement has no `;` */
  unsigned inject_braces; /* `}` to give before what is ahead */
  bool close_reported;    /* of an unclosed `{` at the end of the file */
  unsigned stopped_at;    /* token before which the last skip ended */
  struct parse_bracket brackets[PARSE_MAX_BRACKETS];
  unsigned n_brackets, n_braces;
  unsigned brackets_before, braces_before; /* the same before `last` */

  /* tree */
  struct parse_open *open; /* blocks whose } has not come */
  size_t n_open, cap_open;
  struct ast_stmt *stmts; /* of the open blocks, those of inner ones behind */
  size_t n_stmts, cap_stmts;
  struct parse_spare *spare; /* statements that were copied there */
};

/* exp_scan.l: the next token of the text, without looking ahead. */
bool parse_scan_begin(struct parser *, const char *text, size_t length);
void parse_scan_end(struct parser *);
int parse_scan(struct parser *, struct parse_value *, struct span *);

/* parse_token.c */
const struct parse_bracket *parse_open_brace(const struct parser *);
/* The grammar refused the last token: go on behind its statement. */
void parse_recover(struct parser *);
void parse_give_up(struct parser *);

/* parse_error.c: `expected` are names of tokens as the grammar has them. */
void parse_syntax_error(struct parser *, const char *const *expected, size_t n);
/* Counts a mistake; false where it should not be reported: there are too many. */
bool parse_count_error(struct parser *, struct span);
void parse_unclosed(struct parser *, const struct parse_token *before);
void parse_too_deep(struct parser *, struct span);
/* What a token's text is in messages: `lr`, or "the end of the file". */
const char *parse_token_text(const struct parser *, const struct parse_token *);

/* parse_build.c: pieces of the tree. */
struct ast_name parse_name(struct parse_value, struct span);
struct ast_expr *parse_leaf(struct parser *, enum ast_expr_kind, struct parse_value, struct span);
/* right NULL: unary. */
struct ast_expr *parse_operator(struct parser *, const char *text, struct span text_span,
                                struct ast_expr *left, struct ast_expr *right, struct span);
/* args NULL: none. */
struct ast_expr *parse_call(struct parser *, struct parse_value name, struct span name_span,
                            struct ast_expr *args, struct span);
struct ast_expr *parse_index(struct parser *, struct parse_value name, struct span name_span,
                             struct ast_expr *index, struct span);
struct ast_expr *parse_of(struct parser *, struct ast_expr *member, struct ast_expr *experiment,
                          struct span of, struct span);
struct ast_expr *parse_arg_add(struct parser *, struct ast_expr *args, struct ast_arg);
struct ast_expr *parse_negative(struct ast_expr *number, struct span minus);
struct ast_stmt *parse_stmt(struct parser *, enum ast_stmt_kind, struct span);
struct ast_stmt *parse_stmt_new(struct parser *, enum ast_stmt_kind, struct parse_value name,
                                struct span name_span, struct ast_expr *value, struct span);
/* Makes a list of values or words the statement that they belong to. */
struct ast_stmt *parse_stmt_as(struct ast_stmt *, enum ast_stmt_kind, struct parse_value name,
                               struct span name_span, struct span);
struct ast_stmt *parse_training(struct parser *, enum ast_stmt_kind, struct ast_expr *every,
                                struct ast_expr *length, struct ast_expr *schedule, struct span);
/* `branch ... with snapshots every 2 epochs`; `word` is what stands for snapshots. */
struct ast_stmt *parse_snapshots(struct parser *, struct ast_stmt *branch, struct parse_value word,
                                 struct span at, struct ast_expr *every, struct span);
/* `sweep (a, b) over (1, 2), (3, 4)`. */
struct ast_stmt *parse_paired_sweep(struct ast_stmt *names, struct ast_stmt *tuples, struct span);
struct ast_expr *parse_tuple(struct parser *, const struct ast_stmt *values, struct span);
void parse_stmt_name(struct parser *, struct ast_stmt *, struct parse_value, struct span);
void parse_stmt_value(struct parser *, struct ast_stmt *, struct ast_expr *);
void parse_stmt_word(struct parser *, struct ast_stmt *, struct ast_expr *);
void parse_stmt_add(struct parser *, struct ast_stmt *, const struct parse_notes *);
struct ast_block *parse_block(struct parser *, enum ast_block_kind, struct parse_value name,
                              struct span name_span, struct span);
/* What a panel or a claim is of. */
void parse_block_of(struct ast_block *, const struct ast_stmt *names);
/* The prose above the node that begins where `span` does; NULL: none. */
const char *parse_doc_of(struct parser *, struct span, struct span *doc_span);
/* A figure, or a block whose head could not be read. */
struct ast_block *parse_nameless(struct parser *, enum ast_block_kind, struct span);
void parse_block_open(struct parser *, struct ast_block *);
void parse_block_close(struct parser *);
void parse_block_incomplete(struct parser *);

/* parse.c: the file that an include names, with all that it includes. */
void parse_include(struct parser *, struct ast_name path, struct span);

#endif
