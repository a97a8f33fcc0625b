/* Feed-forward neurons: their order, and with ReLU their scales and what takes the place of dead
 * ones. */
#include "merge/match_int.h"

#include "merge/assignment.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_squares(const struct net_use *u, unsigned n, const float *flat, double *sum)
{
  for (unsigned i = 0; i < n; i++)
    for (size_t o = 0; o < u->outer; o++)
      for (size_t t = 0; t < u->run; t++) {
        const double v = (double)flat[u->offset + o * u->stride + i * u->run + t];
        sum[i] += v * v;
      }
}

/* By the distance of their rows, of incoming and outgoing weights, scaled to length 1. */
static void match_order(const struct match_maps *m, size_t group, const float *to,
                        const float *from)
{
  const struct net_group *g = &m->groups->v[group];
  const size_t n = g->size;
  double *gains = mem_zalloc((n + 2) * n * sizeof *gains), *a = gains + n * n, *b = a + n;
  for (size_t k = 0; k < g->n_uses; k++) {
    match_add_products(&g->uses[k], g->size, to, from, gains);
    add_squares(&g->uses[k], g->size, to, a);
    add_squares(&g->uses[k], g->size, from, b);
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      gains[i * n + j] = a[i] * b[j] > 0 ? gains[i * n + j] / sqrt(a[i] * b[j]) : 0;
  assignment_solve(n, gains, ASSIGNMENT_MAXIMISE, m->perms[group], NULL, NULL);
  free(gains);
}

/* ---- the scale of a neuron ---- */

/* Of a neuron that comes to a place: the squared lengths of its incoming and its outgoing weights,
 * and their inner products with the place's. */
struct neuron {
  double in, out, in_product, out_product;
};

/* The root in [low, high], at whose ends the polynomial of degree 4 has different signs: Newton's
 * method, and halves where it leaves the interval or is slow. */
static double root_between(const double c[5], double low, double high)
{
  enum { MOST = 100 };
  double t = (low + high) / 2, width = high - low;
  bool falls = false;
  for (int k = 0; k < MOST; k++) {
    const double y = (((c[4] * t + c[3]) * t + c[2]) * t + c[1]) * t + c[0];
    if (y == 0)
      break;
    const double slope = ((4 * c[4] * t + 3 * c[3]) * t + 2 * c[2]) * t + c[1];
    if (!k)
      falls = (((c[4] * low + c[3]) * low + c[2]) * low + c[1]) * low + c[0] > 0;
    *((y > 0) != falls ? &high : &low) = t;
    double next = slope != 0 ? t - y / slope : low;
    if (!(next > low && next < high) || fabs(next - t) > width / 2)
      next = (low + high) / 2;
    width = fabs(next - t);
    t = next;
    if (width <= 2 * DBL_EPSILON * t)
      break;
  }
  return t;
}

static double distance_at(double p, double q, double t)
{
  return t * t + 1 / (t * t) - 2 * (p * t + q / t);
}

/* The t > 0 with the smallest t^2 + 1/t^2 - 2 (p t + q/t): a root of t^4 - p t^3 + q t - 1, which
 * rises from -1, and in between may fall for a while; then there are two minima. */
static double best_ratio(double p, double q)
{
  const double quartic[] = {-1, q, 0, -p, 1}, slope[] = {q, 0, -3 * p, 4, 0};
  const double high = 1 + fabs(p) + fabs(q);
  if (!(p > 0 && q > 0 && q < p * p * p / 4))
    return root_between(quartic, 0, high);
  const double top = root_between(slope, 0, p / 2), bottom = root_between(slope, p / 2, 3 * p / 4);
  const double y_top = (top - p) * top * top * top + q * top - 1;
  const double y_bottom = (bottom - p) * bottom * bottom * bottom + q * bottom - 1;
  if (y_top <= 0)
    return root_between(quartic, bottom, high);
  if (y_bottom >= 0)
    return root_between(quartic, 0, top);
  const double small = root_between(quartic, 0, top), large = root_between(quartic, bottom, high);
  return distance_at(p, q, small) <= distance_at(p, q, large) ? small : large;
}

/* The scale s that brings s in and out / s nearest to the place's weights, and half of what that
 * takes from the squared distance, beside a neuron of zeros. */
static double best_scale(const struct neuron *x, double *gain)
{
  if (!(x->in > 0 && x->out > 0)) {
    *gain = 0;
    return 1;
  }
  const double both = sqrt(x->in * x->out), ratio = sqrt(sqrt(x->out / x->in));
  const double p = x->in_product * ratio / both, q = x->out_product / (ratio * both);
  const double t = best_ratio(p, q);
  *gain = -both * distance_at(p, q, t) / 2;
  return ratio * t;
}

double match_fit_neuron(const struct net_group *g, const float *to, size_t i, const float *from,
                        size_t j)
{
  struct neuron x = {0};
  double gain;
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    const bool made = u->role == NET_WRITES;
    for (size_t c = 0; c < u->outer * u->run; c++) {
      const size_t at = u->offset + c / u->run * u->stride + c % u->run;
      const double a = (double)to[at + i * u->run], b = (double)from[at + j * u->run];
      *(made ? &x.in : &x.out) += b * b;
      *(made ? &x.in_product : &x.out_product) += a * b;
    }
  }
  return best_scale(&x, &gain);
}

/* ---- semi-permutations ---- */

struct neurons {
  size_t n;
  double *in, *out;                   /* [n]: squared lengths, of `from` */
  double *in_products, *out_products; /* [n][n]: of place i with neuron j */
};

static struct neurons look_at(struct arena *a, const struct net_group *g, const float *to,
                              const float *from)
{
  const size_t n = g->size;
  const struct neurons all = {.n = n,
                              .in = arena_array(a, n, sizeof(double)),
                              .out = arena_array(a, n, sizeof(double)),
                              .in_products = arena_array(a, n * n, sizeof(double)),
                              .out_products = arena_array(a, n * n, sizeof(double))};
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    const bool made = u->role == NET_WRITES;
    assert(made || u->role == NET_READS);
    add_squares(u, g->size, from, made ? all.in : all.out);
    match_add_products(u, g->size, to, from, made ? all.in_products : all.out_products);
  }
  return all;
}

static bool is_alive(const struct neurons *all, size_t j)
{
  return all->in[j] > 0 && all->out[j] > 0;
}

/* A share of neuron j at place i. */
static struct neuron neuron_at(const struct neurons *all, size_t i, size_t j, double share)
{
  return (struct neuron){all->in[j], share * share * all->out[j], all->in_products[i * all->n + j],
                         share * all->out_products[i * all->n + j]};
}

static double gain_at(const struct neurons *all, size_t i, size_t j, double share)
{
  const struct neuron x = neuron_at(all, i, j, share);
  double gain;
  best_scale(&x, &gain);
  return gain;
}

/* More than any share of it gains, for its weights on either side could be scaled alone. */
static double most_gain(const struct neurons *all, size_t i, size_t j)
{
  const struct neuron x = neuron_at(all, i, j, 1);
  const double in = fmax(0, x.in_product), out = fmax(0, x.out_product);
  return in * in / x.in / 2 + out * out / x.out / 2;
}

/* Neuron j, of which `share` is at place k, gives a part of it to place i. */
struct split {
  const struct neurons *all;
  size_t i, k, j;
  double share;
};

static double split_gain(const struct split *s, double part)
{
  return gain_at(s->all, s->i, s->j, part * s->share) +
         gain_at(s->all, s->k, s->j, (1 - part) * s->share);
}

enum { PARTS = 8, SECTIONS = 40 };

/* The best part of eight. */
static double rough_part(const struct split *s, double *gain)
{
  double best = 0;
  *gain = -INFINITY;
  for (int k = 0; k < PARTS; k++) {
    const double part = (k + 0.5) / PARTS, one = split_gain(s, part);
    best = one > *gain ? part : best;
    *gain = fmax(*gain, one);
  }
  return best;
}

/* And then by golden sections between its neighbours. */
static double best_part(const struct split *s, double *gain)
{
  const double golden = (sqrt(5) - 1) / 2, best = rough_part(s, gain);
  double low = best - 0.5 / PARTS, high = best + 0.5 / PARTS;
  for (int k = 0; k < SECTIONS; k++) {
    const double a = high - golden * (high - low), b = low + golden * (high - low);
    if (split_gain(s, a) >= split_gain(s, b))
      high = b;
    else
      low = a;
  }
  const double part = (low + high) / 2, one = split_gain(s, part);
  if (!(one > *gain))
    return best;
  *gain = one;
  return part;
}

/* Parts of neuron j go over from place to place, two at a time, while that gains. */
static void settle(const struct match_maps *m, size_t group, const struct neurons *all, size_t j)
{
  enum { SWEEPS = 50 };
  const uint32_t *perm = m->perms[group], *source = m->source[group];
  double *share = m->share[group];
  bool gained = true;
  for (int sweep = 0; gained && sweep < SWEEPS; sweep++) {
    gained = false;
    for (size_t i = 0; i < all->n; i++)
      for (size_t k = 0; source[perm[i]] == j && k < i; k++) {
        if (source[perm[k]] != j)
          continue;
        const double both = share[perm[i]] + share[perm[k]];
        const struct split s = {all, i, k, j, both};
        const double now = split_gain(&s, share[perm[i]] / both);
        double gain;
        const double part = best_part(&s, &gain);
        if (!(gain > now))
          continue;
        gained |= gain - now > 1e-14 * all->in[j];
        share[perm[i]] = part * both;
        share[perm[k]] = (1 - part) * both;
      }
  }
}

/* A dead neuron lies at place i: a part of the one whose split gains most takes its place. */
static void split_into(const struct match_maps *m, size_t group, const struct neurons *all,
                       size_t i)
{
  const uint32_t *perm = m->perms[group];
  uint32_t *source = m->source[group];
  double *share = m->share[group], most = 0, gain;
  struct split best = {0};
  for (size_t k = 0; k < all->n; k++) {
    const size_t j = source[perm[k]];
    struct split s = {all, i, k, j, share[perm[k]]};
    if (k == i || !is_alive(all, j))
      continue;
    const double now = gain_at(all, k, j, s.share);
    if (most_gain(all, i, j) + most_gain(all, k, j) - now <= most)
      continue;
    rough_part(&s, &gain);
    if (gain - now <= most)
      continue;
    most = gain - now;
    best = s;
  }
  if (!(most > 0))
    return;
  const double part = best_part(&best, &gain);
  source[perm[i]] = (uint32_t)best.j;
  share[perm[i]] = part * best.share;
  share[perm[best.k]] = (1 - part) * best.share;
  settle(m, group, all, best.j);
}

/* By the distance of their rows, each with its best scale; then dead ones, one after the other. */
static void match_semi(const struct match_maps *m, size_t group, const float *to, const float *from)
{
  struct arena *a = arena_new();
  const struct neurons all = look_at(a, &m->groups->v[group], to, from);
  const size_t n = all.n;
  double *gains = arena_array(a, n * n, sizeof *gains);
  uint32_t *perm = m->perms[group], *source = m->source[group];
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      gains[i * n + j] = gain_at(&all, i, j, 1);
  assignment_solve(n, gains, ASSIGNMENT_MAXIMISE, perm, NULL, NULL);
  for (uint32_t j = 0; j < n; j++) {
    source[j] = j;
    m->share[group][j] = 1;
  }
  for (size_t i = 0; i < n; i++)
    if (!is_alive(&all, perm[i]))
      split_into(m, group, &all, i);
  for (size_t i = 0; i < n; i++) {
    const struct neuron x = neuron_at(&all, i, source[perm[i]], m->share[group][perm[i]]);
    double gain;
    m->scale[group][i] = best_scale(&x, &gain);
  }
  arena_free(a);
}

void match_neurons(const struct match_maps *m, size_t group, const float *to, const float *from)
{
  if (m->scale[group])
    match_semi(m, group, to, from);
  else
    match_order(m, group, to, from);
}

/* ---- canonical form ---- */

static bool is_bias(const struct net_use *u)
{
  return u->role == NET_WRITES && u->outer == 1 && u->run == 1;
}

void match_scale_neuron(const struct net_group *g, size_t i, double in, double out, float *flat)
{
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    const double by = u->role == NET_WRITES ? in : out;
    for (size_t c = 0; c < u->outer * u->run; c++) {
      float *at = flat + u->offset + c / u->run * u->stride + i * u->run + c % u->run;
      *at = (float)(by * (double)*at);
    }
  }
}

void match_balance_neurons(const struct net_group *g, float *flat)
{
  const size_t n = g->size;
  double *weights = mem_zalloc(3 * n * sizeof *weights), *in = weights + n, *out = in + n;
  const float *bias = NULL;
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    bias = is_bias(u) ? flat + u->offset : bias;
    add_squares(u, g->size, flat, u->role == NET_WRITES ? in : out);
    if (u->role == NET_WRITES && !is_bias(u))
      add_squares(u, g->size, flat, weights);
  }
  for (size_t i = 0; i < n; i++) {
    const bool dead = in[i] == 0 || out[i] == 0 || (weights[i] == 0 && bias && bias[i] <= 0);
    const double by = dead ? 0 : sqrt(sqrt(out[i] / in[i]));
    match_scale_neuron(g, i, by, dead ? 0 : 1 / by, flat);
  }
  free(weights);
}
