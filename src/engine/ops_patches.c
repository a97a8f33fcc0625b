/* What vision transformers have and others have not, for the CPU: windows of an image as rows,
 * and a token that stands for the class. */
#include "engine/ops_int.h"

#include <string.h>

/* A line of a window: k pixels of c channels, and where they are in the row [c][k][k]. */
static void line_forward(unsigned c, unsigned k, const float *pixels, float *row)
{
  for (unsigned x = 0; x < k; x++, pixels += c) {
    for (unsigned i = 0; i < c; i++)
      row[(size_t)i * k * k + x] = pixels[i];
  }
}

static void line_backward(unsigned c, unsigned k, const float *row, float *pixels, bool add)
{
  for (unsigned x = 0; x < k; x++, pixels += c) {
    for (unsigned i = 0; add && i < c; i++)
      pixels[i] += row[(size_t)i * k * k + x];
    for (unsigned i = 0; !add && i < c; i++)
      pixels[i] = row[(size_t)i * k * k + x];
  }
}

void cpu_patches_forward(const struct ops *ops, const struct ops_patches *p, unsigned n,
                         const float *x, float *y)
{
  (void)ops;
  const unsigned k = p->k, rows = p->h / k, columns = p->w / k;
  for (size_t i = 0; i < (size_t)n * rows; i++) {
    const float *from = x + (i / rows * p->h + i % rows * k) * p->w * p->c;
    for (unsigned j = 0; j < columns; j++, y += (size_t)k * k * p->c) {
      for (unsigned line = 0; line < k; line++)
        line_forward(p->c, k, from + ((size_t)line * p->w + j * k) * p->c, y + line * k);
    }
  }
}

void cpu_patches_backward(const struct ops *ops, const struct ops_patches *p, unsigned n,
                          const float *dy, float *dx, bool add)
{
  (void)ops;
  const unsigned k = p->k, rows = p->h / k, columns = p->w / k;
  if (!add && (p->h % k || p->w % k))
    memset(dx, 0, (size_t)n * p->h * p->w * p->c * sizeof *dx);
  for (size_t i = 0; i < (size_t)n * rows; i++) {
    float *to = dx + (i / rows * p->h + i % rows * k) * p->w * p->c;
    for (unsigned j = 0; j < columns; j++, dy += (size_t)k * k * p->c) {
      for (unsigned line = 0; line < k; line++)
        line_backward(p->c, k, dy + line * k, to + ((size_t)line * p->w + j * k) * p->c, add);
    }
  }
}

void cpu_class_token_forward(const struct ops *ops, unsigned n, unsigned tokens, unsigned c,
                             const float *x, const float *token, const float *positions, float *y)
{
  (void)ops;
  for (unsigned i = 0; i < n; i++) {
    for (unsigned k = 0; k < c; k++)
      y[k] = token[k] + positions[k];
    const size_t rest = (size_t)(tokens - 1) * c;
    for (size_t k = 0; k < rest; k++)
      y[c + k] = x[k] + positions[c + k];
    x += rest;
    y += c + rest;
  }
}

/* The token meets its position alone, so that their gradients are one. */
void cpu_class_token_backward(const struct ops *ops, unsigned n, unsigned tokens, unsigned c,
                              const float *dy, float *dx, bool add, float *dtoken,
                              float *dpositions)
{
  (void)ops;
  const size_t all = (size_t)tokens * c, rest = all - c;
  memcpy(dpositions, dy, all * sizeof *dpositions);
  for (unsigned i = 0; i < n; i++, dy += all, dx += rest) {
    for (size_t k = 0; i && k < all; k++)
      dpositions[k] += dy[k];
    if (!add)
      memcpy(dx, dy + c, rest * sizeof *dx);
    for (size_t k = 0; add && k < rest; k++)
      dx[k] += dy[c + k];
  }
  memcpy(dtoken, dpositions, c * sizeof *dtoken);
}

void cpu_first_token_forward(const struct ops *ops, unsigned n, unsigned tokens, unsigned c,
                             const float *x, float *y)
{
  (void)ops;
  for (unsigned i = 0; i < n; i++)
    memcpy(y + (size_t)i * c, x + (size_t)i * tokens * c, c * sizeof *y);
}

void cpu_first_token_backward(const struct ops *ops, unsigned n, unsigned tokens, unsigned c,
                              const float *dy, float *dx, bool add)
{
  (void)ops;
  if (!add)
    memset(dx, 0, (size_t)n * tokens * c * sizeof *dx);
  for (unsigned i = 0; i < n; i++, dy += c, dx += (size_t)tokens * c) {
    for (unsigned k = 0; k < c; k++)
      dx[k] += dy[k];
  }
}
