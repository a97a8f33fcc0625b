/* Names, types, units and ranges, against words.def. */
#ifndef MERGESCAPE_DSL_CHECK_H
#define MERGESCAPE_DSL_CHECK_H

#include "dsl/resolve.h"
#include "dsl/words.h"

/* Reports every mistake; sets `unavailable` and `complete` of the experiments.
 * What the engine cannot do yet is a warning: what uses it is left out. */
void dsl_check(struct dsl *, struct diag *);

/* The rest is shared with lowering. */

/* Is the number what a setting or a parameter called `name` takes? */
bool check_number(struct arena *, const char *name, enum words_type, const struct words_range *,
                  double value, struct span, struct diag *);
/* Is it planned, or does a planned one need it? */
bool check_is_needed(const struct dsl_experiment *);
/* check_models.c: what trunks start from, uses and merges. */
void check_models(struct dsl_experiment *, struct diag *);
/* Experiments whose models are made of one another. */
void check_cycles(struct dsl *, struct diag *);
/* check_unused.c: warns of measures that nothing shows. */
void check_unused(struct dsl *, struct diag *);
/* A model with its arguments. */
void check_model(struct arena *, const struct ast_expr *, struct diag *);
/* A schedule that is no variable's name. */
void check_schedule_word(struct arena *, const struct ast_expr *, struct diag *);
/* The experiment's sweeps over what is no setting. */
void check_variables(struct dsl_experiment *, struct diag *);
/* Is a branch point `end`, the end of the trunk? */
bool check_is_end(const struct ast_expr *);
/* Is a branch's length `rest`, to where the trunk ends? */
bool check_is_rest(const struct ast_expr *);
/* A length such as `20 epochs`: its number, and whether it counts epochs. */
bool check_length(const struct ast_expr *, double *number, bool *epochs, struct diag *);
/* Is it a column of the experiment's table? */
bool check_column(const struct dsl_experiment *, const char *name);

/* check_stmt.c: what a statement says by itself, in an experiment or a tier. */
void check_stmts(struct arena *, const struct ast_block *, bool tier, struct diag *);
void check_tier(struct dsl *, const struct ast_block *, struct diag *);
/* Is the number of a branch's continuations one that can be? */
bool check_count(const struct ast_stmt *branch);

/* check_figure.c */
void check_figure(struct dsl *, const struct ast_block *, struct diag *);

#endif
