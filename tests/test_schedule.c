/* Learning-rate schedules, by hand. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/schedule.h"

#include <math.h>
#include <string.h>

static void schedules_have_their_values(void **state)
{
  (void)state;
  enum schedule_kind k;
  assert_true(schedule_find("constant", &k));
  assert_int_equal(k, SCHEDULE_CONSTANT);
  assert_true(schedule_factor(k, 17, 20, 0) == 1);
  assert_true(schedule_find("sqrt_decay", &k));
  assert_true(schedule_factor(k, 0, 100, 0) == 1);
  assert_true(schedule_factor(k, 25, 100, 0) == 0.5);
  assert_true(fabs(schedule_factor(k, 81, 100, 0) - 0.1) < 1e-12);
  assert_true(schedule_factor(k, 100, 100, 0) == 0);
  assert_false(schedule_find("cosine_of_sorts", &k));
}

struct schedule_point {
  const char *name;
  double t, length, warmup, factor;
};

/* By hand; a warmup that is as long as the schedule, or longer, never ends. */
static void schedules_go_through_their_points(void **state)
{
  (void)state;
  static const struct schedule_point points[] = {
      {"linear_decay", 0, 8, 0, 1},
      {"linear_decay", 2, 8, 0, 0.75},
      {"linear_decay", 7, 8, 0, 0.125},
      {"linear_decay", 8, 8, 0, 0},
      {"cosine", 0, 12, 0, 1},
      {"cosine", 3, 12, 0, 0.853553390593273762}, /* (1 + sqrt(1/2)) / 2 */
      {"cosine", 4, 12, 0, 0.75},
      {"cosine", 6, 12, 0, 0.5},
      {"cosine", 8, 12, 0, 0.25},
      {"cosine", 12, 12, 0, 0},
      {"cosine", 13, 12, 0, 0},
      {"warmup_constant", 0, 100, 5, 0.2},
      {"warmup_constant", 3, 100, 5, 0.8},
      {"warmup_constant", 4, 100, 5, 1},
      {"warmup_constant", 5, 100, 5, 1},
      {"warmup_constant", 99, 100, 5, 1},
      {"warmup_constant", 0, 0, 0, 1},
      {"warmup_cosine", 0, 16, 4, 0.25},
      {"warmup_cosine", 3, 16, 4, 1},
      {"warmup_cosine", 4, 16, 4, 1},
      {"warmup_cosine", 8, 16, 4, 0.75},
      {"warmup_cosine", 10, 16, 4, 0.5},
      {"warmup_cosine", 16, 16, 4, 0},
      {"warmup_cosine", 3, 4, 8, 0.5},
      {"warmup_cosine", 4, 4, 4, 0},
      {"warmup_cosine", 0, 4, 0.5, 1},
  };
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    const struct schedule_point *p = &points[i];
    enum schedule_kind k;
    assert_true(schedule_find(p->name, &k));
    double factor = schedule_factor(k, p->t, p->length, p->warmup);
    if (!(fabs(factor - p->factor) < 1e-12))
      fail_msg("%s at %g of %g: %.17g", p->name, p->t, p->length, factor);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(schedules_have_their_values),
      cmocka_unit_test(schedules_go_through_their_points),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
