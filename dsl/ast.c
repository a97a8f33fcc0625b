#include "dsl/ast.h"

#include "base/num.h"

const char *ast_block_word(enum ast_block_kind kind)
{
  static const char *const words[] = {"experiment", "figure", "panel", "claim", "tier"};
  return words[kind];
}

const char *ast_stmt_word(enum ast_stmt_kind kind)
{
  static const char *const words[] = {"setting", "sweep",   "let",     "trunk", "branch",
                                      "merge",   "measure", "replace", "expect", "where", "use"};
  return words[kind];
}

static void dump_string(const char *s, FILE *out)
{
  fputc('"', out);
  for (; *s; s++) {
    if (*s == '\n') {
      fputs("\\n", out);
      continue;
    }
    if (*s == '"' || *s == '\\')
      fputc('\\', out);
    fputc(*s, out);
  }
  fputc('"', out);
}

static void dump_expr(const struct ast_expr *e, FILE *out)
{
  char text[NUM_TEXT];
  switch (e->kind) {
  case AST_NUMBER:
    fputs(num_text(e->number, text), out);
    if (e->unit.text)
      fprintf(out, " %s", e->unit.text);
    return;
  case AST_STRING:
    dump_string(e->text, out);
    return;
  case AST_NAME:
    fputs(e->text, out);
    return;
  case AST_CALL:
  case AST_TUPLE:
  case AST_UNARY:
  case AST_BINARY:
  case AST_INDEX:
  case AST_OF:
    break;
  }
  fprintf(out, "(%s%s", e->kind == AST_CALL ? "call " : e->kind == AST_INDEX ? "index " : "",
          e->kind == AST_TUPLE ? "tuple" : e->text);
  for (size_t i = 0; i < e->n_args; i++) {
    fputc(' ', out);
    if (e->args[i].name.text)
      fprintf(out, "%s=", e->args[i].name.text);
    dump_expr(e->args[i].value, out);
  }
  fputc(')', out);
}

static void dump_part(const char *label, const struct ast_expr *e, FILE *out)
{
  if (!e)
    return;
  fprintf(out, " %s=", label);
  dump_expr(e, out);
}

static void dump_title(const struct ast_name *title, FILE *out)
{
  if (!title->text)
    return;
  fputc(' ', out);
  dump_string(title->text, out);
}

static void dump_doc(const char *doc, int indent, FILE *out)
{
  if (!doc)
    return;
  fprintf(out, "%*sdoc ", indent, "");
  dump_string(doc, out);
  fputc('\n', out);
}

static void dump_stmt(const struct ast_stmt *s, int indent, FILE *out)
{
  dump_doc(s->doc, indent, out);
  fprintf(out, "%*s%s", indent, "", ast_stmt_word(s->kind));
  if (s->kind_word.text)
    fprintf(out, " %s", s->kind_word.text);
  if (s->name.text && !s->n_names)
    fprintf(out, " %s", s->name.text);
  for (size_t i = 0; i < s->n_names; i++)
    fprintf(out, "%s%s", i ? "," : " ", s->names[i].text);
  dump_part("count", s->count, out);
  dump_part("value", s->value, out);
  for (size_t i = 0; i < s->n_values; i++)
    dump_part("value", s->values[i], out);
  dump_part("every", s->every, out);
  dump_part("length", s->length, out);
  dump_part("schedule", s->schedule, out);
  dump_part("snapshots", s->snapshots, out);
  for (size_t i = 0; i < s->n_words; i++)
    dump_part("word", s->words[i].value, out);
  dump_title(&s->label, out);
  for (size_t i = 0; i < s->n_notes; i++) {
    fprintf(out, " @%s", s->notes[i].name.text);
    dump_title(&s->notes[i].text, out);
  }
  fputc('\n', out);
}

static void dump_block(const struct ast_block *b, int indent, FILE *out)
{
  dump_doc(b->doc, indent, out);
  fprintf(out, "%*s%s", indent, "", ast_block_word(b->kind));
  if (b->name.text)
    fprintf(out, " %s", b->name.text);
  dump_part("number", b->number, out);
  if (b->panel_kind.text)
    fprintf(out, " kind=%s", b->panel_kind.text);
  for (size_t i = 0; i < b->n_of; i++)
    fprintf(out, "%s%s", i ? "," : " of=", b->of[i].text);
  if (b->base.text)
    fprintf(out, " base=%s", b->base.text);
  dump_title(&b->title, out);
  fputs(b->incomplete ? " incomplete\n" : "\n", out);
  for (size_t i = 0; i < b->n_stmts; i++)
    dump_stmt(&b->stmts[i], indent + 2, out);
  for (size_t i = 0; i < b->n_blocks; i++)
    dump_block(&b->blocks[i], indent + 2, out);
}

void ast_dump(const struct ast_program *program, FILE *out)
{
  for (size_t i = 0; i < program->n_includes; i++) {
    dump_doc(program->includes[i].doc, 0, out);
    fputs("include ", out);
    dump_string(program->includes[i].path.text, out);
    fputc('\n', out);
  }
  for (size_t i = 0; i < program->n_blocks; i++)
    dump_block(&program->blocks[i], 0, out);
}
