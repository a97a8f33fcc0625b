/* What the writers of a gnuplot script share. */
#ifndef MERGESCAPE_FIGURE_GNUPLOT_INT_H
#define MERGESCAPE_FIGURE_GNUPLOT_INT_H

#include "figure/figure_int.h"

struct figure_gp { /* a script while it is written */
  struct figure_text t;
  struct arena *arena;
  const struct figure_page *page;
  const char **variables; /* names of gnuplot variables, one for each page variable */
};

struct figure_drawn { /* what the clauses of a panel's plot command need */
  const struct figure_panel *p;
  const struct figure_place *at;
  const char *name;     /* 'a' */
  const char *x;        /* the x of a row, an expression */
  const char *y_edges;  /* ", lo, hi" for edge() */
  const char *variable; /* of the series; NULL: none */
  const char *of;       /* "of('a', values_batch[i])": is the row of series i? */
  const char *loop;     /* "for [i=1:|values_batch|] " */
  const char *colour;   /* of series i */
  unsigned clauses;
};

char *figure_short_number(struct arena *, double);
/* Screen coordinates of a place in inches from the top left. */
char *figure_screen(const struct figure_gp *, double x, double y);
/* array NAME[n] = [...] of texts as figNN.csv holds them. */
void figure_text_array(struct figure_gp *, const char *name, const char *const *text, size_t n);
/* Begins the next clause of a plot command. */
void figure_clause(struct figure_gp *, struct figure_drawn *);
void figure_ticks_command(struct figure_gp *, const char *axis, const struct figure_ticks *);
/* An upright label in one line or two; side: -1, it ends left of x; 1, it begins there. */
void figure_upright_label(struct figure_gp *, const char *text, double x, int side,
                          const struct figure_box *beside);

/* ---- gnuplot_grid.c: heatmaps and contours ---- */

/* Before any panel: the scan lines of contours, read from the CSV. */
void figure_scans(struct figure_gp *);
/* The panel's colours and its bar. */
void figure_colours(struct figure_gp *, const struct figure_panel *, const struct figure_place *);
void figure_heatmap_clauses(struct figure_gp *, struct figure_drawn *);
/* The whole splot command. */
void figure_contour_plot(struct figure_gp *, const struct figure_panel *,
                         const struct figure_place *);

#endif
