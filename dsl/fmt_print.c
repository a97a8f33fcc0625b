/* From lines to text: blanks between tokens, columns, line breaks. */
#include "config.h"

#include "dsl/exp.h"
#include "dsl/fmt_int.h"

#include <stdint.h>
#include <string.h>

/* Where the text goes; out NULL: it is only measured. */
struct writer {
  FILE *out;
  size_t column;
};

static size_t characters(const char *text, size_t length)
{
  size_t n = 0;
  for (size_t i = 0; i < length; i++)
    n += (text[i] & 0xC0) != 0x80;
  return n;
}

static void put(struct writer *w, const char *text, size_t length)
{
  if (w->out)
    fwrite(text, 1, length, w->out);
  w->column += characters(text, length);
}

static void put_blanks(struct writer *w, size_t n)
{
  for (size_t i = 0; w->out && i < n; i++)
    fputc(' ', w->out);
  w->column += n;
}

static void new_line(struct writer *w, size_t indent)
{
  if (w->out)
    fputc('\n', w->out);
  w->column = 0;
  put_blanks(w, indent);
}

static void put_comment(struct writer *w, const struct fmt_comment *c)
{
  if (!c->prose) {
    put(w, c->text, c->length);
    return;
  }
  bool spaced = c->length == 2 || c->text[2] == ' ';
  put(w, spaced ? "##" : "## ", spaced ? 2 : 3);
  put(w, c->text + 2, c->length - 2);
}

/* ---- between two tokens ---- */

static bool ends_operand(int kind)
{
  return kind == TOK_NAME || kind == TOK_NUMBER || kind == TOK_STRING || kind == ')' ||
         kind == ']' || kind == TOK_TRUNK || kind == TOK_EXPERIMENT;
}

/* The sign of a number, and not a difference.  Behind a setting's value words
 * follow, as in `y = gain range -1 1`; `20 epochs - 1` is a difference. */
static bool is_sign(const struct fmt_token *t, size_t from, size_t i)
{
  if (t[i].kind != '-')
    return false;
  if (i == from || !ends_operand(t[i - 1].kind))
    return true;
  return i >= from + 2 && t[from].kind == TOK_NAME && ends_operand(t[i - 2].kind) &&
         (t[i - 1].kind == TOK_STRING || t[i - 1].kind == TOK_NUMBER ||
          (t[i - 1].kind == TOK_NAME && t[i - 2].kind != TOK_NUMBER));
}

/* Blanks before token i of a line that begins with token `from`. */
static size_t blanks(const struct fmt *f, size_t from, size_t i)
{
  const struct fmt_token *t = f->tokens;
  int now = t[i].kind, before = i > from ? t[i - 1].kind : 0;
  if (!before || now == ',' || now == ';' || now == ')' || now == ']')
    return 0;
  if (before == '(' || before == '[' || before == '@' || before == '^' || now == '^')
    return 0;
  if ((now == '(' || now == '[') && before == TOK_NAME)
    return 0;
  if (is_sign(t, from, i - 1))
    return 0;
  return now == '@' && before == ';' ? 2 : 1;
}

size_t fmt_width(const struct fmt *f, size_t from, size_t to)
{
  size_t width = 0;
  for (size_t i = from; i < to; i++)
    width += blanks(f, from, i) + characters(f->tokens[i].text, f->tokens[i].length);
  return width;
}

/* ---- breaking ---- */

/* What is lost by a break before a token of this kind: the tighter it binds, the
 * more; 0: there is no break. */
static unsigned binding(int kind)
{
  switch (kind) {
  case TOK_AT:
  case TOK_FOR:
  case TOK_OF:
  case TOK_ON:
  case TOK_WITH:
  case TOK_OVER:
  case TOK_BY:
    return 1;
  case TOK_OR:
    return 2;
  case TOK_AND:
    return 3;
  case '<':
  case '>':
  case TOK_LE:
  case TOK_GE:
  case TOK_EQ:
  case TOK_NE:
    return 4;
  case '+':
  case '-':
    return 5;
  case '*':
  case '/':
    return 6;
  default:
    return 0;
  }
}

/* The less the better; 0: the line cannot be broken before token i, which stands
 * in `depth` brackets. */
static unsigned break_cost(const struct fmt *f, size_t from, size_t i, unsigned depth)
{
  const struct fmt_token *t = f->tokens;
  int before = i > from ? t[i - 1].kind : 0;
  unsigned cost = 0;
  if (before == ',' || (t[i].kind == TOK_STRING && ends_operand(before)))
    cost = 1;
  else if (before == '=')
    cost = 7;
  else if (before && !is_sign(t, from, i))
    cost = binding(t[i].kind);
  return cost ? 8 * depth + cost : 0;
}

static int step(int kind)
{
  if (kind == '(' || kind == '[')
    return 1;
  return kind == ')' || kind == ']' ? -1 : 0;
}

/* A name behind a number would be its unit if it were not on a line of its own. */
static bool must_break(const struct fmt *f, size_t i)
{
  const struct fmt_token *t = &f->tokens[i];
  return t->n_comments || (t->first && t->kind == TOK_NAME && t[-1].kind == TOK_NUMBER);
}

/* The token before which the line that goes on with token i at `column` is
 * broken; `to` where what is left fits. */
static size_t find_break(const struct fmt *f, const struct fmt_line *line, size_t i, size_t column,
                         unsigned depth)
{
  size_t best = 0, start = i;
  if (line->kind == FMT_HEAD)
    return line->to;
  unsigned best_cost = UINT32_MAX;
  for (size_t k = i; k < line->to; k++) {
    if (k > start && must_break(f, k))
      return line->to;
    unsigned cost = k > start ? break_cost(f, line->from, k, depth) : 0;
    /* A first line of a few characters looks worse than a break inside brackets. */
    if (cost && column < line->indent + 20)
      cost += 1000;
    if (cost && cost <= best_cost) {
      best = k;
      best_cost = cost;
    }
    size_t space = k > start ? blanks(f, line->from, k) + (k == line->align ? line->pad : 0) : 0;
    column += space + characters(f->tokens[k].text, f->tokens[k].length);
    if (column > FMT_WIDTH && best)
      return best;
    depth += (unsigned)step(f->tokens[k].kind);
  }
  return line->to;
}

static void put_inner_comments(struct writer *w, const struct fmt *f, const struct fmt_token *t,
                               size_t indent)
{
  for (size_t i = 0; i < t->n_comments; i++) {
    const struct fmt_comment *c = &f->comments[t->comments + i];
    if (c->own)
      new_line(w, indent);
    else
      put_blanks(w, 2);
    put_comment(w, c);
  }
}

/* Where a broken line goes on: behind the innermost open bracket, unless that is
 * far to the right. */
static size_t next_indent(const struct fmt_line *line, const size_t *open, unsigned depth)
{
  bool near = depth && open[depth - 1] <= FMT_WIDTH / 2;
  return near ? open[depth - 1] : line->indent + FMT_INDENT;
}

static void put_code(struct writer *w, const struct fmt *f, const struct fmt_line *line)
{
  size_t open[PARSE_MAX_BRACKETS + 1]; /* columns behind the open brackets */
  unsigned depth = 0;
  put_blanks(w, line->indent);
  size_t stop = find_break(f, line, line->from, w->column, 0);
  for (size_t i = line->from; i < line->to; i++) {
    const struct fmt_token *t = &f->tokens[i];
    bool forced = i > line->from && must_break(f, i);
    size_t indent = next_indent(line, open, depth);
    if (forced)
      put_inner_comments(w, f, t, indent);
    if (forced || i == stop) {
      new_line(w, indent);
      stop = find_break(f, line, i, w->column, depth);
    } else {
      put_blanks(w, blanks(f, line->from, i) + (i == line->align ? line->pad : 0));
    }
    put(w, t->text, t->length);
    open[depth] = w->column;
    depth += (unsigned)step(t->kind);
  }
}

/* Width of the last line of its code. */
static size_t code_end(const struct fmt *f, const struct fmt_line *line)
{
  struct writer w = {0};
  put_code(&w, f, line);
  return w.column;
}

/* ---- columns ---- */

static bool follows(const struct fmt *f, size_t i)
{
  return !f->lines[i].blank && f->lines[i].kind == f->lines[i - 1].kind;
}

/* Pads of the lines [from, to), neighbours of one group. */
static void align_group(struct fmt *f, size_t from, size_t to)
{
  size_t widest = 0;
  for (int pass = 0; pass < 2; pass++)
    for (size_t i = from; i < to; i++) {
      struct fmt_line *line = &f->lines[i];
      size_t width = fmt_width(f, line->from, line->align);
      if (width > FMT_ALIGNED)
        continue;
      if (pass)
        line->pad = (unsigned)(widest - width);
      else if (width > widest)
        widest = width;
    }
}

/* What stands behind its code: annotations 2, only a comment 1. */
static int tail_of(const struct fmt_line *line)
{
  if (line->kind != FMT_STMT)
    return 0;
  return line->notes_to > line->to ? 2 : line->tail ? 1 : 0;
}

/* Annotations stand in one column; neighbours that reach beyond it, and comments,
 * in a column of their own. */
static void place_tails(struct fmt *f)
{
  size_t from = 0, widest = 0;
  for (size_t i = 0; i <= f->n_lines; i++) {
    int tail = i < f->n_lines ? tail_of(&f->lines[i]) : 0;
    size_t width = tail ? code_end(f, &f->lines[i]) + 2 : 0;
    bool own = tail == 1 || (tail == 2 && width > FMT_NOTES);
    bool goes_on = own && i > from && follows(f, i) && tail_of(&f->lines[i - 1]) == tail;
    if (!goes_on) {
      for (size_t k = from; k < i; k++)
        f->lines[k].column = (unsigned)widest;
      from = i;
      widest = 0;
    }
    if (!own && tail == 2) {
      f->lines[i].column = FMT_NOTES;
      from = i + 1;
    } else if (!own) {
      from = i + 1;
    } else if (width > widest) {
      widest = width;
    }
  }
}

void fmt_align(struct fmt *f)
{
  for (size_t i = 0, to; i < f->n_lines; i = to) {
    to = i + 1;
    if (!f->lines[i].group)
      continue;
    while (to < f->n_lines && follows(f, to) && f->lines[to].group == f->lines[i].group)
      to++;
    align_group(f, i, to);
  }
  place_tails(f);
}

static void put_line(struct writer *w, const struct fmt *f, const struct fmt_line *line)
{
  if (line->kind == FMT_COMMENT) {
    const struct fmt_comment *c = &f->comments[line->from];
    put_blanks(w, line->indent);
    put_comment(w, c);
    return;
  }
  put_code(w, f, line);
  size_t gap = line->column > w->column + 2 ? line->column - w->column : 2;
  for (size_t i = line->to; i < line->notes_to; i++) {
    bool begins = f->tokens[i].kind == '@';
    put_blanks(w, i == line->to ? gap : begins ? 1 : blanks(f, line->to, i));
    put(w, f->tokens[i].text, f->tokens[i].length);
  }
  if (!line->tail)
    return;
  put_blanks(w, line->notes_to > line->to ? 2 : gap);
  put_comment(w, &f->comments[line->tail - 1]);
}

void fmt_print(const struct fmt *f, FILE *out)
{
  struct writer w = {.out = out};
  for (size_t i = 0; i < f->n_lines; i++) {
    if (f->lines[i].blank)
      new_line(&w, 0);
    put_line(&w, f, &f->lines[i]);
    new_line(&w, 0);
  }
}
