#include "figure/claims_int.h"

#include "base/num.h"
#include "plan/expr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_USED = 16, MAX_PLACES = 40000 };

/* Columns of the table that a panel reads; SIZE_MAX: none. */
struct columns {
  size_t x, series, opacity, failed;
  size_t row;            /* y of a grid */
  size_t value;          /* what a band spans: the column of y, of a grid's z */
  size_t used[MAX_USED]; /* all that the value is reckoned from */
  size_t n_used;
};

bool figure_is_grid(const struct plan_panel *p)
{
  return p->kind == PLAN_PANEL_HEATMAP || p->kind == PLAN_PANEL_CONTOUR;
}

bool figure_is_coloured(const struct figure_panel *p)
{
  bool map = p->plan->kind == PLAN_PANEL_CONTOUR;
  return !p->plan->omitted && figure_is_grid(p->plan) && p->z.any &&
         (!map || (p->categories.n > 1 && p->rows.n > 1));
}

const struct plan_axis *figure_value_axis(const struct plan_panel *p)
{
  return figure_is_grid(p) ? &p->z : &p->y;
}

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
  const struct plan_axis *value = figure_value_axis(p);
  const char *names[MAX_USED];
  bool ok = find(csv, place, p->name, p->x.column, &c->x, d);
  ok = find(csv, place, p->name, figure_is_grid(p) ? p->y.column : NULL, &c->row, d) && ok;
  ok = find(csv, place, p->name, value->column, &c->value, d) && ok;
  ok = find(csv, place, p->name, p->series, &c->series, d) && ok;
  ok = find(csv, place, p->name, p->opacity, &c->opacity, d) && ok;
  c->failed = figure_csv_column(csv, "failed");
  c->n_used = value->statistic ? plan_claim_columns(value->statistic, names, MAX_USED) : 0;
  for (size_t i = 0; ok && i < c->n_used; i++)
    ok = find(csv, place, p->name, names[i], &c->used[i], d);
  if (!value->statistic && value->column)
    c->used[c->n_used++] = c->value;
  if (ok && (c->x == SIZE_MAX || !c->n_used || (figure_is_grid(p) && c->row == SIZE_MAX))) {
    diag_error(d, SPAN_NONE, "%s, panel %s: a panel needs both x and y%s", place, p->name,
               figure_is_grid(p) ? ", and z" : "");
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
  uint32_t series, category, y;
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
  if (l->y != r->y)
    return l->y < r->y ? -1 : 1;
  return l->row < r->row ? -1 : l->row > r->row;
}

static bool same_place(const struct row *l, const struct row *r)
{
  return l->series == r->series && l->category == r->category && l->y == r->y &&
         (l->x == r->x || (isnan(l->x) && isnan(r->x)));
}

static double finite_or_nan(double v)
{
  return isfinite(v) ? v : NAN;
}

/* ---- what is reckoned over the rows of one place ---- */

static double mean_of(const double *v, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += v[i];
  return sum / (double)n;
}

/* Of a sample: n - 1 degrees of freedom; NaN for one value. */
static double deviation(const double *v, size_t n)
{
  double mean = mean_of(v, n), sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (v[i] - mean) * (v[i] - mean);
  return n > 1 ? sqrt(sum / (double)(n - 1)) : NAN;
}

static void spread(enum plan_spread how, const double *v, size_t n, double *lo, double *hi)
{
  double q = how == PLAN_SPREAD_QUARTILES ? 0.25 : how == PLAN_SPREAD_DECILES ? 0.1 : 0;
  if (how == PLAN_SPREAD_NONE || !n)
    return;
  if (how == PLAN_SPREAD_SD || how == PLAN_SPREAD_SE) {
    double mean = mean_of(v, n), half = deviation(v, n);
    if (how == PLAN_SPREAD_SE)
      half /= sqrt((double)n);
    *lo = mean - half;
    *hi = mean + half;
    return;
  }
  *lo = plan_quantile(v, n, q);
  *hi = plan_quantile(v, n, 1 - q);
}

/* What making points takes along. */
struct maker {
  const struct plan_panel *plan;
  const struct figure_csv *csv;
  struct columns c;
  struct claims_table table;
  double *values;    /* room for all rows */
  uint32_t *indices; /* the same */
};

static double field(const struct maker *m, const struct row *row, size_t column)
{
  return m->csv->num[row->row * m->csv->n_columns + column];
}

static const char *text_of(const struct maker *m, const struct row *row, size_t column)
{
  const char *text = m->csv->text[row->row * m->csv->n_columns + column];
  return m->csv->numeric[column] && !isfinite(field(m, row, column)) ? "" : text;
}

/* Does the row hold all numbers that the value is reckoned from? */
static bool has_numbers(const struct maker *m, const struct row *row)
{
  for (size_t i = 0; i < m->c.n_used; i++)
    if ((m->csv->numeric[m->c.used[i]] || m->c.used[i] == m->c.value) &&
        !isfinite(field(m, row, m->c.used[i])))
      return false;
  return true;
}

static double value_of(struct maker *m, const struct row *rows, size_t n)
{
  const struct plan_axis *axis = figure_value_axis(m->plan);
  if (!axis->statistic)
    return finite_or_nan(field(m, &rows[0], m->c.value));
  struct arena *scratch = arena_new();
  for (size_t i = 0; i < n; i++)
    m->indices[i] = (uint32_t)rows[i].row;
  double v = claims_eval(&m->table, scratch, axis->statistic, m->indices, n);
  arena_free(scratch);
  return finite_or_nan(v);
}

/* One point from the rows [0, n) of one place. */
static struct figure_point make_point(struct maker *m, const struct row *rows, size_t n)
{
  const struct columns *c = &m->c;
  bool grid = figure_is_grid(m->plan);
  struct figure_point point = {.series = rows[0].series,
                               .category = rows[0].category,
                               .row = rows[0].y,
                               .x = finite_or_nan(rows[0].x),
                               .x_text = text_of(m, &rows[0], c->x),
                               .y_text = grid ? text_of(m, &rows[0], c->row) : NULL,
                               .y = grid ? finite_or_nan(field(m, &rows[0], c->row)) : NAN,
                               .z = NAN,
                               .lo = NAN,
                               .hi = NAN,
                               .opacity = NAN};
  double opacity = 0;
  uint32_t n_opacity = 0;
  size_t n_values = 0;
  for (size_t i = 0; i < n; i++) {
    point.n += has_numbers(m, &rows[i]);
    if (c->value != SIZE_MAX && isfinite(field(m, &rows[i], c->value)))
      m->values[n_values++] = field(m, &rows[i], c->value);
    point.failed += c->failed != SIZE_MAX && field(m, &rows[i], c->failed) > 0;
    if (c->opacity != SIZE_MAX && isfinite(field(m, &rows[i], c->opacity))) {
      opacity += field(m, &rows[i], c->opacity);
      n_opacity++;
    }
  }
  point.spoilt = point.failed == n;
  if (n_opacity > 0)
    point.opacity = opacity / n_opacity;
  *(grid ? &point.z : &point.y) = value_of(m, rows, n);
  spread(figure_value_axis(m->plan)->band, m->values, n_values, &point.lo, &point.hi);
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
    if (panel->categories.n > 0)
      rows[r].category = (uint32_t)value_index(&panel->categories, csv->text[at + c->x]);
    if (panel->rows.n > 0)
      rows[r].y = (uint32_t)value_index(&panel->rows, csv->text[at + c->row]);
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
    panel->n_hidden += (p->x.log && !panel->x_categories && q->x <= 0) ||
                       (p->y.log && p->kind != PLAN_PANEL_HEATMAP && q->y <= 0) ||
                       (p->z.log && q->z <= 0);
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

/* ---- grids ---- */

/* A place a pair of values, in order; those without rows have n = 0. */
static bool complete_grid(struct arena *a, const char *place, struct figure_panel *panel,
                          struct diag *d)
{
  size_t nx = panel->categories.n, ny = panel->rows.n, at = 0;
  if (nx * ny > MAX_PLACES) {
    diag_error(d, SPAN_NONE, "%s, panel %s: %zu values of %s and %zu of %s make too many places",
               place, panel->plan->name, nx, panel->plan->x.column, ny, panel->plan->y.column);
    diag_hint(d, "a panel of this kind shows at most %d", MAX_PLACES);
    return false;
  }
  struct figure_point *all = arena_array(a, nx * ny + 1, sizeof *all);
  for (size_t k = 0; k < nx * ny; k++) {
    size_t i = k / ny, j = k % ny;
    const struct figure_point *q = &panel->points[at];
    if (at < panel->n_points && q->category == i && q->row == j) {
      all[k] = *q;
      at++;
      continue;
    }
    panel->n_missing++;
    all[k] = (struct figure_point){.category = (uint32_t)i,
                                   .row = (uint32_t)j,
                                   .x = panel->categories.num[i],
                                   .y = panel->rows.num[j],
                                   .x_text = panel->categories.text[i],
                                   .y_text = panel->rows.text[j],
                                   .z = NAN,
                                   .lo = NAN,
                                   .hi = NAN,
                                   .opacity = NAN};
  }
  if (at < panel->n_points) {
    const struct figure_point *q = &panel->points[at];
    diag_error(d, SPAN_NONE, "%s, panel %s: several rows at %s = %s, %s = %s, and one colour",
               place, panel->plan->name, panel->plan->x.column, q->x_text, panel->plan->y.column,
               q->y_text);
    diag_hint(d, "make one number of them: z = mean(%s)", panel->plan->z.column);
    return false;
  }
  panel->points = all;
  panel->n_points = nx * ny;
  return true;
}

/* ---- the whole ---- */

static void collect(struct arena *a, const struct maker *m, struct figure_panel *panel)
{
  const struct plan_panel *p = m->plan;
  bool grid = figure_is_grid(p);
  if (p->series) {
    panel->series.column = p->series;
    panel->series.label = p->series_label ? p->series_label : p->series;
    collect_values(a, m->csv, m->c.series, &panel->series);
  }
  panel->x_categories = p->kind == PLAN_PANEL_BOX || p->kind == PLAN_PANEL_HEATMAP ||
                        (!grid && !m->csv->numeric[m->c.x]);
  if (panel->x_categories || grid) {
    panel->categories.column = p->x.column;
    panel->categories.label = p->x.label;
    collect_values(a, m->csv, m->c.x, &panel->categories);
  }
  if (grid) {
    panel->rows.column = p->y.column;
    panel->rows.label = p->y.label;
    collect_values(a, m->csv, m->c.row, &panel->rows);
  }
}

/* A column's place is its first number: it is the same in all rows of one slice. */
static bool place_marks(struct arena *a, const char *place, const struct maker *m,
                        struct figure_panel *panel, struct diag *d)
{
  const struct plan_panel *p = panel->plan;
  panel->marks = arena_array(a, p->n_marks + 1, sizeof *panel->marks);
  for (size_t k = 0; k < p->n_marks; k++)
    for (int i = 0; i < 2; i++) {
      size_t column, r = 0;
      const size_t width = m->csv->n_columns;
      if (!find(m->csv, place, p->name, p->marks[k].at[i].column, &column, d))
        return false;
      while (column != SIZE_MAX && r < m->csv->n_rows &&
             !isfinite(m->csv->num[r * width + column]))
        r++;
      panel->marks[k][i] = column == SIZE_MAX    ? p->marks[k].at[i].number
                           : r < m->csv->n_rows ? m->csv->num[r * width + column] : NAN;
    }
  return true;
}

bool figure_points(struct arena *a, const char *place, const struct plan_panel *p,
                   const struct figure_csv *csv, struct figure_panel *panel, struct diag *d)
{
  struct maker m = {.plan = p, .csv = csv, .table = claims_table(a, csv)};
  *panel = (struct figure_panel){.plan = p};
  if (!find_columns(csv, place, p, &m.c, d) || !place_marks(a, place, &m, panel, d))
    return false;
  collect(a, &m, panel);
  struct row *rows = ordered_rows(a, csv, &m.c, panel);
  m.values = arena_array(a, csv->n_rows + 1, sizeof *m.values);
  m.indices = arena_array(a, csv->n_rows + 1, sizeof *m.indices);
  panel->points = arena_array(a, csv->n_rows + 1, sizeof *panel->points);
  for (size_t r = 0, n; r < csv->n_rows; r += n) {
    n = 1;
    while (figure_value_axis(p)->statistic && r + n < csv->n_rows &&
           same_place(&rows[r], &rows[r + n]))
      n++;
    panel->points[panel->n_points++] = make_point(&m, &rows[r], n);
  }
  if (figure_is_grid(p) && !complete_grid(a, place, panel, d))
    return false;
  count(panel);
  figure_ranges(panel);
  figure_fits(a, panel);
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
  figure_add(&t, "panel,series,x,y,z,y_lo,y_hi,n,failed,opacity\n");
  for (size_t k = 0; k < n; k++) {
    for (size_t i = 0; i < panels[k].n_points; i++) {
      const struct figure_point *p = &panels[k].points[i];
      figure_add(&t, "%s,%s,%s", figure_field(a, panels[k].plan->name),
                 panels[k].series.n ? figure_field(a, panels[k].series.text[p->series]) : "",
                 figure_field(a, p->x_text));
      if (p->y_text)
        figure_add(&t, ",%s", figure_field(a, p->y_text));
      else
        add_number(&t, p->y);
      add_number(&t, p->z);
      add_number(&t, p->lo);
      add_number(&t, p->hi);
      figure_add(&t, ",%u,%u", p->n, p->failed);
      add_number(&t, p->opacity);
      figure_add(&t, "\n");
    }
  }
  return t.s;
}
