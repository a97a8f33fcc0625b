#include "figure/figure_int.h"

#include <math.h>
#include <string.h>

/* Inches. */
#define LINE_HEIGHT 0.15
#define GAP 0.08
static const double sample_width[] = {0, 0.27, 0.11, 0.13};

static void add_entry(struct arena *a, struct figure_legend *l, struct figure_entry e,
                      const char *plain)
{
  e.width = sample_width[e.sample] + figure_width(plain, FIGURE_FONT_SMALL) / 72 + GAP;
  ARENA_PUSH(a, l->entries, l->n, l->cap, e);
}

static void add_note(struct arena *a, struct figure_legend *l, enum figure_sample sample,
                     const char *text)
{
  struct figure_entry e = {
      .sample = sample, .text = figure_enhance(a, text), .variable = SIZE_MAX, .grey = true};
  add_entry(a, l, e, text);
}

static bool has_value(const struct figure_values *v, const char *text)
{
  for (size_t i = 0; i < v->n; i++) {
    if (strcmp(v->text[i], text) == 0)
      return true;
  }
  return false;
}

/* The series of panels [from, to) that share a variable: its name, then its values. */
static void add_series(struct arena *a, const struct figure_page *page, size_t variable,
                       size_t from, size_t to, struct figure_legend *l)
{
  const struct figure_values *v = &page->variables[variable];
  add_note(a, l, FIGURE_NO_SAMPLE, v->label);
  for (size_t i = 0; i < v->n; i++) {
    enum figure_sample sample = FIGURE_NO_SAMPLE;
    for (size_t k = from; k < to; k++) {
      if (page->places[k].series_variable != variable ||
          !has_value(&page->panels[k].series, v->text[i]))
        continue;
      if (page->panels[k].plan->kind == PLAN_PANEL_LINES)
        sample = FIGURE_LINE;
      else if (sample == FIGURE_NO_SAMPLE)
        sample = FIGURE_DOT;
    }
    struct figure_entry e = {
        .sample = sample, .text = figure_pretty(a, v->text[i]), .variable = variable, .value = i};
    if (sample != FIGURE_NO_SAMPLE)
      add_entry(a, l, e, figure_rounded(a, v->text[i]));
  }
}

static const char *statistic_text(struct arena *a, const struct plan_claim_node *n)
{
  static const struct {
    enum plan_claim_op op;
    const char *word;
  } words[] = {{PLAN_CLAIM_MEAN, "mean"},
               {PLAN_CLAIM_MEDIAN, "median"},
               {PLAN_CLAIM_MIN, "minimum"},
               {PLAN_CLAIM_MAX, "maximum"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (n->op == words[i].op)
      return words[i].word;
  if (n->op == PLAN_CLAIM_QUANTILE && n->args[1]->op == PLAN_CLAIM_NUMBER)
    return arena_printf(a, "%g quantile", n->args[1]->number);
  return "the statistic";
}

static const char *spread_text(enum plan_spread how)
{
  static const char *const words[] = {
      "", "quartiles", "deciles", "range", "±1 standard deviation", "±1 standard error"};
  return words[how];
}

/* The same remark is made once. */
static void add_once(struct arena *a, struct figure_legend *l, const char *text)
{
  const char *enhanced = figure_enhance(a, text);
  for (size_t i = 0; i < l->n; i++)
    if (!strcmp(l->entries[i].text, enhanced))
      return;
  add_note(a, l, FIGURE_NO_SAMPLE, text);
}

/* What the marks of one panel mean. */
static void add_panel_notes(struct arena *a, const struct figure_panel *p, struct figure_legend *l)
{
  const struct plan_axis *y = &p->plan->y;
  bool grid = figure_is_grid(p->plan), line = p->plan->kind == PLAN_PANEL_LINES;
  if (!grid && y->statistic && y->band != PLAN_SPREAD_NONE)
    add_once(a, l,
             arena_printf(a, "%s: %s, %s: %s", line ? "line" : "point",
                          statistic_text(a, y->statistic), y->bars ? "bars" : "band",
                          spread_text(y->band)));
  if (p->plan->kind == PLAN_PANEL_BOX)
    add_once(a, l, "box: median and quartiles");
  if (p->n_fits > 0)
    add_once(a, l, "dashed: least squares, r: Pearson's");
  if (p->plan->kind == PLAN_PANEL_SCATTER && p->fade_lo < p->fade_hi)
    add_once(a, l, arena_printf(a, "paler: smaller %s", p->plan->opacity));
  if (grid && p->z.any && p->n_missing > 0)
    add_once(a, l, "blank: not run");
}

/* Logarithmic axes are fitted as they look. */
static void add_fit_notes(struct arena *a, const struct figure_page *page, struct figure_legend *l)
{
  static const char *const how[] = {"", "against log10 x", "of log10 y",
                                    "of log10 y against log10 x"};
  for (unsigned k = 1; k < 4; k++) {
    char *names = NULL;
    for (size_t i = 0; i < page->n_panels; i++) {
      const struct plan_panel *p = page->panels[i].plan;
      if (page->panels[i].n_fits && (p->x.log ? 1u : 0u) + (p->y.log ? 2u : 0u) == k)
        names = names ? arena_printf(a, "%s, %s", names, p->name) : arena_strdup(a, p->name);
    }
    if (names && page->n_panels > 1)
      add_note(a, l, FIGURE_NO_SAMPLE, arena_printf(a, "%s: fitted %s", names, how[k]));
    else if (names)
      add_note(a, l, FIGURE_NO_SAMPLE, arena_printf(a, "fitted %s", how[k]));
  }
}

/* What marks mean, once for the whole figure. */
static void add_notes(struct arena *a, struct figure_page *page)
{
  struct figure_legend *l = &page->legend;
  bool failed = false;
  for (size_t k = 0; k < page->n_panels; k++)
    failed = failed || page->panels[k].n_failed > 0;
  if (failed)
    add_note(a, l, FIGURE_CROSS, "failed to converge");
  for (size_t k = 0; k < page->n_panels; k++)
    if (page->panels[k].n_points > 0)
      add_panel_notes(a, &page->panels[k], l);
  add_fit_notes(a, page, l);
  for (size_t k = 0; k < page->n_panels; k++) {
    if (page->panels[k].n_hidden > 0)
      add_note(a, l, FIGURE_NO_SAMPLE,
               arena_printf(a, "%s: %zu at or below zero, not on the log axis",
                            page->panels[k].plan->name, page->panels[k].n_hidden));
  }
}

void figure_legends(struct arena *a, struct figure_page *page)
{
  size_t shared = SIZE_MAX;
  bool common = true;
  for (size_t k = 0; k < page->n_panels; k++) {
    size_t v = page->places[k].series_variable;
    if (v == SIZE_MAX)
      continue;
    common = common && (shared == SIZE_MAX || shared == v);
    shared = v;
  }
  if (common && shared != SIZE_MAX)
    add_series(a, page, shared, 0, page->n_panels, &page->legend);
  for (size_t k = 0; !common && k < page->n_panels; k++) {
    if (page->places[k].series_variable != SIZE_MAX)
      add_series(a, page, page->places[k].series_variable, k, k + 1, &page->places[k].legend);
  }
  add_notes(a, page);
}

void figure_flow(struct figure_legend *l, double x0, double width)
{
  double y = 0;
  for (size_t i = 0, n; i < l->n; i += n, y += LINE_HEIGHT) {
    double row = l->entries[i].width;
    for (n = 1; i + n < l->n && row + l->entries[i + n].width - GAP <= width; n++)
      row += l->entries[i + n].width;
    double x = x0 + fmax(0, (width - (row - GAP)) / 2);
    for (size_t k = i; k < i + n; k++) {
      l->entries[k].x = x;
      l->entries[k].y = y + LINE_HEIGHT / 2;
      x += l->entries[k].width;
    }
  }
  l->height = y;
}
