/* Words of the language on a command line. */
#ifndef MERGESCAPE_DSL_OPTION_H
#define MERGESCAPE_DSL_OPTION_H

#include "dsl/ast.h"
#include "base/diag.h"
#include "plan/plan.h"

/* A model with its arguments, such as `resnet18(stem = imagenet)`: an init step without inputs,
 * with all of the model's attributes, said or by default.  `option` is where `text` stands, for
 * messages that point into it.  false: they say what is wrong. */
bool dsl_model_option(struct ast_program *, const char *option, const char *text,
                      struct plan_step *, struct diag *);

/* The model with a share of its units, as fusing within it leaves it; `option`: what the share is
 * called.  false: no whole number of units. */
bool dsl_narrow_option(struct arena *, const struct plan_step *wide, double keep,
                       const char *option, struct plan_step *, struct diag *);

#endif
