/* Two texts that say one thing differently, planned and compared step for step.
 * Include after cmocka.h. */
#ifndef MERGESCAPE_TESTS_PLAN_PAIRS_H
#define MERGESCAPE_TESTS_PLAN_PAIRS_H

#include "dsl/check.h"
#include "dsl/lower.h"
#include "dsl/parse.h"

#include <string.h>

static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};

/* [kind][attribute]: some plan has it; two texts that differ in it were compared. */
static bool occurs[PLAN_KIND_COUNT][PLAN_ATTR_COUNT], covered[PLAN_KIND_COUNT][PLAN_ATTR_COUNT];

static inline void note_attributes(const struct plan *p)
{
  for (uint32_t i = 0; i < plan_count(p); i++)
    for (uint32_t k = 0; k < plan_step(p, i)->n_attrs; k++)
      occurs[plan_step(p, i)->kind][plan_step(p, i)->attrs[k].id] = true;
}

/* NULL where there is a mistake; its messages are added to `d`. */
static inline struct plan *plan_text(struct arena *a, const char *text, struct diag *d)
{
  struct ast_program *program = ast_program_new(a);
  struct plan *plan = plan_new(a, versions);
  struct lower_result result = {0};
  parse_text(program, "a.exp", text, strlen(text), d);
  struct dsl *dsl = dsl_resolve(a, program, NULL, d);
  dsl_check(dsl, d);
  if (diag_errors(d) || !dsl_lower(dsl, plan, &(struct lower_options){1e6}, &result, d))
    return NULL;
  note_attributes(plan);
  return plan;
}

static inline struct plan *plan_good(struct arena *a, const char *text)
{
  struct diag *d = diag_new(a);
  struct plan *p = plan_text(a, text, d);
  if (!p)
    fail_msg("%s\nin\n%s", diag_message(d, 0), text);
  return p;
}

static inline bool same_attr(const struct plan_attr *a, const struct plan_attr *b)
{
  return a->id == b->id && !a->str == !b->str &&
         (a->str ? !strcmp(a->str, b->str) : !(a->num < b->num) && !(a->num > b->num));
}

/* ---- two plans, step for step ---- */

static inline bool same_shape(const struct plan *a, const struct plan *b)
{
  if (plan_count(a) != plan_count(b))
    return false;
  for (uint32_t i = 0; i < plan_count(a); i++)
    if (plan_step(a, i)->kind != plan_step(b, i)->kind)
      return false;
  return true;
}

/* Does step i say something else, itself or through an input? */
static inline bool is_changed(const struct plan *a, const struct plan *b, uint32_t i)
{
  const struct plan_step *x = plan_step(a, i), *y = plan_step(b, i);
  bool changed = x->n_attrs != y->n_attrs || x->n_inputs != y->n_inputs;
  for (uint32_t k = 0; !changed && k < x->n_attrs; k++)
    changed = !same_attr(&x->attrs[k], &y->attrs[k]);
  for (uint32_t k = 0; !changed && k < x->n_inputs; k++)
    changed = !hash_equal(plan_step(a, x->inputs[k])->key, plan_step(b, y->inputs[k])->key);
  return changed;
}

/* An attribute that one of them has and the other not is told apart too, if that is all. */
static inline void cover(const struct plan_step *x, const struct plan_step *y)
{
  for (uint32_t k = 0; k < x->n_attrs; k++) {
    const struct plan_attr *other = plan_attr(y, x->attrs[k].id);
    if (other ? !same_attr(&x->attrs[k], other) : x->n_attrs == y->n_attrs + 1)
      covered[x->kind][x->attrs[k].id] = true;
  }
}

/* How many keys differ; every one must, and no other. */
static inline uint32_t compare(const struct plan *a, const struct plan *b, const char *what)
{
  uint32_t n = 0;
  for (uint32_t i = 0; i < plan_count(a); i++) {
    bool changed = is_changed(a, b, i);
    if (changed == hash_equal(plan_step(a, i)->key, plan_step(b, i)->key))
      fail_msg("%s: step %u, %s", what, (unsigned)i,
               changed ? "one key for two things" : "two keys for one thing");
    cover(plan_step(a, i), plan_step(b, i));
    cover(plan_step(b, i), plan_step(a, i));
    n += changed;
  }
  return n;
}

/* ---- texts ---- */

/* An experiment with something to mutate in it; NULL: as the default says. */
struct parts {
  const char *data, *model, *optimizer, *start, *settings, *trunk, *branch, *merge, *measure;
};

static const char *weights_a, *weights_b, *weights_c; /* files; c holds what a holds */

static inline const char *either(const char *said, const char *otherwise)
{
  return said ? said : otherwise;
}

static inline char *write_text(struct arena *a, const struct parts *p)
{
  char *text = arena_printf(a, "experiment a {\n  data = %s;\n  model = %s;\n  optimizer = %s;\n",
                            either(p->data, "fashion_mnist(size = 14, train = 640, test = 100)"),
                            either(p->model, "mlp(width = 16)"), either(p->optimizer, "sgd"));
  text = arena_printf(a, "%s  start = %s;\n%s%s  trunk %s;\n  branch %s;\n", text,
                      either(p->start, "scratch"), either(p->settings, ""),
                      strstr(either(p->settings, ""), " lr =") ? "" : "  lr = 0.1;\n",
                      either(p->trunk, "for 2 epochs at constant"),
                      either(p->branch, "ends[2] at end of trunk for 40 steps at sqrt_decay "
                                        "with snapshots every 20 steps"));
  if (!strstr(either(p->settings, ""), " batch ="))
    text = arena_printf(a, "%s  batch = 32;\n", text);
  return arena_printf(a, "%s  merge mid = %s;\n  measure fit = %s;\n}\n", text,
                      either(p->merge, "linear(ends)"), either(p->measure, "loss(mid, test)"));
}

/* false: one of them has a mistake, and nothing was compared. */
static inline bool try_pair(const struct parts *x, const struct parts *y, const char *what)
{
  struct arena *a = arena_new();
  const struct plan *p = plan_text(a, write_text(a, x), diag_new(a));
  const struct plan *q = p ? plan_text(a, write_text(a, y), diag_new(a)) : NULL;
  if (q && same_shape(p, q) && !compare(p, q, what))
    fail_msg("%s: no key differs", what);
  /* Another number of steps: what is equal is one step, and not all are. */
  for (uint32_t i = 0, kept = 0; q && !same_shape(p, q) && i < plan_count(p); i++) {
    kept += plan_find(q, plan_step(p, i)->key) != UINT32_MAX;
    if (kept == plan_count(p))
      fail_msg("%s: no key differs", what);
  }
  arena_free(a);
  return q != NULL;
}

static inline void pair(const struct parts *x, const struct parts *y, const char *what)
{
  if (!try_pair(x, y, what)) {
    struct arena *a = arena_new();
    plan_good(a, write_text(a, x));
    plan_good(a, write_text(a, y));
    arena_free(a);
  }
}

#endif
