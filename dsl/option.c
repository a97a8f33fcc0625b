#include "dsl/option.h"

#include "dsl/lower_int.h"
#include "dsl/parse.h"

bool dsl_model_option(struct ast_program *program, const char *option, const char *text,
                      struct plan_step *step, struct diag *diag)
{
  static const struct dsl_experiment nothing = {.name = ""};
  struct arena *arena = program->arena;
  const unsigned before = diag_errors(diag);
  const struct ast_expr *x = parse_thing(program, option, text, diag);
  if (!x)
    return false;
  check_model(arena, x, diag);
  const struct words_thing *model = words_thing(WORDS_MODEL, x->text);
  if (model && !model->available)
    diag_error(diag, x->text_span, "model %s is not available yet", x->text);
  if (diag_errors(diag) > before)
    return false;
  struct lowering l = {.arena = arena, .diag = diag};
  const struct lower_run run = {.l = &l, .at = {&nothing, NULL}};
  struct lower_attrs *attrs = arena_alloc(arena, sizeof *attrs);
  lower_put(attrs, PLAN_A_model, 0, x->text);
  *step = (struct plan_step){.kind = PLAN_INIT, .attrs = attrs->list};
  if (!lower_params(&run, attrs, WORDS_MODEL, x))
    return false;
  step->n_attrs = attrs->n;
  return true;
}

bool dsl_narrow_option(struct arena *a, const struct plan_step *wide, double keep,
                       const char *option, struct plan_step *out, struct diag *d)
{
  struct lower_attrs *attrs = arena_alloc(a, sizeof *attrs);
  if (!lower_narrower(wide, keep, option, SPAN_NONE, attrs, d))
    return false;
  *out = *wide;
  out->attrs = attrs->list;
  out->n_attrs = attrs->n;
  return true;
}
