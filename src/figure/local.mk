noinst_LIBRARIES += libfigure.a
libfigure_a_SOURCES = \
  src/figure/figure.h src/figure/figure_int.h \
  src/figure/claims.h src/figure/claims_int.h \
  src/figure/claims.c src/figure/claims_eval.c src/figure/claims_print.c src/figure/claims_stat.c \
  src/figure/compare.c src/figure/compare.h src/figure/compare_print.c src/figure/compare_read.c \
  src/figure/axis.c src/figure/csv.c src/figure/csv.h src/figure/draw.c \
  src/figure/figure.c src/figure/fit.c \
  src/figure/gnuplot.c src/figure/gnuplot_grid.c src/figure/gnuplot_int.h \
  src/figure/layout.c src/figure/legend.c src/figure/points.c \
  src/figure/table.c src/figure/text.c src/figure/union.c
EXTRA_DIST += figures/style.gp
