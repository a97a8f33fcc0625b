/* The operations of transformers: each against a naive twin in double, and its gradients
 * against central differences of the twin, for every instruction set of this machine. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "twin.h"

#include "base/arena.h"
#include "engine/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- linear layers and activations ---- */

struct dense_shape {
  struct ops_dense d;
  unsigned rows;
  bool residual;
};

static double activation(double u, enum ops_act act)
{
  switch (act) {
  case OPS_GELU_TANH:
    return 0.5 * u * (1 + tanh(sqrt(2 / acos(-1.0)) * (u + 0.044715 * u * u * u)));
  case OPS_GELU:
    return 0.5 * u * (1 + erf(u / sqrt(2)));
  case OPS_QUICK_GELU:
    return u / (1 + exp(-1.702 * u));
  case OPS_RELU:
    return u > 0 ? u : 0;
  case OPS_IDENTITY:
    break;
  }
  return u;
}

static void dense_twin(const struct twin *t, double *y)
{
  const struct dense_shape *s = t->shape;
  const unsigned in = s->d.in, out = s->d.out;
  for (size_t i = 0; i < (size_t)s->rows * out; i++) {
    const size_t r = i / out, o = i % out;
    double u = t->in[2][o];
    for (size_t k = 0; k < in; k++)
      u += t->in[0][r * in + k] * t->in[1][s->d.in_first ? k * out + o : o * in + k];
    y[i] = activation(u, s->d.act) + (s->residual ? t->in[3][i] : 0);
  }
}

/* The weights' gradient is what it is with a bias. */
static void check_no_bias(const struct ops *ops, struct twin *t, const struct dense_shape *s,
                          const float *x, const float *w, float *dy, const float *dw,
                          float *scratch)
{
  struct arena *a = arena_new();
  float *y = arena_array(a, t->n_y, sizeof *y), *again = arena_array(a, t->n[1], sizeof *again);
  memset(t->in[2], 0, t->n[2] * sizeof *t->in[2]);
  ops->dense_forward(ops, &s->d, s->rows, x, w, NULL, NULL, y, NULL, scratch);
  check_output(a, t, y, "dense without bias");
  ops->dense_backward(ops, &s->d, s->rows, x, w, NULL, dy, NULL, false, again, NULL, scratch);
  assert_memory_equal(again, dw, t->n[1] * sizeof *dw);
  arena_free(a);
}

/* In two calls for the weights, where there are more outputs than one multiple of 16, and one. */
static void check_dense_in_parts(const struct ops *ops, struct twin *t,
                                 const struct dense_shape *s, const float *x, const float *w,
                                 const float *slope, const float *upstream, float *scratch)
{
  struct arena *a = arena_new();
  const unsigned out = s->d.out, first = out > 16 ? out / 2 / 16 * 16 + 16 : out;
  float *dx = arena_array(a, t->n[0], sizeof *dx), *dw = random_floats(a, t->n[1], 5);
  float *dbias = arena_array(a, out, sizeof *dbias);
  float *dy = arena_copy(a, upstream, t->n_y * sizeof *dy);
  ops->dense_backward_weights(ops, &s->d, s->rows, 0, first, x, slope, dy, false, dw, dbias,
                              scratch);
  if (first < out)
    ops->dense_backward_weights(ops, &s->d, s->rows, first, out - first, x, slope, dy, false, dw,
                                dbias, scratch);
  ops->dense_backward_data(ops, &s->d, s->rows, w, dy, dx, false, scratch);
  check_gradient(a, t, 0, upstream, dx, "dense in parts, dx");
  check_gradient(a, t, 1, upstream, dw, "dense in parts, dw");
  check_gradient(a, t, 2, upstream, dbias, "dense in parts, dbias");
  arena_free(a);
}

static void check_dense(const struct ops *ops, const struct dense_shape *s)
{
  struct arena *a = arena_new();
  const unsigned in = s->d.in, out = s->d.out;
  struct twin t = {.shape = s, .run = dense_twin, .n_y = (size_t)s->rows * out};
  const float *x = input(a, &t, 0, (size_t)s->rows * in), *w = input(a, &t, 1, (size_t)in * out);
  const float *bias = input(a, &t, 2, out), *residual = input(a, &t, 3, t.n_y);
  float *y = arena_array(a, t.n_y, sizeof *y), *dy = random_floats(a, t.n_y, 8);
  const float *upstream = arena_copy(a, dy, t.n_y * sizeof *dy);
  float *slope = s->d.act == OPS_IDENTITY ? NULL : arena_array(a, t.n_y, sizeof *slope);
  float *dx = arena_array(a, t.n[0], sizeof *dx), *dw = arena_array(a, t.n[1], sizeof *dw);
  float *dbias = arena_array(a, out, sizeof *dbias);
  float *scratch = mem_alloc(ops->dense_scratch(ops, &s->d) * sizeof *scratch);
  ops->dense_forward(ops, &s->d, s->rows, x, w, bias, s->residual ? residual : NULL, y, slope,
                     scratch);
  check_output(a, &t, y, "dense");
  ops->dense_backward(ops, &s->d, s->rows, x, w, slope, dy, dx, false, dw, dbias, scratch);
  check_gradient(a, &t, 0, upstream, dx, "dense, dx");
  check_gradient(a, &t, 1, upstream, dw, "dense, dw");
  check_gradient(a, &t, 2, upstream, dbias, "dense, dbias");
  if (s->residual)
    check_gradient(a, &t, 3, upstream, dy, "dense, the residual's");
  check_dense_in_parts(ops, &t, s, x, w, slope, upstream, scratch);
  float *added = arena_copy(a, x, t.n[0] * sizeof *added);
  ops->dense_backward(ops, &s->d, s->rows, x, w, NULL, dy, added, true, dw, dbias, scratch);
  for (size_t i = 0; i < t.n[0]; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-5, "dense, dx added", i);
  if (s->d.act == OPS_IDENTITY && !s->residual)
    check_no_bias(ops, &t, s, x, w, dy, dw, scratch);
  free(scratch);
  arena_free(a);
}

static void dense_shapes(const struct ops *ops)
{
  static const unsigned shapes[][3] = {{1, 1, 1},     {7, 5, 3},     {33, 50, 70}, {600, 20, 37},
                                       {13, 300, 64}, {6, 16, 1100}, {40, 128, 96}};
  for (unsigned i = 0; i < 8 * sizeof shapes / sizeof *shapes; i++) {
    const unsigned *s = shapes[i / 8];
    const enum ops_act act = (enum ops_act)(i % 4);
    const struct dense_shape shape = {.d = {s[1], s[2], i / 4 % 2 == 0, act},
                                      .rows = s[0],
                                      .residual = act == OPS_IDENTITY && i % 8};
    check_dense(ops, &shape);
  }
  /* Of sums that are not too long: a ReLU passes their rounding on whole. */
  for (unsigned i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
    const unsigned *s = shapes[i / 2];
    const struct dense_shape shape = {.d = {s[1], s[2], i % 2 == 0, OPS_RELU}, .rows = s[0]};
    if (s[1] <= 128)
      check_dense(ops, &shape);
  }
}

static void dense_matches_twin(void **state)
{
  (void)state;
  each_set(dense_shapes);
}

/* Over the whole range, where exp would overflow too; and a NaN stays one. */
static void activation_range(const struct ops *ops)
{
  const float one = 1, zero = 0;
  for (int act = OPS_GELU_TANH; act <= OPS_RELU; act++) {
    const struct ops_dense d = {1, 1, true, (enum ops_act)act};
    float *scratch = mem_alloc(ops->dense_scratch(ops, &d) * sizeof *scratch), y, slope;
    for (float u = -100; u <= 100; u += 0.37f) {
      ops->dense_forward(ops, &d, 1, &u, &one, &zero, NULL, &y, &slope, scratch);
      const double h = 1e-6, x = (double)u;
      const double rise = activation(x + h, d.act) - activation(x - h, d.act);
      assert_near((double)y, activation(x, d.act), 2e-6, "activation", (size_t)act);
      assert_near((double)slope, rise / (2 * h), 1e-5, "slope", (size_t)act);
    }
    const float nan = NAN;
    ops->dense_forward(ops, &d, 1, &nan, &one, &zero, NULL, &y, &slope, scratch);
    assert_true(isnan(y));
    free(scratch);
  }
}

static void activations_over_the_whole_range(void **state)
{
  (void)state;
  each_set(activation_range);
}

/* ---- layer norm ---- */

static const double EPS = 1e-5;

static void layernorm_twin(const struct twin *t, double *y)
{
  const size_t c = t->n[1], rows = t->n[0] / c;
  for (size_t r = 0; r < rows; r++) {
    const double *x = t->in[0] + r * c;
    double mean = 0, var = 0;
    for (size_t i = 0; i < c; i++)
      mean += x[i] / (double)c;
    for (size_t i = 0; i < c; i++)
      var += (x[i] - mean) * (x[i] - mean) / (double)c;
    for (size_t i = 0; i < c; i++)
      y[r * c + i] = (x[i] - mean) / sqrt(var + EPS) * t->in[1][i] + t->in[2][i];
  }
}

static void check_layernorm(const struct ops *ops, size_t rows, unsigned c)
{
  struct arena *a = arena_new();
  struct twin t = {.run = layernorm_twin, .n_y = rows * c};
  const float *x = input(a, &t, 0, rows * c), *gamma = input(a, &t, 1, c);
  const float *beta = input(a, &t, 2, c);
  float *y = arena_array(a, t.n_y, sizeof *y), *upstream = random_floats(a, t.n_y, 8);
  float *dx = arena_array(a, t.n_y, sizeof *dx);
  float *mean = arena_array(a, rows, sizeof *mean), *inv_std = arena_array(a, rows, sizeof *mean);
  float *dgamma = arena_array(a, c, sizeof *dgamma), *dbeta = arena_array(a, c, sizeof *dbeta);
  ops->layernorm_forward(ops, rows, c, (float)EPS, x, gamma, beta, y, mean, inv_std);
  check_output(a, &t, y, "layer norm");
  ops->layernorm_backward(ops, rows, c, x, mean, inv_std, gamma, upstream, dx, false, dgamma,
                          dbeta);
  check_gradient(a, &t, 0, upstream, dx, "layer norm, dx");
  check_gradient(a, &t, 1, upstream, dgamma, "layer norm, dgamma");
  check_gradient(a, &t, 2, upstream, dbeta, "layer norm, dbeta");
  float *added = arena_copy(a, x, t.n_y * sizeof *added);
  ops->layernorm_backward(ops, rows, c, x, mean, inv_std, gamma, upstream, added, true, dgamma,
                          dbeta);
  for (size_t i = 0; i < t.n_y; i++)
    assert_near((double)added[i], (double)x[i] + (double)dx[i], 1e-5, "layer norm, added", i);
  const unsigned first = c > 16 ? 16 : c;
  ops->layernorm_backward_weights(ops, rows, c, 0, first, x, mean, inv_std, upstream, dgamma,
                                  dbeta);
  if (first < c)
    ops->layernorm_backward_weights(ops, rows, c, first, c - first, x, mean, inv_std, upstream,
                                    dgamma, dbeta);
  ops->layernorm_backward_data(ops, rows, c, x, mean, inv_std, gamma, upstream, dx, false);
  check_gradient(a, &t, 0, upstream, dx, "layer norm in parts, dx");
  check_gradient(a, &t, 1, upstream, dgamma, "layer norm in parts, dgamma");
  check_gradient(a, &t, 2, upstream, dbeta, "layer norm in parts, dbeta");
  float *again = arena_array(a, t.n_y, sizeof *again);
  ops->layernorm_forward(ops, rows, c, (float)EPS, x, gamma, beta, again, NULL, NULL);
  assert_memory_equal(again, y, t.n_y * sizeof *y);
  arena_free(a);
}

static void layernorm_shapes(const struct ops *ops)
{
  check_layernorm(ops, 1, 2);
  check_layernorm(ops, 5, 7);
  check_layernorm(ops, 70, 32);
  check_layernorm(ops, 9, 50);
}

static void layernorm_matches_twin(void **state)
{
  (void)state;
  each_set(layernorm_shapes);
}

/* ---- attention ---- */

struct attention_shape {
  struct ops_attention a;
  unsigned n;
};

static const double *head(const struct attention_shape *s, const double *qkv, unsigned sample,
                          unsigned token, unsigned which, unsigned h)
{
  const struct ops_attention *a = &s->a;
  return qkv + (((size_t)sample * a->tokens + token) * 3 + which) * a->heads * a->size +
         h * a->size;
}

static void attention_twin(const struct twin *t, double *y)
{
  const struct attention_shape *s = t->shape;
  const struct ops_attention *a = &s->a;
  memset(y, 0, t->n_y * sizeof *y);
  double *p = mem_alloc(a->tokens * sizeof *p);
  const unsigned queries = ops_attention_queries(a);
  for (unsigned i = 0; i < s->n * a->heads * queries; i++) {
    const unsigned n = i / queries / a->heads, h = i / queries % a->heads, q = i % queries;
    const double *query = head(s, t->in[0], n, q, 0, h);
    const unsigned keys = a->causal ? q + 1 : a->tokens;
    double sum = 0, *to = y + ((size_t)n * queries + q) * a->heads * a->size + h * a->size;
    for (unsigned k = 0; k < keys; k++) {
      const double *key = head(s, t->in[0], n, k, 1, h);
      double score = 0;
      for (unsigned c = 0; c < a->size; c++)
        score += query[c] * key[c] / sqrt(a->size);
      p[k] = exp(score);
      sum += p[k];
    }
    for (unsigned k = 0; k < keys * a->size; k++)
      to[k % a->size] +=
          p[k / a->size] / sum * head(s, t->in[0], n, k / a->size, 2, h)[k % a->size];
  }
  free(p);
}

static void check_attention(const struct ops *ops, const struct attention_shape *s)
{
  struct arena *a = arena_new();
  const struct ops_attention *k = &s->a;
  const unsigned queries = ops_attention_queries(k), c = k->heads * k->size;
  const size_t n_y = (size_t)s->n * queries * c, n_x = (size_t)s->n * k->tokens * 3 * c;
  struct twin t = {.shape = s, .run = attention_twin, .n_y = n_y};
  const float *qkv = input(a, &t, 0, n_x), *dy = random_floats(a, n_y, 8);
  float *y = arena_array(a, n_y, sizeof *y), *dqkv = arena_array(a, n_x, sizeof *dqkv);
  float *again = arena_array(a, n_y, sizeof *y);
  float *log_sum = arena_array(a, (size_t)s->n * k->heads * queries, sizeof *log_sum);
  float *scratch = mem_alloc(ops->attention_scratch(ops, k) * sizeof *scratch);
  ops->attention_forward(ops, k, s->n, qkv, y, log_sum, scratch);
  check_output(a, &t, y, "attention");
  ops->attention_forward(ops, k, s->n, qkv, again, NULL, scratch);
  assert_memory_equal(again, y, n_y * sizeof *y);
  memset(dqkv, 0xff, n_x * sizeof *dqkv);
  ops->attention_backward(ops, k, s->n, qkv, y, log_sum, dy, dqkv, scratch);
  check_gradient(a, &t, 0, dy, dqkv, "attention, dqkv");
  for (size_t i = 0; i < n_x; i++) /* who does not ask has no gradient by asking */
    assert_true(i / c % 3 == 0 && i / c / 3 % k->tokens >= queries ? dqkv[i] == 0
                                                                   : isfinite(dqkv[i]));
  free(scratch);
  arena_free(a);
}

static void attention_shapes(const struct ops *ops)
{
  static const unsigned shapes[][4] = {{1, 1, 1, 1},   {2, 5, 3, 4},   {1, 70, 2, 16},
                                       {2, 64, 1, 32}, {1, 130, 1, 8}, {1, 197, 1, 64}};
  for (unsigned i = 0; i < 4 * sizeof shapes / sizeof *shapes; i++) {
    const unsigned *s = shapes[i / 4], queries[] = {0, 0, 1, s[1] < 67 ? s[1] : 67};
    const struct attention_shape shape = {{s[1], s[2], s[3], i % 4 == 0, queries[i % 4]}, s[0]};
    check_attention(ops, &shape);
  }
}

static void attention_matches_twin(void **state)
{
  (void)state;
  each_set(attention_shapes);
}

/* ---- embeddings and the loss ---- */

enum { VOCABULARY = 70, TOKENS = 9, SAMPLES = 31, WIDTH = 19, ROWS = TOKENS * SAMPLES };

static unsigned some_token(size_t i)
{
  return (unsigned)(i * i * 31 + 7 * i) % VOCABULARY;
}

static void embedding_twin(const struct twin *t, double *y)
{
  for (size_t i = 0; i < t->n_y; i++) {
    const size_t row = i / WIDTH, k = i % WIDTH;
    y[i] = t->in[0][some_token(row) * WIDTH + k] + t->in[1][row % TOKENS * WIDTH + k];
  }
}

static void check_embedding(const struct ops *ops)
{
  struct arena *a = arena_new();
  struct twin t = {.run = embedding_twin, .n_y = ROWS * WIDTH};
  const float *words = input(a, &t, 0, VOCABULARY * WIDTH);
  const float *positions = input(a, &t, 1, TOKENS * WIDTH);
  float ids[ROWS], *y = arena_array(a, t.n_y, sizeof *y), *dy = random_floats(a, t.n_y, 8);
  for (size_t i = 0; i < ROWS; i++)
    ids[i] = (float)some_token(i);
  ops->embedding_forward(ops, SAMPLES, TOKENS, WIDTH, ids, words, positions, y);
  check_output(a, &t, y, "embedding");
  float dwords[VOCABULARY * WIDTH] = {0}, dpositions[TOKENS * WIDTH];
  ops->embedding_backward(ops, SAMPLES, TOKENS, WIDTH, ids, dy, dwords, dpositions);
  check_gradient(a, &t, 0, dy, dwords, "embedding, dwords");
  check_gradient(a, &t, 1, dy, dpositions, "embedding, dpositions");
  const float once = dwords[5];
  ops->embedding_backward(ops, SAMPLES, TOKENS, WIDTH, ids, dy, dwords, dpositions);
  assert_near((double)dwords[5], 2 * (double)once, 1e-5, "embedding, dwords added to", 5);
  arena_free(a);
}

static void embedding_matches_twin(void **state)
{
  (void)state;
  each_set(check_embedding);
}

static void loss_twin(const struct twin *t, double *y)
{
  y[0] = 0;
  for (size_t r = 0; r < ROWS; r++) {
    double sum = 0, own = 0;
    for (size_t o = 0; o < VOCABULARY; o++) {
      double z = 0;
      for (size_t k = 0; k < WIDTH; k++)
        z += t->in[0][r * WIDTH + k] * t->in[1][o * WIDTH + k];
      sum += exp(z);
      own = o == some_token(r) ? z : own;
    }
    y[0] += (log(sum) - own) / ROWS;
  }
}

static void check_loss(const struct ops *ops)
{
  struct arena *a = arena_new();
  struct twin t = {.run = loss_twin, .n_y = 1};
  float *x = input(a, &t, 0, ROWS * WIDTH), *w = input(a, &t, 1, VOCABULARY * WIDTH);
  const struct ops_dense d = {.in = WIDTH, .out = VOCABULARY};
  const float one = 1;
  int32_t labels[ROWS];
  for (size_t i = 0; i < ROWS; i++)
    labels[i] = (int32_t)some_token(i);
  float *dx = arena_array(a, ROWS * WIDTH, sizeof *dx);
  float *dw = arena_array(a, VOCABULARY * WIDTH, sizeof *dw);
  float *scratch = mem_alloc(ops->token_loss_scratch(ops, ROWS, &d) * sizeof *scratch);
  const float loss = ops->token_loss(ops, &d, ROWS, x, w, labels, dx, dw, scratch);
  check_output(a, &t, &loss, "token loss");
  check_gradient(a, &t, 0, &one, dx, "token loss, dx");
  check_gradient(a, &t, 1, &one, dw, "token loss, dw");
  x[3] = NAN;
  assert_true(isnan(ops->token_loss(ops, &d, ROWS, x, w, labels, dx, dw, scratch)));
  free(scratch);
  arena_free(a);
}

static void token_loss_matches_twin(void **state)
{
  (void)state;
  each_set(check_loss);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dense_matches_twin),
      cmocka_unit_test(activations_over_the_whole_range),
      cmocka_unit_test(layernorm_matches_twin),
      cmocka_unit_test(attention_matches_twin),
      cmocka_unit_test(embedding_matches_twin),
      cmocka_unit_test(token_loss_matches_twin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
