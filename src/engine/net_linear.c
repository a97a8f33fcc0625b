#include "engine/net_linear.h"

#include "engine/net_work_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { UNFOLDED = 1 << 16 }; /* floats at a time, a row at least */

static bool is_linear(const struct net_layer *l)
{
  return l->kind == LAYER_LINEAR || l->kind == LAYER_DENSE || l->kind == LAYER_SCALED ||
         l->kind == LAYER_CONV;
}

const struct net_linear *net_linears(struct arena *a, const struct net *net, size_t *n)
{
  struct net_linear *list = NULL;
  size_t cap = 0;
  *n = 0;
  for (size_t i = 0; i < net->n_layers; i++) {
    const struct net_layer *l = &net->layers[i];
    if (!is_linear(l))
      continue;
    uint32_t t = 0;
    while (net->tensors[t].offset != l->weight)
      t++;
    const struct net_tensor *w = &net->tensors[t];
    const bool in_first = l->kind == LAYER_DENSE && l->dense.in_first;
    const size_t first = w->shape[0], rest = w->count / first;
    const struct net_value *rows = &net->values[l->kind == LAYER_CONV ? l->out : l->in];
    const struct net_linear one = {.tensor = t,
                                   .in = in_first ? first : rest,
                                   .out = in_first ? rest : first,
                                   .rows = l->kind == LAYER_LINEAR ? 1 : net_pixels(rows),
                                   .in_first = in_first,
                                   .convolution = w->rank == 4};
    ARENA_PUSH(a, list, *n, cap, one);
  }
  return list;
}

/* The window of one output pixel, [channels][rows][columns], with zeros beyond the border. */
static void unfold(const struct ops_conv *c, const float *x, unsigned row, unsigned column,
                   float *out)
{
  for (unsigned i = 0; i < c->k; i++)
    for (unsigned j = 0; j < c->k; j++) {
      const unsigned y = row * c->stride + i, z = column * c->stride + j;
      const bool inside = y >= c->pad && y - c->pad < c->h && z >= c->pad && z - c->pad < c->w;
      const float *pixel =
          inside ? x + ((size_t)(y - c->pad) * c->w + (z - c->pad)) * c->ci : NULL;
      for (unsigned k = 0; k < c->ci; k++)
        out[((size_t)k * c->k + i) * c->k + j] = inside ? pixel[k] : 0;
    }
}

static void show_windows(const struct ops_conv *c, unsigned n, const float *x, size_t k,
                         net_rows_visitor *visit, void *context)
{
  const size_t in = (size_t)c->ci * c->k * c->k, most = UNFOLDED / in + 1;
  const unsigned h = ops_conv_out(c, c->h), w = ops_conv_out(c, c->w);
  float *rows = mem_alloc(most * in * sizeof *rows);
  size_t filled = 0;
  for (unsigned s = 0; s < n; s++, x += (size_t)c->h * c->w * c->ci)
    for (unsigned i = 0; i < h; i++)
      for (unsigned j = 0; j < w; j++) {
        unfold(c, x, i, j, rows + filled++ * in);
        if (filled < most)
          continue;
        visit(context, k, filled, rows);
        filled = 0;
      }
  if (filled)
    visit(context, k, filled, rows);
  free(rows);
}

bool net_show_rows(const struct net *net, const struct net_layer *l, const float *x, unsigned n,
                   size_t k, const bool *wanted, net_rows_visitor *visit, void *context)
{
  if (!is_linear(l))
    return false;
  if (wanted && !wanted[k])
    return true;
  if (l->kind == LAYER_CONV)
    show_windows(&l->conv, n, x, k, visit, context);
  else
    visit(context, k, n * (l->kind == LAYER_LINEAR ? 1 : net_pixels(&net->values[l->in])), x);
  return true;
}
