/* A measure's expression as a program over results. */
#ifndef MERGESCAPE_DSL_COMPILE_H
#define MERGESCAPE_DSL_COMPILE_H

#include "dsl/model.h"
#include "plan/expr.h"

/* Which model a slot of two names measures. */
enum compile_role {
  COMPILE_EACH,    /* as many as the measurement takes */
  COMPILE_ON_TASK, /* the first, on the data of the second */
  COMPILE_ON_LINE  /* neither: the point `alpha` of the straight line from first to second */
};

/* What the program reads in each row: a measurement of models, or a number of
 * the sweep point. */
struct compile_slot {
  const char *number;      /* name of a setting or variable; NULL: a measurement */
  const char *measurement; /* accuracy, cka, ... */
  struct model_name models[2];
  unsigned n_models;
  struct model_name base; /* one model, that of task vectors */
  bool has_base;
  enum compile_role role;
  double alpha;                     /* on a line */
  const char *batchnorm;            /* on a line: as a merge says it */
  const char *split;                /* NULL: the measurement takes none */
  const struct ast_expr *split_of;  /* whose data: an experiment's name; NULL: the models' own */
  const struct ast_expr *call;      /* for its named arguments */
};

/* Do two measurements look at the same model on the same data, with the same arguments? */
bool compile_same_place(const struct compile_slot *, const struct compile_slot *);

struct compile_slots {
  struct compile_slot *slots;
  size_t n, cap;
};

/* Slots are shared by all of an experiment's measures. */
bool compile_measure(struct arena *, const struct dsl_experiment *, const struct ast_expr *,
                     struct compile_slots *, struct plan_expr *, struct diag *);

#endif
