#include "dsl/values.h"

#include <ctype.h>
#include <string.h>

/* One line of a block. */
struct row {
  const char *word, *value, *paper; /* paper NULL: the same */
  const struct ast_stmt *stmt, *at_tier, *in_paper; /* where each is said */
};

struct rows {
  struct arena *arena;
  const struct dsl *dsl;
  struct row *v;
  size_t n, cap;
};

/* The source text on one line, without comments. */
static const char *slice(struct rows *r, struct span span)
{
  size_t length, n = 0;
  if (!span.file)
    return "";
  const char *text = source_text(r->dsl->program->sources, span.file, &length);
  char *out = arena_alloc(r->arena, (size_t)(span.end - span.begin) + 1);
  bool quoted = false;
  for (size_t i = span.begin; i < span.end; i++) {
    if (text[i] == '"')
      quoted = !quoted;
    if (text[i] == '#' && !quoted)
      while (i < span.end && text[i] != '\n')
        i++;
    if (i == span.end)
      break;
    bool space = isspace((unsigned char)text[i]);
    if (!space || (n && out[n - 1] != ' '))
      out[n++] = space ? ' ' : text[i];
  }
  while (n && (out[n - 1] == ' ' || out[n - 1] == ';'))
    n--;
  out[n] = '\0';
  return out;
}

/* The statement behind its first words: "every 8 epochs for 32 epochs at constant". */
static const char *behind(struct rows *r, const struct ast_stmt *s, struct span last)
{
  struct span span = s->span;
  if (last.file && last.end > span.begin)
    span.begin = last.end;
  return slice(r, span);
}

/* What stands behind the name and its "=" or "over". */
static const char *own_text(struct rows *r, const struct ast_stmt *s)
{
  const char *text = behind(r, s, s->n_names ? s->names[s->n_names - 1].span : s->name.span);
  if (*text == '=' || *text == ')')
    text++;
  while (*text == ' ')
    text++;
  return s->kind == AST_SWEEP && !strncmp(text, "over ", 5) ? text + 5 : text;
}

/* Data and models have stand-ins at a tier. */
static const char *var_text(struct rows *r, const struct dsl_var *v)
{
  char *text = arena_strdup(r->arena, "");
  if (strcmp(v->name, "data") && strcmp(v->name, "model"))
    return own_text(r, v->stmt);
  for (size_t i = 0; i < v->n_values; i++)
    text = arena_printf(r->arena, "%s%s%s", text, i ? ", " : "",
                        slice(r, dsl_replaced(r->dsl, v, v->values[i])->span));
  return text;
}

static void add(struct rows *r, struct row row)
{
  for (size_t i = 0; i < r->n; i++)
    if (r->v[i].stmt == row.stmt) /* an argument of the optimizer, or a name of a zip */
      return;
  if (!row.in_paper)
    row.paper = "(nothing)";
  else if (!strcmp(row.paper, row.value))
    row.paper = NULL;
  ARENA_PUSH(r->arena, r->v, r->n, r->cap, row);
}

/* "sweep lr", "sweep (lr, batch)" */
static const char *swept_names(struct rows *r, const struct ast_stmt *s)
{
  char *text = arena_printf(r->arena, "sweep %s%s", s->n_names ? "(" : "", s->name.text);
  for (size_t i = 1; i < s->n_names; i++)
    text = arena_printf(r->arena, "%s, %s", text, s->names[i].text);
  return arena_printf(r->arena, "%s%s", text, s->n_names ? ")" : "");
}

static void add_vars(struct rows *r, const struct dsl_experiment *e)
{
  for (size_t i = 0; i < e->n_vars; i++) {
    const struct dsl_var *v = &e->vars[i], *paper = dsl_var(e->paper, v->name);
    const char *word = v->stmt->kind == AST_SETTING
                           ? v->stmt->name.text
                       : v->stmt->kind == AST_SWEEP
                           ? swept_names(r, v->stmt)
                           : arena_printf(r->arena, "%s %s", ast_stmt_word(v->stmt->kind), v->name);
    add(r, (struct row){word, var_text(r, v), paper ? own_text(r, paper->stmt) : NULL, v->stmt,
                        dsl_said_by(r->dsl, v), paper ? paper->stmt : NULL});
  }
}

/* Of a trunk, which has no name, what stands behind its first word. */
static const char *training_text(struct rows *r, const struct ast_stmt *s)
{
  struct span word = {s->span.file, s->span.begin, s->span.begin + 5};
  return behind(r, s, s->kind == AST_TRUNK ? word : s->name.span);
}

static void add_training(struct rows *r, const struct dsl_experiment *e)
{
  const struct ast_stmt *paper = e->paper->trunk;
  if (e->trunk)
    add(r, (struct row){"trunk", training_text(r, e->trunk),
                        paper ? training_text(r, paper) : NULL, e->trunk, e->trunk, paper});
  for (size_t i = 0; i < e->n_branches; i++) {
    const struct ast_stmt *b = e->branches[i];
    paper = NULL;
    for (size_t k = 0; k < e->paper->n_branches; k++)
      if (!strcmp(e->paper->branches[k]->name.text, b->name.text))
        paper = e->paper->branches[k];
    add(r, (struct row){arena_printf(r->arena, "branch %s", b->name.text), training_text(r, b),
                        paper ? training_text(r, paper) : NULL, b, b, paper});
  }
}

/* Where it is said, and on what authority. */
static void print_place(struct rows *r, const struct ast_stmt *s, FILE *out)
{
  fprintf(out, "  [%s]", source_line_name(r->dsl->program->sources, s->span, r->arena));
  for (size_t i = 0; i < s->n_notes; i++)
    if (s->notes[i].text.text)
      fprintf(out, "  @%s(\"%s\")", s->notes[i].name.text, s->notes[i].text.text);
    else
      fprintf(out, "  @%s", s->notes[i].name.text);
  fputc('\n', out);
}

static int widest(const struct rows *r, bool word, int most)
{
  int width = 0;
  for (size_t i = 0; i < r->n; i++) {
    int n = (int)strlen(word ? r->v[i].word : r->v[i].value);
    width = n > width && n <= most ? n : width;
  }
  return width;
}

static void print_experiment(struct rows *r, const struct dsl_experiment *e, FILE *out)
{
  const struct source_set *sources = r->dsl->program->sources;
  fprintf(out, "experiment %s%s%s  [%s]\n", e->name, e->block->base.text ? " : " : "",
          e->block->base.text ? e->block->base.text : "",
          source_line_name(sources, e->block->span, r->arena));
  r->n = 0;
  add_vars(r, e);
  add_training(r, e);
  int words = widest(r, true, 24), values = widest(r, false, 44);
  for (size_t i = 0; i < r->n; i++) {
    const struct row *row = &r->v[i];
    fprintf(out, "  %-*s  %-*s", words, row->word, values, row->value);
    print_place(r, row->at_tier, out);
    if (!row->paper)
      continue;
    fprintf(out, "  %*s    paper: %-*s", words, "", values - 9 > 0 ? values - 9 : 0, row->paper);
    if (row->in_paper)
      print_place(r, row->in_paper, out);
    else
      fputc('\n', out);
  }
}

void dsl_values_print(const struct dsl *dsl, bool (*shown)(void *, const char *), void *context,
                      FILE *out)
{
  struct rows r = {.arena = arena_new(), .dsl = dsl};
  for (size_t i = 0; i < dsl->n_experiments; i++) {
    const struct dsl_experiment *e = &dsl->experiments[i];
    if (!e->planned || !e->paper || (shown && !shown(context, e->name)))
      continue;
    print_experiment(&r, e, out);
    fputc('\n', out);
  }
  arena_free(r.arena);
}
