/* A measure's expression as a program over results. */
#ifndef MERGESCAPE_DSL_COMPILE_H
#define MERGESCAPE_DSL_COMPILE_H

#include "dsl/model.h"
#include "plan/expr.h"

/* What the program reads in each row: a measurement of models, or a number of
 * the sweep point. */
struct compile_slot {
  const char *number;      /* name of a setting or variable; NULL: a measurement */
  const char *measurement; /* accuracy, cka, ... */
  struct model_name models[2];
  unsigned n_models;
  const char *split;                /* NULL: the measurement takes none */
  const struct ast_expr *split_of;  /* whose data: an experiment's name; NULL: the models' own */
  const struct ast_expr *call;      /* for its named arguments */
};

struct compile_slots {
  struct compile_slot *slots;
  size_t n, cap;
};

/* Slots are shared by all of an experiment's measures. */
bool compile_measure(struct arena *, const struct dsl_experiment *, const struct ast_expr *,
                     struct compile_slots *, struct plan_expr *, struct diag *);

#endif
