#include "config.h"
#include "figure/figure_int.h"

#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double figure_inside(const struct figure_range *r, bool log, double t)
{
  return log ? pow(10, log10(r->lo) * (1 - t) + log10(r->hi) * t) : r->lo + t * (r->hi - r->lo);
}

/* Beyond this an axis' length would overflow. */
#define FAR 1e100

static void take(struct figure_range *r, double v, bool log)
{
  if (!(fabs(v) < FAR) || (log && v < 1 / FAR))
    return;
  r->lo = r->any ? fmin(r->lo, v) : v;
  r->hi = r->any ? fmax(r->hi, v) : v;
  r->any = true;
}

static void empty_axis(struct figure_range *r, bool log)
{
  if (r->any)
    return;
  r->lo = log ? 0.1 : 0;
  r->hi = log ? 10 : 1;
}

/* Widens by a fraction on each side; a single value gets an axis around it. */
static void pad(struct figure_range *r, bool log, double below, double above)
{
  empty_axis(r, log);
  if (r->hi - r->lo <= 1e-9 * fmax(fabs(r->lo), fabs(r->hi))) {
    double around = r->lo == 0 ? 1 : 0.2 * fabs(r->lo);
    r->lo = log ? r->lo / 2 : r->lo - around;
    r->hi = log ? r->hi * 2 : r->hi + around;
    return;
  }
  struct figure_range old = *r;
  r->lo = figure_inside(&old, log, -below);
  r->hi = figure_inside(&old, log, 1 + above);
}

static int compare_double(const void *l, const void *r)
{
  double a = *(const double *)l, b = *(const double *)r;
  return (a > b) - (a < b);
}

static void take_at(struct figure_panel *p, double x)
{
  if (!isfinite(x) || p->n_x_at > FIGURE_MAX_AT)
    return;
  for (size_t i = 0; i < p->n_x_at; i++) {
    if (p->x_at[i] == x)
      return;
  }
  if (p->n_x_at < FIGURE_MAX_AT)
    p->x_at[p->n_x_at] = x;
  p->n_x_at++; /* one past the end says: too many */
}

/* A failed run's value may be absurd: it widens the axis by less than its
 * length on each side, and is drawn at the edge when it lies beyond. */
static void take_failed(struct figure_range *r, const struct figure_range *good, double v, bool log)
{
  if (!good->any || (v >= figure_inside(good, log, -1) && v <= figure_inside(good, log, 2)))
    take(r, v, log);
}

static void range_x(struct figure_panel *p)
{
  bool log = p->plan->x.log;
  if (p->x_categories) {
    p->x = (struct figure_range){true, 0.4, (double)(p->categories.n ? p->categories.n : 1) + 0.6};
    return;
  }
  bool scatter = p->plan->kind == PLAN_PANEL_SCATTER;
  for (size_t i = 0; i < p->n_points; i++) {
    take_at(p, p->points[i].x);
    if (!scatter || (!p->points[i].spoilt && isfinite(p->points[i].y)))
      take(&p->x, p->points[i].x, log);
  }
  /* Of a scatter, x is a result too: what failed widens the axis only a little. */
  struct figure_range good = p->x;
  for (size_t i = 0; scatter && i < p->n_points; i++)
    take_failed(&p->x, &good, p->points[i].x, log);
  if (p->n_x_at > FIGURE_MAX_AT)
    p->n_x_at = 0;
  qsort(p->x_at, p->n_x_at, sizeof *p->x_at, compare_double);
  pad(&p->x, log, 0.05, 0.05);
}

static void range_y(struct figure_panel *p)
{
  bool log = p->plan->y.log, holes = false;
  for (int spoilt = 0; spoilt < 2 && !p->y.any; spoilt++) {
    for (size_t i = 0; i < p->n_points; i++) {
      const struct figure_point *q = &p->points[i];
      if (q->spoilt && !spoilt)
        continue;
      take(&p->y, q->y, log);
      take(&p->y, q->lo, log);
      take(&p->y, q->hi, log);
    }
  }
  struct figure_range good = p->y;
  for (size_t i = 0; i < p->n_points; i++) {
    const struct figure_point *q = &p->points[i];
    holes = holes || (q->failed > 0 && !isfinite(q->y));
    if (good.any && q->spoilt)
      take_failed(&p->y, &good, q->y, log);
  }
  /* Zero is what a gain is read against: show it when it is near. */
  if (p->y.any && !log && p->y.lo > 0 && p->y.lo < 0.4 * p->y.hi)
    p->y.lo = 0;
  if (p->y.any && !log && p->y.hi < 0 && p->y.hi > 0.4 * p->y.lo)
    p->y.hi = 0;
  pad(&p->y, log, holes ? 0.14 : 0.07, 0.07);
}

/* ---- grids ---- */

/* A place a category, or from the first value to the last: cells and maps reach
 * to the frame. */
static void range_places(struct figure_range *r, const struct figure_values *v, bool categories,
                         bool log)
{
  if (categories) {
    *r = (struct figure_range){v->n > 0, 0.5, (double)(v->n ? v->n : 1) + 0.5};
    return;
  }
  for (size_t i = 0; i < v->n; i++)
    take(r, v->num[i], log);
  pad(r, log, 0, 0);
}

static void range_colours(struct figure_panel *p)
{
  bool log = p->plan->z.log;
  for (int spoilt = 0; spoilt < 2 && !p->z.any; spoilt++)
    for (size_t i = 0; i < p->n_points; i++)
      if (spoilt || !p->points[i].spoilt)
        take(&p->z, p->points[i].z, log);
  pad(&p->z, log, 0, 0);
  p->diverging = !log && p->z.any && p->z.lo < 0 && p->z.hi > 0;
  if (p->diverging) {
    p->z.hi = fmax(-p->z.lo, p->z.hi);
    p->z.lo = -p->z.hi;
  }
}

void figure_ranges(struct figure_panel *p)
{
  if (!figure_is_grid(p->plan)) {
    range_x(p);
    range_y(p);
    return;
  }
  range_places(&p->x, &p->categories, p->x_categories, p->plan->x.log);
  range_places(&p->y, &p->rows, p->x_categories, p->plan->y.log);
  range_colours(p);
  for (size_t i = 0; !p->x_categories && i < p->categories.n; i++)
    take_at(p, p->categories.num[i]);
  if (p->n_x_at > FIGURE_MAX_AT)
    p->n_x_at = 0;
}

/* ---- ticks ---- */

static double log_inverse(const struct figure_range *r, bool log, double v)
{
  return log ? log10(v / r->lo) / log10(r->hi / r->lo) : (v - r->lo) / (r->hi - r->lo);
}

/* Tick labels of tics ('label' value, ...) go through printf-like formats. */
static char *tick_label(struct arena *a, const char *enhanced)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "%s", "");
  for (const char *s = enhanced; *s; s++)
    figure_add(&t, *s == '%' ? "%%%%" : "%c", *s);
  return figure_quote(a, t.s);
}

/* gnuplot prints minus as U+2212, wider than the hyphen. */
static double tick_width(const char *text)
{
  return figure_width(text, FIGURE_FONT_SMALL) + (*text == '-' ? 0.48 * FIGURE_FONT_SMALL : 0);
}

/* Are labels at these values, ascending, clear of each other? */
static bool fits(const struct figure_range *r, bool log, double length, bool horizontal,
                 const double *at, size_t n)
{
  char text[NUM_TEXT];
  double end = -INFINITY;
  for (size_t i = 0; i < n; i++) {
    double size = horizontal ? tick_width(num_text(at[i], text)) : FIGURE_FONT_SMALL;
    double middle = length * log_inverse(r, log, at[i]);
    if (middle - size / 2 < end + 3)
      return false;
    end = middle + size / 2;
  }
  return true;
}

static struct figure_ticks list_ticks(struct arena *a, const double *at, size_t n)
{
  struct figure_text t = {.arena = a};
  struct figure_ticks ticks = {0};
  char text[NUM_TEXT];
  figure_add(&t, "(");
  for (size_t i = 0; i < n; i++) {
    num_text(at[i], text);
    figure_add(&t, "%s%s %s", i ? ", " : "", tick_label(a, figure_pretty(a, text)), text);
    ticks.width = fmax(ticks.width, tick_width(text));
  }
  figure_add(&t, ")");
  ticks.tics = t.s;
  return ticks;
}

/* Multiples of digit * 10^exponent in the range; more than the array holds: cap + 1. */
static size_t multiples(const struct figure_range *r, int digit, int exponent, double *at,
                        size_t cap)
{
  double step = digit * pow(10, exponent);
  size_t n = 0;
  for (double k = ceil(r->lo / step - 1e-9); k * step <= r->hi + 1e-9 * step; k++) {
    char text[64];
    if (n == cap)
      return cap + 1;
    snprintf(text, sizeof text, "%.0fe%d", k * digit, exponent);
    at[n++] = strtod(text, NULL);
  }
  return n;
}

static struct figure_ticks linear_ticks(struct arena *a, const struct figure_range *r,
                                        double length, bool horizontal)
{
  enum { MOST = 6 };
  static const int digits[] = {1, 2, 5};
  int power = (int)floor(log10((r->hi - r->lo) / 20));
  for (int k = 0;; k++) {
    int digit = digits[k % 3], exponent = power + k / 3;
    int decimals = exponent < 0 ? -exponent : 0;
    bool plain = decimals <= 4 && fmax(fabs(r->lo), fabs(r->hi)) < 1e6;
    double at[MOST], width = 0, room = length * digit * pow(10, exponent) / (r->hi - r->lo);
    size_t n = multiples(r, digit, exponent, at, MOST);
    if (n > MOST)
      continue;
    for (size_t i = 0; i < n; i++) {
      char text[64];
      snprintf(text, sizeof text, plain ? "%.*f" : "%.*g", plain ? decimals : 6, at[i]);
      width = fmax(width, tick_width(text));
    }
    if (room < (horizontal ? width + 7 : 2.2 * FIGURE_FONT_SMALL))
      continue;
    if (!plain)
      return list_ticks(a, at, n);
    char step[NUM_TEXT];
    num_text(strtod(arena_printf(a, "%de%d", digit, exponent), NULL), step);
    return (struct figure_ticks){.tics = arena_strdup(a, step),
                                 .format = arena_printf(a, "'%%.%df'", decimals),
                                 .width = width};
  }
}

static struct figure_ticks decade_ticks(struct arena *a, int from, int to, double length,
                                        double decades, bool horizontal)
{
  bool plain = from >= -3 && to <= 3;
  char text[64];
  double widest = 0;
  for (int k = from; k <= to; k++) {
    snprintf(text, sizeof text, plain ? "%g" : "10", pow(10, k));
    double power = plain ? 0 : 0.7 * (abs(k) > 9 ? 3 : 2) * 0.64 * FIGURE_FONT_SMALL;
    widest = fmax(widest, figure_width(text, FIGURE_FONT_SMALL) + power);
  }
  int every = 1;
  while (length * every / decades < (horizontal ? widest + 5 : 1.6 * FIGURE_FONT_SMALL))
    every++;
  struct figure_ticks ticks = {.width = widest, .format = plain ? "'%g'" : "'10^{%T}'"};
  struct figure_text t = {.arena = a};
  if (every == 1) {
    ticks.tics = "10";
    ticks.minor = length / decades > 20 ? 10 : 0;
    return ticks;
  }
  for (int k = from; k <= to; k++) { /* numbers without labels take the format */
    if (k % every == 0)
      figure_add(&t, "%s1e%d", t.n ? ", " : "(", k);
  }
  figure_add(&t, t.n ? ")" : "()");
  ticks.tics = t.s;
  return ticks;
}

/* 1, 2, 5 a decade, or every digit where that gives too few. */
static size_t digit_ticks(const struct figure_range *r, double at[], size_t cap, bool all)
{
  size_t n = 0;
  for (int k = (int)floor(log10(r->lo)); k <= (int)floor(log10(r->hi)); k++) {
    for (int digit = 1; digit <= 9; digit++) {
      char text[32];
      snprintf(text, sizeof text, "%de%d", digit, k);
      double v = strtod(text, NULL);
      bool wanted = all || digit == 1 || digit == 2 || digit == 5;
      if (wanted && v >= r->lo && v <= r->hi && n < cap)
        at[n++] = v;
    }
  }
  return n;
}

static struct figure_ticks log_ticks(struct arena *a, const struct figure_range *r, double length,
                                     bool horizontal, const double *at, size_t n_at)
{
  double decades = log10(r->hi / r->lo);
  int from = (int)ceil(log10(r->lo)), to = (int)floor(log10(r->hi));
  if (decades < 2 && n_at >= 2 && fits(r, true, length, horizontal, at, n_at))
    return list_ticks(a, at, n_at);
  if (to - from >= 1 && decades >= 1.7)
    return decade_ticks(a, from, to, length, decades, horizontal);
  double digits[32];
  size_t n = digit_ticks(r, digits, 32, false);
  if (n < 3 && decades < 0.6)
    n = digit_ticks(r, digits, 32, true);
  while (n > 2 && !fits(r, true, length, horizontal, digits, n)) {
    for (size_t i = 0; 2 * i < n; i++)
      digits[i] = digits[2 * i];
    n = (n + 1) / 2;
  }
  if (n >= 2)
    return list_ticks(a, digits, n);
  /* A range of less than an octave: the round numbers of a linear axis. */
  for (int k = 0, power = (int)floor(log10((r->hi - r->lo) / 20)); k < 9; k++) {
    double round[6];
    n = multiples(r, (const int[]){1, 2, 5}[k % 3], power + k / 3, round, 6);
    if (n <= 6 && fits(r, true, length, horizontal, round, n))
      return list_ticks(a, round, n);
  }
  double ends[] = {figure_inside(r, true, 0.1), figure_inside(r, true, 0.9)};
  for (size_t i = 0; i < 2; i++) { /* a narrow range: three digits name its ends */
    char text[32];
    snprintf(text, sizeof text, "%.3g", ends[i]);
    ends[i] = strtod(text, NULL);
  }
  return list_ticks(a, ends, 2);
}

struct figure_ticks figure_axis_ticks(struct arena *a, const struct figure_range *r, bool log,
                                      double length, bool horizontal, const double *at, size_t n_at)
{
  if (!r->any)
    return (struct figure_ticks){.tics = "()"};
  return log ? log_ticks(a, r, length, horizontal, at, n_at)
             : linear_ticks(a, r, length, horizontal);
}

/* 0.00015848931924611136 is written 0.000158 where the others still differ. */
static const char **short_texts(struct arena *a, const struct figure_values *v)
{
  const char **texts = arena_array(a, v->n + 1, sizeof *texts);
  for (int digits = 3; v->numeric && digits <= 6; digits++) {
    bool distinct = true;
    for (size_t i = 0; i < v->n; i++) {
      char text[NUM_TEXT];
      double rounded = strtod(arena_printf(a, "%.*g", digits, v->num[i]), NULL);
      texts[i] = strlen(v->text[i]) <= 6 ? v->text[i] : arena_strdup(a, num_text(rounded, text));
      distinct = distinct && (!i || strcmp(texts[i - 1], texts[i]) != 0);
    }
    if (distinct)
      return texts;
  }
  return v->text;
}

struct figure_ticks figure_category_ticks(struct arena *a, const struct figure_values *v,
                                          double length, bool horizontal)
{
  struct figure_text t = {.arena = a};
  struct figure_ticks ticks = {0};
  double room = length / (double)(v->n ? v->n : 1);
  const char **texts = short_texts(a, v);
  for (size_t i = 0; i < v->n; i++)
    ticks.width = fmax(ticks.width, figure_width(texts[i], FIGURE_FONT_SMALL));
  ticks.turn = horizontal && ticks.width + 4 > room;
  /* Many values: every second label, or every third, ... */
  size_t every = 1;
  double line = ticks.turn ? 1.5 * FIGURE_FONT_SMALL : 1.1 * FIGURE_FONT_SMALL;
  while ((ticks.turn || !horizontal) && room * (double)every < line && every < v->n)
    every++;
  figure_add(&t, "(");
  for (size_t i = 0; i < v->n; i += every)
    figure_add(&t, "%s%s %zu", i ? ", " : "", tick_label(a, figure_pretty(a, texts[i])), i + 1);
  figure_add(&t, ")");
  ticks.tics = t.s;
  return ticks;
}

size_t figure_levels(const struct figure_range *r, bool log, double *at, size_t cap)
{
  static const int digits[] = {1, 2, 5};
  if (log)
    return digit_ticks(r, at, cap, false);
  int power = (int)floor(log10((r->hi - r->lo) / (double)cap)) - 1;
  for (int k = 0;; k++) {
    size_t n = multiples(r, digits[k % 3], power + k / 3, at, cap);
    if (n <= cap)
      return n;
  }
}
