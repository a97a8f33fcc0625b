/* Points of a panel: statistics and bands, grids, fitted lines, axes. */
#include "config.h"

#include "figure_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"

#define LINES(how, width)                                                                          \
  {                                                                                                \
    .name = "a", .title = "", .kind = PLAN_PANEL_LINES, .x = NO_AGG("x"),                          \
    .y = {.column = "y", .label = "y", .statistic = how, .band = width}, .series = "s",            \
    .series_label = "s"                                                                            \
  }

static struct figure_panel points_of(struct scratch *s, const struct plan_panel *p,
                                     const char *table)
{
  struct figure_csv csv;
  struct figure_panel panel;
  assert_true(figure_csv_parse(s->arena, "t.csv", table, strlen(table), &csv, s->diag));
  assert_true(figure_points(s->arena, "fig07", p, &csv, &panel, s->diag));
  return panel;
}

/* ---- points ---- */

static const char spread[] = "x,y,s,failed\n"
                             "2,1,b,0\n2,4,b,0\n2,2,b,0\n2,10,b,0\n2,nan,b,1\n"
                             "1,5,b,0\n1,inf,a,1\n3,7,a,1\n";

static void check_aggregate(struct scratch *s, const struct plan_claim_node *how, double want)
{
  struct plan_panel p = LINES(how, PLAN_SPREAD_NONE);
  struct figure_panel panel = points_of(s, &p, spread);
  assert_int_equal(panel.n_points, 4);
  const struct figure_point *q = &panel.points[1]; /* series b came first; x = 2 */
  assert_true(q->x == 2 && q->series == 0);
  assert_true(q->y == want);
  assert_true(isnan(q->lo) && isnan(q->hi));
  assert_int_equal(q->n, 4);
  assert_int_equal(q->failed, 1);
  assert_false(q->spoilt);
  assert_true(panel.points[2].spoilt && isnan(panel.points[2].y));
  assert_true(panel.points[3].spoilt && panel.points[3].y == 7);
  assert_int_equal(panel.n_failed, 3);
}

static void test_aggregates(void **state)
{
  check_aggregate(*state, REDUCED(MEAN, "y"), 4.25);
  check_aggregate(*state, REDUCED(MEDIAN, "y"), 3);
  check_aggregate(*state, REDUCED(MIN, "y"), 1);
  check_aggregate(*state, REDUCED(MAX, "y"), 10);
}

static void test_bands(void **state)
{
  struct plan_panel p = LINES(REDUCED(MEDIAN, "y"), PLAN_SPREAD_QUARTILES);
  struct figure_panel panel = points_of(*state, &p, spread);
  assert_true(panel.points[1].lo == 1.75 && panel.points[1].hi == 5.5);
  p.y.band = PLAN_SPREAD_RANGE;
  panel = points_of(*state, &p, spread);
  assert_true(panel.points[1].lo == 1 && panel.points[1].hi == 10);
  /* a point of one value has a band of no width */
  assert_true(panel.points[0].lo == 5 && panel.points[0].hi == 5);
}

/* The values at x = 2 of series b are 1, 4, 2, 10: mean 4.25, deviation 4.0311. */
static void test_spreads(void **state)
{
  static const struct {
    enum plan_spread how;
    double lo, hi;
  } cases[] = {
      {PLAN_SPREAD_QUARTILES, 1.75, 5.5},
      {PLAN_SPREAD_DECILES, 1.3, 8.2},
      {PLAN_SPREAD_RANGE, 1, 10},
      {PLAN_SPREAD_SD, 4.25 - 4.0311288741, 4.25 + 4.0311288741},
      {PLAN_SPREAD_SE, 4.25 - 2.0155644371, 4.25 + 2.0155644371},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct plan_panel p = LINES(REDUCED(MEAN, "y"), cases[i].how);
    struct figure_panel panel = points_of(*state, &p, spread);
    assert_float_equal(panel.points[1].lo, cases[i].lo, 1e-9);
    assert_float_equal(panel.points[1].hi, cases[i].hi, 1e-9);
    /* one value has no deviation */
    bool one = cases[i].how < PLAN_SPREAD_SD;
    assert_true(one ? panel.points[0].lo == 5 : isnan(panel.points[0].lo));
  }
}

static const struct plan_claim_node column_y = {.op = PLAN_CLAIM_COLUMN, .text = "y"};
static const struct plan_claim_node column_m = {.op = PLAN_CLAIM_COLUMN, .text = "m"};
static const struct plan_claim_node tenth = {.op = PLAN_CLAIM_NUMBER, .number = 0.9};
static const struct plan_claim_node curve = {
    .op = PLAN_CLAIM_BY, .n_args = 2, .args = {REDUCED(MEAN, "y"), &column_m}};

/* Means by m at x = 1: 2 at m = 0, 5 at m = 1; at x = 2: 8 at 0, 4 at 1 (one row failed). */
static const char paths[] = "x,m,y,failed\n1,0,1,0\n1,0,3,0\n1,1,5,0\n"
                            "2,0,8,0\n2,1,4,0\n2,1,nan,1\n";

static void test_statistics(void **state)
{
  const struct plan_claim_node largest = {.op = PLAN_CLAIM_MAX, .n_args = 1, .args = {&curve}};
  const struct plan_claim_node where = {.op = PLAN_CLAIM_ARGMAX, .n_args = 1, .args = {&curve}};
  const struct plan_claim_node high = {
      .op = PLAN_CLAIM_QUANTILE, .n_args = 2, .args = {&column_y, &tenth}};
  const struct plan_claim_node together = {
      .op = PLAN_CLAIM_PEARSON, .n_args = 2, .args = {&column_m, &column_y}};
  const struct {
    const struct plan_claim_node *statistic;
    double at_1, at_2;
  } cases[] = {{&largest, 5, 8},
               {&where, 1, 0},
               {&high, 4.6, 7.6},
               /* m 0 0 1, y 1 3 5: covariance 4/3 over sqrt(2/3 * 8); m 0 1, y 8 4 */
               {&together, 0.8660254038, -1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct plan_panel p = LINES(cases[i].statistic, PLAN_SPREAD_NONE);
    p.y.column = plan_claim_reduced(cases[i].statistic);
    assert_true((p.y.column != NULL) == (i == 2));
    p.series = NULL;
    struct figure_panel panel = points_of(*state, &p, paths);
    assert_int_equal(panel.n_points, 2);
    assert_float_equal(panel.points[0].y, cases[i].at_1, 1e-9);
    assert_float_equal(panel.points[1].y, cases[i].at_2, 1e-9);
    assert_int_equal(panel.points[0].n, 3);
    assert_int_equal(panel.points[1].n, 2);
    assert_int_equal(panel.points[1].failed, 1);
  }
}

static void test_statistic_of_missing_column(void **state)
{
  struct scratch *s = *state;
  const struct plan_claim_node largest = {.op = PLAN_CLAIM_MAX, .n_args = 1, .args = {&curve}};
  struct plan_panel p = LINES(&largest, PLAN_SPREAD_NONE);
  struct figure_csv csv;
  struct figure_panel panel;
  p.y.column = NULL;
  assert_true(figure_csv_parse(s->arena, "t", "x,y,s\n", 6, &csv, s->diag));
  assert_false(figure_points(s->arena, "fig07", &p, &csv, &panel, s->diag));
  scratch_expect(s, "fig07, panel a: the table has no column \"m\"", NULL);
}

/* ---- grids ---- */

#define GRID(how, statistic_)                                                                      \
  {                                                                                                \
    .name = "a", .title = "", .kind = PLAN_PANEL_##how, .x = NO_AGG("x"), .y = NO_AGG("y"), .z = { \
      .column = "z",                                                                               \
      .label = "z",                                                                                \
      .statistic = statistic_                                                                      \
    }                                                                                              \
  }

/* 3 by 2 places: (1, 20) has two rows, (2, 10) failed, (10, 20) has none. */
static const char places[] = "x,y,z,failed\n10,10,5,0\n1,20,2,0\n1,20,4,0\n2,10,nan,1\n"
                             "1,10,-1,0\n2,20,7,1\n";

static void test_heatmap(void **state)
{
  struct scratch *s = *state;
  struct plan_panel p = GRID(HEATMAP, REDUCED(MEAN, "z"));
  struct figure_panel panel = points_of(s, &p, places);
  assert_int_equal(panel.n_points, 6);
  assert_int_equal(panel.categories.n, 3);
  assert_string_equal(panel.categories.text[1], "2");
  assert_string_equal(panel.categories.text[2], "10");
  assert_int_equal(panel.rows.n, 2);
  assert_int_equal(panel.n_missing, 1);
  assert_int_equal(panel.n_failed, 2);
  assert_true(panel.x_categories && panel.diverging);
  assert_true(panel.z.lo == -5 && panel.z.hi == 5); /* not the 7 whose only run failed */
  assert_true(panel.x.lo == 0.5 && panel.x.hi == 3.5 && panel.y.hi == 2.5);
  assert_string_equal(figure_points_csv(s->arena, &panel, 1),
                      "panel,series,x,y,z,y_lo,y_hi,n,failed,opacity\n"
                      "a,,1,10,-1,,,1,0,\n"
                      "a,,1,20,3,,,2,0,\n"
                      "a,,2,10,,,,0,1,\n"
                      "a,,2,20,7,,,1,1,\n"
                      "a,,10,10,5,,,1,0,\n"
                      "a,,10,20,,,,0,0,\n");
}

static void test_heatmap_of_words(void **state)
{
  struct plan_panel p = GRID(HEATMAP, NULL);
  struct figure_panel panel =
      points_of(*state, &p, "x,y,z,failed\nwarm,b,1,0\ncold,a,2,0\nwarm,a,3,0\n");
  assert_string_equal(panel.categories.text[0], "warm");
  assert_string_equal(panel.rows.text[0], "b");
  assert_true(panel.points[1].z == 3 && panel.points[3].z == 2);
  assert_true(!panel.diverging && panel.z.lo == 1 && panel.z.hi == 3);
}

static void test_contour(void **state)
{
  struct plan_panel p = GRID(CONTOUR, REDUCED(MAX, "z"));
  struct figure_panel panel = points_of(*state, &p, places);
  assert_true(!panel.x_categories && figure_is_coloured(&panel));
  assert_true(panel.x.lo == 1 && panel.x.hi == 10 && panel.y.lo == 10 && panel.y.hi == 20);
  assert_true(panel.points[1].z == 4 && panel.points[1].x == 1 && panel.points[1].y == 20);
  assert_true(panel.points[5].x == 10 && panel.points[5].y == 20 && isnan(panel.points[5].z));
  panel = points_of(*state, &p, "x,y,z,failed\n1,1,1,0\n2,1,2,0\n");
  assert_false(figure_is_coloured(&panel));
  const struct plan_mark marks[] = {{"a", {{NULL, 0.5}, {NULL, -1}}},
                                    {"b", {{"at", 0}, {"nowhere", 0}}}};
  p.marks = marks;
  p.n_marks = 2;
  panel = points_of(*state, &p, "x,y,z,at,nowhere,failed\n1,1,1,,,0\n2,1,2,7,,0\n1,2,1,8,,0\n");
  assert_true(panel.marks[0][0] == 0.5 && panel.marks[0][1] == -1);
  assert_true(panel.marks[1][0] == 7 && isnan(panel.marks[1][1]));
}

static void test_place_of_several_rows(void **state)
{
  struct scratch *s = *state;
  struct plan_panel p = GRID(HEATMAP, NULL);
  struct figure_csv csv;
  struct figure_panel panel;
  assert_true(figure_csv_parse(s->arena, "t", places, strlen(places), &csv, s->diag));
  assert_false(figure_points(s->arena, "fig07", &p, &csv, &panel, s->diag));
  scratch_expect(s, "fig07, panel a: several rows at x = 1, y = 20, and one colour", "z = mean(z)");
}

static void test_levels(void **state)
{
  (void)state;
  double at[12];
  assert_int_equal(figure_levels(&(struct figure_range){true, 0.05, 4.6}, false, at, 12), 9);
  assert_float_equal(at[0], 0.5, 1e-12);
  assert_float_equal(at[8], 4.5, 1e-12);
  assert_int_equal(figure_levels(&(struct figure_range){true, 0.06, 0.9}, true, at, 12), 3);
  assert_float_equal(at[0], 0.1, 1e-12);
}

/* ---- fitted lines ---- */

/* Points (0, 1), (1, 3), (2, 2), (3, 5): slope 1.1, intercept 1.1, r = 5.5 / sqrt(5 * 8.75). */
static void test_fit(void **state)
{
  struct plan_panel p = LINES(NULL, PLAN_SPREAD_NONE);
  p.kind = PLAN_PANEL_SCATTER;
  p.y.fit = true;
  struct figure_panel panel =
      points_of(*state, &p,
                "x,y,s,failed\n0,1,a,0\n1,3,a,0\n2,2,a,0\n3,5,a,0\n1,90,a,1\n"
                "1,1,b,0\n1,2,b,0\n7,1,c,0\n8,3,c,0\n");
  assert_int_equal(panel.n_fits, 2); /* b does not vary in x */
  const struct figure_fit *f = &panel.fits[0];
  assert_int_equal(f->series, 0);
  assert_int_equal(f->n, 4); /* not the point that failed */
  assert_float_equal(f->slope, 1.1, 1e-12);
  assert_float_equal(f->intercept, 1.1, 1e-12);
  assert_float_equal(f->r, 0.8315218406, 1e-9);
  assert_true(f->x[0] == 0 && f->x[1] == 3);
  assert_float_equal(f->y[1], 4.4, 1e-12);
  assert_int_equal(panel.fits[1].series, 2);
  assert_float_equal(panel.fits[1].slope, 2, 1e-12);
  assert_true(isnan(panel.fits[1].r)); /* two points always lie on a line */
}

/* y = 3 log10(x) - 1 on a logarithmic axis; y = 10 x^-2 on two. */
static void test_fit_on_log_axes(void **state)
{
  struct plan_panel p = LINES(NULL, PLAN_SPREAD_NONE);
  p.series = NULL;
  p.y.fit = true;
  p.x.log = true;
  struct figure_panel panel =
      points_of(*state, &p, "x,y,failed\n1,-1,0\n10,2,0\n1000,8,0\n0,5,0\n");
  assert_int_equal(panel.n_fits, 1);
  assert_int_equal(panel.fits[0].n, 3); /* 0 is not on the axis */
  assert_float_equal(panel.fits[0].slope, 3, 1e-12);
  assert_float_equal(panel.fits[0].intercept, -1, 1e-12);
  assert_float_equal(panel.fits[0].r, 1, 1e-12);
  assert_float_equal(panel.fits[0].x[1], 1000, 1e-6);
  p.y.log = true;
  panel = points_of(*state, &p, "x,y,failed\n1,10,0\n10,0.1,0\n100,0.001,0\n");
  assert_float_equal(panel.fits[0].slope, -2, 1e-12);
  assert_float_equal(panel.fits[0].intercept, 1, 1e-12);
  assert_float_equal(panel.fits[0].r, -1, 1e-12);
}

/* The line ends where the axis does. */
static void test_fit_is_cut(void **state)
{
  struct plan_panel p = LINES(NULL, PLAN_SPREAD_NONE);
  p.series = NULL;
  p.y.fit = true;
  struct figure_panel panel =
      points_of(*state, &p, "x,y,failed\n0,0,0\n1,0,0\n2,0,0\n3,0,0\n4,10,0\n");
  const struct figure_fit *f = &panel.fits[0];
  assert_float_equal(f->intercept, -2, 1e-12); /* below the axis, which begins near 0 */
  assert_true(panel.y.lo > -2);
  assert_float_equal(f->y[0], panel.y.lo, 1e-12);
  assert_float_equal(f->intercept + f->slope * f->x[0], f->y[0], 1e-9);
}

static void test_every_row(void **state)
{
  struct plan_panel p = LINES(NULL, PLAN_SPREAD_NONE);
  p.series = NULL;
  struct figure_panel panel = points_of(*state, &p, spread);
  assert_int_equal(panel.n_points, 8);
  assert_int_equal(panel.series.n, 0);
  const double x[] = {1, 1, 2, 2, 2, 2, 2, 3}, y[] = {5, NAN, 1, 4, 2, 10, NAN, 7};
  for (size_t i = 0; i < 8; i++) {
    assert_true(panel.points[i].x == x[i]);
    assert_true(panel.points[i].y == y[i] || (isnan(y[i]) && isnan(panel.points[i].y)));
  }
}

static void test_orders(void **state)
{
  struct plan_panel p = LINES(REDUCED(MEAN, "y"), PLAN_SPREAD_NONE);
  struct figure_panel panel =
      points_of(*state, &p, "x,y,s,failed\n1,1,100,0\n1,1,9,0\n1,1,1e-3,0\n");
  assert_true(panel.series.numeric);
  assert_string_equal(panel.series.text[0], "1e-3");
  assert_string_equal(panel.series.text[2], "100");
  panel = points_of(*state, &p, "x,y,s,failed\nwarm,1,z,0\ncold,1,z,0\nwarm,3,a,0\n");
  assert_true(panel.x_categories);
  assert_string_equal(panel.categories.text[0], "warm");
  assert_string_equal(panel.series.text[0], "z");
  assert_int_equal(panel.points[1].category, 1);
  assert_true(isnan(panel.points[1].x));
}

static void test_missing_column(void **state)
{
  struct scratch *s = *state;
  struct plan_panel p = LINES(REDUCED(MEAN, "y"), PLAN_SPREAD_NONE);
  struct figure_csv csv;
  struct figure_panel panel;
  assert_true(figure_csv_parse(s->arena, "t", "x,yy,s\n", 7, &csv, s->diag));
  assert_false(figure_points(s->arena, "fig07", &p, &csv, &panel, s->diag));
  scratch_expect(s, "fig07, panel a: the table has no column \"y\"", NULL);
}

static void test_points_csv(void **state)
{
  struct scratch *s = *state;
  struct plan_panel p = LINES(REDUCED(MEDIAN, "y"), PLAN_SPREAD_QUARTILES);
  struct figure_panel panel = points_of(s, &p, spread);
  assert_string_equal(figure_points_csv(s->arena, &panel, 1),
                      "panel,series,x,y,z,y_lo,y_hi,n,failed,opacity\n"
                      "a,b,1,5,,5,5,1,0,\n"
                      "a,b,2,3,,1.75,5.5,4,1,\n"
                      "a,a,1,,,,,0,1,\n"
                      "a,a,3,7,,7,7,1,1,\n");
  p = (struct plan_panel){
      "p,q", "", PLAN_PANEL_SCATTER, 0, NULL, NO_AGG("x"), NO_AGG("y"), {0}, "s", NULL, "e",
      NULL, 0};
  panel = points_of(s, &p, "x,y,s,e,failed\n0.1,-2e-7,\"m,\"\"n\"\"\",20,0\n");
  assert_string_equal(figure_points_csv(s->arena, &panel, 1),
                      "panel,series,x,y,z,y_lo,y_hi,n,failed,opacity\n"
                      "p;q,m;'n',0.1,-2e-07,,,,1,0,20\n");
}

/* ---- axes ---- */

static void test_ranges(void **state)
{
  struct plan_panel p = LINES(NULL, PLAN_SPREAD_NONE);
  /* a failed run's 1e9 does not flatten the rest; a gain near zero shows zero */
  struct figure_panel panel = points_of(*state, &p, "x,y,s,failed\n1,1,a,0\n2,3,a,0\n3,1e9,a,1\n");
  assert_true(panel.y.lo < 0 && panel.y.lo > -1 && panel.y.hi > 3 && panel.y.hi < 4);
  panel = points_of(*state, &p, "x,y,s,failed\n1,0.8,a,0\n2,0.9,a,0\n");
  assert_true(panel.y.lo > 0.75 && panel.y.hi < 0.95);
  panel = points_of(*state, &p, "x,y,s,failed\n1,nan,a,1\n");
  assert_false(panel.y.any);
  assert_true(panel.y.lo < panel.y.hi && panel.x.lo < panel.x.hi);
  panel = points_of(*state, &p, "x,y,s,failed\n");
  assert_true(!panel.x.any && panel.x.lo < panel.x.hi);
  p.y.log = true;
  panel = points_of(*state, &p, "x,y,s,failed\n1,-1,a,0\n2,0.1,a,0\n3,10,a,0\n");
  assert_int_equal(panel.n_hidden, 1);
  assert_true(panel.y.lo > 0 && panel.y.lo < 0.1 && panel.y.hi > 10);
}

static const char *tics(struct scratch *s, double lo, double hi, bool log, const double *at,
                        size_t n)
{
  struct figure_range r = {true, lo, hi};
  struct figure_ticks t = figure_axis_ticks(s->arena, &r, log, 120, true, at, n);
  return arena_printf(s->arena, "%s %s", t.tics, t.format ? t.format : "-");
}

static void test_ticks(void **state)
{
  struct scratch *s = *state;
  const double batches[] = {32, 64, 128, 256, 512}, lr[] = {0.001, 0.01, 0.2};
  assert_string_equal(tics(s, -0.03, 0.11, false, NULL, 0), "0.05 '%.2f'");
  assert_string_equal(tics(s, 0, 1e5, false, NULL, 0), "50000 '%.0f'");
  assert_string_equal(tics(s, 28, 580, true, batches, 5),
                      "('32' 32, '64' 64, '128' 128, '256' 256, '512' 512) -");
  assert_string_equal(tics(s, 8e-4, 0.25, true, lr, 3), "10 '%g'");
  assert_string_equal(tics(s, 1e-6, 0.1, true, NULL, 0), "10 '10^{%T}'");
  assert_string_equal(tics(s, 1e-20, 10, true, NULL, 0), "(1e-20, 1e-15, 1e-10, 1e-5, 1e0) "
                                                         "'10^{%T}'");
  assert_string_equal(tics(s, 0.15, 6, true, NULL, 0), "('0.2' 0.2, '0.5' 0.5, '1' 1, '2' 2, "
                                                       "'5' 5) -");
  assert_string_equal(tics(s, 0.31, 0.34, true, NULL, 0),
                      "('0.31' 0.31, '0.32' 0.32, '0.33' 0.33, '0.34' 0.34) -");
  assert_string_equal(tics(s, 1e-5, 2e-5, false, NULL, 0),
                      "('10^{−5}' 1e-05, '1.5·10^{−5}' 1.5e-05, '2·10^{−5}' 2e-05) -");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(test_aggregates),
      SCRATCH_TEST(test_bands),
      SCRATCH_TEST(test_spreads),
      SCRATCH_TEST(test_statistics),
      SCRATCH_TEST(test_statistic_of_missing_column),
      SCRATCH_TEST(test_heatmap),
      SCRATCH_TEST(test_heatmap_of_words),
      SCRATCH_TEST(test_contour),
      SCRATCH_TEST(test_place_of_several_rows),
      SCRATCH_TEST(test_levels),
      SCRATCH_TEST(test_fit),
      SCRATCH_TEST(test_fit_on_log_axes),
      SCRATCH_TEST(test_fit_is_cut),
      SCRATCH_TEST(test_every_row),
      SCRATCH_TEST(test_orders),
      SCRATCH_TEST(test_missing_column),
      SCRATCH_TEST(test_points_csv),
      SCRATCH_TEST(test_ranges),
      SCRATCH_TEST(test_ticks),
  };
  return cmocka_run_group_tests_name("figure", tests, NULL, NULL);
}
