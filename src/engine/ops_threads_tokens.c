/* What transformers need, in parts: rows of dense layers and layer norms, samples of
 * attention. */
#include "engine/ops_threads_int.h"

/* ---- dense layers ---- */

/* Rows that the kernels take together. */
enum { DENSE_ROWS = 96 };

struct dense {
  const struct ops_dense *d;
  const float *x, *w, *bias, *residual;
  float *y, *slope;
};

static size_t dense_scratch(const struct ops *ops, const struct ops_dense *d)
{
  const struct threaded *t = threaded_of(ops);
  return t->threads * split_align(t->base->dense_scratch(t->base, d));
}

static void dense_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct dense *j = args;
  const size_t x = p->first * j->d->in, y = p->first * j->d->out;
  base->dense_forward(base, j->d, p->count, j->x + x, j->w, j->bias,
                      j->residual ? j->residual + y : NULL, j->y + y,
                      j->slope ? j->slope + y : NULL, p->scratch);
}

static void dense_forward(const struct ops *ops, const struct ops_dense *d, size_t rows,
                          const float *x, const float *w, const float *bias, const float *residual,
                          float *y, float *slope, float *scratch)
{
  const struct threaded *t = threaded_of(ops);
  const struct dense j = {d, x, w, bias, residual, y, slope};
  split_run(t, &(struct split){.run = dense_forward_part,
                               .args = &j,
                               .total = rows,
                               .grain = DENSE_ROWS,
                               .work = (double)rows * d->in * d->out,
                               .scratch = scratch,
                               .scratch_part = split_align(t->base->dense_scratch(t->base, d))});
}

/* ---- layer norm ---- */

struct layernorm {
  unsigned c;
  float eps;
  const float *x, *gamma, *beta;
  float *y, *mean, *inv_std;
};

static void layernorm_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct layernorm *j = args;
  const size_t at = p->first * j->c;
  base->layernorm_forward(base, p->count, j->c, j->eps, j->x + at, j->gamma, j->beta, j->y + at,
                          j->mean ? j->mean + p->first : NULL,
                          j->mean ? j->inv_std + p->first : NULL);
}

static void layernorm_forward(const struct ops *ops, size_t rows, unsigned c, float eps,
                              const float *x, const float *gamma, const float *beta, float *y,
                              float *mean, float *inv_std)
{
  const struct layernorm j = {c, eps, x, gamma, beta, y, mean, inv_std};
  split_run(threaded_of(ops), &(struct split){.run = layernorm_forward_part,
                                              .args = &j,
                                              .total = rows,
                                              .grain = 1,
                                              .work = (double)rows * c * SPLIT_PASS * 2});
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

static size_t sample_floats(const struct ops_attention *a)
{
  return (size_t)a->tokens * a->heads * a->size;
}

static void attention_forward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct attention *j = args;
  const size_t at = p->first * sample_floats(j->a);
  base->attention_forward(
      base, j->a, (unsigned)p->count, j->qkv + 3 * at, j->out + at,
      j->log_sum_out ? j->log_sum_out + p->first * j->a->heads * j->a->tokens : NULL, p->scratch);
}

static void attention_backward_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct attention *j = args;
  const size_t at = p->first * sample_floats(j->a);
  base->attention_backward(base, j->a, (unsigned)p->count, j->qkv + 3 * at, j->y + at,
                           j->log_sum + p->first * j->a->heads * j->a->tokens, j->dy + at,
                           j->dqkv + 3 * at, p->scratch);
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
                            .work = 2.0 * n * sample_floats(a) * a->tokens,
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

void ops_threads_tokens(struct ops *ops)
{
  ops->dense_scratch = dense_scratch;
  ops->dense_forward = dense_forward;
  ops->layernorm_forward = layernorm_forward;
  ops->attention_scratch = attention_scratch;
  ops->attention_forward = attention_forward;
  ops->attention_backward = attention_backward;
  ops->embedding_forward = embedding_forward;
}
