/* exp.y as EBNF: actions, types and recovery are left out, and left recursion is
 * written as a repetition. */
#include "config.h"

#include "dsl/words_doc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct reader {
  struct grammar *g;
  const char *at;
};

static bool is_name_char(char c)
{
  return isalnum((unsigned char)c) || c == '_';
}

static void push(struct arena *a, struct words_doc_list *list, const char *word)
{
  ARENA_PUSH(a, list->words, list->n, list->cap, word);
}

static bool has(const struct words_doc_list *list, const char *word)
{
  for (size_t i = 0; i < list->n; i++)
    if (!strcmp(list->words[i], word))
      return true;
  return false;
}

static const char *behind_quoted(const char *c)
{
  char quote = *c++;
  while (*c && *c != quote)
    c += *c == '\\' && c[1] ? 2 : 1;
  return *c ? c + 1 : c;
}

static const char *behind_comment(const char *c)
{
  const char *end = strstr(c + 2, "*/");
  return end ? end + 2 : c + strlen(c);
}

/* Behind an action, whose braces nest. */
static const char *behind_action(const char *c)
{
  unsigned depth = 0;
  while (*c) {
    if (*c == '"' || *c == '\'') {
      c = behind_quoted(c);
    } else if (!strncmp(c, "/*", 2)) {
      c = behind_comment(c);
    } else {
      depth += *c == '{';
      if (*c++ == '}' && !--depth)
        break;
    }
  }
  return c;
}

/* The next word, punctuation or '%' directive, "" at the end; actions, comments
 * and types are skipped. */
static const char *next(struct reader *r)
{
  for (;;) {
    r->at += strspn(r->at, " \t\r\n");
    if (!strncmp(r->at, "/*", 2))
      r->at = behind_comment(r->at);
    else if (*r->at == '{')
      r->at = behind_action(r->at);
    else if (*r->at == '<')
      r->at += strcspn(r->at, ">") + 1;
    else
      break;
  }
  const char *from = r->at;
  if (*from == '\'' || *from == '"')
    r->at = behind_quoted(from);
  else if (is_name_char(*from) || *from == '%')
    for (r->at++; is_name_char(*r->at); r->at++)
      ;
  else if (*from)
    r->at++;
  return arena_strndup(r->g->arena, from, (size_t)(r->at - from));
}

/* "'x'" as "\"x\"". */
static const char *literal(struct arena *a, const char *quoted)
{
  return arena_printf(a, "\"%.*s\"", (int)strlen(quoted) - 2, quoted + 1);
}

static const char *shown(const struct grammar *g, const char *symbol)
{
  if (*symbol == '\'')
    return literal(g->arena, symbol);
  for (size_t i = 0; i < g->names.n; i++)
    if (!strcmp(g->names.words[i], symbol))
      return g->shown.words[i];
  return symbol;
}

static int by_text(const void *a, const void *b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* %token NAME "a name" WITH "with": keywords and operators are shown as they are
 * written, the rest by their names. */
static void read_tokens(struct reader *r)
{
  struct grammar *g = r->g;
  const char *name = NULL;
  for (const char *end = r->at + strcspn(r->at, "\n"); r->at < end;) {
    const char *word = next(r);
    size_t n = strlen(word);
    if (*word != '"') {
      name = *word && !isdigit((unsigned char)*word) ? word : name;
      continue;
    }
    if (!name)
      continue;
    bool keyword = n > 2 && strspn(word + 1, "abcdefghijklmnopqrstuvwxyz") == n - 2;
    push(g->arena, &g->names, name);
    push(g->arena, &g->shown, strchr(word, ' ') ? name : word);
    if (keyword)
      push(g->arena, &g->keywords, arena_strndup(g->arena, word + 1, n - 2));
    r->at += strspn(r->at, " \t\r");
  }
}

static void read_level(struct reader *r, const char *how)
{
  const char *end = r->at + strcspn(r->at, "\n");
  const char *text = "";
  while (r->at < end) {
    const char *word = shown(r->g, next(r));
    if (!strcmp(word, "NEGATIVE"))
      word = "\"-\" (sign)";
    text = arena_printf(r->g->arena, "%s%s%s", text, *text ? "  " : "", word);
    r->at += strspn(r->at, " \t\r");
  }
  push(r->g->arena, &r->g->levels, arena_printf(r->g->arena, "%s%s", text, how));
}

static void read_declarations(struct reader *r, const char *end)
{
  static const struct {
    const char *word, *how;
  } levels[] = {{"%left", ""},
                {"%right", "  (from the right)"},
                {"%nonassoc", "  (do not chain)"},
                {"%precedence", ""}};
  while (r->at < end) {
    const char *word = next(r);
    if (!strcmp(word, "%token"))
      read_tokens(r);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
      if (!strcmp(word, levels[i].word))
        read_level(r, levels[i].how);
  }
  qsort(r->g->keywords.words, r->g->keywords.n, sizeof(char *), by_text);
}

static bool same(const struct words_doc_list *a, const struct words_doc_list *b)
{
  for (size_t i = 0; i < a->n && a->n == b->n; i++)
    if (strcmp(a->words[i], b->words[i]))
      return false;
  return a->n == b->n;
}

static void add_alternative(struct grammar *g, struct grammar_rule *rule,
                            struct words_doc_list alternative)
{
  if (has(&alternative, "error") || has(&alternative, "ALONE"))
    return;
  for (size_t i = 0; i < rule->n; i++)
    if (same(&rule->alternatives[i], &alternative))
      return;
  ARENA_PUSH(g->arena, rule->alternatives, rule->n, rule->cap, alternative);
}

static bool read_rule(struct reader *r, const char *name)
{
  struct grammar *g = r->g;
  struct grammar_rule rule = {.name = name};
  struct words_doc_list now = {0};
  if (strcmp(next(r), ":"))
    return false;
  for (;;) {
    const char *word = next(r);
    if (!*word)
      return false;
    if (!strcmp(word, "%prec")) {
      next(r);
    } else if (!strcmp(word, "|") || !strcmp(word, ";")) {
      add_alternative(g, &rule, now);
      now = (struct words_doc_list){0};
      if (*word == ';')
        break;
    } else if (strcmp(word, "%empty")) {
      push(g->arena, &now, strcmp(word, "SETTER") ? shown(g, word) : "NAME");
    }
  }
  /* What is read but a file is no part of the language. */
  if (strcmp(name, "input") != 0)
    ARENA_PUSH(g->arena, g->rules, g->n_rules, g->cap_rules, rule);
  return true;
}

struct grammar *grammar_read(struct arena *a, const char *text, const char **error)
{
  struct grammar *g = arena_alloc(a, sizeof *g);
  g->arena = a;
  const char *rules = strstr(text, "\n%%\n"), *from = strstr(text, "\n%token");
  const char *end = rules ? strstr(rules + 4, "\n%%\n") : NULL;
  *error = "two lines %% and a line that begins with %token are expected";
  if (!end || !from)
    return NULL;
  struct reader r = {g, from};
  read_declarations(&r, rules);
  r.at = rules + 4;
  for (const char *name; *error && r.at < end && *(name = next(&r)) && *name != '%';)
    if (!read_rule(&r, name)) {
      *error = arena_printf(a, "the rule %s does not end", name);
      return NULL;
    }
  *error = NULL;
  return g;
}

/* ---- EBNF ---- */

static void print_symbols(const struct words_doc_list *list, size_t from, FILE *out)
{
  for (size_t i = from; i < list->n; i++)
    fprintf(out, "%s%s", i > from ? " " : "", list->words[i]);
}

/* Alternatives that begin with the rule itself, or those that do not; returns how
 * many were printed. */
static size_t print_alternatives(const struct grammar_rule *rule, bool recursive,
                                 const char *separator, FILE *out)
{
  size_t n = 0;
  for (size_t i = 0; i < rule->n; i++) {
    const struct words_doc_list *alt = &rule->alternatives[i];
    bool itself = alt->n && !strcmp(alt->words[0], rule->name);
    if (itself != recursive || !alt->n)
      continue;
    fputs(n++ ? separator : "", out);
    print_symbols(alt, itself, out);
  }
  return n;
}

struct shape {
  size_t empty, plain, recursive;
  bool both; /* recursive at both ends, as operators are */
};

static struct shape shape_of(const struct grammar_rule *rule)
{
  struct shape s = {0};
  for (size_t i = 0; i < rule->n; i++) {
    const struct words_doc_list *alt = &rule->alternatives[i];
    bool itself = alt->n && !strcmp(alt->words[0], rule->name);
    s.empty += !alt->n;
    s.recursive += itself;
    s.plain += alt->n && !itself;
    s.both |= itself && !strcmp(alt->words[alt->n - 1], rule->name);
  }
  return s;
}

static void print_rule(const struct grammar_rule *rule, FILE *out)
{
  struct shape s = shape_of(rule);
  const char *lines = "\n  | ";
  if (s.both) {
    fprintf(out, "%s =\n    ", rule->name);
    for (size_t i = 0; i < rule->n; i++) {
      fputs(i ? lines : "", out);
      print_symbols(&rule->alternatives[i], 0, out);
    }
    fputs(" ;\n", out);
    return;
  }
  bool tall = !s.empty && !s.recursive && s.plain > 2;
  fprintf(out, "%s =%s", rule->name, tall ? "\n    " : " ");
  if (s.plain) {
    bool group = s.recursive && s.plain > 1;
    fputs(s.empty ? "[ " : group ? "( " : "", out);
    print_alternatives(rule, false, tall ? lines : " | ", out);
    fputs(s.empty ? " ]" : group ? " )" : "", out);
  }
  if (s.recursive) {
    fputs(s.plain ? " { " : "{ ", out);
    print_alternatives(rule, true, " | ", out);
    fputs(" }", out);
  }
  fputs(" ;\n", out);
}

void grammar_print(const struct grammar *g, FILE *out)
{
  for (size_t i = 0; i < g->n_rules; i++)
    print_rule(&g->rules[i], out);
}
