/* The rows of one sweep point. */
#include "dsl/lower_int.h"

#include <string.h>

static uint32_t table_input(struct arena *a, struct lower_table *t, uint32_t step)
{
  if (step >= t->n_input_of) {
    size_t n = 2 * (size_t)step + 64;
    uint32_t *bigger = arena_array(a, n, sizeof *bigger);
    if (t->n_input_of)
      memcpy(bigger, t->input_of, t->n_input_of * sizeof *bigger);
    t->input_of = bigger;
    t->n_input_of = n;
  }
  if (!t->input_of[step]) {
    ARENA_PUSH(a, t->inputs, t->n_inputs, t->cap_inputs, step);
    t->input_of[step] = (uint32_t)t->n_inputs;
  }
  return t->input_of[step] - 1;
}

static bool add_cells(struct lower_run *r, struct lower_table *t, double step)
{
  struct lowering *l = r->l;
  for (size_t c = 0; c < t->n_columns; c++) {
    struct plan_cell cell = {0};
    const struct dsl_var *v = t->vars[c];
    if (v && !t->columns[c].measured) {
      /* Not what stands in for it: two data sets may have one stand-in. */
      const struct ast_expr *x = v->values[r->at.choice[v - r->at.experiment->vars]];
      const struct words_setting *w = words_setting(v->name);
      struct formula_value value = {0};
      if (w && w->type > WORDS_LENGTH)
        value.str = lower_thing_text(l, &r->at, x);
      else if (!formula_value(&r->at, v, &value, l->diag))
        return false;
      cell = (struct plan_cell){value.num, value.str};
    } else if (!t->columns[c].measured) {
      cell.num = !strcmp(t->columns[c].name, "epoch") ? step / r->steps_per_epoch : step;
    }
    ARENA_PUSH(l->arena, t->cells, t->n_cells, t->cap_cells, cell);
  }
  return true;
}

/* ---- measures ---- */

static bool is_of_one_task(const struct lower_model *m, uint32_t data)
{
  if (!m->n_parents)
    return m->run->data == data;
  for (size_t i = 0; i < m->n_parents; i++)
    if (!is_of_one_task(&m->parents[i], data))
      return false;
  return true;
}

/* A row's text and place, of steps that it asks for. */
struct asked {
  const char *text;
  struct span span;
};

/* A model whose classifier is that of these data and reads the units of m, which is merged: one
 * that m is made of, or where fusing has made it narrower a step that takes its classifier along.
 * UINT32_MAX: none is; *moved: the method that has moved the units of the one that there is. */
static uint32_t head_of(const struct lower_run *r, const struct lower_model *m, uint32_t data,
                        const struct asked *asked, const char **moved)
{
  if (!m->n_parents)
    return m->run->data == data ? m->step : UINT32_MAX;
  for (size_t i = 0; i < m->n_parents; i++) {
    const uint32_t head = head_of(r, &m->parents[i], data, asked, moved);
    if (head == UINT32_MAX)
      continue;
    const char *method = plan_str(plan_step(r->l->plan, m->step), PLAN_A_method);
    const bool moves = !words_merge(method)->averages || (lower_fuses(method) && i > 0);
    const bool narrows = !strcmp(method, "intra_fusion");
    if (!moves && !narrows)
      return head;
    if (is_of_one_task(m, data))
      return m->step;
    if (narrows)
      return lower_narrow_head(r, m->step, head, asked->text, asked->span);
    *moved = method;
    return UINT32_MAX;
  }
  return UINT32_MAX;
}

static bool no_head(struct lower_run *r, const struct compile_slot *slot, const char *moved,
                    unsigned classes)
{
  struct diag *d = r->l->diag;
  if (moved) {
    diag_error(d, slot->split_of ? slot->split_of->span : slot->call->span,
               "the units of the classifier's own model have been moved by `%s`: it does not fit "
               "this model",
               moved);
    diag_hint(
        d, "a model of these data alone that `weight_matching` has moved keeps its own classifier");
  } else if (slot->split_of) {
    diag_error(d, slot->split_of->span,
               "no part of this model was trained on the data of `%s`: there is "
               "no classifier for its %u classes",
               slot->split_of->text, classes);
  } else {
    diag_error(d, slot->call->span,
               "no part of the first model was trained on the second one's data: there is no "
               "classifier for its %u classes",
               classes);
  }
  return false;
}

/* The data that are measured on, and whose classifier is used; UINT32_MAX: the model's own.
 * `task`: the model whose data are meant. */
static bool find_data(struct lower_run *r, const struct compile_slot *slot,
                      const struct lower_model *m, const struct lower_model *task,
                      const struct asked *asked, uint32_t *data, uint32_t *head)
{
  struct diag *d = r->l->diag;
  unsigned classes = task->run->classes;
  const char *moved = NULL;
  *data = task->run->data;
  *head = UINT32_MAX;
  if (slot->split_of &&
      !lower_data_of(r->l, dsl_experiment(r->l->dsl, slot->split_of->text), data, &classes))
    return false;
  if (is_of_one_task(m, *data))
    return true;
  if (!slot->split_of && !(slot->role == COMPILE_ON_TASK && is_of_one_task(task, *data))) {
    diag_error(d, slot->call->span,
               "this model is merged from models of different data: on which is "
               "it measured?");
    diag_hint(d, "such as `%s of EXPERIMENT`", slot->split);
    return false;
  }
  if (m->n_parents)
    *head = head_of(r, m, *data, asked, &moved);
  if (*head != UINT32_MAX || (!moved && classes == m->run->classes))
    return true;
  return no_head(r, slot, moved, classes);
}

static bool evaluates(const struct compile_slot *s)
{
  return s->measurement && (!strcmp(s->measurement, "accuracy") || !strcmp(s->measurement, "loss"));
}

/* Accuracy and loss of one model are one evaluation: the input that an earlier slot of
 * the row reads, or UINT32_MAX. */
static uint32_t evaluated(const struct lower_table *t, size_t at)
{
  const struct compile_slot *s = &t->slots.slots[at];
  for (size_t i = 0; evaluates(s) && i < at; i++)
    if (evaluates(&t->slots.slots[i]) && compile_same_place(&t->slots.slots[i], s))
      return t->reads[t->n_reads - at + i].input;
  return UINT32_MAX;
}

static void leave_out(struct lower_run *r, struct span at, const char *why)
{
  struct dsl_experiment *e = dsl_experiment(r->l->dsl, r->at.experiment->name);
  if (e->unavailable)
    return;
  e->unavailable = why;
  e->unavailable_at = at;
  diag_warning(r->l->diag, at, "%s; left out: `%s`", why, e->name);
}

/* Has the data a shifted test split, its own or made? */
static bool has_split(struct lower_run *r, const struct compile_slot *slot, uint32_t data)
{
  const struct plan_step *s = plan_step(r->l->plan, data);
  const char *name = plan_str(s, PLAN_A_data);
  if (strcmp(slot->split, "ood") || plan_attr(s, PLAN_A_shift))
    return true;
  if (words_has_ood(name)) {
    leave_out(r, slot->call->span,
              arena_printf(r->l->arena, "split ood of %s is not available yet", name));
    return true;
  }
  diag_error(r->l->diag, slot->call->span, "`%s` has no shifted test samples", name);
  diag_note(r->l->diag, s->origin.span, "the data");
  if (plan_attr(s, PLAN_A_compose))
    diag_hint(r->l->diag, "an argument makes some of its test samples, such as `%s(shift = noise)`",
              name);
  return false;
}

/* Of two models; CKA takes those of any architectures. */
static bool compares_weights(const struct compile_slot *s)
{
  return s->role == COMPILE_ON_LINE ||
         (s->role == COMPILE_EACH && s->n_models == 2 && strcmp(s->measurement, "cka") != 0);
}

static bool add_measure(struct lower_run *r, struct lower_table *t, size_t at,
                        const struct lower_models *m, const char *text, struct span span)
{
  const struct compile_slot *slot = &t->slots.slots[at];
  struct plan_slot read = {evaluated(t, at), slot->measurement, 0};
  if (read.input != UINT32_MAX) {
    ARENA_PUSH(r->l->arena, t->reads, t->n_reads, t->cap_reads, read);
    return true;
  }
  read = (struct plan_slot){.input = PLAN_SLOT_NUMBER};
  if (slot->number) {
    const struct ast_expr name = {.kind = AST_NAME, .text = slot->number, .span = span};
    if (!formula_number(&r->at, &name, &read.num, r->l->diag))
      return false;
    ARENA_PUSH(r->l->arena, t->reads, t->n_reads, t->cap_reads, read);
    return true;
  }
  struct lower_attrs a = {0};
  uint32_t inputs[4], n = 0, data, head;
  struct lower_model models[2];
  const struct lower_model *first = models;
  for (unsigned i = 0; i < slot->n_models; i++) {
    struct lower_group one;
    models[i] = *lower_group(m, &slot->models[i], &one)->v;
  }
  const char *name = slot->role == COMPILE_ON_LINE ? "barrier" : slot->measurement;
  if (compares_weights(slot) &&
      !lower_same_network(r, name, slot->call->span, models[0].step, models[1].step))
    return false;
  if (slot->role == COMPILE_ON_LINE)
    lower_between(r, models, slot->alpha, slot->batchnorm, text, span, models);
  for (unsigned i = 0; i < (slot->role == COMPILE_EACH ? slot->n_models : 1); i++)
    inputs[n++] = models[i].step;
  if (slot->has_base) {
    struct lower_group one;
    const uint32_t base = lower_group(m, &slot->base, &one)->v->step;
    if (!lower_same_network(r, name, slot->call->span, models[0].step, base))
      return false;
    inputs[n++] = base;
  }
  lower_put(&a, PLAN_A_measurement, 0, evaluates(slot) ? "evaluate" : slot->measurement);
  if (slot->split) {
    lower_put(&a, PLAN_A_split, 0, slot->split);
    const struct asked asked = {text, span};
    if (!find_data(r, slot, first, slot->role == COMPILE_ON_TASK ? &models[1] : first, &asked,
                   &data, &head))
      return false;
    if (head != UINT32_MAX)
      inputs[n++] = head;
    if (!has_split(r, slot, data))
      return false;
  } else {
    data = first->run->data;
  }
  if (!lower_params(r, &a, WORDS_MEASUREMENT, slot->call))
    return false;
  inputs[n++] = data;
  uint32_t measure = lower_add(r, PLAN_MEASURE, &a, inputs, n, text, span);
  read = (struct plan_slot){table_input(r->l->arena, t, measure), slot->measurement, 0};
  ARENA_PUSH(r->l->arena, t->reads, t->n_reads, t->cap_reads, read);
  return true;
}

/* ---- rows ---- */

static bool add_row(struct lower_run *r, struct lower_table *t, size_t k)
{
  const struct dsl_experiment *e = r->at.experiment;
  double step = k == SIZE_MAX ? 0 : (double)(k + 1) * r->every;
  const char *text = r->text;
  if (k != SIZE_MAX)
    text = arena_printf(r->l->arena, "%s%sepoch=%g", r->text, *r->text ? " " : "",
                        step / r->steps_per_epoch);
  struct lower_models m;
  if (!lower_models(r, k, text, &m))
    return false;
  for (size_t s = 0; s < t->slots.n; s++)
    if (!add_measure(r, t, s, &m, text, e->measures[0]->span))
      return false;
  t->n_rows++;
  return add_cells(r, t, step);
}

bool lower_point(struct lowering *l, struct lower_table *t, const struct formula_point *at,
                 const char *text)
{
  struct lower_run *r = arena_alloc(l->arena, sizeof *r);
  struct lower_points points = {0};
  if (!lower_run(l, at, text, r))
    return false;
  if (!at->experiment->trunk)
    return add_row(r, t, SIZE_MAX);
  if (!lower_row_points(r, &points))
    return false;
  size_t last = 0;
  for (size_t i = 0; i < points.n; i++)
    last = points.k[i] > last ? points.k[i] : last;
  if (points.n)
    lower_checkpoint(r, last); /* the trunk's steps stand together in the plan */
  for (size_t i = 0; i < points.n; i++)
    if (!add_row(r, t, points.k[i]))
      return false;
  return true;
}
