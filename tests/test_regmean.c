/* What linear layers read, its Gram matrices, and RegMean against least squares. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/net_int.h"
#include "measure/measure.h"
#include "merge/merge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 8, SAMPLES = 24, CLASSES = 5, BATCH = 7 };

/* ---- what layers read ---- */

static struct data_set images(struct arena *a)
{
  struct data_set set = {
      .channels = 2, .height = SIDE, .width = SIDE, .classes = CLASSES, .targets = 1};
  struct rng r = rng_at(1, RNG_TEST, 0, 0, 0);
  const size_t bytes = (size_t)SAMPLES * SIDE * SIDE * 2;
  uint8_t *pixels = arena_alloc(a, bytes);
  for (size_t i = 0; i < bytes; i++)
    pixels[i] = (uint8_t)rng_below(&r, 256);
  for (int c = 0; c < 2; c++) {
    set.mean[c] = 0.5f;
    set.std[c] = 0.25f;
  }
  set.split[DATA_TRAIN] = (struct data_samples){
      .n = SAMPLES, .pixels = pixels, .labels = arena_array(a, SAMPLES, sizeof(int32_t))};
  return set;
}

struct seen {
  const struct net *net;
  const struct net_linear *linears;
  const float *flat;
  double **products; /* [linear]: [rows][out] of its weight times what it reads */
  size_t *rows;
  double **grams; /* naive */
};

static void take_rows(void *context, size_t k, size_t n, const float *rows)
{
  struct seen *s = context;
  const struct net_linear *l = &s->linears[k];
  const float *w = s->flat + s->net->tensors[l->tensor].offset;
  for (size_t r = 0; r < n; r++, rows += l->in) {
    for (size_t o = 0; o < l->out; o++) {
      double sum = 0;
      for (size_t i = 0; i < l->in; i++)
        sum += (double)rows[i] * (double)w[l->in_first ? i * l->out + o : o * l->in + i];
      s->products[k][s->rows[k] * l->out + o] = sum;
    }
    for (size_t i = 0; i < l->in; i++)
      for (size_t j = 0; j < l->in; j++)
        s->grams[k][i * l->in + j] += (double)rows[i] * (double)rows[j];
    s->rows[k]++;
  }
}

struct compared {
  struct seen *s;
  const size_t *layer_of; /* [linear] */
  size_t n, checked;
};

/* Of layers that put out nothing but the product and a bias. */
static void compare(void *context, unsigned value, const struct net_activation *a)
{
  struct compared *c = context;
  for (size_t k = 0; k < c->n; k++) {
    const struct net_layer *l = &c->s->net->layers[c->layer_of[k]];
    const size_t out = c->s->linears[k].out;
    if (l->out != value || (l->kind == LAYER_DENSE && l->dense.act != OPS_IDENTITY) ||
        l->kind == LAYER_SCALED || l->residual != NET_NONE)
      continue;
    const float *bias = l->kind == LAYER_CONV || l->bias == SIZE_MAX ? NULL : c->s->flat + l->bias;
    assert_int_equal(a->rows, c->s->rows[k]);
    for (size_t r = 0; r < a->rows; r++)
      for (size_t o = 0; o < out; o++) {
        double want = c->s->products[k][r * out + o] + (bias ? (double)bias[o] : 0);
        want = l->relu && want < 0 ? 0 : want;
        if (!(fabs((double)a->y[r * a->row + o] - want) < 1e-4 * (1 + fabs(want))))
          fail_msg("%s: %g, not %g", c->s->net->tensors[c->s->linears[k].tensor].name,
                   (double)a->y[r * a->row + o], want);
      }
    c->checked++;
  }
}

static size_t *layers_of(struct arena *a, const struct net *net, const struct net_linear *l,
                         size_t n)
{
  size_t *of = arena_array(a, n + 1, sizeof *of), at = 0;
  for (size_t k = 0; k < n; k++, at++) {
    while (net->layers[at].weight != net->tensors[l[k].tensor].offset ||
           net->layers[at].kind == LAYER_FLATTEN || net->layers[at].kind == LAYER_PATCHES)
      at++;
    of[k] = at;
  }
  return of;
}

static void rows_are_what_layers_read(void **state)
{
  (void)state;
  static const struct {
    const char *model;
    unsigned least; /* layers that can be compared */
    unsigned block;
  } cases[] = {{"mlp", 3, 0}, {"resnet18", 6, 0}, {"densenet121", 6, 0}, {"vit_s_16", 3, 0},
               {"convnext_tiny", 2, 0}};
  for (size_t m = 0; m < sizeof cases / sizeof *cases; m++) {
    struct arena *a = arena_new();
    const struct data_set set = images(a);
    const struct net_spec spec = {.model = cases[m].model,
                                  .width = 6,
                                  .layers = 2,
                                  .stages = 2,
                                  .blocks = 1,
                                  .growth = 3,
                                  .heads = 2,
                                  .patch = 4,
                                  .channels = 2,
                                  .height = SIDE,
                                  .image_width = SIDE,
                                  .classes = CLASSES};
    const struct net *net = net_new(a, &spec, diag_new(a));
    assert_non_null(net);
    float *flat = arena_array(a, net_count(net), sizeof *flat);
    float *x = arena_array(a, SAMPLES * net_inputs(net), sizeof *x);
    int32_t labels[SAMPLES];
    uint32_t indices[SAMPLES];
    for (uint32_t i = 0; i < SAMPLES; i++)
      indices[i] = i;
    net_init(net, 1, flat);
    data_batch(&set, DATA_TRAIN, indices, SAMPLES, NULL, 0, 0, 0, x, labels);
    size_t n;
    struct seen s = {.net = net, .linears = net_linears(a, net, &n), .flat = flat};
    s.rows = arena_array(a, n, sizeof *s.rows);
    s.products = arena_array(a, n, sizeof *s.products);
    s.grams = arena_array(a, n, sizeof *s.grams);
    double **grams = arena_array(a, n, sizeof *grams);
    for (size_t k = 0; k < n; k++) {
      const struct net_linear *l = &s.linears[k];
      s.products[k] = arena_array(a, SAMPLES * l->rows * l->out, sizeof(double));
      s.grams[k] = arena_array(a, l->in * l->in, sizeof(double));
      grams[k] = arena_array(a, l->in * l->in, sizeof(double));
    }
    struct net_work *work = net_work_new(net, ops_cpu(), SAMPLES, false);
    net_visit_rows(work, flat, x, SAMPLES, NULL, take_rows, &s);
    for (size_t k = 0; k < n; k++)
      assert_int_equal(s.rows[k], SAMPLES * s.linears[k].rows);
    struct compared c = {&s, layers_of(a, net, s.linears, n), n, 0};
    net_visit(work, flat, x, SAMPLES, compare, &c);
    if (c.checked < cases[m].least)
      fail_msg("%s: %zu layers compared", cases[m].model, c.checked);
    /* Batches that do not divide the samples. */
    measure_grams(work, BATCH, flat, &set, SAMPLES, s.linears, n, grams);
    for (size_t k = 0; k < n; k++) {
      const size_t in = s.linears[k].in;
      for (size_t i = 0; i < in * in; i++)
        assert_true(fabs(grams[k][i] - s.grams[k][i]) < 1e-5 * (1 + fabs(s.grams[k][i])));
    }
    net_work_free(work);
    arena_free(a);
  }
}

/* ---- merging ---- */

enum { IN = 6, OUT = 3, ROWS = 20, TASKS = 2, W = IN * OUT, FLAT = W + 4 };

struct problem {
  double x[TASKS][ROWS][IN], gram[TASKS][IN * IN];
  float model[TASKS][FLAT]; /* a weight and a bias */
  bool in_first;
};

static bool find(void *context, size_t tensor, struct merge_gram *g)
{
  const struct problem *p = context;
  *g = (struct merge_gram){IN, OUT, p->in_first};
  return tensor == 0;
}

static bool load(void *context, size_t tensor, size_t model, double *gram, struct diag *d)
{
  const struct problem *p = context;
  (void)tensor, (void)d;
  memcpy(gram, p->gram[model], sizeof p->gram[model]);
  return true;
}

static void make(struct problem *p, uint64_t seed, unsigned rows)
{
  struct rng r = rng_at(seed, RNG_TEST, 1, 0, 0);
  memset(p, 0, sizeof *p);
  for (int k = 0; k < TASKS; k++) {
    for (unsigned s = 0; s < rows; s++)
      for (int i = 0; i < IN; i++)
        p->x[k][s][i] = rng_normal(&r) * (i + 1) + k;
    for (int i = 0; i < FLAT; i++)
      p->model[k][i] = (float)rng_normal(&r);
  }
}

static void make_grams(struct problem *p)
{
  for (int k = 0; k < TASKS; k++)
    for (int i = 0; i < IN; i++)
      for (int j = 0; j < IN; j++) {
        p->gram[k][i * IN + j] = 0;
        for (int s = 0; s < ROWS; s++)
          p->gram[k][i * IN + j] += p->x[k][s][i] * p->x[k][s][j];
      }
}

static void merge(struct problem *p, double scale, float *out)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  const struct merge_tensor tensors[] = {{"weight", W, false}, {"bias", FLAT - W, false}};
  const struct merge_grams grams = {p, find, load};
  const struct merge_args args = {.scale = scale, .grams = &grams};
  const float *const models[] = {p->model[0], p->model[1]};
  assert_true(merge_flat(merge_find("regmean"), &args, TASKS, tensors, 2, models, out, d));
  arena_free(a);
}

static double weight(const struct problem *p, const float *w, int out, int in)
{
  return (double)w[p->in_first ? in * OUT + out : out * IN + in];
}

/* The sum over tasks of squared differences of outputs, which RegMean makes smallest. */
static double apart(const struct problem *p, const float *w)
{
  double sum = 0;
  for (int k = 0; k < TASKS; k++)
    for (int s = 0; s < ROWS; s++)
      for (int o = 0; o < OUT; o++) {
        double difference = 0;
        for (int i = 0; i < IN; i++)
          difference += p->x[k][s][i] * (weight(p, w, o, i) - weight(p, p->model[k], o, i));
        sum += difference * difference;
      }
  return sum;
}

/* Gauss's elimination with the largest pivot of the column. */
static void eliminate(double a[IN][IN + 1], double *x)
{
  for (int k = 0; k < IN; k++) {
    int p = k;
    for (int i = k + 1; i < IN; i++)
      p = fabs(a[i][k]) > fabs(a[p][k]) ? i : p;
    for (int j = 0; j <= IN; j++) {
      const double t = a[k][j];
      a[k][j] = a[p][j];
      a[p][j] = t;
    }
    for (int i = k + 1; i < IN; i++)
      for (int j = IN; j >= k; j--)
        a[i][j] -= a[i][k] / a[k][k] * a[k][j];
  }
  for (int k = IN - 1; k >= 0; k--) {
    x[k] = a[k][IN];
    for (int j = k + 1; j < IN; j++)
      x[k] -= a[k][j] * x[j];
    x[k] /= a[k][k];
  }
}

/* The formula of the article, an output at a time. */
static void plain(const struct problem *p, double scale, int out, double *x)
{
  double a[IN][IN + 1];
  for (int i = 0; i < IN; i++) {
    a[i][IN] = 0;
    for (int j = 0; j < IN; j++) {
      a[i][j] = 0;
      for (int k = 0; k < TASKS; k++) {
        const double g = p->gram[k][i * IN + j] * (i == j ? 1 : scale);
        a[i][j] += g;
        a[i][IN] += g * weight(p, p->model[k], out, j);
      }
    }
  }
  eliminate(a, x);
}

static void regmean_is_least_squares(void **state)
{
  (void)state;
  static const double scales[] = {1, 0.9, 0.1, 0};
  static struct problem p;
  float out[FLAT];
  for (unsigned c = 0; c < 8; c++) {
    make(&p, c, ROWS);
    make_grams(&p);
    p.in_first = c % 2;
    const double scale = scales[c / 2];
    merge(&p, scale, out);
    for (int o = 0; o < OUT; o++) {
      double x[IN];
      plain(&p, scale, o, x);
      for (int i = 0; i < IN; i++)
        assert_true(fabs(weight(&p, out, o, i) - x[i]) < 1e-5 * (1 + fabs(x[i])));
    }
    for (int i = W; i < FLAT; i++)
      assert_true(fabsf(out[i] - (p.model[0][i] + p.model[1][i]) / 2) < 1e-6f);
    const double least = apart(&p, out);
    for (int i = 0; i < W && scale == 1; i++)
      for (int side = -1; side <= 1; side += 2) {
        float moved[FLAT];
        memcpy(moved, out, sizeof moved);
        moved[i] += 0.01f * (float)side;
        assert_true(apart(&p, moved) > least);
      }
  }
}

/* Each task sees inputs of its own: the merged layer does what each model does on its task, which
 * the mean does not. */
static void two_tasks_keep_their_outputs(void **state)
{
  (void)state;
  static struct problem p;
  float out[FLAT], mean[FLAT];
  make(&p, 3, ROWS);
  for (int s = 0; s < ROWS; s++)
    for (int i = 0; i < IN; i++)
      p.x[i < IN / 2][s][i] = 0;
  make_grams(&p);
  merge(&p, 1, out);
  for (int i = 0; i < FLAT; i++)
    mean[i] = (p.model[0][i] + p.model[1][i]) / 2;
  assert_true(apart(&p, out) < 1e-8 * apart(&p, mean));
  for (int o = 0; o < OUT; o++)
    for (int i = 0; i < IN; i++)
      assert_true(fabs(weight(&p, out, o, i) - weight(&p, p.model[i >= IN / 2], o, i)) < 1e-5);
}

/* An input that is always zero, and fewer samples than inputs. */
static void what_is_not_determined_stays_at_the_mean(void **state)
{
  (void)state;
  static struct problem p;
  float out[FLAT];
  make(&p, 4, ROWS);
  for (int k = 0; k < TASKS; k++)
    for (int s = 0; s < ROWS; s++)
      p.x[k][s][2] = 0;
  make_grams(&p);
  merge(&p, 0.9, out);
  for (int o = 0; o < OUT; o++)
    assert_true(fabs(weight(&p, out, o, 2) -
                     (weight(&p, p.model[0], o, 2) + weight(&p, p.model[1], o, 2)) / 2) < 1e-6);
  /* Two samples a task: their outputs can all be met. */
  make(&p, 5, 2);
  make_grams(&p);
  merge(&p, 1, out);
  assert_true(apart(&p, out) < 1e-6);
  for (int i = 0; i < FLAT; i++)
    assert_true(fabsf(out[i]) < 20);
}

static void equal_models_merge_to_themselves(void **state)
{
  (void)state;
  static struct problem p;
  float out[FLAT];
  make(&p, 6, ROWS);
  make_grams(&p);
  memcpy(p.model[1], p.model[0], sizeof p.model[0]);
  for (int k = 0; k < 2; k++) {
    merge(&p, k ? 1 : 0.9, out);
    assert_memory_equal(out, p.model[0], sizeof out);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_what_layers_read),
      cmocka_unit_test(regmean_is_least_squares),
      cmocka_unit_test(two_tasks_keep_their_outputs),
      cmocka_unit_test(what_is_not_determined_stays_at_the_mean),
      cmocka_unit_test(equal_models_merge_to_themselves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
