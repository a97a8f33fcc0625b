#include "dsl/compile.h"

#include "dsl/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A chain of measures that doubles at every link is stopped by the work it makes. */
enum { MAX_DEEP = AST_MAX_DEPTH + 200, MAX_WORK = 20000, MAX_NAMES = 64 };

/* The measures that are being followed, innermost first. */
struct open_name {
  const char *name;
  const struct open_name *outer;
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

struct compiler {
  struct arena *arena;
  const struct dsl_experiment *e;
  struct compile_slots *slots;
  struct plan_expr *out;
  struct diag *diag;
  struct diag *quiet; /* for what is asked twice */
  const struct open_name *open;
  unsigned work;
};

static bool compile(struct compiler *c, const struct ast_expr *x, size_t member, unsigned depth);

static bool is_measurement(const struct ast_expr *x)
{
  return x->kind == AST_CALL && words_thing(WORDS_MEASUREMENT, x->text);
}

/* How many members the models inside an expression have; 1 where there is none. */
static size_t members(const struct compiler *c, const struct ast_expr *x, unsigned depth)
{
  size_t most = 1;
  if (depth > MAX_DEEP)
    return 1;
  if (is_measurement(x)) {
    unsigned models = words_measure(x->text)->models;
    for (size_t i = 0; i < x->n_args && models; i++) {
      struct model_name m;
      if (x->args[i].name.text)
        continue;
      models--;
      if (x->args[i].value->kind != AST_NAME ||
          !model_find(c->e, x->args[i].value, &m, c->quiet))
        continue;
      size_t n = model_count(c->e, &m);
      most = n > most ? n : most;
    }
    return most;
  }
  if (x->kind == AST_CALL && words_function(x->text) && !words_function(x->text)->operands)
    return 1; /* a reduction inside has already made one of many */
  for (size_t i = 0; i < x->n_args; i++) {
    size_t n = members(c, x->args[i].value, depth + 1);
    most = n > most ? n : most;
  }
  return most;
}

/* The model that stands in a measurement; of several the one whose turn it is. */
static bool find_model(struct compiler *c, const struct ast_expr *x, size_t member,
                       struct model_name *out)
{
  if (!model_find(c->e, x, out, c->diag))
    return false;
  size_t n = model_count(c->e, out);
  if (n > 1 && member == SIZE_MAX) {
    diag_error(c->diag, x->span, "`%s` holds %zu models where one value is expected", x->text, n);
    diag_hint(c->diag,
              "reduce them with mean(...), median(...), min(...) or max(...), or pick one: "
              "`%s[0]`",
              x->text);
    return false;
  }
  if (n > 1 && member != SIZE_MAX && member >= n) {
    diag_error(c->diag, x->span, "`%s` holds %zu models, and others beside it hold more", x->text,
               n);
    diag_hint(c->diag, "the first goes with the first, the second with the second: pick, such as "
              "`%s[0]`, or reduce each by itself", x->text);
    return false;
  }
  if (out->member == SIZE_MAX)
    out->member = n > 1 ? member : 0;
  return true;
}

static bool find_split(struct compiler *c, const struct ast_expr *x, struct compile_slot *slot)
{
  const struct ast_expr *split = x->kind == AST_OF ? x->args[0].value : x;
  const struct words_thing *known =
      split->kind == AST_NAME ? words_thing(WORDS_SPLIT, split->text) : NULL;
  if (!known) {
    diag_error(c->diag, split->span,
               split->text ? "unknown split `%s`" : "a split is expected here%s",
               split->text ? split->text : "");
    const char *near = split->text ? words_near_thing(WORDS_SPLIT, split->text) : NULL;
    if (near)
      diag_hint(c->diag, "did you mean `%s`?", near);
    else
      diag_hint(c->diag, "there are: %s", words_things(c->arena, WORDS_SPLIT));
    return false;
  }
  slot->split = split->text;
  if (x->kind != AST_OF)
    return true;
  slot->split_of = x->args[1].value;
  if (slot->split_of->kind == AST_NAME && model_target(c->e->dsl, x))
    return true;
  if (slot->split_of->kind != AST_NAME)
    diag_error(c->diag, slot->split_of->span, "the data of `%s` are meant: its name is enough",
               slot->split_of->text);
  else if (dsl_knows_all(c->e->dsl->program))
    dsl_unknown_experiment(c->e->dsl, slot->split_of->text, slot->split_of->span, c->diag);
  return false;
}

/* The same for all members of the models beside it. */
static bool find_base(struct compiler *c, const struct ast_arg *arg, struct compile_slot *slot)
{
  if (!model_find(c->e, arg->value, &slot->base, c->diag))
    return false;
  const size_t n = model_count(c->e, &slot->base);
  if (n > 1) {
    diag_error(c->diag, arg->value->span, "`%s` is one model, and `%s` are %zu", arg->name.text,
               arg->value->text, n);
    diag_hint(c->diag, "pick one: `%s[0]`", arg->value->text);
    return false;
  }
  if (slot->base.member == SIZE_MAX)
    slot->base.member = 0;
  slot->has_base = true;
  return true;
}

/* Numbers are looked at when steps are made: they may be the sweep's. */
static bool take_argument(struct compiler *c, const struct ast_expr *call,
                          const struct ast_arg *arg, struct compile_slot *slot)
{
  const struct words_thing *thing = words_thing(WORDS_MEASUREMENT, call->text);
  const struct words_param *p = words_param(thing, arg->name.text);
  if (p)
    return p->type != WORDS_WEIGHTS || find_base(c, arg, slot);
  diag_error(c->diag, arg->name.span, "`%s` has no argument `%s`", call->text, arg->name.text);
  const char *near = words_near_param(thing, arg->name.text);
  if (near)
    diag_hint(c->diag, "did you mean `%s`?", near);
  return false;
}

static const struct ast_arg *named_argument(const struct ast_expr *call, const char *name)
{
  for (size_t i = 0; i < call->n_args; i++)
    if (call->args[i].name.text && !strcmp(call->args[i].name.text, name))
      return &call->args[i];
  return NULL;
}

static const struct ast_expr *named_value(const struct ast_expr *call, const char *name)
{
  const struct ast_arg *arg = named_argument(call, name);
  return arg ? arg->value : NULL;
}

/* Has b every named argument of a? */
static bool says_all(const struct ast_expr *a, const struct ast_expr *b)
{
  for (size_t i = 0; i < a->n_args; i++) {
    const char *name = a->args[i].name.text;
    const struct ast_expr *other = name ? named_value(b, name) : NULL;
    if (name && (!other || !dsl_same_expr(a->args[i].value, other)))
      return false;
  }
  return true;
}

bool compile_same_place(const struct compile_slot *a, const struct compile_slot *b)
{
  if (a->n_models != b->n_models || a->role != b->role || !a->split != !b->split ||
      (a->split && strcmp(a->split, b->split)) || !a->split_of != !b->split_of ||
      (a->split_of && strcmp(a->split_of->text, b->split_of->text)))
    return false;
  for (unsigned i = 0; i < a->n_models; i++)
    if (a->models[i].kind != b->models[i].kind || a->models[i].index != b->models[i].index ||
        a->models[i].member != b->models[i].member)
      return false;
  if (a->role == COMPILE_ON_LINE &&
      (a->alpha < b->alpha || a->alpha > b->alpha || strcmp(a->batchnorm, b->batchnorm)))
    return false;
  return says_all(a->call, b->call) && says_all(b->call, a->call);
}

static bool same_slot(const struct compile_slot *a, const struct compile_slot *b)
{
  if (a->number || b->number)
    return a->number && b->number && !strcmp(a->number, b->number);
  return !strcmp(a->measurement, b->measurement) && compile_same_place(a, b);
}

static void push_slot(struct compiler *c, const struct compile_slot *slot)
{
  size_t at = 0;
  while (at < c->slots->n && !same_slot(&c->slots->slots[at], slot))
    at++;
  if (at == c->slots->n)
    ARENA_PUSH(c->arena, c->slots->slots, c->slots->n, c->slots->cap, *slot);
  plan_expr_push(c->arena, c->out, (struct plan_code){PLAN_OP_SLOT, (uint32_t)at, 0});
}

static void wrong_arguments(struct compiler *c, const struct ast_expr *x,
                            const struct words_measure *m)
{
  diag_error(c->diag, x->span, "`%s` takes %s%s: %s(%s%s)", x->text,
             m->models == 2 ? "two models" : "a model", m->split ? " and a split" : "", x->text,
             m->models == 2 ? "ends[0], ends[1]" : "mid", m->split ? ", test" : "");
}

/* ---- measurements that are made of others ---- */

static void push_op(struct compiler *c, enum plan_op op, uint32_t operands)
{
  plan_expr_push(c->arena, c->out, (struct plan_code){op, operands, 0});
}

static void push_number(struct compiler *c, double v)
{
  plan_expr_push(c->arena, c->out, (struct plan_code){PLAN_OP_NUMBER, 0, v});
}

/* Accuracy of the first model on the task of the second, over the second's own. */
static bool compile_normalized(struct compiler *c, const struct ast_expr *plain,
                               const struct compile_slot *said)
{
  struct compile_slot merged = *said, single = *said;
  merged.measurement = single.measurement = "accuracy";
  merged.call = single.call = plain;
  merged.role = COMPILE_ON_TASK;
  single.models[0] = said->models[1];
  single.n_models = 1;
  push_slot(c, &merged);
  push_slot(c, &single);
  push_op(c, PLAN_OP_DIV, 0);
  return true;
}

/* A word among an argument's choices, or its default; NULL after a diagnostic. */
static const char *chosen(struct compiler *c, const struct ast_expr *call,
                                     const char *name)
{
  const struct ast_expr *x = named_value(call, name);
  if (x && (x->kind != AST_NAME || !words_choice(name, x->text))) {
    diag_error(c->diag, x->span, "`%s` is one of: %s", name, words_choices(c->arena, name));
    return NULL;
  }
  return x ? x->text : words_param(words_thing(WORDS_MEASUREMENT, call->text), name)->def;
}

static bool count_points(struct compiler *c, const struct ast_expr *call, unsigned *points)
{
  const struct words_param *p =
      words_param(words_thing(WORDS_MEASUREMENT, call->text), "points");
  const struct ast_expr *x = named_value(call, "points");
  const double n = x ? x->number : strtod(p->def, NULL);
  if (x && (x->kind != AST_NUMBER || x->unit.text || n != floor(n) ||
            !words_in_range(&p->range, n))) {
    diag_error(c->diag, x->span, "`points` is a whole number, %s",
               words_range_text(c->arena, &p->range));
    return false;
  }
  *points = (unsigned)n;
  return true;
}

/* The largest excess of the loss on the line from the first model to the second. */
static bool compile_barrier(struct compiler *c, const struct ast_expr *plain,
                            const struct ast_expr *call, const struct compile_slot *said)
{
  const char *definition = chosen(c, call, "definition");
  const char *batchnorm = chosen(c, call, "batchnorm");
  unsigned points;
  if (!definition || !batchnorm || !count_points(c, call, &points))
    return false;
  const bool line = !strcmp(definition, "line");
  struct compile_slot at = *said, ends[2];
  at.measurement = "loss";
  at.call = plain;
  at.role = COMPILE_ON_LINE;
  at.batchnorm = batchnorm;
  ends[0] = ends[1] = at;
  ends[1].alpha = 1;
  for (unsigned k = 0; k < points; k++) {
    const double alpha = at.alpha = k / (double)(points - 1);
    push_slot(c, &at);
    push_slot(c, &ends[0]);
    push_number(c, line ? 1 - alpha : 0.5);
    push_op(c, PLAN_OP_MUL, 0);
    push_slot(c, &ends[1]);
    push_number(c, line ? alpha : 0.5);
    push_op(c, PLAN_OP_MUL, 0);
    push_op(c, PLAN_OP_ADD, 0);
    push_op(c, PLAN_OP_SUB, 0);
    if (k)
      push_op(c, PLAN_OP_MAX, 2);
  }
  return true;
}

/* What is evaluated takes over how many samples that is on. */
static const struct ast_expr *evaluation(struct arena *a, const struct ast_expr *call,
                                         const char *measurement)
{
  struct ast_expr *plain = arena_copy(a, call, sizeof *call);
  const struct ast_arg *samples = named_argument(call, "samples");
  plain->text = measurement;
  plain->args = samples ? arena_copy(a, samples, sizeof *samples) : NULL;
  plain->n_args = plain->cap_args = samples != NULL;
  return plain;
}

static bool compile_made(struct compiler *c, const struct compile_slot *said)
{
  if (!strcmp(said->measurement, "barrier"))
    return compile_barrier(c, evaluation(c->arena, said->call, "loss"), said->call, said);
  return compile_normalized(c, evaluation(c->arena, said->call, "accuracy"), said);
}

static bool compile_measurement(struct compiler *c, const struct ast_expr *x, size_t member)
{
  const struct words_measure *m = words_measure(x->text);
  struct compile_slot slot = {.measurement = x->text, .n_models = m->models, .call = x};
  size_t at = 0;
  bool ok = true;
  for (size_t i = 0; i < x->n_args; i++)
    at += !x->args[i].name.text;
  if (at != m->models + m->split) {
    wrong_arguments(c, x, m);
    return false;
  }
  at = 0;
  for (size_t i = 0; i < x->n_args; i++) {
    if (x->args[i].name.text)
      ok = take_argument(c, x, &x->args[i], &slot) && ok;
    else if (at++ < m->models)
      ok = find_model(c, x->args[i].value, member, &slot.models[at - 1]) && ok;
    else if (m->split && at == m->models + 1)
      ok = find_split(c, x->args[i].value, &slot) && ok;
    if (!ok)
      return false;
  }
  if (m->made)
    return compile_made(c, &slot);
  push_slot(c, &slot);
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

static void unknown_name(struct compiler *c, const struct ast_expr *x)
{
  const struct dsl_experiment *e = c->e;
  struct model_name model;
  const char *names[MAX_NAMES];
  size_t n = 0;
  for (size_t i = 0; i < e->n_measures && n < MAX_NAMES; i++)
    names[n++] = e->measures[i]->name.text;
  for (size_t i = 0; i < e->n_vars && n < MAX_NAMES; i++)
    names[n++] = e->vars[i].name;
  diag_error(c->diag, x->span, "no measure is called `%s`", x->text);
  if (model_find(e, x, &model, c->quiet))
    diag_hint(c->diag, "measure something of it: accuracy(%s, test)", x->text);
  else
    formula_suggest(x->text, names, n, c->diag);
}

static bool compile_name(struct compiler *c, const struct ast_expr *x, size_t member,
                         unsigned depth)
{
  size_t i = model_index(c->e->measures, c->e->n_measures, x->text);
  if (i != SIZE_MAX) {
    if (is_open(c->open, x, c->diag))
      return false;
    const struct open_name here = {x->text, c->open};
    c->open = &here;
    bool ok = compile(c, c->e->measures[i]->value, member, depth + 1);
    c->open = here.outer;
    return ok;
  }
  const struct words_setting *w = words_setting(x->text);
  const struct dsl_var *v = dsl_var(c->e, x->text);
  if (w ? w->type <= WORDS_COUNT && (v || *w->def) : v != NULL) {
    push_slot(c, &(struct compile_slot){.number = x->text});
    return true;
  }
  if (w && !v && !*w->def && c->e->trunk)
    return false; /* an experiment that trains has to say it, and was told so */
  if (w) {
    diag_error(c->diag, x->span, v || *w->def ? "`%s` is a word and no number"
               : "no value is given to `%s`", x->text);
    return false;
  }
  unknown_name(c, x);
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
    c->work = MAX_WORK + 1; /* whoever asked says so */
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
  if (x->kind == AST_INDEX)
    diag_hint(c->diag, "measure something of it: accuracy(%s[...], test)", x->text);
  return false;
}

bool compile_measure(struct arena *a, const struct dsl_experiment *e, const struct ast_expr *x,
                     struct compile_slots *slots, struct plan_expr *out, struct diag *d)
{
  struct compiler c = {a, e, slots, out, d, diag_new(a), NULL, 0};
  if (!compile(&c, x, SIZE_MAX, 0)) {
    if (c.work > MAX_WORK)
      diag_error(d, x->span, "this measure is too long, with the measures that it is made of");
    return false;
  }
  if (plan_expr_depth(out) > PLAN_EXPR_MAX_DEPTH) {
    diag_error(d, x->span, "this measure needs more than %d values at once", PLAN_EXPR_MAX_DEPTH);
    return false;
  }
  return true;
}
