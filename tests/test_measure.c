#include "measure/measure.h"

#include "engine/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 6, AREA = SIDE * SIDE, TRAIN = 44, TEST = 37, CLASSES = 5, HIDDEN = 7, WIDTH = 16 };

struct fixture {
  struct arena *arena;
  struct diag *diag;
  struct data_set set;
};

/* Random pixels in one channel, so that no order of channels matters. */
static int setup(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  static const unsigned sizes[DATA_SPLIT_COUNT] = {TRAIN, TEST};
  uint32_t r = 3;
  f->arena = a;
  f->diag = diag_new(a);
  f->set = (struct data_set){.channels = 1, .height = SIDE, .width = SIDE, .classes = CLASSES};
  f->set.mean[0] = 0.5f;
  f->set.std[0] = 0.25f;
  for (int k = 0; k < DATA_SPLIT_COUNT; k++) {
    uint8_t *p = arena_alloc(a, sizes[k] * (size_t)AREA);
    int32_t *labels = arena_array(a, sizes[k], sizeof *labels);
    for (unsigned i = 0; i < sizes[k] * AREA; i++)
      p[i] = (uint8_t)((r = r * 1664525 + 1013904223) >> 24);
    for (unsigned i = 0; i < sizes[k]; i++)
      labels[i] = (int32_t)((r = r * 1664525 + 1013904223) >> 8) % CLASSES;
    f->set.split[k] = (struct data_samples){sizes[k], p, labels};
  }
  *state = f;
  return 0;
}

static int teardown(void **state)
{
  arena_free(((struct fixture *)*state)->arena);
  return 0;
}

static struct net *make_net(struct fixture *f, const char *model)
{
  struct net_spec spec = {
      .model = model, .channels = 1, .height = SIDE, .image_width = SIDE, .classes = CLASSES};
  if (!strcmp(model, "mlp")) {
    spec.layers = 1;
    spec.width = HIDDEN;
  } else {
    spec.width = WIDTH;
    spec.stages = spec.blocks = 1;
  }
  struct net *net = net_new(f->arena, &spec, f->diag);
  assert_non_null(net);
  return net;
}

static float *init(struct fixture *f, const struct net *net)
{
  float *flat = arena_array(f->arena, net_count(net) + 16, sizeof *flat);
  net_init(net, 11, flat);
  return flat;
}

static const float *tensor(const struct net *net, const float *flat, const char *name)
{
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++)
    if (!strcmp(t[i].name, name))
      return flat + t[i].offset;
  fail_msg("no tensor %s", name);
  return NULL;
}

static double input(const struct data_set *set, enum data_split split, unsigned i, unsigned k)
{
  double v = set->split[split].pixels[i * AREA + k];
  return (v / 255 - (double)set->mean[0]) / (double)set->std[0];
}

static void dense(const float *w, const float *b, unsigned in, unsigned out, const double *x,
                  double *y)
{
  for (unsigned o = 0; o < out; o++) {
    y[o] = (double)b[o];
    for (unsigned i = 0; i < in; i++)
      y[o] += (double)w[o * in + i] * x[i];
  }
}

static struct measure_evaluation brute_force(const struct net *net, const float *flat,
                                             const struct data_set *set, enum data_split split)
{
  struct measure_evaluation e = {0};
  unsigned n = set->split[split].n;
  for (unsigned i = 0; i < n; i++) {
    double x[AREA], h[HIDDEN], z[CLASSES], sum = 0;
    int best = 0;
    for (unsigned k = 0; k < AREA; k++)
      x[k] = input(set, split, i, k);
    dense(tensor(net, flat, "fc1.weight"), tensor(net, flat, "fc1.bias"), AREA, HIDDEN, x, h);
    for (int k = 0; k < HIDDEN; k++)
      h[k] = h[k] > 0 ? h[k] : 0;
    dense(tensor(net, flat, "fc2.weight"), tensor(net, flat, "fc2.bias"), HIDDEN, CLASSES, h, z);
    for (int k = 0; k < CLASSES; k++) {
      sum += exp(z[k]);
      best = z[k] > z[best] ? k : best;
    }
    e.loss += (log(sum) - z[set->split[split].labels[i]]) / n;
    e.accuracy += (best == set->split[split].labels[i]) / (double)n;
  }
  return e;
}

static struct measure_evaluation evaluate(const struct net *net, unsigned batch, const float *flat,
                                          const struct data_set *set, enum data_split split)
{
  struct net_work *work = net_work_new(net, ops_cpu(), batch, false);
  struct measure_evaluation e = measure_evaluate(work, batch, flat, net, set, split);
  net_work_free(work);
  return e;
}

/* For batches that divide the split and that do not. */
static void evaluation_is_that_of_brute_force(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "mlp");
  float *flat = init(f, net);
  static const unsigned batches[] = {1, 8, 37, 100};
  for (int split = 0; split < DATA_SPLIT_COUNT; split++) {
    struct measure_evaluation b = brute_force(net, flat, &f->set, (enum data_split)split);
    assert_true(b.accuracy > 0 && b.accuracy < 1);
    for (int k = 0; k < 4; k++) {
      struct measure_evaluation e =
          evaluate(net, batches[k], flat, &f->set, (enum data_split)split);
      assert_true(fabs(e.loss - b.loss) < 1e-5);
      assert_true(fabs(e.accuracy - b.accuracy) < 1e-9);
    }
  }
}

/* Logits of thousands: exp of them would overflow. */
static void large_logits_do_not_overflow(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "mlp");
  float *flat = init(f, net);
  float *bias = (float *)(uintptr_t)tensor(net, flat, "fc2.bias");
  memset(flat, 0, net_count(net) * sizeof *flat);
  unsigned count[CLASSES] = {0};
  for (unsigned i = 0; i < TEST; i++)
    count[f->set.split[DATA_TEST].labels[i]]++;
  bias[2] = 5000;
  struct measure_evaluation e = evaluate(net, 16, flat, &f->set, DATA_TEST);
  assert_true(fabs(e.accuracy - count[2] / (double)TEST) < 1e-12);
  assert_true(fabs(e.loss - 5000.0 * (TEST - count[2]) / TEST) < 1e-6);
  for (int k = 0; k < CLASSES; k++)
    bias[k] = -5000;
  e = evaluate(net, 16, flat, &f->set, DATA_TEST);
  assert_true(fabs(e.loss - log(CLASSES)) < 1e-9);
  assert_true(fabs(e.accuracy - count[0] / (double)TEST) < 1e-12); /* the first of equals */
}

static void what_is_not_finite_makes_nan(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "mlp");
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  for (int k = 0; k < 3; k++) {
    float *flat = init(f, net);
    ((float *)(uintptr_t)tensor(net, flat, "fc2.bias"))[1] = bad[k];
    struct measure_evaluation e = evaluate(net, 16, flat, &f->set, DATA_TEST);
    assert_true(isnan(e.loss));
    assert_true(e.accuracy == 0);
  }
}

/* The first convolution's outputs at every pixel of one sample. */
static void convolve(const float *w, const struct data_set *set, unsigned sample, unsigned out,
                     double y[AREA])
{
  for (int r = 0; r < SIDE; r++)
    for (int c = 0; c < SIDE; c++) {
      y[r * SIDE + c] = 0;
      for (int k = 0; k < 9; k++) {
        int p = r + k / 3 - 1, q = c + k % 3 - 1;
        if (p >= 0 && q >= 0 && p < SIDE && q < SIDE)
          y[r * SIDE + c] += (double)w[out * 9 + (unsigned)k] *
                             input(set, DATA_TRAIN, sample, (unsigned)(p * SIDE + q));
      }
    }
}

/* Plain averages over whole batches in training order: 44 samples in batches of
 * 10 leave 4 out. */
static void recalibration_averages_batches(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "resnet18");
  float *flat = init(f, net), *before = init(f, net);
  enum { BATCH = 10, BATCHES = TRAIN / BATCH };
  uint32_t order[TRAIN];
  data_order(5, 0, 0, order, TRAIN);
  for (size_t i = net_params(net); i < net_count(net); i++)
    flat[i] = NAN; /* what was there must not matter */
  struct net_work *work = net_work_new(net, ops_cpu(), BATCH, true);
  measure_recalibrate(work, BATCH, flat, net, &f->set, NULL, 5);
  net_work_free(work);
  assert_memory_equal(flat, before, net_params(net) * sizeof *flat);
  for (unsigned c = 0; c < WIDTH; c++) {
    double mean = 0, variance = 0, n = BATCH * AREA;
    for (unsigned b = 0; b < BATCHES; b++) {
      double sum = 0, squares = 0, y[AREA];
      for (unsigned i = 0; i < BATCH; i++) {
        convolve(tensor(net, flat, "conv1.weight"), &f->set, order[b * BATCH + i], c, y);
        for (int k = 0; k < AREA; k++) {
          sum += y[k];
          squares += y[k] * y[k];
        }
      }
      mean += sum / n / BATCHES;
      variance += (squares - sum * sum / n) / (n - 1) / BATCHES;
    }
    assert_true(fabs((double)tensor(net, flat, "bn1.running_mean")[c] - mean) < 1e-4);
    assert_true(fabs((double)tensor(net, flat, "bn1.running_var")[c] - variance) <
                1e-4 * (1 + variance));
  }
  for (size_t i = net_params(net); i < net_count(net); i++)
    assert_true(isfinite(flat[i]));
}

static void recalibration_depends_on_the_seed_alone(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "resnet18");
  struct data_augment augment = {.flip = true, .padding = 1};
  size_t n = net_count(net);
  float *a = init(f, net), *b = init(f, net), *c = init(f, net);
  struct net_work *work = net_work_new(net, ops_cpu(), TRAIN, true);
  measure_recalibrate(work, 8, a, net, &f->set, &augment, 5);
  measure_recalibrate(work, 8, b, net, &f->set, &augment, 5);
  measure_recalibrate(work, 8, b, net, &f->set, &augment, 5);
  measure_recalibrate(work, 8, c, net, &f->set, &augment, 6);
  assert_memory_equal(a, b, n * sizeof *a);
  assert_memory_not_equal(a, c, n * sizeof *a);
  /* A batch larger than the data is all of the data. */
  measure_recalibrate(work, TRAIN, a, net, &f->set, NULL, 5);
  measure_recalibrate(work, 10 * TRAIN, b, net, &f->set, NULL, 5);
  assert_memory_equal(a, b, n * sizeof *a);
  net_work_free(work);
}

static void without_batchnorm_nothing_changes(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "mlp");
  float *a = init(f, net), *b = init(f, net);
  struct net_work *work = net_work_new(net, ops_cpu(), 8, true);
  measure_recalibrate(work, 8, a, net, &f->set, NULL, 5);
  net_work_free(work);
  assert_memory_equal(a, b, net_count(net) * sizeof *a);
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST_OF(evaluation_is_that_of_brute_force),
      TEST_OF(large_logits_do_not_overflow),
      TEST_OF(what_is_not_finite_makes_nan),
      TEST_OF(recalibration_averages_batches),
      TEST_OF(recalibration_depends_on_the_seed_alone),
      TEST_OF(without_batchnorm_nothing_changes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
