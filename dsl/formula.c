#include "dsl/formula.h"

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

static void suggest(const char *word, const char *const *names, size_t n, struct diag *d)
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
  diag_error(d, x->span, s ? "no value is given to `%s`" : "no number is called `%s`", x->text);
  const char *near = s ? NULL : words_near_setting(x->text), *names[MAX_NAMES];
  size_t n = 0;
  if (near)
    names[n++] = near;
  for (size_t i = 0; !s && i < e->n_vars && n < MAX_NAMES; i++)
    names[n++] = e->vars[i].name;
  suggest(x->text, names, n, d);
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
    diag_error(d, x->span, "this value takes too long to work out");
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
  return number_at(&e, x, 0, out, d);
}

/* ---- conditions ---- */

static bool is(const struct ast_expr *x, const char *operator)
{
  return (x->kind == AST_BINARY || x->kind == AST_UNARY) && !strcmp(x->text, operator);
}

/* The word that a name stands for: a setting's at this point, or itself where it
 * names no number.  NULL: it is a number. */
static const char *word_of(const struct formula_point *p, const struct ast_expr *x)
{
  if (x->kind != AST_NAME)
    return NULL;
  const struct dsl_var *v = dsl_var(p->experiment, x->text);
  const struct words_setting *s = words_setting(x->text);
  if (s && s->type > WORDS_COUNT)
    return v ? v->values[p->choice[v - p->experiment->vars]]->text : s->def;
  return v || s ? NULL : x->text;
}

static bool compare(const struct formula_point *p, const struct ast_expr *x, bool *out,
                    struct diag *d)
{
  const struct ast_expr *left = x->args[0].value, *right = x->args[1].value;
  const char *a = word_of(p, left), *b = word_of(p, right);
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

size_t formula_branch_count(const struct ast_stmt *branch)
{
  return branch->count && branch->count->number >= 1 ? (size_t)branch->count->number : 1;
}

size_t formula_find(const struct ast_stmt *const *list, size_t n, const char *name)
{
  for (size_t i = 0; i < n; i++)
    if (!strcmp(list[i]->name.text, name))
      return i;
  return SIZE_MAX;
}

/* ---- measures ---- */

struct compiler {
  struct arena *arena;
  const struct dsl_experiment *e;
  struct formula_slots *slots;
  struct plan_expr *out;
  struct diag *diag;
  const struct open_name *open;
  unsigned work;
};

static bool compile(struct compiler *c, const struct ast_expr *x, size_t member, unsigned depth);

static bool is_measurement(const struct ast_expr *x)
{
  return x->kind == AST_CALL && words_thing(WORDS_MEASUREMENT, x->text);
}

/* How many members the branches inside an expression have; 1 where there is none. */
static size_t members(const struct compiler *c, const struct ast_expr *x, unsigned depth)
{
  if (depth > MAX_DEEP)
    return 1;
  if (is_measurement(x)) {
    const struct ast_expr *m = x->n_args ? x->args[0].value : x;
    size_t i = m->kind == AST_NAME ? formula_find(c->e->branches, c->e->n_branches, m->text)
                                   : SIZE_MAX;
    return i == SIZE_MAX ? 1 : formula_branch_count(c->e->branches[i]);
  }
  if (x->kind == AST_CALL && words_function(x->text) && !words_function(x->text)->operands)
    return 1; /* a reduction inside has already made one of many */
  size_t most = 1;
  for (size_t i = 0; i < x->n_args; i++) {
    size_t n = members(c, x->args[i].value, depth + 1);
    most = n > most ? n : most;
  }
  return most;
}

static bool suggest_model(struct compiler *c, const struct ast_expr *x)
{
  const struct dsl_experiment *e = c->e;
  size_t n = 0;
  const char **words = arena_array(c->arena, e->n_branches + e->n_merges + 1, sizeof *words);
  words[n++] = "trunk";
  for (size_t i = 0; i < e->n_branches; i++)
    words[n++] = e->branches[i]->name.text;
  for (size_t i = 0; i < e->n_merges; i++)
    words[n++] = e->merges[i]->name.text;
  diag_error(c->diag, x->span, "no branch or merge is called `%s`", x->text);
  suggest(x->text, words, n, c->diag);
  return false;
}

static bool find_model(struct compiler *c, const struct ast_expr *x, size_t member,
                       struct formula_slot *slot)
{
  const struct dsl_experiment *e = c->e;
  if (x->kind != AST_NAME) {
    diag_error(c->diag, x->span, "the name of a branch or a merge is expected here");
    return false;
  }
  size_t i;
  if (!strcmp(x->text, "trunk")) {
    slot->target = FORMULA_TRUNK;
  } else if ((i = formula_find(e->merges, e->n_merges, x->text)) != SIZE_MAX) {
    slot->target = FORMULA_MERGE;
    slot->index = i;
  } else if ((i = formula_find(e->branches, e->n_branches, x->text)) != SIZE_MAX) {
    slot->target = FORMULA_BRANCH;
    slot->index = i;
    slot->member = member;
    size_t count = formula_branch_count(e->branches[i]);
    if (member == SIZE_MAX && count > 1) {
      diag_error(c->diag, x->span, "`%s` holds %zu models where one value is expected", x->text,
                 count);
      diag_hint(c->diag, "reduce them with mean(...), median(...), min(...) or max(...)");
      return false;
    }
    if (member == SIZE_MAX || member >= count)
      slot->member = 0;
  } else {
    return suggest_model(c, x);
  }
  return true;
}

static bool compile_measurement(struct compiler *c, const struct ast_expr *x, size_t member)
{
  if (x->n_args != 2 || x->args[0].name.text || x->args[1].name.text) {
    diag_error(c->diag, x->span, "`%s` takes a model and a split: %s(mid, test)", x->text, x->text);
    return false;
  }
  struct formula_slot slot = {.measurement = x->text};
  if (!find_model(c, x->args[0].value, member, &slot))
    return false;
  const struct ast_expr *split = x->args[1].value;
  const struct words_thing *known =
      split->kind == AST_NAME ? words_thing(WORDS_SPLIT, split->text) : NULL;
  if (!known || !known->available) {
    diag_error(c->diag, split->span,
               known         ? "split `%s` is not available yet"
               : split->text ? "unknown split `%s`"
                             : "a split is expected here%s",
               split->text ? split->text : "");
    const char *near = known || !split->text ? NULL : words_near_thing(WORDS_SPLIT, split->text);
    if (near)
      diag_hint(c->diag, "did you mean `%s`?", near);
    else
      diag_hint(c->diag, "there are: %s", words_things(c->arena, WORDS_SPLIT));
    return false;
  }
  slot.split = split->text;
  size_t at = 0;
  for (; at < c->slots->n; at++) {
    const struct formula_slot *s = &c->slots->slots[at];
    if (s->target == slot.target && s->index == slot.index && s->member == slot.member &&
        !strcmp(s->measurement, slot.measurement) && !strcmp(s->split, slot.split))
      break;
  }
  if (at == c->slots->n)
    ARENA_PUSH(c->arena, c->slots->slots, c->slots->n, c->slots->cap, slot);
  plan_expr_push(c->arena, c->out, (struct plan_code){PLAN_OP_SLOT, (uint32_t)at, 0});
  return true;
}

static bool compile_call(struct compiler *c, const struct ast_expr *x, size_t member,
                         unsigned depth)
{
  if (is_measurement(x))
    return compile_measurement(c, x, member);
  const struct words_function *f = words_function(x->text);
  if (!f) {
    diag_error(c->diag, x->text_span, "unknown function `%s`", x->text);
    const char *near = words_near_function(x->text);
    if (near)
      diag_hint(c->diag, "did you mean `%s`?", near);
    return false;
  }
  if (f->operands ? x->n_args != f->operands : x->n_args == 0) {
    diag_error(c->diag, x->span, "`%s` takes %s", x->text, f->operands ? "one value" : "values");
    return false;
  }
  uint32_t pushed = 0;
  for (size_t i = 0; i < x->n_args; i++) {
    size_t n = f->operands ? 1 : members(c, x->args[i].value, 0);
    for (size_t k = 0; k < n; k++, pushed++)
      if (!compile(c, x->args[i].value, f->operands ? member : k, depth + 1))
        return false;
  }
  plan_expr_push(c->arena, c->out, (struct plan_code){f->op, pushed, 0});
  return true;
}

static bool compile_name(struct compiler *c, const struct ast_expr *x, size_t member,
                         unsigned depth)
{
  size_t i = formula_find(c->e->measures, c->e->n_measures, x->text);
  if (i != SIZE_MAX) {
    if (is_open(c->open, x, c->diag))
      return false;
    const struct open_name here = {x->text, c->open};
    c->open = &here;
    bool ok = compile(c, c->e->measures[i]->value, member, depth + 1);
    c->open = here.outer;
    return ok;
  }
  diag_error(c->diag, x->span, "no measure is called `%s`", x->text);
  const char *names[MAX_NAMES];
  size_t n = 0;
  for (; n < c->e->n_measures && n < MAX_NAMES; n++)
    names[n] = c->e->measures[n]->name.text;
  suggest(x->text, names, n, c->diag);
  if (formula_find(c->e->merges, c->e->n_merges, x->text) != SIZE_MAX ||
      formula_find(c->e->branches, c->e->n_branches, x->text) != SIZE_MAX)
    diag_hint(c->diag, "measure something of it: accuracy(%s, test)", x->text);
  return false;
}

static bool compile_binary(struct compiler *c, const struct ast_expr *x, size_t member,
                           unsigned depth)
{
  static const struct {
    const char *text;
    enum plan_op op;
  } ops[] = {{"+", PLAN_OP_ADD}, {"-", PLAN_OP_SUB}, {"*", PLAN_OP_MUL}, {"/", PLAN_OP_DIV},
             {"^", PLAN_OP_POW}};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    if (strcmp(ops[i].text, x->text))
      continue;
    if (!compile(c, x->args[0].value, member, depth + 1) ||
        !compile(c, x->args[1].value, member, depth + 1))
      return false;
    plan_expr_push(c->arena, c->out, (struct plan_code){ops[i].op, 0, 0});
    return true;
  }
  diag_error(c->diag, x->text_span, "`%s` cannot stand in a measure", x->text);
  return false;
}

static bool compile(struct compiler *c, const struct ast_expr *x, size_t member, unsigned depth)
{
  if (depth > MAX_DEEP || ++c->work > MAX_WORK) {
    diag_error(c->diag, x->span, "this measure is too long");
    return false;
  }
  switch (x->kind) {
  case AST_NUMBER:
    if (x->unit.text) {
      diag_error(c->diag, x->unit.span, "a number without a unit is expected here");
      return false;
    }
    plan_expr_push(c->arena, c->out, (struct plan_code){PLAN_OP_NUMBER, 0, x->number});
    return true;
  case AST_NAME:
    return compile_name(c, x, member, depth);
  case AST_CALL:
    return compile_call(c, x, member, depth);
  case AST_UNARY:
    if (!compile(c, x->args[0].value, member, depth + 1))
      return false;
    plan_expr_push(c->arena, c->out, (struct plan_code){PLAN_OP_NEG, 0, 0});
    return true;
  case AST_BINARY:
    return compile_binary(c, x, member, depth);
  case AST_STRING:
  case AST_TUPLE:
  case AST_INDEX:
  case AST_OF:
    break;
  }
  diag_error(c->diag, x->span, "a number, a measurement or a function is expected here");
  return false;
}

bool formula_compile(struct arena *a, const struct dsl_experiment *e, const struct ast_expr *x,
                     struct formula_slots *slots, struct plan_expr *out, struct diag *d)
{
  struct compiler c = {a, e, slots, out, d, NULL, 0};
  if (!compile(&c, x, SIZE_MAX, 0))
    return false;
  if (plan_expr_depth(out) > PLAN_EXPR_MAX_DEPTH) {
    diag_error(d, x->span, "this measure needs more than %d values at once", PLAN_EXPR_MAX_DEPTH);
    return false;
  }
  return true;
}
