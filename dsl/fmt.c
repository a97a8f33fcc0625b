/* From text to lines.  The scanner drops comments, so they are read from the
 * text between the tokens. */
#include "config.h"

#include "dsl/fmt.h"

#include "dsl/exp.h"
#include "dsl/fmt_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokens and comments ---- */

static bool is_blank(char c)
{
  return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

/* What the scanner takes for prose: ## that begins a line, and no third #. */
static bool is_prose(const char *text, size_t hash, size_t end)
{
  size_t i = hash;
  while (i && (text[i - 1] == ' ' || text[i - 1] == '\t'))
    i--;
  bool bom = i == 3 && !memcmp(text, "\xEF\xBB\xBF", 3);
  return (!i || bom || text[i - 1] == '\n') && end - hash >= 2 && text[hash + 1] == '#' &&
         (end - hash == 2 || text[hash + 2] != '#');
}

/* The comments in [from, to) of the text, which lies before token `t`. */
static void read_gap(struct fmt *f, const char *text, size_t from, size_t to, struct fmt_token *t)
{
  unsigned newlines = from == 0;
  t->comments = (uint32_t)f->n_comments;
  for (size_t i = from; i < to; i++) {
    newlines += text[i] == '\n';
    if (text[i] != '#')
      continue;
    const char *line_end = memchr(text + i, '\n', to - i);
    size_t end = line_end ? (size_t)(line_end - text) : to, next = end;
    bool prose = is_prose(text, i, end);
    while (end > i && is_blank(text[end - 1]))
      end--;
    struct fmt_comment c = {text + i, end - i, newlines > 0, prose, newlines > 1};
    ARENA_PUSH(f->arena, f->comments, f->n_comments, f->cap_comments, c);
    newlines = 0;
    i = next - 1;
  }
  t->n_comments = (uint32_t)f->n_comments - t->comments;
  t->first = newlines > 0;
  t->blank = newlines > 1;
}

/* Scans a text that the grammar has accepted. */
static bool read_tokens(struct fmt *f, const char *text, size_t length, struct diag *diag)
{
  struct parser *p = mem_zalloc(sizeof *p);
  p->program = ast_program_new(f->arena);
  p->diag = diag;
  p->file = 1;
  bool begun = parse_scan_begin(p, text, length);
  size_t end = 0;
  for (int kind = 1; begun && kind != TOK_END;) {
    struct parse_value value;
    struct span at;
    kind = parse_scan(p, &value, &at);
    if (kind == TOK_END)
      at.begin = at.end = (uint32_t)length;
    struct fmt_token t = {
        .text = text + at.begin, .length = at.end - at.begin, .kind = (int16_t)kind};
    read_gap(f, text, end, at.begin, &t);
    ARENA_PUSH(f->arena, f->tokens, f->n_tokens, f->cap_tokens, t);
    end = at.end;
  }
  if (begun)
    parse_scan_end(p);
  free(p);
  return begun;
}

/* ---- lines ---- */

static struct fmt_line *add(struct fmt *f, struct fmt_line line)
{
  ARENA_PUSH(f->arena, f->lines, f->n_lines, f->cap_lines, line);
  return &f->lines[f->n_lines - 1];
}

static bool has_comments(const struct fmt *f, size_t from, size_t to)
{
  for (size_t i = from; i < to; i++)
    if (f->tokens[i].n_comments)
      return true;
  return false;
}

static size_t find(const struct fmt *f, size_t from, int kind)
{
  while (f->tokens[from].kind != kind && f->tokens[from].kind != TOK_END)
    from++;
  return from;
}

/* Comments before a line: the first one may stand behind the line before. */
static void add_comments(struct fmt *f, const struct fmt_token *t, unsigned indent)
{
  for (size_t i = 0; i < t->n_comments; i++) {
    size_t at = t->comments + i;
    const struct fmt_comment *c = &f->comments[at];
    if (i == 0 && !c->own && f->n_lines)
      f->lines[f->n_lines - 1].tail = at + 1;
    else
      add(f, (struct fmt_line){.kind = FMT_COMMENT, .from = at, .indent = indent,
                               .blank = c->blank});
  }
}

/* An experiment in a tier that says one thing stays on one line. */
static bool is_short(const struct fmt *f, size_t head, size_t brace, unsigned indent)
{
  size_t end = find(f, brace + 1, ';'), close = end + 1;
  return indent && f->tokens[head].kind == TOK_EXPERIMENT && f->tokens[end].kind == ';' &&
         f->tokens[close].kind == '}' && !has_comments(f, head + 1, close + 1) &&
         find(f, brace + 1, '}') == close && fmt_width(f, head, close + 1) + indent <= FMT_WIDTH;
}

static size_t add_head(struct fmt *f, size_t from, unsigned *depth)
{
  size_t brace = find(f, from, '{');
  struct fmt_line line = {.kind = FMT_HEAD, .from = from, .to = brace + 1,
                          .indent = *depth * FMT_INDENT, .blank = f->tokens[from].blank};
  if (is_short(f, from, brace, line.indent)) {
    line.kind = FMT_SHORT_BLOCK;
    line.group = TOK_EXPERIMENT;
    line.align = brace;
    line.to = find(f, brace, '}') + 1;
  } else {
    (*depth)++;
  }
  line.notes_to = line.to;
  add(f, line);
  return line.to;
}

/* What neighbouring statements of this kind have below one another; 0: nothing. */
static int aligned_kind(int first)
{
  switch (first) {
  case TOK_NAME:
  case TOK_LET:
  case TOK_USE:
  case TOK_MEASURE:
  case TOK_MERGE:
    return '=';
  case TOK_SWEEP:
    return TOK_OVER;
  default:
    return 0;
  }
}

static size_t add_stmt(struct fmt *f, size_t from, unsigned indent)
{
  size_t semicolon = find(f, from, ';'), to = semicolon + 1, end = to;
  while (f->tokens[end].kind == '@')
    end = find(f, end, ')') + 1;
  int first = f->tokens[from].kind, kind = aligned_kind(first);
  struct fmt_line line = {.kind = FMT_STMT, .from = from, .to = to, .notes_to = end,
                          .indent = indent, .blank = f->tokens[from].blank};
  /* A comment among the annotations: they follow like the rest. */
  if (has_comments(f, to, end))
    line.to = end;
  size_t align = kind ? find(f, from, kind) : 0;
  if (kind && align < semicolon && !has_comments(f, from + 1, line.to)) {
    line.group = first;
    line.align = align;
  }
  add(f, line);
  return end;
}

static bool begins_block(int kind)
{
  return kind == TOK_EXPERIMENT || kind == TOK_FIGURE || kind == TOK_PANEL || kind == TOK_CLAIM ||
         kind == TOK_TIER;
}

/* Blank lines: none inside a brace, one around a block of the file. */
static void set_blank(struct fmt *f, size_t first_line, unsigned depth, int kind)
{
  if (first_line == f->n_lines)
    return;
  struct fmt_line *line = &f->lines[first_line];
  const struct fmt_line *before = first_line ? line - 1 : NULL;
  if (!before || before->kind == FMT_HEAD)
    line->blank = false;
  else if (depth == 0 && (begins_block(kind) || before->kind == FMT_CLOSE))
    line->blank |= before->kind != FMT_COMMENT;
}

static void make_lines(struct fmt *f)
{
  unsigned depth = 0;
  for (size_t i = 0; i < f->n_tokens;) {
    const struct fmt_token *t = &f->tokens[i];
    size_t before = f->n_lines;
    unsigned outer = depth;
    add_comments(f, t, depth * FMT_INDENT);
    if (t->kind == TOK_END) {
      i++;
    } else if (t->kind == '}') {
      depth--;
      i++;
      add(f, (struct fmt_line){.kind = FMT_CLOSE, .from = i - 1, .to = i, .notes_to = i,
                               .indent = depth * FMT_INDENT});
    } else if (begins_block(t->kind)) {
      i = add_head(f, i, &depth);
    } else {
      i = add_stmt(f, i, depth * FMT_INDENT);
    }
    set_blank(f, before, outer, t->kind);
  }
}

/* ---- what must not change ---- */

static char *dump(const struct ast_program *program)
{
  char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  if (!out)
    return NULL;
  ast_dump(program, out);
  fclose(out);
  return text;
}

/* Prose may lose blanks before its text: `##text` and `## text` are the same. */
static bool same_comment(const struct fmt_comment *a, const struct fmt_comment *b)
{
  size_t skip_a = a->prose && a->length > 2 && a->text[2] == ' ' ? 3 : 2;
  size_t skip_b = b->prose && b->length > 2 && b->text[2] == ' ' ? 3 : 2;
  if (!a->prose || !b->prose || a->length < 2 || b->length < 2)
    skip_a = skip_b = 0;
  return a->prose == b->prose && a->own == b->own && a->length - skip_a == b->length - skip_b &&
         !memcmp(a->text + skip_a, b->text + skip_b, a->length - skip_a);
}

/* The same tokens with the same comments between them. */
static bool same_text(const struct fmt *a, const struct fmt *b)
{
  if (a->n_tokens != b->n_tokens || a->n_comments != b->n_comments)
    return false;
  for (size_t i = 0; i < a->n_tokens; i++) {
    const struct fmt_token *s = &a->tokens[i], *t = &b->tokens[i];
    if (s->kind != t->kind || s->length != t->length || s->n_comments != t->n_comments ||
        memcmp(s->text, t->text, s->length))
      return false;
  }
  for (size_t i = 0; i < a->n_comments; i++)
    if (!same_comment(&a->comments[i], &b->comments[i]))
      return false;
  return true;
}

static bool means_the_same(const struct ast_program *before, const struct fmt *f, const char *text,
                           size_t length)
{
  struct arena *scratch = arena_new();
  struct ast_program *after = ast_program_new(scratch);
  struct diag *diag = diag_new(scratch);
  struct fmt g = {.arena = scratch};
  bool same = read_tokens(&g, text, length, diag) && same_text(f, &g);
  parse_text_alone(after, "formatted", text, length, diag);
  if (same && !diag_errors(diag)) {
    char *a = dump(before), *b = dump(after);
    same = a && b && !strcmp(a, b);
    free(a);
    free(b);
  } else {
    same = false;
  }
  arena_free(scratch);
  return same;
}

char *fmt_text(struct ast_program *program, const char *name, const char *text, size_t length,
               size_t *out_length, struct diag *diag)
{
  struct arena *a = program->arena;
  struct fmt f = {.arena = a};
  unsigned errors = diag_errors(diag);
  parse_text_alone(program, name, text, length, diag);
  if (diag_errors(diag) > errors)
    return NULL;
  struct diag *unused = diag_new(a);
  char *out = NULL;
  FILE *file = read_tokens(&f, text, length, unused) ? open_memstream(&out, out_length) : NULL;
  if (!file) {
    diag_error(diag, SPAN_NONE, "%s: out of memory", name);
    return NULL;
  }
  make_lines(&f);
  fmt_align(&f);
  fmt_print(&f, file);
  fclose(file);
  char *result = arena_copy(a, out, *out_length + 1);
  free(out);
  if (means_the_same(program, &f, result, *out_length))
    return result;
  diag_error(diag, SPAN_NONE, "%s: the layout cannot be changed without changing the meaning",
             name);
  diag_hint(diag, "the file is left as it is; please report it");
  return NULL;
}
