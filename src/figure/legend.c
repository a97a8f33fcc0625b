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
      add_entry(a, l, e, v->text[i]);
  }
}

static const char *aggregate_word(enum plan_aggregate how)
{
  static const char *const words[] = {"", "mean", "median", "minimum", "maximum"};
  return words[how];
}

/* What marks mean, once for the whole figure. */
static void add_notes(struct arena *a, struct figure_page *page)
{
  struct figure_legend *l = &page->legend;
  const struct plan_panel *lines = NULL, *fade = NULL;
  bool box = false, failed = false;
  for (size_t k = 0; k < page->n_panels; k++) {
    const struct figure_panel *p = &page->panels[k];
    failed = failed || p->n_failed > 0;
    if (p->n_points == 0)
      continue;
    if (!lines && p->plan->kind == PLAN_PANEL_LINES && p->plan->y.band != PLAN_SPREAD_NONE)
      lines = p->plan;
    if (!fade && p->fade_lo < p->fade_hi && p->plan->kind == PLAN_PANEL_SCATTER)
      fade = p->plan;
    box = box || p->plan->kind == PLAN_PANEL_BOX;
  }
  if (failed)
    add_note(a, l, FIGURE_CROSS, "failed to converge");
  if (lines)
    add_note(a, l, FIGURE_NO_SAMPLE,
             arena_printf(a, "line: %s, band: %s", aggregate_word(lines->y.aggregate),
                          lines->y.band == PLAN_SPREAD_QUARTILES ? "quartiles" : "range"));
  if (box)
    add_note(a, l, FIGURE_NO_SAMPLE, "box: median and quartiles");
  if (fade)
    add_note(a, l, FIGURE_NO_SAMPLE, arena_printf(a, "paler: smaller %s", fade->opacity));
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
