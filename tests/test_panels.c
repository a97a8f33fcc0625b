/* Panels and claims over several experiments: from their text to the plan. */
#include "config.h"

#include "dsl/check.h"
#include "dsl/lower.h"
#include "dsl/parse.h"

#include <stdarg.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

struct planned {
  struct arena *arena;
  struct diag *diag;
  struct plan *plan;
  struct lower_result result;
};

static int begin(void **state)
{
  struct arena *a = arena_new();
  struct planned *p = arena_alloc(a, sizeof *p);
  *p = (struct planned){.arena = a, .diag = diag_new(a)};
  *state = p;
  return 0;
}

static int end(void **state)
{
  arena_free(((struct planned *)*state)->arena);
  return 0;
}

static const char experiments[] =
    "experiment base {\n"
    "  data = fashion_mnist; model = mlp; batch = 32;\n"
    "  sweep lr over 1, 2;\n"
    "  trunk every 1 epochs for 2 epochs at constant;\n"
    "  measure gain = loss(trunk, test);\n"
    "}\n"
    "experiment one : base { sweep momentum over 0, 0.5; }\n"
    "experiment two : base { sweep momentum over 0, 0.9; let S = lr / batch; }\n"
    "experiment later : base { sweep momentum over 0, 0.9; data = imagenet; }\n";

static void lower_at(struct planned *p, const char *tier, const char *text)
{
  const char *versions[PLAN_KIND_COUNT];
  for (int k = 0; k < PLAN_KIND_COUNT; k++)
    versions[k] = "1";
  char *whole = arena_printf(p->arena, "%s%s", experiments, text);
  struct ast_program *program = ast_program_new(p->arena);
  parse_text(program, "panels.exp", whole, strlen(whole), p->diag);
  struct dsl *dsl = dsl_resolve(p->arena, program, tier, p->diag);
  p->plan = plan_new(p->arena, arena_copy(p->arena, versions, sizeof versions));
  dsl_check(dsl, p->diag);
  if (!diag_errors(p->diag))
    dsl_lower(dsl, p->plan, &(struct lower_options){1e6}, &p->result, p->diag);
  if (diag_errors(p->diag))
    diag_print(p->diag, program->sources, stderr, false);
  assert_int_equal(diag_errors(p->diag), 0);
}

static void lower(struct planned *p, const char *text)
{
  lower_at(p, NULL, text);
}

static const struct plan_step *step_of(const struct planned *p, enum plan_kind kind, unsigned nth)
{
  for (uint32_t i = 0; i < plan_count(p->plan); i++)
    if (plan_step(p->plan, i)->kind == kind && !nth--)
      return plan_step(p->plan, i);
  return NULL;
}

/* A figure says what stands in for data that only an experiment behind its own was trained on. */
static void test_stand_ins_of_others(void **state)
{
  struct planned *p = *state;
  lower_at(p, "t",
           "experiment far { data = svhn; model = mlp; batch = 32; lr = 1;\n"
           "  trunk for 1 epochs at constant; }\n"
           "experiment near { use a = trunk of far; sweep x over 0, 1; let y = x;\n"
           "  merge m = linear(a, a, alpha = x); measure fit = loss(m, test); }\n"
           "figure 1 \"f\" { panel a lines of near { x = x; y = fit; } }\n"
           "tier t \"small\" { replace data svhn with mnist \"SVHN is MNIST\"; }\n");
  const struct plan_step *figure = step_of(p, PLAN_FIGURE, 0);
  assert_non_null(figure);
  assert_string_equal(figure->figure->subtitle, "tier t: SVHN is MNIST");
}

static void test_union_is_shared(void **state)
{
  struct planned *p = *state;
  lower(p, "figure 1 \"t\" {\n"
           "  panel a lines of one, two { x = lr; y = mean(gain); series = experiment; }\n"
           "  panel b lines of two, one { x = lr; y = gain; }\n"
           "  panel c lines of one, two { x = momentum; y = gain; }\n"
           "  panel d lines of two { x = S; y = gain; }\n"
           "}\n"
           "claim C1 \"c\" on one, two {\n"
           "  expect among(experiment == two, median(gain)) < 1; units = momentum;\n"
           "}\n");
  const struct plan_step *figure = step_of(p, PLAN_FIGURE, 0), *first = step_of(p, PLAN_UNION, 0);
  assert_non_null(step_of(p, PLAN_UNION, 1));
  assert_null(step_of(p, PLAN_UNION, 2));
  assert_int_equal(figure->n_inputs, 3);
  const struct plan_panel *panels = figure->figure->panels;
  assert_true(panels[0].table == panels[2].table && panels[1].table != panels[0].table);
  assert_ptr_equal(plan_step(p->plan, figure->inputs[panels[0].table]), first);
  assert_string_equal(panels[0].series, "experiment");
  assert_int_equal(first->n_inputs, 2);
  assert_string_equal(plan_step(p->plan, first->inputs[0])->table->experiment, "one");
  assert_string_equal(plan_step(p->plan, first->inputs[1])->table->experiment, "two");
  assert_string_equal(first->origin.experiment, "one, two");
  const struct plan_claim *c = &p->result.claims[0];
  assert_ptr_equal(plan_step(p->plan, c->table), first);
  assert_string_equal(c->experiment, "one, two");
  assert_string_equal(plan_claim_text(p->arena, c->statistic),
                      "among(==(experiment, \"two\"), median(gain))");
  assert_int_equal(c->n_units, 1);
}

static void test_one_of_several_is_left_out(void **state)
{
  struct planned *p = *state;
  lower(p, "figure 1 \"t\" {\n"
           "  panel a lines of one, later { x = lr; y = gain; series = experiment; }\n"
           "  panel b lines of one { x = lr; y = gain; }\n"
           "}\n"
           "claim C1 \"c\" on one, later { expect mean(gain) > 0; }\n");
  const struct plan_panel *panels = step_of(p, PLAN_FIGURE, 0)->figure->panels;
  assert_non_null(panels[0].omitted);
  assert_non_null(strstr(panels[0].omitted, "later: data set imagenet is not available yet"));
  assert_null(panels[1].omitted);
  assert_null(step_of(p, PLAN_UNION, 0));
  assert_non_null(p->result.claims[0].omitted);
  for (size_t i = 0; i < p->result.n; i++)
    if (!p->result.targets[i].experiment)
      assert_null(p->result.targets[i].unavailable);
}

static void test_figure_without_anything(void **state)
{
  struct planned *p = *state;
  lower(p, "figure 1 \"t\" {\n"
           "  panel a lines of later { x = lr; y = gain; }\n"
           "  panel b lines of later, one { x = lr; y = gain; }\n"
           "  panel c lines of later { x = lr; y = gain; }\n"
           "}\n"
           "figure 2 \"t\" { panel a lines of one { x = lr; y = gain; } }\n");
  const char *why[2] = {NULL, NULL};
  for (size_t i = 0; i < p->result.n; i++)
    if (!p->result.targets[i].experiment)
      why[p->result.targets[i].number - 1] = p->result.targets[i].unavailable;
  assert_string_equal(why[0], "data set imagenet is not available yet; "
                              "later: data set imagenet is not available yet");
  assert_null(why[1]);
}

static void test_axes(void **state)
{
  struct planned *p = *state;
  lower(p, "figure 1 \"t\" {\n"
           "  panel a lines of one { x = lr log; y = quantile(gain,\n   0.9) bars se fit; }\n"
           "  panel b heatmap of one { x = lr; y = momentum; z = max(mean(gain)  by\n lr) log; }\n"
           "  panel c contour of one { x = lr; y = momentum; z = mean(gain) label \"z\"; }\n"
           "}\n");
  const struct plan_panel *panels = step_of(p, PLAN_FIGURE, 0)->figure->panels;
  assert_string_equal(plan_claim_text(p->arena, panels[0].y.statistic), "quantile(gain, 0.9)");
  assert_string_equal(panels[0].y.column, "gain");
  assert_true(panels[0].y.bars && panels[0].y.fit && panels[0].y.band == PLAN_SPREAD_SE);
  assert_true(panels[0].x.log && !panels[0].y.log && !panels[0].z.label);
  assert_int_equal(panels[1].kind, PLAN_PANEL_HEATMAP);
  assert_string_equal(plan_claim_text(p->arena, panels[1].z.statistic), "max(by(mean(gain), lr))");
  assert_null(panels[1].z.column);
  assert_string_equal(panels[1].z.label, "max(mean(gain) by lr)");
  assert_string_equal(panels[1].x.label, "learning rate");
  assert_true(panels[1].z.log);
  assert_int_equal(panels[2].kind, PLAN_PANEL_CONTOUR);
  assert_string_equal(panels[2].z.label, "z");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(test_stand_ins_of_others),
      TEST(test_union_is_shared),
      TEST(test_one_of_several_is_left_out),
      TEST(test_figure_without_anything),
      TEST(test_axes),
  };
  return cmocka_run_group_tests_name("panels", tests, NULL, NULL);
}
