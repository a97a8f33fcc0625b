#include "dsl/check.h"

#include "dsl/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool check_number(struct arena *a, const char *name, enum words_type type,
                  const struct words_range *range, double value, struct span span,
                  struct diag *d)
{
  bool whole = type != WORDS_COUNT || value == floor(value);
  if (whole && words_in_range(range, value))
    return true;
  char *bounds = words_range_text(a, range);
  diag_error(d, span, whole ? "`%s` must be %s" : "`%s` is a whole number, %s", name, bounds);
  return false;
}

bool check_is_end(const struct ast_expr *x)
{
  return x->kind == AST_NAME && !strcmp(x->text, "end");
}

bool check_is_rest(const struct ast_expr *x)
{
  return x->kind == AST_NAME && !strcmp(x->text, "rest");
}

bool check_length(const struct ast_expr *x, double *number, bool *epochs, struct diag *d)
{
  const char *unit = x->kind == AST_NUMBER ? x->unit.text : NULL;
  if (x->kind != AST_NUMBER || !unit) {
    diag_error(d, x->span, "a length needs a unit, such as `20 epochs` or `500 steps`");
    return false;
  }
  *epochs = !strcmp(unit, "epochs") || !strcmp(unit, "epoch");
  if (!*epochs && strcmp(unit, "steps") && strcmp(unit, "step")) {
    static const char *const units[] = {"epochs", "steps"};
    diag_error(d, x->unit.span, "unknown unit `%s`", unit);
    const char *near = diag_nearest(unit, units, 2);
    diag_hint(d, near ? "did you mean `%s`?" : "lengths are in epochs or steps", near);
    return false;
  }
  *number = x->number;
  if (!(x->number > 0) || x->number > 1e9 || (!*epochs && x->number != floor(x->number))) {
    diag_error(d, x->span, *epochs ? "a length must be greater than 0"
                                   : "a length is a whole number of steps, greater than 0");
    return false;
  }
  return true;
}

/* ---- values ---- */

static void unknown_thing(struct arena *a, enum words_type sort, const struct ast_expr *x,
                          struct diag *d)
{
  diag_error(d, x->text_span, "unknown %s `%s`", words_sort_name(sort), x->text);
  const char *near = words_near_thing(sort, x->text);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
  else
    diag_hint(d, "there are: %s", words_things(a, sort));
}

static void check_choice(struct arena *a, const char *name, const struct ast_expr *x,
                         struct diag *d)
{
  if (x->kind == AST_NAME && words_choice(name, x->text))
    return;
  if (x->kind != AST_NAME) {
    diag_error(d, x->span, "`%s` is one of: %s", name, words_choices(a, name));
    return;
  }
  diag_error(d, x->span, "`%s` cannot be `%s`", name, x->text);
  const char *near = words_near_choice(name, x->text);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
  else
    diag_hint(d, "it is one of: %s", words_choices(a, name));
}

static void check_literal(struct arena *a, const char *name, enum words_type type,
                          const struct words_range *range, const struct ast_expr *x,
                          struct diag *d)
{
  if (x->kind == AST_STRING) {
    diag_error(d, x->span, "`%s` is %s, not a text", name, words_sort_article(type));
    return;
  }
  if (!formula_is_literal(x))
    return; /* lowering knows the names' values, and checks them there */
  double value;
  struct dsl_experiment none = {.name = ""};
  struct formula_point point = {&none, NULL};
  if (formula_number(&point, x, &value, d))
    check_number(a, name, type, range, value, x->span, d);
}

/* Numbers in parentheses, or one for all; how many there must be, check_models knows. */
static void check_numbers(struct arena *a, const char *name, const struct words_range *range,
                          const struct ast_expr *x, struct diag *d)
{
  if (x->kind != AST_TUPLE)
    check_literal(a, name, WORDS_NUMBER, range, x, d);
  for (size_t i = 0; x->kind == AST_TUPLE && i < x->n_args; i++)
    check_literal(a, name, WORDS_NUMBER, range, x->args[i].value, d);
}

static void check_thing(struct arena *a, enum words_type sort, const struct ast_expr *x,
                        size_t positional, struct diag *d);

/* What a trunk starts from; which model it is, check knows. */
static void check_start(const struct ast_expr *x, struct diag *d)
{
  if (x->kind == AST_OF || model_file(x) || (x->kind == AST_NAME && !strcmp(x->text, "scratch")))
    return;
  if (x->kind == AST_CALL && !strcmp(x->text, "file")) {
    diag_error(d, x->span, "a file's path stands in quotes");
    diag_hint(d, "such as `file(\"weights.safetensors\")`");
    return;
  }
  diag_error(d, x->span, "a trunk starts from scratch, from a model of another experiment, or from "
             "a file");
  if (x->kind == AST_NAME && diag_nearest(x->text, (const char *[]){"scratch"}, 1))
    diag_hint(d, "did you mean `scratch`?");
  else
    diag_hint(
        d, "such as `start = trunk of pretraining;` or `start = file(\"weights.safetensors\");`");
}

static void check_value(struct arena *a, const char *name, enum words_type type,
                        const struct words_range *range, const struct ast_expr *x, struct diag *d)
{
  switch (type) {
  case WORDS_NUMBER:
  case WORDS_COUNT:
    check_literal(a, name, type, range, x, d);
    break;
  case WORDS_NUMBERS:
    check_numbers(a, name, range, x, d);
    break;
  case WORDS_CHOICE:
    check_choice(a, name, x, d);
    break;
  case WORDS_LENGTH:
    if (x->kind != AST_NAME)
      check_length(x, &(double){0}, &(bool){false}, d);
    break; /* a name is a variable's, known at the sweep point */
  case WORDS_WEIGHTS:
    break; /* a model's name: check knows the experiment's */
  case WORDS_START:
    check_start(x, d);
    break;
  default:
    check_thing(a, type, x, 0, d);
  }
}

static void check_needed(const struct words_thing *thing, const struct ast_expr *x, struct diag *d)
{
  const struct words_param *p;
  for (size_t k = 0; (p = words_param_at(thing, k)); k++) {
    bool said = *p->def != '\0';
    for (size_t i = 0; x->kind == AST_CALL && i < x->n_args && !said; i++)
      said = x->args[i].name.text && !strcmp(x->args[i].name.text, p->name);
    if (said)
      continue;
    diag_error(d, x->span, "`%s` does not say its `%s`", x->text, p->name);
    diag_hint(d,
              p->type == WORDS_LENGTH ? "such as `%s(%s = 500 steps)`"
                                      : "such as `%s(..., %s = trunk)`",
              x->text, p->name);
  }
}

/* A name or a call of a thing; the first `positional` arguments need no name. */
static void check_thing(struct arena *a, enum words_type sort, const struct ast_expr *x,
                        size_t positional, struct diag *d)
{
  if (x->kind != AST_NAME && x->kind != AST_CALL) {
    diag_error(d, x->span, "%s is expected here", words_sort_article(sort));
    diag_hint(d, "there are: %s", words_things(a, sort));
    return;
  }
  const struct words_thing *thing = words_thing(sort, x->text);
  if (!thing) {
    unknown_thing(a, sort, x, d);
    return;
  }
  for (size_t i = 0; x->kind == AST_CALL && i < x->n_args; i++) {
    const struct ast_arg *arg = &x->args[i];
    if (!arg->name.text && (i < positional || sort == WORDS_METHOD))
      continue;
    if (!arg->name.text) {
      diag_error(d, arg->value->span, "an argument of `%s` needs its name", x->text);
      const struct words_param *first = words_param_at(thing, 0);
      if (first)
        diag_hint(d, "such as `%s = ...`", first->name);
      continue;
    }
    const struct words_param *p = words_param(thing, arg->name.text);
    if (!p) {
      diag_error(d, arg->name.span, "`%s` has no argument `%s`", x->text, arg->name.text);
      const char *near = words_near_param(thing, arg->name.text);
      if (near)
        diag_hint(d, "did you mean `%s`?", near);
      continue;
    }
    check_value(a, p->name, p->type, &p->range, arg->value, d);
    for (size_t j = 0; j < i; j++)
      if (x->args[j].name.text && !strcmp(x->args[j].name.text, arg->name.text))
        diag_error(d, arg->name.span, "`%s` is given twice", arg->name.text);
  }
  check_needed(thing, x, d);
}

/* ---- statements ---- */

static const struct words_setting *check_setting_name(struct arena *a,
                                                      const struct ast_name *name, struct diag *d)
{
  const struct words_setting *s = words_setting(name->text);
  if (!s) {
    diag_error(d, name->span, "unknown setting `%s`", name->text);
    const char *near = words_near_setting(name->text);
    if (near)
      diag_hint(d, "did you mean `%s`?", near);
    else
      diag_hint(d, "the settings are: %s", words_settings(a));
  }
  return s;
}

static bool same_value(const struct ast_expr *x, const struct ast_expr *y)
{
  if (x->kind != y->kind)
    return false;
  return x->kind == AST_NUMBER ? x->number == y->number
                               : x->kind == AST_NAME && !strcmp(x->text, y->text);
}

static void check_sequence(const struct ast_expr *x, struct diag *d)
{
  double low, high;
  size_t n;
  if (dsl_sequence(x, &low, &high, &n))
    return;
  diag_error(d, x->span, "`%s` takes two different numbers%s and how many values, from 2 to %d",
             x->text, !strcmp(x->text, "logspace") ? " above 0" : "", DSL_MAX_SEQUENCE);
  diag_hint(d, "such as %s(0.01, 1, 5)", x->text);
}

/* Its value, or `lr of base`, whose values another experiment's sweep gives. */
static void check_swept(struct arena *a, const struct words_setting *w, const char *name,
                        const struct ast_expr *x, struct diag *d)
{
  if (x->kind == AST_OF)
    return;
  if (w)
    check_value(a, w->name, w->type, &w->range, x, d);
  else if (x->kind == AST_NUMBER && x->unit.text)
    check_length(x, &(double){0}, &(bool){false}, d);
  else if (x->kind != AST_NAME && x->kind != AST_CALL && !formula_is_literal(x))
    diag_error(d, x->span, "the values of `%s` are numbers, lengths or words", name);
}

static bool is_sequence(const struct ast_expr *x)
{
  return x->kind == AST_CALL && (!strcmp(x->text, "logspace") || !strcmp(x->text, "linspace"));
}

/* sweep (first, second) over pairs(seed of base) */
static void check_pairs(const struct ast_stmt *s, const struct ast_expr *x, struct diag *d)
{
  if (strcmp(x->text, "pairs")) {
    diag_error(d, x->text_span, "unknown function `%s`", x->text);
    diag_hint(d, diag_nearest(x->text, (const char *[]){"pairs"}, 1)
                     ? "did you mean `pairs`?" : "`pairs(...)` makes pairs of values");
  } else if (s->n_names != 2) {
    diag_error(d, x->span, "`pairs` gives values to two settings, not to %zu", s->n_names);
  }
}

/* sweep (lr, batch) over (0.1, 32), (0.2, 64) */
static void check_paired_sweep(struct arena *a, const struct ast_stmt *s, struct diag *d)
{
  for (size_t c = 0; c < s->n_names; c++) {
    const struct words_setting *w = words_setting(s->names[c].text);
    for (size_t i = 0; i < s->n_values; i++)
      if (s->values[i]->kind == AST_TUPLE && s->values[i]->n_args == s->n_names)
        check_swept(a, w, s->names[c].text, s->values[i]->args[c].value, d);
    for (size_t k = 0; k < c; k++)
      if (!strcmp(s->names[k].text, s->names[c].text)) {
        diag_error(d, s->names[c].span, "`%s` is swept twice", s->names[c].text);
        diag_note(d, s->names[k].span, "first here");
      }
  }
  for (size_t i = 0; i < s->n_values; i++)
    if (s->values[i]->kind == AST_CALL) {
      check_pairs(s, s->values[i], d);
    } else if (s->values[i]->n_args != s->n_names) {
      diag_error(d, s->values[i]->span, "%zu value%s given here for %zu settings",
                 s->values[i]->n_args, s->values[i]->n_args == 1 ? " is" : "s are", s->n_names);
      diag_note(d, span_join(s->names[0].span, s->names[s->n_names - 1].span), "the settings");
    }
}

static void check_sweep(struct arena *a, const struct ast_stmt *s, struct diag *d)
{
  if (s->n_names) {
    check_paired_sweep(a, s, d);
    return;
  }
  const struct words_setting *w = words_setting(s->name.text);
  if (!s->n_values)
    diag_error(d, s->span, "the sweep over `%s` has no values", s->name.text);
  for (size_t i = 0; i < s->n_values; i++) {
    if (is_sequence(s->values[i]) && (!w || w->type <= WORDS_COUNT))
      check_sequence(s->values[i], d);
    else
      check_swept(a, w, s->name.text, s->values[i], d);
    for (size_t j = 0; j < i; j++)
      if (same_value(s->values[i], s->values[j])) {
        diag_error(d, s->values[i]->span, "the sweep has this value twice");
        diag_note(d, s->values[j]->span, "first here");
        break;
      }
  }
}

/* A name may be a variable's: the experiment tells. */
static void check_said_length(const struct ast_expr *x, struct diag *d)
{
  if (x && x->kind != AST_NAME)
    check_length(x, &(double){0}, &(bool){false}, d);
}

static void check_schedule(struct arena *a, const struct ast_stmt *s, struct diag *d)
{
  check_said_length(s->every, d);
  for (size_t i = 0; i < s->n_values; i++)
    if (!check_is_end(s->values[i]))
      check_said_length(s->values[i], d);
  check_said_length(s->length, d);
  check_said_length(s->snapshots, d);
  if (s->schedule &&
      (s->schedule->kind != AST_NAME || words_thing(WORDS_SCHEDULE, s->schedule->text)))
    check_thing(a, WORDS_SCHEDULE, s->schedule, 0, d);
}

void check_schedule_word(struct arena *a, const struct ast_expr *x, struct diag *d)
{
  check_thing(a, WORDS_SCHEDULE, x, 0, d);
}

void check_model(struct arena *a, const struct ast_expr *x, struct diag *d)
{
  check_thing(a, WORDS_MODEL, x, 0, d);
}

enum { MAX_CONTINUATIONS = 1000 };

bool check_count(const struct ast_stmt *branch)
{
  const struct ast_expr *x = branch->count;
  return !x || (x->kind == AST_NUMBER && !x->unit.text && x->number == floor(x->number) &&
                x->number >= 1 && x->number <= MAX_CONTINUATIONS);
}

static void check_branch(struct arena *a, const struct ast_stmt *s, struct diag *d)
{
  check_schedule(a, s, d);
  if (!check_count(s)) {
    diag_error(d, s->count->span,
               "how many continuations a branch has is a whole number, from 1 to %d",
               MAX_CONTINUATIONS);
    diag_hint(d, "such as `branch %s[2] ...`", s->name.text);
  }
}

/* with batchnorm WORD [samples NUMBER] */
static void check_batchnorm(struct arena *a, const struct ast_stmt *s, struct diag *d)
{
  const struct ast_word *w = s->words;
  if (!s->n_words)
    return;
  if (w[0].value->kind != AST_NAME || strcmp(w[0].value->text, "batchnorm")) {
    diag_error(d, w[0].value->span, "`batchnorm` is expected behind `with`");
    return;
  }
  if (s->n_words < 2) {
    diag_error(d, w[0].value->span, "how is batchnorm treated?");
    diag_hint(d, "it is one of: %s", words_choices(a, "batchnorm"));
    return;
  }
  check_choice(a, "batchnorm", w[1].value, d);
  if (s->n_words < 3)
    return;
  const struct ast_expr *count = s->n_words == 4 ? w[3].value : NULL;
  const struct words_range range = {"[", "]", 1, 1e9};
  if (w[2].value->kind != AST_NAME || strcmp(w[2].value->text, "samples") || s->n_words > 4) {
    diag_error(d, w[2].value->span, "only how many samples may stand here");
    diag_hint(d, "such as `with batchnorm recalibrated samples 1024`");
  } else if (!count || count->kind != AST_NUMBER || count->unit.text) {
    diag_error(d, count ? count->span : w[2].value->span, "how many samples is a number");
  } else if (check_number(a, "samples", WORDS_COUNT, &range, count->number, count->span, d) &&
             w[1].value->text && strcmp(w[1].value->text, "recalibrated")) {
    diag_error(d, w[2].value->span, "only `recalibrated` looks at samples");
  }
}

static void check_merge(struct arena *a, const struct ast_stmt *s, struct diag *d)
{
  if (s->value->kind != AST_CALL) {
    diag_error(d, s->value->span, "a merging method with its models is expected here");
    diag_hint(d, "such as linear(ends, alpha = 0.5)");
    return;
  }
  check_thing(a, WORDS_METHOD, s->value, SIZE_MAX, d);
  check_batchnorm(a, s, d);
}

static void check_notes(const struct ast_stmt *s, struct diag *d)
{
  for (size_t i = 0; i < s->n_notes; i++) {
    const struct ast_name *n = &s->notes[i].name;
    if (!strcmp(n->text, "paper") || !strcmp(n->text, "assumed"))
      continue;
    static const char *const notes[] = {"paper", "assumed"};
    diag_error(d, n->span, "unknown note `@%s`", n->text);
    const char *near = diag_nearest(n->text, notes, 2);
    diag_hint(d, near ? "did you mean `@%s`?" : "a number is @paper(\"section\") or "
              "@assumed(\"why\")", near);
  }
}

/* In a tier a text behind data and model says what they stand for, as in `replace`. */
static bool is_stand_in(const struct ast_stmt *s, size_t word)
{
  return (!strcmp(s->name.text, "data") || !strcmp(s->name.text, "model")) && word == 0 &&
         s->words[word].value->kind == AST_STRING;
}

static void check_stmt(struct arena *a, const struct ast_stmt *s, bool tier, struct diag *d)
{
  const struct words_setting *w;
  switch (s->kind) {
  case AST_SETTING:
    w = check_setting_name(a, &s->name, d);
    if (w)
      check_value(a, w->name, w->type, &w->range, s->value, d);
    for (size_t i = 0; i < s->n_words; i++)
      if (!tier || !is_stand_in(s, i))
        diag_error(d, s->words[i].value->span, "nothing may stand behind the value");
    break;
  case AST_SWEEP:
    check_sweep(a, s, d);
    break;
  case AST_LET:
    if (words_setting(s->name.text))
      diag_error(d, s->name.span, "`%s` is a setting: write `%s = ...`", s->name.text,
                 s->name.text);
    break;
  case AST_TRUNK:
    check_schedule(a, s, d);
    break;
  case AST_BRANCH:
    check_branch(a, s, d);
    break;
  case AST_MERGE:
    check_merge(a, s, d);
    break;
  case AST_USE:
  case AST_MEASURE:
  case AST_WHERE:
    break; /* compiled below, where its names are known */
  case AST_REPLACE:
  case AST_EXPECT:
    diag_error(d, s->span, "this cannot stand in an experiment");
    break;
  }
  check_notes(s, d);
}

/* Variables share one name space, and so do branches and merges. */
static int name_space(const struct ast_stmt *s)
{
  switch (s->kind) {
  case AST_SETTING:
  case AST_SWEEP:
  case AST_LET:
  case AST_MEASURE:
    return 1;
  case AST_BRANCH:
  case AST_USE:
  case AST_MERGE:
    return 2;
  case AST_TRUNK:
    return 3;
  default:
    return 0;
  }
}

void check_stmts(struct arena *a, const struct ast_block *b, bool tier, struct diag *d)
{
  for (size_t i = 0; i < b->n_stmts; i++) {
    const struct ast_stmt *s = &b->stmts[i];
    check_stmt(a, s, tier, d);
    for (size_t j = 0; j < i; j++) {
      const struct ast_stmt *o = &b->stmts[j];
      if (!name_space(s) || name_space(s) != name_space(o))
        continue;
      if (s->kind != AST_TRUNK && strcmp(s->name.text, o->name.text))
        continue;
      bool known = s->kind != AST_TRUNK && words_setting(s->name.text);
      if (s->kind == AST_SETTING ? !known : known && (s->kind == AST_LET || s->kind == AST_MEASURE))
        break; /* the name itself is the mistake, and was reported */
      diag_error(d, s->kind == AST_TRUNK ? s->span : s->name.span, "`%s` is defined twice",
                 s->kind == AST_TRUNK ? "trunk" : s->name.text);
      diag_note(d, o->span, "first defined here");
      break;
    }
  }
}

static void check_replace(struct dsl *dsl, const struct ast_stmt *s, struct diag *d)
{
  bool data = !strcmp(s->kind_word.text, "data");
  if (!data && strcmp(s->kind_word.text, "model")) {
    diag_error(d, s->kind_word.span, "a tier replaces `data` or `model`");
    return;
  }
  enum words_type sort = data ? WORDS_DATASET : WORDS_MODEL;
  struct ast_expr name = {.kind = AST_NAME, .text = s->name.text, .text_span = s->name.span};
  if (!words_thing(sort, s->name.text))
    unknown_thing(dsl->arena, sort, &name, d);
  check_thing(dsl->arena, sort, s->value, 0, d);
}

void check_tier(struct dsl *dsl, const struct ast_block *b, struct diag *d)
{
  struct ast_block settings = *b;
  settings.stmts = arena_array(dsl->arena, b->n_stmts + 1, sizeof *settings.stmts);
  settings.n_stmts = 0;
  for (size_t i = 0; i < b->n_stmts; i++)
    if (b->stmts[i].kind == AST_REPLACE)
      check_replace(dsl, &b->stmts[i], d);
    else
      settings.stmts[settings.n_stmts++] = b->stmts[i];
  check_stmts(dsl->arena, &settings, true, d);
  for (size_t i = 0; i < b->n_blocks; i++)
    check_stmts(dsl->arena, &b->blocks[i], true, d);
}
