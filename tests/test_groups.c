/* Permutation groups, and that permuting them leaves the function as it is. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/net_groups.h"
#include "engine/net_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 5 };

static const struct net_spec MLP = {.model = "mlp",
                                    .width = 7,
                                    .layers = 3,
                                    .channels = 2,
                                    .height = 3,
                                    .image_width = 2,
                                    .classes = 4};
static const struct net_spec RESNET = {.model = "resnet18",
                                       .width = 4,
                                       .stages = 2,
                                       .blocks = 2,
                                       .channels = 2,
                                       .height = 8,
                                       .image_width = 7,
                                       .classes = 3};
static const struct net_spec DENSENET = {.model = "densenet121",
                                         .growth = 3,
                                         .stages = 2,
                                         .layers = 3,
                                         .channels = 2,
                                         .height = 8,
                                         .image_width = 8,
                                         .classes = 3};

static const struct net_spec CONVNEXT = {.model = "convnext_tiny",
                                         .width = 5,
                                         .stages = 2,
                                         .blocks = 2,
                                         .channels = 2,
                                         .height = 19,
                                         .image_width = 13,
                                         .classes = 3};

static const struct net_spec GPT = {.model = "gpt",
                                    .width = 12,
                                    .layers = 2,
                                    .heads = 3,
                                    .channels = 1,
                                    .height = 1,
                                    .image_width = 7,
                                    .block = 7,
                                    .classes = 11};
static const struct net_spec VIT = {.model = "vit_s_16",
                                    .width = 12,
                                    .layers = 2,
                                    .heads = 3,
                                    .patch = 4,
                                    .channels = 2,
                                    .height = 8,
                                    .image_width = 8,
                                    .classes = 3};
static const struct net_spec CLIP = {.model = "clip_vit_b_16",
                                     .width = 12,
                                     .layers = 2,
                                     .heads = 3,
                                     .patch = 4,
                                     .channels = 2,
                                     .height = 8,
                                     .image_width = 8,
                                     .classes = 3};

struct fixture {
  struct arena *arena;
  struct diag *diag;
  const struct net *net;
  const struct net_groups *groups;
  float *flat, *permuted, *x;
};

/* Every tensor drawn, so that no two channels are alike. */
static struct fixture setup(const struct net_spec *spec, const struct net *net)
{
  struct fixture f = {.arena = arena_new()};
  f.diag = diag_new(f.arena);
  f.net = spec ? net_new(f.arena, spec, f.diag) : net;
  f.groups = net_groups_new(f.arena, f.net, f.diag);
  f.flat = arena_array(f.arena, net_count(f.net), sizeof *f.flat);
  f.permuted = arena_array(f.arena, net_count(f.net), sizeof *f.permuted);
  f.x = arena_array(f.arena, SAMPLES * net_inputs(f.net), sizeof *f.x);
  struct rng r = rng_at(4, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < net_count(f.net); i++)
    f.flat[i] = (float)(0.5 * rng_normal(&r));
  for (size_t i = net_params(f.net); i < net_count(f.net); i++)
    f.flat[i] = 0.5f + fabsf(f.flat[i]);
  for (size_t i = 0; i < SAMPLES * net_inputs(f.net); i++)
    f.x[i] = spec && spec->block ? (float)rng_below(&r, spec->classes) : (float)rng_normal(&r);
  return f;
}

static uint32_t **random_perms(struct fixture *f, uint32_t seed)
{
  uint32_t **perms = arena_array(f->arena, f->groups->n, sizeof *perms);
  for (uint32_t g = 0; g < f->groups->n; g++) {
    struct rng r = rng_at(seed, RNG_TEST, 0, 0, g);
    perms[g] = arena_array(f->arena, f->groups->v[g].size, sizeof **perms);
    for (uint32_t i = 0; i < f->groups->v[g].size; i++)
      perms[g][i] = i;
    rng_shuffle(&r, perms[g], f->groups->v[g].size);
  }
  return perms;
}

static void assert_same_function(struct fixture *f)
{
  struct net_work *work = net_work_new(f->net, ops_cpu(), SAMPLES, false);
  const size_t n = (size_t)SAMPLES * net_targets(f->net) * net_classes(f->net);
  float *a = mem_alloc(n * sizeof *a), *b = mem_alloc(n * sizeof *b), largest = 0;
  net_logits(work, f->flat, f->x, SAMPLES, a);
  net_logits(work, f->permuted, f->x, SAMPLES, b);
  for (size_t i = 0; i < n; i++)
    largest = fmaxf(largest, fabsf(a[i]));
  assert_true(largest > 0);
  for (size_t i = 0; i < n; i++)
    assert_true(fabsf(a[i] - b[i]) <= 1e-5f * largest);
  free(a);
  free(b);
  net_work_free(work);
}

/* All groups at once, and each by itself; and back again. */
static void check_function(const struct net_spec *spec, const struct net *net)
{
  struct fixture f = setup(spec, net);
  assert_non_null(f.groups);
  assert_true(f.groups->n > 0);
  const size_t bytes = net_count(f.net) * sizeof *f.flat;
  uint32_t **perms = random_perms(&f, 1);
  net_permute(f.net, f.groups, perms, f.flat, f.permuted);
  assert_memory_not_equal(f.permuted, f.flat, bytes);
  assert_same_function(&f);
  for (size_t g = 0; g < f.groups->n; g++) {
    const struct net_group *group = &f.groups->v[g];
    memcpy(f.permuted, f.flat, bytes);
    net_permute_group(group, perms[g], f.permuted);
    assert_memory_not_equal(f.permuted, f.flat, bytes);
    assert_same_function(&f);
    uint32_t *back = arena_array(f.arena, group->size, sizeof *back);
    for (uint32_t i = 0; i < group->size; i++)
      back[perms[g][i]] = i;
    net_permute_group(group, back, f.permuted);
    assert_memory_equal(f.permuted, f.flat, bytes);
  }
  arena_free(f.arena);
}

static void permuted_networks_compute_the_same(void **state)
{
  (void)state;
  const struct net_spec *const specs[] = {&MLP, &RESNET, &DENSENET, &CONVNEXT};
  for (int i = 0; i < 4; i++) {
    check_function(specs[i], NULL);
    struct net_spec large = *specs[i];
    large.stem = "imagenet";
    large.height = large.image_width = 33;
    check_function(&large, NULL);
  }
  check_function(&GPT, NULL);
  check_function(&VIT, NULL);
  check_function(&CLIP, NULL);
}

/* "conv1.weight 0, bn1.weight 0, ...": tensors and axes of a group. */
static const char *uses_of(struct fixture *f, const char *name)
{
  size_t n;
  const struct net_tensor *tensors = net_tensors(f->net, &n);
  for (size_t g = 0; g < f->groups->n; g++) {
    const struct net_group *group = &f->groups->v[g];
    const char *text = "";
    if (strcmp(group->name, name))
      continue;
    for (size_t k = 0; k < group->n_uses; k++) {
      const struct net_use *u = &group->uses[k];
      text = arena_printf(f->arena, "%s%s%s %u", text, k ? ", " : "", tensors[u->tensor].name,
                          u->axis);
      assert_int_equal(u->buffer, tensors[u->tensor].buffer);
    }
    return text;
  }
  fail_msg("no group %s", name);
  return NULL;
}

#define NORM(name)                                                                                 \
  name ".weight 0, " name ".bias 0, " name ".running_mean 0, " name ".running_var 0"

/* One of each residual stage, one of each block. */
static void resnet_has_the_groups_of_the_literature(void **state)
{
  (void)state;
  struct fixture f = setup(&RESNET, NULL);
  assert_int_equal(f.groups->n, 6);
  assert_string_equal(
      uses_of(&f, "conv1.weight"),
      "conv1.weight 0, " NORM(
          "bn1") ", layer1.0.conv1.weight 1, "
                 "layer1.0.conv2.weight 0, " NORM(
                     "layer1.0.bn2") ", layer1.1.conv1.weight 1, "
                                     "layer1.1.conv2.weight 0, " NORM(
                                         "layer1.1.bn2") ", layer2.0.conv1.weight 1, "
                                                         "layer2.0.downsample.0.weight 1");
  assert_string_equal(uses_of(&f, "layer1.1.conv1.weight"),
                      "layer1.1.conv1.weight 0, " NORM("layer1.1.bn1") ", layer1.1.conv2.weight 1");
  assert_string_equal(
      uses_of(&f, "layer2.0.conv2.weight"),
      "layer2.0.conv2.weight 0, layer2.0.downsample.0.weight 0, " NORM(
          "layer2.0.downsample.1") ", " NORM("layer2.0.bn2") ", "
                                                             "layer2.1.conv1."
                                                             "weight 1, "
                                                             "layer2.1.conv2."
                                                             "weight 0, " NORM(
                                                                 "lay"
                                                                 "er2"
                                                                 ".1."
                                                                 "bn"
                                                                 "2") ", fc.weight 1");
  for (size_t g = 0; g < f.groups->n; g++) {
    const bool stage = !strcmp(f.groups->v[g].name, "conv1.weight") ||
                       !strcmp(f.groups->v[g].name, "layer2.0.conv2.weight");
    const bool first = f.groups->v[g].name[0] == 'c' || f.groups->v[g].name[5] == '1';
    assert_int_equal(f.groups->v[g].size, first ? 4 : 8);
    assert_int_equal(f.groups->v[g].n_places, !stage ? 1 : first ? 3 : 2); /* stem, 2 blocks */
  }
  arena_free(f.arena);
}

/* The same: depthwise filters and layer scales go with their stage. */
static void convnext_has_groups_of_stages_and_blocks(void **state)
{
  (void)state;
  struct fixture f = setup(&CONVNEXT, NULL);
  assert_int_equal(f.groups->n, 6);
  assert_string_equal(
      uses_of(&f, "features.0.0.weight"),
      "features.0.0.weight 0, features.0.0.bias 0, features.0.1.weight 0, features.0.1.bias 0, "
      "features.1.0.block.0.weight 0, features.1.0.block.0.bias 0, "
      "features.1.0.block.2.weight 0, features.1.0.block.2.bias 0, "
      "features.1.0.block.3.weight 1, features.1.0.layer_scale 0, "
      "features.1.0.block.5.weight 0, features.1.0.block.5.bias 0, "
      "features.1.1.block.0.weight 0, features.1.1.block.0.bias 0, "
      "features.1.1.block.2.weight 0, features.1.1.block.2.bias 0, "
      "features.1.1.block.3.weight 1, features.1.1.layer_scale 0, "
      "features.1.1.block.5.weight 0, features.1.1.block.5.bias 0, "
      "features.2.0.weight 0, features.2.0.bias 0, features.2.1.weight 1");
  assert_string_equal(uses_of(&f, "features.3.1.block.3.weight"),
                      "features.3.1.block.3.weight 0, features.3.1.block.3.bias 0, "
                      "features.3.1.block.5.weight 1");
  arena_free(f.arena);
}

/* A tied head reads the words that the embedding writes: they are in the group once. */
static void transformers_have_a_stream_heads_and_neurons(void **state)
{
  (void)state;
  struct fixture f = setup(&GPT, NULL);
  assert_int_equal(f.groups->n, 1 + 2 * 2);
  assert_string_equal(
      uses_of(&f, "transformer.wte.weight"),
      "transformer.wte.weight 1, transformer.wpe.weight 1, "
      "transformer.h.0.ln_1.weight 0, transformer.h.0.ln_1.bias 0, "
      "transformer.h.0.attn.c_attn.weight 0, "
      "transformer.h.0.attn.c_proj.weight 1, transformer.h.0.attn.c_proj.bias 0, "
      "transformer.h.0.ln_2.weight 0, transformer.h.0.ln_2.bias 0, "
      "transformer.h.0.mlp.c_fc.weight 0, "
      "transformer.h.0.mlp.c_proj.weight 1, transformer.h.0.mlp.c_proj.bias 0, "
      "transformer.h.1.ln_1.weight 0, transformer.h.1.ln_1.bias 0, "
      "transformer.h.1.attn.c_attn.weight 0, "
      "transformer.h.1.attn.c_proj.weight 1, transformer.h.1.attn.c_proj.bias 0, "
      "transformer.h.1.ln_2.weight 0, transformer.h.1.ln_2.bias 0, "
      "transformer.h.1.mlp.c_fc.weight 0, "
      "transformer.h.1.mlp.c_proj.weight 1, transformer.h.1.mlp.c_proj.bias 0, "
      "transformer.ln_f.weight 0, transformer.ln_f.bias 0");
  assert_string_equal(uses_of(&f, "transformer.h.1.attn.c_attn.weight"),
                      "transformer.h.1.attn.c_attn.weight 1, transformer.h.1.attn.c_attn.weight 1, "
                      "transformer.h.1.attn.c_attn.weight 1, transformer.h.1.attn.c_attn.bias 0, "
                      "transformer.h.1.attn.c_attn.bias 0, transformer.h.1.attn.c_attn.bias 0, "
                      "transformer.h.1.attn.c_proj.weight 0");
  for (size_t g = 0; g < f.groups->n; g++) {
    const struct net_group *group = &f.groups->v[g];
    const bool heads = strstr(group->name, "c_attn") != NULL;
    if (heads || strstr(group->name, "c_fc"))
      assert_int_equal(group->size, heads ? 3 : 48);
    if (!heads)
      continue;
    assert_int_equal(group->uses[0].run, 4);
    assert_int_equal(group->n_places, 1); /* what attention puts out */
    assert_int_equal(group->places[0].run, 4);
  }
  arena_free(f.arena);
}

static void mlp_has_a_group_a_hidden_layer(void **state)
{
  (void)state;
  struct fixture f = setup(&MLP, NULL);
  assert_int_equal(f.groups->n, 3);
  assert_string_equal(uses_of(&f, "fc1.weight"), "fc1.weight 0, fc1.bias 0, fc2.weight 1");
  assert_string_equal(uses_of(&f, "fc3.weight"), "fc3.weight 0, fc3.bias 0, fc4.weight 1");
  arena_free(f.arena);
}

/* What a layer of a dense block appends lies in the middle of what later ones read. */
static void densenet_has_a_group_for_what_each_layer_appends(void **state)
{
  (void)state;
  struct fixture f = setup(&DENSENET, NULL);
  size_t n;
  const struct net_tensor *tensors = net_tensors(f.net, &n);
  assert_int_equal(f.groups->n, 2 * (1 + 3 + 3)); /* stem or transition, appended, bottlenecks */
  for (size_t g = 0; g < f.groups->n; g++) {
    const struct net_group *group = &f.groups->v[g];
    if (strcmp(group->name, "features.denseblock1.denselayer1.conv2.weight"))
      continue;
    assert_int_equal(group->size, 3);
    assert_int_equal(group->n_places, 3); /* norm1 of layers 2 and 3, the transition's norm */
    for (size_t k = 1; k < group->n_uses; k++) {
      const struct net_use *u = &group->uses[k];
      assert_int_equal((u->offset - tensors[u->tensor].offset) / u->run, 6); /* behind the stem's */
    }
    assert_int_equal(group->n_uses, 1 + 3 * 5);
    arena_free(f.arena);
    return;
  }
  fail_msg("no group of the first layer's channels");
}

/* ---- networks by hand ---- */

static struct net_value image(unsigned c, unsigned whole)
{
  return (struct net_value){.h = 3, .w = 4, .c = c, .whole = whole, .gradient = true};
}

static struct net_layer conv(unsigned in, unsigned out, unsigned ci, unsigned co, size_t weight)
{
  return (struct net_layer){.kind = LAYER_CONV,
                            .in = in,
                            .out = out,
                            .residual = NET_NONE,
                            .conv = {3, 4, ci, co, 1, 1, 0, 0},
                            .weight = weight};
}

/* Input [3][4][2] -> 5 channels -> flattened -> 3 units -> 2 logits. */
static void flattened_channels_are_runs_of_pixels(void **state)
{
  (void)state;
  struct net_value values[] = {image(2, 0),
                               image(5, 1),
                               {.h = 1, .w = 1, .c = 60, .whole = 2, .gradient = true},
                               {.h = 1, .w = 1, .c = 3, .whole = 3, .gradient = true},
                               {.h = 1, .w = 1, .c = 2, .whole = 4, .gradient = true}};
  struct net_layer layers[] = {
      conv(0, 1, 2, 5, 0),
      {.kind = LAYER_FLATTEN, .in = 1, .out = 2, .residual = NET_NONE},
      {.kind = LAYER_LINEAR,
       .in = 2,
       .out = 3,
       .residual = NET_NONE,
       .relu = true,
       .weight = 10,
       .bias = 190},
      {.kind = LAYER_LINEAR, .in = 3, .out = 4, .residual = NET_NONE, .weight = 193, .bias = 199}};
  struct net_tensor tensors[] = {{"a.weight", 4, {5, 2, 1, 1}, 0, 10, false},
                                 {"b.weight", 2, {3, 60}, 10, 180, false},
                                 {"b.bias", 1, {3}, 190, 3, false},
                                 {"c.weight", 2, {2, 3}, 193, 6, false},
                                 {"c.bias", 1, {2}, 199, 2, false}};
  const struct net net = {.values = values,
                          .n_values = 5,
                          .layers = layers,
                          .n_layers = 4,
                          .tensors = tensors,
                          .n_tensors = 5,
                          .count = 201,
                          .params = 201,
                          .logits = 4};
  check_function(NULL, &net);
  struct fixture f = setup(NULL, &net);
  assert_int_equal(f.groups->n, 2);
  assert_string_equal(uses_of(&f, "a.weight"), "a.weight 0, b.weight 1");
  assert_int_equal(f.groups->v[0].uses[1].run, 12);
  assert_int_equal(f.groups->v[0].n_places, 1); /* no activation function: the layer's output */
  arena_free(f.arena);
}

/* Value 3 is 2 channels of one layer and 3 of another; it is added to 5 of a third, which may
 * therefore not be mixed.  That layer reads what it is added to: the group is on two axes of one
 * tensor. */
static void additions_part_and_tie(void **state)
{
  (void)state;
  struct net_value values[] = {image(2, 0),
                               image(2, 3),
                               image(3, 3),
                               image(5, 3),
                               image(5, 4),
                               image(5, 5),
                               {.h = 1, .w = 1, .c = 5, .whole = 6, .gradient = true},
                               {.h = 1, .w = 1, .c = 2, .whole = 7, .gradient = true}};
  values[2].first = 2;
  struct net_layer layers[] = {
      conv(0, 1, 2, 2, 0),
      conv(0, 2, 2, 3, 4),
      conv(3, 4, 5, 5, 10),
      {.kind = LAYER_BATCHNORM,
       .in = 4,
       .out = 5,
       .residual = 3,
       .relu = true,
       .weight = 35,
       .bias = 40,
       .mean = 57,
       .var = 62},
      {.kind = LAYER_POOL, .in = 5, .out = 6, .residual = NET_NONE},
      {.kind = LAYER_LINEAR, .in = 6, .out = 7, .residual = NET_NONE, .weight = 45, .bias = 55}};
  layers[0].conv.y_pixel = layers[1].conv.y_pixel = 5;
  struct net_tensor tensors[] = {{"a.weight", 4, {2, 2, 1, 1}, 0, 4, false},
                                 {"b.weight", 4, {3, 2, 1, 1}, 4, 6, false},
                                 {"c.weight", 4, {5, 5, 1, 1}, 10, 25, false},
                                 {"d.weight", 1, {5}, 35, 5, false},
                                 {"d.bias", 1, {5}, 40, 5, false},
                                 {"e.weight", 2, {2, 5}, 45, 10, false},
                                 {"e.bias", 1, {2}, 55, 2, false},
                                 {"d.running_mean", 1, {5}, 57, 5, true},
                                 {"d.running_var", 1, {5}, 62, 5, true}};
  const struct net net = {.values = values,
                          .n_values = 8,
                          .layers = layers,
                          .n_layers = 6,
                          .tensors = tensors,
                          .n_tensors = 9,
                          .count = 67,
                          .params = 57,
                          .logits = 7};
  check_function(NULL, &net);
  struct fixture f = setup(NULL, &net);
  assert_int_equal(f.groups->n, 2);
  assert_string_equal(uses_of(&f, "a.weight"),
                      "a.weight 0, c.weight 0, c.weight 1, " NORM("d") ", e.weight 1");
  assert_int_equal(f.groups->v[0].size, 2);
  assert_string_equal(uses_of(&f, "b.weight"),
                      "b.weight 0, c.weight 0, c.weight 1, " NORM("d") ", e.weight 1");
  assert_int_equal(f.groups->v[1].size, 3);
  arena_free(f.arena);
}

/* ---- looking on ---- */

struct seen {
  const struct net *net;
  unsigned layer;
  float *features;
  size_t n;
};

static void look(void *context, unsigned value, const struct net_activation *a)
{
  struct seen *s = context;
  const struct net_layer *l = &s->net->layers[s->layer++];
  assert_int_equal(value, l->out);
  assert_int_equal(a->c, s->net->values[value].c);
  if (s->layer + 1 != s->net->n_layers)
    return;
  for (size_t i = 0; i < a->rows; i++) /* before the classifier */
    for (unsigned k = 0; k < a->c; k++)
      s->features[s->n++] = a->y[i * a->row + k];
}

static void visitors_see_every_layer(void **state)
{
  (void)state;
  const struct net_spec *const specs[] = {&MLP, &RESNET, &DENSENET, &CONVNEXT, &VIT};
  for (int i = 0; i < 5; i++) {
    struct fixture f = setup(specs[i], NULL);
    const size_t n = (size_t)SAMPLES * net_features(f.net);
    float *expected = arena_array(f.arena, n, sizeof *expected);
    struct seen seen = {f.net, 0, arena_array(f.arena, n, sizeof(float)), 0};
    struct net_work *work = net_work_new(f.net, ops_cpu(), SAMPLES, false);
    net_visit(work, f.flat, f.x, SAMPLES, look, &seen);
    net_penultimate(work, f.flat, f.x, SAMPLES, expected);
    assert_int_equal(seen.layer, f.net->n_layers);
    assert_int_equal(seen.n, n);
    assert_memory_equal(seen.features, expected, n * sizeof *expected);
    net_work_free(work);
    arena_free(f.arena);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(permuted_networks_compute_the_same),
      cmocka_unit_test(resnet_has_the_groups_of_the_literature),
      cmocka_unit_test(convnext_has_groups_of_stages_and_blocks),
      cmocka_unit_test(mlp_has_a_group_a_hidden_layer),
      cmocka_unit_test(densenet_has_a_group_for_what_each_layer_appends),
      cmocka_unit_test(flattened_channels_are_runs_of_pixels),
      cmocka_unit_test(additions_part_and_tie),
      cmocka_unit_test(transformers_have_a_stream_heads_and_neurons),
      cmocka_unit_test(visitors_see_every_layer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
