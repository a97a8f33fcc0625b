#include "figure/figure_int.h"

#include "base/num.h"
#include "plan/expr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns of the table that a panel reads; SIZE_MAX: none. */
struct columns {
  size_t x, y, series, opacity, failed;
};

static bool find(const struct figure_csv *csv, const char *place, const char *panel,
                 const char *name, size_t *column, struct diag *d)
{
  *column = SIZE_MAX;
  if (!name)
    return true;
  *column = figure_csv_column(csv, name);
  if (*column != SIZE_MAX)
    return true;
  diag_error(d, SPAN_NONE, "%s, panel %s: the table has no column \"%s\"", place, panel, name);
  const char *near = diag_nearest(name, csv->names, csv->n_columns);
  if (near)
    diag_hint(d, "did you mean \"%s\"?", near);
  return false;
}

static bool find_columns(const struct figure_csv *csv, const char *place,
                         const struct plan_panel *p, struct columns *c, struct diag *d)
{
  bool ok = find(csv, place, p->name, p->x.column, &c->x, d);
  ok = find(csv, place, p->name, p->y.column, &c->y, d) && ok;
  ok = find(csv, place, p->name, p->series, &c->series, d) && ok;
  ok = find(csv, place, p->name, p->opacity, &c->opacity, d) && ok;
  c->failed = figure_csv_column(csv, "failed");
  if (ok && (c->x == SIZE_MAX || c->y == SIZE_MAX)) {
    diag_error(d, SPAN_NONE, "%s, panel %s: a panel needs both x and y", place, p->name);
    ok = false;
  }
  return ok;
}

static size_t value_index(const struct figure_values *v, const char *text)
{
  for (size_t i = 0; i < v->n; i++) {
    if (strcmp(v->text[i], text) == 0)
      return i;
  }
  return v->n;
}

static void swap_values(struct figure_values *v, size_t i, size_t j)
{
  const char *text = v->text[i];
  v->text[i] = v->text[j];
  v->text[j] = text;
  double num = v->num[i];
  v->num[i] = v->num[j];
  v->num[j] = num;
}

static void collect_values(struct arena *a, const struct figure_csv *csv, size_t column,
                           struct figure_values *v)
{
  v->numeric = csv->numeric[column];
  for (size_t r = 0; r < csv->n_rows; r++) {
    size_t at = r * csv->n_columns + column;
    if (value_index(v, csv->text[at]) < v->n)
      continue;
    ARENA_PUSH(a, v->num, v->n, v->cap_num, csv->num[at]);
    v->n--; /* the two arrays share their length */
    ARENA_PUSH(a, v->text, v->n, v->cap, csv->text[at]);
  }
  for (size_t i = 1; v->numeric && i < v->n; i++) {
    for (size_t j = i; j > 0 && v->num[j - 1] > v->num[j]; j--)
      swap_values(v, j - 1, j);
  }
}

struct row {
  uint32_t series, category;
  double x;
  size_t row; /* of the table */
};

static int compare_rows(const void *left, const void *right)
{
  const struct row *l = left, *r = right;
  if (l->series != r->series)
    return l->series < r->series ? -1 : 1;
  if (l->category != r->category)
    return l->category < r->category ? -1 : 1;
  if (isnan(l->x) != isnan(r->x))
    return isnan(l->x) ? 1 : -1;
  if (l->x < r->x || l->x > r->x)
    return l->x < r->x ? -1 : 1;
  return l->row < r->row ? -1 : l->row > r->row;
}

static bool same_place(const struct row *l, const struct row *r)
{
  return l->series == r->series && l->category == r->category &&
         (l->x == r->x || (isnan(l->x) && isnan(r->x)));
}

static double aggregate(enum plan_aggregate how, const double *v, size_t n)
{
  if (n == 0)
    return NAN;
  double sum = 0;
  switch (how) {
  case PLAN_AGG_NONE:
    return v[0];
  case PLAN_AGG_MEAN:
    for (size_t i = 0; i < n; i++)
      sum += v[i];
    return sum / (double)n;
  case PLAN_AGG_MEDIAN:
    return plan_quantile(v, n, 0.5);
  case PLAN_AGG_MIN:
    return plan_quantile(v, n, 0);
  case PLAN_AGG_MAX:
    return plan_quantile(v, n, 1);
  }
  return NAN;
}

static double finite_or_nan(double v)
{
  return isfinite(v) ? v : NAN;
}

/* One point from the rows [0, n) of one place; `values` has room for n. */
static struct figure_point make_point(const struct plan_panel *p, const struct figure_csv *csv,
                                      const struct columns *c, const struct row *rows, size_t n,
                                      double *values)
{
  struct figure_point point = {.series = rows[0].series,
                               .category = rows[0].category,
                               .x = finite_or_nan(rows[0].x),
                               .x_text = csv->text[rows[0].row * csv->n_columns + c->x],
                               .lo = NAN,
                               .hi = NAN,
                               .opacity = NAN};
  double opacity = 0;
  uint32_t n_opacity = 0;
  if (csv->numeric[c->x] && isnan(point.x))
    point.x_text = "";
  for (size_t i = 0; i < n; i++) {
    size_t row = rows[i].row * csv->n_columns;
    if (isfinite(csv->num[row + c->y]))
      values[point.n++] = csv->num[row + c->y];
    point.failed += c->failed != SIZE_MAX && csv->num[row + c->failed] > 0;
    if (c->opacity != SIZE_MAX && isfinite(csv->num[row + c->opacity])) {
      opacity += csv->num[row + c->opacity];
      n_opacity++;
    }
  }
  point.spoilt = point.failed == n;
  if (n_opacity > 0)
    point.opacity = opacity / n_opacity;
  point.y = aggregate(p->y.aggregate, values, point.n);
  if (p->y.band != PLAN_SPREAD_NONE && point.n > 0) {
    double q = p->y.band == PLAN_SPREAD_QUARTILES ? 0.25 : 0;
    point.lo = plan_quantile(values, point.n, q);
    point.hi = plan_quantile(values, point.n, 1 - q);
  }
  return point;
}

/* The rows in drawing order: series, x, row of the table. */
static struct row *ordered_rows(struct arena *a, const struct figure_csv *csv,
                                const struct columns *c, const struct figure_panel *panel)
{
  struct row *rows = arena_array(a, csv->n_rows + 1, sizeof *rows);
  for (size_t r = 0; r < csv->n_rows; r++) {
    size_t at = r * csv->n_columns;
    rows[r].row = r;
    rows[r].x = csv->num[at + c->x];
    if (panel->series.n > 0)
      rows[r].series = (uint32_t)value_index(&panel->series, csv->text[at + c->series]);
    if (panel->x_categories)
      rows[r].category = (uint32_t)value_index(&panel->categories, csv->text[at + c->x]);
  }
  qsort(rows, csv->n_rows, sizeof *rows, compare_rows);
  return rows;
}

static void count(struct figure_panel *panel)
{
  const struct plan_panel *p = panel->plan;
  size_t *in_category = calloc(panel->categories.n + 1, sizeof *in_category);
  panel->fade_lo = INFINITY;
  panel->fade_hi = -INFINITY;
  for (size_t i = 0; i < panel->n_points; i++) {
    const struct figure_point *q = &panel->points[i];
    panel->n_failed += q->failed > 0;
    panel->n_hidden += (p->x.log && !panel->x_categories && q->x <= 0) || (p->y.log && q->y <= 0);
    if (isfinite(q->opacity)) {
      panel->fade_lo = fmin(panel->fade_lo, q->opacity);
      panel->fade_hi = fmax(panel->fade_hi, q->opacity);
    }
    size_t n = in_category ? ++in_category[q->category] : 0;
    if (n > panel->most_per_category)
      panel->most_per_category = n;
  }
  free(in_category);
}

bool figure_points(struct arena *a, const char *place, const struct plan_panel *p,
                   const struct figure_csv *csv, struct figure_panel *panel, struct diag *d)
{
  struct columns c;
  *panel = (struct figure_panel){.plan = p};
  if (!find_columns(csv, place, p, &c, d))
    return false;
  if (p->series) {
    panel->series.column = p->series;
    panel->series.label = p->series_label ? p->series_label : p->series;
    collect_values(a, csv, c.series, &panel->series);
  }
  panel->x_categories = p->kind == PLAN_PANEL_BOX || !csv->numeric[c.x];
  if (panel->x_categories) {
    panel->categories.column = p->x.column;
    panel->categories.label = p->x.label;
    collect_values(a, csv, c.x, &panel->categories);
  }
  struct row *rows = ordered_rows(a, csv, &c, panel);
  double *values = arena_array(a, csv->n_rows + 1, sizeof *values);
  panel->points = arena_array(a, csv->n_rows + 1, sizeof *panel->points);
  for (size_t r = 0, n; r < csv->n_rows; r += n) {
    n = 1;
    while (p->y.aggregate != PLAN_AGG_NONE && r + n < csv->n_rows &&
           same_place(&rows[r], &rows[r + n]))
      n++;
    panel->points[panel->n_points++] = make_point(p, csv, &c, &rows[r], n, values);
  }
  count(panel);
  figure_ranges(panel);
  return true;
}

static void add_number(struct figure_text *t, double v)
{
  char text[NUM_TEXT];
  figure_add(t, ",%s", isnan(v) ? "" : num_text(v, text));
}

char *figure_points_csv(struct arena *a, const struct figure_panel *panels, size_t n)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "panel,series,x,y,y_lo,y_hi,n,failed,opacity\n");
  for (size_t k = 0; k < n; k++) {
    for (size_t i = 0; i < panels[k].n_points; i++) {
      const struct figure_point *p = &panels[k].points[i];
      figure_add(&t, "%s,%s,%s", figure_field(a, panels[k].plan->name),
                 panels[k].series.n ? figure_field(a, panels[k].series.text[p->series]) : "",
                 figure_field(a, p->x_text));
      add_number(&t, p->y);
      add_number(&t, p->lo);
      add_number(&t, p->hi);
      figure_add(&t, ",%u,%u", p->n, p->failed);
      add_number(&t, p->opacity);
      figure_add(&t, "\n");
    }
  }
  return t.s;
}
