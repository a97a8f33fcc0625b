/* Merge steps of a plan: each method gets its models, its arguments and its data. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bind_fixture.h"

#include "measure/measure.h"
#include "merge/merge.h"

/* ---- merges ---- */

static void merges_are_what_they_say(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "mlp", 10);
  uint32_t trunk = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant), m[3];
  for (int k = 0; k < 3; k++)
    m[k] = add_train(w, trunk, 4, 8, k + 1, (struct schedule){"sqrt_decay", 4, 4});
  const float *a = weights(w, net, m[0]), *b = weights(w, net, m[1]), *c = weights(w, net, m[2]);
  struct attrs scale = numbers(PLAN_A_scale, 0.4, PLAN_A_scale, 0);
  struct attrs origin = numbers(PLAN_A_x, 1, PLAN_A_y, 0),
               alpha = numbers(PLAN_A_alpha, 1, PLAN_A_alpha, 0);
  const float *swa = weights(w, net, add_merge(w, "swa", "none", NULL, m, 3));
  const float *sum = weights(w, net, add_merge(w, "task_arithmetic", "none", &scale, m, 3));
  struct attrs own = {0}, shares = {0};
  put(&own, PLAN_A_coefficients, 0, "0.3 -0.5");
  put(&shares, PLAN_A_coefficients, 0, "0.2 0.3 0.5");
  const float *each = weights(w, net, add_merge(w, "task_arithmetic", "none", &own, m, 3));
  const float *mixed = weights(w, net, add_merge(w, "linear", "none", &shares, m, 3));
  const float *plane = weights(w, net, add_merge(w, "plane", "none", &origin, m, 3));
  const float *slerp = weights(w, net, add_merge(w, "slerp", "none", &alpha, m, 2));
  for (size_t i = 0; i < net_count(net); i++) {
    double x = (double)a[i], y = (double)b[i], z = (double)c[i];
    assert_true(fabs((double)swa[i] - (x + y + z) / 3) < 1e-6);
    assert_true(fabs((double)sum[i] - (z + 0.4 * (x - z + y - z))) < 1e-6);
    assert_true(fabs((double)each[i] - (z + 0.3 * (x - z) - 0.5 * (y - z))) < 1e-6);
    assert_true(fabs((double)mixed[i] - (0.2 * x + 0.3 * y + 0.5 * z)) < 1e-6);
  }
  assert_memory_equal(plane, b, net_count(net) * sizeof *b);
  assert_memory_equal(slerp, b, net_count(net) * sizeof *b);
  /* A merge of merges, and its distance: the architecture is that of the first. */
  uint32_t merged[] = {add_merge(w, "swa", "none", NULL, m, 3), m[0]};
  assert_true(value(w, add_measure(w, "distance", merged, 2, w->data), "distance") > 0);
  origin = numbers(PLAN_A_x, 0, PLAN_A_y, 1);
  fails(w, add_merge(w, "plane", "none", &origin, (uint32_t[]){m[0], m[1], m[1]}, 3), "on a line",
        "line");
  fails(w, add_merge(w, "slerp", "none", NULL, m, 3), "`slerp` does not merge 3 models", NULL);
  fails(w, add_merge(w, "stew", "none", NULL, m, 3), "no merging method `stew`", NULL);
}

static struct attrs matching(const char *method)
{
  struct attrs a = {0};
  if (!strcmp(method, "activation_matching")) {
    put(&a, PLAN_A_samples, 20, NULL);
    return a;
  }
  put(&a, PLAN_A_passes, 100, NULL);
  put(&a, PLAN_A_restarts, 2, NULL);
  put(&a, PLAN_A_seed, 1, NULL);
  if (!strcmp(method, "learned_matching")) {
    put(&a, PLAN_A_epochs, 1, NULL);
    put(&a, PLAN_A_batch, BATCH, NULL);
    put(&a, PLAN_A_lr, 0.01, NULL);
    put(&a, PLAN_A_momentum, 0.9, NULL);
  }
  return a;
}

/* The same function, other weights; those of weight matching nearer to the other model's. */
static void matching_permutes_a_model(void **state)
{
  static const char *const methods[] = {"weight_matching", "activation_matching",
                                        "learned_matching"};
  struct world *w = *state;
  for (int i = 0; i < 2; i++) {
    uint32_t b = add_train(w, add_init(w, MODELS[i], 1), 0, 8, 0, constant);
    uint32_t a = add_train(w, add_init(w, MODELS[i], 2), 0, 8, 0, constant);
    uint32_t apart = add_measure(w, "distance", (uint32_t[]){b, a}, 2, w->data);
    for (int k = 0; k < 3; k++) {
      struct attrs args = matching(methods[k]);
      uint32_t matched = add_merge(w, methods[k], "none", &args, (uint32_t[]){b, a}, 2);
      uint32_t moved = add_measure(w, "distance", (uint32_t[]){matched, b}, 2, w->data);
      uint32_t left = add_measure(w, "distance", (uint32_t[]){matched, a}, 2, w->data);
      uint32_t before = add_measure(w, "evaluate", &b, 1, w->data);
      uint32_t after = add_measure(w, "evaluate", &matched, 1, w->data);
      assert_true(fabs(value(w, after, "loss") - value(w, before, "loss")) < 1e-5);
      assert_true(value(w, moved, "distance") > 0);
      assert_true(k || value(w, left, "distance") < value(w, apart, "distance"));
      assert_true(bind_cost(w->bind, w->f->plan, step_at(w, matched)).flops > 0);
    }
  }
}

/* What is merged with a model in canonical form is brought into it: both ends of the path compute
 * what they did. */
static void general_matching_of_a_transformer(void **state)
{
  static const char *const methods[] = {"weight_matching", "learned_matching"};
  struct world *w = *state;
  const uint32_t b = add_train(w, add_init(w, "vit_s_16", 1), 0, 8, 0, constant);
  const uint32_t a = add_train(w, add_init(w, "vit_s_16", 2), 0, 8, 0, constant);
  for (int k = 0; k < 2; k++) {
    struct attrs args = matching(methods[k]);
    put(&args, PLAN_A_symmetries, 0, "general");
    const uint32_t matched = add_merge(w, methods[k], "none", &args, (uint32_t[]){b, a}, 2);
    assert_true(bind_is_canonical(w->f->plan, step_at(w, matched)));
    assert_false(bind_is_canonical(w->f->plan, step_at(w, a)));
    assert_true(fabs(loss_of(w, matched) - loss_of(w, b)) < 1e-5);
    for (int end = 0; end < 2; end++) {
      const struct attrs alpha = numbers(PLAN_A_alpha, end, PLAN_A_alpha, 0);
      const uint32_t path = add_merge(w, "linear", "none", &alpha, (uint32_t[]){a, matched}, 2);
      assert_true(bind_is_canonical(w->f->plan, step_at(w, path)));
      assert_true(fabs(loss_of(w, path) - loss_of(w, end ? b : a)) < 1e-5);
    }
    /* Matched again, and by permutations alone. */
    const uint32_t again = add_merge(w, methods[k], "none", &args, (uint32_t[]){matched, a}, 2);
    args = matching("activation_matching");
    const uint32_t permuted =
        add_merge(w, "activation_matching", "none", &args, (uint32_t[]){again, a}, 2);
    assert_true(fabs(loss_of(w, permuted) - loss_of(w, b)) < 1e-5);
    const uint32_t both[] = {a, matched}, plain[] = {a, b};
    assert_true(value(w, add_measure(w, "distance", both, 2, w->data), "distance") > 0);
    assert_true(value(w, add_measure(w, "disagreement", plain, 2, w->data), "disagreement") ==
                value(w, add_measure(w, "disagreement", both, 2, w->data), "disagreement"));
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, matched)).flops > 0);
  }
}

/* Each attribute reaches the method: the same weights come out of it as with the arguments
 * said here. */
static void arguments_reach_the_method(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "mlp", 10);
  uint32_t trunk = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant), m[3];
  for (int k = 0; k < 2; k++)
    m[k] = add_train(w, trunk, 4, 8, k + 1, (struct schedule){"sqrt_decay", 4, 4});
  m[2] = trunk;
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  struct merge_tensor *tensors = arena_array(w->f->arena, n, sizeof *tensors);
  for (size_t i = 0; i < n; i++)
    tensors[i] = (struct merge_tensor){t[i].name, t[i].count, t[i].buffer};
  const float *const models[] = {weights(w, net, m[0]), weights(w, net, m[1]),
                                 weights(w, net, m[2])};
  struct attrs ties = numbers(PLAN_A_scale, 0.5, PLAN_A_keep, 0.3), sum = ties;
  struct attrs dare = numbers(PLAN_A_drop, 0.5, PLAN_A_seed, 3);
  put(&ties, PLAN_A_scope, 0, "model");
  put(&ties, PLAN_A_aggregate, 0, "mean");
  put(&sum, PLAN_A_scope, 0, "tensor");
  put(&sum, PLAN_A_aggregate, 0, "sum");
  const struct {
    const char *method;
    const struct attrs *attrs;
    struct merge_args args;
  } cases[] = {
      {"ties", &ties, {.scale = 0.5, .keep = 0.3}},
      {"ties",
       &sum,
       {.scale = 0.5, .keep = 0.3, .scope = MERGE_EACH_TENSOR, .aggregate = MERGE_SUM}},
      {"dare", &dare, {.scale = 1, .drop = 0.5, .seed = 3}},
  };
  float *expected = arena_array(w->f->arena, net_count(net), sizeof *expected);
  for (int c = 0; c < 3; c++) {
    uint32_t step = add_merge(w, cases[c].method, "none", cases[c].attrs, m, 3);
    assert_true(merge_flat(merge_find(cases[c].method), &cases[c].args, 2, tensors, n, models,
                           expected, w->f->diag));
    assert_memory_equal(weights(w, net, step), expected, net_count(net) * sizeof *expected);
  }
}

static struct attrs fisher_args(const char *expectation, double alpha)
{
  struct attrs a = numbers(PLAN_A_samples, 20, PLAN_A_alpha, alpha);
  put(&a, PLAN_A_expectation, 0, expectation);
  put(&a, PLAN_A_floor, 0, NULL);
  put(&a, PLAN_A_normalize, 0, "no");
  put(&a, PLAN_A_seed, 3, NULL);
  return a;
}

/* A model's Fisher matrix, as the engine measures it. */
static float *fisher_of(struct world *w, const struct net *net, uint32_t model, uint32_t data,
                        enum measure_expectation how)
{
  struct net_work *work = net_work_new(net, ops_cpu(), 1, true);
  const struct measure_loss loss = {
      .work = work,
      .net = net,
      .set = bind_data(w->bind, w->f->store, w->f->plan, step_at(w, data), w->f->diag),
      .split = DATA_TRAIN,
      .samples = 20,
      .batch = 1};
  double *wide = arena_array(w->f->arena, net_params(net), sizeof *wide);
  float *fisher = arena_array(w->f->arena, net_count(net), sizeof *fisher);
  measure_fisher(&loss, weights(w, net, model), how, 3, wide);
  for (size_t i = 0; i < net_params(net); i++)
    fisher[i] = (float)wide[i];
  net_work_free(work);
  return fisher;
}

/* Each model's Fisher matrix is measured on the data that it was trained on. */
static void fishers_are_measured(void **state)
{
  static const char *const ways[] = {"exact", "sampled", "empirical"};
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  const uint32_t first = w->data, second = add_data(w, "fashion_mnist", SIZE);
  uint32_t inputs[] = {add_train(w, add_init(w, "resnet18", 1), 0, 6, 0, constant), 0, second};
  w->data = second;
  inputs[1] = add_train(w, inputs[0], 0, 6, 0, constant);
  w->data = first;
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  struct merge_tensor *tensors = arena_array(w->f->arena, n, sizeof *tensors);
  for (size_t i = 0; i < n; i++)
    tensors[i] = (struct merge_tensor){t[i].name, t[i].count, t[i].buffer};
  float *expected = arena_array(w->f->arena, net_count(net), sizeof *expected);
  for (int k = 0; k < 3; k++) {
    const double alpha = k ? 0.5 : 0.25;
    struct attrs a = fisher_args(ways[k], alpha);
    const struct merge_args args = {.weights = (double[]){1 - alpha, alpha}};
    const uint32_t step = add_merge(w, "fisher", "averaged", &a, inputs, 3);
    const float *merged = weights(w, net, step);
    const enum measure_expectation how = (enum measure_expectation)k;
    const float *in[] = {weights(w, net, inputs[0]), weights(w, net, inputs[1]),
                         fisher_of(w, net, inputs[0], first, how),
                         fisher_of(w, net, inputs[1], second, how)};
    assert_true(merge_flat(merge_find("fisher"), &args, 2, tensors, n, in, expected, w->f->diag));
    assert_memory_equal(merged, expected, net_count(net) * sizeof *merged);
    assert_true(bind_cost(w->bind, w->f->plan, step_at(w, step)).flops > 0);
  }
}

/* Of an MLP all layers are linear; of a ResNet convolutions are averaged unless they are asked
 * for. */
static void regmean_merges_layers(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < 2; i++) {
    struct net *net = net_of(w, MODELS[i], 10);
    const uint32_t init = add_init(w, MODELS[i], 1);
    uint32_t inputs[] = {add_train(w, init, 0, 8, 1, constant),
                         add_train(w, init, 0, 8, 2, constant), w->data};
    struct attrs a = numbers(PLAN_A_samples, 20, PLAN_A_scale, 0.9), unfolded = a;
    put(&a, PLAN_A_convolutions, 0, "averaged");
    put(&unfolded, PLAN_A_convolutions, 0, "unfolded");
    const char *batchnorm = i ? "averaged" : "none";
    const uint32_t step = add_merge(w, "regmean", batchnorm, &a, inputs, 3);
    const float *mean = weights(w, net, add_merge(w, "swa", batchnorm, NULL, inputs, 2));
    const float *merged = weights(w, net, step);
    const float *all = weights(w, net, add_merge(w, "regmean", batchnorm, &unfolded, inputs, 3));
    size_t n;
    const struct net_tensor *t = net_tensors(net, &n);
    for (size_t k = 0; k < n; k++) {
      const size_t bytes = t[k].count * sizeof *mean;
      const bool kept = !memcmp(merged + t[k].offset, mean + t[k].offset, bytes);
      const bool kept_all = !memcmp(all + t[k].offset, mean + t[k].offset, bytes);
      /* The first layer reads the same samples in both: there the mean is best. */
      assert_int_equal(kept, t[k].rank != 2 || !k);
      assert_int_equal(kept_all, t[k].rank < 2 || !k);
    }
    /* Whatever is held at a time: nothing, one or two layers, more. */
    static const size_t held[] = {0, 10000, 60000};
    for (int k = 0; k < 3; k++) {
      struct attrs same_args = unfolded;
      put(&same_args, PLAN_A_x, k, NULL); /* another key */
      w->bind->grams_held = held[k];
      const float *same =
          weights(w, net, add_merge(w, "regmean", batchnorm, &same_args, inputs, 3));
      assert_memory_equal(same, all, net_count(net) * sizeof *all);
    }
    w->bind->grams_held = BIND_GRAMS_HELD;
    /* A model with itself. */
    inputs[1] = inputs[0];
    const float *same = weights(w, net, add_merge(w, "regmean", batchnorm, &unfolded, inputs, 3));
    assert_memory_equal(same, weights(w, net, inputs[0]), net_count(net) * sizeof *same);
    struct cost cost = bind_cost(w->bind, w->f->plan, step_at(w, step));
    assert_true(cost.flops > 0 && cost.seconds > 0);
  }
}

/* Of a task with other classes: the classifier is the first model's. */
static void fishers_of_other_classes(void **state)
{
  struct world *w = *state;
  const uint32_t first = add_pairs(w, "first"), both = add_pairs(w, "both");
  w->data = first;
  uint32_t inputs[] = {add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant), 0, both};
  w->data = both;
  inputs[1] = add_train(w, add_init(w, "mlp", 2), 0, 4, 0, constant);
  w->data = first;
  struct attrs a = fisher_args("sampled", 0.5);
  const uint32_t step = add_merge(w, "fisher", "none", &a, inputs, 3);
  run(w, step);
  const struct net *net = bind_net(w->bind, w->f->plan, step_at(w, step), w->f->diag);
  const float *merged = weights(w, net, step), *own = weights(w, net, inputs[0]);
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) {
    const size_t bytes = t[i].count * sizeof *own;
    const bool equal = !memcmp(merged + t[i].offset, own + t[i].offset, bytes);
    assert_int_equal(equal, net_in_classifier(net, &t[i]));
  }
}

/* base - 50 (model - base) of running variances is below 0 for some. */
static void negative_variances_are_no_model(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t init = add_init(w, "resnet18", 1), both[2] = {0, init};
  both[0] = add_train(w, init, 0, 12, 0, constant);
  struct attrs back = numbers(PLAN_A_scale, -50, PLAN_A_scale, 0);
  struct attrs half = numbers(PLAN_A_scale, 0.5, PLAN_A_scale, 0);
  uint32_t averaged = add_merge(w, "task_arithmetic", "averaged", &back, both, 2);
  uint32_t anew = add_merge(w, "task_arithmetic", "recalibrated", &back, both, 2);
  struct store_result r = result(w, averaged);
  assert_true(r.diverged);
  assert_non_null(strstr(r.note, "running_var"));
  assert_non_null(strstr(r.note, "recalibrated"));
  r = result(w, add_measure(w, "evaluate", &averaged, 1, w->data));
  assert_true(r.diverged && isnan(store_get(&r, "accuracy")));
  r = result(w, add_measure(w, "cka", (uint32_t[]){init, averaged}, 2, w->data));
  assert_true(r.diverged && isnan(store_get(&r, "cka")));
  assert_true(result(w, add_init_from(w, "resnet18", 1, averaged, "new")).diverged);
  assert_false(result(w, anew).diverged);
  assert_false(result(w, add_merge(w, "task_arithmetic", "averaged", &half, both, 2)).diverged);
  const float *flat = weights(w, net, anew);
  for (size_t i = 0; i < net_count(net); i++)
    assert_true(isfinite(flat[i]));
}

/* As many samples as there are say nothing new; fewer give other statistics, and the same
 * weights. */
static void statistics_may_be_of_some_samples(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t init = add_init(w, "resnet18", 1), m[2] = {init, 0};
  m[1] = add_train(w, init, 0, 4, 0, constant);
  struct attrs some = numbers(PLAN_A_alpha, 0.5, PLAN_A_recalibration, 2 * BATCH);
  struct attrs all = numbers(PLAN_A_alpha, 0.5, PLAN_A_recalibration, TRAIN);
  struct attrs unsaid = numbers(PLAN_A_alpha, 0.5, PLAN_A_x, 0);
  const size_t params = net_params(net), buffers = net_count(net) - params;
  const float *few = weights(w, net, add_merge(w, "linear", "recalibrated", &some, m, 2));
  const float *many = weights(w, net, add_merge(w, "linear", "recalibrated", &all, m, 2));
  const float *plain = weights(w, net, add_merge(w, "linear", "recalibrated", &unsaid, m, 2));
  assert_memory_equal(many, plain, net_count(net) * sizeof *many);
  assert_memory_equal(few, plain, params * sizeof *few);
  assert_memory_not_equal(few + params, plain + params, buffers * sizeof *few);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(merges_are_what_they_say),
      WORLD_TEST(matching_permutes_a_model),
      WORLD_TEST(general_matching_of_a_transformer),
      WORLD_TEST(arguments_reach_the_method),
      WORLD_TEST(fishers_are_measured),
      WORLD_TEST(fishers_of_other_classes),
      WORLD_TEST(regmean_merges_layers),
      WORLD_TEST(negative_variances_are_no_model),
      WORLD_TEST(statistics_may_be_of_some_samples),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
