/* What lower.c, lower_point.c and lower_figure.c share. */
#ifndef MERGESCAPE_DSL_LOWER_INT_H
#define MERGESCAPE_DSL_LOWER_INT_H

#include "dsl/check.h"
#include "dsl/formula.h"
#include "dsl/lower.h"

/* An experiment's table while its rows are collected. */
struct lower_table {
  const struct dsl_experiment *e;
  struct plan_column *columns;
  size_t n_columns;
  const struct dsl_var **vars; /* of the constant columns; NULL for epoch and step */
  struct formula_slots slots;  /* what a row reads */
  struct plan_cell *cells;
  size_t n_cells, cap_cells;
  struct plan_slot *reads;
  size_t n_reads, cap_reads;
  uint32_t *inputs; /* the measure steps */
  size_t n_inputs, cap_inputs;
  uint32_t *input_of; /* by step: index + 1 into inputs */
  size_t n_input_of;
  size_t n_rows;
};

struct lowering {
  struct dsl *dsl;
  struct arena *arena;
  struct plan *plan;
  struct diag *diag;
  struct lower_result *result;
};

/* Steps and rows of one sweep point. */
bool lower_point(struct lowering *, struct lower_table *, const struct formula_point *,
                 const char *text);
/* The figure's step; tables of its panels' experiments are in the result. */
void lower_figure(struct lowering *, const struct ast_block *);
void lower_claim(struct lowering *, const struct ast_block *);
/* An experiment's table step; UINT32_MAX: it has none. */
uint32_t lower_table_of(const struct lowering *, const char *experiment);

/* "mlp(width=64)": what the experiment says of a thing, before any replacement. */
const char *lower_thing_text(struct lowering *, const struct formula_point *,
                             const struct ast_expr *);

/* Value of a setting at the point: its expression after the tier's replacement;
 * NULL where the experiment does not say it. */
const struct ast_expr *lower_value(const struct lowering *, const struct formula_point *,
                                   const char *setting);

#endif
