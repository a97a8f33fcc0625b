/* Gradients of networks, training, inference and batch statistics. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net_fixture.h"

/* The loss's slope along the gradient, and along single weights, by central
 * differences of the loss itself; running statistics do not matter to it. */
static void check_gradient(const struct net_spec *spec)
{
  struct fixture f = setup(spec);
  struct net_work *w = net_work_new(f.net, ops_cpu(), SAMPLES, true);
  float *scrap = arena_array(f.arena, f.params, sizeof *scrap);
  float *moved = arena_array(f.arena, f.count, sizeof *moved);
  net_loss_gradient(w, f.flat, f.x, f.labels, SAMPLES, f.grad);
  double norm = 0;
  for (size_t i = 0; i < f.params; i++)
    norm += pow((double)f.grad[i], 2);
  norm = sqrt(norm);
  size_t n;
  const struct net_tensor *t = net_tensors(f.net, &n);
  for (size_t k = 0; k <= n; k++) { /* along the gradient's part of each tensor, then all of it */
    if (k < n && t[k].buffer)
      continue;
    const size_t from = k < n ? t[k].offset : 0, to = k < n ? from + t[k].count : f.params;
    double part = 0, loss[2];
    for (size_t i = from; i < to; i++)
      part += pow((double)f.grad[i], 2);
    part = sqrt(part);
    const double h = 5e-4;
    for (int side = 0; side < 2; side++) {
      memcpy(moved, f.flat, f.count * sizeof *moved);
      for (size_t i = from; i < to; i++)
        moved[i] += (float)((side ? h : -h) * (double)f.grad[i] / part);
      loss[side] = (double)net_loss_gradient(w, moved, f.x, f.labels, SAMPLES, scrap);
    }
    const double slope = (loss[1] - loss[0]) / (2 * h);
    if (!(fabs(slope - part) < 0.02 * part + 2e-3 * norm))
      fail_msg("%s %s: slope %g, gradient %g", spec->model, k < n ? t[k].name : "all", slope, part);
  }
  net_work_free(w);
  teardown(&f);
}

static void gradients_are_slopes_of_the_loss(void **state)
{
  (void)state;
  check_gradient(&RESNET);
  check_gradient(&MLP);
  struct net_spec odd = RESNET;
  odd.width = 5;
  odd.stages = 3;
  odd.blocks = 2;
  check_gradient(&odd);
  odd = large(RESNET);
  check_gradient(&odd);
  check_gradient(&DENSENET);
  odd = large(DENSENET);
  check_gradient(&odd);
}

static float train(struct fixture *f, struct net_work *w, unsigned n, int steps)
{
  const struct optim_sgd sgd = {.lr = 0.05f, .momentum = 0.9f, .weight_decay = 5e-4f};
  float loss = 0;
  for (int i = 0; i < steps; i++) {
    loss = net_loss_gradient(w, f->flat, f->x, f->labels, n, f->grad);
    optim_sgd_step(ops_cpu(), &sgd, f->params, f->flat, f->velocity, f->grad);
  }
  return loss;
}

static void training_learns_the_batch_and_repeats(void **state)
{
  (void)state;
  const struct net_spec wide = large(DENSENET);
  const struct net_spec *specs[] = {&RESNET, &MLP, &DENSENET, &wide};
  for (int k = 0; k < 4; k++) {
    float *first = NULL;
    for (int round = 0; round < 2; round++) {
      struct fixture f = setup(specs[k]);
      /* The second round has more room than it needs, and had other work before. */
      struct net_work *w = net_work_new(f.net, ops_cpu(), round ? SAMPLES : SAMPLES - 2, true);
      if (round) {
        float logits[3 * SAMPLES];
        net_logits(w, f.flat, f.x, SAMPLES, logits);
      }
      const float start = train(&f, w, SAMPLES - 2, 1), end = train(&f, w, SAMPLES - 2, 60);
      assert_true(end < 0.2f * start);
      if (!round) {
        first = malloc(f.count * sizeof *first);
        assert_non_null(first);
        memcpy(first, f.flat, f.count * sizeof *first);
      } else {
        assert_memory_equal(first, f.flat, f.count * sizeof *first);
      }
      net_work_free(w);
      teardown(&f);
    }
    free(first);
  }
}

static void check_inference(const struct net_spec *spec)
{
  struct fixture f = setup(spec);
  struct net_work *w = net_work_new(f.net, ops_cpu(), SAMPLES, true);
  struct net_work *lean = net_work_new(f.net, ops_cpu(), SAMPLES, false);
  assert_true(net_work_bytes(lean) < net_work_bytes(w));
  assert_in_range(net_work_bytes(w) - net_work_need(f.net, ops_cpu(), SAMPLES, true), 0, 65536);
  assert_in_range(net_work_bytes(lean) - net_work_need(f.net, ops_cpu(), SAMPLES, false), 0, 65536);
  train(&f, w, SAMPLES, 5);
  float all[3 * SAMPLES], one[3], again[3 * SAMPLES];
  float *before = arena_copy(f.arena, f.flat, f.count * sizeof *before);
  net_logits(w, f.flat, f.x, SAMPLES, all);
  net_logits(lean, f.flat, f.x, SAMPLES, again);
  assert_memory_equal(all, again, sizeof all);
  for (int i = 0; i < SAMPLES; i++) {
    net_logits(lean, f.flat, f.x + (size_t)i * f.values, 1, one);
    for (int c = 0; c < 3; c++)
      assert_true(fabsf(one[c] - all[3 * i + c]) < 1e-5f);
  }
  assert_memory_equal(before, f.flat, f.count * sizeof *before);
  net_work_free(w);
  net_work_free(lean);
  teardown(&f);
}

static void inference_does_not_depend_on_the_batch(void **state)
{
  (void)state;
  check_inference(&RESNET);
  check_inference(&DENSENET);
}

/* With momentum 1/(k+1) the running statistics are the average over batches;
 * parameters stay. */
static void statistics_become_the_average(void **state)
{
  (void)state;
  struct fixture f = setup(&RESNET);
  struct net_work *w = net_work_new(f.net, ops_cpu(), SAMPLES, false);
  const size_t buffers = f.count - f.params;
  double *sum = arena_array(f.arena, buffers, sizeof *sum);
  float *start = arena_copy(f.arena, f.flat, f.count * sizeof *start);
  for (unsigned k = 0; k < 3; k++) { /* momentum 1: the batch's own */
    float *own = arena_copy(f.arena, start, f.count * sizeof *own);
    net_update_statistics(w, own, f.x + k * 4 * f.values, 4, 1);
    for (size_t i = 0; i < buffers; i++)
      sum[i] += (double)own[f.params + i];
    net_update_statistics(w, f.flat, f.x + k * 4 * f.values, 4, 1.0f / (float)(k + 1));
  }
  assert_memory_equal(start, f.flat, f.params * sizeof *start);
  for (size_t i = 0; i < buffers; i++)
    assert_true(fabs((double)f.flat[f.params + i] - sum[i] / 3) < 1e-5 * (1 + fabs(sum[i])));
  net_work_free(w);
  teardown(&f);
}

/* The stem's running mean after one step: 0.1 of the batch's; the variance is
 * unbiased. */
static void training_moves_statistics_like_pytorch(void **state)
{
  (void)state;
  struct fixture f = setup(&RESNET);
  struct net_work *w = net_work_new(f.net, ops_cpu(), SAMPLES, true);
  float *own = arena_copy(f.arena, f.flat, f.count * sizeof *own);
  net_update_statistics(w, own, f.x, SAMPLES, 1);
  net_loss_gradient(w, f.flat, f.x, f.labels, SAMPLES, f.grad);
  const size_t mean = tensor(f.net, "bn1.running_mean")->offset;
  const size_t var = tensor(f.net, "bn1.running_var")->offset;
  for (int c = 0; c < 4; c++) {
    assert_true(fabsf(f.flat[mean + (size_t)c] - 0.1f * own[mean + (size_t)c]) < 1e-6f);
    assert_true(fabsf(f.flat[var + (size_t)c] - (0.9f + 0.1f * own[var + (size_t)c])) < 1e-6f);
  }
  net_work_free(w);
  teardown(&f);
}

/* The first weight of an MLP reads channels first, as PyTorch's Flatten. */
static void mlp_reads_channels_first(void **state)
{
  (void)state;
  struct net_spec spec = MLP;
  spec.layers = 1;
  struct fixture f = setup(&spec);
  memset(f.flat, 0, f.count * sizeof *f.flat);
  f.flat[tensor(f.net, "fc1.weight")->offset + 1 * 12 + 2 * 3 + 1] = 1; /* c 1, row 2, column 1 */
  f.flat[tensor(f.net, "fc2.weight")->offset] = 1;
  struct net_work *w = net_work_new(f.net, ops_cpu(), 1, false);
  float logits[3];
  f.x[(2 * 3 + 1) * 2 + 1] = 5;
  net_logits(w, f.flat, f.x, 1, logits);
  assert_true(logits[0] == 5 && logits[1] == 0);
  net_work_free(w);
  teardown(&f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_slopes_of_the_loss),
      cmocka_unit_test(training_learns_the_batch_and_repeats),
      cmocka_unit_test(inference_does_not_depend_on_the_batch),
      cmocka_unit_test(statistics_become_the_average),
      cmocka_unit_test(training_moves_statistics_like_pytorch),
      cmocka_unit_test(mlp_reads_channels_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
