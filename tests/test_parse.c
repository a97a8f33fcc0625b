/* The scanner and the grammar: trees, prose, includes, and that no input at all
 * brings the parser down.  Messages are tested by the files in tests/diag. */
#include "config.h"

#include "base/rng.h"
#include "dsl/parse.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

struct fixture {
  struct arena *arena;
  struct ast_program *program;
  struct diag *diag;
};

static int begin(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  *f = (struct fixture){a, ast_program_new(a), diag_new(a)};
  *state = f;
  return chdir(SRCDIR "/tests/parse");
}

static int end(void **state)
{
  arena_free(((struct fixture *)*state)->arena);
  return 0;
}

static char *read_all(const char *path, size_t *length)
{
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  char *text = NULL;
  FILE *out = open_memstream(&text, length);
  for (int c; (c = getc(in)) != EOF;)
    putc(c, out);
  fclose(in);
  fclose(out);
  return text;
}

static void parse(struct fixture *f, const char *text)
{
  parse_text(f->program, "a.exp", text, strlen(text), f->diag);
}

static void assert_clean(const struct fixture *f)
{
  if (diag_count(f->diag))
    diag_print(f->diag, f->program->sources, stderr, false);
  assert_int_equal(diag_count(f->diag), 0);
}

static void assert_text(const struct fixture *f, struct span at, const char *expected)
{
  size_t length;
  const char *text = source_text(f->program->sources, at.file, &length);
  assert_int_equal(at.end - at.begin, strlen(expected));
  assert_memory_equal(text + at.begin, expected, strlen(expected));
}

/* UPDATE_GOLDEN=1 in the environment writes the tree anew. */
static void test_everything(void **state)
{
  struct fixture *f = *state;
  char *text = NULL;
  size_t length = 0;
  parse_file(f->program, "everything.exp", f->diag);
  assert_clean(f);
  FILE *out = getenv("UPDATE_GOLDEN") ? fopen("everything.ast", "w") : NULL;
  if (out) {
    ast_dump(f->program, out);
    fclose(out);
  }
  out = open_memstream(&text, &length);
  ast_dump(f->program, out);
  fclose(out);
  char *expected = read_all("everything.ast", &length);
  assert_string_equal(text, expected);
  free(expected);
  free(text);
}

static void test_spans(void **state)
{
  struct fixture *f = *state;
  parse(f, "experiment a : b {\n  let S = (x + 2 epochs) * f(y);  @paper(\"1\")\n}\n");
  assert_clean(f);
  const struct ast_block *b = &f->program->blocks[0];
  assert_text(f, b->span, "experiment a : b");
  assert_text(f, b->base.span, "b");
  const struct ast_stmt *s = &b->stmts[0];
  assert_text(f, s->span, "let S = (x + 2 epochs) * f(y)");
  assert_text(f, s->name.span, "S");
  assert_text(f, s->notes[0].text.span, "\"1\"");
  assert_text(f, s->value->text_span, "*");
  assert_text(f, s->value->args[0].value->span, "(x + 2 epochs)");
  assert_text(f, s->value->args[0].value->args[1].value->unit.span, "epochs");
  assert_text(f, s->value->args[1].value->text_span, "f");
  assert_text(f, s->value->args[1].value->span, "f(y)");
}

static void test_prose(void **state)
{
  struct fixture *f = *state;
  parse(f, "## One\n  ##  two\r\n##\nexperiment a {\n## s\nx = 1;\ny = 2; ## no prose here\n}");
  assert_clean(f);
  const struct ast_block *b = &f->program->blocks[0];
  assert_string_equal(b->doc, "One\n two\n");
  assert_text(f, b->doc_span, "## One\n  ##  two\r\n##");
  assert_string_equal(b->stmts[0].doc, "s");
  assert_null(b->stmts[1].doc);
}

static void test_crlf(void **state)
{
  struct fixture *f = *state;
  parse(f, "\xEF\xBB\xBF## p\r\nexperiment a {\r\n  x = \"1\";\r\n}\r\n# no line end");
  assert_clean(f);
  assert_string_equal(f->program->blocks[0].doc, "p");
  assert_string_equal(f->program->blocks[0].stmts[0].value->text, "1");
}

static void test_include_once(void **state)
{
  struct fixture *f = *state;
  parse_file(f->program, "everything.exp", f->diag);
  parse_file(f->program, "./common/vision.exp", f->diag);
  assert_clean(f);
  assert_int_equal(source_count(f->program->sources), 2);
  assert_int_equal(f->program->n_includes, 2);
  assert_int_equal(f->program->includes[0].file, f->program->includes[1].file);
  assert_string_equal(f->program->includes[0].doc, "Prose of an include.");
  assert_string_equal(f->program->blocks[0].name.text, "vision");
}

static void test_unreadable(void **state)
{
  struct fixture *f = *state;
  parse_file(f->program, "nowhere.exp", f->diag);
  parse_file(f->program, "common", f->diag);
  assert_int_equal(diag_errors(f->diag), 2);
  assert_string_equal(diag_message(f->diag, 0),
                      "cannot read nowhere.exp: No such file or directory");
  assert_string_equal(diag_message(f->diag, 1), "cannot read common: Is a directory");
}

/* What stands around a mistake is in the tree. */
static void test_recovery(void **state)
{
  struct fixture *f = *state;
  parse(f, "experiment a { x = ; y = 1; z 2; w = 3; }\nfigure 1 \"t\" { panel b lines { } "
           "panel c lines of a { x = 1; } }\nexperiment d { v = 1; ");
  assert_int_equal(diag_errors(f->diag), 4);
  assert_int_equal(f->program->n_blocks, 3);
  const struct ast_block *b = f->program->blocks;
  assert_true(b[0].incomplete);
  assert_int_equal(b[0].n_stmts, 2);
  assert_string_equal(b[0].stmts[0].name.text, "y");
  assert_string_equal(b[0].stmts[1].name.text, "w");
  assert_int_equal(b[1].n_blocks, 1);
  assert_string_equal(b[1].blocks[0].name.text, "c");
  assert_false(b[2].incomplete);
  assert_int_equal(b[2].n_stmts, 1);
}

/* n times `part` between the statement's begin and its end. */
static void repeat(struct fixture *f, size_t n, const char *part, const char *last)
{
  size_t each = strlen(part);
  char *text = arena_alloc(f->arena, n * each + 64), *at = text;
  at += sprintf(at, "experiment a { x = ");
  for (size_t i = 0; i < n; i++, at += each)
    memcpy(at, part, each);
  sprintf(at, "%s; }", last);
  parse(f, text);
}

static void test_depth(void **state)
{
  struct fixture *f = *state;
  repeat(f, AST_MAX_DEPTH - 1, "1 + ", "1");
  assert_clean(f);
  assert_int_equal(f->program->blocks[0].stmts[0].value->depth, AST_MAX_DEPTH);
  static const char *const parts[] = {"1 + ", "- ", "not ", "1 ^ ", "f(", "(", "[", "{"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    diag_clear(f->diag);
    repeat(f, 100000, parts[i], "1");
    assert_true(diag_errors(f->diag) >= 1);
    assert_true(diag_errors(f->diag) <= 2);
  }
}

static void test_too_many(void **state)
{
  struct fixture *f = *state;
  repeat(f, 10000, "1; = ; x = ", "1");
  assert_int_equal(diag_errors(f->diag), 41);
  assert_string_equal(diag_message(f->diag, 40),
                      "too many mistakes; the rest of this file was not read");
}

/* `begin`, about n bytes of `part`, `end`. */
static char *filled(struct fixture *f, const char *begin, const char *part, size_t n,
                    const char *end)
{
  size_t each = strlen(part), at = strlen(begin), count = n / each;
  char *text = arena_alloc(f->arena, at + count * each + strlen(end) + 1);
  memcpy(text, begin, at);
  for (size_t i = 0; i < count; i++, at += each)
    memcpy(text + at, part, each);
  memcpy(text + at, end, strlen(end));
  return text;
}

static void assert_printed_briefly(const struct fixture *f, const char *part)
{
  char *shown = NULL;
  size_t length;
  FILE *out = open_memstream(&shown, &length);
  diag_print(f->diag, f->program->sources, out, false);
  fclose(out);
  assert_true(length < 2000);
  assert_non_null(strstr(shown, part));
  free(shown);
}

static void test_large_file(void **state)
{
  struct fixture *f = *state;
  static const char block[] =
      "## What it is.\n"
      "experiment name : base {\n"
      "  model = mlp(width = 64);  @paper(\"A.1\")  # why\n"
      "  sweep lr over 1e-3, 0.1 * x, 200k;\n"
      "  branch ends[2] at every 20 epochs of trunk for 10 epochs at linear;\n"
      "  measure gain = accuracy(mid, test) - mean(loss(ends, test));\n"
      "}\n";
  enum { LENGTH = 10 << 20 };
  char *text = filled(f, "", block, LENGTH, "");
  parse(f, text);
  assert_clean(f);
  size_t n = f->program->n_blocks;
  assert_int_equal(n, LENGTH / (sizeof block - 1));
  assert_int_equal(f->program->blocks[n - 1].n_stmts, 4);
  assert_string_equal(f->program->blocks[n - 1].doc, "What it is.");
  assert_text(f, f->program->blocks[n - 1].stmts[3].name.span, "gain");
  text = filled(f, "# ", "x", 17 << 20, "");
  parse(f, text);
  assert_int_equal(diag_count(f->diag), 1);
  assert_string_equal(diag_message(f->diag, 0), "a.exp is larger than 16 MiB");
}

static void test_megabyte_line(void **state)
{
  enum { LENGTH = 1 << 20 };
  struct fixture *f = *state;
  parse(f, filled(f, "experiment a { sweep lr over 1", ", 1", LENGTH, "; }"));
  assert_clean(f);
  assert_int_equal(f->program->blocks[0].stmts[0].n_values, LENGTH / 3 + 1);
  parse(f, filled(f, "experiment b { sweep lr over 1", ", 1", LENGTH, " + ; }"));
  assert_printed_briefly(f, "a.exp:1:1048609: error: expected a value after `+`\n   1 | ...");
  static const struct {
    const char *begin, *part, *end, *message;
  } lines[] = {
      {"x", "x", "", "expected `experiment`"},
      {"experiment a { b = \"", "x", "", "this text has no closing quote"},
      {"experiment a { b = 1", "0", ";}", "this number is too large"},
      {"experiment a { b = x", "x", "; c d; }", "expected `=` before `d`"},
      {"experiment a { b = f(x", ", \xC3\xB6", "); }", "unknown character `\xC3\xB6`"},
      {"\"", "\xF0\x9F\x98\x80", "\xFF\"", "byte 0xFF is not valid UTF-8"},
  };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    diag_clear(f->diag);
    parse(f, filled(f, lines[i].begin, lines[i].part, LENGTH, lines[i].end));
    assert_true(diag_errors(f->diag) >= 1);
    char *shown = NULL;
    FILE *out = open_memstream(&shown, &(size_t){0});
    diag_print(f->diag, f->program->sources, out, false);
    fclose(out);
    assert_non_null(strstr(shown, lines[i].message));
    for (const char *line = shown; *line; line += strcspn(line, "\n") + 1)
      assert_true(strcspn(line, "\n") < 700);
    free(shown);
  }
}

static void test_nested(void **state)
{
  enum { DEPTH = 10000 };
  struct fixture *f = *state;
  parse(f, filled(f, "experiment a { x = ", "(", DEPTH, "1; }\nexperiment b { }\n"));
  assert_printed_briefly(f, "a.exp:1:219: error: this is nested too deeply\n   1 | ...");
  assert_int_equal(diag_errors(f->diag), 1);
  assert_true(f->program->blocks[0].incomplete);
}

static void test_odd_bytes(void **state)
{
  struct fixture *f = *state;
  static const char nul[] = "experiment a {\n  x\0 = \"\0\"; # \0\n  y = 1;\n}";
  parse_text(f->program, "a.exp", nul, sizeof nul - 1, f->diag);
  assert_int_equal(diag_errors(f->diag), 1);
  assert_printed_briefly(f, "a.exp:2:4: error: NUL byte in the text");
  diag_clear(f->diag);
  parse(f, "experiment a { x = \"\xC3\x28 \xED\xA0\x80 \xFE\"; y\x80 = 1; }");
  assert_int_equal(diag_errors(f->diag), 1);
  assert_printed_briefly(f, "a.exp:1:21: error: byte 0xC3 is not valid UTF-8");
}

/* However a text ends, and whatever its line ends are. */
static void test_ends(void **state)
{
  struct fixture *f = *state;
  static const char *const texts[] = {
      "",        "\n",    "\r\n",          "# c", "## p",         "\xEF\xBB\xBF",
      "# c\r\n", " \t\f", "experiment a { }", "\n\n", "experiment a { x = 1; }\r\n\r\n# c",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    parse(f, texts[i]);
    assert_int_equal(diag_errors(f->diag), 0);
  }
  assert_int_equal(diag_count(f->diag), 1);
  assert_string_equal(diag_message(f->diag, 0), "this prose belongs to nothing");
  diag_clear(f->diag);
  parse(f, "experiment a {\r\n  x = 1\r\n  y = 2;\r\n}");
  assert_printed_briefly(f, "a.exp:2:8: error: expected `;` before `y`\n   2 |   x = 1\n");
}

static void test_memory(void **state)
{
  struct fixture *f = *state;
  static const char top[] = "include \"sub/b.exp\"; include \"c.exp\"; include \"nowhere.exp\";";
  static const char b[] = "include \"c.exp\"; experiment b { x = 1; }", c[] = "include \"b.exp\";";
  const struct parse_memory files[] = {{"top.exp", top, sizeof top - 1},
                                       {"sub/b.exp", b, sizeof b - 1},
                                       {"sub/c.exp", c, sizeof c - 1},
                                       {"c.exp", "", 0}};
  parse_from_memory(f->program, files, 4, 0, f->diag);
  assert_int_equal(source_count(f->program->sources), 4);
  assert_int_equal(f->program->n_blocks, 1);
  assert_text(f, f->program->blocks[0].extent, "experiment b { x = 1; }");
  assert_int_equal(diag_count(f->diag), 2);
  assert_string_equal(diag_message(f->diag, 0),
                      "`sub/b.exp` is included while it is being read");
  assert_string_equal(diag_message(f->diag, 1),
                      "cannot include `nowhere.exp`: No such file or directory");
  parse_from_memory(f->program, files, 4, 3, f->diag);
  assert_int_equal(source_count(f->program->sources), 4);
}

/* Damaged files: some bytes changed, dropped or doubled, and bare noise. */
static void test_damage(void **state)
{
  enum { RUNS = 1500 };
  static const char odd[] = "{}()[];,:@=\"\\#\n\r\t .0eEk\x80\xFF\0<-";
  size_t length;
  (void)state;
  char *whole = read_all("everything.exp", &length);
  char *text = mem_alloc(length);
  for (uint32_t run = 0; run < RUNS; run++) {
    struct rng r = rng_at(1, RNG_TEST, 0, 0, run);
    size_t n = rng_below(&r, (uint32_t)length) + 1;
    memcpy(text, whole, n);
    for (uint32_t k = rng_below(&r, 20); k-- > 0;) {
      uint32_t to = rng_below(&r, (uint32_t)n), from = rng_below(&r, (uint32_t)n);
      size_t move = rng_below(&r, (uint32_t)(n - (from > to ? from : to)) + 1) % 40;
      if (k & 1)
        text[to] = odd[rng_below(&r, sizeof odd - 1)];
      else
        memmove(text + to, text + from, move);
    }
    struct arena *a = arena_new();
    struct ast_program *program = ast_program_new(a);
    struct diag *diag = diag_new(a);
    parse_text(program, "damaged.exp", text, n, diag);
    char *shown = NULL;
    FILE *out = open_memstream(&shown, &(size_t){0});
    diag_print(diag, program->sources, out, false);
    ast_dump(program, out);
    fclose(out);
    free(shown);
    arena_free(a);
  }
  free(text);
  free(whole);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_everything, begin, end),
      cmocka_unit_test_setup_teardown(test_spans, begin, end),
      cmocka_unit_test_setup_teardown(test_prose, begin, end),
      cmocka_unit_test_setup_teardown(test_crlf, begin, end),
      cmocka_unit_test_setup_teardown(test_include_once, begin, end),
      cmocka_unit_test_setup_teardown(test_unreadable, begin, end),
      cmocka_unit_test_setup_teardown(test_recovery, begin, end),
      cmocka_unit_test_setup_teardown(test_depth, begin, end),
      cmocka_unit_test_setup_teardown(test_too_many, begin, end),
      cmocka_unit_test_setup_teardown(test_large_file, begin, end),
      cmocka_unit_test_setup_teardown(test_megabyte_line, begin, end),
      cmocka_unit_test_setup_teardown(test_nested, begin, end),
      cmocka_unit_test_setup_teardown(test_odd_bytes, begin, end),
      cmocka_unit_test_setup_teardown(test_ends, begin, end),
      cmocka_unit_test_setup_teardown(test_memory, begin, end),
      cmocka_unit_test_setup_teardown(test_damage, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
