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

void lower_claim(struct lowering *l, const struct ast_block *b)
{
  struct rows rows = rows_find(l->dsl, b);
  const struct ast_stmt *units = claim_setting(b, "units");
  const struct ast_stmt *tolerance = claim_setting(b, "tolerance");
  struct formula_point none = {rows.of[0], NULL};
  struct plan_claim c = {
      .name = b->name.text,
      .text = b->title.text ? b->title.text : "",
      .experiment = rows_name(l->arena, &rows),
      .span = b->span,
      .omitted = rows_omitted(l->arena, &rows),
      .judged = is_judged(l->dsl, claim_setting(b, "tiers")),
      .unit = units ? units->value->text : "seed",
  };
  c.table = c.omitted ? UINT32_MAX : lower_rows(l, &rows, b->span);
  c.one_unit = !rows_has_column(&rows, c.unit);
  if (!claim_compile(l->dsl, &rows, claim_expect(b)->value, &c, l->diag) ||
      (tolerance && !formula_number(&none, tolerance->value, &c.tolerance, l->diag)))
    return;
  ARENA_PUSH(l->arena, l->result->claims, l->result->n_claims, l->result->cap_claims, c);
}
