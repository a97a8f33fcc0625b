#include "measure/measure_int.h"

#include "base/arena.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double length(const float *w, size_t n)
{
  double square = 0;
  for (size_t i = 0; i < n; i++)
    square += (double)w[i] * (double)w[i];
  return sqrt(square);
}

double measure_invariant_norm(const struct net *net, const float *flat)
{
  size_t n;
  double square = 0;
  bool any = false;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) {
    if (!net_scale_invariant(net, &t[i]))
      continue;
    any = true;
    square += pow(length(flat + t[i].offset, t[i].count), 2);
  }
  return any ? sqrt(square) : NAN;
}

static double loss_at(const struct measure_loss *m, const float *flat)
{
  const unsigned classes = net_classes(m->net), targets = net_targets(m->net);
  float *logits = mem_alloc((size_t)m->batch * targets * classes * sizeof *logits);
  struct measure_batches b;
  double loss = 0;
  measure_batches_begin(&b, m->set, m->split, m->samples, m->batch);
  while (measure_batches_next(&b)) {
    net_logits(m->work, flat, b.x, b.n, logits);
    for (size_t i = 0; i < (size_t)b.n * targets; i++) {
      unsigned best;
      loss += measure_cross_entropy(logits + i * classes, classes, b.labels[i], &best);
    }
  }
  const double n = (double)b.samples * targets;
  measure_batches_end(&b);
  free(logits);
  return loss / n;
}

static void move(const struct net *net, const float *flat, double radius, uint32_t direction,
                 float *moved)
{
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) {
    const float *from = flat + t[i].offset;
    float *to = moved + t[i].offset;
    struct rng r = rng_at(0, RNG_PROBE, direction, 1, (uint32_t)i);
    double square = 0;
    for (size_t k = 0; !t[i].buffer && k < t[i].count; k++) {
      to[k] = (float)rng_normal(&r);
      square += (double)to[k] * (double)to[k];
    }
    const double scale = radius * length(from, t[i].count) / sqrt(square);
    for (size_t k = 0; !t[i].buffer && k < t[i].count; k++)
      to[k] = (float)((double)from[k] + scale * (double)to[k]);
  }
}

struct measure_estimate measure_average_sharpness(const struct measure_loss *m, const float *flat,
                                                  double radius, unsigned directions)
{
  const size_t bytes = net_count(m->net) * sizeof *flat;
  float *moved = mem_alloc(bytes);
  const double here = loss_at(m, flat);
  double sum = 0, squares = 0;
  for (unsigned k = 0; k < directions; k++) {
    memcpy(moved, flat, bytes);
    move(m->net, flat, radius, k, moved);
    const double rise = loss_at(m, moved) - here;
    sum += rise;
    squares += rise * rise;
  }
  free(moved);
  const double mean = sum / directions;
  return (struct measure_estimate){
      mean,
      directions > 1 ? sqrt(fmax(0, squares / directions - mean * mean) / (directions - 1)) : NAN};
}
