/* Inside the figure module: from a table's rows to points, from points to a
 * page, from a page to a gnuplot script. */
#ifndef MERGESCAPE_FIGURE_FIGURE_INT_H
#define MERGESCAPE_FIGURE_FIGURE_INT_H

#include "figure/csv.h"
#include "figure/figure.h"

#include <stddef.h>
#include <stdint.h>

/* ---- csv.c: RFC 4180 ---- */

struct figure_text { /* a growing text in an arena */
  struct arena *arena;
  char *s;
  size_t n, cap;
};

void figure_add(struct figure_text *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A field as RFC 4180 wants it: quoted where it holds a comma, quote or line end. */
void figure_csv_field(struct figure_text *, const char *);

/* Puts table.csv into the store as the step's result. */
bool figure_commit_table(struct arena *, struct store *, const struct plan *,
                         const struct plan_step *, const struct figure_text *, size_t rows,
                         struct diag *);

/* ---- points.c: what is drawn ---- */

/* The distinct values of a column: ascending when all are numbers, otherwise
 * by first appearance.  Their order decides their colours. */
struct figure_values {
  const char *column, *label;
  bool numeric;
  const char **text;
  double *num;
  size_t n, cap, cap_num;
};

struct figure_point {
  uint32_t series;    /* index into the panel's series; 0 when there are none */
  uint32_t category;  /* index into the panel's categories, where x has them */
  uint32_t row;       /* of a grid: index into the panel's rows */
  double x;           /* NaN where x is text */
  const char *x_text; /* as in the table */
  const char *y_text; /* of a grid: the same of y; else NULL */
  double y, lo, hi;   /* NaN: not finite or none */
  double z;           /* of a grid; NaN: not finite, or no row is there */
  uint32_t n, failed; /* rows with finite numbers, rows that failed, behind the point */
  double opacity;     /* value of the column; NaN: none */
  bool spoilt;        /* every row behind it failed */
};

enum { FIGURE_MAX_AT = 10 };

struct figure_range {
  bool any; /* false: nothing finite to show; lo and hi are those of an empty axis */
  double lo, hi;
};

/* A least-squares line through the points of a series, in log10 of what has a
 * logarithmic axis: it is straight on the page. */
struct figure_fit {
  uint32_t series;
  size_t n; /* points: those that are drawn, and did not all fail */
  double slope, intercept;
  double r;          /* Pearson's; NaN for fewer than three points */
  double x[2], y[2]; /* ends of the line, within the axes */
};

struct figure_panel {
  const struct plan_panel *plan;
  struct figure_values series;     /* n = 0 when the panel has none */
  struct figure_values categories; /* of x: grids, box panels, and x that is text */
  struct figure_values rows;       /* of y: grids */
  bool x_categories;               /* not in contours, where x and y are numbers */
  struct figure_point *points;     /* ordered by series, x, y of a grid, row */
  size_t n_points, n_failed;       /* failed: points with a failed row */
  size_t n_hidden;                 /* points that a log axis cannot show */
  size_t most_per_category;
  size_t n_missing;            /* of a grid: places without a row */
  double (*marks)[2];          /* places of the plan's marks; NaN: the table has none */
  struct figure_range x, y, z; /* z: the colours */
  bool diverging;              /* z has both signs: its range has 0 in the middle */
  struct figure_fit *fits;     /* ascending by series */
  size_t n_fits;
  double x_at[FIGURE_MAX_AT]; /* the distinct x, where there are few */
  size_t n_x_at;              /* 0: more than that */
  double fade_lo, fade_hi;    /* range of opacity */
};

/* Fills a panel from its table; false: a column is missing. */
bool figure_points(struct arena *, const char *place, const struct plan_panel *,
                   const struct figure_csv *, struct figure_panel *, struct diag *);
/* Is it a panel of coloured places, heatmap or contour? */
bool figure_is_grid(const struct plan_panel *);
/* Has it colours to show?  A contour takes two values either way. */
bool figure_is_coloured(const struct figure_panel *);
/* What the points' numbers are: z of a grid, else y. */
const struct plan_axis *figure_value_axis(const struct plan_panel *);
/* figNN.csv.  Text fields are changed where gnuplot cannot read them
 * back: see figure_field. */
char *figure_points_csv(struct arena *, const struct figure_panel *, size_t n);

/* ---- fit.c ---- */

/* The lines of a panel with `fit`; its ranges are known. */
void figure_fits(struct arena *, struct figure_panel *);

/* ---- axis.c: ranges and ticks ---- */

void figure_ranges(struct figure_panel *);
/* The value at fraction t of the range. */
double figure_inside(const struct figure_range *, bool log, double t);

/* An axis' ticks as gnuplot commands take them. */
struct figure_ticks {
  const char *tics;   /* what follows "set xtics": "0.02", "10", "('32' 32, ...)" */
  const char *format; /* '%.2f'; NULL where tics has its own labels */
  unsigned minor;     /* of mxtics; 0: none */
  double width;       /* of the widest label, points at the tick font */
  bool turn;          /* labels don't fit side by side: turn them */
};

/* `length` of the axis in points; at: where the data lie, ascending, when few. */
struct figure_ticks figure_axis_ticks(struct arena *, const struct figure_range *, bool log,
                                      double length, bool horizontal, const double *at,
                                      size_t n_at);
struct figure_ticks figure_category_ticks(struct arena *, const struct figure_values *,
                                          double length, bool horizontal);
/* Round numbers within the range, ascending; how many (at most `cap`). */
size_t figure_levels(const struct figure_range *, bool log, double *at, size_t cap);

/* ---- text.c: strings in gnuplot, and how wide they are ---- */

/* 'it''s': a gnuplot string that holds exactly this text. */
char *figure_quote(struct arena *, const char *);
/* The text with what enhanced mode would interpret made plain. */
char *figure_enhance(struct arena *, const char *);
/* quote(enhance(text)): a label. */
char *figure_label(struct arena *, const char *);
/* The text as figNN.csv holds it: , -> ; and " -> ' and \ -> / and control ->
 * space, for gnuplot 5.4 reads neither doubled quotes nor a comma or a
 * backslash in a field as they are. */
char *figure_field(struct arena *, const char *);
/* A number as a label, already enhanced: 5e-05 -> 5·10^{−5}; other text is enhanced. */
char *figure_pretty(struct arena *, const char *);
/* 0.031250000000000014, which was computed, as 0.03125; a short number as it is. */
const char *figure_rounded(struct arena *, const char *);
/* For a comment: no line ends, no backslash (gnuplot would join lines). */
char *figure_comment(struct arena *, const char *);
/* A part of a gnuplot variable's name: [a-z0-9_]. */
char *figure_name(struct arena *, const char *);
/* Width in points of plain UTF-8 text in DejaVu Sans at `size` points. */
double figure_width(const char *, double size);
/* Breaks the text into lines no wider than `width` points; at most `max` lines,
 * the last takes the rest. */
size_t figure_wrap(struct arena *, const char *, double size, double width, const char **lines,
                   size_t max);

/* ---- layout.c: where everything is on the page; inches, y from the top ---- */

enum { FIGURE_MAX_LINES = 8 };

/* Font sizes, points. */
#define FIGURE_FONT 8.0
#define FIGURE_FONT_TITLE 9.0
#define FIGURE_FONT_SMALL 7.0

struct figure_box {
  double x, y, w, h;
};

enum figure_sample { FIGURE_NO_SAMPLE, FIGURE_LINE, FIGURE_DOT, FIGURE_CROSS };

struct figure_entry { /* of a legend */
  enum figure_sample sample;
  const char *text; /* a label, enhanced */
  size_t variable;  /* index into page variables, with value: the colour */
  size_t value;
  double x, y, width; /* left end and middle */
  bool grey;
};

struct figure_legend {
  struct figure_entry *entries;
  size_t n, cap;
  double height;
};

struct figure_place { /* of a panel */
  struct figure_box plot;
  const char *title[2]; /* enhanced lines, the letter not included */
  size_t n_title;
  const char *x_label[2];
  size_t n_x_label;
  double y_label_x, x_label_y; /* middle of the lines */
  bool y_label;
  struct figure_ticks x_ticks, y_ticks;
  struct figure_box bar; /* of colours; w = 0: none */
  struct figure_ticks z_ticks;
  double z_label_x;
  size_t series_variable, x_variable; /* SIZE_MAX: none */
  struct figure_legend legend;        /* n = 0 where the common one serves */
};

struct figure_page {
  const struct plan_figure *plan;
  const char *id; /* "fig01" */
  struct figure_panel *panels;
  struct figure_place *places;
  size_t n_panels;
  struct figure_values *variables; /* what has colours: one order for the whole figure */
  size_t n_variables;
  double width, height;
  const char *title[FIGURE_MAX_LINES], *subtitle[FIGURE_MAX_LINES];
  size_t n_title, n_subtitle;
  struct figure_legend legend; /* common, at the bottom, with the notes */
};

void figure_layout(struct arena *, struct figure_page *);
void figure_legends(struct arena *, struct figure_page *);
/* Puts entries into centred rows no wider than `width` from x0; sets height. */
void figure_flow(struct figure_legend *, double x0, double width);

/* ---- gnuplot.c: the script, and running it ---- */

char *figure_script(struct arena *, const struct figure_page *);
/* Runs PROGRAM -e "name='NAME'" SCRIPT in `folder`.  false: a diagnostic with
 * what gnuplot said. */
bool figure_run_gnuplot(struct arena *, const char *program, const char *folder, const char *name,
                        const char *script, struct diag *);

#endif
