#include "dsl/parse_int.h"

#include <string.h>

struct ast_name parse_name(struct parse_value value, struct span span)
{
  return (struct ast_name){value.text, span};
}

static struct ast_expr *expr_new(struct parser *p, enum ast_expr_kind kind, struct span span)
{
  struct ast_expr *e = arena_alloc(p->program->arena, sizeof *e);
  e->kind = kind;
  e->span = span;
  e->text_span = span;
  e->depth = 1;
  return e;
}

struct ast_expr *parse_leaf(struct parser *p, enum ast_expr_kind kind, struct parse_value value,
                            struct span span)
{
  struct ast_expr *e = expr_new(p, kind, span);
  e->text = value.text;
  e->number = value.number;
  return e;
}

/* Returns `e`, or a number in its place once it is too deep to walk safely. */
static struct ast_expr *add_arg(struct parser *p, struct ast_expr *e, struct ast_arg arg)
{
  if (arg.value->depth >= AST_MAX_DEPTH) {
    parse_too_deep(p, arg.value->text_span);
    arg.value = parse_leaf(p, AST_NUMBER, (struct parse_value){0}, arg.value->span);
  }
  ARENA_PUSH(p->program->arena, e->args, e->n_args, e->cap_args, arg);
  if (e->depth <= arg.value->depth)
    e->depth = arg.value->depth + 1;
  return e;
}

static void room_for(struct parser *p, struct ast_expr *e, size_t n)
{
  e->args = arena_array(p->program->arena, n, sizeof *e->args);
  e->cap_args = n;
}

struct ast_expr *parse_operator(struct parser *p, const char *text, struct span text_span,
                                struct ast_expr *left, struct ast_expr *right, struct span span)
{
  struct ast_expr *e = expr_new(p, right ? AST_BINARY : AST_UNARY, span);
  e->text = text;
  e->text_span = text_span;
  room_for(p, e, right ? 2 : 1);
  add_arg(p, e, (struct ast_arg){.value = left});
  if (right)
    add_arg(p, e, (struct ast_arg){.value = right});
  return e;
}

struct ast_expr *parse_call(struct parser *p, struct parse_value name, struct span name_span,
                            struct ast_expr *args, struct span span)
{
  struct ast_expr *e = args ? args : expr_new(p, AST_CALL, span);
  e->text = name.text;
  e->text_span = name_span;
  e->span = span;
  return e;
}

/* ends[0] */
struct ast_expr *parse_index(struct parser *p, struct parse_value name, struct span name_span,
                             struct ast_expr *index, struct span span)
{
  struct ast_expr *e = expr_new(p, AST_INDEX, span);
  e->text = name.text;
  e->text_span = name_span;
  room_for(p, e, 1);
  return add_arg(p, e, (struct ast_arg){.value = index});
}

struct ast_expr *parse_of(struct parser *p, struct ast_expr *member, struct ast_expr *experiment,
                          struct span of, struct span span)
{
  struct ast_expr *e = expr_new(p, AST_OF, span);
  e->text = "of";
  e->text_span = of;
  room_for(p, e, 2);
  add_arg(p, e, (struct ast_arg){.value = member});
  return add_arg(p, e, (struct ast_arg){.value = experiment});
}

struct ast_expr *parse_arg_add(struct parser *p, struct ast_expr *args, struct ast_arg arg)
{
  return add_arg(p, args ? args : expr_new(p, AST_CALL, arg.value->span), arg);
}

struct ast_expr *parse_negative(struct ast_expr *number, struct span minus)
{
  number->number = -number->number;
  number->span = span_join(minus, number->span);
  return number;
}

/* A file has many statements; the memory of one that was added serves the next. */
struct parse_spare {
  struct parse_spare *next;
};

static void spare_stmt(struct parser *p, struct ast_stmt *s)
{
  struct parse_spare *spare = (void *)s;
  spare->next = p->spare;
  p->spare = spare;
}

struct ast_stmt *parse_stmt(struct parser *p, enum ast_stmt_kind kind, struct span span)
{
  struct ast_stmt *s = p->spare ? (void *)p->spare : arena_alloc(p->program->arena, sizeof *s);
  p->spare = p->spare ? p->spare->next : NULL;
  memset(s, 0, sizeof *s);
  s->kind = kind;
  s->span = span;
  return s;
}

struct ast_stmt *parse_stmt_new(struct parser *p, enum ast_stmt_kind kind, struct parse_value name,
                                struct span name_span, struct ast_expr *value, struct span span)
{
  struct ast_stmt *s = parse_stmt(p, kind, span);
  s->name = parse_name(name, name_span);
  s->value = value;
  return s;
}

struct ast_stmt *parse_stmt_as(struct ast_stmt *s, enum ast_stmt_kind kind, struct parse_value name,
                               struct span name_span, struct span span)
{
  s->kind = kind;
  s->name = parse_name(name, name_span);
  s->span = span;
  return s;
}

struct ast_stmt *parse_training(struct parser *p, enum ast_stmt_kind kind, struct ast_expr *every,
                                struct ast_expr *length, struct ast_expr *schedule,
                                struct span span)
{
  struct ast_stmt *s = parse_stmt(p, kind, span);
  s->every = every;
  s->length = length;
  s->schedule = schedule;
  return s;
}

struct ast_stmt *parse_snapshots(struct parser *p, struct ast_stmt *branch,
                                 struct parse_value word, struct span at, struct ast_expr *every,
                                 struct span span)
{
  if (strcmp(word.text, "snapshots"))
    diag_error(p->diag, at, "`snapshots` is expected behind `with`");
  branch->snapshots = every;
  branch->span = span;
  return branch;
}

void parse_stmt_value(struct parser *p, struct ast_stmt *s, struct ast_expr *value)
{
  ARENA_PUSH(p->program->arena, s->values, s->n_values, s->cap_values, value);
}

void parse_stmt_name(struct parser *p, struct ast_stmt *s, struct parse_value name,
                     struct span span)
{
  ARENA_PUSH(p->program->arena, s->names, s->n_names, s->cap_names, parse_name(name, span));
}

struct ast_expr *parse_tuple(struct parser *p, const struct ast_stmt *values, struct span span)
{
  struct ast_expr *tuple = parse_leaf(p, AST_TUPLE, (struct parse_value){0}, span);
  for (size_t i = 0; i < values->n_values; i++)
    parse_arg_add(p, tuple, (struct ast_arg){.value = values->values[i]});
  return tuple;
}

struct ast_stmt *parse_paired_sweep(struct ast_stmt *names, struct ast_stmt *tuples,
                                    struct span span)
{
  tuples->names = names->names;
  tuples->n_names = names->n_names;
  tuples->name = names->names[0];
  tuples->span = span;
  return tuples;
}

void parse_stmt_word(struct parser *p, struct ast_stmt *s, struct ast_expr *word)
{
  ARENA_PUSH(p->program->arena, s->words, s->n_words, s->cap_words, (struct ast_word){word});
}

const char *parse_doc_of(struct parser *p, struct span span, struct span *doc_span)
{
  size_t low = 0, high = p->n_docs;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    if (p->docs[mid].owner.begin < span.begin)
      low = mid + 1;
    else
      high = mid;
  }
  if (low == p->n_docs || p->docs[low].owner.begin != span.begin || !p->docs[low].owner.file)
    return NULL;
  p->docs[low].used = true;
  *doc_span = p->docs[low].span;
  return p->docs[low].text;
}

static struct ast_block *innermost(const struct parser *p)
{
  return p->n_open ? p->open[p->n_open - 1].block : NULL;
}

enum {
  TRAINING = 1 << AST_SETTING | 1 << AST_SWEEP | 1 << AST_WHERE | 1 << AST_LET | 1 << AST_TRUNK |
             1 << AST_BRANCH | 1 << AST_USE | 1 << AST_MERGE | 1 << AST_MEASURE
};

static const struct {
  unsigned stmts;
  const char *holds;
} blocks[] = {
    [AST_EXPERIMENT] = {TRAINING,
                        "an experiment holds settings, sweep, where, let, trunk, branch, use, "
                        "merge and measure"},
    [AST_FIGURE] = {1 << AST_SETTING, "a figure holds settings and panels"},
    [AST_PANEL] = {1 << AST_SETTING, "a panel holds settings, such as x, y and series"},
    [AST_CLAIM] = {1 << AST_SETTING | 1 << AST_EXPECT, "a claim holds settings and expect"},
    [AST_TIER] = {1 << AST_SETTING | 1 << AST_REPLACE,
                  "a tier holds settings, replace, and experiments that say what differs"},
};

static const char *article(const char *word)
{
  return *word == 'e' ? "an" : "a";
}

void parse_stmt_add(struct parser *p, struct ast_stmt *s, const struct parse_notes *notes)
{
  struct ast_block *block = innermost(p);
  s->notes = notes->v;
  s->n_notes = notes->n;
  s->cap_notes = notes->cap;
  s->doc = parse_doc_of(p, s->span, &s->doc_span);
  if (!(blocks[block->kind].stmts & 1u << s->kind)) {
    const char *word = ast_block_word(block->kind);
    struct span at = s->span;
    at.end = at.begin + (uint32_t)strlen(ast_stmt_word(s->kind));
    diag_error(p->diag, at, "`%s` has no place in %s %s", ast_stmt_word(s->kind), article(word),
               word);
    diag_hint(p->diag, "%s", blocks[block->kind].holds);
    block->incomplete = true;
  } else {
    ARENA_PUSH(p->program->arena, p->stmts, p->n_stmts, p->cap_stmts, *s);
  }
  spare_stmt(p, s);
}

struct ast_block *parse_nameless(struct parser *p, enum ast_block_kind kind, struct span span)
{
  struct ast_block *b = arena_alloc(p->program->arena, sizeof *b);
  b->kind = kind;
  b->span = span;
  b->doc = parse_doc_of(p, span, &b->doc_span);
  return b;
}

struct ast_block *parse_block(struct parser *p, enum ast_block_kind kind, struct parse_value name,
                              struct span name_span, struct span span)
{
  struct ast_block *b = parse_nameless(p, kind, span);
  b->name = parse_name(name, name_span);
  return b;
}

void parse_block_of(struct ast_block *b, const struct ast_stmt *names)
{
  b->of = names->names;
  b->n_of = names->n_names;
  b->cap_of = names->cap_names;
}

/* Does a block of this kind belong directly into `outer` (NULL: the file)? */
static bool fits(const struct ast_block *outer, enum ast_block_kind kind)
{
  if (kind == AST_PANEL)
    return outer && outer->kind == AST_FIGURE;
  return !outer || (outer->kind == AST_TIER && kind == AST_EXPERIMENT);
}

void parse_block_open(struct parser *p, struct ast_block *b)
{
  struct ast_block *outer = innermost(p);
  bool nameless = b->kind == AST_FIGURE ? !b->number : !b->name.text;
  if (!nameless && !fits(outer, b->kind)) {
    const char *word = ast_block_word(b->kind);
    struct span at = {b->span.file, b->span.begin, b->span.begin + (uint32_t)strlen(word)};
    if (!outer) {
      diag_error(p->diag, at, "`panel` stands outside a figure");
      diag_hint(p->diag, "panels belong between the braces of a figure");
    } else {
      const char *in = ast_block_word(outer->kind);
      diag_error(p->diag, at, "`%s` has no place in %s %s", word, article(in), in);
      diag_hint(p->diag, "%s", blocks[outer->kind].holds);
    }
  }
  ARENA_PUSH(p->program->arena, p->open, p->n_open, p->cap_open,
             ((struct parse_open){b, p->n_stmts}));
}

/* Blocks whose head could not be read, or that stand at a wrong place, were
 * parsed for their mistakes only. */
void parse_block_close(struct parser *p)
{
  const struct parse_open open = p->open[--p->n_open];
  struct ast_block *b = open.block, *outer = innermost(p);
  bool nameless = b->kind == AST_FIGURE ? !b->number : !b->name.text;
  struct arena *a = p->program->arena;
  b->n_stmts = b->cap_stmts = p->n_stmts - open.stmts;
  if (b->n_stmts)
    b->stmts = arena_copy(a, p->stmts + open.stmts, b->n_stmts * sizeof *b->stmts);
  p->n_stmts = open.stmts;
  b->extent = span_join(b->span, p->last.span);
  if (nameless || !fits(outer, b->kind))
    parse_block_incomplete(p);
  else if (outer)
    ARENA_PUSH(a, outer->blocks, outer->n_blocks, outer->cap_blocks, *b);
  else
    ARENA_PUSH(a, p->program->blocks, p->program->n_blocks, p->program->cap_blocks, *b);
}

void parse_block_incomplete(struct parser *p)
{
  if (p->n_open)
    innermost(p)->incomplete = true;
}
