/* mergescape merge intra_fusion and ot_fusion, as a user runs them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include "command_fixture.h"

#include "base/checkpoint.h"
#include "engine/net_groups.h"

static const struct net_spec RESNET = {.model = "resnet18",
                                       .width = 8,
                                       .stages = 2,
                                       .blocks = 1,
                                       .channels = 2,
                                       .height = 8,
                                       .image_width = 8,
                                       .classes = 4};
#define RESNET_TEXT "resnet18(width = 8, stages = 2, blocks = 1)"
#define SAID "resnet18(width = %u, stages = 2, blocks = 1)"

static float *draw(const struct scratch *s, const struct net *net, uint64_t seed)
{
  float *flat = arena_array(s->arena, net_count(net), sizeof *flat);
  struct rng r = rng_at(seed, RNG_TEST, 0, 0, 0);
  net_init(net, seed, flat);
  for (size_t i = 0; i < net_count(net); i++)
    flat[i] += 0.1f * (float)rng_uniform(&r);
  return flat;
}

static const char *save(const struct scratch *s, const char *name, const struct net *net,
                        const float *flat)
{
  const char *path = scratch_path(s, name);
  assert_true(net_save(net, flat, path, s->diag));
  return path;
}

/* B is A in another arrangement: carried to A it is A, at any alpha. */
static void another_arrangement_is_carried_back(void **state)
{
  struct scratch *s = *state;
  const struct net *net = net_new(s->arena, &RESNET, s->diag);
  const struct net_groups *groups = net_groups_new(s->arena, net, s->diag);
  float *a = draw(s, net, 1), *b = arena_array(s->arena, net_count(net), sizeof *b);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  uint32_t **perms = arena_array(s->arena, groups->n, sizeof *perms);
  for (size_t g = 0; g < groups->n; g++) {
    perms[g] = arena_array(s->arena, groups->v[g].size, sizeof **perms);
    for (uint32_t i = 0; i < groups->v[g].size; i++)
      perms[g][i] = i;
    rng_shuffle(&r, perms[g], groups->v[g].size);
  }
  net_permute(net, groups, perms, a, b);
  const char *path[] = {save(s, "a.safetensors", net, a), save(s, "b.safetensors", net, b)};
  const char *out = scratch_path(s, "out.safetensors"), *x = scratch_path(s, "x.safetensors");
  command_write_input(s, x, &RESNET, 12, 0);
  command_does(s,
               arena_printf(s->arena,
                            "merge ot_fusion --model '%s' --shape 2x8x8 --alpha 0.4 %s %s -o %s",
                            RESNET_TEXT, path[0], path[1], out),
               arena_printf(s->arena, "a " SAID, 8));
  assert_true(command_apart(s, RESNET_TEXT, path[0], arena_printf(s->arena, SAID, 8), out, x) <
              1e-4);
  struct checkpoint file;
  assert_true(checkpoint_open(s->arena, out, &file, s->diag));
  assert_int_equal(file.n_meta, 1);
  assert_string_equal(file.meta[0].key, "merged");
  assert_non_null(strstr(file.meta[0].value, "\"alpha\":\"0.4\""));
  checkpoint_close(&file);
}

/* All units stay: the same function.  Half of them: a file that forward reads as it is told. */
static void a_narrower_model_is_read(void **state)
{
  struct scratch *s = *state;
  const struct net *net = net_new(s->arena, &RESNET, s->diag);
  const char *a = save(s, "a.safetensors", net, draw(s, net, 1));
  const char *out = scratch_path(s, "out.safetensors"), *x = scratch_path(s, "x.safetensors");
  size_t n;
  command_write_input(s, x, &RESNET, 12, 0);
  const char *fuse = arena_printf(
      s->arena, "merge intra_fusion --model '%s' --shape 2x8x8 %s -o %s", RESNET_TEXT, a, out);
  command_does(s, arena_printf(s->arena, "%s --keep 1", fuse), arena_printf(s->arena, SAID, 8));
  assert_true(command_apart(s, RESNET_TEXT, a, RESNET_TEXT, out, x) < 1e-4);
  command_does(s, arena_printf(s->arena, "%s --keep 0.5", fuse), arena_printf(s->arena, SAID, 4));
  const float *logits = command_forward(s, arena_printf(s->arena, SAID, 4), out, x, &n);
  assert_int_equal(n, 12 * 4);
  for (size_t i = 0; i < n; i++)
    assert_true(isfinite(logits[i]));
}

/* Importance by gradients, of a ResNet and of a GPT, whose feed-forward neurons alone are fewer. */
static void variants_are_taken(void **state)
{
  struct scratch *s = *state;
  static const struct net_spec GPT = {.model = "gpt",
                                      .width = 8,
                                      .layers = 2,
                                      .heads = 2,
                                      .channels = 1,
                                      .height = 1,
                                      .image_width = 7,
                                      .block = 7,
                                      .classes = 11};
  static const char *const texts[][2] = {
      {RESNET_TEXT, "resnet18(width = 4, stages = 2, blocks = 1)"},
      {"gpt(width = 8, layers = 2, heads = 2)",
       "gpt(width = 8, layers = 2, heads = 2, hidden = 16)"}};
  static const char *const ways[] = {
      "", "--importance l2", "--importance taylor --samples 8",
      "--importance taylor --marginals importance --order sequential"};
  for (int m = 0; m < 2; m++) {
    const struct net_spec *spec = m ? &GPT : &RESNET;
    const struct net *net = net_new(s->arena, spec, s->diag);
    const char *a = save(s, "a.safetensors", net, draw(s, net, 1));
    const char *x = scratch_path(s, "x.safetensors"), *out = scratch_path(s, "out.safetensors");
    const float *logits[4];
    size_t n = 0;
    command_write_input(s, x, spec, 12, 4);
    for (int k = 0; k < 4; k++) {
      const bool taylor = strstr(ways[k], "taylor");
      command_does(s,
                   arena_printf(s->arena, "merge intra_fusion --model '%s' %s %s %s %s -o %s",
                                texts[m][0], ways[k],
                                taylor ? "--input"
                                : m    ? ""
                                       : "--shape",
                                taylor ? x
                                : m    ? ""
                                       : "2x8x8",
                                a, out),
                   texts[m][1]);
      logits[k] = command_forward(s, texts[m][1], out, x, &n);
      assert_true(isfinite(logits[k][0]));
    }
    assert_memory_not_equal(logits[3], logits[0], n * sizeof **logits);
    assert_memory_not_equal(logits[3], logits[2], n * sizeof **logits);
  }
}

/* Units 2 k and 2 k + 1 of A are unit k of B. */
static void twins_become_one(void **state)
{
  struct scratch *s = *state;
  const unsigned inputs = 30, classes = 3;
  const struct net_spec narrow = {.model = "mlp",
                                  .width = 6,
                                  .layers = 1,
                                  .channels = 1,
                                  .height = 5,
                                  .image_width = 6,
                                  .classes = classes};
  struct net_spec wide = narrow;
  wide.width = 12;
  const struct net *of_b = net_new(s->arena, &narrow, s->diag);
  const struct net *of_a = net_new(s->arena, &wide, s->diag);
  float *a = arena_array(s->arena, net_count(of_a), sizeof *a);
  float *b = arena_array(s->arena, net_count(of_b), sizeof *b);
  struct rng r = rng_at(7, RNG_TEST, 0, 0, 0);
  /* [6][30], [6], [3][6], [3]: magnitudes are the same, so that all units are as important. */
  for (size_t i = 0; i < net_count(of_b); i++)
    b[i] = rng_below(&r, 2) ? 0.2f : -0.2f;
  float *to = a, *from = b;
  for (unsigned unit = 0; unit < 12; unit++, to += inputs)
    memcpy(to, from + unit / 2 * inputs, inputs * sizeof *to);
  from += 6 * inputs;
  for (unsigned unit = 0; unit < 12; unit++)
    *to++ = from[unit / 2];
  from += 6;
  for (unsigned i = 0; i < classes * 12; i++)
    *to++ = 0.5f * from[i / 2];
  memcpy(to, from + classes * 6, classes * sizeof *to);
  const char *path[] = {save(s, "a.safetensors", of_a, a), save(s, "b.safetensors", of_b, b)};
  const char *out = scratch_path(s, "out.safetensors"), *x = scratch_path(s, "x.safetensors");
  const char *wide_text = "mlp(width = 12, layers = 1)", *text = "mlp(width = 6, layers = 1)";
  command_write_input(s, x, &narrow, 20, 0);
  assert_true(command_apart(s, wide_text, path[0], text, path[1], x) < 1e-5);
  command_does(s,
               arena_printf(s->arena, "merge intra_fusion --model '%s' --shape 1x5x6 %s -o %s",
                            wide_text, path[0], out),
               text);
  assert_true(command_apart(s, wide_text, path[0], text, out, x) < 1e-5);
  /* Networks of two widths. */
  command_does(s,
               arena_printf(s->arena,
                            "merge ot_fusion --model '%s' --model-b '%s' --shape 1x5x6 --alpha 0.3 "
                            "%s %s -o %s",
                            text, wide_text, path[1], path[0], out),
               text);
  assert_true(command_apart(s, wide_text, path[0], text, out, x) < 1e-5);
}

static void mistakes_are_named(void **state)
{
  struct scratch *s = *state;
  const struct net *net = net_new(s->arena, &RESNET, s->diag);
  const char *a = save(s, "a.safetensors", net, draw(s, net, 1));
  const char *out = scratch_path(s, "out.safetensors");
  static const struct {
    const char *arguments;
    int models, status;
    const char *says;
  } cases[] = {
      {"intra_fusion", 1, 2, "needs --model"},
      {"intra_fusion --model '" RESNET_TEXT "'", 2, 2, "one model, not 2"},
      {"ot_fusion --model '" RESNET_TEXT "'", 1, 2, "two models, not 1"},
      {"intra_fusion --model '" RESNET_TEXT "' --alpha 1", 1, 2, "takes no --alpha"},
      {"intra_fusion --model '" RESNET_TEXT "' --keep 0", 1, 2, "keeps nothing"},
      {"intra_fusion --model '" RESNET_TEXT "' --keep 0.3 --shape 2x8x8", 1, 2, "2.4 units"},
      {"intra_fusion --model '" RESNET_TEXT "' --keep 0.5", 1, 2, "[8, 3, 3, 3]"},
      {"intra_fusion --model resnet18", 1, 2, "\"layer3.0.conv1.weight\" is missing"},
      {"intra_fusion --model resnet81", 1, 3, "did you mean"},
      {"ot_fusion --model gpt", 2, 3, "units of gpt are not known"},
      {"intra_fusion --model gpt --keep 0.3", 1, 2, "is missing"},
      {"intra_fusion --model '" RESNET_TEXT "' --importance l3", 1, 2, "l3"},
      {"intra_fusion --model '" RESNET_TEXT "' --importance taylor", 1, 2, "needs --input"},
      {"intra_fusion --model '" RESNET_TEXT "' --samples 9", 1, 2, "only --importance=taylor"},
      {"ot_fusion --model '" RESNET_TEXT "' --order sequential", 2, 2, "takes no --order"},
      {"ot_fusion --model '" RESNET_TEXT "' --passes 0", 2, 2, "whole number from 1"},
      {"ot_fusion --model '" RESNET_TEXT "' --model-b mlp --shape 2x8x8", 2, 2, "is not of this"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    command_fails(s,
                  arena_printf(s->arena, "merge %s %s %s -o %s", cases[i].arguments, a,
                               cases[i].models == 2 ? a : "", out),
                  cases[i].status, cases[i].says, out);
  const char *said;
  assert_int_equal(command_run(s,
                               arena_printf(s->arena,
                                            "merge intra_fusion --model '%s' --shape 2x8x8 %s -o "
                                            "%s",
                                            RESNET_TEXT, a, a),
                               &said),
                   2);
  assert_non_null(strstr(said, "one of the files that are read"));
  command_does(s, "merge intra_fusion --help", "--keep=SHARE");
  command_does(s, "merge ot_fusion --help", "--model-b=MODEL");
  command_does(s, "merge --help", "ot_fusion");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(another_arrangement_is_carried_back),
      SCRATCH_TEST(a_narrower_model_is_read),
      SCRATCH_TEST(variants_are_taken),
      SCRATCH_TEST(twins_become_one),
      SCRATCH_TEST(mistakes_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
