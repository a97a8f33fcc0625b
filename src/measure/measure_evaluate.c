#include "measure/measure_int.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>

double measure_cross_entropy(const float *z, unsigned n, int32_t label, unsigned *best)
{
  unsigned top = 0;
  for (unsigned i = 0; i < n; i++) {
    if (!isfinite(z[i]))
      return NAN;
    if (z[i] > z[top])
      top = i;
  }
  double sum = 0;
  for (unsigned i = 0; i < n; i++)
    sum += exp((double)z[i] - (double)z[top]);
  *best = top;
  return log(sum) + (double)z[top] - (double)z[label];
}

struct measure_evaluation measure_evaluate(struct net_work *work, unsigned batch, const float *flat,
                                           const struct net *net, const struct data_set *set,
                                           enum data_split split, unsigned samples)
{
  const unsigned classes = net_classes(net), targets = net_targets(net);
  batch = measure_at_once(net, batch);
  float *logits = mem_alloc((size_t)batch * targets * classes * sizeof *logits);
  struct measure_batches b;
  double loss = 0;
  size_t right = 0;
  measure_batches_begin(&b, set, split, samples ? samples : UINT32_MAX, batch);
  while (measure_batches_next(&b)) {
    net_logits(work, flat, b.x, b.n, logits);
    for (size_t i = 0; i < (size_t)b.n * targets; i++) {
      unsigned best = UINT32_MAX;
      loss += measure_cross_entropy(logits + i * classes, classes, b.labels[i], &best);
      right += best == (unsigned)b.labels[i];
    }
  }
  const double labels = (double)b.samples * targets;
  measure_batches_end(&b);
  free(logits);
  return (struct measure_evaluation){.loss = loss / labels, .accuracy = (double)right / labels};
}
