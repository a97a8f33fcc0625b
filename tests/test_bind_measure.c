/* Measure steps of a plan, and what steps cost. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bind_fixture.h"

/* ---- measures ---- */

static void two_models_are_compared(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t init = add_init(w, "resnet18", 1), pair[2] = {init, 0}, same[2] = {init, init};
  pair[1] = add_train(w, init, 0, 8, 0, constant);
  const float *a = weights(w, net, pair[0]), *b = weights(w, net, pair[1]);
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < net_params(net); i++) { /* without running statistics */
    aa += (double)a[i] * (double)a[i];
    bb += (double)b[i] * (double)b[i];
    ab += (double)a[i] * (double)b[i];
  }
  double distance = value(w, add_measure(w, "distance", pair, 2, w->data), "distance");
  double cosine = value(w, add_measure(w, "cosine", pair, 2, w->data), "cosine");
  assert_true(fabs(distance - sqrt(aa + bb - 2 * ab)) < 1e-9);
  assert_true(fabs(cosine - ab / sqrt(aa * bb)) < 1e-12);
  assert_true(value(w, add_measure(w, "distance", same, 2, w->data), "distance") == 0);
  fails(w, add_measure(w, "distance", (uint32_t[]){pair[0], pair[1], init}, 3, w->data),
        "on two models", NULL);
  double cka = value(w, add_measure(w, "cka", pair, 2, w->data), "cka");
  assert_true(cka > 0 && cka < 0.9999);
  assert_true(fabs(value(w, add_measure(w, "cka", same, 2, w->data), "cka") - 1) < 1e-12);
  /* CKA compares networks of any two architectures. */
  pair[1] = add_init(w, "mlp", 1);
  cka = value(w, add_measure(w, "cka", pair, 2, w->data), "cka");
  assert_true(cka > 0 && cka < 1);
  fails(w, add_measure(w, "cosine", pair, 2, w->data), "is missing", NULL);
  fails(w, add_measure(w, "cka", pair, 1, w->data), "on two models", NULL);
  fails(w, add_measure(w, "charm", pair, 1, w->data), "no measurement `charm`", NULL);
}

/* Plain sums over all weights but a classifier's, where `body`. */
static double plain_task_cosine(const struct net *net, bool body, const float *a, const float *b,
                                const float *base)
{
  double aa = 0, bb = 0, ab = 0;
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++)
    for (size_t k = t[i].offset; k < t[i].offset + t[i].count; k++) {
      const double x = (double)a[k] - (double)base[k], y = (double)b[k] - (double)base[k];
      if (t[i].buffer || (body && net_in_classifier(net, &t[i])))
        continue;
      aa += x * x;
      bb += y * y;
      ab += x * y;
    }
  return ab / sqrt(aa * bb);
}

/* Without a classifier where the base has one for other classes. */
static void task_vectors_are_compared(void **state)
{
  struct world *w = *state;
  const uint32_t base = add_init(w, "resnet18", 1);
  uint32_t trio[] = {add_train(w, base, 0, 8, 1, constant), add_train(w, base, 0, 8, 2, constant),
                     base};
  const struct net *net = net_of(w, "resnet18", 10);
  const uint32_t angle = add_measure(w, "cosine", trio, 3, w->data);
  const double cosine = value(w, angle, "cosine");
  assert_true(fabs(cosine - plain_task_cosine(net, false, weights(w, net, trio[0]),
                                              weights(w, net, trio[1]), weights(w, net, base))) <
              1e-12);
  assert_true(cosine < value(w, add_measure(w, "cosine", trio, 2, w->data), "cosine"));
  assert_true(bind_seconds(w->bind, w->f->plan, step_at(w, angle)) > 0);

  w->data = add_pairs(w, "both");
  trio[2] = add_init(w, "mlp", 1);
  const float *wide = weights(w, bind_net(w->bind, w->f->plan, step_at(w, trio[2]), w->f->diag),
                              trio[2]);
  w->data = add_pairs(w, "first");
  const uint32_t start = add_init_from(w, "mlp", 1, trio[2], "new");
  for (int k = 0; k < 2; k++)
    trio[k] = add_train(w, start, 0, 8, k + 1, constant);
  const double of_bodies = value(w, add_measure(w, "cosine", trio, 3, w->data), "cosine");
  net = bind_net(w->bind, w->f->plan, step_at(w, start), w->f->diag);
  const float *a = weights(w, net, trio[0]), *b = weights(w, net, trio[1]);
  net = bind_net(w->bind, w->f->plan, step_at(w, start), w->f->diag);
  assert_true(fabs(of_bodies - plain_task_cosine(net, true, a, b, wide)) < 1e-12);
  assert_true(fabs(of_bodies - plain_task_cosine(net, true, b, a, wide)) < 1e-12);
}

/* A body with the classifier of an untrained model: what `head = new` makes, too. */
static void a_classifier_may_be_lent(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "resnet18", 1), lender = add_init(w, "resnet18", 9);
  uint32_t trained = add_train(w, init, 0, 8, 0, constant);
  uint32_t made = add_init_from(w, "resnet18", 9, trained, "new"), lent[] = {trained, lender};
  double loss = value(w, add_measure(w, "evaluate", &made, 1, w->data), "loss");
  assert_true(value(w, add_measure(w, "evaluate", lent, 2, w->data), "loss") == loss);
  assert_true(value(w, add_measure(w, "evaluate", &trained, 1, w->data), "loss") != loss);
}

static void data_must_fit_the_model(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "resnet18", 1), other = add_data(w, "fashion_mnist", SIZE);
  uint32_t large = add_data(w, "mnist", 2 * SIZE);
  assert_true(isfinite(value(w, add_measure(w, "evaluate", &init, 1, other), "loss")));
  fails(w, add_measure(w, "evaluate", &init, 1, large), "7x7x1 and 10 classes, these are 14x14x1",
        NULL);
}

/* ---- costs ---- */

static void every_step_has_its_cost(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "resnet18", 1);
  uint32_t trunk = add_train(w, init, 0, 400, 0, constant), pair[] = {init, trunk};
  uint32_t later = add_init_from(w, "resnet18", 2, trunk, "new");
  uint32_t merge = add_merge(w, "swa", "averaged", NULL, pair, 2);
  uint32_t measures[] = {add_measure(w, "evaluate", pair, 1, w->data),
                         add_measure(w, "cka", pair, 2, w->data),
                         add_measure(w, "distance", pair, 2, w->data)};
  for (uint32_t k = 0; k < plan_count(w->f->plan); k++) {
    struct cost c = bind_cost(w->bind, w->f->plan, step_at(w, k));
    assert_true(c.seconds > 0 && isfinite(c.seconds) && c.bytes > 0);
    assert_true(bind_seconds(w->bind, w->f->plan, step_at(w, k)) == c.seconds);
  }
  struct cost c[3];
  for (int i = 0; i < 3; i++)
    c[i] = bind_cost(w->bind, w->f->plan, step_at(w, measures[i]));
  assert_true(c[1].flops > 1.5 * c[0].flops); /* 2 x 20 samples against 24 */
  assert_true(c[2].flops == 0 && c[2].seconds < c[0].seconds);
  /* One network whatever its first weights: no probe of its own. */
  struct cost a = bind_cost(w->bind, w->f->plan, step_at(w, init));
  struct cost b = bind_cost(w->bind, w->f->plan, step_at(w, later));
  assert_true(a.bytes == b.bytes && a.seconds < b.seconds);
  assert_true(bind_cost(w->bind, w->f->plan, step_at(w, merge)).bytes == a.bytes);
}

/* What was probed is kept, and an update is the optimizer's own. */
static void costs_know_the_optimizer(void **state)
{
  struct world *w = *state;
  uint32_t init = add_init(w, "mlp", 1);
  struct attrs adamw = {0};
  put_optimizer(&adamw, "adamw", NULL);
  uint32_t steps[] = {add_train(w, init, 0, 9, 0, constant),
                      add_training(w, &adamw, init, 0, 9, 0, constant)};
  const char *path = file_join(w->f->arena, store_path(w->f->store), "calibration.json");
  for (int i = 0; i < 2; i++) {
    bind_calibrate(w->bind, w->f->arena, w->f->store);
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, steps[i])).seconds > 0);
    bind_calibrate_save(w->bind);
    const char *text = fixture_read(w->f, path, NULL);
    assert_non_null(strstr(text, "\"what\": \"gradient\""));
    assert_non_null(strstr(text, "\"what\": \"sgd\""));
    assert_true(!strstr(text, "\"what\": \"adamw\"") == !i);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(two_models_are_compared),
      WORLD_TEST(task_vectors_are_compared),
      WORLD_TEST(a_classifier_may_be_lent),
      WORLD_TEST(data_must_fit_the_model),
      WORLD_TEST(every_step_has_its_cost),
      WORLD_TEST(costs_know_the_optimizer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
