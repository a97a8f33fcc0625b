#include "figure/claims_int.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct claims_table claims_table(struct arena *a, const struct figure_csv *csv)
{
  return (struct claims_table){a, csv,
                               arena_array(a, csv->n_columns + 1, sizeof(struct claims_groups *))};
}

/* ---- groups ---- */

struct keyed {
  double num;
  const char *text;
  uint32_t row;
};

static int by_number(const void *left, const void *right)
{
  const struct keyed *l = left, *r = right;
  if (isnan(l->num) != isnan(r->num))
    return isnan(l->num) ? 1 : -1;
  return (l->num > r->num) - (l->num < r->num);
}

/* Text keeps the order of its first appearance, which is the sweep's. */
static void group_text(const struct figure_csv *csv, size_t c, struct claims_groups *g)
{
  for (size_t r = 0; r < csv->n_rows; r++) {
    size_t k = 0;
    while (strcmp(csv->text[k * csv->n_columns + c], csv->text[r * csv->n_columns + c]))
      k++;
    g->of[r] = k == r ? (uint32_t)g->n++ : g->of[k];
  }
}

static struct claims_groups *make_groups(struct claims_table *t, size_t c)
{
  const struct figure_csv *csv = t->csv;
  struct claims_groups *g = arena_alloc(t->arena, sizeof *g);
  double *num = arena_array(t->arena, csv->n_rows + 1, sizeof *num);
  g->of = arena_array(t->arena, csv->n_rows + 1, sizeof *g->of);
  g->num = num;
  if (!csv->numeric[c]) {
    group_text(csv, c, g);
    for (size_t i = 0; i < g->n; i++)
      num[i] = NAN;
    return g;
  }
  struct keyed *keys = arena_array(t->arena, csv->n_rows + 1, sizeof *keys);
  for (size_t r = 0; r < csv->n_rows; r++)
    keys[r] = (struct keyed){csv->num[r * csv->n_columns + c], NULL, (uint32_t)r};
  qsort(keys, csv->n_rows, sizeof *keys, by_number);
  for (size_t r = 0; r < csv->n_rows; r++) {
    if (!r || by_number(&keys[r - 1], &keys[r]))
      num[g->n++] = keys[r].num;
    g->of[keys[r].row] = (uint32_t)(g->n - 1);
  }
  return g;
}

static const struct claims_groups *groups_at(struct claims_table *t, size_t c)
{
  if (!t->groups[c])
    t->groups[c] = make_groups(t, c);
  return t->groups[c];
}

const struct claims_groups *claims_groups(struct claims_table *t, const char *column)
{
  size_t c = figure_csv_column(t->csv, column);
  return c == SIZE_MAX ? NULL : groups_at(t, c);
}

/* The rows of each group, one behind the other: group k has [begin[k], begin[k + 1]). */
struct parts {
  size_t *begin;
  uint32_t *rows;
};

static struct parts split(struct arena *a, const struct claims_groups *g, const uint32_t *rows,
                          size_t n)
{
  struct parts p = {arena_array(a, g->n + 2, sizeof *p.begin),
                    arena_array(a, n + 1, sizeof *p.rows)};
  size_t *next = arena_array(a, g->n + 1, sizeof *next);
  for (size_t i = 0; i < n; i++)
    p.begin[g->of[rows[i]] + 1]++;
  for (size_t k = 0; k < g->n; k++) {
    p.begin[k + 1] += p.begin[k];
    next[k] = p.begin[k];
  }
  for (size_t i = 0; i < n; i++)
    p.rows[next[g->of[rows[i]]]++] = rows[i];
  return p;
}

/* ---- values ---- */

enum sort { NUMBER, COLUMN, CURVE, CONDITION };

struct value {
  enum sort sort;
  double num;
  size_t n;      /* COLUMN, CONDITION: of rows; CURVE: of groups that have a value */
  double *v;     /* COLUMN, CURVE; CONDITION: 1 where it is met */
  double *x;     /* CURVE: the groups' values */
};

struct evaluation {
  struct claims_table *table;
  struct arena *arena;
};

struct rows {
  const uint32_t *v;
  size_t n;
};

static struct value eval(struct evaluation *, const struct plan_claim_node *, struct rows);

static double at(const struct value *v, size_t i)
{
  return v->sort == NUMBER ? v->num : v->v[i];
}

static double operate(enum plan_claim_op op, double a, double b)
{
  switch (op) {
  case PLAN_CLAIM_ADD:
    return a + b;
  case PLAN_CLAIM_SUB:
    return a - b;
  case PLAN_CLAIM_MUL:
    return a * b;
  case PLAN_CLAIM_DIV:
    return a / b;
  case PLAN_CLAIM_POW:
    return pow(a, b);
  case PLAN_CLAIM_NEG:
    return -a;
  case PLAN_CLAIM_ABS:
    return fabs(a);
  case PLAN_CLAIM_LOG:
    return log(a);
  case PLAN_CLAIM_LOG10:
    return log10(a);
  case PLAN_CLAIM_EXP:
    return exp(a);
  default:
    return sqrt(a);
  }
}

/* What is compared with no number is false, also where it says "not equal". */
static bool compare(enum plan_claim_op op, double a, double b)
{
  if (isnan(a) || isnan(b))
    return false;
  switch (op) {
  case PLAN_CLAIM_LT:
    return a < b;
  case PLAN_CLAIM_GT:
    return a > b;
  case PLAN_CLAIM_LE:
    return a <= b;
  case PLAN_CLAIM_GE:
    return a >= b;
  case PLAN_CLAIM_EQ:
    return !(a < b || a > b);
  case PLAN_CLAIM_NE:
    return a < b || a > b;
  case PLAN_CLAIM_AND:
    return a > 0 && b > 0;
  case PLAN_CLAIM_OR:
    return a > 0 || b > 0;
  default: /* NOT */
    return !(a > 0);
  }
}

static bool is_condition(enum plan_claim_op op)
{
  return (op >= PLAN_CLAIM_LT && op <= PLAN_CLAIM_NE) || op == PLAN_CLAIM_AND ||
         op == PLAN_CLAIM_OR || op == PLAN_CLAIM_NOT;
}

/* A function of a number: over columns, of each row. */
static struct value elementwise(struct evaluation *e, const struct plan_claim_node *n,
                                struct rows rows)
{
  struct value a = eval(e, n->args[0], rows), b = n->n_args > 1 ? eval(e, n->args[1], rows) : a;
  bool condition = is_condition(n->op);
  struct value out = {.sort = condition ? CONDITION : NUMBER};
  if (!condition && a.sort == NUMBER && b.sort == NUMBER) {
    out.num = operate(n->op, a.num, b.num);
    return out;
  }
  out.sort = condition ? CONDITION : COLUMN;
  out.n = rows.n;
  out.v = arena_array(e->arena, rows.n + 1, sizeof *out.v);
  for (size_t i = 0; i < rows.n; i++)
    out.v[i] = condition ? compare(n->op, at(&a, i), at(&b, i))
                         : operate(n->op, at(&a, i), at(&b, i));
  return out;
}

static struct value column(struct evaluation *e, const char *name, struct rows rows)
{
  const struct figure_csv *csv = e->table->csv;
  size_t c = figure_csv_column(csv, name);
  struct value out = {.sort = COLUMN, .n = rows.n};
  out.v = arena_array(e->arena, rows.n + 1, sizeof *out.v);
  for (size_t i = 0; i < rows.n; i++)
    out.v[i] = c == SIZE_MAX ? NAN : csv->num[rows.v[i] * csv->n_columns + c];
  return out;
}

/* augment == flip_crop: texts are compared as texts. */
static struct value compare_text(struct evaluation *e, const struct plan_claim_node *n,
                                 struct rows rows)
{
  const struct figure_csv *csv = e->table->csv;
  size_t c = figure_csv_column(csv, n->args[0]->text);
  struct value out = {.sort = CONDITION, .n = rows.n};
  out.v = arena_array(e->arena, rows.n + 1, sizeof *out.v);
  for (size_t i = 0; c != SIZE_MAX && i < rows.n; i++)
    out.v[i] = !strcmp(csv->text[rows.v[i] * csv->n_columns + c], n->args[1]->text) ==
               (n->op == PLAN_CLAIM_EQ);
  return out;
}

static struct value by(struct evaluation *e, const struct plan_claim_node *n, struct rows rows)
{
  const struct claims_groups *g = claims_groups(e->table, n->args[1]->text);
  struct value out = {.sort = CURVE};
  if (!g)
    return out;
  struct parts p = split(e->arena, g, rows.v, rows.n);
  out.v = arena_array(e->arena, g->n + 1, sizeof *out.v);
  out.x = arena_array(e->arena, g->n + 1, sizeof *out.x);
  for (size_t k = 0; k < g->n; k++) {
    struct rows part = {p.rows + p.begin[k], p.begin[k + 1] - p.begin[k]};
    double v = part.n ? eval(e, n->args[0], part).num : NAN;
    if (!isfinite(v))
      continue;
    out.v[out.n] = v;
    out.x[out.n++] = g->num[k];
  }
  return out;
}

static struct value among(struct evaluation *e, const struct plan_claim_node *n, struct rows rows)
{
  struct value met = eval(e, n->args[0], rows);
  uint32_t *kept = arena_array(e->arena, rows.n + 1, sizeof *kept);
  size_t m = 0;
  for (size_t i = 0; i < rows.n; i++)
    if (met.v[i] > 0)
      kept[m++] = rows.v[i];
  return eval(e, n->args[1], (struct rows){kept, m});
}

/* Mean over pairs of series of the distance of their curves, as a share of the
 * distance between the quartiles of all the curves' values. */
static double spread(struct evaluation *e, const struct plan_claim_node *n, struct rows rows)
{
  const struct claims_groups *g = claims_groups(e->table, n->args[1]->text);
  if (!g)
    return NAN;
  struct parts p = split(e->arena, g, rows.v, rows.n);
  struct claims_curve *curves = arena_array(e->arena, g->n + 1, sizeof *curves);
  double *values = NULL, sum = 0;
  size_t n_values = 0, cap = 0, pairs = 0;
  bool logarithmic = true;
  for (size_t k = 0; k < g->n; k++) {
    struct rows part = {p.rows + p.begin[k], p.begin[k + 1] - p.begin[k]};
    struct value c = eval(e, n->args[0], part);
    curves[k] = (struct claims_curve){c.n, c.x, c.v};
    for (size_t i = 0; i < c.n; i++) {
      logarithmic = logarithmic && c.x[i] > 0;
      ARENA_PUSH(e->arena, values, n_values, cap, c.v[i]);
    }
  }
  for (size_t k = 0; k < g->n; k++)
    for (size_t j = 0; j < k; j++) {
      double d = claims_distance(&curves[j], &curves[k], logarithmic);
      if (isfinite(d)) {
        sum += d;
        pairs++;
      }
    }
  double between = claims_reduce(PLAN_CLAIM_QUANTILE, e->arena, values, n_values, 0.75) -
                   claims_reduce(PLAN_CLAIM_QUANTILE, e->arena, values, n_values, 0.25);
  return pairs && between > 0 ? sum / (double)pairs / between : NAN;
}

static double order_correlation(struct evaluation *e, const struct value *curve)
{
  double *order = arena_array(e->arena, curve->n + 1, sizeof *order);
  for (size_t i = 0; i < curve->n; i++)
    order[i] = (double)i;
  return claims_spearman(e->arena, order, curve->v, curve->n);
}

static double argmax(const struct value *curve)
{
  size_t best = 0;
  for (size_t i = 1; i < curve->n; i++)
    if (curve->v[i] > curve->v[best])
      best = i;
  return curve->n ? curve->x[best] : NAN;
}

/* Functions that give a number. */
static double statistic(struct evaluation *e, const struct plan_claim_node *n, struct rows rows)
{
  if (n->op == PLAN_CLAIM_SPREAD)
    return spread(e, n, rows);
  struct value v[PLAN_CLAIM_MAX_ARGS] = {{0}};
  for (unsigned i = 0; i < n->n_args; i++)
    v[i] = eval(e, n->args[i], rows);
  switch (n->op) {
  case PLAN_CLAIM_PEARSON:
    return claims_pearson(e->arena, v[0].v, v[1].v, rows.n);
  case PLAN_CLAIM_SPEARMAN:
    return claims_spearman(e->arena, v[0].v, v[1].v, rows.n);
  case PLAN_CLAIM_PARTIAL:
    return claims_partial(e->arena, v[0].v, v[1].v, v[2].v, rows.n);
  case PLAN_CLAIM_TREND:
    return order_correlation(e, &v[0]);
  case PLAN_CLAIM_PEAK:
    return claims_peak(v[0].v, v[0].n);
  case PLAN_CLAIM_ARGMAX:
    return argmax(&v[0]);
  case PLAN_CLAIM_FIRST:
    return v[0].n ? v[0].v[0] : NAN;
  case PLAN_CLAIM_LAST:
    return v[0].n ? v[0].v[v[0].n - 1] : NAN;
  default:
    return claims_reduce(n->op, e->arena, v[0].v, v[0].n, v[1].num);
  }
}

static struct value eval(struct evaluation *e, const struct plan_claim_node *n, struct rows rows)
{
  switch (n->op) {
  case PLAN_CLAIM_NUMBER:
    return (struct value){.sort = NUMBER, .num = n->number};
  case PLAN_CLAIM_COLUMN:
    return column(e, n->text, rows);
  case PLAN_CLAIM_BY:
    return by(e, n, rows);
  case PLAN_CLAIM_AMONG:
    return among(e, n, rows);
  case PLAN_CLAIM_EQ:
  case PLAN_CLAIM_NE:
    if (n->args[1]->op == PLAN_CLAIM_TEXT)
      return compare_text(e, n, rows);
    return elementwise(e, n, rows);
  case PLAN_CLAIM_ADD:
  case PLAN_CLAIM_SUB:
  case PLAN_CLAIM_MUL:
  case PLAN_CLAIM_DIV:
  case PLAN_CLAIM_POW:
  case PLAN_CLAIM_NEG:
  case PLAN_CLAIM_LT:
  case PLAN_CLAIM_GT:
  case PLAN_CLAIM_LE:
  case PLAN_CLAIM_GE:
  case PLAN_CLAIM_AND:
  case PLAN_CLAIM_OR:
  case PLAN_CLAIM_NOT:
  case PLAN_CLAIM_ABS:
  case PLAN_CLAIM_LOG:
  case PLAN_CLAIM_LOG10:
  case PLAN_CLAIM_EXP:
  case PLAN_CLAIM_SQRT:
    return elementwise(e, n, rows);
  default:
    return (struct value){.sort = NUMBER, .num = statistic(e, n, rows)};
  }
}

double claims_eval(struct claims_table *t, struct arena *a, const struct plan_claim_node *n,
                   const uint32_t *rows, size_t n_rows)
{
  struct evaluation e = {t, a};
  struct value v = eval(&e, n, (struct rows){rows, n_rows});
  assert(v.sort == NUMBER);
  return v.num;
}
