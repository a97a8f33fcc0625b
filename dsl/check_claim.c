#include "dsl/claim.h"

#include "dsl/check.h"
#include "dsl/formula.h"

#include <math.h>
#include <string.h>

const struct ast_stmt *claim_setting(const struct ast_block *b, const char *name)
{
  for (size_t i = 0; i < b->n_stmts; i++)
    if (b->stmts[i].kind == AST_SETTING && !strcmp(b->stmts[i].name.text, name))
      return &b->stmts[i];
  return NULL;
}

const struct ast_stmt *claim_expect(const struct ast_block *b)
{
  for (size_t i = 0; i < b->n_stmts; i++)
    if (b->stmts[i].kind == AST_EXPECT)
      return &b->stmts[i];
  return NULL;
}

static void check_unit(struct dsl *dsl, const struct rows *r, const struct ast_expr *x,
                       struct diag *d)
{
  if (x->kind != AST_NAME) {
    diag_error(d, x->span, "`units` is a column, such as seed or epoch");
    return;
  }
  if (!strcmp(x->text, "seed") || !r || !rows_check_column(dsl, r, x, d) ||
      !rows_is_result(r, x->text))
    return;
  diag_error(d, x->span, "`%s` is a result, and makes no units", x->text);
  diag_hint(d, "units are what was run several times: seed, epoch or step");
}

static void check_units(struct dsl *dsl, const struct rows *r, const struct ast_stmt *s,
                        struct diag *d)
{
  for (size_t i = 0; i <= s->n_words; i++)
    check_unit(dsl, r, i ? s->words[i - 1].value : s->value, d);
}

static void check_tolerance(struct arena *a, const struct ast_stmt *s, struct diag *d)
{
  static const struct words_range range = {"[", ")", 0, INFINITY};
  static const struct dsl_experiment none = {.name = ""};
  struct formula_point point = {&none, NULL};
  double v;
  if (!formula_is_literal(s->value))
    diag_error(d, s->value->span, "`tolerance` is a number");
  else if (formula_number(&point, s->value, &v, d))
    check_number(a, "tolerance", WORDS_NUMBER, &range, v, s->value->span, d);
}

static void check_tiers(const struct ast_stmt *s, struct diag *d)
{
  for (size_t i = 0; i <= s->n_words; i++) {
    const struct ast_expr *x = i ? s->words[i - 1].value : s->value;
    if (x->kind != AST_NAME) {
      diag_error(d, x->span, "the name of a tier is expected here");
      diag_hint(d, "such as `tiers = small paper;`");
    }
  }
}

/* `r` NULL: after a mistake the columns are not known. */
static void check_statement(struct dsl *dsl, const struct rows *r, const struct ast_block *b,
                            const struct ast_stmt *s, struct diag *d)
{
  static const char *const names[] = {"units", "tolerance", "tiers"};
  if (s->kind == AST_EXPECT) {
    struct plan_claim claim = {0};
    if (claim_expect(b) != s) {
      diag_error(d, s->span, "a claim has one `expect`");
      diag_note(d, claim_expect(b)->span, "first here");
      if (b->name.text)
        diag_hint(d, "make two claims of it, such as `%sa` and `%sb`", b->name.text, b->name.text);
    }
    if (r)
      claim_compile(dsl, r, s->value, &claim, d);
    return;
  }
  size_t which = 0;
  while (which < 3 && (s->kind != AST_SETTING || strcmp(s->name.text, names[which])))
    which++;
  if (which == 3) {
    diag_error(d, s->kind == AST_SETTING ? s->name.span : s->span,
               "a claim has units, tolerance, tiers and one `expect`");
    const char *near = s->kind == AST_SETTING ? diag_nearest(s->name.text, names, 3) : NULL;
    if (near)
      diag_hint(d, "did you mean `%s`?", near);
    return;
  }
  const struct ast_stmt *first = claim_setting(b, names[which]);
  if (first != s) {
    diag_error(d, s->name.span, "`%s` is given twice", names[which]);
    diag_note(d, first->span, "first here");
  }
  for (size_t i = 0; which == 1 && i < s->n_words; i++)
    diag_error(d, s->words[i].value->span, "nothing may stand behind the value");
  if (which == 0)
    check_units(dsl, r, s, d);
  else if (which == 1)
    check_tolerance(dsl->arena, s, d);
  else
    check_tiers(s, d);
}

void check_claim(struct dsl *dsl, const struct ast_block *b, struct diag *d)
{
  struct rows rows;
  bool known = rows_check(dsl, b, &rows, d);
  for (size_t i = 0; i < b->n_blocks; i++)
    diag_error(d, b->blocks[i].span, "a claim holds no other block");
  for (size_t i = 0; i < b->n_stmts; i++)
    check_statement(dsl, known ? &rows : NULL, b, &b->stmts[i], d);
  if (!b->incomplete && !claim_expect(b)) {
    diag_error(d, b->span, "the claim expects nothing");
    diag_hint(d, "add `expect trend(median(gain) by lr) > 0;`");
  }
}
