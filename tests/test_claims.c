/* Claims: from their text to a verdict, on tables made up here. */
#include "config.h"

#include "base/rng.h"
#include "dsl/check.h"
#include "dsl/lower.h"
#include "dsl/parse.h"
#include "figure/claims_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

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

static const char experiment[] =
    "experiment e {\n"
    "  data = fashion_mnist; model = mlp;\n"
    "  sweep lr over 1, 2, 4; sweep batch over 1, 2; sweep augment over none, flip_crop;\n"
    "  sweep seed over 0, 1;\n"
    "  trunk every 1 epochs for 2 epochs at constant;\n"
    "  measure gain = loss(trunk, test); measure single = accuracy(trunk, test);\n"
    "}\n"
    "experiment left_out : e { data = svhn; }\n"
    "tier small \"s\" { }\n"
    "tier tiny : small \"t\" { }\n"
    "tier other \"o\" { }\n";

static const struct plan_claim *compile(struct fixture *f, const char *tier, const char *on,
                                        const char *body)
{
  static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};
  char *text = arena_printf(f->arena, "%sclaim C1 \"text\" on %s { %s }\n", experiment, on, body);
  struct ast_program *program = ast_program_new(f->arena);
  parse_text(program, "claim.exp", text, strlen(text), f->diag);
  struct dsl *dsl = dsl_resolve(f->arena, program, tier, f->diag);
  struct lower_result result = {0};
  dsl_check(dsl, f->diag);
  if (!diag_errors(f->diag))
    dsl_lower(dsl, plan_new(f->arena, versions), &(struct lower_options){1e6}, &result, f->diag);
  if (diag_errors(f->diag))
    diag_print(f->diag, program->sources, stderr, false);
  assert_int_equal(diag_errors(f->diag), 0);
  assert_int_equal(result.n_claims, 1);
  return &result.claims[0];
}

static const struct plan_claim *claim(struct fixture *f, const char *body)
{
  return compile(f, "small", "e", body);
}

static struct figure_csv table(struct fixture *f, const char *text)
{
  struct figure_csv csv;
  assert_true(figure_csv_parse(f->arena, "t.csv", text, strlen(text), &csv, f->diag));
  return csv;
}

/* ---- statistics ---- */

static const char rows[] = "lr,augment,epoch,gain,single\n"
                           "1,none,1,1,10\n"
                           "1,none,2,3,20\n"
                           "2,none,1,5,30\n"
                           "2,none,2,7,20\n"
                           "4,flip_crop,1,2,50\n"
                           "4,flip_crop,2,nan,40\n";

static void test_statistics(void **state)
{
  static const struct {
    const char *text;
    double value;
  } cases[] = {
      {"mean(gain)", 3.6},
      {"median(gain)", 3},
      {"min(gain)", 1},
      {"max(gain)", 7},
      {"quantile(gain, 0.25)", 2},
      {"-mean(gain)", -3.6},
      {"mean(gain * 2 + 1)", 8.2},
      {"quantile(gain, 0.25) ^ 2 / 8", 0.5},
      {"abs(min(gain) - max(gain))", 6},
      {"log10(max(gain) * 100 / 7)", 2},
      {"exp(log(max(gain)))", 7},
      {"sqrt(max(gain) + 2)", 3},
      /* median(gain) by lr is 2, 6, 2 */
      {"interior_peak(median(gain) by lr)", 4},
      {"argmax(median(gain) by lr)", 2},
      {"first(median(gain) by lr)", 2},
      {"last(mean(single) by lr)", 45},
      {"max(median(gain) by lr)", 6},
      {"mean(median(gain) by lr)", 10.0 / 3},
      {"trend(median(gain) by lr)", 0},
      {"trend(mean(single) by lr)", 1},
      {"trend(-mean(single) by lr)", -1},
      {"first(median(gain) by augment)", 4},
      {"last(median(gain) by augment)", 2},
      {"pearson(lr, gain)", 0},
      {"pearson(single, gain)", -0.0547584},
      {"spearman(single, gain)", 0.2051957},
      {"partial(lr, gain, single)", 0.1752112},
      {"among(augment == none, median(gain))", 4},
      {"among(augment != none, max(gain))", 2},
      {"among(lr <= 2 and gain > 2, mean(gain))", 5},
      {"among(lr < 2 or gain == 7, mean(gain))", 11.0 / 3},
      {"among(not lr >= 2, mean(gain))", 2},
      {"among(gain != 3, max(gain) - min(gain))", 6},
      {"among(lr <= argmax(median(gain) by lr), last(median(gain) by lr))", 6},
      {"mean((among(augment == none, median(single)) - 1) by lr)", 19},
      {"max((max(gain) - min(gain)) by lr)", 2},
  };
  struct fixture *f = *state;
  struct figure_csv csv = table(f, rows);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *body = arena_printf(f->arena, "expect %s > 0;", cases[i].text);
    double v = claims_statistic(claim(f, body)->statistic, &csv);
    if (!(fabs(v - cases[i].value) < 1e-6))
      fail_msg("%s is %g, not %g", cases[i].text, v, cases[i].value);
  }
}

static void test_undefined(void **state)
{
  static const char *const cases[] = {
      "among(lr > 9, mean(gain))",
      "among(lr > 9, interior_peak(median(gain) by lr))",
      "among(lr < 4, interior_peak(median(gain) by lr))",
      "partial(lr, gain, lr)",
      "quantile(gain, 2)",
      "among(lr > 9, spread(median(gain) by lr, epoch))",
      "log(-max(gain))",
  };
  struct fixture *f = *state;
  struct figure_csv csv = table(f, rows);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *body = arena_printf(f->arena, "expect %s > 0;", cases[i]);
    assert_true(isnan(claims_statistic(claim(f, body)->statistic, &csv)));
  }
}

static void test_spread(void **state)
{
  struct fixture *f = *state;
  /* Two parallel curves one apart; the quartiles of 0 1 1 2 2 3 are one apart. */
  struct figure_csv csv = table(f, "lr,batch,gain\n1,1,0\n10,1,1\n100,1,2\n"
                                   "1,2,1\n10,2,2\n100,2,3\n");
  const struct plan_claim *c = claim(f, "expect spread(median(gain) by lr, batch) > 0;");
  assert_float_equal(claims_statistic(c->statistic, &csv), 1, 1e-9);
  /* Against ten times the learning rate the second curve is the first. */
  csv = table(f, "lr,batch,gain\n1,1,0\n10,1,1\n100,1,2\n10,2,1\n100,2,2\n1000,2,3\n");
  assert_float_equal(claims_statistic(c->statistic, &csv), 0, 1e-9);
  c = claim(f, "expect spread(median(gain) by lr, batch) < spread(mean(gain) by lr, batch);");
  assert_int_equal(c->statistic->op, PLAN_CLAIM_SUB);
  assert_false(c->greater);
}

static void test_distance(void **state)
{
  (void)state;
  const double one[] = {1, 10}, two[] = {10, 100}, far[] = {1000, 2000}, v[] = {0, 1},
               w[] = {1, 0}, linear[] = {1, 3, 10};
  const double bent[] = {0, 1, 1};
  struct claims_curve a = {2, one, v}, b = {2, one, w}, c = {2, two, w}, d = {2, far, v};
  struct claims_curve e = {3, linear, bent};
  assert_float_equal(claims_distance(&a, &a, true), 0, 1e-12);
  assert_float_equal(claims_distance(&a, &b, true), 0.5, 1e-12); /* they cross */
  assert_float_equal(claims_distance(&a, &b, false), 0.5, 1e-12);
  assert_float_equal(claims_distance(&a, &c, true), 0, 1e-12); /* they touch, both 1 */
  assert_float_equal(claims_distance(&b, &c, true), 1, 1e-12);
  assert_true(isnan(claims_distance(&a, &d, true)));
  /* Between 1 and 10: triangles under the bent curve, above the straight one. */
  assert_float_equal(claims_distance(&e, &a, false), (7.0 / 9 * 2 / 2 + 7.0 / 9 * 7 / 2) / 9,
                     1e-12);
}

/* ---- the language ---- */

static void test_lowering(void **state)
{
  struct fixture *f = *state;
  const struct plan_claim *c =
      claim(f, "expect trend(median(gain) by lr) > 1 - 0.5; units = epoch; tolerance = 0.25;");
  assert_string_equal(c->name, "C1");
  assert_string_equal(c->unit, "epoch");
  assert_true(c->judged && c->greater && c->n_units == 1);
  assert_float_equal(c->tolerance, 0.25, 0);
  assert_string_equal(plan_claim_text(f->arena, c->statistic),
                      "-(trend(by(median(gain), lr)), -(1, 0.5))");
  c = claim(f, "expect mean(gain) > 0; units = seed lr;");
  assert_string_equal(c->unit, "seed-lr");
  assert_int_equal(c->n_units, 2);
  c = claim(f, "expect 0.5 < mean(gain); units = step;");
  assert_true(c->greater);
  assert_float_equal(c->bound, 0.5, 0);
  c = claim(f, "expect among(augment == \"none\", mean(gain)) >= 0.5;");
  assert_string_equal(plan_claim_text(f->arena, c->statistic),
                      "among(==(augment, \"none\"), mean(gain))");
  assert_string_equal(c->unit, "seed");
}

static void test_tiers(void **state)
{
  struct fixture *f = *state;
  assert_true(compile(f, "small", "e", "expect mean(gain) > 0; tiers = paper small;")->judged);
  assert_true(compile(f, "tiny", "e", "expect mean(gain) > 0; tiers = small;")->judged);
  assert_false(compile(f, "other", "e", "expect mean(gain) > 0; tiers = small;")->judged);
  assert_true(compile(f, NULL, "e", "expect mean(gain) > 0; tiers = paper;")->judged);
  assert_false(compile(f, NULL, "e", "expect mean(gain) > 0; tiers = small;")->judged);
  const struct plan_claim *c = compile(f, "small", "left_out", "expect mean(gain) > 0;");
  assert_non_null(c->omitted);
  struct claims_result r;
  assert_true(claims_judge(NULL, NULL, c, &r, f->diag));
  assert_int_equal(r.verdict, CLAIMS_NOT_AVAILABLE);
  c = compile(f, "other", "e", "expect mean(gain) > 0; tiers = small;");
  assert_true(claims_judge(NULL, NULL, c, &r, f->diag));
  assert_int_equal(r.verdict, CLAIMS_NOT_JUDGED);
}

/* ---- verdicts ---- */

enum { SEEDS = 12, REPEATS = 40, ROWS_A_SEED = 9 };

/* Three learning rates and three rows of each; noise of the seed and of the row. */
static struct figure_csv noisy(struct fixture *f, double effect, double seed_noise, uint32_t repeat)
{
  struct figure_text t = {.arena = f->arena};
  struct rng rng = rng_at(repeat, RNG_TEST, 0, 0, 0);
  figure_add(&t, "lr,seed,gain\n");
  for (int s = 0; s < SEEDS; s++) {
    double own = seed_noise * rng_normal(&rng);
    for (int k = 0; k < ROWS_A_SEED; k++)
      figure_add(&t, "%d,%d,%.17g\n", 1 + k % 3, s,
                 effect * (k % 3) + own + 0.3 * rng_normal(&rng));
  }
  return table(f, t.s);
}

static void count_verdicts(struct fixture *f, const char *body, double effect, double seed_noise,
                           int verdicts[3])
{
  const struct plan_claim *c = claim(f, body);
  memset(verdicts, 0, 3 * sizeof *verdicts);
  for (uint32_t i = 0; i < REPEATS; i++) {
    struct figure_csv csv = noisy(f, effect, seed_noise, i);
    struct claims_result r;
    claims_evaluate(c, &csv, &r);
    assert_int_equal(r.n_units, SEEDS);
    assert_true(r.low <= r.statistic && r.statistic <= r.high);
    verdicts[r.verdict]++;
  }
}

static void test_bootstrap(void **state)
{
  struct fixture *f = *state;
  static const char body[] = "expect spearman(lr, gain) > 0;";
  int v[3];
  count_verdicts(f, body, 0.3, 0, v);
  assert_true(v[CLAIMS_PASS] >= REPEATS * 9 / 10);
  count_verdicts(f, body, -0.3, 0, v);
  assert_true(v[CLAIMS_FAIL] >= REPEATS * 9 / 10);
  count_verdicts(f, body, 0, 0, v);
  assert_true(v[CLAIMS_UNDECIDED] >= REPEATS * 8 / 10);
}

/* Nine rows of a seed that share its noise are one observation, not nine. */
static void test_whole_units(void **state)
{
  struct fixture *f = *state;
  int v[3];
  count_verdicts(f, "expect mean(gain) > 0;", 0, 2, v);
  assert_true(v[CLAIMS_UNDECIDED] >= REPEATS * 8 / 10);
}

static struct claims_result judge(struct fixture *f, const char *body, const char *text)
{
  struct claims_result r;
  struct figure_csv csv = table(f, text);
  claims_evaluate(claim(f, body), &csv, &r);
  return r;
}

static const char tenth[] = "seed,gain\n0,0.09\n1,0.1\n2,0.11\n3,0.095\n4,0.105\n";

static void test_tolerance(void **state)
{
  struct fixture *f = *state;
  assert_int_equal(judge(f, "expect mean(gain) > 0;", tenth).verdict, CLAIMS_PASS);
  assert_int_equal(judge(f, "expect mean(gain) > 0; tolerance = 0.05;", tenth).verdict,
                   CLAIMS_PASS);
  assert_int_equal(judge(f, "expect mean(gain) > 0; tolerance = 0.2;", tenth).verdict,
                   CLAIMS_FAIL);
  assert_int_equal(judge(f, "expect mean(gain) < 0;", tenth).verdict, CLAIMS_FAIL);
  assert_int_equal(judge(f, "expect mean(gain) < 0.3; tolerance = 0.1;", tenth).verdict,
                   CLAIMS_PASS);
  assert_int_equal(judge(f, "expect mean(gain) < 0.3; tolerance = 0.25;", tenth).verdict,
                   CLAIMS_FAIL);
}

/* Rows of two experiments: a seed's rows of both are drawn together. */
static void test_several_experiments(void **state)
{
  static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};
  struct fixture *f = *state;
  char *text = arena_printf(f->arena,
                            "%sexperiment e2 : e { data = mnist; }\n"
                            "claim C1 \"text\" on e, e2 { expect\n"
                            "  among(experiment == e2, mean(gain)) >\n"
                            "  among(experiment == e, mean(gain)); }\n",
                            experiment);
  struct ast_program *program = ast_program_new(f->arena);
  parse_text(program, "claim.exp", text, strlen(text), f->diag);
  struct dsl *dsl = dsl_resolve(f->arena, program, NULL, f->diag);
  struct lower_result result = {0};
  dsl_check(dsl, f->diag);
  dsl_lower(dsl, plan_new(f->arena, versions), &(struct lower_options){1e6}, &result, f->diag);
  assert_int_equal(diag_errors(f->diag), 0);
  assert_int_equal(result.n_claims, 1);
  /* The seeds differ by much more than the experiments do. */
  struct figure_csv csv = table(f, "experiment,seed,gain,failed\n"
                                   "e,0,1,0\ne,1,20,0\ne,2,300,0\ne,3,4,0\ne,4,50,0\ne,5,6,0\n"
                                   "e2,0,1.5,0\ne2,1,20.5,0\ne2,2,300.5,0\ne2,3,4.5,0\n"
                                   "e2,4,50.5,0\ne2,5,6.5,0\n");
  struct claims_result r;
  claims_evaluate(&result.claims[0], &csv, &r);
  assert_int_equal(r.n_units, 6);
  assert_float_equal(r.statistic, 0.5, 1e-9);
  assert_float_equal(r.low, 0.5, 1e-9);
  assert_float_equal(r.high, 0.5, 1e-9);
  assert_int_equal(r.verdict, CLAIMS_PASS);
}

/* The same rows, and the same in another order, give the same interval. */
static void test_deterministic(void **state)
{
  struct fixture *f = *state;
  struct claims_result r = judge(f, "expect mean(gain) > 0.1;", tenth);
  struct claims_result again = judge(f, "expect mean(gain) > 0.1;", tenth);
  assert_true(r.verdict == again.verdict && r.statistic == again.statistic);
  assert_true(r.low == again.low && r.high == again.high && r.n_units == again.n_units);
  again = judge(f, "expect mean(gain) > 0.1;",
                "seed,gain\n4,0.105\n2,0.11\n0,0.09\n3,0.095\n1,0.1\n");
  assert_float_equal(r.low, again.low, 1e-12);
  assert_float_equal(r.high, again.high, 1e-12);
  assert_int_equal(r.verdict, CLAIMS_UNDECIDED);
}

static void test_needed(void **state)
{
  struct fixture *f = *state;
  /* The mean is 0.1, and the interval reaches about 0.009 to each side. */
  struct claims_result r = judge(f, "expect mean(gain) > 0.098;", tenth);
  double reach = r.statistic - r.low, distance = 0.002;
  assert_int_equal(r.verdict, CLAIMS_UNDECIDED);
  assert_float_equal(r.needed, ceil(5 * reach * reach / (distance * distance)), 1);
  assert_true(r.needed > 5);
  r = judge(f, "expect median(gain) > 0.1;", tenth);
  assert_int_equal(r.verdict, CLAIMS_UNDECIDED);
  assert_true(isinf(r.needed));
}

static void test_failed_rows(void **state)
{
  struct fixture *f = *state;
  struct claims_result r = judge(f, "expect mean(gain) > 0;",
                                 "seed,gain,single\n0,1,nan\n1,2,1\n2,nan,1\n3,inf,1\n4,3,1\n");
  assert_float_equal(r.statistic, 2, 1e-12);
  assert_int_equal(r.n_dropped, 2);
  assert_int_equal(r.n_units, 5);
  r = judge(f, "expect mean(gain) > 0;", "seed,gain\n0,nan\n1,nan\n2,nan\n");
  assert_int_equal(r.verdict, CLAIMS_UNDECIDED);
  assert_true(isnan(r.statistic) && isnan(r.low));
  assert_non_null(r.note);
  assert_int_equal(r.n_dropped, 3);
  /* One of three units alone has a value: most resamples miss it now and then. */
  r = judge(f, "expect mean(gain) > 0;", "seed,gain\n0,1\n1,nan\n2,nan\n");
  assert_int_equal(r.verdict, CLAIMS_UNDECIDED);
  assert_non_null(r.note);
}

static void test_few_units(void **state)
{
  struct fixture *f = *state;
  struct claims_result r = judge(f, "expect mean(gain) > 0;", "seed,gain\n0,1\n0,2\n1,3\n1,4\n");
  assert_int_equal(r.verdict, CLAIMS_UNDECIDED);
  assert_float_equal(r.statistic, 2.5, 1e-12);
  assert_int_equal(r.n_units, 2);
  assert_float_equal(r.needed, CLAIMS_MIN_UNITS, 0);
  assert_true(isnan(r.low));
  r = judge(f, "expect mean(gain) > 0; units = seed lr;",
            "seed,lr,gain\n1,7,1\n0,7,2\n0,8,3\n1,7,4\n0,8,5\n");
  assert_int_equal(r.n_units, 3);
  assert_false(isnan(r.low));
  r = judge(f, "expect mean(gain) > 0; units = seed lr;", "lr,gain\n7,1\n7,2\n8,3\n");
  assert_int_equal(r.n_units, 2);
  /* A table without the column has one unit. */
  r = judge(f, "expect mean(gain) > 0;", "epoch,gain\n0,1\n1,2\n2,3\n3,4\n");
  assert_int_equal(r.n_units, 1);
  r = judge(f, "expect mean(gain) > 0;", "seed,gain\n");
  assert_int_equal(r.n_units, 0);
  assert_int_equal(r.verdict, CLAIMS_UNDECIDED);
}

/* ---- what is printed ---- */

static void test_printed(void **state)
{
  struct fixture *f = *state;
  struct plan_claim c = *claim(f, "expect mean(gain) > 0.098;");
  c.text = "larger, \"better\"";
  struct claims_row row[2] = {{&c, judge(f, "expect mean(gain) > 0.098;", tenth), "fig01.exp"},
                              {&c, {.verdict = CLAIMS_FAIL}, "fig02.exp"}};
  char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  claims_print(row, 2, "small", false, out);
  fclose(out);
  assert_non_null(strstr(text, "UNDECIDED 0.1 [0.09"));
  assert_non_null(strstr(text, "> 0.098"));
  assert_non_null(strstr(text, "5 seeds"));
  assert_non_null(strstr(text, " seeds would decide"));
  assert_non_null(strstr(text, "0 PASS, 1 FAIL, 1 UNDECIDED"));
  assert_null(strchr(text, '\033'));
  free(text);
  out = open_memstream(&text, &length);
  claims_print(row, 2, "small", true, out);
  fclose(out);
  assert_non_null(strstr(text, "\033[1;31mFAIL\033[0m"));
  free(text);

  char path[] = "/tmp/claims.XXXXXX";
  int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  assert_true(claims_write_csv(path, row, 2, "small", f->diag));
  FILE *in = fopen(path, "r");
  assert_non_null(in);
  char bytes[4096];
  size_t n = fread(bytes, 1, sizeof bytes, in);
  fclose(in);
  unlink(path);
  struct figure_csv csv;
  assert_true(figure_csv_parse(f->arena, path, bytes, n, &csv, f->diag));
  assert_int_equal(csv.n_rows, 2);
  assert_string_equal(csv.text[figure_csv_column(&csv, "verdict")], "UNDECIDED");
  assert_string_equal(csv.text[figure_csv_column(&csv, "text")], "larger, \"better\"");
  assert_string_equal(csv.text[figure_csv_column(&csv, "expression")], "mean(gain)");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(test_statistics), TEST(test_undefined),   TEST(test_spread),
      TEST(test_distance),   TEST(test_lowering),    TEST(test_tiers),
      TEST(test_bootstrap),  TEST(test_whole_units), TEST(test_tolerance),
      TEST(test_deterministic),
      TEST(test_several_experiments), TEST(test_needed),   TEST(test_failed_rows),
      TEST(test_few_units),  TEST(test_printed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
