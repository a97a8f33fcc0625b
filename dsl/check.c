#include "dsl/check.h"

#include "dsl/claim.h"
#include "dsl/formula.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void leave_out(struct dsl *dsl, struct dsl_experiment *e, const struct ast_expr *x,
                      enum words_type sort)
{
  const struct words_thing *t = x->text ? words_thing(sort, x->text) : NULL;
  if (!t || t->available || e->unavailable)
    return;
  e->unavailable = arena_printf(dsl->arena, "%s %s is not available yet", words_sort_name(sort),
                                x->text);
  e->unavailable_at = x->text_span;
}

/* One warning a word, with all the experiments that it leaves out. */
static void report_left_out(const struct dsl *dsl, struct diag *d)
{
  for (size_t i = 0; i < dsl->n_experiments; i++) {
    const struct dsl_experiment *e = &dsl->experiments[i];
    char *names = NULL;
    for (size_t k = 0; e->unavailable && k < dsl->n_experiments; k++) {
      const struct dsl_experiment *o = &dsl->experiments[k];
      if (!o->unavailable || o->unavailable_at.file != e->unavailable_at.file ||
          o->unavailable_at.begin != e->unavailable_at.begin)
        continue;
      if (k < i)
        break; /* said before */
      names = names ? arena_printf(dsl->arena, "%s, `%s`", names, o->name)
                    : arena_printf(dsl->arena, "`%s`", o->name);
    }
    if (names)
      diag_warning(d, e->unavailable_at, "%s; left out: %s", e->unavailable, names);
  }
}

static void check_available(struct dsl *dsl, struct dsl_experiment *e)
{
  for (size_t i = 0; i < e->n_vars; i++) {
    const struct words_setting *w = words_setting(e->vars[i].name);
    if (!w || w->type < WORDS_DATASET)
      continue;
    for (size_t k = 0; k < e->vars[i].n_values; k++)
      leave_out(dsl, e, dsl_replaced(dsl, &e->vars[i], e->vars[i].values[k]), w->type);
  }
  if (e->trunk && e->trunk->schedule)
    leave_out(dsl, e, e->trunk->schedule, WORDS_SCHEDULE);
  for (size_t i = 0; i < e->n_branches; i++)
    leave_out(dsl, e, e->branches[i]->schedule, WORDS_SCHEDULE);
}

static void check_required(struct arena *a, struct dsl_experiment *e, struct diag *d)
{
  static const char *const names[] = {"data", "model", "lr", "batch"};
  const char *missing = NULL, *first = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!dsl_var(e, names[i])) {
      first = first ? first : names[i];
      missing = missing ? arena_printf(a, "%s, `%s`", missing, names[i])
                        : arena_printf(a, "`%s`", names[i]);
    }
  if (missing) {
    diag_error(d, e->block->name.span, "experiment `%s` does not say its %s", e->name, missing);
    diag_hint(d, "add `%s = ...;`, or `sweep %s over ...;`", first, first);
  }
  if (!e->trunk) {
    diag_error(d, e->block->name.span, "experiment `%s` has no trunk: nothing is trained", e->name);
    diag_hint(d, "add `trunk every 20 epochs for 200 epochs at constant;`");
  }
  if (!e->n_measures) {
    diag_error(d, e->block->name.span, "experiment `%s` measures nothing", e->name);
    diag_hint(d, "add `measure fit = loss(trunk, test);`");
  }
}

static void unknown_branch(struct arena *a, const struct dsl_experiment *e,
                           const struct ast_expr *x, struct diag *d)
{
  if (x->kind != AST_NAME) {
    diag_error(d, x->span, "the name of a branch is expected here");
    return;
  }
  if (formula_find(e->merges, e->n_merges, x->text) != SIZE_MAX) {
    diag_error(d, x->span, "`%s` is a merge: only the ends of branches can be merged", x->text);
    return;
  }
  const char **names = arena_array(a, e->n_branches + 1, sizeof *names);
  for (size_t i = 0; i < e->n_branches; i++)
    names[i] = e->branches[i]->name.text;
  diag_error(d, x->span, "no branch is called `%s`", x->text);
  const char *near = diag_nearest(x->text, names, e->n_branches);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
}

/* How many models a merge has; SIZE_MAX where that is unknown after a mistake. */
static size_t count_models(struct arena *a, const struct dsl_experiment *e,
                           const struct ast_expr *call, const struct ast_stmt **branch,
                           struct diag *d)
{
  size_t models = 0;
  for (size_t k = 0; k < call->n_args; k++) {
    const struct ast_expr *x = call->args[k].value;
    if (call->args[k].name.text)
      continue;
    size_t b = x->kind == AST_NAME ? formula_find(e->branches, e->n_branches, x->text) : SIZE_MAX;
    if (b == SIZE_MAX) {
      unknown_branch(a, e, x, d);
      return SIZE_MAX;
    }
    *branch = e->branches[b];
    if (!check_count(*branch))
      return SIZE_MAX;
    models += formula_branch_count(*branch);
  }
  return models;
}

/* A number that would be ignored must not look as if it counted. */
static void check_alpha(const struct ast_expr *call, size_t models, struct diag *d)
{
  for (size_t i = 0; i < call->n_args && models > 2 && models != SIZE_MAX; i++)
    if (call->args[i].name.text && !strcmp(call->args[i].name.text, "alpha")) {
      diag_error(d, call->args[i].value->span,
                 "`alpha` weighs the second of two models, and this merge has %zu", models);
      diag_hint(d, "leave it out: of more than two models the mean is taken");
    }
}

static void check_merge_names(struct arena *a, struct dsl_experiment *e, struct diag *d)
{
  for (size_t i = 0; i < e->n_merges; i++) {
    const struct ast_expr *call = e->merges[i]->value;
    const struct ast_stmt *branch = NULL;
    size_t models = call->kind == AST_CALL ? count_models(a, e, call, &branch, d) : SIZE_MAX;
    if (models >= 2) {
      check_alpha(call, models, d);
      continue;
    }
    diag_error(d, call->span, "`%s` merges two models or more, not %zu", call->text, models);
    if (branch)
      diag_note(d, branch->span, "`%s` is one model; write `%s[2]`", branch->name.text,
                branch->name.text);
    else
      diag_hint(d, "name a branch: %s(ends)", call->text);
  }
}

/* Is `every` a whole multiple of `of`, as decimals are? */
static bool is_multiple(double every, double of)
{
  double k = every / of;
  return fabs(k - round(k)) <= 1e-9 * k;
}

/* Branch points are checkpoints of the trunk: the k-th at k * every. */
static void check_branch_points(struct dsl_experiment *e, struct diag *d)
{
  double trunk_every = 0, length = 0, every;
  bool trunk_epochs = false, length_epochs, epochs;
  if (!e->trunk || !e->trunk->length || !check_length(e->trunk->length, &length, &length_epochs, d))
    return;
  if (e->trunk->every && !check_length(e->trunk->every, &trunk_every, &trunk_epochs, d))
    return;
  for (size_t i = 0; i < e->n_branches; i++) {
    const struct ast_expr *x = e->branches[i]->every;
    if (!x || !check_length(x, &every, &epochs, d))
      continue;
    if (epochs == length_epochs && every > length)
      diag_error(d, x->span, "the trunk of `%s` ends before its first branch point", e->name);
    else if (trunk_every > 0 && epochs == trunk_epochs && !is_multiple(every, trunk_every))
      diag_error(d, x->span, "a branch point must be a checkpoint of the trunk");
    else
      continue;
    diag_note(d, e->trunk->span, "the trunk of `%s`", e->name);
  }
}

static void check_measures(struct dsl *dsl, struct dsl_experiment *e, struct diag *d)
{
  struct formula_slots slots = {0};
  for (size_t i = 0; i < e->n_measures; i++) {
    struct plan_expr program = {0};
    formula_compile(dsl->arena, e, e->measures[i]->value, &slots, &program, d);
  }
}

static void check_numbers(struct dsl_experiment *e, struct diag *d)
{
  size_t *choice = calloc(e->n_vars + 1, sizeof *choice);
  struct formula_point point = {e, choice};
  for (size_t i = 0; choice && i < e->n_vars; i++) {
    const struct words_setting *w = words_setting(e->vars[i].name);
    if (e->vars[i].stmt->kind != AST_LET && (!w || w->type > WORDS_COUNT))
      continue;
    for (size_t k = 0; k < e->vars[i].n_values; k++)
      if (!formula_is_literal(e->vars[i].values[k]) || e->vars[i].stmt->kind == AST_LET) {
        double value;
        formula_number(&point, e->vars[i].values[k], &value, d);
      }
  }
  for (size_t i = 0; choice && i < e->n_wheres; i++) {
    bool holds;
    formula_condition(&point, e->wheres[i]->value, &holds, d);
  }
  free(choice);
}

static void check_experiment(struct dsl *dsl, struct dsl_experiment *e, struct diag *d)
{
  check_available(dsl, e);
  check_required(dsl->arena, e, d);
  check_merge_names(dsl->arena, e, d);
  check_branch_points(e, d);
  check_numbers(e, d);
  check_measures(dsl, e, d);
}

void dsl_check(struct dsl *dsl, struct diag *d)
{
  const struct ast_program *p = dsl->program;
  for (size_t i = 0; i < p->n_blocks; i++)
    if (p->blocks[i].kind == AST_EXPERIMENT)
      check_stmts(dsl->arena, &p->blocks[i], d);
    else if (p->blocks[i].kind == AST_TIER)
      check_tier(dsl, &p->blocks[i], d);
  for (size_t i = 0; i < dsl->n_experiments; i++)
    if (dsl->experiments[i].planned && dsl->experiments[i].complete)
      check_experiment(dsl, &dsl->experiments[i], d);
  report_left_out(dsl, d);
  for (size_t i = 0; i < p->n_blocks; i++)
    if (p->blocks[i].kind == AST_FIGURE)
      check_figure(dsl, &p->blocks[i], d);
    else if (p->blocks[i].kind == AST_CLAIM)
      check_claim(dsl, &p->blocks[i], d);
}
