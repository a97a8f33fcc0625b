/* A set of names, each with a number: the first one that it was given. */
#ifndef MERGESCAPE_DSL_NAMES_H
#define MERGESCAPE_DSL_NAMES_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>

struct names_entry {
  const char *name; /* NULL: the place is empty */
  unsigned sort;
  size_t value;
};

/* All zero: empty. */
struct names {
  struct names_entry *places; /* hashed */
  size_t n, n_places;
};

/* Names of different sorts do not meet.  Returns the value that the name has: `value`
 * where it is new.  The name is not copied. */
size_t names_add(struct arena *, struct names *, unsigned sort, const char *name, size_t value);
/* SIZE_MAX: it is not there. */
size_t names_find(const struct names *, unsigned sort, const char *name);

#endif
