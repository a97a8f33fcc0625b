/* Operations split over threads give the bits that they give in one piece: every operation,
 * for every instruction set of this machine. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "threads_fixture.h"

/* ---- images ---- */

static void conv(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct image_case *s = shape;
  const size_t n_x = x_floats(s), n_y = y_floats(s);
  const size_t n_w = (size_t)s->c.co * s->c.ci * s->c.k * s->c.k;
  const float *x = random_floats(o, n_x, 0), *w = random_floats(o, n_w, 1);
  const float *dy = random_floats(o, n_y, 2);
  float *y = nothing(o, n_y), *dx = random_floats(o, n_x, 3), *dw = nothing(o, n_w);
  float *scratch = mem_alloc(ops->conv_scratch(ops, &s->c, s->n) * sizeof *scratch);
  ops->conv_forward(ops, &s->c, s->n, x, w, y, scratch);
  keep(o, y, n_y);
  ops->conv_backward_data(ops, &s->c, s->n, dy, w, dx, true, scratch);
  keep(o, dx, n_x);
  ops->conv_backward_data(ops, &s->c, s->n, dy, w, dx, false, scratch);
  keep(o, dx, n_x);
  ops->conv_backward_weights(ops, &s->c, s->n, x, dy, dw, scratch);
  keep(o, dw, n_w);
  /* Fewer samples than the scratch memory is for. */
  ops->conv_forward(ops, &s->c, s->n - 1, x, w, y, scratch);
  ops->conv_backward_weights(ops, &s->c, s->n - 1, x, dy, dw, scratch);
  keep(o, y, n_y);
  keep(o, dw, n_w);
  free(scratch);
}

static void convolutions_keep_every_bit(void **state)
{
  (void)state;
  /* h, w, ci, co, k, stride, pad, y_pixel */
  static const struct image_case shapes[] = {
      {{16, 16, 16, 64, 3, 1, 1, 0}, 7},   {{14, 14, 24, 40, 3, 1, 1, 0}, 9},
      {{8, 8, 64, 128, 3, 1, 1, 0}, 6},    {{4, 4, 128, 200, 3, 1, 1, 0}, 5},
      {{17, 15, 20, 72, 3, 2, 1, 0}, 8},   {{16, 16, 32, 96, 1, 2, 0, 0}, 8},
      {{16, 16, 48, 33, 1, 1, 0, 100}, 8}, {{32, 32, 3, 64, 7, 2, 3, 0}, 5},
      {{12, 12, 40, 12, 3, 1, 1, 64}, 11}, {{28, 28, 1, 65, 5, 1, 2, 0}, 3},
  };
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){"convolution", &shapes[i], conv};
  CHECK_CASES(cases);
}

static void windows(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct image_case *s = shape;
  const size_t n_x = x_floats(s), n_y = y_floats(s);
  const float *x = random_floats(o, n_x, 0), *dy = random_floats(o, n_y, 1);
  float *y = nothing(o, n_y), *dx = random_floats(o, n_x, 2);
  if (!s->c.pad) {
    ops->average_forward(ops, &s->c, s->n, x, y);
    keep(o, y, n_y);
    ops->average_backward(ops, &s->c, s->n, dy, dx, true);
    keep(o, dx, n_x);
  }
  ops->max_forward(ops, &s->c, s->n, x, y);
  keep(o, y, n_y);
  ops->max_backward(ops, &s->c, s->n, x, dy, dx, true);
  keep(o, dx, n_x);
  ops->max_backward(ops, &s->c, s->n, x, dy, dx, false);
  keep(o, dx, n_x);
}

static void pools(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct image_case *s = shape;
  const unsigned pixels = s->c.h * s->c.w, c = s->c.ci;
  const size_t n_x = x_floats(s), n_y = (size_t)s->n * c;
  const float *x = random_floats(o, n_x, 0), *dy = random_floats(o, n_y, 1);
  float *y = nothing(o, n_x), *dx = random_floats(o, n_x, 2);
  ops->pool_forward(ops, s->n, pixels, c, x, y);
  keep(o, y, n_y);
  ops->pool_backward(ops, s->n, pixels, c, dy, dx, true);
  keep(o, dx, n_x);
  ops->flatten_forward(ops, s->n, pixels, c, x, y);
  keep(o, y, n_x);
  ops->flatten_backward(ops, s->n, pixels, c, x, dx, true);
  keep(o, dx, n_x);
}

static void pooling_keeps_every_bit(void **state)
{
  (void)state;
  static const struct image_case shapes[] = {
      {{16, 16, 40, 40, 2, 2, 0, 50}, 9},
      {{15, 15, 64, 64, 3, 2, 1, 0}, 8},
  };
  const struct test_case cases[] = {
      {"pooling of windows", &shapes[0], windows},
      {"pooling of windows", &shapes[1], windows},
      {"pooling", &shapes[0], pools},
      {"pooling", &shapes[1], pools},
  };
  CHECK_CASES(cases);
}

static void norm(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct ops_rows *r = shape;
  const size_t n_x = r->rows * r->x_row, n_y = r->rows * r->y_row;
  const float *x = random_floats(o, n_x, 0), *scale = random_floats(o, r->c, 1);
  const float *shift = random_floats(o, r->c, 2), *residual = random_floats(o, n_y, 3);
  float *mean = nothing(o, r->c), *var = nothing(o, r->c);
  float *dy = random_floats(o, n_y, 4), *dx = random_floats(o, n_x, 5), *y = nothing(o, n_y);
  ops->norm_statistics(ops, r, x, mean, var);
  keep(o, mean, r->c);
  keep(o, var, r->c);
  ops->norm_apply(ops, r, x, scale, shift, NULL, false, y);
  keep(o, y, n_y);
  ops->norm_apply(ops, r, x, scale, shift, residual, true, y);
  keep(o, y, n_y);
  ops->norm_backward(ops, r, x, y, true, mean, var, scale, dy, dx, true, mean, var);
  keep(o, dy, n_y);
  keep(o, dx, n_x);
  keep(o, mean, r->c);
  keep(o, var, r->c);
  ops->norm_backward(ops, r, x, NULL, false, shift, scale, scale, dy, NULL, false, mean, var);
  keep(o, mean, r->c);
}

static void norms_keep_every_bit(void **state)
{
  (void)state;
  static const struct ops_rows shapes[] = {
      {3001, 64, 64, 64}, {1500, 100, 130, 111}, {40000, 8, 8, 8},
      {9001, 20, 20, 20}, {20001, 3, 3, 3},      {700, 512, 512, 512},
  };
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){"norm", &shapes[i], norm};
  CHECK_CASES(cases);
}

/* ---- linear layers, optimizers ---- */

struct matrix_case {
  unsigned rows, in, out;
  bool flag;
};

static void linear(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct matrix_case *s = shape;
  const size_t n_x = (size_t)s->rows * s->in, n_y = (size_t)s->rows * s->out;
  const size_t n_w = (size_t)s->in * s->out;
  const float *x = random_floats(o, n_x, 0), *w = random_floats(o, n_w, 1);
  const float *bias = random_floats(o, s->out, 2);
  float *y = nothing(o, n_y), *dy = random_floats(o, n_y, 3), *dx = random_floats(o, n_x, 4);
  float *dw = nothing(o, n_w), *dbias = nothing(o, s->out);
  int32_t *labels = arena_array(o->arena, s->rows, sizeof *labels);
  for (unsigned i = 0; i < s->rows; i++)
    labels[i] = (int32_t)(i % s->out);
  const struct ops_dense d = {.in = s->in, .out = s->out};
  float *scratch = mem_alloc(ops->dense_scratch(ops, &d) * sizeof *scratch);
  ops->linear_forward(ops, s->rows, s->in, s->out, x, w, bias, s->flag, y, scratch);
  keep(o, y, n_y);
  ops->linear_backward(ops, s->rows, s->in, s->out, x, w, s->flag ? y : NULL, dy, dx, true, dw,
                       dbias, scratch);
  keep(o, dy, n_y);
  keep(o, dx, n_x);
  keep(o, dw, n_w);
  keep(o, dbias, s->out);
  const float loss = ops->softmax_loss(ops, s->rows, s->out, y, labels, dy);
  keep(o, dy, n_y);
  keep(o, &loss, 1);
  free(scratch);
}

static void linear_layers_keep_every_bit(void **state)
{
  (void)state;
  static const struct matrix_case shapes[] = {
      {128, 784, 512, true}, {32, 196, 256, true}, {100, 301, 77, false}, {7, 512, 1000, true}};
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){"linear layer", &shapes[i], linear};
  CHECK_CASES(cases);
}

static void update(const struct ops *ops, const void *shape, struct outcome *o)
{
  const size_t n = *(const size_t *)shape;
  const struct ops_adamw p = {0.999f, 0.1f, 0.001f, 1e-3f, 1.1f, 1e-8f};
  float *w = random_floats(o, n, 0), *m = random_floats(o, n, 1), *v = nothing(o, n);
  const float *grad = random_floats(o, n, 2);
  ops->sgd(ops, n, 0.01f, 0.9f, 5e-4f, w, m, grad);
  ops->adamw(ops, &p, n, w, m, v, grad);
  keep(o, w, n);
  keep(o, m, n);
  keep(o, v, n);
}

static void optimizers_keep_every_bit(void **state)
{
  (void)state;
  static const size_t sizes[] = {300000, 100003, 65537};
  struct test_case cases[sizeof sizes / sizeof *sizes];
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    cases[i] = (struct test_case){"optimizer", &sizes[i], update};
  CHECK_CASES(cases);
}

/* ---- transformers ---- */

struct dense_case {
  struct ops_dense d;
  size_t rows;
  bool residual;
};

static void dense(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct dense_case *s = shape;
  const struct ops_dense *d = &s->d;
  const size_t n_x = s->rows * d->in, n_y = s->rows * d->out, n_w = (size_t)d->in * d->out;
  const float *x = random_floats(o, n_x, 0), *w = random_floats(o, n_w, 1);
  const float *bias = random_floats(o, d->out, 2), *residual = random_floats(o, n_y, 3);
  float *y = nothing(o, n_y), *dy = random_floats(o, n_y, 4), *dx = random_floats(o, n_x, 5);
  float *slope = d->act == OPS_IDENTITY ? NULL : nothing(o, n_y);
  float *dw = nothing(o, n_w), *dbias = nothing(o, d->out);
  float *scratch = mem_alloc(ops->dense_scratch(ops, d) * sizeof *scratch);
  ops->dense_forward(ops, d, s->rows, x, w, bias, s->residual ? residual : NULL, y, slope, scratch);
  keep(o, y, n_y);
  if (slope)
    keep(o, slope, n_y);
  ops->dense_backward(ops, d, s->rows, x, w, slope, dy, dx, true, dw, dbias, scratch);
  keep(o, dy, n_y);
  keep(o, dx, n_x);
  keep(o, dw, n_w);
  keep(o, dbias, d->out);
  if (d->act == OPS_IDENTITY) {
    ops->dense_backward(ops, d, s->rows, x, w, NULL, dy, NULL, false, dw, NULL, scratch);
    keep(o, dw, n_w);
    ops->dense_forward(ops, d, s->rows - 1, x, w, NULL, NULL, y, NULL, scratch);
    keep(o, y, n_y);
  }
  free(scratch);
}

static void dense_layers_keep_every_bit(void **state)
{
  (void)state;
  static const struct dense_case shapes[] = {
      {{64, 200, true, OPS_GELU_TANH}, 1201, false}, {{100, 64, true, OPS_IDENTITY}, 700, true},
      {{96, 130, false, OPS_GELU}, 530, false},      {{300, 70, false, OPS_IDENTITY}, 300, true},
      {{40, 500, false, OPS_QUICK_GELU}, 99, false}, {{32, 1100, true, OPS_IDENTITY}, 257, false},
      {{64, 210, true, OPS_RELU}, 900, false},
  };
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){"dense layer", &shapes[i], dense};
  CHECK_CASES(cases);
}

static void layernorm(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct matrix_case *s = shape;
  const unsigned c = s->in;
  const size_t n = (size_t)s->rows * c;
  const float *x = random_floats(o, n, 0), *gamma = random_floats(o, c, 1);
  const float *beta = random_floats(o, c, 2), *dy = random_floats(o, n, 3);
  float *y = nothing(o, n), *dx = random_floats(o, n, 4), *saved = nothing(o, 2 * s->rows);
  float *dgamma = nothing(o, c), *dbeta = nothing(o, c);
  ops->layernorm_forward(ops, s->rows, c, 1e-5f, x, gamma, beta, y, NULL, NULL);
  keep(o, y, n);
  ops->layernorm_forward(ops, s->rows, c, 1e-5f, x, gamma, beta, y, saved, saved + s->rows);
  keep(o, y, n);
  keep(o, saved, 2 * s->rows);
  ops->layernorm_backward(ops, s->rows, c, x, saved, saved + s->rows, gamma, dy, dx, true, dgamma,
                          dbeta);
  keep(o, dx, n);
  keep(o, dgamma, c);
  keep(o, dbeta, c);
  ops->layernorm_backward(ops, s->rows, c, x, saved, saved + s->rows, gamma, y, y, false, dgamma,
                          dbeta); /* dx is dy */
  keep(o, y, n);
  keep(o, dgamma, c);
}

static void layer_norms_keep_every_bit(void **state)
{
  (void)state;
  static const struct matrix_case shapes[] = {{1001, 128, 0, 0}, {3000, 37, 0, 0}, {90, 768, 0, 0}};
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){"layer norm", &shapes[i], layernorm};
  CHECK_CASES(cases);
}

struct attention_case {
  struct ops_attention a;
  unsigned n;
};

static void attention(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct attention_case *s = shape;
  const size_t n_sums = (size_t)s->n * ops_attention_queries(&s->a) * s->a.heads;
  const size_t n_y = n_sums * s->a.size,
               n_qkv = (size_t)s->n * s->a.tokens * 3 * s->a.heads * s->a.size;
  const float *qkv = random_floats(o, n_qkv, 0), *dy = random_floats(o, n_y, 1);
  float *y = nothing(o, n_y), *dqkv = nothing(o, n_qkv), *sums = nothing(o, n_sums);
  float *scratch = mem_alloc(ops->attention_scratch(ops, &s->a) * sizeof *scratch);
  ops->attention_forward(ops, &s->a, s->n, qkv, y, NULL, scratch);
  keep(o, y, n_y);
  ops->attention_forward(ops, &s->a, s->n, qkv, y, sums, scratch);
  keep(o, y, n_y);
  keep(o, sums, n_sums);
  ops->attention_backward(ops, &s->a, s->n, qkv, y, sums, dy, dqkv, scratch);
  keep(o, dqkv, n_qkv);
  free(scratch);
}

static void attention_keeps_every_bit(void **state)
{
  (void)state;
  static const struct attention_case shapes[] = {
      {{.tokens = 70, .heads = 3, .size = 24, .causal = true}, 7},
      {{.tokens = 65, .heads = 2, .size = 32}, 5},
      {{.tokens = 130, .heads = 1, .size = 64, .causal = true}, 3},
      {{.tokens = 130, .heads = 2, .size = 64, .queries = 67}, 5},
  };
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){"attention", &shapes[i], attention};
  CHECK_CASES(cases);
}

/* rows are tokens of 16 to a sample, out the vocabulary. */
static void ends(const struct ops *ops, const void *shape, struct outcome *o)
{
  enum { TOKENS = 16 };
  const struct matrix_case *s = shape;
  const struct ops_dense d = {.in = s->in, .out = s->out};
  const unsigned n = s->rows / TOKENS;
  const size_t n_y = (size_t)s->rows * s->in, n_w = (size_t)s->out * s->in;
  const float *words = random_floats(o, n_w, 0), *x = random_floats(o, n_y, 1);
  const float *positions = random_floats(o, (size_t)TOKENS * s->in, 2);
  float *y = nothing(o, n_y), *dx = nothing(o, n_y), *dw = nothing(o, n_w);
  float *dpositions = nothing(o, (size_t)TOKENS * s->in), *ids = nothing(o, s->rows);
  int32_t *labels = arena_array(o->arena, s->rows, sizeof *labels);
  for (unsigned i = 0; i < s->rows; i++) {
    ids[i] = (float)(i * 7 % s->out);
    labels[i] = (int32_t)(i * 5 % s->out);
  }
  float *scratch = mem_alloc(ops->token_loss_scratch(ops, s->rows, &d) * sizeof *scratch);
  ops->embedding_forward(ops, n, TOKENS, s->in, ids, words, positions, y);
  keep(o, y, n_y);
  const float loss = ops->token_loss(ops, &d, s->rows, x, words, labels, dx, dw, scratch);
  keep(o, &loss, 1);
  keep(o, dx, n_y);
  keep(o, dw, n_w);
  ops->embedding_backward(ops, n, TOKENS, s->in, ids, x, dw, dpositions);
  keep(o, dw, n_w);
  keep(o, dpositions, (size_t)TOKENS * s->in);
  free(scratch);
}

static void both_ends_of_a_language_model_keep_every_bit(void **state)
{
  (void)state;
  static const struct matrix_case shapes[] = {{640, 64, 256, 0}, {288, 33, 1000, 0}};
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){"embedding and loss", &shapes[i], ends};
  CHECK_CASES(cases);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(convolutions_keep_every_bit),
      cmocka_unit_test(pooling_keeps_every_bit),
      cmocka_unit_test(norms_keep_every_bit),
      cmocka_unit_test(linear_layers_keep_every_bit),
      cmocka_unit_test(optimizers_keep_every_bit),
      cmocka_unit_test(dense_layers_keep_every_bit),
      cmocka_unit_test(layer_norms_keep_every_bit),
      cmocka_unit_test(attention_keeps_every_bit),
      cmocka_unit_test(both_ends_of_a_language_model_keep_every_bit),
  };
  return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
