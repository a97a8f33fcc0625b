/* What transformers need, in parts: rows of dense layers and layer norms, samples of
 * attention. */
#include "engine/ops_threads_int.h"

/* ---- dense layers ---- */

/* Rows and outputs at a time: the products' tiles of 6 rows and panels of up to 64 columns. */
enum { DENSE_ROWS = 24, DENSE_OUTPUTS = 64 };

struct dense {
  const struct ops_dense *d;
  size_t rows;
  const float *x, *w, *bias, *residual;
  float *y, *slope_out; /* forward */
  unsigned first;       /* backward: the first output */
  const float *slope, *dy_data;
  float *dy, *dx, *dw, *dbias;
  bool add;
};

static size_t dense_scratch(const struct ops *ops, const struct ops_dense *d)
{
  const struct threaded *t = threaded_of(ops);
  return t->threads * split_align(t->base->dense_scratch(t->base, d));
}

static void run_dense(const struct ops *ops, const struct dense *j, size_t total, size_t grain,
                      void (*run)(const struct ops *, const void *, const struct part *),
                      float *scratch)
{
  const struct threaded *t = threaded_of(ops);
  split_run(t, &(struct split){.run = run,
                               .args = j,
                               .total = total,
                               .grain = grain,
                               .work = (double)j->rows * j->d->in * j->d->out,
                               .scratch = scratch,
                               .scratch_part = split_align(t->base->dense_scratch(t->base, j->d))});
}

static void dense_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct dense *j = args;
  const size_t x = p->first * j->d->in, y = p->first * j->d->out;
  base->dense_forward(base, j->d, p->count, j->x + x, j->w, j->bias,
                      j->residual ? j->residual + y : NULL, j->y + y,
                      j->slope_out ? j->slope_out + y : NULL, p->scratch);
}

static void dense_forward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                          const float *x, const float *w, const float *bias, const float *residual,
                          float *y, float *slope, float *scratch)
{
  const struct dense j = {.d = d,
                          .rows = rows,
                          .x = x,
                          .w = w,
                          .bias = bias,
                          .residual = residual,
                          .y = y,
                          .slope_out = slope};
  run_dense(ops, &j, rows, DENSE_ROWS, dense_forward_part, scratch);
}

static void dense_weights_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct dense *j = args;
  base->dense_backward_weights(base, j->d, j->rows, j->first + (unsigned)p->first,
                               (unsigned)p->count, j->x, j->slope, j->dy, j->add, j->dw, j->dbias,
                               p->scratch);
}

static void dense_backward_weights(const struct ops *ops, const struct ops_dense *d, size_t rows,
                                   unsigned first, unsigned count, const float *x,
                                   const float *slope, float *dy, bool add, float *dw, float *dbias,
                                   float *scratch)
{
  const struct dense j = {.d = d,
                          .rows = rows,
                          .x = x,
                          .first = first,
                          .slope = slope,
                          .dy = dy,
                          .dw = dw,
                          .dbias = dbias,
                          .add = add};
  run_dense(ops, &j, count, DENSE_OUTPUTS, dense_weights_part, scratch);
}

static void dense_data_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct dense *j = args;
  base->dense_backward_data(base, j->d, p->count, j->w, j->dy_data + p->first * j->d->out,
                            j->dx + p->first * j->d->in, j->add, p->scratch);
}

static void dense_backward_data(const struct ops *ops, const struct ops_dense *d, size_t rows,
                                const float *w, const float *dy, float *dx, bool add,
                                float *scratch)
{
  const struct dense j = {.d = d, .rows = rows, .w = w, .dy_data = dy, .dx = dx, .add = add};
  run_dense(ops, &j, rows, DENSE_ROWS, dense_data_part, scratch);
}

static void dense_backward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                           const float *x, const float *w, const float *slope, float *dy, float *dx,
                           bool add, float *dw, float *dbias, float *scratch)
{
  dense_backward_weights(ops, d, rows, 0, d->out, x, slope, dy, false, dw, dbias, scratch);
  if (dx)
    dense_backward_data(ops, d, rows, w, dy, dx, add, scratch);
}

/* ---- layer norm ---- */

enum { LAYERNORM_CHANNELS = 16 };

struct layernorm {
  size_t rows;
  unsigned c, first;
  float eps;
  const float *x, *gamma, *beta;
  float *y, *mean_out, *inv_std_out; /* forward */
  const float *mean, *inv_std, *dy;
  float *dx, *dgamma, *dbeta;
  bool add;
};

static void run_layernorm(const struct ops *ops, const struct layernorm *j, size_t total,
                          size_t grain,
                          void (*run)(const struct ops *, const void *, const struct part *))
{
  split_run(threaded_of(ops), &(struct split){.run = run,
                                              .args = j,
                                              .total = total,
                                              .grain = grain,
                                              .work = (double)j->rows * j->c * SPLIT_PASS * 2});
}

static void layernorm_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct layernorm *j = args;
  const size_t at = p->first * j->c;
  const bool saves = j->mean_out != NULL;
  base->layernorm_forward(base, p->count, j->c, j->eps, j->x + at, j->gamma, j->beta, j->y + at,
                          saves ? j->mean_out + p->first : NULL,
                          saves ? j->inv_std_out + p->first : NULL);
}

static void layernorm_forward(const struct ops *ops, size_t rows, unsigned c, float eps,
                              const float *x, const float *gamma, const float *beta, float *y,
                              float *mean, float *inv_std)
{
  const struct layernorm j = {.rows = rows,
                              .c = c,
                              .eps = eps,
                              .x = x,
                              .gamma = gamma,
                              .beta = beta,
                              .y = y,
                              .mean_out = mean,
                              .inv_std_out = inv_std};
  run_layernorm(ops, &j, rows, 1, layernorm_forward_part);
}

static void layernorm_weights_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct layernorm *j = args;
  base->layernorm_backward_weights(base, j->rows, j->c, j->first + (unsigned)p->first,
                                   (unsigned)p->count, j->x, j->mean, j->inv_std, j->dy, j->dgamma,
                                   j->dbeta);
}

static void layernorm_backward_weights(const struct ops *ops, size_t rows, unsigned c,
                                       unsigned first, unsigned count, const float *x,
                                       const float *mean, const float *inv_std, const float *dy,
                                       float *dgamma, float *dbeta)
{
  const struct layernorm j = {.rows = rows,
                              .c = c,
                              .first = first,
                              .x = x,
                              .mean = mean,
                              .inv_std = inv_std,
                              .dy = dy,
                              .dgamma = dgamma,
                              .dbeta = dbeta};
  run_layernorm(ops, &j, count, LAYERNORM_CHANNELS, layernorm_weights_part);
}

static void layernorm_data_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct layernorm *j = args;
  const size_t at = p->first * j->c;
  base->layernorm_backward_data(base, p->count, j->c, j->x + at, j->mean + p->first,
                                j->inv_std + p->first, j->gamma, j->dy + at, j->dx + at, j->add);
}

static void layernorm_backward_data(const struct ops *ops, size_t rows, unsigned c, const float *x,
                                    const float *mean, const float *inv_std, const float *gamma,
                                    const float *dy, float *dx, bool add)
{
  const struct layernorm j = {.rows = rows,
                              .c = c,
                              .x = x,
                              .gamma = gamma,
                              .mean = mean,
                              .inv_std = inv_std,
                              .dy = dy,
                              .dx = dx,
                              .add = add};
  run_layernorm(ops, &j, rows, 1, layernorm_data_part);
}

static void layernorm_backward(const struct ops *ops, size_t rows, unsigned c, const float *x,
                               const float *mean, const float *inv_std, const float *gamma,
                               const float *dy, float *dx, bool add, float *dgamma, float *dbeta)
{
  layernorm_backward_weights(ops, rows, c, 0, c, x, mean, inv_std, dy, dgamma, dbeta);
  layernorm_backward_data(ops, rows, c, x, mean, inv_std, gamma, dy, dx, add);
}

/* ---- attention ---- */

struct attention {
  const struct ops_attention *a;
  const float *qkv;
  float *out, *log_sum_out; /* forward */
  const float *y, *log_sum, *dy;
  float *dqkv;
};

static size_t attention_scratch(const struct ops *ops, const struct ops_attention *a)
{
  const struct threaded *t = threaded_of(ops);
  return t->threads * split_align(t->base->attention_scratch(t->base, a));
}

/* A sample's qkv, y and log_sum. */
static size_t qkv_floats(const struct ops_attention *a)
{
  return (size_t)3 * a->tokens * a->heads * a->size;
}

static size_t y_floats(const struct ops_attention *a)
{
  return (size_t)ops_attention_queries(a) * a->heads * a->size;
}

static size_t sum_floats(const struct ops_attention *a)
{
  return (size_t)ops_attention_queries(a) * a->heads;
}

static void attention_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct attention *j = args;
  base->attention_forward(base, j->a, (unsigned)p->count, j->qkv + p->first * qkv_floats(j->a),
                          j->out + p->first * y_floats(j->a),
                          j->log_sum_out ? j->log_sum_out + p->first * sum_floats(j->a) : NULL,
                          p->scratch);
}

static void attention_backward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct attention *j = args;
  const size_t qkv = p->first * qkv_floats(j->a), y = p->first * y_floats(j->a);
  base->attention_backward(base, j->a, (unsigned)p->count, j->qkv + qkv, j->y + y,
                           j->log_sum + p->first * sum_floats(j->a), j->dy + y, j->dqkv + qkv,
                           p->scratch);
}

static void run_attention(const struct ops *ops, unsigned n, const struct attention *j,
                          void (*run)(const struct ops *, const void *, const struct part *),
                          float *scratch)
{
  const struct threaded *t = threaded_of(ops);
  const struct ops_attention *a = j->a;
  split_run(t,
            &(struct split){.run = run,
                            .args = j,
                            .total = n,
                            .grain = 1,
                            .work = 2.0 * n * y_floats(a) * a->tokens,
                            .scratch = scratch,
                            .scratch_part = split_align(t->base->attention_scratch(t->base, a))});
}

static void attention_forward(const struct ops *ops, const struct ops_attention *a, unsigned n,
                              const float *qkv, float *y, float *log_sum, float *scratch)
{
  const struct attention j = {.a = a, .qkv = qkv, .out = y, .log_sum_out = log_sum};
  run_attention(ops, n, &j, attention_forward_part, scratch);
}

static void attention_backward(const struct ops *ops, const struct ops_attention *a, unsigned n,
                               const float *qkv, const float *y, const float *log_sum,
                               const float *dy, float *dqkv, float *scratch)
{
  const struct attention j = {
      .a = a, .qkv = qkv, .y = y, .log_sum = log_sum, .dy = dy, .dqkv = dqkv};
  run_attention(ops, n, &j, attention_backward_part, scratch);
}

/* ---- embeddings ---- */

struct embedding {
  unsigned tokens, c;
  const float *ids, *words, *positions;
  float *y;
};

static void embedding_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct embedding *j = args;
  const size_t at = p->first * j->tokens;
  base->embedding_forward(base, (unsigned)p->count, j->tokens, j->c, j->ids + at, j->words,
                          j->positions, j->y + at * j->c);
}

static void embedding_forward(const struct ops *ops, unsigned n, unsigned tokens, unsigned c,
                              const float *ids, const float *words, const float *positions,
                              float *y)
{
  const struct embedding j = {tokens, c, ids, words, positions, y};
  split_run(threaded_of(ops), &(struct split){.run = embedding_part,
                                              .args = &j,
                                              .total = n,
                                              .grain = 1,
                                              .work = (double)n * tokens * c * SPLIT_PASS * 2});
}

/* ---- the loss ---- */

struct losses {
  unsigned classes;
  float scale;
  const int32_t *labels;
  float *logits;
  double *losses;
};

static void softmax_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct losses *j = args;
  base->softmax_rows(base, p->count, j->classes, j->scale, j->labels + p->first,
                     j->logits + p->first * j->classes, j->losses + p->first);
}

static void softmax_rows(const struct ops *ops, size_t rows, unsigned classes, float scale,
                         const int32_t *labels, float *logits, double *losses)
{
  const struct losses j = {classes, scale, labels, logits, losses};
  split_run(threaded_of(ops), &(struct split){.run = softmax_part,
                                              .args = &j,
                                              .total = rows,
                                              .grain = 1,
                                              .work = (double)rows * classes * SPLIT_PASS * 4});
}

void ops_threads_tokens(struct ops *ops)
{
  ops->dense_scratch = dense_scratch;
  ops->dense_forward = dense_forward;
  ops->dense_backward = dense_backward;
  ops->dense_backward_weights = dense_backward_weights;
  ops->dense_backward_data = dense_backward_data;
  ops->layernorm_forward = layernorm_forward;
  ops->layernorm_backward = layernorm_backward;
  ops->layernorm_backward_weights = layernorm_backward_weights;
  ops->layernorm_backward_data = layernorm_backward_data;
  ops->softmax_rows = softmax_rows;
  ops->attention_scratch = attention_scratch;
  ops->attention_forward = attention_forward;
  ops->attention_backward = attention_backward;
  ops->embedding_forward = embedding_forward;
}
