/* The loss around a model: gradients in inference mode, Hessian, directions, noise. */
#include "measure/measure_int.h"

#include "base/rng.h"
#include "engine/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 6, AREA = SIDE * SIDE, SAMPLES = 96, CLASSES = 4, BATCH = 32 };

struct fixture {
  struct arena *arena;
  struct data_set set;
};

static int setup(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  f->arena = a;
  f->set = (struct data_set){
      .channels = 1, .height = SIDE, .width = SIDE, .classes = CLASSES, .targets = 1};
  f->set.mean[0] = 0.5f;
  f->set.std[0] = 0.25f;
  struct rng r = rng_at(5, RNG_TEST, 0, 0, 0);
  for (int k = 0; k < DATA_READ_SPLITS; k++) {
    uint8_t *p = arena_alloc(a, SAMPLES * (size_t)AREA);
    int32_t *labels = arena_array(a, SAMPLES, sizeof *labels);
    for (unsigned i = 0; i < SAMPLES * AREA; i++)
      p[i] = (uint8_t)rng_below(&r, 256);
    for (unsigned i = 0; i < SAMPLES; i++)
      labels[i] = (int32_t)rng_below(&r, CLASSES);
    f->set.split[k] = (struct data_samples){.n = SAMPLES, .pixels = p, .labels = labels};
  }
  *state = f;
  return 0;
}

static int teardown(void **state)
{
  arena_free(((struct fixture *)*state)->arena);
  return 0;
}

/* A model, trained a little so that its gradients are not those of chance alone. */
struct model {
  struct net *net;
  struct net_work *work;
  float *flat;
  struct measure_loss loss;
};

static struct model make(struct fixture *f, const char *name, unsigned width)
{
  const struct net_spec spec = {.model = name,
                                .width = width,
                                .growth = width,
                                .layers = strcmp(name, "mlp") ? 3 : 1,
                                .stages = strcmp(name, "mlp") ? 2 : 0,
                                .blocks = strcmp(name, "mlp") ? 1 : 0,
                                .channels = 1,
                                .height = SIDE,
                                .image_width = SIDE,
                                .classes = CLASSES};
  struct diag *d = diag_new(f->arena);
  struct model m = {.net = net_new(f->arena, &spec, d)};
  assert_non_null(m.net);
  const size_t n = net_count(m.net);
  m.flat = arena_array(f->arena, n, sizeof *m.flat);
  m.work = net_work_new(m.net, ops_cpu(), BATCH, true);
  m.loss = (struct measure_loss){.work = m.work,
                                 .net = m.net,
                                 .set = &f->set,
                                 .split = DATA_TRAIN,
                                 .samples = SAMPLES,
                                 .batch = BATCH};
  net_init(m.net, 3, m.flat);
  float *grad = arena_array(f->arena, n, sizeof *grad);
  struct measure_batches b;
  for (int epoch = 0; epoch < 20; epoch++) {
    measure_batches_begin(&b, &f->set, DATA_TRAIN, SAMPLES, BATCH);
    while (measure_batches_next(&b)) {
      net_loss_gradient(m.work, m.flat, b.x, b.labels, b.n, grad);
      for (size_t i = 0; i < net_params(m.net); i++)
        m.flat[i] -= 0.05f * grad[i];
    }
    measure_batches_end(&b);
  }
  return m;
}

static double loss_of(const struct model *m, const float *flat)
{
  return measure_evaluate(m->work, BATCH, flat, m->net, m->loss.set, DATA_TRAIN, 0).loss;
}

/* With ReLUs as they are at the model: the mean loss at `flat`, and its gradient. */
static double fixed_gradient(const struct model *m, const float *flat, double *g)
{
  const size_t n = net_params(m->net);
  float *grad = mem_alloc(n * sizeof *grad);
  struct measure_batches b;
  double loss = 0;
  memset(g, 0, n * sizeof *g);
  measure_batches_begin(&b, m->loss.set, DATA_TRAIN, SAMPLES, BATCH);
  while (measure_batches_next(&b)) {
    const double share = (double)b.n / b.samples;
    net_record_relu(m->work, m->flat, b.x, b.n);
    loss += share * (double)net_fixed_relu_gradient(m->work, flat, b.x, b.labels, b.n, grad);
    for (size_t i = 0; i < n; i++)
      g[i] += share * (double)grad[i];
  }
  measure_batches_end(&b);
  free(grad);
  return loss;
}

/* The slope of the loss along random directions, by central differences; without kinks. */
static void gradient_is_that_of_inference(void **state)
{
  struct fixture *f = *state;
  static const char *const names[] = {"mlp", "resnet18", "densenet121"};
  for (int k = 0; k < 3; k++) {
    struct model m = make(f, names[k], k ? 8 : 12);
    const size_t n = net_params(m.net), count = net_count(m.net);
    double *g = arena_array(f->arena, n, sizeof *g), *v = arena_array(f->arena, n, sizeof *v);
    double *fixed = arena_array(f->arena, n, sizeof *fixed);
    float *moved = arena_array(f->arena, count, sizeof *moved);
    float *before = arena_copy(f->arena, m.flat, count * sizeof *before);
    assert_true(fabs(measure_gradient(&m.loss, m.flat, g) - loss_of(&m, m.flat)) < 1e-5);
    fixed_gradient(&m, m.flat, fixed);
    assert_memory_equal(fixed, g, n * sizeof *g);
    assert_memory_equal(before, m.flat, count * sizeof *before); /* statistics stay */
    for (uint32_t d = 0; d < 4; d++) {
      struct rng r = rng_at(d, RNG_TEST, 1, 0, 0);
      double slope = 0, ends[2];
      for (size_t i = 0; i < n; i++) {
        v[i] = (g[i] > 0 ? 1 : -1) * rng_uniform(&r) * (fabs((double)m.flat[i]) + 0.01);
        slope += v[i] * g[i];
      }
      for (int side = 0; side < 2; side++) {
        memcpy(moved, m.flat, count * sizeof *moved);
        for (size_t i = 0; i < n; i++)
          moved[i] = (float)((double)m.flat[i] + (side ? -5e-4 : 5e-4) * v[i]);
        ends[side] = fixed_gradient(&m, moved, fixed);
      }
      const double measured = (ends[0] - ends[1]) / 1e-3;
      if (fabs(measured - slope) > 1e-3 * fabs(slope))
        fail_msg("%s: slope %g, gradient says %g", names[k], measured, slope);
    }
    net_work_free(m.work);
  }
}

static void gradient_without_norms_is_that_of_training(void **state)
{
  struct fixture *f = *state;
  struct model m = make(f, "mlp", 12);
  const size_t n = net_params(m.net);
  float *a = arena_array(f->arena, n, sizeof *a), *b = arena_array(f->arena, n, sizeof *b);
  struct measure_batches s;
  measure_batches_begin(&s, &f->set, DATA_TRAIN, BATCH, BATCH);
  assert_true(measure_batches_next(&s));
  const float training = net_loss_gradient(m.work, m.flat, s.x, s.labels, s.n, a);
  const float inference = net_inference_gradient(m.work, m.flat, s.x, s.labels, s.n, b);
  assert_memory_equal(&training, &inference, sizeof training);
  assert_memory_equal(a, b, n * sizeof *a);
  assert_false(measure_batches_next(&s));
  measure_batches_end(&s);
  net_work_free(m.work);
}

/* The whole Hessian [n][n], a column a difference of gradients; symmetric. */
static double *dense_hessian(struct fixture *f, const struct model *m)
{
  const size_t n = net_params(m->net), count = net_count(m->net);
  double *h = arena_array(f->arena, n * n, sizeof *h);
  double *g[2] = {arena_array(f->arena, n, sizeof **g), arena_array(f->arena, n, sizeof **g)};
  float *moved = arena_array(f->arena, count, sizeof *moved);
  const double distance = 2e-3;
  for (size_t k = 0; k < n; k++) {
    for (int side = 0; side < 2; side++) {
      memcpy(moved, m->flat, count * sizeof *moved);
      moved[k] += (float)(side ? -distance : distance);
      fixed_gradient(m, moved, g[side]);
    }
    for (size_t i = 0; i < n; i++) {
      h[k * n + i] += (g[0][i] - g[1][i]) / (4 * distance);
      h[i * n + k] += (g[0][i] - g[1][i]) / (4 * distance);
    }
  }
  return h;
}

/* Jacobi's rotations, until what is beside the diagonal is gone. */
static double largest_eigenvalue(double *h, size_t n)
{
  for (int sweep = 0; sweep < 30; sweep++)
    for (size_t p = 0; p < n; p++)
      for (size_t q = p + 1; q < n; q++) {
        if (fabs(h[p * n + q]) < 1e-14)
          continue;
        const double theta = (h[q * n + q] - h[p * n + p]) / (2 * h[p * n + q]);
        const double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
        const double c = 1 / sqrt(t * t + 1), s = t * c;
        for (size_t i = 0; i < n; i++) {
          const double a = h[i * n + p], b = h[i * n + q];
          h[i * n + p] = c * a - s * b;
          h[i * n + q] = s * a + c * b;
        }
        for (size_t i = 0; i < n; i++) {
          const double a = h[p * n + i], b = h[q * n + i];
          h[p * n + i] = c * a - s * b;
          h[q * n + i] = s * a + c * b;
        }
      }
  double top = h[0];
  for (size_t i = 1; i < n; i++)
    top = fmax(top, h[i * n + i]);
  return top;
}

static void hessian_of_a_tiny_mlp(void **state)
{
  struct fixture *f = *state;
  struct model m = make(f, "mlp", 3);
  const size_t n = net_params(m.net);
  double *h = dense_hessian(f, &m), trace = 0;
  for (size_t i = 0; i < n; i++)
    trace += h[i * n + i];
  const double top = largest_eigenvalue(h, n);
  const struct measure_estimate sharp = measure_sharpness(&m.loss, m.flat, 60);
  const struct measure_estimate rough = measure_sharpness(&m.loss, m.flat, 4);
  const struct measure_estimate sum = measure_hessian_trace(&m.loss, m.flat, 400);
  assert_true(top > 0.1 && trace > top);
  if (fabs(sharp.value - top) > 0.02 * top || sharp.error > 0.01 * top)
    fail_msg("eigenvalue %g, found %g +- %g", top, sharp.value, sharp.error);
  assert_true(rough.value <= sharp.value * 1.001 && rough.error >= sharp.error);
  if (fabs(sum.value - trace) > 4 * sum.error + 0.02 * trace || sum.error > 0.1 * trace)
    fail_msg("trace %g, found %g +- %g", trace, sum.value, sum.error);
  const struct measure_estimate again = measure_sharpness(&m.loss, m.flat, 60);
  assert_memory_equal(&again, &sharp, sizeof again);
  net_work_free(m.work);
}

/* Twice the weights of a scale-invariant layer: the same function, a quarter of the
 * curvature there; and the length that is measured doubles. */
static void scale_invariant_weights(void **state)
{
  struct fixture *f = *state;
  struct model m = make(f, "resnet18", 8), mlp = make(f, "mlp", 4);
  size_t n, invariant = 0;
  const struct net_tensor *t = net_tensors(m.net, &n);
  const double was = measure_invariant_norm(m.net, m.flat), loss = loss_of(&m, m.flat);
  for (size_t i = 0; i < n; i++) {
    if (!net_scale_invariant(m.net, &t[i]))
      continue;
    invariant++;
    for (size_t k = 0; k < t[i].count; k++)
      m.flat[t[i].offset + k] *= 2;
  }
  assert_true(invariant > 3);
  assert_true(fabs(measure_invariant_norm(m.net, m.flat) - 2 * was) < 1e-9 * was);
  struct measure_batches b; /* new statistics: one training pass */
  measure_batches_begin(&b, &f->set, DATA_TRAIN, SAMPLES, BATCH);
  for (unsigned k = 0; measure_batches_next(&b); k++)
    net_update_statistics(m.work, m.flat, b.x, b.n, 1.0f / (float)(k + 1));
  measure_batches_end(&b);
  assert_true(fabs(loss_of(&m, m.flat) - loss) < 0.1 * loss);
  assert_true(isnan(measure_invariant_norm(mlp.net, mlp.flat)));
  assert_true(fabs(measure_norm(mlp.flat, 5) - measure_distance(mlp.flat, (float[5]){0}, 5)) <
              1e-12);
  net_work_free(m.work);
  net_work_free(mlp.work);
}

static void directions_rise_with_the_radius(void **state)
{
  struct fixture *f = *state;
  struct model m = make(f, "resnet18", 8);
  const struct measure_estimate near = measure_average_sharpness(&m.loss, m.flat, 0.02, 12);
  const struct measure_estimate far = measure_average_sharpness(&m.loss, m.flat, 0.2, 12);
  assert_true(far.value > 0 && far.value > near.value + 2 * near.error);
  assert_true(far.error > 0 && isnan(measure_average_sharpness(&m.loss, m.flat, 0.1, 1).error));
  net_work_free(m.work);
}

static void tail_index_of_known_noise(void **state)
{
  struct fixture *f = *state;
  enum { N = 90000 };
  double *x = arena_array(f->arena, N, sizeof *x);
  struct rng r = rng_at(1, RNG_TEST, 2, 0, 0);
  for (size_t i = 0; i < N; i++)
    x[i] = rng_normal(&r);
  assert_true(fabs(measure_tail_index(N, x) - 2) < 0.1);
  for (size_t i = 0; i < N; i++)
    x[i] = tan(3.14159265358979 * (rng_uniform(&r) - 0.5)); /* Cauchy: 1 */
  assert_true(fabs(measure_tail_index(N, x) - 1) < 0.06);
  assert_true(isnan(measure_tail_index(63, x)));
}

/* With batches of one sample the trace is the variance of the samples' gradients. */
static void noise_of_single_samples(void **state)
{
  struct fixture *f = *state;
  struct model m = make(f, "mlp", 12);
  const size_t n = net_params(m.net);
  double *mean = arena_array(f->arena, n, sizeof *mean), variance = 0;
  float *grad = arena_array(f->arena, n, sizeof *grad);
  struct measure_batches b;
  measure_gradient(&m.loss, m.flat, mean);
  measure_batches_begin(&b, &f->set, DATA_TRAIN, SAMPLES, 1);
  while (measure_batches_next(&b)) {
    net_inference_gradient(m.work, m.flat, b.x, b.labels, 1, grad);
    for (size_t i = 0; i < n; i++)
      variance += pow((double)grad[i] - mean[i], 2) / (SAMPLES - 1);
  }
  measure_batches_end(&b);
  m.loss.batch = 1;
  const struct measure_noise one = measure_gradient_noise(&m.loss, m.flat);
  assert_true(fabs(one.trace - variance) < 1e-4 * variance);
  assert_true(one.tail_index > 0.3 && one.tail_index < 2.5);
  m.loss.batch = 4;
  const struct measure_noise four = measure_gradient_noise(&m.loss, m.flat);
  assert_true(four.trace > 0.7 * variance && four.trace < 1.4 * variance);
  m.loss.samples = 7; /* one whole batch: no variance */
  assert_true(isnan(measure_gradient_noise(&m.loss, m.flat).trace));
  net_work_free(m.work);
}

/* log p(label | x) of an MLP with one hidden layer, plainly; w as in the flat vector. */
static double plain_log_p(const double *w, unsigned width, const float *x, unsigned label)
{
  const double *b1 = w + (size_t)width * AREA, *w2 = b1 + width, *b2 = w2 + (size_t)CLASSES * width;
  double h[16], z[CLASSES], sum = 0;
  for (unsigned i = 0; i < width; i++) {
    h[i] = b1[i];
    for (unsigned k = 0; k < AREA; k++)
      h[i] += w[i * AREA + k] * (double)x[k];
    h[i] = h[i] > 0 ? h[i] : 0;
  }
  for (unsigned c = 0; c < CLASSES; c++) {
    z[c] = b2[c];
    for (unsigned i = 0; i < width; i++)
      z[c] += w2[c * width + i] * h[i];
    sum += exp(z[c]);
  }
  return z[label] - log(sum);
}

/* The Fisher matrix's diagonal with gradients by central differences. */
static void plain_fisher(const struct model *m, unsigned width, bool empirical, double *fisher)
{
  const size_t n = net_params(m->net);
  double *w = mem_alloc(n * sizeof *w);
  struct measure_batches b;
  for (size_t i = 0; i < n; i++)
    w[i] = (double)m->flat[i];
  memset(fisher, 0, n * sizeof *fisher);
  measure_batches_begin(&b, m->loss.set, DATA_TRAIN, m->loss.samples, 1);
  while (measure_batches_next(&b))
    for (unsigned c = 0; c < CLASSES; c++) {
      const double p = empirical ? c == (unsigned)b.labels[0]
                                 : exp(plain_log_p(w, width, b.x, c));
      for (size_t i = 0; i < n; i++) {
        const double at = w[i], step = 1e-6;
        w[i] = at + step;
        const double up = plain_log_p(w, width, b.x, c);
        w[i] = at - step;
        const double slope = (up - plain_log_p(w, width, b.x, c)) / (2 * step);
        w[i] = at;
        fisher[i] += p * slope * slope / b.samples;
      }
    }
  measure_batches_end(&b);
  free(w);
}

static void fisher_is_the_mean_of_squares(void **state)
{
  struct fixture *f = *state;
  enum { WIDTH = 5, SEEDS = 150 };
  struct model m = make(f, "mlp", WIDTH);
  m.loss.samples = 40;
  const size_t n = net_params(m.net);
  double *plain = arena_array(f->arena, n, sizeof *plain);
  double *found = arena_array(f->arena, n, sizeof *found), exact = 0, sampled = 0;
  const enum measure_expectation ways[] = {MEASURE_EMPIRICAL, MEASURE_EXACT};
  for (int k = 0; k < 2; k++) {
    double largest = 0;
    plain_fisher(&m, WIDTH, ways[k] == MEASURE_EMPIRICAL, plain);
    measure_fisher(&m.loss, m.flat, ways[k], 1, found);
    for (size_t i = 0; i < n; i++)
      largest = fmax(largest, plain[i]);
    assert_true(largest > 1e-3);
    for (size_t i = 0; i < n; i++)
      if (fabs(found[i] - plain[i]) > 1e-4 * largest)
        fail_msg("entry %zu: %g, differences say %g", i, found[i], plain[i]);
  }
  for (size_t i = 0; i < n; i++)
    exact += found[i];
  /* Draws have the exact one as their mean, and differ. */
  double first = 0, squares = 0;
  for (unsigned seed = 0; seed < SEEDS; seed++) {
    double trace = 0;
    measure_fisher(&m.loss, m.flat, MEASURE_SAMPLED, seed, found);
    for (size_t i = 0; i < n; i++)
      trace += found[i];
    first = seed ? first : trace;
    sampled += trace / SEEDS;
    squares += trace * trace / SEEDS;
  }
  const double error = sqrt((squares - sampled * sampled) / (SEEDS - 1));
  assert_true(error > 0 && error < 0.05 * exact);
  if (fabs(sampled - exact) > 4 * error)
    fail_msg("trace %g, the mean of draws is %g +- %g", exact, sampled, error);
  measure_fisher(&m.loss, m.flat, MEASURE_SAMPLED, 0, found);
  double again = 0;
  for (size_t i = 0; i < n; i++)
    again += found[i];
  assert_memory_equal(&again, &first, sizeof first);
  net_work_free(m.work);
}

static void disagreement_counts_samples(void **state)
{
  struct fixture *f = *state;
  struct model m = make(f, "mlp", 12);
  float *other = arena_copy(f->arena, m.flat, net_count(m.net) * sizeof *other);
  float *z[2] = {arena_array(f->arena, (size_t)BATCH * CLASSES, sizeof(float)),
                 arena_array(f->arena, (size_t)BATCH * CLASSES, sizeof(float))};
  unsigned differ = 0;
  net_init(m.net, 8, other);
  struct measure_batches b;
  measure_batches_begin(&b, &f->set, DATA_TEST, SAMPLES, BATCH);
  while (measure_batches_next(&b)) {
    net_logits(m.work, m.flat, b.x, b.n, z[0]);
    net_logits(m.work, other, b.x, b.n, z[1]);
    for (unsigned i = 0; i < b.n; i++) {
      unsigned best[2] = {0, 0};
      for (int k = 0; k < 2; k++)
        for (unsigned c = 0; c < CLASSES; c++)
          if (z[k][i * CLASSES + c] > z[k][i * CLASSES + best[k]])
            best[k] = c;
      differ += best[0] != best[1];
    }
  }
  measure_batches_end(&b);
  assert_true(differ > 0);
  /* A batch that does not divide the split. */
  const double found =
      measure_disagreement(m.work, 25, m.flat, other, m.net, &f->set, DATA_TEST);
  assert_true(fabs(found - differ / (double)SAMPLES) < 1e-12);
  assert_true(measure_disagreement(m.work, BATCH, other, other, m.net, &f->set, DATA_TEST) == 0);
  net_work_free(m.work);
}

int main(void)
{
#define CURVATURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {
      CURVATURE(gradient_is_that_of_inference),
      CURVATURE(gradient_without_norms_is_that_of_training),
      CURVATURE(hessian_of_a_tiny_mlp),
      CURVATURE(scale_invariant_weights),
      CURVATURE(directions_rise_with_the_radius),
      CURVATURE(tail_index_of_known_noise),
      CURVATURE(noise_of_single_samples),
      CURVATURE(fisher_is_the_mean_of_squares),
      CURVATURE(disagreement_counts_samples),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
