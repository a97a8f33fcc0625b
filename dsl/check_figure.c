#include "dsl/check.h"
#include "dsl/claim.h"

#include <string.h>

/* ---- the words behind a value ---- */

enum { LOG = 1, BAND = 2, BARS = 4, FIT = 8, LABEL = 16 };

static const struct {
  const char *name;
  unsigned bit;
} words[] = {{"log", LOG}, {"band", BAND}, {"bars", BARS}, {"fit", FIT}, {"label", LABEL}};
enum { N_WORDS = sizeof words / sizeof *words };

/* A panel's setting and its place: what has been found out so far. */
struct checked {
  struct dsl *dsl;
  const struct rows *rows; /* NULL: after a mistake its columns are not known */
  const struct ast_block *panel;
  const struct ast_stmt *setting;
  const struct plan_claim_node *statistic; /* of y or z, where it is one */
  bool plain;                              /* the value is a column */
  struct diag *diag;
};

static bool is_kind(const struct ast_block *p, const char *kind)
{
  return p->panel_kind.text && !strcmp(p->panel_kind.text, kind);
}

static bool is_grid(const struct ast_block *p)
{
  return is_kind(p, "heatmap") || is_kind(p, "contour");
}

/* Which words may stand behind the setting in a panel of this kind. */
static unsigned allowed_words(const struct checked *c)
{
  const char *name = c->setting->name.text;
  if (!strcmp(name, "opacity"))
    return 0;
  if (!strcmp(name, "series"))
    return LABEL;
  if (strcmp(name, "y") || is_grid(c->panel) || is_kind(c->panel, "box"))
    return LOG | LABEL;
  return LOG | LABEL | BARS | FIT | (is_kind(c->panel, "scatter") ? 0 : BAND);
}

static void wrong_word(const struct checked *c, const struct ast_expr *w, unsigned allowed)
{
  const char *names[N_WORDS];
  size_t n = 0;
  char *list = arena_strdup(c->dsl->arena, "");
  bool known = false;
  for (size_t i = 0; i < N_WORDS; i++) {
    known = known || (w->kind == AST_NAME && !strcmp(w->text, words[i].name));
    if (allowed & words[i].bit)
      names[n++] = words[i].name;
  }
  for (size_t i = 0; i < n; i++)
    list = arena_printf(c->dsl->arena, "%s%s`%s`", list,
                        !i ? "" : i + 1 == n ? " or " : ", ", names[i]);
  if (known)
    diag_error(c->diag, w->span, "`%s` cannot stand behind the %s of a panel of this kind", w->text,
               c->setting->name.text);
  else if (n)
    diag_error(c->diag, w->span, "%s is expected here", list);
  else
    diag_error(c->diag, w->span, "nothing may stand behind the value");
  const char *near = w->text && !known ? diag_nearest(w->text, names, n) : NULL;
  if (near)
    diag_hint(c->diag, "did you mean `%s`?", near);
}

/* A band spans the values of one column, over rows that make one point. */
static void check_spread(const struct checked *c, const struct ast_expr *w,
                         const struct ast_expr *next)
{
  if (!next || next->kind != AST_NAME || !words_spread(next->text)) {
    diag_error(c->diag, next ? next->span : w->span, "`%s` is one of: %s", w->text,
               words_spreads(c->dsl->arena));
    return;
  }
  if (c->plain) {
    diag_error(c->diag, w->span, "each row is a point of its own: there is nothing to span");
    diag_hint(c->diag, "make one point of the rows of one x: `y = median(%s) %s %s`",
              c->setting->value->text, w->text, next->text);
  } else if (c->statistic && !plan_claim_reduced(c->statistic)) {
    diag_error(c->diag, w->span,
               "`%s` spans the values of one column, and this statistic is not of "
               "just one",
               w->text);
    diag_hint(c->diag, "`median(gain)` is; `let` and `measure` name a longer expression in the "
              "experiment");
  }
}

static void check_fit(const struct checked *c, const struct ast_expr *w)
{
  const struct ast_stmt *x = claim_setting(c->panel, "x");
  if (!c->rows || !x || x->value->kind != AST_NAME || !rows_is_words(c->rows, x->value->text))
    return;
  diag_error(c->diag, w->span, "a line cannot be fitted against words");
  diag_note(c->diag, x->value->span, "`%s` holds words", x->value->text);
}

static void check_words(const struct checked *c)
{
  const struct ast_stmt *s = c->setting;
  unsigned allowed = allowed_words(c), seen = 0;
  for (size_t i = 0; i < s->n_words; i++) {
    const struct ast_expr *w = s->words[i].value;
    const struct ast_expr *next = i + 1 < s->n_words ? s->words[i + 1].value : NULL;
    size_t k = 0;
    while (k < N_WORDS && (w->kind != AST_NAME || strcmp(w->text, words[k].name)))
      k++;
    unsigned bit = k < N_WORDS ? words[k].bit : 0;
    if (!(bit & allowed))
      wrong_word(c, w, allowed);
    else if (bit & seen || (bit & (BAND | BARS) && seen & (BAND | BARS)))
      diag_error(c->diag, w->span, bit & seen ? "`%s` stands here twice"
                                              : "a line has a band or bars, not both", w->text);
    else if (bit & (BAND | BARS))
      check_spread(c, w, next);
    else if (bit == FIT)
      check_fit(c, w);
    else if (bit == LABEL && (!next || next->kind != AST_STRING))
      diag_error(c->diag, w->span, "a text in quotes is expected behind `label`");
    i += (bit & (BAND | BARS | LABEL)) != 0;
    seen |= bit;
  }
}

/* ---- the values ---- */

/* Heatmaps and contours are drawn over what was swept. */
static void check_place(const struct checked *c, const struct ast_expr *x)
{
  if (rows_is_result(c->rows, x->text)) {
    diag_error(c->diag, x->span, "`%s` is a result: the places of a %s are what was swept", x->text,
               c->panel->panel_kind.text);
    diag_hint(c->diag, "a scatter shows one result against another");
  } else if (is_kind(c->panel, "contour") && rows_is_words(c->rows, x->text))
    diag_error(c->diag, x->span, "`%s` holds words, and a contour needs numbers", x->text);
}

static void check_value(struct checked *c)
{
  const struct ast_expr *x = c->setting->value;
  const char *name = c->setting->name.text;
  bool number = !strcmp(name, is_grid(c->panel) ? "z" : "y");
  c->plain = x->kind == AST_NAME;
  if (!c->plain && !number) {
    diag_error(c->diag, x->span, "`%s` is a column, such as lr", name);
    diag_hint(c->diag, "give a longer expression a name with `let` or `measure` in the experiment");
  } else if (!c->rows)
    return;
  else if (!c->plain)
    c->statistic = claim_compile_number(c->dsl, c->rows, x, c->diag);
  else if (!rows_check_column(c->dsl, c->rows, x, c->diag))
    return;
  else if (number && rows_is_words(c->rows, x->text))
    diag_error(c->diag, x->span, "`%s` holds words, and %s needs numbers", x->text, name);
  else if (is_grid(c->panel) && (!strcmp(name, "x") || !strcmp(name, "y")))
    check_place(c, x);
}

/* marks = "first" 0 0 "checkpoint" start_along start_across: a text and its place, x and y. */
static void check_marks(const struct checked *c)
{
  const struct ast_stmt *s = c->setting;
  for (size_t i = 0; i <= s->n_words; i++) {
    const struct ast_expr *w = i ? s->words[i - 1].value : s->value;
    bool text = i % 3 == 0;
    /* A name behind a number is its unit. */
    if (text ? w->kind != AST_STRING
             : (w->kind != AST_NUMBER || w->unit.text) && w->kind != AST_NAME) {
      diag_error(c->diag, w->span, text ? "the text of a mark is expected here, in quotes"
                                        : "a mark's place is two numbers or two columns");
      diag_hint(c->diag, "a text, x and y for each mark: `marks = \"first\" 0 0 \"second\" 1 0;`");
      return;
    }
    if (w->kind == AST_NAME && c->rows && rows_check_column(c->dsl, c->rows, w, c->diag) &&
        rows_is_words(c->rows, w->text))
      diag_error(c->diag, w->span, "`%s` holds words, and a place needs numbers", w->text);
  }
  if (s->n_words % 3 != 2) {
    diag_error(c->diag, s->value->span, "the last mark has no place");
    diag_hint(c->diag, "a text, x and y for each mark: `marks = \"first\" 0 0 \"second\" 1 0;`");
  }
}

static void check_panel_setting(struct dsl *dsl, const struct rows *rows, const struct ast_block *p,
                                const struct ast_stmt *s, struct diag *d)
{
  static const char *const usual[] = {"x", "y", "series", "opacity"};
  static const char *const grid[] = {"x", "y", "z", "marks"};
  const char *const *names = is_grid(p) ? grid : usual;
  size_t n = is_kind(p, "heatmap") ? 3 : 4, which = 0;
  while (which < n && (s->kind != AST_SETTING || strcmp(s->name.text, names[which])))
    which++;
  if (which == n) {
    if (is_grid(p))
      diag_error(d, s->kind == AST_SETTING ? s->name.span : s->span, "a %s has x, y%s",
                 p->panel_kind.text, n == 4 ? ", z and marks" : " and z");
    else
      diag_error(d, s->kind == AST_SETTING ? s->name.span : s->span,
                 "a panel has x, y, series and opacity");
    const char *near = s->name.text ? diag_nearest(s->name.text, names, n) : NULL;
    if (near)
      diag_hint(d, "did you mean `%s`?", near);
    return;
  }
  const struct ast_stmt *first = claim_setting(p, names[which]);
  if (first != s) {
    diag_error(d, s->name.span, "`%s` is given twice", names[which]);
    diag_note(d, first->span, "first here");
  }
  struct checked c = {.dsl = dsl, .rows = rows, .panel = p, .setting = s, .diag = d};
  if (!strcmp(names[which], "marks")) {
    check_marks(&c);
    return;
  }
  check_value(&c);
  check_words(&c);
}

static void check_panel(struct dsl *dsl, const struct ast_block *p, struct diag *d)
{
  static const char *const needed[] = {"x", "y", "z"};
  const struct words_thing *kind = words_thing(WORDS_PANEL, p->panel_kind.text);
  struct rows rows;
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
  bool known = rows_check(dsl, p, &rows, d);
  for (size_t i = 0; i < p->n_stmts; i++)
    check_panel_setting(dsl, known ? &rows : NULL, p, &p->stmts[i], d);
  for (size_t i = 0; i < (is_grid(p) ? 3 : 2); i++)
    if (!p->incomplete && !claim_setting(p, needed[i]))
      diag_error(d, p->name.span, "panel `%s` does not say its `%s`", p->name.text, needed[i]);
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
        diag_error(d, f->blocks[i].name.span, "the figure has two panels `%s`",
                   f->blocks[i].name.text);
        diag_note(d, f->blocks[j].name.span, "first here");
      }
  }
}
