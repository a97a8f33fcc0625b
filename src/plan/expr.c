#include "plan/expr.h"

#include "base/num.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void plan_expr_push(struct arena *a, struct plan_expr *e, struct plan_code code)
{
  ARENA_PUSH(a, e->code, e->n, e->cap, code);
}

static int ascending(const void *x, const void *y)
{
  double a = *(const double *)x, b = *(const double *)y;
  return (a > b) - (a < b);
}

double plan_quantile(const double *values, size_t n, double q)
{
  if (!n)
    return NAN;
  double *sorted = mem_alloc(n * sizeof *sorted);
  memcpy(sorted, values, n * sizeof *sorted);
  qsort(sorted, n, sizeof *sorted, ascending);
  double at = q * (double)(n - 1);
  size_t low = (size_t)at;
  size_t high = low + 1 < n ? low + 1 : low;
  double value = sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
  free(sorted);
  return value;
}

static double reduce(enum plan_op op, const double *v, uint32_t n)
{
  double sum = 0, low = INFINITY, high = -INFINITY;
  for (uint32_t i = 0; i < n; i++) {
    if (isnan(v[i]))
      return NAN;
    sum += v[i];
    low = fmin(low, v[i]);
    high = fmax(high, v[i]);
  }
  switch (op) {
  case PLAN_OP_MEAN:
    return sum / n;
  case PLAN_OP_MEDIAN:
    return plan_quantile(v, n, 0.5);
  case PLAN_OP_MIN:
    return low;
  default:
    return high;
  }
}

static double unary(enum plan_op op, double x)
{
  switch (op) {
  case PLAN_OP_NEG:
    return -x;
  case PLAN_OP_LOG:
    return log(x);
  case PLAN_OP_LOG10:
    return log10(x);
  case PLAN_OP_EXP:
    return exp(x);
  case PLAN_OP_SQRT:
    return sqrt(x);
  default:
    return fabs(x);
  }
}

static double binary(enum plan_op op, double x, double y)
{
  switch (op) {
  case PLAN_OP_ADD:
    return x + y;
  case PLAN_OP_SUB:
    return x - y;
  case PLAN_OP_MUL:
    return x * y;
  case PLAN_OP_DIV:
    return x / y;
  default:
    return pow(x, y);
  }
}

static const struct {
  const char *name;
  unsigned operands;
} ops[] = {
    [PLAN_OP_NUMBER] = {"", 0},
    [PLAN_OP_SLOT] = {"", 0},
#define OP(id, text, count) [PLAN_OP_##id] = {text, count},
    PLAN_OPS(OP)
#undef OP
};

double plan_expr_eval(const struct plan_expr *e, const double *slots)
{
  double stack[PLAN_EXPR_MAX_DEPTH];
  size_t top = 0;
  for (size_t i = 0; i < e->n; i++) {
    const struct plan_code *c = &e->code[i];
    unsigned operands = ops[c->op].operands;
    if (c->op == PLAN_OP_NUMBER || c->op == PLAN_OP_SLOT) {
      assert(top < PLAN_EXPR_MAX_DEPTH);
      stack[top++] = c->op == PLAN_OP_NUMBER ? c->number : slots[c->n];
    } else if (operands == 2) {
      assert(top >= 2);
      top--;
      stack[top - 1] = binary(c->op, stack[top - 1], stack[top]);
    } else if (operands == 1) {
      assert(top >= 1);
      stack[top - 1] = unary(c->op, stack[top - 1]);
    } else {
      assert(c->n >= 1 && top >= c->n);
      top -= c->n;
      stack[top] = reduce(c->op, stack + top, c->n);
      top++;
    }
  }
  assert(top == 1);
  return stack[0];
}

unsigned plan_expr_depth(const struct plan_expr *e)
{
  unsigned depth = 0, deepest = 0;
  for (size_t i = 0; i < e->n; i++) {
    const struct plan_code *c = &e->code[i];
    unsigned operands = ops[c->op].operands ? ops[c->op].operands : c->n;
    if (c->op == PLAN_OP_NUMBER || c->op == PLAN_OP_SLOT)
      operands = 0;
    depth = depth - operands + 1;
    if (depth > deepest)
      deepest = depth;
  }
  return deepest;
}

char *plan_expr_text(struct arena *a, const struct plan_expr *e)
{
  char *text = arena_strdup(a, ""), number[NUM_TEXT];
  for (size_t i = 0; i < e->n; i++) {
    const struct plan_code *c = &e->code[i];
    const char *gap = i ? " " : "";
    if (c->op == PLAN_OP_NUMBER)
      text = arena_printf(a, "%s%s%s", text, gap, num_text(c->number, number));
    else if (c->op == PLAN_OP_SLOT)
      text = arena_printf(a, "%s%ss%u", text, gap, (unsigned)c->n);
    else if (ops[c->op].operands)
      text = arena_printf(a, "%s%s%s", text, gap, ops[c->op].name);
    else
      text = arena_printf(a, "%s%s%s(%u)", text, gap, ops[c->op].name, (unsigned)c->n);
  }
  return text;
}
