/* Intra-Fusion: each variant against a plain twin, importance by differences of losses,
 * marginals. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fuse_fixture.h"

/* ---- a plain twin of Intra-Fusion, of a network of two hidden layers ---- */

enum { WIDE = 6, KEPT = 2, INPUTS = 2 * SIDE * SIDE, LAYERS = 3 };

struct matrices {
  size_t n[LAYERS + 1]; /* units, from the inputs on */
  double w[LAYERS][WIDE][INPUTS], b[LAYERS][WIDE], g[LAYERS][WIDE][INPUTS];
};

/* Tensors lie in the order of layers, a weight before its bias. */
static struct matrices *matrices_of(struct arena *a, const struct network *n,
                                    const double *gradient)
{
  struct matrices *m = arena_alloc(a, sizeof *m);
  size_t count;
  const struct net_tensor *t = net_tensors(n->net, &count);
  m->n[0] = INPUTS;
  for (int l = 0; l < LAYERS; l++) {
    const struct net_tensor *w = &t[2 * l], *b = &t[2 * l + 1];
    m->n[l + 1] = w->shape[0];
    for (size_t i = 0; i < w->shape[0]; i++) {
      m->b[l][i] = (double)n->flat[b->offset + i];
      for (size_t k = 0; k < w->shape[1]; k++) {
        m->w[l][i][k] = (double)n->flat[w->offset + i * w->shape[1] + k];
        m->g[l][i][k] = gradient[w->offset + i * w->shape[1] + k];
      }
    }
  }
  return m;
}

static double twin_importance(const struct matrices *m, int l, size_t unit,
                              enum fuse_importance how)
{
  double sum = 0, squares = 0, products = 0;
  for (size_t k = 0; k < m->n[l] + m->n[l + 2]; k++) {
    const bool reads = k >= m->n[l];
    const size_t at = reads ? k - m->n[l] : k;
    const double w = reads ? m->w[l + 1][at][unit] : m->w[l][unit][at];
    const double g = reads ? m->g[l + 1][at][unit] : m->g[l][unit][at];
    sum += fabs(w);
    squares += w * w;
    products += fabs(w * g);
  }
  return how == FUSE_L1 ? sum : how == FUSE_L2 ? sqrt(squares) : products;
}

static double twin_cost(const struct matrices *m, int l, size_t i, size_t j)
{
  double length[2] = {0, 0}, sum = 0;
  for (int pass = 0; pass < 2; pass++)
    for (size_t k = 0; k < m->n[l] + m->n[l + 2]; k++) {
      const bool reads = k >= m->n[l];
      const size_t at = reads ? k - m->n[l] : k;
      const double x = reads ? m->w[l + 1][at][i] : m->w[l][i][at];
      const double y = reads ? m->w[l + 1][at][j] : m->w[l][j][at];
      if (pass) {
        sum += fabs(x / sqrt(length[0]) - y / sqrt(length[1]));
      } else {
        length[0] += x * x;
        length[1] += y * y;
      }
    }
  return sum;
}

struct twin_map {
  double make[KEPT][WIDE], read[KEPT][WIDE];
};

/* With two targets the best plan fills the first one by what prefers it most. */
static struct twin_map twin_find(const struct matrices *m, int l, const struct fuse_how *how)
{
  struct twin_map map = {0};
  double importance[WIDE], supply[WIDE], demand[KEPT], all = 0, cost[WIDE][KEPT];
  size_t kept[KEPT] = {0, 0};
  for (size_t i = 0; i < WIDE; i++)
    all += importance[i] = twin_importance(m, l, i, how->importance);
  for (size_t i = 1; i < WIDE; i++)
    kept[0] = importance[i] > importance[kept[0]] ? i : kept[0];
  kept[1] = kept[0] == 0;
  for (size_t i = 0; i < WIDE; i++)
    kept[1] = i != kept[0] && importance[i] > importance[kept[1]] ? i : kept[1];
  if (kept[0] > kept[1]) {
    const size_t swapped = kept[0];
    kept[0] = kept[1];
    kept[1] = swapped;
  }
  const double two = importance[kept[0]] + importance[kept[1]];
  for (size_t i = 0; i < WIDE; i++)
    supply[i] = how->marginals_by_importance ? importance[i] / all : 1.0 / WIDE;
  for (size_t j = 0; j < KEPT; j++) {
    demand[j] = how->marginals_by_importance ? importance[kept[j]] / two : 1.0 / KEPT;
    for (size_t i = 0; i < WIDE; i++)
      cost[i][j] = twin_cost(m, l, i, kept[j]);
  }
  bool done[WIDE] = {false};
  double left = demand[0];
  for (size_t pass = 0; pass < WIDE; pass++) {
    size_t best = WIDE;
    for (size_t i = 0; i < WIDE; i++)
      if (!done[i] && (best == WIDE || cost[i][0] - cost[i][1] < cost[best][0] - cost[best][1]))
        best = i;
    const double first = fmin(left, supply[best]), plan[] = {first, supply[best] - first};
    for (size_t j = 0; j < KEPT; j++) {
      map.make[j][best] = plan[j] / demand[j];
      map.read[j][best] = plan[j] / supply[best];
    }
    left -= first;
    done[best] = true;
  }
  return map;
}

static void twin_apply(struct matrices *m, int l, const struct twin_map *map)
{
  struct matrices old = *m;
  for (size_t j = 0; j < KEPT; j++) {
    m->b[l][j] = 0;
    for (size_t i = 0; i < WIDE; i++)
      m->b[l][j] += map->make[j][i] * old.b[l][i];
    for (size_t k = 0; k < m->n[l]; k++) {
      m->w[l][j][k] = m->g[l][j][k] = 0;
      for (size_t i = 0; i < WIDE; i++) {
        m->w[l][j][k] += map->make[j][i] * old.w[l][i][k];
        m->g[l][j][k] += map->read[j][i] * old.g[l][i][k];
      }
    }
    for (size_t o = 0; o < m->n[l + 2]; o++) {
      m->w[l + 1][o][j] = m->g[l + 1][o][j] = 0;
      for (size_t i = 0; i < WIDE; i++) {
        m->w[l + 1][o][j] += map->read[j][i] * old.w[l + 1][o][i];
        m->g[l + 1][o][j] += map->make[j][i] * old.g[l + 1][o][i];
      }
    }
  }
  m->n[l + 1] = KEPT;
}

static void each_way_is_what_it_says(void **state)
{
  (void)state;
  for (unsigned k = 0; k < 3 * WAYS; k++) {
    struct arena *a = arena_new();
    struct fuse_how how = way(k % WAYS);
    struct network wide = make(a, "mlp", WIDE), fused = make(a, "mlp", KEPT);
    const struct fuse_model from = model(&wide), to = model(&fused);
    draw(&wide, 20 + k / WAYS, false);
    how.gradient = gradient_of(a, &wide);
    assert_true(fuse_narrower(&from, NULL, &how, &to, fused.flat, diag_new(a)));
    struct matrices *twin = matrices_of(a, &wide, how.gradient);
    const struct matrices before = *twin;
    for (int l = 0; l < LAYERS - 1; l++) {
      const struct twin_map map = twin_find(how.sequential ? twin : &before, l, &how);
      twin_apply(twin, l, &map);
    }
    const struct matrices *got = matrices_of(a, &fused, how.gradient);
    for (int l = 0; l < LAYERS; l++)
      for (size_t i = 0; i < twin->n[l + 1]; i++) {
        assert_true(fabs(got->b[l][i] - twin->b[l][i]) < 1e-6 * (1 + fabs(twin->b[l][i])));
        for (size_t c = 0; c < twin->n[l]; c++)
          if (!(fabs(got->w[l][i][c] - twin->w[l][i][c]) < 1e-6 * (1 + fabs(twin->w[l][i][c]))))
            fail_msg("way %u: %g, not %g", k % WAYS, got->w[l][i][c], twin->w[l][i][c]);
      }
    arena_free(a);
  }
}

/* The loss of the samples that gradient_of takes. */
static double loss_of(const struct network *n, struct net_work *work, const float *x)
{
  static float z[SAMPLES * TOKENS * CLASSES];
  const unsigned labels = SAMPLES * net_targets(n->net);
  double loss = 0;
  net_logits(work, n->flat, x, SAMPLES, z);
  for (unsigned i = 0; i < labels; i++) {
    double sum = 0;
    for (int c = 0; c < CLASSES; c++)
      sum += exp((double)z[i * CLASSES + (unsigned)c]);
    loss += log(sum) - (double)z[i * CLASSES + i % CLASSES];
  }
  return loss / labels;
}

/* |weight x derivative| of one weight, by central differences.  Logits are sums of about a hundred
 * products of order 1 in single precision: a loss is off by some 1e-6, and so is the difference, of
 * weights moved by 1% of their layer's size. */
static double taylor_of(const struct network *n, struct net_work *work, const float *x, size_t at,
                        double step)
{
  const float kept = n->flat[at];
  double loss[2];
  for (int side = 0; side < 2; side++) {
    n->flat[at] = kept + (float)(side ? step : -step);
    loss[side] = loss_of(n, work, x);
  }
  n->flat[at] = kept;
  return fabs((double)kept * (loss[1] - loss[0]) / (2 * step));
}

/* Of a group's units, over the tensors that make or read them, in the network's own weights:
 * folding norms into them changes no product. */
static void check_taylor(struct arena *a, const struct network *n, size_t group)
{
  const struct net_group *g = &n->groups->v[group];
  const struct fuse_model m = model(n);
  const double *w = fuse_fold(a, &m), *slope = fuse_fold_gradient(a, &m, gradient_of(a, n));
  struct fuse_features f = fuse_features_of(a, &m, w, group, NULL, FUSE_AS_THEY_ARE);
  const struct fuse_features s = fuse_features_of(a, &m, slope, group, NULL, FUSE_AS_THEY_ARE);
  const double *got = fuse_importances(a, &f, FUSE_TAYLOR, &s);
  struct net_work *work = net_work_new(n->net, ops_cpu(), SAMPLES, false);
  float *x = draw_inputs(n->net);
  double *wanted = arena_array(a, g->size, sizeof *wanted), largest = 0;
  size_t count;
  const struct net_tensor *t = net_tensors(n->net, &count);
  for (unsigned i = 0; i < g->size; i++) {
    for (size_t k = 0; k < g->n_uses; k++) {
      const struct net_use *u = &g->uses[k];
      const struct net_tensor *of = &t[u->tensor];
      if (of->rank != 2 && of->rank != 4)
        continue;
      const double step = 0.01 / sqrt((double)(of->count / of->shape[0]));
      for (size_t o = 0; o < u->outer; o++)
        for (size_t r = 0; r < u->run; r++)
          wanted[i] += taylor_of(n, work, x, u->offset + o * u->stride + i * u->run + r, step);
    }
    largest = fmax(largest, wanted[i]);
  }
  for (unsigned i = 0; i < g->size; i++)
    if (!(fabs(got[i] - wanted[i]) < 0.02 * largest))
      fail_msg("%s, unit %u: %g, not %g", g->name, i, got[i], wanted[i]);
  free(x);
  net_work_free(work);
}

static void taylor_is_a_difference_of_losses(void **state)
{
  (void)state;
  static const char *const names[] = {"mlp", "resnet18", "densenet121", "gpt"};
  for (int k = 0; k < 4; k++) {
    struct arena *a = arena_new();
    struct network n = make(a, names[k], 4);
    draw(&n, 7, false);
    for (size_t g = 0; g < n.groups->n; g += 2)
      if (n.groups->v[g].inner == 1 && !n.groups->v[g].turns)
        check_taylor(a, &n, g);
    arena_free(a);
  }
}

static void marginals_add_up(void **state)
{
  (void)state;
  enum { MOST_UNITS = 9 };
  for (uint32_t seed = 0; seed < 200; seed++) {
    struct rng r = rng_at(seed, RNG_TEST, 6, 0, 0);
    const size_t n = 2 + rng_below(&r, MOST_UNITS - 1), m = 1 + rng_below(&r, (uint32_t)n);
    double importance[MOST_UNITS], supply[MOST_UNITS], demand[MOST_UNITS], sums[2] = {0, 0};
    double cost[MOST_UNITS * MOST_UNITS], plan[MOST_UNITS * MOST_UNITS], total_of[2] = {0, 0};
    size_t kept[MOST_UNITS];
    for (size_t i = 0; i < n; i++) /* some without any, some far smaller than others */
      importance[i] = rng_below(&r, 4) ? exp(6 * rng_normal(&r)) : 0;
    importance[rng_below(&r, (uint32_t)n)] = seed % 10 ? 1 : 0;
    for (size_t i = 0; i < n * m; i++)
      cost[i] = rng_uniform(&r);
    fuse_most_important(n, importance, m, kept);
    for (size_t j = 1; j < m; j++)
      assert_true(kept[j] > kept[j - 1]);
    fuse_marginals(n, m, importance, kept, supply, demand);
    for (size_t i = 0; i < n; i++) {
      sums[0] += supply[i];
      total_of[0] += importance[i];
    }
    for (size_t j = 0; j < m; j++) {
      sums[1] += demand[j];
      total_of[1] += importance[kept[j]];
    }
    assert_true(sums[0] == sums[1]);
    for (size_t i = 0; i < n && total_of[0] > 0; i++)
      assert_true(fabs(supply[i] / sums[0] - importance[i] / total_of[0]) < 1e-10);
    for (size_t j = 0; j < m && total_of[0] > 0; j++)
      assert_true(fabs(demand[j] / sums[1] - importance[kept[j]] / total_of[1]) < 1e-10);
    assert_true(transport_solve(n, m, cost, supply, demand, plan));
    check_plan(n, m, supply, demand, plan);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_way_is_what_it_says),
      cmocka_unit_test(taylor_is_a_difference_of_losses),
      cmocka_unit_test(marginals_add_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
