/* words.def and the engine say the same: what the language calls available can
 * be done, with the shapes and defaults that the table promises. */
#include "config.h"

#include "dsl/words.h"
#include "engine/data_int.h"
#include "engine/net.h"
#include "engine/schedule.h"
#include "merge/fuse.h"
#include "merge/match.h"
#include "merge/merge.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct thing {
  enum words_type sort;
  const char *name;
  bool available;
};

static const struct thing things[] = {
#define THING(sort, name, available, meaning) {WORDS_##sort, #name, available},
#include "dsl/words.def"
};

enum { THINGS = sizeof things / sizeof *things };

struct fixture {
  struct arena *arena;
  struct diag *diag;
};

static int begin(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  *f = (struct fixture){a, diag_new(a)};
  *state = f;
  return 0;
}

static int end(void **state)
{
  arena_free(((struct fixture *)*state)->arena);
  return 0;
}

static void test_data_sets(void **state)
{
  struct fixture *f = *state;
  unsigned found = 0;
  for (size_t i = 0; i < THINGS; i++) {
    if (things[i].sort != WORDS_DATASET || words_text(things[i].name))
      continue;
    const struct words_shape *w = words_shape(things[i].name);
    assert_non_null(w);
    struct data_spec spec = {.name = things[i].name};
    struct data_set set;
    bool known = data_shape(&spec, &set, f->diag);
    assert_int_equal(known, things[i].available);
    if (!known)
      continue;
    found++;
    assert_int_equal(set.height, w->height);
    assert_int_equal(set.width, w->width);
    assert_int_equal(set.channels, w->channels);
    assert_int_equal(set.classes, w->classes);
    assert_int_equal(set.split[DATA_TRAIN].n, w->train);
    assert_int_equal(set.split[DATA_TEST].n, w->test);
  }
  assert_int_equal(found, data_source_count());
  /* Text: with blocks of one token, what is counted are the tokens that have a successor. */
  for (size_t i = 0; i < THINGS; i++) {
    const struct words_text *w = words_text(things[i].name);
    for (int bytes = 0; w && things[i].sort == WORDS_DATASET && bytes < 2; bytes++) {
      struct data_spec spec = {.name = w->name, .block = 1, .tokenizer = bytes ? "bytes" : "gpt2"};
      struct data_set set;
      assert_int_equal(data_shape(&spec, &set, f->diag), !bytes || w->train_bytes > 0);
      if (bytes && w->train_bytes <= 0)
        continue;
      assert_true(set.split[DATA_TRAIN].n == (bytes ? w->train_bytes : w->train) - 1);
      assert_true(set.split[DATA_TEST].n == (bytes ? w->test_bytes : w->test) - 1);
    }
  }
}

static double default_of(const struct words_thing *model, const char *name)
{
  const struct words_param *p = words_param(model, name);
  return p ? strtod(p->def, NULL) : 0;
}

static struct net_spec spec_of(const struct words_thing *model, const struct words_shape *data,
                               bool say_defaults)
{
  struct net_spec s = {
      .model = model->name,
      .channels = data->channels,
      .height = data->height,
      .image_width = data->width,
      .classes = data->classes,
  };
  if (say_defaults) {
    s.width = (unsigned)default_of(model, "width");
    s.stages = (unsigned)default_of(model, "stages");
    s.blocks = (unsigned)default_of(model, "blocks");
    s.layers = (unsigned)default_of(model, "layers");
    s.growth = (unsigned)default_of(model, "growth");
    s.heads = (unsigned)default_of(model, "heads");
    s.patch = (unsigned)default_of(model, "patch");
    s.hidden = (unsigned)default_of(model, "hidden");
  }
  return s;
}

/* The table's defaults are the engine's. */
static void check_model(struct fixture *f, const struct words_thing *model, bool available,
                        const struct words_shape *shape, unsigned block)
{
  struct net_spec said = spec_of(model, shape, true), unsaid = spec_of(model, shape, false);
  said.block = unsaid.block = block;
  struct net *net = net_new(f->arena, &said, f->diag);
  assert_int_equal(net != NULL, available);
  if (!net)
    return;
  struct net *same = net_new(f->arena, &unsaid, f->diag);
  assert_non_null(same);
  assert_int_equal(net_count(net), net_count(same));
  assert_int_equal(net_classes(net), shape->classes);
  assert_int_equal(net_targets(net), block ? block : 1);
  /* dsl/lower_point.c knows which merges have statistics to treat. */
  assert_int_equal(net_has_batchnorm(net), words_has_batchnorm(model->name));
  assert_non_null(net_groups_new(f->arena, net, f->diag)); /* all can be matched */
}

/* What READS says of a model's weights and its input. */
static void check_reads(struct fixture *f, const struct words_thing *model)
{
  const struct words_reads *reads = words_reads(model->name);
  assert_non_null(reads);
  if (!model->available || reads->text)
    return;
  struct words_shape small = *words_shape("cifar10"), large = small;
  large.height = large.width = 64;
  const struct net_spec specs[2] = {spec_of(model, &small, false), spec_of(model, &large, false)};
  const struct net *nets[2];
  for (int i = 0; i < 2; i++)
    assert_non_null(nets[i] = net_new(f->arena, &specs[i], f->diag));
  assert_int_equal(reads->sized, net_count(nets[0]) != net_count(nets[1]));
}

/* Of the table's defaults, patches have to divide the image, and ConvNeXt divides it by 4 and
 * halves it three times. */
static bool takes(const struct words_thing *model, const struct words_shape *images)
{
  const unsigned patch = (unsigned)default_of(model, "patch");
  return model->available && !words_reads(model->name)->text &&
         (!patch || (images->height % patch == 0 && images->width % patch == 0)) &&
         (strcmp(model->name, "convnext_tiny") != 0 || images->height >= 32);
}

/* Language models take text and nothing else, the others each data set of images. */
static void test_models(void **state)
{
  struct fixture *f = *state;
  const struct words_shape text = {.channels = 1, .height = 1, .width = 32, .classes = 256};
  for (size_t i = 0; i < THINGS; i++) {
    if (things[i].sort != WORDS_MODEL)
      continue;
    const struct words_thing *model = words_thing(WORDS_MODEL, things[i].name);
    check_reads(f, model);
    check_model(f, model, model->available && words_reads(model->name)->text, &text, text.width);
    for (size_t k = 0; k < THINGS; k++) {
      const struct words_shape *images = words_shape(things[k].name);
      if (things[k].sort == WORDS_DATASET && images)
        check_model(f, model, takes(model, images), images, 0);
    }
  }
}

static void test_schedules_and_methods(void **state)
{
  (void)state;
  for (size_t i = 0; i < THINGS; i++) {
    enum schedule_kind kind;
    /* The lowering puts the trunk's schedule in the place of `continued`. */
    if (things[i].sort == WORDS_SCHEDULE && strcmp(things[i].name, "continued"))
      assert_int_equal(schedule_find(things[i].name, &kind), things[i].available);
    enum match_method match;
    enum fuse_method fuse;
    if (things[i].sort == WORDS_METHOD)
      assert_int_equal(merge_find(things[i].name) || match_find(things[i].name, &match) ||
                           fuse_find(things[i].name, &fuse),
                       things[i].available);
  }
}

/* What the language knows by heart elsewhere. */
static void test_fixed_names(void **state)
{
  (void)state;
  static const struct thing fixed[] = {
      {WORDS_OPTIMIZER, "sgd", true},
      {WORDS_OPTIMIZER, "adamw", true},
      {WORDS_MEASUREMENT, "accuracy", true},
      {WORDS_MEASUREMENT, "loss", true},
      {WORDS_MEASUREMENT, "normalized_accuracy", true},
      {WORDS_MEASUREMENT, "barrier", true},
      {WORDS_MEASUREMENT, "cka", true},
      {WORDS_MEASUREMENT, "distance", true},
      {WORDS_MEASUREMENT, "cosine", true},
      {WORDS_MEASUREMENT, "disagreement", true},
      {WORDS_MEASUREMENT, "sharpness", true},
      {WORDS_MEASUREMENT, "hessian_trace", true},
      {WORDS_MEASUREMENT, "average_sharpness", true},
      {WORDS_MEASUREMENT, "gradient_noise", true},
      {WORDS_MEASUREMENT, "tail_index", true},
      {WORDS_MEASUREMENT, "norm", true},
      {WORDS_MEASUREMENT, "invariant_norm", true},
      {WORDS_SPLIT, "train", true},
      {WORDS_SPLIT, "test", true},
      {WORDS_SPLIT, "ood", true},
      {WORDS_PANEL, "lines", true},
      {WORDS_PANEL, "scatter", true},
      {WORDS_PANEL, "box", true},
      {WORDS_PANEL, "heatmap", true},
      {WORDS_PANEL, "contour", true},
  };
  size_t counted = 0;
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
    const struct words_thing *t = words_thing(fixed[i].sort, fixed[i].name);
    assert_true(t && t->available);
  }
  for (size_t i = 0; i < THINGS; i++)
    counted += things[i].available && things[i].sort >= WORDS_OPTIMIZER &&
               things[i].sort != WORDS_METHOD && things[i].sort != WORDS_MODEL &&
               things[i].sort != WORDS_SCHEDULE;
  assert_int_equal(counted, sizeof fixed / sizeof *fixed);
}

/* Every default is within its own range, and every name is said once. */
static void test_table_is_sound(void **state)
{
  struct fixture *f = *state;
  static const char *const names[] = {"data",         "model", "optimizer", "lr",
                                      "momentum",     "batch", "augment",   "crop_padding",
                                      "weight_decay", "seed"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const struct words_setting *s = words_setting(names[i]);
    assert_non_null(s);
    if (s->type <= WORDS_COUNT && *s->def)
      assert_true(words_in_range(&s->range, strtod(s->def, NULL)));
    if (s->type == WORDS_CHOICE)
      assert_true(words_choice(s->name, s->def));
  }
  for (size_t i = 0; i < THINGS; i++) {
    for (size_t k = 0; k < i; k++)
      assert_false(things[i].sort == things[k].sort && !strcmp(things[i].name, things[k].name));
    const struct words_thing *t = words_thing(things[i].sort, things[i].name);
    const struct words_param *p;
    for (size_t k = 0; (p = words_param_at(t, k)); k++) {
      assert_ptr_equal(words_param(t, p->name), p);
      const bool some = things[i].sort == WORDS_DATASET || !strcmp(p->name, "samples");
      const bool whole = some && strtod(p->def, NULL) == 0; /* 0: all of it */
      if (p->type == WORDS_NUMBERS && !strcmp(p->def, "none"))
        continue;
      assert_true(p->type == WORDS_CHOICE
                      ? words_choice(p->name, p->def)
                      : whole || words_in_range(&p->range, strtod(p->def, NULL)));
    }
  }
  struct words_range open = {"(", ")", 0, 1}, above = {"(", ")", 0, HUGE_VAL};
  assert_string_equal(words_range_text(f->arena, &open), "above 0 to below 1");
  assert_string_equal(words_range_text(f->arena, &above), "greater than 0");
  assert_false(words_in_range(&open, 0));
  assert_false(words_in_range(&open, 1));
  assert_false(words_in_range(&above, HUGE_VAL));
  assert_true(words_in_range(&above, 1e300));
}

#define WORDS_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORDS_TEST(test_data_sets),
      WORDS_TEST(test_models),
      WORDS_TEST(test_schedules_and_methods),
      WORDS_TEST(test_fixed_names),
      WORDS_TEST(test_table_is_sound),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
