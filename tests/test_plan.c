/* The plan: keys, hash-consing, closure, sharing. */
#include "config.h"

#include "plan/plan.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};

struct fixture {
  struct arena *arena;
  struct plan *plan;
};

static int begin(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  *f = (struct fixture){a, plan_new(a, versions)};
  *state = f;
  return 0;
}

static int end(void **state)
{
  arena_free(((struct fixture *)*state)->arena);
  return 0;
}

#define PLAN_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
#define NUM(name, value)                                                                           \
  {                                                                                                \
    PLAN_A_##name, value, NULL                                                                     \
  }
#define STR(name, value)                                                                           \
  {                                                                                                \
    PLAN_A_##name, 0, value                                                                        \
  }
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct plan_attr data_attrs[] = {
    STR(data, "fashion_mnist"), NUM(image_size, 14),  STR(compose, "none"),
    NUM(train_size, 2000),      NUM(test_size, 1000),
};
static const struct plan_attr init_attrs[] = {
    STR(model, "resnet18"), NUM(width, 8), NUM(stages, 3), NUM(blocks, 1), NUM(seed, 0),
};
static const struct plan_attr train_attrs[] = {
    NUM(seed, 0),
    STR(optimizer, "sgd"),
    NUM(lr, 0.1),
    NUM(momentum, 0.9),
    NUM(weight_decay, 5e-4),
    NUM(batch, 32),
    STR(augment, "flip_crop"),
    NUM(crop_padding, 2),
    STR(schedule, "constant"),
    NUM(schedule_from, 0),
    NUM(schedule_length, 0),
    NUM(from, 0),
    NUM(to, 124),
    NUM(steps_per_epoch, 62),
    NUM(stream, 0),
};
static const struct plan_attr merge_attrs[] = {
    NUM(seed, 0),          NUM(batch, 32),  STR(augment, "flip_crop"),      NUM(crop_padding, 2),
    STR(method, "linear"), NUM(alpha, 0.5), STR(batchnorm, "recalibrated"),
};
static const struct plan_attr measure_attrs[] = {
    STR(measurement, "evaluate"),
    STR(split, "test"),
};

static const char *experiment = "noise"; /* that asks */

static uint32_t add(struct plan *p, enum plan_kind kind, const struct plan_attr *attrs, size_t n,
                    const uint32_t *inputs, uint32_t n_inputs)
{
  struct plan_step s = {
      .kind = kind,
      .n_attrs = (uint32_t)n,
      .attrs = attrs,
      .n_inputs = n_inputs,
      .inputs = inputs,
      .origin = {.experiment = experiment, .point = "lr=0.1"},
  };
  return plan_add_step(p, &s);
}

#define ADD(plan, kind, attrs, ...)                                                                \
  add(plan, PLAN_##kind, attrs, COUNT(attrs), (uint32_t[]){__VA_ARGS__},                           \
      COUNT(((uint32_t[]){__VA_ARGS__})))

/* data, init, train, a second train, merge, measure; 0 to 5. */
static void add_chain(struct plan *p)
{
  uint32_t data = add(p, PLAN_DATA, data_attrs, COUNT(data_attrs), NULL, 0);
  uint32_t init = ADD(p, INIT, init_attrs, data);
  uint32_t trunk = ADD(p, TRAIN, train_attrs, init, data);
  struct plan_attr other[COUNT(train_attrs)];
  memcpy(other, train_attrs, sizeof other);
  other[14].num = 1;
  uint32_t end = ADD(p, TRAIN, other, trunk, data);
  uint32_t merge = ADD(p, MERGE, merge_attrs, trunk, end, data);
  ADD(p, MEASURE, measure_attrs, merge, data);
}

static const char *hex_of(struct fixture *f, uint32_t step)
{
  char hex[HASH_HEX];
  hash_hex(plan_step(f->plan, step)->key, hex);
  return arena_strdup(f->arena, hex);
}

/* ---- keys ---- */

/* A store outlives this program's versions: a key may change only on purpose,
 * and then KEY_FORMAT in plan.c or a module's version is raised. */
static void test_known_keys(void **state)
{
  struct fixture *f = *state;
  static const char *const keys[] = {
      "f649a912a2d65b2fcd4302b76f751ca2", "164c46003bfe83ec032d638ad9dc78a4",
      "6d2e05cdd724e1100d19ec0a296e305a", "adb2b4009cd77d4770c64e81ce8bed06",
      "f8355f851d35590614aa07497c5e000f", "2cec3d6bb4263648c90eeb0066e52044",
  };
  add_chain(f->plan);
  assert_int_equal(plan_count(f->plan), COUNT(keys));
  for (uint32_t i = 0; i < COUNT(keys); i++)
    assert_string_equal(hex_of(f, i), keys[i]);
}

static void test_same_step_is_one(void **state)
{
  struct fixture *f = *state;
  add_chain(f->plan);
  experiment = "other";
  add_chain(f->plan);
  experiment = "noise";
  assert_int_equal(plan_count(f->plan), 6);
  for (uint32_t i = 0; i < 6; i++) {
    assert_int_equal(plan_find(f->plan, plan_step(f->plan, i)->key), i);
  }
  assert_int_equal(plan_find(f->plan, (struct hash){{1}}), UINT32_MAX);
}

static void test_origin_is_no_part_of_the_key(void **state)
{
  struct fixture *f = *state;
  struct plan_step s = {.kind = PLAN_DATA,
                        .n_attrs = COUNT(data_attrs),
                        .attrs = data_attrs,
                        .origin = {"one", "lr=0.1", {1, 10, 20}, NULL}};
  uint32_t first = plan_add_step(f->plan, &s);
  s.origin = (struct plan_origin){"other", "", {2, 5, 6}, NULL};
  assert_int_equal(plan_add_step(f->plan, &s), first);
  assert_string_equal(plan_step(f->plan, first)->origin.experiment, "one");
}

/* Changes each attribute in turn, and takes each away. */
static void assert_attrs_matter(struct fixture *f, enum plan_kind kind,
                                const struct plan_attr *attrs, size_t n, const uint32_t *inputs,
                                uint32_t n_inputs)
{
  struct plan_attr changed[PLAN_ATTR_COUNT];
  uint32_t before = plan_count(f->plan);
  add(f->plan, kind, attrs, n, inputs, n_inputs);
  assert_int_equal(plan_count(f->plan), before);
  for (size_t i = 0; i < n; i++) {
    memcpy(changed, attrs, n * sizeof *attrs);
    if (changed[i].str)
      changed[i].str = "another";
    else
      changed[i].num = nextafter(changed[i].num, 1e9);
    assert_int_equal(add(f->plan, kind, changed, n, inputs, n_inputs), before++);
    memcpy(changed, attrs, i * sizeof *attrs);
    memcpy(changed + i, attrs + i + 1, (n - i - 1) * sizeof *attrs);
    assert_int_equal(add(f->plan, kind, changed, n - 1, inputs, n_inputs), before++);
  }
}

static void test_every_attribute_matters(void **state)
{
  struct fixture *f = *state;
  add_chain(f->plan);
  assert_attrs_matter(f, PLAN_DATA, data_attrs, COUNT(data_attrs), NULL, 0);
  assert_attrs_matter(f, PLAN_INIT, init_attrs, COUNT(init_attrs), (uint32_t[]){0}, 1);
  assert_attrs_matter(f, PLAN_TRAIN, train_attrs, COUNT(train_attrs), (uint32_t[]){1, 0}, 2);
  assert_attrs_matter(f, PLAN_MERGE, merge_attrs, COUNT(merge_attrs), (uint32_t[]){2, 3, 0}, 3);
  assert_attrs_matter(f, PLAN_MEASURE, measure_attrs, COUNT(measure_attrs), (uint32_t[]){4, 0}, 2);
}

static void test_inputs_matter(void **state)
{
  struct fixture *f = *state;
  add_chain(f->plan);
  assert_int_equal(ADD(f->plan, MERGE, merge_attrs, 3, 2, 0), 6); /* the other order */
  assert_int_equal(ADD(f->plan, MERGE, merge_attrs, 2, 3, 3, 0), 7);
  assert_int_equal(ADD(f->plan, MEASURE, measure_attrs, 3, 0), 8);
  assert_int_equal(ADD(f->plan, MERGE, merge_attrs, 2, 3, 0), 4);
}

/* A version is part of the keys of its own kind, and of all that comes after. */
static void test_versions_matter(void **state)
{
  struct fixture *f = *state;
  add_chain(f->plan);
  for (int k = 0; k <= PLAN_MEASURE; k++) {
    const char *other[PLAN_KIND_COUNT];
    memcpy(other, versions, sizeof other);
    other[k] = "2";
    struct plan *p = plan_new(f->arena, other);
    add_chain(p);
    for (uint32_t i = 0; i < 6; i++)
      assert_int_equal(hash_equal(plan_step(p, i)->key, plan_step(f->plan, i)->key),
                       (int)plan_step(p, i)->kind < k);
  }
}

static void test_values_are_not_confused(void **state)
{
  struct fixture *f = *state;
  struct plan_attr text = STR(lr, ""), zero = NUM(lr, 0), minus = NUM(lr, -0.0);
  struct plan_attr split[2] = {STR(data, "ab"), STR(compose, "c")};
  struct plan_attr moved[2] = {STR(data, "a"), STR(compose, "bc")};
  uint32_t a = add(f->plan, PLAN_DATA, &text, 1, NULL, 0);
  uint32_t b = add(f->plan, PLAN_DATA, &zero, 1, NULL, 0);
  assert_int_not_equal(a, b);
  assert_int_equal(add(f->plan, PLAN_DATA, &minus, 1, NULL, 0), b);
  assert_int_not_equal(add(f->plan, PLAN_DATA, split, 2, NULL, 0),
                       add(f->plan, PLAN_DATA, moved, 2, NULL, 0));
}

static void test_many_steps(void **state)
{
  struct fixture *f = *state;
  enum { N = 5000 };
  for (int round = 0; round < 2; round++)
    for (uint32_t i = 0; i < N; i++) {
      struct plan_attr seed = NUM(seed, i);
      assert_int_equal(add(f->plan, PLAN_DATA, &seed, 1, NULL, 0), i);
    }
  assert_int_equal(plan_count(f->plan), N);
  assert_int_equal(plan_find(f->plan, plan_step(f->plan, N - 1)->key), N - 1);
}

/* ---- tables and figures ---- */

static struct plan_table *example_table(struct arena *a)
{
  struct plan_column *columns = arena_array(a, 2, sizeof *columns);
  struct plan_cell *cells = arena_array(a, 4, sizeof *cells);
  struct plan_slot *slots = arena_array(a, 2, sizeof *slots);
  columns[0].name = "lr";
  columns[1].name = "gain";
  columns[1].measured = true;
  plan_expr_push(a, &columns[1].expr, (struct plan_code){PLAN_OP_SLOT, 0, 0});
  cells[0].num = 0.1;
  cells[2].num = 0.2;
  slots[0] = slots[1] = (struct plan_slot){0, "accuracy", 0};
  struct plan_table *t = arena_alloc(a, sizeof *t);
  *t = (struct plan_table){"noise", 2, 2, 1, columns, cells, slots};
  return t;
}

static uint32_t add_table(struct fixture *f, const struct plan_table *t)
{
  struct plan_step s = {.kind = PLAN_TABLE,
                        .n_inputs = 1,
                        .inputs = (uint32_t[]){5},
                        .table = t,
                        .origin = {.experiment = "noise", .point = ""}};
  return plan_add_step(f->plan, &s);
}

static void test_table_keys(void **state)
{
  struct fixture *f = *state;
  add_chain(f->plan);
  uint32_t first = add_table(f, example_table(f->arena));
  assert_int_equal(add_table(f, example_table(f->arena)), first);
  assert_string_equal(hex_of(f, first), "616213ec5edb58ec5bf06a99293b9fd5");
  for (int change = 0; change < 6; change++) {
    struct plan_table *t = example_table(f->arena);
    struct plan_column *columns = (struct plan_column *)t->columns;
    struct plan_cell *cells = (struct plan_cell *)t->cells;
    struct plan_slot *slots = (struct plan_slot *)t->slots;
    switch (change) {
    case 0:
      columns[0].name = "rate";
      break;
    case 1:
      cells[2].num = 0.3;
      break;
    case 2:
      cells[0].str = "0.1";
      break;
    case 3:
      slots[1].value = "loss";
      break;
    case 4:
      columns[1].expr.code[0] = (struct plan_code){PLAN_OP_NUMBER, 0, 1};
      break;
    default:
      t->experiment = "other";
    }
    assert_int_equal(add_table(f, t), first + 1 + (uint32_t)change);
  }
  /* A measured column's constant is not used, and is no part of the key. */
  struct plan_table *t = example_table(f->arena);
  ((struct plan_cell *)t->cells)[1].num = 99;
  assert_int_equal(add_table(f, t), first);
}

static uint32_t add_figure(struct fixture *f, uint32_t table, const struct plan_figure *figure)
{
  struct plan_step s = {.kind = PLAN_FIGURE,
                        .n_inputs = 1,
                        .inputs = &table,
                        .figure = figure,
                        .origin = {.experiment = "1", .point = ""}};
  return plan_add_step(f->plan, &s);
}

static const struct plan_claim_node gain = {.op = PLAN_CLAIM_COLUMN, .text = "gain"};
static const struct plan_claim_node median = {
    .op = PLAN_CLAIM_MEDIAN, .n_args = 1, .args = {&gain}};
static const struct plan_claim_node mean = {.op = PLAN_CLAIM_MEAN, .n_args = 1, .args = {&gain}};

enum { FIGURE_CHANGES = 19 };

/* One part of a figure or of its panel, made another one. */
static void change_figure(int change, struct plan_figure *g, struct plan_panel *p)
{
  switch (change) {
  case 0:
    g->number = 2;
    break;
  case 1:
    g->title = "other";
    break;
  case 2:
    g->subtitle = "other";
    break;
  case 3:
    g->columns = 3;
    break;
  case 4:
    p->name = "b";
    break;
  case 5:
    p->title = "other";
    break;
  case 6:
    p->kind = PLAN_PANEL_BOX;
    break;
  case 7:
    p->x.log = false;
    break;
  case 8:
    p->y.statistic = &mean;
    break;
  case 9:
    p->y.band = PLAN_SPREAD_RANGE;
    break;
  case 10:
    p->series = NULL;
    break;
  case 11:
    p->series_label = "b";
    break;
  case 12:
    p->opacity = "epoch";
    break;
  case 13:
    p->y.statistic = NULL;
    break;
  case 14:
    p->y.bars = true;
    break;
  case 15:
    p->y.fit = true;
    break;
  case 16:
    p->z.column = "gain";
    break;
  case 17:
    p->z.statistic = &mean;
    break;
  default:
    p->omitted = "not yet";
  }
}

static void test_figure_keys(void **state)
{
  struct fixture *f = *state;
  add_chain(f->plan);
  uint32_t table = add_table(f, example_table(f->arena));
  struct plan_panel panel = {.name = "a",
                             .title = "t",
                             .x = {.column = "lr", .label = "rate", .log = true},
                             .y = {.column = "gain",
                                   .label = "gain",
                                   .statistic = &median,
                                   .band = PLAN_SPREAD_QUARTILES},
                             .series = "batch",
                             .series_label = "batch size"};
  struct plan_figure figure = {1, "title", "tier small", 2, 1, &panel};
  uint32_t first = add_figure(f, table, &figure);
  assert_int_equal(add_figure(f, table, &figure), first);
  assert_string_equal(hex_of(f, first), "70de1fa55ec961a4fa62195c1346d315");
  assert_string_equal(plan_figure_id(f->arena, &figure), "fig01");
  for (int change = 0; change < FIGURE_CHANGES; change++) {
    struct plan_panel p = panel;
    struct plan_figure g = figure;
    g.panels = &p;
    change_figure(change, &g, &p);
    assert_int_equal(add_figure(f, table, &g), first + 1 + (uint32_t)change);
  }
}

/* ---- what is wanted, what is shared ---- */

static void test_closure(void **state)
{
  struct fixture *f = *state;
  bool wanted[6];
  add_chain(f->plan);
  plan_closure(f->plan, (uint32_t[]){2}, 1, wanted);
  static const bool trunk[6] = {true, true, true, false, false, false};
  assert_memory_equal(wanted, trunk, sizeof trunk);
  plan_closure(f->plan, (uint32_t[]){0, 4}, 2, wanted);
  static const bool merge[6] = {true, true, true, true, true, false};
  assert_memory_equal(wanted, merge, sizeof merge);
  plan_closure(f->plan, NULL, 0, wanted);
  static const bool none[6] = {false};
  assert_memory_equal(wanted, none, sizeof none);
}

static void test_sharing(void **state)
{
  struct fixture *f = *state;
  static const struct plan_table tables[2] = {{.experiment = "noise"}, {.experiment = "other"}};
  uint32_t trunk = 2, measure = 5, asked[8];
  add_chain(f->plan);
  struct plan_sharing all = plan_sharing(f->plan, NULL);
  assert_true(all.steps == 248 && all.steps_unshared == 248); /* for no table: once */
  plan_add_step(f->plan, &(struct plan_step){.kind = PLAN_TABLE, .n_inputs = 1, .inputs = &measure,
                                             .table = &tables[0], .origin = {.point = ""}});
  plan_add_step(f->plan, &(struct plan_step){.kind = PLAN_TABLE, .n_inputs = 1, .inputs = &trunk,
                                             .table = &tables[1], .origin = {.point = ""}});
  plan_asked(f->plan, NULL, asked);
  static const uint32_t expected[8] = {2, 2, 2, 1, 1, 1, 1, 1};
  assert_memory_equal(asked, expected, sizeof expected);
  all = plan_sharing(f->plan, NULL);
  assert_true(all.steps == 248 && all.steps_unshared == 372);
  static const bool wanted[8] = {true, true, true, false, false, false, false, true};
  all = plan_sharing(f->plan, wanted);
  assert_true(all.steps == 124 && all.steps_unshared == 124);
}

static void test_texts(void **state)
{
  struct fixture *f = *state;
  add_chain(f->plan);
  assert_string_equal(plan_step_text(f->arena, plan_step(f->plan, 4)),
                      "merge seed=0 batch=32 augment=flip_crop crop_padding=2 method=linear "
                      "alpha=0.5 batchnorm=recalibrated");
  assert_ptr_equal(plan_model_of(f->plan, plan_step(f->plan, 4)), plan_step(f->plan, 1));
  assert_null(plan_attr(plan_step(f->plan, 4), PLAN_A_lr));
  assert_true(plan_num(plan_step(f->plan, 2), PLAN_A_lr) == 0.1);
  assert_string_equal(plan_str(plan_step(f->plan, 1), PLAN_A_model), "resnet18");
  uint32_t table = add_table(f, example_table(f->arena));
  assert_string_equal(plan_step_text(f->arena, plan_step(f->plan, table)), "table noise, 2 rows");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      PLAN_TEST(test_known_keys),
      PLAN_TEST(test_same_step_is_one),
      PLAN_TEST(test_origin_is_no_part_of_the_key),
      PLAN_TEST(test_every_attribute_matters),
      PLAN_TEST(test_inputs_matter),
      PLAN_TEST(test_versions_matter),
      PLAN_TEST(test_values_are_not_confused),
      PLAN_TEST(test_many_steps),
      PLAN_TEST(test_table_keys),
      PLAN_TEST(test_figure_keys),
      PLAN_TEST(test_closure),
      PLAN_TEST(test_sharing),
      PLAN_TEST(test_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
