/* Figures: text, CSV, layout, scripts, and what gnuplot makes of them. */
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

/* ---- text ---- */

static void test_text(void **state)
{
  struct scratch *s = *state;
  struct arena *a = s->arena;
  assert_string_equal(figure_quote(a, "it's\n\\n"), "'it''s \\n'");
  assert_string_equal(figure_quote(a, ""), "''");
  assert_string_equal(figure_enhance(a, "a_b^{c} \\ @&~ 50%"),
                      "a\\_b\\^\\{c\\} \\\\ \\@\\&\\~ 50%");
  assert_string_equal(figure_label(a, "it's_x"), "'it''s\\_x'");
  assert_string_equal(figure_field(a, "a,b \"c\"\\d\ne"), "a;b 'c'/d e");
  assert_string_equal(figure_pretty(a, "5e-05"), "5·10^{−5}");
  assert_string_equal(figure_pretty(a, "1e+20"), "10^{20}");
  assert_string_equal(figure_pretty(a, "0.1"), "0.1");
  assert_string_equal(figure_pretty(a, "one_e5"), "one\\_e5");
  assert_string_equal(figure_comment(a, "two\nlines\\"), "two lines/");
  assert_string_equal(figure_name(a, "Batch size²"), "batch_size__");
}

static void test_width_and_wrap(void **state)
{
  struct scratch *s = *state;
  const char *lines[3];
  assert_true(fabs(figure_width("00", 10) - 12.8) < 1e-9);
  assert_true(fabs(figure_width("é", 10) - 7) < 1e-9);
  assert_int_equal(figure_wrap(s->arena, "", 8, 100, lines, 3), 0);
  assert_int_equal(figure_wrap(s->arena, "one two  three", 10, 45, lines, 3), 2);
  assert_string_equal(lines[0], "one two");
  assert_string_equal(lines[1], "three");
  /* a word longer than the line stays whole; the last line takes the rest */
  assert_int_equal(figure_wrap(s->arena, "unbreakable a b", 10, 20, lines, 2), 2);
  assert_string_equal(lines[1], "a b");
}

/* ---- CSV ---- */

static void test_csv(void **state)
{
  struct scratch *s = *state;
  struct figure_text t = {.arena = s->arena};
  figure_csv_field(&t, "plain");
  figure_csv_field(&t, "a,\"b\"");
  assert_string_equal(t.s, "plain\"a,\"\"b\"\"\"");

  struct figure_csv csv;
  const char *text = "x,name\r\n1e-3,\"a,\"\"b\"\"\n\"\r\nnan,c\n-inf,";
  assert_true(figure_csv_parse(s->arena, "t.csv", text, strlen(text), &csv, s->diag));
  assert_int_equal(csv.n_columns, 2);
  assert_int_equal(csv.n_rows, 3);
  assert_string_equal(csv.text[1], "a,\"b\"\n");
  assert_string_equal(csv.text[5], "");
  assert_true(csv.numeric[0] && !csv.numeric[1]);
  assert_true(csv.num[0] == 1e-3 && isnan(csv.num[2]) && isinf(csv.num[4]));
  assert_int_equal(figure_csv_column(&csv, "name"), 1);
  assert_true(figure_csv_column(&csv, "nam") == SIZE_MAX);
}

static void test_csv_faults(void **state)
{
  struct scratch *s = *state;
  struct figure_csv csv;
  assert_false(figure_csv_parse(s->arena, "t.csv", "", 0, &csv, s->diag));
  scratch_expect(s, "no header", NULL);
  assert_false(figure_csv_parse(s->arena, "t.csv", "a,b\n1\n", 6, &csv, s->diag));
  scratch_expect(s, "t.csv:2: 1 fields where the header has 2", NULL);
  assert_false(figure_csv_parse(s->arena, "t.csv", "a\n\"1\n", 5, &csv, s->diag));
  scratch_expect(s, "t.csv:2: a quote is never closed", NULL);
  /* a NUL is a byte like another: no endless loop, no read behind the end */
  assert_true(figure_csv_parse(s->arena, "t.csv", "a\n1\0,2\n", 7, &csv, s->diag) ||
              diag_errors(s->diag) == 1);
}

/* ---- the page and the script ---- */

static const char noise[] = "lr,batch,epoch,gain,failed\n"
                            "0.01,32,20,0.5,0\n0.01,32,40,0.7,0\n0.1,32,20,1.5,0\n"
                            "0.1,32,40,1.1,0\n0.01,64,20,0.2,0\n0.1,64,20,nan,1\n";

#define GAIN                                                                                       \
  {                                                                                                \
    .column = "gain", .label = "gain (points)", .statistic = REDUCED(MEDIAN, "gain"),              \
    .band = PLAN_SPREAD_QUARTILES                                                                  \
  }
#define LR                                                                                         \
  {                                                                                                \
    .column = "lr", .label = "learning rate", .log = true                                          \
  }
static const struct plan_panel small_panels[] = {
    {"a",
     "by batch size",
     PLAN_PANEL_LINES,
     0,
     NULL,
     LR,
     GAIN,
     {0},
     "batch",
     "batch size",
     NULL,
     NULL,
     0},
    {"b",
     "all models",
     PLAN_PANEL_BOX,
     0,
     NULL,
     LR,
     NO_AGG("gain"),
     {0},
     NULL,
     NULL,
     NULL,
     NULL,
     0},
    {"c",
     "",
     PLAN_PANEL_SCATTER,
     0,
     NULL,
     NO_AGG("epoch"),
     NO_AGG("gain"),
     {0},
     "lr",
     "learning rate",
     "epoch",
     NULL,
     0},
    {"d", "ViT", PLAN_PANEL_LINES, 0, "not at this tier", LR, GAIN, {0}, NULL, NULL, NULL, NULL, 0},
};
static const struct plan_figure small_figure = {7, "A \\ small_figure", "smoke tier", 2,
                                                4, small_panels};

static struct figure_page small_page(struct scratch *s)
{
  struct figure_page page;
  const char *tables[] = {noise};
  assert_true(figure_fixture_page(s->arena, &small_figure, tables, &page, s->diag));
  return page;
}

static void check_legend(const struct figure_page *page, const struct figure_legend *l)
{
  for (size_t i = 0; i < l->n; i++) {
    const struct figure_entry *e = &l->entries[i];
    assert_true(e->x >= 0 && e->y > 0 && e->y < page->height);
    assert_true(e->x + e->width <= page->width + 0.14);
    if (i > 0 && e->y == l->entries[i - 1].y)
      assert_true(e->x >= l->entries[i - 1].x + l->entries[i - 1].width - 1e-9);
  }
}

static void test_layout(void **state)
{
  struct figure_page page = small_page(*state);
  const struct figure_place *at = page.places;
  assert_true(page.width == 7);
  /* aligned: rows share y, columns share x, all have one size */
  assert_true(at[0].plot.y == at[1].plot.y && at[2].plot.y == at[3].plot.y);
  assert_true(at[0].plot.x == at[2].plot.x && at[1].plot.x == at[3].plot.x);
  for (size_t k = 0; k < 4; k++) {
    assert_true(at[k].plot.w == at[0].plot.w && at[k].plot.h == at[0].plot.h);
    assert_true(at[k].plot.x > 0 && at[k].plot.x + at[k].plot.w < page.width);
    check_legend(&page, &at[k].legend);
  }
  assert_true(at[0].plot.x + at[0].plot.w < at[1].plot.x);
  assert_true(at[0].plot.y + at[0].plot.h < at[2].plot.y);
  check_legend(&page, &page.legend);
  /* lr colours both the boxes and the scatter: one variable */
  assert_int_equal(page.n_variables, 2);
  assert_int_equal(at[1].x_variable, at[2].series_variable);
  /* two variables: each panel has its own legend, the notes are common */
  assert_int_equal(at[0].legend.n, 3);
  assert_int_equal(at[1].legend.n, 0);
  assert_string_equal(page.legend.entries[0].text, "failed to converge");
}

static void test_common_legend(void **state)
{
  struct scratch *s = *state;
  struct plan_panel panels[2] = {small_panels[0], small_panels[0]};
  panels[1].name = "b";
  const struct plan_figure figure = {8, "t", "", 0, 2, panels};
  const char *tables[] = {noise};
  struct figure_page page;
  assert_true(figure_fixture_page(s->arena, &figure, tables, &page, s->diag));
  assert_int_equal(page.places[0].legend.n + page.places[1].legend.n, 0);
  assert_string_equal(page.legend.entries[0].text, "batch size");
  assert_string_equal(page.legend.entries[1].text, "32");
  /* the same y label is said once */
  assert_true(page.places[0].y_label && !page.places[1].y_label);
}

static void test_script(void **state)
{
  struct scratch *s = *state;
  struct figure_page page = small_page(s);
  char *script = figure_script(s->arena, &page);
  const char *golden = SRCDIR "/tests/figure/fig07.gp";
  if (getenv("UPDATE_GOLDEN"))
    assert_true(file_write_atomic(golden, script, strlen(script), s->diag));
  size_t length;
  char *want = file_read(s->arena, golden, &length, s->diag);
  assert_non_null(want);
  assert_string_equal(script, want);
  struct figure_page again = small_page(s);
  assert_string_equal(figure_script(s->arena, &again), script);
}

/* ---- gnuplot ---- */

static bool have_gnuplot(void)
{
  return system("gnuplot --version >/dev/null 2>&1") == 0;
}

static void copy_style(struct scratch *s)
{
  size_t length;
  char *style = file_read(s->arena, SRCDIR "/figures/style.gp", &length, s->diag);
  assert_non_null(style);
  assert_true(file_write_atomic(scratch_path(s, "style.gp"), style, length, s->diag));
}

static void draw(struct scratch *s, const struct plan_figure *f, const char *const *tables)
{
  struct figure_page page;
  assert_true(figure_fixture_page(s->arena, f, tables, &page, s->diag));
  assert_true(figure_fixture_write(s->arena, &page, s->dir, s->diag));
  char *script = arena_printf(s->arena, "%s.gp", page.id);
  if (!figure_run_gnuplot(s->arena, "gnuplot", s->dir, "out", script, s->diag))
    fail_msg("%s", diag_message(s->diag, 0));
  assert_true(file_exists(scratch_path(s, "out.pdf")));
  assert_true(file_exists(scratch_path(s, "out.svg")));
}

static void test_gnuplot_draws(void **state)
{
  struct scratch *s = *state;
  if (!have_gnuplot())
    skip();
  copy_style(s);
  const char *tables[] = {noise};
  draw(s, &small_figure, tables);
}

/* Whatever the tables hold, gnuplot reads the script. */
static void test_gnuplot_draws_odd_input(void **state)
{
  static const char *const rows[] = {
      "",
      "1,nan,a,1\n2,nan,b,1\n",
      "1,5,a,0\n",
      "1,-1,a,0\n2,0,a,0\n3,2,a,0\n",
      "1,2,a,0\n2,2,a,0\n",
      "on_{x},1e-05,\"q\"\"u,o\\te'%d\",0\noff,inf,b c,1\n",
      "-1,1e99,5e-05,0\n0,-1e99,1,0\n1e308,1,2,0\n-1e308,1e308,2,0\n1e-310,1e-310,2,0\n",
  };
  static const enum plan_panel_kind kinds[] = {PLAN_PANEL_LINES, PLAN_PANEL_SCATTER,
                                               PLAN_PANEL_BOX};
  struct scratch *s = *state;
  if (!have_gnuplot())
    skip();
  copy_style(s);
  for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
    struct plan_panel panels[16];
    const struct plan_claim_node *mean = REDUCED(MEAN, "y");
    const char *tables[] = {arena_printf(s->arena, "x,y,s,failed\n%s", rows[k])};
    for (size_t i = 0; i < 12; i++)
      panels[i] = (struct plan_panel){arena_printf(s->arena, "%c'{\\", (int)('a' + i)),
                                      "50% of a_b \\",
                                      kinds[i % 3],
                                      0,
                                      NULL,
                                      {.column = "x", .label = "x\\", .log = i >= 6},
                                      {.column = "y",
                                       .label = "y_'",
                                       .statistic = i % 3 ? NULL : mean,
                                       .band = i % 3 ? PLAN_SPREAD_NONE : PLAN_SPREAD_RANGE,
                                       .log = i >= 6},
                                      {0},
                                      i % 2 ? "s" : NULL,
                                      NULL,
                                      NULL,
                                      NULL,
                                      0};
    for (size_t i = 12; i < 16; i++)
      panels[i] = (struct plan_panel){
          .name = arena_printf(s->arena, "%c'{\\", (int)('a' + i)),
          .title = "map",
          .kind = i % 2 ? PLAN_PANEL_HEATMAP : PLAN_PANEL_CONTOUR,
          .x = {.column = "x", .label = "x", .log = i >= 14},
          .y = {.column = i % 2 ? "s" : "y", .label = "y", .log = i >= 14},
          .z = {.column = "y", .label = "z{'", .statistic = mean, .log = i >= 14}};
    for (size_t i = 0; i < 2; i++) {
      panels[i].y.bars = true;
      panels[i].y.fit = true;
    }
    const struct plan_figure figure = {9, "it's \"odd\" \\", "# 'sub'\\", 0, 16, panels};
    draw(s, &figure, tables);
  }
}

static void test_gnuplot_faults(void **state)
{
  struct scratch *s = *state;
  assert_true(file_write_atomic(scratch_path(s, "fig07.gp"), "no such command\n", 16, s->diag));
  assert_false(figure_run_gnuplot(s->arena, "no-such-gnuplot", s->dir, "out", "fig07.gp", s->diag));
  scratch_expect(s, "there is no program \"no-such-gnuplot\"", "apt-get install gnuplot-nox");
  if (!have_gnuplot())
    skip();
  assert_false(figure_run_gnuplot(s->arena, "gnuplot", s->dir, "out", "fig07.gp", s->diag));
  scratch_expect(s, "invalid command", "gnuplot fig07.gp");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(test_text),
      SCRATCH_TEST(test_width_and_wrap),
      SCRATCH_TEST(test_csv),
      SCRATCH_TEST(test_csv_faults),
      SCRATCH_TEST(test_layout),
      SCRATCH_TEST(test_common_legend),
      SCRATCH_TEST(test_script),
      SCRATCH_TEST(test_gnuplot_draws),
      SCRATCH_TEST(test_gnuplot_draws_odd_input),
      SCRATCH_TEST(test_gnuplot_faults),
  };
  return cmocka_run_group_tests_name("figure", tests, NULL, NULL);
}
