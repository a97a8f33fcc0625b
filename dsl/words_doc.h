/* The parts of the manual and of the editors' highlighting that follow from
 * words.def and the grammar. */
#ifndef MERGESCAPE_DSL_WORDS_DOC_H
#define MERGESCAPE_DSL_WORDS_DOC_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct words_doc_list {
  const char **words;
  size_t n, cap;
};

/* One production: right-hand sides as lists of symbols, without actions and
 * without the alternatives that only serve recovery after a mistake. */
struct grammar_rule {
  const char *name;
  struct words_doc_list *alternatives;
  size_t n, cap;
};

struct grammar {
  struct arena *arena;
  struct grammar_rule *rules;
  size_t n_rules, cap_rules;
  struct words_doc_list names, shown; /* tokens, and what stands for them */
  struct words_doc_list levels;       /* operators, those that bind loosest first */
  struct words_doc_list keywords;     /* in alphabetical order */
};

/* Reads the text of exp.y; NULL with a message in `error`. */
struct grammar *grammar_read(struct arena *, const char *text, const char **error);
/* In EBNF: [ ] once or not at all, { } any number of times. */
void grammar_print(const struct grammar *, FILE *);

#endif
