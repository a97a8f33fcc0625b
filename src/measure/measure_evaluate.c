#include "measure/measure.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>

/* -log softmax(z)[label]; the largest is taken out first, so that nothing
 * overflows.  NaN where a logit is not finite.  *best: the first largest. */
static double cross_entropy(const float *z, unsigned n, int32_t label, unsigned *best)
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

/* A language model's logits are many a sample: as many samples as fit in 64 MB. */
static unsigned samples_at_once(const struct net *net, unsigned batch)
{
  const size_t most = ((size_t)1 << 24) / ((size_t)net_targets(net) * net_classes(net));
  return most < 1 ? 1 : most < batch ? (unsigned)most : batch;
}

struct measure_evaluation measure_evaluate(struct net_work *work, unsigned batch, const float *flat,
                                           const struct net *net, const struct data_set *set,
                                           enum data_split split)
{
  unsigned n = set->split[split].n, classes = net_classes(net), targets = net_targets(net);
  batch = samples_at_once(net, batch);
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
      loss += cross_entropy(logits + i * classes, classes, labels[i], &best);
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
