/* Files of weights as people have them: other names, other types, other tensors beside. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include "base/safetensors.h"
#include "engine/net.h"
#include "engine/net_positions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct net_spec GPT = {.model = "gpt",
                                    .width = 8,
                                    .layers = 2,
                                    .heads = 2,
                                    .block = 5,
                                    .channels = 1,
                                    .height = 1,
                                    .image_width = 5,
                                    .classes = 11};
static const struct net_spec RESNET = {.model = "resnet18",
                                       .width = 4,
                                       .stages = 2,
                                       .blocks = 1,
                                       .channels = 2,
                                       .height = 6,
                                       .image_width = 5,
                                       .classes = 3};
static const struct net_spec DENSENET = {.model = "densenet121",
                                         .growth = 3,
                                         .stages = 2,
                                         .layers = 2,
                                         .channels = 2,
                                         .height = 9,
                                         .image_width = 8,
                                         .classes = 3};
static const struct net_spec CONVNEXT = {.model = "convnext_tiny",
                                         .width = 2,
                                         .stages = 4,
                                         .blocks = 1,
                                         .channels = 2,
                                         .height = 32,
                                         .image_width = 32,
                                         .classes = 3};

/* A network, and a file of its weights that a test changes. */
struct world {
  struct arena *arena;
  struct diag *diag;
  struct net *net;
  float *flat, *back;
  const char *path;
  struct safetensors file;
};

static struct world setup(struct scratch *s, const struct net_spec *spec)
{
  struct world w = {.arena = s->arena, .diag = s->diag, .path = scratch_path(s, "w.safetensors")};
  w.net = net_new(s->arena, spec, s->diag);
  assert_non_null(w.net);
  w.flat = arena_array(s->arena, net_count(w.net), sizeof *w.flat);
  w.back = arena_array(s->arena, net_count(w.net), sizeof *w.back);
  net_init(w.net, 3, w.flat);
  size_t n;
  const struct net_tensor *t = net_tensors(w.net, &n);
  w.file = (struct safetensors){.tensors = arena_array(s->arena, n + 64, sizeof *w.file.tensors),
                                .n_tensors = n};
  for (size_t i = 0; i < n; i++) {
    struct safetensors_tensor *to = &w.file.tensors[i];
    *to = (struct safetensors_tensor){.name = t[i].name,
                                      .dtype = SAFETENSORS_F32,
                                      .rank = t[i].rank,
                                      .bytes = t[i].count * sizeof *w.flat,
                                      .data = w.flat + t[i].offset};
    for (unsigned k = 0; k < t[i].rank; k++)
      to->shape[k] = t[i].shape[k];
  }
  return w;
}

static bool load(struct world *w)
{
  assert_true(safetensors_write(w->path, &w->file, w->diag));
  memset(w->back, 0xff, net_count(w->net) * sizeof *w->back);
  return net_load(w->net, w->path, w->back, w->diag);
}

static void loads(struct world *w)
{
  if (!load(w))
    fail_msg("%s", diag_message(w->diag, 0));
  assert_int_equal(diag_count(w->diag), 0);
  assert_memory_equal(w->back, w->flat, net_count(w->net) * sizeof *w->back);
}

/* One message with each of the texts. */
static void fails(struct scratch *s, struct world *w, const char *a, const char *b)
{
  assert_false(load(w));
  scratch_expect(s, a, b);
}

static struct safetensors_tensor *find(struct world *w, const char *name)
{
  for (size_t i = 0; i < w->file.n_tensors; i++)
    if (!strcmp(w->file.tensors[i].name, name))
      return &w->file.tensors[i];
  fail_msg("no %s", name);
  return NULL;
}

static void add(struct world *w, struct safetensors_tensor t)
{
  assert_true(w->file.n_tensors < 64);
  w->file.tensors[w->file.n_tensors++] = t;
}

static void put_before(struct world *w, const char *prefix)
{
  for (size_t i = 0; i < w->file.n_tensors; i++)
    w->file.tensors[i].name = arena_printf(w->arena, "%s%s", prefix, w->file.tensors[i].name);
}

static void drop_prefix(struct world *w, const char *prefix)
{
  for (size_t i = 0; i < w->file.n_tensors; i++)
    w->file.tensors[i].name += strlen(prefix);
}

static void frameworks_put_words_before(void **state)
{
  struct world w = setup(*state, &RESNET);
  loads(&w);
  put_before(&w, "module.");
  loads(&w);
  put_before(&w, "model._orig_mod.");
  loads(&w);
  w = setup(*state, &GPT);
  put_before(&w, "_orig_mod.");
  loads(&w);
}

/* A word that not all tensors have is part of their names. */
static void one_word_is_not_dropped(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &RESNET);
  w.file.tensors[0].name = arena_printf(w.arena, "module.%s", w.file.tensors[0].name);
  assert_false(load(&w));
  assert_int_equal(diag_errors(s->diag), 2);
  assert_non_null(strstr(diag_message(s->diag, 0), "\"conv1.weight\" is missing"));
  assert_non_null(strstr(diag_message(s->diag, 1), "\"module.conv1.weight\" is not of this"));
}

static void gpt2_is_read_as_it_is(void **state)
{
  static const float mask[25];
  struct world w = setup(*state, &GPT);
  const struct safetensors_tensor words = *find(&w, "transformer.wte.weight");
  const struct safetensors_tensor buffer = {"", SAFETENSORS_F32, 4, {1, 1, 5, 5}, 100, mask};
  const struct safetensors_tensor number = {"", SAFETENSORS_F32, 0, {0}, 4, mask};
  for (int k = 0; k < 2; k++) {
    struct safetensors_tensor bias = buffer, masked = number, head = words;
    bias.name = arena_printf(w.arena, "transformer.h.%d.attn.bias", k);
    masked.name = arena_printf(w.arena, "transformer.h.%d.attn.masked_bias", k);
    head.name = "transformer.lm_head.weight"; /* loses the word with the others */
    add(&w, bias);
    add(&w, masked);
    if (k)
      add(&w, head);
  }
  drop_prefix(&w, "transformer.");
  loads(&w);
  /* With the word, as GPT2LMHeadModel saves itself. */
  w = setup(*state, &GPT);
  struct safetensors_tensor head = words;
  head.name = "lm_head.weight";
  add(&w, head);
  loads(&w);
}

static void a_head_must_be_tied(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &GPT);
  struct safetensors_tensor head = *find(&w, "transformer.wte.weight");
  float *other = arena_copy(w.arena, head.data, head.bytes);
  head.name = "lm_head.weight";
  head.data = other;
  other[2 * 8 + 5] += 1;
  add(&w, head);
  fails(s, &w, "\"lm_head.weight\" differs from \"transformer.wte.weight\" at [2, 5]",
        "the same weights");
  other[2 * 8 + 5] -= 1;
  other[0] = NAN;
  fails(s, &w, "at [0, 0]", NULL);
  struct safetensors_tensor *last = &w.file.tensors[w.file.n_tensors - 1];
  last->shape[0] = 10;
  last->bytes -= 8 * sizeof *other;
  fails(s, &w, "\"lm_head.weight\" is F32 [10, 8], and \"transformer.wte.weight\" is F32 [11, 8]",
        NULL);
}

/* A model that knows longer texts: the first positions are taken. */
static void positions_may_be_more(void **state)
{
  struct scratch *s = *state;
  struct net_spec spec = GPT;
  struct world w = setup(s, &GPT);
  assert_true(safetensors_write(w.path, &w.file, w.diag));
  spec.block = spec.image_width = 3;
  struct net *shorter = net_new(s->arena, &spec, s->diag);
  float *flat = arena_array(s->arena, net_count(shorter), sizeof *flat);
  assert_true(net_load(shorter, w.path, flat, s->diag));
  size_t n;
  const struct net_tensor *a = net_tensors(w.net, &n), *b = net_tensors(shorter, &n);
  for (size_t i = 0; i < n; i++)
    assert_memory_equal(flat + b[i].offset, w.flat + a[i].offset, b[i].count * sizeof *flat);
  spec.block = spec.image_width = 6;
  struct net *longer = net_new(s->arena, &spec, s->diag);
  flat = arena_array(s->arena, net_count(longer), sizeof *flat);
  assert_false(net_load(longer, w.path, flat, s->diag));
  scratch_expect(s, "\"transformer.wpe.weight\" has shape [5, 8], the model needs [6, 8]", NULL);
}

static void old_densenet_names_are_known(void **state)
{
  struct world w = setup(*state, &DENSENET);
  unsigned n = 0;
  for (size_t i = 0; i < w.file.n_tensors; i++) {
    char *name = arena_printf(w.arena, "%s ", w.file.tensors[i].name);
    char *at = strstr(name, ".norm1.");
    at = at ? at : strstr(name, ".norm2.");
    at = at ? at : strstr(name, ".conv1.");
    at = at ? at : strstr(name, ".conv2.");
    name[strlen(name) - 1] = 0;
    if (!at)
      continue;
    memmove(at + 6, at + 5, strlen(at + 5) + 1);
    at[5] = '.';
    w.file.tensors[i].name = name;
    n++;
  }
  assert_int_equal(n, 4 * (4 + 1 + 4 + 1)); /* 4 layers: two norms, two convolutions */
  assert_string_equal(w.file.tensors[3].name, "features.denseblock1.denselayer1.norm.1.weight");
  loads(&w);
}

static struct net_spec vit(const char *model, unsigned height, unsigned width)
{
  return (struct net_spec){.model = model,
                           .width = 6,
                           .layers = 1,
                           .heads = 2,
                           .patch = 2,
                           .channels = 3,
                           .height = height,
                           .image_width = width,
                           .classes = 5};
}

static void check_positions(struct scratch *s, const char *model, const char *positions)
{
  const struct net_spec spec = vit(model, 8, 8), other = vit(model, 12, 8),
                        flat = vit(model, 4, 16);
  struct world w = setup(s, &spec), to = setup(s, &other), same = setup(s, &flat);
  const struct safetensors_tensor *t = find(&w, positions);
  const float *from = t->data;
  assert_true(safetensors_write(w.path, &w.file, w.diag));
  assert_true(net_load(to.net, w.path, to.back, w.diag));
  assert_int_equal(diag_errors(w.diag), 0);
  scratch_expect(s, "positions of 4 x 4 patches are resampled to 6 x 4", NULL);
  float want[(1 + 6 * 4) * 6];
  net_resample_positions(from, 4, want, 6, 4, 6);
  const float *at = to.back + ((const float *)find(&to, positions)->data - to.flat);
  assert_memory_equal(at, want, sizeof want);
  /* As many as there must be are taken as they are. */
  assert_true(net_load(same.net, w.path, same.back, w.diag));
  assert_int_equal(diag_count(w.diag), 0);
  assert_memory_equal(same.back, w.flat, net_count(w.net) * sizeof *same.back);
}

static void positions_of_another_square_are_resampled(void **state)
{
  struct scratch *s = *state;
  check_positions(s, "vit_s_16", "pos_embed");
  check_positions(s, "clip_vit_b_16", "visual.positional_embedding");
  /* 14 patches are no square. */
  const struct net_spec spec = vit("vit_b_16", 8, 8), other = vit("vit_b_16", 4, 14);
  struct world w = setup(s, &other), to = setup(s, &spec);
  assert_true(safetensors_write(w.path, &w.file, w.diag));
  assert_false(net_load(to.net, w.path, to.back, w.diag));
  scratch_expect(s, "\"pos_embed\" has shape [1, 15, 6], the model needs [1, 17, 6]", NULL);
}

/* timm's names, and its layer scales, which have one dimension. */
static void timm_names_convnext_otherwise(void **state)
{
  static const char *const names[][2] = {
      {"features.0.", "stem."},
      {"features.1.", "stages.0.blocks."},
      {"features.2.", "stages.1.downsample."},
      {"features.3.", "stages.1.blocks."},
      {"features.4.", "stages.2.downsample."},
      {"features.5.", "stages.2.blocks."},
      {"features.6.", "stages.3.downsample."},
      {"features.7.", "stages.3.blocks."},
      {".block.0.", ".conv_dw."},
      {".block.2.", ".norm."},
      {".block.3.", ".mlp.fc1."},
      {".block.5.", ".mlp.fc2."},
      {".layer_scale", ".gamma"},
      {"classifier.0.", "head.norm."},
      {"classifier.2.", "head.fc."},
  };
  struct world w = setup(*state, &CONVNEXT);
  for (size_t i = 0; i < w.file.n_tensors; i++) {
    struct safetensors_tensor *t = &w.file.tensors[i];
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
      const char *at = strstr(t->name, names[k][0]);
      if (at)
        t->name = arena_printf(w.arena, "%.*s%s%s", (int)(at - t->name), t->name, names[k][1],
                               at + strlen(names[k][0]));
    }
    if (t->rank == 3)
      t->rank = 1;
  }
  assert_int_equal(find(&w, "stages.3.blocks.0.gamma")->rank, 1);
  find(&w, "stages.1.downsample.1.weight");
  loads(&w);
  find(&w, "stages.0.blocks.0.gamma")->name = "stages.0.blocks.0.gama";
  assert_false(load(&w));
  assert_int_equal(diag_count(w.diag), 2);
  diag_clear(w.diag);
}

/* The encoder of a whole CLIP, which has no classifier of ours. */
static void clip_comes_without_its_language_model(void **state)
{
  static const char *const others[] = {"positional_embedding",
                                       "text_projection",
                                       "logit_scale",
                                       "token_embedding.weight",
                                       "transformer.resblocks.0.attn.in_proj_weight",
                                       "ln_final.bias"};
  static const float zero;
  struct scratch *s = *state;
  const struct net_spec spec = {.model = "clip_vit_b_16",
                                .width = 12,
                                .layers = 1,
                                .heads = 2,
                                .patch = 4,
                                .channels = 3,
                                .height = 8,
                                .image_width = 8,
                                .classes = 5};
  struct world w = setup(s, &spec);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    add(&w, (struct safetensors_tensor){others[i], SAFETENSORS_F32, 0, {0}, 4, &zero});
  loads(&w);
  find(&w, "classifier.weight")->name = "text.ln_final.weight";
  find(&w, "classifier.bias")->name = "logit_bias";
  assert_false(load(&w));
  assert_int_equal(diag_count(s->diag), 2);
  assert_non_null(strstr(diag_hint_of(s->diag, 1), "head = new"));
  diag_clear(s->diag);
  memcpy(w.back, w.flat, net_count(w.net) * sizeof *w.back);
  assert_true(net_load_body(w.net, w.path, w.back, s->diag));
  assert_memory_equal(w.back, w.flat, net_count(w.net) * sizeof *w.back);
}

static void twins_are_refused(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &GPT);
  struct safetensors_tensor again = *find(&w, "transformer.wte.weight");
  again.name = "wte.weight";
  add(&w, again);
  fails(s, &w, "\"transformer.wte.weight\" and \"wte.weight\" are both", NULL);
}

/* With another classifier, for `head = new`. */
static void a_body_may_be_wrapped(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &RESNET);
  struct safetensors_tensor *fc = find(&w, "fc.weight");
  fc->shape[0] = 2;
  fc->bytes = 2 * 8 * sizeof(float);
  find(&w, "fc.bias")->name = "fc.scale";
  put_before(&w, "model.");
  assert_false(load(&w));
  assert_int_equal(diag_count(s->diag), 3);
  assert_non_null(strstr(diag_hint_of(s->diag, 2), "head = new"));
  diag_clear(s->diag);
  memcpy(w.back, w.flat, net_count(w.net) * sizeof *w.back);
  memset(w.back, 0, net_params(w.net) / 2 * sizeof *w.back);
  assert_true(net_load_body(w.net, w.path, w.back, s->diag));
  assert_memory_equal(w.back, w.flat, net_count(w.net) * sizeof *w.back);
}

static void foreign_names_get_a_hint(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &RESNET);
  put_before(&w, "vision_model.");
  assert_false(load(&w));
  const unsigned n = diag_count(s->diag);
  assert_int_equal(n, diag_errors(s->diag));
  assert_non_null(strstr(diag_hint_of(s->diag, n - 1), "\"conv1.weight\""));
  assert_non_null(strstr(diag_hint_of(s->diag, n - 1), "\"vision_model.conv1.weight\""));
}

/* Twenty of a kind, then how many more. */
static void long_lists_are_cut(void **state)
{
  struct scratch *s = *state;
  struct net_spec spec = RESNET;
  spec.stages = 3;
  spec.blocks = 2;
  struct world w = setup(s, &spec);
  const size_t n = w.file.n_tensors;
  w.file.n_tensors = 1;
  w.file.tensors[0].dtype = SAFETENSORS_U8;
  w.file.tensors[0].shape[0] *= 4;
  assert_false(load(&w));
  assert_int_equal(diag_count(s->diag), 2 + 20 + 1);
  assert_non_null(strstr(diag_message(s->diag, 0), "type U8"));
  assert_non_null(strstr(diag_message(s->diag, 1), "has shape"));
  assert_string_equal(
      diag_message(s->diag, 22),
      arena_printf(s->arena, "%s: %zu more tensors are missing", w.path, n - 1 - 20));
}

/* Written from double, so that each type rounds in its own way. */
static void all_float_types_are_read(void **state)
{
  static const enum safetensors_dtype types[] = {SAFETENSORS_F16, SAFETENSORS_BF16,
                                                 SAFETENSORS_F64};
  for (int k = 0; k < 3; k++) {
    struct world w = setup(*state, &RESNET);
    for (size_t i = 0; i < w.file.n_tensors; i++) {
      struct safetensors_tensor *t = &w.file.tensors[i];
      const size_t count = t->bytes / sizeof(float), width = safetensors_dtype_bytes(types[k]);
      float *from = w.flat + ((const float *)t->data - w.flat);
      unsigned char *to = arena_array(w.arena, count + 1, width);
      for (size_t j = 0; j < count; j++) {
        /* 1.fraction * 2^e with few bits: every type holds it. */
        const unsigned bits = (unsigned)(7 * i + 3 * j) % 8;
        from[j] = ldexpf(1 + (float)bits / 8, (int)(j % 20) - 14);
        const uint16_t exponent = (uint16_t)(j % 20);
        const uint16_t f16 = (uint16_t)((exponent + 1) << 10 | bits << 7);
        const uint16_t bf16 = (uint16_t)((exponent - 14 + 127) << 7 | bits << 4);
        const double f64 = (double)from[j];
        memcpy(to + j * width,
               k == 0   ? (const void *)&f16
               : k == 1 ? (const void *)&bf16
                        : &f64,
               width);
      }
      t->dtype = types[k];
      t->bytes = count * width;
      t->data = to;
    }
    loads(&w);
  }
}

static void bad_values_are_named(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &RESNET);
  size_t n;
  const struct net_tensor *t = net_tensors(w.net, &n);
  assert_true(net_check_values(w.net, w.flat, "w", s->diag));
  w.flat[t[0].offset + 2 * 18 + 9 + 3 + 1] = NAN; /* [4][2][3][3] */
  w.flat[t[0].offset + 71] = INFINITY;
  assert_false(net_check_values(w.net, w.flat, "w", s->diag));
  scratch_expect(s, "w: tensor \"conv1.weight\" is NaN at [2, 1, 1, 1]", "1 more");
  w.flat[t[0].offset + 2 * 18 + 9 + 3 + 1] = w.flat[t[0].offset + 71] = 0;
  for (size_t i = 0; i < n; i++)
    if (!strcmp(t[i].name, "bn1.running_var"))
      w.flat[t[i].offset + 3] = -0.5f;
  assert_false(net_check_values(w.net, w.flat, "w", s->diag));
  scratch_expect(s, "\"bn1.running_var\" is -0.5 at [3], and no variance", NULL);
  for (size_t i = 0; i < n; i++)
    w.flat[t[i].offset] = -INFINITY;
  assert_false(net_check_values(w.net, w.flat, "w", s->diag));
  assert_int_equal(diag_count(s->diag), n <= 20 ? n : 21);
}

static void sizes_come_from_the_file(void **state)
{
  struct scratch *s = *state;
  struct net_sizes sizes;
  struct world w = setup(s, &GPT);
  put_before(&w, "module.");
  assert_true(safetensors_write(w.path, &w.file, s->diag));
  struct net_spec like = GPT;
  like.classes = 2;
  like.block = like.image_width = 1;
  assert_true(net_file_sizes(net_new(s->arena, &like, s->diag), w.path, &sizes, s->diag));
  assert_int_equal(sizes.classes, 11);
  assert_int_equal(sizes.tokens, 5);
  w = setup(s, &RESNET);
  assert_true(safetensors_write(w.path, &w.file, s->diag));
  like = RESNET;
  like.classes = 2;
  assert_true(net_file_sizes(net_new(s->arena, &like, s->diag), w.path, &sizes, s->diag));
  assert_int_equal(sizes.classes, 3);
  assert_int_equal(sizes.tokens, 0);
  find(&w, "fc.weight")->name = "head.weight";
  assert_true(safetensors_write(w.path, &w.file, s->diag));
  assert_true(net_file_sizes(w.net, w.path, &sizes, s->diag));
  assert_int_equal(sizes.classes, 0);
  /* Without shapes only names and types are asked for. */
  assert_false(net_check_file(w.net, w.path, false, s->diag));
  assert_int_equal(diag_count(s->diag), 2);
  diag_clear(s->diag);
  find(&w, "head.weight")->name = "fc.weight";
  assert_true(safetensors_write(w.path, &w.file, s->diag));
  struct net *other = net_new(s->arena, &like, s->diag);
  assert_true(net_check_file(other, w.path, false, s->diag));
  assert_false(net_check_file(other, w.path, true, s->diag));
  assert_int_equal(diag_count(s->diag), 2);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(frameworks_put_words_before),
      SCRATCH_TEST(one_word_is_not_dropped),
      SCRATCH_TEST(gpt2_is_read_as_it_is),
      SCRATCH_TEST(a_head_must_be_tied),
      SCRATCH_TEST(positions_may_be_more),
      SCRATCH_TEST(old_densenet_names_are_known),
      SCRATCH_TEST(positions_of_another_square_are_resampled),
      SCRATCH_TEST(timm_names_convnext_otherwise),
      SCRATCH_TEST(clip_comes_without_its_language_model),
      SCRATCH_TEST(twins_are_refused),
      SCRATCH_TEST(a_body_may_be_wrapped),
      SCRATCH_TEST(foreign_names_get_a_hint),
      SCRATCH_TEST(long_lists_are_cut),
      SCRATCH_TEST(all_float_types_are_read),
      SCRATCH_TEST(bad_values_are_named),
      SCRATCH_TEST(sizes_come_from_the_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
