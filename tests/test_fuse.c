/* Transport against brute force, and fusing: duplicates, planted permutations, other widths, a
 * plain twin of each variant. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/ops.h"
#include "merge/assignment.h"
#include "merge/fuse_int.h"
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

static struct network make(struct arena *a, const char *name, unsigned width)
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

static struct fuse_model model(const struct network *n)
{
  return (struct fuse_model){n->net, n->groups, n->flat};
}

static bool ends_with(const char *text, const char *end)
{
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

/* Every number drawn; `even`: weights of one magnitude and norms of one small scale, so that all
 * units of a layer are as important, and biases that leave none dead. */
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
        *at = even ? 0.1f : (float)(0.2 + 0.7 * v); /* some below 0 */
      else if (t[k].rank == 1)
        *at = (float)(0.3 * v + (even && ends_with(t[k].name, "bias")));
      else
        *at = (float)((even ? (v < 0 ? -1 : 1) : v) / sqrt(fan));
    }
}

static float *draw_inputs(const struct net *net)
{
  const size_t n = SAMPLES * net_inputs(net);
  float *x = mem_alloc(n * sizeof *x);
  struct rng r = rng_at(3, RNG_TEST, 3, 0, 0);
  for (size_t i = 0; i < n; i++)
    x[i] = net_reads_text(net) ? (float)rng_below(&r, CLASSES) : (float)rng_normal(&r);
  return x;
}

/* Largest difference of logits, as a share of the largest logit. */
static double apart(const struct network *a, const struct network *b)
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

/* Of each place along a tensor's axis: which place it is a copy of, and its share. */
struct copies {
  size_t *of, length;
  double *share;
};

/* Units 2 k and 2 k + 1 of the wide network are unit k of the narrow one, which is read from the
 * first to this share.  Groups of one width are the same in both. */
static struct copies copies_along(struct arena *a, const struct network *narrow,
                                  const struct network *wide, double share, uint32_t tensor,
                                  unsigned axis)
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
      if (u->tensor != tensor || u->axis != axis ||
          wide->groups->v[g].size == narrow->groups->v[g].size)
        continue;
      const size_t first = (u->offset - t->offset) / inner, run = u->run / inner;
      const size_t narrow_first = (v->offset - s->offset) / inner_narrow;
      assert_int_equal(wide->groups->v[g].size, 2 * narrow->groups->v[g].size);
      for (size_t i = 0; i < wide->groups->v[g].size * run; i++) {
        c.of[first + i] = narrow_first + i / run / 2 * run + i % run;
        c.share[first + i] = u->role != NET_READS ? 1 : i / run % 2 ? 1 - share : share;
      }
    }
  return c;
}

static void duplicate(struct arena *a, const struct network *narrow, const struct network *wide,
                      double share)
{
  size_t n;
  const struct net_tensor *s = net_tensors(narrow->net, &n), *t = net_tensors(wide->net, &n);
  for (uint32_t k = 0; k < n; k++) {
    const struct copies c[2] = {copies_along(a, narrow, wide, share, k, 0),
                                copies_along(a, narrow, wide, share, k, 1)};
    const size_t rest = t[k].count / c[0].length / c[1].length;
    const size_t columns = s[k].count / s[k].shape[0] / rest;
    for (size_t i = 0; i < c[0].length; i++)
      for (size_t j = 0; j < c[1].length; j++)
        for (size_t m = 0; m < rest; m++)
          wide->flat[t[k].offset + (i * c[1].length + j) * rest + m] =
              (float)(c[0].share[i] * c[1].share[j] *
                      (double)narrow
                          ->flat[s[k].offset + (c[0].of[i] * columns + c[1].of[j]) * rest + m]);
  }
}

static const struct fuse_how plain_form = {.importance = FUSE_L1};

static void as_wide_as_before_nothing_changes(void **state)
{
  (void)state;
  for (int k = 0; k < N_ALL; k++) {
    struct arena *a = arena_new();
    struct network n = make(a, MODELS[k], 6), same = make(a, MODELS[k], 6);
    const struct fuse_model from = model(&n), to = model(&same);
    draw(&n, 1, false);
    assert_true(fuse_narrower(&from, NULL, &plain_form, &to, same.flat, diag_new(a)));
    if (apart(&n, &same) > 1e-4)
      fail_msg("%s: %g apart", MODELS[k], apart(&n, &same));
    arena_free(a);
  }
}

/* Of the mean loss in inference mode, of drawn samples. */
static double *gradient_of(struct arena *a, const struct network *n)
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

static struct fuse_how way(unsigned k)
{
  return (struct fuse_how){.importance = (enum fuse_importance)(k / 4),
                           .marginals_by_importance = k / 2 % 2,
                           .sequential = k % 2};
}

/* Two copies of a unit are as important as each other in the same proportion everywhere: by their
 * weights where all units' are of one size; by their gradients always, and then one is made more
 * important than all others' second ones, so that each unit has a target.
 * Not through a layer norm over the units: what one copy does to its mean and its variance has not
 * that proportion.
 * The released code would put out twice as much (its maps are column-normalised on both sides). */
static void duplicates_merge_exactly(void **state)
{
  (void)state;
  for (unsigned k = 0; k < N_ALL * WAYS; k++) {
    struct arena *a = arena_new();
    const char *name = MODELS[k / WAYS];
    struct fuse_how how = way(k % WAYS);
    const bool taylor = how.importance == FUSE_TAYLOR;
    struct network narrow = make(a, name, 6), wide = make(a, name, 12), fused = make(a, name, 6);
    const struct fuse_model from = model(&wide), to = model(&fused);
    draw(&narrow, 2, true);
    duplicate(a, &narrow, &wide, taylor ? 0.99999 : 0.6);
    if (taylor)
      how.gradient = gradient_of(a, &wide);
    if (taylor && !strcmp(name, "convnext_tiny"))
      how.marginals_by_importance = false;
    assert_true(apart(&narrow, &wide) < 1e-4);
    assert_true(fuse_narrower(&from, NULL, &how, &to, fused.flat, diag_new(a)));
    if (!(apart(&narrow, &fused) < 1e-4))
      fail_msg("%s, way %u: %g apart", name, k % WAYS, apart(&narrow, &fused));
    arena_free(a);
  }
}

/* Two networks of which each unit is there twice, in the same places: the second is fused by what
 * is found for the first. */
static void another_is_fused_in_its_place(void **state)
{
  (void)state;
  for (int k = 0; k < N_ALL; k++) {
    struct arena *a = arena_new();
    struct network narrow[2], wide[2], fused = make(a, MODELS[k], 6);
    struct fuse_model from[2], to = model(&fused);
    for (int i = 0; i < 2; i++) {
      narrow[i] = make(a, MODELS[k], 6);
      wide[i] = make(a, MODELS[k], 12);
      draw(&narrow[i], 30 + (uint64_t)i, !i);
      duplicate(a, &narrow[i], &wide[i], 0.6);
      from[i] = model(&wide[i]);
    }
    assert_true(fuse_narrower(&from[0], &from[1], &plain_form, &to, fused.flat, diag_new(a)));
    if (!(apart(&narrow[1], &fused) < 1e-4))
      fail_msg("%s: %g apart", MODELS[k], apart(&narrow[1], &fused));
    arena_free(a);
  }
}

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
    duplicate(a, &n, &wide, 0.6);
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
  assert_false(fuse_narrower(&small, NULL, &plain_form, &large, wide.flat, d));
  assert_non_null(strstr(diag_message(d, 0), "would make 12"));
  diag_clear(d);
  assert_false(fuse_pair(&small, &resnet, 0.5, 10, n.flat, d));
  assert_non_null(strstr(diag_message(d, 0), "differ in more than their widths"));
  diag_clear(d);
  assert_false(fuse_narrower(&large, &small, &plain_form, &small, n.flat, d));
  assert_non_null(strstr(diag_message(d, 0), "are 6 in one network and 12 in the other"));
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
      cmocka_unit_test(another_is_fused_in_its_place),
      cmocka_unit_test(each_way_is_what_it_says),
      cmocka_unit_test(taylor_is_a_difference_of_losses),
      cmocka_unit_test(marginals_add_up),
      cmocka_unit_test(planted_units_are_found),
      cmocka_unit_test(networks_of_two_widths_are_fused),
      cmocka_unit_test(what_cannot_be_fused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
