/* Networks that fusing makes. */
#include "dsl/lower_int.h"

#include <math.h>
#include <string.h>

bool lower_fuses(const char *method)
{
  return !strcmp(method, "intra_fusion") || !strcmp(method, "ot_fusion");
}

bool lower_check_fusable(const struct lower_run *r, const struct ast_stmt *s,
                         const struct lower_model *models, size_t n)
{
  const struct plan *plan = r->l->plan;
  for (size_t i = 0; lower_fuses(s->value->text) && i < n; i++) {
    const struct plan_step *step = plan_step(plan, models[i].step);
    const char *model = plan_str(plan_model_of(plan, step), PLAN_A_model);
    const enum plan_attr_id fused = words_fused(model);
    const bool within = !strcmp(s->value->text, "intra_fusion");
    if (fused != PLAN_A_none && (within || fused != PLAN_A_hidden))
      continue;
    diag_error(r->l->diag, s->value->span, "`%s` does not know the units of %s", s->value->text,
               model);
    if (fused == PLAN_A_hidden)
      diag_hint(r->l->diag, "`intra_fusion` fuses its feed-forward neurons");
    return false;
  }
  return true;
}

bool lower_narrower(const struct plan_step *wide, double keep, const char *named, struct span at,
                    struct lower_attrs *out, struct diag *d)
{
  const enum plan_attr_id fused = words_fused(plan_str(wide, PLAN_A_model));
  const struct plan_attr *said = plan_attr(wide, fused);
  const double usual = fused == PLAN_A_hidden ? 4 * plan_num(wide, PLAN_A_width) : 0;
  const double units = said ? said->num : usual, kept = round(keep * units);
  const char *what = fused == PLAN_A_hidden ? "feed-forward neurons" : plan_attr_name(fused);
  *out = (struct lower_attrs){0};
  if (kept < 1 || fabs(kept - keep * units) > 1e-9 * units) {
    diag_error(d, at,
               fused == PLAN_A_hidden ? "%g of the %s, %g, are %g"
                                      : "%g of a %s of %g are %g units",
               keep, what, units, keep * units);
    diag_hint(d, "%s times the %s has to be a whole number", named, what);
    return false;
  }
  for (uint32_t i = 0; i < wide->n_attrs; i++)
    if (wide->attrs[i].id != PLAN_A_weights && wide->attrs[i].id != PLAN_A_head &&
        wide->attrs[i].id != fused)
      out->list[out->n++] = wide->attrs[i];
  if (kept != usual)
    lower_put(out, fused, kept, NULL);
  return true;
}

bool lower_add_narrower(const struct lower_run *r, const struct ast_stmt *s, double keep,
                        uint32_t model, const char *text, uint32_t *init)
{
  const struct plan_step *wide = plan_model_of(r->l->plan, plan_step(r->l->plan, model));
  const uint32_t data = wide->inputs[0];
  struct lower_attrs a;
  if (!lower_narrower(wide, keep, "`keep`", s->value->span, &a, r->l->diag))
    return false;
  *init = lower_add(r, PLAN_INIT, &a, &data, 1, text, s->span);
  return true;
}

uint32_t lower_narrow_head(const struct lower_run *r, uint32_t narrow, uint32_t head,
                           const char *text, struct span span)
{
  static const enum plan_attr_id how[] = {PLAN_A_method,    PLAN_A_keep,  PLAN_A_importance,
                                          PLAN_A_marginals, PLAN_A_order, PLAN_A_samples};
  const struct plan *plan = r->l->plan;
  const struct plan_step *as = plan_step(plan, narrow),
                         *wide = plan_model_of(plan, plan_step(plan, head));
  const uint32_t source = as->inputs[1], data = as->inputs[as->n_inputs - 1], own = wide->inputs[0];
  struct lower_attrs init, a = {0};
  if (!lower_narrower(wide, plan_num(as, PLAN_A_keep), "`keep`", span, &init, r->l->diag))
    return UINT32_MAX;
  for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
    const struct plan_attr *said = plan_attr(as, how[i]);
    if (said)
      lower_put(&a, said->id, said->num, said->str);
  }
  lower_put(&a, PLAN_A_batchnorm, 0, "none"); /* its statistics are not looked at */
  const uint32_t inputs[] = {lower_add(r, PLAN_INIT, &init, &own, 1, text, span), source, head,
                             data};
  return lower_add(r, PLAN_MERGE, &a, inputs, 4, text, span);
}
