/* Arithmetic over results: expressions, what is not a number, quantiles. */
#include "config.h"

#include "plan/expr.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "scratch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* "s0 s1 +" and the like: the text form, read back. */
static struct plan_expr expr(struct arena *a, const char *text)
{
  static const struct {
    const char *name;
    enum plan_op op;
  } ops[] = {
#define OP(id, name, operands) {name, PLAN_OP_##id},
      PLAN_OPS(OP)
#undef OP
  };
  struct plan_expr e = {0};
  char *copy = arena_strdup(a, text), *rest = NULL;
  for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
    struct plan_code code = {PLAN_OP_NUMBER, 0, 0};
    char *end, *bracket = strchr(word, '(');
    code.number = strtod(word, &end);
    if (bracket) {
      code.n = (uint32_t)strtoul(bracket + 1, NULL, 10);
      *bracket = 0;
    }
    if (*word == 's' && word[1] >= '0' && word[1] <= '9') {
      code = (struct plan_code){PLAN_OP_SLOT, (uint32_t)strtoul(word + 1, NULL, 10), 0};
    } else if (*end) {
      size_t i = 0;
      while (i < COUNT(ops) && strcmp(ops[i].name, word))
        i++;
      assert_true(i < COUNT(ops));
      code.op = ops[i].op;
      code.number = 0;
    }
    plan_expr_push(a, &e, code);
  }
  assert_string_equal(plan_expr_text(a, &e), text);
  return e;
}

static double value(struct scratch *s, const char *text)
{
  static const double slots[] = {0.75, 0.5, 0.625, NAN, INFINITY};
  struct plan_expr e = expr(s->arena, text);
  return plan_expr_eval(&e, slots);
}

static void test_arithmetic(void **state)
{
  struct scratch *s = *state;
  assert_true(value(s, "s0 s1 -") == 0.25);
  assert_true(value(s, "100 s0 s1 s2 mean(2) - *") == 18.75);
  assert_true(value(s, "2 3 ^ 4 /") == 2);
  assert_true(fabs(value(s, "2 neg abs 2 sqrt 2 sqrt * +") - 4) < 1e-12);
  assert_true(fabs(value(s, "100 log10 1 exp log +") - 3) < 1e-12);
  assert_true(value(s, "s0 s1 s2 mean(3)") == 0.625);
  assert_true(value(s, "s0 s1 median(2)") == 0.625);
  assert_true(value(s, "s0 s1 s2 median(3)") == 0.625);
  assert_true(value(s, "s0 s1 s2 min(3)") == 0.5);
  assert_true(value(s, "s0 s1 s2 max(3)") == 0.75);
  assert_true(value(s, "s0 s4 max(2)") == INFINITY);
  assert_true(isnan(value(s, "1 neg sqrt")));
  assert_true(value(s, "1 0 /") == INFINITY);
}

/* A run that failed is NaN, and nothing makes a number of it. */
static void test_nan(void **state)
{
  struct scratch *s = *state;
  static const char *const all[] = {
      "s3",
      "s3 s0 +",
      "s0 s3 -",
      "s3 0 *",
      "s0 s3 s1 mean(3)",
      "s3 s0 min(2)",
      "s0 s3 min(2)",
      "s0 s3 max(2)",
      "s3 s0 s1 median(3)",
      "s0 s1 s3 median(3)",
      "s3 abs",
      "s3 max(1)",
  };
  for (size_t i = 0; i < COUNT(all); i++)
    if (!isnan(value(s, all[i])))
      fail_msg("%s is a number", all[i]);
}

static void test_depth(void **state)
{
  struct scratch *s = *state;
  struct plan_expr e = expr(s->arena, "1 2 3 4 mean(3) + neg");
  assert_int_equal(plan_expr_depth(&e), 4);
  e = expr(s->arena, "1 2 + 3 +");
  assert_int_equal(plan_expr_depth(&e), 2);
}

/* The definition that numpy.quantile has by default, worked out by hand. */
static void test_quantiles(void **state)
{
  (void)state;
  static const double v[] = {3.5, -1, 7.25, 2, 2, 10.125, 0.5};
  static const double q[] = {0, 0.1, 0.25, 0.5, 0.75, 0.9, 1};
  static const double expected[] = {-1, -0.1, 1.25, 2, 5.375, 8.4, 10.125};
  for (size_t i = 0; i < COUNT(q); i++)
    assert_true(fabs(plan_quantile(v, COUNT(v), q[i]) - expected[i]) < 1e-12);
  assert_true(v[0] == 3.5 && v[6] == 0.5);
  static const double two[] = {4, 1};
  assert_true(plan_quantile(two, 2, 0.25) == 1.75);
  assert_true(plan_quantile(two, 2, 0.5) == 2.5);
  assert_true(plan_quantile(two, 1, 0.9) == 4);
  assert_true(isnan(plan_quantile(two, 0, 0.5)));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(test_arithmetic),
      SCRATCH_TEST(test_nan),
      SCRATCH_TEST(test_depth),
      cmocka_unit_test(test_quantiles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
