/* explain: the plan as text, as a drawing and as data, and what it costs. */
#include "config.h"

#include "plan/explain.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};

enum { STEPS = 10, TRUNK = 2, ENDS = 3, MEASURES = 5, TABLES = 7, FIGURE = 8, OTHER = 9 };

struct fixture {
  struct arena *arena;
  struct plan *plan;
  struct explain e;
  bool wanted[STEPS];
  enum explain_state states[STEPS];
  struct cost costs[STEPS];
  uint32_t asked[STEPS];
  char *text;
};

static uint32_t add(struct fixture *f, struct plan_step s, uint32_t a, uint32_t b)
{
  uint32_t inputs[2] = {a, b};
  s.inputs = inputs;
  s.n_inputs = a == UINT32_MAX ? 0 : b == UINT32_MAX ? 1 : 2;
  s.origin =
      (struct plan_origin){.experiment = "noise", .point = s.kind == PLAN_TRAIN ? "lr=0.1" : ""};
  return plan_add_step(f->plan, &s);
}

static uint32_t add_train(struct fixture *f, uint32_t from, double lr, double first, double last)
{
  struct plan_attr attrs[] = {{PLAN_A_lr, lr, NULL},
                              {PLAN_A_batch, 32, NULL},
                              {PLAN_A_from, first, NULL},
                              {PLAN_A_to, last, NULL}};
  return add(f, (struct plan_step){.kind = PLAN_TRAIN, .attrs = attrs, .n_attrs = 4}, from, 0);
}

/* data, init, a trunk of 100 steps, two ends of 40 and 50 steps, a measure of
 * each, one table, and two figures that draw it. */
static int begin(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  f->arena = a;
  f->plan = plan_new(a, versions);
  struct plan_attr data[] = {{PLAN_A_data, 0, "fashion \"m\""}},
                   init[] = {{PLAN_A_model, 0, "mlp"}};
  struct plan_attr split[] = {{PLAN_A_split, 0, "test"}};
  add(f, (struct plan_step){.kind = PLAN_DATA, .attrs = data, .n_attrs = 1}, UINT32_MAX, 0);
  add(f, (struct plan_step){.kind = PLAN_INIT, .attrs = init, .n_attrs = 1}, 0, UINT32_MAX);
  add_train(f, 1, 0.1, 0, 100);
  assert_int_equal(add_train(f, TRUNK, 0.1, 100, 140), ENDS);
  add_train(f, TRUNK, 0.1, 100, 150);
  for (uint32_t k = 0; k < 2; k++)
    add(f, (struct plan_step){.kind = PLAN_MEASURE, .attrs = split, .n_attrs = 1}, ENDS + k, 0);
  static const struct plan_table table = {.experiment = "noise", .n_rows = 2};
  add(f, (struct plan_step){.kind = PLAN_TABLE, .table = &table}, MEASURES, MEASURES + 1);
  static const struct plan_panel panels[1] = {{.name = "a", .title = ""}};
  static const struct plan_figure figures[2] = {{1, "", "", 0, 1, panels},
                                                {7, "", "", 0, 1, panels}};
  add(f, (struct plan_step){.kind = PLAN_FIGURE, .figure = &figures[0]}, TABLES, UINT32_MAX);
  add(f, (struct plan_step){.kind = PLAN_FIGURE, .figure = &figures[1]}, TABLES, UINT32_MAX);
  assert_int_equal(plan_count(f->plan), STEPS);
  for (int i = 0; i < STEPS; i++) {
    f->wanted[i] = true;
    f->states[i] = i <= TRUNK ? EXPLAIN_CACHED : EXPLAIN_TODO;
    f->costs[i] = (struct cost){1e9 * i, i, 1000, 1e6 * i};
  }
  f->e = (struct explain){f->plan, f->wanted, f->states, f->costs, source_set_new(a), 2, f->asked};
  plan_asked(f->plan, NULL, f->asked);
  *state = f;
  return 0;
}

static int end(void **state)
{
  struct fixture *f = *state;
  free(f->text);
  arena_free(f->arena);
  return 0;
}

static const char *text_of(struct fixture *f, void (*print)(const struct explain *, FILE *))
{
  size_t length;
  free(f->text);
  FILE *out = open_memstream(&f->text, &length);
  print(&f->e, out);
  fclose(out);
  return f->text;
}

static void test_steps(void **state)
{
  struct fixture *f = *state;
  f->states[OTHER] = EXPLAIN_UNWANTED;
  assert_string_equal(
      text_of(f, explain_steps),
      "#0     cached data data=fashion \"m\"  [noise, -]\n"
      "#1     cached init model=mlp <- #0  [noise, -]\n"
      "#2     cached train lr=0.1 batch=32 from=0 to=100 <- #1 #0  [noise lr=0.1, -]\n"
      "#3     to do  train lr=0.1 batch=32 from=100 to=140 <- #2 #0  [noise lr=0.1, -, 3.0 s]\n"
      "#4     to do  train lr=0.1 batch=32 from=100 to=150 <- #2 #0  [noise lr=0.1, -, 4.0 s]\n"
      "#5     to do  measure split=test <- #3 #0  [noise, -, 5.0 s]\n"
      "#6     to do  measure split=test <- #4 #0  [noise, -, 6.0 s]\n"
      "#7     to do  table noise, 2 rows <- #5 #6  [noise, -, 7.0 s]\n"
      "#8     to do  figure 1, 1 panels <- #7  [noise, -, 8.0 s]\n");
}

static void test_summary(void **state)
{
  struct fixture *f = *state;
  assert_string_equal(
      text_of(f, explain_summary),
      "steps     planned   cached    to do\n"
      "data            1        1        0\n"
      "init            1        1        0\n"
      "train           3        1        2\n"
      "measure         2        0        2\n"
      "table           1        0        1\n"
      "figure          2        0        2\n"
      "all            10        3        7\n"
      "training steps: 190 planned, 190 without sharing (0.0% saved), 90 to do\n"
      "cost     arithmetic     one worker  longest chain       disk  memory each\n"
      "planned    45 GFLOP           45 s           29 s      10 kB       9.0 MB\n"
      "left       42 GFLOP           42 s           26 s     7.0 kB       9.0 MB\n"
      "memory each: of each worker, at the largest step\n"
      "time to do with 2 workers: about 26 s\n");
}

/* The chain is 0 1 2 4 6 7 9 = 29 s; two workers share 45 s, and wait for it. */
static void test_cost(void **state)
{
  struct fixture *f = *state;
  struct cost_total all = explain_total(&f->e, EXPLAIN_UNWANTED);
  assert_int_equal(all.steps, STEPS);
  assert_true(all.sum.seconds == 45 && all.chain == 29 && all.sum.bytes == 10000);
  assert_true(cost_wall(&all, 1) == 45);
  assert_true(cost_wall(&all, 2) == 29);
  assert_true(cost_wall(&all, 0) == 45);
  for (int i = MEASURES; i < STEPS; i++)
    f->costs[i].seconds = 0;
  all = explain_total(&f->e, EXPLAIN_UNWANTED);
  assert_true(all.sum.seconds == 10 && all.chain == 7);
  struct cost_total cached = explain_total(&f->e, EXPLAIN_CACHED);
  assert_true(cached.steps == 3 && cached.sum.seconds == 3);
}

static void test_sharing(void **state)
{
  struct fixture *f = *state;
  assert_string_equal(text_of(f, explain_sharing), "training steps that figures share:\n"
                                                   "                 1        7\n"
                                                   "figure 1       190      190\n"
                                                   "figure 7       190      190\n");
  f->wanted[OTHER] = false;
  assert_string_equal(text_of(f, explain_sharing), "");
}

static void test_dot(void **state)
{
  struct fixture *f = *state;
  f->wanted[OTHER] = false;
  const char *dot = text_of(f, explain_dot);
  assert_non_null(strstr(dot, "digraph plan {\n"));
  assert_non_null(strstr(dot, "  s0 [label=\"#0 data\\ndata fashion \\\"m\\\"\", "
                              "tooltip=\"data data=fashion \\\"m\\\" [noise, -]\", "
                              "fillcolor=gray90, fontcolor=gray40];\n"));
  assert_non_null(strstr(dot, "  s3 [label=\"#3 train\\nlr 0.1\\nbatch 32\\nsteps 100 to 140\", "));
  assert_non_null(strstr(dot, "  s8 [label=\"#8 figure 1\", "));
  assert_non_null(strstr(dot, "  s2 -> s3;\n  s0 -> s3;\n"));
  assert_null(strstr(dot, "s9"));
  assert_string_equal(dot + strlen(dot) - 2, "}\n");
}

static void print_json(const struct explain *e, FILE *out)
{
  assert_true(explain_json(e, out));
}

static void test_json(void **state)
{
  struct fixture *f = *state;
  json_error_t error;
  json_t *j = json_loads(text_of(f, print_json), JSON_REJECT_DUPLICATES, &error);
  assert_non_null(j);
  assert_int_equal(json_array_size(json_object_get(j, "steps")), STEPS);
  const char *kind, *key, *state_name, *experiment, *line;
  char hex[HASH_HEX];
  int number, inputs[2], to, asked, seconds;
  double lr;
  assert_int_equal(
      json_unpack(json_array_get(json_object_get(j, "steps"), 4),
                  "{s:i, s:s, s:s, s:{s:F, s:i}, s:[i, i], s:s, s:{s:s, s:s}, s:i, s:{s:i}}",
                  "number", &number, "kind", &kind, "key", &key, "attributes", "lr", &lr, "to", &to,
                  "inputs", &inputs[0], &inputs[1], "state", &state_name, "origin", "experiment",
                  &experiment, "line", &line, "asked", &asked, "cost", "seconds", &seconds),
      0);
  hash_hex(plan_step(f->plan, 4)->key, hex);
  assert_string_equal(key, hex);
  assert_string_equal(kind, "train");
  assert_string_equal(state_name, "to do");
  assert_string_equal(experiment, "noise");
  assert_true(number == 4 && lr == 0.1 && to == 150 && inputs[0] == 2 && inputs[1] == 0);
  assert_true(asked == 1 && seconds == 4);
  int shared, wall;
  assert_int_equal(json_unpack(j, "{s:{s:[{s:i}]}, s:{s:i}, s:i}", "sharing", "pairs",
                               "training_steps", &shared, "to_do", "wall_seconds", &wall, "jobs",
                               &number),
                   0);
  assert_true(shared == 190 && wall == 26 && number == 2);
  json_decref(j);
}

static void test_texts(void **state)
{
  (void)state;
  char t[32];
  assert_string_equal(cost_duration(0.04, t), "0.0 s");
  assert_string_equal(cost_duration(99.4, t), "99 s");
  assert_string_equal(cost_duration(125, t), "2 min 05 s");
  assert_string_equal(cost_duration(90000, t), "25 h 00 min");
  assert_string_equal(cost_duration(86400 * 41.5, t), "41 days");
  assert_string_equal(cost_amount(999, "B", t), "999 B");
  assert_string_equal(cost_amount(1500, "B", t), "1.5 kB");
  assert_string_equal(cost_amount(144e6, "B", t), "144 MB");
  assert_string_equal(cost_amount(1.8e15, "FLOP", t), "1.8 PFLOP");
}

#define EXPLAIN_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
  const struct CMUnitTest tests[] = {
      EXPLAIN_TEST(test_steps), EXPLAIN_TEST(test_summary), EXPLAIN_TEST(test_cost),
      EXPLAIN_TEST(test_sharing), EXPLAIN_TEST(test_dot), EXPLAIN_TEST(test_json),
      cmocka_unit_test(test_texts),
  };
  return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
