/* From blocks to experiments: inheritance and the tier's overlays applied.
 *
 * Layers, later ones win: the experiment's ancestors from the root down, the
 * experiment itself, then the tier's settings for all, then the tier's overlays
 * of the ancestors and of the experiment (in each, a base tier before the tier).
 * A setting and a sweep of one name replace each other; branches, merges,
 * measures and lets replace those of the same name; there is one trunk. */
#ifndef MERGESCAPE_DSL_RESOLVE_H
#define MERGESCAPE_DSL_RESOLVE_H

#include "base/diag.h"
#include "dsl/ast.h"
#include "dsl/names.h"

struct dsl_var {
  const char *name;
  const struct ast_stmt *stmt; /* a setting, a sweep or a let */
  /* The sweep's values (sequences such as logspace written out), or one. */
  struct ast_expr *const *values;
  size_t n_values;
  /* What the experiment files say where the tier says something else; else NULL. */
  const struct ast_stmt *paper;
  bool from_tier;
};

struct dsl;

struct dsl_experiment {
  const struct dsl *dsl;
  const struct ast_block *block;
  const char *name;
  struct dsl_var *vars; /* in order of first appearance */
  size_t n_vars, cap_vars;
  const struct ast_stmt *trunk;
  const struct ast_stmt **branches, **uses, **merges, **measures;
  size_t n_branches, cap_branches, n_uses, cap_uses, n_merges, cap_merges, n_measures, cap_measures;
  const struct ast_stmt **wheres; /* all must hold: ancestors' and the tier's add up */
  size_t n_wheres, cap_wheres;
  /* The same experiment as its files alone say it, without the tier: for showing
   * both side by side; of that one itself NULL. */
  struct dsl_experiment *paper;
  enum { DSL_SWEEPS_OPEN, DSL_SWEEPS_BEING_READ, DSL_SWEEPS_KNOWN } sweeps;
  /* A leaf of the inheritance, or drawn by a figure, or what a claim is about; but
   * a leaf of an included file that leaves a setting open is a base for other files. */
  bool planned;
  bool complete;   /* check found no mistake that would stop lowering */
  bool asked;      /* another experiment takes models or data of it */
  const char *unavailable; /* what the engine cannot do yet; NULL: nothing */
  struct span unavailable_at; /* the word that asks for it */
};

struct dsl {
  struct arena *arena;
  const struct ast_program *program;
  struct names blocks;      /* of the program, by kind */
  struct names experiments_by_name;
  struct names bases, drawn; /* experiments that others inherit, figures draw or claims are about */
  const struct ast_block *tiers[8]; /* base first; the chosen one last */
  size_t n_tiers;
  struct dsl_experiment *experiments;
  size_t n_experiments, cap_experiments;
};

/* `tier` NULL: the files' own values.  Mistakes are added to diag; what could
 * be resolved is returned all the same. */
struct dsl *dsl_resolve(struct arena *, const struct ast_program *, const char *tier,
                        struct diag *);

/* Were all experiments read?  If not, that one is unknown follows from a mistake
 * that was reported. */
bool dsl_knows_all(const struct ast_program *);

/* Says that no experiment has this name, and which one is near. */
void dsl_unknown_experiment(const struct dsl *, const char *name, struct span, struct diag *);
/* Was the file included by another one, and not named on the command line? */
bool dsl_is_included(const struct ast_program *, uint32_t file);

struct dsl_experiment *dsl_experiment(const struct dsl *, const char *name); /* or NULL */
const struct dsl_var *dsl_var(const struct dsl_experiment *, const char *name);

/* One combination of the sweeps' values: choice[i] indexes vars[i].values.  The
 * next one, the last sweep fastest; false: that was the last.  Whether the
 * `where` conditions hold is not asked. */
bool dsl_next_point(const struct dsl_experiment *, size_t *choice);

/* Every expression of the experiment and every part of them: values of settings,
 * sweeps and lets, conditions, training, models, measures.  Not where a sweep's
 * values come from. */
typedef void dsl_visit(void *context, const struct ast_expr *);
void dsl_walk(const struct dsl_experiment *, dsl_visit *, void *context);

/* What stands for the values that a mistake has taken from a sweep, so that the
 * rest of the experiment can be checked. */
bool dsl_is_lost(const struct ast_expr *);

/* Do the two say the same, spans apart? */
bool dsl_same_expr(const struct ast_expr *, const struct ast_expr *);

/* logspace(low, high, n) or linspace(low, high, n), ends included, with good
 * arguments: two different numbers (positive for logspace) and a count. */
enum { DSL_MAX_SEQUENCE = 1000 };
bool dsl_sequence(const struct ast_expr *, double *low, double *high, size_t *n);

/* The variable that leads a paired sweep (the first of its statement); itself
 * for any other variable.  The followers take the value of the same tuple. */
const struct dsl_var *dsl_leader(const struct dsl_experiment *, const struct dsl_var *);

/* What stands in for a data set or a model at this tier: the replacement's
 * value and label, or NULL where nothing does. `sort` is "data" or "model". */
const struct ast_stmt *dsl_replacement(const struct dsl *, const char *sort, const char *name);
/* The value of `data` or `model` after the tier's replacement. */
const struct ast_expr *dsl_replaced(const struct dsl *, const struct dsl_var *,
                                    const struct ast_expr *value);
/* The statement that decides the value at this tier: the tier's replacement where
 * one thing has a stand-in, else the experiment's. */
const struct ast_stmt *dsl_said_by(const struct dsl *, const struct dsl_var *);

#endif
