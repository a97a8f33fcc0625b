#include "dsl/claim.h"
#include "dsl/lower_int.h"

#include <string.h>

/* A claim is judged at the tiers that it names and at those derived from them;
 * without a list, at all.  `paper` is also the files' own scale. */
static bool is_judged(const struct dsl *dsl, const struct ast_stmt *tiers)
{
  if (!tiers)
    return true;
  for (size_t i = 0; i <= tiers->n_words; i++) {
    const char *wanted = (i ? tiers->words[i - 1].value : tiers->value)->text;
    for (size_t t = 0; t < dsl->n_tiers; t++)
      if (!strcmp(dsl->tiers[t]->name.text, wanted))
        return true;
    if (!dsl->n_tiers && !strcmp(wanted, "paper"))
      return true;
  }
  return false;
}

/* The columns that the table has: an unswept `seed` makes no units. */
static void lower_units(struct arena *a, const struct rows *rows, const struct ast_stmt *units,
                        struct plan_claim *c)
{
  const size_t n = units ? units->n_words + 1 : 1;
  c->units = arena_array(a, n, sizeof *c->units);
  for (size_t i = 0; i < n; i++) {
    const char *column = !units ? "seed" : (i ? units->words[i - 1].value : units->value)->text;
    if (!rows_has_column(rows, column))
      continue;
    c->unit = c->n_units ? arena_printf(a, "%s-%s", c->unit, column) : column;
    c->units[c->n_units++] = column;
  }
  if (!c->n_units)
    c->unit = units ? units->value->text : "seed";
}

void lower_claim(struct lowering *l, const struct ast_block *b)
{
  struct rows rows = rows_find(l->dsl, b);
  const struct ast_stmt *tolerance = claim_setting(b, "tolerance");
  struct formula_point none = {rows.of[0], NULL};
  struct plan_claim c = {
      .name = b->name.text,
      .text = b->title.text ? b->title.text : "",
      .experiment = rows_name(l->arena, &rows),
      .span = b->span,
      .omitted = rows_omitted(l->arena, &rows),
      .judged = is_judged(l->dsl, claim_setting(b, "tiers")),
  };
  c.table = c.omitted ? UINT32_MAX : lower_rows(l, &rows, b->span);
  lower_units(l->arena, &rows, claim_setting(b, "units"), &c);
  if (!claim_compile(l->dsl, &rows, claim_expect(b)->value, &c, l->diag) ||
      (tolerance && !formula_number(&none, tolerance->value, &c.tolerance, l->diag)))
    return;
  ARENA_PUSH(l->arena, l->result->claims, l->result->n_claims, l->result->cap_claims, c);
}
