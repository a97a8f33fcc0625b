#include "measure/measure.h"

#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

/* An incomplete last batch is left out, as it would count like a whole one;
 * unless it is the only one. */
void measure_recalibrate(struct net_work *work, unsigned batch, float *flat, const struct net *net,
                         const struct data_set *set, const struct data_augment *augment,
                         unsigned samples, uint64_t seed)
{
  const unsigned all = set->split[DATA_TRAIN].n, n = samples && samples < all ? samples : all;
  if (!net_has_batchnorm(net) || !n)
    return;
  if (batch > n)
    batch = n;
  size_t pixels = (size_t)set->height * set->width * set->channels;
  float *x = mem_alloc(batch * pixels * sizeof *x);
  int32_t *labels = mem_alloc((size_t)batch * net_targets(net) * sizeof *labels);
  uint32_t *order = mem_alloc(all * sizeof *order);
  data_order(seed, 0, 0, order, all);
  /* The first batch has momentum 1, but 0 times what is not finite is not 0. */
  memset(flat + net_params(net), 0, (net_count(net) - net_params(net)) * sizeof *flat);
  for (unsigned k = 0; k < n / batch; k++) {
    data_batch(set, DATA_TRAIN, order + (size_t)k * batch, batch, augment, seed, 0, 0, x, labels);
    net_update_statistics(work, flat, x, batch, 1 / (float)(k + 1));
  }
  free(order);
  free(labels);
  free(x);
}
