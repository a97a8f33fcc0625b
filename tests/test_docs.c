/* The examples of the manual and the tutorial: they are right, in canonical
 * layout, and what is wrong in them is reported as they say.
 *
 * What follows ```exp says what the example is: nothing: a whole file; `goes on`:
 * blocks that stand behind the file before, and behind what went on there;
 * `experiment`, `panel`: what stands in one; `wrong`: a file with mistakes or
 * warnings, whose messages are in the ```text below. */
#include "config.h"

#include "base/file.h"
#include "dsl/check.h"
#include "dsl/fmt.h"
#include "dsl/lower.h"
#include "dsl/parse.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};

/* An example that is not a whole file stands in one of these. */
static const struct {
  const char *kind, *before, *behind;
  const char *head; /* the line above the example, and how far it is indented */
  unsigned indent;
} frames[] = {
    {"experiment",
     "include \"common/vision.exp\";\nexperiment base : vision { data = cifar10; model = mlp; "
     "lr = 0.1; }\nexperiment example : base {\n", "\n}\n", "experiment example", 2},
    {"panel",
     "include \"common/vision.exp\";\nexperiment example : vision { data = cifar10; model = mlp; "
     "sweep lr over 0.1, 0.2; sweep batch over 32, 64; }\n"
     "figure 1 \"\" { panel a lines of example {\n", "\n} }\n", "panel a", 4},
};

static char *messages(struct arena *a, const struct ast_program *program, const struct diag *diag)
{
  char *text = NULL;
  size_t n;
  FILE *out = open_memstream(&text, &n);
  diag_print(diag, program->sources, out, false);
  fclose(out);
  char *copy = arena_strdup(a, text);
  free(text);
  return copy;
}

/* What check says of a text that stands in the folder of the experiments. */
static char *check(struct arena *a, const char *name, const char *text)
{
  struct ast_program *program = ast_program_new(a);
  struct diag *diag = diag_new(a);
  struct lower_result result = {0};
  parse_text(program, name, text, strlen(text), diag);
  const char *tier = NULL;
  for (size_t i = 0; i < program->n_blocks; i++)
    if (program->blocks[i].kind == AST_TIER)
      tier = program->blocks[i].name.text;
  struct dsl *dsl = dsl_resolve(a, program, tier, diag);
  dsl_check(dsl, diag);
  if (!diag_errors(diag))
    dsl_lower(dsl, plan_new(a, versions), &(struct lower_options){1e6}, &result, diag);
  return diag_count(diag) ? messages(a, program, diag) : arena_strdup(a, "");
}

/* In a frame, an example is indented as it stands: its lines are compared alone. */
static void check_layout(struct arena *a, const char *text)
{
  size_t n;
  struct diag *diag = diag_new(a);
  char *out = fmt_text(ast_program_new(a), "example.exp", text, strlen(text), &n, diag);
  assert_non_null(out);
  assert_string_equal(out, text);
}

static char *without_indent(struct arena *a, const char *text, const char *from, unsigned indent)
{
  char *result = arena_strdup(a, ""), blanks[16];
  snprintf(blanks, sizeof blanks, "%*s", (int)indent, "");
  const char *line = strstr(text, from);
  assert_non_null(line);
  for (line = strchr(line, '\n') + 1; !strncmp(line, blanks, indent);) {
    size_t n = strcspn(line, "\n") + 1;
    result = arena_printf(a, "%s%.*s", result, (int)(n - indent), line + indent);
    line += n;
  }
  return result;
}

static void check_framed_layout(struct arena *a, const char *file, const char *example,
                                const char *head, unsigned indent)
{
  size_t n;
  struct diag *diag = diag_new(a);
  char *out = fmt_text(ast_program_new(a), "example.exp", file, strlen(file), &n, diag);
  assert_non_null(out);
  assert_string_equal(without_indent(a, out, head, indent), example);
}

static char *block(struct arena *a, const char *text, const char *fence, char **kind,
                   const char **behind)
{
  const char *at = strstr(text, fence);
  if (!at)
    return NULL;
  at += strlen(fence);
  size_t n = strcspn(at, "\n");
  *kind = arena_strndup(a, at + (*at == ' '), n - (*at == ' '));
  at += n + 1;
  const char *end = strstr(at, "```\n");
  assert_non_null(end);
  *behind = end + 4;
  return arena_strndup(a, at, (size_t)(end - at));
}

static void check_right(struct arena *a, const char *example, const char *file)
{
  char *said = check(a, SRCDIR "/experiments/example.exp", file);
  if (*said)
    fail_msg("an example is wrong:\n%s\n%s", example, said);
}

/* `before`: the last whole file, and what went on there. */
static void check_example(struct arena *a, const char *kind, const char *text, const char *behind,
                          const char **before)
{
  if (!strcmp(kind, "wrong")) {
    char *unused, *said = check(a, "example.exp", text);
    assert_string_equal(said, block(a, behind, "```text", &unused, &behind));
    return;
  }
  if (!strcmp(kind, "") || !strcmp(kind, "goes on")) {
    *before = *kind ? arena_printf(a, "%s\n%s", *before, text) : text;
    check_right(a, text, *before);
    check_layout(a, text);
    return;
  }
  size_t f = 0;
  while (f < sizeof frames / sizeof *frames && strcmp(frames[f].kind, kind))
    f++;
  if (f == sizeof frames / sizeof *frames) {
    fail_msg("an example of an unknown kind: %s", kind);
    return;
  }
  char *file = arena_printf(a, "%s%s%s", frames[f].before, text, frames[f].behind);
  check_right(a, text, file);
  check_framed_layout(a, file, text, frames[f].head, frames[f].indent);
}

static void check_document(const char *path, size_t expected)
{
  struct arena *a = arena_new();
  struct diag *diag = diag_new(a);
  size_t length, n = 0;
  const char *text = file_read(a, path, &length, diag);
  assert_non_null(text);
  const char *before = "";
  char *kind, *example;
  while ((example = block(a, text, "```exp", &kind, &text))) {
    check_example(a, kind, example, text, &before);
    n++;
  }
  assert_true(n >= expected);
  arena_free(a);
}

static void test_manual(void **state)
{
  (void)state;
  check_document(SRCDIR "/docs/language.md", 8);
}

static void test_tutorial(void **state)
{
  (void)state;
  check_document(SRCDIR "/docs/tutorial.md", 2);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_manual),
      cmocka_unit_test(test_tutorial),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
