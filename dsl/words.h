/* Look-up in words.def. */
#ifndef MERGESCAPE_DSL_WORDS_H
#define MERGESCAPE_DSL_WORDS_H

#include "plan/plan.h"

#include <stdbool.h>
#include <stddef.h>

enum words_type {
  WORDS_NUMBER, WORDS_COUNT, WORDS_LENGTH, WORDS_CHOICE, WORDS_START, WORDS_WEIGHTS, WORDS_NUMBERS,
  WORDS_DATASET, WORDS_MODEL, WORDS_OPTIMIZER, WORDS_SCHEDULE, WORDS_METHOD,
  WORDS_MEASUREMENT, WORDS_SPLIT, WORDS_PANEL
};

struct words_range {
  const char *left, *right; /* brackets */
  double low, high;
};

struct words_setting {
  const char *name;
  enum words_type type;
  struct words_range range;
  const char *def, *label, *meaning; /* def "": none */
};

struct words_thing {
  enum words_type sort;
  const char *name;
  bool available;
  const char *meaning;
};

/* A parameter that the compiler uses up. */
#define PLAN_A_none PLAN_ATTR_COUNT

struct words_param {
  const char *owner, *name;
  enum words_type type;
  struct words_range range;
  const char *def;
  enum plan_attr_id attr;
  const char *meaning;
};

struct words_reads {
  const char *model;
  bool text;  /* or images */
  bool sized; /* a parameter's shape depends on the image's size */
};

struct words_shape {
  const char *name;
  unsigned train, test, height, width, channels, classes;
};

struct words_text {
  const char *name;
  double train, test;             /* tokens */
  double train_bytes, test_bytes; /* 0: not known */
};

struct words_measure {
  const char *name;
  unsigned models;
  bool split;
  bool made; /* of other measurements, by the compiler */
};

struct words_merge {
  const char *name;
  unsigned fewest, most; /* models */
  bool averages;         /* so that batch norm's statistics have to be mended */
  bool draws;            /* random numbers, by the seed of the run that the first model is of */
  bool looks;            /* at each model's own training data */
};

struct words_spread {
  const char *name;
  enum plan_spread spread;
};

struct words_function {
  const char *name;
  enum plan_op op;
  unsigned operands;
};

const struct words_setting *words_setting(const char *name);
const struct words_thing *words_thing(enum words_type sort, const char *name);
const struct words_shape *words_shape(const char *data);
const struct words_text *words_text(const char *data); /* NULL: images */
const struct words_measure *words_measure(const char *measurement);
const struct words_merge *words_merge(const char *method);
const struct words_spread *words_spread(const char *name);
const struct words_function *words_function(const char *name);
bool words_has_batchnorm(const char *model);
/* What fusing makes smaller: width, growth, or of transformers hidden; PLAN_A_none: it does not
 * know the model's units. */
enum plan_attr_id words_fused(const char *model);
const struct words_reads *words_reads(const char *model);
bool words_has_ood(const char *data); /* its own, not made */
/* The k-th parameter of a thing: its own, those of its sort, and of a data set
 * those of images or texts.  NULL behind the last. */
const struct words_param *words_param_at(const struct words_thing *, size_t k);
const struct words_param *words_param(const struct words_thing *, const char *name);
/* The setting that decides an attribute: `model` for width; else its own name. */
const char *words_setting_of(enum plan_attr_id);
bool words_choice(const char *owner, const char *word);
/* "none, flip_crop": the words that are allowed, for messages. */
char *words_choices(struct arena *, const char *owner);
/* "fashion_mnist, mnist; not yet: svhn" */
char *words_things(struct arena *, enum words_type sort);
char *words_settings(struct arena *);
char *words_spreads(struct arena *);
const char *words_sort_name(enum words_type); /* "data set" */
const char *words_sort_article(enum words_type); /* "a data set", "an optimizer" */

bool words_in_range(const struct words_range *, double);
/* "greater than 0", "from 0 up to, but not including, 1". */
char *words_range_text(struct arena *, const struct words_range *);

/* The nearest word of a sort, or NULL; likewise for the rest. */
const char *words_near_thing(enum words_type, const char *);
const char *words_near_setting(const char *);
const char *words_near_param(const struct words_thing *, const char *);
const char *words_near_choice(const char *owner, const char *);
const char *words_near_function(const char *); /* functions and measurements */

#endif
