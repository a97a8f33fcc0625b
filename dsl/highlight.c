#include "config.h"

#include "dsl/highlight.h"

#include "dsl/exp.h"
#include "dsl/parse_int.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct runs {
  struct arena *arena;
  struct highlight_run *v;
  size_t n, cap;
};

static void add(struct runs *r, enum highlight_kind kind, const char *text, size_t length)
{
  while (length) {
    const char *line_end = memchr(text, '\n', length);
    const size_t n = line_end ? (size_t)(line_end + 1 - text) : length;
    ARENA_PUSH(r->arena, r->v, r->n, r->cap, ((struct highlight_run){kind, text, n}));
    text += n;
    length -= n;
  }
}

/* Blanks and comments. */
static void add_gap(struct runs *r, const char *text, size_t length)
{
  while (length) {
    const char *hash = memchr(text, '#', length);
    const size_t before = hash ? (size_t)(hash - text) : length;
    add(r, HIGHLIGHT_PLAIN, text, before);
    text += before;
    length -= before;
    const char *line_end = length ? memchr(text, '\n', length) : NULL;
    const size_t comment = line_end ? (size_t)(line_end - text) : length;
    add(r, HIGHLIGHT_COMMENT, text, comment);
    text += comment;
    length -= comment;
  }
}

struct token {
  int kind;
  const char *text;
  size_t length;
};

static enum highlight_kind kind_of(const struct token *t, int next)
{
  switch (t->kind) {
  case TOK_NAME:
  case TOK_SETTER:
    return next == '=' ? HIGHLIGHT_SETTING : HIGHLIGHT_PLAIN;
  case TOK_NUMBER:
  case TOK_UNIT:
    return HIGHLIGHT_NUMBER;
  case TOK_STRING:
    return HIGHLIGHT_STRING;
  default:
    return isalpha((unsigned char)*t->text) ? HIGHLIGHT_KEYWORD : HIGHLIGHT_PLAIN;
  }
}

/* @name or @name("..."): its tokens. */
static size_t note_tokens(const struct token *t, size_t n)
{
  if (n < 2 || t->kind != '@')
    return 0;
  size_t i = 2;
  if (i < n && t[i].kind == '(')
    while (i < n && t[i++].kind != ')')
      ;
  return i;
}

struct highlight_run *highlight(struct arena *a, const char *text, size_t length, size_t *n)
{
  struct runs r = {.arena = a};
  struct token *tokens = NULL;
  size_t n_tokens = 0, cap = 0;
  struct parser *p = mem_zalloc(sizeof *p);
  /* The scanner wants a text that ends with a NUL. */
  const char *copy = arena_strndup(a, text, length);
  p->program = ast_program_new(a);
  p->diag = diag_new(a);
  p->file = 1;
  const bool begun = parse_scan_begin(p, copy, length);
  for (int kind = 1; begun && kind != TOK_END;) {
    struct parse_value value;
    struct span at;
    kind = parse_scan(p, &value, &at);
    if (kind != TOK_END)
      ARENA_PUSH(a, tokens, n_tokens, cap,
                 ((struct token){kind, text + at.begin, at.end - at.begin}));
  }
  if (begun)
    parse_scan_end(p);
  free(p);
  const char *at = text;
  for (size_t i = 0; i < n_tokens;) {
    const size_t note = note_tokens(tokens + i, n_tokens - i);
    const struct token *last = &tokens[note ? i + note - 1 : i];
    const char *end = last->text + last->length;
    add_gap(&r, at, (size_t)(tokens[i].text - at));
    if (note)
      add(&r, HIGHLIGHT_NOTE, tokens[i].text, (size_t)(end - tokens[i].text));
    else
      add(&r, kind_of(&tokens[i], i + 1 < n_tokens ? tokens[i + 1].kind : 0), tokens[i].text,
          tokens[i].length);
    at = end;
    i += note ? note : 1;
  }
  add_gap(&r, at, (size_t)(text + length - at));
  *n = r.n;
  return r.v;
}
