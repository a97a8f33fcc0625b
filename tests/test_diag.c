/* Diagnostics: how they print, and the golden files in tests/diag.
 *
 * Each NAME.exp there has one mistake (or says in its name that it has more),
 * and NAME.err holds what is printed.  Files in tests/diag are only parsed;
 * those in tests/diag/check go all the way to a plan, at the tier that a first
 * line such as "# tier: small" names.  UPDATE_GOLDEN=1 in the environment writes
 * the .err files anew. */
#include "config.h"

#include "base/diag.h"
#include "dsl/check.h"
#include "dsl/lower.h"
#include "dsl/parse.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

struct fixture {
  struct arena *arena;
  struct source_set *sources;
  struct diag *diag;
};

static int begin(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  *f = (struct fixture){a, source_set_new(a), diag_new(a)};
  *state = f;
  return 0;
}

static int end(void **state)
{
  arena_free(((struct fixture *)*state)->arena);
  return 0;
}

static char *printed(struct arena *a, const struct diag *d, const struct source_set *sources,
                     bool colour)
{
  char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  diag_print(d, sources, out, colour);
  fclose(out);
  char *copy = arena_strdup(a, text);
  free(text);
  return copy;
}

static void assert_printed(const struct fixture *f, const char *expected)
{
  char *text = printed(f->arena, f->diag, f->sources, false);
  assert_string_equal(text, expected);
}

static struct span add(struct fixture *f, const char *text, const char *part)
{
  uint32_t file = source_add(f->sources, "a.exp", text, strlen(text));
  uint32_t at = (uint32_t)(strstr(text, part) - text);
  return (struct span){file, at, at + (uint32_t)strlen(part)};
}

static void test_format(void **state)
{
  struct fixture *f = *state;
  struct span at = add(f, "# one\n  model = resnet81;\n", "resnet81");
  diag_error(f->diag, at, "unknown model \"%s\"", "resnet81");
  diag_hint(f->diag, "did you mean \"resnet18\"?");
  diag_note(f->diag, (struct span){at.file, 2, 5}, "see here");
  assert_printed(f, "a.exp:2:11: error: unknown model \"resnet81\"\n"
                    "   2 |   model = resnet81;\n"
                    "     |           ^~~~~~~~\n"
                    "hint: did you mean \"resnet18\"?\n"
                    "a.exp:1:3: note: see here\n"
                    "   1 | # one\n"
                    "     |   ^~~\n"
                    "1 error\n");
  assert_int_equal(diag_errors(f->diag), 1);
  assert_string_equal(diag_message(f->diag, 0), "unknown model \"resnet81\"");
  assert_string_equal(diag_hint_of(f->diag, 0), "did you mean \"resnet18\"?");
  assert_null(diag_message(f->diag, 1));
}

static void test_tabs_and_utf8(void **state)
{
  struct fixture *f = *state;
  diag_error(f->diag, add(f, "\tx = \"gr\xC3\xB6\xC3\x9F\" + 12;", "12"), "m");
  diag_error(f->diag, add(f, "\xE5\xAD\xA6\xE7\xBF\x92 = 3;", "3"), "wide");
  diag_error(f->diag, add(f, "a\xFF\x1B = 3;\r\n", "3"), "broken");
  assert_printed(f, "a.exp:1:15: error: m\n"
                    "   1 |         x = \"gr\xC3\xB6\xC3\x9F\" + 12;\n"
                    "     |                      ^~\n"
                    "a.exp:1:6: error: wide\n"
                    "   1 | \xE5\xAD\xA6\xE7\xBF\x92 = 3;\n"
                    "     |        ^\n"
                    "a.exp:1:7: error: broken\n"
                    "   1 | a\xEF\xBF\xBD\xEF\xBF\xBD = 3;\n"
                    "     |       ^\n"
                    "3 errors\n");
}

static void test_spans(void **state)
{
  struct fixture *f = *state;
  struct span at = add(f, "one two\nthree\n", "two\nthree");
  diag_warning(f->diag, at, "over two lines");
  diag_error(f->diag, (struct span){at.file, 7, 7}, "end of line");
  diag_error(f->diag, (struct span){at.file, 14, 14}, "end of file");
  assert_printed(f, "a.exp:1:5: warning: over two lines\n"
                    "   1 | one two\n"
                    "     |     ^~~\n"
                    "a.exp:1:8: error: end of line\n"
                    "   1 | one two\n"
                    "     |        ^\n"
                    "a.exp:3:1: error: end of file\n"
                    "   3 | \n"
                    "     | ^\n"
                    "2 errors, 1 warning\n");
}

static void test_order_and_duplicates(void **state)
{
  struct fixture *f = *state;
  struct span b = add(f, "aa bb\n", "bb");
  struct span a = {b.file, 0, 2};
  diag_error(f->diag, b, "second");
  diag_error(f->diag, a, "first");
  diag_error(f->diag, b, "second");
  diag_error(f->diag, a, "first too");
  diag_error(f->diag, SPAN_NONE, "no place\nand more");
  assert_printed(f, "mergescape: error: no place\n  and more\n"
                    "a.exp:1:1: error: first\n   1 | aa bb\n     | ^~\n"
                    "a.exp:1:1: error: first too\n   1 | aa bb\n     | ^~\n"
                    "a.exp:1:4: error: second\n   1 | aa bb\n     |    ^~\n"
                    "4 errors\n");
  diag_clear(f->diag);
  assert_int_equal(diag_count(f->diag), 0);
  assert_printed(f, "");
  diag_error(f->diag, SPAN_NONE, "disk full");
  char *text = printed(f->arena, f->diag, NULL, false);
  assert_string_equal(text, "mergescape: error: disk full\n");
}

/* The same again adds nothing, and neither do its hint and note; but it counts. */
static void test_same_again(void **state)
{
  struct fixture *f = *state;
  struct span at = add(f, "aa bb\n", "bb");
  diag_error(f->diag, at, "wrong");
  diag_hint(f->diag, "mend it");
  diag_error(f->diag, at, "wrong");
  diag_hint(f->diag, "mend it otherwise");
  diag_note(f->diag, at, "here");
  assert_int_equal(diag_errors(f->diag), 2);
  assert_int_equal(diag_count(f->diag), 1);
  diag_warning(f->diag, at, "wrong");
  for (unsigned i = 0; i < 1000; i++)
    diag_error(f->diag, at, "wrong in %u ways", i % 500);
  assert_int_equal(diag_count(f->diag), 502);
  diag_clear(f->diag);
  diag_hint(f->diag, "of nothing");
  diag_error(f->diag, at, "wrong");
  assert_printed(f, "a.exp:1:4: error: wrong\n   1 | aa bb\n     |    ^~\n1 error\n");
}

static void test_within(void **state)
{
  struct fixture *f = *state;
  static const char text[] = "experiment a {\n  lr = x;\n}\nexperiment b : a {\n  lr = y;\n}\n";
  struct span x = add(f, text, "x;"), all = {x.file, 0, sizeof text - 1}, b = all, y = all;
  b.begin = (uint32_t)(strstr(text, "experiment b") - text);
  y.begin = (uint32_t)(strstr(text, "y;") - text);
  x.end = x.begin + 1;
  y.end = y.begin + 1;
  diag_within(f->diag, all, "everything");
  diag_within(f->diag, b, "`%s` inherits it", "b");
  diag_error(f->diag, x, "unknown x");
  diag_hint(f->diag, "say 1");
  diag_note(f->diag, y, "compare");
  diag_error(f->diag, y, "unknown y");
  diag_error(f->diag, SPAN_NONE, "no place");
  diag_warning(f->diag, x, "odd x");
  diag_within_end(f->diag);
  diag_error(f->diag, x, "unknown x");
  diag_within_end(f->diag);
  diag_error(f->diag, all, "late");
  assert_printed(f, "mergescape: error: no place\n"
                    "a.exp:1:1: error: late\n"
                    "   1 | experiment a {\n"
                    "     | ^~~~~~~~~~~~~~\n"
                    "a.exp:2:8: error: unknown x\n"
                    "   2 |   lr = x;\n"
                    "     |        ^\n"
                    "hint: say 1\n"
                    "a.exp:5:8: note: compare\n"
                    "   5 |   lr = y;\n"
                    "     |        ^\n"
                    "a.exp:4:1: note: `b` inherits it\n"
                    "   4 | experiment b : a {\n"
                    "     | ^~~~~~~~~~~~~~~~~~\n"
                    "a.exp:2:8: warning: odd x\n"
                    "   2 |   lr = x;\n"
                    "     |        ^\n"
                    "a.exp:5:8: error: unknown y\n"
                    "   5 |   lr = y;\n"
                    "     |        ^\n"
                    "4 errors, 1 warning\n");
}

static void test_included_once(void **state)
{
  struct fixture *f = *state;
  struct span top = add(f, "include \"b\";\n", "\"b\""), b = add(f, "xx yy\n", "xx"), yy = b;
  yy.begin += 3;
  yy.end += 3;
  source_set_included(f->sources, b.file, top);
  diag_warning(f->diag, yy, "second");
  diag_warning(f->diag, b, "first");
  assert_printed(f, "a.exp:1:1: warning: first\n   1 | xx yy\n     | ^~\n"
                    "note: included from a.exp:1:9\n"
                    "a.exp:1:4: warning: second\n   1 | xx yy\n     |    ^~\n"
                    "2 warnings\n");
  diag_clear(f->diag);
  diag_error(f->diag, b, "later");
  assert_printed(f, "a.exp:1:1: error: later\n   1 | xx yy\n     | ^~\n1 error\n");
}

/* Columns of places on one line, asked for in any order. */
static void test_columns(void **state)
{
  struct fixture *f = *state;
  struct span at = add(f, "\xC3\xB6 b\n\xC3\xB6\xC3\xB6 d", "d");
  static const struct {
    uint32_t begin, line, column;
  } places[] = {{9, 2, 3}, {10, 2, 4}, {3, 1, 3}, {10, 2, 4}, {0, 1, 1}, {7, 2, 2}, {5, 2, 1}};
  struct source_place place;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    at.begin = places[i].begin;
    assert_true(source_locate(f->sources, at, &place));
    assert_int_equal(place.line, places[i].line);
    assert_int_equal(place.column, places[i].column);
  }
}

/* The excerpt of a line of a megabyte: what is around the caret. */
static void test_megabyte_line(void **state)
{
  enum { LENGTH = 1 << 20 };
  struct fixture *f = *state;
  char *text = arena_alloc(f->arena, LENGTH + 1);
  for (size_t i = 0; i < LENGTH; i += 2)
    memcpy(text + i, "\xC3\xB6", 2);
  struct span at = {source_add(f->sources, "a.exp", text, LENGTH), 0, 0};
  for (uint32_t i = 0; i <= 1024; i++) {
    at.begin = i << 10;
    at.end = i % 3 ? at.begin + 2 : LENGTH;
    diag_error(f->diag, at, "%u", (unsigned)i);
  }
  char *out = printed(f->arena, f->diag, f->sources, false);
  assert_non_null(strstr(out, "a.exp:1:523777: error: 1023\n   1 | ...\xC3\xB6"));
  assert_null(strstr(out, "\xEF\xBF\xBD")); /* no character is cut */
  size_t longest = 0;
  for (char *line = out; *line; line += strcspn(line, "\n") + 1)
    longest = strcspn(line, "\n") > longest ? strcspn(line, "\n") : longest;
  assert_true(longest < 200);
}

static void test_long_line(void **state)
{
  struct fixture *f = *state;
  char *text = arena_alloc(f->arena, 1001);
  memset(text, 'x', 1000);
  text[500] = 'y';
  diag_error(f->diag, add(f, text, "y"), "m");
  char *out = printed(f->arena, f->diag, f->sources, false);
  assert_true(strlen(out) < 400);
  char *line = strstr(out, "   1 | "), *under = strstr(out, "     | ");
  assert_non_null(line);
  assert_non_null(under);
  assert_int_equal(strchr(line, 'y') - line, strchr(under, '^') - under);
}

static void test_colour(void **state)
{
  struct fixture *f = *state;
  diag_error(f->diag, add(f, "x", "x"), "m");
  char *text = printed(f->arena, f->diag, f->sources, true);
  assert_non_null(strstr(text, "\033[1;31merror: \033[0mm"));
  FILE *null = fopen("/dev/null", "w");
  assert_false(diag_colour(null));
  fclose(null);
}

static void test_nearest(void **state)
{
  (void)state;
  static const char *const words[] = {"resnet18", "densenet121", "mlp",
                                      "lr",       "momentum",    "weight_decay"};
  const size_t n = sizeof words / sizeof *words;
  assert_string_equal(diag_nearest("resnet81", words, n), "resnet18");
  assert_string_equal(diag_nearest("momentun", words, n), "momentum");
  assert_string_equal(diag_nearest("wieght_deacy", words, n), "weight_decay");
  assert_string_equal(diag_nearest("MLP", words, n), "mlp");
  assert_string_equal(diag_nearest("rl", words, n), "lr");
  assert_null(diag_nearest("optimizer", words, n));
  assert_null(diag_nearest("x", words, n));
  assert_null(diag_nearest("", words, n));
}

static char *tier_of(struct arena *a, const struct ast_program *p)
{
  static const char mark[] = "# tier: ";
  size_t length;
  const char *text = source_text(p->sources, 1, &length);
  if (!text || strncmp(text, mark, sizeof mark - 1))
    return NULL;
  text += sizeof mark - 1;
  return arena_strndup(a, text, strcspn(text, "\n"));
}

static void plan_file(struct ast_program *program, struct diag *diag)
{
  static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};
  struct arena *a = program->arena;
  struct dsl *dsl = dsl_resolve(a, program, tier_of(a, program), diag);
  struct lower_result result = {0};
  dsl_check(dsl, diag);
  if (!diag_errors(diag))
    dsl_lower(dsl, plan_new(a, versions), &(struct lower_options){1e6}, &result, diag);
}

static char *read_text(const char *path)
{
  FILE *in = fopen(path, "rb");
  if (!in)
    return NULL;
  char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  for (int c; (c = getc(in)) != EOF;)
    putc(c, out);
  fclose(in);
  fclose(out);
  return text;
}

/* Returns whether the file's diagnostics are those expected. */
static bool golden(const char *name, bool whole)
{
  struct arena *a = arena_new();
  struct ast_program *program = ast_program_new(a);
  struct diag *diag = diag_new(a);
  parse_file(program, name, diag);
  if (whole)
    plan_file(program, diag);
  char *text = printed(a, diag, program->sources, false);
  char *path = arena_printf(a, "%.*serr", (int)strlen(name) - 3, name);
  if (getenv("UPDATE_GOLDEN")) {
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
  }
  char *expected = read_text(path);
  bool same = expected && !strcmp(text, expected);
  if (!same)
    print_error("%s: expected\n%s\ngot\n%s\n", name, expected ? expected : "(no .err file)", text);
  free(expected);
  arena_free(a);
  return same;
}

static int is_source(const struct dirent *entry)
{
  size_t n = strlen(entry->d_name);
  return n > 4 && !strcmp(entry->d_name + n - 4, ".exp");
}

static void golden_folder(const char *folder, bool whole, int at_least)
{
  struct dirent **names;
  unsigned wrong = 0;
  assert_int_equal(chdir(folder), 0);
  int n = scandir(".", &names, is_source, alphasort);
  assert_true(n >= at_least);
  for (int i = 0; i < n; i++) {
    wrong += !golden(names[i]->d_name, whole);
    free(names[i]);
  }
  free(names);
  assert_int_equal(wrong, 0);
}

static void test_golden_syntax(void **state)
{
  (void)state;
  golden_folder(SRCDIR "/tests/diag", false, 90);
}

static void test_golden_meaning(void **state)
{
  (void)state;
  golden_folder(SRCDIR "/tests/diag/check", true, 280);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_format, begin, end),
      cmocka_unit_test_setup_teardown(test_tabs_and_utf8, begin, end),
      cmocka_unit_test_setup_teardown(test_spans, begin, end),
      cmocka_unit_test_setup_teardown(test_order_and_duplicates, begin, end),
      cmocka_unit_test_setup_teardown(test_same_again, begin, end),
      cmocka_unit_test_setup_teardown(test_within, begin, end),
      cmocka_unit_test_setup_teardown(test_included_once, begin, end),
      cmocka_unit_test_setup_teardown(test_columns, begin, end),
      cmocka_unit_test_setup_teardown(test_long_line, begin, end),
      cmocka_unit_test_setup_teardown(test_megabyte_line, begin, end),
      cmocka_unit_test_setup_teardown(test_colour, begin, end),
      cmocka_unit_test(test_nearest),
      cmocka_unit_test(test_golden_syntax),
      cmocka_unit_test(test_golden_meaning),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
