#include "dsl/claim.h"
#include "dsl/lower_int.h"

#include <stdlib.h>
#include <string.h>

uint32_t lower_table_of(const struct lowering *l, const char *experiment)
{
  for (size_t i = 0; i < l->result->n; i++)
    if (l->result->targets[i].experiment && !strcmp(l->result->targets[i].experiment, experiment))
      return l->result->targets[i].step;
  return UINT32_MAX;
}

uint32_t lower_rows(struct lowering *l, const struct rows *r, struct span asked_at)
{
  if (r->n == 1)
    return lower_table_of(l, r->of[0]->name);
  uint32_t *tables = arena_array(l->arena, r->n, sizeof *tables);
  for (size_t i = 0; i < r->n; i++)
    tables[i] = lower_table_of(l, r->of[i]->name);
  struct plan_step s = {
      .kind = PLAN_UNION,
      .n_inputs = (uint32_t)r->n,
      .inputs = tables,
      .origin = {.experiment = rows_name(l->arena, r), .point = "", .span = asked_at},
  };
  return plan_add_step(l->plan, &s);
}

/* ---- axes ---- */

static const char *default_label(const char *column)
{
  const struct words_setting *w = words_setting(column);
  if (w)
    return w->label;
  return !strcmp(column, "epoch") ? "trunk epoch" : column;
}

/* An expression as it is written, blanks apart. */
static const char *source_of(const struct lowering *l, struct span at)
{
  size_t length;
  const char *text = source_text(l->dsl->program->sources, at.file, &length);
  char *out = arena_strdup(l->arena, ""), *to;
  if (!text || at.end > length)
    return out;
  out = to = arena_strndup(l->arena, text + at.begin, at.end - at.begin);
  for (const char *from = out; *from; from++) {
    bool blank = strchr(" \t\r\n", *from) != NULL;
    if (!blank || (to > out && to[-1] != ' '))
      *to++ = blank ? ' ' : *from;
  }
  *to = '\0';
  return out;
}

static struct plan_axis lower_axis(struct lowering *l, const struct rows *r,
                                   const struct ast_stmt *s)
{
  struct plan_axis axis = {0};
  if (!s)
    return axis;
  if (s->value->kind == AST_NAME)
    axis.column = s->value->text;
  else
    axis.statistic = claim_compile_number(l->dsl, r, s->value, l->diag);
  if (axis.statistic)
    axis.column = plan_claim_reduced(axis.statistic);
  axis.label = axis.column ? default_label(axis.column) : source_of(l, s->value->span);
  for (size_t i = 0; i < s->n_words; i++) {
    const char *word = s->words[i].value->text;
    if (!strcmp(word, "log"))
      axis.log = true;
    else if (!strcmp(word, "fit"))
      axis.fit = true;
    else if (!strcmp(word, "label"))
      axis.label = s->words[++i].value->text;
    else {
      axis.bars = !strcmp(word, "bars");
      axis.band = words_spread(s->words[++i].value->text)->spread;
    }
  }
  return axis;
}

static enum plan_panel_kind panel_kind(const char *word)
{
  static const struct {
    const char *word;
    enum plan_panel_kind kind;
  } kinds[] = {{"scatter", PLAN_PANEL_SCATTER},
               {"box", PLAN_PANEL_BOX},
               {"heatmap", PLAN_PANEL_HEATMAP},
               {"contour", PLAN_PANEL_CONTOUR}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (!strcmp(word, kinds[i].word))
      return kinds[i].kind;
  return PLAN_PANEL_LINES;
}

/* ---- panels ---- */

static uint32_t input_index(uint32_t *inputs, uint32_t *n, uint32_t step)
{
  for (uint32_t i = 0; i < *n; i++)
    if (inputs[i] == step)
      return i;
  inputs[*n] = step;
  return (*n)++;
}

struct cell_pair {
  const struct plan_cell *x, *y;
};

static int compare_cells(const struct plan_cell *l, const struct plan_cell *r)
{
  if (!l->str != !r->str)
    return l->str ? 1 : -1;
  return l->str ? strcmp(l->str, r->str) : (l->num > r->num) - (l->num < r->num);
}

static int compare_pairs(const void *left, const void *right)
{
  const struct cell_pair *l = left, *r = right;
  int x = compare_cells(l->x, r->x);
  return x ? x : compare_cells(l->y, r->y);
}

static size_t column_of(const struct plan_table *t, const char *name)
{
  size_t c = 0;
  while (c < t->n_columns && strcmp(t->columns[c].name, name))
    c++;
  return c;
}

/* A place of a heatmap or contour has one colour. */
static void check_places(struct lowering *l, const struct ast_block *b, const struct plan_panel *p,
                         const struct plan_table *t)
{
  if (!t || p->z.statistic || !p->z.column)
    return;
  size_t x = column_of(t, p->x.column), y = column_of(t, p->y.column);
  if (x == t->n_columns || y == t->n_columns)
    return;
  struct cell_pair *pairs = arena_array(l->arena, t->n_rows + 1, sizeof *pairs);
  for (size_t r = 0; r < t->n_rows; r++)
    pairs[r] = (struct cell_pair){&t->cells[r * t->n_columns + x], &t->cells[r * t->n_columns + y]};
  qsort(pairs, t->n_rows, sizeof *pairs, compare_pairs);
  for (size_t r = 1; r < t->n_rows; r++) {
    if (compare_pairs(&pairs[r - 1], &pairs[r]))
      continue;
    diag_error(l->diag, claim_setting(b, "z")->value->span,
               "several rows have the same `%s` and `%s`, and a place has one colour", p->x.column,
               p->y.column);
    diag_hint(l->diag, "make one number of them: `z = mean(%s)`", p->z.column);
    return;
  }
}

static void lower_marks(struct arena *a, const struct ast_stmt *s, struct plan_panel *p)
{
  p->n_marks = s ? (s->n_words + 1) / 3 : 0;
  struct plan_mark *marks = arena_array(a, p->n_marks + 1, sizeof *marks);
  for (size_t i = 0; s && i <= s->n_words; i++) {
    const struct ast_expr *x = i ? s->words[i - 1].value : s->value;
    struct plan_mark *m = &marks[i / 3];
    if (i % 3 == 0)
      m->text = x->text;
    else if (x->kind == AST_NAME)
      m->at[i % 3 - 1].column = x->text;
    else
      m->at[i % 3 - 1].number = x->number;
  }
  p->marks = marks;
}

static void lower_panel(struct lowering *l, const struct ast_block *b, struct plan_panel *p,
                        uint32_t *inputs, uint32_t *n_inputs)
{
  struct rows r = rows_find(l->dsl, b);
  *p = (struct plan_panel){
      .name = b->name.text,
      .title = b->title.text ? b->title.text : "",
      .kind = panel_kind(b->panel_kind.text),
      .x = lower_axis(l, &r, claim_setting(b, "x")),
      .y = lower_axis(l, &r, claim_setting(b, "y")),
      .z = lower_axis(l, &r, claim_setting(b, "z")),
      .omitted = rows_omitted(l->arena, &r),
  };
  struct plan_axis series = lower_axis(l, &r, claim_setting(b, "series"));
  p->series = series.column;
  p->series_label = series.label;
  p->opacity = lower_axis(l, &r, claim_setting(b, "opacity")).column;
  lower_marks(l->arena, claim_setting(b, "marks"), p);
  if (p->omitted)
    return;
  uint32_t table = lower_rows(l, &r, b->span);
  p->table = input_index(inputs, n_inputs, table);
  check_places(l, b, p, plan_step(l->plan, table)->table);
}

/* ---- the figure ---- */

struct stand_ins {
  struct lowering *l;
  char *text;
  unsigned depth; /* experiments that take models of others, one behind the other */
};

enum { MOST_DEEP = 8 };

static void add_stand_ins(struct stand_ins *, const struct dsl_experiment *);

/* Models of other experiments were trained on what stands in there. */
static void add_others(void *context, const struct ast_expr *x)
{
  struct stand_ins *s = context;
  const struct dsl_experiment *e = x->kind == AST_OF ? model_target(s->l->dsl, x) : NULL;
  if (!e || s->depth == MOST_DEEP)
    return;
  s->depth++;
  add_stand_ins(s, e);
  s->depth--;
}

/* What the tier says of data or a model; NULL: nothing, or it is the paper's. */
static const char *stands_for(const struct dsl *dsl, const struct dsl_var *var, size_t value)
{
  if (var->from_tier)
    return var->stmt->n_words ? var->stmt->words[0].value->text : NULL;
  const char *name = var->values[value]->text;
  const struct ast_stmt *r = name ? dsl_replacement(dsl, var->name, name) : NULL;
  return r ? r->label.text : NULL;
}

static void add_stand_ins(struct stand_ins *s, const struct dsl_experiment *e)
{
  for (size_t v = 0; v < e->n_vars && !e->unavailable; v++) {
    const struct dsl_var *var = &e->vars[v];
    bool thing = !strcmp(var->name, "data") || !strcmp(var->name, "model");
    for (size_t k = 0; thing && k < var->n_values; k++) {
      const char *text = stands_for(s->l->dsl, var, k);
      if (text && !strstr(s->text, text))
        s->text = arena_printf(s->l->arena, "%s%s%s", s->text, *s->text ? "; " : "", text);
    }
  }
  dsl_walk(e, add_others, s);
}

/* "CIFAR-100: pairs of ...": what stands in for what, each once. */
static char *stand_ins(struct lowering *l, const struct ast_block *f)
{
  struct stand_ins s = {l, arena_strdup(l->arena, ""), 0};
  for (size_t i = 0; i < f->n_blocks; i++) {
    struct rows r = rows_find(l->dsl, &f->blocks[i]);
    for (size_t k = 0; k < r.n && !rows_omitted(l->arena, &r); k++)
      add_stand_ins(&s, r.of[k]);
  }
  return s.text;
}

static char *subtitle(struct lowering *l, const struct ast_block *f)
{
  if (!l->dsl->n_tiers)
    return arena_strdup(l->arena, "the paper's own data and scale");
  const struct ast_block *tier = l->dsl->tiers[l->dsl->n_tiers - 1];
  char *names = stand_ins(l, f);
  return arena_printf(l->arena, "tier %s%s%s", tier->name.text, *names ? ": " : "", names);
}

/* Why nothing of the figure can be drawn yet; NULL: something can. */
static const char *why_not(struct lowering *l, const struct plan_figure *f)
{
  char *why = NULL;
  for (size_t i = 0; i < f->n_panels; i++) {
    const char *reason = f->panels[i].omitted;
    if (!reason)
      return NULL;
    if (!why)
      why = arena_strdup(l->arena, reason);
    else if (!strstr(why, reason))
      why = arena_printf(l->arena, "%s; %s", why, reason);
  }
  return why;
}

void lower_figure(struct lowering *l, const struct ast_block *b)
{
  const struct ast_stmt *columns = claim_setting(b, "columns");
  struct plan_panel *panels = arena_array(l->arena, b->n_blocks, sizeof *panels);
  uint32_t *inputs = arena_array(l->arena, b->n_blocks, sizeof *inputs), n_inputs = 0;
  for (size_t i = 0; i < b->n_blocks; i++)
    lower_panel(l, &b->blocks[i], &panels[i], inputs, &n_inputs);
  struct plan_figure *f = arena_alloc(l->arena, sizeof *f);
  *f = (struct plan_figure){
      .number = (unsigned)b->number->number,
      .title = b->title.text ? b->title.text : "",
      .subtitle = subtitle(l, b),
      .columns = columns ? (unsigned)columns->value->number : 0,
      .n_panels = b->n_blocks,
      .panels = panels,
  };
  struct plan_step s = {
      .kind = PLAN_FIGURE,
      .n_inputs = n_inputs,
      .inputs = inputs,
      .figure = f,
      .origin = {.experiment = arena_printf(l->arena, "%u", f->number),
                 .point = "",
                 .span = b->span},
  };
  struct lower_target target = {NULL, f->number, plan_add_step(l->plan, &s), why_not(l, f)};
  ARENA_PUSH(l->arena, l->result->targets, l->result->n, l->result->cap, target);
}
