#include "dsl/rows.h"

#include "dsl/check.h"
#include "dsl/model.h"

#include <string.h>

#define EXPERIMENT "experiment"

struct rows rows_find(const struct dsl *dsl, const struct ast_block *b)
{
  struct rows r = {arena_array(dsl->arena, b->n_of + 1, sizeof *r.of), 0};
  for (size_t i = 0; i < b->n_of; i++) {
    const struct dsl_experiment *e = dsl_experiment(dsl, b->of[i].text);
    if (e)
      r.of[r.n++] = e;
  }
  return r;
}

bool rows_check(struct dsl *dsl, const struct ast_block *b, struct rows *r, struct diag *d)
{
  bool fine = b->n_of > 0;
  for (size_t i = 0; i < b->n_of; i++) {
    const struct dsl_experiment *e = dsl_experiment(dsl, b->of[i].text);
    size_t k = 0;
    if (!e && dsl_knows_all(dsl->program))
      dsl_unknown_experiment(dsl, b->of[i].text, b->of[i].span, d);
    while (k < i && strcmp(b->of[k].text, b->of[i].text))
      k++;
    if (k < i) {
      diag_error(d, b->of[i].span, "experiment `%s` is named twice", b->of[i].text);
      diag_note(d, b->of[k].span, "first here");
    }
    if (e && e->complete && e->asked && !e->n_measures)
      diag_error(d, b->of[i].span, "experiment `%s` measures nothing, and has no rows", e->name);
    fine = fine && e && e->complete && e->n_measures && k == i;
  }
  *r = rows_find(dsl, b);
  return fine;
}

/* ---- columns ---- */

/* A trunk's checkpoints make rows of their own. */
static bool is_time(const struct dsl_experiment *e, const char *name)
{
  return e->trunk && (!strcmp(name, "epoch") || !strcmp(name, "step"));
}

bool check_column(const struct dsl_experiment *e, const char *name)
{
  for (size_t i = 0; i < e->n_vars; i++)
    if (!strcmp(e->vars[i].name, name))
      return e->vars[i].stmt->kind != AST_SETTING;
  return model_index(e->measures, e->n_measures, name) != SIZE_MAX || is_time(e, name);
}

bool rows_has_column(const struct rows *r, const char *name)
{
  if (!strcmp(name, EXPERIMENT))
    return r->n > 1;
  for (size_t i = 0; i < r->n; i++)
    if (!check_column(r->of[i], name))
      return false;
  return r->n > 0;
}

/* What can be written there: the columns that all have. */
static const char *near_column(struct dsl *dsl, const struct rows *r, const char *name)
{
  const struct dsl_experiment *e = r->of[0];
  size_t n = 0;
  const char **words = arena_array(dsl->arena, e->n_vars + e->n_measures + 3, sizeof *words);
  for (size_t i = 0; i < e->n_vars; i++)
    words[n++] = e->vars[i].name;
  for (size_t i = 0; i < e->n_measures; i++)
    words[n++] = e->measures[i]->name.text;
  words[n++] = "epoch";
  words[n++] = "step";
  if (r->n > 1)
    words[n++] = EXPERIMENT;
  size_t kept = 0;
  for (size_t i = 0; i < n; i++)
    if (rows_has_column(r, words[i]) || (r->n == 1 && dsl_var(e, words[i])))
      words[kept++] = words[i];
  return diag_nearest(name, words, kept);
}

bool rows_check_column(struct dsl *dsl, const struct rows *r, const struct ast_expr *x,
                       struct diag *d)
{
  const struct dsl_experiment *e = NULL;
  if (rows_has_column(r, x->text))
    return true;
  if (!strcmp(x->text, EXPERIMENT)) {
    diag_error(d, x->span, "`experiment` is a column only where there are several");
    diag_hint(d, "name them: `%s, ...`", r->of[0]->name);
    return false;
  }
  for (size_t i = r->n; i-- > 0;)
    if (!check_column(r->of[i], x->text))
      e = r->of[i];
  const struct dsl_var *v = dsl_var(e, x->text);
  if (v) {
    diag_error(d, x->span, "`%s` has only one value in experiment `%s`", x->text, e->name);
    diag_hint(d, "`sweep %s over ...;` makes it a column, even with one value", x->text);
    diag_note(d, v->stmt->span, "set here");
    return false;
  }
  diag_error(d, x->span, "experiment `%s` has no column `%s`", e->name, x->text);
  const char *near = near_column(dsl, r, x->text);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
  else if (r->n > 1)
    diag_hint(d, "a column must be in all of %s", rows_name(dsl->arena, r));
  return false;
}

/* ---- words ---- */

static bool is_word(const struct dsl_experiment *e, const struct ast_expr *x)
{
  return x->kind == AST_STRING || (x->kind == AST_NAME && !dsl_var(e, x->text));
}

static bool holds_words(const struct dsl_experiment *e, const char *column)
{
  const struct dsl_var *v = dsl_var(e, column);
  const struct words_setting *w = v ? words_setting(column) : NULL;
  if (w)
    return w->type > WORDS_LENGTH;
  return v && v->stmt->kind == AST_SWEEP && v->n_values > 0 && is_word(e, v->values[0]);
}

bool rows_is_words(const struct rows *r, const char *column)
{
  bool words = !strcmp(column, EXPERIMENT);
  for (size_t i = 0; i < r->n; i++)
    words = words || holds_words(r->of[i], column);
  return words;
}

bool rows_is_result(const struct rows *r, const char *column)
{
  for (size_t i = 0; i < r->n; i++)
    if (model_index(r->of[i]->measures, r->of[i]->n_measures, column) != SIZE_MAX)
      return true;
  return false;
}

/* Words of a setting are the language's, whatever this sweep holds. */
static bool check_setting_word(struct dsl *dsl, const char *column, const struct ast_expr *x,
                               struct diag *d)
{
  enum words_type type = words_setting(column)->type;
  bool choice = type == WORDS_CHOICE;
  if (x->kind == AST_STRING ||
      (choice ? words_choice(column, x->text) : words_thing(type, x->text) != NULL))
    return true;
  diag_error(d, x->span, "`%s` is never `%s`", column, x->text);
  const char *near = choice ? words_near_choice(column, x->text) : words_near_thing(type, x->text);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
  else
    diag_hint(d, "it is one of: %s",
              choice ? words_choices(dsl->arena, column) : words_things(dsl->arena, type));
  return false;
}

/* Of `experiment` the names, of another variable what its sweeps hold. */
static size_t possible_words(struct dsl *dsl, const struct rows *r, const char *column,
                             const char ***words)
{
  size_t n = 0, cap = 0;
  *words = NULL;
  for (size_t i = 0; i < r->n; i++) {
    const struct dsl_var *v = dsl_var(r->of[i], column);
    if (!strcmp(column, EXPERIMENT))
      ARENA_PUSH(dsl->arena, *words, n, cap, r->of[i]->name);
    for (size_t k = 0; v && k < v->n_values; k++)
      if (is_word(r->of[i], v->values[k]))
        ARENA_PUSH(dsl->arena, *words, n, cap, v->values[k]->text);
  }
  return n;
}

bool rows_check_word(struct dsl *dsl, const struct rows *r, const char *column,
                     const struct ast_expr *x, struct diag *d)
{
  if (x->kind != AST_NAME && x->kind != AST_STRING) {
    diag_error(d, x->span, "`%s` is compared with a word", column);
    return false;
  }
  if (words_setting(column))
    return check_setting_word(dsl, column, x, d);
  const char **words;
  size_t n = possible_words(dsl, r, column, &words);
  char *list = NULL;
  for (size_t i = 0; i < n; i++) {
    if (!strcmp(words[i], x->text))
      return true;
    list = list ? arena_printf(dsl->arena, "%s, %s", list, words[i])
                : arena_strdup(dsl->arena, words[i]);
  }
  diag_error(d, x->span, "`%s` is never `%s` here", column, x->text);
  const char *near = diag_nearest(x->text, words, n);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
  else
    diag_hint(d, "it is one of: %s", list ? list : "");
  return false;
}

/* ---- at lowering ---- */

const char *rows_name(struct arena *a, const struct rows *r)
{
  const char *text = r->n ? r->of[0]->name : "";
  for (size_t i = 1; i < r->n; i++)
    text = arena_printf(a, "%s, %s", text, r->of[i]->name);
  return text;
}

const char *rows_omitted(struct arena *a, const struct rows *r)
{
  for (size_t i = 0; i < r->n; i++)
    if (r->of[i]->unavailable)
      return r->n == 1 ? r->of[i]->unavailable
                       : arena_printf(a, "%s: %s", r->of[i]->name, r->of[i]->unavailable);
  return NULL;
}
