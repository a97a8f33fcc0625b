/* What the commands share: the files read, the plan, the store.  main.c has the
 * functions. */
#ifndef MERGESCAPE_SESSION_H
#define MERGESCAPE_SESSION_H

#include "base/diag.h"
#include "dsl/lower.h"
#include "figure/figure.h"
#include "options.h"
#include "plan/explain.h"
#include "run/run.h"

enum {
  EXIT_DONE = 0,
  EXIT_CHECK = 1,
  EXIT_ENVIRONMENT = 2,
  EXIT_EXPERIMENT = 3,
  EXIT_INTERRUPTED = 130
};

/* Everything that a command works on. */
struct session {
  struct arena *arena;
  struct options options;
  struct diag *diag;
  struct ast_program *program;
  struct dsl *dsl;
  const char *versions[PLAN_KIND_COUNT];
  struct plan *plan;
  struct lower_result lowered;
  bool *wanted;
  struct store *store;
  struct bind *bind;
  struct run_kind kinds[PLAN_KIND_COUNT];
  struct figure_context figures;
};

/* Prints what was found and forgets it; true: nothing was an error. */
bool session_report(struct session *);
bool session_has_figures(const struct session *);
/* Marks `wanted`: experiments' tables, or the figures that were asked for. */
bool session_choose(struct session *, bool tables);
bool session_open_store(struct session *);
/* For looking only: see store_view. */
bool session_view_store(struct session *);
/* Can the folder of the figures be written into?  It is made where missing. */
bool session_can_write(struct session *);
/* The same, and is the style there that the wanted figures are drawn with? */
bool session_can_draw(struct session *);
/* As the command line has them. */
struct run_options session_run_options(struct session *);
/* Opens the store, where it is not open, and runs what is wanted; an exit status. */
int session_run(struct session *);
/* Was the figure asked for?  Without --figure: all are. */
bool session_asks_for(const struct session *, unsigned figure);
/* The wanted part of the plan with the states of its steps and what they cost. */
struct explain session_describe(struct session *);

/* The claims, or with --figure those beside the figures, not judged yet; and the tables that
 * judging them reads: tables[lowered.n_claims]. */
struct claims_row;
struct claims_row *session_claims(struct session *, size_t *n, uint32_t *tables,
                                  size_t *n_tables);

/* Runs what the wanted figures and claims need and judges the claims: all that the paper and
 * the report are made of.  An exit status. */
struct paper;
int session_paper(struct session *, struct paper *);

int command_explain(struct session *);
int command_status(struct session *);
int command_why(struct session *);
int command_what_if(struct session *);
int command_verify(struct session *);
int command_claims(struct session *);
int command_weave(struct session *);
int command_report(struct session *);
int command_diff_results(struct session *);
int command_record(struct session *);
int command_export(struct session *);
/* Formats the files in place; `-` reads stdin and writes stdout.  With --check
 * nothing is written, the files that would change are named, and the status is 1
 * where there is one.  A file with an error is left alone, and the others are
 * formatted all the same. */
int command_fmt(const struct options *);
/* Checks the model, the weights and the input against one another, and writes the logits. */
int command_forward(const struct forward_options *);
/* mergescape merge ... and diff ...: read their own options; an exit status. */
int command_merge(int argc, char **argv);
int command_diff(int argc, char **argv);
/* The same of fisher, gram and recalibrate, which the first argument says. */
bool command_measure_find(const char *name);
int command_measure(int argc, char **argv);
int command_evaluate(int argc, char **argv);

#endif
