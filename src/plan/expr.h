/* Arithmetic over results, as a postfix program: what a table's cell computes
 * from the measure steps that it reads. */
#ifndef MERGESCAPE_PLAN_EXPR_H
#define MERGESCAPE_PLAN_EXPR_H

#include "base/arena.h"

#include <stddef.h>
#include <stdint.h>

/* OP(enum suffix, name in texts, operands; 0: as many as the code says) */
#define PLAN_OPS(OP)                                                          \
  OP(ADD, "+", 2) OP(SUB, "-", 2) OP(MUL, "*", 2) OP(DIV, "/", 2)             \
  OP(POW, "^", 2) OP(NEG, "neg", 1)                                           \
  OP(LOG, "log", 1) OP(LOG10, "log10", 1) OP(EXP, "exp", 1)                   \
  OP(SQRT, "sqrt", 1) OP(ABS, "abs", 1)                                       \
  OP(MEAN, "mean", 0) OP(MEDIAN, "median", 0) OP(MIN, "min", 0)               \
  OP(MAX, "max", 0)

enum plan_op {
  PLAN_OP_NUMBER, /* push number */
  PLAN_OP_SLOT,   /* push the value of slot n */
#define OP(id, name, operands) PLAN_OP_##id,
  PLAN_OPS(OP)
#undef OP
};

struct plan_code {
  enum plan_op op;
  uint32_t n; /* SLOT: which; MEAN to MAX: how many operands */
  double number;
};

struct plan_expr {
  struct plan_code *code;
  size_t n, cap;
};

void plan_expr_push(struct arena *, struct plan_expr *, struct plan_code);
/* NaN in, NaN out, also through min and max: a failed run never turns into a number. */
double plan_expr_eval(const struct plan_expr *, const double *slots);
/* Operands on the stack at once: evaluation holds PLAN_EXPR_MAX_DEPTH. */
enum { PLAN_EXPR_MAX_DEPTH = 64 };
unsigned plan_expr_depth(const struct plan_expr *);
/* "s0 s1 s2 mean(2) -": canonical, part of a table's key. */
char *plan_expr_text(struct arena *, const struct plan_expr *);

/* Order statistics, defined as numpy does (linear interpolation), over any
 * order of values; NaN where n is 0. `values` is not changed. */
double plan_quantile(const double *values, size_t n, double q);

#endif
