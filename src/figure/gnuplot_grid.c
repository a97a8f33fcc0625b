/* Heatmaps and contours: places of two columns, coloured by a third. */
#include "figure/gnuplot_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Cells are written into where there are no more than this either way. */
#define WRITTEN 12
/* The smallest size of what is written, points. */
#define SMALLEST 4.0
/* A contour's map is smoothed to about so many facets either way. */
#define FACETS 50

/* ---- colours ---- */

void figure_colours(struct figure_gp *s, const struct figure_panel *p,
                    const struct figure_place *at)
{
  struct arena *a = s->arena;
  const struct figure_page *page = s->page;
  figure_add(&s->t, "set border 15 front; unset xzeroaxis; unset grid; set style fill solid\n");
  if (!figure_is_coloured(p))
    return;
  figure_add(&s->t, "eval %s; set cbrange [%s:%s]\n", p->diverging ? "diverging" : "sequential",
             figure_short_number(a, p->z.lo), figure_short_number(a, p->z.hi));
  if (p->plan->z.log)
    figure_add(&s->t, "set logscale cb\n");
  figure_ticks_command(s, "cb", &at->z_ticks);
  /* Viewers let what is behind shine through between facets: not white. */
  if (!p->diverging)
    figure_add(&s->t, "set object rectangle from %s to %s behind fs solid noborder fc rgb MIDDLE\n",
               figure_screen(s, at->bar.x, at->bar.y),
               figure_screen(s, at->bar.x + at->bar.w, at->bar.y + at->bar.h));
  figure_add(&s->t,
             "set colorbox vertical user origin screen %.4f, screen %.4f size screen %.4f, "
             "screen %.4f border 100\n",
             at->bar.x / page->width, 1 - (at->bar.y + at->bar.h) / page->height,
             at->bar.w / page->width, at->bar.h / page->height);
  if (p->plan->z.label && *p->plan->z.label)
    figure_upright_label(s, p->plan->z.label, at->z_label_x + 0.03, 1, &at->bar);
}

/* ---- heatmaps ---- */

struct writing { /* numbers in cells */
  int decimals;
  double size; /* points; 0: they do not fit */
};

static double widest(const struct figure_panel *p, int decimals)
{
  double width = 0;
  for (size_t i = 0; i < p->n_points; i++) {
    char text[64];
    double z = p->points[i].z;
    if (!isfinite(z))
      continue;
    snprintf(text, sizeof text, "%.*f", decimals, z);
    width = fmax(width, figure_width(text, 1) + (z < 0 ? 0.48 : 0));
  }
  return width;
}

/* Three digits of the largest number, fewer where there is no room. */
static struct writing choose_writing(const struct figure_panel *p, const struct figure_place *at)
{
  struct writing w = {0, 0};
  double largest = fmax(fabs(p->z.lo), fabs(p->z.hi));
  if (p->categories.n > WRITTEN || p->rows.n > WRITTEN || !p->z.any || !(largest < 1e5))
    return w;
  double room = at->plot.w * 72 / (double)p->categories.n - 2;
  double height = at->plot.h * 72 / (double)p->rows.n - 2;
  int most = 2 - (int)floor(log10(fmax(largest, 1e-9))), least = most - 1;
  most = most < 0 ? 0 : most;
  for (w.decimals = most; w.decimals >= 0 && w.decimals >= least; w.decimals--) {
    double width = widest(p, w.decimals);
    w.size = fmin(FIGURE_FONT_SMALL, fmin(height, width > 0 ? room / width : 0));
    if (w.size >= SMALLEST)
      return w;
  }
  return (struct writing){0, 0};
}

/* Where the colour of z lies on the palette, from 0 to 1. */
static char *share(struct arena *a, const struct figure_panel *p)
{
  const char *lo = figure_short_number(a, p->z.lo), *hi = figure_short_number(a, p->z.hi);
  if (p->plan->z.log)
    return arena_printf(a, "log(num('z') / %s) / log(%s / %s)", lo, hi, lo);
  return arena_printf(a, "(num('z') - (%s)) / (%s - (%s))", lo, hi, lo);
}

static void cells(struct figure_gp *s, const char *which, const char *x, const char *y)
{
  figure_add(&s->t, "data using (%s ? %s : NaN):(%s):(%s - 0.5):(%s + 0.5):(%s - 0.5):(%s + 0.5)",
             which, x, y, x, x, y, y);
}

void figure_heatmap_clauses(struct figure_gp *s, struct figure_drawn *d)
{
  struct arena *a = s->arena;
  const struct figure_panel *p = d->p;
  const char *x = d->x;
  const char *y = arena_printf(a, "row_%s(strcol('y'))", figure_name(a, p->plan->name));
  struct writing w = choose_writing(p, d->at);
  if (p->n_failed > 0) {
    figure_clause(s, d);
    cells(s, arena_printf(a, "failed(%s) && !strlen(strcol('z'))", d->name), x, y);
    figure_add(&s->t, " \\\n    with boxxyerror fs solid border lc rgb 'white' fc rgb FAINT");
  }
  if (p->z.any) {
    figure_clause(s, d);
    cells(s, arena_printf(a, "panel(%s) && strlen(strcol('z'))", d->name), x, y);
    figure_add(&s->t, ":(num('z')) \\\n"
                      "    with boxxyerror fs solid border lc rgb 'white' fc palette");
  }
  if (w.size > 0) {
    figure_clause(s, d);
    figure_add(&s->t,
               "data using (panel(%s) && strlen(strcol('z')) ? %s : NaN):(%s): \\\n"
               "      (gprintf('%%.%df', column('z'))):(on_%s(%s)) \\\n"
               "    with labels font ',%.1f' tc rgb variable",
               d->name, x, y, w.decimals, p->diverging ? "diverging" : "sequential", share(a, p),
               w.size);
  }
  if (p->n_failed > 0) { /* beside the number where there is one */
    figure_clause(s, d);
    figure_add(&s->t,
               "data using (failed(%s) ? %s + (strlen(strcol('z')) ? 0.37 : 0) : NaN): \\\n"
               "      (%s + (strlen(strcol('z')) ? 0.36 : 0)) \\\n"
               "    with points ls 2 ps 0.35",
               d->name, x, y);
  }
}

/* ---- contours ---- */

/* splot wants scan lines with blank lines between. */
void figure_scans(struct figure_gp *s)
{
  struct arena *a = s->arena;
  for (size_t k = 0; k < s->page->n_panels; k++) {
    const struct figure_panel *p = &s->page->panels[k];
    if (p->plan->kind != PLAN_PANEL_CONTOUR || !figure_is_coloured(p))
      continue;
    const char *id = figure_name(a, p->plan->name);
    const char *name = figure_quote(a, figure_field(a, p->plan->name));
    figure_add(&s->t, "\n# Panel %s as scan lines: x, y, z, failed.\n",
               figure_comment(a, p->plan->name));
    figure_text_array(s, arena_printf(a, "scans_%s", id), p->categories.text, p->categories.n);
    figure_add(&s->t,
               "undefine $grid_%s\n"
               "do for [i=1:|scans_%s|] {\n"
               "  set table $grid_%s append\n"
               "  plot data using (column('x')):(column('y')):(num('z')):(column('failed')) \\\n"
               "    with table if (panel(%s) && strcol('x') eq scans_%s[i])\n"
               "  unset table\n"
               "  set print $grid_%s append; print ''; set print\n"
               "}\n",
               id, id, id, name, id, id);
  }
}

static void contour_levels(struct figure_gp *s, const struct figure_panel *p)
{
  enum { MOST = 12 };
  double at[MOST];
  size_t n = figure_levels(&p->z, p->plan->z.log, at, MOST);
  figure_add(&s->t, "set contour base; set cntrlabel onecolor\n");
  if (n > 0)
    figure_add(&s->t, "set cntrparam levels discrete ");
  for (size_t i = 0; i < n; i++)
    figure_add(&s->t, "%s%s", i ? ", " : "", figure_short_number(s->arena, at[i]));
  figure_add(&s->t, "%s", n ? "\n" : "");
}

static int smoothing(size_t n)
{
  int k = (int)ceil(FACETS / (double)n);
  return k > 1 ? k : 1;
}

/* White dots with a dark rim and text on white mist, which show on every colour; outside of the
 * map there are none. */
static void marks(struct figure_gp *s, const struct figure_panel *p)
{
  if (p->plan->n_marks > 0)
    figure_add(&s->t, "set style textbox opaque margins 0.4, 0.3 fc rgb clear(0xffffff, 0.4) "
                      "noborder\n");
  for (size_t k = 0; k < p->plan->n_marks; k++) {
    const double *at = p->marks[k];
    if (!(at[0] >= p->x.lo && at[0] <= p->x.hi && at[1] >= p->y.lo && at[1] <= p->y.hi))
      continue;
    char *place = arena_printf(s->arena, "first %s, first %s",
                               figure_short_number(s->arena, at[0]),
                               figure_short_number(s->arena, at[1]));
    figure_add(&s->t,
               "set label '' at %s point pt 7 ps 0.55 lc rgb INK front\n"
               "set label %s at %s point pt 7 ps 0.35 lc rgb 'white' front \\\n"
               "  center offset 0, %s font small tc rgb INK boxed\n",
               place, figure_label(s->arena, p->plan->marks[k].text), place,
               at[1] > figure_inside(&p->y, p->plan->y.log, 0.85) ? "-0.75" : "0.75");
  }
}

/* A column of the map's points: with k = 0 where they are, with k = -1 a hair below. */
static char *beside(struct arena *a, int column, const struct figure_range *axis, bool log)
{
  const double part = 0.002;
  return log ? arena_printf(a, "($%d * %s**k)", column,
                            figure_short_number(a, pow(axis->hi / axis->lo, part)))
             : arena_printf(a, "($%d + %s*k)", column,
                            figure_short_number(a, part * (axis->hi - axis->lo)));
}

void figure_contour_plot(struct figure_gp *s, const struct figure_panel *p,
                         const struct figure_place *at)
{
  const char *id = figure_name(s->arena, p->plan->name);
  if (!figure_is_coloured(p)) {
    figure_add(&s->t, "plot NaN\n");
    return;
  }
  contour_levels(s, p);
  /* Drawn twice, the first time a hair aside: else there are seams between the facets where a
   * viewer smooths their edges, or rounds them apart. */
  figure_add(&s->t,
             "set view map; set pm3d interpolate %d,%d; set zrange [*:*]\n"
             "unset border; unset xtics; unset ytics\n"
             "set datafile separator whitespace; set datafile nocolumnheaders\n"
             "splot for [k=-1:0] $grid_%s using %s:%s:3 with pm3d nocontour, \\\n"
             "  $grid_%s using 1:2:3 with lines nosurface lc rgb clear(0xffffff, 0.5) lw 1.2, \\\n"
             "  $grid_%s using 1:2:3 with lines nosurface lc rgb INK lw 0.5",
             smoothing(p->categories.n), smoothing(p->rows.n), id,
             beside(s->arena, 1, &p->x, p->plan->x.log), beside(s->arena, 2, &p->y, p->plan->y.log),
             id, id);
  if (p->n_failed > 0)
    figure_add(&s->t,
               ", \\\n  $grid_%s using ($4 > 0 ? $1 : NaN):2:(%s) with points nocontour ls 2", id,
               figure_short_number(s->arena, p->z.lo));
  /* The frame and its tics over the map: those of splot stand elsewhere. */
  figure_add(&s->t, "\nset datafile separator comma; set datafile columnheaders\n"
                    "unset contour; eval new_panel\n"
                    "set border 15 front; unset xzeroaxis; unset grid\n");
  if (p->plan->x.log)
    figure_add(&s->t, "set logscale x\n");
  if (p->plan->y.log)
    figure_add(&s->t, "set logscale y\n");
  figure_ticks_command(s, "x", &at->x_ticks);
  figure_ticks_command(s, "y", &at->y_ticks);
  marks(s, p);
  figure_add(&s->t, "plot NaN\n");
}
