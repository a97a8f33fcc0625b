#include "figure/gnuplot_int.h"

#include "base/num.h"

#include <math.h>
#include <string.h>

/* Points an inch, of the SVG too: its coordinates are points. */
#define POINTS 72
/* Curves with more points than this are drawn without marks. */
#define MARKED 30
/* Boxes over no more points than this show them. */
#define SHOWN 40
#define FEW 10

static char *number(struct arena *a, double v)
{
  char text[NUM_TEXT];
  return arena_strdup(a, num_text(v, text));
}

char *figure_short_number(struct arena *a, double v)
{
  return arena_printf(a, "%.6g", v);
}

char *figure_screen(const struct figure_gp *s, double x, double y)
{
  return arena_printf(s->arena, "screen %.4f, screen %.4f", x / s->page->width,
                      1 - y / s->page->height);
}

static char *join_labels(struct arena *a, const char *const *lines, size_t n)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "%s", n ? "" : "''");
  for (size_t i = 0; i < n; i++)
    figure_add(&t, "%s%s", i ? ".\"\\n\"." : "", figure_label(a, lines[i]));
  return t.s;
}

void figure_text_array(struct figure_gp *s, const char *name, const char *const *text, size_t n)
{
  figure_add(&s->t, "array %s[%zu] = [", name, n);
  for (size_t i = 0; i < n; i++)
    figure_add(&s->t, "%s%s", i ? ", " : "",
               figure_quote(s->arena, figure_field(s->arena, text[i])));
  figure_add(&s->t, "]\n");
}

/* ---- the page ---- */

static void head(struct figure_gp *s)
{
  const struct figure_page *page = s->page;
  const char *id = page->id;
  figure_add(&s->t, "# Figure %u: %s\n", page->plan->number,
             figure_comment(s->arena, page->plan->title ? page->plan->title : ""));
  if (page->n_subtitle > 0)
    figure_add(&s->t, "# %s\n", figure_comment(s->arena, page->plan->subtitle));
  figure_add(&s->t,
             "#\n# Draws %s.pdf and %s.svg from %s.csv; written by mergescape.  By itself:\n"
             "#   gnuplot %s.gp\n"
             "# One row of the CSV is one point.  The look is in style.gp.\n\n",
             id, id, id, id);
  figure_add(&s->t,
             "if (!exists('kind')) { kind = 'pdf' }\n"
             "if (!exists('name')) { name = '%s' }\n"
             "reset\nload 'style.gp'\ndata = '%s.csv'\n\n",
             id, id);
  figure_add(&s->t,
             "if (kind eq 'pdf') {\n"
             "  set terminal pdfcairo size %.2fin,%.2fin font family.base fontscale 0.75\n"
             "} else {\n"
             "  set terminal svg size %.0f,%.0f dynamic font family.base linewidth 0.5 \\\n"
             "    background 'white'\n"
             "}\n"
             "set output name.'.'.kind\n",
             page->width, page->height, page->width * POINTS, page->height * POINTS);
}

/* A variable's values and colours: the same value has the same colour everywhere. */
static void variables(struct figure_gp *s)
{
  const struct figure_page *page = s->page;
  s->variables = arena_array(s->arena, page->n_variables + 1, sizeof *s->variables);
  for (size_t k = 0; k < page->n_variables; k++) {
    const struct figure_values *v = &page->variables[k];
    char *name = figure_name(s->arena, v->column);
    for (size_t j = 0; j < k; j++) {
      if (strcmp(s->variables[j], name) == 0)
        name = arena_printf(s->arena, "%s_%zu", name, k + 1);
    }
    s->variables[k] = name;
    figure_add(&s->t, "\n# Values of %s, in the order of their colours.\n",
               figure_comment(s->arena, v->column));
    figure_text_array(s, arena_printf(s->arena, "values_%s", name), v->text, v->n);
    figure_add(&s->t, "rank_%s(s) = sum [k=1:|values_%s|] (values_%s[k] eq s ? k : 0)\n", name,
               name, name);
    if (v->numeric)
      figure_add(&s->t, "colour_%s(i) = ramp(i, |values_%s|)\n", name, name);
    else
      figure_add(&s->t, "colour_%s(i) = hue(i)\n", name);
  }
}

static void legend_entry(struct figure_gp *s, const struct figure_entry *e)
{
  static const double text_at[] = {0, 0.225, 0.075, 0.09};
  double middle = e->sample == FIGURE_LINE ? 0.09 : e->sample == FIGURE_NO_SAMPLE ? 0 : 0.03;
  const char *colour = "INK";
  if (e->variable != SIZE_MAX)
    colour = arena_printf(s->arena, "colour_%s(%zu)", s->variables[e->variable], e->value + 1);
  if (e->sample == FIGURE_LINE)
    figure_add(&s->t, "set arrow from %s to %s nohead ls 1 lc rgb %s\n",
               figure_screen(s, e->x, e->y), figure_screen(s, e->x + 2 * middle, e->y), colour);
  if (e->sample == FIGURE_LINE)
    figure_add(&s->t, "set label '' at %s point ls 1 pt mark(%zu) lc rgb %s\n",
               figure_screen(s, e->x + middle, e->y), e->value + 1, colour);
  else if (e->sample == FIGURE_DOT)
    figure_add(&s->t, "set label '' at %s point ls 3 ps 0.55 lc rgb %s\n",
               figure_screen(s, e->x + middle, e->y), colour);
  else if (e->sample == FIGURE_CROSS)
    figure_add(&s->t, "set label '' at %s point ls 2\n", figure_screen(s, e->x + middle, e->y));
  figure_add(&s->t, "set label %s at %s left font small tc rgb %s\n",
             figure_quote(s->arena, e->text), figure_screen(s, e->x + text_at[e->sample], e->y),
             e->grey ? "GREY" : "INK");
}

static void legend(struct figure_gp *s, const struct figure_legend *l)
{
  if (l->n > 0)
    figure_add(&s->t, "# legend\n");
  for (size_t i = 0; i < l->n; i++)
    legend_entry(s, &l->entries[i]);
}

static void furniture(struct figure_gp *s)
{
  const struct figure_page *page = s->page;
  double y = 0.06 + 0.165 / 2;
  figure_add(&s->t, "\n# ---- the page: title and legend, drawn with the first panel ----\n"
                    "eval new_panel\n");
  for (size_t i = 0; i < page->n_title; i++, y += 0.165)
    figure_add(&s->t, "set label '{/:Bold '.%s.'}' at %s left font large tc rgb INK\n",
               figure_label(s->arena, page->title[i]), figure_screen(s, 0.06, y));
  y += (0.125 - 0.165) / 2;
  for (size_t i = 0; i < page->n_subtitle; i++, y += 0.125)
    figure_add(&s->t, "set label %s at %s left font small tc rgb GREY\n",
               figure_label(s->arena, page->subtitle[i]), figure_screen(s, 0.06, y));
  legend(s, &page->legend);
}

/* ---- a panel ---- */

void figure_clause(struct figure_gp *s, struct figure_drawn *d)
{
  figure_add(&s->t, "%s", d->clauses++ ? ", \\\n  " : "plot \\\n  ");
}

/* The band or the error bars, under the curves. */
static void spread_clause(struct figure_gp *s, struct figure_drawn *d)
{
  const struct plan_axis *y = &d->p->plan->y;
  if (y->band == PLAN_SPREAD_NONE || (!y->bars && d->p->plan->kind != PLAN_PANEL_LINES))
    return;
  figure_clause(s, d);
  /* On a log axis a band that reaches zero ends at the axis. */
  const char *form = y->log ? "(edge(num('%s')%s))" : y->bars ? "(num('%s'))" : "(column('%s'))";
  figure_add(&s->t, "%sdata using (%s ? %s : NaN):%s", d->loop, d->of, d->x,
             y->bars ? "(num('y')):" : "");
  figure_add(&s->t, form, "y_lo", d->y_edges);
  figure_add(&s->t, ":");
  figure_add(&s->t, form, "y_hi", d->y_edges);
  if (y->bars)
    figure_add(&s->t, " \\\n    with yerrorbars lw 0.9 pt 7 ps 0.1 lc rgb %s", d->colour);
  else
    figure_add(&s->t, " \\\n    with filledcurves fc rgb %s fs transparent solid 0.17 noborder",
               d->colour);
}

static void lines_clauses(struct figure_gp *s, struct figure_drawn *d)
{
  const struct figure_panel *p = d->p;
  size_t n_series = p->series.n ? p->series.n : 1;
  const char *mark = d->variable ? "mark(i)" : "mark(1)";
  spread_clause(s, d);
  figure_clause(s, d);
  figure_add(&s->t, "%sdata using (%s ? %s : NaN):(column('y')) \\\n    ", d->loop, d->of, d->x);
  if (p->n_x_at == 0 && p->n_points > MARKED * n_series)
    figure_add(&s->t, "with lines ls 1 lc rgb %s", d->colour);
  else
    figure_add(&s->t, "with linespoints ls 1 pt %s lc rgb %s", mark, d->colour);
}

static void scatter_clauses(struct figure_gp *s, struct figure_drawn *d)
{
  struct arena *a = s->arena;
  bool fade = d->p->plan->opacity && d->p->fade_lo < d->p->fade_hi;
  spread_clause(s, d);
  figure_clause(s, d);
  figure_add(&s->t, "%sdata using (%s ? %s : NaN):(column('y'))", d->loop, d->of, d->x);
  if (fade)
    figure_add(&s->t,
               ":(faded(%s, column('opacity'), %s, %s)) \\\n    with points ls 3 lc rgb variable",
               d->colour, number(a, d->p->fade_lo), number(a, d->p->fade_hi));
  else
    figure_add(&s->t, " \\\n    with points ls 3 lc rgb clear(%s, 0.25)", d->colour);
}

/* The boxes that have a value on the axis: gnuplot refuses to draw one without. */
static void box_arrays(struct figure_gp *s, const struct figure_panel *p, const char *id)
{
  size_t n_series = p->series.n ? p->series.n : 1, n = 0;
  bool *filled = arena_array(s->arena, p->categories.n * n_series + 1, sizeof *filled);
  for (size_t i = 0; i < p->n_points; i++) {
    const struct figure_point *q = &p->points[i];
    if (q->y >= p->y.lo && q->y <= p->y.hi)
      filled[q->category * n_series + q->series] = true;
  }
  const char **x = arena_array(s->arena, p->categories.n * n_series + 1, sizeof *x);
  const char **of = arena_array(s->arena, p->categories.n * n_series + 1, sizeof *of);
  for (size_t i = 0; i < p->categories.n * n_series; i++) {
    if (!filled[i])
      continue;
    x[n] = p->categories.text[i / n_series];
    of[n++] = p->series.n ? p->series.text[i % n_series] : "";
  }
  figure_text_array(s, arena_printf(s->arena, "boxes_%s", id), x, n);
  if (p->series.n)
    figure_text_array(s, arena_printf(s->arena, "boxes_%s_of", id), of, n);
}

static void box_clauses(struct figure_gp *s, struct figure_drawn *d)
{
  struct arena *a = s->arena;
  const struct figure_panel *p = d->p;
  const char *id = figure_name(a, p->plan->name);
  const char *where = arena_printf(a, "place_%s(boxes_%s[i])", id, id);
  const char *of = arena_printf(a, "panel(%s)", d->name), *colour = d->colour, *wide = "0.55";
  if (d->variable) { /* side by side within the category */
    const char *rank = arena_printf(a, "rank_%s(boxes_%s_of[i])", d->variable, id);
    wide = arena_printf(a, "0.7 / |values_%s|", d->variable);
    where =
        arena_printf(a, "%s + 0.8 * ((%s - 0.5) / |values_%s| - 0.5)", where, rank, d->variable);
    of = arena_printf(a, "of(%s, boxes_%s_of[i])", d->name, id);
    colour = arena_printf(a, "colour_%s(%s)", d->variable, rank);
  } else if (d->at->x_variable != SIZE_MAX) {
    const char *v = s->variables[d->at->x_variable];
    colour = arena_printf(a, "colour_%s(rank_%s(boxes_%s[i]))", v, v, id);
  }
  bool few = p->most_per_category <= SHOWN;
  const char *value =
      arena_printf(a, "(%s && strcol('x') eq boxes_%s[i] ? num('y') : NaN)", of, id);
  figure_clause(s, d);
  figure_add(&s->t,
             "for [i=1:|boxes_%s|] data using (%s):%s:(%s) \\\n    with boxplot lw 1.2 lc rgb %s",
             id, where, value, wide, colour);
  if (!few)
    return;
  figure_clause(s, d);
  figure_add(&s->t,
             "for [i=1:|boxes_%s|] data using (%s + 0.6 * %s * jitter($0)):%s \\\n"
             "    with points ls 3 ps %s lc rgb clear(%s, 0.45)",
             id, where, wide, value, p->most_per_category <= FEW ? "0.42" : "0.28", colour);
}

static void crosses(struct figure_gp *s, struct figure_drawn *d)
{
  const struct figure_panel *p = d->p;
  struct arena *a = s->arena;
  const char *x = d->x;
  if (!p->x_categories)
    x = arena_printf(a, "edge(num('x'), %s, %s)",
                     figure_short_number(a, figure_inside(&p->x, p->plan->x.log, 0.02)),
                     figure_short_number(a, figure_inside(&p->x, p->plan->x.log, 0.98)));
  figure_clause(s, d);
  figure_add(&s->t,
             "data using (failed(%s) ? %s : NaN):(edge(num('y')%s)) \\\n    with points ls 2",
             d->name, x, d->y_edges);
}

static void plot(struct figure_gp *s, const struct figure_panel *p, const struct figure_place *at)
{
  struct arena *a = s->arena;
  const char *id = figure_name(a, p->plan->name);
  struct figure_drawn d = {.p = p,
                           .at = at,
                           .name = figure_quote(a, figure_field(a, p->plan->name)),
                           .x = "column('x')",
                           .loop = "",
                           .colour = "hue(1)"};
  if (p->x_categories)
    d.x = arena_printf(a, "place_%s(strcol('x'))", id);
  d.y_edges = arena_printf(a, ", %s, %s",
                           figure_short_number(a, figure_inside(&p->y, p->plan->y.log, 0.04)),
                           figure_short_number(a, figure_inside(&p->y, p->plan->y.log, 0.97)));
  d.of = arena_printf(a, "panel(%s)", d.name);
  if (at->series_variable != SIZE_MAX) {
    d.variable = s->variables[at->series_variable];
    d.of = arena_printf(a, "of(%s, values_%s[i])", d.name, d.variable);
    d.loop = arena_printf(a, "for [i=1:|values_%s|] ", d.variable);
    d.colour = arena_printf(a, "colour_%s(i)", d.variable);
  }
  if (p->plan->kind == PLAN_PANEL_HEATMAP) {
    if (p->z.any || p->n_failed > 0)
      figure_heatmap_clauses(s, &d);
  } else if (p->y.any && p->plan->kind == PLAN_PANEL_LINES)
    lines_clauses(s, &d);
  else if (p->y.any && p->plan->kind == PLAN_PANEL_SCATTER)
    scatter_clauses(s, &d);
  else if (p->y.any)
    box_clauses(s, &d);
  if (p->n_failed > 0 && p->plan->kind != PLAN_PANEL_HEATMAP)
    crosses(s, &d);
  figure_add(&s->t, d.clauses ? "\n" : "plot NaN\n");
}

void figure_ticks_command(struct figure_gp *s, const char *axis, const struct figure_ticks *t)
{
  if (strcmp(t->tics, "()") == 0) {
    figure_add(&s->t, "unset %stics\n", axis);
    return;
  }
  figure_add(&s->t, "set %stics nomirror %s%s\n", axis,
             t->turn ? "rotate by 35 right offset 0,0 " : "", t->tics);
  if (t->format)
    figure_add(&s->t, "set format %s %s\n", axis, t->format);
  if (t->minor)
    figure_add(&s->t, "set m%stics %u\n", axis, t->minor);
}

static void remark(struct figure_gp *s, const struct figure_panel *p, const struct figure_place *at)
{
  const char *lines[FIGURE_MAX_LINES];
  size_t spoilt = 0;
  bool grid = figure_is_grid(p->plan), shows = grid ? p->z.any : p->y.any;
  for (size_t i = 0; i < p->n_points; i++)
    spoilt += p->points[i].spoilt;
  if (shows && (!grid || figure_is_coloured(p)))
    return;
  const char *text = p->n_points == 0                       ? "no results"
                     : spoilt == p->n_points - p->n_missing ? "no run converged"
                     : !shows                               ? "no finite value"
                                                            : "a single line of values is no map";
  size_t n = figure_wrap(s->arena, text, FIGURE_FONT_SMALL, at->plot.w * 72 * 0.85, lines,
                         FIGURE_MAX_LINES);
  figure_add(&s->t,
             "unset xzeroaxis\n"
             "set label %s at graph 0.5, graph 0.5 center font small tc rgb GREY\n",
             join_labels(s->arena, lines, n));
}

/* ---- fitted lines ---- */

static size_t points_in(const struct figure_panel *p, bool right, bool top)
{
  double x = figure_inside(&p->x, p->plan->x.log, 0.5);
  double y = figure_inside(&p->y, p->plan->y.log, 0.5);
  size_t n = 0;
  for (size_t i = 0; i < p->n_points; i++)
    n += (p->points[i].x > x) == right && (p->points[i].y > y) == top;
  return n;
}

/* The correlations stand in the emptiest corner. */
static void fits(struct figure_gp *s, const struct figure_panel *p, const struct figure_place *at)
{
  struct arena *a = s->arena;
  bool right = false, top = true;
  for (int k = 0; k < 4; k++)
    if (points_in(p, k & 1, !(k & 2)) < points_in(p, right, top)) {
      right = k & 1;
      top = !(k & 2);
    }
  double step = 1.25 * FIGURE_FONT_SMALL / (at->plot.h * 72);
  double y = top ? 0.95 : 0.05 + step * (double)(p->n_fits - 1);
  for (size_t i = 0; i < p->n_fits; i++, y -= step) {
    const struct figure_fit *f = &p->fits[i];
    const char *colour = "INK", *r = "–";
    if (at->series_variable != SIZE_MAX) {
      const char *v = s->variables[at->series_variable];
      colour = arena_printf(a, "colour_%s(rank_%s(%s))", v, v,
                            figure_quote(a, figure_field(a, p->series.text[f->series])));
    }
    figure_add(&s->t, "set arrow from %s, %s to %s, %s nohead lw 1.3 dt 2 lc rgb %s front\n",
               figure_short_number(a, f->x[0]), figure_short_number(a, f->y[0]),
               figure_short_number(a, f->x[1]), figure_short_number(a, f->y[1]), colour);
    if (isfinite(f->r))
      r = arena_printf(a, "%s%.2f", f->r < -0.005 ? "−" : "", fabs(f->r));
    figure_add(&s->t, "set label 'r = %s' at graph %s, graph %.3f %s font small tc rgb %s front\n",
               r, right ? "0.97" : "0.03", y, right ? "right" : "left", colour);
  }
}

static void frame(struct figure_gp *s, const struct figure_panel *p, const struct figure_place *at)
{
  const struct figure_page *page = s->page;
  double bottom = at->plot.y + at->plot.h;
  figure_add(&s->t,
             "set lmargin at screen %.4f; set rmargin at screen %.4f\n"
             "set tmargin at screen %.4f; set bmargin at screen %.4f\n",
             at->plot.x / page->width, (at->plot.x + at->plot.w) / page->width,
             1 - at->plot.y / page->height, 1 - bottom / page->height);
  const char *letter = page->n_panels > 1 ? arena_printf(s->arena, "'{/:Bold '.%s.'}  '.",
                                                         figure_label(s->arena, p->plan->name))
                                          : "";
  for (size_t i = 0; i < at->n_title || i < (page->n_panels > 1); i++) {
    double lines = (double)(at->n_title > 0 ? at->n_title : 1) - (double)i;
    figure_add(&s->t, "set label %s%s at %s left font base tc rgb INK\n", i == 0 ? letter : "",
               i < at->n_title ? figure_label(s->arena, at->title[i]) : "''",
               figure_screen(s, at->plot.x, at->plot.y - 0.145 * (lines - 0.5) - 0.03));
  }
}

static void omitted(struct figure_gp *s, const struct figure_panel *p,
                    const struct figure_place *at)
{
  const char *lines[FIGURE_MAX_LINES];
  size_t n = figure_wrap(s->arena, p->plan->omitted, FIGURE_FONT_SMALL, at->plot.w * 72 * 0.85,
                         lines, FIGURE_MAX_LINES);
  figure_add(&s->t,
             "set border 15 lc rgb FAINT; unset xzeroaxis; unset xtics; unset ytics\n"
             "set label %s at graph 0.5, graph %.2f center font small tc rgb GREY\n"
             "set xrange [0:1]; set yrange [0:1]\nplot NaN\n",
             join_labels(s->arena, lines, n), 0.5 + 0.04 * (double)(n - 1));
}

void figure_upright_label(struct figure_gp *s, const char *text, double x, int side,
                          const struct figure_box *beside)
{
  const char *lines[2];
  size_t n = figure_wrap(s->arena, text, FIGURE_FONT, beside->h * 72, lines, 2);
  double line = 1.2 * FIGURE_FONT / 72; /* gnuplot centres all lines around the place */
  x += side * line * (n > 1 ? 1.25 : 0.5);
  figure_add(&s->t, "set label %s at %s center rotate font base tc rgb INK\n",
             join_labels(s->arena, lines, n), figure_screen(s, x, beside->y + beside->h / 2));
}

static void axes(struct figure_gp *s, const struct figure_panel *p, const struct figure_place *at)
{
  struct arena *a = s->arena;
  bool heatmap = p->plan->kind == PLAN_PANEL_HEATMAP;
  const char *id = figure_name(a, p->plan->name);
  if (p->x_categories && p->categories.n > 0) { /* gnuplot has no empty arrays */
    figure_text_array(s, arena_printf(a, "categories_%s", id), p->categories.text, p->categories.n);
    figure_add(&s->t, "place_%s(s) = sum [k=1:|categories_%s|] (categories_%s[k] eq s ? k : 0)\n",
               id, id, id);
  }
  if (heatmap && p->rows.n > 0) {
    figure_text_array(s, arena_printf(a, "rows_%s", id), p->rows.text, p->rows.n);
    figure_add(&s->t, "row_%s(s) = sum [k=1:|rows_%s|] (rows_%s[k] eq s ? k : 0)\n", id, id, id);
  }
  figure_add(&s->t, "set xrange [%s:%s]; set yrange [%s:%s]\n", figure_short_number(a, p->x.lo),
             figure_short_number(a, p->x.hi), figure_short_number(a, p->y.lo),
             figure_short_number(a, p->y.hi));
  if (p->plan->x.log && !p->x_categories)
    figure_add(&s->t, "set logscale x\n");
  if (p->plan->y.log && !heatmap)
    figure_add(&s->t, "set logscale y\n");
  figure_ticks_command(s, "x", &at->x_ticks);
  figure_ticks_command(s, "y", &at->y_ticks);
  if (at->n_x_label > 0)
    figure_add(&s->t, "set label %s at %s center font base tc rgb INK\n",
               join_labels(a, at->x_label, at->n_x_label),
               figure_screen(s, at->plot.x + at->plot.w / 2, at->x_label_y));
  if (at->y_label)
    figure_upright_label(s, p->plan->y.label, at->y_label_x, -1, &at->plot);
}

static void panel(struct figure_gp *s, const struct figure_panel *p, const struct figure_place *at,
                  bool first)
{
  struct arena *a = s->arena;
  figure_add(&s->t, "\n# ---- panel %s: %s ----\n", figure_comment(a, p->plan->name),
             figure_comment(a, p->plan->title ? p->plan->title : ""));
  if (!first)
    figure_add(&s->t, "eval new_panel\n");
  frame(s, p, at);
  if (p->plan->omitted) {
    omitted(s, p, at);
    return;
  }
  axes(s, p, at);
  if (p->plan->kind == PLAN_PANEL_BOX && p->y.any)
    box_arrays(s, p, figure_name(a, p->plan->name));
  if (p->plan->kind == PLAN_PANEL_BOX && p->most_per_category > SHOWN)
    figure_add(&s->t, "set style boxplot outliers pointtype 7\n");
  if (figure_is_grid(p->plan))
    figure_colours(s, p, at);
  fits(s, p, at);
  legend(s, &at->legend);
  remark(s, p, at);
  if (p->plan->kind == PLAN_PANEL_CONTOUR)
    figure_contour_plot(s, p, at);
  else
    plot(s, p, at);
}

char *figure_script(struct arena *a, const struct figure_page *page)
{
  struct figure_gp s = {.t = {.arena = a}, .arena = a, .page = page};
  head(&s);
  variables(&s);
  figure_scans(&s);
  figure_add(&s.t, "\nset multiplot\n");
  furniture(&s);
  for (size_t k = 0; k < page->n_panels; k++)
    panel(&s, &page->panels[k], &page->places[k], k == 0);
  figure_add(&s.t,
             "\nunset multiplot\nunset output\n"
             "# The same again as SVG.\n"
             "again = kind eq 'pdf'\nkind = 'svg'\nif (again) load '%s.gp'\n",
             page->id);
  return s.t.s;
}
