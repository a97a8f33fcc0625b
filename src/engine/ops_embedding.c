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
  return cpu_dense_scratch(ops, d) + (rows < LOSS_ROWS ? rows : LOSS_ROWS) * d->out;
}

/* Turns logits into their gradient; returns the loss. */
static double row_loss(const struct kernels_token *kernels, unsigned classes, float *logits,
                       unsigned label, float scale)
{
  const float own = logits[label];
  const float log_sum = kernels->softmax(classes, logits, 1, logits);
  for (unsigned k = 0; k < classes; k++)
    logits[k] *= scale;
  logits[label] -= scale;
  return (double)log_sum - (double)own;
}

float cpu_token_loss(const struct ops *ops, const struct ops_dense *d, size_t rows, const float *x,
                     const float *w, const int32_t *labels, float *dx, float *dw, float *scratch)
{
  const float scale = 1 / (float)rows;
  float *logits = scratch + cpu_dense_scratch(ops, d);
  double loss = 0;
  for (size_t r = 0; r < rows; r += LOSS_ROWS) {
    const unsigned m = (unsigned)(rows - r < LOSS_ROWS ? rows - r : LOSS_ROWS);
    cpu_dense_forward(ops, d, m, x + r * d->in, w, NULL, NULL, logits, NULL, scratch);
    for (unsigned i = 0; i < m; i++)
      loss += row_loss(ops->kernels->token, d->out, logits + (size_t)i * d->out,
                       (unsigned)labels[r + i], scale);
    cpu_dense_data(ops, d, m, w, logits, dx + r * d->in, false, scratch);
    cpu_dense_weights(ops, d, m, x + r * d->in, logits, dw, r > 0, scratch);
  }
  return (float)(loss / (double)rows);
}
