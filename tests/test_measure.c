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
  static const unsigned sizes[DATA_READ_SPLITS] = {TRAIN, TEST};
  uint32_t r = 3;
  f->arena = a;
  f->diag = diag_new(a);
  f->set = (struct data_set){.channels = 1,
                             .height = SIDE,
                             .width = SIDE,
                             .classes = CLASSES,
                             .targets = 1};
  f->set.mean[0] = 0.5f;
  f->set.std[0] = 0.25f;
  for (int k = 0; k < DATA_READ_SPLITS; k++) {
    uint8_t *p = arena_alloc(a, sizes[k] * (size_t)AREA);
    int32_t *labels = arena_array(a, sizes[k], sizeof *labels);
    for (unsigned i = 0; i < sizes[k] * AREA; i++)
      p[i] = (uint8_t)((r = r * 1664525 + 1013904223) >> 24);
    for (unsigned i = 0; i < sizes[k]; i++)
      labels[i] = (int32_t)((r = r * 1664525 + 1013904223) >> 8) % CLASSES;
    f->set.split[k] = (struct data_samples){.n = sizes[k], .pixels = p, .labels = labels};
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
  struct measure_evaluation e = measure_evaluate(work, batch, flat, net, set, split, 0);
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
  for (int split = 0; split < DATA_READ_SPLITS; split++) {
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

/* Some samples, evenly spaced, are as if the split had no others. */
static void evaluation_of_some_samples(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "resnet18");
  float *flat = init(f, net);
  enum { SOME = 7 };
  struct data_set few = f->set;
  struct data_samples *s = &few.split[DATA_TEST];
  uint8_t pixels[SOME * AREA];
  int32_t labels[SOME];
  for (size_t i = 0; i < SOME; i++) {
    const size_t from = i * TEST / SOME;
    memcpy(pixels + i * AREA, f->set.split[DATA_TEST].pixels + from * AREA, AREA);
    labels[i] = f->set.split[DATA_TEST].labels[from];
  }
  *s = (struct data_samples){.n = SOME, .pixels = pixels, .labels = labels};
  const struct measure_evaluation want = evaluate(net, 16, flat, &few, DATA_TEST);
  struct net_work *work = net_work_new(net, ops_cpu(), 3, false);
  const struct measure_evaluation
      some = measure_evaluate(work, 3, flat, net, &f->set, DATA_TEST, SOME),
      more = measure_evaluate(work, 3, flat, net, &f->set, DATA_TEST, 10 * TEST),
      all = measure_evaluate(work, 3, flat, net, &f->set, DATA_TEST, 0);
  net_work_free(work);
  assert_true(some.loss == want.loss && some.accuracy == want.accuracy);
  assert_true(more.loss == all.loss && all.loss != some.loss);
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

/* Plain averages over whole batches in training order. */
static void check_averages(struct fixture *f, unsigned samples, bool train)
{
  struct net *net = make_net(f, "resnet18");
  float *flat = init(f, net), *before = init(f, net);
  enum { BATCH = 10 };
  const unsigned batches = (samples ? samples : TRAIN) / BATCH;
  uint32_t order[TRAIN];
  data_order(5, 0, 0, order, TRAIN);
  for (size_t i = net_params(net); i < net_count(net); i++)
    flat[i] = NAN; /* what was there must not matter */
  struct net_work *work = net_work_new(net, ops_cpu(), train ? BATCH : 2 * BATCH, train);
  measure_recalibrate(work, BATCH, flat, net, &f->set, NULL, samples, 5);
  net_work_free(work);
  assert_memory_equal(flat, before, net_params(net) * sizeof *flat);
  for (unsigned c = 0; c < WIDTH; c++) {
    double mean = 0, variance = 0, n = BATCH * AREA;
    for (unsigned b = 0; b < batches; b++) {
      double sum = 0, squares = 0, y[AREA];
      for (unsigned i = 0; i < BATCH; i++) {
        convolve(tensor(net, flat, "conv1.weight"), &f->set, order[b * BATCH + i], c, y);
        for (int k = 0; k < AREA; k++) {
          sum += y[k];
          squares += y[k] * y[k];
        }
      }
      mean += sum / n / batches;
      variance += (squares - sum * sum / n) / (n - 1) / batches;
    }
    assert_true(fabs((double)tensor(net, flat, "bn1.running_mean")[c] - mean) < 1e-4);
    assert_true(fabs((double)tensor(net, flat, "bn1.running_var")[c] - variance) <
                1e-4 * (1 + variance));
  }
  for (size_t i = net_params(net); i < net_count(net); i++)
    assert_true(isfinite(flat[i]));
}

/* 44 samples in batches of 10 leave 4 out; of 29, 9.  It needs no more than forward passes. */
static void recalibration_averages_batches(void **state)
{
  check_averages(*state, 0, true);
  check_averages(*state, 0, false);
  check_averages(*state, 29, false);
}

static void recalibration_depends_on_the_seed_alone(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "resnet18");
  struct data_augment augment = {.flip = true, .padding = 1};
  size_t n = net_count(net);
  float *a = init(f, net), *b = init(f, net), *c = init(f, net);
  struct net_work *work = net_work_new(net, ops_cpu(), TRAIN, true);
  measure_recalibrate(work, 8, a, net, &f->set, &augment, 0, 5);
  measure_recalibrate(work, 8, b, net, &f->set, &augment, 0, 5);
  measure_recalibrate(work, 8, b, net, &f->set, &augment, 0, 5);
  measure_recalibrate(work, 8, c, net, &f->set, &augment, 0, 6);
  assert_memory_equal(a, b, n * sizeof *a);
  assert_memory_not_equal(a, c, n * sizeof *a);
  /* A batch larger than the data is all of the data. */
  measure_recalibrate(work, TRAIN, a, net, &f->set, NULL, 0, 5);
  measure_recalibrate(work, 10 * TRAIN, b, net, &f->set, NULL, 0, 5);
  assert_memory_equal(a, b, n * sizeof *a);
  net_work_free(work);
}

static void without_batchnorm_nothing_changes(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "mlp");
  float *a = init(f, net), *b = init(f, net);
  struct net_work *work = net_work_new(net, ops_cpu(), 8, true);
  measure_recalibrate(work, 8, a, net, &f->set, NULL, 0, 5);
  net_work_free(work);
  assert_memory_equal(a, b, net_count(net) * sizeof *a);
}

/* ---- two models ---- */

static void distances_and_angles(void **state)
{
  (void)state;
  const float a[] = {1, 2, 2, 100}, b[] = {-2, 6, 2, -100}, zero[3] = {0};
  assert_true(measure_distance(a, b, 3) == 5);
  assert_true(measure_distance(a, a, 4) == 0);
  assert_true(fabs(measure_cosine(a, b, 3) - 14 / (3 * sqrt(44))) < 1e-15);
  assert_true(fabs(measure_cosine(a, a, 3) - 1) < 1e-15);
  assert_true(isnan(measure_cosine(a, zero, 3)));
  const float large[] = {3e38f, -3e38f};
  assert_true(fabs(measure_distance(large, zero, 2) / (sqrt(2) * (double)3e38f) - 1) < 1e-12);
  assert_true(fabs(measure_cosine(large, large, 2) - 1) < 1e-12);
  /* (-1, 0, 0) and (-4, 4, 0) from (2, 2, 2); the angle from 0 is the plain one. */
  const float base[] = {2, 2, 2, 7};
  assert_true(fabs(measure_task_cosine(a, b, base, 3) - 1 / sqrt(2)) < 1e-15);
  assert_true(measure_task_cosine(a, b, zero, 3) == measure_cosine(a, b, 3));
  assert_true(fabs(measure_task_cosine(a, zero, base, 3) - 1 / sqrt(3)) < 1e-15);
  assert_true(isnan(measure_task_cosine(a, base, base, 3)));
  /* A step of the last place from a weight of its own size is a whole step. */
  const float near[] = {1, 1}, up[] = {nextafterf(1, 2), 1}, side[] = {1, nextafterf(1, 2)};
  assert_true(measure_task_cosine(up, side, near, 2) == 0);
}

/* Random numbers, a column's mean its number. */
static double *random_features(struct arena *a, uint32_t seed, size_t n, size_t p)
{
  double *x = arena_array(a, n * p, sizeof *x);
  for (size_t i = 0; i < n * p; i++) {
    seed = seed * 1664525 + 1013904223;
    x[i] = (double)(int32_t)seed / 2147483648.0 + (double)(i % p);
  }
  return x;
}

/* Of copies, as CKA centres what it is given. */
static double cka(struct arena *a, size_t n, size_t p, const double *x, size_t q, const double *y)
{
  return measure_cka(n, p, arena_copy(a, x, n * p * sizeof *x), q,
                     arena_copy(a, y, n * q * sizeof *y));
}

/* x = (1, 2, 3) and y = (1, 3, 2): centred (-1, 0, 1) and (-1, 1, 0), whose product
 * is 1 and whose squares are 2 each: 1 / (2 * 2).  With z = (0, 0, 3) as the second
 * column of y, centred (-1, -1, 2): products 1 and 3, 10; y's Gram matrix is
 * (2, 0; 0, 6), of norm sqrt(40): 10 / (2 sqrt(40)). */
static void cka_by_hand(void **state)
{
  struct arena *a = ((struct fixture *)*state)->arena;
  const double x[] = {1, 2, 3}, y[] = {1, 3, 2}, both[] = {1, 0, 3, 0, 2, 3};
  assert_true(fabs(cka(a, 3, 1, x, 1, y) - 0.25) < 1e-15);
  assert_true(fabs(cka(a, 3, 1, x, 2, both) - 10 / (2 * sqrt(40))) < 1e-15);
  assert_true(fabs(cka(a, 3, 2, both, 1, x) - 10 / (2 * sqrt(40))) < 1e-15);
}

/* Through the samples' Gram matrices instead of the features'. */
static double cka_of_grams(size_t n, size_t p, const double *x, size_t q, const double *y)
{
  enum { MOST = 40 };
  static double k[MOST][MOST], l[MOST][MOST];
  double kl = 0, kk = 0, ll = 0;
  assert_true(n <= MOST);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      k[i][j] = l[i][j] = 0;
      for (size_t c = 0; c < p; c++)
        k[i][j] += x[i * p + c] * x[j * p + c];
      for (size_t c = 0; c < q; c++)
        l[i][j] += y[i * q + c] * y[j * q + c];
    }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      double ck = k[i][j], cl = l[i][j]; /* of H K H and H L H */
      for (size_t m = 0; m < n; m++) {
        ck -= (k[i][m] + k[m][j]) / (double)n;
        cl -= (l[i][m] + l[m][j]) / (double)n;
        for (size_t o = 0; o < n; o++) {
          ck += k[m][o] / (double)(n * n);
          cl += l[m][o] / (double)(n * n);
        }
      }
      kl += ck * cl;
      kk += ck * ck;
      ll += cl * cl;
    }
  return kl / sqrt(kk * ll);
}

/* More columns than a block has, and more than there are samples. */
static void cka_is_that_of_the_gram_matrices(void **state)
{
  struct arena *a = ((struct fixture *)*state)->arena;
  static const size_t columns[][2] = {{3, 5}, {1, 64}, {65, 7}, {130, 129}};
  for (int i = 0; i < 4; i++) {
    size_t p = columns[i][0], q = columns[i][1];
    const double *x = random_features(a, 1, 30, p), *y = random_features(a, 2, 30, q);
    double expected = cka_of_grams(30, p, x, q, y);
    assert_true(expected > 0 && expected < 1);
    assert_true(fabs(cka(a, 30, p, x, q, y) - expected) < 1e-10);
  }
}

static void cka_has_its_invariances(void **state)
{
  struct arena *a = ((struct fixture *)*state)->arena;
  enum { ROWS = 50, P = 6, Q = 4 };
  const double *x = random_features(a, 1, ROWS, P), *y = random_features(a, 2, ROWS, Q);
  double *turned = arena_copy(a, x, ROWS * P * sizeof *x), before = cka(a, ROWS, P, x, Q, y);
  /* Rotations in every plane of two axes, a mirror, a scale and a shift. */
  for (int i = 0; i < P; i++)
    for (int j = 0; j < i; j++)
      for (size_t r = 0; r < ROWS; r++) {
        double *v = turned + r * P, c = cos(i + 2 * j), s = sin(i + 2 * j), u = v[i];
        v[i] = c * u - s * v[j];
        v[j] = s * u + c * v[j];
      }
  for (size_t r = 0; r < ROWS; r++)
    for (int i = 0; i < P; i++)
      turned[r * P + (size_t)i] = -3.5 * turned[r * P + (size_t)i] + i;
  assert_true(fabs(cka(a, ROWS, P, turned, Q, y) - before) < 1e-12);
  assert_true(fabs(cka(a, ROWS, Q, y, P, turned) - before) < 1e-12);
  assert_true(fabs(cka(a, ROWS, P, x, P, x) - 1) < 1e-12);
  assert_true(fabs(cka(a, ROWS, P, x, P, turned) - 1) < 1e-12);
  /* Another scale for one axis is no invariance. */
  for (size_t r = 0; r < ROWS; r++)
    turned[r * P] *= 10;
  assert_true(fabs(cka(a, ROWS, P, turned, Q, y) - before) > 1e-3);
  memset(turned, 0, ROWS * P * sizeof *turned);
  assert_true(isnan(cka(a, ROWS, P, turned, Q, y)));
}

/* Of an MLP by hand, for batches that divide the samples and that do not. */
static void features_are_the_last_hidden_layer(void **state)
{
  struct fixture *f = *state;
  struct net *net = make_net(f, "mlp");
  float *flat = init(f, net);
  static const unsigned batches[] = {1, 5, 64}, samples[] = {10, TEST, 1000};
  assert_int_equal(net_features(net), HIDDEN);
  for (int k = 0; k < 9; k++) {
    unsigned want = samples[k / 3] < TEST ? samples[k / 3] : TEST;
    struct net_work *work = net_work_new(net, ops_cpu(), batches[k % 3], false);
    size_t n;
    double *features =
        measure_features(work, batches[k % 3], flat, net, &f->set, DATA_TEST, samples[k / 3], &n);
    net_work_free(work);
    assert_int_equal(n, want);
    for (unsigned i = 0; i < n; i++) {
      double x[AREA], h[HIDDEN];
      for (unsigned c = 0; c < AREA; c++)
        x[c] = input(&f->set, DATA_TEST, i * TEST / want, c);
      dense(tensor(net, flat, "fc1.weight"), tensor(net, flat, "fc1.bias"), AREA, HIDDEN, x, h);
      for (int c = 0; c < HIDDEN; c++)
        assert_true(fabs(features[i * HIDDEN + (unsigned)c] - fmax(h[c], 0)) < 1e-5);
    }
    free(features);
  }
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST_OF(evaluation_is_that_of_brute_force),
      TEST_OF(evaluation_of_some_samples),
      TEST_OF(large_logits_do_not_overflow),
      TEST_OF(what_is_not_finite_makes_nan),
      TEST_OF(recalibration_averages_batches),
      TEST_OF(recalibration_depends_on_the_seed_alone),
      TEST_OF(without_batchnorm_nothing_changes),
      TEST_OF(distances_and_angles),
      TEST_OF(cka_by_hand),
      TEST_OF(cka_is_that_of_the_gram_matrices),
      TEST_OF(cka_has_its_invariances),
      TEST_OF(features_are_the_last_hidden_layer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
