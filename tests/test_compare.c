/* Results of two runs held against one another, on tables made up here. */
#include "config.h"

#include "figure/compare.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <cmocka.h>

#include "scratch.h"

#define HEAD "panel,series,x,y,z,y_lo,y_hi,n,failed,opacity\n"
/* Bands 0.4 wide of 4 rows: a standard error of 0.2, and a tolerance of 4 sqrt(2) 0.2 = 1.13. */
#define CURVE                                                                                      \
  "a,16,0.1,1,,0.8,1.2,4,0,\n"                                                                     \
  "a,16,1,2,,1.8,2.2,4,0,\n"                                                                       \
  "a,32,0.1,1.5,,1.3,1.7,4,0,\n"                                                                   \
  "a,32,1,2.5,,2.3,2.7,4,0,\n"
#define CLAIMS "claim,verdict,statistic,low,high\n"

static struct compare_results results(struct scratch *s, const char *name, const char *fig01,
                                      const char *claims)
{
  struct compare_results r = {.name = name};
  if (fig01)
    assert_true(compare_add(s->arena, &r, "fig01", fig01, strlen(fig01), s->diag));
  if (claims)
    assert_true(
        figure_csv_parse(s->arena, "claims.csv", claims, strlen(claims), &r.claims, s->diag));
  return r;
}

static struct compare both(struct scratch *s, const char *a, const char *b)
{
  const struct compare_results left = results(s, "A", a, NULL), right = results(s, "B", b, NULL);
  struct compare c;
  compare_run(s->arena, &left, &right, &c);
  return c;
}

static void test_equal(void **state)
{
  const struct compare c = both(*state, HEAD CURVE, HEAD CURVE);
  assert_int_equal(c.n_series, 2);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(c.series[i].verdict, COMPARE_EQUAL);
    assert_int_equal(c.series[i].places, 2);
    assert_true(c.series[i].rms == 0);
  }
  assert_true(compare_agrees(&c));
}

static void test_within_the_bands(void **state)
{
  const struct compare c = both(*state, HEAD CURVE,
                                HEAD "a,16,0.1,1.5,,1.3,1.7,4,0,\n"
                                     "a,16,1,1,,0.8,1.2,4,0,\n"
                                     "a,32,0.1,1.5,,1.3,1.7,4,0,\n"
                                     "a,32,1,2.5,,2.3,2.7,4,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_WITHIN);
  assert_int_equal(c.series[1].verdict, COMPARE_EQUAL);
  assert_string_equal(c.series[0].at, "1");
  assert_true(c.series[0].value[0] == 2 && c.series[0].value[1] == 1);
  assert_int_equal(c.series[0].basis, COMPARE_SPREAD);
  assert_true(fabs(c.series[0].tolerance - 4 * sqrt(2) * 0.2) < 1e-9);
  assert_true(fabs(c.series[0].rms - sqrt((0.25 + 1) / 2)) < 1e-12);
  assert_true(compare_agrees(&c));
}

static void test_shifted_value(void **state)
{
  const struct compare c = both(*state, HEAD CURVE,
                                HEAD "a,16,0.1,1,,0.8,1.2,4,0,\n"
                                     "a,16,1,3.2,,3,3.4,4,0,\n"
                                     "a,32,0.1,1.5,,1.3,1.7,4,0,\n"
                                     "a,32,1,2.5,,2.3,2.7,4,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_SHIFTED);
  assert_int_equal(c.series[0].outside, 1);
  assert_int_equal(c.series[1].verdict, COMPARE_EQUAL);
  assert_false(compare_agrees(&c));
}

/* A place that trains in one run and diverges in the other has nothing to compare. */
static void test_diverged(void **state)
{
  struct compare c = both(*state, HEAD CURVE,
                          HEAD "a,16,0.1,1,,0.8,1.2,4,0,\n"
                               "a,16,1,,,,,0,4,\n"
                               "a,32,0.1,1.5,,1.3,1.7,4,0,\n"
                               "a,32,1,2.5,,2.3,2.7,4,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_SHIFTED);
  assert_int_equal(c.series[0].failed[1], 4);
  assert_string_equal(c.series[0].at, "1");
  c = both(*state, HEAD "a,,1,,,,,0,4,\na,,2,1,,,,1,0,\n", HEAD "a,,1,,,,,0,3,\na,,2,1,,,,1,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_WITHIN);
}

static void test_missing(void **state)
{
  struct scratch *s = *state;
  struct compare c = both(s, HEAD CURVE,
                          HEAD "a,16,0.1,1,,0.8,1.2,4,0,\n"
                               "a,32,0.1,1.5,,1.3,1.7,4,0,\n"
                               "a,32,1,2.5,,2.3,2.7,4,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_MISSING);
  assert_int_equal(c.series[0].lost, 1);
  assert_false(compare_agrees(&c));
  c = both(s, HEAD CURVE, HEAD "a,16,0.1,1,,0.8,1.2,4,0,\na,16,1,2,,1.8,2.2,4,0,\n");
  assert_int_equal(c.n_series, 2);
  assert_int_equal(c.series[0].verdict, COMPARE_EQUAL);
  assert_int_equal(c.series[1].verdict, COMPARE_MISSING);
  assert_string_equal(c.series[1].series, "32");
  c = both(s, HEAD CURVE, NULL);
  assert_int_equal(c.n_series, 1);
  assert_int_equal(c.series[0].verdict, COMPARE_MISSING);
  assert_string_equal(c.series[0].figure, "fig01");
  assert_false(compare_agrees(&c));
  c = both(s, NULL, HEAD CURVE);
  assert_int_equal(c.series[0].verdict, COMPARE_ADDED);
  assert_true(compare_agrees(&c));
}

/* Rows at one place count by their mean, and their spread is its error: here 1 / sqrt(3). */
static void test_repeats(void **state)
{
  static const char a[] = HEAD "a,,1,1,,,,1,0,\na,,1,2,,,,1,0,\na,,1,3,,,,1,0,\n";
  struct compare c = both(*state, a, HEAD "a,,1,2,,,,1,0,\na,,1,4,,,,1,0,\na,,1,9,,,,1,0,\n");
  assert_int_equal(c.series[0].places, 1);
  assert_int_equal(c.series[0].verdict, COMPARE_WITHIN);
  assert_true(fabs(c.series[0].tolerance - 4 * sqrt(2) / sqrt(3)) < 1e-9);
  c = both(*state, a, HEAD "a,,1,2,,,,1,0,\na,,1,4,,,,1,0,\na,,1,10.5,,,,1,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_SHIFTED);
}

#define GRID "a,,0,0,1,,,1,0,\na,,0,1,2,,,1,0,\na,,1,0,3,,,1,0,\na,,1,1,5,,,1,0,\n"

/* Nothing shows the noise of a grid: a tenth of its range, unless it was measured. */
static void test_grid_and_noise(void **state)
{
  struct scratch *s = *state;
  static const char noise[] = "what,figure,panel,series,places,rms\n"
                              "series,fig01,a,,4,0.3\nseries,fig01,b,,4,9\nclaim,C1,,,,\n";
  struct compare_results a = results(s, "A", HEAD GRID, NULL),
                         b = results(s, "B",
                                     HEAD "a,,0,0,1.3,,,1,0,\na,,0,1,2,,,1,0,\n"
                                          "a,,1,0,3,,,1,0,\na,,1,1,5.9,,,1,0,\n",
                                     NULL);
  struct compare c;
  compare_run(s->arena, &a, &b, &c);
  assert_int_equal(c.n_series, 1);
  assert_int_equal(c.series[0].places, 4);
  assert_int_equal(c.series[0].verdict, COMPARE_SHIFTED);
  assert_int_equal(c.series[0].outside, 1);
  assert_int_equal(c.series[0].basis, COMPARE_RANGE);
  assert_true(fabs(c.series[0].tolerance - 0.4) < 1e-12);
  assert_true(figure_csv_parse(s->arena, "noise.csv", noise, strlen(noise), &a.noise, s->diag));
  compare_run(s->arena, &a, &b, &c);
  assert_int_equal(c.series[0].verdict, COMPARE_WITHIN);
  assert_int_equal(c.series[0].basis, COMPARE_MEASURED);
  assert_true(fabs(c.series[0].tolerance - 4 * 0.3) < 1e-12);
}

/* Where x is itself a result, no place is in both runs, and the whole is compared. */
static void test_measured_x(void **state)
{
  static const char a[] = HEAD "a,,0.11,1,,,,1,0,\na,,0.21,2,,,,1,0,\na,,0.31,3,,,,1,0,\n"
                               "a,,0.41,4,,,,1,0,\n";
  struct compare c = both(*state, a,
                          HEAD "a,,0.12,1.2,,,,1,0,\na,,0.22,2.1,,,,1,0,\na,,0.32,3.3,,,,1,0,\n"
                               "a,,0.42,4.2,,,,1,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_WITHIN);
  assert_int_equal(c.series[0].places, 1);
  assert_true(fabs(c.series[0].rms - 0.2) < 1e-12);
  c = both(*state, a,
           HEAD "a,,2.12,1.2,,,,1,0,\na,,2.22,2.1,,,,1,0,\na,,2.32,3.3,,,,1,0,\n"
                "a,,2.42,4.2,,,,1,0,\n");
  assert_int_equal(c.series[0].verdict, COMPARE_SHIFTED);
  assert_string_equal(c.series[0].at, "mean of x");
  /* By chance most of one series' are the same: its panel's other series shows what x is. */
  c = both(*state,
           HEAD "a,s,1.5,1,,,,1,0,\na,s,1.7,1,,,,1,0,\na,s,1.9,1,,,,1,0,\n"
                "a,t,3.1,1,,,,1,0,\na,t,3.2,2,,,,1,0,\na,t,3.3,3,,,,1,0,\na,t,3.4,1,,,,1,0,\n",
           HEAD "a,s,1.5,1,,,,1,0,\na,s,1.7,1,,,,1,0,\na,s,1.91,1,,,,1,0,\n"
                "a,t,3.11,1,,,,1,0,\na,t,3.21,2,,,,1,0,\na,t,3.31,3,,,,1,0,\na,t,3.41,1,,,,1,0,\n");
  assert_int_equal(c.n_series, 2);
  for (int i = 0; i < 2; i++)
    assert_true(c.series[i].lost == 0 && c.series[i].verdict == COMPARE_WITHIN);
}

/* The last digit of a computed x is no other place. */
static void test_rounded_x(void **state)
{
  const struct compare c = both(*state, HEAD "a,,0.031250000000000014,1,,,,1,0,\n",
                                HEAD "a,,0.03125,1.0000000001,,,,1,0,\n");
  assert_int_equal(c.series[0].lost, 0);
  assert_int_equal(c.series[0].verdict, COMPARE_WITHIN);
}

static void test_claims(void **state)
{
  struct scratch *s = *state;
  const struct compare_results
      a = results(s, "A", NULL,
                  CLAIMS "C1,PASS,2,1,3\nC2,PASS,2,1,3\nC3,PASS,2,1,3\nC4,PASS,2,1,3\n"
                         "C5,PASS,2,1,3\nC6,UNDECIDED,2,,\nC7,FAIL,-2,-3,-1\n"),
      b = results(s, "B", NULL,
                  CLAIMS "C1,PASS,2,1,3\nC2,PASS,2.5,1.5,3.5\nC3,PASS,9,8,10\nC4,FAIL,-2,-3,-1\n"
                         "C5,UNDECIDED,2,-1,3\nC6,UNDECIDED,2.5,,\nC8,PASS,1,0.5,2\n");
  static const enum compare_verdict wanted[] = {COMPARE_EQUAL,   COMPARE_WITHIN, COMPARE_SHIFTED,
                                                COMPARE_FLIPPED, COMPARE_WITHIN, COMPARE_SHIFTED,
                                                COMPARE_MISSING, COMPARE_ADDED};
  struct compare c;
  compare_run(s->arena, &a, &b, &c);
  assert_int_equal(c.n_claims, 8);
  for (int i = 0; i < 8; i++)
    assert_int_equal(c.claims[i].verdict, wanted[i]);
  assert_false(compare_agrees(&c));
  /* What two like runs differ by is no shift: C3 moved by 7. */
  static const char noise[] = "what,figure,panel,series,places,rms\nclaim,,C3,,1,1.8\n"
                              "claim,,C6,,1,0.1\n";
  struct compare_results measured = a;
  assert_true(
      figure_csv_parse(s->arena, "noise.csv", noise, strlen(noise), &measured.noise, s->diag));
  compare_run(s->arena, &measured, &b, &c);
  assert_int_equal(c.claims[2].verdict, COMPARE_WITHIN);
  assert_int_equal(c.claims[5].verdict, COMPARE_SHIFTED);
}

/* ---- folders ---- */

static void put(struct scratch *s, const char *name, const char *text)
{
  const char *path = scratch_path(s, name);
  assert_true(file_make_dir(file_dir_name(s->arena, path), s->diag));
  assert_true(file_write_atomic(path, text, strlen(text), s->diag));
}

static void test_folders(void **state)
{
  struct scratch *s = *state;
  struct compare_results r;
  put(s, "flat/fig10.csv", HEAD CURVE);
  put(s, "flat/fig02.csv", HEAD CURVE);
  put(s, "flat/figures.csv", "no figure of ours\n");
  put(s, "flat/claims.csv", CLAIMS "C1,PASS,2,1,3\n");
  assert_true(compare_read(s->arena, scratch_path(s, "flat"), &r, s->diag));
  assert_int_equal(r.n, 2);
  assert_string_equal(r.figures[0].id, "fig02");
  assert_string_equal(r.figures[1].id, "fig10");
  assert_int_equal(r.claims.n_rows, 1);
  put(s, "deep/figures/fig02.csv", HEAD CURVE);
  put(s, "deep/claims.csv", CLAIMS "C1,PASS,2,1,3\n");
  put(s, "deep/figures/noise.csv", "what,figure,panel,places,rms\n");
  assert_true(compare_read(s->arena, scratch_path(s, "deep"), &r, s->diag));
  assert_int_equal(r.n, 1);
  assert_int_equal(r.claims.n_rows, 1);
  assert_int_equal(r.noise.n_columns, 5);
  put(s, "none/fig.csv", HEAD);
  assert_false(compare_read(s->arena, scratch_path(s, "none"), &r, s->diag));
  scratch_expect(s, "holds no results", "unpacked export");
  put(s, "broken/fig01.csv", HEAD "a,b\n");
  assert_false(compare_read(s->arena, scratch_path(s, "broken"), &r, s->diag));
  scratch_expect(s, "fig01.csv:2", NULL);
}

/* What --csv writes of two like runs is a noise.csv. */
static void test_csv_is_noise(void **state)
{
  struct scratch *s = *state;
  struct compare_results a = results(s, "A", HEAD GRID, NULL),
                         b = results(s, "B",
                                     HEAD "a,,0,0,1.6,,,1,0,\na,,0,1,2,,,1,0,\n"
                                          "a,,1,0,3,,,1,0,\na,,1,1,5,,,1,0,\n",
                                     CLAIMS "C1,PASS,2,1,3\n");
  struct compare c;
  compare_run(s->arena, &a, &b, &c);
  assert_int_equal(c.series[0].verdict, COMPARE_SHIFTED);
  const char *text = compare_csv(s->arena, &c);
  put(s, "noise.csv", text);
  assert_true(compare_read_noise(s->arena, scratch_path(s, "noise.csv"), &a, s->diag));
  compare_run(s->arena, &a, &b, &c);
  assert_int_equal(c.series[0].verdict, COMPARE_WITHIN);
  assert_true(fabs(c.series[0].tolerance - 4 * 0.3) < 1e-9);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(test_equal),          SCRATCH_TEST(test_within_the_bands),
      SCRATCH_TEST(test_shifted_value),  SCRATCH_TEST(test_diverged),
      SCRATCH_TEST(test_missing),        SCRATCH_TEST(test_repeats),
      SCRATCH_TEST(test_grid_and_noise), SCRATCH_TEST(test_measured_x),
      SCRATCH_TEST(test_rounded_x),      SCRATCH_TEST(test_claims),
      SCRATCH_TEST(test_folders),        SCRATCH_TEST(test_csv_is_noise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
