/* Steps that train and draw first weights, computed as a plan has them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bind_fixture.h"

/* ---- training ---- */

/* A branch in one segment and in three: bit for bit the same, and the last
 * segment's momentum is not kept. */
static void a_branch_may_be_cut(void **state)
{
  struct world *w = *state;
  static const struct schedule schedules[] = {{"sqrt_decay", 4, 7},      {"constant", 4, 7},
                                              {"linear_decay", 4, 7},    {"cosine", 0, 11},
                                              {"warmup_constant", 4, 7}, {"warmup_cosine", 4, 7}};
  for (int m = 0; m < 2; m++) {
    struct net *net = net_of(w, MODELS[m], 10);
    uint32_t trunk = add_train(w, add_init(w, MODELS[m], 1), 0, 4, 0, constant);
    assert_true(has_momentum(w, trunk));
    for (int k = 0; k < 6; k++) {
      const struct schedule s = schedules[k];
      uint32_t whole = add_train(w, trunk, 4, 11, 1, s), first = add_train(w, trunk, 4, 6, 1, s);
      uint32_t second = add_train(w, first, 6, 10, 1, s),
               third = add_train(w, second, 10, 11, 1, s);
      const float *one = weights(w, net, whole), *cut = weights(w, net, third);
      assert_memory_equal(one, cut, net_count(net) * sizeof *one);
      assert_true(has_momentum(w, first) && has_momentum(w, second));
      assert_false(has_momentum(w, third) || has_momentum(w, whole));
      /* Kept momentum is part of the cost. */
      struct cost kept = bind_cost(w->bind, w->f->plan, step_at(w, first));
      struct cost dropped = bind_cost(w->bind, w->f->plan, step_at(w, third));
      assert_true(kept.bytes - dropped.bytes > 4 * (double)net_params(net));
    }
    assert_false(has_momentum(w, add_train(w, trunk, 4, 11, 1, constant)));
  }
}

/* The same with Adam's two means, whose correction needs the number of steps since the trunk
 * began; and with norms and biases spared. */
static void adamw_goes_on_where_it_was(void **state)
{
  struct world *w = *state;
  static const char *const decays[] = {NULL, "weights"};
  const struct schedule decay = {"sqrt_decay", 4, 7};
  struct net *net = net_of(w, "resnet18", 10);
  const float *ends[2];
  for (int k = 0; k < 2; k++) {
    struct attrs o = {0};
    put_optimizer(&o, "adamw", decays[k]);
    uint32_t init = add_init(w, "resnet18", 1);
    uint32_t trunk = add_training(w, &o, init, 0, 4, 0, constant);
    uint32_t half = add_training(w, &o, init, 0, 2, 0, constant);
    uint32_t other = add_training(w, &o, half, 2, 4, 0, constant);
    const float *one = weights(w, net, trunk), *cut = weights(w, net, other);
    assert_memory_equal(one, cut, net_count(net) * sizeof *one);
    uint32_t whole = add_training(w, &o, trunk, 4, 11, 1, decay);
    uint32_t first = add_training(w, &o, other, 4, 9, 1, decay);
    uint32_t second = add_training(w, &o, first, 9, 11, 1, decay);
    ends[k] = weights(w, net, whole);
    cut = weights(w, net, second);
    assert_memory_equal(ends[k], cut, net_count(net) * sizeof *cut);
    assert_true(has_momentum(w, first));
    assert_false(has_momentum(w, second) || has_momentum(w, whole));
    struct safetensors file;
    assert_true(safetensors_open(w->f->arena, fixture_path(w->f, first, "optimizer.safetensors"),
                                 &file, w->f->diag));
    assert_int_equal(file.n_tensors, 2);
    assert_non_null(safetensors_find(&file, "exp_avg"));
    assert_non_null(safetensors_find(&file, "exp_avg_sq"));
    safetensors_close(&file);
    struct cost kept = bind_cost(w->bind, w->f->plan, step_at(w, first));
    struct cost dropped = bind_cost(w->bind, w->f->plan, step_at(w, second));
    assert_true(kept.bytes - dropped.bytes > 8 * (double)net_params(net));
    /* Another trunk from its end begins anew: as from a copy of its weights. */
    const float *anew = weights(w, net, add_training(w, &o, whole, 0, 2, 0, constant));
    uint32_t copy = add_init_from(w, "resnet18", 1, whole, "kept");
    cut = weights(w, net, add_training(w, &o, copy, 0, 2, 0, constant));
    assert_memory_equal(anew, cut, net_count(net) * sizeof *cut);
  }
  assert_memory_not_equal(ends[0], ends[1], net_params(net) * sizeof *ends[0]);
  /* What SGD left behind is not Adam's. */
  struct attrs o = {0};
  put_optimizer(&o, "adamw", NULL);
  uint32_t sgd = add_train(w, add_init(w, "mlp", 1), 0, 4, 0, constant);
  run(w, sgd);
  assert_false(try_step(w, add_training(w, &o, sgd, 4, 8, 1, decay)));
  assert_true(fixture_said(w->f->diag, "no exp_avg_sq"));
  diag_clear(w->f->diag);
}

/* At the first step of a trunk there is no momentum, whatever it starts from. */
static void a_trunk_starts_without_momentum(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10);
  uint32_t other = add_train(w, add_init(w, "resnet18", 1), 0, 4, 0, constant);
  uint32_t straight = add_train(w, other, 0, 4, 0, constant);
  uint32_t init = add_init_from(w, "resnet18", 1, other, "kept");
  const float *a = weights(w, net, straight);
  const float *b = weights(w, net, add_train(w, init, 0, 4, 0, constant));
  assert_memory_equal(a, b, net_count(net) * sizeof *a);
}

/* ---- first weights ---- */

static void first_weights_may_be_another_model(void **state)
{
  struct world *w = *state;
  for (int m = 0; m < 2; m++) {
    struct net *net = net_of(w, MODELS[m], 10);
    uint32_t other = add_train(w, add_init(w, MODELS[m], 1), 0, 4, 0, constant);
    const float *source = weights(w, net, other);
    const float *kept = weights(w, net, add_init_from(w, MODELS[m], 5, other, "kept"));
    const float *anew = weights(w, net, add_init_from(w, MODELS[m], 5, other, "new"));
    const float *drawn = weights(w, net, add_init(w, MODELS[m], 5));
    assert_memory_equal(kept, source, net_count(net) * sizeof *kept);
    size_t n;
    const struct net_tensor *t = net_tensors(net, &n);
    for (size_t i = 0; i < n; i++) {
      const float *want = net_in_classifier(net, &t[i]) ? drawn : source;
      assert_memory_equal(anew + t[i].offset, want + t[i].offset, t[i].count * sizeof *anew);
    }
    assert_memory_not_equal(anew, source, net_count(net) * sizeof *anew);
  }
}

/* The same weights as PyTorch's users have them: "module." before each name, doubles. */
static void write_wrapped(struct world *w, const char *from, const char *to)
{
  struct safetensors file;
  assert_true(safetensors_open(w->f->arena, from, &file, w->f->diag));
  for (size_t i = 0; i < file.n_tensors; i++) {
    struct safetensors_tensor *t = &file.tensors[i];
    t->name = arena_printf(w->f->arena, "module.%s", t->name);
    if (t->dtype != SAFETENSORS_F32)
      continue;
    const size_t n = t->bytes / sizeof(float);
    float *v = arena_array(w->f->arena, n, sizeof *v);
    double *wide = arena_array(w->f->arena, n, sizeof *wide);
    safetensors_floats(t, 0, n, v);
    for (size_t k = 0; k < n; k++)
      wide[k] = (double)v[k];
    t->dtype = SAFETENSORS_F64;
    t->bytes = n * sizeof *wide;
    t->data = wide;
  }
  assert_true(safetensors_write(to, &file, w->f->diag));
  safetensors_close(&file);
}

static void first_weights_may_be_a_file(void **state)
{
  struct world *w = *state;
  struct net *net = net_of(w, "resnet18", 10), *wide = net_of(w, "resnet18", 15);
  const char *same = file_join(w->f->arena, w->f->root, "same.safetensors");
  const char *other = file_join(w->f->arena, w->f->root, "other.safetensors");
  float *flat = arena_array(w->f->arena, net_count(wide), sizeof *flat);
  net_init(net, 77, flat);
  assert_true(net_save(net, flat, same, w->f->diag));
  const float *kept = weights(w, net, add_init_file(w, "resnet18", same, "kept"));
  assert_memory_equal(kept, flat, net_count(net) * sizeof *kept);
  const char *folder = file_join(w->f->arena, w->f->root, "shards");
  assert_true(net_save_as(net, flat, folder, 20000, &(struct safetensors_meta){"format", "pt"},
                          w->f->diag));
  kept = weights(w, net, add_init_file(w, "resnet18", folder, "kept"));
  assert_memory_equal(kept, flat, net_count(net) * sizeof *kept);
  const char *wrapped = file_join(w->f->arena, w->f->root, "wrapped.safetensors");
  write_wrapped(w, same, wrapped);
  kept = weights(w, net, add_init_file(w, "resnet18", wrapped, "kept"));
  assert_memory_equal(kept, flat, net_count(net) * sizeof *kept);
  float *body = arena_array(w->f->arena, net_count(net), sizeof *body);
  net_init(wide, 78, flat);
  assert_true(net_save(wide, flat, other, w->f->diag));
  fails(w, add_init_file(w, "resnet18", other, "kept"), "\"fc.weight\" has shape [15, 6]",
        "head = new");
  const float *anew = weights(w, net, add_init_file(w, "resnet18", other, "new"));
  net_init(net, 1, body);
  assert_true(net_load_body(net, other, body, w->f->diag));
  assert_memory_equal(anew, body, net_count(net) * sizeof *body);
  write_wrapped(w, other, wrapped);
  anew = weights(w, net, add_init_file(w, "resnet18", wrapped, "new"));
  assert_memory_equal(anew, body, net_count(net) * sizeof *body);
  fails(w, add_init_file(w, "mlp", other, "new"), "\"fc1.weight\" is missing",
        "such as \"fc1.weight\"");
  /* A number that is none is found before training. */
  size_t n;
  const struct net_tensor *bad = &net_tensors(net, &n)[3];
  const char *nan = file_join(w->f->arena, w->f->root, "nan.safetensors");
  flat[bad->offset + 2] = NAN;
  assert_true(net_save(net, flat, nan, w->f->diag));
  fails(w, add_init_file(w, "resnet18", nan, "new"),
        arena_printf(w->f->arena, "%s: tensor \"%s\" is NaN", nan, bad->name), NULL);
  flat[bad->offset + 2] = 0;
  /* Another file under the name, then none. */
  uint32_t changed = add_init_file(w, "mlp", same, "kept");
  assert_true(net_save(wide, flat, same, w->f->diag));
  fails(w, changed, "has changed", "again");
  assert_int_equal(remove(same), 0);
  fails(w, changed, "same.safetensors", NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(a_branch_may_be_cut),
      WORLD_TEST(adamw_goes_on_where_it_was),
      WORLD_TEST(a_trunk_starts_without_momentum),
      WORLD_TEST(first_weights_may_be_another_model),
      WORLD_TEST(first_weights_may_be_a_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
