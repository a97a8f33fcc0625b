/* From the language to the plan: golden plans in tests/plan, and what must not
 * change a key.
 *
 * NAME.plan is the plan of NAME.exp, at the tier that a first line such as
 * "# tier: small" names.  UPDATE_GOLDEN=1 in the environment writes them anew. */
#include "config.h"

#include "dsl/check.h"
#include "dsl/lower.h"
#include "dsl/parse.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};

struct planned {
  struct arena *arena;
  struct ast_program *program;
  struct diag *diag;
  struct plan *plan;
  struct dsl *dsl;
  struct lower_result result;
};

static struct planned *planned_new(void)
{
  struct arena *a = arena_new();
  struct planned *p = arena_alloc(a, sizeof *p);
  *p = (struct planned){a, ast_program_new(a), diag_new(a), plan_new(a, versions), NULL, {0}};
  return p;
}

static void planned_free(struct planned *p)
{
  arena_free(p->arena);
}

static void finish(struct planned *p, const char *tier)
{
  p->dsl = dsl_resolve(p->arena, p->program, tier, p->diag);
  dsl_check(p->dsl, p->diag);
  if (!diag_errors(p->diag))
    dsl_lower(p->dsl, p->plan, &(struct lower_options){1e6}, &p->result, p->diag);
  if (!diag_errors(p->diag))
    return;
  diag_print(p->diag, p->program->sources, stderr, false);
  fail_msg("a mistake where there should be none");
}

/* Each text as a file of its own; `tier` may be NULL. */
static struct planned *plan_texts(const char *tier, const char *const *texts, size_t n)
{
  struct planned *p = planned_new();
  for (size_t i = 0; i < n; i++)
    parse_text(p->program, arena_printf(p->arena, "%zu.exp", i), texts[i], strlen(texts[i]),
               p->diag);
  finish(p, tier);
  return p;
}

#define PLAN(tier, ...)                                                                            \
  plan_texts(tier, (const char *[]){__VA_ARGS__},                                                  \
             sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *))

static unsigned count(const struct planned *p, enum plan_kind kind)
{
  unsigned n = 0;
  for (uint32_t i = 0; i < plan_count(p->plan); i++)
    n += plan_step(p->plan, i)->kind == kind;
  return n;
}

static const struct plan_step *nth(const struct planned *p, enum plan_kind kind, unsigned n)
{
  for (uint32_t i = 0; i < plan_count(p->plan); i++)
    if (plan_step(p->plan, i)->kind == kind && n-- == 0)
      return plan_step(p->plan, i);
  fail_msg("there are not that many");
  return NULL;
}

static bool has_key(const struct planned *p, struct hash key)
{
  return plan_find(p->plan, key) != UINT32_MAX;
}

static void assert_same_plan(const struct planned *a, const struct planned *b)
{
  assert_int_equal(plan_count(a->plan), plan_count(b->plan));
  for (uint32_t i = 0; i < plan_count(a->plan); i++)
    assert_true(has_key(b, plan_step(a->plan, i)->key));
}

/* ---- golden plans ---- */

static void print_table(const struct planned *p, const struct plan_table *t, FILE *out)
{
  char number[64];
  for (size_t c = 0; c < t->n_columns; c++)
    if (t->columns[c].measured)
      fprintf(out, "    %s = %s\n", t->columns[c].name,
              plan_expr_text(p->arena, &t->columns[c].expr));
  for (size_t r = 0; r < t->n_rows; r++) {
    fprintf(out, "   ");
    for (size_t c = 0; c < t->n_columns; c++) {
      const struct plan_cell *cell = &t->cells[r * t->n_columns + c];
      snprintf(number, sizeof number, "%g", cell->num);
      if (!t->columns[c].measured)
        fprintf(out, " %s=%s", t->columns[c].name, cell->str ? cell->str : number);
    }
    for (size_t s = 0; s < t->n_slots; s++) {
      const struct plan_slot *slot = &t->slots[r * t->n_slots + s];
      if (slot->input == PLAN_SLOT_NUMBER)
        fprintf(out, " s%zu=%g", s, slot->num);
      else
        fprintf(out, " s%zu=%u.%s", s, (unsigned)slot->input, slot->value);
    }
    putc('\n', out);
  }
}

static void print_axis(const char *name, const struct plan_axis *x, struct arena *a, FILE *out)
{
  static const char *const spreads[] = {"", " quartiles", " deciles", " range", " sd", " se"};
  if (x->column || x->statistic)
    fprintf(out, " %s=%s%s%s%s%s \"%s\"", name,
            x->statistic ? plan_claim_text(a, x->statistic) : x->column, x->log ? " log" : "",
            spreads[x->band], x->bars ? " bars" : "", x->fit ? " fit" : "", x->label);
}

static void print_figure(const struct plan_figure *f, struct arena *a, FILE *out)
{
  static const char *const kinds[] = {"lines", "scatter", "box", "heatmap", "contour"};
  fprintf(out, "    \"%s\" (%s) columns=%u\n", f->title, f->subtitle, f->columns);
  for (size_t i = 0; i < f->n_panels; i++) {
    const struct plan_panel *p = &f->panels[i];
    fprintf(out, "    %s %s \"%s\" of %u", p->name, kinds[p->kind], p->title, (unsigned)p->table);
    print_axis("x", &p->x, a, out);
    print_axis("y", &p->y, a, out);
    print_axis("z", &p->z, a, out);
    if (p->series)
      fprintf(out, " series=%s \"%s\"", p->series, p->series_label);
    if (p->opacity)
      fprintf(out, " opacity=%s", p->opacity);
    fprintf(out, "%s%s\n", p->omitted ? " omitted: " : "", p->omitted ? p->omitted : "");
  }
}

/* No line number and no key: those would change with every edit. */
static void print_plan(const struct planned *p, FILE *out)
{
  uint32_t *asked = arena_array(p->arena, plan_count(p->plan) + 1, sizeof *asked);
  plan_asked(p->plan, NULL, asked);
  for (uint32_t i = 0; i < plan_count(p->plan); i++) {
    const struct plan_step *s = plan_step(p->plan, i);
    fprintf(out, "#%u %s", (unsigned)i, plan_step_text(p->arena, s));
    for (uint32_t k = 0; k < s->n_inputs; k++)
      fprintf(out, "%s#%u", k ? " " : " <- ", (unsigned)s->inputs[k]);
    fprintf(out, " [%s%s%s]%s\n", s->origin.experiment, *s->origin.point ? " " : "",
            s->origin.point, asked[i] > 1 ? " shared" : "");
    if (s->table)
      print_table(p, s->table, out);
    if (s->figure)
      print_figure(s->figure, p->arena, out);
  }
}

static char *tier_of(const struct planned *p)
{
  static const char mark[] = "# tier: ";
  size_t length;
  const char *text = source_text(p->program->sources, 1, &length);
  if (!text || strncmp(text, mark, sizeof mark - 1))
    return NULL;
  text += sizeof mark - 1;
  return arena_strndup(p->arena, text, strcspn(text, "\n"));
}

static char *read_text(struct arena *a, const char *path)
{
  FILE *in = fopen(path, "rb");
  if (!in)
    return NULL;
  char *text = arena_alloc(a, 1 << 20);
  size_t n = fread(text, 1, (1 << 20) - 1, in);
  fclose(in);
  text[n] = 0;
  return text;
}

static bool golden(const char *name)
{
  struct planned *p = planned_new();
  parse_file(p->program, name, p->diag);
  finish(p, tier_of(p));
  char *text = NULL, *path = arena_printf(p->arena, "%.*splan", (int)strlen(name) - 3, name);
  size_t length;
  FILE *out = open_memstream(&text, &length);
  print_plan(p, out);
  fclose(out);
  if (getenv("UPDATE_GOLDEN")) {
    out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
  }
  char *expected = read_text(p->arena, path);
  bool same = expected && !strcmp(text, expected);
  if (!same)
    print_error("%s: expected\n%s\ngot\n%s\n", name, expected ? expected : "(no .plan file)", text);
  free(text);
  planned_free(p);
  return same;
}

static int is_source(const struct dirent *entry)
{
  size_t n = strlen(entry->d_name);
  return n > 4 && !strcmp(entry->d_name + n - 4, ".exp");
}

static void test_golden(void **state)
{
  (void)state;
  struct dirent **names;
  unsigned wrong = 0;
  assert_int_equal(chdir(SRCDIR "/tests/plan"), 0);
  int n = scandir(".", &names, is_source, alphasort);
  assert_true(n >= 30);
  for (int i = 0; i < n; i++) {
    wrong += !golden(names[i]->d_name);
    free(names[i]);
  }
  free(names);
  assert_int_equal(wrong, 0);
}

/* ---- sharing ---- */

#define BASE                                                                                       \
  "experiment base {\n"                                                                            \
  "  data = fashion_mnist(size = 14, train = 640, test = 100);\n"                                  \
  "  model = mlp(width = 16);\n"                                                                   \
  "  optimizer = sgd(momentum = 0.9, weight_decay = 5e-4);\n"                                      \
  "  lr = 0.1;\n"                                                                                  \
  "  batch = 32;\n"                                                                                \
  "  trunk every 2 epochs for 4 epochs at constant;\n"                                             \
  "  branch ends[2] at every 2 epochs of trunk for 1 epochs at sqrt_decay;\n"                      \
  "  merge mid = linear(ends);\n"                                                                  \
  "  measure gain = accuracy(mid, test) - mean(accuracy(ends, test));\n"                           \
  "}\n"

static void test_reformatting_changes_no_key(void **state)
{
  (void)state;
  struct planned *a = PLAN(NULL, BASE "experiment a : base { sweep lr over 0.1, 0.2; }\n"
                                      "experiment b : base { batch = 64; seed = 1; }\n");
  struct planned *b = PLAN(
      NULL, "# a comment, other spelling, other order, prose, notes\n"
            "experiment b : base { seed = 1;\tbatch = 6.4e1; @assumed(\"why not\") }\n"
            "## \\section{The same again}\n"
            "experiment a : base { sweep lr over 1e-1, 2e-1; @paper(\"3.1\") }\n"
            "experiment base {\n"
            "  measure gain = accuracy(mid, test) - mean(accuracy(ends, test));\n"
            "  merge mid = linear(ends, alpha = (0.25 + 0.25));\n"
            "  branch ends[2] at every 40 steps of trunk for 20 steps at sqrt_decay;\n"
            "  trunk every 2 epochs for 4 epochs at constant;\n"
            "  batch = 32;  lr = 0.1;  momentum = 0.9; weight_decay = 0.0005;  augment = none;\n"
            "  model = mlp(layers = 2, width = 16);  crop_padding = 8;\n"
            "  data = fashion_mnist(test = 100, compose = none, train = 640, size = 14);\n"
            "}\n");
  /* b's branch is in steps: with batch 64 these are other lengths. */
  struct planned *c = PLAN(NULL, BASE "experiment a : base { sweep lr over 0.1, 0.2; }\n");
  assert_true(plan_count(c->plan) > 10);
  for (uint32_t i = 0; i < plan_count(c->plan); i++)
    assert_true(has_key(b, plan_step(c->plan, i)->key));
  struct planned *d = PLAN(NULL, "# moved\n\n\nexperiment b : base { seed = 1; batch = 64; }\n"
                                 "experiment a : base { sweep lr over 0.1, 0.2; }\n" BASE);
  assert_same_plan(a, d);
  planned_free(a);
  planned_free(b);
  planned_free(c);
  planned_free(d);
}

/* ---- what changes no key ---- */

#define KEEP_BASE                                                                                  \
  "experiment base {\n"                                                                            \
  "  data = fashion_mnist(size = 14, train = 640, test = 100);\n"                                  \
  "  model = mlp(width = 16);\n  lr = 0.1;\n  batch = 32;\n  momentum = 0.9;\n"                    \
  "  trunk every 2 epochs for 4 epochs at constant;\n"                                             \
  "  branch ends[2] at every 2 epochs of trunk for 40 steps at sqrt_decay;\n"                      \
  "  merge mid = linear(ends);\n  merge point = plane(ends, trunk, x = 1, y = 1);\n"               \
  "  measure gain = loss(mid, test) - mean(loss(ends, test));\n"                                   \
  "  measure far = loss(point, test);\n}\n"
#define KEEP_MORE                                                                                  \
  "experiment rates : base { sweep lr over 0.1, 0.2; sweep seed over 0, 1; }\n"                    \
  "experiment both {\n"                                                                            \
  "  sweep (first, second) over pairs(seed of rates);\n  sweep lr over lr of rates;\n"             \
  "  use x = trunk of rates(seed = first);\n  use y = mid of rates(seed = second);\n"              \
  "  merge mid = linear(x, y);\n  measure fit = loss(mid, test);\n}\n"
#define KEEP_FIGURE "figure 1 \"f\" { panel a lines of rates { x = lr; y = gain; } }\n"

enum { ALL_KEYS, MODEL_KEYS }; /* without those of tables and figures, which show names */

static void assert_kept(const struct planned *a, const struct planned *b, int which,
                        const char *what)
{
  uint32_t n = 0;
  for (uint32_t i = 0; i < plan_count(a->plan); i++) {
    const struct plan_step *s = plan_step(a->plan, i);
    bool shows = s->kind == PLAN_TABLE || s->kind == PLAN_UNION || s->kind == PLAN_FIGURE;
    if (which == MODEL_KEYS && shows)
      continue;
    n++;
    if (!has_key(b, s->key))
      fail_msg("%s: lost %s", what, plan_kind_name(s->kind));
  }
  assert_true(n > 20);
}

static void test_what_changes_no_key(void **state)
{
  (void)state;
  static const struct {
    const char *what;
    int which;
    const char *text;
  } all[] = {
      {"comments, prose, notes", ALL_KEYS,
       "# one\n## \\section{Two}\n" KEEP_BASE "\n\n## three\n" KEEP_MORE "# four\n" KEEP_FIGURE},
      {"order of blocks", ALL_KEYS, KEEP_FIGURE KEEP_MORE KEEP_BASE},
      {"numbers written otherwise, and in another layout", ALL_KEYS,
       "experiment base { data=fashion_mnist(test=1e2,train=.64k,size=14.0);model=mlp(width=1.6e1);"
       "lr=1e-1;batch=3.2e1;momentum=.90;trunk every 2.0 epochs for 4 epochs at constant;branch "
       "ends[2] at every 40 steps of trunk for 2 epochs at sqrt_decay;merge mid=linear(ends,alpha="
       "1/2);merge point=plane(ends,trunk,y=1,x=2-1);measure gain=loss(mid,test)-mean(loss(ends,"
       "test));measure far=loss(point,test);}" KEEP_MORE KEEP_FIGURE},
      {"order of settings", ALL_KEYS,
       "experiment base {\n"
       "  measure gain = loss(mid, test) - mean(loss(ends, test));\n"
       "  measure far = loss(point, test);\n"
       "  merge mid = linear(ends);\n  merge point = plane(ends, trunk, x = 1, y = 1);\n"
       "  branch ends[2] at every 2 epochs of trunk for 40 steps at sqrt_decay;\n"
       "  trunk every 2 epochs for 4 epochs at constant;\n"
       "  momentum = 0.9;\n  batch = 32;\n  lr = 0.1;\n  model = mlp(width = 16);\n"
       "  data = fashion_mnist(size = 14, train = 640, test = 100);\n}\n" KEEP_MORE KEEP_FIGURE},
      {"settings in a base, and defaults said", ALL_KEYS,
       "experiment root { momentum = 0.9; batch = 32; weight_decay = 0; augment = none;\n"
       "  optimizer = sgd(momentum = 0.9); start = scratch; head = kept; crop_padding = 3;\n"
       "  trunk every 2 epochs for 4 epochs at constant; lr = 5; }\n"
       "experiment base : root {\n"
       "  data = fashion_mnist(size = 14, train = 640, test = 100, compose = none);\n"
       "  model = mlp(width = 16, layers = 2);\n  lr = 0.1;\n"
       "  branch ends[2] at every 2 epochs of trunk for 40 steps at sqrt_decay;\n"
       "  merge mid = linear(ends, alpha = 0.5);\n"
       "  merge point = plane(ends, trunk, x = 1, y = 1);\n"
       "  measure gain = loss(mid, test) - mean(loss(ends, test));\n"
       "  measure far = loss(point, test);\n}\n" KEEP_MORE KEEP_FIGURE},
      {"order of merges and measures", MODEL_KEYS,
       "experiment base {\n"
       "  data = fashion_mnist(size = 14, train = 640, test = 100);\n"
       "  model = mlp(width = 16);\n  lr = 0.1;\n  batch = 32;\n  momentum = 0.9;\n"
       "  trunk every 2 epochs for 4 epochs at constant;\n"
       "  branch ends[2] at every 2 epochs of trunk for 40 steps at sqrt_decay;\n"
       "  merge point = plane(ends, trunk, x = 1, y = 1);\n  merge mid = linear(ends);\n"
       "  measure far = loss(point, test);\n"
       "  measure gain = loss(mid, test) - mean(loss(ends, test));\n}\n" KEEP_MORE KEEP_FIGURE},
      {"names", MODEL_KEYS,
       "experiment root {\n"
       "  data = fashion_mnist(size = 14, train = 640, test = 100);\n"
       "  model = mlp(width = 16);\n  lr = 0.1;\n  batch = 32;\n  momentum = 0.9;\n"
       "  trunk every 2 epochs for 4 epochs at constant;\n"
       "  branch pair[2] at every 2 epochs of trunk for 40 steps at sqrt_decay;\n"
       "  merge middle = linear(pair);\n  merge corner = plane(pair, trunk, x = 1, y = 1);\n"
       "  measure better = loss(middle, test) - mean(loss(pair, test));\n"
       "  measure away = loss(corner, test);\n}\n"
       "experiment speeds : root { sweep seed over 1, 0; sweep lr over 0.2, 0.1; }\n"
       "experiment matrix {\n"
       "  sweep lr over 0.2, 0.1;\n  sweep (p, q) over (0, 1);\n"
       "  use a = trunk of speeds(seed = p);\n  use b = middle of speeds(seed = q);\n"
       "  merge m = linear(a, b);\n  measure fit = loss(m, test);\n}\n"},
  };
  struct planned *p = PLAN(NULL, KEEP_BASE KEEP_MORE KEEP_FIGURE);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct planned *q = PLAN(NULL, all[i].text);
    assert_kept(p, q, all[i].which, all[i].what);
    assert_kept(q, p, all[i].which, all[i].what);
    planned_free(q);
  }
  planned_free(p);
}

/* What the engine cannot do yet is in the plan, and its target says why it is left out. */
static void test_unavailable_is_lowered(void **state)
{
  (void)state;
  struct planned *p = PLAN(NULL, BASE "experiment a : base { start = file(\"nowhere\"); }\n"
                                      "experiment b {\n  use x = mid of a;\n"
                                      "  measure f = loss(x, test);\n}\n"
                                      "experiment c : base { }\n");
  assert_int_equal(p->result.n, 3);
  for (size_t i = 0; i < 3; i++) {
    const struct lower_target *t = &p->result.targets[i];
    assert_int_equal(plan_step(p->plan, t->step)->kind, PLAN_TABLE);
    if (!strcmp(t->experiment, "c"))
      assert_null(t->unavailable);
    else
      assert_string_equal(t->unavailable, "the file nowhere is not there");
  }
  assert_string_equal(nth(p, PLAN_INIT, 0)->origin.path, "nowhere");
  assert_int_equal(count(p, PLAN_INIT), 2);
  planned_free(p);
}

/* All that is trained, merged and measured is one for both; only the tables differ. */
static void test_two_files_share_training(void **state)
{
  (void)state;
  struct planned *one = PLAN(NULL, BASE "experiment a : base { }\n");
  struct planned *two = PLAN(NULL, BASE "experiment a : base { }\n", "experiment b : base { }\n");
  assert_int_equal(plan_count(two->plan), plan_count(one->plan) + 1);
  assert_int_equal(count(two, PLAN_TABLE), 2);
  assert_int_equal(count(one, PLAN_TRAIN), 2 + 4);
  struct plan_sharing s = plan_sharing(two->plan, NULL);
  assert_true(s.steps == 2 * 40 + 4 * 20 && s.steps_unshared == 2 * s.steps);
  planned_free(one);
  planned_free(two);
}

static void test_longer_trunk_shares_the_shorter(void **state)
{
  (void)state;
  struct planned *p =
      PLAN(NULL, BASE "experiment a : base { }\n"
                      "experiment b : base { trunk every 2 epochs for 8 epochs at constant; }\n");
  assert_int_equal(count(p, PLAN_TRAIN), 4 + 8);
  assert_int_equal(nth(p, PLAN_TABLE, 0)->table->n_rows, 2);
  assert_int_equal(nth(p, PLAN_TABLE, 1)->table->n_rows, 4);
  planned_free(p);
}

/* Up to the point where they differ, two experiments are one. */
static void test_what_a_change_reaches(void **state)
{
  (void)state;
  static const struct {
    const char *change;
    bool data, init, train, measure;
  } all[] = {
      {"lr = 0.2;", true, true, false, false},
      {"batch = 64;", true, true, false, false},
      {"momentum = 0.5;", true, true, false, false},
      {"augment = flip_crop;", true, true, false, false},
      {"seed = 1;", true, false, false, false},
      {"model = mlp(width = 17);", true, false, false, false},
      {"data = fashion_mnist(size = 7, train = 640, test = 100);", false, false, false, false},
      {"branch ends[2] at every 2 epochs of trunk for 2 epochs at sqrt_decay;", true, true, true,
       false},
      {"merge mid = linear(ends, alpha = 0.25);", true, true, true, false},
      {"measure gain = loss(mid, test);", true, true, true, true},
      {"crop_padding = 3;", true, true, true, true}, /* unused without augmentation */
  };
  struct planned *one = PLAN(NULL, BASE "experiment a : base { }\n");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    char text[256];
    snprintf(text, sizeof text, "experiment a : base { %s }\n", all[i].change);
    struct planned *p = PLAN(NULL, BASE, text);
    assert_int_equal(has_key(p, nth(one, PLAN_DATA, 0)->key), all[i].data);
    assert_int_equal(has_key(p, nth(one, PLAN_INIT, 0)->key), all[i].init);
    assert_int_equal(has_key(p, nth(one, PLAN_TRAIN, 0)->key), all[i].train);
    /* The last measure is one of the merged model or of an endpoint: all but one differ. */
    unsigned kept = 0;
    for (uint32_t k = 0; k < plan_count(one->plan); k++)
      kept +=
          plan_step(one->plan, k)->kind == PLAN_MERGE && has_key(p, plan_step(one->plan, k)->key);
    assert_int_equal(kept == count(one, PLAN_MERGE), all[i].measure);
    planned_free(p);
  }
  planned_free(one);
}

static void test_sweep_overrides_the_optimizer(void **state)
{
  (void)state;
  struct planned *p = PLAN(NULL, BASE "experiment a : base { sweep momentum over 0, 0.5; }\n");
  assert_true(plan_num(nth(p, PLAN_TRAIN, 0), PLAN_A_momentum) == 0);
  assert_true(plan_num(nth(p, PLAN_TRAIN, 6), PLAN_A_momentum) == 0.5);
  assert_true(plan_num(nth(p, PLAN_TRAIN, 6), PLAN_A_weight_decay) == 5e-4);
  assert_string_equal(nth(p, PLAN_TRAIN, 6)->origin.point, "momentum=0.5");
  planned_free(p);
  p = PLAN(NULL, BASE "experiment a : base { momentum = 0.5; }\n"
                      "experiment b : a { optimizer = sgd(momentum = 0.25); }\n"
                      "experiment c : a { optimizer = sgd; }\n"
                      "figure 1 \"t\" { panel a lines of a { x = epoch; y = gain; } }\n");
  assert_true(plan_num(nth(p, PLAN_TRAIN, 0), PLAN_A_momentum) == 0.5);
  assert_true(plan_num(nth(p, PLAN_TRAIN, 6), PLAN_A_momentum) == 0.25);
  assert_int_equal(count(p, PLAN_TRAIN), 12); /* c is a again */
  planned_free(p);
}

/* The losses of a made-up line: it rises first, and ends higher than it begins. */
static double made_up_loss(double alpha)
{
  static const double losses[] = {1, 3, 2.5, 1, 2};
  return losses[(int)(4 * alpha + 0.5)];
}

/* What the table's column says where models have made-up losses and accuracies. */
static double made_up(const struct planned *p, const char *column)
{
  const struct plan_step *step = nth(p, PLAN_TABLE, 0);
  const struct plan_table *t = step->table;
  double *slots = arena_array(p->arena, t->n_slots, sizeof *slots);
  for (size_t i = 0; i < t->n_slots; i++) {
    const struct plan_step *measure = plan_step(p->plan, step->inputs[t->slots[i].input]);
    const struct plan_step *model = plan_step(p->plan, measure->inputs[0]);
    const bool merged = model->kind == PLAN_MERGE;
    slots[i] = strcmp(t->slots[i].value, "loss") ? merged ? 0.6 : 0.8
                                                 : made_up_loss(plan_num(model, PLAN_A_alpha));
  }
  for (size_t c = 0; c < t->n_columns; c++)
    if (!strcmp(t->columns[c].name, column))
      return plan_expr_eval(&t->columns[c].expr, slots);
  fail_msg("no such column");
  return 0;
}

/* Above the line from 1 to 2 the loss of 3 is 1.75 higher, and above their mean 1.5. */
static void test_barriers_and_normalized_accuracy(void **state)
{
  (void)state;
  struct planned *p = PLAN(
      NULL, BASE "experiment b : base {"
      "  branch ends[2] at end of trunk for 1 epochs at constant;"
      "  merge mid = linear(ends);"
      "  measure line = barrier(ends[0], ends[1], test, points = 5);"
      "  measure mean_of_ends = barrier(ends[0], ends[1], test, points = 5, definition = mean);"
      "  measure share = normalized_accuracy(mid, ends[0], test);"
      "  measure gain = share;"
      "}");
  assert_true(made_up(p, "line") == 1.75);
  assert_true(made_up(p, "mean_of_ends") == 1.5);
  assert_true(fabs(made_up(p, "share") - 0.75) < 1e-15);
  assert_int_equal(count(p, PLAN_MERGE), 5); /* both barriers' points, of which one is mid */
  planned_free(p);
}

static void test_limit(void **state)
{
  (void)state;
  struct planned *p = planned_new();
  static const char text[] = BASE "experiment a : base { sweep lr over 0.1, 0.2, 0.3; }\n";
  parse_text(p->program, "a.exp", text, strlen(text), p->diag);
  p->dsl = dsl_resolve(p->arena, p->program, NULL, p->diag);
  dsl_check(p->dsl, p->diag);
  assert_int_equal(diag_count(p->diag), 0);
  assert_false(dsl_lower(p->dsl, p->plan, &(struct lower_options){5}, &p->result, p->diag));
  assert_int_equal(diag_errors(p->diag), 1);
  assert_int_equal(plan_count(p->plan), 0);
  assert_non_null(strstr(diag_hint_of(p->diag, 0), "--max-steps="));
  planned_free(p);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),
      cmocka_unit_test(test_reformatting_changes_no_key),
      cmocka_unit_test(test_what_changes_no_key),
      cmocka_unit_test(test_unavailable_is_lowered),
      cmocka_unit_test(test_two_files_share_training),
      cmocka_unit_test(test_longer_trunk_shares_the_shorter),
      cmocka_unit_test(test_what_a_change_reaches),
      cmocka_unit_test(test_sweep_overrides_the_optimizer),
      cmocka_unit_test(test_barriers_and_normalized_accuracy),
      cmocka_unit_test(test_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
