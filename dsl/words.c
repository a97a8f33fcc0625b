#include "dsl/words.h"

#include "base/diag.h"
#include "base/num.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { MAX_WORDS = 64, MAX_PARAMS = 16 };

static const struct words_setting settings[] = {
#define SETTING(name, type, lb, low, high, rb, def, label, meaning)                                \
  {#name, WORDS_##type, {lb, rb, low, high}, def, label, meaning},
#include "dsl/words.def"
};

static const struct {
  const char *owner, *word;
} choices[] = {
#define CHOICE(owner, word) {#owner, #word},
#include "dsl/words.def"
};

static const struct words_thing things[] = {
#define THING(sort, name, available, meaning) {WORDS_##sort, #name, available, meaning},
#include "dsl/words.def"
};

static const char *const batchnorm_models[] = {
#define BATCHNORM(model) #model,
#include "dsl/words.def"
};

static const struct {
  const char *model;
  enum plan_attr_id attr;
} fusable[] = {
#define FUSABLE(model, attr) {#model, PLAN_A_##attr},
#include "dsl/words.def"
};

static const struct words_reads reads[] = {
#define READS(model, text, sized) {#model, text, sized},
#include "dsl/words.def"
};

static const char *const shifted[] = {
#define SHIFTED(name) #name,
#include "dsl/words.def"
};

static const struct words_shape shapes[] = {
#define SHAPE(name, train, test, height, width, channels, classes)                                 \
  {#name, train, test, height, width, channels, classes},
#include "dsl/words.def"
};

static const struct words_text texts[] = {
#define TEXT(name, train, test, train_bytes, test_bytes)                                           \
  {#name, train, test, train_bytes, test_bytes},
#include "dsl/words.def"
};

static const struct words_measure measures[] = {
#define MEASURES(name, models, split, made) {#name, models, split, made},
#include "dsl/words.def"
};

static const struct words_merge merges[] = {
#define MERGES(name, fewest, most, averages, draws, looks)                                         \
  {#name, fewest, most, averages, draws, looks},
#include "dsl/words.def"
};

static const struct words_spread spreads[] = {
#define SPREAD(name, id, meaning) {#name, PLAN_SPREAD_##id},
#include "dsl/words.def"
};

static const struct words_param params[] = {
#define PARAM(owner, name, type, lb, low, high, rb, def, attr, meaning)                            \
  {#owner, #name, WORDS_##type, {lb, rb, low, high}, def, PLAN_A_##attr, meaning},
#include "dsl/words.def"
};

static const struct words_function functions[] = {
#define FUNCTION(name, op, operands) {#name, PLAN_OP_##op, operands},
#include "dsl/words.def"
};

static const struct {
  const char *key, *name, *article;
} sorts[] = {
    [WORDS_NUMBER] = {"", "number", "a number"},
    [WORDS_COUNT] = {"", "whole number", "a whole number"},
    [WORDS_LENGTH] = {"", "length", "a length such as `500 steps`"},
    [WORDS_START] = {"", "start", "a start"},
    [WORDS_NUMBERS] = {"", "numbers", "numbers in parentheses"},
    [WORDS_WEIGHTS] = {"", "model", "the name of a model"},
    [WORDS_CHOICE] = {"", "word", "a word"},
    [WORDS_DATASET] = {"DATASET", "data set", "a data set"},
    [WORDS_MODEL] = {"MODEL", "model", "a model"},
    [WORDS_OPTIMIZER] = {"OPTIMIZER", "optimizer", "an optimizer"},
    [WORDS_SCHEDULE] = {"SCHEDULE", "schedule", "a schedule"},
    [WORDS_METHOD] = {"METHOD", "merging method", "a merging method"},
    [WORDS_MEASUREMENT] = {"MEASUREMENT", "measurement", "a measurement"},
    [WORDS_SPLIT] = {"SPLIT", "split", "a split"},
    [WORDS_PANEL] = {"PANEL", "kind of panel", "a kind of panel"},
};

#define FIND(array, member, wanted)                                                                \
  for (size_t i = 0; i < COUNT(array); i++)                                                        \
    if (!strcmp((array)[i].member, wanted))                                                        \
      return &(array)[i];                                                                          \
  return NULL

const struct words_setting *words_setting(const char *name)
{
  FIND(settings, name, name);
}

const struct words_shape *words_shape(const char *data)
{
  FIND(shapes, name, data);
}

const struct words_text *words_text(const char *data)
{
  FIND(texts, name, data);
}

const struct words_measure *words_measure(const char *measurement)
{
  FIND(measures, name, measurement);
}

const struct words_merge *words_merge(const char *method)
{
  FIND(merges, name, method);
}

const struct words_spread *words_spread(const char *name)
{
  FIND(spreads, name, name);
}

const struct words_function *words_function(const char *name)
{
  FIND(functions, name, name);
}

bool words_has_batchnorm(const char *model)
{
  for (size_t i = 0; i < COUNT(batchnorm_models); i++)
    if (!strcmp(batchnorm_models[i], model))
      return true;
  return false;
}

enum plan_attr_id words_fused(const char *model)
{
  for (size_t i = 0; i < COUNT(fusable); i++)
    if (!strcmp(fusable[i].model, model))
      return fusable[i].attr;
  return PLAN_A_none;
}

const struct words_reads *words_reads(const char *model)
{
  for (size_t i = 0; i < COUNT(reads); i++)
    if (!strcmp(reads[i].model, model))
      return &reads[i];
  return NULL;
}

bool words_has_ood(const char *data)
{
  for (size_t i = 0; i < COUNT(shifted); i++)
    if (!strcmp(shifted[i], data))
      return true;
  return false;
}

const struct words_thing *words_thing(enum words_type sort, const char *name)
{
  for (size_t i = 0; i < COUNT(things); i++)
    if (things[i].sort == sort && !strcmp(things[i].name, name))
      return &things[i];
  return NULL;
}

static bool owns(const char *owner, const struct words_thing *thing)
{
  const char *key = sorts[thing->sort].key;
  const size_t n = strlen(key);
  if (!strcmp(owner, thing->name) || !strcmp(owner, key) ||
      (!strncmp(owner, key, n) && owner[n] == '_' && !strcmp(owner + n + 1, thing->name)))
    return true;
  return thing->sort == WORDS_DATASET &&
         !strcmp(owner, words_text(thing->name) ? "TEXTS" : "IMAGES");
}

/* Lowering asks for every step of a plan: the lists are made once. */
const struct words_param *words_param_at(const struct words_thing *thing, size_t k)
{
  static struct {
    unsigned char list[MAX_PARAMS], n;
    bool known;
  } of[COUNT(things)];
  static_assert(COUNT(params) < 256, "a parameter's index is a byte");
  size_t t = (size_t)(thing - things);
  for (size_t i = 0; !of[t].known && i < COUNT(params) && of[t].n < MAX_PARAMS; i++)
    if (owns(params[i].owner, thing))
      of[t].list[of[t].n++] = (unsigned char)i;
  of[t].known = true;
  return k < of[t].n ? &params[of[t].list[k]] : NULL;
}

const struct words_param *words_param(const struct words_thing *thing, const char *name)
{
  const struct words_param *p;
  for (size_t k = 0; (p = words_param_at(thing, k)); k++)
    if (!strcmp(p->name, name))
      return p;
  return NULL;
}

const char *words_setting_of(enum plan_attr_id attr)
{
  static const enum words_type sorts_of[] = {WORDS_DATASET, WORDS_MODEL};
  static const char *const settings_of[] = {"data", "model"};
  for (size_t i = 0; i < COUNT(things); i++)
    for (size_t k = 0; k < COUNT(sorts_of); k++) {
      const struct words_param *p;
      for (size_t n = 0; things[i].sort == sorts_of[k] && (p = words_param_at(&things[i], n)); n++)
        if (p->attr == attr)
          return settings_of[k];
    }
  return plan_attr_name(attr);
}

bool words_choice(const char *owner, const char *word)
{
  for (size_t i = 0; i < COUNT(choices); i++)
    if (!strcmp(choices[i].owner, owner) && !strcmp(choices[i].word, word))
      return true;
  return false;
}

static size_t choice_words(const char *owner, const char *out[MAX_WORDS])
{
  size_t n = 0;
  for (size_t i = 0; i < COUNT(choices) && n < MAX_WORDS; i++)
    if (!strcmp(choices[i].owner, owner))
      out[n++] = choices[i].word;
  return n;
}

/* Of the sort, those that are available, or those that are not yet. */
static size_t thing_words_if(enum words_type sort, bool available, const char *out[MAX_WORDS])
{
  size_t n = 0;
  for (size_t i = 0; i < COUNT(things) && n < MAX_WORDS; i++)
    if (things[i].sort == sort && things[i].available == available)
      out[n++] = things[i].name;
  return n;
}

static size_t thing_words(enum words_type sort, const char *out[MAX_WORDS])
{
  size_t n = 0;
  for (size_t i = 0; i < COUNT(things) && n < MAX_WORDS; i++)
    if (things[i].sort == sort)
      out[n++] = things[i].name;
  return n;
}

static char *join(struct arena *a, const char *const *words, size_t n)
{
  char *text = arena_strdup(a, n ? words[0] : "");
  for (size_t i = 1; i < n; i++)
    text = arena_printf(a, "%s, %s", text, words[i]);
  return text;
}

char *words_choices(struct arena *a, const char *owner)
{
  const char *words[MAX_WORDS];
  return join(a, words, choice_words(owner, words));
}

char *words_spreads(struct arena *a)
{
  const char *words[MAX_WORDS];
  size_t n = 0;
  for (; n < sizeof spreads / sizeof *spreads; n++)
    words[n] = spreads[n].name;
  return join(a, words, n);
}

char *words_things(struct arena *a, enum words_type sort)
{
  const char *words[MAX_WORDS];
  char *now = join(a, words, thing_words_if(sort, true, words));
  size_t n = thing_words_if(sort, false, words);
  return n ? arena_printf(a, "%s; not yet: %s", now, join(a, words, n)) : now;
}

const char *words_sort_name(enum words_type type)
{
  return sorts[type].name;
}

const char *words_sort_article(enum words_type type)
{
  return sorts[type].article;
}

bool words_in_range(const struct words_range *r, double v)
{
  bool above = *r->left == '(' ? v > r->low : v >= r->low;
  bool below = *r->right == ')' ? v < r->high : v <= r->high;
  return isfinite(v) && above && below;
}

char *words_range_text(struct arena *a, const struct words_range *r)
{
  char low[NUM_TEXT], high[NUM_TEXT];
  num_text(r->low, low);
  num_text(r->high, high);
  if (isinf(r->high))
    return arena_printf(a, *r->left == '(' ? "greater than %s" : "%s or more", low);
  return arena_printf(a, "%s %s %s %s", *r->left == '(' ? "above" : "from", low,
                      *r->right == ')' ? "to below" : "to", high);
}

const char *words_near_thing(enum words_type sort, const char *word)
{
  const char *words[MAX_WORDS];
  return diag_nearest(word, words, thing_words(sort, words));
}

const char *words_near_setting(const char *word)
{
  const char *words[COUNT(settings)];
  for (size_t i = 0; i < COUNT(settings); i++)
    words[i] = settings[i].name;
  return diag_nearest(word, words, COUNT(settings));
}

char *words_settings(struct arena *a)
{
  const char *words[COUNT(settings)];
  for (size_t i = 0; i < COUNT(settings); i++)
    words[i] = settings[i].name;
  return join(a, words, COUNT(settings));
}

const char *words_near_param(const struct words_thing *thing, const char *word)
{
  const char *words[MAX_WORDS];
  size_t n = 0;
  for (const struct words_param *p; n < MAX_WORDS && (p = words_param_at(thing, n)); n++)
    words[n] = p->name;
  return diag_nearest(word, words, n);
}

const char *words_near_choice(const char *owner, const char *word)
{
  const char *words[MAX_WORDS];
  return diag_nearest(word, words, choice_words(owner, words));
}

const char *words_near_function(const char *word)
{
  const char *words[MAX_WORDS];
  size_t n = thing_words(WORDS_MEASUREMENT, words);
  for (size_t i = 0; i < COUNT(functions) && n < MAX_WORDS; i++)
    words[n++] = functions[i].name;
  return diag_nearest(word, words, n);
}
