/* Memory and sources: what the language stands on. */
#include "config.h"

#include "base/arena.h"
#include "base/source.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static void test_zeroed_and_aligned(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  for (size_t size = 0; size < 40000; size = size * 3 / 2 + 1) {
    unsigned char *p = arena_alloc(a, size);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < size; i++)
      assert_int_equal(p[i], 0);
    memset(p, 0xFF, size);
  }
  assert_true(arena_bytes(a) < 1 << 20);
  arena_free(a);
  arena_free(NULL);
}

/* Two arrays that grow in turn, and one that grows alone: nothing is lost, and
 * what lies behind the items is zero. */
static void test_growth(void **state)
{
  enum { N = 100000 };
  (void)state;
  struct arena *a = arena_new();
  struct pair {
    uint32_t k, zero[9];
  } *pairs = NULL;
  uint32_t *odd = NULL, *even = NULL;
  size_t n_pairs = 0, cap_pairs = 0, n_odd = 0, cap_odd = 0, n_even = 0, cap_even = 0;
  for (uint32_t i = 0; i < N; i += 2) {
    ARENA_PUSH(a, even, n_even, cap_even, i);
    ARENA_PUSH(a, odd, n_odd, cap_odd, i + 1);
  }
  size_t before = arena_bytes(a);
  for (uint32_t i = 0; i < N; i++) {
    ARENA_PUSH(a, pairs, n_pairs, cap_pairs, ((struct pair){.k = i}));
    assert_true(cap_pairs >= n_pairs && cap_pairs <= 2 * n_pairs);
    for (size_t k = n_pairs; k < cap_pairs && k < n_pairs + 2; k++)
      assert_int_equal(pairs[k].k, 0);
  }
  for (uint32_t i = 0; i < N; i++) {
    assert_int_equal((i & 1 ? odd : even)[i / 2], i);
    assert_int_equal(pairs[i].k, i);
    assert_int_equal(pairs[i].zero[8], 0);
  }
  assert_true(arena_bytes(a) - before < 5 * N * sizeof *pairs);
  arena_free(a);
}

/* What grows in place is the last allocation and no other. */
static void test_growth_in_place(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  uint64_t *v = NULL, *first;
  size_t n = 0, cap = 0;
  ARENA_PUSH(a, v, n, cap, 1);
  first = v;
  for (uint64_t i = 2; i <= 100; i++)
    ARENA_PUSH(a, v, n, cap, i);
  assert_ptr_equal(v, first);
  char *other = arena_strdup(a, "other");
  for (uint64_t i = 101; i <= 1000; i++)
    ARENA_PUSH(a, v, n, cap, i);
  assert_ptr_not_equal(v, first);
  assert_string_equal(other, "other");
  for (size_t i = 0; i < n; i++)
    assert_int_equal(v[i], i + 1);
  arena_free(a);
}

static void test_text(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  char *long_one = arena_printf(a, "%0*d", 100000, 7);
  assert_int_equal(strlen(long_one), 100000);
  assert_string_equal(arena_strndup(a, "abc", 2), "ab");
  assert_string_equal(arena_printf(a, "%s-%d", "x", 3), "x-3");
  arena_free(a);
}

static void test_lines(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct source_set *set = source_set_new(a);
  static const char text[] = "a\n\r\nb\r\n\nlast";
  static const struct {
    uint32_t at, line, length;
  } places[] = {{0, 1, 1}, {1, 1, 1}, {2, 2, 0}, {3, 2, 0},  {4, 3, 1},
                {6, 3, 1}, {7, 4, 0}, {8, 5, 4}, {12, 5, 4}, {99, 5, 4}};
  char copy[sizeof text];
  memcpy(copy, text, sizeof text);
  uint32_t file = source_add(set, "a", copy, sizeof text - 1);
  memset(copy, 'x', sizeof copy);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    struct source_place place;
    assert_true(source_locate(set, (struct span){file, places[i].at, places[i].at}, &place));
    assert_int_equal(place.line, places[i].line);
    assert_int_equal(place.line_length, places[i].length);
  }
  size_t length;
  assert_ptr_equal(source_text(set, source_add_kept(set, "b", text, 4), &length), text);
  assert_int_equal(length, 4);
  assert_int_equal(source_included(set, 2).file, 0);
  source_set_included(set, 2, (struct span){1, 2, 3});
  assert_int_equal(source_included(set, 2).file, 1);
  assert_false(source_locate(set, SPAN_NONE, &(struct source_place){0}));
  assert_int_equal(source_included(set, 9).file, 0);
  arena_free(a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_zeroed_and_aligned),
      cmocka_unit_test(test_growth),
      cmocka_unit_test(test_growth_in_place),
      cmocka_unit_test(test_text),
      cmocka_unit_test(test_lines),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
