/* The values of sweeps: written out from sequences, pairs and other experiments'
 * sweeps. */
#include "dsl/resolve_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool literal_number(const struct ast_expr *x, double *out)
{
  bool negative = x->kind == AST_UNARY && !strcmp(x->text, "-");
  const struct ast_expr *n = negative ? x->args[0].value : x;
  *out = negative ? -n->number : n->number;
  return n->kind == AST_NUMBER && !n->unit.text;
}

bool dsl_sequence(const struct ast_expr *x, double *low, double *high, size_t *n)
{
  double count;
  bool logarithmic = x->kind == AST_CALL && !strcmp(x->text, "logspace");
  if ((!logarithmic && (x->kind != AST_CALL || strcmp(x->text, "linspace"))) || x->n_args != 3)
    return false;
  for (size_t i = 0; i < 3; i++)
    if (x->args[i].name.text)
      return false;
  if (!literal_number(x->args[0].value, low) || !literal_number(x->args[1].value, high) ||
      !literal_number(x->args[2].value, &count) || *low == *high)
    return false;
  *n = count >= 2 && count <= DSL_MAX_SEQUENCE ? (size_t)count : 0;
  return *n && (double)*n == count && (!logarithmic || (*low > 0 && *high > 0));
}

/* logspace(1e-3, 1, 4) as 0.001, 0.01, 0.1, 1: six digits, so that a value reads
 * well and does not hang on the last bit of pow.  False: it is no sequence, or
 * its arguments are wrong (check says so). */
static bool write_out(struct arena *a, const struct ast_expr *x, struct ast_stmt *out)
{
  double low, high;
  size_t n;
  if (!dsl_sequence(x, &low, &high, &n))
    return false;
  bool logarithmic = !strcmp(x->text, "logspace");
  for (size_t i = 0; i < n; i++) {
    double t = (double)i / (double)(n - 1);
    double v = logarithmic ? low * pow(high / low, t) : low + (high - low) * t;
    char text[32];
    snprintf(text, sizeof text, "%.6g", i + 1 == n ? high : v);
    struct ast_expr *number = arena_alloc(a, sizeof *number);
    *number = (struct ast_expr){.kind = AST_NUMBER, .span = x->span, .number = strtod(text, NULL),
                                .text_span = x->span, .depth = 1};
    ARENA_PUSH(a, out->values, out->n_values, out->cap_values, number);
  }
  return true;
}

bool dsl_same_expr(const struct ast_expr *x, const struct ast_expr *y)
{
  if (x->kind != y->kind || x->n_args != y->n_args || (x->text == NULL) != (y->text == NULL) ||
      (x->text && strcmp(x->text, y->text)) || x->number < y->number || x->number > y->number ||
      (x->unit.text == NULL) != (y->unit.text == NULL) ||
      (x->unit.text && strcmp(x->unit.text, y->unit.text)))
    return false;
  for (size_t i = 0; i < x->n_args; i++) {
    const char *a = x->args[i].name.text, *b = y->args[i].name.text;
    if ((a == NULL) != (b == NULL) || (a && strcmp(a, b)) ||
        !dsl_same_expr(x->args[i].value, y->args[i].value))
      return false;
  }
  return true;
}

static void suggest_swept(struct dsl *dsl, const struct dsl_experiment *e, const char *name,
                          struct diag *d)
{
  const char **words = arena_array(dsl->arena, e->n_vars + 1, sizeof *words);
  size_t n = 0;
  for (size_t i = 0; i < e->n_vars; i++)
    if (e->vars[i].stmt->kind == AST_SWEEP)
      words[n++] = e->vars[i].name;
  const char *near = diag_nearest(name, words, n);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
}

/* `lr of base`: the values that base's sweep gives to lr, each once. */
static void values_of(struct dsl *dsl, const struct ast_expr *x, struct ast_stmt *out, bool paper,
                      struct diag *d)
{
  const struct ast_expr *name = x->args[0].value, *target = x->args[1].value;
  struct dsl_experiment *e = dsl_experiment(dsl, target->text);
  if (!e) {
    if (dsl_knows_all(dsl->program))
      dsl_unknown_experiment(dsl, target->text, target->text_span, d);
    return;
  }
  if (target->kind != AST_NAME || name->kind != AST_NAME) {
    diag_error(d, x->span, "the values of a sweep are written `lr of %s`", e->name);
    return;
  }
  if (e->sweeps == DSL_SWEEPS_BEING_READ) {
    diag_error(d, x->span, "the sweeps of `%s` are made of themselves", e->name);
    return;
  }
  struct dsl_experiment *from = paper && e->paper ? e->paper : e;
  dsl_read_sweeps(dsl, from, paper, d);
  const struct dsl_var *v = dsl_var(from, name->text);
  if (!v || v->stmt->kind != AST_SWEEP) {
    diag_error(d, x->span, "`%s` does not sweep `%s`", e->name, name->text);
    suggest_swept(dsl, from, name->text, d);
    if (v)
      diag_note(d, v->stmt->span, "it has one value");
    return;
  }
  for (size_t i = 0; i < v->n_values; i++) {
    bool known = false;
    for (size_t k = 0; k < i; k++)
      known |= dsl_same_expr(v->values[i], v->values[k]);
    if (!known)
      ARENA_PUSH(dsl->arena, out->values, out->n_values, out->cap_values, v->values[i]);
  }
}

static void one_value(struct dsl *dsl, struct ast_expr *x, struct ast_stmt *out, bool paper,
                      struct diag *d)
{
  if (x->kind == AST_OF)
    values_of(dsl, x, out, paper, d);
  else if (!write_out(dsl->arena, x, out))
    ARENA_PUSH(dsl->arena, out->values, out->n_values, out->cap_values, x);
}

/* pairs(0, 1, 2): (0, 1), (0, 2), (1, 2). */
static void values_of_pairs(struct dsl *dsl, const struct ast_expr *x, size_t column,
                            struct ast_stmt *out, bool paper, struct diag *d)
{
  struct ast_stmt all = {0};
  for (size_t i = 0; i < x->n_args; i++)
    one_value(dsl, x->args[i].value, &all, paper, d);
  if (all.n_values < 2 && !column && !diag_errors(d))
    diag_error(d, x->span, "%zu value%s no pair", all.n_values,
               all.n_values == 1 ? " makes" : "s make");
  for (size_t i = 0; i < all.n_values; i++)
    for (size_t k = i + 1; k < all.n_values; k++)
      ARENA_PUSH(dsl->arena, out->values, out->n_values, out->cap_values,
                 all.values[column ? k : i]);
}

static void read_sweep(struct dsl *dsl, struct dsl_var *v, bool paper, struct diag *d)
{
  const struct ast_stmt *s = v->stmt;
  struct ast_stmt list = {0};
  size_t column = 0;
  while (column < s->n_names && strcmp(s->names[column].text, v->name))
    column++;
  for (size_t i = 0; i < s->n_values; i++) {
    struct ast_expr *x = s->values[i];
    if (!s->n_names && x->kind == AST_OF && !strcmp(v->name, "start"))
      ARENA_PUSH(dsl->arena, list.values, list.n_values, list.cap_values, x); /* a model */
    else if (!s->n_names)
      one_value(dsl, x, &list, paper, d);
    else if (x->kind == AST_CALL && s->n_names == 2)
      values_of_pairs(dsl, x, column, &list, paper, d);
    else if (x->kind == AST_TUPLE && x->n_args == s->n_names)
      ARENA_PUSH(dsl->arena, list.values, list.n_values, list.cap_values, x->args[column].value);
  }
  v->values = list.values;
  v->n_values = list.n_values;
}

static const char lost[] = "?";

bool dsl_is_lost(const struct ast_expr *x)
{
  return x->text == lost;
}

static void keep_lost(struct dsl *dsl, struct dsl_var *v)
{
  struct ast_expr *x = arena_alloc(dsl->arena, sizeof *x);
  struct ast_expr **values = arena_alloc(dsl->arena, sizeof *values);
  *x = (struct ast_expr){.kind = AST_NUMBER, .span = v->stmt->span, .number = 1, .text = lost,
                         .text_span = v->stmt->span, .depth = 1};
  *values = x;
  v->values = values;
  v->n_values = 1;
}

void dsl_read_sweeps(struct dsl *dsl, struct dsl_experiment *e, bool paper, struct diag *d)
{
  if (e->sweeps != DSL_SWEEPS_OPEN)
    return;
  e->sweeps = DSL_SWEEPS_BEING_READ;
  for (size_t i = 0; i < e->n_vars; i++)
    if (e->vars[i].stmt->kind == AST_SWEEP)
      read_sweep(dsl, &e->vars[i], paper, d);
  for (size_t i = 0; i < e->n_vars; i++)
    if (!e->vars[i].n_values)
      keep_lost(dsl, &e->vars[i]);
  e->sweeps = DSL_SWEEPS_KNOWN;
}
