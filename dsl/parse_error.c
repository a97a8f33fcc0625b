/* Syntax errors in the user's words. */
#include "config.h"

#include "dsl/parse_int.h"
#include "dsl/exp.h"

#include <string.h>

enum { TEXT_SHOWN = 32, WANTED = 6 };

struct wanted {
  const char *names[WANTED];
  size_t n;
  bool after; /* "expected a value after `=`", not "expected `;` before `x`" */
};

struct expected {
  const char *const *names;
  size_t n;
};

static bool has(const struct expected *e, const char *name)
{
  for (size_t i = 0; i < e->n; i++)
    if (!strcmp(e->names[i], name))
      return true;
  return false;
}

const char *parse_token_text(const struct parser *p, const struct parse_token *t)
{
  if (t->kind == TOK_END || t->kind == TOK_END_INSIDE)
    return p->alone ? "the end" : "the end of the file";
  size_t length;
  const char *text = source_text(p->program->sources, p->file, &length);
  size_t n = t->span.end - t->span.begin;
  bool clip = n > TEXT_SHOWN;
  if (clip)
    for (n = TEXT_SHOWN; n && (text[t->span.begin + n] & 0xC0) == 0x80;)
      n--;
  return arena_printf(p->program->arena, "`%.*s%s`", (int)n, text + t->span.begin,
                      clip ? "..." : "");
}

static void want(struct wanted *w, const char *name)
{
  if (w->n < WANTED)
    w->names[w->n++] = name;
}

/* What may follow nearly everywhere, or is named first. */
static bool is_operator(const char *name)
{
  static const char *const operators[] = {"'+'", "'-'", "'*'", "'/'", "'^'", "'<'",
                                          "'>'", "<=",  ">=",  "==",  "!=",  "and",
                                          "or",  "by",  "'@'", "','", "':'", "a unit"};
  for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
    if (!strcmp(name, operators[i]))
      return true;
  return false;
}

/* What may stand at the beginning of a statement depends on the block. */
static void want_stmt(const struct parser *p, struct wanted *w)
{
  static const struct {
    int head;
    const char *names[4];
  } blocks[] = {
      {TOK_FIGURE, {"a setting", "`panel`", "`}`", NULL}},
      {TOK_PANEL, {"a setting", "`}`", NULL, NULL}},
      {TOK_CLAIM, {"`expect`", "`}`", NULL, NULL}},
      {TOK_TIER, {"`replace`", "`experiment`", "a setting", "`}`"}},
  };
  const struct parse_bracket *brace = parse_open_brace(p);
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    for (size_t k = 0; brace && brace->head == blocks[i].head && k < 4; k++)
      if (blocks[i].names[k])
        want(w, blocks[i].names[k]);
  if (w->n)
    return;
  want(w, "a statement");
  want(w, "`}`");
}

static const char *quoted(const struct parser *p, const char *name)
{
  if (name[0] == '\'')
    return arena_printf(p->program->arena, "`%c`", name[1]);
  if (p->alone && !strcmp(name, "the end of the file"))
    return "the end";
  if (strchr(name, ' '))
    return name;
  return arena_printf(p->program->arena, "`%s`", name);
}

static struct wanted choose(const struct parser *p, const struct expected *e)
{
  struct wanted w = {0};
  if (has(e, "sweep")) {
    want_stmt(p, &w);
  } else if (has(e, "include")) {
    for (size_t i = 0; i < 5; i++)
      want(&w, (const char *[]){"`experiment`", "`figure`", "`claim`", "`tier`", "`include`"}[i]);
  } else if (has(e, "';'")) {
    if (has(e, "','"))
      want(&w, "`,`");
    want(&w, "`;`");
  } else if (has(e, "'('") && has(e, "a number")) {
    if (has(e, "every"))
      want(&w, "`every`");
    want(&w, "a value");
    if (has(e, "')'"))
      want(&w, "`)`");
    w.after = true;
  } else {
    for (size_t i = 0; i < 2; i++)
      if (has(e, (const char *[]){"','", "':'"}[i]))
        want(&w, (const char *[]){"`,`", "`:`"}[i]);
    for (size_t i = 0; i < e->n; i++)
      if (!is_operator(e->names[i])) {
        want(&w, quoted(p, e->names[i]));
        w.after |= !strncmp(e->names[i], "a ", 2);
      }
  }
  return w;
}

static const char *listed(const struct parser *p, const struct wanted *w)
{
  const char *text = w->n ? w->names[0] : "something else";
  for (size_t i = 1; i < w->n; i++)
    text =
        arena_printf(p->program->arena, "%s%s%s", text, i + 1 < w->n ? ", " : " or ", w->names[i]);
  return text;
}

/* How statements are written, for mistakes in the middle of one. */
static const char *shape(int start)
{
  static const struct {
    int start;
    const char *text;
  } shapes[] = {
      {TOK_INCLUDE, "include \"path\";"},
      {TOK_EXPERIMENT, "experiment NAME { ... } or experiment NAME : BASE { ... }"},
      {TOK_FIGURE, "figure NUMBER \"title\" { ... }"},
      {TOK_PANEL, "panel NAME KIND of EXPERIMENT, ... [\"title\"] { ... }"},
      {TOK_CLAIM, "claim NAME \"what it says\" on EXPERIMENT, ... { ... }"},
      {TOK_TIER, "tier NAME [: BASE] \"what it is\" { ... }"},
      {TOK_SWEEP,
       "sweep NAME over VALUE, VALUE, ...; or sweep (NAME, NAME) over (VALUE, VALUE), ...;"},
      {TOK_WHERE, "where CONDITION;"},
      {TOK_LET, "let NAME = VALUE;"},
      {TOK_USE, "use NAME = MODEL of EXPERIMENT(SETTING = VALUE, ...);"},
      {TOK_TRUNK, "trunk [every LENGTH] for LENGTH at SCHEDULE;"},
      {TOK_BRANCH, "branch NAME[COUNT] at every LENGTH [of trunk] for LENGTH at SCHEDULE "
                   "[with snapshots every LENGTH];"},
      {TOK_MERGE, "merge NAME = METHOD(ENDPOINTS) [with WORDS];"},
      {TOK_MEASURE, "measure NAME = VALUE;"},
      {TOK_REPLACE, "replace data NAME with VALUE [\"what it stands for\"];"},
      {'@', "@paper(\"where\") or @assumed(\"why\"), behind the `;` of a statement"},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    if (shapes[i].start == start)
      return shapes[i].text;
  return NULL;
}

/* A word of the language that was misspelt. */
static const char *near_keyword(const struct expected *e, const struct parse_token *t)
{
  const char *words[WANTED * 6];
  size_t n = 0;
  if (t->kind != TOK_NAME && t->kind != TOK_UNIT)
    return NULL;
  for (size_t i = 0; i < e->n && n < sizeof words / sizeof *words; i++)
    if (e->names[i][0] >= 'a' && e->names[i][0] <= 'z' && !strchr(e->names[i], ' '))
      words[n++] = e->names[i];
  return diag_nearest(t->value.text, words, n);
}

static bool is_keyword(const struct parser *p, const struct parse_token *t)
{
  size_t length;
  const char *text = source_text(p->program->sources, p->file, &length);
  return t->kind > 255 && t->kind != TOK_NAME && t->kind != TOK_UNIT && t->kind != TOK_SETTER &&
         t->span.begin < length && text[t->span.begin] >= 'a' && text[t->span.begin] <= 'z';
}

static const char *misspelt_start(const struct parse_token *start)
{
  static const char *const words[] = {"experiment", "figure",  "panel",   "claim", "tier",
                                      "include",    "sweep",   "let",     "trunk", "branch",
                                      "merge",      "measure", "replace", "expect", "where", "use"};
  if (start->kind != TOK_NAME)
    return NULL;
  return diag_nearest(start->value.text, words, sizeof words / sizeof *words);
}

static void add_hint(struct parser *p, const struct expected *e, const struct wanted *w)
{
  const struct parse_token *t = &p->last;
  const char *near = near_keyword(e, t);
  if (t->kind == TOK_EQ && has(e, "'='")) {
    diag_hint(p->diag, "a value is given with one =");
    return;
  }
  if (!near && has(e, "'='") && t->kind > 255 && t->kind != TOK_NUMBER && t->kind != TOK_STRING)
    near = misspelt_start(&p->start);
  if (near)
    diag_hint(p->diag, "did you mean `%s`?", near);
  else if (t->kind == '@' && p->start.kind != '@')
    diag_hint(p->diag, "an annotation stands behind the `;`");
  else if (t->kind == '@')
    diag_hint(p->diag, "an annotation stands behind the `;` of the statement that it is about");
  else if (w->after && is_keyword(p, t) && !t->first && has(e, "a name"))
    diag_hint(p->diag, "%s is a word of the language and cannot be a name", parse_token_text(p, t));
  else if (t->kind == '=' && has(e, "'+'"))
    diag_hint(p->diag, "a comparison is written ==");
  else if ((t->kind == '<' || t->kind == '>' || t->kind == TOK_LE || t->kind == TOK_GE) &&
           has(e, "and"))
    diag_hint(p->diag, "comparisons do not chain: write a < b and b < c");
  else if (!has(e, "';'") && !has(e, "')'") && !has(e, "'('") && shape(p->start.kind))
    diag_hint(p->diag, "it is written: %s", shape(p->start.kind));
}

/* Where something is missing at the end of a line, the mistake is there and
 * not where the next line begins. */
static struct span place(const struct parser *p, const struct expected *e)
{
  bool missing = !has(e, "sweep") && !has(e, "include");
  if (p->before.span.file && ((p->last.first && missing) || p->last.kind == TOK_END_INSIDE))
    return (struct span){p->file, p->before.span.end, p->before.span.end};
  return p->last.span;
}

static void note_brackets(struct parser *p, const struct expected *e)
{
  const struct parse_bracket *top = p->n_brackets ? &p->brackets[p->n_brackets - 1] : NULL;
  if (top && ((top->kind == '(' && has(e, "')'")) || (top->kind == '[' && has(e, "']'"))))
    diag_note(p->diag, top->span, "opened here");
  if (p->last.kind != TOK_END_INSIDE)
    return;
  for (unsigned i = p->n_brackets; i-- > 0;)
    if (p->brackets[i].kind == '{')
      diag_note(p->diag, p->brackets[i].span, "this `{` is not closed either");
  p->close_reported = true;
}

bool parse_count_error(struct parser *p, struct span at)
{
  if (p->given_up || ++p->syntax_errors <= PARSE_MAX_ERRORS)
    return !p->given_up;
  diag_error(p->diag, at, "too many mistakes; the rest of this file was not read");
  parse_give_up(p);
  return false;
}

void parse_syntax_error(struct parser *p, const char *const *names, size_t n)
{
  const struct expected e = {names, n};
  const struct parse_token *t = &p->last;
  bool at_start = p->start.index == t->index;
  parse_recover(p);
  p->missing_end = has(&e, "';'");
  if (p->given_up || t->quiet || !parse_count_error(p, t->span))
    return;
  if (t->kind == '}' && !p->n_braces) {
    diag_error(p->diag, t->span, "this `}` closes nothing");
    return;
  }
  if (t->kind == ';' && at_start) {
    diag_error(p->diag, t->span, "this `;` ends nothing");
    return;
  }
  struct wanted w = choose(p, &e);
  if (w.after && p->before.span.end > p->before.span.begin)
    diag_error(p->diag, place(p, &e), "expected %s after %s", listed(p, &w),
               parse_token_text(p, &p->before));
  else
    diag_error(p->diag, place(p, &e), "expected %s before %s", listed(p, &w),
               parse_token_text(p, t));
  add_hint(p, &e, &w);
  note_brackets(p, &e);
}

void parse_unclosed(struct parser *p, const struct parse_token *before)
{
  struct span at = before->span;
  if (p->close_reported || !parse_count_error(p, at))
    return;
  if (before->kind == TOK_END_INSIDE)
    at.begin = at.end = p->last.span.end;
  diag_error(p->diag, at, "expected `}` before %s", parse_token_text(p, before));
  for (unsigned i = p->n_brackets; i-- > 0;)
    if (p->brackets[i].kind == '{')
      diag_note(p->diag, p->brackets[i].span, "opened here");
}

void parse_too_deep(struct parser *p, struct span at)
{
  if (!p->given_up) {
    diag_error(p->diag, at, "this is nested too deeply");
    diag_hint(p->diag, "at most %d brackets may be open, and %d operators apply to one another",
              PARSE_MAX_BRACKETS, AST_MAX_DEPTH);
  }
  parse_give_up(p);
}
