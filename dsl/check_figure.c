#include "dsl/check.h"

#include <string.h>

const struct ast_expr *check_aggregate(const struct ast_expr *x, enum plan_aggregate *aggregate,
                                       struct diag *d)
{
  static const struct {
    const char *name;
    enum plan_aggregate aggregate;
  } all[] = {{"mean", PLAN_AGG_MEAN}, {"median", PLAN_AGG_MEDIAN}, {"min", PLAN_AGG_MIN},
             {"max", PLAN_AGG_MAX}};
  *aggregate = PLAN_AGG_NONE;
  if (x->kind == AST_NAME)
    return x;
  for (size_t i = 0; x->kind == AST_CALL && i < sizeof all / sizeof *all; i++)
    if (!strcmp(all[i].name, x->text) && x->n_args == 1 && x->args[0].value->kind == AST_NAME) {
      *aggregate = all[i].aggregate;
      return x->args[0].value;
    }
  diag_error(d, x->span, "a column is expected here, such as gain or median(gain)");
  diag_hint(d, "give a longer expression a name with `measure` or `let` in the experiment");
  return NULL;
}

bool check_column(const struct dsl_experiment *e, const char *name)
{
  for (size_t i = 0; i < e->n_vars; i++)
    if (!strcmp(e->vars[i].name, name))
      return e->vars[i].stmt->kind != AST_SETTING;
  for (size_t i = 0; i < e->n_measures; i++)
    if (!strcmp(e->measures[i]->name.text, name))
      return true;
  return !strcmp(name, "epoch") || !strcmp(name, "step");
}

bool check_column_name(struct dsl *dsl, const struct dsl_experiment *e, const struct ast_expr *x,
                       struct diag *d)
{
  if (check_column(e, x->text))
    return true;
  const struct dsl_var *v = dsl_var(e, x->text);
  if (v) {
    diag_error(d, x->span, "`%s` has only one value in experiment `%s`", x->text, e->name);
    diag_hint(d, "`sweep %s over ...;` makes it a column, even with one value", x->text);
    diag_note(d, v->stmt->span, "set here");
    return false;
  }
  size_t n = 0;
  const char **words = arena_array(dsl->arena, e->n_vars + e->n_measures + 2, sizeof *words);
  for (size_t i = 0; i < e->n_vars; i++)
    words[n++] = e->vars[i].name;
  for (size_t i = 0; i < e->n_measures; i++)
    words[n++] = e->measures[i]->name.text;
  words[n++] = "epoch";
  words[n++] = "step";
  diag_error(d, x->span, "experiment `%s` has no column `%s`", e->name, x->text);
  const char *near = diag_nearest(x->text, words, n);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
  return false;
}

static void check_words(const struct ast_stmt *s, struct diag *d)
{
  for (size_t i = 0; i < s->n_words; i++) {
    const struct ast_expr *w = s->words[i].value;
    const struct ast_expr *next = i + 1 < s->n_words ? s->words[i + 1].value : NULL;
    if (w->kind == AST_NAME && !strcmp(w->text, "log"))
      continue;
    if (w->kind == AST_NAME && !strcmp(w->text, "label")) {
      if (!next || next->kind != AST_STRING)
        diag_error(d, w->span, "a text in quotes is expected behind `label`");
      i++;
    } else if (w->kind == AST_NAME && !strcmp(w->text, "band")) {
      if (!next || next->kind != AST_NAME ||
          (strcmp(next->text, "quartiles") && strcmp(next->text, "range")))
        diag_error(d, next ? next->span : w->span, "`band` is quartiles or range");
      i++;
    } else {
      static const char *const known[] = {"log", "band", "label"};
      const char *near = w->text ? diag_nearest(w->text, known, 3) : NULL;
      diag_error(d, w->span, "`log`, `band` or `label` is expected here");
      if (near)
        diag_hint(d, "did you mean `%s`?", near);
    }
  }
}

static void check_panel_setting(struct dsl *dsl, const struct dsl_experiment *e,
                                const struct ast_stmt *s, struct diag *d)
{
  static const char *const names[] = {"x", "y", "series", "opacity"};
  size_t which = 0;
  while (which < 4 && (s->kind != AST_SETTING || strcmp(s->name.text, names[which])))
    which++;
  if (which == 4) {
    diag_error(d, s->kind == AST_SETTING ? s->name.span : s->span, "a panel has x, y, series and opacity");
    const char *near = s->name.text ? diag_nearest(s->name.text, names, 4) : NULL;
    if (near)
      diag_hint(d, "did you mean `%s`?", near);
    return;
  }
  enum plan_aggregate aggregate;
  const struct ast_expr *column = check_aggregate(s->value, &aggregate, d);
  if (column && aggregate != PLAN_AGG_NONE && which != 1)
    diag_error(d, s->value->span, "only y is reduced over the rows of one x");
  if (column && e)
    check_column_name(dsl, e, column, d);
  check_words(s, d);
}

static bool has_setting(const struct ast_block *b, const char *name)
{
  for (size_t i = 0; i < b->n_stmts; i++)
    if (b->stmts[i].kind == AST_SETTING && !strcmp(b->stmts[i].name.text, name))
      return true;
  return false;
}

static void check_panel(struct dsl *dsl, const struct ast_block *p, struct diag *d)
{
  const struct words_thing *kind = words_thing(WORDS_PANEL, p->panel_kind.text);
  if (!kind || !kind->available) {
    diag_error(d, p->panel_kind.span,
               kind ? "panels of kind `%s` are not available yet" : "unknown kind of panel `%s`",
               p->panel_kind.text);
    const char *near = words_near_thing(WORDS_PANEL, p->panel_kind.text);
    if (near && !kind)
      diag_hint(d, "did you mean `%s`?", near);
    else
      diag_hint(d, "there are: %s", words_things(dsl->arena, WORDS_PANEL));
  }
  const struct dsl_experiment *e = p->n_of ? dsl_experiment(dsl, p->of[0].text) : NULL;
  if (!e && dsl_knows_all(dsl->program)) {
    diag_error(d, p->of[0].span, "unknown experiment `%s`", p->of[0].text);
    size_t n = dsl->n_experiments;
    const char **words = arena_array(dsl->arena, n + 1, sizeof *words);
    for (size_t i = 0; i < n; i++)
      words[i] = dsl->experiments[i].name;
    const char *near = diag_nearest(p->of[0].text, words, n);
    if (near)
      diag_hint(d, "did you mean `%s`?", near);
  }
  for (size_t i = 0; i < p->n_stmts; i++)
    check_panel_setting(dsl, e && e->complete ? e : NULL, &p->stmts[i], d);
  for (int i = 0; i < 2; i++)
    if (!p->incomplete && !has_setting(p, i ? "y" : "x"))
      diag_error(d, p->name.span, "panel `%s` does not say its `%s`", p->name.text, i ? "y" : "x");
}

void check_figure(struct dsl *dsl, const struct ast_block *f, struct diag *d)
{
  static const struct words_range numbers = {"[", "]", 1, 999}, grid = {"[", "]", 1, 12};
  if (f->number)
    check_number(dsl->arena, "figure", WORDS_COUNT, &numbers, f->number->number, f->number->span,
                 d);
  for (size_t i = 0; i < f->n_stmts; i++) {
    const struct ast_stmt *s = &f->stmts[i];
    if (s->kind != AST_SETTING || strcmp(s->name.text, "columns")) {
      static const char *const names[] = {"columns"};
      diag_error(d, s->kind == AST_SETTING ? s->name.span : s->span,
                 "a figure has `columns` and panels");
      if (s->kind == AST_SETTING && diag_nearest(s->name.text, names, 1))
        diag_hint(d, "did you mean `columns`?");
    } else if (s->value->kind != AST_NUMBER)
      diag_error(d, s->value->span, "`columns` is a whole number");
    else
      check_number(dsl->arena, "columns", WORDS_COUNT, &grid, s->value->number, s->value->span, d);
  }
  if (!f->n_blocks && !f->incomplete)
    diag_error(d, f->span, "the figure has no panel");
  for (size_t i = 0; i < f->n_blocks; i++) {
    check_panel(dsl, &f->blocks[i], d);
    for (size_t j = 0; j < i; j++)
      if (!strcmp(f->blocks[i].name.text, f->blocks[j].name.text)) {
        diag_error(d, f->blocks[i].name.span, "the figure has two panels `%s`", f->blocks[i].name.text);
        diag_note(d, f->blocks[j].name.span, "first here");
      }
  }
}
