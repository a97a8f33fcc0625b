/* A claim: a statistic over an experiment's table, and the side of a bound on
 * which it is said to lie.  Lowering makes it, figure/claims judges it.  It is
 * no step of the plan: it reads a table step's result and costs nothing. */
#ifndef MERGESCAPE_PLAN_CLAIM_H
#define MERGESCAPE_PLAN_CLAIM_H

#include "base/arena.h"
#include "base/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum plan_claim_op {
  PLAN_CLAIM_NUMBER,
  PLAN_CLAIM_TEXT,   /* a word that a column is compared with */
  PLAN_CLAIM_COLUMN, /* of the table */
#define FUNCTION(id, name, takes, gives, meaning) PLAN_CLAIM_##id,
#define OPERATOR(id, text, operands) PLAN_CLAIM_##id,
#include "plan/claim.def"
  PLAN_CLAIM_OP_COUNT
};

struct plan_claim_function {
  enum plan_claim_op op;
  const char *name;
  const char *takes; /* a letter an argument, see claim.def */
  char gives;
  const char *meaning;
};

struct plan_claim_operator {
  enum plan_claim_op op;
  const char *text;
  unsigned operands;
};

enum { PLAN_CLAIM_MAX_ARGS = 3 };

struct plan_claim_node {
  enum plan_claim_op op;
  double number;
  const char *text; /* TEXT, COLUMN */
  unsigned n_args;
  const struct plan_claim_node *args[PLAN_CLAIM_MAX_ARGS];
};

struct plan_claim {
  const char *name;       /* "C3a" */
  const char *text;       /* what is claimed, in words */
  const char *experiment; /* or several: "wsd, cosine" */
  struct span span;       /* of the claim's head */
  uint32_t table;         /* or union: a step; unused where `omitted` */
  const char *omitted;    /* why the experiment is not there, or NULL */
  bool judged;            /* false: it is not meant for this tier */
  const char *unit;       /* what is resampled, in words: "seed", "seed-epoch" */
  const char **units;     /* rows with equal values in these columns are one unit */
  size_t n_units;         /* 0: all rows are one unit */
  /* statistic > bound + tolerance, or statistic < bound - tolerance */
  const struct plan_claim_node *statistic;
  bool greater;
  double bound, tolerance;
};

/* The k-th; NULL behind the last. */
const struct plan_claim_function *plan_claim_function_at(size_t k);
const struct plan_claim_function *plan_claim_function(const char *name); /* or NULL */
const struct plan_claim_operator *plan_claim_operator(const char *text, unsigned operands);

/* The column of mean(gain), median(gain), quantile(gain, 0.9), ...; NULL where the
 * statistic is anything but one number of one column's values. */
const char *plan_claim_reduced(const struct plan_claim_node *);
/* The distinct columns that an expression names; at most `cap`, and how many. */
size_t plan_claim_columns(const struct plan_claim_node *, const char **columns, size_t cap);

/* "trend(by(median(gain), lr))": canonical. */
char *plan_claim_text(struct arena *, const struct plan_claim_node *);

#endif
