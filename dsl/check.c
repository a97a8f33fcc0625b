#include "dsl/check.h"

#include "dsl/claim.h"
#include "dsl/compile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool check_is_needed(const struct dsl_experiment *e)
{
  return e->planned || e->asked;
}

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

struct leaving {
  struct dsl *dsl;
  struct dsl_experiment *e;
  bool more;
};

/* Measurements, splits, and files that are not there. */
static void leave_out_parts(void *context, const struct ast_expr *x)
{
  struct leaving *l = context;
  if (x->kind == AST_CALL && words_thing(WORDS_MEASUREMENT, x->text)) {
    leave_out(l->dsl, l->e, x, WORDS_MEASUREMENT);
    for (size_t i = 0; i < x->n_args; i++) {
      const struct ast_expr *split = x->args[i].value;
      if (split->kind == AST_OF)
        split = split->args[0].value;
      if (split->kind == AST_NAME && !x->args[i].name.text)
        leave_out(l->dsl, l->e, split, WORDS_SPLIT);
    }
  }
  if (!model_file(x) || l->e->unavailable)
    return;
  const char *path = model_file_path(l->dsl->arena, l->dsl, x);
  if (access(path, R_OK)) {
    l->e->unavailable = arena_printf(l->dsl->arena, "the file %s is not there", path);
    l->e->unavailable_at = x->span;
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
  struct leaving l = {dsl, e, false};
  for (size_t i = 0; i < e->n_merges; i++)
    leave_out(dsl, e, e->merges[i]->value, WORDS_METHOD);
  dsl_walk(e, leave_out_parts, &l);
}

/* What needs an experiment that is left out is left out with it. */
static void inherit_left_out(void *context, const struct ast_expr *x)
{
  struct leaving *l = context;
  const struct dsl_experiment *target = x->kind == AST_OF ? model_target(l->dsl, x) : NULL;
  if (!target || !target->unavailable || l->e->unavailable)
    return;
  l->e->unavailable = target->unavailable;
  l->e->unavailable_at = target->unavailable_at;
  l->more = true;
}

static void leave_out_asking(struct dsl *dsl)
{
  struct leaving l = {.dsl = dsl, .more = true};
  while (l.more) {
    l.more = false;
    for (size_t i = 0; i < dsl->n_experiments; i++) {
      l.e = &dsl->experiments[i];
      if (check_is_needed(l.e))
        dsl_walk(l.e, inherit_left_out, &l);
    }
  }
}

/* A misspelt setting is one mistake, and not two. */
static bool is_misspelt(const struct dsl_experiment *e, const char *setting)
{
  for (size_t i = 0; i < e->block->n_stmts; i++) {
    const struct ast_stmt *s = &e->block->stmts[i];
    if ((s->kind != AST_SETTING && s->kind != AST_SWEEP) || words_setting(s->name.text))
      continue;
    const char *near = words_near_setting(s->name.text);
    if (near && !strcmp(near, setting))
      return true;
  }
  return false;
}

static void check_required(struct arena *a, struct dsl_experiment *e, struct diag *d)
{
  static const char *const names[] = {"data", "model", "lr", "batch"};
  const char *missing = NULL, *first = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!dsl_var(e, names[i]) && !is_misspelt(e, names[i])) {
      first = first ? first : names[i];
      missing = missing ? arena_printf(a, "%s, `%s`", missing, names[i])
                        : arena_printf(a, "`%s`", names[i]);
    }
  if (missing && (e->trunk || !e->n_uses)) {
    diag_error(d, e->block->name.span, "experiment `%s` does not say its %s", e->name, missing);
    diag_hint(d, "add `%s = ...;`, or `sweep %s over ...;`", first, first);
  }
  if (!e->trunk && !e->n_uses) {
    diag_error(d, e->block->name.span, "experiment `%s` has no trunk: nothing is trained", e->name);
    diag_hint(d, "add `trunk every 20 epochs for 200 epochs at constant;`");
  }
  for (size_t i = 0; !e->trunk && e->n_uses && i < e->n_branches; i++) {
    diag_error(d, e->branches[i]->span, "a branch needs a trunk, and `%s` has none", e->name);
    break;
  }
  if (!e->n_measures && !e->asked) {
    diag_error(d, e->block->name.span, "experiment `%s` measures nothing", e->name);
    diag_hint(d, "add `measure fit = loss(trunk, test);`");
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
  if (!e->trunk || !e->trunk->length || e->trunk->length->kind == AST_NAME ||
      !check_length(e->trunk->length, &length, &length_epochs, d))
    return;
  if (e->trunk->every && (e->trunk->every->kind == AST_NAME ||
                          !check_length(e->trunk->every, &trunk_every, &trunk_epochs, d)))
    return;
  for (size_t i = 0; i < e->n_branches; i++) {
    const struct ast_expr *x = e->branches[i]->every;
    if (!x || x->kind == AST_NAME || !check_length(x, &every, &epochs, d))
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
  struct compile_slots slots = {0};
  for (size_t i = 0; i < e->n_measures; i++) {
    struct plan_expr program = {0};
    compile_measure(dsl->arena, e, e->measures[i]->value, &slots, &program, d);
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
    const struct ast_expr *first = formula_follow(&point, e->vars[i].values[0]);
    if (first->kind == AST_NUMBER && first->unit.text)
      continue; /* a let that names a length */
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

/* A mistake that it inherits is reported once; who inherits it is said. */
static void check_experiment(struct dsl *dsl, struct dsl_experiment *e, struct diag *d)
{
  diag_within(d, e->block->extent, "`%s` inherits it", e->name);
  check_available(dsl, e);
  check_required(dsl->arena, e, d);
  check_variables(e, d);
  check_models(e, d);
  check_branch_points(e, d);
  check_numbers(e, d);
  check_measures(dsl, e, d);
  diag_within_end(d);
}

void dsl_check(struct dsl *dsl, struct diag *d)
{
  const struct ast_program *p = dsl->program;
  for (size_t i = 0; i < p->n_blocks; i++)
    if (p->blocks[i].kind == AST_EXPERIMENT)
      check_stmts(dsl->arena, &p->blocks[i], false, d);
    else if (p->blocks[i].kind == AST_TIER)
      check_tier(dsl, &p->blocks[i], d);
  for (size_t i = 0; i < dsl->n_experiments; i++)
    if (check_is_needed(&dsl->experiments[i]) && dsl->experiments[i].complete)
      check_experiment(dsl, &dsl->experiments[i], d);
  check_cycles(dsl, d);
  leave_out_asking(dsl);
  report_left_out(dsl, d);
  for (size_t i = 0; i < p->n_blocks; i++)
    if (p->blocks[i].kind == AST_FIGURE)
      check_figure(dsl, &p->blocks[i], d);
    else if (p->blocks[i].kind == AST_CLAIM)
      check_claim(dsl, &p->blocks[i], d);
  if (!diag_errors(d))
    check_unused(dsl, d);
}
