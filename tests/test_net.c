/* Networks: names, sizes, initialisation, files, classifier and body. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include "net_fixture.h"

#include "base/safetensors.h"

/* torchvision's resnet18: 11,689,512 parameters; with the small stem and 100
 * classes 11,220,132. */
static void resnet_has_torchvision_names_and_sizes(void **state)
{
  (void)state;
  const struct net_spec spec = {
      .model = "resnet18", .channels = 3, .height = 32, .image_width = 32, .classes = 100};
  struct arena *a = arena_new();
  struct net *net = net_new(a, &spec, diag_new(a));
  assert_int_equal(net_params(net), 11220132);
  assert_int_equal(net_count(net) - net_params(net), 2 * 4800);
  assert_true(fabs(net_flops(net) / 1.1115e9 - 1) < 1e-2);
  assert_true(net_has_batchnorm(net));
  assert_int_equal(net_classes(net), 100);
  const struct {
    const char *name;
    unsigned rank;
    size_t shape[4];
  } want[] = {
      {"conv1.weight", 4, {64, 3, 3, 3}},
      {"bn1.running_mean", 1, {64}},
      {"layer1.0.conv1.weight", 4, {64, 64, 3, 3}},
      {"layer2.0.downsample.0.weight", 4, {128, 64, 1, 1}},
      {"layer2.0.downsample.1.bias", 1, {128}},
      {"layer4.1.bn2.running_var", 1, {512}},
      {"fc.weight", 2, {100, 512}},
      {"fc.bias", 1, {100}},
  };
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    const struct net_tensor *t = tensor(net, want[i].name);
    assert_int_equal(t->rank, want[i].rank);
    assert_memory_equal(t->shape, want[i].shape, t->rank * sizeof *t->shape);
    assert_int_equal(t->buffer, strstr(t->name, "running") != NULL);
  }
  size_t n, end = 0;
  const struct net_tensor *t = net_tensors(net, &n);
  for (size_t i = 0; i < n; i++) { /* one after the other, parameters first */
    assert_int_equal(t[i].offset, end);
    end += t[i].count;
    assert_int_equal(t[i].buffer, end > net_params(net));
    assert_null(strstr(t[i].name, "layer1.0.downsample"));
  }
  assert_int_equal(end, net_count(net));
  arena_free(a);
}

/* torchvision's sizes, and its 1.81 and 2.83 thousand million multiply-adds. */
static void large_models_have_torchvision_sizes(void **state)
{
  (void)state;
  struct net_spec spec = {.model = "resnet18",
                          .channels = 3,
                          .height = 224,
                          .image_width = 224,
                          .classes = 1000,
                          .stem = "imagenet"};
  struct arena *a = arena_new();
  struct net *net = net_new(a, &spec, diag_new(a));
  assert_int_equal(net_params(net), 11689512);
  assert_true(fabs(net_flops(net) / 3.628e9 - 1) < 2e-3);
  assert_int_equal(tensor(net, "conv1.weight")->shape[3], 7);
  spec.model = "densenet121";
  net = net_new(a, &spec, diag_new(a));
  assert_int_equal(net_params(net), 7978856);
  assert_true(fabs(net_flops(net) / 5.669e9 - 1) < 2e-3);
  assert_int_equal(net_features(net), 1024);
  const struct {
    const char *name;
    size_t shape[4];
  } want[] = {
      {"features.conv0.weight", {64, 3, 7, 7}},
      {"features.norm0.running_mean", {64}},
      {"features.denseblock1.denselayer1.norm1.weight", {64}},
      {"features.denseblock1.denselayer6.conv1.weight", {128, 224, 1, 1}},
      {"features.denseblock4.denselayer16.conv2.weight", {32, 128, 3, 3}},
      {"features.transition3.norm.bias", {1024}},
      {"features.transition3.conv.weight", {512, 1024, 1, 1}},
      {"features.norm5.running_var", {1024}},
      {"classifier.weight", {1000, 1024}},
      {"classifier.bias", {1000}},
  };
  for (size_t i = 0; i < sizeof want / sizeof *want; i++)
    assert_memory_equal(tensor(net, want[i].name)->shape, want[i].shape, sizeof want[i].shape);
  spec.stem = NULL;
  spec.height = spec.image_width = 32;
  net = net_new(a, &spec, diag_new(a));
  assert_int_equal(net_params(net), 7978856 - 64 * 3 * (49 - 9));
  arena_free(a);
}

/* A block is one buffer: memory grows with the channels, not with their square. */
static void a_dense_block_copies_nothing(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  size_t bytes[2];
  for (unsigned k = 0; k < 2; k++) {
    struct net_spec spec = DENSENET;
    spec.stages = 1;
    spec.layers = k ? 24 : 12;
    spec.height = spec.image_width = 16;
    struct net_work *w = net_work_new(net_new(a, &spec, diag_new(a)), ops_cpu(), 32, false);
    bytes[k] = net_work_bytes(w);
    net_work_free(w);
  }
  assert_true(bytes[1] < 2 * bytes[0]);
  arena_free(a);
}

static void densenet_is_drawn_by_fan_in(void **state)
{
  (void)state;
  struct net_spec spec = DENSENET;
  spec.growth = 32;
  struct fixture f = setup(&spec);
  const struct net_tensor *t = tensor(f.net, "features.denseblock1.denselayer1.conv2.weight");
  double square = 0;
  for (size_t i = 0; i < t->count; i++)
    square += pow((double)f.flat[t->offset + i], 2);
  assert_true(fabs(sqrt(square / (double)t->count) / sqrt(2.0 / (128 * 9)) - 1) < 0.02);
  t = tensor(f.net, "classifier.bias");
  for (size_t i = 0; i < t->count; i++)
    assert_true(f.flat[t->offset + i] == 0);
  assert_true(f.flat[tensor(f.net, "classifier.weight")->offset] != 0);
  teardown(&f);
}

static void mlp_lists_linear_layers(void **state)
{
  (void)state;
  struct fixture f = setup(&MLP);
  assert_int_equal(f.params, 24 * 10 + 10 + 10 * 10 + 10 + 10 * 3 + 3);
  assert_int_equal(f.count, f.params);
  assert_false(net_has_batchnorm(f.net));
  assert_int_equal(tensor(f.net, "fc1.weight")->shape[1], 24);
  assert_int_equal(tensor(f.net, "fc3.bias")->count, 3);
  assert_true(net_flops(f.net) == 2 * (24 * 10 + 10 * 10 + 10 * 3));
  teardown(&f);
}

static void unknown_models_and_shapes_are_diagnosed(void **state)
{
  (void)state;
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct net_spec spec = RESNET;
  spec.model = "resnet81";
  assert_null(net_new(a, &spec, d));
  assert_non_null(strstr(diag_message(d, 0), "resnet81"));
  assert_non_null(strstr(diag_hint_of(d, 0), "resnet18"));
  diag_clear(d);
  spec = RESNET;
  spec.width = 1000;
  spec.stages = 5;
  assert_null(net_new(a, &spec, d));
  assert_int_equal(diag_errors(d), 1);
  diag_clear(d);
  spec = MLP;
  spec.channels = 0;
  assert_null(net_new(a, &spec, d));
  assert_int_equal(diag_errors(d), 1);
  const struct net_spec bad[] = {
      {.model = "densenet121", .stages = 5},
      {.model = "densenet121", .stages = 9, .layers = 1},
      {.model = "densenet121", .growth = 2000},
      {.model = "densenet121", .stages = 4, .layers = 2}, /* 7 pixels: 7, 3, 1, 0 */
      {.model = "densenet121", .stages = 2, .layers = 2, .stem = "imagenet", .height = 4},
      {.model = "resnet18", .stem = "gpt"},
      {.model = "vit_s_16", .patch = 1, .activation = "tanh"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    diag_clear(d);
    spec = bad[i];
    spec.channels = 3;
    spec.classes = 10;
    spec.height = spec.height ? spec.height : 7;
    spec.image_width = 8;
    assert_null(net_new(a, &spec, d));
    assert_int_equal(diag_errors(d), 1);
  }
  arena_free(a);
}

static void initial_weights_have_their_spread(void **state)
{
  (void)state;
  const struct net_spec spec = {.model = "resnet18",
                                .width = 32,
                                .stages = 2,
                                .blocks = 1,
                                .channels = 3,
                                .height = 8,
                                .image_width = 8,
                                .classes = 50};
  struct fixture f = setup(&spec);
  const struct net_tensor *conv = tensor(f.net, "layer2.0.conv2.weight"); /* fan out 64 * 9 */
  double sum = 0, square = 0;
  for (size_t i = 0; i < conv->count; i++) {
    sum += (double)f.flat[conv->offset + i];
    square += pow((double)f.flat[conv->offset + i], 2);
  }
  assert_true(fabs(sum / (double)conv->count) < 1e-3);
  assert_true(fabs(sqrt(square / (double)conv->count) / sqrt(2.0 / (64 * 9)) - 1) < 0.02);
  const struct net_tensor *fc = tensor(f.net, "fc.weight"); /* fan in 64 */
  double most = 0;
  square = 0;
  for (size_t i = 0; i < fc->count; i++) {
    const double w = (double)f.flat[fc->offset + i];
    most = fabs(w) > most ? fabs(w) : most;
    square += w * w;
  }
  assert_true(most <= 0.125 && most > 0.12);
  assert_true(fabs(sqrt(square / (double)fc->count) / (0.125 / sqrt(3)) - 1) < 0.03);
  assert_true(f.flat[tensor(f.net, "bn1.weight")->offset] == 1);
  assert_true(f.flat[tensor(f.net, "bn1.running_var")->offset + 3] == 1);
  assert_true(f.flat[tensor(f.net, "bn1.bias")->offset] == 0);
  float *again = arena_array(f.arena, f.count, sizeof *again);
  net_init(f.net, 1, again);
  assert_memory_equal(again, f.flat, f.count * sizeof *again);
  net_init(f.net, 2, again);
  assert_memory_not_equal(again, f.flat, conv->count * sizeof *again);
  teardown(&f);
}

static void files_round_trip(void **state)
{
  struct fixture f = setup(&RESNET);
  const char *path = scratch_path(*state, "round.safetensors");
  for (size_t i = 0; i < f.count; i++)
    f.flat[i] = (float)i * 0.25f - 7;
  assert_true(net_save(f.net, f.flat, path, f.diag));
  float *back = arena_array(f.arena, f.count, sizeof *back);
  assert_true(net_load(f.net, path, back, f.diag));
  assert_memory_equal(back, f.flat, f.count * sizeof *back);
  struct safetensors file;
  assert_true(safetensors_open(f.arena, path, &file, f.diag));
  const struct safetensors_tensor *t = safetensors_find(&file, "layer1.0.bn2.num_batches_tracked");
  assert_non_null(t);
  assert_int_equal(t->dtype, SAFETENSORS_I64);
  assert_int_equal(t->rank, 0);
  safetensors_close(&file);
  teardown(&f);
}

static bool mentions(const struct diag *d, const char *name, const char *what)
{
  for (unsigned i = 0; i < diag_count(d); i++) {
    if (strstr(diag_message(d, i), name) && strstr(diag_message(d, i), what))
      return true;
  }
  return false;
}

static void all_mismatches_of_a_file_are_reported(void **state)
{
  struct fixture f = setup(&MLP);
  const char *path = scratch_path(*state, "wrong.safetensors");
  const float data[256] = {0};
  struct safetensors_tensor tensors[] = {
      {"fc1.weight", SAFETENSORS_F32, 2, {10, 25}, 1000, data},
      {"fc1.bias", SAFETENSORS_I64, 1, {10}, 80, data},
      {"fc2.weight", SAFETENSORS_F32, 1, {100}, 400, data},
      {"fc2.bias", SAFETENSORS_F32, 1, {10}, 40, data},
      {"fc3.weight", SAFETENSORS_F32, 2, {3, 10}, 120, data},
      {"fc4.weight", SAFETENSORS_F32, 1, {3}, 12, data},
  };
  const struct safetensors file = {.tensors = tensors, .n_tensors = 6};
  assert_true(safetensors_write(path, &file, f.diag));
  assert_false(net_load(f.net, path, f.flat, f.diag));
  assert_int_equal(diag_errors(f.diag), 5);
  assert_true(mentions(f.diag, "\"fc1.weight\"", "[10, 25]"));
  assert_true(mentions(f.diag, "\"fc1.weight\"", "[10, 24]"));
  assert_true(mentions(f.diag, "\"fc1.bias\"", "I64, not"));
  assert_true(mentions(f.diag, "\"fc2.weight\"", "[100]"));
  assert_true(mentions(f.diag, "\"fc3.bias\"", "missing"));
  assert_true(mentions(f.diag, "\"fc4.weight\"", "not of this model"));
  diag_clear(f.diag);
  assert_false(net_load(f.net, scratch_path(*state, "absent.safetensors"), f.flat, f.diag));
  assert_int_equal(diag_errors(f.diag), 1);
  teardown(&f);
}

static void the_classifier_is_the_last_layer(void **state)
{
  (void)state;
  const struct net_spec *const specs[] = {&RESNET, &MLP};
  static const char *const names[] = {"fc.", "fc3."};
  static const unsigned features[] = {8, 10};
  for (int k = 0; k < 2; k++) {
    struct fixture f = setup(specs[k]);
    size_t n, found = 0;
    const struct net_tensor *t = net_tensors(f.net, &n);
    for (size_t i = 0; i < n; i++) {
      bool named = !strncmp(t[i].name, names[k], strlen(names[k]));
      assert_int_equal(net_in_classifier(f.net, &t[i]), named);
      found += named;
    }
    assert_int_equal(found, 2);
    assert_int_equal(net_features(f.net), features[k]);
    teardown(&f);
  }
}

/* Features times the classifier's weights are the logits. */
static void features_make_the_logits(void **state)
{
  (void)state;
  const struct net_spec *const specs[] = {&RESNET, &MLP};
  for (int k = 0; k < 2; k++) {
    struct fixture f = setup(specs[k]);
    const unsigned p = net_features(f.net);
    const char *layer = k ? "fc3" : "fc";
    const float *w = f.flat + tensor(f.net, arena_printf(f.arena, "%s.weight", layer))->offset;
    const float *bias = f.flat + tensor(f.net, arena_printf(f.arena, "%s.bias", layer))->offset;
    float *features = arena_array(f.arena, SAMPLES * p, sizeof *features), logits[SAMPLES * 3];
    struct net_work *work = net_work_new(f.net, ops_cpu(), SAMPLES, false);
    net_logits(work, f.flat, f.x, SAMPLES, logits);
    net_penultimate(work, f.flat, f.x, SAMPLES, features);
    net_work_free(work);
    for (unsigned i = 0; i < SAMPLES; i++)
      for (unsigned c = 0; c < 3; c++) {
        double sum = (double)bias[c];
        for (unsigned j = 0; j < p; j++)
          sum += (double)w[c * p + j] * (double)features[i * p + j];
        assert_true(fabs(sum - (double)logits[i * 3 + c]) < 1e-5);
      }
    teardown(&f);
  }
}

/* From a network of 3 classes into one of 5: batch norm's statistics come too. */
static void a_body_is_all_but_the_classifier(void **state)
{
  struct fixture f = setup(&RESNET);
  struct net_spec spec = RESNET;
  spec.classes = 5;
  struct fixture g = setup(&spec);
  const char *path = scratch_path(*state, "body.safetensors");
  for (size_t i = 0; i < f.count; i++)
    f.flat[i] = (float)i * 0.25f - 7;
  float *before = arena_copy(g.arena, g.flat, g.count * sizeof *before);
  assert_true(net_save(f.net, f.flat, path, f.diag));
  assert_true(net_load_body(g.net, path, g.flat, g.diag));
  assert_int_equal(diag_count(g.diag), 0);
  size_t n;
  const struct net_tensor *t = net_tensors(g.net, &n);
  for (size_t i = 0; i < n; i++) {
    const float *want = net_in_classifier(g.net, &t[i]) ? before + t[i].offset
                                                        : f.flat + tensor(f.net, t[i].name)->offset;
    assert_memory_equal(g.flat + t[i].offset, want, t[i].count * sizeof *want);
  }
  assert_false(net_load(g.net, path, g.flat, g.diag));
  assert_int_equal(diag_errors(g.diag), 2);
  assert_non_null(strstr(diag_hint_of(g.diag, 1), "head = new"));
  diag_clear(g.diag);
  teardown(&f);
  teardown(&g);
}

/* A classifier may be missing or have other tensors; a body may not. */
static void what_a_body_lacks_is_reported(void **state)
{
  struct fixture f = setup(&MLP);
  const char *path = scratch_path(*state, "lacks.safetensors");
  const float data[256] = {0};
  struct safetensors_tensor tensors[] = {
      {"fc1.weight", SAFETENSORS_F32, 2, {10, 24}, 960, data},
      {"fc1.bias", SAFETENSORS_F32, 1, {10}, 40, data},
      {"fc2.weight", SAFETENSORS_F32, 2, {10, 10}, 400, data},
      {"fc2.bias", SAFETENSORS_F32, 1, {10}, 40, data},
      {"fc3.scale", SAFETENSORS_F32, 1, {1}, 4, data},
  };
  struct safetensors file = {.tensors = tensors, .n_tensors = 5};
  assert_true(safetensors_write(path, &file, f.diag));
  assert_true(net_load_body(f.net, path, f.flat, f.diag));
  assert_false(net_load(f.net, path, f.flat, f.diag));
  assert_int_equal(diag_errors(f.diag), 3);
  assert_non_null(strstr(diag_hint_of(f.diag, 2), "head = new"));
  diag_clear(f.diag);
  tensors[1].shape[0] = 9;
  tensors[1].bytes = 36;
  tensors[3].name = "fc4.bias";
  assert_true(safetensors_write(path, &file, f.diag));
  assert_false(net_load_body(f.net, path, f.flat, f.diag));
  assert_int_equal(diag_errors(f.diag), 3);
  assert_true(mentions(f.diag, "\"fc1.bias\"", "[9]"));
  assert_true(mentions(f.diag, "\"fc2.bias\"", "missing"));
  assert_true(mentions(f.diag, "\"fc4.bias\"", "not of this model"));
  assert_null(strstr(diag_hint_of(f.diag, 2), "head = new"));
  teardown(&f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(resnet_has_torchvision_names_and_sizes),
      cmocka_unit_test(large_models_have_torchvision_sizes),
      cmocka_unit_test(a_dense_block_copies_nothing),
      cmocka_unit_test(densenet_is_drawn_by_fan_in),
      cmocka_unit_test(mlp_lists_linear_layers),
      cmocka_unit_test(unknown_models_and_shapes_are_diagnosed),
      cmocka_unit_test(initial_weights_have_their_spread),
      SCRATCH_TEST(files_round_trip),
      SCRATCH_TEST(all_mismatches_of_a_file_are_reported),
      cmocka_unit_test(the_classifier_is_the_last_layer),
      cmocka_unit_test(features_make_the_logits),
      SCRATCH_TEST(a_body_is_all_but_the_classifier),
      SCRATCH_TEST(what_a_body_lacks_is_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
