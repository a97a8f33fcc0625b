/* Symmetries of transformers beyond permutations: the canonical form, planted maps, barriers. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "general_fixture.h"

#include "base/rng.h"
#include "engine/net_fold.h"
#include "merge/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- canonical form ---- */

static void canonical_weights_compute_the_same(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    struct general_pair p = general_setup(SPECS[i]);
    general_canonical(&p);
    assert_true(match_same_function(p.own, p.own_work, p.own_a, p.work, p.a, p.diag));
    assert_true(match_canonical(p.net, p.a, p.net, p.groups, p.out, p.diag)); /* and again */
    assert_true(match_same_function(p.net, p.work, p.a, p.work, p.out, p.diag));
    general_teardown(&p);
  }
}

/* Norms scale nothing, writers have no mean, and a head's factors are of one size. */
static void canonical_weights_have_the_form(void **state)
{
  (void)state;
  struct general_pair p = general_setup(&GPT);
  general_canonical(&p);
  const struct net_group *stream = general_group(&p, "wte");
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
  const struct net_group *heads = general_group(&p, "h.1.attn");
  const struct match_heads rows = match_heads_of(p.arena, heads, p.a);
  double gram[MATCH_FACTORS][64];
  for (size_t h = 0; h < heads->size; h++) {
    for (int r = 0; r < MATCH_FACTORS; r++)
      match_head_products(&rows, h, &rows, h, r, gram[r]);
    for (int r = 0; r < MATCH_FACTORS; r += 2)
      for (size_t k = 0; k < 64; k++)
        assert_true(fabs(gram[r][k] - gram[r + 1][k]) < 1e-4 * gram[r][0]);
  }
  general_teardown(&p);
}

/* A stream begins with a norm, or something else reads it: it does not turn. */
static void only_streams_between_norms_turn(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    struct general_pair p = general_setup(SPECS[i]);
    unsigned turning = 0;
    for (size_t g = 0; g < p.groups->n; g++)
      turning += p.groups->v[g].turns;
    assert_int_equal(turning, i == 2 ? 2 : 1); /* CLIP's, before and behind its first norm */
    assert_true(match_has_heads(p.groups));
    general_teardown(&p);
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
  struct general_pair p = general_setup(&GPT);
  const struct net_group *stream = general_group(&p, "wte");
  const struct net_use *last = NULL;
  for (size_t k = 0; k < stream->n_uses; k++)
    last = stream->uses[k].role == NET_SCALES ? &stream->uses[k] : last;
  memcpy(p.a, p.own_a, net_count(p.own) * sizeof *p.a);
  p.a[last->offset + 3] = 0;
  assert_false(net_fold(p.net, p.groups, p.a, p.diag));
  assert_non_null(strstr(diag_message(p.diag, 0), "the last norm's scale of channel 3 is 0"));
  diag_clear(p.diag);
  general_teardown(&p);
}

/* ---- planted maps ---- */

/* Keys twice as large, queries half, and the same with values and what reads them. */
static void unbalance(struct general_pair *p, float *flat)
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

static void planted_maps_are_found(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    for (uint32_t seed = 0; seed < 3; seed++) {
      struct general_pair p = general_setup(SPECS[i]);
      general_canonical(&p);
      match_map(general_random_maps(&p, seed), p.a, net_count(p.net), p.out);
      assert_true(match_same_function(p.net, p.work, p.a, p.work, p.out, p.diag));
      unbalance(&p, p.out);
      assert_true(match_canonical(p.net, p.out, p.net, p.groups, p.b, p.diag));
      assert_true(general_apart(&p, p.a, p.b) > 0.5);
      struct match_maps *maps = match_maps_new(p.arena, p.groups);
      match_general(&p.match, &SEARCH, maps);
      match_map(maps, p.b, net_count(p.net), p.out);
      assert_true(match_same_function(p.net, p.work, p.b, p.work, p.out, p.diag));
      assert_true(general_apart(&p, p.a, p.out) < 1e-3);
      general_teardown(&p);
    }
  }
}

static void matched_weights_compute_the_same(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++) {
    struct general_pair p = general_setup(SPECS[i]);
    general_canonical(&p);
    struct match_maps *maps = match_maps_new(p.arena, p.groups);
    const double product = match_general(&p.match, &SEARCH, maps);
    match_map(maps, p.b, net_count(p.net), p.out);
    assert_true(match_same_function(p.own, p.own_work, p.own_b, p.work, p.out, p.diag));
    double sum = 0, before = 0;
    for (size_t k = 0; k < net_params(p.net); k++) {
      sum += (double)p.a[k] * (double)p.out[k];
      before += (double)p.a[k] * (double)p.b[k];
    }
    assert_true(fabs(sum - product) <= 1e-5 * sum && product > before);
    general_teardown(&p);
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

/* With ReLUs held, for at their kinks a loss has no gradient. */
static double held_loss(struct match_learner *l, const uint32_t *samples)
{
  struct match_path *path = &l->path;
  match_path_loss(path, 0.5, samples, BATCH);
  return (double)net_fixed_relu_gradient(path->work, path->middle, path->x, path->labels, BATCH,
                                         path->grad);
}

/* By the loss's central differences along the gradient.  That of an order goes straight through. */
static void latents_gradients_are_the_losss(void **state)
{
  (void)state;
  struct net_spec specs[] = {GPT, GPT, CLIP};
  specs[1].activation = "relu";
  for (uint32_t seed = 0; seed < 6; seed++) {
    struct general_pair p = general_setup(&specs[seed % 3]);
    const struct data_set data = seed % 3 == 2 ? general_images(p.arena) : general_text(p.arena);
    uint32_t samples[BATCH];
    general_canonical(&p);
    for (uint32_t k = 0; k < BATCH; k++)
      samples[k] = k;
    struct match_learner *l =
        match_learner_new(p.arena, &p.match, p.work, &data, BATCH, general_random_maps(&p, seed));
    match_learner_gradient(l, 0.5, samples, BATCH);
    net_record_relu(p.work, l->path.middle, l->path.x, BATCH);
    for (size_t k = 0; k < l->n; k++) {
      struct match_latent *z = &l->latents[k];
      const size_t square = z->count;
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
        loss[side] = held_loss(l, samples);
      }
      memcpy(z->z, start, square * sizeof *start);
      match_learner_map(l);
      const double rise = (loss[1] - loss[0]) / (2 * h) / 0.5;
      if (fabs(rise - length) > 0.02 * length + 1e-4 * sqrt(length))
        fail_msg("%s: %g, not %g", p.groups->v[z->group].name, rise, length);
    }
    general_teardown(&p);
  }
}

static void expect_lower_barriers(const struct net_spec *spec)
{
  const struct match_learning how = {{15, 1, 0}, 6, BATCH, 3e-3, 0.9};
  double plain = 0, weights = 0, learned = 0;
  for (uint32_t seed = 1; seed < 5; seed += 2) {
    struct general_pair p = general_setup(spec);
    const struct data_set data = spec->block ? general_text(p.arena) : general_images(p.arena);
    float *matched = arena_array(p.arena, net_count(p.net), sizeof *matched);
    general_train(&p, &data, seed, p.own_a);
    general_train(&p, &data, seed + 1, p.own_b);
    general_canonical(&p);
    plain += general_barrier(&p, p.own, p.own_work, &data, p.own_a, p.own_b);
    struct match_maps *maps = match_maps_new(p.arena, p.groups);
    match_general(&p.match, &SEARCH, maps);
    match_map(maps, p.b, net_count(p.net), matched);
    weights += general_barrier(&p, p.net, p.work, &data, p.a, matched);
    match_general_learned(&p.match, &how, p.work, &data, maps);
    match_map(maps, p.b, net_count(p.net), matched);
    assert_true(match_same_function(p.own, p.own_work, p.own_b, p.work, matched, p.diag));
    learned += general_barrier(&p, p.net, p.work, &data, p.a, matched);
    general_teardown(&p);
  }
  print_message("%s, barriers of two pairs: %.3f, %.3f, %.3f\n", spec->model, plain, weights,
                learned);
  assert_true(plain > 0.2);
  assert_true(weights <= plain && learned <= weights);
}

static void matching_lowers_the_barrier(void **state)
{
  (void)state;
  for (int i = 0; i < NETWORKS; i++)
    expect_lower_barriers(SPECS[i]);
}

/* Looked at on the same samples as what it begins with. */
static void learning_never_makes_it_worse(void **state)
{
  (void)state;
  struct general_pair p = general_setup(&GPT);
  const struct data_set data = general_text(p.arena);
  double before = INFINITY;
  general_train(&p, &data, 1, p.own_a);
  general_train(&p, &data, 2, p.own_b);
  general_canonical(&p);
  for (unsigned epochs = 0; epochs < 4; epochs++) {
    const struct match_learning how = {{15, 1, 0}, epochs, BATCH, 1e-2, 0.9};
    struct match_maps *maps = match_maps_new(p.arena, p.groups);
    const double loss = match_general_learned(&p.match, &how, p.work, &data, maps);
    assert_true(loss <= before);
    before = loss;
  }
  general_teardown(&p);
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
