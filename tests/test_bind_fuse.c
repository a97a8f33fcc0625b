/* Steps that fuse: narrower models, other classifiers, variants. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bind_fixture.h"

static uint32_t add_narrow_init(struct world *w, const char *name, unsigned width)
{
  struct attrs a = model(name, 1);
  for (uint32_t i = 0; i < a.n; i++)
    if (a.list[i].id == PLAN_A_width)
      a.list[i].num = width;
  return add(w, PLAN_INIT, &a, &w->data, 1, NULL);
}

/* A narrower network, which what follows takes for what it is; and two models in one. */
static void fusing_makes_models(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < 2; i++) {
    const uint32_t init = add_init(w, MODELS[i], 1);
    const uint32_t a = add_train(w, init, 0, 8, 1, constant);
    const uint32_t b = add_train(w, init, 0, 8, 2, constant);
    struct attrs keep = numbers(PLAN_A_keep, 0.5, PLAN_A_keep, 0);
    struct attrs pair = numbers(PLAN_A_alpha, 0.5, PLAN_A_passes, 10);
    const char *batchnorm = i ? "recalibrated" : "none";
    const uint32_t narrow = add_merge(w, "intra_fusion", batchnorm, &keep,
                                      (uint32_t[]){add_narrow_init(w, MODELS[i], 3), a}, 2);
    const uint32_t same = add_merge(w, "intra_fusion", i ? "averaged" : "none", &keep,
                                    (uint32_t[]){init, a}, 2);
    const uint32_t both = add_merge(w, "ot_fusion", batchnorm, &pair, (uint32_t[]){a, b}, 2);
    assert_true(isfinite(value(w, add_measure(w, "evaluate", &narrow, 1, w->data), "loss")));
    assert_true(isfinite(value(w, add_measure(w, "evaluate", &both, 1, w->data), "loss")));
    const double before = value(w, add_measure(w, "evaluate", &a, 1, w->data), "loss");
    const double after = value(w, add_measure(w, "evaluate", &same, 1, w->data), "loss");
    assert_true(fabs(before - after) < 1e-4);
    /* It can be trained. */
    const uint32_t tuned = add_train(w, narrow, 0, 2, 0, constant);
    assert_true(isfinite(value(w, add_measure(w, "evaluate", &tuned, 1, w->data), "loss")));
    run(w, narrow);
    const struct net *net = bind_net(w->bind, w->f->plan, step_at(w, narrow), w->f->diag);
    size_t n;
    assert_int_equal(net_tensors(net, &n)[0].shape[0], 3);
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, both)).flops > 0);
  }
}

/* A model of two tasks that is made narrower: with the classifier of the second, of other classes,
 * which was fused as the model was. */
static void fused_classifiers_of_other_classes(void **state)
{
  struct world *w = *state;
  const uint32_t first = add_pairs(w, "first"), both = add_pairs(w, "both");
  w->data = both;
  const uint32_t b = add_train(w, add_init(w, "mlp", 2), 0, 4, 0, constant);
  const uint32_t inits[] = {add_init(w, "mlp", 1), add_narrow_init(w, "mlp", 3)};
  w->data = first;
  const uint32_t a = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant);
  const uint32_t mid = add_merge(w, "swa", "none", NULL, (uint32_t[]){a, b}, 2);
  const uint32_t narrow_inits[] = {add_init(w, "mlp", 1), add_narrow_init(w, "mlp", 3)};
  for (int k = 0; k < 2; k++) {
    struct attrs args = numbers(PLAN_A_keep, k ? 0.5 : 1, PLAN_A_samples, 20);
    put(&args, PLAN_A_importance, 0, "taylor");
    const uint32_t narrow = add_merge(w, "intra_fusion", "none", &args,
                                      (uint32_t[]){narrow_inits[k], mid}, 2);
    const uint32_t head = add_merge(w, "intra_fusion", "none", &args,
                                    (uint32_t[]){inits[k], mid, b}, 3);
    const uint32_t lent[] = {narrow, head}, whole[] = {mid, b};
    const double loss = value(w, add_measure(w, "evaluate", lent, 2, both), "loss");
    assert_true(isfinite(loss) && isfinite(loss_of(w, narrow)));
    if (!k) /* all units stay */
      assert_true(loss == value(w, add_measure(w, "evaluate", whole, 2, both), "loss"));
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, head)).flops > 0);
  }
}

static uint32_t add_with_hidden(struct world *w, unsigned hidden)
{
  struct attrs a = model("vit_s_16", 1);
  put(&a, PLAN_A_hidden, hidden, NULL);
  return add(w, PLAN_INIT, &a, &w->data, 1, NULL);
}

/* By its variants, of convolutions and of a transformer's feed-forward neurons. */
static void fusing_has_variants(void **state)
{
  struct world *w = *state;
  static const char *const names[] = {"resnet18", "vit_s_16"};
  for (int i = 0; i < 2; i++) {
    const uint32_t model = add_train(w, add_init(w, names[i], 1), 0, 8, 0, constant);
    const uint32_t narrow = i ? add_with_hidden(w, 12) : add_narrow_init(w, names[i], 3);
    const uint32_t inputs[] = {narrow, model};
    const char *batchnorm = i ? "none" : "recalibrated";
    struct attrs plain = {0}, length = {0}, taylor = {0}, all = {0};
    put(&length, PLAN_A_importance, 0, "l2");
    put(&taylor, PLAN_A_importance, 0, "taylor");
    put(&taylor, PLAN_A_samples, 20, NULL);
    all = taylor;
    put(&all, PLAN_A_marginals, 0, "importance");
    put(&all, PLAN_A_order, 0, "sequential");
    const struct attrs *const ways[] = {&plain, &length, &taylor, &all};
    const float *fused[4];
    struct cost cost[4];
    for (int k = 0; k < 4; k++) {
      struct attrs a = *ways[k];
      put(&a, PLAN_A_keep, 0.5, NULL);
      const uint32_t step = add_merge(w, "intra_fusion", batchnorm, &a, inputs, 2);
      assert_true(isfinite(loss_of(w, step)));
      run(w, step);
      const struct net *net = bind_net(w->bind, w->f->plan, step_at(w, step), w->f->diag);
      fused[k] = weights(w, net, step);
      cost[k] = bind_cost(w->bind, w->f->plan, step_at(w, step));
      for (int other = 0; other < k && k == 3; other++) /* by any importance the same may stay */
        assert_memory_not_equal(fused[k], fused[other], net_params(net) * sizeof(float));
    }
    assert_true(cost[2].flops > cost[1].flops && cost[2].memory > cost[1].memory);
    assert_true(cost[1].flops == cost[0].flops);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(fusing_makes_models),
      WORLD_TEST(fusing_has_variants),
      WORLD_TEST(fused_classifiers_of_other_classes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
