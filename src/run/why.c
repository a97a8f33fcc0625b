#include "run/why.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct why_index {
  const struct store *store;
  struct store_object *objects; /* ascending by key */
  size_t n;
};

/* Two histories, laid side by side. */
struct comparison {
  const struct why_index *index;
  const struct plan *plan;
  bool differing[PLAN_KIND_COUNT][PLAN_ATTR_COUNT];
  unsigned versions, unknown, visits;
  bool shape;
  double apart; /* of numbers, relative */
  double most;  /* differences; more are not worth counting */
  double found; /* of `differing`, how many */
  struct arena *arena; /* for `out` */
  struct why *out; /* NULL: only the distance matters */
};

enum { MOST_VISITS = 5000, MOST_DEPTH = 2000 };

static int by_key(const void *a, const void *b)
{
  const struct store_object *x = a, *y = b;
  return memcmp(x->key.b, y->key.b, HASH_BYTES);
}

struct why_index *why_open(struct arena *a, struct store *store, struct diag *d)
{
  struct why_index *index = arena_alloc(a, sizeof *index);
  index->store = store;
  if (!store_list(store, a, &index->objects, &index->n, d))
    return NULL;
  if (index->n)
    qsort(index->objects, index->n, sizeof *index->objects, by_key);
  return index;
}

static const struct store_object *find(const struct why_index *index, struct hash key)
{
  struct store_object wanted = {.key = key};
  return index->n ? bsearch(&wanted, index->objects, index->n, sizeof wanted, by_key) : NULL;
}

static bool same_value(const struct plan_attr *a, const struct plan_attr *b)
{
  if (a->str || b->str)
    return a->str && b->str && !strcmp(a->str, b->str);
  return a->num == b->num || (isnan(a->num) && isnan(b->num));
}

static void differ(struct comparison *c, uint32_t i, const struct plan_attr *here,
                   const struct plan_attr *there)
{
  enum plan_attr_id id = here ? here->id : there->id;
  bool *differs = &c->differing[plan_step(c->plan, i)->kind][id];
  if (*differs)
    return;
  *differs = true;
  c->found++;
  if (here && there && !here->str && !there->str)
    c->apart += fabs(here->num - there->num) / fmax(fabs(here->num), fabs(there->num));
  if (!c->out)
    return;
  struct why_difference difference = {.step = i, .has_here = here, .has_there = there};
  difference.here.id = difference.there.id = id;
  if (here)
    difference.here = *here;
  if (there)
    difference.there = *there;
  ARENA_PUSH(c->arena, c->out->differences, c->out->n, c->out->cap, difference);
}

static bool compare_attrs(struct comparison *c, uint32_t i, const struct store_object *o)
{
  const struct plan_step *s = plan_step(c->plan, i);
  bool same = true;
  for (uint32_t a = 0, b = 0; a < s->n_attrs || b < o->n_attrs;) {
    const struct plan_attr *x = a < s->n_attrs ? &s->attrs[a] : NULL;
    const struct plan_attr *y = b < o->n_attrs ? &o->attrs[b] : NULL;
    if (x && y && x->id != y->id) {
      if (x->id < y->id)
        y = NULL;
      else
        x = NULL;
    }
    a += x != NULL;
    b += y != NULL;
    if (x && y && same_value(x, y))
      continue;
    same = false;
    differ(c, i, x, y);
  }
  return same;
}

static void compare(struct comparison *c, uint32_t i, const struct store_object *o, unsigned depth)
{
  const struct plan_step *s = plan_step(c->plan, i);
  if (hash_equal(s->key, o->key) || ++c->visits > MOST_VISITS || depth > MOST_DEPTH ||
      c->found > c->most)
    return;
  bool same = compare_attrs(c, i, o);
  if (s->n_inputs != o->n_inputs) {
    c->shape = true;
    return;
  }
  for (uint32_t k = 0; k < s->n_inputs; k++) {
    const struct plan_step *input = plan_step(c->plan, s->inputs[k]);
    if (hash_equal(input->key, o->inputs[k]))
      continue;
    same = false;
    const struct store_object *other = find(c->index, o->inputs[k]);
    if (!other)
      c->unknown++;
    else if (other->kind != input->kind)
      c->shape = true;
    else
      compare(c, s->inputs[k], other, depth + 1);
  }
  if (same)
    c->versions |= 1U << s->kind;
}

/* Fewest differences, then the same experiment, then the nearest numbers. */
static double distance(const struct comparison *c, const struct plan_step *s,
                       const struct store_object *o)
{
  double n = c->found + __builtin_popcount(c->versions);
  /* What is gone may differ in anything. */
  n += 4 * c->shape + 2 * (c->unknown > 0);
  bool other = !s->origin.experiment || !o->experiment ||
               strcmp(s->origin.experiment, o->experiment) != 0;
  return n + 0.5 * other + 0.4 * c->apart / (1 + c->apart);
}

struct why why_step(const struct why_index *index, struct arena *a, const struct plan *plan,
                    uint32_t step)
{
  const struct plan_step *s = plan_step(plan, step);
  struct why why = {.cached = store_has(index->store, s->key)};
  double best = INFINITY;
  for (size_t i = 0; !why.cached && i < index->n; i++) {
    const struct store_object *o = &index->objects[i];
    if (o->kind != s->kind)
      continue;
    struct comparison c = {.index = index, .plan = plan, .most = best};
    compare(&c, step, o, 0);
    double d = distance(&c, s, o);
    if (c.found <= c.most && d < best) {
      best = d;
      why.nearest = o;
    }
  }
  if (why.nearest) {
    struct comparison c = {.index = index, .plan = plan, .most = INFINITY, .arena = a, .out = &why};
    compare(&c, step, why.nearest, 0);
    why.versions = c.versions;
    why.unknown = c.unknown;
    why.shape = c.shape;
  }
  return why;
}
