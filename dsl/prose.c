#include "dsl/prose.h"

#include "dsl/claim.h"
#include "dsl/parse.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct reader {
  struct ast_program *program;
  struct dsl *dsl;
  const struct ast_block *block;
  struct diag *diag;
  struct prose_part *parts;
  size_t n, cap;
};

static void add(struct reader *r, struct prose_part part)
{
  ARENA_PUSH(r->dsl->arena, r->parts, r->n, r->cap, part);
}

static const char *block_name(const struct reader *r)
{
  return r->block->name.text ? r->block->name.text
         : r->block->title.text ? r->block->title.text : "";
}

/* The experiment that a block's prose is about; NULL: none, or more than one. */
static const struct dsl_experiment *own_experiment(const struct reader *r)
{
  const struct ast_block *b = r->block;
  const struct dsl_experiment *found = NULL;
  if (b->kind == AST_EXPERIMENT)
    return dsl_experiment(r->dsl, b->name.text);
  for (size_t i = 0; i <= b->n_blocks; i++) {
    const struct ast_block *of = i < b->n_blocks ? &b->blocks[i] : b;
    for (size_t k = 0; k < of->n_of; k++) {
      const struct dsl_experiment *e = dsl_experiment(r->dsl, of->of[k].text);
      if (found && e != found)
        return NULL;
      found = e;
    }
  }
  return found;
}

/* What stands between `open` and the `close` that belongs to it, on one line; *at moves
 * behind it.  NULL: it is not there. */
static char *bracketed(struct reader *r, const char **at, char open, char close)
{
  unsigned depth = 0;
  const char *from = *at;
  if (*from != open)
    return NULL;
  for (const char *p = from; *p && *p != '\n'; p++) {
    depth += *p == open;
    depth -= *p == close;
    if (depth == 0) {
      *at = p + 1;
      return arena_strndup(r->dsl->arena, from + 1, (size_t)(p - from - 1));
    }
  }
  return NULL;
}

static char *trimmed(char *s)
{
  while (isspace((unsigned char)*s))
    s++;
  for (size_t n = strlen(s); n && isspace((unsigned char)s[n - 1]); n--)
    s[n - 1] = '\0';
  return s;
}

/* "noise, 2": an experiment, a number of digits, or both. */
static bool read_choice(struct reader *r, char *text, struct prose_part *part)
{
  char *comma = strchr(text, ','), *name = text, *digits = comma ? comma + 1 : NULL;
  if (comma)
    *comma = '\0';
  name = trimmed(name);
  if (!digits && isdigit((unsigned char)*name)) {
    digits = name;
    name = arena_strdup(r->dsl->arena, "");
  }
  if (*name && !(part->of = dsl_experiment(r->dsl, name))) {
    dsl_unknown_experiment(r->dsl, name, r->block->doc_span, r->diag);
    return false;
  }
  if (!digits)
    return true;
  char *end;
  const long n = strtol(digits, &end, 10);
  part->digits = (unsigned)n;
  if (end != digits && !*trimmed(end) && n >= 1 && n <= PROSE_MOST_DIGITS)
    return true;
  diag_error(r->diag, r->block->doc_span, "`%s` is no number of digits", trimmed(digits));
  diag_hint(r->diag, "from 1 to %d", PROSE_MOST_DIGITS);
  return false;
}

static void read_result(struct reader *r, const char **at)
{
  struct prose_part part = {.of = own_experiment(r), .digits = PROSE_DIGITS};
  char *choice = bracketed(r, at, '[', ']');
  char *text = bracketed(r, at, '{', '}');
  if (!text) {
    diag_error(r->diag, r->block->doc_span, "\\result has no {...} on its line");
    diag_hint(r->diag, "such as \\result[EXPERIMENT]{median(gain)}");
    return;
  }
  if (choice && !read_choice(r, choice, &part))
    return;
  if (!part.of) {
    diag_error(r->diag, r->block->doc_span, "\\result{%s} does not say of what experiment", text);
    diag_hint(r->diag, "\\result[EXPERIMENT]{%s}", text);
    return;
  }
  const struct rows rows = {&part.of, 1};
  const unsigned before = diag_errors(r->diag);
  const char *name = arena_printf(r->dsl->arena, "the prose of `%s`", block_name(r));
  const struct ast_expr *x = parse_thing(r->program, name, text, r->diag);
  if (x && part.of->complete)
    part.number = claim_compile_number(r->dsl, &rows, x, r->diag);
  if (diag_errors(r->diag) > before)
    diag_note(r->diag, r->block->doc_span, "this prose");
  else
    add(r, part);
}

static bool is_claim(const struct reader *r, const char *name)
{
  for (size_t i = 0; i < r->program->n_blocks; i++)
    if (r->program->blocks[i].kind == AST_CLAIM && r->program->blocks[i].name.text &&
        !strcmp(r->program->blocks[i].name.text, name))
      return true;
  return false;
}

static void read_verdict(struct reader *r, const char **at)
{
  char *text = bracketed(r, at, '{', '}');
  if (text && is_claim(r, trimmed(text))) {
    add(r, (struct prose_part){.claim = trimmed(text)});
    return;
  }
  diag_error(r->diag, r->block->doc_span,
             text ? "\\verdict{%s}: there is no such claim" : "\\verdict has no {...}%s",
             text ? text : "");
}

struct prose_part *prose_read(struct ast_program *program, struct dsl *dsl,
                              const struct ast_block *block, size_t *n, struct diag *diag)
{
  static const char result[] = "\\result", verdict[] = "\\verdict";
  struct reader r = {program, dsl, block, diag, NULL, 0, 0};
  const char *at = block->doc ? block->doc : "", *from = at;
  while (*at) {
    const bool is_result = !strncmp(at, result, sizeof result - 1);
    if (!is_result && strncmp(at, verdict, sizeof verdict - 1)) {
      at++;
      continue;
    }
    if (at > from)
      add(&r, (struct prose_part){.text = from, .length = (size_t)(at - from)});
    at += is_result ? sizeof result - 1 : sizeof verdict - 1;
    if (is_result)
      read_result(&r, &at);
    else
      read_verdict(&r, &at);
    from = at;
  }
  if (at > from)
    add(&r, (struct prose_part){.text = from, .length = (size_t)(at - from)});
  *n = r.n;
  return r.parts;
}

void prose_check(struct ast_program *program, struct dsl *dsl, struct diag *diag)
{
  size_t n;
  for (size_t i = 0; i < program->n_blocks; i++)
    prose_read(program, dsl, &program->blocks[i], &n, diag);
}
