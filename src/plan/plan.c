#include "plan/plan.h"

#include "base/num.h"

#include <assert.h>
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

static void grow_slots(struct plan *p)
{
  p->n_slots *= 2;
  p->slots = arena_array(p->arena, p->n_slots, sizeof *p->slots);
  for (size_t i = 0; i < p->n; i++)
    *slot_of(p, p->steps[i].key) = (uint32_t)i + 1;
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
  struct hash key = key_of(p, step);
  uint32_t *slot = slot_of(p, key);
  if (*slot) {
    struct plan_step *known = &p->steps[*slot - 1];
    known->asked += strcmp(known->asker, step->origin.experiment) != 0;
    known->asker = step->origin.experiment;
    return *slot - 1;
  }
  struct plan_step s = *step;
  s.attrs = arena_copy(p->arena, step->attrs, step->n_attrs * sizeof *step->attrs);
  s.inputs = arena_copy(p->arena, step->inputs, step->n_inputs * sizeof *step->inputs);
  s.key = key;
  s.asked = 1;
  s.asker = step->origin.experiment;
  ARENA_PUSH(p->arena, p->steps, p->n, p->cap, s);
  *slot = (uint32_t)p->n;
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

struct plan_sharing plan_sharing(const struct plan *p, const bool *wanted)
{
  struct plan_sharing sharing = {0};
  for (size_t i = 0; i < p->n; i++) {
    const struct plan_step *s = &p->steps[i];
    if (s->kind != PLAN_TRAIN || (wanted && !wanted[i]))
      continue;
    double steps = plan_num(s, PLAN_A_to) - plan_num(s, PLAN_A_from);
    sharing.steps += steps;
    sharing.steps_unshared += steps * s->asked;
  }
  return sharing;
}
