#include "config.h"

#include "engine/net.h"
#include "engine/optim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fnmatch.h>
#include <math.h>
#include <string.h>

enum { N = 77, STEPS = 25 };
static const char *const sets[] = {"baseline", "avx2", "avx512"};

static float draw(uint32_t *state)
{
  *state = *state * 1664525 + 1013904223;
  return ((float)(*state >> 8) / (1 << 24) - 0.5f) * 2;
}

/* ---- twins in double, as the articles have them ---- */

struct twin {
  double w[N], a[N], b[N];
};

static void twin_step(struct twin *t, const struct optim *o, int step, const bool *decays,
                      const float *grad)
{
  for (int i = 0; i < N; i++) {
    double g = (double)grad[i], decay = decays[i] ? o->weight_decay : 0;
    if (!strcmp(o->rule->name, "sgd")) {
      t->a[i] = o->momentum * t->a[i] + g + decay * t->w[i];
      t->w[i] -= o->lr * t->a[i];
      continue;
    }
    t->w[i] *= 1 - o->lr * decay;
    t->a[i] = o->beta1 * t->a[i] + (1 - o->beta1) * g;
    t->b[i] = o->beta2 * t->b[i] + (1 - o->beta2) * g * g;
    double m = t->a[i] / (1 - pow(o->beta1, step + 1)), v = t->b[i] / (1 - pow(o->beta2, step + 1));
    t->w[i] -= o->lr * m / (sqrt(v) + o->epsilon);
  }
}

static void follow_twin(const struct ops *ops, const struct optim *o, const bool *decays)
{
  struct twin t = {0};
  float w[N], a[N] = {0}, b[N] = {0}, grad[N];
  float *const states[] = {a, b};
  uint32_t r = 5;
  for (int i = 0; i < N; i++)
    t.w[i] = (double)(w[i] = draw(&r));
  for (int k = 0; k < STEPS; k++) {
    for (int i = 0; i < N; i++)
      grad[i] = i % 10 ? draw(&r) * powf(10, (float)(i % 7) - 4) : 0; /* none, tiny and large */
    optim_step(ops, o, (uint64_t)k, N, w, states, grad);
    twin_step(&t, o, k, decays, grad);
  }
  for (int i = 0; i < N; i++)
    if (!(fabs((double)w[i] - t.w[i]) < 2e-5 * (fabs(t.w[i]) + 0.1)))
      fail_msg("%s, %s: weight %d is %g, not %g", ops->isa, o->rule->name, i, (double)w[i], t.w[i]);
}

static void steps_follow_their_twin(void **state)
{
  (void)state;
  static const struct optim_range ranges[] = {
      {0, 16, true}, {16, 21, false}, {21, 60, true}, {60, N, false}};
  bool all[N], some[N];
  for (int i = 0; i < N; i++) {
    all[i] = true;
    some[i] = i < 16 || (i >= 21 && i < 60);
  }
  for (int s = 0; s < 3; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    static const char *const names[] = {"sgd", "adamw"};
    for (int k = 0; k < 2; k++) {
      struct optim o = {.rule = optim_find(names[k]),
                        .lr = 0.01,
                        .weight_decay = 0.1,
                        .momentum = 0.9,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .epsilon = 1e-8};
      follow_twin(ops, &o, all);
      o.ranges = ranges;
      o.n_ranges = 4;
      follow_twin(ops, &o, some);
      o = (struct optim){
          .rule = o.rule, .lr = 0.05, .momentum = 0, .beta1 = 0, .beta2 = 0.5, .epsilon = 0.1};
      follow_twin(ops, &o, all);
    }
  }
}

/* Where a pass begins does not matter to a weight. */
static void adamw_is_the_same_in_stretches(void **state)
{
  (void)state;
  for (int s = 0; s < 3; s++) {
    const struct ops *ops = ops_cpu_isa(sets[s]);
    if (!ops)
      continue;
    float whole[4][N], cut[4][N];
    uint32_t r = 9;
    for (int k = 0; k < 4; k++)
      for (int i = 0; i < N; i++)
        whole[k][i] = cut[k][i] = k == 2 ? fabsf(draw(&r)) : draw(&r);
    const struct ops_adamw p = {0.99f, 0.1f, 0.001f, 0.02f, 3, 1e-8f};
    ops->adamw(ops, &p, N, whole[0], whole[1], whole[2], whole[3]);
    static const int ends[] = {1, 18, 19, 53, N};
    for (int k = 0, at = 0; k < 5; at = ends[k++])
      ops->adamw(ops, &p, (size_t)(ends[k] - at), cut[0] + at, cut[1] + at, cut[2] + at,
                 cut[3] + at);
    assert_memory_equal(whole, cut, sizeof whole);
  }
}

/* What the originals exempt, by name: norms and biases, a vision transformer's tokens (timm's and
 * open_clip's no_weight_decay), ConvNeXt's layer scales; nanoGPT's embeddings decay. */
static const struct {
  struct net_spec spec;
  const char *exempt[10];
} exemptions[] = {
    {{.model = "mlp", .width = 5, .layers = 2, .channels = 1, .height = 4, .image_width = 4},
     {"*.bias"}},
    {{.model = "resnet18",
      .width = 4,
      .stages = 2,
      .blocks = 1,
      .channels = 1,
      .height = 8,
      .image_width = 8},
     {"*.bias", "bn1.weight", "*.bn?.weight", "*.downsample.1.weight"}},
    {{.model = "densenet121",
      .growth = 3,
      .stages = 2,
      .layers = 2,
      .channels = 2,
      .height = 9,
      .image_width = 8},
     {"*.bias", "*.norm*.weight"}},
    {{.model = "convnext_tiny",
      .width = 4,
      .stages = 2,
      .blocks = 1,
      .channels = 2,
      .height = 9,
      .image_width = 8},
     {"*.bias", "*.layer_scale", "*.block.2.weight", "features.0.1.weight", "features.2.0.weight",
      "classifier.0.weight"}},
    {{.model = "vit_s_16",
      .width = 6,
      .layers = 2,
      .heads = 2,
      .patch = 2,
      .channels = 2,
      .height = 4,
      .image_width = 6},
     {"*.bias", "*norm*.weight", "cls_token", "pos_embed"}},
    {{.model = "clip_vit_b_16",
      .width = 6,
      .layers = 2,
      .heads = 2,
      .patch = 2,
      .channels = 2,
      .height = 4,
      .image_width = 6},
     {"*.bias", "*.in_proj_bias", "*.ln_*.weight", "visual.class_embedding",
      "visual.positional_embedding"}},
    {{.model = "gpt",
      .width = 6,
      .layers = 2,
      .heads = 2,
      .channels = 1,
      .height = 1,
      .image_width = 5,
      .block = 5},
     {"*.bias", "*.ln_*.weight"}},
};

static bool is_exempt(size_t k, const char *name)
{
  for (const char *const *p = exemptions[k].exempt; *p; p++)
    if (!fnmatch(*p, name, 0))
      return true;
  return false;
}

static void check_exempt(struct arena *a, size_t k)
{
  struct net_spec spec = exemptions[k].spec;
  spec.classes = 3;
  const struct net *net = net_new(a, &spec, diag_new(a));
  assert_non_null(net);
  size_t n, n_tensors, at = 0;
  const struct optim_range *ranges = optim_ranges(a, net, &n);
  const struct net_tensor *t = net_tensors(net, &n_tensors);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(ranges[i].begin, at);
    assert_true(ranges[i].end > at && (!i || ranges[i].decays != ranges[i - 1].decays));
    at = ranges[i].end;
  }
  assert_int_equal(at, net_params(net));
  for (size_t i = 0; i < n_tensors && !t[i].buffer; i++) {
    size_t j = 0;
    while (t[i].offset >= ranges[j].end)
      j++;
    assert_true(t[i].offset + t[i].count <= ranges[j].end);
    if (ranges[j].decays == is_exempt(k, t[i].name))
      fail_msg("%s of %s %s", t[i].name, spec.model, ranges[j].decays ? "decays" : "is exempt");
  }
}

static void as_much_decays_as_in_the_originals(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  for (size_t k = 0; k < sizeof exemptions / sizeof *exemptions; k++)
    check_exempt(a, k);
  arena_free(a);
}

static void rules_by_name(void **state)
{
  (void)state;
  assert_int_equal(optim_find("sgd")->n_states, 1);
  assert_string_equal(optim_find("adamw")->states[1], "exp_avg_sq");
  assert_null(optim_find("adam"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_follow_their_twin),
      cmocka_unit_test(adamw_is_the_same_in_stretches),
      cmocka_unit_test(as_much_decays_as_in_the_originals),
      cmocka_unit_test(rules_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
