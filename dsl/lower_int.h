/* What lower.c, lower_point.c and lower_figure.c share. */
#ifndef MERGESCAPE_DSL_LOWER_INT_H
#define MERGESCAPE_DSL_LOWER_INT_H

#include "dsl/check.h"
#include "dsl/compile.h"
#include "dsl/lower.h"
#include "dsl/rows.h"

/* An experiment's table while its rows are collected. */
struct lower_table {
  const struct dsl_experiment *e;
  struct plan_column *columns;
  size_t n_columns;
  const struct dsl_var **vars; /* of the constant columns; NULL for epoch and step */
  struct compile_slots slots;  /* what a row reads */
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

/* Steps of the plan by attributes, ascending. */
enum { LOWER_MAX_ATTRS = 32 };
struct lower_attrs {
  struct plan_attr list[LOWER_MAX_ATTRS];
  uint32_t n;
};

/* One sweep point of an experiment: its settings, and the steps that all its rows
 * share.  Without a trunk it has no data and no model of its own. */
struct lower_run {
  struct lowering *l;
  struct formula_point at;
  const char *text; /* "lr=0.1 batch=32" */
  uint32_t data, start;
  double train_size, batch, steps_per_epoch, seed, crop_padding;
  unsigned classes, channels, size; /* of an image: height and width; of a text: channels 0 */
  const char *augment;
  bool has_batchnorm;
  struct lower_attrs optimizer;
  const struct ast_expr *data_value, *model_value;
  double every, length;  /* of the trunk, in steps */
  uint32_t *checkpoints; /* the step that ends at (k + 1) * every */
  size_t n_checkpoints, cap_checkpoints;
  const struct lower_models *models; /* at checkpoint models_at, for those who ask; or NULL */
  size_t models_at;
};

/* A run that another experiment asked for; run NULL: the place is empty. */
struct lower_place {
  struct lower_run *run;
  size_t point; /* counts the experiment's sweep points */
};

/* A model, and whose data and settings it was made with. */
struct lower_model {
  uint32_t step;
  const struct lower_run *run;
  const struct lower_model *parents; /* of a merge */
  size_t n_parents;
};

struct lower_group {
  struct lower_model *v;
  size_t n;
};

/* All models of one row, by their place in the experiment. */
struct lower_models {
  struct lower_model trunk, start;
  struct lower_group *branches, *uses, *merges; /* a merge's v is NULL until it is made */
  uint32_t ***snapshots; /* of each branch's members, the end last */
  size_t *n_snapshots;   /* of each branch */
};

struct lowering {
  struct dsl *dsl;
  struct arena *arena;
  struct plan *plan;
  struct diag *diag;
  struct lower_result *result;
  struct lower_place *places; /* hashed */
  size_t n_places, n_runs;
};

/* lower_point.c: steps and rows of one sweep point. */
bool lower_point(struct lowering *, struct lower_table *, const struct formula_point *,
                 const char *text);
/* "lr=0.1 batch=32": the sweeps' values at the point. */
char *lower_point_text(struct lowering *, const struct formula_point *);

/* lower_run.c */
bool lower_run(struct lowering *, const struct formula_point *, const char *text,
               struct lower_run *);
/* The data step of an experiment, at its first sweep point. */
bool lower_data_of(struct lowering *, const struct dsl_experiment *, uint32_t *data,
                   unsigned *classes);
/* The trunk's checkpoint: the k-th, counted from 0, in steps (k + 1) * every. */
uint32_t lower_checkpoint(struct lower_run *, size_t k);
bool lower_length(const struct lower_run *, const struct ast_expr *, double *steps);
void lower_put(struct lower_attrs *, enum plan_attr_id, double num, const char *str);
uint32_t lower_add(const struct lower_run *, enum plan_kind, const struct lower_attrs *,
                   const uint32_t *inputs, uint32_t n_inputs, const char *text, struct span);
/* All parameters of a thing, said or by default; models are left out. */
bool lower_params(const struct lower_run *, struct lower_attrs *, enum words_type sort,
                  const struct ast_expr *);
/* A training segment's attributes; `schedule` and its first and last step. */
bool lower_training(const struct lower_run *, struct lower_attrs *, const struct ast_expr *schedule,
                    double schedule_from, double schedule_to, double from, double to,
                    double stream);

/* lower_models.c: branches, uses and merges at a checkpoint (SIZE_MAX: no trunk). */
bool lower_models(struct lower_run *, size_t checkpoint, const char *text, struct lower_models *);
const struct lower_group *lower_group(const struct lower_models *, const struct model_name *,
                                      struct lower_group *one);
/* linear(ends, alpha), its batch norm as a merge says it. */
void lower_between(struct lower_run *, const struct lower_model ends[2], double alpha,
                   const char *batchnorm, const char *text, struct span, struct lower_model *);
/* Checkpoints from which the experiment's branches start; without branches, all. */
struct lower_points {
  size_t *k;
  size_t n, cap;
};
bool lower_row_points(struct lower_run *, struct lower_points *);
/* What `trunk of base(lr = 0.1)` is at a point of the asking experiment. */
bool lower_reference(struct lowering *, const struct formula_point *, const struct ast_expr *of,
                     struct lower_group *);

/* Are two models, of other experiments or made narrower by fusing, of one
 * architecture, as the merge or measurement `name` needs?  Fusing does not mind the width.
 * false: a diagnostic. */
bool lower_same_network(const struct lower_run *, const char *name, struct span, uint32_t first,
                        uint32_t second);

/* lower_fuse.c */
bool lower_fuses(const char *method);
/* false: one of the models has units that the method does not know (diagnostic). */
bool lower_check_fusable(const struct lower_run *, const struct ast_stmt *merge,
                         const struct lower_model *, size_t n);
/* What an init says of the network with a share of another one's units; `named`: what the share is
 * called.  false: it is no whole number of units. */
bool lower_narrower(const struct plan_step *wide, double keep, const char *named, struct span,
                    struct lower_attrs *, struct diag *);
/* Its init: the merge's own first input, from which all that follows knows its architecture. */
bool lower_add_narrower(const struct lower_run *, const struct ast_stmt *merge, double keep,
                        uint32_t model, const char *text, uint32_t *init);

/* A model that has another task's classifier, fused as a narrower model's own source was: then its
 * classifier reads that one's units.  UINT32_MAX after a diagnostic. */
uint32_t lower_narrow_head(const struct lower_run *, uint32_t narrow, uint32_t head,
                           const char *text, struct span);

/* The figure's step; tables of its panels' experiments are in the result. */
void lower_figure(struct lowering *, const struct ast_block *);
void lower_claim(struct lowering *, const struct ast_block *);
/* An experiment's table step; UINT32_MAX: it has none. */
uint32_t lower_table_of(const struct lowering *, const char *experiment);
/* The table step of one experiment, the union step of several; all are available. */
uint32_t lower_rows(struct lowering *, const struct rows *, struct span asked_at);

/* "mlp(width=64)": what the experiment says of a thing, before any replacement. */
const char *lower_thing_text(struct lowering *, const struct formula_point *,
                             const struct ast_expr *);

/* Value of a setting at the point: its expression after the tier's replacement;
 * NULL where the experiment does not say it. */
const struct ast_expr *lower_value(const struct lowering *, const struct formula_point *,
                                   const char *setting);

#endif
