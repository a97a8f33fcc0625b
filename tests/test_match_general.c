/* Symmetries of transformers beyond permutations: the canonical form, planted maps, barriers. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/net_fold.h"
#include "engine/optim.h"
#include "measure/measure.h"
#include "merge/match_latents.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, TRAIN = 512, TEST = 256, BLOCK = 12, VOCABULARY = 13 };

static const struct net_spec GPT = {.model = "gpt",
                                    .width = 24,
                                    .layers = 2,
                                    .heads = 3,
                                    .channels = 1,
                                    .height = 1,
                                    .image_width = BLOCK,
                                    .block = BLOCK,
                                    .classes = VOCABULARY};
static const struct net_spec VIT = {.model = "vit_s_16",
                                    .width = 24,
                                    .layers = 2,
                                    .heads = 3,
                                    .patch = 4,
                                    .channels = 2,
                                    .height = 8,
                                    .image_width = 8,
                                    .classes = 5};
static const struct net_spec CLIP = {.model = "clip_vit_b_16",
                                     .width = 24,
                                     .layers = 2,
                                     .heads = 3,
                                     .patch = 4,
                                     .channels = 2,
                                     .height = 8,
                                     .image_width = 8,
                                     .classes = 5};
enum { NETWORKS = 3 };
static const struct net_spec *const SPECS[NETWORKS] = {&GPT, &VIT, &CLIP};

/* A network as it is trained, and the one for its canonical form. */
struct pair {
  struct arena *arena;
  struct diag *diag;
  const struct net *own, *net;
  const struct net_groups *groups;
  struct net_work *own_work, *work;
  float *own_a, *own_b, *a, *b, *out; /* of either */
  struct match match;                 /* b to a, canonical */
};

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

static struct pair setup(const struct net_spec *spec)
{
  struct pair p = {.arena = arena_new()};
  struct net_spec untied = *spec;
  untied.untied = true;
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

static void teardown(struct pair *p)
{
  assert_int_equal(diag_count(p->diag), 0);
  net_work_free(p->own_work);
  net_work_free(p->work);
  arena_free(p->arena);
}

static void make_canonical(struct pair *p)
{
  assert_true(match_canonical(p->own, p->own_a, p->net, p->groups, p->a, p->diag));
  assert_true(match_canonical(p->own, p->own_b, p->net, p->groups, p->b, p->diag));
}

static const struct net_group *group_like(const struct pair *p, const char *part)
{
  for (size_t g = 0; g < p->groups->n; g++)
    if (strstr(p->groups->v[g].name, part))
      return &p->groups->v[g];
  fail_msg("no group %s", part);
  return NULL;
}

/* ---- canonical form ---- */

static void canonical_weights_compute_the_same(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    struct pair p = setup(SPECS[i]);
    make_canonical(&p);
    assert_true(match_same_function(p.own, p.own_work, p.own_a, p.work, p.a, p.diag));
    assert_true(match_canonical(p.net, p.a, p.net, p.groups, p.out, p.diag)); /* and again */
    assert_true(match_same_function(p.net, p.work, p.a, p.work, p.out, p.diag));
    teardown(&p);
  }
}

/* Norms scale nothing, writers have no mean, and a head's factors are of one size. */
static void canonical_weights_have_the_form(void **state)
{
  (void)state;
  struct pair p = setup(&GPT);
  make_canonical(&p);
  const struct net_group *stream = group_like(&p, "wte");
  assert_true(stream->turns);
  for (size_t k = 0; k < stream->n_uses; k++) {
    const struct net_use *u = &stream->uses[k];
    for (size_t o = 0; o < u->outer; o++) {
      double sum = 0;
      for (unsigned i = 0; i < stream->size; i++)
        sum += (double)p.a[u->offset + o * u->stride + i * u->run];
      if (u->role == NET_SCALES)
        assert_true(sum == stream->size);
      else if (u->role == NET_WRITES && u->run == 1)
        assert_true(fabs(sum) < 1e-5);
    }
  }
  const struct net_group *heads = group_like(&p, "h.1.attn");
  const struct match_heads rows = match_heads_of(p.arena, heads, p.a);
  double gram[MATCH_FACTORS][64];
  for (size_t h = 0; h < heads->size; h++) {
    for (int r = 0; r < MATCH_FACTORS; r++)
      match_head_products(&rows, h, &rows, h, r, gram[r]);
    for (int r = 0; r < MATCH_FACTORS; r += 2)
      for (size_t k = 0; k < 64; k++)
        assert_true(fabs(gram[r][k] - gram[r + 1][k]) < 1e-4 * gram[r][0]);
  }
  teardown(&p);
}

/* A stream begins with a norm, or something else reads it: it does not turn. */
static void only_streams_between_norms_turn(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    struct pair p = setup(SPECS[i]);
    unsigned turning = 0;
    for (size_t g = 0; g < p.groups->n; g++)
      turning += p.groups->v[g].turns;
    assert_int_equal(turning, i != 2);
    assert_true(match_has_heads(p.groups));
    teardown(&p);
  }
  static const char *const others[] = {"mlp", "resnet18", "densenet121", "convnext_tiny"};
  for (int i = 0; i < 4; i++) {
    struct arena *a = arena_new();
    const struct net_spec spec = {
        .model = others[i], .channels = 1, .height = 64, .image_width = 64, .classes = 5};
    const struct net_groups *groups =
        net_groups_new(a, net_new(a, &spec, diag_new(a)), diag_new(a));
    assert_false(match_has_heads(groups));
    for (size_t g = 0; g < groups->n; g++)
      assert_false(groups->v[g].turns);
    arena_free(a);
  }
}

static void a_norm_without_scale_cannot_give_its_bias_to_the_head(void **state)
{
  (void)state;
  struct pair p = setup(&GPT);
  const struct net_group *stream = group_like(&p, "wte");
  const struct net_use *last = NULL;
  for (size_t k = 0; k < stream->n_uses; k++)
    last = stream->uses[k].role == NET_SCALES ? &stream->uses[k] : last;
  memcpy(p.a, p.own_a, net_count(p.own) * sizeof *p.a);
  p.a[last->offset + 3] = 0;
  assert_false(net_fold(p.net, p.groups, p.a, p.diag));
  assert_non_null(strstr(diag_message(p.diag, 0), "the last norm's scale of channel 3 is 0"));
  diag_clear(p.diag);
  teardown(&p);
}

/* ---- planted maps ---- */

static void random_turn(struct rng *r, unsigned n, bool keeps_mean, double *turn)
{
  double *drawn = mem_alloc((3 * (size_t)n + 1) * n * sizeof *drawn), *u = drawn + n * n;
  for (size_t k = 0; k < (size_t)n * n; k++)
    drawn[k] = rng_normal(r);
  assert_true(keeps_mean ? match_polar(n, drawn, turn, NULL, NULL, NULL)
                         : svd_polar(n, drawn, turn, u, u + 2 * n * n, u + n * n));
  free(drawn);
}

static struct match_maps *random_maps(struct pair *p, uint32_t seed)
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
    for (size_t h = 0; m->qk[g] && h < group->size; h++) {
      random_turn(&r, group->inner, false, m->qk[g] + h * square);
      random_turn(&r, group->inner, false, m->ov[g] + h * square);
    }
  }
  return m;
}

/* Keys twice as large, queries half, and the same with values and what reads them. */
static void unbalance(struct pair *p, float *flat)
{
  for (size_t g = 0; g < p->groups->n; g++) {
    const struct net_group *group = &p->groups->v[g];
    for (size_t k = 0; group->inner > 1 && k < group->n_uses; k++) {
      const struct net_use *u = &group->uses[k];
      const float by = u->role == NET_KEYS || u->role == NET_MIXES ? 2 : 0.5f;
      for (size_t o = 0; o < u->outer; o++)
        for (size_t t = 0; t < group->size * u->run; t++)
          flat[u->offset + o * u->stride + t] *= by;
    }
  }
}

static double apart(const struct pair *p, const float *a, const float *b)
{
  return measure_distance(a, b, net_params(p->net)) / measure_norm(a, net_params(p->net));
}

static void planted_maps_are_found(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    for (uint32_t seed = 0; seed < 3; seed++) {
      struct pair p = setup(SPECS[i]);
      make_canonical(&p);
      match_map(random_maps(&p, seed), p.a, net_count(p.net), p.out);
      assert_true(match_same_function(p.net, p.work, p.a, p.work, p.out, p.diag));
      unbalance(&p, p.out);
      assert_true(match_canonical(p.net, p.out, p.net, p.groups, p.b, p.diag));
      assert_true(apart(&p, p.a, p.b) > 0.5);
      struct match_maps *maps = match_maps_new(p.arena, p.groups);
      match_general(&p.match, 15, maps);
      match_map(maps, p.b, net_count(p.net), p.out);
      assert_true(match_same_function(p.net, p.work, p.b, p.work, p.out, p.diag));
      assert_true(apart(&p, p.a, p.out) < 1e-3);
      teardown(&p);
    }
  }
}

static void matched_weights_compute_the_same(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    struct pair p = setup(SPECS[i]);
    make_canonical(&p);
    struct match_maps *maps = match_maps_new(p.arena, p.groups);
    const double product = match_general(&p.match, 15, maps);
    match_map(maps, p.b, net_count(p.net), p.out);
    assert_true(match_same_function(p.own, p.own_work, p.own_b, p.work, p.out, p.diag));
    double sum = 0, before = 0;
    for (size_t k = 0; k < net_params(p.net); k++) {
      sum += (double)p.a[k] * (double)p.out[k];
      before += (double)p.a[k] * (double)p.b[k];
    }
    assert_true(fabs(sum - product) <= 1e-5 * sum && product > before);
    teardown(&p);
  }
}

/* ---- gradients ---- */

/* Of the inner product with a fixed matrix, by central differences. */
static void the_polar_factors_gradient_is_exact(void **state)
{
  (void)state;
  enum { N = 5 };
  double a[N * N], g[N * N], q[N * N], u[N * N], s[N], vt[N * N], da[N * N];
  struct rng r = rng_at(7, RNG_TEST, 0, 0, 0);
  for (int k = 0; k < N * N; k++) {
    a[k] = rng_normal(&r);
    g[k] = rng_normal(&r);
  }
  assert_true(svd_polar(N, a, q, u, s, vt));
  svd_polar_gradient(N, u, s, vt, g, da);
  for (int k = 0; k < N * N; k++) {
    const double h = 1e-5, at = a[k];
    double value[2];
    for (int side = 0; side < 2; side++) {
      a[k] = at + (side ? h : -h);
      assert_true(svd_polar(N, a, q, u, s, vt));
      value[side] = 0;
      for (int i = 0; i < N * N; i++)
        value[side] += g[i] * q[i];
    }
    a[k] = at;
    assert_true(fabs((value[1] - value[0]) / (2 * h) - da[k]) < 1e-6 * (1 + fabs(da[k])));
  }
}

/* ---- trained networks ---- */

/* Each token is mostly decided by the two before it. */
static struct data_set text(struct arena *arena)
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

static void train(const struct pair *p, const struct data_set *data, uint64_t seed, float *flat)
{
  const struct optim adam = {
      .rule = optim_find("adamw"), .lr = 3e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
  struct net_work *work = net_work_new(p->own, ops_cpu(), BATCH, true);
  const size_t params = net_params(p->own);
  float *states[2] = {mem_zalloc(params * sizeof(float)), mem_zalloc(params * sizeof(float))};
  float *grad = mem_alloc(params * sizeof *grad), x[BATCH * BLOCK];
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
  net_work_free(work);
}

/* The largest excess of the loss over the straight line, of 9 points. */
static double barrier(const struct pair *p, const struct net *net, struct net_work *work,
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

/* By the loss's central differences along the gradient.  That of an order goes straight through. */
static void latents_gradients_are_the_losss(void **state)
{
  (void)state;
  for (uint32_t seed = 0; seed < 2; seed++) {
    struct pair p = setup(&GPT);
    const struct data_set data = text(p.arena);
    uint32_t samples[BATCH];
    make_canonical(&p);
    for (uint32_t k = 0; k < BATCH; k++)
      samples[k] = k;
    struct match_learner *l =
        match_learner_new(p.arena, &p.match, p.work, &data, BATCH, random_maps(&p, seed));
    match_learner_gradient(l, 0.5, samples, BATCH);
    for (size_t k = 0; k < l->n; k++) {
      struct match_latent *z = &l->latents[k];
      const size_t square = z->n * z->n;
      const double *gradient = arena_copy(p.arena, z->grad, square * sizeof *gradient);
      const double *start = arena_copy(p.arena, z->z, square * sizeof *start);
      double length = 0, loss[2];
      for (size_t c = 0; c < square; c++)
        length += gradient[c] * gradient[c];
      if (z->kind == MATCH_ORDER)
        continue;
      const double h = 0.02 / sqrt(length);
      for (int side = 0; side < 2; side++) {
        for (size_t c = 0; c < square; c++)
          z->z[c] = start[c] + (side ? h : -h) * gradient[c];
        match_learner_map(l);
        loss[side] = match_path_loss(&l->path, 0.5, samples, BATCH);
      }
      memcpy(z->z, start, square * sizeof *start);
      match_learner_map(l);
      const double rise = (loss[1] - loss[0]) / (2 * h) / 0.5;
      if (fabs(rise - length) > 0.02 * length + 1e-4 * sqrt(length))
        fail_msg("%s: %g, not %g", p.groups->v[z->group].name, rise, length);
    }
    teardown(&p);
  }
}

static void matching_lowers_the_barrier(void **state)
{
  (void)state;
  const struct match_learning how = {{15, 1, 0}, 6, BATCH, 3e-3, 0.9};
  double plain = 0, weights = 0, learned = 0;
  for (uint32_t seed = 1; seed < 5; seed += 2) {
    struct pair p = setup(&GPT);
    const struct data_set data = text(p.arena);
    float *matched = arena_array(p.arena, net_count(p.net), sizeof *matched);
    train(&p, &data, seed, p.own_a);
    train(&p, &data, seed + 1, p.own_b);
    make_canonical(&p);
    plain += barrier(&p, p.own, p.own_work, &data, p.own_a, p.own_b);
    struct match_maps *maps = match_maps_new(p.arena, p.groups);
    match_general(&p.match, 15, maps);
    match_map(maps, p.b, net_count(p.net), matched);
    weights += barrier(&p, p.net, p.work, &data, p.a, matched);
    match_general_learned(&p.match, &how, p.work, &data, maps);
    match_map(maps, p.b, net_count(p.net), matched);
    assert_true(match_same_function(p.own, p.own_work, p.own_b, p.work, matched, p.diag));
    learned += barrier(&p, p.net, p.work, &data, p.a, matched);
    teardown(&p);
  }
  print_message("barriers of two pairs: %.3f, %.3f, %.3f\n", plain, weights, learned);
  assert_true(plain > 0.2);
  assert_true(weights <= plain && learned <= weights);
}

/* Looked at on the same samples as what it begins with. */
static void learning_never_makes_it_worse(void **state)
{
  (void)state;
  struct pair p = setup(&GPT);
  const struct data_set data = text(p.arena);
  double before = INFINITY;
  train(&p, &data, 1, p.own_a);
  train(&p, &data, 2, p.own_b);
  make_canonical(&p);
  for (unsigned epochs = 0; epochs < 4; epochs++) {
    const struct match_learning how = {{15, 1, 0}, epochs, BATCH, 1e-2, 0.9};
    struct match_maps *maps = match_maps_new(p.arena, p.groups);
    const double loss = match_general_learned(&p.match, &how, p.work, &data, maps);
    assert_true(loss <= before);
    before = loss;
  }
  teardown(&p);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(canonical_weights_compute_the_same),
      cmocka_unit_test(canonical_weights_have_the_form),
      cmocka_unit_test(only_streams_between_norms_turn),
      cmocka_unit_test(a_norm_without_scale_cannot_give_its_bias_to_the_head),
      cmocka_unit_test(planted_maps_are_found),
      cmocka_unit_test(matched_weights_compute_the_same),
      cmocka_unit_test(the_polar_factors_gradient_is_exact),
      cmocka_unit_test(latents_gradients_are_the_losss),
      cmocka_unit_test(matching_lowers_the_barrier),
      cmocka_unit_test(learning_never_makes_it_worse),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
