/* Writes what follows from words.def and the grammar into the manual and into the
 * editors' files:
 *
 *   words_doc [--check] exp.y FILE...
 *
 * Between a line with "generated: NAME" and one with "end of NAME" stands the
 * section NAME.  With --check nothing is written, and files that are not up to
 * date make it fail. */
#include "config.h"

#include "dsl/words_doc.h"

#include "base/file.h"
#include "dsl/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- words.def ---- */

struct entry {
  const char *owner, *name;
  enum words_type type;
  struct words_range range;
  const char *def, *meaning;
};

static const struct entry settings[] = {
#define SETTING(name, type, lb, low, high, rb, def, label, meaning)                                \
  {"", #name, WORDS_##type, {lb, rb, low, high}, def, meaning},
#include "dsl/words.def"
};

static const struct entry params[] = {
#define PARAM(owner, name, type, lb, low, high, rb, def, attr, meaning)                            \
  {#owner, #name, WORDS_##type, {lb, rb, low, high}, def, meaning},
#include "dsl/words.def"
};

static const struct {
  enum words_type sort;
  const char *key, *name;
  bool available;
  const char *meaning;
} things[] = {
#define THING(sort, name, available, meaning) {WORDS_##sort, #sort, #name, available, meaning},
#include "dsl/words.def"
};

static const struct {
  const char *name;
  double train, test;
} text_sets[] = {
#define TEXT(name, train, test, train_bytes, test_bytes) {#name, train, test},
#include "dsl/words.def"
};

static const struct {
  const char *name;
  unsigned models;
  bool split;
} measures[] = {
#define MEASURES(name, models, split, made) {#name, models, split},
#include "dsl/words.def"
};

static const struct {
  const char *word, *meaning;
} spreads[] = {
#define SPREAD(word, id, meaning) {#word, meaning},
#include "dsl/words.def"
};

static const char *const choices[] = {
#define CHOICE(owner, word) #word,
#include "dsl/words.def"
};

static const struct {
  const char *name;
  unsigned train, test, height, width, channels, classes;
} shapes[] = {
#define SHAPE(name, train, test, height, width, channels, classes)                                 \
  {#name, train, test, height, width, channels, classes},
#include "dsl/words.def"
};

static const struct {
  const char *name;
  unsigned operands;
} functions[] = {
#define FUNCTION(name, op, operands) {#name, operands},
#include "dsl/words.def"
};

static const struct {
  const char *name, *takes;
  char gives;
  const char *meaning;
} claim_functions[] = {
#define FUNCTION(id, name, takes, gives, meaning) {name, takes, gives, meaning},
#include "plan/claim.def"
};

static const struct {
  const char *word;
  bool argument;
  const char *meaning;
} axes[] = {
#define AXIS(word, argument, meaning) {#word, argument, meaning},
#include "dsl/words.def"
};

/* ---- the manual ---- */

struct context {
  struct arena *arena;
  const struct grammar *grammar;
  FILE *out;
};

static const char *range_text(struct arena *a, const struct entry *e)
{
  if (e->type == WORDS_NUMBER || e->type == WORDS_COUNT || e->type == WORDS_NUMBERS)
    return words_range_text(a, &e->range);
  return e->type == WORDS_CHOICE ? words_choices(a, e->name) : "";
}

static void print_entry(struct context *c, const struct entry *e)
{
  /* 0 outside of the range stands for what the thing has by itself. */
  bool whole = !strcmp(e->def, "0") && e->range.low > 0;
  const char *quote = whole || !*e->def ? "" : "`";
  fprintf(c->out, "| `%s` | %s | %s | %s%s%s | %s |\n", e->name, words_sort_name(e->type),
          range_text(c->arena, e), quote, whole ? "as it is" : *e->def ? e->def : "must be said",
          quote, e->meaning);
}

static void print_settings(struct context *c)
{
  fputs("| setting | type | range | default | meaning |\n|---|---|---|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(settings); i++)
    print_entry(c, &settings[i]);
}

static void print_shapes(struct context *c)
{
  fputs("\n| data set | training samples | test samples | size | channels | classes |\n"
        "|---|---|---|---|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(shapes); i++)
    fprintf(c->out, "| `%s` | %u | %u | %u x %u | %u | %u |\n", shapes[i].name, shapes[i].train,
            shapes[i].test, shapes[i].height, shapes[i].width, shapes[i].channels,
            shapes[i].classes);
  fputs("\n| text | training tokens | test tokens |\n|---|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(text_sets); i++)
    fprintf(c->out, "| `%s` | %.0f | %.0f |\n", text_sets[i].name, text_sets[i].train,
            text_sets[i].test);
}

static void print_measures(struct context *c)
{
  fputs("\n| measurement | is written |\n|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(measures); i++)
    fprintf(c->out, "| `%s` | `%s(MODEL%s%s)` |\n", measures[i].name, measures[i].name,
            measures[i].models == 2 ? ", MODEL" : "", measures[i].split ? ", SPLIT" : "");
}

/* The thing of a sort that an argument is of; NULL: it is of no such thing by itself. */
static const char *thing_of(const struct entry *e, enum words_type sort, const char *key)
{
  const size_t n = strlen(key);
  const bool of_sort = !strncmp(e->owner, key, n) && e->owner[n] == '_';
  const char *name = of_sort ? e->owner + n + 1 : e->owner;
  for (size_t t = 0; t < COUNT(things); t++)
    if (things[t].sort == sort && !strcmp(things[t].name, name))
      return name;
  return NULL;
}

/* Arguments of all things of the sort, and those of each. */
static void print_params(struct context *c, enum words_type sort, const char *key)
{
  bool any = false;
  for (size_t i = 0; i < COUNT(params); i++) {
    bool images = !strcmp(params[i].owner, "IMAGES"), texts = !strcmp(params[i].owner, "TEXTS");
    const char *thing = thing_of(&params[i], sort, key);
    bool all = !strcmp(params[i].owner, key) || (sort == WORDS_DATASET && (images || texts));
    if (!thing && !all)
      continue;
    if (!any)
      fputs("\n| of | argument | type | range | default | meaning |\n|---|---|---|---|---|---|\n",
            c->out);
    any = true;
    struct entry e = params[i];
    if (images || texts)
      fprintf(c->out, "| %s ", images ? "images" : "text");
    else if (all)
      fputs("| any ", c->out);
    else
      fprintf(c->out, "| `%s` ", thing);
    print_entry(c, &e);
  }
}

static void print_things(struct context *c)
{
  for (size_t i = 0; i < COUNT(things); i++) {
    bool first = true;
    for (size_t k = 0; k < i; k++)
      first &= things[k].sort != things[i].sort;
    if (!first)
      continue;
    fprintf(c->out, "%s### %s\n\n| word | meaning |\n|---|---|\n", i ? "\n" : "",
            words_sort_name(things[i].sort));
    for (size_t k = i; k < COUNT(things); k++)
      if (things[k].sort == things[i].sort)
        fprintf(c->out, "| `%s` | %s%s |\n", things[k].name, things[k].meaning,
                things[k].available ? "" : " (not available yet)");
    print_params(c, things[i].sort, things[i].key);
    if (things[i].sort == WORDS_DATASET)
      print_shapes(c);
    if (things[i].sort == WORDS_MEASUREMENT)
      print_measures(c);
  }
}

static void print_functions(struct context *c)
{
  fputs("| function | takes |\n|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(functions); i++)
    fprintf(c->out, "| `%s` | %s |\n", functions[i].name,
            functions[i].operands == 1 ? "one number"
            : functions[i].operands    ? "numbers"
                                       : "numbers, or what is measured on the members of a branch");
}

/* What a letter of claim.def stands for. */
static const char *claim_sort(char letter)
{
  switch (letter) {
  case 'n':
    return "number";
  case 'c':
    return "column";
  case 'm':
    return "column or number";
  case 'v':
    return "column or curve";
  case 'u':
  case 'w':
    return "curve";
  case 'k':
    return "name of a column";
  case '?':
    return "condition";
  default:
    return "number or curve";
  }
}

static void print_claim_functions(struct context *c)
{
  fputs("| function | takes | gives | meaning |\n|---|---|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(claim_functions); i++) {
    fprintf(c->out, "| `%s` | ", claim_functions[i].name);
    for (const char *letter = claim_functions[i].takes; *letter; letter++)
      fprintf(c->out, "%s%s", letter > claim_functions[i].takes ? ", " : "", claim_sort(*letter));
    fprintf(c->out, " | %s | %s |\n", claim_sort(claim_functions[i].gives),
            claim_functions[i].meaning);
  }
}

static void print_axes(struct context *c)
{
  fputs("| word | meaning |\n|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(axes); i++)
    fprintf(c->out, "| `%s%s` | %s |\n", axes[i].word, axes[i].argument ? " ..." : "",
            axes[i].meaning);
  fputs("\n| behind `band` and `bars` | they span |\n|---|---|\n", c->out);
  for (size_t i = 0; i < COUNT(spreads); i++)
    fprintf(c->out, "| `%s` | %s |\n", spreads[i].word, spreads[i].meaning);
}

static void print_grammar(struct context *c)
{
  fputs("```ebnf\n", c->out);
  grammar_print(c->grammar, c->out);
  fputs("```\n", c->out);
}

static void print_levels(struct context *c)
{
  fputs("```\n", c->out);
  for (size_t i = 0; i < c->grammar->levels.n; i++)
    fprintf(c->out, "%s\n", c->grammar->levels.words[i]);
  fputs("```\n", c->out);
}

static void print_keywords(struct context *c)
{
  const struct words_doc_list *words = &c->grammar->keywords;
  for (size_t i = 0; i < words->n; i++)
    fprintf(c->out, "`%s`%s", words->words[i], i + 1 == words->n ? "\n" : i % 10 == 9 ? "\n" : " ");
}

/* ---- highlighting ---- */

enum group { KEYWORDS, BLOCKS, OPERATORS, NAMES, FUNCTIONS, VALUES, GROUPS };

static void add(struct arena *a, struct words_doc_list *list, const char *word)
{
  for (size_t i = 0; i < list->n; i++)
    if (!strcmp(list->words[i], word))
      return;
  ARENA_PUSH(a, list->words, list->n, list->cap, word);
}

static bool is_one_of(const char *word, const char *const *words)
{
  for (; *words; words++)
    if (!strcmp(*words, word))
      return true;
  return false;
}

/* Every word is in one group only: the first of words.def's tables that has it. */
static void collect(struct context *c, struct words_doc_list groups[GROUPS])
{
  static const char *const blocks[] = {"claim", "experiment", "figure", "include", "panel",
                                       "tier", NULL};
  static const char *const operators[] = {"and", "by", "not", "or", NULL};
  static const char *const panel[] = {"x", "y", "z", "series", "opacity", "columns"};
  static const char *const claim[] = {"units", "tolerance", "tiers"};
  static const char *const sequences[] = {"linspace", "logspace", "pairs", "file"};
  /* Words with a meaning in one place, which are in no table. */
  static const char *const places[] = {"batchnorm", "snapshots", "checkpoint"};
  static const char *const values[] = {"scratch", "end", "rest"};
  struct arena *a = c->arena;
  for (size_t i = 0; i < c->grammar->keywords.n; i++) {
    const char *word = c->grammar->keywords.words[i];
    add(a, &groups[is_one_of(word, blocks) ? BLOCKS : is_one_of(word, operators) ? OPERATORS
                                                                                  : KEYWORDS],
        word);
  }
  for (size_t i = 0; i < COUNT(settings); i++)
    add(a, &groups[NAMES], settings[i].name);
  for (size_t i = 0; i < COUNT(params); i++)
    add(a, &groups[NAMES], params[i].name);
  for (size_t i = 0; i < COUNT(panel); i++)
    add(a, &groups[NAMES], panel[i]);
  for (size_t i = 0; i < COUNT(claim); i++)
    add(a, &groups[NAMES], claim[i]);
  for (size_t i = 0; i < COUNT(places); i++)
    add(a, &groups[NAMES], places[i]);
  for (size_t i = 0; i < COUNT(axes); i++)
    add(a, &groups[NAMES], axes[i].word);
  for (size_t i = 0; i < COUNT(spreads); i++)
    add(a, &groups[NAMES], spreads[i].word);
  for (size_t i = 0; i < COUNT(functions); i++)
    add(a, &groups[FUNCTIONS], functions[i].name);
  for (size_t i = 0; i < COUNT(claim_functions); i++)
    add(a, &groups[FUNCTIONS], claim_functions[i].name);
  for (size_t i = 0; i < COUNT(sequences); i++)
    add(a, &groups[FUNCTIONS], sequences[i]);
  for (size_t i = 0; i < COUNT(things); i++)
    add(a, &groups[things[i].sort == WORDS_MEASUREMENT ? FUNCTIONS : VALUES], things[i].name);
  for (size_t i = 0; i < COUNT(choices); i++)
    add(a, &groups[VALUES], choices[i]);
  for (size_t i = 0; i < COUNT(values); i++)
    add(a, &groups[VALUES], values[i]);
}

/* The group's words that no group before it has. */
static void print_group(const struct words_doc_list groups[GROUPS], int group, const char *format,
                        const char *separator, FILE *out)
{
  bool any = false;
  for (size_t i = 0; i < groups[group].n; i++) {
    const char *word = groups[group].words[i];
    bool taken = false;
    for (int g = 0; g < group; g++)
      for (size_t k = 0; k < groups[g].n; k++)
        taken |= !strcmp(groups[g].words[k], word);
    if (taken)
      continue;
    if (any)
      fputs(separator, out);
    fprintf(out, "%s%s%s", format, word, format);
    any = true;
  }
}

static void print_vim(struct context *c)
{
  static const char *const names[] = {"expKeyword", "expBlock",    "expOperator",
                                      "expName",    "expFunction", "expValue"};
  struct words_doc_list groups[GROUPS] = {0};
  collect(c, groups);
  for (int g = 0; g < GROUPS; g++) {
    fprintf(c->out, "syn keyword %s\n  \\ ", names[g]);
    print_group(groups, g, "", "\n  \\ ", c->out);
    fputc('\n', c->out);
  }
}

static void print_emacs(struct context *c)
{
  static const char *const names[] = {"keywords", "blocks", "operators",
                                      "names",    "functions", "values"};
  struct words_doc_list groups[GROUPS] = {0};
  collect(c, groups);
  for (int g = 0; g < GROUPS; g++) {
    fprintf(c->out, "(defconst mergescape--%s\n  '(", names[g]);
    print_group(groups, g, "\"", "\n    ", c->out);
    fputs("))\n", c->out);
  }
}

static void print_vscode(struct context *c)
{
  static const char *const names[] = {"keyword.control",    "keyword.declaration",
                                      "keyword.operator.word", "variable.parameter",
                                      "support.function",   "support.constant"};
  struct words_doc_list groups[GROUPS] = {0};
  collect(c, groups);
  for (int g = 0; g < GROUPS; g++) {
    fprintf(c->out, "    { \"name\": \"%s.exp\", \"match\": \"\\\\b(?:", names[g]);
    print_group(groups, g, "", "|", c->out);
    fputs(")\\\\b\" },\n", c->out);
  }
}

static const struct {
  const char *name;
  void (*print)(struct context *);
} sections[] = {
    {"settings", print_settings}, {"things", print_things},     {"functions", print_functions},
    {"claims", print_claim_functions},
    {"axes", print_axes},         {"grammar", print_grammar},   {"levels", print_levels},
    {"keywords", print_keywords}, {"vim", print_vim},           {"emacs", print_emacs},
    {"vscode", print_vscode},
};

/* ---- files ---- */

static const char *line_end(const char *line)
{
  const char *end = strchr(line, '\n');
  return end ? end + 1 : line + strlen(line);
}

static bool line_has(const char *line, const char *what, const char *name)
{
  const char *at = strstr(line, what);
  size_t n = strlen(name);
  return at && at < line_end(line) && !strncmp(at + strlen(what), name, n) &&
         !strchr("abcdefghijklmnopqrstuvwxyz", at[strlen(what) + n]);
}

/* The file's text with its sections anew; NULL: a section is unknown or does not end. */
static char *renew(struct context *c, const char *path, const char *text, size_t *length)
{
  char *result = NULL;
  c->out = open_memstream(&result, length);
  if (!c->out)
    return NULL;
  bool ok = true;
  for (const char *line = text; *line && ok;) {
    const char *next = line_end(line);
    fwrite(line, 1, (size_t)(next - line), c->out);
    const char *mark = strstr(line, "generated: ");
    line = next;
    if (!mark || mark >= next)
      continue;
    size_t s = 0;
    while (s < COUNT(sections) && !line_has(mark, "generated: ", sections[s].name))
      s++;
    ok = s < COUNT(sections);
    if (ok)
      sections[s].print(c);
    while (ok && *line && !line_has(line, "end of ", sections[s].name))
      line = line_end(line);
    ok = ok && *line;
    if (!ok)
      fprintf(stderr, "%s: unknown or endless section: %.*s", path, (int)(next - mark), mark);
  }
  fclose(c->out);
  return ok ? result : NULL;
}

static bool do_file(struct context *c, const char *path, bool check, struct diag *diag)
{
  size_t length, new_length;
  char *text = file_read(c->arena, path, &length, diag);
  char *renewed = text ? renew(c, path, text, &new_length) : NULL;
  bool ok = renewed != NULL;
  bool same = ok && length == new_length && !memcmp(text, renewed, length);
  if (ok && !same && check) {
    fprintf(stderr, "%s is not up to date: run `make update-words`\n", path);
    ok = false;
  } else if (ok && !same) {
    ok = file_write_atomic(path, renewed, new_length, diag);
  }
  free(renewed);
  return ok;
}

int main(int argc, char **argv)
{
  bool check = argc > 1 && !strcmp(argv[1], "--check"), ok = true;
  int first = check ? 2 : 1;
  if (argc < first + 2) {
    fputs("usage: words_doc [--check] exp.y FILE...\n", stderr);
    return 2;
  }
  struct arena *a = arena_new();
  struct diag *diag = diag_new(a);
  size_t length;
  const char *error = "cannot be read", *text = file_read(a, argv[first], &length, diag);
  struct context c = {.arena = a, .grammar = text ? grammar_read(a, text, &error) : NULL};
  if (!c.grammar)
    fprintf(stderr, "%s: %s\n", argv[first], error);
  for (int i = first + 1; c.grammar && i < argc; i++)
    ok &= do_file(&c, argv[i], check, diag);
  ok &= c.grammar && !diag_errors(diag);
  diag_print(diag, NULL, stderr, false);
  arena_free(a);
  return ok ? 0 : 1;
}
