/* The execution plan: a hash-consed, directed acyclic graph of steps.
 *
 * A step's key is the digest of its kind, its attributes, the keys of its
 * inputs and the version of the code that computes it: never of source bytes,
 * time stamps or commits.  Adding a step whose key is already there returns
 * the one that is there, so what two experiments share is planned once.
 * Inputs are added before the steps that read them, so the order of the steps
 * is an order of execution.  Read-only once built. */
#ifndef MERGESCAPE_PLAN_PLAN_H
#define MERGESCAPE_PLAN_PLAN_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/source.h"
#include "plan/claim.h"
#include "plan/expr.h"

#include <stdbool.h>
#include <stdint.h>

enum plan_kind {
#define KIND(id, name, what) PLAN_##id,
#include "plan/step.def"
  PLAN_KIND_COUNT
};

enum plan_attr_id {
#define ATTR(name, type, meaning) PLAN_A_##name,
#include "plan/step.def"
  PLAN_ATTR_COUNT
};

struct plan_attr {
  enum plan_attr_id id;
  double num;
  const char *str; /* NULL: a number */
};

/* Who asked for a step first: for messages and explain, never for the key. */
struct plan_origin {
  const char *experiment; /* or the figure's name */
  const char *point;      /* "lr=0.1 batch=32 epoch=20"; may be empty */
  struct span span;       /* the statement that it comes from */
  const char *path;       /* file that an init reads; NULL: none */
};

/* What a measure's expression reads in one row: value `value` of the result of
 * input `input`, or a number of the sweep point. */
#define PLAN_SLOT_NUMBER UINT32_MAX
struct plan_slot {
  uint32_t input; /* index into the table step's inputs, or PLAN_SLOT_NUMBER */
  const char *value; /* NULL where it is a number */
  double num;
};

struct plan_cell { /* a constant of a table's row */
  double num;
  const char *str; /* NULL: a number */
};

struct plan_column {
  const char *name;
  bool measured;          /* false: each row has its constant */
  struct plan_expr expr;  /* when measured: over the row's slots */
};

struct plan_table {
  const char *experiment;
  size_t n_columns, n_rows, n_slots; /* slots a row */
  const struct plan_column *columns;
  const struct plan_cell *cells; /* [n_rows][n_columns]; unused where measured */
  const struct plan_slot *slots; /* [n_rows][n_slots] */
};

enum plan_panel_kind {
  PLAN_PANEL_LINES, PLAN_PANEL_SCATTER, PLAN_PANEL_BOX, PLAN_PANEL_HEATMAP, PLAN_PANEL_CONTOUR
};
enum plan_spread {
  PLAN_SPREAD_NONE, PLAN_SPREAD_QUARTILES, PLAN_SPREAD_DECILES, PLAN_SPREAD_RANGE, PLAN_SPREAD_SD,
  PLAN_SPREAD_SE
};

struct plan_axis {
  /* Of the panel's table.  With a statistic: the one column whose values it
   * reduces, NULL where there is not just one (plan_claim_reduced). */
  const char *column;
  const char *label; /* what the axis says, unit included */
  /* A number over the rows of one place; NULL: each row is a point. */
  const struct plan_claim_node *statistic;
  enum plan_spread band; /* of the column's values at one place */
  bool bars;             /* the spread as error bars, not as a band */
  bool log;
  bool fit; /* a least-squares line through the points, with Pearson's r */
};

/* A model's place in a slice.  A column's place is its first number. */
struct plan_mark {
  const char *text;
  struct {
    const char *column; /* NULL: the number */
    double number;
  } at[2]; /* x, y */
};

struct plan_panel {
  const char *name;  /* "a" */
  const char *title; /* may be empty */
  enum plan_panel_kind kind;
  uint32_t table;      /* index into the figure step's inputs */
  const char *omitted; /* not NULL: nothing is drawn but this reason, and table is unused */
  struct plan_axis x, y;
  struct plan_axis z;                /* the colour of heatmaps and contours */
  const char *series, *series_label; /* column that makes the series, or NULL */
  const char *opacity;               /* column that fades early points, or NULL */
  const struct plan_mark *marks;     /* of a contour */
  size_t n_marks;
};

struct plan_figure {
  unsigned number;
  const char *title;
  const char *subtitle; /* the tier and what stands in for the paper's data */
  unsigned columns;     /* of the grid of panels; 0: choose */
  size_t n_panels;
  const struct plan_panel *panels;
};

struct plan_step {
  enum plan_kind kind;
  uint32_t n_attrs, n_inputs;
  const struct plan_attr *attrs; /* ascending by id */
  const uint32_t *inputs;        /* indices of earlier steps */
  const struct plan_table *table;   /* PLAN_TABLE */
  const struct plan_figure *figure; /* PLAN_FIGURE */
  struct hash key;
  struct plan_origin origin;
};

struct plan;

/* versions[kind]: text that changes when the arithmetic behind that kind of
 * step does; it is part of the key.  Not copied. */
struct plan *plan_new(struct arena *, const char *const versions[PLAN_KIND_COUNT]);

/* Copies attrs, inputs, and takes the table's or the figure's pointer as it
 * is (it must live as long as the plan).  `step->key` is ignored.
 * Returns the index of the step. */
uint32_t plan_add_step(struct plan *, const struct plan_step *step);

uint32_t plan_count(const struct plan *);
const struct plan_step *plan_step(const struct plan *, uint32_t index);
/* UINT32_MAX when there is none. */
uint32_t plan_find(const struct plan *, struct hash key);

const char *plan_kind_name(enum plan_kind);
const char *plan_attr_name(enum plan_attr_id);
/* The attribute must be there: asserted. */
double plan_num(const struct plan_step *, enum plan_attr_id);
const char *plan_str(const struct plan_step *, enum plan_attr_id);
const struct plan_attr *plan_attr(const struct plan_step *, enum plan_attr_id); /* or NULL */

/* The INIT step that a model step (init, train, merge) descends from. */
const struct plan_step *plan_model_of(const struct plan *, const struct plan_step *);
/* One line: "train lr=0.1 batch=32 ...": attributes in order. */
char *plan_step_text(struct arena *, const struct plan_step *);
/* The figure's file name without its ending: "fig01". */
char *plan_figure_id(struct arena *, const struct plan_figure *);

/* Marks `wanted[i]` for the targets and all that they need. */
void plan_closure(const struct plan *, const uint32_t *targets, size_t n, bool *wanted);

/* How many experiments' tables need each step, of those that are wanted (NULL: all);
 * asked[plan_count]. */
void plan_asked(const struct plan *, const bool *wanted, uint32_t *asked);

/* Training steps of the optimizer: as planned, and as they would be if every
 * experiment trained for itself all that its table needs. */
struct plan_sharing {
  double steps, steps_unshared;
};
struct plan_sharing plan_sharing(const struct plan *, const bool *wanted);

#endif
