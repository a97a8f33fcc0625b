#include "measure/measure_int.h"

#include "base/rng.h"
#include "engine/ops.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool measure_expectation_find(const char *word, enum measure_expectation *out)
{
  static const char *const words[] = {"exact", "sampled", "empirical"};
  for (int k = 0; k < 3; k++) {
    if (strcmp(words[k], word))
      continue;
    *out = (enum measure_expectation)k;
    return true;
  }
  return false;
}

/* One sample's, and where its squares go. */
struct sample {
  const struct measure_loss *m;
  const float *flat, *x;
  float *grad; /* [net_params] */
  double *fisher;
};

/* fisher += weight * (gradient of log p(labels | x))^2.  The loss is a mean over labels, and the
 * log-likelihood of a text is their sum. */
static void add_squares(const struct sample *s, const int32_t *labels, double weight)
{
  const double targets = (double)net_targets(s->m->net);
  const size_t n = net_params(s->m->net);
  net_inference_gradient(s->m->work, s->flat, s->x, labels, 1, s->grad);
  weight *= targets * targets;
  for (size_t i = 0; i < n; i++)
    s->fisher[i] += weight * (double)s->grad[i] * (double)s->grad[i];
}

/* Logits become probabilities; NaN where one is not finite. */
static void softmax(const float *logits, unsigned n, double *p)
{
  double largest = -INFINITY, sum = 0;
  for (unsigned c = 0; c < n; c++)
    largest = fmax(largest, (double)logits[c]);
  for (unsigned c = 0; c < n; c++)
    sum += p[c] = exp((double)logits[c] - largest);
  for (unsigned c = 0; c < n; c++)
    p[c] /= sum;
}

static int32_t draw(struct rng *r, const double *p, unsigned n)
{
  double u = rng_uniform(r);
  for (unsigned c = 0; c + 1 < n; c++)
    if ((u -= p[c]) < 0)
      return (int32_t)c;
  return (int32_t)n - 1;
}

struct prediction {
  float *logits; /* [targets][classes] */
  double *p;     /* [classes] */
  int32_t *labels;
};

static void add_predicted(const struct sample *s, enum measure_expectation how, struct rng *r,
                          const struct prediction *out)
{
  const unsigned targets = net_targets(s->m->net), classes = net_classes(s->m->net);
  net_logits(s->m->work, s->flat, s->x, 1, out->logits);
  if (how == MEASURE_SAMPLED) {
    for (unsigned t = 0; t < targets; t++) {
      softmax(out->logits + (size_t)t * classes, classes, out->p);
      out->labels[t] = draw(r, out->p, classes);
    }
    add_squares(s, out->labels, 1);
    return;
  }
  assert(targets == 1);
  softmax(out->logits, classes, out->p);
  for (unsigned c = 0; c < classes; c++)
    add_squares(s, &(int32_t){(int32_t)c}, out->p[c]);
}

void measure_fisher(const struct measure_loss *m, const float *flat, enum measure_expectation how,
                    uint64_t seed, double *fisher)
{
  const size_t n = net_params(m->net);
  const unsigned targets = net_targets(m->net), classes = net_classes(m->net);
  struct measure_batches b;
  struct prediction out = {.logits = mem_alloc((size_t)targets * classes * sizeof *out.logits),
                           .p = mem_alloc(classes * sizeof *out.p),
                           .labels = mem_alloc(targets * sizeof *out.labels)};
  float *grad = mem_alloc(n * sizeof *grad);
  for (size_t i = 0; i < n; i++)
    fisher[i] = 0;
  measure_batches_begin(&b, m->set, m->split, m->samples, 1);
  while (measure_batches_next(&b)) {
    const struct sample s = {m, flat, b.x, grad, fisher};
    struct rng r = rng_at(seed, RNG_FISHER, 0, 0, b.indices[0]);
    if (how == MEASURE_EMPIRICAL)
      add_squares(&s, b.labels, 1);
    else
      add_predicted(&s, how, &r, &out);
  }
  for (size_t i = 0; i < n; i++)
    fisher[i] /= b.samples;
  measure_batches_end(&b);
  free(grad);
  free(out.labels);
  free(out.p);
  free(out.logits);
}
