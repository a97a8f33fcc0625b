/* Table and figure steps against a real store. */
#include "config.h"

#include "figure/figure.h"

#include "figure_fixture.h"
#include "run_fixture.h"

#include "base/file.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A measure step whose result is `value`. */
static uint32_t measured(struct fixture *f, double seed, double value, bool diverged)
{
  uint32_t k = fixture_step(f, PLAN_MEASURE, seed, NULL, 0);
  struct store_result r = {.diverged = diverged};
  store_set(f->arena, &r, "accuracy", value);
  struct store_draft *draft = store_begin(f->store, f->arena, f->diag);
  assert_non_null(draft);
  assert_true(store_commit(draft, f->plan, plan_step(f->plan, k), &r, f->diag));
  return k;
}

/* gain = slot 0 - mean(slot 1, slot 2), over two rows; the second has a diverged input. */
static uint32_t add_table(struct fixture *f, const uint32_t *inputs, uint32_t n)
{
  struct arena *a = f->arena;
  struct plan_column *columns = arena_array(a, 3, sizeof *columns);
  struct plan_cell *cells = arena_array(a, 6, sizeof *cells);
  struct plan_slot *slots = arena_array(a, 6, sizeof *slots);
  columns[0].name = "lr";
  columns[1].name = "data, set";
  columns[2].name = "gain";
  columns[2].measured = true;
  const struct plan_code code[] = {{PLAN_OP_SLOT, 0, 0},
                                   {PLAN_OP_SLOT, 1, 0},
                                   {PLAN_OP_SLOT, 2, 0},
                                   {PLAN_OP_MEAN, 2, 0},
                                   {PLAN_OP_SUB, 2, 0}};
  for (size_t i = 0; i < sizeof code / sizeof *code; i++)
    plan_expr_push(a, &columns[2].expr, code[i]);
  cells[0].num = 0.1;
  cells[1].str = "a \"b\"";
  cells[3].num = 20;
  cells[4].str = "plain";
  for (uint32_t i = 0; i < 6; i++)
    slots[i] = (struct plan_slot){i < n ? i : n - 1, "accuracy", 0};
  struct plan_table *table = arena_alloc(a, sizeof *table);
  *table = (struct plan_table){"noise", 3, 2, 3, columns, cells, slots};
  return plan_add_step(
      f->plan,
      &(struct plan_step){.kind = PLAN_TABLE, .n_inputs = n, .inputs = inputs, .table = table});
}

static uint32_t whole_table(struct fixture *f)
{
  uint32_t inputs[] = {measured(f, 1, 0.75, false), measured(f, 2, 0.5, false),
                       measured(f, 3, 0.25, false), measured(f, 4, NAN, true)};
  uint32_t table = add_table(f, inputs, 4);
  bool ok = figure_execute_table(NULL, f->store, f->plan, plan_step(f->plan, table), f->diag);
  if (!ok)
    fail_msg("%s", diag_message(f->diag, 0));
  return table;
}

static void test_table(void **state)
{
  struct fixture *f = *state;
  uint32_t table = whole_table(f);
  struct store_result r = {0};
  struct hash key = plan_step(f->plan, table)->key;
  assert_true(store_read(f->store, key, f->arena, &r, f->diag));
  assert_true(store_get(&r, "rows") == 2);
  const char *path = store_file(f->store, key, "table.csv", f->arena, f->diag);
  assert_non_null(path);
  size_t length;
  assert_string_equal(file_read(f->arena, path, &length, f->diag), "lr,\"data, set\",gain,failed\n"
                                                                   "0.1,\"a \"\"b\"\"\",0.375,0\n"
                                                                   "20,plain,nan,1\n");
}

static void test_table_without_its_inputs(void **state)
{
  struct fixture *f = *state;
  uint32_t input = fixture_step(f, PLAN_MEASURE, 9, NULL, 0);
  uint32_t table = add_table(f, &input, 1);
  assert_false(figure_execute_table(NULL, f->store, f->plan, plan_step(f->plan, table), f->diag));
  assert_true(fixture_said(f->diag, "is not in the store"));
  assert_int_equal(fixture_entries(f, "tmp"), 0);
}

/* ---- union steps ---- */

/* A table step with its result: two numbers a row. */
static uint32_t stored_table(struct fixture *f, const char *experiment, const char *csv)
{
  struct plan_table *table = arena_alloc(f->arena, sizeof *table);
  *table = (struct plan_table){.experiment = experiment};
  struct plan_step step = {.kind = PLAN_TABLE, .table = table};
  step.origin.experiment = experiment;
  uint32_t k = plan_add_step(f->plan, &step);
  struct store_draft *draft = store_begin(f->store, f->arena, f->diag);
  assert_non_null(draft);
  assert_true(file_write_synced(store_draft_path(draft, "table.csv"), csv, strlen(csv), f->diag));
  struct store_result r = {0};
  struct store_file file = {.name = "table.csv"};
  ARENA_PUSH(f->arena, r.files, r.n_files, r.cap_files, file);
  assert_true(store_commit(draft, f->plan, plan_step(f->plan, k), &r, f->diag));
  return k;
}

static uint32_t add_union(struct fixture *f, const uint32_t *tables, uint32_t n)
{
  struct plan_step step = {.kind = PLAN_UNION, .n_inputs = n, .inputs = tables};
  step.origin.experiment = "wsd, cosine";
  return plan_add_step(f->plan, &step);
}

static void test_union(void **state)
{
  struct fixture *f = *state;
  const uint32_t tables[] = {
      stored_table(f, "wsd",
                   "lr,epoch,\"the, gain\",failed\n0.1,20,\"a \"\"b\"\"\",0\n0.2,20,nan,1\n"),
      stored_table(f, "cosine", "\"the, gain\",momentum,lr,failed\n7,0.9,0.4,0\n")};
  uint32_t k = add_union(f, tables, 2);
  if (!figure_execute_union(NULL, f->store, f->plan, plan_step(f->plan, k), f->diag))
    fail_msg("%s", diag_message(f->diag, 0));
  size_t length;
  assert_string_equal(fixture_read(f, fixture_path(f, k, "table.csv"), &length),
                      "experiment,lr,\"the, gain\",failed\n"
                      "wsd,0.1,\"a \"\"b\"\"\",0\n"
                      "wsd,0.2,nan,1\n"
                      "cosine,0.4,7,0\n");
  struct store_result r = {0};
  assert_true(store_read(f->store, plan_step(f->plan, k)->key, f->arena, &r, f->diag));
  assert_true(store_get(&r, "rows") == 3);
  /* a figure reads it as it reads a table */
  struct figure_csv csv;
  assert_true(figure_read_table(f->arena, f->store, f->plan, plan_step(f->plan, k), &csv, f->diag));
  assert_int_equal(csv.n_rows, 3);
  assert_int_equal(figure_csv_column(&csv, "experiment"), 0);
  /* the other order is another union */
  const uint32_t turned[] = {tables[1], tables[0]};
  assert_true(add_union(f, turned, 2) != k);
  assert_int_equal(add_union(f, tables, 2), k);
}

static void test_union_without_its_tables(void **state)
{
  struct fixture *f = *state;
  const uint32_t tables[] = {stored_table(f, "wsd", "lr,failed\n1,0\n"),
                             stored_table(f, "cosine", "lr,failed\n1,0\n")};
  uint32_t k = add_union(f, tables, 2);
  struct figure_csv csv;
  assert_false(
      figure_read_table(f->arena, f->store, f->plan, plan_step(f->plan, k), &csv, f->diag));
  assert_true(fixture_said(f->diag, "the table of experiments wsd, cosine is not in the store"));
  diag_clear(f->diag);
  assert_int_equal(unlink(fixture_path(f, tables[1], "table.csv")), 0);
  assert_false(figure_execute_union(NULL, f->store, f->plan, plan_step(f->plan, k), f->diag));
  assert_true(fixture_said(f->diag, "the table of experiment cosine is not in the store"));
}

/* ---- figure steps ---- */

struct setting {
  struct figure_context context;
  const struct plan_step *step;
};

static const struct plan_panel panels[] = {
    {"a",
     "",
     PLAN_PANEL_LINES,
     0,
     NULL,
     {.column = "lr", .label = "lr", .log = true},
     {.column = "gain",
      .label = "gain",
      .statistic = REDUCED(MEDIAN, "gain"),
      .band = PLAN_SPREAD_QUARTILES},
     {0},
     NULL,
     NULL,
     NULL,
     NULL,
     0},
    {"b", "later", PLAN_PANEL_LINES, 0, "not yet", {0}, {0}, {0}, NULL, NULL, NULL, NULL, 0}};

static struct setting figure_setting(struct fixture *f, const char *gnuplot)
{
  static const struct plan_figure figure = {3, "Steps", "smoke", 0, 2, panels};
  uint32_t table = whole_table(f);
  uint32_t step = plan_add_step(
      f->plan,
      &(struct plan_step){.kind = PLAN_FIGURE, .n_inputs = 1, .inputs = &table, .figure = &figure});
  char *style = file_join(f->arena, f->root, "look.gp");
  size_t length;
  char *text = file_read(f->arena, SRCDIR "/figures/style.gp", &length, f->diag);
  assert_non_null(text);
  assert_true(file_write_atomic(style, text, length, f->diag));
  return (struct setting){{file_join(f->arena, f->root, "figures"), style, gnuplot},
                          plan_step(f->plan, step)};
}

/* Stands in for gnuplot: makes the two pictures that its setting names. */
static char *fake_gnuplot(struct fixture *f, const char *body)
{
  char *path = file_join(f->arena, f->root, "fake-gnuplot");
  fixture_write(path, arena_printf(f->arena, "#!/bin/sh\neval \"$3\"\n%s\n", body));
  assert_int_equal(access(path, F_OK), 0);
  char *command = arena_printf(f->arena, "chmod +x %s", path);
  assert_int_equal(system(command), 0);
  return path;
}

static const char *in_folder(struct fixture *f, const struct setting *s, const char *name)
{
  return file_join(f->arena, s->context.folder, name);
}

static bool current(struct fixture *f, struct setting *s)
{
  return figure_is_current(&s->context, f->plan, s->step);
}

static void execute(struct fixture *f, struct setting *s)
{
  if (!figure_execute(&s->context, f->store, f->plan, s->step, f->diag))
    fail_msg("%s", diag_message(f->diag, 0));
}

static void test_figure_files(void **state)
{
  struct fixture *f = *state;
  struct setting s =
      figure_setting(f, fake_gnuplot(f, "echo pdf > $name.pdf; echo svg > $name.svg"));
  assert_false(current(f, &s));
  execute(f, &s);
  assert_true(current(f, &s));
  size_t length;
  assert_string_equal(fixture_read(f, in_folder(f, &s, "fig03.csv"), &length),
                      "panel,series,x,y,z,y_lo,y_hi,n,failed,opacity\n"
                      "a,,0.1,0.375,,0.375,0.375,1,0,\n"
                      "a,,20,,,,,0,1,\n");
  assert_string_equal(fixture_read(f, in_folder(f, &s, "fig03.pdf"), &length), "pdf\n");
  /* the look is copied beside the script; no draft is left */
  assert_true(file_exists(in_folder(f, &s, "style.gp")));
  char *list = arena_printf(f->arena, "test $(ls -A %s | wc -l) = 6", s.context.folder);
  assert_int_equal(system(list), 0);
}

static void test_manifest(void **state)
{
  struct fixture *f = *state;
  struct setting s = figure_setting(f, fake_gnuplot(f, "echo > $name.pdf; echo > $name.svg"));
  execute(f, &s);
  json_t *j = json_load_file(in_folder(f, &s, "fig03.json"), 0, NULL);
  assert_non_null(j);
  char hex[HASH_HEX];
  const struct plan_step *table = plan_step(f->plan, s.step->inputs[0]);
  hash_hex(table->key, hex);
  json_t *panel = json_array_get(json_object_get(j, "panels"), 0);
  assert_string_equal(json_string_value(json_object_get(panel, "table")), hex);
  assert_string_equal(json_string_value(json_object_get(panel, "experiment")), "noise");
  json_t *keys = json_object_get(json_object_get(j, "tables"), hex);
  assert_int_equal(json_array_size(keys), 4);
  hash_hex(plan_step(f->plan, table->inputs[2])->key, hex);
  assert_string_equal(json_string_value(json_array_get(keys, 2)), hex);
  json_t *omitted = json_array_get(json_object_get(j, "panels"), 1);
  assert_string_equal(json_string_value(json_object_get(omitted, "omitted")), "not yet");
  struct hash h;
  assert_true(hash_file(in_folder(f, &s, "fig03.csv"), &h));
  hash_hex(h, hex);
  assert_string_equal(json_string_value(json_object_get(json_object_get(j, "files"), "fig03.csv")),
                      hex);
  json_decref(j);
}

static void test_what_makes_a_figure_stale(void **state)
{
  struct fixture *f = *state;
  struct setting s = figure_setting(f, fake_gnuplot(f, "echo > $name.pdf; echo > $name.svg"));
  static const char *const files[] = {"fig03.csv", "fig03.gp", "fig03.pdf", "fig03.svg",
                                      "fig03.json"};
  for (size_t k = 0; k < 5; k++) {
    execute(f, &s);
    assert_true(current(f, &s));
    assert_int_equal(unlink(in_folder(f, &s, files[k])), 0);
    assert_false(current(f, &s));
  }
  execute(f, &s);
  fixture_write(s.context.style, "unset key\n");
  assert_false(current(f, &s));
  execute(f, &s);
  assert_true(current(f, &s));
  size_t length;
  assert_string_equal(fixture_read(f, in_folder(f, &s, "style.gp"), &length), "unset key\n");
  struct plan_step other = *s.step;
  other.key.b[0] ^= 1;
  assert_false(figure_is_current(&s.context, f->plan, &other));
  fixture_write(in_folder(f, &s, "fig03.json"), "{broken");
  assert_false(current(f, &s));
}

static void test_failing_gnuplot(void **state)
{
  struct fixture *f = *state;
  struct setting s = figure_setting(
      f, fake_gnuplot(f, "echo half > $name.pdf; echo 'line 3: bad terminal' >&2; exit 1"));
  assert_false(figure_execute(&s.context, f->store, f->plan, s.step, f->diag));
  assert_true(fixture_said(f->diag, "line 3: bad terminal"));
  assert_false(current(f, &s));
  assert_true(file_exists(in_folder(f, &s, "fig03.csv")));
  char *left = arena_printf(f->arena, "test -z \"$(ls %s/*.pdf 2>/dev/null)\"", s.context.folder);
  assert_int_equal(system(left), 0);
}

static void test_missing_gnuplot(void **state)
{
  struct fixture *f = *state;
  struct setting s = figure_setting(f, "no-such-gnuplot");
  assert_false(figure_execute(&s.context, f->store, f->plan, s.step, f->diag));
  assert_int_equal(diag_errors(f->diag), 1);
  assert_true(fixture_said(f->diag, "there is no program \"no-such-gnuplot\""));
  assert_non_null(strstr(diag_hint_of(f->diag, 0), "gnuplot-nox"));
}

static void test_figure_without_its_table(void **state)
{
  struct fixture *f = *state;
  struct setting s = figure_setting(f, "gnuplot");
  assert_int_equal(unlink(fixture_path(f, s.step->inputs[0], "table.csv")), 0);
  assert_false(figure_execute(&s.context, f->store, f->plan, s.step, f->diag));
  assert_true(fixture_said(f->diag, "the table of experiment noise is not in the store"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_begin, fixture_end)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(test_table),
      TEST(test_table_without_its_inputs),
      TEST(test_figure_files),
      TEST(test_manifest),
      TEST(test_what_makes_a_figure_stale),
      TEST(test_failing_gnuplot),
      TEST(test_missing_gnuplot),
      TEST(test_figure_without_its_table),
      TEST(test_union),
      TEST(test_union_without_its_tables),
  };
  return cmocka_run_group_tests_name("figure steps", tests, NULL, NULL);
}
