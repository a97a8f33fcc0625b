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

#endif
