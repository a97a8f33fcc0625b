#include "measure/measure_int.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>

static unsigned predicted(const float *z, unsigned n)
{
  unsigned top = 0;
  for (unsigned i = 1; i < n; i++)
    if (z[i] > z[top])
      top = i;
  return top;
}

double measure_disagreement(struct net_work *work, unsigned batch, const float *a, const float *b,
                            const struct net *net, const struct data_set *set,
                            enum data_split split)
{
  const unsigned classes = net_classes(net), targets = net_targets(net);
  const size_t logits = (size_t)batch * targets * classes;
  float *of_a = mem_alloc(logits * sizeof *of_a), *of_b = mem_alloc(logits * sizeof *of_b);
  struct measure_batches s;
  size_t differ = 0;
  measure_batches_begin(&s, set, split, UINT32_MAX, batch);
  while (measure_batches_next(&s)) {
    net_logits(work, a, s.x, s.n, of_a);
    net_logits(work, b, s.x, s.n, of_b);
    for (size_t i = 0; i < (size_t)s.n * targets; i++)
      differ += predicted(of_a + i * classes, classes) != predicted(of_b + i * classes, classes);
  }
  const double n = (double)s.samples * targets;
  measure_batches_end(&s);
  free(of_b);
  free(of_a);
  return (double)differ / n;
}
