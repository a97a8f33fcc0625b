/* What experiments say at the tier, beside what the paper does. */
#ifndef MERGESCAPE_DSL_VALUES_H
#define MERGESCAPE_DSL_VALUES_H

#include "dsl/resolve.h"

#include <stdio.h>

/* A block an experiment: each setting, sweep, let, the trunk and the branches as
 * they are at the tier; what the files say where that differs; the source line;
 * @paper and @assumed.  `shown` NULL: all planned experiments; else those for
 * which it holds. */
void dsl_values_print(const struct dsl *, bool (*shown)(void *, const char *experiment),
                      void *context, FILE *);

#endif
