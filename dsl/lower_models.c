/* Branches, models of other experiments, and merges, at a checkpoint. */
#include "dsl/lower_int.h"

#include <math.h>
#include <string.h>

/* ---- branches ---- */

/* The branch's schedule, and the steps from which and to which it runs. */
struct course {
  const struct ast_expr *schedule;
  double from, to, schedule_from, schedule_to;
};

static bool course_of(struct lower_run *r, const struct ast_stmt *s, double from, struct course *c)
{
  const struct ast_stmt *trunk = r->at.experiment->trunk;
  double length = r->length - from;
  const struct ast_expr *word = formula_follow(&r->at, s->schedule);
  if (check_is_rest(s->length) && length < 1) {
    diag_error(r->l->diag, s->length->span, "nothing of the trunk is left at step %g", from);
    diag_note(r->l->diag, trunk->span, "the trunk");
    return false;
  }
  if (!check_is_rest(s->length) && !lower_length(r, s->length, &length))
    return false;
  *c = (struct course){s->schedule, from, from + length, from, from + length};
  if (strcmp(word->text, "continued"))
    return true;
  c->schedule = trunk->schedule;
  const struct ast_expr *goes_on = formula_follow(&r->at, trunk->schedule);
  if (!strcmp(goes_on->text, "constant"))
    return true;
  if (c->to > r->length) {
    diag_error(r->l->diag, s->length->span, "the trunk's schedule ends before this branch does");
    diag_note(r->l->diag, trunk->span, "the trunk");
    diag_hint(r->l->diag, "`for rest` goes to where the trunk ends");
    return false;
  }
  c->schedule_from = 0;
  c->schedule_to = r->length;
  return true;
}

/* One continuation, cut where snapshots are taken; its steps, the end last. */
static bool add_end(struct lower_run *r, const struct ast_stmt *s, const struct course *c,
                    double every, double stream, uint32_t trunk, const char *text, uint32_t *ends)
{
  uint32_t at = trunk;
  size_t n = 0;
  for (double from = c->from; from < c->to; from += every) {
    double to = fmin(from + every, c->to);
    struct lower_attrs a;
    if (!lower_training(r, &a, c->schedule, c->schedule_from, c->schedule_to, from, to, stream))
      return false;
    at = lower_add(r, PLAN_TRAIN, &a, (uint32_t[]){at, r->data}, 2, text, s->span);
    ends[n++] = at;
  }
  return true;
}

static bool add_branches(struct lower_run *r, double from, const char *text, struct lower_models *m)
{
  const struct dsl_experiment *e = r->at.experiment;
  double stream = 0;
  for (size_t b = 0; b < e->n_branches; b++) {
    const struct ast_stmt *s = e->branches[b];
    struct course c;
    if (!course_of(r, s, from, &c))
      return false;
    double every = c.to - c.from;
    if (s->snapshots && !lower_length(r, s->snapshots, &every))
      return false;
    size_t members = model_branch_count(s), cuts = (size_t)ceil((c.to - c.from) / every);
    m->n_snapshots[b] = cuts;
    m->snapshots[b] = arena_array(r->l->arena, members, sizeof *m->snapshots[b]);
    m->branches[b] =
        (struct lower_group){arena_array(r->l->arena, members, sizeof *m->branches[b].v), members};
    for (size_t i = 0; i < members; i++) {
      uint32_t *ends = arena_array(r->l->arena, cuts, sizeof *ends);
      /* Every continuation has a stream of its own, whatever branch it is of. */
      if (!add_end(r, s, &c, every, ++stream, m->trunk.step, text, ends))
        return false;
      m->snapshots[b][i] = ends;
      m->branches[b].v[i] = (struct lower_model){.step = ends[cuts - 1], .run = r};
    }
  }
  return true;
}

/* ---- merges ---- */

const struct lower_group *lower_group(const struct lower_models *m, const struct model_name *name,
                                      struct lower_group *one)
{
  const struct lower_group *all = NULL;
  switch (name->kind) {
  case MODEL_TRUNK:
    *one = (struct lower_group){(struct lower_model *)&m->trunk, 1};
    return one;
  case MODEL_START:
    *one = (struct lower_group){(struct lower_model *)&m->start, 1};
    return one;
  case MODEL_BRANCH:
    all = &m->branches[name->index];
    break;
  case MODEL_USE:
    all = &m->uses[name->index];
    break;
  case MODEL_MERGE:
    all = &m->merges[name->index];
    break;
  }
  if (name->member == SIZE_MAX)
    return all;
  *one = (struct lower_group){&all->v[name->member], 1};
  return one;
}

static bool make_merge(struct lower_run *, size_t, const char *, struct lower_models *);

/* The models that an argument names; merges are made when they are asked for. */
static const struct lower_group *models_of(struct lower_run *r, const struct ast_expr *x,
                                           const char *text, struct lower_models *m,
                                           struct lower_group *one)
{
  struct model_name name;
  if (!model_find(r->at.experiment, x, &name, r->l->diag) ||
      (name.kind == MODEL_MERGE && !make_merge(r, name.index, text, m)))
    return NULL;
  return lower_group(m, &name, one);
}

struct inputs {
  struct lower_model *v;
  size_t n, cap;
};

static bool collect(struct lower_run *r, const struct ast_stmt *s, bool extra, const char *text,
                    struct lower_models *m, struct inputs *in)
{
  const struct words_thing *method = words_thing(WORDS_METHOD, s->value->text);
  for (size_t i = 0; i < s->value->n_args; i++) {
    const struct ast_arg *arg = &s->value->args[i];
    const struct words_param *p = arg->name.text ? words_param(method, arg->name.text) : NULL;
    struct lower_group one;
    if (arg->name.text ? !extra || p->type != WORDS_WEIGHTS : extra)
      continue;
    const struct lower_group *g = models_of(r, arg->value, text, m, &one);
    if (!g)
      return false;
    for (size_t k = 0; k < g->n; k++)
      ARENA_PUSH(r->l->arena, in->v, in->n, in->cap, g->v[k]);
  }
  return true;
}

/* Batch norm's statistics are mended as the first model was trained.  `how`: NULL where nothing is
 * said; `samples`: 0 for all. */
static void put_batchnorm_and_seed(struct lower_attrs *a, const struct words_merge *method,
                                   const char *how, double samples, const struct lower_run *of)
{
  const char *batchnorm = "none";
  if (of->has_batchnorm && method->averages)
    batchnorm = how ? how : "recalibrated";
  lower_put(a, PLAN_A_batchnorm, 0, batchnorm);
  bool recalibrated = !strcmp(batchnorm, "recalibrated");
  if (recalibrated) {
    lower_put(a, PLAN_A_batch, of->batch, NULL);
    lower_put(a, PLAN_A_augment, 0, of->augment);
    lower_put(a, PLAN_A_crop_padding, of->crop_padding, NULL);
    if (samples > 0)
      lower_put(a, PLAN_A_recalibration, samples, NULL);
  }
  if (recalibrated || method->draws)
    lower_put(a, PLAN_A_seed, of->seed, NULL);
}

/* A text has more labels than can be gone through. */
static bool check_expectation(const struct lower_attrs *a, const struct ast_stmt *s,
                              const struct inputs *in, struct diag *d)
{
  bool exact = false;
  for (uint32_t i = 0; i < a->n; i++)
    exact |= a->list[i].id == PLAN_A_expectation && !strcmp(a->list[i].str, "exact");
  for (size_t i = 0; exact && i < in->n; i++) {
    if (in->v[i].run->channels)
      continue;
    diag_error(d, s->value->span, "`%s` cannot go through all labels of a text", s->value->text);
    diag_hint(d, "`expectation = sampled` draws labels as the model predicts them");
    return false;
  }
  return true;
}

static double number_or(const struct lower_attrs *a, enum plan_attr_id id, double otherwise)
{
  for (uint32_t i = 0; i < a->n; i++)
    if (a->list[i].id == id)
      return a->list[i].num;
  return otherwise;
}

static const char *attr_text(struct arena *a, const struct plan_step *s, enum plan_attr_id id)
{
  const struct plan_attr *attr = plan_attr(s, id);
  if (!attr && id == PLAN_A_hidden)
    return "4 times the width";
  return !attr ? "not said" : attr->str ? attr->str : arena_printf(a, "%g", attr->num);
}

bool lower_same_network(const struct lower_run *r, const char *name, struct span span,
                        uint32_t first, uint32_t second)
{
  static const enum plan_attr_id shape[] = {
      PLAN_A_model,  PLAN_A_stages, PLAN_A_blocks,     PLAN_A_layers, PLAN_A_heads, PLAN_A_patch,
      PLAN_A_hidden, PLAN_A_stem,   PLAN_A_activation, PLAN_A_width,  PLAN_A_growth};
  const size_t n = sizeof shape / sizeof *shape - (lower_fuses(name) ? 2 : 0);
  const struct plan *plan = r->l->plan;
  const struct plan_step *one = plan_model_of(plan, plan_step(plan, first));
  const struct plan_step *other = plan_model_of(plan, plan_step(plan, second));
  for (size_t k = 0; k < n; k++) {
    const char *here = attr_text(r->l->arena, one, shape[k]);
    const char *there = attr_text(r->l->arena, other, shape[k]);
    if (!strcmp(here, there))
      continue;
    diag_error(r->l->diag, span,
               "`%s` takes models of one architecture: the first one's %s is %s, another's %s",
               name, plan_attr_name(shape[k]), here, there);
    return false;
  }
  return true;
}

static bool check_architectures(struct lower_run *r, const struct ast_stmt *s,
                                const struct inputs *in)
{
  for (size_t i = 1; i < in->n; i++) {
    if (!lower_same_network(r, s->value->text, s->value->span, in->v[0].step, in->v[i].step))
      return false;
    if (!lower_fuses(s->value->text) || in->v[i].run->classes == in->v[0].run->classes)
      continue;
    diag_error(r->l->diag, s->value->span,
               "`%s` carries classifiers too: the first model tells %u classes apart, another %u",
               s->value->text, in->v[0].run->classes, in->v[i].run->classes);
    return false;
  }
  return true;
}

static bool add_merge(struct lower_run *r, const struct ast_stmt *s, struct inputs *in,
                      size_t n_models, const char *text, struct lower_model *out)
{
  const struct lower_run *of = in->v[0].run;
  uint32_t *inputs = arena_array(r->l->arena, 2 * in->n + 2, sizeof *inputs), n = 0;
  struct lower_attrs a = {0};
  lower_put(&a, PLAN_A_method, 0, s->value->text);
  if (!model_maps(s->value) && !lower_params(r, &a, WORDS_METHOD, s->value))
    return false;
  if (!check_expectation(&a, s, in, r->l->diag) || !lower_check_fusable(r, s, in->v, in->n) ||
      !check_architectures(r, s, in))
    return false;
  if (!strcmp(s->value->text, "intra_fusion") &&
      !lower_add_narrower(r, s, number_or(&a, PLAN_A_keep, 1), in->v[0].step, text, &inputs[n++]))
    return false;
  for (size_t i = 0; i < in->n; i++)
    inputs[n++] = in->v[i].step;
  for (size_t i = 1; words_merge(s->value->text)->looks && i < n_models; i++)
    inputs[n++] = in->v[i].run->data;
  inputs[n++] = of->data;
  put_batchnorm_and_seed(&a, words_merge(s->value->text),
                         s->n_words >= 2 ? s->words[1].value->text : NULL,
                         s->n_words == 4 ? s->words[3].value->number : 0, of);
  *out = (struct lower_model){.step = lower_add(r, PLAN_MERGE, &a, inputs, n, text, s->span),
                              .run = of,
                              .parents = arena_copy(r->l->arena, in->v, n_models * sizeof *in->v),
                              .n_parents = n_models};
  return true;
}

void lower_between(struct lower_run *r, const struct lower_model ends[2], double alpha,
                   const char *batchnorm, const char *text, struct span span,
                   struct lower_model *out)
{
  const uint32_t inputs[] = {ends[0].step, ends[1].step, ends[0].run->data};
  struct lower_attrs a = {0};
  lower_put(&a, PLAN_A_method, 0, "linear");
  lower_put(&a, PLAN_A_alpha, alpha, NULL);
  put_batchnorm_and_seed(&a, words_merge("linear"), batchnorm, 0, ends[0].run);
  *out = (struct lower_model){.step = lower_add(r, PLAN_MERGE, &a, inputs, 3, text, span),
                              .run = ends[0].run,
                              .parents = arena_copy(r->l->arena, ends, 2 * sizeof *ends),
                              .n_parents = 2};
}

/* swa: for each member the mean of its last snapshots. */
static bool add_averages(struct lower_run *r, const struct ast_stmt *s, const char *text,
                         struct lower_models *m, struct lower_group *out)
{
  struct model_name name;
  struct lower_attrs a = {0};
  if (!model_find(r->at.experiment, model_first(s->value), &name, r->l->diag) ||
      !lower_params(r, &a, WORDS_METHOD, s->value))
    return false;
  size_t last = (size_t)a.list[0].num, have = m->n_snapshots[name.index];
  if (last > have) {
    diag_error(r->l->diag, s->value->span, "%zu snapshots are averaged, and the branch has %zu",
               last, have);
    diag_note(r->l->diag, r->at.experiment->branches[name.index]->span, "the branch");
    return false;
  }
  const struct lower_group *ends = &m->branches[name.index];
  *out = (struct lower_group){arena_array(r->l->arena, ends->n, sizeof *out->v), ends->n};
  for (size_t i = 0; i < ends->n; i++) {
    struct inputs in = {0};
    for (size_t k = have - last; k < have; k++) {
      struct lower_model snapshot = {.step = m->snapshots[name.index][i][k], .run = r};
      ARENA_PUSH(r->l->arena, in.v, in.n, in.cap, snapshot);
    }
    if (!add_merge(r, s, &in, in.n, text, &out->v[i]))
      return false;
  }
  return true;
}

static bool make_merge(struct lower_run *r, size_t i, const char *text, struct lower_models *m)
{
  const struct ast_stmt *s = r->at.experiment->merges[i];
  struct lower_group *out = &m->merges[i];
  if (out->v)
    return true;
  if (model_maps(s->value))
    return add_averages(r, s, text, m, out);
  struct inputs in = {0};
  if (!collect(r, s, false, text, m, &in))
    return false;
  size_t n_models = in.n;
  if (!collect(r, s, true, text, m, &in))
    return false;
  *out = (struct lower_group){arena_alloc(r->l->arena, sizeof *out->v), 1};
  return add_merge(r, s, &in, n_models, text, out->v);
}

/* ---- all of a row ---- */

bool lower_models(struct lower_run *r, size_t checkpoint, const char *text, struct lower_models *m)
{
  const struct dsl_experiment *e = r->at.experiment;
  struct arena *a = r->l->arena;
  *m = (struct lower_models){
      .branches = arena_array(a, e->n_branches + 1, sizeof *m->branches),
      .uses = arena_array(a, e->n_uses + 1, sizeof *m->uses),
      .merges = arena_array(a, e->n_merges + 1, sizeof *m->merges),
      .snapshots = arena_array(a, e->n_branches + 1, sizeof *m->snapshots),
      .n_snapshots = arena_array(a, e->n_branches + 1, sizeof *m->n_snapshots),
  };
  if (checkpoint != SIZE_MAX) {
    m->trunk = (struct lower_model){.step = lower_checkpoint(r, checkpoint), .run = r};
    m->start = (struct lower_model){.step = r->start, .run = r};
    if (!add_branches(r, (double)(checkpoint + 1) * r->every, text, m))
      return false;
  }
  for (size_t i = 0; i < e->n_uses; i++)
    if (!lower_reference(r->l, &r->at, e->uses[i]->value, &m->uses[i]))
      return false;
  for (size_t i = 0; i < e->n_merges; i++)
    if (!make_merge(r, i, text, m))
      return false;
  return true;
}

/* ---- branch points ---- */

static bool add_point(struct lower_run *r, const struct ast_expr *x, double step,
                      struct lower_points *out)
{
  double k = step / r->every;
  if (k != floor(k)) {
    diag_error(r->l->diag, x->span,
               "the trunk has no checkpoint here: this is step %g, and checkpoints are %g steps "
               "apart",
               step, r->every);
    diag_note(r->l->diag, r->at.experiment->trunk->span, "the trunk");
    return false;
  }
  if (step > r->length) {
    diag_error(r->l->diag, x->span, "the trunk ends before this point");
    diag_note(r->l->diag, r->at.experiment->trunk->span, "the trunk");
    return false;
  }
  ARENA_PUSH(r->l->arena, out->k, out->n, out->cap, (size_t)k - 1);
  return true;
}

static bool branch_points(struct lower_run *r, const struct ast_stmt *branch,
                          struct lower_points *out)
{
  double step, end = floor(r->length / r->every) * r->every;
  for (size_t i = 0; i < branch->n_values; i++) {
    step = end;
    if ((!check_is_end(branch->values[i]) && !lower_length(r, branch->values[i], &step)) ||
        !add_point(r, branch->values[i], step, out))
      return false;
  }
  if (!branch->every)
    return true;
  if (!lower_length(r, branch->every, &step) || !add_point(r, branch->every, step, out))
    return false;
  for (double at = 2 * step; at <= r->length; at += step)
    if (!add_point(r, branch->every, at, out))
      return false;
  return true;
}

bool lower_row_points(struct lower_run *r, struct lower_points *out)
{
  const struct dsl_experiment *e = r->at.experiment;
  for (size_t b = 0; b < e->n_branches; b++) {
    struct lower_points own = {0};
    if (!branch_points(r, e->branches[b], &own))
      return false;
    if (!b) {
      *out = own;
    } else if (own.n != out->n || memcmp(own.k, out->k, own.n * sizeof *own.k)) {
      diag_error(r->l->diag, e->branches[b]->span,
                 "branches of one experiment start at the same checkpoints");
      diag_note(r->l->diag, e->branches[0]->span, "the first branch");
      return false;
    }
  }
  for (size_t k = 0; !e->n_branches && (double)(k + 1) * r->every <= r->length; k++)
    ARENA_PUSH(r->l->arena, out->k, out->n, out->cap, k);
  return true;
}

/* ---- models of other experiments ---- */

static bool checkpoint_of(struct lower_run *r, const struct formula_point *asking,
                          const struct ast_expr *of, bool trunk, size_t *k)
{
  const struct ast_expr *x = model_argument(of, "checkpoint");
  struct lower_points points = {0};
  double step;
  if (trunk && !x) {
    *k = (size_t)floor(r->length / r->every) - 1;
    return true;
  }
  if (x) {
    x = formula_follow(asking, x);
    if (!lower_length(r, x, &step) || !add_point(r, x, step, &points))
      return false;
  } else if (!lower_row_points(r, &points)) {
    return false;
  }
  *k = points.k[points.n - 1];
  return true;
}

/* Runs that others ask for, by experiment and sweep point: a matrix of merges asks
 * for the same few again and again. */
static size_t slot_of(const struct lowering *l, const struct dsl_experiment *e, size_t point)
{
  size_t i = ((size_t)(e - l->dsl->experiments) * 1000003 + point) * 0x9e3779b97f4a7c15;
  for (i &= l->n_places - 1; l->places[i].run; i = (i + 1) & (l->n_places - 1))
    if (l->places[i].run->at.experiment == e && l->places[i].point == point)
      break;
  return i;
}

static void grow_places(struct lowering *l)
{
  struct lower_place *old = l->places;
  size_t n = l->n_places;
  l->n_places = n ? 2 * n : 64;
  l->places = arena_array(l->arena, l->n_places, sizeof *l->places);
  for (size_t i = 0; i < n; i++)
    if (old[i].run)
      l->places[slot_of(l, old[i].run->at.experiment, old[i].point)] = old[i];
}

/* NULL: after a diagnostic. */
static struct lower_run *run_at(struct lowering *l, const struct formula_point *at)
{
  const struct dsl_experiment *e = at->experiment;
  size_t point = 0;
  for (size_t i = 0; i < e->n_vars; i++)
    if (dsl_leader(e, &e->vars[i]) == &e->vars[i])
      point = point * e->vars[i].n_values + at->choice[i];
  if (2 * l->n_runs >= l->n_places)
    grow_places(l);
  struct lower_place *place = &l->places[slot_of(l, e, point)];
  if (place->run)
    return place->run;
  struct lower_run *r = arena_alloc(l->arena, sizeof *r);
  if (!lower_run(l, at, lower_point_text(l, at), r))
    return NULL;
  /* It may have asked for others itself, and moved the place. */
  if (2 * ++l->n_runs >= l->n_places)
    grow_places(l);
  l->places[slot_of(l, e, point)] = (struct lower_place){r, point};
  return r;
}

static const struct lower_models *models_at(struct lower_run *r, size_t k)
{
  if (r->models && r->models_at == k)
    return r->models;
  struct lower_models *m = arena_alloc(r->l->arena, sizeof *m);
  if (!lower_models(r, k, r->text, m))
    return NULL;
  r->models = m;
  r->models_at = k;
  return m;
}

static bool one_model(struct lower_run *r, uint32_t step, struct lower_group *out)
{
  *out = (struct lower_group){arena_alloc(r->l->arena, sizeof *out->v), 1};
  *out->v = (struct lower_model){.step = step, .run = r};
  return true;
}

bool lower_reference(struct lowering *l, const struct formula_point *asking,
                     const struct ast_expr *of, struct lower_group *out)
{
  const struct dsl_experiment *e = model_target(l->dsl, of);
  struct model_name name;
  struct lower_group one;
  size_t *choice = arena_array(l->arena, e->n_vars + 1, sizeof *choice), k = SIZE_MAX;
  if (!model_point(asking, of, choice, l->diag) ||
      !model_find(e, of->args[0].value, &name, l->diag))
    return false;
  struct lower_run *r = run_at(l, &(struct formula_point){e, choice});
  if (!r)
    return false;
  if (name.kind == MODEL_START)
    return one_model(r, r->start, out);
  if (e->trunk && !checkpoint_of(r, asking, of, name.kind == MODEL_TRUNK, &k))
    return false;
  if (name.kind == MODEL_TRUNK)
    return one_model(r, lower_checkpoint(r, k), out);
  const struct lower_models *m = models_at(r, k);
  if (!m)
    return false;
  *out = *lower_group(m, &name, &one);
  return true;
}
