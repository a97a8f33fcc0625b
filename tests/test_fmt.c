/* The formatter: its layout, and that it changes nothing else, on every file of
 * experiments/ and every file of the tests that has no syntax error. */
#include "config.h"

#include "base/file.h"
#include "base/rng.h"
#include "dsl/check.h"
#include "dsl/exp.h"
#include "dsl/fmt.h"
#include "dsl/lower.h"
#include "dsl/parse.h"
#include "dsl/parse_int.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};

/* ---- files ---- */

static struct arena *arena;
static char **files;
static size_t n_files, cap_files;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
  (void)st;
  (void)at;
  size_t n = strlen(path);
  if (type == FTW_F && n > 4 && !strcmp(path + n - 4, ".exp"))
    ARENA_PUSH(arena, files, n_files, cap_files, arena_strdup(arena, path));
  return 0;
}

static int begin(void **state)
{
  (void)state;
  static const char *const folders[] = {"/experiments", "/tests/parse", "/tests/plan",
                                        "/tests/diag"};
  arena = arena_new();
  n_files = cap_files = 0;
  files = NULL;
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
    if (nftw(arena_printf(arena, "%s%s", SRCDIR, folders[i]), add_file, 8, FTW_PHYS))
      return -1;
  return 0;
}

static int end(void **state)
{
  (void)state;
  arena_free(arena);
  return 0;
}

static char *read_text(const char *path, size_t *length)
{
  struct diag *diag = diag_new(arena);
  char *text = file_read(arena, path, length, diag);
  assert_non_null(text);
  return text;
}

/* ---- formatting ---- */

/* NULL: it has syntax errors.  That the formatter refuses is a failure. */
static char *format(const char *text, size_t length, size_t *out)
{
  struct arena *a = arena_new();
  struct diag *diag = diag_new(a);
  char *result = fmt_text(ast_program_new(a), "a.exp", text, length, out, diag);
  if (!result && strstr(diag_message(diag, diag_count(diag) - 1), "layout"))
    fail_msg("refused: %s", text);
  assert_int_equal(result == NULL, diag_errors(diag) > 0);
  if (result)
    result = arena_copy(arena, result, *out + 1);
  arena_free(a);
  return result;
}

/* Comments and lines of prose outside of texts in quotes. */
static size_t comments(const char *text)
{
  size_t n = 0;
  bool quoted = false;
  for (const char *c = text; *c; c++) {
    if (quoted) {
      c += *c == '\\' && c[1];
      quoted = *c != '"';
    } else if (*c == '#') {
      n++;
      while (c[1] && c[1] != '\n')
        c++;
    } else {
      quoted = *c == '"';
    }
  }
  return n;
}

static void assert_layout(const char *text)
{
  size_t n = strlen(text);
  assert_true(n == 0 || text[n - 1] == '\n');
  assert_null(strstr(text, " \n"));
  assert_null(strstr(text, "\n\n\n"));
  assert_null(strstr(text, "{\n\n"));
  assert_null(strstr(text, "\n\n}"));
  assert_true(*text != '\n');
}

static char *assert_canonical(const char *text, size_t length)
{
  size_t n, again;
  char *out = format(text, length, &n);
  if (!out)
    return NULL;
  assert_int_equal(strlen(out), n);
  char *twice = format(out, n, &again);
  assert_non_null(twice);
  assert_string_equal(twice, out);
  assert_int_equal(comments(out), comments(text));
  assert_layout(out);
  return out;
}

static void test_all_files(void **state)
{
  (void)state;
  size_t formatted = 0, length;
  for (size_t i = 0; i < n_files; i++) {
    char *text = read_text(files[i], &length);
    formatted += assert_canonical(text, length) != NULL;
  }
  assert_true(formatted > 100 && formatted < n_files);
}

/* ---- the plan ---- */

/* The same text, laid out badly: the files of experiments/ are as the formatter wants
 * them. */
static char *mess(const char *text, size_t *length)
{
  char *out = arena_array(arena, 2 * *length + 1, 1), *to = out;
  bool quoted = false, comment = false;
  for (const char *c = text; *c; c++) {
    comment = *c != '\n' && (comment || (*c == '#' && !quoted));
    quoted ^= *c == '"' && !comment && c[-1] != '\\';
    *to++ = *c;
    if (quoted || comment)
      continue;
    if (*c == ' ')
      *to++ = '\t';
    else if (*c == ',' || *c == '{')
      *to++ = '\n';
  }
  *length = (size_t)(to - out);
  return out;
}

static bool is_figure(const char *path)
{
  return strstr(path, "/experiments/fig") != NULL;
}

/* Adds the file, as it is or formatted; false: it has a syntax error. */
static bool add_text(struct ast_program *program, const char *path, bool formatted, struct diag *d)
{
  size_t length;
  char *text = read_text(path, &length);
  if (formatted) {
    text = mess(text, &length);
    text = format(text, length, &length);
  }
  if (text)
    parse_text(program, path, text, length, d);
  return text != NULL;
}

/* The digest of all keys, in the plan's order; *planned is false where there is a
 * mistake.  `path` NULL: all figures in one run. */
static struct hash plan_keys(const char *path, const char *tier, bool formatted, bool *planned)
{
  struct arena *a = arena_new();
  struct ast_program *program = ast_program_new(a);
  struct diag *diag = diag_new(a);
  struct plan *plan = plan_new(a, versions);
  struct lower_result result = {0};
  bool read = true;
  for (size_t i = 0; i < n_files; i++)
    if (path ? !strcmp(files[i], path) : is_figure(files[i]))
      read = add_text(program, files[i], formatted, diag) && read;
  if (tier)
    parse_file(program, arena_printf(a, SRCDIR "/experiments/tiers/%s.exp", tier), diag);
  struct dsl *dsl = dsl_resolve(a, program, tier, diag);
  dsl_check(dsl, diag);
  *planned = read && !diag_errors(diag) &&
             dsl_lower(dsl, plan, &(struct lower_options){1e6}, &result, diag) && plan_count(plan);
  struct hasher *h = hash_begin();
  for (uint32_t i = 0; *planned && i < plan_count(plan); i++)
    hash_bytes(h, &plan_step(plan, i)->key, sizeof(struct hash));
  struct hash keys = hash_end(h);
  arena_free(a);
  return keys;
}

static size_t assert_same_keys(const char *path, const char *tier)
{
  bool before, after;
  struct hash x = plan_keys(path, tier, false, &before);
  struct hash y = plan_keys(path, tier, true, &after);
  assert_int_equal(before, after);
  if (!hash_equal(x, y))
    fail_msg("formatting changes the plan of %s", path ? path : tier);
  return before;
}

static void test_same_plan(void **state)
{
  (void)state;
  static const char *const tiers[] = {"smoke", "small", "paper"};
  size_t planned = 0;
  for (size_t i = 0; i < n_files; i++)
    if (!is_figure(files[i]) && !strstr(files[i], "/tiers/"))
      planned += assert_same_keys(files[i], NULL);
  assert_true(planned > 30);
  for (size_t t = 0; t < sizeof tiers / sizeof *tiers; t++)
    assert_int_equal(assert_same_keys(NULL, tiers[t]), 1);
}

/* ---- odd input ---- */

struct piece {
  size_t begin, end;
  int kind;
};

/* Spans of the tokens; the last is the end of the text. */
static struct piece *scan(const char *text, size_t length, size_t *n)
{
  struct piece *pieces = NULL;
  size_t cap = 0;
  struct parser *p = mem_zalloc(sizeof *p);
  p->program = ast_program_new(arena);
  p->diag = diag_new(arena);
  p->file = 1;
  *n = 0;
  assert_true(parse_scan_begin(p, text, length));
  for (int kind = 1; kind != TOK_END;) {
    struct parse_value value;
    struct span at;
    kind = parse_scan(p, &value, &at);
    struct piece piece = {at.begin, at.end, kind};
    if (kind == TOK_END)
      piece.begin = piece.end = length;
    ARENA_PUSH(arena, pieces, *n, cap, piece);
  }
  parse_scan_end(p);
  free(p);
  return pieces;
}

static void test_comment_between_any_tokens(void **state)
{
  (void)state;
  static const char *const inserted[] = {" # here\n", "\n# here\n", "\n\n# here\n\n",
                                         "\n## here\n", "\n### here\n", " # a\n# b\n"};
  size_t length, n, tried = 0;
  char *text = read_text(SRCDIR "/tests/parse/everything.exp", &length);
  struct piece *pieces = scan(text, length, &n);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < sizeof inserted / sizeof *inserted; k++) {
      char *with = arena_printf(arena, "%.*s%s%s", (int)pieces[i].begin, text, inserted[k],
                                text + pieces[i].begin);
      char *out = assert_canonical(with, strlen(with));
      tried += out != NULL;
      /* Only between a number and its unit must the line not end. */
      assert_true(out || (i && pieces[i - 1].kind == TOK_NUMBER && pieces[i].kind == TOK_NAME));
    }
  assert_true(tried > 1500);
}

static const char *random_gap(struct rng *rng, const char *text, struct piece before,
                              struct piece now)
{
  static const char *const blanks[] = {"", " ", "  ", "\t", " \t ", "\r\n", "\n", "\n   "};
  size_t n = now.begin - before.end;
  const char *old = arena_strndup(arena, text + before.end, n);
  bool newline = strchr(old, '\n') != NULL, unit = before.kind == TOK_NUMBER;
  if (strchr(old, '#') || now.kind == TOK_END)
    return old;
  if (newline && now.kind != '@')
    return arena_printf(arena, "%s%s%s", blanks[rng_below(rng, 5)], old, blanks[rng_below(rng, 5)]);
  return blanks[(n ? 1 : 0) + rng_below(rng, unit ? 4 : n ? 7 : 8)];
}

/* Blanks and line ends within statements do not count. */
static void test_spacing_does_not_count(void **state)
{
  (void)state;
  struct rng rng = rng_at(7, RNG_TEST, 0, 0, 0);
  size_t length, n, out_length, tried = 0;
  for (size_t i = 0; i < n_files; i++) {
    char *text = read_text(files[i], &length), *expected = format(text, length, &out_length);
    if (!expected)
      continue;
    struct piece *pieces = scan(text, length, &n);
    for (unsigned round = 0; round < 4; round++) {
      char *mixed = NULL;
      size_t mixed_length;
      FILE *out = open_memstream(&mixed, &mixed_length);
      fwrite(text, 1, pieces[0].begin, out);
      for (size_t k = 0; k < n; k++) {
        if (k)
          fputs(random_gap(&rng, text, pieces[k - 1], pieces[k]), out);
        fwrite(text + pieces[k].begin, 1, pieces[k].end - pieces[k].begin, out);
      }
      fclose(out);
      char *got = format(mixed, mixed_length, &out_length);
      if (!got)
        fail_msg("%s: no longer parsed:\n%s", files[i], mixed);
      assert_string_equal(got, expected);
      free(mixed);
      tried++;
    }
  }
  assert_true(tried > 400);
}

static void test_line_ends(void **state)
{
  (void)state;
  size_t length, n, m;
  char *text = read_text(SRCDIR "/tests/parse/everything.exp", &length);
  char *expected = format(text, length, &n), *crlf = arena_array(arena, 2 * length + 4, 1), *c;
  c = crlf + sprintf(crlf, "\xEF\xBB\xBF");
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '\n')
      *c++ = '\r';
    *c++ = text[i];
  }
  assert_string_equal(format(crlf, (size_t)(c - crlf), &m), expected);
  while (length && text[length - 1] == '\n')
    length--;
  assert_string_equal(format(text, length, &m), expected);
}

static void assert_formatted(const char *text, const char *expected)
{
  char *out = assert_canonical(text, strlen(text));
  assert_non_null(out);
  assert_string_equal(out, expected);
}

static void test_layout(void **state)
{
  (void)state;
  assert_formatted("", "");
  assert_formatted("\n\n# only\n\n\n# comments", "# only\n\n# comments\n");
  assert_formatted("experiment a{}experiment b:a{lr=5e-4;}",
                   "experiment a {\n}\n\nexperiment b : a {\n  lr = 5e-4;\n}\n");
  assert_formatted("experiment a {\n\n\n x=-(1-2)^-3*not_y; # why\n\n\n\n batch=200k;#and\n"
                   "##p\n  ##  q\n let S=1;\n\n}",
                   "experiment a {\n  x = -(1 - 2)^-3 * not_y;  # why\n\n  batch = 200k;  #and\n"
                   "  ## p\n  ##  q\n  let S = 1;\n}\n");
}

static void test_columns(void **state)
{
  (void)state;
  assert_formatted(
      "experiment a {\n"
      "  lr = 1; @paper(\"1\")@assumed(\"2\")\n"
      "  momentum = 0.9;\n"
      "  branch ends[2] at every 20 epochs of trunk for 30 epochs at sqrt_decay; @paper(\"3\")\n"
      "  merge mid = linear(ends, alpha = 0.5) with batchnorm recalibrated; @paper(\"4\")\n"
      "  sweep lr over 1, 2;\n  sweep batch over 3; # c\n}\n",
      "experiment a {\n"
      "  lr       = 1;                                             @paper(\"1\") @assumed(\"2\")\n"
      "  momentum = 0.9;\n"
      "  branch ends[2] at every 20 epochs of trunk for 30 epochs at sqrt_decay;  @paper(\"3\")\n"
      "  merge mid = linear(ends, alpha = 0.5) with batchnorm recalibrated;       @paper(\"4\")\n"
      "  sweep lr    over 1, 2;\n  sweep batch over 3;  # c\n}\n");
}

/* What the language has for models of others, members, snapshots and pairs. */
static void test_models(void **state)
{
  (void)state;
  assert_formatted(
      "experiment a{use x=ends [ 0 ]of b ( lr=.1 ,checkpoint=20 epochs );use long_name=\n"
      "trunk   of b;branch ends[ 2 ]at 20 epochs,end of\ntrunk for rest at continued with\n"
      "  snapshots   every 2   epochs;\n"
      "sweep(first,second)over pairs( seed   of b ); sweep lr over lr of b;\n"
      "sweep (lr,t)over(1e-4,20 epochs),( 1e-6,100 epochs );start=file ( \"x\" );\n"
      "merge m=task_arithmetic( ends,base = start )with batchnorm\taveraged;\n"
      "measure d=loss( ends [1],test   of b)*-1;}",
      "experiment a {\n"
      "  use x         = ends[0] of b(lr = .1, checkpoint = 20 epochs);\n"
      "  use long_name = trunk of b;\n"
      "  branch ends[2] at 20 epochs, end of trunk for rest at continued with snapshots every 2 "
      "epochs;\n"
      "  sweep (first, second) over pairs(seed of b);\n"
      "  sweep lr              over lr of b;\n"
      "  sweep (lr, t)         over (1e-4, 20 epochs), (1e-6, 100 epochs);\n"
      "  start = file(\"x\");\n"
      "  merge m = task_arithmetic(ends, base = start) with batchnorm averaged;\n"
      "  measure d = loss(ends[1], test of b) * -1;\n"
      "}\n");
}

static void test_long_lines(void **state)
{
  (void)state;
  assert_formatted(
      "experiment a {\n  measure gain = 100 * (accuracy(mid, test) - mean(accuracy(ends, test)))"
      " + 200 * (loss(mid, test) - mean(loss(ends, test)));\n}\n",
      "experiment a {\n  measure gain = 100 * (accuracy(mid, test) - mean(accuracy(ends, test)))\n"
      "    + 200 * (loss(mid, test) - mean(loss(ends, test)));\n}\n");
  assert_formatted("tier t \"t\" { experiment lr_a { sweep lr over 1; } experiment long_name "
                   "{lr=1;} experiment b { lr = 1; seed = 2; } }",
                   "tier t \"t\" {\n  experiment lr_a      { sweep lr over 1; }\n"
                   "  experiment long_name { lr = 1; }\n"
                   "  experiment b {\n    lr   = 1;\n    seed = 2;\n  }\n}\n");
}

static void test_errors_are_reported(void **state)
{
  (void)state;
  static const char *const wrong[] = {"experiment a { lr = ; }", "experiment a {",
                                      "experiment a { x = \"1; }", "\xFF", "figure 1 { }"};
  size_t n;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_null(format(wrong[i], strlen(wrong[i]), &n));
}

static void test_large(void **state)
{
  (void)state;
  enum { VALUES = 20000 };
  size_t n, length = 0;
  char *text = arena_array(arena, VALUES * 8 + 100, 1), *out;
  length += (size_t)sprintf(text, "experiment a { sweep seed over 0");
  for (unsigned i = 1; i < VALUES; i++)
    length += (size_t)sprintf(text + length, ",%u", i);
  length += (size_t)sprintf(text + length, "; }");
  out = assert_canonical(text, length);
  assert_non_null(out);
  for (char *line = out; *line; line += n + 1) {
    n = strcspn(line, "\n");
    assert_true(n <= 100);
  }
  memset(text, '(', 10000);
  assert_null(format(text, 10000, &n));
}

/* What is included need not be there. */
static void test_includes_are_not_read(void **state)
{
  (void)state;
  assert_formatted("include   \"nowhere.exp\" ;", "include \"nowhere.exp\";\n");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_all_files, begin, end),
      cmocka_unit_test_setup_teardown(test_same_plan, begin, end),
      cmocka_unit_test_setup_teardown(test_comment_between_any_tokens, begin, end),
      cmocka_unit_test_setup_teardown(test_spacing_does_not_count, begin, end),
      cmocka_unit_test_setup_teardown(test_line_ends, begin, end),
      cmocka_unit_test_setup_teardown(test_layout, begin, end),
      cmocka_unit_test_setup_teardown(test_columns, begin, end),
      cmocka_unit_test_setup_teardown(test_models, begin, end),
      cmocka_unit_test_setup_teardown(test_long_lines, begin, end),
      cmocka_unit_test_setup_teardown(test_errors_are_reported, begin, end),
      cmocka_unit_test_setup_teardown(test_large, begin, end),
      cmocka_unit_test_setup_teardown(test_includes_are_not_read, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
