/* One sweep point: its settings, data, where its trunk starts, the trunk. */
#include "dsl/lower_int.h"

#include "base/checkpoint.h"
#include "base/num.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void lower_put(struct lower_attrs *a, enum plan_attr_id id, double num, const char *str)
{
  uint32_t i = a->n++;
  for (; i > 0 && a->list[i - 1].id > id; i--)
    a->list[i] = a->list[i - 1];
  a->list[i] = (struct plan_attr){id, str ? 0 : num, str};
}

uint32_t lower_add(const struct lower_run *r, enum plan_kind kind, const struct lower_attrs *a,
                   const uint32_t *inputs, uint32_t n_inputs, const char *text, struct span span)
{
  struct plan_step s = {
      .kind = kind,
      .n_attrs = a->n,
      .attrs = a->list,
      .n_inputs = n_inputs,
      .inputs = inputs,
      .origin = {.experiment = r->at.experiment->name, .point = text, .span = span},
  };
  return plan_add_step(r->l->plan, &s);
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

static bool number_setting(const struct lower_run *r, const char *name, double *out)
{
  const struct words_setting *w = words_setting(name);
  const struct ast_expr *x = lower_value(r->l, &r->at, name);
  if (!x) {
    *out = strtod(w->def, NULL);
    return true;
  }
  if (!formula_number(&r->at, x, out, r->l->diag))
    return false;
  if (check_number(r->l->arena, name, w->type, &w->range, *out, x->span, r->l->diag))
    return true;
  const struct span said = dsl_var(r->at.experiment, name)->stmt->span;
  if (x->span.file != said.file || x->span.begin < said.begin || x->span.end > said.end)
    diag_note(r->l->diag, said, "`%s` takes its values from there", name);
  return false;
}

static const char *word_setting(const struct lower_run *r, const char *name)
{
  const struct ast_expr *x = lower_value(r->l, &r->at, name);
  return x ? x->text : words_setting(name)->def;
}

static const struct ast_expr *argument(const struct ast_expr *call, const char *name)
{
  for (size_t i = 0; call->kind == AST_CALL && i < call->n_args; i++)
    if (call->args[i].name.text && !strcmp(call->args[i].name.text, name))
      return call->args[i].value;
  return NULL;
}

/* Where one of these says nothing new, the keys of older results stay. */
static bool is_later(enum plan_attr_id id)
{
  return id == PLAN_A_stem || id == PLAN_A_labels || id == PLAN_A_transform || id == PLAN_A_shift ||
         id == PLAN_A_symmetries || id == PLAN_A_hidden || id == PLAN_A_activation ||
         id == PLAN_A_importance || id == PLAN_A_marginals || id == PLAN_A_order;
}

/* "0.3 0.5": one a model. */
static bool put_numbers(const struct lower_run *r, struct lower_attrs *a,
                        const struct words_param *w, const struct ast_expr *tuple)
{
  char *text = NULL, one[NUM_TEXT];
  double sum = 0;
  for (size_t i = 0; i < tuple->n_args; i++) {
    const struct ast_expr *x = tuple->args[i].value;
    double v;
    if (!formula_number(&r->at, x, &v, r->l->diag) ||
        !check_number(r->l->arena, w->name, WORDS_NUMBER, &w->range, v, x->span, r->l->diag))
      return false;
    num_text(v, one);
    text = arena_printf(r->l->arena, "%s%s%s", i ? text : "", i ? " " : "", one);
    sum += v;
  }
  if (w->attr == PLAN_A_coefficients && fabs(sum - 1) > 1e-6) {
    diag_error(r->l->diag, tuple->span, "the weights add up to %g, not to 1", sum);
    diag_hint(r->l->diag, "`task_arithmetic` adds up differences from a base, times any numbers");
    return false;
  }
  lower_put(a, PLAN_A_coefficients, 0, text);
  return true;
}

static bool put_param(const struct lower_run *r, struct lower_attrs *a, const struct words_param *w,
                      const struct ast_expr *said)
{
  double v = strtod(w->def, NULL);
  if (w->type == WORDS_CHOICE) {
    const char *word = said ? said->text : w->def;
    if (!is_later(w->attr) || strcmp(word, w->def) != 0)
      lower_put(a, w->attr, 0, word);
    return true;
  }
  if (w->type == WORDS_NUMBERS && said && said->kind == AST_TUPLE)
    return put_numbers(r, a, w, said);
  if (w->attr == PLAN_A_coefficients && !said)
    return true;
  if (w->attr == PLAN_A_samples && !said && v <= 0)
    return true; /* all */
  if (w->type == WORDS_LENGTH) {
    if (!lower_length(r, said, &v))
      return false;
  } else if (said && (!formula_number(&r->at, said, &v, r->l->diag) ||
                      !check_number(r->l->arena, w->name, w->type, &w->range, v, said->span,
                                    r->l->diag))) {
    return false;
  }
  if (!is_later(w->attr) || v != strtod(w->def, NULL))
    lower_put(a, w->attr, v, NULL);
  return true;
}

/* Does the argument say nothing beside what else is said? */
static bool is_idle(const struct ast_expr *x, const struct words_param *w)
{
  const struct ast_expr *importance = argument(x, "importance");
  if (w->attr == PLAN_A_alpha)
    return argument(x, "weights") != NULL;
  return w->attr == PLAN_A_samples && !strcmp(w->owner, "intra_fusion") &&
         !(importance && !strcmp(importance->text, "taylor"));
}

bool lower_params(const struct lower_run *r, struct lower_attrs *a, enum words_type sort,
                  const struct ast_expr *x)
{
  const struct words_thing *thing = words_thing(sort, x->text);
  const struct words_param *w;
  for (size_t k = 0; (w = words_param_at(thing, k)); k++)
    if (w->type != WORDS_WEIGHTS && !is_idle(x, w) && !put_param(r, a, w, argument(x, w->name)))
      return false;
  return true;
}

/* Its arguments are settings too, which may be swept by themselves; those of a
 * swept optimizer are its own. */
static bool put_optimizer(struct lower_run *r)
{
  const struct dsl_var *var = dsl_var(r->at.experiment, "optimizer");
  const struct ast_expr *x = lower_value(r->l, &r->at, "optimizer");
  const char *name = x ? x->text : words_setting("optimizer")->def;
  const struct words_thing *thing = words_thing(WORDS_OPTIMIZER, name);
  const struct words_param *w;
  bool swept = var && var->stmt->kind == AST_SWEEP;
  lower_put(&r->optimizer, PLAN_A_optimizer, 0, name);
  for (size_t k = 0; (w = words_param_at(thing, k)); k++) {
    const struct ast_expr *own = x ? argument(x, w->name) : NULL;
    const struct ast_expr *said = lower_value(r->l, &r->at, w->name);
    if (w->type == WORDS_CHOICE) {
      /* No setting, and part of the key only where it is said. */
      if (own && strcmp(own->text, w->def) != 0)
        lower_put(&r->optimizer, w->attr, 0, own->text);
      continue;
    }
    if (!put_param(r, &r->optimizer, w, (swept && own) || !said ? own : said))
      return false;
  }
  return true;
}

static bool read_settings(struct lower_run *r)
{
  double lr;
  if (!number_setting(r, "lr", &lr) || !number_setting(r, "batch", &r->batch) ||
      !number_setting(r, "seed", &r->seed) || !number_setting(r, "crop_padding", &r->crop_padding))
    return false;
  r->augment = word_setting(r, "augment");
  if (!strcmp(r->augment, "none"))
    r->crop_padding = 0; /* one key, whatever the unused number says */
  lower_put(&r->optimizer, PLAN_A_lr, lr, NULL);
  return put_optimizer(r);
}

/* ---- data ---- */

static double *number_of(struct lower_attrs *a, enum plan_attr_id id)
{
  for (uint32_t i = 0; i < a->n; i++)
    if (a->list[i].id == id)
      return &a->list[i].num;
  return NULL;
}

static const char *word_of(const struct lower_attrs *a, enum plan_attr_id id)
{
  for (uint32_t i = 0; i < a->n; i++)
    if (a->list[i].id == id)
      return a->list[i].str;
  return "";
}

/* A subset's size: the whole where nothing is said, never more than there is. */
static bool whole_size(struct lower_run *r, struct lower_attrs *a, enum plan_attr_id id,
                       double whole, bool limited)
{
  const char *split = id == PLAN_A_train_size ? "train" : "test";
  double *size = number_of(a, id);
  if (*size == 0)
    *size = whole;
  if (!limited || *size <= whole)
    return true;
  diag_error(r->l->diag, argument(r->data_value, split)->span, "`%s` has %.0f %s samples, not %.0f",
             r->data_value->text, whole, split, *size);
  return false;
}

/* Images are made smaller by averaging whole squares of pixels. */
static bool check_image_size(struct lower_run *r, double size, unsigned height)
{
  if (fmod(height, size) == 0)
    return true;
  diag_error(r->l->diag, argument(r->data_value, "size")->span,
             "images of %ux%u pixels cannot be averaged to %gx%g", height, height, size, size);
  diag_hint(r->l->diag, "the size must divide %u", height);
  return false;
}

static bool size_images(struct lower_run *r, struct lower_attrs *a)
{
  const struct words_shape *shape = words_shape(r->data_value->text);
  bool pairs = !strcmp(word_of(a, PLAN_A_compose), "pairs");
  bool one = *word_of(a, PLAN_A_labels) != 0;
  double *size = number_of(a, PLAN_A_image_size);
  if (*size == 0)
    *size = shape->height;
  if (one && !pairs) {
    diag_error(r->l->diag, argument(r->data_value, "labels")->span,
               "`labels` says whose class counts in a pair, and these are no pairs");
    diag_hint(r->l->diag, "`compose = pairs` makes pairs");
    return false;
  }
  r->classes = pairs && !one ? shape->classes * shape->classes : shape->classes;
  r->channels = pairs ? 2 * shape->channels : shape->channels;
  r->size = (unsigned)*size;
  return check_image_size(r, *size, shape->height) &&
         whole_size(r, a, PLAN_A_train_size, shape->train, !pairs) &&
         whole_size(r, a, PLAN_A_test_size, shape->test, !pairs);
}

/* A sample is `block` tokens, and the last one's successor.  GPT-2's tokens are about four
 * bytes long, where the bytes are not counted. */
static double text_samples(bool bytes, double tokens, double counted, double block)
{
  double n = !bytes ? tokens : counted > 0 ? counted : 4 * tokens;
  return floor((n - 1) / block);
}

static bool size_text(struct lower_run *r, struct lower_attrs *a)
{
  const struct words_text *text = words_text(r->data_value->text);
  bool bytes = !strcmp(word_of(a, PLAN_A_tokenizer), "bytes");
  double block = *number_of(a, PLAN_A_block);
  double train = text_samples(bytes, text->train, text->train_bytes, block);
  double test = text_samples(bytes, text->test, text->test_bytes, block);
  r->classes = bytes ? 256 : 50257;
  return whole_size(r, a, PLAN_A_train_size, train, true) &&
         whole_size(r, a, PLAN_A_test_size, test, true);
}

static bool add_data(struct lower_run *r)
{
  const struct ast_expr *x = r->data_value = lower_value(r->l, &r->at, "data");
  struct lower_attrs a = {0};
  lower_put(&a, PLAN_A_data, 0, x->text);
  if (!lower_params(r, &a, WORDS_DATASET, x) ||
      !(words_text(x->text) ? size_text(r, &a) : size_images(r, &a)))
    return false;
  r->train_size = *number_of(&a, PLAN_A_train_size);
  r->data = lower_add(r, PLAN_DATA, &a, NULL, 0, r->text, x->span);
  return true;
}

bool lower_data_of(struct lowering *l, const struct dsl_experiment *e, uint32_t *data,
                   unsigned *classes)
{
  struct lower_run r = {.l = l, .at = {e, arena_array(l->arena, e->n_vars + 1, sizeof(size_t))},
                        .text = ""};
  if (!dsl_var(e, "data") || !add_data(&r))
    return false;
  *data = r.data;
  *classes = r.classes;
  return true;
}

/* ---- where the trunk starts ---- */

static bool reads_data(struct lower_run *r)
{
  const struct ast_expr *x = lower_value(r->l, &r->at, "model");
  bool text = r->channels == 0;
  if (words_reads(x->text)->text == text)
    return true;
  diag_error(r->l->diag, x->span, "`%s` reads %s, and `%s` holds %s", x->text,
             text ? "images" : "text", r->data_value->text, text ? "text" : "images");
  diag_note(r->l->diag, r->data_value->span, "the data");
  return false;
}

/* Vision transformers cut an image into whole patches. */
static bool check_patch(struct lower_run *r, struct lower_attrs *a)
{
  const double *patch = number_of(a, PLAN_A_patch);
  const struct ast_expr *said = argument(r->model_value, "patch");
  if (!patch || fmod(r->size, *patch) == 0)
    return true;
  diag_error(r->l->diag, said ? said->span : r->model_value->span,
             "images of %ux%u pixels cannot be cut into patches of %gx%g", r->size, r->size, *patch,
             *patch);
  diag_note(r->l->diag, r->data_value->span, "the images");
  diag_hint(r->l->diag, "`patch` must divide %u", r->size);
  return false;
}

/* Said or not, 4 times the width are one network. */
static void drop_usual_hidden(struct lower_attrs *a)
{
  const double *hidden = number_of(a, PLAN_A_hidden);
  if (!hidden || *hidden != 4 * *number_of(a, PLAN_A_width))
    return;
  a->n--;
  for (uint32_t i = 0; i < a->n; i++)
    if (a->list[i].id >= PLAN_A_hidden)
      a->list[i] = a->list[i + 1];
}

static bool put_model(struct lower_run *r, struct lower_attrs *a)
{
  const struct ast_expr *x = r->model_value = lower_value(r->l, &r->at, "model");
  const struct ast_expr *start = lower_value(r->l, &r->at, "start");
  double seed = r->seed;
  if (!reads_data(r))
    return false;
  if (start && start->kind != AST_NAME && !number_setting(r, "head_seed", &seed))
    return false;
  lower_put(a, PLAN_A_model, 0, x->text);
  lower_put(a, PLAN_A_seed, seed, NULL);
  r->has_batchnorm = words_has_batchnorm(x->text);
  if (!lower_params(r, a, WORDS_MODEL, x))
    return false;
  drop_usual_hidden(a);
  return check_patch(r, a);
}

/* Is it the architecture that the other one trained? */
static bool same_architecture(struct lower_run *r, const struct lower_attrs *a,
                              const struct lower_model *from, struct span at)
{
  struct lowering *l = r->l;
  const struct lower_run *there = from->run;
  const struct plan_step *other = plan_model_of(l->plan, plan_step(l->plan, from->step));
  const bool as_trained = other == plan_model_of(l->plan, plan_step(l->plan, there->start));
  struct lower_attrs theirs = {0};
  for (uint32_t i = 0; i < other->n_attrs; i++)
    if (other->attrs[i].id != PLAN_A_seed && other->attrs[i].id != PLAN_A_head &&
        other->attrs[i].id != PLAN_A_weights)
      theirs.list[theirs.n++] = other->attrs[i];
  struct plan_step now = {.kind = PLAN_INIT, .attrs = theirs.list, .n_attrs = theirs.n};
  char *was = plan_step_text(r->l->arena, &now);
  struct lower_attrs ours = {0};
  for (uint32_t i = 0; i < a->n; i++)
    if (a->list[i].id != PLAN_A_seed)
      ours.list[ours.n++] = a->list[i];
  now.attrs = ours.list;
  now.n_attrs = ours.n;
  char *is = plan_step_text(r->l->arena, &now);
  if (!strcmp(is, was))
    return true;
  diag_error(l->diag, at, "the model there is `%s`, and here it is `%s`",
             as_trained ? lower_thing_text(l, &there->at, there->model_value)
                        : strchr(was, ' ') + 1, /* behind the kind of step */
             lower_thing_text(l, &r->at, r->model_value));
  diag_note(l->diag, there->model_value->span,
            as_trained ? "the model there" : "the model there, before units were fused");
  diag_note(l->diag, r->model_value->span, "the model here");
  return false;
}

/* Can it read these data?  Layers that see a whole image, and positions, want its size too. */
static bool same_input(struct lower_run *r, const struct lower_run *other, struct span at)
{
  bool sized = words_reads(r->model_value->text)->sized;
  if (other->channels == r->channels && (!sized || other->size == r->size))
    return true;
  diag_error(r->l->diag, at, "the model there reads images of %ux%ux%u, and here they are %ux%ux%u",
             other->size, other->size, other->channels, r->size, r->size, r->channels);
  return false;
}

static bool start_at_model(struct lower_run *r, struct lower_attrs *a, const struct ast_expr *x,
                           bool new_head)
{
  struct lower_group from;
  if (!lower_reference(r->l, &r->at, x, &from) || from.n != 1 ||
      !same_architecture(r, a, from.v, x->span) || !same_input(r, from.v->run, x->span))
    return false;
  if (!new_head && from.v->run->classes != r->classes) {
    diag_error(r->l->diag, x->span, "the model there tells %u classes apart, and here are %u",
               from.v->run->classes, r->classes);
    diag_hint(r->l->diag, "`head = new;` draws the classifier anew");
    return false;
  }
  r->start = from.v->step;
  if (!new_head)
    return true;
  lower_put(a, PLAN_A_head, 0, "new");
  r->start = lower_add(r, PLAN_INIT, a, (uint32_t[]){r->data, from.v->step}, 2, r->text, x->span);
  return true;
}

static bool start_at_file(struct lower_run *r, struct lower_attrs *a, const struct ast_expr *x,
                          bool new_head)
{
  const char *path = model_file_path(r->l->arena, r->l->dsl, x);
  struct hash digest = {0};
  struct checkpoint file;
  /* Where it is not there the experiment is left out, and its plan is only shown. */
  if (!r->at.experiment->unavailable) {
    bool ok = checkpoint_open(r->l->arena, path, &file, r->l->diag);
    if (ok) {
      ok = checkpoint_digest(&file, &digest, r->l->diag);
      checkpoint_close(&file);
    }
    if (!ok) {
      diag_note(r->l->diag, x->span, "the trunk is to start there");
      return false;
    }
  }
  char *hex = arena_alloc(r->l->arena, HASH_HEX);
  hash_hex(digest, hex);
  lower_put(a, PLAN_A_weights, 0, hex);
  lower_put(a, PLAN_A_head, 0, new_head ? "new" : "kept");
  struct plan_step s = {
      .kind = PLAN_INIT,
      .n_attrs = a->n,
      .attrs = a->list,
      .n_inputs = 1,
      .inputs = &r->data,
      .origin = {.experiment = r->at.experiment->name, .point = r->text, .span = x->span,
                 .path = path},
  };
  r->start = plan_add_step(r->l->plan, &s);
  return true;
}

static bool add_start(struct lower_run *r)
{
  const struct ast_expr *x = lower_value(r->l, &r->at, "start");
  bool new_head = !strcmp(word_setting(r, "head"), "new");
  struct lower_attrs a = {0};
  if (!put_model(r, &a))
    return false;
  if (x && x->kind == AST_OF)
    return start_at_model(r, &a, x, new_head);
  if (x && model_file(x))
    return start_at_file(r, &a, x, new_head);
  r->start = lower_add(r, PLAN_INIT, &a, &r->data, 1, r->text, r->model_value->span);
  return true;
}

/* ---- the trunk ---- */

bool lower_length(const struct lower_run *r, const struct ast_expr *x, double *steps)
{
  bool epochs;
  if (!formula_length(&r->at, x, steps, &epochs, r->l->diag))
    return false;
  if (epochs)
    *steps = round(*steps * r->steps_per_epoch);
  if (*steps >= 1)
    return true;
  diag_error(r->l->diag, x->span, "this is less than one step: an epoch has %g",
             r->steps_per_epoch);
  return false;
}

bool lower_training(const struct lower_run *r, struct lower_attrs *a,
                    const struct ast_expr *schedule, double schedule_from, double schedule_to,
                    double from, double to, double stream)
{
  static const struct ast_expr constant = {.kind = AST_NAME, .text = "constant"};
  const struct ast_expr *s = schedule ? formula_follow(&r->at, schedule) : &constant;
  /* A constant trunk has no length: a longer one shares a shorter one's steps. */
  bool endless = stream == 0 && !strcmp(s->text, "constant");
  *a = r->optimizer;
  lower_put(a, PLAN_A_batch, r->batch, NULL);
  lower_put(a, PLAN_A_augment, 0, r->augment);
  lower_put(a, PLAN_A_crop_padding, r->crop_padding, NULL);
  lower_put(a, PLAN_A_schedule, 0, s->text);
  lower_put(a, PLAN_A_schedule_from, endless ? 0 : schedule_from, NULL);
  lower_put(a, PLAN_A_schedule_length, endless ? 0 : schedule_to - schedule_from, NULL);
  lower_put(a, PLAN_A_from, from, NULL);
  lower_put(a, PLAN_A_to, to, NULL);
  lower_put(a, PLAN_A_steps_per_epoch, r->steps_per_epoch, NULL);
  lower_put(a, PLAN_A_seed, r->seed, NULL);
  lower_put(a, PLAN_A_stream, stream, NULL);
  return lower_params(r, a, WORDS_SCHEDULE, s);
}

static bool trunk_lengths(struct lower_run *r)
{
  const struct dsl_experiment *e = r->at.experiment;
  const struct ast_expr *every = e->trunk->every;
  if (!every && e->n_branches)
    every = e->branches[0]->every;
  if (!lower_length(r, e->trunk->length, &r->length))
    return false;
  r->every = r->length;
  return !every || lower_length(r, every, &r->every);
}

uint32_t lower_checkpoint(struct lower_run *r, size_t k)
{
  const struct ast_stmt *s = r->at.experiment->trunk;
  while (r->n_checkpoints <= k) {
    size_t i = r->n_checkpoints;
    uint32_t from = i ? r->checkpoints[i - 1] : r->start;
    struct lower_attrs a;
    lower_training(r, &a, s->schedule, 0, r->length, (double)i * r->every,
                   (double)(i + 1) * r->every, 0);
    from = lower_add(r, PLAN_TRAIN, &a, (uint32_t[]){from, r->data}, 2, r->text, s->span);
    ARENA_PUSH(r->l->arena, r->checkpoints, r->n_checkpoints, r->cap_checkpoints, from);
  }
  return r->checkpoints[k];
}

bool lower_run(struct lowering *l, const struct formula_point *at, const char *text,
               struct lower_run *r)
{
  *r = (struct lower_run){.l = l, .at = *at, .text = text};
  r->at.choice =
      arena_copy(l->arena, at->choice, (at->experiment->n_vars + 1) * sizeof *at->choice);
  if (!at->experiment->trunk)
    return true;
  if (!read_settings(r) || !add_data(r))
    return false;
  r->steps_per_epoch = floor(r->train_size / r->batch);
  if (r->steps_per_epoch < 1) {
    diag_error(l->diag, lower_value(l, at, "batch")->span,
               "a batch of %g is larger than the %g training samples", r->batch, r->train_size);
    return false;
  }
  struct lower_attrs probe;
  return add_start(r) && trunk_lengths(r) &&
         lower_training(r, &probe, at->experiment->trunk->schedule, 0, r->length, 0, r->every, 0);
}
