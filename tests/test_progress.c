#include "config.h"

#include "run/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *text;
static size_t length;

static struct progress_count count(uint32_t done, uint32_t total, double cost, double cost_total)
{
  return (struct progress_count){done, total, cost, cost_total};
}

static struct progress start(bool terminal)
{
  free(text);
  text = NULL;
  struct progress p = {.out = open_memstream(&text, &length), .terminal = terminal, .columns = 200};
  return p;
}

static void test_line(void **state)
{
  (void)state;
  struct progress p = start(true);
  progress_begin(&p, 3, count(0, 290, 0, 1000), 100);
  progress_label(&p, "train noise lr=0.1\nbatch=32");
  progress_update(&p, count(123, 290, 420, 1000), 110);
  /* 58 % of the cost is left, 42 % took 10 s. */
  assert_string_equal(text, "\r[ 42%] 123/290 steps  12.3 steps/s  00:14 left  "
                            "train noise lr=0.1 batch=32\033[K");
  size_t before = length;
  progress_update(&p, count(124, 290, 421, 1000), 110.05); /* too soon */
  assert_int_equal(length, before);
  progress_update(&p, count(124, 290, 421, 1000), 110.2);
  assert_true(length > before);
  progress_end(&p, "done");
  assert_string_equal(text + length - 9, "\r\033[K"
                                         "done\n");
  fclose(p.out);
}

static void test_cut(void **state)
{
  (void)state;
  struct progress p = start(true);
  p.columns = 20;
  progress_begin(&p, 0, count(0, 7, 0, 7), 0);
  progress_label(&p, "\xc3\xa4\xc3\xb6");
  progress_update(&p, count(1, 7, 1, 7), 1);
  assert_string_equal(text, "\r[ 14%] 1/7 steps  1\033[K");
  fclose(p.out);
}

static void test_colour(void **state)
{
  (void)state;
  struct progress p = start(true);
  p.colour = true;
  progress_begin(&p, 0, count(0, 2, 0, 2), 0);
  progress_update(&p, count(1, 2, 1, 2), 1);
  assert_non_null(strstr(text, "\033[32m[ 50%]\033[0m 1/2"));
  progress_say(&p, true, "train: no");
  assert_non_null(strstr(text, "\033[1;31mfailed:\033[0m train: no\n"));
  fclose(p.out);
}

static unsigned lines(void)
{
  unsigned n = 0;
  for (const char *c = text; *c; c++)
    n += *c == '\n';
  return n;
}

static void test_plain(void **state)
{
  (void)state;
  struct progress p = start(false);
  progress_begin(&p, 12, count(0, 1000, 0, 1000), 0);
  assert_string_equal(text, "1000 steps to do, 12 cached\n");
  for (uint32_t i = 1; i <= 50; i++) /* 5 % in 20 s */
    progress_update(&p, count(i, 1000, i, 1000), 0.4 * i);
  assert_in_range(lines(), 1 + 3, 1 + 4);
  for (uint32_t i = 1; i <= 100; i++) /* nothing new for 40 s */
    progress_update(&p, count(50, 1000, 50, 1000), 20 + 0.4 * i);
  assert_in_range(lines(), 1 + 3, 1 + 4);
  for (uint32_t i = 50; i <= 1000; i++) /* the rest in 9.5 s */
    progress_update(&p, count(i, 1000, i, 1000), 60 + 0.01 * (i - 50));
  assert_in_range(lines(), 1 + 3 + 8, 1 + 4 + 11);
  assert_null(strchr(text, '\r'));
  assert_null(strchr(text, '\033'));
  fclose(p.out);
}

static void test_silent(void **state)
{
  (void)state;
  struct progress p = {.terminal = true};
  progress_begin(&p, 0, count(0, 1, 0, 1), 0);
  progress_update(&p, count(1, 1, 1, 1), 5);
  progress_say(&p, true, "x");
  progress_end(&p, "y");
}

static void test_duration(void **state)
{
  (void)state;
  char t[32];
  assert_string_equal(progress_duration(0.42, t), "0.4 s");
  assert_string_equal(progress_duration(83.2, t), "83 s");
  assert_string_equal(progress_duration(725, t), "12 min 05 s");
  assert_string_equal(progress_duration(12000, t), "3 h 20 min");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_line),  cmocka_unit_test(test_cut),    cmocka_unit_test(test_colour),
      cmocka_unit_test(test_plain), cmocka_unit_test(test_silent), cmocka_unit_test(test_duration),
  };
  int failed = cmocka_run_group_tests_name("progress", tests, NULL, NULL);
  free(text);
  return failed;
}
