/* GPT-2 as a network: its tensors, its gradient, what a token sees, files. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scratch.h"
#include "twin.h"

#include "base/arena.h"
#include "base/rng.h"
#include "engine/net.h"
#include "engine/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct net_spec GPT = {.model = "gpt",
                                    .width = 24,
                                    .layers = 2,
                                    .heads = 3,
                                    .channels = 1,
                                    .height = 1,
                                    .image_width = 7,
                                    .block = 7,
                                    .classes = 29};

enum { BATCH = 5 };

struct text {
  struct arena *arena;
  struct diag *diag;
  struct net *net;
  float *flat, *grad, *ids;
  int32_t *labels;
};

static struct text setup(const struct net_spec *spec)
{
  struct text t = {.arena = arena_new()};
  t.diag = diag_new(t.arena);
  t.net = net_new(t.arena, spec, t.diag);
  assert_non_null(t.net);
  t.flat = arena_array(t.arena, net_count(t.net), sizeof *t.flat);
  t.grad = arena_array(t.arena, net_count(t.net), sizeof *t.grad);
  t.ids = arena_array(t.arena, BATCH * spec->block, sizeof *t.ids);
  t.labels = arena_array(t.arena, BATCH * spec->block, sizeof *t.labels);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < BATCH * spec->block; i++) {
    t.ids[i] = (float)rng_below(&r, spec->classes);
    t.labels[i] = (int32_t)rng_below(&r, spec->classes);
  }
  net_init(t.net, 1, t.flat);
  for (size_t i = 0; i < net_count(t.net); i++) /* so that no gradient is tiny */
    t.flat[i] += 0.1f * (float)rng_normal(&r);
  return t;
}

static const struct net_tensor *tensor(const struct net *net, const char *name)
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

static void gpt_has_hugging_faces_tensors(void **state)
{
  (void)state;
  struct text t = setup(&GPT);
  const size_t c = 24, block = 12 * c * c + 13 * c;
  assert_int_equal(net_params(t.net), 29 * c + 7 * c + 2 * block + 2 * c);
  assert_int_equal(net_classes(t.net), 29);
  assert_int_equal(net_targets(t.net), 7);
  assert_int_equal(net_features(t.net), c);
  assert_false(net_has_batchnorm(t.net));
  const struct net_tensor *w = tensor(t.net, "transformer.h.1.mlp.c_fc.weight");
  assert_true(w->shape[0] == c && w->shape[1] == 4 * c);
  assert_int_equal(tensor(t.net, "transformer.h.0.attn.c_attn.bias")->count, 3 * c);
  assert_int_equal(tensor(t.net, "transformer.ln_f.weight")->count, c);
  size_t n;
  const struct net_tensor *all = net_tensors(t.net, &n);
  for (size_t i = 0; i < n; i++)
    assert_false(net_in_classifier(t.net, &all[i]));
  arena_free(t.arena);
}

static double spread(const struct text *t, const char *name)
{
  const struct net_tensor *w = tensor(t->net, name);
  double square = 0;
  for (size_t i = 0; i < w->count; i++)
    square += pow((double)t->flat[w->offset + i], 2);
  return sqrt(square / (double)w->count);
}

static void gpt_is_drawn_as_gpt_2_was(void **state)
{
  (void)state;
  struct net_spec spec = GPT;
  spec.width = 96;
  spec.layers = 8;
  struct text t = setup(&spec);
  net_init(t.net, 1, t.flat);
  assert_true(fabs(spread(&t, "transformer.wte.weight") / 0.02 - 1) < 0.05);
  assert_true(fabs(spread(&t, "transformer.h.7.attn.c_attn.weight") / 0.02 - 1) < 0.05);
  assert_true(fabs(spread(&t, "transformer.h.7.attn.c_proj.weight") / 0.005 - 1) < 0.05);
  assert_true(fabs(spread(&t, "transformer.h.0.mlp.c_proj.weight") / 0.005 - 1) < 0.05);
  assert_true(spread(&t, "transformer.h.3.mlp.c_fc.bias") == 0);
  arena_free(t.arena);
}

/* Along the gradient the loss rises as the gradient says, tensor by tensor; ReLUs are held, for at
 * their kinks it does not. */
static void check_network_gradient(const struct net_spec *spec)
{
  struct text t = setup(spec);
  struct net_work *w = net_work_new(t.net, ops_cpu(), BATCH, true);
  net_loss_gradient(w, t.flat, t.ids, t.labels, BATCH, t.grad);
  float *scrap = arena_array(t.arena, net_count(t.net), sizeof *scrap);
  size_t n;
  const struct net_tensor *all = net_tensors(t.net, &n);
  net_record_relu(w, t.flat, t.ids, BATCH);
  net_fixed_relu_gradient(w, t.flat, t.ids, t.labels, BATCH, scrap);
  assert_memory_equal(scrap, t.grad, net_params(t.net) * sizeof *scrap);
  for (size_t i = 0; i < n; i++) {
    const float *g = t.grad + all[i].offset;
    double square = 0, loss[2];
    for (size_t k = 0; k < all[i].count; k++)
      square += (double)(g[k] * g[k]);
    const double h = 0.01 / sqrt(square);
    for (int side = 0; side < 2; side++) {
      float *moved = arena_copy(t.arena, t.flat, net_count(t.net) * sizeof *moved);
      for (size_t k = 0; k < all[i].count; k++)
        moved[all[i].offset + k] += (float)((side ? h : -h) * (double)g[k]);
      loss[side] = (double)net_fixed_relu_gradient(w, moved, t.ids, t.labels, BATCH, scrap);
    }
    const double rise = (loss[1] - loss[0]) / (2 * h);
    if (fabs(rise - square) > 0.02 * square + 2e-5 * sqrt(square))
      fail_msg("%s: %g, not %g", all[i].name, rise, square);
  }
  net_work_free(w);
  arena_free(t.arena);
}

static void gpt_gradient_is_the_losss(void **state)
{
  (void)state;
  struct net_spec untied = GPT;
  untied.untied = true;
  check_network_gradient(&GPT);
  check_network_gradient(&untied);
  static const char *const activations[] = {"relu", "quick_gelu"};
  for (int k = 0; k < 2; k++) {
    struct net_spec other = GPT;
    other.activation = activations[k];
    check_network_gradient(&other);
  }
}

/* The feed-forward part's units, and whether one of them is below 0. */
static void look_for_negatives(void *context, unsigned value, const struct net_activation *a)
{
  bool *negative = context;
  (void)value;
  for (size_t i = 0; a->c == 4 * 24 && i < a->rows * a->row; i++)
    *negative |= a->y[i] < 0;
}

static void the_activation_can_be_chosen(void **state)
{
  (void)state;
  static const char *const words[] = {NULL, "gelu", "quick_gelu", "relu"};
  float logits[4][BATCH * 7 * 29];
  for (int k = 0; k < 4; k++) {
    struct net_spec spec = GPT;
    spec.activation = words[k];
    struct text t = setup(&spec);
    struct net_work *w = net_work_new(t.net, ops_cpu(), BATCH, false);
    bool negative = false;
    net_logits(w, t.flat, t.ids, BATCH, logits[k]);
    net_visit(w, t.flat, t.ids, BATCH, look_for_negatives, &negative);
    assert_int_equal(negative, k != 3);
    net_work_free(w);
    arena_free(t.arena);
  }
  assert_memory_equal(logits[0], logits[1], sizeof *logits);
  for (int k = 2; k < 4; k++)
    assert_memory_not_equal(logits[k - 1], logits[k], sizeof *logits);
}

/* With the embedding's words in it, an untied head computes what a tied one does. */
static void an_untied_head_has_words_of_its_own(void **state)
{
  (void)state;
  enum { T = 7, V = 29 };
  struct net_spec spec = GPT;
  struct text tied = setup(&GPT);
  spec.untied = true;
  struct text t = setup(&spec);
  const struct net_tensor *head = tensor(t.net, "lm_head.weight");
  assert_int_equal(net_params(t.net), net_params(tied.net) + head->count);
  memcpy(t.flat, tied.flat, net_count(tied.net) * sizeof *t.flat);
  memcpy(t.flat + head->offset, tied.flat, head->count * sizeof *t.flat);
  struct net_work *w = net_work_new(t.net, ops_cpu(), 1, true);
  struct net_work *of_tied = net_work_new(tied.net, ops_cpu(), 1, false);
  float logits[T * V], expected[T * V];
  net_logits(w, t.flat, t.ids, 1, logits);
  net_logits(of_tied, tied.flat, t.ids, 1, expected);
  assert_memory_equal(logits, expected, sizeof expected);
  t.flat[head->offset] += 1;
  net_logits(w, t.flat, t.ids, 1, logits);
  assert_memory_not_equal(logits, expected, sizeof expected);
  net_work_free(of_tied);
  net_work_free(w);
  arena_free(tied.arena);
  arena_free(t.arena);
}

/* What comes later changes nothing; a sample's neighbours change nothing; the loss is that
 * of the logits. */
static void gpt_sees_the_past_alone(void **state)
{
  (void)state;
  enum { T = 7, V = 29 };
  struct text t = setup(&GPT);
  struct net_work *w = net_work_new(t.net, ops_cpu(), BATCH, true);
  struct net_work *lean = net_work_new(t.net, ops_cpu(), 1, false);
  float logits[BATCH * T * V], one[T * V];
  net_logits(w, t.flat, t.ids, BATCH, logits);
  net_logits(lean, t.flat, t.ids + T, 1, one);
  for (int i = 0; i < T * V; i++)
    assert_near((double)one[i], (double)logits[T * V + i], 1e-5, "alone", (size_t)i);
  double loss = 0;
  for (int i = 0; i < BATCH * T; i++) {
    double sum = 0;
    for (int k = 0; k < V; k++)
      sum += exp((double)logits[i * V + k]);
    loss += log(sum) - (double)logits[i * V + t.labels[i]];
  }
  const float said = net_loss_gradient(w, t.flat, t.ids, t.labels, BATCH, t.grad);
  assert_near((double)said, loss / (BATCH * T), 1e-5, "loss", 0);
  assert_true(said == net_loss_gradient(w, t.flat, t.ids, t.labels, BATCH, t.grad));
  t.ids[T + 4] = (float)(((int)t.ids[T + 4] + 1) % V);
  float changed[T * V];
  net_logits(lean, t.flat, t.ids + T, 1, changed);
  assert_memory_equal(changed, one, 4 * V * sizeof *one);
  assert_memory_not_equal(changed + 4 * V, one + 4 * V, V * sizeof *one);
  float features[24];
  net_penultimate(lean, t.flat, t.ids, 1, features);
  double sum = 0; /* of the mean over tokens, with the last norm's gamma and beta taken out */
  const struct net_tensor *gamma = tensor(t.net, "transformer.ln_f.weight");
  const struct net_tensor *beta = tensor(t.net, "transformer.ln_f.bias");
  for (int k = 0; k < 24; k++)
    sum += (double)((features[k] - t.flat[beta->offset + k]) / t.flat[gamma->offset + k]);
  assert_near(sum, 0, 1e-4, "features", 0);
  net_work_free(lean);
  net_work_free(w);
  arena_free(t.arena);
}

static void gpt_goes_through_a_file(void **state)
{
  const char *path = scratch_path(*state, "gpt.safetensors");
  struct text t = setup(&GPT);
  assert_true(net_save(t.net, t.flat, path, t.diag));
  float *again = arena_array(t.arena, net_count(t.net), sizeof *again);
  assert_true(net_load(t.net, path, again, t.diag));
  assert_memory_equal(again, t.flat, net_count(t.net) * sizeof *again);
  memset(again, 0, net_count(t.net) * sizeof *again);
  assert_true(net_load_body(t.net, path, again, t.diag)); /* a tied head is the body's */
  assert_memory_equal(again, t.flat, net_count(t.net) * sizeof *again);
  arena_free(t.arena);
}

static void gpt_wants_text(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct net_spec spec = GPT;
  spec.block = 0;
  assert_null(net_new(a, &spec, d));
  assert_non_null(strstr(diag_message(d, 0), "reads text, the data are images"));
  diag_clear(d);
  spec = GPT;
  spec.model = "mlp";
  assert_null(net_new(a, &spec, d));
  assert_non_null(strstr(diag_message(d, 0), "reads images, the data are text"));
  diag_clear(d);
  spec = GPT;
  spec.heads = 5;
  assert_null(net_new(a, &spec, d));
  assert_non_null(strstr(diag_message(d, 0), "width 24 with 5 heads"));
  arena_free(a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gpt_has_hugging_faces_tensors),
      cmocka_unit_test(gpt_is_drawn_as_gpt_2_was),
      cmocka_unit_test(gpt_gradient_is_the_losss),
      cmocka_unit_test(the_activation_can_be_chosen),
      cmocka_unit_test(an_untied_head_has_words_of_its_own),
      cmocka_unit_test(gpt_sees_the_past_alone),
      cmocka_unit_test_setup_teardown(gpt_goes_through_a_file, scratch_setup, scratch_teardown),
      cmocka_unit_test(gpt_wants_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
