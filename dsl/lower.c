#include "dsl/lower_int.h"

#include <string.h>

/* Sweep points with a mistake after which the rest of an experiment is given up:
 * most say the same again. */
enum { MAX_WRONG_POINTS = 50 };

/* What others need of an experiment is lowered where they ask. */
static bool is_lowered(const struct dsl_experiment *e)
{
  return e->planned && e->complete && e->n_measures;
}

/* ---- how large it will be ---- */

static double points_of(const struct dsl_experiment *e)
{
  double n = 1;
  for (size_t i = 0; i < e->n_vars; i++)
    if (dsl_leader(e, &e->vars[i]) == &e->vars[i])
      n *= (double)e->vars[i].n_values;
  return n;
}

/* Rows of a sweep point, from lengths alone (units that differ count as one). */
static double rows_of(const struct dsl_experiment *e)
{
  if (!e->trunk)
    return 1;
  const struct ast_stmt *b = e->n_branches ? e->branches[0] : e->trunk;
  if (b->n_values)
    return (double)b->n_values;
  const struct ast_expr *every = b->every ? b->every : e->trunk->length;
  double rows = every->number > 0 ? e->trunk->length->number / every->number : 1;
  return rows < 1 ? 1 : rows;
}

static bool check_size(struct lowering *l, const struct lower_options *o)
{
  double total = 0, largest = 0;
  const struct dsl_experiment *worst = NULL;
  for (size_t i = 0; i < l->dsl->n_experiments; i++) {
    const struct dsl_experiment *e = &l->dsl->experiments[i];
    if (!is_lowered(e))
      continue;
    double models = 1 + (double)e->n_merges;
    for (size_t b = 0; b < e->n_branches; b++)
      models += (double)model_branch_count(e->branches[b]);
    double steps = points_of(e) * rows_of(e) * 2 * models;
    total += steps;
    if (steps > largest) {
      largest = steps;
      worst = e;
    }
  }
  if (total <= o->max_steps)
    return true;
  diag_error(l->diag, worst->block->span,
             "the plan would have about %.0f steps, and the limit is %.0f", total, o->max_steps);
  diag_hint(l->diag, "`%s` alone has %.0f sweep points; if this is what you want, raise the limit "
            "with --max-steps=%.0f", worst->name, points_of(worst), total * 1.1 + 1);
  return false;
}

/* ---- an experiment's table ---- */

static void add_column(struct lower_table *t, const char *name, const struct dsl_var *var)
{
  t->vars[t->n_columns] = var;
  t->columns[t->n_columns++].name = name;
}

static bool begin_table(struct lowering *l, struct lower_table *t)
{
  const struct dsl_experiment *e = t->e;
  size_t room = e->n_vars + e->n_measures + 2;
  t->columns = arena_array(l->arena, room, sizeof *t->columns);
  t->vars = arena_array(l->arena, room, sizeof *t->vars);
  for (size_t i = 0; i < e->n_vars; i++)
    if (e->vars[i].stmt->kind != AST_SETTING)
      add_column(t, e->vars[i].name, &e->vars[i]);
  if (e->trunk) {
    add_column(t, "epoch", NULL);
    add_column(t, "step", NULL);
  }
  for (size_t i = 0; i < e->n_measures; i++) {
    struct plan_column *c = &t->columns[t->n_columns];
    add_column(t, e->measures[i]->name.text, NULL);
    c->measured = true;
    if (!compile_measure(l->arena, e, e->measures[i]->value, &t->slots, &c->expr, l->diag))
      return false;
  }
  return true;
}

const char *lower_thing_text(struct lowering *l, const struct formula_point *at,
                             const struct ast_expr *x)
{
  if (x->kind == AST_OF)
    return arena_printf(l->arena, "%s of %s", lower_thing_text(l, at, x->args[0].value),
                        lower_thing_text(l, at, x->args[1].value));
  if (x->kind == AST_INDEX)
    return arena_printf(l->arena, "%s[%g]", x->text, x->args[0].value->number);
  if (model_file(x))
    return model_file(x);
  if (x->kind != AST_CALL || !x->n_args)
    return x->text;
  char *text = arena_printf(l->arena, "%s(", x->text);
  for (size_t i = 0; i < x->n_args; i++) {
    const struct ast_expr *value = x->args[i].value;
    double number;
    text = arena_printf(l->arena, "%s%s%s=", text, i ? ", " : "", x->args[i].name.text);
    if (value->kind == AST_NAME && !dsl_var(at->experiment, value->text))
      text = arena_printf(l->arena, "%s%s", text, value->text);
    else if (formula_number(at, value, &number, l->diag))
      text = arena_printf(l->arena, "%s%g", text, number);
  }
  return arena_printf(l->arena, "%s)", text);
}

char *lower_point_text(struct lowering *l, const struct formula_point *at)
{
  const struct dsl_experiment *e = at->experiment;
  char *text = arena_strdup(l->arena, "");
  for (size_t i = 0; i < e->n_vars; i++) {
    struct formula_value v = {0};
    if (e->vars[i].stmt->kind != AST_SWEEP)
      continue;
    const struct ast_expr *x = e->vars[i].values[at->choice[i]];
    const struct words_setting *w = words_setting(e->vars[i].name);
    if (w && w->type > WORDS_LENGTH)
      v.str = lower_thing_text(l, at, x);
    else if (!formula_value(at, &e->vars[i], &v, l->diag))
      continue;
    const char *space = *text ? " " : "";
    text = v.str ? arena_printf(l->arena, "%s%s%s=%s", text, space, e->vars[i].name, v.str)
                 : arena_printf(l->arena, "%s%s%s=%g", text, space, e->vars[i].name, v.num);
  }
  return text;
}

/* Do all `where` conditions hold? */
static bool is_point(const struct formula_point *at, bool *holds, struct diag *d)
{
  const struct dsl_experiment *e = at->experiment;
  *holds = true;
  for (size_t i = 0; i < e->n_wheres && *holds; i++)
    if (!formula_condition(at, e->wheres[i]->value, holds, d))
      return false;
  return true;
}

static void end_table(struct lowering *l, struct lower_table *t)
{
  struct plan_table *table = arena_alloc(l->arena, sizeof *table);
  *table = (struct plan_table){
      .experiment = t->e->name,
      .n_columns = t->n_columns,
      .n_rows = t->n_rows,
      .n_slots = t->slots.n,
      .columns = t->columns,
      .cells = t->cells,
      .slots = t->reads,
  };
  struct plan_step s = {
      .kind = PLAN_TABLE,
      .n_inputs = (uint32_t)t->n_inputs,
      .inputs = t->inputs,
      .table = table,
      .origin = {.experiment = t->e->name, .point = "", .span = t->e->block->span},
  };
  struct lower_target target = {t->e->name, 0, plan_add_step(l->plan, &s), t->e->unavailable};
  ARENA_PUSH(l->arena, l->result->targets, l->result->n, l->result->cap, target);
}

/* What the rows of a sweep point read: compared between points that differ in one
 * sweep only, it tells whether anything depends on it. */
struct reads {
  size_t from, n, rows;
  bool known;
};

static bool same_reads(const struct lower_table *t, const struct reads *a, const struct reads *b)
{
  if (a->n != b->n || a->rows != b->rows)
    return false;
  for (size_t i = 0; i < a->n; i++) {
    const struct plan_slot *x = &t->reads[a->from + i], *y = &t->reads[b->from + i];
    if (x->input != y->input || (x->value ? strcmp(x->value, y->value) != 0 : x->num != y->num))
      return false;
  }
  return true;
}

/* The sweep (by its leader) whose second value this point has, all others having
 * their first; SIZE_MAX: the first point; SIZE_MAX - 1: another point. */
static size_t only_change(const struct dsl_experiment *e, const size_t *choice)
{
  size_t changed = SIZE_MAX;
  for (size_t i = 0; i < e->n_vars; i++) {
    if (!choice[i] || dsl_leader(e, &e->vars[i]) != &e->vars[i])
      continue;
    if (choice[i] > 1 || changed != SIZE_MAX)
      return SIZE_MAX - 1;
    changed = i;
  }
  return changed;
}

static void warn_unused(struct lowering *l, const struct lower_table *t, const struct dsl_var *v)
{
  const struct ast_stmt *s = v->stmt;
  const char *names = s->n_names ? s->names[0].text : v->name;
  for (size_t i = 1; i < s->n_names; i++)
    names = arena_printf(l->arena, "%s%s%s", names, i + 1 < s->n_names ? "`, `" : "` and `",
                         s->names[i].text);
  diag_warning(l->diag, s->span, "no result of `%s` depends on `%s`, which %s swept here",
               t->e->name, names, s->n_names > 1 ? "are" : "is");
  diag_hint(l->diag, "every value of it gives the same models and the same measures");
}

static bool lower_experiment(struct lowering *l, const struct dsl_experiment *e)
{
  struct lower_table t = {.e = e};
  if (!begin_table(l, &t))
    return false;
  size_t *choice = arena_array(l->arena, e->n_vars + 1, sizeof *choice);
  struct formula_point at = {e, choice};
  struct reads first = {0};
  unsigned wrong = 0;
  do {
    bool holds;
    struct reads here = {.from = t.n_reads, .rows = t.n_rows, .known = true};
    if (!is_point(&at, &holds, l->diag))
      wrong++;
    else if (holds)
      wrong += !lower_point(l, &t, &at, lower_point_text(l, &at));
    here.n = t.n_reads - here.from;
    here.rows = t.n_rows - here.rows;
    size_t changed = only_change(e, choice);
    if (changed == SIZE_MAX && here.rows)
      first = here;
    else if (changed < e->n_vars && first.known && here.rows && same_reads(&t, &first, &here))
      warn_unused(l, &t, &e->vars[changed]);
  } while (wrong < MAX_WRONG_POINTS && dsl_next_point(e, choice));
  if (!wrong && !t.n_rows) {
    diag_error(l->diag, e->wheres[e->n_wheres - 1]->span,
               "no sweep point of `%s` meets its conditions", e->name);
    return false;
  }
  if (!wrong)
    end_table(l, &t);
  return !wrong;
}

bool dsl_lower(struct dsl *dsl, struct plan *plan, const struct lower_options *o,
               struct lower_result *result, struct diag *d)
{
  struct lowering l = {.dsl = dsl, .arena = dsl->arena, .plan = plan, .diag = d, .result = result};
  unsigned errors = diag_errors(d);
  if (!check_size(&l, o))
    return false;
  for (size_t i = 0; i < dsl->n_experiments; i++)
    if (is_lowered(&dsl->experiments[i]))
      lower_experiment(&l, &dsl->experiments[i]);
  if (diag_errors(d) > errors)
    return false;
  for (size_t i = 0; i < dsl->program->n_blocks; i++)
    if (dsl->program->blocks[i].kind == AST_FIGURE)
      lower_figure(&l, &dsl->program->blocks[i]);
    else if (dsl->program->blocks[i].kind == AST_CLAIM)
      lower_claim(&l, &dsl->program->blocks[i]);
  return diag_errors(d) == errors;
}
