/* Transport against brute force, and fusing: duplicates, planted permutations, other widths. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/ops.h"
#include "merge/assignment.h"
#include "merge/fuse.h"
#include "merge/match.h"
#include "merge/transport.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- transport ---- */

enum { MOST = 4 };

struct problem {
  size_t n, m;
  double cost[MOST * MOST], supply[MOST], demand[MOST];
};

static double total(size_t n, const double *cost, const double *plan)
{
  double sum = 0;
  for (size_t k = 0; k < n; k++)
    sum += cost[k] * plan[k];
  return sum;
}

/* All plans of whole numbers, place by place. */
static double least(const struct problem *p, size_t at, double *supply, double *demand)
{
  if (at == p->n * p->m) {
    for (size_t i = 0; i < p->n; i++)
      if (supply[i] > 0)
        return INFINITY;
    return 0;
  }
  const size_t i = at / p->m, j = at % p->m;
  const double most = fmin(supply[i], demand[j]);
  double best = INFINITY;
  if (j == 0 && i > 0 && supply[i - 1] > 0)
    return INFINITY;
  for (double amount = 0; amount <= most; amount++) {
    supply[i] -= amount;
    demand[j] -= amount;
    best = fmin(best, amount * p->cost[at] + least(p, at + 1, supply, demand));
    supply[i] += amount;
    demand[j] += amount;
  }
  return best;
}

static void check_plan(size_t n, size_t m, const double *supply, const double *demand,
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

static void transport_is_optimal(void **state)
{
  (void)state;
  double plan[MOST * MOST];
  for (uint32_t seed = 0; seed < 600; seed++) {
    struct rng r = rng_at(seed, RNG_TEST, 0, 0, 0);
    struct problem p = {.n = 1 + rng_below(&r, MOST), .m = 1 + rng_below(&r, 3)};
    const bool ties = seed % 2;
    for (unsigned k = 0; k < 3 * p.m; k++) { /* both sides of one sum */
      p.supply[rng_below(&r, (uint32_t)p.n)]++;
      p.demand[rng_below(&r, (uint32_t)p.m)]++;
    }
    for (size_t k = 0; k < p.n * p.m; k++)
      p.cost[k] = ties ? rng_below(&r, 3) : rng_normal(&r);
    assert_true(transport_solve(p.n, p.m, p.cost, p.supply, p.demand, plan));
    check_plan(p.n, p.m, p.supply, p.demand, plan);
    double supply[MOST], demand[MOST];
    memcpy(supply, p.supply, sizeof supply);
    memcpy(demand, p.demand, sizeof demand);
    const double best = least(&p, 0, supply, demand), found = total(p.n * p.m, p.cost, plan);
    if (fabs(found - best) > 1e-9)
      fail_msg("seed %u: cost %g, the least is %g", seed, found, best);
  }
  const double nan[] = {1, NAN}, one[] = {1, 1}, two[] = {2};
  assert_false(transport_solve(2, 1, nan, one, two, plan));
}

/* Each target as so many columns of an assignment; and units where the numbers do not divide. */
static void transport_is_an_assignment(void **state)
{
  (void)state;
  enum { N = 24 };
  static double cost[N * N], wide[N * N], supply[N], demand[N], plan[N * N];
  static uint32_t column[N];
  for (uint32_t m = 1; m < N; m++) {
    struct rng r = rng_at(m, RNG_TEST, 1, 0, 0);
    const size_t copies = N / m, rows = copies * m;
    for (size_t k = 0; k < rows * m; k++)
      cost[k] = rng_uniform(&r);
    for (size_t i = 0; i < rows; i++)
      for (size_t j = 0; j < rows; j++)
        wide[i * rows + j] = cost[i * m + j / copies];
    for (size_t i = 0; i < rows; i++)
      supply[i] = 1;
    for (size_t j = 0; j < m; j++)
      demand[j] = (double)copies;
    double want = 0;
    assert_true(assignment_solve(rows, wide, ASSIGNMENT_MINIMISE, column, NULL, NULL));
    for (size_t i = 0; i < rows; i++)
      want += wide[i * rows + column[i]];
    assert_true(transport_solve(rows, m, cost, supply, demand, plan));
    check_plan(rows, m, supply, demand, plan);
    assert_true(fabs(total(rows * m, cost, plan) - want) < 1e-9);
  }
}

/* ---- networks ---- */

enum { SIDE = 8, SAMPLES = 6, CLASSES = 4 };

static const char *const MODELS[] = {"mlp", "resnet18", "densenet121", "convnext_tiny"};
enum { N_MODELS = 4 };

struct network {
  struct net *net;
  const struct net_groups *groups;
  float *flat;
};

static struct network make(struct arena *a, const char *name, unsigned width)
{
  const struct net_spec spec = {.model = name,
                                .width = width,
                                .growth = width,
                                .layers = 2,
                                .stages = 2,
                                .blocks = 1,
                                .channels = 2,
                                .height = SIDE,
                                .image_width = SIDE,
                                .classes = CLASSES};
  struct diag *d = diag_new(a);
  struct network n = {.net = net_new(a, &spec, d)};
  assert_non_null(n.net);
  n.groups = net_groups_new(a, n.net, d);
  assert_non_null(n.groups);
  n.flat = arena_array(a, net_count(n.net), sizeof *n.flat);
  return n;
}

static struct fuse_model model(const struct network *n)
{
  return (struct fuse_model){n->net, n->groups, n->flat};
}

static bool ends_with(const char *text, const char *end)
{
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

/* Every number drawn; `even`: weights of one magnitude and norms of one scale, so that all units
 * of a layer are as important. */
static void draw(const struct network *n, uint64_t seed, bool even)
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
        *at = even ? 1 : (float)(0.2 + 0.7 * v); /* some below 0 */
      else if (t[k].rank == 1)
        *at = (float)(0.3 * v);
      else
        *at = (float)((even ? (v < 0 ? -1 : 1) : v) / sqrt(fan));
    }
}

/* Largest difference of logits, as a share of the largest logit. */
static double apart(const struct network *a, const struct network *b)
{
  const struct network *both[] = {a, b};
  float *x = mem_alloc(SAMPLES * net_inputs(a->net) * sizeof *x);
  float z[2][SAMPLES * CLASSES];
  double difference = 0, largest = 0;
  struct rng r = rng_at(3, RNG_TEST, 3, 0, 0);
  for (size_t i = 0; i < SAMPLES * net_inputs(a->net); i++)
    x[i] = (float)rng_normal(&r);
  for (int k = 0; k < 2; k++) {
    struct net_work *work = net_work_new(both[k]->net, ops_cpu(), SAMPLES, false);
    net_logits(work, both[k]->flat, x, SAMPLES, z[k]);
    net_work_free(work);
  }
  for (int i = 0; i < SAMPLES * CLASSES; i++) {
    difference = fmax(difference, fabs((double)z[0][i] - (double)z[1][i]));
    largest = fmax(largest, fabs((double)z[0][i]));
  }
  free(x);
  return difference / largest;
}

/* Of each place along a tensor's axis: which place it is a copy of, and its share. */
struct copies {
  size_t *of, length;
  double *share;
};

/* Units 2 k and 2 k + 1 of the wide network are unit k of the narrow one. */
static struct copies copies_along(struct arena *a, const struct network *narrow,
                                  const struct network *wide, uint32_t tensor, unsigned axis)
{
  size_t n;
  const struct net_tensor *s = &net_tensors(narrow->net, &n)[tensor];
  const struct net_tensor *t = &net_tensors(wide->net, &n)[tensor];
  const size_t length = axis < t->rank ? t->shape[axis] : 1;
  struct copies c = {arena_array(a, length, sizeof *c.of), length,
                     arena_array(a, length, sizeof *c.share)};
  size_t inner = 1, inner_narrow = 1;
  for (unsigned k = axis + 1; k < t->rank; k++) {
    inner *= t->shape[k];
    inner_narrow *= s->shape[k];
  }
  for (size_t i = 0; i < length; i++) {
    c.of[i] = i;
    c.share[i] = 1;
  }
  for (size_t g = 0; g < wide->groups->n; g++)
    for (size_t k = 0; k < wide->groups->v[g].n_uses; k++) {
      const struct net_use *u = &wide->groups->v[g].uses[k], *v = &narrow->groups->v[g].uses[k];
      if (u->tensor != tensor || u->axis != axis)
        continue;
      const size_t first = (u->offset - t->offset) / inner, run = u->run / inner;
      const size_t narrow_first = (v->offset - s->offset) / inner_narrow;
      assert_int_equal(wide->groups->v[g].size, 2 * narrow->groups->v[g].size);
      for (size_t i = 0; i < wide->groups->v[g].size * run; i++) {
        c.of[first + i] = narrow_first + i / run / 2 * run + i % run;
        c.share[first + i] = u->role != NET_READS ? 1 : i / run % 2 ? 0.4 : 0.6;
      }
    }
  return c;
}

static void duplicate(struct arena *a, const struct network *narrow, const struct network *wide)
{
  size_t n;
  const struct net_tensor *s = net_tensors(narrow->net, &n), *t = net_tensors(wide->net, &n);
  for (uint32_t k = 0; k < n; k++) {
    const struct copies c[2] = {copies_along(a, narrow, wide, k, 0),
                                copies_along(a, narrow, wide, k, 1)};
    const size_t rest = t[k].count / c[0].length / c[1].length;
    const size_t columns = s[k].count / s[k].shape[0] / rest;
    for (size_t i = 0; i < c[0].length; i++)
      for (size_t j = 0; j < c[1].length; j++)
        for (size_t m = 0; m < rest; m++)
          wide->flat[t[k].offset + (i * c[1].length + j) * rest + m] =
              (float)(c[0].share[i] * c[1].share[j] *
                      (double)narrow->flat[s[k].offset +
                                           (c[0].of[i] * columns + c[1].of[j]) * rest + m]);
  }
}

static void as_wide_as_before_nothing_changes(void **state)
{
  (void)state;
  for (int k = 0; k < N_MODELS; k++) {
    struct arena *a = arena_new();
    struct network n = make(a, MODELS[k], 6), same = make(a, MODELS[k], 6);
    const struct fuse_model from = model(&n), to = model(&same);
    draw(&n, 1, false);
    assert_true(fuse_narrower(&from, &to, same.flat, diag_new(a)));
    if (apart(&n, &same) > 1e-4)
      fail_msg("%s: %g apart", MODELS[k], apart(&n, &same));
    arena_free(a);
  }
}

/* The released code would put out twice as much (its maps are column-normalised on both sides). */
static void duplicates_merge_exactly(void **state)
{
  (void)state;
  for (int k = 0; k < N_MODELS; k++) {
    struct arena *a = arena_new();
    struct network narrow = make(a, MODELS[k], 6), wide = make(a, MODELS[k], 12);
    struct network fused = make(a, MODELS[k], 6);
    const struct fuse_model from = model(&wide), to = model(&fused);
    draw(&narrow, 2, true);
    duplicate(a, &narrow, &wide);
    assert_true(apart(&narrow, &wide) < 1e-4);
    assert_true(fuse_narrower(&from, &to, fused.flat, diag_new(a)));
    if (apart(&narrow, &fused) > 1e-4)
      fail_msg("%s: %g apart", MODELS[k], apart(&narrow, &fused));
    arena_free(a);
  }
}

static void planted_units_are_found(void **state)
{
  (void)state;
  for (int k = 0; k < N_MODELS; k++) {
    struct arena *a = arena_new();
    struct network n = make(a, MODELS[k], 8), other = make(a, MODELS[k], 8);
    struct network fused = make(a, MODELS[k], 8);
    uint32_t **perms = match_identity(a, n.groups);
    draw(&n, 3, false);
    for (uint32_t g = 0; g < n.groups->n; g++) {
      struct rng r = rng_at(5, RNG_TEST, 4, 0, g);
      rng_shuffle(&r, perms[g], n.groups->v[g].size);
    }
    net_permute(n.net, n.groups, perms, n.flat, other.flat);
    const struct fuse_model to = model(&n), from = model(&other);
    for (int half = 0; half < 2; half++) {
      assert_true(fuse_pair(&to, &from, half ? 0.5 : 1, 10, fused.flat, diag_new(a)));
      if (apart(&n, &fused) > 1e-4)
        fail_msg("%s: %g apart", MODELS[k], apart(&n, &fused));
    }
    arena_free(a);
  }
}

/* A network of twice the width whose units are copies: each goes to its own. */
static void networks_of_two_widths_are_fused(void **state)
{
  (void)state;
  for (int k = 0; k < N_MODELS; k++) {
    struct arena *a = arena_new();
    struct network n = make(a, MODELS[k], 6), wide = make(a, MODELS[k], 12);
    struct network fused = make(a, MODELS[k], 6);
    draw(&n, 4, false);
    duplicate(a, &n, &wide);
    const struct fuse_model to = model(&n), from = model(&wide);
    assert_true(fuse_pair(&to, &from, 0.5, 10, fused.flat, diag_new(a)));
    if (apart(&n, &fused) > 1e-4)
      fail_msg("%s: %g apart", MODELS[k], apart(&n, &fused));
    arena_free(a);
  }
}

static void what_cannot_be_fused(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct network n = make(a, "mlp", 6), wide = make(a, "mlp", 12), other = make(a, "resnet18", 6);
  struct fuse_model small = model(&n), large = model(&wide), resnet = model(&other);
  draw(&n, 1, false);
  draw(&wide, 1, false);
  draw(&other, 1, false);
  assert_false(fuse_narrower(&small, &large, wide.flat, d));
  assert_non_null(strstr(diag_message(d, 0), "would make 12"));
  diag_clear(d);
  assert_false(fuse_pair(&small, &resnet, 0.5, 10, n.flat, d));
  assert_non_null(strstr(diag_message(d, 0), "differ in more than their widths"));
  diag_clear(d);
  wide.flat[5] = NAN;
  assert_false(fuse_pair(&small, &large, 0.5, 10, n.flat, d));
  assert_non_null(strstr(diag_message(d, 0), "not finite"));
  arena_free(a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(transport_is_optimal),
      cmocka_unit_test(transport_is_an_assignment),
      cmocka_unit_test(as_wide_as_before_nothing_changes),
      cmocka_unit_test(duplicates_merge_exactly),
      cmocka_unit_test(planted_units_are_found),
      cmocka_unit_test(networks_of_two_widths_are_fused),
      cmocka_unit_test(what_cannot_be_fused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
