/* why: what a step differs in from the nearest result of the store. */
#include "config.h"

#include "run_fixture.h"

#include "run/why.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct chain {
  uint32_t data, init, train, end, measure;
};

static uint32_t add(struct plan *plan, enum plan_kind kind, const char *experiment,
                    const struct plan_attr *attrs, uint32_t n_attrs, const uint32_t *inputs,
                    uint32_t n_inputs)
{
  struct plan_step s = {.kind = kind, .attrs = attrs, .n_attrs = n_attrs, .inputs = inputs,
                        .n_inputs = n_inputs, .origin = {.experiment = experiment, .point = ""}};
  return plan_add_step(plan, &s);
}

static uint32_t train(struct plan *plan, const char *experiment, uint32_t from, uint32_t data,
                      double lr, double batch, double first)
{
  struct plan_attr attrs[] = {{PLAN_A_lr, lr, NULL},
                              {PLAN_A_batch, batch, NULL},
                              {PLAN_A_from, first, NULL},
                              {PLAN_A_to, first + 100, NULL}};
  uint32_t inputs[] = {from, data};
  return add(plan, PLAN_TRAIN, experiment, attrs, 4, inputs, 2);
}

/* data, first weights, two segments of training, a measure of the last. */
static struct chain chain(struct plan *plan, const char *experiment, const char *model, double lr,
                          double batch)
{
  struct plan_attr data[] = {{PLAN_A_data, 0, "fashion"}}, init[] = {{PLAN_A_model, 0, model}};
  struct plan_attr measure[] = {{PLAN_A_split, 0, "test"}};
  struct chain c = {.data = add(plan, PLAN_DATA, experiment, data, 1, NULL, 0)};
  c.init = add(plan, PLAN_INIT, experiment, init, 1, &c.data, 1);
  c.train = train(plan, experiment, c.init, c.data, lr, batch, 0);
  c.end = train(plan, experiment, c.train, c.data, lr, batch, 100);
  uint32_t inputs[] = {c.end, c.data};
  c.measure = add(plan, PLAN_MEASURE, experiment, measure, 1, inputs, 2);
  return c;
}

static void commit(struct fixture *f, uint32_t step)
{
  struct store_result r = {.seconds = 1};
  struct store_draft *draft = store_begin(f->store, f->arena, f->diag);
  assert_non_null(draft);
  assert_true(store_commit(draft, f->plan, plan_step(f->plan, step), &r, f->diag));
}

static void commit_chain(struct fixture *f, struct chain c)
{
  const uint32_t steps[] = {c.data, c.init, c.train, c.end, c.measure};
  for (int i = 0; i < 5; i++)
    if (!store_has(f->store, plan_step(f->plan, steps[i])->key))
      commit(f, steps[i]);
}

static struct why ask(struct fixture *f, const struct plan *plan, uint32_t step)
{
  struct why_index *index = why_open(f->arena, f->store, f->diag);
  assert_non_null(index);
  return why_step(index, f->arena, plan, step);
}

static void test_cached(void **state)
{
  struct fixture *f = *state;
  struct chain c = chain(f->plan, "a", "mlp", 0.1, 32);
  commit_chain(f, c);
  struct why why = ask(f, f->plan, c.measure);
  assert_true(why.cached);
  assert_null(why.nearest);
  assert_int_equal(why.n, 0);
}

static void test_empty(void **state)
{
  struct fixture *f = *state;
  struct chain c = chain(f->plan, "a", "mlp", 0.1, 32);
  struct why why = ask(f, f->plan, c.train);
  assert_false(why.cached);
  assert_null(why.nearest);
  commit(f, c.data);
  assert_null(ask(f, f->plan, c.train).nearest);
}

/* One attribute of the nearest, though another lies nearer in the store's order. */
static void test_attribute(void **state)
{
  struct fixture *f = *state;
  commit_chain(f, chain(f->plan, "a", "mlp", 0.1, 32));
  commit_chain(f, chain(f->plan, "a", "mlp", 0.5, 64));
  struct chain wanted = chain(f->plan, "a", "mlp", 0.2, 32);
  struct why why = ask(f, f->plan, wanted.train);
  assert_false(why.cached);
  assert_int_equal(why.n, 1);
  assert_int_equal(why.differences[0].here.id, PLAN_A_lr);
  assert_true(why.differences[0].has_here && why.differences[0].has_there);
  assert_true(why.differences[0].here.num == 0.2 && why.differences[0].there.num == 0.1);
  assert_int_equal(why.differences[0].step, wanted.train);
  assert_true(!why.versions && !why.unknown && !why.shape);
}

/* Any two attributes are told apart: there are more of them than bits in a word. */
static void test_many_attributes(void **state)
{
  struct fixture *f = *state;
  struct plan_attr attrs[PLAN_ATTR_COUNT];
  const struct chain c = chain(f->plan, "a", "mlp", 0.1, 32);
  uint32_t step[2];
  commit_chain(f, c);
  for (int k = 0; k < 2; k++) {
    for (int i = 0; i < PLAN_ATTR_COUNT; i++)
      attrs[i] = (struct plan_attr){(enum plan_attr_id)i, i + 10 * k, NULL};
    step[k] = add(f->plan, PLAN_MERGE, "a", attrs, PLAN_ATTR_COUNT, &c.end, 1);
  }
  commit(f, step[0]);
  const struct why why = ask(f, f->plan, step[1]);
  assert_int_equal(why.n, PLAN_ATTR_COUNT);
  for (int i = 0; i < PLAN_ATTR_COUNT; i++)
    assert_int_equal(why.differences[i].here.id, i);
}

/* A measure's own attributes are the same: the cause lies three steps back, and is
 * told once though two segments of training differ in it. */
static void test_ancestor(void **state)
{
  struct fixture *f = *state;
  commit_chain(f, chain(f->plan, "a", "mlp", 0.1, 32));
  struct chain wanted = chain(f->plan, "a", "resnet", 0.1, 32);
  struct why why = ask(f, f->plan, wanted.measure);
  assert_int_equal(why.n, 1);
  assert_int_equal(why.differences[0].step, wanted.init);
  assert_string_equal(why.differences[0].here.str, "resnet");
  assert_string_equal(why.differences[0].there.str, "mlp");
  wanted = chain(f->plan, "a", "mlp", 0.3, 32);
  why = ask(f, f->plan, wanted.measure);
  assert_int_equal(why.n, 1);
  assert_int_equal(why.differences[0].here.id, PLAN_A_lr);
}

/* Of equals, the same experiment's; then the nearest number. */
static void test_ties(void **state)
{
  struct fixture *f = *state;
  commit_chain(f, chain(f->plan, "a", "mlp", 0.01, 32));
  commit_chain(f, chain(f->plan, "a", "mlp", 0.1, 32));
  commit_chain(f, chain(f->plan, "b", "mlp", 0.19, 32));
  struct why why = ask(f, f->plan, chain(f->plan, "a", "mlp", 0.2, 32).train);
  assert_true(why.n == 1 && why.differences[0].there.num == 0.1);
  why = ask(f, f->plan, chain(f->plan, "b", "mlp", 0.02, 32).train);
  assert_true(why.n == 1 && why.differences[0].there.num == 0.19);
}

static void test_version(void **state)
{
  struct fixture *f = *state;
  static const char *const newer[PLAN_KIND_COUNT] = {"1", "1", "new", "1", "1", "1", "1", "1"};
  commit_chain(f, chain(f->plan, "a", "mlp", 0.1, 32));
  struct plan *plan = plan_new(f->arena, newer);
  struct chain wanted = chain(plan, "a", "mlp", 0.1, 32);
  struct why why = ask(f, plan, wanted.measure);
  assert_int_equal(why.n, 0);
  assert_false(why.shape);
  assert_true(why.versions & 1U << PLAN_TRAIN);
}

/* An attribute that only one of the two has; and an ancestor that is gone. */
static void test_missing(void **state)
{
  struct fixture *f = *state;
  struct chain old = chain(f->plan, "a", "mlp", 0.1, 32);
  commit_chain(f, old);
  struct plan_attr attrs[] = {{PLAN_A_model, 0, "mlp"}, {PLAN_A_width, 64, NULL}};
  uint32_t init = add(f->plan, PLAN_INIT, "a", attrs, 2, &old.data, 1);
  struct why why = ask(f, f->plan, init);
  assert_int_equal(why.n, 1);
  assert_int_equal(why.differences[0].here.id, PLAN_A_width);
  assert_true(why.differences[0].has_here);
  assert_false(why.differences[0].has_there);
  assert_int_equal(remove(fixture_path(f, old.end, "result.json")), 0);
  why = ask(f, f->plan, chain(f->plan, "a", "mlp", 0.2, 32).measure);
  assert_int_equal(why.unknown, 1);
}

/* Objects that cannot be read are as good as not there. */
static void test_damaged(void **state)
{
  struct fixture *f = *state;
  struct chain c = chain(f->plan, "a", "mlp", 0.1, 32);
  commit_chain(f, c);
  fixture_write(fixture_path(f, c.train, "result.json"), "{\"key\": 7");
  struct why why = ask(f, f->plan, chain(f->plan, "a", "mlp", 0.2, 32).train);
  assert_non_null(why.nearest);
  assert_true(hash_equal(why.nearest->key, plan_step(f->plan, c.end)->key));
}

#define WHY_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_begin, fixture_end)

int main(void)
{
  const struct CMUnitTest tests[] = {
      WHY_TEST(test_cached),  WHY_TEST(test_empty),   WHY_TEST(test_attribute), WHY_TEST(test_many_attributes),
      WHY_TEST(test_ancestor), WHY_TEST(test_ties),   WHY_TEST(test_version),
      WHY_TEST(test_missing), WHY_TEST(test_damaged),
  };
  return cmocka_run_group_tests_name("why", tests, NULL, NULL);
}
