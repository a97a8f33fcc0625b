/* Small networks with a batch of samples.  Include after cmocka.h. */
#ifndef MERGESCAPE_TESTS_NET_FIXTURE_H
#define MERGESCAPE_TESTS_NET_FIXTURE_H

#include "base/rng.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "engine/optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
  struct arena *arena;
  struct diag *diag;
  struct net *net;
  size_t count, params, values; /* values: floats a sample */
  float *flat, *grad, *velocity, *x;
  int32_t *labels;
};

enum { SAMPLES = 12 };

static const struct net_spec RESNET = {.model = "resnet18",
                                       .width = 4,
                                       .stages = 2,
                                       .blocks = 1,
                                       .channels = 2,
                                       .height = 6,
                                       .image_width = 5,
                                       .classes = 3};
static const struct net_spec MLP = {.model = "mlp",
                                    .width = 10,
                                    .layers = 2,
                                    .channels = 2,
                                    .height = 4,
                                    .image_width = 3,
                                    .classes = 3};

static const struct net_spec DENSENET = {.model = "densenet121",
                                         .growth = 3,
                                         .stages = 3,
                                         .layers = 2,
                                         .channels = 2,
                                         .height = 9,
                                         .image_width = 8,
                                         .classes = 3};

/* With the stem for large images, and pixels enough for it. */
static inline struct net_spec large(struct net_spec spec)
{
  spec.stem = "imagenet";
  spec.height = 33;
  spec.image_width = 30;
  return spec;
}

static inline struct fixture setup(const struct net_spec *spec)
{
  struct fixture f = {.arena = arena_new()};
  f.diag = diag_new(f.arena);
  f.net = net_new(f.arena, spec, f.diag);
  assert_non_null(f.net);
  f.count = net_count(f.net);
  f.params = net_params(f.net);
  f.values = (size_t)spec->height * spec->image_width * spec->channels;
  f.flat = arena_array(f.arena, f.count, sizeof *f.flat);
  f.grad = arena_array(f.arena, f.count, sizeof *f.grad);
  f.velocity = arena_array(f.arena, f.count, sizeof *f.velocity);
  f.x = arena_array(f.arena, SAMPLES * f.values, sizeof *f.x);
  f.labels = arena_array(f.arena, SAMPLES, sizeof *f.labels);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < SAMPLES * f.values; i++)
    f.x[i] = (float)rng_normal(&r);
  for (int i = 0; i < SAMPLES; i++)
    f.labels[i] = i % 3;
  net_init(f.net, 1, f.flat);
  return f;
}

static inline void teardown(struct fixture *f)
{
  arena_free(f->arena);
}

static inline const struct net_tensor *tensor(const struct net *net, const char *name)
{
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) {
    if (!strcmp(t[i].name, name))
      return &t[i];
  }
  fail_msg("no tensor %s", name);
  return NULL;
}

#endif
