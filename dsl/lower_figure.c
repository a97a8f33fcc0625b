#include "dsl/lower_int.h"

#include <string.h>

uint32_t lower_table_of(const struct lowering *l, const char *experiment)
{
  for (size_t i = 0; i < l->result->n; i++)
    if (l->result->targets[i].experiment && !strcmp(l->result->targets[i].experiment, experiment))
      return l->result->targets[i].step;
  return UINT32_MAX;
}

static const struct ast_stmt *setting(const struct ast_block *b, const char *name)
{
  for (size_t i = 0; i < b->n_stmts; i++)
    if (b->stmts[i].kind == AST_SETTING && !strcmp(b->stmts[i].name.text, name))
      return &b->stmts[i];
  return NULL;
}

static const char *default_label(const char *column)
{
  const struct words_setting *w = words_setting(column);
  if (w)
    return w->label;
  return !strcmp(column, "epoch") ? "trunk epoch" : column;
}

static struct plan_axis lower_axis(const struct ast_stmt *s, struct diag *d)
{
  struct plan_axis axis = {0};
  if (!s)
    return axis;
  const struct ast_expr *column = check_aggregate(s->value, &axis.aggregate, d);
  axis.column = column->text;
  axis.label = default_label(axis.column);
  for (size_t i = 0; i < s->n_words; i++) {
    const char *word = s->words[i].value->text;
    if (!strcmp(word, "log"))
      axis.log = true;
    else if (!strcmp(word, "label"))
      axis.label = s->words[++i].value->text;
    else if (!strcmp(s->words[++i].value->text, "quartiles"))
      axis.band = PLAN_SPREAD_QUARTILES;
    else
      axis.band = PLAN_SPREAD_RANGE;
  }
  return axis;
}

static enum plan_panel_kind panel_kind(const char *word)
{
  if (!strcmp(word, "box"))
    return PLAN_PANEL_BOX;
  return !strcmp(word, "scatter") ? PLAN_PANEL_SCATTER : PLAN_PANEL_LINES;
}

static uint32_t input_index(uint32_t *inputs, uint32_t *n, uint32_t step)
{
  for (uint32_t i = 0; i < *n; i++)
    if (inputs[i] == step)
      return i;
  inputs[*n] = step;
  return (*n)++;
}

static void lower_panel(struct lowering *l, const struct ast_block *b, struct plan_panel *p,
                        uint32_t *inputs, uint32_t *n_inputs)
{
  const struct dsl_experiment *e = dsl_experiment(l->dsl, b->of[0].text);
  const struct ast_stmt *series = setting(b, "series"), *opacity = setting(b, "opacity");
  *p = (struct plan_panel){
      .name = b->name.text,
      .title = b->title.text ? b->title.text : "",
      .kind = panel_kind(b->panel_kind.text),
      .x = lower_axis(setting(b, "x"), l->diag),
      .y = lower_axis(setting(b, "y"), l->diag),
      .omitted = e->unavailable,
  };
  struct plan_axis s = lower_axis(series, l->diag), o = lower_axis(opacity, l->diag);
  p->series = s.column;
  p->series_label = s.label;
  p->opacity = o.column;
  if (!p->omitted)
    p->table = input_index(inputs, n_inputs, lower_table_of(l, e->name));
}

/* "CIFAR-100: pairs of ...": what stands in for what, each once. */
static char *stand_ins(struct lowering *l, const struct ast_block *f)
{
  char *text = arena_strdup(l->arena, "");
  for (size_t i = 0; i < f->n_blocks; i++) {
    const struct dsl_experiment *e = dsl_experiment(l->dsl, f->blocks[i].of[0].text);
    for (size_t v = 0; v < e->n_vars && !e->unavailable; v++) {
      const struct dsl_var *var = &e->vars[v];
      bool thing = !strcmp(var->name, "data") || !strcmp(var->name, "model");
      for (size_t k = 0; thing && k < var->n_values; k++) {
        const struct ast_stmt *r = var->values[k]->text && !var->from_tier
            ? dsl_replacement(l->dsl, var->name, var->values[k]->text) : NULL;
        if (r && r->label.text && !strstr(text, r->label.text))
          text = arena_printf(l->arena, "%s%s%s", text, *text ? "; " : "", r->label.text);
      }
    }
  }
  return text;
}

static char *subtitle(struct lowering *l, const struct ast_block *f)
{
  if (!l->dsl->n_tiers)
    return arena_strdup(l->arena, "the paper's own data and scale");
  const struct ast_block *tier = l->dsl->tiers[l->dsl->n_tiers - 1];
  char *names = stand_ins(l, f);
  return arena_printf(l->arena, "tier %s%s%s", tier->name.text, *names ? ": " : "", names);
}

void lower_figure(struct lowering *l, const struct ast_block *b)
{
  const struct ast_stmt *columns = setting(b, "columns");
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
  struct lower_target target = {NULL, f->number, plan_add_step(l->plan, &s), NULL};
  ARENA_PUSH(l->arena, l->result->targets, l->result->n, l->result->cap, target);
}
