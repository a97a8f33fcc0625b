/* Self-attention for the CPU (Vaswani et al. 2017), a head and a block of queries at a
 * time, so that scores never leave the cache.  As in FlashAttention (Dao et al. 2022) only
 * the logarithm of each softmax's sum is kept: making the probabilities again costs less
 * than writing and reading them. */
#include "engine/kernels_token.h"
#include "engine/ops_int.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* A block's columns are whole panels of every instruction set, as kernel_gemm wants. */
enum { QUERIES = 64 };

/* A head of one sample, and its scratch memory. */
struct head {
  const struct kernels_token *kernels;
  unsigned tokens, queries, size;
  bool causal;
  size_t row, out_row;    /* floats between tokens: of q, k, v; of y */
  const float *q, *k, *v; /* [tokens][size] */
  float scale;
  float *scores, *grads;     /* [QUERIES][tokens] */
  float *keys, *values;      /* packed: k' [size][tokens], v [tokens][size] or v' */
  float *keys_plain, *block; /* k [tokens][size]; a block of q or dy */
};

static size_t packed(const struct ops *ops, unsigned n, unsigned k)
{
  return (ops->kernels->token->gemm_floats(n, k) + 15) & ~(size_t)15;
}

static size_t scores_floats(const struct ops_attention *a)
{
  return ((size_t)QUERIES * a->tokens + 15) & ~(size_t)15;
}

size_t cpu_attention_scratch(const struct ops *ops, const struct ops_attention *a)
{
  const size_t both = packed(ops, a->tokens, a->size) + packed(ops, a->size, a->tokens);
  return 2 * scores_floats(a) + 2 * both + packed(ops, a->size, QUERIES);
}

static struct head head_at(const struct ops *ops, const struct ops_attention *a, unsigned sample,
                           unsigned head, const float *qkv, float scratch[])
{
  const unsigned c = a->heads * a->size;
  const size_t across = packed(ops, a->tokens, a->size), along = packed(ops, a->size, a->tokens);
  struct head h = {.kernels = ops->kernels->token,
                   .tokens = a->tokens,
                   .queries = ops_attention_queries(a),
                   .size = a->size,
                   .causal = a->causal,
                   .row = 3 * (size_t)c,
                   .out_row = c,
                   .scale = 1 / sqrtf((float)a->size)};
  h.q = qkv + sample * a->tokens * h.row + head * a->size;
  h.k = h.q + c;
  h.v = h.k + c;
  h.scores = scratch;
  h.grads = h.scores + scores_floats(a);
  h.keys = h.grads + scores_floats(a);
  h.values = h.keys + across;
  h.keys_plain = h.values + (across > along ? across : along);
  h.block = h.keys_plain + along;
  return h;
}

/* Keys that queries first .. first + rows may see, as far as they are computed. */
static unsigned visible(const struct head *h, unsigned first, unsigned rows)
{
  const unsigned end = (first + rows + QUERIES - 1) / QUERIES * QUERIES;
  return h->causal && end < h->tokens ? end : h->tokens;
}

static unsigned query_keys(const struct head *h, unsigned query)
{
  return h->causal ? query + 1 : h->tokens;
}

/* to [rows][n] = from [rows][size] times the packed [size][n]. */
static void products(const struct head *h, unsigned rows, unsigned n, const float *from,
                     size_t from_row, const float *b, float *to)
{
  const struct kernel_gemm g = {.m = rows,
                                .n = n,
                                .k = h->size,
                                .a = from,
                                .a_row = from_row,
                                .a_step = 1,
                                .b = b,
                                .packed_k = h->size,
                                .c = to,
                                .c_row = h->tokens};
  h->kernels->gemm(&g);
}

/* to [rows][size] = weights [rows][n] times the packed [tokens][size]. */
static void weighted(const struct head *h, unsigned rows, unsigned n, const float *weights,
                     const float *b, float *to, size_t to_row)
{
  const struct kernel_gemm g = {.m = rows,
                                .n = h->size,
                                .k = n,
                                .a = weights,
                                .a_row = h->tokens,
                                .a_step = 1,
                                .b = b,
                                .packed_k = h->tokens,
                                .c = to,
                                .c_row = to_row};
  h->kernels->gemm(&g);
}

static void zero_unseen(float *s, unsigned from, unsigned to)
{
  for (unsigned i = from; i < to; i++)
    s[i] = 0;
}

static void forward_head(const struct head *h, float *y, float *log_sum)
{
  h->kernels->gemm_pack(h->tokens, h->size, h->k, 1, h->row, h->keys);
  h->kernels->gemm_pack(h->size, h->tokens, h->v, h->row, 1, h->values);
  for (unsigned first = 0; first < h->queries; first += QUERIES) {
    const unsigned rows = h->queries - first < QUERIES ? h->queries - first : QUERIES;
    const unsigned n = visible(h, first, rows);
    products(h, rows, n, h->q + first * h->row, h->row, h->keys, h->scores);
    for (unsigned i = 0; i < rows; i++) {
      float *s = h->scores + (size_t)i * h->tokens;
      const unsigned seen = query_keys(h, first + i);
      const float sum = h->kernels->softmax(seen, s, h->scale, s);
      zero_unseen(s, seen, n);
      if (log_sum)
        log_sum[first + i] = sum;
    }
    weighted(h, rows, n, h->scores, h->values, y + first * h->out_row, h->out_row);
  }
}

void cpu_attention_forward(const struct ops *ops, const struct ops_attention *a, unsigned n,
                           const float *qkv, float *y, float *log_sum, float *scratch)
{
  for (unsigned i = 0; i < n * a->heads; i++) {
    const struct head h = head_at(ops, a, i / a->heads, i % a->heads, qkv, scratch);
    forward_head(&h, y + i / a->heads * h.queries * h.out_row + i % a->heads * a->size,
                 log_sum ? log_sum + (size_t)i * h.queries : NULL);
  }
}

/* to [n][size] = weights' [n][rows] times from [rows][size], set or added to. */
static void transposed(const struct head *h, unsigned rows, unsigned n, const float *weights,
                       const float *from, size_t from_row, float *to, bool add)
{
  h->kernels->gemm_pack(h->size, rows, from, from_row, 1, h->block);
  const struct kernel_gemm g = {.m = n,
                                .n = h->size,
                                .k = rows,
                                .a = weights,
                                .a_row = 1,
                                .a_step = h->tokens,
                                .b = h->block,
                                .packed_k = rows,
                                .c = to,
                                .c_row = h->row,
                                .add = add};
  h->kernels->gemm(&g);
}

/* Blocks from the last to the first: with a causal mask the last one alone reaches all
 * keys, so that it sets what the others add to. */
static void backward_head(const struct head *h, const float *y, const float *log_sum,
                          const float *dy, float *dq, float *dk, float *dv)
{
  const struct kernels_token *kernels = h->kernels;
  kernels->gemm_pack(h->tokens, h->size, h->k, 1, h->row, h->keys);
  kernels->gemm_pack(h->tokens, h->size, h->v, 1, h->row, h->values);
  kernels->gemm_pack(h->size, h->tokens, h->k, h->row, 1, h->keys_plain);
  for (unsigned i = h->queries; i < h->tokens; i++)
    memset(dq + i * h->row, 0, h->size * sizeof *dq);
  for (unsigned end = h->queries; end > 0;) {
    const unsigned first = (end - 1) / QUERIES * QUERIES, rows = end - first;
    const unsigned n = visible(h, first, rows);
    const float *dy_block = dy + first * h->out_row;
    products(h, rows, n, h->q + first * h->row, h->row, h->keys, h->scores);
    products(h, rows, n, dy_block, h->out_row, h->values, h->grads);
    for (unsigned i = 0; i < rows; i++) {
      const size_t at = (size_t)i * h->tokens, out = (first + i) * h->out_row;
      const unsigned seen = query_keys(h, first + i);
      const float inner = kernels->dot(h->size, y + out, dy + out);
      kernels->attention_grad(seen, h->scores + at, h->scale, log_sum[first + i], inner,
                              h->grads + at);
      zero_unseen(h->scores + at, seen, n);
      zero_unseen(h->grads + at, seen, n);
    }
    weighted(h, rows, n, h->grads, h->keys_plain, dq + first * h->row, h->row);
    transposed(h, rows, n, h->grads, h->q + first * h->row, h->row, dk, end < h->queries);
    transposed(h, rows, n, h->scores, dy_block, h->out_row, dv, end < h->queries);
    end = first;
  }
}

void cpu_attention_backward(const struct ops *ops, const struct ops_attention *a, unsigned n,
                            const float *qkv, const float *y, const float *log_sum, const float *dy,
                            float *dqkv, float *scratch)
{
  const unsigned c = a->heads * a->size;
  assert(!a->causal || ops_attention_queries(a) == a->tokens);
  for (unsigned i = 0; i < n * a->heads; i++) {
    const struct head h = head_at(ops, a, i / a->heads, i % a->heads, qkv, scratch);
    const size_t out = i / a->heads * h.queries * h.out_row + i % a->heads * a->size;
    float *dq = dqkv + (h.q - qkv);
    backward_head(&h, y + out, log_sum + (size_t)i * h.queries, dy + out, dq, dq + c, dq + 2 * c);
  }
}
