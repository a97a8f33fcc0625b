/* mergescape merge weight_matching and learned_matching of transformers, and with labels, as a user
 * runs them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include "command_fixture.h"
#include "general_fixture.h"

#include "base/checkpoint.h"
#include "engine/net_groups.h"
#include "merge/match.h"

#include <unistd.h>

enum { SAMPLES = 48 };

static const struct network {
  const struct net_spec *spec;
  const char *model, *shape;
} MODELS[NETWORKS] = {
    {&GPT, "'gpt(width = 24, layers = 2, heads = 3)'", ""},
    {&VIT, "'vit_s_16(width = 24, layers = 2, heads = 3, patch = 4)'", "--shape=2x8x8"},
    {&CLIP, "'clip_vit_b_16(width = 24, layers = 2, heads = 3, patch = 4)'", "--shape=2x8x8"},
};
static const struct net_spec MLP = {.model = "mlp",
                                    .width = 16,
                                    .layers = 2,
                                    .channels = 1,
                                    .height = 4,
                                    .image_width = 4,
                                    .classes = 3};
#define MLP_TEXT "'mlp(width = 16, layers = 2)'"

struct world {
  const struct scratch *s;
  const struct net *net;
  const char *a, *b, *out, *canonical, *middle, *input;
};

/* A, and B with the units of A in random order; every tensor drawn, so that no bias is 0. */
static struct world setup(struct scratch *s, const struct net_spec *spec, unsigned classes)
{
  struct world w = {.s = s,
                    .net = net_new(s->arena, spec, s->diag),
                    .a = scratch_path(s, "a.safetensors"),
                    .b = scratch_path(s, "b.safetensors"),
                    .out = scratch_path(s, "out.safetensors"),
                    .canonical = scratch_path(s, "canonical.safetensors"),
                    .middle = scratch_path(s, "middle.safetensors"),
                    .input = scratch_path(s, "x.safetensors")};
  const struct net_groups *groups = net_groups_new(s->arena, w.net, s->diag);
  size_t n;
  const struct net_tensor *t = net_tensors(w.net, &n);
  float *a = arena_array(s->arena, net_count(w.net), sizeof *a);
  float *b = arena_array(s->arena, net_count(w.net), sizeof *b);
  uint32_t **perms = match_identity(s->arena, groups);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < t[i].count; k++) {
      const double one = t[i].rank == 1 && strstr(t[i].name, "weight") != NULL;
      a[t[i].offset + k] = (float)(one + 0.3 * rng_normal(&r));
    }
  for (size_t g = 0; g < groups->n; g++)
    rng_shuffle(&r, perms[g], groups->v[g].size);
  net_permute(w.net, groups, perms, a, b);
  assert_true(net_save(w.net, a, w.a, s->diag));
  assert_true(net_save(w.net, b, w.b, s->diag));
  command_write_input(s, w.input, spec, SAMPLES, classes);
  return w;
}

static const char *bare(const struct world *w, const char *model)
{
  return arena_strndup(w->s->arena, model + 1, strlen(model) - 2);
}

static size_t tensors_in(const struct world *w, const char *path, const char *name,
                         enum safetensors_dtype dtype)
{
  struct checkpoint file;
  assert_true(checkpoint_open(w->s->arena, path, &file, w->s->diag));
  for (size_t i = 0; i < file.n_tensors; i++)
    assert_int_equal(file.tensors[i].dtype, dtype);
  assert_non_null(checkpoint_find(&file, name));
  const size_t n = file.n_tensors;
  checkpoint_close(&file);
  return n;
}

static double apart(const struct world *w, const char *model, const char *a, const char *b)
{
  const char *text = bare(w, model);
  return command_apart(w->s, text, a, text, b, w->input);
}

/* By permutations, number by number. */
static void heads_and_neurons_are_put_back(void **state)
{
  struct scratch *s = *state;
  for (int k = 0; k < NETWORKS; k++) {
    const struct network *n = &MODELS[k];
    const struct world w = setup(s, n->spec, 0);
    command_does(s,
                 arena_printf(s->arena,
                              "merge weight_matching --model %s %s --restarts 5 %s %s -o %s",
                              n->model, n->shape, w.a, w.b, w.out),
                 "-> 1.0000");
    command_does(s,
                 arena_printf(s->arena,
                              "merge activation_matching --model %s --input %s %s %s -o %s",
                              n->model, w.input, w.a, w.b, w.out),
                 "channels moved");
    assert_true(apart(&w, n->model, w.b, w.out) < 1e-5);
  }
}

/* OUT and A's other form compute what B and A do, and between them nothing is lost: B is A. */
static void turned_models_can_be_merged(void **state)
{
  struct scratch *s = *state;
  for (int k = 0; k < NETWORKS; k++) {
    const struct network *n = &MODELS[k];
    const struct world w = setup(s, n->spec, 0);
    command_does(s,
                 arena_printf(s->arena,
                              "merge weight_matching --symmetries=general --canonical-a %s --model "
                              "%s %s %s %s -o %s",
                              w.canonical, n->model, n->shape, w.a, w.b, w.out),
                 arena_printf(s->arena, "cosine with %s", w.canonical));
    assert_true(apart(&w, n->model, w.a, w.canonical) < 1e-5);
    assert_true(apart(&w, n->model, w.b, w.out) < 1e-5);
    command_does(s,
                 arena_printf(s->arena, "merge linear %s %s -o %s", w.canonical, w.out, w.middle),
                 "tensors merged");
    const double middle = apart(&w, n->model, w.a, w.middle);
    if (middle > 1e-3)
      fail_msg("%s: midway %g", n->model, middle);
    size_t own;
    const char *last = net_tensors(w.net, &own)[own - 1].name;
    assert_int_equal(tensors_in(&w, w.out, k ? last : "lm_head.weight", SAFETENSORS_F32), own + !k);
  }
}

/* From what is matched already: the file of a head of its own is read again. */
static void a_head_of_its_own_is_read(void **state)
{
  struct scratch *s = *state;
  const struct network *n = &MODELS[0];
  const struct world w = setup(s, n->spec, 0);
  const char *again = scratch_path(s, "again.safetensors");
  const char *how = "merge weight_matching --symmetries=general --canonical-a";
  command_does(s,
               arena_printf(s->arena, "%s %s --model %s %s %s -o %s", how, w.canonical, n->model,
                            w.a, w.b, w.out),
               "cosine");
  command_does(s,
               arena_printf(s->arena, "forward --model %s --weights %s --input %s -o %s", n->model,
                            w.out, w.input, w.middle),
               "a head of its own");
  command_does(s,
               arena_printf(s->arena, "%s %s --model %s %s %s -o %s", how, w.middle, n->model, w.a,
                            w.out, again),
               "-> 1.0000");
  assert_true(apart(&w, n->model, w.b, again) < 1e-5);
  command_fails(s,
                arena_printf(s->arena, "merge weight_matching --model %s %s %s -o %s", n->model,
                             w.a, w.out, scratch_path(s, "none")),
                2, "a head of its own, the other has not", scratch_path(s, "none"));
}

/* Names, types and what is not of the model are B's. */
static void other_names_stay(void **state)
{
  struct scratch *s = *state;
  const struct network *n = &MODELS[1];
  const struct world w = setup(s, n->spec, 0);
  struct safetensors file, copy;
  static struct safetensors_meta meta[] = {{"format", "pt"}};
  assert_true(safetensors_open(s->arena, w.b, &file, s->diag));
  copy = file;
  copy.meta = meta;
  copy.n_meta = 1;
  for (size_t i = 0; i < copy.n_tensors; i++)
    copy.tensors[i].name = arena_printf(s->arena, "module.%s", file.tensors[i].name);
  const char *b = scratch_path(s, "module.safetensors");
  assert_true(safetensors_write(b, &copy, s->diag));
  safetensors_close(&file);
  command_does(
      s,
      arena_printf(s->arena,
                   "merge weight_matching --symmetries=general --canonical-a %s --model %s "
                   "%s %s %s -o %s",
                   w.canonical, n->model, n->shape, w.a, b, w.out),
      "cosine");
  tensors_in(&w, w.out, "module.norm.weight", SAFETENSORS_F32);
  tensors_in(&w, w.canonical, "norm.weight", SAFETENSORS_F32);
  assert_true(apart(&w, n->model, w.b, w.out) < 1e-5);
}

static void learning_begins_at_weight_matching(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &MLP, 3);
  const char *learn = "merge learned_matching --epochs 1 --batch 8 --lr 0.01";
  command_does(s,
               arena_printf(s->arena, "%s --model %s --input %s %s %s -o %s", learn, MLP_TEXT,
                            w.input, w.a, w.b, w.out),
               "-> 1.0000; loss midway");
  assert_true(apart(&w, MLP_TEXT, w.b, w.out) < 1e-5);
  for (int k = 0; k < NETWORKS; k++) {
    const struct network *n = &MODELS[k];
    w = setup(s, n->spec, n->spec->classes);
    /* Texts of fewer tokens than there are positions. */
    struct net_spec shorter = *n->spec;
    shorter.block = shorter.block ? BLOCK - 4 : 0;
    command_write_input(s, w.input, &shorter, SAMPLES, n->spec->classes);
    command_does(
        s,
        arena_printf(s->arena,
                     "%s --symmetries general --canonical-a %s --model %s --input %s %s %s "
                     "-o %s",
                     learn, w.canonical, n->model, w.input, w.a, w.b, w.out),
        "loss midway");
    assert_true(apart(&w, n->model, w.a, w.canonical) < 1e-5);
    assert_true(apart(&w, n->model, w.b, w.out) < 1e-5);
    command_does(s,
                 arena_printf(s->arena, "%s --threads 2 --model %s --input %s %s %s -o %s", learn,
                              n->model, w.input, w.a, w.b, w.out),
                 "loss midway");
    command_write_input(s, w.input, n->spec, SAMPLES, n->spec->classes);
    assert_true(apart(&w, n->model, w.b, w.out) < 1e-5);
  }
}

static void write_labels(const struct world *w, const char *name, enum safetensors_dtype dtype,
                         uint64_t n, const void *labels, size_t bytes)
{
  struct safetensors file;
  struct safetensors_tensor t[2];
  assert_true(safetensors_open(w->s->arena, w->input, &file, w->s->diag));
  t[0] = *safetensors_find(&file, "input");
  t[0].data = arena_copy(w->s->arena, t[0].data, t[0].bytes);
  t[1] = (struct safetensors_tensor){
      .name = name, .dtype = dtype, .rank = 1, .shape = {n}, .bytes = bytes, .data = labels};
  const struct safetensors what = {.tensors = t, .n_tensors = 2};
  safetensors_close(&file);
  assert_true(safetensors_write(w->input, &what, w->s->diag));
}

static void samples_are_held_against_the_model(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, &MLP, 0);
  const char *learn =
      arena_printf(s->arena, "merge learned_matching --model %s --input %s %s %s -o %s", MLP_TEXT,
                   w.input, w.a, w.b, w.out);
  static int32_t labels[SAMPLES];
  static float floats[SAMPLES];
  command_fails(s, learn, 2, "\"labels\" is missing", w.out);
  write_labels(&w, "labels", SAFETENSORS_I32, SAMPLES - 1, labels, sizeof labels - 4);
  command_fails(s, learn, 2, "\"labels\" is I32 [47], not whole numbers [48]", w.out);
  write_labels(&w, "labels", SAFETENSORS_F32, SAMPLES, floats, sizeof floats);
  command_fails(s, learn, 2, "\"labels\" is F32 [48], not whole numbers", w.out);
  labels[5] = 3;
  labels[7] = -1;
  write_labels(&w, "labels", SAFETENSORS_I32, SAMPLES, labels, sizeof labels);
  command_fails(s, learn, 2, "a label of sample 5 is outside 0 to 2", w.out);
  command_fails(s, learn, 2, "a label of sample 7", w.out);
  labels[5] = labels[7] = 2;
  write_labels(&w, "labels", SAFETENSORS_I32, SAMPLES, labels, sizeof labels);
  assert_int_equal(truncate(w.input, 1000), 0);
  command_fails(s, learn, 2, "x.safetensors", w.out);
  struct net_spec other = MLP;
  other.height = 5;
  command_write_input(s, w.input, &other, SAMPLES, 3);
  command_fails(s, learn, 2, "images of 1 x 5 x 4", w.out);
  other = *MODELS[0].spec;
  command_write_input(s, w.input, &other, SAMPLES, 0);
  command_fails(s, learn, 2, "\"input\" is I64 [48, 12], not images", w.out);
}

static void texts_are_held_against_the_model(void **state)
{
  struct scratch *s = *state;
  struct net_spec other = *MODELS[0].spec;
  const struct world w = setup(s, &other, 0);
  const char *learn =
      arena_printf(s->arena, "merge learned_matching --model %s --input %s %s %s -o %s",
                   MODELS[0].model, w.input, w.a, w.b, w.out);
  other.block = BLOCK + 2;
  command_write_input(s, w.input, &other, SAMPLES, 0);
  command_fails(s, learn, 2, "texts of 14 tokens", w.out);
  other = *MODELS[0].spec;
  other.classes = 14;
  command_write_input(s, w.input, &other, SAMPLES, 0);
  command_fails(s, learn, 2, "is outside 0 to 12", w.out);
  other.block = 1;
  command_write_input(s, w.input, &other, SAMPLES, 0);
  command_fails(s, learn, 2, "two tokens or more", w.out);
}

static void positions_are_as_many(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, MODELS[0].spec, 0);
  struct net_spec longer = *MODELS[0].spec;
  longer.block = longer.image_width = BLOCK + 2;
  const struct net *net = net_new(s->arena, &longer, s->diag);
  float *flat = arena_array(s->arena, net_count(net), sizeof *flat);
  net_init(net, 1, flat);
  assert_true(net_save(net, flat, w.b, s->diag));
  command_fails(s,
                arena_printf(s->arena, "merge weight_matching --model %s %s %s -o %s",
                             MODELS[0].model, w.a, w.b, w.out),
                2, "as many positions", w.out);
}

static void mistakes_are_named(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, MODELS[1].spec, 5);
  const char *model = arena_printf(s->arena, "--model %s", MODELS[1].model);
  const struct {
    const char *arguments;
    int status;
    const char *says;
  } cases[] = {
      {"weight_matching --shape=2x8x8 --symmetries=general", 2, "needs --canonical-a"},
      {"weight_matching --shape=2x8x8 --canonical-a=c.safetensors", 2, "A stays as it is"},
      {"weight_matching --shape=2x8x8 --symmetries=all", 2, "permutations|general"},
      {"weight_matching --shape=2x8x8 --epochs=1", 2, "takes no --epochs"},
      {"activation_matching --symmetries=general", 2, "takes no --symmetries"},
      {"learned_matching", 2, "needs --input: samples to learn from"},
      {"learned_matching --lr=0 --input=x", 2, "greater than 0"},
      {"learned_matching --momentum=1 --input=x", 2, "less than 1"},
      {"learned_matching --batch=0 --input=x", 2, "whole number from 1"},
      {"learned_matching --threads=0 --input=x", 2, "whole number from 1"},
      {"learned_matching --input=nowhere.safetensors", 2, "nowhere.safetensors"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    command_fails(s,
                  arena_printf(s->arena, "merge %s %s %s %s -o %s", cases[i].arguments, model, w.a,
                               w.b, w.out),
                  cases[i].status, cases[i].says, w.out);
  /* Before anything is computed. */
  command_fails(s,
                arena_printf(s->arena, "merge weight_matching --shape=2x12x12 %s %s %s -o %s",
                             model, w.a, w.b, w.out),
                2, "\"pos_embed\" is for another size of images", w.out);
  const char *general = arena_printf(
      s->arena, "merge weight_matching --shape=2x8x8 --symmetries=general %s %s %s -o %s", model,
      w.a, w.b, w.out);
  command_fails(s, arena_printf(s->arena, "%s --canonical-a %s", general, w.out), 2, "same file",
                w.out);
  command_fails(s, arena_printf(s->arena, "%s --canonical-a %s", general, w.a), 2, "are read",
                w.out);
  command_does(s, "merge learned_matching --help", "--canonical-a=FILE");
  command_does(s, "merge --help", "learned_matching");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(heads_and_neurons_are_put_back),
      SCRATCH_TEST(turned_models_can_be_merged),
      SCRATCH_TEST(a_head_of_its_own_is_read),
      SCRATCH_TEST(other_names_stay),
      SCRATCH_TEST(learning_begins_at_weight_matching),
      SCRATCH_TEST(samples_are_held_against_the_model),
      SCRATCH_TEST(texts_are_held_against_the_model),
      SCRATCH_TEST(positions_are_as_many),
      SCRATCH_TEST(mistakes_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
