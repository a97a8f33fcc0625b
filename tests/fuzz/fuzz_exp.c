/* libFuzzer target for the whole language (make check-fuzz): a text is parsed,
 * checked, lowered to a small plan and explained; then it is formatted, and the
 * formatted text must give the same tree, the same messages and the same plan.
 *
 * Nothing is read from the disk while it runs: a text may include the files of
 * experiments/common, which are read at the start, and itself, as fuzz.exp.  A
 * first line "# tier: NAME" chooses a tier, of the text or of experiments/tiers. */
#include "config.h"

#include "dsl/check.h"
#include "dsl/fmt.h"
#include "dsl/lower.h"
#include "dsl/parse.h"
#include "plan/explain.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { MAX_FILES = 32, MAX_STEPS = 400 };

static struct parse_memory files[MAX_FILES]; /* [0]: the text */
static size_t n_files = 1;
static struct arena *library; /* their names */
static FILE *sink;

/* What must not depend on the layout. */
struct outcome {
  struct arena *arena;
  char *tree, *messages, *plan;
};

static void fail(const char *what, const char *expected, const char *got)
{
  fprintf(stderr, "fuzz_exp: %s\n---- expected\n%s\n---- got\n%s\n", what, expected, got);
  abort();
}

static void add_files(const char *folder)
{
  glob_t found;
  if (glob(arena_printf(library, "%s/experiments/%s/*.exp", SRCDIR, folder), 0, NULL, &found))
    fail("no files in experiments", folder, "");
  for (size_t i = 0; i < found.gl_pathc && n_files < MAX_FILES; i++) {
    size_t length = 0;
    char *text = NULL;
    FILE *in = fopen(found.gl_pathv[i], "rb"), *out = open_memstream(&text, &length);
    if (!in || !out)
      fail("cannot read", found.gl_pathv[i], "");
    for (int c; (c = getc(in)) != EOF;)
      putc(c, out);
    fclose(in);
    fclose(out);
    char *name = arena_printf(library, "%s%s", folder, strrchr(found.gl_pathv[i], '/'));
    files[n_files++] = (struct parse_memory){name, text, length};
  }
  globfree(&found);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  library = arena_new();
  add_files("common");
  add_files("tiers");
  sink = fopen("/dev/null", "w");
  return sink ? 0 : 1;
}

/* The tier that the first line names, or NULL; it stays the text's when fmt has
 * moved that line. */
static char *tier_of_text(struct arena *a)
{
  static const char mark[] = "# tier: ";
  const char *text = files[0].text;
  if (files[0].length < sizeof mark || memcmp(text, mark, sizeof mark - 1))
    return NULL;
  text += sizeof mark - 1;
  return arena_strndup(a, text, strcspn(text, "\r\n"));
}

static void read_tier(struct ast_program *program, const char *tier, struct diag *diag)
{
  char *name = arena_printf(program->arena, "tiers/%s.exp", tier ? tier : "");
  for (size_t i = 1; i < n_files; i++)
    if (!strcmp(files[i].name, name))
      parse_from_memory(program, files, n_files, i, diag);
}

static void explain(const struct plan *plan, const struct lower_result *lowered,
                    const struct ast_program *program)
{
  struct arena *a = program->arena;
  uint32_t n = plan_count(plan), *targets = arena_array(a, lowered->n + 1, sizeof *targets);
  bool *wanted = arena_array(a, n + 1, sizeof *wanted);
  enum explain_state *states = arena_array(a, n + 1, sizeof *states);
  struct cost *costs = arena_array(a, n + 1, sizeof *costs);
  for (size_t i = 0; i < lowered->n; i++)
    targets[i] = lowered->targets[i].step;
  plan_closure(plan, targets, lowered->n, wanted);
  for (uint32_t i = 0; i < n; i++)
    states[i] = wanted[i] ? i % 2 ? EXPLAIN_CACHED : EXPLAIN_TODO : EXPLAIN_UNWANTED;
  uint32_t *asked = arena_array(a, n + 1, sizeof *asked);
  plan_asked(plan, wanted, asked);
  const struct explain e = {.plan = plan,
                            .wanted = wanted,
                            .states = states,
                            .costs = costs,
                            .asked = asked,
                            .sources = program->sources,
                            .jobs = 2};
  explain_steps(&e, sink);
  explain_summary(&e, sink);
  explain_sharing(&e, sink);
  explain_dot(&e, sink);
  if (!explain_json(&e, sink))
    abort();
}

static char *plan_text(const struct plan *plan, const struct lower_result *lowered, struct arena *a)
{
  char *text = NULL;
  size_t length;
  FILE *out = open_memstream(&text, &length);
  for (uint32_t i = 0; i < plan_count(plan); i++) {
    char key[HASH_HEX];
    hash_hex(plan_step(plan, i)->key, key);
    fprintf(out, "%s %s\n", key, plan_step_text(a, plan_step(plan, i)));
  }
  for (size_t i = 0; i < lowered->n; i++)
    fprintf(out, "target %u\n", (unsigned)lowered->targets[i].step);
  fprintf(out, "%zu claims\n", lowered->n_claims);
  fclose(out);
  char *copy = arena_strndup(a, text, length);
  free(text);
  return copy;
}

static int by_text(const void *a, const void *b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, since a text of one line has its mistakes in another order of places. */
static char *messages(const struct diag *diag, struct arena *a)
{
  unsigned n = diag_count(diag);
  const char **all = arena_array(a, n + 1, sizeof *all);
  for (unsigned k = 0; k < n; k++)
    all[k] = diag_message(diag, k);
  qsort(all, n, sizeof *all, by_text);
  char *text = arena_strdup(a, "");
  for (unsigned k = 0; k < n; k++)
    text = arena_printf(a, "%s%s\n", text, all[k]);
  return text;
}

static char *tree_text(const struct ast_program *program)
{
  char *text = NULL;
  size_t length;
  FILE *out = open_memstream(&text, &length);
  ast_dump(program, out);
  fclose(out);
  char *copy = arena_strndup(program->arena, text, length);
  free(text);
  return copy;
}

/* All that can be done with files[0] without training. */
static struct outcome run(const char *tier)
{
  static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};
  struct arena *a = arena_new();
  struct ast_program *program = ast_program_new(a);
  struct diag *diag = diag_new(a);
  struct plan *plan = plan_new(a, versions);
  struct lower_result lowered = {0};
  parse_from_memory(program, files, n_files, 0, diag);
  read_tier(program, tier, diag);
  struct outcome o = {.arena = a, .tree = tree_text(program), .plan = ""};
  struct dsl *dsl = dsl_resolve(a, program, tier, diag);
  dsl_check(dsl, diag);
  if (!diag_errors(diag))
    dsl_lower(dsl, plan, &(struct lower_options){MAX_STEPS}, &lowered, diag);
  if (!diag_errors(diag)) {
    explain(plan, &lowered, program);
    o.plan = plan_text(plan, &lowered, a);
  }
  diag_print(diag, program->sources, sink, true);
  o.messages = messages(diag, a);
  return o;
}

static char *format(struct arena *a, size_t *length)
{
  struct ast_program *program = ast_program_new(a);
  struct diag *diag = diag_new(a);
  char *text = fmt_text(program, files[0].name, files[0].text, files[0].length, length, diag);
  static const char refused[] = "fuzz.exp: the layout";
  for (unsigned k = 0; k < diag_count(diag); k++)
    if (!strncmp(diag_message(diag, k), refused, sizeof refused - 1))
      fail("fmt contradicts itself", files[0].text, diag_message(diag, k));
  if (!text && !diag_errors(diag))
    fail("fmt says nothing", files[0].text, "");
  return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
  /* Terminated, for messages of this program; the language does not need it. */
  char *given = malloc(length + 1);
  if (!given)
    return 0;
  memcpy(given, bytes, length);
  given[length] = '\0';
  files[0] = (struct parse_memory){"fuzz.exp", given, length};
  struct arena *a = arena_new();
  const char *tier = tier_of_text(a);
  struct outcome before = run(tier);
  size_t n, again;
  char *text = format(a, &n);
  if (text) {
    files[0].text = text;
    files[0].length = n;
    char *twice = format(a, &again);
    if (!twice || n != again || memcmp(text, twice, n))
      fail("formatting twice changes the text", text, twice ? twice : "(an error)");
    struct outcome after = run(tier);
    if (strcmp(before.tree, after.tree))
      fail("formatting changes the tree", before.tree, after.tree);
    if (strcmp(before.messages, after.messages))
      fail("formatting changes the messages", before.messages, after.messages);
    if (strcmp(before.plan, after.plan))
      fail("formatting changes the plan", before.plan, after.plan);
    arena_free(after.arena);
  }
  arena_free(before.arena);
  arena_free(a);
  free(given);
  return 0;
}
