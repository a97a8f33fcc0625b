#include "figure/figure_int.h"

#include <math.h>
#include <string.h>

/* Inches, for a text width of 7. */
#define PAGE_WIDTH 7.0
#define PAGE_WIDTH_ONE 3.6 /* of a figure with a single column */
#define EDGE 0.06
#define TITLE_HEIGHT 0.165
#define SUBTITLE_HEIGHT 0.125
#define PANEL_TITLE_HEIGHT 0.145
#define LABEL_HEIGHT 0.15
#define TIC_GAP 0.14 /* tic marks and the space to their labels */
#define COLUMN_GAP 0.15
#define ROW_GAP 0.1
#define LETTER_WIDTH 0.19
#define LEAST_WIDTH 0.3 /* of a plot, whatever stands beside it */
/* A colour bar beside a panel. */
#define BAR_GAP 0.07
#define BAR_WIDTH 0.09
#define BAR_TIC_GAP 0.09

/* ---- variables: one colour a value throughout a figure ---- */

static void add_value(struct arena *a, struct figure_values *v, const char *text, double num)
{
  for (size_t i = 0; i < v->n; i++) {
    if (strcmp(v->text[i], text) == 0)
      return;
  }
  ARENA_PUSH(a, v->num, v->n, v->cap_num, num);
  v->n--;
  ARENA_PUSH(a, v->text, v->n, v->cap, text);
  for (size_t i = v->n - 1; v->numeric && i > 0 && v->num[i - 1] > v->num[i]; i--) {
    const char *t = v->text[i];
    double d = v->num[i];
    v->text[i] = v->text[i - 1];
    v->num[i] = v->num[i - 1];
    v->text[i - 1] = t;
    v->num[i - 1] = d;
  }
}

static size_t merge_values(struct arena *a, struct figure_page *page,
                           const struct figure_values *from)
{
  size_t k = 0;
  while (k < page->n_variables && strcmp(page->variables[k].column, from->column) != 0)
    k++;
  struct figure_values *v = &page->variables[k];
  if (k == page->n_variables) {
    *v = (struct figure_values){
        .column = from->column, .label = from->label, .numeric = from->numeric};
    page->n_variables++;
  }
  v->numeric = v->numeric && from->numeric;
  for (size_t i = 0; i < from->n; i++)
    add_value(a, v, from->text[i], from->num[i]);
  return k;
}

static void find_variables(struct arena *a, struct figure_page *page)
{
  page->variables = arena_array(a, 2 * page->n_panels + 1, sizeof *page->variables);
  for (size_t k = 0; k < page->n_panels; k++) { /* series first: their label is the legend's */
    const struct figure_panel *p = &page->panels[k];
    page->places[k].series_variable =
        p->series.n > 0 ? merge_values(a, page, &p->series) : SIZE_MAX;
  }
  for (size_t k = 0; k < page->n_panels; k++) {
    const struct figure_panel *p = &page->panels[k];
    bool by_x = p->plan->kind == PLAN_PANEL_BOX && p->series.n == 0 && p->categories.n > 0;
    page->places[k].x_variable = by_x ? merge_values(a, page, &p->categories) : SIZE_MAX;
  }
}

/* ---- geometry ---- */

struct grid {
  size_t columns, rows;
  double plot_width, plot_height;
  double left[64], right[64]; /* margins of each column */
};

static struct grid choose_grid(const struct figure_page *page)
{
  static const double heights[] = {2.0, 1.8, 1.5, 1.3};
  struct grid g = {.columns = page->plan->columns};
  size_t n = page->n_panels;
  bool bars = false; /* take room beside the panels */
  for (size_t k = 0; k < n; k++)
    bars = bars || figure_is_grid(page->plan->panels + k);
  if (g.columns == 0 && bars)
    g.columns = n <= 3 ? n : n == 4 ? 2 : 3;
  if (g.columns == 0)
    g.columns = n <= 4 ? n : n <= 6 || n == 9 ? 3 : 4;
  if (g.columns > n)
    g.columns = n;
  if (g.columns > 8)
    g.columns = 8;
  if (g.columns == 0)
    g.columns = 1;
  g.rows = (n + g.columns - 1) / g.columns;
  g.plot_height = heights[g.columns < 4 ? g.columns - 1 : 3];
  return g;
}

/* A row whose panels say the same says it once, at its first panel. */
static void choose_y_labels(struct figure_page *page, const struct grid *g)
{
  for (size_t row = 0; row < g->rows; row++) {
    const char *label = NULL;
    for (size_t k = row * g->columns; k < (row + 1) * g->columns && k < page->n_panels; k++) {
      const struct plan_panel *p = page->panels[k].plan;
      if (p->omitted)
        continue;
      const char *own = p->y.label ? p->y.label : "";
      page->places[k].y_label = *own && (!label || strcmp(label, own) != 0);
      label = own;
    }
  }
}

/* Of a label that stands upright beside the plot. */
static double label_width(const char *label, const struct grid *g)
{
  bool two = figure_width(label, FIGURE_FONT) / 72 > g->plot_height;
  return LABEL_HEIGHT * (two ? 2 : 1);
}

static struct figure_ticks y_ticks(struct arena *a, const struct figure_panel *p, double length)
{
  if (p->plan->kind == PLAN_PANEL_HEATMAP)
    return figure_category_ticks(a, &p->rows, length, false);
  return figure_axis_ticks(a, &p->y, p->plan->y.log, length, false, NULL, 0);
}

/* Room for the colour bars of a column. */
static double right_margin(struct arena *a, struct figure_page *page, const struct grid *g,
                           size_t c)
{
  double margin = 0;
  for (size_t k = c; k < page->n_panels; k += g->columns) {
    const struct figure_panel *p = &page->panels[k];
    struct figure_place *at = &page->places[k];
    if (!figure_is_coloured(p))
      continue;
    const char *label = p->plan->z.label;
    at->z_ticks = figure_axis_ticks(a, &p->z, p->plan->z.log, g->plot_height * 72, false, NULL, 0);
    margin = fmax(margin, BAR_GAP + BAR_WIDTH + BAR_TIC_GAP + at->z_ticks.width / 72 +
                              (label && *label ? label_width(label, g) + 0.03 : 0));
  }
  return margin;
}

static void place_bar(const struct figure_panel *p, struct figure_place *at)
{
  if (!figure_is_coloured(p))
    return;
  at->bar =
      (struct figure_box){at->plot.x + at->plot.w + BAR_GAP, at->plot.y, BAR_WIDTH, at->plot.h};
  at->z_label_x = at->bar.x + BAR_WIDTH + BAR_TIC_GAP + at->z_ticks.width / 72;
}

static void place_columns(struct arena *a, struct figure_page *page, struct grid *g)
{
  double sum = 0;
  for (size_t c = 0; c < g->columns; c++) {
    g->left[c] = c == 0 ? 0.12 : 0.06;
    for (size_t k = c; k < page->n_panels; k += g->columns) {
      const struct figure_panel *p = &page->panels[k];
      struct figure_place *at = &page->places[k];
      if (p->plan->omitted)
        continue;
      at->y_ticks = y_ticks(a, p, g->plot_height * 72);
      double margin = at->y_ticks.width / 72 + TIC_GAP;
      if (at->y_label)
        margin += label_width(p->plan->y.label, g);
      g->left[c] = fmax(g->left[c], margin);
    }
    g->right[c] = right_margin(a, page, g, c);
    sum += g->left[c] + g->right[c];
  }
  g->plot_width = (page->width - 2 * EDGE - sum - COLUMN_GAP * (double)(g->columns - 1) - 0.1) /
                  (double)g->columns;
  g->plot_width = fmax(g->plot_width, LEAST_WIDTH);
  double x = EDGE;
  for (size_t c = 0; c < g->columns; c++) {
    x += g->left[c];
    for (size_t k = c; k < page->n_panels; k += g->columns) {
      struct figure_place *at = &page->places[k];
      at->plot.x = x;
      at->plot.w = g->plot_width;
      at->plot.h = g->plot_height;
      at->y_label_x = x - at->y_ticks.width / 72 - TIC_GAP;
    }
    x += g->plot_width + g->right[c] + COLUMN_GAP;
  }
  for (size_t k = 0; k < page->n_panels; k++) { /* labels of a column stand in one line */
    struct figure_place *at = &page->places[k];
    for (size_t j = k % g->columns; j < page->n_panels; j += g->columns) {
      if (page->places[j].y_label && at->y_label)
        at->y_label_x = fmin(at->y_label_x, page->places[j].y_label_x);
    }
  }
}

static void place_x_ticks(struct arena *a, const struct figure_panel *p, struct figure_place *at)
{
  double length = at->plot.w * 72;
  if (p->plan->omitted)
    return;
  at->x_ticks = p->x_categories
                    ? figure_category_ticks(a, &p->categories, length, true)
                    : figure_axis_ticks(a, &p->x, p->plan->x.log, length, true, p->x_at, p->n_x_at);
}

/* Tick labels under a panel's plot. */
static double under_ticks(const struct figure_place *at)
{
  double size = FIGURE_FONT_SMALL / 72;
  return 0.09 + (at->x_ticks.turn ? at->x_ticks.width / 72 * 0.58 + 0.5 * size : size) + 0.02;
}

/* All that stands under a panel's plot, the legend apart. */
static double under(const struct figure_panel *p, const struct figure_place *at)
{
  double lines = at->n_x_label > 1 ? (double)at->n_x_label : 1;
  return p->plan->omitted ? 0 : under_ticks(at) + LABEL_HEIGHT * lines;
}

/* Centred below the plot: as far as the page's edge, and a little into the gap. */
static void place_x_label(struct arena *a, const struct figure_page *page,
                          const struct figure_panel *p, struct figure_place *at)
{
  double beside = fmin(page->width - EDGE - at->plot.x - at->plot.w, 2 * COLUMN_GAP);
  at->n_x_label = figure_wrap(a, p->plan->x.label ? p->plan->x.label : "", FIGURE_FONT,
                              (at->plot.w + 2 * fmax(beside, 0)) * 72, at->x_label, 2);
}

/* From a panel's left edge to where the next one's title begins, or the page ends. */
static double title_room(const struct figure_page *page, const struct grid *g, size_t k)
{
  size_t column = k % g->columns;
  if (column + 1 == g->columns)
    return page->width - EDGE / 2 - page->places[k].plot.x;
  return g->plot_width + g->right[column] + COLUMN_GAP + g->left[column + 1] - 0.05;
}

static double place_row(struct arena *a, struct figure_page *page, const struct grid *g, size_t row,
                        double y)
{
  size_t first = row * g->columns, end = first + g->columns;
  if (end > page->n_panels)
    end = page->n_panels;
  double below = 0;
  size_t lines = page->n_panels > 1;
  for (size_t k = first; k < end; k++) {
    const struct figure_panel *p = &page->panels[k];
    struct figure_place *at = &page->places[k];
    place_x_ticks(a, p, at);
    place_x_label(a, page, p, at);
    at->n_title = figure_wrap(a, p->plan->title ? p->plan->title : "", FIGURE_FONT,
                              (title_room(page, g, k) - LETTER_WIDTH) * 72, at->title, 2);
    lines = at->n_title > lines ? at->n_title : lines;
    double h = under(p, at);
    if (at->legend.n > 0) {
      double room = g->left[k - first] * 0.5;
      figure_flow(&at->legend, at->plot.x - room, at->plot.w + room + COLUMN_GAP / 2);
      h += at->legend.height + 0.03;
    }
    below = fmax(below, h);
  }
  y += PANEL_TITLE_HEIGHT * (double)lines + 0.05;
  for (size_t k = first; k < end; k++) {
    struct figure_place *at = &page->places[k];
    at->plot.y = y;
    place_bar(&page->panels[k], at);
    at->x_label_y = y + at->plot.h + (under_ticks(at) + under(&page->panels[k], at)) / 2;
    for (size_t i = 0; i < at->legend.n; i++)
      at->legend.entries[i].y += y + at->plot.h + under(&page->panels[k], at) + 0.03;
  }
  return y + g->plot_height + below + (row + 1 < g->rows ? ROW_GAP : 0);
}

static size_t wrap_page(struct arena *a, const struct figure_page *page, const char *text,
                        double size, const char **lines)
{
  return figure_wrap(a, text ? text : "", size, (page->width - 2 * EDGE) * 72 / 1.02, lines,
                     FIGURE_MAX_LINES);
}

void figure_layout(struct arena *a, struct figure_page *page)
{
  struct grid g = choose_grid(page);
  page->width = g.columns == 1 ? PAGE_WIDTH_ONE : PAGE_WIDTH;
  page->places = arena_array(a, page->n_panels + 1, sizeof *page->places);
  find_variables(a, page);
  figure_legends(a, page);
  choose_y_labels(page, &g);
  place_columns(a, page, &g);
  /* Bold is about a tenth wider. */
  const char *title = arena_printf(a, "Figure %u: %s", page->plan->number,
                                   page->plan->title ? page->plan->title : "");
  page->n_title = wrap_page(a, page, title, 1.12 * FIGURE_FONT_TITLE, page->title);
  page->n_subtitle = wrap_page(a, page, page->plan->subtitle, FIGURE_FONT_SMALL, page->subtitle);
  double y = EDGE + TITLE_HEIGHT * (double)page->n_title +
             SUBTITLE_HEIGHT * (double)page->n_subtitle + 0.07;
  for (size_t row = 0; row < g.rows; row++)
    y = place_row(a, page, &g, row, y);
  if (page->legend.n > 0) {
    y += 0.06;
    figure_flow(&page->legend, EDGE, page->width - 2 * EDGE);
    for (size_t i = 0; i < page->legend.n; i++)
      page->legend.entries[i].y += y;
    y += page->legend.height;
  }
  page->height = y + EDGE;
}
