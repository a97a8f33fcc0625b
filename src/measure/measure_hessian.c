/* Curvature: products with the Hessian, its largest eigenvalue and its trace. */
#include "measure/measure_int.h"

#include "base/arena.h"
#include "base/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 256 };
static const double relative_distance = 1e-3, tolerance = 1e-3;

static double dot(size_t n, const double *a, const double *b)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += a[i] * b[i];
  return sum;
}

/* What a product needs beside the vectors. */
struct hessian {
  const struct measure_loss *loss;
  const float *flat;
  size_t n; /* trainable weights */
  double distance;
  float *moved; /* all weights */
  float *grad[2];
};

static void begin(struct hessian *h, const struct measure_loss *loss, const float *flat)
{
  const size_t n = net_params(loss->net), count = net_count(loss->net);
  double square = 0;
  for (size_t i = 0; i < n; i++)
    square += (double)flat[i] * (double)flat[i];
  *h = (struct hessian){.loss = loss,
                        .flat = flat,
                        .n = n,
                        .distance = relative_distance * (square > 0 ? sqrt(square) : 1),
                        .moved = mem_alloc(count * sizeof *h->moved)};
  for (int k = 0; k < 2; k++)
    h->grad[k] = mem_alloc(n * sizeof *h->grad[k]);
  memcpy(h->moved, flat, count * sizeof *flat);
}

static void end(struct hessian *h)
{
  free(h->grad[0]);
  free(h->grad[1]);
  free(h->moved);
}

/* out = H v for a v of length 1. */
static void multiply(struct hessian *h, const double *v, double *out)
{
  const struct measure_loss *m = h->loss;
  struct measure_batches b;
  for (size_t i = 0; i < h->n; i++)
    out[i] = 0;
  measure_batches_begin(&b, m->set, m->split, m->samples, m->batch);
  while (measure_batches_next(&b)) {
    const double share = (double)b.n / b.samples / (2 * h->distance);
    net_record_relu(m->work, h->flat, b.x, b.n);
    for (int side = 0; side < 2; side++) {
      for (size_t i = 0; i < h->n; i++)
        h->moved[i] = (float)((double)h->flat[i] + (side ? -h->distance : h->distance) * v[i]);
      net_fixed_relu_gradient(m->work, h->moved, b.x, b.labels, b.n, h->grad[side]);
    }
    for (size_t i = 0; i < h->n; i++)
      out[i] += share * ((double)h->grad[0][i] - (double)h->grad[1][i]);
  }
  measure_batches_end(&b);
}

/* Of the symmetric tridiagonal matrix with `diagonal` [m] and `beside` [m - 1]: how many
 * eigenvalues are above x (Sturm's sequence). */
static unsigned above(unsigned m, const double *diagonal, const double *beside, double x)
{
  unsigned n = 0;
  double q = 1;
  for (unsigned i = 0; i < m; i++) {
    const double b = i ? beside[i - 1] : 0;
    q = diagonal[i] - x - (i ? b * b / (fabs(q) > DBL_MIN ? q : DBL_MIN) : 0);
    n += q > 0;
  }
  return n;
}

static double largest(unsigned m, const double *diagonal, const double *beside)
{
  double low = INFINITY, high = -INFINITY;
  for (unsigned i = 0; i < m; i++) {
    const double around =
        (i ? fabs(beside[i - 1]) : 0) + (i + 1 < m ? fabs(beside[i]) : 0);
    low = fmin(low, diagonal[i] - around);
    high = fmax(high, diagonal[i] + around);
  }
  for (int i = 0; i < 200 && high - low > 4 * DBL_EPSILON * fmax(fabs(low), fabs(high)); i++) {
    const double middle = low + (high - low) / 2;
    if (above(m, diagonal, beside, middle))
      low = middle;
    else
      high = middle;
  }
  return high;
}

/* The last component of the largest eigenvalue's unit vector.  Downwards, the components
 * are s[i] = -beside[i] s[i + 1] / q[i] with q of the Sturm sequence, whose terms are all
 * negative there: no cancellation. */
static double last_component(unsigned m, const double *diagonal, const double *beside, double top)
{
  double q[MOST_STEPS], s = 1, sum = 1;
  for (unsigned i = 0; i + 1 < m; i++) {
    q[i] = diagonal[i] - top - (i ? beside[i - 1] * beside[i - 1] / q[i - 1] : 0);
    if (fabs(q[i]) < DBL_MIN)
      q[i] = -DBL_MIN;
  }
  for (unsigned i = m - 1; i-- > 0;) {
    s *= -beside[i] / q[i];
    sum += s * s;
  }
  return 1 / sqrt(sum);
}

static void random_unit(size_t n, uint32_t stream, double *v)
{
  struct rng r = rng_at(0, RNG_PROBE, stream, 0, 0);
  for (size_t i = 0; i < n; i++)
    v[i] = rng_normal(&r);
  const double length = sqrt(dot(n, v, v));
  for (size_t i = 0; i < n; i++)
    v[i] /= length;
}

/* Without orthogonalising again: lost orthogonality repeats eigenvalues that are there
 * already, and the largest is none the worse for it (Paige 1972). */
struct measure_estimate measure_sharpness(const struct measure_loss *loss, const float *flat,
                                          unsigned steps)
{
  struct hessian h;
  double diagonal[MOST_STEPS], beside[MOST_STEPS];
  struct measure_estimate e = {NAN, NAN};
  begin(&h, loss, flat);
  double *v = mem_alloc(h.n * sizeof *v), *before = mem_alloc(h.n * sizeof *before);
  double *next = mem_alloc(h.n * sizeof *next);
  steps = steps > MOST_STEPS ? MOST_STEPS : steps;
  random_unit(h.n, 0, v);
  memset(before, 0, h.n * sizeof *before);
  for (unsigned m = 0; m < steps && m < h.n; m++) {
    multiply(&h, v, next);
    diagonal[m] = dot(h.n, v, next);
    for (size_t i = 0; i < h.n; i++)
      next[i] -= diagonal[m] * v[i] + (m ? beside[m - 1] * before[i] : 0);
    beside[m] = sqrt(dot(h.n, next, next));
    e.value = largest(m + 1, diagonal, beside);
    e.error = beside[m] * last_component(m + 1, diagonal, beside, e.value);
    if (!isfinite(e.value) || e.error <= tolerance * fabs(e.value) || beside[m] == 0)
      break;
    double *spare = before;
    before = v;
    v = next;
    next = spare;
    for (size_t i = 0; i < h.n; i++)
      v[i] /= beside[m];
  }
  free(next);
  free(before);
  free(v);
  end(&h);
  return e;
}

struct measure_estimate measure_hessian_trace(const struct measure_loss *loss, const float *flat,
                                              unsigned probes)
{
  struct hessian h;
  double sum = 0, squares = 0;
  begin(&h, loss, flat);
  double *v = mem_alloc(h.n * sizeof *v), *product = mem_alloc(h.n * sizeof *product);
  const double one = 1 / sqrt((double)h.n);
  for (unsigned k = 0; k < probes; k++) {
    struct rng r = rng_at(0, RNG_PROBE, k + 1, 0, 0);
    for (size_t i = 0; i < h.n; i++)
      v[i] = rng_u32(&r) & 1 ? one : -one;
    multiply(&h, v, product);
    const double trace = (double)h.n * dot(h.n, v, product);
    sum += trace;
    squares += trace * trace;
  }
  free(product);
  free(v);
  end(&h);
  const double mean = sum / probes;
  return (struct measure_estimate){
      mean, probes > 1 ? sqrt(fmax(0, squares / probes - mean * mean) / (probes - 1)) : NAN};
}
