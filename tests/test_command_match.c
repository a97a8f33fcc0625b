/* mergescape merge weight_matching and activation_matching, as a user runs them. */
#include "config.h"

#include "base/checkpoint.h"
#include "base/floats.h"
#include "base/rng.h"
#include "engine/net_groups.h"
#include "merge/match.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLES = 200, NETS = 2 };

static const struct {
  struct net_spec spec;
  const char *options;
} NETWORKS[NETS] = {
    {{.model = "mlp",
      .width = 24,
      .layers = 2,
      .channels = 1,
      .height = 5,
      .image_width = 6,
      .classes = 7},
     "--model 'mlp(width = 24, layers = 2)'"},
    {{.model = "resnet18",
      .width = 8,
      .stages = 2,
      .blocks = 1,
      .channels = 3,
      .height = 8,
      .image_width = 8,
      .classes = 4},
     "--model 'resnet18(width = 8, stages = 2, blocks = 1)'"},
};

struct world {
  struct scratch *s;
  const struct net *net;
  float *a, *b;
  const char *path[2], *out, *input;
};

/* Of B: F64 and names that a training framework has wrapped, with metadata, and steps counted. */
static void write_b(const struct world *w)
{
  static struct safetensors_meta meta[] = {{"format", "pt"}};
  static const int64_t steps = 12;
  struct arena *a = w->s->arena;
  size_t n;
  const struct net_tensor *tensors = net_tensors(w->net, &n);
  struct safetensors what = {.meta = meta, .n_meta = 1};
  what.tensors = arena_array(a, 2 * n, sizeof *what.tensors);
  for (size_t i = 0; i < n; i++) {
    double *v = arena_array(a, tensors[i].count, sizeof *v);
    for (size_t k = 0; k < tensors[i].count; k++)
      v[k] = (double)w->b[tensors[i].offset + k];
    struct safetensors_tensor *t = &what.tensors[what.n_tensors++];
    *t = (struct safetensors_tensor){.name = arena_printf(a, "module.%s", tensors[i].name),
                                     .dtype = SAFETENSORS_F64,
                                     .rank = tensors[i].rank,
                                     .bytes = tensors[i].count * sizeof *v,
                                     .data = v};
    for (unsigned d = 0; d < t->rank; d++)
      t->shape[d] = tensors[i].shape[d];
    const size_t m = strlen(t->name), end = strlen("running_var");
    if (m < end || strcmp(t->name + m - end, "running_var"))
      continue;
    what.tensors[what.n_tensors++] = (struct safetensors_tensor){
        .name = arena_printf(a, "%.*snum_batches_tracked", (int)(m - end), t->name),
        .dtype = SAFETENSORS_I64,
        .bytes = sizeof steps,
        .data = &steps};
  }
  assert_true(safetensors_write(w->path[1], &what, w->s->diag));
}

static void write_input(const struct world *w, const struct net_spec *spec)
{
  const size_t n = SAMPLES * net_inputs(w->net);
  float *v = arena_array(w->s->arena, n, sizeof *v);
  struct rng r = rng_at(4, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < n; i++)
    v[i] = (float)rng_normal(&r);
  struct safetensors_tensor t = {
      .name = "input",
      .dtype = SAFETENSORS_F32,
      .rank = 4,
      .shape = {SAMPLES, spec->channels, spec->height, spec->image_width},
      .bytes = n * sizeof *v,
      .data = v};
  const struct safetensors what = {.tensors = &t, .n_tensors = 1};
  assert_true(safetensors_write(w->input, &what, w->s->diag));
}

/* A, and B with the channels of A in random order. */
static struct world setup(struct scratch *s, const struct net_spec *spec)
{
  struct world w = {.s = s,
                    .net = net_new(s->arena, spec, s->diag),
                    .path = {scratch_path(s, "a.safetensors"), scratch_path(s, "b.safetensors")},
                    .out = scratch_path(s, "out.safetensors"),
                    .input = scratch_path(s, "x.safetensors")};
  const struct net_groups *groups = net_groups_new(s->arena, w.net, s->diag);
  assert_non_null(groups);
  uint32_t **perms = match_identity(s->arena, groups);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  w.a = arena_array(s->arena, net_count(w.net), sizeof *w.a);
  w.b = arena_array(s->arena, net_count(w.net), sizeof *w.b);
  net_init(w.net, 1, w.a);
  for (size_t i = 0; i < net_count(w.net); i++)
    w.a[i] += 0.01f * (float)rng_uniform(&r);
  for (size_t g = 0; g < groups->n; g++)
    rng_shuffle(&r, perms[g], groups->v[g].size);
  net_permute(w.net, groups, perms, w.a, w.b);
  assert_true(net_save(w.net, w.a, w.path[0], s->diag));
  write_b(&w);
  write_input(&w, spec);
  return w;
}

/* Runs it; the exit status.  What it says is in *said. */
static int run(const struct world *w, const char *arguments, const char **said)
{
  enum { CAP = 1 << 14 };
  char *text = arena_alloc(w->s->arena, CAP);
  FILE *f =
      popen(arena_printf(w->s->arena, "NO_COLOR=1 ./mergescape merge %s 2>&1", arguments), "r");
  assert_non_null(f);
  text[fread(text, 1, CAP - 1, f)] = 0;
  const int code = pclose(f);
  assert_true(WIFEXITED(code));
  *said = text;
  return WEXITSTATUS(code);
}

static void check_result(const struct world *w)
{
  struct checkpoint b, out;
  struct scratch *s = w->s;
  size_t n;
  const struct net_tensor *tensors = net_tensors(w->net, &n);
  assert_true(checkpoint_open(s->arena, w->path[1], &b, s->diag));
  assert_true(checkpoint_open(s->arena, w->out, &out, s->diag));
  assert_int_equal(out.n_tensors, b.n_tensors);
  assert_int_equal(out.n_meta, 2);
  assert_string_equal(out.meta[0].value, "pt");
  assert_string_equal(out.meta[1].key, "matched");
  for (size_t i = 0; i < b.n_tensors; i++) {
    const struct checkpoint_tensor *was = &b.tensors[i],
                                   *is = checkpoint_find(&out, b.tensors[i].name);
    assert_non_null(is);
    assert_int_equal(is->dtype, was->dtype);
    assert_int_equal(is->bytes, was->bytes);
    int64_t steps;
    if (is->dtype == SAFETENSORS_I64) {
      assert_true(checkpoint_read(&out, is, 0, &steps, sizeof steps, s->diag));
      assert_int_equal(steps, 12);
    }
  }
  for (size_t i = 0; i < n; i++) {
    double *v = arena_array(s->arena, tensors[i].count, sizeof *v);
    const struct checkpoint_tensor *t =
        checkpoint_find(&out, arena_printf(s->arena, "module.%s", tensors[i].name));
    assert_non_null(t);
    assert_true(checkpoint_read(&out, t, 0, v, tensors[i].count * sizeof *v, s->diag));
    for (size_t k = 0; k < tensors[i].count; k++)
      assert_true(v[k] == (double)w->a[tensors[i].offset + k]);
  }
  checkpoint_close(&b);
  checkpoint_close(&out);
  unlink(w->out);
}

/* By weights and by activations: the result is A, number by number. */
static void planted_permutations_are_undone(void **state)
{
  struct scratch *s = *state;
  const char *said;
  for (int k = 0; k < NETS; k++) {
    const struct net_spec *spec = &NETWORKS[k].spec;
    const struct world w = setup(s, spec);
    const char *files = arena_printf(s->arena, "%s %s -o %s", w.path[0], w.path[1], w.out);
    const char *by_weights =
        arena_printf(s->arena, "weight_matching %s --restarts 3 --seed 2 --shape=%ux%ux%u %s",
                     NETWORKS[k].options, spec->channels, spec->height, spec->image_width, files);
    const char *by_activations = arena_printf(s->arena, "activation_matching %s --input %s %s",
                                              NETWORKS[k].options, w.input, files);
    if (run(&w, by_weights, &said))
      fail_msg("%s", said);
    assert_non_null(strstr(said, "-> 1.0000"));
    check_result(&w);
    if (run(&w, by_activations, &said))
      fail_msg("%s", said);
    assert_non_null(strstr(said, "-> 1.0000"));
    check_result(&w);
  }
}

static void mistakes_are_named(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, &NETWORKS[0].spec);
  const char *files = arena_printf(s->arena, "%s %s -o %s", w.path[0], w.path[1], w.out), *said;
  static const struct {
    const char *arguments;
    int status;
    const char *says;
  } cases[] = {
      {"weight_matching", 2, "needs --model"},
      {"activation_matching --model mlp", 2, "needs --input"},
      {"weight_matching --model mlp --input x", 2, "takes no --input"},
      {"learned_matching --model mlp", 2, "needs --input"},
      {"weight_matching --model mlpp", 3, "did you mean"},
      {"weight_matching --model gpt", 2, "Hugging Face"},
      {"weight_matching --model mlp --restarts 0", 2, "whole number from 1"},
      {"weight_matching --model mlp --shape 3x3", 2, "no shape"},
      {"weight_matching --model 'mlp(width = 24, layers = 2)'", 2, "--shape"},
      {"weight_matching --model 'mlp(width = 24, layers = 2)' --shape=1x6x6", 2, "[24, 30]"},
      {"weight_matching --model mlp --nonsense", 2, "--help"},
      {"weight_matching --model mlp third", 2, "two models, not 3"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const int status = run(&w, arena_printf(s->arena, "%s %s", cases[i].arguments, files), &said);
    if (status != cases[i].status || !strstr(said, cases[i].says))
      fail_msg("%s: %d, %s", cases[i].arguments, status, said);
    assert_false(file_exists(w.out));
  }
  const char *onto_a = arena_printf(s->arena, "weight_matching %s --shape=1x5x6 %s %s -o %s",
                                    NETWORKS[0].options, w.path[0], w.path[1], w.path[0]);
  assert_int_equal(run(&w, onto_a, &said), 2);
  assert_non_null(strstr(said, "one of the files"));
  assert_int_equal(run(&w, "--help", &said), 0);
  assert_non_null(strstr(said, "weight_matching"));
  assert_int_equal(run(&w, "activation_matching -h", &said), 0);
  assert_non_null(strstr(said, "--samples"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(planted_permutations_are_undone),
      SCRATCH_TEST(mistakes_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
