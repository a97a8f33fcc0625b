#include "dsl/formula.h"

#include "dsl/check.h"
#include "dsl/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Definitions may build on each other; a chain that doubles at every link is
 * stopped by the work it makes. */
enum { MAX_DEEP = AST_MAX_DEPTH + 200, MAX_WORK = 20000 };

/* The definitions that are being followed, innermost first. */
struct open_name {
  const char *name;
  const struct open_name *outer;
};

struct evaluation {
  const struct formula_point *point;
  const struct open_name *open;
  unsigned work;
};

static bool is_open(const struct open_name *open, const struct ast_expr *x, struct diag *d)
{
  for (; open; open = open->outer)
    if (!strcmp(open->name, x->text)) {
      diag_error(d, x->span, "`%s` is defined through itself", x->text);
      return true;
    }
  return false;
}

enum { MAX_NAMES = 64 };

void formula_suggest(const char *word, const char *const *names, size_t n, struct diag *d)
{
  const char *near = diag_nearest(word, names, n);
  if (near && strcmp(near, word))
    diag_hint(d, "did you mean `%s`?", near);
}

bool formula_is_literal(const struct ast_expr *x)
{
  if (x->kind == AST_NAME)
    return false;
  for (size_t i = 0; i < x->n_args; i++)
    if (!formula_is_literal(x->args[i].value))
      return false;
  return true;
}

static bool arithmetic(const struct ast_expr *x, double a, double b, double *out, struct diag *d)
{
  if (!strcmp(x->text, "+"))
    *out = a + b;
  else if (!strcmp(x->text, "-"))
    *out = a - b;
  else if (!strcmp(x->text, "*"))
    *out = a * b;
  else if (!strcmp(x->text, "/"))
    *out = a / b;
  else if (!strcmp(x->text, "^"))
    *out = pow(a, b);
  else {
    diag_error(d, x->text_span, "`%s` cannot stand in a number", x->text);
    return false;
  }
  return true;
}

static bool number_at(struct evaluation *p, const struct ast_expr *x, unsigned depth,
                      double *out, struct diag *d);

static bool number_of_name(struct evaluation *p, const struct ast_expr *x,
                           unsigned depth, double *out, struct diag *d)
{
  const struct dsl_experiment *e = p->point->experiment;
  const struct dsl_var *v = dsl_var(e, x->text);
  if (v) {
    if (is_open(p->open, x, d))
      return false;
    const struct open_name here = {x->text, p->open};
    p->open = &here;
    bool ok = number_at(p, v->values[p->point->choice[v - e->vars]], depth + 1, out, d);
    p->open = here.outer;
    return ok;
  }
  const struct words_setting *s = words_setting(x->text);
  if (s && *s->def && (s->type == WORDS_NUMBER || s->type == WORDS_COUNT)) {
    *out = strtod(s->def, NULL);
    return true;
  }
  if (s && e->trunk)
    return false; /* an experiment that trains has to say it, and was told so */
  diag_error(d, x->span, s ? "no value is given to `%s`" : "no number is called `%s`", x->text);
  const char *near = s ? NULL : words_near_setting(x->text), *names[MAX_NAMES];
  size_t n = 0;
  if (near)
    names[n++] = near;
  for (size_t i = 0; !s && i < e->n_vars && n < MAX_NAMES; i++)
    names[n++] = e->vars[i].name;
  formula_suggest(x->text, names, n, d);
  return false;
}

static bool number_of_call(struct evaluation *p, const struct ast_expr *x,
                           unsigned depth, double *out, struct diag *d)
{
  const struct words_function *f = words_function(x->text);
  if (!f) {
    diag_error(d, x->text_span, "unknown function `%s`", x->text);
    const char *near = words_near_function(x->text);
    if (near)
      diag_hint(d, "did you mean `%s`?", near);
    return false;
  }
  if (f->operands ? x->n_args != f->operands : x->n_args == 0) {
    diag_error(d, x->span, "`%s` takes %s", x->text, f->operands ? "one value" : "values");
    return false;
  }
  struct arena *scratch = arena_new();
  struct plan_expr program = {0};
  bool ok = true;
  for (size_t i = 0; ok && i < x->n_args; i++) {
    double v;
    ok = number_at(p, x->args[i].value, depth + 1, &v, d);
    if (ok)
      plan_expr_push(scratch, &program, (struct plan_code){PLAN_OP_NUMBER, 0, v});
  }
  if (ok && x->n_args > PLAN_EXPR_MAX_DEPTH) {
    diag_error(d, x->span, "more than %d values", PLAN_EXPR_MAX_DEPTH);
    ok = false;
  }
  if (ok) {
    plan_expr_push(scratch, &program, (struct plan_code){f->op, (uint32_t)x->n_args, 0});
    *out = plan_expr_eval(&program, NULL);
  }
  arena_free(scratch);
  return ok;
}

static bool number_at(struct evaluation *p, const struct ast_expr *x, unsigned depth,
                      double *out, struct diag *d)
{
  if (depth > MAX_DEEP || ++p->work > MAX_WORK) {
    p->work = MAX_WORK + 1; /* whoever asked says so */
    return false;
  }
  double a, b;
  switch (x->kind) {
  case AST_NUMBER:
    if (x->unit.text) {
      diag_error(d, x->unit.span, "a number without a unit is expected here");
      return false;
    }
    *out = x->number;
    return true;
  case AST_NAME:
    return number_of_name(p, x, depth, out, d);
  case AST_CALL:
    return number_of_call(p, x, depth, out, d);
  case AST_UNARY:
    if (!number_at(p, x->args[0].value, depth + 1, &a, d))
      return false;
    *out = -a;
    return true;
  case AST_BINARY:
    return number_at(p, x->args[0].value, depth + 1, &a, d) &&
           number_at(p, x->args[1].value, depth + 1, &b, d) && arithmetic(x, a, b, out, d);
  case AST_STRING:
  case AST_TUPLE:
  case AST_INDEX:
  case AST_OF:
    break;
  }
  diag_error(d, x->span, "a number is expected here");
  return false;
}

bool formula_number(const struct formula_point *p, const struct ast_expr *x, double *out,
                    struct diag *d)
{
  struct evaluation e = {.point = p};
  if (number_at(&e, x, 0, out, d))
    return true;
  if (e.work > MAX_WORK)
    diag_error(d, x->span, "this value takes too long to work out, with those that it is made of");
  return false;
}

/* ---- conditions ---- */

static bool is(const struct ast_expr *x, const char *operator)
{
  return (x->kind == AST_BINARY || x->kind == AST_UNARY) && !strcmp(x->text, operator);
}

const struct ast_expr *formula_follow(const struct formula_point *p, const struct ast_expr *x)
{
  for (unsigned i = 0; x->kind == AST_NAME && i < MAX_NAMES; i++) {
    const struct dsl_var *v = dsl_var(p->experiment, x->text);
    if (!v)
      break;
    x = v->values[p->choice[v - p->experiment->vars]];
  }
  return x;
}

const char *formula_word(const struct formula_point *p, const struct ast_expr *x)
{
  if (x->kind != AST_NAME)
    return NULL;
  const struct dsl_var *v = dsl_var(p->experiment, x->text);
  const struct words_setting *s = words_setting(x->text);
  if (s && s->type <= WORDS_LENGTH)
    return NULL;
  if (!v)
    return s ? s->def : x->text;
  const struct ast_expr *value = v->values[p->choice[v - p->experiment->vars]];
  if (s)
    return value->text;
  value = formula_follow(p, value);
  return value->kind == AST_NAME && !words_setting(value->text) ? value->text : NULL;
}

bool formula_value(const struct formula_point *p, const struct dsl_var *v,
                   struct formula_value *out, struct diag *d)
{
  const struct ast_expr *x = v->values[p->choice[v - p->experiment->vars]];
  const struct ast_expr name = {.kind = AST_NAME, .text = v->name};
  const struct ast_expr *length = formula_follow(p, x);
  *out = (struct formula_value){.str = formula_word(p, &name)};
  if (out->str)
    return true;
  if (length->kind == AST_NUMBER && length->unit.text) {
    out->num = length->number;
    return true;
  }
  if (length->kind == AST_CALL && words_thing(WORDS_SCHEDULE, length->text)) {
    out->str = length->text;
    return true;
  }
  return formula_number(p, x, &out->num, d);
}

static bool compare(const struct formula_point *p, const struct ast_expr *x, bool *out,
                    struct diag *d)
{
  const struct ast_expr *left = x->args[0].value, *right = x->args[1].value;
  const char *a = formula_word(p, left), *b = formula_word(p, right);
  bool equality = is(x, "==") || is(x, "!=");
  if (equality && a && b) {
    *out = !strcmp(a, b) == is(x, "==");
    return true;
  }
  double l, r;
  if (!formula_number(p, left, &l, d) || !formula_number(p, right, &r, d))
    return false;
  *out = is(x, "<")    ? l < r
         : is(x, ">")  ? l > r
         : is(x, "<=") ? l <= r
         : is(x, ">=") ? l >= r
         : is(x, "==") ? l == r
                       : l != r;
  return true;
}

static bool is_comparison(const struct ast_expr *x)
{
  return is(x, "<") || is(x, ">") || is(x, "<=") || is(x, ">=") || is(x, "==") || is(x, "!=");
}

bool formula_condition(const struct formula_point *p, const struct ast_expr *x, bool *out,
                       struct diag *d)
{
  bool a, b;
  if (is(x, "not")) {
    if (!formula_condition(p, x->args[0].value, &a, d))
      return false;
    *out = !a;
    return true;
  }
  if (is(x, "and") || is(x, "or")) {
    if (!formula_condition(p, x->args[0].value, &a, d) ||
        !formula_condition(p, x->args[1].value, &b, d))
      return false;
    *out = is(x, "and") ? a && b : a || b;
    return true;
  }
  if (is_comparison(x))
    return compare(p, x, out, d);
  diag_error(d, x->span, "a condition is expected here, such as lr <= 0.1");
  return false;
}

bool formula_length(const struct formula_point *p, const struct ast_expr *x, double *number,
                    bool *epochs, struct diag *d)
{
  const struct ast_expr *said = formula_follow(p, x);
  if (dsl_is_lost(said)) {
    *number = 1;
    *epochs = true;
    return true;
  }
  if (x->kind == AST_NAME && words_setting(x->text)) {
    diag_error(d, x->span, "`%s` is a setting, and a length is expected here, such as `20 epochs`",
               x->text);
    return false;
  }
  if (said->kind != AST_NAME)
    return check_length(said, number, epochs, d);
  const struct dsl_experiment *e = p->experiment;
  const char **names = arena_array(e->dsl->arena, e->n_vars + 1, sizeof *names);
  for (size_t i = 0; i < e->n_vars; i++)
    names[i] = e->vars[i].name;
  diag_error(d, said->span, "a length is expected here, such as `20 epochs`, or what is swept over "
             "lengths");
  formula_suggest(said->text, names, e->n_vars, d);
  return false;
}
