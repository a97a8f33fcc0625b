#include "measure/measure_int.h"

#include "base/arena.h"

#include <stdlib.h>

void measure_batches_begin(struct measure_batches *b, const struct data_set *set,
                           enum data_split split, unsigned samples, unsigned batch)
{
  const unsigned all = set->split[split].n;
  const size_t pixels = (size_t)set->height * set->width * set->channels;
  *b = (struct measure_batches){
      .set = set, .split = split, .samples = samples < all ? samples : all, .batch = batch};
  b->x = mem_alloc(batch * pixels * sizeof *b->x);
  b->labels = mem_alloc((size_t)batch * set->targets * sizeof *b->labels);
  b->indices = mem_alloc(batch * sizeof *b->indices);
}

bool measure_batches_next(struct measure_batches *b)
{
  const uint64_t all = b->set->split[b->split].n;
  b->first += b->n;
  b->n = b->samples - b->first < b->batch ? b->samples - b->first : b->batch;
  for (unsigned i = 0; i < b->n; i++)
    b->indices[i] = (uint32_t)((b->first + i) * all / b->samples);
  if (b->n)
    data_batch(b->set, b->split, b->indices, b->n, NULL, 0, 0, 0, b->x, b->labels);
  return b->n > 0;
}

void measure_batches_end(struct measure_batches *b)
{
  free(b->indices);
  free(b->labels);
  free(b->x);
}

double measure_gradient(const struct measure_loss *m, const float *flat, double *gradient)
{
  const size_t n = net_params(m->net);
  float *grad = mem_alloc(n * sizeof *grad);
  struct measure_batches b;
  double loss = 0;
  for (size_t i = 0; i < n; i++)
    gradient[i] = 0;
  measure_batches_begin(&b, m->set, m->split, m->samples, m->batch);
  while (measure_batches_next(&b)) {
    const double share = (double)b.n / b.samples;
    loss += share * (double)net_inference_gradient(m->work, flat, b.x, b.labels, b.n, grad);
    for (size_t i = 0; i < n; i++)
      gradient[i] += share * (double)grad[i];
  }
  measure_batches_end(&b);
  free(grad);
  return loss;
}

unsigned measure_at_once(const struct net *net, unsigned batch)
{
  const size_t most = ((size_t)1 << 24) / ((size_t)net_targets(net) * net_classes(net));
  return most < 1 ? 1 : most < batch ? (unsigned)most : batch;
}
