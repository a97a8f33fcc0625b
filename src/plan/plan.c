#include "plan/plan.h"

#include "base/num.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The version of how steps are hashed: raised when a key means something else. */
#define KEY_FORMAT 1

struct plan {
  struct arena *arena;
  const char *const *versions;
  struct plan_step *steps;
  size_t n, cap;
  uint32_t *slots; /* open addressing by key: index + 1, 0 empty */
  size_t n_slots;  /* a power of two */
  uint32_t *seen;  /* the same by what is cheap to look at, see find_seen */
  uint64_t *quick; /* of each step */
  size_t n_quick, cap_quick;
};

static const char *const kind_names[] = {
#define KIND(id, name, what) name,
#include "plan/step.def"
};

static const char *const attr_names[] = {
#define ATTR(name, type, meaning) #name,
#include "plan/step.def"
};

struct plan *plan_new(struct arena *a, const char *const versions[PLAN_KIND_COUNT])
{
  struct plan *p = arena_alloc(a, sizeof *p);
  p->arena = a;
  p->versions = versions;
  p->n_slots = 1024;
  p->slots = arena_array(a, p->n_slots, sizeof *p->slots);
  p->seen = arena_array(a, p->n_slots, sizeof *p->seen);
  return p;
}

static void hash_optional(struct hasher *h, const char *s)
{
  hash_u64(h, s != NULL);
  if (s)
    hash_str(h, s);
}

static void hash_table(struct hasher *h, struct arena *a, const struct plan_table *t)
{
  hash_str(h, t->experiment);
  hash_u64(h, t->n_columns);
  hash_u64(h, t->n_rows);
  hash_u64(h, t->n_slots);
  for (size_t c = 0; c < t->n_columns; c++) {
    hash_str(h, t->columns[c].name);
    hash_optional(h, t->columns[c].measured ? plan_expr_text(a, &t->columns[c].expr) : NULL);
  }
  for (size_t r = 0; r < t->n_rows; r++) {
    for (size_t c = 0; c < t->n_columns; c++) {
      const struct plan_cell *cell = &t->cells[r * t->n_columns + c];
      if (t->columns[c].measured)
        continue;
      hash_optional(h, cell->str);
      hash_num(h, cell->num);
    }
    for (size_t s = 0; s < t->n_slots; s++) {
      const struct plan_slot *slot = &t->slots[r * t->n_slots + s];
      hash_u64(h, slot->input);
      if (slot->value)
        hash_str(h, slot->value);
      else
        hash_num(h, slot->num);
    }
  }
}

static void hash_axis(struct hasher *h, struct arena *a, const struct plan_axis *x)
{
  hash_optional(h, x->column);
  hash_optional(h, x->label);
  hash_optional(h, x->statistic ? plan_claim_text(a, x->statistic) : NULL);
  hash_u64(h, x->band);
  hash_u64(h, x->bars);
  hash_u64(h, x->log);
  hash_u64(h, x->fit);
}

static void hash_figure(struct hasher *h, struct arena *a, const struct plan_figure *f)
{
  hash_u64(h, f->number);
  hash_str(h, f->title);
  hash_str(h, f->subtitle);
  hash_u64(h, f->columns);
  hash_u64(h, f->n_panels);
  for (size_t i = 0; i < f->n_panels; i++) {
    const struct plan_panel *p = &f->panels[i];
    hash_str(h, p->name);
    hash_str(h, p->title);
    hash_u64(h, p->kind);
    hash_u64(h, p->omitted ? 0 : p->table);
    hash_optional(h, p->omitted);
    hash_axis(h, a, &p->x);
    hash_axis(h, a, &p->y);
    hash_axis(h, a, &p->z);
    hash_optional(h, p->series);
    hash_optional(h, p->series_label);
    hash_optional(h, p->opacity);
    for (size_t k = 0; k < p->n_marks; k++) {
      hash_str(h, p->marks[k].text);
      for (int c = 0; c < 2; c++) {
        hash_optional(h, p->marks[k].at[c].column);
        hash_num(h, p->marks[k].at[c].number);
      }
    }
  }
}

static struct hash key_of(struct plan *p, const struct plan_step *s)
{
  struct hasher *h = hash_begin();
  hash_u64(h, KEY_FORMAT);
  hash_str(h, kind_names[s->kind]);
  hash_str(h, p->versions[s->kind]);
  hash_u64(h, s->n_attrs);
  for (uint32_t i = 0; i < s->n_attrs; i++) {
    hash_str(h, attr_names[s->attrs[i].id]);
    hash_optional(h, s->attrs[i].str);
    hash_num(h, s->attrs[i].num);
  }
  hash_u64(h, s->n_inputs);
  for (uint32_t i = 0; i < s->n_inputs; i++)
    hash_bytes(h, p->steps[s->inputs[i]].key.b, HASH_BYTES);
  if (s->table || s->figure) {
    struct arena *scratch = arena_new();
    if (s->table)
      hash_table(h, scratch, s->table);
    if (s->figure)
      hash_figure(h, scratch, s->figure);
    arena_free(scratch);
  }
  return hash_end(h);
}

/* The slot that holds the key, or the empty one where it belongs. */
static uint32_t *slot_of(const struct plan *p, struct hash key)
{
  size_t i = hash_short(key) & (p->n_slots - 1);
  while (p->slots[i] && !hash_equal(p->steps[p->slots[i] - 1].key, key))
    i = (i + 1) & (p->n_slots - 1);
  return &p->slots[i];
}

/* ---- steps that are added again ----
 * Experiments ask for the same steps many times, and a key costs a microsecond or
 * more.  A quick hash finds the step that is equal in every part; what is only equal
 * by its key (-0 and 0) is found by that. */

static uint64_t mix(uint64_t h, uint64_t v)
{
  h = (h ^ v) * 0x9e3779b97f4a7c15;
  return h ^ h >> 29;
}

static uint64_t quick_hash(const struct plan_step *s)
{
  uint64_t h = mix(s->n_inputs, s->kind), bits;
  for (uint32_t i = 0; i < s->n_attrs; i++) {
    memcpy(&bits, &s->attrs[i].num, sizeof bits);
    h = mix(mix(h, s->attrs[i].id), bits);
    for (const char *c = s->attrs[i].str; c && *c; c++)
      h = mix(h, (unsigned char)*c);
  }
  for (uint32_t i = 0; i < s->n_inputs; i++)
    h = mix(h, s->inputs[i]);
  return h;
}

static bool same_parts(const struct plan_step *a, const struct plan_step *b)
{
  if (a->kind != b->kind || a->n_attrs != b->n_attrs || a->n_inputs != b->n_inputs || a->table ||
      a->figure || (a->n_inputs && memcmp(a->inputs, b->inputs, a->n_inputs * sizeof *a->inputs)))
    return false;
  for (uint32_t i = 0; i < a->n_attrs; i++) {
    const struct plan_attr *x = &a->attrs[i], *y = &b->attrs[i];
    if (x->id != y->id || memcmp(&x->num, &y->num, sizeof x->num) || !x->str != !y->str ||
        (x->str && strcmp(x->str, y->str)))
      return false;
  }
  return true;
}

/* The place of the equal step, or the empty one where it belongs. */
static uint32_t *find_seen(const struct plan *p, const struct plan_step *s, uint64_t quick)
{
  size_t i = quick & (p->n_slots - 1);
  while (p->seen[i] &&
         (p->quick[p->seen[i] - 1] != quick || !same_parts(s, &p->steps[p->seen[i] - 1])))
    i = (i + 1) & (p->n_slots - 1);
  return &p->seen[i];
}

static void grow_slots(struct plan *p)
{
  p->n_slots *= 2;
  p->slots = arena_array(p->arena, p->n_slots, sizeof *p->slots);
  p->seen = arena_array(p->arena, p->n_slots, sizeof *p->seen);
  for (size_t i = 0; i < p->n; i++) {
    *slot_of(p, p->steps[i].key) = (uint32_t)i + 1;
    size_t at = p->quick[i] & (p->n_slots - 1);
    while (p->seen[at])
      at = (at + 1) & (p->n_slots - 1);
    p->seen[at] = (uint32_t)i + 1;
  }
}

static void check_step(const struct plan *p, const struct plan_step *s)
{
  for (uint32_t i = 1; i < s->n_attrs; i++)
    assert(s->attrs[i - 1].id < s->attrs[i].id);
  for (uint32_t i = 0; i < s->n_inputs; i++)
    assert(s->inputs[i] < p->n);
  assert((s->kind == PLAN_TABLE) == (s->table != NULL));
  assert((s->kind == PLAN_FIGURE) == (s->figure != NULL));
  (void)p;
}

uint32_t plan_add_step(struct plan *p, const struct plan_step *step)
{
  check_step(p, step);
  uint64_t quick = quick_hash(step);
  uint32_t *seen = find_seen(p, step, quick);
  if (*seen)
    return *seen - 1;
  struct hash key = key_of(p, step);
  uint32_t *slot = slot_of(p, key);
  if (*slot)
    return *slot - 1;
  struct plan_step s = *step;
  s.attrs = arena_copy(p->arena, step->attrs, step->n_attrs * sizeof *step->attrs);
  s.inputs = arena_copy(p->arena, step->inputs, step->n_inputs * sizeof *step->inputs);
  s.key = key;
  ARENA_PUSH(p->arena, p->steps, p->n, p->cap, s);
  ARENA_PUSH(p->arena, p->quick, p->n_quick, p->cap_quick, quick);
  *slot = *seen = (uint32_t)p->n;
  if (2 * p->n > p->n_slots)
    grow_slots(p);
  return (uint32_t)p->n - 1;
}

uint32_t plan_count(const struct plan *p)
{
  return (uint32_t)p->n;
}

const struct plan_step *plan_step(const struct plan *p, uint32_t index)
{
  assert(index < p->n);
  return &p->steps[index];
}

uint32_t plan_find(const struct plan *p, struct hash key)
{
  uint32_t found = *slot_of(p, key);
  return found ? found - 1 : UINT32_MAX;
}

const char *plan_kind_name(enum plan_kind kind)
{
  return kind_names[kind];
}

const char *plan_attr_name(enum plan_attr_id id)
{
  return attr_names[id];
}

const struct plan_attr *plan_attr(const struct plan_step *s, enum plan_attr_id id)
{
  for (uint32_t i = 0; i < s->n_attrs; i++)
    if (s->attrs[i].id == id)
      return &s->attrs[i];
  return NULL;
}

double plan_num(const struct plan_step *s, enum plan_attr_id id)
{
  const struct plan_attr *a = plan_attr(s, id);
  assert(a && !a->str);
  return a->num;
}

const char *plan_str(const struct plan_step *s, enum plan_attr_id id)
{
  const struct plan_attr *a = plan_attr(s, id);
  assert(a && a->str);
  return a->str;
}

const struct plan_step *plan_model_of(const struct plan *p, const struct plan_step *s)
{
  while (s->kind != PLAN_INIT) {
    assert(s->kind == PLAN_TRAIN || s->kind == PLAN_MERGE);
    s = plan_step(p, s->inputs[0]);
  }
  return s;
}

char *plan_step_text(struct arena *a, const struct plan_step *s)
{
  char *text = arena_strdup(a, kind_names[s->kind]), number[NUM_TEXT];
  for (uint32_t i = 0; i < s->n_attrs; i++) {
    const struct plan_attr *at = &s->attrs[i];
    text = arena_printf(a, "%s %s=%s", text, attr_names[at->id],
                        at->str ? at->str : num_text(at->num, number));
  }
  if (s->table)
    text = arena_printf(a, "%s %s, %zu rows", text, s->table->experiment, s->table->n_rows);
  if (s->figure)
    text = arena_printf(a, "%s %u, %zu panels", text, s->figure->number, s->figure->n_panels);
  return text;
}

char *plan_figure_id(struct arena *a, const struct plan_figure *f)
{
  return arena_printf(a, "fig%02u", f->number);
}

void plan_closure(const struct plan *p, const uint32_t *targets, size_t n, bool *wanted)
{
  memset(wanted, 0, p->n * sizeof *wanted);
  for (size_t i = 0; i < n; i++)
    wanted[targets[i]] = true;
  /* Inputs come before the steps that read them: one pass backwards. */
  for (size_t i = p->n; i-- > 0;)
    for (uint32_t k = 0; wanted[i] && k < p->steps[i].n_inputs; k++)
      wanted[p->steps[i].inputs[k]] = true;
}

void plan_asked(const struct plan *p, const bool *wanted, uint32_t *asked)
{
  struct arena *scratch = arena_new();
  bool *needs = arena_array(scratch, p->n + 1, sizeof *needs);
  memset(asked, 0, p->n * sizeof *asked);
  for (uint32_t t = 0; t < p->n; t++) {
    if (p->steps[t].kind != PLAN_TABLE || (wanted && !wanted[t]))
      continue;
    plan_closure(p, &t, 1, needs);
    for (uint32_t i = 0; i <= t; i++)
      asked[i] += needs[i];
  }
  arena_free(scratch);
}

struct plan_sharing plan_sharing(const struct plan *p, const bool *wanted)
{
  struct plan_sharing sharing = {0};
  uint32_t *asked = mem_alloc((p->n + 1) * sizeof *asked);
  plan_asked(p, wanted, asked);
  for (size_t i = 0; i < p->n; i++) {
    const struct plan_step *s = &p->steps[i];
    if (s->kind != PLAN_TRAIN || (wanted && !wanted[i]))
      continue;
    double steps = plan_num(s, PLAN_A_to) - plan_num(s, PLAN_A_from);
    sharing.steps += steps;
    sharing.steps_unshared += steps * (asked[i] ? asked[i] : 1);
  }
  free(asked);
  return sharing;
}
