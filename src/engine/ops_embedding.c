/* Both ends of a language model for the CPU: embeddings of tokens and positions, and the
 * loss behind a linear layer without bias. */
#include "engine/kernels_token.h"
#include "engine/ops_int.h"

#include <string.h>

void cpu_embedding_forward(const struct ops *ops, unsigned n, unsigned tokens, unsigned c,
                           const float *ids, const float *words, const float *positions, float *y)
{
  (void)ops;
  for (size_t i = 0; i < (size_t)n * tokens; i++, y += c) {
    const float *word = words + (size_t)ids[i] * c, *position = positions + i % tokens * c;
    for (unsigned k = 0; k < c; k++)
      y[k] = word[k] + position[k];
  }
}

/* In the order of the tokens, so that sums are the same each time. */
void cpu_embedding_backward(const struct ops *ops, unsigned n, unsigned tokens, unsigned c,
                            const float *ids, const float *dy, float *dwords, float *dpositions)
{
  (void)ops;
  memset(dpositions, 0, (size_t)tokens * c * sizeof *dpositions);
  for (size_t i = 0; i < (size_t)n * tokens; i++, dy += c) {
    float *word = dwords + (size_t)ids[i] * c, *position = dpositions + i % tokens * c;
    for (unsigned k = 0; k < c; k++) {
      word[k] += dy[k];
      position[k] += dy[k];
    }
  }
}

/* Rows whose logits are there at one time. */
enum { LOSS_ROWS = 256 };

size_t cpu_token_loss_scratch(const struct ops *ops, size_t rows, const struct ops_dense *d)
{
  return ops->dense_scratch(ops, d) + (rows < LOSS_ROWS ? rows : LOSS_ROWS) * d->out;
}

void cpu_softmax_rows(const struct ops *ops, size_t rows, unsigned classes, float scale,
                      const int32_t *labels, float *logits, double *losses)
{
  for (size_t r = 0; r < rows; r++, logits += classes) {
    const float own = logits[labels[r]];
    const float log_sum = ops->kernels->token->softmax(classes, logits, 1, logits);
    for (unsigned k = 0; k < classes; k++)
      logits[k] *= scale;
    logits[labels[r]] -= scale;
    losses[r] = (double)log_sum - (double)own;
  }
}

/* By the table's operations, so that one that splits them splits this too. */
float cpu_token_loss(const struct ops *ops, const struct ops_dense *d, size_t rows, const float *x,
                     const float *w, const int32_t *labels, float *dx, float *dw, float *scratch)
{
  const float scale = 1 / (float)rows;
  float *logits = scratch + ops->dense_scratch(ops, d);
  double loss = 0, losses[LOSS_ROWS];
  for (size_t r = 0; r < rows; r += LOSS_ROWS) {
    const size_t m = rows - r < LOSS_ROWS ? rows - r : LOSS_ROWS;
    const float *from = x + r * d->in;
    ops->dense_forward(ops, d, m, from, w, NULL, NULL, logits, NULL, scratch);
    ops->softmax_rows(ops, m, d->out, scale, labels + r, logits, losses);
    for (size_t i = 0; i < m; i++)
      loss += losses[i];
    ops->dense_backward_data(ops, d, m, w, logits, dx + r * d->in, false, scratch);
    ops->dense_backward_weights(ops, d, m, 0, d->out, from, NULL, logits, r > 0, dw, NULL, scratch);
  }
  return (float)(loss / (double)rows);
}
