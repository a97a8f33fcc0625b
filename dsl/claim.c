#include "dsl/claim.h"

#include "dsl/check.h"

#include <string.h>

/* What an expression is: the letters of claim.def, and 't' for a column of words. */
struct typed {
  char sort;
  const struct plan_claim_node *node; /* NULL after a mistake */
};

struct compiler {
  struct dsl *dsl;
  const struct rows *rows;
  struct diag *diag;
};

static struct typed compile(struct compiler *, const struct ast_expr *);

static const char *sort_text(char sort)
{
  switch (sort) {
  case 'n':
    return "a number";
  case 'c':
    return "a column";
  case 't':
    return "a column of words";
  case 'u':
    return "a curve over words";
  case 'w':
    return "a curve";
  case 'm':
    return "a number or a column";
  case 'v':
    return "a column or a curve";
  case 'k':
    return "the name of a column";
  default:
    return "a condition";
  }
}

static bool fits(char is, char wanted)
{
  switch (wanted) {
  case 'm':
    return is == 'n' || is == 'c';
  case 'v':
    return is == 'c' || is == 'w' || is == 'u';
  case 'u':
    return is == 'w' || is == 'u';
  default:
    return is == wanted;
  }
}

static void hint_wanted(struct compiler *c, char is, char wanted)
{
  if (wanted == 'u' || wanted == 'w' || (wanted == 'v' && is == 'n'))
    diag_hint(c->diag, "such as `median(gain) by lr`");
  else if (wanted == 'n' && is == 'c')
    diag_hint(c->diag, "make one number of it: median(...), mean(...), max(...)");
  else if (wanted == 'n' && (is == 'w' || is == 'u'))
    diag_hint(c->diag, "make one number of it: trend(...), max(...), last(...)");
  else if (wanted == '?')
    diag_hint(c->diag, "such as `lr <= 0.1`");
}

static struct plan_claim_node *new_node(struct compiler *c, enum plan_claim_op op)
{
  struct plan_claim_node *n = arena_alloc(c->dsl->arena, sizeof *n);
  n->op = op;
  return n;
}

/* Compiles what must be of one sort; NULL after a diagnostic. `function`: whose
 * argument it is, or NULL. */
static const struct plan_claim_node *compile_as(struct compiler *c, const struct ast_expr *x,
                                                char wanted, const char *function)
{
  struct typed t = compile(c, x);
  if (!t.node || fits(t.sort, wanted))
    return t.node;
  const char *what = wanted == 'w' && t.sort == 'u' ? "a curve over numbers" : sort_text(wanted);
  if (function)
    diag_error(c->diag, x->span, "`%s` takes %s, not %s", function, what, sort_text(t.sort));
  else
    diag_error(c->diag, x->span, "%s is expected here, not %s", what, sort_text(t.sort));
  hint_wanted(c, t.sort, wanted);
  return NULL;
}

/* ---- columns ---- */

static const struct plan_claim_node *column(struct compiler *c, const struct ast_expr *x)
{
  if (x->kind != AST_NAME) {
    diag_error(c->diag, x->span, "the name of a column is expected here");
    return NULL;
  }
  if (!rows_check_column(c->dsl, c->rows, x, c->diag))
    return NULL;
  struct plan_claim_node *n = new_node(c, PLAN_CLAIM_COLUMN);
  n->text = x->text;
  return n;
}

/* The word that a column of words is compared with. */
static const struct plan_claim_node *word(struct compiler *c, const char *of,
                                          const struct ast_expr *x)
{
  if (!rows_check_word(c->dsl, c->rows, of, x, c->diag))
    return NULL;
  struct plan_claim_node *n = new_node(c, PLAN_CLAIM_TEXT);
  n->text = x->text;
  return n;
}

/* ---- operators ---- */

static struct typed compile_by(struct compiler *c, const struct ast_expr *x)
{
  struct plan_claim_node *n = new_node(c, PLAN_CLAIM_BY);
  struct typed left = compile(c, x->args[0].value);
  const struct plan_claim_node *key = column(c, x->args[1].value);
  if (left.node && left.sort != 'n') {
    diag_error(c->diag, x->args[0].value->span,
               "before `by` stands a number for each group, not %s", sort_text(left.sort));
    diag_hint(c->diag, "such as `median(gain) by lr`");
    left.node = NULL;
  }
  if (!left.node || !key)
    return (struct typed){0};
  n->n_args = 2;
  n->args[0] = left.node;
  n->args[1] = key;
  return (struct typed){rows_is_words(c->rows, key->text) ? 'u' : 'w', n};
}

static struct typed compare_words(struct compiler *c, const struct ast_expr *x,
                                  const struct plan_claim_operator *o, struct typed left)
{
  if (o->op != PLAN_CLAIM_EQ && o->op != PLAN_CLAIM_NE) {
    diag_error(c->diag, x->text_span, "words have no order: `%s` cannot compare them", x->text);
    return (struct typed){0};
  }
  struct plan_claim_node *n = new_node(c, o->op);
  n->n_args = 2;
  n->args[0] = left.node;
  n->args[1] = word(c, left.node->text, x->args[1].value);
  return (struct typed){'?', n->args[1] ? n : NULL};
}

/* What the operator takes and gives: conditions, or numbers and columns. */
static char operand_of(enum plan_claim_op op)
{
  return op == PLAN_CLAIM_AND || op == PLAN_CLAIM_OR || op == PLAN_CLAIM_NOT ? '?' : 'm';
}

static bool gives_condition(enum plan_claim_op op)
{
  return operand_of(op) == '?' || (op >= PLAN_CLAIM_LT && op <= PLAN_CLAIM_NE);
}

static struct typed compile_operator(struct compiler *c, const struct ast_expr *x)
{
  unsigned operands = x->kind == AST_UNARY ? 1 : 2;
  const struct plan_claim_operator *o = plan_claim_operator(x->text, operands);
  if (!o) {
    diag_error(c->diag, x->text_span, "`%s` cannot stand in a statistic", x->text);
    return (struct typed){0};
  }
  if (o->op == PLAN_CLAIM_BY)
    return compile_by(c, x);
  struct plan_claim_node *n = new_node(c, o->op);
  n->n_args = operands;
  bool fine = true, columns = false;
  for (unsigned i = 0; i < operands; i++) {
    const struct ast_expr *operand = x->args[i].value;
    struct typed t = compile(c, operand);
    /* Behind a name that is no column may stand a word, which is no column either. */
    if (!t.node && i == 0 && operand->kind == AST_NAME && gives_condition(o->op))
      return (struct typed){0};
    if (t.node && t.sort == 't' && operands == 2 && i == 0)
      return compare_words(c, x, o, t);
    if (t.node && !fits(t.sort, operand_of(o->op))) {
      diag_error(c->diag, operand->span, "`%s` takes %s, not %s", x->text,
                 operand_of(o->op) == '?' ? "conditions" : "numbers and columns",
                 sort_text(t.sort));
      if (t.sort == 'w' || t.sort == 'u')
        diag_hint(c->diag, "reckon before grouping: `(median(a) - median(b)) by lr`");
      t.node = NULL;
    }
    fine = fine && t.node;
    columns = columns || t.sort == 'c';
    n->args[i] = t.node;
  }
  char sort = gives_condition(o->op) ? '?' : columns ? 'c' : 'n';
  return (struct typed){sort, fine ? n : NULL};
}

/* ---- functions ---- */

static void unknown_function(struct compiler *c, const struct ast_expr *x)
{
  const char *names[PLAN_CLAIM_OP_COUNT];
  size_t n = 0;
  while (plan_claim_function_at(n)) {
    names[n] = plan_claim_function_at(n)->name;
    n++;
  }
  const char *near = diag_nearest(x->text, names, n);
  bool measurement = words_thing(WORDS_MEASUREMENT, x->text) != NULL;
  diag_error(c->diag, x->text_span, measurement ? "`%s` is measured in the experiment"
                                                : "unknown function `%s`", x->text);
  if (measurement)
    diag_hint(c->diag, "give it a name there: `measure fit = %s(...);`", x->text);
  else if (near)
    diag_hint(c->diag, "did you mean `%s`?", near);
}

static struct typed compile_call(struct compiler *c, const struct ast_expr *x)
{
  const struct plan_claim_function *f = plan_claim_function(x->text);
  if (!f) {
    unknown_function(c, x);
    return (struct typed){0};
  }
  size_t wanted = strlen(f->takes);
  if (x->n_args != wanted) {
    diag_error(c->diag, x->span, "`%s` takes %zu value%s, not %zu", x->text, wanted,
               wanted == 1 ? "" : "s", x->n_args);
    diag_hint(c->diag, "%s: %s", f->name, f->meaning);
    return (struct typed){0};
  }
  struct plan_claim_node *n = new_node(c, f->op);
  n->n_args = (unsigned)wanted;
  struct typed last = {0};
  bool fine = true;
  for (size_t i = 0; i < wanted; i++) {
    const struct ast_expr *arg = x->args[i].value;
    if (x->args[i].name.text) {
      diag_error(c->diag, x->args[i].name.span, "the values of `%s` have no names", x->text);
      return (struct typed){0};
    }
    if (f->takes[i] == 'k')
      n->args[i] = column(c, arg);
    else if (f->takes[i] == '*' || f->takes[i] == 'm')
      last = compile(c, arg);
    else
      n->args[i] = compile_as(c, arg, f->takes[i], x->text);
    if (f->takes[i] == 'm' && last.node && !fits(last.sort, 'm')) {
      diag_error(c->diag, arg->span, "%s is expected here, not %s", sort_text('m'),
                 sort_text(last.sort));
      last.node = NULL;
    }
    if (f->takes[i] == '*' || f->takes[i] == 'm')
      n->args[i] = last.node;
    if (f->takes[i] == '*' && last.node && last.sort != 'n' && last.sort != 'w' &&
        last.sort != 'u') {
      diag_error(c->diag, arg->span, "a number or a curve is expected here, not %s",
                 sort_text(last.sort));
      hint_wanted(c, last.sort, 'n');
      n->args[i] = NULL;
    }
    fine = fine && n->args[i];
  }
  char sort = f->gives == '*' || f->gives == 'm' ? last.sort : f->gives;
  return (struct typed){sort, fine ? n : NULL};
}

static struct typed compile(struct compiler *c, const struct ast_expr *x)
{
  struct plan_claim_node *n;
  const struct plan_claim_node *name;
  switch (x->kind) {
  case AST_NUMBER:
    if (x->unit.text) {
      diag_error(c->diag, x->unit.span, "a number without a unit is expected here");
      return (struct typed){0};
    }
    n = new_node(c, PLAN_CLAIM_NUMBER);
    n->number = x->number;
    return (struct typed){'n', n};
  case AST_NAME:
    name = column(c, x);
    return (struct typed){rows_is_words(c->rows, x->text) ? 't' : 'c', name};
  case AST_CALL:
    return compile_call(c, x);
  case AST_UNARY:
  case AST_BINARY:
    return compile_operator(c, x);
  case AST_STRING:
  case AST_TUPLE:
  case AST_INDEX:
  case AST_OF:
    break;
  }
  diag_error(c->diag, x->span, "a statistic or a column is expected here");
  return (struct typed){0};
}

/* ---- the whole ---- */

static bool is_comparison(const struct ast_expr *x, bool *greater)
{
  if (x->kind != AST_BINARY)
    return false;
  *greater = x->text[0] == '>';
  return x->text[0] == '>' || x->text[0] == '<';
}

const struct plan_claim_node *claim_compile_number(struct dsl *dsl, const struct rows *r,
                                                   const struct ast_expr *x, struct diag *d)
{
  struct compiler c = {dsl, r, d};
  return compile_as(&c, x, 'n', NULL);
}

bool claim_compile(struct dsl *dsl, const struct rows *r, const struct ast_expr *x,
                   struct plan_claim *out, struct diag *d)
{
  struct compiler c = {dsl, r, d};
  if (!is_comparison(x, &out->greater)) {
    compile(&c, x);
    diag_error(d, x->span, "what is claimed of this?");
    diag_hint(d, "compare a statistic with a number: `expect trend(median(gain) by lr) > 0;`");
    return false;
  }
  const struct plan_claim_node *left = compile_as(&c, x->args[0].value, 'n', NULL);
  const struct plan_claim_node *right = compile_as(&c, x->args[1].value, 'n', NULL);
  if (!left || !right)
    return false;
  if (left->op == PLAN_CLAIM_NUMBER && right->op == PLAN_CLAIM_NUMBER) {
    diag_error(d, x->span, "this compares two numbers, and no result");
    return false;
  }
  if (right->op == PLAN_CLAIM_NUMBER) {
    out->statistic = left;
    out->bound = right->number;
  } else if (left->op == PLAN_CLAIM_NUMBER) {
    out->statistic = right;
    out->bound = left->number;
    out->greater = !out->greater;
  } else {
    struct plan_claim_node *difference = new_node(&c, PLAN_CLAIM_SUB);
    difference->n_args = 2;
    difference->args[0] = left;
    difference->args[1] = right;
    out->statistic = difference;
    out->bound = 0;
  }
  return true;
}
