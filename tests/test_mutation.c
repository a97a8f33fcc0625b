/* What changes a key and what does not.
 *
 * Pairs of texts that say one thing differently: for every parameter, setting and
 * word of words.def, made here from the table itself, and for what lengths and
 * files decide, written out below.  Step for step, a key of the two plans differs
 * exactly where an attribute or the key of an input does.  Each (kind, attribute)
 * that any plan has must be told apart by some pair, so that a new attribute
 * without a mutation fails. */
#include "config.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "plan_pairs.h"
#include "scratch.h"

/* ---- words.def ---- */

static const struct {
  enum words_type sort;
  const char *name;
} things[] = {
#define THING(sort, name, available, meaning) {WORDS_##sort, #name},
#include "dsl/words.def"
};

static const struct {
  const char *name;
  enum words_type type;
} settings[] = {
#define SETTING(name, type, lb, low, high, rb, def, label, meaning) {#name, WORDS_##type},
#include "dsl/words.def"
};

static const struct {
  const char *owner, *word;
} choices[] = {
#define CHOICE(owner, word) {#owner, #word},
#include "dsl/words.def"
};

enum { TRIES = 4 };

/* The k-th pair of values to try; false: there is none, or it cannot be. */
static bool values_of(const char *name, enum words_type type, const struct words_range *range,
                      unsigned k, const char *values[2])
{
  static const char *const numbers[TRIES][2] = {
      {"64", "128"}, {"2", "1"}, {"0.5", "0.25"}, {"32", "16"}};
  unsigned found = 0;
  switch (type) {
  case WORDS_NUMBER:
  case WORDS_COUNT:
    for (unsigned i = 0; i < 2; i++) {
      double v = strtod(numbers[k][i], NULL);
      if (!words_in_range(range, v) || (type == WORDS_COUNT && v < 1))
        return false;
      values[i] = numbers[k][i];
    }
    return true;
  case WORDS_NUMBERS:
    if (!strcmp(name, "weights")) { /* of two models, for one */
      values[0] = "(0.5, 0.5)";
      values[1] = "(0.25, 0.75)";
      return !k;
    }
    return values_of(name, WORDS_NUMBER, range, k, values);
  case WORDS_CHOICE:
    for (size_t i = 0; i < sizeof choices / sizeof *choices && found < 2; i++)
      if (!strcmp(choices[i].owner, name))
        values[found++] = choices[i].word;
    return !k && found == 2;
  case WORDS_LENGTH:
    values[0] = "10 steps";
    values[1] = "20 steps";
    return !k;
  case WORDS_WEIGHTS:
    values[0] = "trunk";
    values[1] = "start";
    return !k;
  default:
    return false;
  }
}

/* What must be said, or what fits the data and the branch better than the default. */
static const char *needed(const struct words_param *w)
{
  if (!strcmp(w->name, "train"))
    return "640";
  if (!strcmp(w->name, "last"))
    return "1";
  if (!strcmp(w->name, "patch"))
    return "7";
  if (w->type == WORDS_LENGTH)
    return "30 steps";
  return w->type == WORDS_WEIGHTS ? "ends[0]" : NULL;
}

/* Puts a thing, called with `param = value` (param NULL: with what it needs), where
 * things of its sort stand. */
static void place(struct arena *a, const struct words_thing *t, const char *param,
                  const char *value, struct parts *p)
{
  const struct words_param *w;
  const struct words_merge *merge = t->sort == WORDS_METHOD ? words_merge(t->name) : NULL;
  const struct words_measure *measure =
      t->sort == WORDS_MEASUREMENT ? words_measure(t->name) : NULL;
  const char *call = "";
  if (merge)
    call = merge->most == 1 ? "ends[1]" : merge->fewest == 3 ? "ends, trunk" : "ends";
  if (measure)
    call = arena_printf(a, "%s%s", measure->models == 2 ? "mid, ends[0]" : "mid",
                        measure->split ? ", test" : "");
  for (size_t k = 0; (w = words_param_at(t, k)); k++) {
    const char *said = param && !strcmp(param, w->name) ? value : needed(w);
    if (said)
      call = arena_printf(a, "%s%s%s = %s", call, *call ? ", " : "", w->name, said);
  }
  /* Where it says something. */
  if (param && !strcmp(param, "labels"))
    call = arena_printf(a, "%s, compose = pairs, test = 100", call);
  if (param && !strcmp(param, "samples") && !strcmp(t->name, "intra_fusion"))
    call = arena_printf(a, "%s, importance = taylor", call);
  call = *call ? arena_printf(a, "%s(%s)", t->name, call) : t->name;
  if (t->sort == WORDS_MODEL && words_reads(t->name)->text)
    p->data = "king_james(block = 16, train = 640)";
  if (t->sort == WORDS_DATASET && words_text(t->name))
    p->model = "gpt(width = 16)";
  const char **plain = t->sort == WORDS_DATASET     ? &p->data
                       : t->sort == WORDS_MODEL     ? &p->model
                       : t->sort == WORDS_OPTIMIZER ? &p->optimizer
                                                    : &p->measure;
  *plain = call;
  switch (t->sort) {
  case WORDS_SCHEDULE:
    p->trunk = "every 40 steps for 80 steps at cosine"; /* something to go on with */
    p->branch = arena_printf(a, "ends[2] at 40 steps of trunk for 40 steps at %s", call);
    p->measure = NULL;
    break;
  case WORDS_METHOD:
    p->merge = call;
    p->measure = strcmp(t->name, "swa") ? NULL : "loss(mid[0], test)";
    break;
  case WORDS_SPLIT:
    p->data = "fashion_mnist(size = 14, train = 640, test = 100, shift = noise)";
    p->measure = arena_printf(a, "loss(mid, %s)", t->name);
    break;
  default:
    break;
  }
}

static void mutate_param(struct arena *a, const struct words_thing *t, const struct words_param *w)
{
  char *what = arena_printf(a, "%s(%s)", t->name, w->name);
  for (unsigned k = 0; k < TRIES; k++) {
    const char *values[2];
    struct parts x = {0}, y = {0};
    if (!values_of(w->name, w->type, &w->range, k, values))
      continue;
    place(a, t, w->name, values[0], &x);
    place(a, t, w->name, values[1], &y);
    if (try_pair(&x, &y, what))
      return;
  }
  fail_msg("%s: no two values of it give plans", what);
}

static void test_every_parameter(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  const struct words_param *w;
  unsigned n = 0;
  for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
    const struct words_thing *t = words_thing(things[i].sort, things[i].name);
    for (size_t k = 0; t->sort != WORDS_PANEL && (w = words_param_at(t, k)); k++, n++)
      if (w->attr != PLAN_A_none)
        mutate_param(a, t, w);
  }
  assert_true(n > 80);
  arena_free(a);
}

/* Each word against the next of its sort; accuracy and loss are one evaluation. */
static void test_every_thing(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  unsigned n = 0;
  for (size_t i = 0; i + 1 < sizeof things / sizeof *things; i++) {
    const struct words_thing *t = words_thing(things[i].sort, things[i].name);
    const struct words_thing *next = words_thing(things[i + 1].sort, things[i + 1].name);
    struct parts x = {0}, y = {0};
    if (t->sort != next->sort || t->sort == WORDS_PANEL ||
        (!strcmp(t->name, "accuracy") && !strcmp(next->name, "loss")))
      continue;
    place(a, t, NULL, NULL, &x);
    place(a, next, NULL, NULL, &y);
    pair(&x, &y, arena_printf(a, "%s or %s", t->name, next->name));
    n++;
  }
  assert_true(n > 35);
  arena_free(a);
}

/* A setting, where all that settings decide is there: batch norm to recalibrate, a
 * new classifier, augmentation, a merge at alpha. */
static bool try_setting(struct arena *a, const char *name, const char *const values[2])
{
  static const char *const context[][2] = {
      {"augment", "flip_crop"}, {"head", "new"}, {"head_seed", "7"}};
  struct parts p[2];
  char *rest = arena_strdup(a, "");
  for (size_t i = 0; i < sizeof context / sizeof *context; i++)
    if (strcmp(context[i][0], name))
      rest = arena_printf(a, "%s  %s = %s;\n", rest, context[i][0], context[i][1]);
  for (unsigned i = 0; i < 2; i++)
    p[i] = (struct parts){.model = "resnet18(width = 8)",
                          .start = strcmp(name, "seed") ? weights_a : "scratch",
                          .merge = "linear(ends, alpha = alpha)",
                          .settings = arena_printf(a, "%s  %s = %s;\n", rest, name, values[i])};
  return try_pair(&p[0], &p[1], name);
}

static void test_every_setting(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  unsigned n = 0;
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    const struct words_setting *s = words_setting(settings[i].name);
    bool done = s->type > WORDS_LENGTH; /* things: above; files: below */
    for (unsigned k = 0; k < TRIES && !done; k++, n++) {
      const char *values[2];
      done = values_of(s->name, s->type, &s->range, k, values) && try_setting(a, s->name, values);
    }
    if (!done)
      fail_msg("%s: no two values of it give plans", s->name);
  }
  assert_true(try_setting(a, "augment", (const char *const[]){"none", "flip_crop"}));
  assert_true(try_setting(a, "head", (const char *const[]){"new", "kept"}));
  assert_true(n > 7);
  arena_free(a);
}

/* ---- lengths, files, statistics ---- */

static void test_written_pairs(void **state)
{
  (void)state;
#define ONE_OR_OTHER(field, one, other)                                                            \
  {.field = one},                                                                                  \
  {                                                                                                \
    .field = other                                                                                 \
  }
#define SHORT " of trunk for 10 steps at sqrt_decay"
#define LONG "ends[2] at end of trunk for 40 steps at constant with snapshots every "
  static const struct {
    const char *what;
    struct parts x, y;
  } all[] = {
      {"how long the trunk is",
       ONE_OR_OTHER(trunk, "for 20 steps at constant", "for 1 epochs at cosine")},
      {"how long a trunk's schedule is",
       {.trunk = "every 20 steps for 40 steps at cosine", .branch = "ends[2] at 20 steps" SHORT},
       {.trunk = "every 20 steps for 60 steps at cosine", .branch = "ends[2] at 20 steps" SHORT}},
      {"how long a branch is",
       ONE_OR_OTHER(branch, "ends[2] at end of trunk for 20 steps at cosine",
                    "ends[2] at end of trunk for 2 epochs at cosine")},
      {"where a branch begins",
       {.trunk = "every 20 steps for 40 steps at constant", .branch = "ends[2] at 20 steps" SHORT},
       {.trunk = "every 40 steps for 40 steps at constant", .branch = "ends[2] at 40 steps" SHORT}},
      {"when snapshots are taken", ONE_OR_OTHER(branch, LONG "20 steps", LONG "30 steps")},
      {"how many samples an epoch has", {0}, {.data = "fashion_mnist(size = 14, train = 320)"}},
      {"batch norm of a merge",
       {.model = "resnet18", .merge = "linear(ends) with batchnorm averaged"},
       {.model = "resnet18", .merge = "linear(ends) with batchnorm recalibrated"}},
      {"samples of a merge's batch norm",
       {.model = "resnet18", .merge = "linear(ends) with batchnorm recalibrated samples 32"},
       {.model = "resnet18", .merge = "linear(ends) with batchnorm recalibrated samples 64"}},
      {"which models are merged",
       ONE_OR_OTHER(merge, "linear(ends[0], ends[1])", "linear(ends[0], trunk)")},
      {"in what order they are merged",
       ONE_OR_OTHER(merge, "linear(ends[0], ends[1], alpha = 0.25)",
                    "linear(ends[1], ends[0], alpha = 0.25)")},
      {"what is measured", ONE_OR_OTHER(measure, "loss(mid, test)", "loss(trunk, test)")},
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    pair(&all[i].x, &all[i].y, all[i].what);
}

static void test_files(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct parts files[3] = {{.start = weights_a}, {.start = weights_b}, {.start = weights_c}};
  struct plan *p = plan_good(a, write_text(a, &files[0])),
              *q = plan_good(a, write_text(a, &files[1]));
  assert_true(same_shape(p, q) && compare(p, q, "what is in the file") > 5);
  q = plan_good(a, write_text(a, &files[2]));
  assert_true(same_shape(p, q));
  assert_int_equal(compare(p, q, "where the file is"), 0);
  arena_free(a);
}

/* Two continuations differ in their stream and in nothing else. */
static void test_stream(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct plan *p = plan_good(a, write_text(a, &(struct parts){0}));
  for (uint32_t i = 0; i < plan_count(p); i++)
    for (uint32_t k = 0; k < i; k++) {
      const struct plan_step *x = plan_step(p, k), *y = plan_step(p, i);
      unsigned differ = 0;
      if (x->kind != PLAN_TRAIN || y->kind != PLAN_TRAIN || x->inputs[0] != y->inputs[0])
        continue;
      for (uint32_t t = 0; t < x->n_attrs; t++)
        differ += !same_attr(&x->attrs[t], &y->attrs[t]);
      assert_int_equal(differ, 1);
      assert_false(hash_equal(x->key, y->key));
      cover(x, y);
    }
  assert_true(covered[PLAN_TRAIN][PLAN_A_stream]);
  arena_free(a);
}

/* Whatever sets it: no attribute of a step is left out of its key. */
static void test_every_attribute_of_a_step(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct parts parts = {.start = weights_a,
                        .model = "resnet18(width = 8)",
                        .settings = "  augment = flip_crop;\n",
                        .measure = "cka(mid, ends[0], test)"};
  struct plan *p = plan_good(a, write_text(a, &parts));
  uint32_t n = plan_count(p), tried = 0;
  for (uint32_t i = 0; i < n; i++) {
    struct plan_step s = *plan_step(p, i);
    for (uint32_t k = 0; k < s.n_attrs; k++, tried++) {
      struct plan_attr *attrs = arena_copy(a, s.attrs, s.n_attrs * sizeof *attrs);
      attrs[k].num += attrs[k].str ? 0 : 1e-9 * (1 + fabs(attrs[k].num));
      if (attrs[k].str)
        attrs[k].str = arena_printf(a, "%s2", attrs[k].str);
      struct plan_step other = s;
      other.attrs = attrs;
      assert_true(plan_add_step(p, &other) >= n);
    }
  }
  assert_true(tried > 60);
  arena_free(a);
}

/* ---- all files of experiments/ ---- */

static int is_figure(const struct dirent *entry)
{
  size_t n = strlen(entry->d_name);
  return !strncmp(entry->d_name, "fig", 3) && n > 4 && !strcmp(entry->d_name + n - 4, ".exp");
}

/* One run over all of them, as `make figures` does it: without a mistake, and within
 * the limit that holds where none is said. */
static uint32_t plan_all(const char *tier)
{
  struct arena *a = arena_new();
  struct ast_program *program = ast_program_new(a);
  struct diag *d = diag_new(a);
  struct plan *plan = plan_new(a, versions);
  struct lower_result result = {0};
  struct dirent **names;
  int n = scandir(SRCDIR "/experiments", &names, is_figure, alphasort);
  assert_true(n >= 36);
  for (int i = 0; i < n; i++) {
    parse_file(program, arena_printf(a, SRCDIR "/experiments/%s", names[i]->d_name), d);
    free(names[i]);
  }
  free(names);
  parse_file(program, arena_printf(a, SRCDIR "/experiments/tiers/%s.exp", tier), d);
  struct dsl *dsl = dsl_resolve(a, program, tier, d);
  dsl_check(dsl, d);
  if (!diag_errors(d))
    dsl_lower(dsl, plan, &(struct lower_options){1e6}, &result, d);
  if (diag_errors(d)) {
    diag_print(d, program->sources, stderr, false);
    fail_msg("mistakes at tier %s", tier);
  }
  note_attributes(plan);
  uint32_t steps = plan_count(plan);
  arena_free(a);
  return steps;
}

static void test_all_experiments(void **state)
{
  (void)state;
  assert_true(plan_all("smoke") > 1000);
  assert_true(plan_all("small") > 5000);
  uint32_t paper = plan_all("paper");
  assert_true(paper >= 100000 && paper <= 1000000);
}

static void test_no_attribute_is_forgotten(void **state)
{
  (void)state;
  unsigned missing = 0;
  for (unsigned k = 0; k < PLAN_KIND_COUNT; k++)
    for (unsigned i = 0; i < PLAN_ATTR_COUNT; i++)
      if (occurs[k][i] && !covered[k][i]) {
        print_error("%s: no mutation of `%s`\n", plan_kind_name((enum plan_kind)k),
                    plan_attr_name((enum plan_attr_id)i));
        missing++;
      }
  for (unsigned i = 0; i < PLAN_ATTR_COUNT; i++) {
    bool used = i == PLAN_A_last; /* its snapshots are inputs */
    for (unsigned k = 0; k < PLAN_KIND_COUNT; k++)
      used |= occurs[k][i];
    if (!used)
      print_error("no plan has `%s`\n", plan_attr_name((enum plan_attr_id)i));
    missing += !used;
  }
  assert_int_equal(missing, 0);
}

/* ---- files ---- */

/* A checkpoint of four bytes; what they are, planning does not ask. */
static const char *write_weights(struct scratch *s, const char *name, const char *text)
{
  static const char header[] = "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
  const uint64_t length = sizeof header - 1;
  const struct file_part parts[] = {{&length, sizeof length}, {header, length}, {text, 4}};
  char *path = arena_printf(s->arena, "%s/%s", s->dir, name);
  assert_true(file_write_parts(path, parts, 3, s->diag));
  return arena_printf(s->arena, "file(\"%s\")", path);
}

static int begin(void **state)
{
  if (scratch_setup(state))
    return -1;
  weights_a = write_weights(*state, "a.safetensors", "this");
  weights_b = write_weights(*state, "b.safetensors", "that");
  weights_c = write_weights(*state, "c.safetensors", "this");
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_parameter),
      cmocka_unit_test(test_every_thing),
      cmocka_unit_test(test_every_setting),
      cmocka_unit_test(test_written_pairs),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_stream),
      cmocka_unit_test(test_every_attribute_of_a_step),
      cmocka_unit_test(test_all_experiments),
      cmocka_unit_test(test_no_attribute_is_forgotten), /* of all above: the last */
  };
  return cmocka_run_group_tests(tests, begin, scratch_teardown);
}
