/* Models: what a trunk starts from, those of other experiments, merges; and the
 * variables that an experiment makes for itself. */
#include "dsl/check.h"
#include "dsl/model.h"

#include <string.h>

/* ---- variables ---- */

struct search {
  const struct dsl_experiment *e;
  const struct dsl_var *var;
  bool found;
};

/* Is it named, or does it say which sweep point of another experiment is meant? */
static void look_for(void *context, const struct ast_expr *x)
{
  struct search *s = context;
  if (x->kind == AST_NAME && !strcmp(x->text, s->var->name))
    s->found = true;
  const struct dsl_experiment *target = x->kind == AST_OF ? model_target(s->e->dsl, x) : NULL;
  const struct dsl_var *theirs = target ? dsl_var(target, s->var->name) : NULL;
  s->found |= theirs && theirs->stmt->kind == AST_SWEEP;
}

static struct span name_span(const struct dsl_var *v)
{
  const struct ast_stmt *s = v->stmt;
  for (size_t i = 0; i < s->n_names; i++)
    if (!strcmp(s->names[i].text, v->name))
      return s->names[i].span;
  return s->name.span;
}

static void check_variable(struct dsl_experiment *e, const struct dsl_var *v, struct diag *d)
{
  struct search s = {e, v, false};
  dsl_walk(e, look_for, &s);
  for (size_t i = 0; i < e->block->n_stmts; i++) /* two of one name: reported */
    s.found |= e->block->stmts[i].kind == AST_LET &&
               !strcmp(e->block->stmts[i].name.text, v->name);
  if (s.found)
    return;
  const char *near = words_near_setting(v->name);
  diag_error(d, name_span(v), "`%s` is no setting, and nothing in `%s` uses it", v->name, e->name);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
  else
    diag_hint(d, "the settings are: %s", words_settings(e->dsl->arena));
}

/* A setting that leaves its pair would leave the other swept by itself. */
static void check_pair(struct dsl_experiment *e, const struct dsl_var *v, struct diag *d)
{
  for (size_t i = 0; i < v->stmt->n_names; i++) {
    const struct dsl_var *other = dsl_var(e, v->stmt->names[i].text);
    if (!other || other->stmt == v->stmt)
      continue;
    diag_error(d, other->stmt->span, "`%s` is swept together with `%s`: say what becomes of both",
               other->name, v->name);
    diag_note(d, v->stmt->span, "the sweep of both");
    return;
  }
}

void check_variables(struct dsl_experiment *e, struct diag *d)
{
  for (size_t i = 0; i < e->n_vars; i++) {
    const struct dsl_var *v = &e->vars[i];
    if (v->stmt->kind == AST_SWEEP && !words_setting(v->name))
      check_variable(e, v, d);
    check_pair(e, v, d);
  }
}

/* ---- schedules and lengths that variables hold ---- */

static void check_schedule_name(struct dsl_experiment *e, const struct ast_expr *x, struct diag *d)
{
  const struct dsl_var *v = x && x->kind == AST_NAME ? dsl_var(e, x->text) : NULL;
  if (!x || x->kind != AST_NAME || words_thing(WORDS_SCHEDULE, x->text))
    return;
  if (!v)
    check_schedule_word(e->dsl->arena, x, d);
  for (size_t k = 0; v && k < v->n_values; k++)
    if (!dsl_is_lost(v->values[k]))
      check_schedule_word(e->dsl->arena, v->values[k], d);
}

static void check_length_name(struct dsl_experiment *e, const struct ast_expr *x, bool rest,
                              struct diag *d)
{
  if (!x || x->kind != AST_NAME || (rest && check_is_rest(x)))
    return;
  size_t *choice = arena_array(e->dsl->arena, e->n_vars + 1, sizeof *choice);
  struct formula_point point = {e, choice};
  double number;
  bool epochs;
  formula_length(&point, x, &number, &epochs, d);
}

static void check_trunk_schedule(const struct dsl_experiment *e, const struct ast_expr *x,
                                 struct diag *d)
{
  const struct dsl_var *v = x->kind == AST_NAME ? dsl_var(e, x->text) : NULL;
  for (size_t k = 0; k < (v ? v->n_values : 1); k++) {
    const struct ast_expr *said = v ? v->values[k] : x;
    if (said->text && !strcmp(said->text, "continued"))
      diag_error(d, said->span, "a trunk has no schedule to go on with: `continued` is for "
                 "branches");
  }
}

static void check_training(struct dsl_experiment *e, struct diag *d)
{
  for (size_t i = 0; e->trunk && i <= e->n_branches; i++) {
    const struct ast_stmt *s = i ? e->branches[i - 1] : e->trunk;
    check_schedule_name(e, s->schedule, d);
    check_length_name(e, s->every, false, d);
    if (s == e->trunk && s->length && check_is_rest(s->length))
      diag_error(d, s->length->span, "how long a trunk is must be said: `rest` is for branches");
    else
      check_length_name(e, s->length, true, d);
    check_length_name(e, s->snapshots, false, d);
    for (size_t k = 0; k < s->n_values; k++)
      if (!check_is_end(s->values[k]))
        check_length_name(e, s->values[k], false, d);
    if (s == e->trunk && s->schedule)
      check_trunk_schedule(e, s->schedule, d);
  }
}

/* ---- other experiments ---- */

static void check_one_model(struct dsl_experiment *e, const struct ast_expr *of, struct diag *d)
{
  struct model_name m;
  const struct dsl_experiment *target = model_target(e->dsl, of);
  if (!model_find(target, of->args[0].value, &m, d) || model_count(target, &m) == 1)
    return;
  diag_error(d, of->span, "a trunk starts from one model, and `%s` are %zu",
             of->args[0].value->text, model_count(target, &m));
  diag_hint(d, "pick one: `%s[0] of %s`", of->args[0].value->text, target->name);
}

static void check_start_model(struct dsl_experiment *e, struct diag *d)
{
  const struct dsl_var *v = dsl_var(e, "start");
  for (size_t k = 0; v && e->trunk && k < v->n_values; k++)
    if (v->values[k]->kind == AST_OF && model_check_reference(e, v->values[k], d))
      check_one_model(e, v->values[k], d);
}

static void check_uses(struct dsl_experiment *e, struct diag *d)
{
  for (size_t i = 0; i < e->n_uses; i++) {
    const struct ast_expr *x = e->uses[i]->value;
    if (x->kind == AST_OF) {
      model_check_reference(e, x, d);
      continue;
    }
    diag_error(d, x->span, "a model of another experiment is expected here");
    diag_hint(d, "such as `use %s = trunk of pretraining;`", e->uses[i]->name.text);
  }
}

/* ---- merges ---- */

/* Does the merge's making lead back to itself? */
static bool is_made_of(const struct dsl_experiment *e, const struct ast_expr *call,
                       const struct ast_stmt *merge, unsigned depth)
{
  for (size_t i = 0; call->kind == AST_CALL && i < call->n_args; i++) {
    const struct ast_expr *x = call->args[i].value;
    size_t m = x->text && (x->kind == AST_NAME || x->kind == AST_INDEX)
                   ? model_index(e->merges, e->n_merges, x->text) : SIZE_MAX;
    if (m == SIZE_MAX)
      continue;
    if (e->merges[m] == merge || depth > e->n_merges ||
        is_made_of(e, e->merges[m]->value, merge, depth + 1))
      return true;
  }
  return false;
}

/* A number that would be ignored must not look as if it counted. */
static void check_alpha(const struct ast_expr *call, size_t models, struct diag *d)
{
  for (size_t i = 0; i < call->n_args && models > 2; i++)
    if (call->args[i].name.text && !strcmp(call->args[i].name.text, "alpha")) {
      diag_error(d, call->args[i].value->span,
                 "`alpha` weighs the second of two models, and this merge has %zu", models);
      diag_hint(d, "leave it out: of more than two models the mean is taken");
    }
}

static void check_samples(const struct ast_expr *call, struct diag *d)
{
  const struct ast_expr *samples = NULL;
  for (size_t i = 0; i < call->n_args && !strcmp(call->text, "intra_fusion"); i++) {
    const struct ast_expr *x = call->args[i].value;
    const char *name = call->args[i].name.text;
    if (name && !strcmp(name, "importance") && x->text && !strcmp(x->text, "taylor"))
      return;
    if (name && !strcmp(name, "samples"))
      samples = x;
  }
  if (!samples)
    return;
  diag_error(d, samples->span, "`samples` are those whose gradient is taken, and none is");
  diag_hint(d, "`importance = taylor` takes it; leave `samples` out otherwise");
}

/* One coefficient for all models, or one for each. */
static void check_coefficients(const struct ast_expr *call, size_t models, struct diag *d)
{
  const struct words_thing *method = words_thing(WORDS_METHOD, call->text);
  for (size_t i = 0; i < call->n_args; i++) {
    const struct ast_expr *x = call->args[i].value;
    const char *name = call->args[i].name.text;
    const struct words_param *p = name ? words_param(method, name) : NULL;
    if (!p || p->type != WORDS_NUMBERS)
      continue;
    const bool one_for_all = p->attr != PLAN_A_coefficients;
    if (x->kind != AST_TUPLE && !one_for_all) {
      diag_error(d, x->span, "`%s` are numbers in parentheses, one for each model", name);
    } else if (x->kind == AST_TUPLE && x->n_args != models) {
      diag_error(d, x->span, "`%s` has %zu numbers, and this merge has %zu model%s", name,
                 x->n_args, models, models == 1 ? "" : "s");
      diag_hint(d, "give %s, in the models' order",
                one_for_all ? "one for all or one for each" : "one for each");
    }
    for (size_t k = 0; !one_for_all && k < call->n_args; k++)
      if (call->args[k].name.text && !strcmp(call->args[k].name.text, "alpha")) {
        diag_error(d, call->args[k].value->span, "`alpha` and `%s` both weigh the models", name);
        diag_note(d, x->span, "the other one");
      }
  }
}

/* swa averages the snapshots of a branch of its own experiment. */
static void check_snapshots(const struct dsl_experiment *e, const struct ast_expr *x,
                            const struct model_name *m, struct diag *d)
{
  if (m->kind != MODEL_BRANCH || x->kind != AST_NAME) {
    diag_error(d, x->span, "`swa` averages the snapshots of a branch");
  } else if (!e->branches[m->index]->snapshots) {
    diag_error(d, x->span, "the branch `%s` has no snapshots", x->text);
    diag_note(d, e->branches[m->index]->span, "the branch");
    diag_hint(d, "add `with snapshots every 2 epochs` behind its schedule");
  }
}

/* How many models the merge is given; false after a diagnostic. */
static bool count_models(const struct dsl_experiment *e, const struct ast_expr *call,
                         size_t *models, const struct ast_stmt **branch, struct diag *d)
{
  const struct words_thing *method = words_thing(WORDS_METHOD, call->text);
  bool ok = true;
  for (size_t k = 0; k < call->n_args; k++) {
    const struct ast_arg *arg = &call->args[k];
    const struct words_param *p =
        arg->name.text && method ? words_param(method, arg->name.text) : NULL;
    struct model_name m;
    if (arg->name.text && (!p || p->type != WORDS_WEIGHTS))
      continue;
    if (!model_find(e, arg->value, &m, d)) {
      ok = false;
      continue;
    }
    size_t n = model_count(e, &m);
    if (p && n != 1) {
      diag_error(d, arg->value->span, "`%s` is one model, and `%s` are %zu", p->name,
                 arg->value->text, n);
      ok = false;
    } else if (!p) {
      *models += n;
      if (m.kind == MODEL_BRANCH)
        *branch = e->branches[m.index];
      ok = ok && (m.kind != MODEL_BRANCH || check_count(*branch));
      if (model_maps(call))
        check_snapshots(e, arg->value, &m, d);
    }
  }
  return ok;
}

static void check_count_of_models(const struct ast_expr *call, const struct words_merge *w,
                                  size_t n, const struct ast_stmt *branch, struct diag *d)
{
  if (n >= w->fewest && n <= w->most)
    return;
  if (w->fewest == w->most)
    diag_error(d, call->span, "`%s` takes %u model%s, not %zu", call->text, w->fewest,
               w->fewest == 1 ? "" : "s", n);
  else
    diag_error(d, call->span, "`%s` merges %s or more, not %zu", call->text,
               w->fewest == 1 ? "one model" : "two models", n);
  if (branch && n == 1 && w->fewest > 1)
    diag_note(d, branch->span, "`%s` is one model; write `%s[2]`", branch->name.text,
              branch->name.text);
  else if (!n)
    diag_hint(d, "name a branch: %s(ends)", call->text);
}

static bool check_one_branch(const struct ast_expr *call, struct diag *d)
{
  for (size_t i = 0; i < call->n_args; i++)
    if (!call->args[i].name.text && call->args[i].value != model_first(call)) {
      diag_error(d, call->args[i].value->span, "`%s` takes one branch, with all its members",
                 call->text);
      return false;
    }
  return true;
}

static void check_merge(struct dsl_experiment *e, const struct ast_stmt *s, struct diag *d)
{
  const struct ast_expr *call = s->value;
  const struct words_merge *w = call->kind == AST_CALL ? words_merge(call->text) : NULL;
  const struct ast_stmt *branch = NULL;
  size_t models = 0;
  if (!w)
    return; /* check_stmt said what is wrong */
  if (is_made_of(e, call, s, 0)) {
    diag_error(d, s->name.span, "`%s` is made of itself", s->name.text);
    return;
  }
  if (!count_models(e, call, &models, &branch, d))
    return;
  if (model_maps(call) && !check_one_branch(call, d))
    return;
  check_count_of_models(call, w, models, branch, d);
  check_alpha(call, models, d);
  check_samples(call, d);
  check_coefficients(call, models, d);
  if (s->n_words && !w->averages) {
    diag_error(d, s->words[0].value->span, "`%s` moves weights and statistics together: nothing is "
               "to be mended", call->text);
  }
}

void check_models(struct dsl_experiment *e, struct diag *d)
{
  check_training(e, d);
  check_start_model(e, d);
  check_uses(e, d);
  for (size_t i = 0; i < e->n_merges; i++)
    check_merge(e, e->merges[i], d);
}

/* ---- experiments that need one another ---- */

enum { NEW, OPEN, DONE };

struct visit {
  struct dsl *dsl;
  struct diag *diag;
  unsigned char *states; /* by experiment */
  const struct dsl_experiment *at;
  const struct visit *outer;
};

static void visit_experiment(struct visit *, const struct dsl_experiment *);

/* A model of another experiment; its data alone make no cycle. */
static void visit_reference(void *context, const struct ast_expr *x)
{
  struct visit *v = context;
  const struct dsl_experiment *target = x->kind == AST_OF ? model_target(v->dsl, x) : NULL;
  if (!target || (x->args[0].value->text && words_thing(WORDS_SPLIT, x->args[0].value->text)))
    return;
  unsigned char state = v->states[target - v->dsl->experiments];
  if (state == NEW)
    visit_experiment(v, target);
  if (state != OPEN)
    return;
  diag_error(v->diag, x->span, "`%s` needs models of itself", target->name);
  for (const struct visit *o = v; o && o->at != target; o = o->outer)
    diag_note(v->diag, o->at->block->span, "by way of `%s`", o->at->name);
}

static void visit_experiment(struct visit *outer, const struct dsl_experiment *e)
{
  struct visit v = {outer->dsl, outer->diag, outer->states, e, outer->at ? outer : NULL};
  v.states[e - v.dsl->experiments] = OPEN;
  dsl_walk(e, visit_reference, &v);
  v.states[e - v.dsl->experiments] = DONE;
}

void check_cycles(struct dsl *dsl, struct diag *d)
{
  struct visit v = {dsl, d, arena_array(dsl->arena, dsl->n_experiments + 1, 1), NULL, NULL};
  for (size_t i = 0; i < dsl->n_experiments; i++)
    if (v.states[i] == NEW && check_is_needed(&dsl->experiments[i]))
      visit_experiment(&v, &dsl->experiments[i]);
}
