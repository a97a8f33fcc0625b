#include "figure/claims_int.h"

#include "base/rng.h"
#include "plan/expr.h"

#include <math.h>
#include <string.h>

static uint32_t *all_rows(struct arena *a, size_t n)
{
  uint32_t *rows = arena_array(a, n + 1, sizeof *rows);
  for (size_t r = 0; r < n; r++)
    rows[r] = (uint32_t)r;
  return rows;
}

double claims_statistic(const struct plan_claim_node *n, const struct figure_csv *csv)
{
  struct arena *a = arena_new();
  struct claims_table t = claims_table(a, csv);
  double v = claims_eval(&t, a, n, all_rows(a, csv->n_rows), csv->n_rows);
  arena_free(a);
  return v;
}

/* ---- which rows count ---- */

static void mark_failed(const struct plan_claim_node *n, const struct figure_csv *csv, bool *failed)
{
  size_t c = n->op == PLAN_CLAIM_COLUMN ? figure_csv_column(csv, n->text) : SIZE_MAX;
  for (size_t r = 0; c != SIZE_MAX && csv->numeric[c] && r < csv->n_rows; r++)
    failed[r] = failed[r] || !isfinite(csv->num[r * csv->n_columns + c]);
  for (unsigned i = 0; i < n->n_args; i++)
    mark_failed(n->args[i], csv, failed);
}

static size_t count_failed(struct arena *a, const struct plan_claim_node *n,
                           const struct figure_csv *csv)
{
  bool *failed = arena_array(a, csv->n_rows + 1, sizeof *failed);
  size_t count = 0;
  mark_failed(n, csv, failed);
  for (size_t r = 0; r < csv->n_rows; r++)
    count += failed[r];
  return count;
}

/* ---- the bootstrap ---- */

/* 97.5 % quantile of Student's t. */
static double t_quantile(size_t freedom)
{
  static const double table[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                 2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                 2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                 2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
  const size_t n = sizeof table / sizeof *table;
  return freedom <= n ? table[freedom - 1] : 1.96 + 2.42 / (double)freedom;
}

/* Share of resamples that an expanded percentile interval leaves out at each end. */
static double tail(size_t units)
{
  double n = (double)units;
  return erfc(sqrt(n / (n - 1)) * t_quantile(units - 1) / sqrt(2)) / 2;
}

struct units {
  size_t n;
  uint32_t **rows;
  size_t *n_rows;
};

/* Which unit each row is of, and how many there are: rows are one where all columns agree. */
static size_t number_units(struct arena *a, struct claims_table *t, const struct plan_claim *c,
                           uint32_t *of)
{
  size_t n = t->csv->n_rows > 0;
  for (size_t k = 0; k < c->n_units; k++) {
    const struct claims_groups *g = claims_groups(t, c->units[k]);
    if (!g)
      continue;
    uint32_t *number = arena_array(a, n * g->n + 1, sizeof *number);
    size_t found = 0;
    for (size_t r = 0; r < t->csv->n_rows; r++) {
      uint32_t *at = &number[of[r] * g->n + g->of[r]];
      if (!*at)
        *at = (uint32_t)++found;
      of[r] = *at - 1;
    }
    n = found;
  }
  return n;
}

static struct units collect(struct arena *a, struct claims_table *t, const struct plan_claim *c)
{
  uint32_t *of = arena_array(a, t->csv->n_rows + 1, sizeof *of);
  struct units u = {.n = number_units(a, t, c, of)};
  u.rows = arena_array(a, u.n + 1, sizeof *u.rows);
  u.n_rows = arena_array(a, u.n + 1, sizeof *u.n_rows);
  for (size_t r = 0; r < t->csv->n_rows; r++)
    u.n_rows[of[r]]++;
  for (size_t k = 0; k < u.n; k++) {
    u.rows[k] = arena_array(a, u.n_rows[k] + 1, sizeof **u.rows);
    u.n_rows[k] = 0;
  }
  for (size_t r = 0; r < t->csv->n_rows; r++) {
    size_t k = of[r];
    u.rows[k][u.n_rows[k]++] = (uint32_t)r;
  }
  return u;
}

/* The statistic of one resample. */
static double resample(struct claims_table *t, const struct plan_claim *c, const struct units *u,
                       uint32_t number)
{
  struct arena *a = arena_new();
  struct rng rng = rng_at(0, RNG_BOOTSTRAP, 0, number, 0);
  uint32_t *rows = NULL;
  size_t n = 0, cap = 0;
  for (size_t i = 0; i < u->n; i++) {
    uint32_t k = rng_below(&rng, (uint32_t)u->n);
    for (size_t r = 0; r < u->n_rows[k]; r++)
      ARENA_PUSH(a, rows, n, cap, u->rows[k][r]);
  }
  double v = claims_eval(t, a, c->statistic, rows, n);
  arena_free(a);
  return v;
}

static bool interval(struct arena *a, struct claims_table *t, const struct plan_claim *c,
                     const struct units *u, struct claims_result *result)
{
  double *values = arena_array(a, CLAIMS_RESAMPLES, sizeof *values);
  size_t n = 0;
  for (uint32_t b = 0; b < CLAIMS_RESAMPLES; b++) {
    double v = resample(t, c, u, b);
    if (isfinite(v))
      values[n++] = v;
  }
  if (n < CLAIMS_RESAMPLES * 9 / 10) {
    result->note = "the statistic is not defined in many resamples";
    return false;
  }
  result->low = plan_quantile(values, n, tail(u->n));
  result->high = plan_quantile(values, n, 1 - tail(u->n));
  return true;
}

/* ---- the verdict ---- */

/* An interval shrinks as 1 / sqrt(units): how many would free it of the bound?
 * Fewer than 6 never give a whole 95 %. */
static double needed(const struct claims_result *r, double bound)
{
  double distance = fabs(r->statistic - bound), n = (double)r->n_units;
  double reach = r->statistic > bound ? r->statistic - r->low : r->high - r->statistic;
  if (!(distance > 0))
    return INFINITY;
  return fmax(fmax(n + 1, CLAIMS_FULL_UNITS), ceil(n * (reach / distance) * (reach / distance)));
}

static void decide(const struct plan_claim *c, struct claims_result *r)
{
  double bound = c->greater ? c->bound + c->tolerance : c->bound - c->tolerance;
  bool above = r->low > bound, below = r->high < bound; /* one that touches it is neither */
  if (above || below)
    r->verdict = above == c->greater ? CLAIMS_PASS : CLAIMS_FAIL;
  else
    r->needed = needed(r, bound);
}

void claims_evaluate(const struct plan_claim *c, const struct figure_csv *csv,
                     struct claims_result *r)
{
  struct arena *a = arena_new();
  struct claims_table t = claims_table(a, csv);
  struct units u = collect(a, &t, c);
  *r = (struct claims_result){
      .verdict = CLAIMS_UNDECIDED,
      .statistic = claims_eval(&t, a, c->statistic, all_rows(a, csv->n_rows), csv->n_rows),
      .low = NAN,
      .high = NAN,
      .n_rows = csv->n_rows,
      .n_units = u.n,
      .n_dropped = count_failed(a, c->statistic, csv),
      .needed = NAN,
  };
  if (!isfinite(r->statistic)) {
    r->note = "the statistic is not defined for these rows";
  } else if (u.n < CLAIMS_MIN_UNITS) {
    r->note = "an interval takes three units or more";
    r->needed = CLAIMS_MIN_UNITS;
  } else if (interval(a, &t, c, &u, r)) {
    decide(c, r);
  }
  arena_free(a);
}

bool claims_judge(struct store *store, const struct plan *plan, const struct plan_claim *c,
                  struct claims_result *r, struct diag *d)
{
  *r = (struct claims_result){.statistic = NAN, .low = NAN, .high = NAN, .needed = NAN};
  if (!c->judged || c->omitted) {
    r->verdict = c->omitted ? CLAIMS_NOT_AVAILABLE : CLAIMS_NOT_JUDGED;
    r->note = c->omitted;
    return true;
  }
  struct arena *a = arena_new();
  struct figure_csv csv;
  bool ok = figure_read_table(a, store, plan, plan_step(plan, c->table), &csv, d);
  if (ok)
    claims_evaluate(c, &csv, r);
  arena_free(a);
  return ok;
}
