/* Networks with every number drawn, and how far two are apart.  Include after cmocka.h. */
#ifndef MERGESCAPE_TESTS_FUSE_FIXTURE_H
#define MERGESCAPE_TESTS_FUSE_FIXTURE_H

#include "base/rng.h"
#include "engine/ops.h"
#include "merge/fuse_int.h"
#include "merge/match.h"
#include "merge/transport.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- networks ---- */

enum { SIDE = 8, SAMPLES = 32, CLASSES = 4, TOKENS = 5 };

/* Of transformers, which come last, feed-forward neurons are fused, within a network. */
static const char *const MODELS[] = {"mlp",      "resnet18",      "densenet121", "convnext_tiny",
                                     "vit_s_16", "clip_vit_b_16", "gpt"};
enum { N_MODELS = 4, N_ALL = 7 };

struct network {
  struct net *net;
  const struct net_groups *groups;
  float *flat;
};

static inline struct network make(struct arena *a, const char *name, unsigned width)
{
  const bool text = !strcmp(name, "gpt"), transforms = text || strstr(name, "vit");
  const struct net_spec spec = {.model = name,
                                .width = transforms ? 9 : width,
                                .hidden = width,
                                .heads = 3,
                                .patch = 4,
                                .growth = width,
                                .layers = 2,
                                .stages = 2,
                                .blocks = 1,
                                .channels = text ? 1 : 2,
                                .height = text ? 1 : SIDE,
                                .image_width = text ? TOKENS : SIDE,
                                .block = text ? TOKENS : 0,
                                .classes = CLASSES};
  struct diag *d = diag_new(a);
  struct network n = {.net = net_new(a, &spec, d)};
  assert_non_null(n.net);
  n.groups = net_groups_new(a, n.net, d);
  assert_non_null(n.groups);
  n.flat = arena_array(a, net_count(n.net), sizeof *n.flat);
  return n;
}

static inline struct fuse_model model(const struct network *n)
{
  return (struct fuse_model){n->net, n->groups, n->flat};
}

static inline bool ends_with(const char *text, const char *end)
{
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

/* Every number drawn; `even`: weights of one magnitude and norms of one small scale, so that all
 * units of a layer are as important, and biases that leave none dead. */
static inline void draw(const struct network *n, uint64_t seed, bool even)
{
  size_t count;
  const struct net_tensor *t = net_tensors(n->net, &count);
  struct rng r = rng_at(seed, RNG_TEST, 2, 0, 0);
  for (size_t k = 0; k < count; k++)
    for (size_t i = 0; i < t[k].count; i++) {
      const double fan = (double)(t[k].count / t[k].shape[0]), v = rng_normal(&r);
      float *at = &n->flat[t[k].offset + i];
      if (ends_with(t[k].name, "running_var"))
        *at = even ? 2 : (float)exp(0.5 * v);
      else if (t[k].rank == 1 && ends_with(t[k].name, "weight"))
        *at = even ? 0.1f : (float)(0.2 + 0.7 * v); /* some below 0 */
      else if (t[k].rank == 1)
        *at = (float)(0.3 * v + (even && ends_with(t[k].name, "bias")));
      else
        *at = (float)((even ? (v < 0 ? -1 : 1) : v) / sqrt(fan));
    }
}

static inline float *draw_inputs(const struct net *net)
{
  const size_t n = SAMPLES * net_inputs(net);
  float *x = mem_alloc(n * sizeof *x);
  struct rng r = rng_at(3, RNG_TEST, 3, 0, 0);
  for (size_t i = 0; i < n; i++)
    x[i] = net_reads_text(net) ? (float)rng_below(&r, CLASSES) : (float)rng_normal(&r);
  return x;
}

/* Largest difference of logits, as a share of the largest logit. */
static inline double apart(const struct network *a, const struct network *b)
{
  const struct network *both[] = {a, b};
  float *x = draw_inputs(a->net);
  static float z[2][SAMPLES * TOKENS * CLASSES];
  double difference = 0, largest = 0;
  for (int k = 0; k < 2; k++) {
    struct net_work *work = net_work_new(both[k]->net, ops_cpu(), SAMPLES, false);
    net_logits(work, both[k]->flat, x, SAMPLES, z[k]);
    net_work_free(work);
  }
  for (unsigned i = 0; i < SAMPLES * CLASSES * net_targets(a->net); i++) {
    difference = fmax(difference, fabs((double)z[0][i] - (double)z[1][i]));
    largest = fmax(largest, fabs((double)z[0][i]));
  }
  free(x);
  return difference / largest;
}

/* Of the mean loss in inference mode, of drawn samples. */
static inline double *gradient_of(struct arena *a, const struct network *n)
{
  const size_t count = net_params(n->net);
  float *x = draw_inputs(n->net), *grad = arena_array(a, count, sizeof *grad);
  int32_t labels[SAMPLES * TOKENS];
  double *out = arena_array(a, count, sizeof *out);
  struct net_work *work = net_work_new(n->net, ops_cpu(), SAMPLES, true);
  for (int i = 0; i < SAMPLES * TOKENS; i++)
    labels[i] = i % CLASSES;
  net_inference_gradient(work, n->flat, x, labels, SAMPLES, grad);
  for (size_t i = 0; i < count; i++)
    out[i] = (double)grad[i];
  net_work_free(work);
  free(x);
  return out;
}

/* All ways: three importances, two marginals, two orders. */
enum { WAYS = 12 };

static inline struct fuse_how way(unsigned k)
{
  return (struct fuse_how){.importance = (enum fuse_importance)(k / 4),
                           .marginals_by_importance = k / 2 % 2,
                           .sequential = k % 2};
}

static inline void check_plan(size_t n, size_t m, const double *supply, const double *demand,
                              const double *plan)
{
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    for (size_t j = 0; j < m; j++) {
      assert_true(plan[i * m + j] >= 0);
      sum += plan[i * m + j];
    }
    assert_true(sum == supply[i]);
  }
  for (size_t j = 0; j < m; j++) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
      sum += plan[i * m + j];
    assert_true(sum == demand[j]);
  }
}

#endif
