#include "dsl/names.h"

#include <stdint.h>
#include <string.h>

/* FNV-1a */
static size_t place_of(const struct names *set, unsigned sort, const char *name)
{
  uint64_t h = UINT64_C(14695981039346656037) + sort;
  for (const char *c = name; *c; c++)
    h = (h ^ (unsigned char)*c) * UINT64_C(1099511628211);
  size_t i = (size_t)h & (set->n_places - 1);
  while (set->places[i].name && (set->places[i].sort != sort || strcmp(set->places[i].name, name)))
    i = (i + 1) & (set->n_places - 1);
  return i;
}

static void grow(struct arena *a, struct names *set)
{
  struct names old = *set;
  set->n_places = old.n_places ? 2 * old.n_places : 64;
  set->places = arena_array(a, set->n_places, sizeof *set->places);
  for (size_t i = 0; i < old.n_places; i++)
    if (old.places[i].name)
      set->places[place_of(set, old.places[i].sort, old.places[i].name)] = old.places[i];
}

size_t names_add(struct arena *a, struct names *set, unsigned sort, const char *name, size_t value)
{
  if (2 * set->n >= set->n_places)
    grow(a, set);
  struct names_entry *e = &set->places[place_of(set, sort, name)];
  if (!e->name) {
    *e = (struct names_entry){name, sort, value};
    set->n++;
  }
  return e->value;
}

size_t names_find(const struct names *set, unsigned sort, const char *name)
{
  if (!set->n)
    return SIZE_MAX;
  const struct names_entry *e = &set->places[place_of(set, sort, name)];
  return e->name ? e->value : SIZE_MAX;
}
