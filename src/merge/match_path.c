#include "merge/match_path.h"

#include <stdlib.h>

struct match_path match_path_new(struct arena *a, const struct match *match, struct net_work *work,
                                 const struct data_set *data, unsigned batch)
{
  const size_t count = net_count(match->net);
  const unsigned n = data->split[DATA_TRAIN].n;
  struct match_path p = {
      .match = match, .work = work, .data = data, .batch = batch < n ? batch : n};
  p.mapped = arena_array(a, count, sizeof *p.mapped);
  p.middle = arena_array(a, count, sizeof *p.middle);
  p.grad = arena_array(a, net_params(match->net), sizeof *p.grad);
  p.x = arena_array(a, p.batch * net_inputs(match->net), sizeof *p.x);
  p.labels = arena_array(a, (size_t)p.batch * data->targets, sizeof *p.labels);
  return p;
}

double match_path_loss(struct match_path *p, double lambda, const uint32_t *samples, unsigned n)
{
  const float *to = p->match->to;
  for (size_t i = 0; i < net_count(p->match->net); i++)
    p->middle[i] = (float)((1 - lambda) * (double)to[i] + lambda * (double)p->mapped[i]);
  data_batch(p->data, DATA_TRAIN, samples, n, NULL, 0, 0, 0, p->x, p->labels);
  return (double)net_loss_gradient(p->work, p->middle, p->x, p->labels, n, p->grad);
}

double match_path_look(struct match_path *p)
{
  const unsigned all = p->data->split[DATA_TRAIN].n;
  const unsigned n = all < MATCH_LEARNED_SAMPLES ? all : MATCH_LEARNED_SAMPLES;
  uint32_t *samples = mem_alloc(p->batch * sizeof *samples);
  double sum = 0;
  for (unsigned first = 0, m; first < n; first += m) {
    m = n - first < p->batch ? n - first : p->batch;
    for (unsigned i = 0; i < m; i++)
      samples[i] = (uint32_t)((uint64_t)(first + i) * all / n);
    sum += m * match_path_loss(p, 0.5, samples, m);
  }
  free(samples);
  return sum / n;
}
