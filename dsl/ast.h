/* The syntax tree of an .exp file.  The grammar builds it and does nothing
 * else; names are not resolved here. Every node lives in the program's arena
 * and has the span of its source text. */
#ifndef MERGESCAPE_DSL_AST_H
#define MERGESCAPE_DSL_AST_H

#include "base/arena.h"
#include "base/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct ast_name {
  const char *text; /* NULL: absent */
  struct span span;
};

enum ast_expr_kind {
  AST_NUMBER, /* 5e-4, 200k, 20 epochs: number, and unit where there is one */
  AST_STRING,
  AST_NAME,   /* lr, cifar100 */
  AST_CALL,   /* sgd(momentum = 0.9), mean(x) */
  AST_TUPLE,  /* (0.1, 2): args, in the values of a paired sweep and of a named argument */
  AST_INDEX,  /* ends[0]: text, and the index as args[0] */
  AST_OF,     /* trunk of base(lr = 0.1): args[0] of the experiment args[1], a NAME or a CALL */
  AST_UNARY,  /* -, not */
  AST_BINARY  /* + - * / ^, comparisons < <= > >= == !=, and, or, by */
};

/* No expression is deeper, so code that walks one may recurse. */
enum { AST_MAX_DEPTH = 1000 };

struct ast_arg {
  struct ast_name name; /* text NULL: positional */
  struct ast_expr *value;
};

struct ast_expr {
  enum ast_expr_kind kind;
  struct span span;
  double number;
  struct ast_name unit; /* AST_NUMBER */
  const char *text;     /* string's text (unescaped), name, function, operator */
  struct span text_span; /* of the name, function or operator alone */
  struct ast_arg *args; /* AST_CALL; a UNARY or INDEX has args[0], a BINARY or OF args[0..1] */
  size_t n_args, cap_args;
  unsigned depth; /* 1 for a leaf */
};

/* @paper("A.1") or @assumed("why"): stands behind a statement's semicolon. */
struct ast_note {
  struct ast_name name;
  struct ast_name text;
};

/* log, band quartiles, label "..." behind a value: words in order. */
struct ast_word {
  struct ast_expr *value; /* NAME, STRING or NUMBER */
};

/* What stands in a block.  The first word is looked up by check, so that a
 * misspelt one gets "did you mean"; the grammar knows shapes only:
 *   AST_SETTING  name = value words... ;
 *   AST_SWEEP    sweep name over v, v, ... ;
 *   AST_SWEEP    sweep (name, name) over (v, v), (v, v) ;   values are tuples
 *   AST_WHERE    where condition ;      which sweep points there are
 *   AST_LET      let name = value ;
 *   AST_TRUNK    trunk [every n] for length at schedule ;
 *   AST_BRANCH   branch name[count] at every n [of trunk] for length at schedule ;
 *                branch name[count] at v, v, ... [of trunk] for length at schedule ;
 *                ... [with snapshots every n] ;
 *   AST_USE      use name = model ;
 *   AST_MERGE    merge name = call [with words...] ;
 *   AST_MEASURE  measure name = expr ;
 *   AST_REPLACE  replace data|model name with value ["what it stands for"] ;   (tiers)
 *   AST_EXPECT   expect expr ;                                                (claims) */
enum ast_stmt_kind {
  AST_SETTING, AST_SWEEP, AST_LET, AST_TRUNK, AST_BRANCH, AST_MERGE, AST_MEASURE, AST_REPLACE,
  AST_EXPECT, AST_WHERE, AST_USE
};

struct ast_stmt {
  enum ast_stmt_kind kind;
  struct span span; /* without its annotations */
  struct ast_name name; /* of a paired sweep: the first */
  struct ast_name *names; /* of a paired sweep, else none */
  size_t n_names, cap_names;
  struct ast_name kind_word;  /* REPLACE: data or model */
  struct ast_expr *value;     /* SETTING, LET, USE, MERGE, MEASURE, REPLACE, EXPECT, WHERE */
  struct ast_expr **values;   /* SWEEP; BRANCH: listed points, where `every` is NULL */
  size_t n_values, cap_values;
  struct ast_expr *every, *length, *schedule; /* TRUNK, BRANCH */
  struct ast_expr *count;     /* BRANCH */
  struct ast_expr *snapshots; /* BRANCH: how far apart; NULL: none */
  struct ast_word *words;     /* SETTING, MERGE (behind `with`) */
  size_t n_words, cap_words;
  struct ast_name label;      /* REPLACE's text; text NULL: none */
  struct ast_note *notes;
  size_t n_notes, cap_notes;
  const char *doc;            /* `##` lines above, joined by \n; NULL: none */
  struct span doc_span;
};

/* A block: experiment, figure, panel, claim, tier, or a tier's overlay of an
 * experiment.  `blocks` are panels in a figure and overlays in a tier. */
enum ast_block_kind { AST_EXPERIMENT, AST_FIGURE, AST_PANEL, AST_CLAIM, AST_TIER };

struct ast_block {
  enum ast_block_kind kind;
  struct span span;       /* of the head, up to the brace */
  struct span extent;     /* of head and body, with the closing brace */
  struct ast_name name;   /* experiment, claim, tier, panel; figure: text NULL */
  struct ast_name base;   /* experiment NAME : BASE, tier NAME : BASE; text NULL: none */
  struct ast_expr *number; /* FIGURE: its number */
  struct ast_name title;  /* FIGURE, PANEL, CLAIM, TIER: a string; text NULL: none */
  struct ast_name panel_kind; /* PANEL: lines, scatter, box */
  struct ast_name *of;    /* PANEL: of NAME, NAME; CLAIM: on NAME, NAME */
  size_t n_of, cap_of;
  struct ast_stmt *stmts;
  size_t n_stmts, cap_stmts;
  struct ast_block *blocks;
  size_t n_blocks, cap_blocks;
  const char *doc;
  struct span doc_span;
  bool incomplete; /* a syntax error left something of it out */
};

struct ast_include {
  struct ast_name path; /* as written */
  uint32_t from;        /* file that includes */
  uint32_t file;        /* what was read; 0: it could not be */
  const char *doc;
  struct span doc_span;
};

/* A file that was read.  Device and inode tell whether it is the same again. */
struct ast_file {
  uint64_t device, inode; /* both 0: a text in memory */
  uint32_t file;
  struct span included_at; /* SPAN_NONE: not included */
  bool reading;            /* being read, so that including it makes a cycle */
};

/* All files of one run, includes followed, each file read once. */
struct ast_program {
  struct arena *arena;
  struct source_set *sources;
  struct ast_block *blocks; /* of all files, in reading order */
  size_t n_blocks, cap_blocks;
  struct ast_include *includes;
  size_t n_includes, cap_includes;
  struct ast_file *files;
  size_t n_files, cap_files;
};

/* "experiment", "figure", ... as the language spells it. */
const char *ast_block_word(enum ast_block_kind);
const char *ast_stmt_word(enum ast_stmt_kind); /* SETTING: "setting" */

/* An indented dump of the tree without spans, for tests. */
void ast_dump(const struct ast_program *, FILE *);

#endif
