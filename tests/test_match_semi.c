/* Semi-permutations of neurons with ReLU, in transformers that are matched by general symmetries.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "general_fixture.h"

#include "base/rng.h"
#include "measure/measure.h"

#include <math.h>
#include <string.h>

enum { RELU_NETWORKS = 3 };

static struct net_spec relu(int which)
{
  struct net_spec spec = *SPECS[which];
  spec.activation = "relu";
  return spec;
}

static const struct net_group *relu_group(const struct general_pair *p, unsigned which)
{
  for (size_t g = 0; g < p->groups->n; g++)
    if (p->groups->v[g].relu && !which--)
      return &p->groups->v[g];
  fail_msg("no such group");
  return NULL;
}

/* ---- scales ---- */

enum { LONG = 3, UNITS = 2 };

/* Two neurons whose incoming and outgoing weights have three entries each. */
static struct net_group two_neurons(struct net_use uses[2])
{
  uses[0] = (struct net_use){
      .role = NET_WRITES, .offset = 0, .outer = 1, .stride = UNITS * LONG, .run = LONG};
  uses[1] = (struct net_use){
      .role = NET_READS, .offset = UNITS * LONG, .outer = LONG, .stride = UNITS, .run = 1};
  return (struct net_group){
      .name = "two", .size = UNITS, .inner = 1, .relu = true, .uses = uses, .n_uses = 2};
}

static double distance_at(const float *to, const float *from, double s)
{
  double sum = 0;
  for (int k = 0; k < LONG; k++) {
    const double in = (double)to[k] - s * (double)from[LONG + k];
    const double out = (double)to[(LONG + k) * UNITS] - (double)from[(LONG + k) * UNITS + 1] / s;
    sum += in * in + out * out;
  }
  return sum;
}

/* Of neuron 1, that comes to where neuron 0 is: against a fine grid, with lengths from 1/30 to 30
 * on either side, so that some distances have two minima. */
static void no_scale_is_better(void **state)
{
  (void)state;
  struct net_use uses[2];
  const struct net_group g = two_neurons(uses);
  unsigned twice = 0;
  for (uint32_t i = 0; i < 3000; i++) {
    struct rng r = rng_at(i, RNG_TEST, 5, 0, 0);
    float to[2 * UNITS * LONG], from[2 * UNITS * LONG];
    double size[4], best = INFINITY;
    for (int k = 0; k < 4; k++)
      size[k] = exp(3.4 * (2 * rng_uniform(&r) - 1));
    for (int k = 0; k < LONG; k++) {
      const double alike = i % 3 ? 1 : 0.1; /* nearly along one line */
      const double in = rng_normal(&r), out = rng_normal(&r);
      to[k] = (float)(size[0] * in);
      from[LONG + k] = (float)(size[1] * (in + alike * rng_normal(&r)));
      to[(LONG + k) * UNITS] = (float)(size[2] * out);
      from[(LONG + k) * UNITS + 1] = (float)(size[3] * (out + alike * rng_normal(&r)));
    }
    const double found = distance_at(to, from, match_fit_neuron(&g, to, 0, from, 1));
    double before = INFINITY, falling = 1, minima = 0;
    for (double u = -20; u <= 20; u += 0.002) {
      const double d = distance_at(to, from, exp(u));
      minima += falling > 0 && d > before;
      falling = d < before;
      before = d;
      best = fmin(best, d);
    }
    twice += minima > 1;
    if (!(found <= best * (1 + 1e-9)))
      fail_msg("%u: %.12g, but a scale gives %.12g", i, found, best);
  }
  assert_true(twice > 20);
}

/* ---- canonical form ---- */

static void kill(const struct net_group *g, size_t i, float *flat)
{
  match_scale_neuron(g, i, 0, 0, flat);
}

static void squares(const struct net_group *g, size_t i, const float *flat, double sum[2])
{
  sum[0] = sum[1] = 0;
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    for (size_t o = 0; o < u->outer; o++)
      for (size_t t = 0; t < u->run; t++)
        sum[u->role == NET_READS] +=
            pow((double)flat[u->offset + o * u->stride + i * u->run + t], 2);
  }
}

/* Neuron 0 has no outgoing weights, 1 no incoming ones, 2 only a bias below 0; the others live. */
static void neurons_are_balanced(void **state)
{
  (void)state;
  for (int k = 0; k < RELU_NETWORKS; k++) {
    const struct net_spec spec = relu(k);
    struct general_pair p = general_setup(&spec);
    const struct net_group *g = relu_group(&p, 1);
    general_canonical(&p);
    match_scale_neuron(g, 0, 1, 0, p.a);
    match_scale_neuron(g, 1, 0, 1, p.a);
    match_scale_neuron(g, 2, 0, 1, p.a);
    for (size_t u = 0; u < g->n_uses; u++)
      if (g->uses[u].outer == 1 && g->uses[u].run == 1)
        p.a[g->uses[u].offset + 2] = -0.5f;
    match_scale_neuron(g, 3, 5, 0.2, p.a);
    assert_true(match_canonical(p.net, p.a, p.net, p.groups, p.out, p.diag));
    assert_true(match_same_function(p.net, p.work, p.a, p.work, p.out, p.diag));
    for (size_t i = 0; i < g->size; i++) {
      double sum[2];
      squares(g, i, p.out, sum);
      assert_true(i < 3 ? sum[0] == 0 && sum[1] == 0 : sum[0] > 0);
      assert_true(fabs(sum[0] - sum[1]) <= 1e-5 * sum[0]);
    }
    general_teardown(&p);
  }
}

static void plain_networks_stay_as_they_are(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  const struct net_spec spec = {
      .model = "mlp", .width = 6, .channels = 1, .height = 2, .image_width = 2, .classes = 3};
  const struct net *net = net_new(a, &spec, diag_new(a));
  const struct net_groups *groups = net_groups_new(a, net, diag_new(a));
  float *flat = arena_array(a, net_count(net), sizeof *flat);
  float *out = arena_array(a, net_count(net), sizeof *out);
  net_init(net, 1, flat);
  assert_true(groups->n == 2 && groups->v[0].relu && groups->v[1].relu);
  assert_true(match_canonical(net, flat, net, groups, out, diag_new(a)));
  assert_memory_equal(flat, out, net_count(net) * sizeof *flat);
  arena_free(a);
}

/* ---- planted maps ---- */

static void expect_found(struct general_pair *p)
{
  struct match_maps *maps = match_maps_new(p->arena, p->groups);
  assert_true(general_apart(p, p->a, p->b) > 0.5);
  match_general(&p->match, &SEARCH, maps);
  match_map(maps, p->b, net_count(p->net), p->out);
  assert_true(match_same_function(p->net, p->work, p->b, p->work, p->out, p->diag));
  const double apart = general_apart(p, p->a, p->out);
  if (!(apart < 1e-5))
    fail_msg("%g apart", apart);
}

/* From canonical weights, and from those whose neurons' scales are as they were planted. */
static void planted_semi_permutations_are_found(void **state)
{
  (void)state;
  for (int k = 0; k < RELU_NETWORKS; k++) {
    for (uint32_t seed = 0; seed < 4; seed++) {
      const struct net_spec spec = relu(k);
      struct general_pair p = general_setup(&spec);
      general_canonical(&p);
      match_map(general_random_maps(&p, seed), p.a, net_count(p.net), p.out);
      assert_true(match_same_function(p.net, p.work, p.a, p.work, p.out, p.diag));
      if (seed % 2)
        assert_true(match_canonical(p.net, p.out, p.net, p.groups, p.b, p.diag));
      else
        memcpy(p.b, p.out, net_count(p.net) * sizeof *p.b);
      expect_found(&p);
      general_teardown(&p);
    }
  }
}

/* What neuron 0 does is divided between neurons 0, 1 and 2 in one model; 1 and 2 are dead in the
 * other. */
static void planted_splits_are_found(void **state)
{
  (void)state;
  for (int k = 0; k < RELU_NETWORKS; k++) {
    const struct net_spec spec = relu(k);
    struct general_pair p = general_setup(&spec);
    struct match_maps *split = match_maps_new(p.arena, p.groups);
    float *whole = arena_array(p.arena, net_count(p.net), sizeof *whole);
    general_canonical(&p);
    memcpy(whole, p.a, net_count(p.net) * sizeof *whole);
    for (size_t g = 0; g < p.groups->n; g++) {
      static const double shares[] = {0.3, 0.5, 0.2};
      for (size_t i = 0; p.groups->v[g].relu && i < 3; i++) {
        split->source[g][i] = 0;
        split->share[g][i] = shares[i];
        if (i)
          kill(&p.groups->v[g], i, whole);
      }
    }
    match_map(split, whole, net_count(p.net), p.out);
    assert_true(match_same_function(p.net, p.work, whole, p.work, p.out, p.diag));
    assert_true(match_canonical(p.net, p.out, p.net, p.groups, p.a, p.diag));
    match_map(general_random_maps(&p, 7), whole, net_count(p.net), p.out);
    assert_true(match_canonical(p.net, p.out, p.net, p.groups, p.b, p.diag));
    expect_found(&p);
    general_teardown(&p);
  }
}

/* ---- searches ---- */

static double gain(struct general_pair *p, unsigned passes, unsigned restarts)
{
  const struct match_search how = {passes, restarts, 1};
  struct match_maps *maps = match_maps_new(p->arena, p->groups);
  const size_t n = net_params(p->net);
  const double said = match_general(&p->match, &how, maps);
  match_map(maps, p->b, net_count(p->net), p->out);
  const double a = measure_norm(p->a, n), b = measure_norm(p->b, n);
  const double is = (a * a + b * b - pow(measure_distance(p->a, p->out, n), 2)) / 2;
  assert_true(fabs(said - is) < 1e-5 * a * b);
  return said;
}

static void more_never_makes_it_worse(void **state)
{
  (void)state;
  unsigned better = 0;
  for (int k = 0; k < 2 * RELU_NETWORKS; k++) {
    const struct net_spec spec = k < RELU_NETWORKS ? relu(k) : *SPECS[k - RELU_NETWORKS];
    struct general_pair p = general_setup(&spec);
    general_canonical(&p);
    double before = -INFINITY;
    for (unsigned passes = 1; passes < 8; passes++) {
      const double now = gain(&p, passes, 1);
      assert_true(now >= before);
      before = now;
    }
    const double one = gain(&p, 8, 1), two = gain(&p, 8, 2), six = gain(&p, 8, 6);
    assert_true(six >= two && two >= one);
    better += six > one;
    assert_true(gain(&p, 8, 6) == six); /* the same again */
    general_teardown(&p);
  }
  assert_true(better > 0);
}

/* Where neurons could only be put in order, from the same start. */
static void scales_bring_models_nearer(void **state)
{
  (void)state;
  for (int k = 0; k < RELU_NETWORKS; k++) {
    const struct net_spec spec = relu(k);
    struct general_pair p = general_setup(&spec);
    general_canonical(&p);
    const double with = gain(&p, 1, 1);
    struct net_groups *plain = arena_copy(p.arena, p.groups, sizeof *plain);
    plain->v = arena_copy(p.arena, plain->v, plain->n * sizeof *plain->v);
    for (size_t g = 0; g < plain->n; g++)
      plain->v[g].relu = false;
    p.match.groups = p.groups = plain;
    assert_true(with > gain(&p, 1, 1));
    general_teardown(&p);
  }
}

/* ---- trained networks ---- */

static void matching_lowers_the_barrier(void **state)
{
  (void)state;
  const struct match_learning how = {{15, 1, 0}, 6, BATCH, 3e-3, 0.9};
  const struct net_spec spec = relu(0);
  double plain = 0, weights = 0, learned = 0;
  for (uint32_t seed = 1; seed < 5; seed += 2) {
    struct general_pair p = general_setup(&spec);
    const struct data_set data = general_text(p.arena);
    float *matched = arena_array(p.arena, net_count(p.net), sizeof *matched);
    general_train(&p, &data, seed, p.own_a);
    general_train(&p, &data, seed + 1, p.own_b);
    general_canonical(&p);
    plain += general_barrier(&p, p.own, p.own_work, &data, p.own_a, p.own_b);
    struct match_maps *maps = match_maps_new(p.arena, p.groups);
    match_general(&p.match, &SEARCH, maps);
    match_map(maps, p.b, net_count(p.net), matched);
    assert_true(match_same_function(p.own, p.own_work, p.own_b, p.work, matched, p.diag));
    weights += general_barrier(&p, p.net, p.work, &data, p.a, matched);
    match_general_learned(&p.match, &how, p.work, &data, maps);
    match_map(maps, p.b, net_count(p.net), matched);
    assert_true(match_same_function(p.own, p.own_work, p.own_b, p.work, matched, p.diag));
    learned += general_barrier(&p, p.net, p.work, &data, p.a, matched);
    general_teardown(&p);
  }
  print_message("barriers of two pairs: %.3f, %.3f, %.3f\n", plain, weights, learned);
  assert_true(plain > 0.2);
  assert_true(weights <= plain && learned <= weights);
}

/* Splits stay through learning. */
static void learning_keeps_the_function(void **state)
{
  (void)state;
  const struct net_spec spec = relu(0);
  const struct match_learning how = {{15, 1, 0}, 1, BATCH, 1e-1, 0.9};
  struct general_pair p = general_setup(&spec);
  const struct data_set data = general_text(p.arena);
  general_canonical(&p);
  for (size_t g = 0; g < p.groups->n; g++)
    for (size_t i = 0; p.groups->v[g].relu && i < 20; i++)
      kill(&p.groups->v[g], i, p.b);
  struct match_maps *maps = match_maps_new(p.arena, p.groups);
  match_general_learned(&p.match, &how, p.work, &data, maps);
  unsigned parts = 0;
  for (size_t g = 0; g < p.groups->n; g++)
    for (size_t i = 0; p.groups->v[g].relu && i < p.groups->v[g].size; i++)
      parts += maps->source[g][i] != i;
  assert_true(parts > 0);
  match_map(maps, p.b, net_count(p.net), p.out);
  assert_true(match_same_function(p.net, p.work, p.b, p.work, p.out, p.diag));
  general_teardown(&p);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_scale_is_better),
      cmocka_unit_test(neurons_are_balanced),
      cmocka_unit_test(plain_networks_stay_as_they_are),
      cmocka_unit_test(planted_semi_permutations_are_found),
      cmocka_unit_test(planted_splits_are_found),
      cmocka_unit_test(more_never_makes_it_worse),
      cmocka_unit_test(scales_bring_models_nearer),
      cmocka_unit_test(matching_lowers_the_barrier),
      cmocka_unit_test(learning_keeps_the_function),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
