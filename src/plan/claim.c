#include "plan/claim.h"

#include "base/num.h"

#include <string.h>

static const struct plan_claim_function functions[] = {
#define FUNCTION(id, name, takes, gives, meaning) {PLAN_CLAIM_##id, name, takes, gives, meaning},
#include "plan/claim.def"
};

static const struct plan_claim_operator operators[] = {
#define OPERATOR(id, text, operands) {PLAN_CLAIM_##id, text, operands},
#include "plan/claim.def"
};

enum {
  N_FUNCTIONS = sizeof functions / sizeof *functions,
  N_OPERATORS = sizeof operators / sizeof *operators
};

const struct plan_claim_function *plan_claim_function_at(size_t k)
{
  return k < N_FUNCTIONS ? &functions[k] : NULL;
}

const struct plan_claim_function *plan_claim_function(const char *name)
{
  for (size_t i = 0; i < N_FUNCTIONS; i++)
    if (!strcmp(functions[i].name, name))
      return &functions[i];
  return NULL;
}

const struct plan_claim_operator *plan_claim_operator(const char *text, unsigned operands)
{
  for (size_t i = 0; i < N_OPERATORS; i++)
    if (!strcmp(operators[i].text, text) && operators[i].operands == operands)
      return &operators[i];
  return NULL;
}

const char *plan_claim_reduced(const struct plan_claim_node *n)
{
  bool reduces = n->op == PLAN_CLAIM_MEAN || n->op == PLAN_CLAIM_MEDIAN ||
                 n->op == PLAN_CLAIM_MIN || n->op == PLAN_CLAIM_MAX || n->op == PLAN_CLAIM_QUANTILE;
  return reduces && n->args[0]->op == PLAN_CLAIM_COLUMN ? n->args[0]->text : NULL;
}

static size_t add_columns(const struct plan_claim_node *n, const char **columns, size_t have,
                          size_t cap)
{
  size_t k = 0;
  while (n->op == PLAN_CLAIM_COLUMN && k < have && strcmp(columns[k], n->text))
    k++;
  if (n->op == PLAN_CLAIM_COLUMN && k == have && have < cap)
    columns[have++] = n->text;
  for (unsigned i = 0; i < n->n_args; i++)
    have = add_columns(n->args[i], columns, have, cap);
  return have;
}

size_t plan_claim_columns(const struct plan_claim_node *n, const char **columns, size_t cap)
{
  return add_columns(n, columns, 0, cap);
}

static const char *name_of(enum plan_claim_op op)
{
  for (size_t i = 0; i < N_FUNCTIONS; i++)
    if (functions[i].op == op)
      return functions[i].name;
  for (size_t i = 0; i < N_OPERATORS; i++)
    if (operators[i].op == op)
      return operators[i].text;
  return "";
}

char *plan_claim_text(struct arena *a, const struct plan_claim_node *n)
{
  char number[NUM_TEXT];
  if (n->op == PLAN_CLAIM_NUMBER)
    return arena_strdup(a, num_text(n->number, number));
  if (n->op == PLAN_CLAIM_COLUMN)
    return arena_strdup(a, n->text);
  if (n->op == PLAN_CLAIM_TEXT)
    return arena_printf(a, "\"%s\"", n->text);
  char *text = arena_printf(a, "%s(", name_of(n->op));
  for (unsigned i = 0; i < n->n_args; i++)
    text = arena_printf(a, "%s%s%s", text, i ? ", " : "", plan_claim_text(a, n->args[i]));
  return arena_printf(a, "%s)", text);
}
