#include "figure/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A difference of two values with this many standard errors is no noise.  Four, since a figure
 * set has about a thousand places and their noise has longer tails than a normal one. */
#define ERRORS 4.0
/* Below this share of a value a difference is rounding of printed numbers or of libm. */
#define ROUNDING 1e-6

static const char *const verdicts[COMPARE_VERDICTS] = {
    [COMPARE_EQUAL] = "equal",     [COMPARE_ADDED] = "added",     [COMPARE_WITHIN] = "within",
    [COMPARE_MISSING] = "missing", [COMPARE_SHIFTED] = "shifted", [COMPARE_FLIPPED] = "flipped",
};

const char *compare_verdict_name(enum compare_verdict v)
{
  return verdicts[v];
}

const char *compare_basis_name(enum compare_basis b)
{
  static const char *const names[] = {"measured", "spread", "range"};
  return names[b];
}

/* ---- rows of figNN.csv ---- */

enum { PANEL, SERIES, X, Y, Z, LOW, HIGH, N, FAILED, N_COLUMNS };
static const char *const column_names[N_COLUMNS] = {"panel", "series", "x", "y",     "z",
                                                    "y_lo",  "y_hi",   "n", "failed"};

struct table {
  const struct figure_csv *csv;
  size_t column[N_COLUMNS]; /* SIZE_MAX: it has none */
};

static struct table table_of(const struct figure_csv *csv)
{
  struct table t = {.csv = csv};
  for (int k = 0; k < N_COLUMNS; k++)
    t.column[k] = figure_csv_column(csv, column_names[k]);
  return t;
}

static const char *text(const struct table *t, size_t row, int column)
{
  const size_t c = t->column[column];
  return c == SIZE_MAX ? "" : t->csv->text[row * t->csv->n_columns + c];
}

static double number(const struct table *t, size_t row, int column)
{
  const size_t c = t->column[column];
  return c == SIZE_MAX ? NAN : t->csv->num[row * t->csv->n_columns + c];
}

/* ---- places ---- */

struct place {
  const char *x, *y;  /* y: of a grid, else "" */
  double sum, square; /* of values that are numbers */
  size_t rows, n;     /* n: values that are numbers */
  double error;       /* standard error; NaN: nothing shows it */
};

/* A series of one run: rows [first, end), which lie together. */
struct part {
  const char *panel, *series;
  struct place *places;
  size_t n, cap;
  bool grid;
  size_t failed;
  size_t first, end;
};

struct parts {
  struct part *list;
  size_t n, cap;
};

static double value_of(const struct place *p)
{
  return p->n ? p->sum / (double)p->n : NAN;
}

/* Of the mean of rows at one place; else from a band, whatever it shows: quartiles of four
 * values and the range of three are both about a standard deviation wide on either side of
 * half, and more values make a range wider. */
static double error_of(const struct place *p, double low, double high, double n)
{
  if (p->n > 1) {
    const double k = (double)p->n, mean = p->sum / k;
    return sqrt(fmax(p->square - k * mean * mean, 0) / (k - 1) / k);
  }
  return isfinite(high - low) && n > 1 ? (high - low) / sqrt(n) : NAN;
}

static struct place *place_at(struct arena *a, struct part *p, const char *x, const char *y)
{
  for (size_t i = p->n; i--;)
    if (!strcmp(p->places[i].x, x) && !strcmp(p->places[i].y, y))
      return &p->places[i];
  const struct place new = {.x = x, .y = y, .error = NAN};
  ARENA_PUSH(a, p->places, p->n, p->cap, new);
  return &p->places[p->n - 1];
}

static void add_row(struct arena *a, const struct table *t, size_t row, struct part *p)
{
  struct place *at = place_at(a, p, text(t, row, X), p->grid ? text(t, row, Y) : "");
  const double v = number(t, row, p->grid ? Z : Y), failed = number(t, row, FAILED);
  at->rows++;
  if (isfinite(v)) {
    at->n++;
    at->sum += v;
    at->square += v * v;
  }
  at->error = error_of(at, number(t, row, LOW), number(t, row, HIGH), number(t, row, N));
  p->failed += failed > 0 ? (size_t)failed : 0;
}

static bool is_grid(const struct table *t, const char *panel)
{
  for (size_t r = 0; r < t->csv->n_rows; r++)
    if (!strcmp(text(t, r, PANEL), panel) && *text(t, r, Z))
      return true;
  return false;
}

static struct parts parts_of(struct arena *a, const struct table *t)
{
  struct parts parts = {0};
  for (size_t r = 0; r < t->csv->n_rows; r++) {
    const char *panel = text(t, r, PANEL), *series = text(t, r, SERIES);
    struct part *last = parts.n ? &parts.list[parts.n - 1] : NULL;
    if (!last || strcmp(last->panel, panel) || strcmp(last->series, series)) {
      const bool grid = last && !strcmp(last->panel, panel) ? last->grid : is_grid(t, panel);
      const struct part new = {.panel = panel, .series = series, .grid = grid, .first = r};
      ARENA_PUSH(a, parts.list, parts.n, parts.cap, new);
      last = &parts.list[parts.n - 1];
    }
    add_row(a, t, r, last);
    last->end = r + 1;
  }
  return parts;
}

/* A computed x may differ in its last digit. */
static bool same_number(const char *x, const char *y)
{
  char *x_end, *y_end;
  if (!strcmp(x, y))
    return true;
  const double u = strtod(x, &x_end), v = strtod(y, &y_end);
  return *x && *y && !*x_end && !*y_end && fabs(u - v) <= 1e-9 * fmax(fabs(u), fabs(v));
}

static const struct place *find_place(const struct part *p, const struct place *like)
{
  for (size_t i = 0; i < p->n; i++)
    if (same_number(p->places[i].x, like->x) && same_number(p->places[i].y, like->y))
      return &p->places[i];
  return NULL;
}

/* ---- tolerance ---- */

/* What a panel's places have in common. */
struct scale {
  double error;    /* root mean square of the standard errors; NaN: no place shows one */
  double range;    /* of the values */
  double measured; /* root mean square difference of two like runs; NaN: not measured */
};

/* `what`: "series", or "claim" with no figure and its name as the panel. */
static double measured_noise(const struct figure_csv *noise, const char *what, const char *figure,
                             const char *panel)
{
  static const char *const names[] = {"what", "figure", "panel", "places", "rms"};
  size_t c[5];
  double squares = 0, places = 0;
  for (int k = 0; k < 5; k++)
    if ((c[k] = figure_csv_column(noise, names[k])) == SIZE_MAX)
      return NAN;
  for (size_t r = 0; r < noise->n_rows; r++) {
    const char **row = noise->text + r * noise->n_columns;
    const double *num = noise->num + r * noise->n_columns;
    if (strcmp(row[c[0]], what) || strcmp(row[c[1]], figure) || strcmp(row[c[2]], panel) ||
        !(num[c[3]] > 0) || !isfinite(num[c[4]]))
      continue;
    squares += num[c[3]] * num[c[4]] * num[c[4]];
    places += num[c[3]];
  }
  return places > 0 ? sqrt(squares / places) : NAN;
}

static struct scale scale_of(const struct parts *parts, const char *panel)
{
  double low = INFINITY, high = -INFINITY, squares = 0;
  size_t n = 0;
  for (size_t k = 0; k < parts->n; k++)
    for (size_t i = 0; !strcmp(parts->list[k].panel, panel) && i < parts->list[k].n; i++) {
      const struct place *p = &parts->list[k].places[i];
      low = fmin(low, value_of(p));
      high = fmax(high, value_of(p));
      if (isfinite(p->error)) {
        squares += p->error * p->error;
        n++;
      }
    }
  return (struct scale){n ? sqrt(squares / (double)n) : NAN, high > low ? high - low : 0, NAN};
}

/* A band of few rows is a poor measure of its own width: half of the variance is the panel's. */
static double tolerance_at(const struct scale *s, const struct place *p, enum compare_basis *basis)
{
  double tolerance = s->range / 10;
  *basis = COMPARE_RANGE;
  if (isfinite(s->error)) {
    const double own = isfinite(p->error) ? p->error : s->error;
    tolerance = ERRORS * sqrt(2) * sqrt((own * own + s->error * s->error) / 2);
    *basis = COMPARE_SPREAD;
  }
  if (isfinite(s->measured) && (*basis == COMPARE_RANGE || ERRORS * s->measured > tolerance)) {
    tolerance = ERRORS * s->measured;
    *basis = COMPARE_MEASURED;
  }
  return fmax(tolerance, ROUNDING * fabs(value_of(p)));
}

/* ---- a series ---- */

static bool same_bits(const struct table *a, const struct part *p, const struct table *b,
                      const struct part *q)
{
  if (p->end - p->first != q->end - q->first)
    return false;
  for (size_t r = 0; r < p->end - p->first; r++)
    for (int k = X; k < N_COLUMNS; k++)
      if (strcmp(text(a, p->first + r, k), text(b, q->first + r, k)))
        return false;
  return true;
}

static void weigh(struct compare_series *s, const char *at, double u, double v, double tolerance,
                  enum compare_basis basis)
{
  const bool both = isfinite(u) && isfinite(v);
  const double ratio = both ? fabs(v - u) / fmax(tolerance, 1e-300) : INFINITY;
  const double worst = s->at ? fabs(s->value[1] - s->value[0]) / fmax(s->tolerance, 1e-300) : -1;
  s->places++;
  if (!both && !isfinite(u) && !isfinite(v))
    return;
  if (both)
    s->rms += (v - u) * (v - u);
  s->outside += !(ratio <= 1);
  if (!s->at || !(ratio <= worst)) {
    s->at = at;
    s->value[0] = u;
    s->value[1] = v;
    s->tolerance = tolerance;
    s->basis = basis;
  }
}

/* Rows as one place, for an x that was measured: it is another in each run. */
static struct place whole(const struct table *t, const struct part *p, int column)
{
  struct place all = {.x = column_names[column], .y = "", .error = NAN};
  for (size_t r = p->first; r < p->end; r++) {
    const double v = number(t, r, column);
    all.rows++;
    if (!isfinite(v))
      continue;
    all.n++;
    all.sum += v;
    all.square += v * v;
  }
  all.error = error_of(&all, NAN, NAN, 0);
  return all;
}

static const struct part *find_part(const struct parts *parts, const struct part *like)
{
  for (size_t i = 0; i < parts->n; i++)
    if (!strcmp(parts->list[i].panel, like->panel) &&
        same_number(parts->list[i].series, like->series))
      return &parts->list[i];
  return NULL;
}

static bool may_be_wholes(const struct part *p, const struct part *q)
{
  return q && !p->grid && p->end - p->first == q->end - q->first && p->n > 1 && q->n > 1;
}

/* Of a panel, for in one of its series places may be the same by chance. */
static bool x_is_measured(const struct parts *a, const struct parts *b, const char *panel)
{
  size_t common = 0, all = 0;
  for (size_t k = 0; k < a->n; k++) {
    const struct part *p = &a->list[k], *q = find_part(b, p);
    if (strcmp(p->panel, panel) != 0 || !may_be_wholes(p, q))
      continue;
    for (size_t i = 0; i < p->n; i++)
      common += find_place(q, &p->places[i]) != NULL;
    all += p->n;
  }
  return common * 2 < all;
}

static void compare_places(struct compare_series *s, const struct part *p, const struct part *q,
                           const struct scale *scale)
{
  for (size_t i = 0; i < p->n; i++) {
    enum compare_basis basis;
    const struct place *u = &p->places[i], *v = find_place(q, u);
    s->lost += !v;
    if (v) {
      const double tolerance = tolerance_at(scale, u, &basis);
      weigh(s, u->x, value_of(u), value_of(v), tolerance, basis);
    }
  }
  s->gained = q->n - s->places;
}

/* Of the wholes of a panel's series. */
static struct scale whole_scale(const struct table *t, const struct parts *parts, const char *panel,
                                int column)
{
  struct scale s = {NAN, 0, NAN};
  double squares = 0;
  size_t n = 0;
  for (size_t k = 0; k < parts->n; k++) {
    const struct part *p = &parts->list[k];
    const double error = strcmp(p->panel, panel) ? NAN : whole(t, p, column).error;
    if (isfinite(error)) {
      squares += error * error;
      n++;
    }
  }
  if (n)
    s.error = sqrt(squares / (double)n);
  return s;
}

/* Both means are tested; the series counts as one place, that of y. */
static void compare_wholes(struct compare_series *s, const struct table *a,
                           const struct parts *parts, const struct part *p, const struct table *b,
                           const struct part *q, double measured)
{
  for (int column = X; column <= Y; column++) {
    enum compare_basis basis;
    const struct place u = whole(a, p, column), v = whole(b, q, column);
    struct scale scale = whole_scale(a, parts, p->panel, column);
    scale.measured = column == Y ? measured : NAN;
    s->places = 0;
    s->rms = 0;
    const double tolerance = tolerance_at(&scale, &u, &basis);
    weigh(s, column == X ? "mean of x" : "mean of y", value_of(&u), value_of(&v), tolerance, basis);
  }
}

static struct compare_series compare_parts(const char *figure, const struct table *a,
                                           const struct parts *parts, const struct part *p,
                                           const struct table *b, const struct part *q,
                                           const struct scale *scale, bool x_is_measured)
{
  struct compare_series s = {
      .figure = figure, .panel = p->panel, .series = p->series, .failed = {p->failed, q->failed}};
  if (x_is_measured && may_be_wholes(p, q))
    compare_wholes(&s, a, parts, p, b, q, scale->measured);
  else
    compare_places(&s, p, q, scale);
  s.rms = s.places ? sqrt(s.rms / (double)s.places) : 0;
  if (same_bits(a, p, b, q))
    s.verdict = COMPARE_EQUAL;
  else
    s.verdict = s.outside ? COMPARE_SHIFTED : s.lost ? COMPARE_MISSING : COMPARE_WITHIN;
  return s;
}

/* ---- a figure ---- */

static void push(struct arena *a, struct compare *c, struct compare_series s)
{
  ARENA_PUSH(a, c->series, c->n_series, c->cap_series, s);
}

static void compare_figures(struct arena *arena, const struct compare_figure *f,
                            const struct compare_figure *g, const struct figure_csv *noise,
                            struct compare *c)
{
  const struct table a = table_of(&f->csv), b = table_of(&g->csv);
  const struct parts left = parts_of(arena, &a), right = parts_of(arena, &b);
  for (size_t i = 0; i < left.n; i++) {
    const struct part *p = &left.list[i], *q = find_part(&right, p);
    struct scale scale = scale_of(&left, p->panel);
    scale.measured = measured_noise(noise, "series", f->id, p->panel);
    if (q)
      push(arena, c, compare_parts(f->id, &a, &left, p, &b, q, &scale,
                                   x_is_measured(&left, &right, p->panel)));
    else
      push(arena, c,
           (struct compare_series){.figure = f->id,
                                   .panel = p->panel,
                                   .series = p->series,
                                   .lost = p->n,
                                   .verdict = COMPARE_MISSING});
  }
  for (size_t i = 0; i < right.n; i++)
    if (!find_part(&left, &right.list[i]))
      push(arena, c,
           (struct compare_series){.figure = f->id,
                                   .panel = right.list[i].panel,
                                   .series = right.list[i].series,
                                   .gained = right.list[i].n,
                                   .verdict = COMPARE_ADDED});
}

static const struct compare_figure *find_figure(const struct compare_results *r, const char *id)
{
  for (size_t i = 0; i < r->n; i++)
    if (!strcmp(r->figures[i].id, id))
      return &r->figures[i];
  return NULL;
}

/* ---- claims ---- */

enum { CLAIM, VERDICT, STATISTIC, CLAIM_LOW, CLAIM_HIGH, N_CLAIM_COLUMNS };
static const char *const claim_columns[] = {"claim", "verdict", "statistic", "low", "high"};

/* Puts row `r` of claims.csv in place k. */
static void take_claim(struct compare_claim *c, int k, const struct figure_csv *csv, size_t r)
{
  const char *words[N_CLAIM_COLUMNS] = {"", "", "", "", ""};
  double nums[N_CLAIM_COLUMNS] = {NAN, NAN, NAN, NAN, NAN};
  for (int i = 0; i < N_CLAIM_COLUMNS; i++) {
    const size_t column = figure_csv_column(csv, claim_columns[i]);
    if (column == SIZE_MAX)
      continue;
    words[i] = csv->text[r * csv->n_columns + column];
    nums[i] = csv->num[r * csv->n_columns + column];
  }
  c->name = words[CLAIM];
  c->verdicts[k] = words[VERDICT];
  c->statistic[k] = nums[STATISTIC];
  c->low[k] = nums[CLAIM_LOW];
  c->high[k] = nums[CLAIM_HIGH];
}

static bool same_or_none(double u, double v)
{
  return u == v || (isnan(u) && isnan(v));
}

/* `noise`: the difference of two like runs; NaN: not measured. */
static enum compare_verdict judge(const struct compare_claim *c, double noise)
{
  const char *u = c->verdicts[0], *v = c->verdicts[1];
  const double *s = c->statistic;
  if (!*u || !*v)
    return *u ? COMPARE_MISSING : COMPARE_ADDED;
  if ((!strcmp(u, "PASS") && !strcmp(v, "FAIL")) || (!strcmp(u, "FAIL") && !strcmp(v, "PASS")))
    return COMPARE_FLIPPED;
  if (!strcmp(u, v) && same_or_none(s[0], s[1]) && same_or_none(c->low[0], c->low[1]) &&
      same_or_none(c->high[0], c->high[1]))
    return COMPARE_EQUAL;
  for (int k = 0; k < 2; k++)
    if (s[1 - k] >= c->low[k] && s[1 - k] <= c->high[k])
      return COMPARE_WITHIN;
  const double tolerance = fmax(ROUNDING * fabs(s[0]), isfinite(noise) ? ERRORS * noise : 0);
  return fabs(s[1] - s[0]) <= tolerance ? COMPARE_WITHIN : COMPARE_SHIFTED;
}

static size_t find_claim(const struct figure_csv *csv, const char *name)
{
  const size_t column = figure_csv_column(csv, claim_columns[CLAIM]);
  for (size_t r = 0; column != SIZE_MAX && r < csv->n_rows; r++)
    if (!strcmp(csv->text[r * csv->n_columns + column], name))
      return r;
  return SIZE_MAX;
}

static void compare_claims(struct arena *a, const struct figure_csv *const csv[2],
                           const struct figure_csv *noise, struct compare *c)
{
  for (int k = 0; k < 2; k++)
    for (size_t r = 0; r < csv[k]->n_rows; r++) {
      struct compare_claim one = {
          .verdicts = {"", ""}, .statistic = {NAN, NAN}, .low = {NAN, NAN}, .high = {NAN, NAN}};
      take_claim(&one, k, csv[k], r);
      const size_t other = find_claim(csv[1 - k], one.name);
      if (k == 1 && other != SIZE_MAX)
        continue;
      if (other != SIZE_MAX)
        take_claim(&one, 1, csv[1], other);
      one.verdict = judge(&one, measured_noise(noise, "claim", "", one.name));
      ARENA_PUSH(a, c->claims, c->n_claims, c->cap_claims, one);
    }
}

/* ---- the whole ---- */

void compare_run(struct arena *arena, const struct compare_results *a,
                 const struct compare_results *b, struct compare *c)
{
  const struct figure_csv *noise = a->noise.n_columns ? &a->noise : &b->noise;
  const struct figure_csv *const claims[] = {&a->claims, &b->claims};
  *c = (struct compare){.names = {a->name, b->name}};
  for (size_t i = 0; i < a->n; i++) {
    const struct compare_figure *f = &a->figures[i], *g = find_figure(b, f->id);
    if (g)
      compare_figures(arena, f, g, noise, c);
    else
      push(arena, c,
           (struct compare_series){
               .figure = f->id, .panel = "", .series = "", .verdict = COMPARE_MISSING});
  }
  for (size_t i = 0; i < b->n; i++)
    if (!find_figure(a, b->figures[i].id))
      push(arena, c,
           (struct compare_series){
               .figure = b->figures[i].id, .panel = "", .series = "", .verdict = COMPARE_ADDED});
  compare_claims(arena, claims, noise, c);
}

bool compare_agrees(const struct compare *c)
{
  for (size_t i = 0; i < c->n_series; i++)
    if (c->series[i].verdict >= COMPARE_MISSING)
      return false;
  for (size_t i = 0; i < c->n_claims; i++)
    if (c->claims[i].verdict >= COMPARE_MISSING)
      return false;
  return true;
}
