#include "merge/merge.h"

#include <string.h>

static const struct merge_method methods[] = {
    {"linear", 1, 0, merge_linear},
};

const struct merge_method *merge_find(const char *name)
{
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
    if (!strcmp(methods[i].name, name))
      return &methods[i];
  return NULL;
}
