#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "general_fixture.h"

#include "base/rng.h"
#include "engine/optim.h"
#include "measure/measure.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct net_spec GPT = {.model = "gpt",
                             .width = 24,
                             .layers = 2,
                             .heads = 3,
                             .channels = 1,
                             .height = 1,
                             .image_width = BLOCK,
                             .block = BLOCK,
                             .classes = VOCABULARY};
#define OF_IMAGES(name)                                                                            \
  {                                                                                                \
    .model = name, .width = 24, .layers = 2, .heads = 3, .patch = 4, .channels = 2, .height = 8,   \
    .image_width = 8, .classes = 5                                                                 \
  }
const struct net_spec VIT = OF_IMAGES("vit_s_16"), CLIP = OF_IMAGES("clip_vit_b_16");
const struct net_spec *const SPECS[NETWORKS] = {&GPT, &VIT, &CLIP};
const struct match_search SEARCH = {15, 1, 0};

/* Every tensor drawn: norms scale and shift, and no bias is 0. */
static void draw(const struct net *net, uint32_t seed, float *flat)
{
  struct rng r = rng_at(seed, RNG_TEST, 0, 0, 0);
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < t[i].count; k++) {
      const double one = t[i].rank == 1 && strstr(t[i].name, "weight") != NULL;
      flat[t[i].offset + k] = (float)(one + 0.3 * rng_normal(&r));
    }
}

struct general_pair general_setup(const struct net_spec *spec)
{
  struct general_pair p = {.arena = arena_new()};
  struct net_spec untied = *spec;
  untied.untied = untied.turned = true;
  p.diag = diag_new(p.arena);
  p.own = net_new(p.arena, spec, p.diag);
  p.net = net_new(p.arena, &untied, p.diag);
  p.groups = net_groups_new(p.arena, p.net, p.diag);
  assert_non_null(p.groups);
  p.own_work = net_work_new(p.own, ops_cpu(), TEST, false);
  p.work = net_work_new(p.net, ops_cpu(), TEST, true);
  float **const flats[] = {&p.own_a, &p.own_b, &p.a, &p.b, &p.out};
  for (int k = 0; k < 5; k++)
    *flats[k] = arena_array(p.arena, net_count(p.net), sizeof(float));
  p.match = (struct match){ops_cpu(), p.net, p.groups, p.a, p.b};
  draw(p.own, 1, p.own_a);
  draw(p.own, 2, p.own_b);
  return p;
}

void general_teardown(struct general_pair *p)
{
  assert_int_equal(diag_count(p->diag), 0);
  net_work_free(p->own_work);
  net_work_free(p->work);
  arena_free(p->arena);
}

void general_canonical(struct general_pair *p)
{
  assert_true(match_canonical(p->own, p->own_a, p->net, p->groups, p->a, p->diag));
  assert_true(match_canonical(p->own, p->own_b, p->net, p->groups, p->b, p->diag));
}

const struct net_group *general_group(const struct general_pair *p, const char *part)
{
  for (size_t g = 0; g < p->groups->n; g++)
    if (strstr(p->groups->v[g].name, part))
      return &p->groups->v[g];
  fail_msg("no group %s", part);
  return NULL;
}

static void random_turn(struct rng *r, unsigned n, bool keeps_mean, double *turn)
{
  double *drawn = mem_alloc((3 * (size_t)n + 1) * n * sizeof *drawn), *u = drawn + n * n;
  for (size_t k = 0; k < (size_t)n * n; k++)
    drawn[k] = rng_normal(r);
  assert_true(keeps_mean ? match_polar(n, drawn, turn, NULL, NULL, NULL)
                         : svd_polar(n, drawn, turn, u, u + 2 * n * n, u + n * n));
  free(drawn);
}

struct match_maps *general_random_maps(struct general_pair *p, uint32_t seed)
{
  struct match_maps *m = match_maps_new(p->arena, p->groups);
  for (uint32_t g = 0; g < p->groups->n; g++) {
    const struct net_group *group = &p->groups->v[g];
    const size_t square = (size_t)group->inner * group->inner;
    struct rng r = rng_at(seed, RNG_TEST, 3, 0, g);
    if (m->turn[g])
      random_turn(&r, group->size, true, m->turn[g]);
    else
      rng_shuffle(&r, m->perms[g], group->size);
    for (size_t i = 0; m->scale[g] && i < group->size; i++)
      m->scale[g][i] = exp(0.7 * rng_normal(&r));
    for (size_t h = 0; m->qk[g] && h < group->size; h++) {
      random_turn(&r, group->inner, false, m->qk[g] + h * square);
      random_turn(&r, group->inner, false, m->ov[g] + h * square);
    }
  }
  return m;
}

double general_apart(const struct general_pair *p, const float *a, const float *b)
{
  return measure_distance(a, b, net_params(p->net)) / measure_norm(a, net_params(p->net));
}

/* Each token is mostly decided by the two before it. */
struct data_set general_text(struct arena *arena)
{
  struct data_set set = {.channels = 1,
                         .height = 1,
                         .width = BLOCK,
                         .classes = VOCABULARY,
                         .block = BLOCK,
                         .targets = BLOCK};
  for (uint32_t split = 0; split < 2; split++) {
    const unsigned n = split == DATA_TRAIN ? TRAIN : TEST;
    uint16_t *tokens = arena_array(arena, (size_t)n * (BLOCK + 1), sizeof *tokens);
    for (uint32_t i = 0; i < n; i++) {
      struct rng r = rng_at(split, RNG_TEST, 1, 0, i);
      uint16_t *at = tokens + (size_t)i * (BLOCK + 1);
      for (uint32_t k = 0; k <= BLOCK; k++) {
        struct rng rule =
            rng_at(0, RNG_TEST, 2, 0, k > 1 ? at[k - 1] * (uint32_t)VOCABULARY + at[k - 2] : k);
        at[k] = (uint16_t)rng_below(k > 1 && rng_uniform(&r) < 0.9 ? &rule : &r, VOCABULARY);
      }
    }
    set.split[split] = (struct data_samples){.n = n, .tokens = tokens};
  }
  return set;
}

struct data_set general_images(struct arena *arena)
{
  enum { PIXELS = 8 * 8 * 2, CLASSES = 5, KINDS = 6 * CLASSES };
  struct data_set set = {.channels = 2, .height = 8, .width = 8, .classes = CLASSES, .targets = 1};
  for (uint32_t split = 0; split < 2; split++) {
    const unsigned n = split == DATA_TRAIN ? TRAIN : TEST;
    float *values = arena_array(arena, (size_t)n * PIXELS, sizeof *values);
    int32_t *labels = arena_array(arena, n, sizeof *labels);
    for (uint32_t i = 0; i < n; i++) {
      struct rng noise = rng_at(split, RNG_TEST, 1, 1, i);
      const uint32_t kind = rng_below(&noise, KINDS);
      struct rng pattern = rng_at(0, RNG_TEST, 2, 1, kind);
      labels[i] = (int32_t)(kind % CLASSES);
      for (uint32_t k = 0; k < PIXELS; k++)
        values[i * PIXELS + k] = (float)(rng_normal(&pattern) + rng_normal(&noise));
    }
    set.split[split] = (struct data_samples){.n = n, .values = values, .labels = labels};
  }
  return set;
}

void general_train(const struct general_pair *p, const struct data_set *data, uint64_t seed,
                   float *flat)
{
  const struct optim adam = {
      .rule = optim_find("adamw"), .lr = 3e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
  struct net_work *work = net_work_new(p->own, ops_cpu(), BATCH, true);
  const size_t params = net_params(p->own);
  float *states[2] = {mem_zalloc(params * sizeof(float)), mem_zalloc(params * sizeof(float))};
  float *grad = mem_alloc(params * sizeof *grad);
  float *x = mem_alloc(BATCH * net_inputs(p->own) * sizeof *x);
  int32_t labels[BATCH * BLOCK];
  uint32_t order[TRAIN];
  net_init(p->own, seed, flat);
  for (uint32_t step = 0; step < 600; step++) {
    const uint32_t at = step % (TRAIN / BATCH);
    if (!at)
      data_order(seed, 0, step, order, TRAIN);
    data_batch(data, DATA_TRAIN, order + at * BATCH, BATCH, NULL, 0, 0, 0, x, labels);
    net_loss_gradient(work, flat, x, labels, BATCH, grad);
    optim_step(ops_cpu(), &adam, step, params, flat, states, grad);
  }
  free(states[0]);
  free(states[1]);
  free(grad);
  free(x);
  net_work_free(work);
}

/* The largest excess of the loss over the straight line, of 9 points. */
double general_barrier(const struct general_pair *p, const struct net *net, struct net_work *work,
                       const struct data_set *data, const float *a, const float *b)
{
  enum { POINTS = 9 };
  double loss[POINTS], most = 0;
  for (int k = 0; k < POINTS; k++) {
    const double alpha = (double)k / (POINTS - 1);
    for (size_t i = 0; i < net_count(net); i++)
      p->out[i] = (float)((1 - alpha) * (double)a[i] + alpha * (double)b[i]);
    loss[k] = measure_evaluate(work, TEST, p->out, net, data, DATA_TEST, 0).loss;
  }
  for (int k = 0; k < POINTS; k++) {
    const double alpha = (double)k / (POINTS - 1);
    most = fmax(most, loss[k] - (1 - alpha) * loss[0] - alpha * loss[POINTS - 1]);
  }
  return most;
}
