#include "dsl/lower_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ATTRS = 24, MAX_MODELS = 4096 };

struct attrs {
  struct plan_attr list[MAX_ATTRS];
  uint32_t n;
};

/* What all steps of one sweep point share. */
struct point {
  struct lowering *l;
  const struct formula_point *at;
  const char *text;
  uint32_t data, init;
  double train_size, batch, steps_per_epoch, seed, crop_padding;
  const char *augment;
  bool has_batchnorm;
  struct attrs optimizer;
  const struct ast_expr *data_value;
};

static void put(struct attrs *a, enum plan_attr_id id, double num, const char *str)
{
  uint32_t i = a->n++;
  for (; i > 0 && a->list[i - 1].id > id; i--)
    a->list[i] = a->list[i - 1];
  a->list[i] = (struct plan_attr){id, str ? 0 : num, str};
}

static uint32_t add(struct point *p, enum plan_kind kind, const struct attrs *a,
                    const uint32_t *inputs, uint32_t n_inputs, const char *text, struct span span)
{
  struct plan_step s = {
      .kind = kind,
      .n_attrs = a->n,
      .attrs = a->list,
      .n_inputs = n_inputs,
      .inputs = inputs,
      .origin = {.experiment = p->at->experiment->name, .point = text, .span = span},
  };
  return plan_add_step(p->l->plan, &s);
}

const struct ast_expr *lower_value(const struct lowering *l, const struct formula_point *at,
                                   const char *setting)
{
  const struct dsl_var *v = dsl_var(at->experiment, setting);
  if (!v)
    return NULL;
  return dsl_replaced(l->dsl, v, v->values[at->choice[v - at->experiment->vars]]);
}

/* ---- settings ---- */

static bool number_setting(struct point *p, const char *name, double *out)
{
  const struct words_setting *w = words_setting(name);
  const struct ast_expr *x = lower_value(p->l, p->at, name);
  if (!x) {
    *out = strtod(w->def, NULL);
    return true;
  }
  return formula_number(p->at, x, out, p->l->diag) &&
         check_number(p->l->arena, name, w->type, &w->range, *out, x->span, p->l->diag);
}

static const struct ast_expr *argument(const struct ast_expr *call, const char *name)
{
  for (size_t i = 0; call->kind == AST_CALL && i < call->n_args; i++)
    if (call->args[i].name.text && !strcmp(call->args[i].name.text, name))
      return call->args[i].value;
  return NULL;
}

/* All parameters of a thing, said or by default. */
static bool put_params(struct point *p, struct attrs *a, enum words_type sort,
                       const struct ast_expr *x)
{
  const struct words_thing *thing = words_thing(sort, x->text);
  const struct words_param *w;
  for (size_t k = 0; (w = words_param_at(thing, k)); k++) {
    const struct ast_expr *said = argument(x, w->name);
    if (w->type == WORDS_CHOICE) {
      put(a, w->attr, 0, said ? said->text : w->def);
      continue;
    }
    double v = strtod(w->def, NULL);
    if (said && (!formula_number(p->at, said, &v, p->l->diag) ||
                 !check_number(p->l->arena, w->name, w->type, &w->range, v, said->span,
                               p->l->diag)))
      return false;
    put(a, w->attr, v, NULL);
  }
  return true;
}

/* A subset's size: the whole where nothing is said, never more than there is. */
static bool whole_size(struct point *p, struct attrs *a, enum plan_attr_id id, unsigned whole,
                       bool limited)
{
  const char *split = id == PLAN_A_train_size ? "train" : "test";
  for (uint32_t i = 0; i < a->n; i++) {
    if (a->list[i].id != id)
      continue;
    if (a->list[i].num == 0)
      a->list[i].num = whole;
    if (!limited || a->list[i].num <= whole)
      return true;
    diag_error(p->l->diag, argument(p->data_value, split)->span,
               "`%s` has %u %s samples, not %.0f", p->data_value->text, whole, split,
               a->list[i].num);
    return false;
  }
  return true;
}

/* Images are made smaller by averaging whole squares of pixels. */
static bool check_image_size(struct point *p, double size, unsigned height)
{
  if (fmod(height, size) == 0)
    return true;
  diag_error(p->l->diag, argument(p->data_value, "size")->span,
             "images of %ux%u pixels cannot be averaged to %gx%g", height, height, size, size);
  diag_hint(p->l->diag, "the size must divide %u", height);
  return false;
}

static bool add_data(struct point *p)
{
  const struct ast_expr *x = p->data_value = lower_value(p->l, p->at, "data");
  struct attrs a = {0};
  put(&a, PLAN_A_data, 0, x->text);
  if (!put_params(p, &a, WORDS_DATASET, x))
    return false;
  const struct words_shape *shape = words_shape(x->text);
  bool pairs = false;
  for (uint32_t i = 0; i < a.n; i++) {
    if (a.list[i].id == PLAN_A_compose)
      pairs = !strcmp(a.list[i].str, "pairs");
    if (a.list[i].id == PLAN_A_image_size && a.list[i].num == 0)
      a.list[i].num = shape->height;
    if (a.list[i].id == PLAN_A_image_size && !check_image_size(p, a.list[i].num, shape->height))
      return false;
  }
  if (!whole_size(p, &a, PLAN_A_train_size, shape->train, !pairs) ||
      !whole_size(p, &a, PLAN_A_test_size, shape->test, !pairs))
    return false;
  for (uint32_t i = 0; i < a.n; i++)
    if (a.list[i].id == PLAN_A_train_size)
      p->train_size = a.list[i].num;
  p->data = add(p, PLAN_DATA, &a, NULL, 0, p->text, x->span);
  return true;
}

static bool add_init(struct point *p)
{
  const struct ast_expr *x = lower_value(p->l, p->at, "model");
  struct attrs a = {0};
  put(&a, PLAN_A_model, 0, x->text);
  put(&a, PLAN_A_seed, p->seed, NULL);
  if (!put_params(p, &a, WORDS_MODEL, x))
    return false;
  p->has_batchnorm = words_has_batchnorm(x->text);
  p->init = add(p, PLAN_INIT, &a, &p->data, 1, p->text, x->span);
  return true;
}

static bool read_settings(struct point *p)
{
  double lr, momentum, weight_decay;
  if (!number_setting(p, "lr", &lr) || !number_setting(p, "momentum", &momentum) ||
      !number_setting(p, "weight_decay", &weight_decay) ||
      !number_setting(p, "batch", &p->batch) || !number_setting(p, "seed", &p->seed) ||
      !number_setting(p, "crop_padding", &p->crop_padding))
    return false;
  const struct ast_expr *augment = lower_value(p->l, p->at, "augment");
  const struct ast_expr *optimizer = lower_value(p->l, p->at, "optimizer");
  p->augment = augment ? augment->text : words_setting("augment")->def;
  if (!strcmp(p->augment, "none"))
    p->crop_padding = 0; /* one key, whatever the unused number says */
  put(&p->optimizer, PLAN_A_optimizer, 0,
      optimizer ? optimizer->text : words_setting("optimizer")->def);
  put(&p->optimizer, PLAN_A_lr, lr, NULL);
  put(&p->optimizer, PLAN_A_momentum, momentum, NULL);
  put(&p->optimizer, PLAN_A_weight_decay, weight_decay, NULL);
  return true;
}

/* ---- training ---- */

static bool length_in_steps(struct point *p, const struct ast_expr *x, double *steps)
{
  bool epochs;
  if (!check_length(x, steps, &epochs, p->l->diag))
    return false;
  if (epochs)
    *steps = round(*steps * p->steps_per_epoch);
  if (*steps >= 1)
    return true;
  diag_error(p->l->diag, x->span, "this is less than one step: an epoch has %g", p->steps_per_epoch);
  return false;
}

static void put_training(struct point *p, struct attrs *a, const struct ast_expr *schedule,
                         double from, double to, double stream)
{
  *a = p->optimizer;
  bool constant = !schedule || !strcmp(schedule->text, "constant");
  put(a, PLAN_A_batch, p->batch, NULL);
  put(a, PLAN_A_augment, 0, p->augment);
  put(a, PLAN_A_crop_padding, p->crop_padding, NULL);
  put(a, PLAN_A_schedule, 0, schedule ? schedule->text : "constant");
  /* A constant schedule has no length: a longer trunk shares a shorter one's steps. */
  put(a, PLAN_A_schedule_from, constant ? 0 : from, NULL);
  put(a, PLAN_A_schedule_length, constant ? 0 : to - from, NULL);
  put(a, PLAN_A_from, from, NULL);
  put(a, PLAN_A_to, to, NULL);
  put(a, PLAN_A_steps_per_epoch, p->steps_per_epoch, NULL);
  put(a, PLAN_A_seed, p->seed, NULL);
  put(a, PLAN_A_stream, stream, NULL);
}

/* Checkpoints of the trunk, in steps. */
struct trunk {
  double every, length;
  uint32_t *checkpoint; /* the step that ends at (k + 1) * every */
  size_t n, cap;
};

static bool trunk_lengths(struct point *p, struct trunk *t)
{
  const struct dsl_experiment *e = p->at->experiment;
  const struct ast_expr *every = e->trunk->every;
  if (!every && e->n_branches)
    every = e->branches[0]->every;
  if (!length_in_steps(p, e->trunk->length, &t->length))
    return false;
  t->every = t->length;
  return !every || length_in_steps(p, every, &t->every);
}

static void add_trunk(struct point *p, struct trunk *t, size_t checkpoints)
{
  const struct ast_stmt *stmt = p->at->experiment->trunk;
  uint32_t from = p->init;
  for (size_t k = 0; k < checkpoints; k++) {
    struct attrs a;
    put_training(p, &a, stmt->schedule, (double)k * t->every, (double)(k + 1) * t->every, 0);
    from = add(p, PLAN_TRAIN, &a, (uint32_t[]){from, p->data}, 2, p->text, stmt->span);
    ARENA_PUSH(p->l->arena, t->checkpoint, t->n, t->cap, from);
  }
}

/* ---- one checkpoint's branches, merges, measures ---- */

struct models {
  uint32_t trunk;
  uint32_t *ends;    /* of all branches, one behind the other */
  size_t *first_end; /* of each branch */
  uint32_t *merges;
};

static bool add_ends(struct point *p, const struct trunk *t, size_t k, const char *text,
                     struct models *m)
{
  const struct dsl_experiment *e = p->at->experiment;
  double from = (double)(k + 1) * t->every, length;
  size_t n = 0;
  for (size_t b = 0; b < e->n_branches; b++) {
    const struct ast_stmt *s = e->branches[b];
    if (!length_in_steps(p, s->length, &length))
      return false;
    m->first_end[b] = n;
    for (size_t i = 0; i < formula_branch_count(s); i++) {
      struct attrs a;
      /* Every continuation has a stream of its own, whatever branch it is of. */
      put_training(p, &a, s->schedule, from, from + length, (double)++n);
      m->ends[n - 1] =
          add(p, PLAN_TRAIN, &a, (uint32_t[]){m->trunk, p->data}, 2, text, s->span);
    }
  }
  return true;
}

static bool add_merge(struct point *p, const struct ast_stmt *s, const char *text,
                      const struct models *m, uint32_t *out)
{
  const struct dsl_experiment *e = p->at->experiment;
  struct attrs a = {0};
  uint32_t inputs[MAX_MODELS], n = 0;
  for (size_t i = 0; i < s->value->n_args; i++) {
    if (s->value->args[i].name.text)
      continue;
    size_t b = formula_find(e->branches, e->n_branches, s->value->args[i].value->text);
    for (size_t k = 0; k < formula_branch_count(e->branches[b]) && n < MAX_MODELS - 1; k++)
      inputs[n++] = m->ends[m->first_end[b] + k];
  }
  put(&a, PLAN_A_method, 0, s->value->text);
  if (!put_params(p, &a, WORDS_METHOD, s->value))
    return false;
  const char *batchnorm = "none";
  if (p->has_batchnorm)
    batchnorm = s->n_words >= 2 ? s->words[1].value->text : "recalibrated";
  put(&a, PLAN_A_batchnorm, 0, batchnorm);
  if (!strcmp(batchnorm, "recalibrated")) {
    put(&a, PLAN_A_batch, p->batch, NULL);
    put(&a, PLAN_A_augment, 0, p->augment);
    put(&a, PLAN_A_crop_padding, p->crop_padding, NULL);
    put(&a, PLAN_A_seed, p->seed, NULL);
  }
  inputs[n++] = p->data;
  *out = add(p, PLAN_MERGE, &a, inputs, n, text, s->span);
  return true;
}

static uint32_t model_of_slot(const struct formula_slot *s, const struct models *m)
{
  switch (s->target) {
  case FORMULA_TRUNK:
    return m->trunk;
  case FORMULA_MERGE:
    return m->merges[s->index];
  default:
    return m->ends[m->first_end[s->index] + s->member];
  }
}

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

/* ---- rows ---- */

static bool add_cells(struct point *p, struct lower_table *t, double step)
{
  for (size_t c = 0; c < t->n_columns; c++) {
    struct plan_cell cell = {0};
    const struct dsl_var *v = t->vars[c];
    if (v && !t->columns[c].measured) {
      /* Not what stands in for it: two data sets may have one stand-in. */
      const struct ast_expr *x = v->values[p->at->choice[v - p->at->experiment->vars]];
      const struct words_setting *w = words_setting(v->name);
      if (w && w->type > WORDS_COUNT)
        cell.str = lower_thing_text(p->l, p->at, x);
      else if (!formula_number(p->at, x, &cell.num, p->l->diag))
        return false;
    } else if (!t->columns[c].measured) {
      cell.num = !strcmp(t->columns[c].name, "epoch") ? step / p->steps_per_epoch : step;
    }
    ARENA_PUSH(p->l->arena, t->cells, t->n_cells, t->cap_cells, cell);
  }
  return true;
}

static bool add_row(struct point *p, struct lower_table *t, const struct trunk *trunk, size_t k)
{
  const struct dsl_experiment *e = p->at->experiment;
  double step = (double)(k + 1) * trunk->every;
  char *text = arena_printf(p->l->arena, "%s%sepoch=%g", p->text, *p->text ? " " : "",
                            step / p->steps_per_epoch);
  size_t ends = 0;
  for (size_t b = 0; b < e->n_branches; b++)
    ends += formula_branch_count(e->branches[b]);
  struct models m = {
      .trunk = trunk->checkpoint[k],
      .ends = arena_array(p->l->arena, ends + 1, sizeof *m.ends),
      .first_end = arena_array(p->l->arena, e->n_branches + 1, sizeof *m.first_end),
      .merges = arena_array(p->l->arena, e->n_merges + 1, sizeof *m.merges),
  };
  if (!add_ends(p, trunk, k, text, &m))
    return false;
  for (size_t i = 0; i < e->n_merges; i++)
    if (!add_merge(p, e->merges[i], text, &m, &m.merges[i]))
      return false;
  for (size_t s = 0; s < t->slots.n; s++) {
    const struct formula_slot *slot = &t->slots.slots[s];
    struct attrs a = {0};
    put(&a, PLAN_A_measurement, 0, "evaluate");
    put(&a, PLAN_A_split, 0, slot->split);
    uint32_t measure = add(p, PLAN_MEASURE, &a, (uint32_t[]){model_of_slot(slot, &m), p->data}, 2,
                           text, e->measures[0]->span);
    struct plan_slot read = {table_input(p->l->arena, t, measure), slot->measurement, 0};
    ARENA_PUSH(p->l->arena, t->reads, t->n_reads, t->cap_reads, read);
  }
  t->n_rows++;
  return add_cells(p, t, step);
}

/* The trunk's checkpoints from which a branch starts: indices into checkpoints. */
struct points {
  size_t *k;
  size_t n, cap;
};

static bool add_point(struct point *p, const struct trunk *t, const struct ast_expr *x,
                      double step, struct points *out)
{
  double k = step / t->every;
  if (k != floor(k)) {
    diag_error(p->l->diag, x->span,
               "a branch point must be a checkpoint of the trunk: this is step %g, and checkpoints "
               "are %g steps apart",
               step, t->every);
    diag_note(p->l->diag, p->at->experiment->trunk->span, "the trunk");
    return false;
  }
  if (step > t->length) {
    diag_error(p->l->diag, x->span, "the trunk ends before this branch point");
    diag_note(p->l->diag, p->at->experiment->trunk->span, "the trunk");
    return false;
  }
  ARENA_PUSH(p->l->arena, out->k, out->n, out->cap, (size_t)k - 1);
  return true;
}

static bool listed_point(struct point *p, const struct trunk *t, const struct ast_expr *x,
                         double *step)
{
  *step = floor(t->length / t->every) * t->every;
  return check_is_end(x) || length_in_steps(p, x, step);
}

static bool branch_points(struct point *p, const struct trunk *t, const struct ast_stmt *branch,
                          struct points *out)
{
  double step;
  for (size_t i = 0; i < branch->n_values; i++)
    if (!listed_point(p, t, branch->values[i], &step) ||
        !add_point(p, t, branch->values[i], step, out))
      return false;
  if (!branch->every)
    return true;
  if (!length_in_steps(p, branch->every, &step) || !add_point(p, t, branch->every, step, out))
    return false;
  for (double at = 2 * step; at <= t->length; at += step)
    if (!add_point(p, t, branch->every, at, out))
      return false;
  return true;
}

/* A row of the table is a branch point; without branches, a checkpoint. */
static bool row_points(struct point *p, const struct trunk *t, struct points *out)
{
  const struct dsl_experiment *e = p->at->experiment;
  for (size_t b = 0; b < e->n_branches; b++) {
    struct points own = {0};
    if (!branch_points(p, t, e->branches[b], &own))
      return false;
    if (!b) {
      *out = own;
    } else if (own.n != out->n || memcmp(own.k, out->k, own.n * sizeof *own.k)) {
      diag_error(p->l->diag, e->branches[b]->span,
                 "branches of one experiment start at the same checkpoints");
      diag_note(p->l->diag, e->branches[0]->span, "the first branch");
      return false;
    }
  }
  for (size_t k = 0; !e->n_branches && (double)(k + 1) * t->every <= t->length; k++)
    ARENA_PUSH(p->l->arena, out->k, out->n, out->cap, k);
  return true;
}

static bool add_rows(struct point *p, struct lower_table *t)
{
  struct trunk trunk = {0};
  struct points points = {0};
  if (!trunk_lengths(p, &trunk) || !row_points(p, &trunk, &points))
    return false;
  size_t last = 0;
  for (size_t i = 0; i < points.n; i++)
    last = points.k[i] > last ? points.k[i] : last;
  add_trunk(p, &trunk, points.n ? last + 1 : 0);
  for (size_t i = 0; i < points.n; i++)
    if (!add_row(p, t, &trunk, points.k[i]))
      return false;
  return true;
}

bool lower_point(struct lowering *l, struct lower_table *t, const struct formula_point *at,
                 const char *text)
{
  struct point p = {.l = l, .at = at, .text = text};
  if (!read_settings(&p) || !add_data(&p))
    return false;
  p.steps_per_epoch = floor(p.train_size / p.batch);
  if (p.steps_per_epoch < 1) {
    const struct ast_expr *batch = lower_value(l, at, "batch");
    diag_error(l->diag, batch->span, "a batch of %g is larger than the %g training samples",
               p.batch, p.train_size);
    return false;
  }
  return add_init(&p) && add_rows(&p, t);
}
