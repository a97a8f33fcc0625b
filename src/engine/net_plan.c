/* Sharing memory between buffers that are not needed at the same time. */
#include "engine/net_int.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
  const struct net_buffer *const *x = a, *const *y = b;
  if ((*x)->floats != (*y)->floats)
    return (*x)->floats < (*y)->floats ? 1 : -1;
  return *x < *y ? -1 : *x > *y;
}

static bool together(const struct net_buffer *a, const struct net_buffer *b)
{
  return a->first <= b->last && b->first <= a->last;
}

/* The lowest place where nothing that lives at the same time lies. */
static size_t lowest(struct net_buffer *const *placed, size_t n, const struct net_buffer *b)
{
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    const struct net_buffer *p = placed[i];
    if (together(p, b) && at < p->offset + p->floats && p->offset < at + b->floats) {
      at = p->offset + p->floats;
      i = (size_t)-1;
    }
  }
  return at;
}

/* Largest first, each in the lowest place: within a few per cent of the best
 * in practice, and quick. */
size_t net_plan_memory(struct arena *arena, struct net_buffer *buffers, size_t n)
{
  struct net_buffer **order = arena_array(arena, n, sizeof *order);
  size_t used = 0, total = 0;
  for (size_t i = 0; i < n; i++) {
    buffers[i].floats = (buffers[i].floats + 15) & ~(size_t)15;
    if (buffers[i].floats)
      order[used++] = &buffers[i];
  }
  qsort(order, used, sizeof *order, by_size);
  for (size_t i = 0; i < used; i++) {
    struct net_buffer *b = order[i];
    b->offset = lowest(order, i, b);
    total = b->offset + b->floats > total ? b->offset + b->floats : total;
  }
  return total;
}
