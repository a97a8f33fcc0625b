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
                                           enum data_split split)
{
  unsigned n = set->split[split].n, classes = net_classes(net), targets = net_targets(net);
  batch = measure_at_once(net, batch);
  size_t pixels = (size_t)set->height * set->width * set->channels;
  float *x = mem_alloc(batch * pixels * sizeof *x);
  float *logits = mem_alloc((size_t)batch * targets * classes * sizeof *logits);
  int32_t *labels = mem_alloc((size_t)batch * targets * sizeof *labels);
  uint32_t *indices = mem_alloc(batch * sizeof *indices);
  double loss = 0;
  size_t right = 0;
  for (unsigned first = 0, m; first < n; first += m) {
    m = n - first < batch ? n - first : batch;
    for (unsigned i = 0; i < m; i++)
      indices[i] = first + i;
    data_batch(set, split, indices, m, NULL, 0, 0, 0, x, labels);
    net_logits(work, flat, x, m, logits);
    for (size_t i = 0; i < (size_t)m * targets; i++) {
      unsigned best = UINT32_MAX;
      loss += measure_cross_entropy(logits + i * classes, classes, labels[i], &best);
      right += best == (unsigned)labels[i];
    }
  }
  free(indices);
  free(labels);
  free(logits);
  free(x);
  return (struct measure_evaluation){.loss = loss / ((double)n * targets),
                                     .accuracy = (double)right / ((double)n * targets)};
}
