/* mergescape fisher, gram, recalibrate and evaluate, as a user runs them, and what merge makes of
 * them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include "command_fixture.h"

#include "base/checkpoint.h"
#include "engine/ops.h"
#include "measure/measure.h"

#include <unistd.h>

enum { NETS = 3, SAMPLES = 20, POSITIONS = 9, TOKENS = 7 };

static const struct network {
  struct net_spec spec;
  const char *model;
} NETWORKS[NETS] = {
    {{.model = "mlp",
      .width = 10,
      .layers = 2,
      .channels = 1,
      .height = 4,
      .image_width = 4,
      .classes = 3},
     "'mlp(width = 10, layers = 2)'"},
    {{.model = "resnet18",
      .width = 4,
      .stages = 2,
      .blocks = 1,
      .channels = 2,
      .height = 8,
      .image_width = 8,
      .classes = 3},
     "'resnet18(width = 4, stages = 2, blocks = 1)'"},
    {{.model = "gpt",
      .width = 12,
      .layers = 1,
      .heads = 3,
      .channels = 1,
      .height = 1,
      .image_width = POSITIONS,
      .block = POSITIONS,
      .classes = 11},
     "'gpt(width = 12, layers = 1, heads = 3)'"},
};
enum { MLP, RESNET, GPT };

struct world {
  const struct scratch *s;
  const struct network *of;
  const struct net *net;
  float *flat;
  const char *a, *b, *out, *other, *input;
};

static float *draw(const struct world *w, uint64_t seed, const char *path)
{
  float *flat = arena_array(w->s->arena, net_count(w->net), sizeof *flat);
  struct rng r = rng_at(seed, RNG_TEST, 0, 0, 0);
  net_init(w->net, seed, flat);
  for (size_t i = 0; i < net_count(w->net); i++)
    flat[i] += 0.2f * (float)rng_uniform(&r);
  assert_true(net_save(w->net, flat, path, w->s->diag));
  return flat;
}

static struct world setup(struct scratch *s, int k)
{
  const struct net_spec *spec = &NETWORKS[k].spec;
  struct net_spec read = *spec;
  struct world w = {.s = s,
                    .of = &NETWORKS[k],
                    .net = net_new(s->arena, spec, s->diag),
                    .a = scratch_path(s, "a.safetensors"),
                    .b = scratch_path(s, "b.safetensors"),
                    .out = scratch_path(s, "out.safetensors"),
                    .other = scratch_path(s, "other.safetensors"),
                    .input = scratch_path(s, "x.safetensors")};
  w.flat = draw(&w, 1, w.a);
  draw(&w, 2, w.b);
  read.block = read.block ? TOKENS : 0;
  command_write_input(s, w.input, &read, SAMPLES, k == GPT ? 0 : spec->classes);
  return w;
}

/* The samples of the file, as training has them. */
static struct data_set samples_of(const struct world *w)
{
  struct safetensors file;
  const struct net_spec *spec = &w->of->spec;
  struct arena *a = w->s->arena;
  assert_true(safetensors_open(a, w->input, &file, w->s->diag));
  const struct safetensors_tensor *x = safetensors_find(&file, "input");
  const struct safetensors_tensor *y = safetensors_find(&file, "labels");
  struct data_set set = {.channels = spec->channels,
                         .height = spec->height,
                         .width = spec->block ? TOKENS - 1 : spec->image_width,
                         .block = spec->block ? TOKENS - 1 : 0,
                         .classes = spec->classes,
                         .targets = spec->block ? TOKENS - 1 : 1};
  struct data_samples *to = &set.split[DATA_TRAIN];
  const size_t pixels = (size_t)spec->height * spec->image_width;
  to->n = SAMPLES;
  if (spec->block) {
    uint16_t *tokens = arena_array(a, SAMPLES * TOKENS, sizeof *tokens);
    for (size_t i = 0; i < SAMPLES * TOKENS; i++)
      tokens[i] = (uint16_t)((const int64_t *)x->data)[i];
    to->tokens = tokens;
  } else {
    float *v = arena_array(a, SAMPLES * pixels * spec->channels, sizeof *v);
    int32_t *labels = arena_array(a, SAMPLES, sizeof *labels);
    for (size_t i = 0; i < SAMPLES; i++) {
      labels[i] = (int32_t)((const int64_t *)y->data)[i];
      for (size_t c = 0; c < spec->channels; c++)
        for (size_t p = 0; p < pixels; p++)
          v[(i * pixels + p) * spec->channels + c] =
              ((const float *)x->data)[(i * spec->channels + c) * pixels + p];
    }
    to->values = v;
    to->labels = labels;
  }
  safetensors_close(&file);
  return set;
}

/* The network that has as many positions as the samples, and its weights. */
static const struct net *sample_net(const struct world *w, float **flat)
{
  struct net_spec spec = w->of->spec;
  if (spec.block)
    spec.block = spec.image_width = TOKENS - 1;
  const struct net *net = net_new(w->s->arena, &spec, w->s->diag);
  *flat = arena_array(w->s->arena, net_count(net), sizeof **flat);
  assert_true(net_load(net, w->a, *flat, w->s->diag));
  return net;
}

static void check_fisher(const struct world *w, const char *word)
{
  enum measure_expectation how;
  float *flat;
  const struct net *net = sample_net(w, &flat);
  const struct data_set set = samples_of(w);
  struct checkpoint out;
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  double *wanted = arena_array(w->s->arena, net_params(net), sizeof *wanted);
  struct net_work *work = net_work_new(net, ops_cpu(), 1, true);
  const struct measure_loss loss = {work, net, &set, DATA_TRAIN, SAMPLES, 1};
  assert_true(measure_expectation_find(word, &how));
  measure_fisher(&loss, flat, how, 5, wanted);
  net_work_free(work);
  assert_true(checkpoint_open(w->s->arena, w->out, &out, w->s->diag));
  assert_int_equal(out.n_tensors, n);
  for (size_t i = 0; i < n; i++) {
    const struct checkpoint_tensor *f = checkpoint_find(&out, t[i].name);
    assert_non_null(f);
    float *v = arena_array(w->s->arena, f->count, sizeof *v);
    assert_true(checkpoint_floats(&out, f, 0, f->count, v, w->s->diag));
    for (size_t k = 0; k < f->count; k++) {
      const bool is_measured = !t[i].buffer && k < t[i].count;
      assert_true(v[k] == (is_measured ? (float)wanted[t[i].offset + k] : 0));
    }
  }
  checkpoint_close(&out);
}

/* The measured numbers, and files that merging takes as they are. */
static void fishers_are_what_merging_takes(void **state)
{
  struct scratch *s = *state;
  static const char *const words[] = {"exact", "sampled", "empirical"};
  for (int k = 0; k < NETS; k++) {
    const struct world w = setup(s, k);
    for (int i = k == GPT; i < 3; i++) {
      command_does(s,
                   arena_printf(s->arena,
                                "fisher --model %s --input %s --expectation %s --seed 5 %s -o %s",
                                w.of->model, w.input, words[i], w.a, w.out),
                   "by 20 samples");
      check_fisher(&w, words[i]);
    }
    command_does(s,
                 arena_printf(s->arena,
                              "fisher --model %s --input %s --expectation sampled --samples 7 "
                              "--threads 2 %s -o %s",
                              w.of->model, w.input, w.b, w.other),
                 "by 7 samples");
    command_does(s,
                 arena_printf(s->arena, "merge fisher --fisher %s,%s %s %s -o %s", w.out, w.other,
                              w.a, w.b, scratch_path(s, "merged.safetensors")),
                 "tensors merged");
  }
}

/* What the network does not have is a tensor of zeros, and a tied head has the embedding's. */
static void a_fisher_is_of_all_tensors_of_numbers(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, GPT);
  static const float mask[25];
  struct safetensors file;
  struct checkpoint out;
  assert_true(safetensors_open(s->arena, w.a, &file, s->diag));
  struct safetensors more = {.tensors =
                                 arena_array(s->arena, file.n_tensors + 2, sizeof(*file.tensors))};
  for (size_t i = 0; i < file.n_tensors; i++)
    more.tensors[more.n_tensors++] = file.tensors[i];
  more.tensors[more.n_tensors] = *safetensors_find(&file, "transformer.wte.weight");
  more.tensors[more.n_tensors++].name = "lm_head.weight";
  more.tensors[more.n_tensors++] = (struct safetensors_tensor){
      "transformer.h.0.attn.bias", SAFETENSORS_F32, 4, {1, 1, 5, 5}, sizeof mask, mask};
  assert_true(safetensors_write(w.b, &more, s->diag));
  safetensors_close(&file);
  command_does(s,
               arena_printf(s->arena,
                            "fisher --model %s --input %s --expectation empirical %s -o %s",
                            w.of->model, w.input, w.b, w.out),
               "Fisher");
  assert_true(checkpoint_open(s->arena, w.out, &out, s->diag));
  const struct checkpoint_tensor *words = checkpoint_find(&out, "transformer.wte.weight");
  const struct checkpoint_tensor *head = checkpoint_find(&out, "lm_head.weight");
  assert_non_null(checkpoint_find(&out, "transformer.h.0.attn.bias"));
  float v[2][11 * 12];
  assert_true(checkpoint_floats(&out, words, 0, 11 * 12, v[0], s->diag));
  assert_true(checkpoint_floats(&out, head, 0, 11 * 12, v[1], s->diag));
  assert_memory_equal(v[0], v[1], sizeof *v);
  assert_true(v[0][0] > 0);
  checkpoint_close(&out);
  command_does(s,
               arena_printf(s->arena, "merge fisher --fisher %s,%s %s %s -o %s", w.out, w.out, w.b,
                            w.b, w.other),
               "tensors merged");
}

static void check_grams(const struct world *w, bool unfolds)
{
  float *flat;
  const struct net *net = sample_net(w, &flat);
  const struct data_set set = samples_of(w);
  struct checkpoint out;
  size_t n, all, found = 0;
  const struct net_linear *linears = net_linears(w->s->arena, net, &n);
  const struct net_tensor *t = net_tensors(net, &all);
  double **grams = arena_array(w->s->arena, n, sizeof *grams);
  for (size_t k = 0; k < n; k++)
    if (unfolds || !linears[k].convolution)
      grams[k] = arena_array(w->s->arena, linears[k].in * linears[k].in, sizeof **grams);
  struct net_work *work = net_work_new(net, ops_cpu(), SAMPLES, false);
  measure_grams(work, SAMPLES, flat, &set, SAMPLES, linears, n, grams);
  net_work_free(work);
  assert_true(checkpoint_open(w->s->arena, w->out, &out, w->s->diag));
  for (size_t k = 0; k < n; k++) {
    const struct checkpoint_tensor *g = checkpoint_find(&out, t[linears[k].tensor].name);
    assert_int_equal(g != NULL, grams[k] != NULL);
    if (!g)
      continue;
    assert_int_equal(g->dtype, SAFETENSORS_F64);
    assert_int_equal(g->rank, 2);
    assert_int_equal(g->bytes, linears[k].in * linears[k].in * sizeof **grams);
    double *v = arena_alloc(w->s->arena, g->bytes);
    assert_true(checkpoint_read(&out, g, 0, v, g->bytes, w->s->diag));
    assert_memory_equal(v, grams[k], g->bytes);
    found++;
  }
  assert_int_equal(out.n_tensors, found);
  checkpoint_close(&out);
}

static void grams_are_what_merging_takes(void **state)
{
  struct scratch *s = *state;
  for (int k = 0; k < NETS; k++) {
    const struct world w = setup(s, k);
    for (int unfolds = k == RESNET; unfolds >= 0; unfolds--) {
      const char *gram = arena_printf(s->arena, "gram --model %s --input %s%s", w.of->model,
                                      w.input, unfolds ? " --convolutions unfolded" : "");
      command_does(s, arena_printf(s->arena, "%s %s -o %s", gram, w.b, w.other), "Gram");
      command_does(s, arena_printf(s->arena, "%s %s -o %s", gram, w.a, w.out),
                   k == GPT ? "--inputs-first" : "Gram");
      check_grams(&w, unfolds);
      command_does(s,
                   arena_printf(s->arena, "merge regmean %s --gram %s,%s %s %s -o %s",
                                k == GPT ? "--inputs-first" : "", w.out, w.other, w.a, w.b,
                                scratch_path(s, "merged.safetensors")),
                   "tensors merged");
    }
  }
}

static void statistics_become_the_samples(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, RESNET);
  const struct data_set set = samples_of(&w);
  const size_t n = net_count(w.net);
  float *wanted = arena_copy(s->arena, w.flat, n * sizeof *wanted);
  float *got = arena_array(s->arena, n, sizeof *got);
  struct net_work *work = net_work_new(w.net, ops_cpu(), 6, true);
  measure_recalibrate(work, 6, wanted, w.net, &set, NULL, 0, 3);
  net_work_free(work);
  const char *command = arena_printf(
      s->arena, "recalibrate --model %s --input %s --batch 6 --seed 3", w.of->model, w.input);
  command_does(s, arena_printf(s->arena, "%s %s -o %s", command, w.a, w.out), "3 batches of 6");
  assert_true(net_load(w.net, w.out, got, s->diag));
  assert_memory_equal(got, wanted, n * sizeof *got);
  /* Once more from there: what was there before does not matter. */
  command_does(s, arena_printf(s->arena, "%s %s -o %s", command, w.out, w.other), "batches");
  assert_true(net_load(w.net, w.other, got, s->diag));
  assert_memory_equal(got, wanted, n * sizeof *got);
}

/* A file of F16 stays one, but for what it cannot hold. */
static void types_stay(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, RESNET);
  struct checkpoint out;
  command_does(s, arena_printf(s->arena, "merge linear --dtype F16 %s %s -o %s", w.a, w.b, w.other),
               "merged");
  command_does(s,
               arena_printf(s->arena, "recalibrate --model %s --input %s %s -o %s", w.of->model,
                            w.input, w.other, w.out),
               "1 batches of 20");
  assert_true(checkpoint_open(s->arena, w.out, &out, s->diag));
  assert_int_equal(checkpoint_find(&out, "bn1.running_var")->dtype, SAFETENSORS_F16);
  assert_int_equal(checkpoint_find(&out, "bn1.num_batches_tracked")->dtype, SAFETENSORS_I64);
  assert_int_equal(out.n_meta, 2); /* merged, recalibrate */
  checkpoint_close(&out);
  for (size_t i = 0; i < 4 * 2 * 9; i++)
    w.flat[i] *= 1e4f; /* conv1 */
  assert_true(net_save(w.net, w.flat, w.a, s->diag));
  assert_int_equal(unlink(w.out), 0);
  command_does(s, arena_printf(s->arena, "merge linear --dtype F16 %s %s -o %s", w.a, w.a, w.b),
               "merged");
  command_fails(s,
                arena_printf(s->arena, "recalibrate --model %s --input %s %s -o %s", w.of->model,
                             w.input, w.b, w.out),
                2, "more than F16 can hold", w.out);
}

/* ---- evaluate ---- */

/* By the logits that `forward` writes: row r's label is the next token, or the sample's own. */
static struct measure_evaluation by_logits(const struct world *w, const char *weights)
{
  size_t n;
  const struct net_spec *spec = &w->of->spec;
  const char *model = arena_strndup(w->s->arena, w->of->model + 1, strlen(w->of->model) - 2);
  const float *z = command_forward(w->s, model, weights, w->input, &n);
  struct safetensors file;
  struct measure_evaluation is = {0};
  unsigned labels = 0;
  assert_true(safetensors_open(w->s->arena, w->input, &file, w->s->diag));
  const int64_t *y = safetensors_find(&file, spec->block ? "input" : "labels")->data;
  for (size_t r = 0; r < n / spec->classes; r++, z += spec->classes) {
    if (spec->block && r % TOKENS == TOKENS - 1)
      continue; /* what comes next is not known */
    const int64_t label = y[spec->block ? r + 1 : r];
    double sum = 0;
    unsigned best = 0;
    for (unsigned k = 0; k < spec->classes; k++) {
      sum += exp((double)z[k]);
      best = z[k] > z[best] ? k : best;
    }
    is.loss += log(sum) - (double)z[label];
    is.accuracy += best == label;
    labels++;
  }
  safetensors_close(&file);
  is.loss /= labels;
  is.accuracy /= labels;
  return is;
}

static void evaluate_says_what_logits_say(void **state)
{
  struct scratch *s = *state;
  for (int k = 0; k < NETS; k++) {
    const struct world w = setup(s, k);
    const char *said, *model = arena_printf(s->arena, "--model %s", w.of->model);
    assert_int_equal(command_run(s,
                                 arena_printf(s->arena, "evaluate %s --input %s --csv %s %s", model,
                                              w.input, w.a, w.b),
                                 &said),
                     0);
    const char *line = strchr(said, '\n') + 1;
    assert_int_equal(strncmp(said, "checkpoint,accuracy,loss,samples\n", line - said), 0);
    for (int i = 0; i < 2; i++, line = strchr(line, '\n') + 1) {
      const char *path = i ? w.b : w.a;
      const struct measure_evaluation want = by_logits(&w, path);
      double accuracy, loss;
      unsigned samples;
      assert_int_equal(strncmp(line, path, strlen(path)), 0);
      assert_int_equal(sscanf(line + strlen(path), ",%lf,%lf,%u", &accuracy, &loss, &samples), 3);
      assert_true(fabs(accuracy - want.accuracy) < 1e-12 && fabs(loss - want.loss) < 1e-5);
      assert_int_equal(samples, SAMPLES);
    }
  }
  const struct world w = setup(s, MLP);
  command_does(s,
               arena_printf(s->arena, "evaluate --model %s --input %s --samples 7 --json %s",
                            w.of->model, w.input, w.a),
               "\"samples\": 7");
  command_fails(s, arena_printf(s->arena, "evaluate --model %s --input %s", w.of->model, w.input),
                2, "needs a checkpoint", w.out);
  command_fails(s,
                arena_printf(s->arena, "evaluate --model %s --input %s %s %s", w.of->model, w.input,
                             w.a, w.out),
                2, "no such file", w.out);
  command_write_input(s, w.input, &w.of->spec, SAMPLES, 0);
  command_fails(s,
                arena_printf(s->arena, "evaluate --model %s --input %s %s", w.of->model, w.input,
                             w.a),
                2, "labels", w.out);
}

static void mistakes_are_named(void **state)
{
  struct scratch *s = *state;
  const struct world w = setup(s, MLP);
  const char *model = w.of->model, *none = scratch_path(s, "none.safetensors"), *said;
  struct net_spec other = NETWORKS[MLP].spec;
  const struct {
    const char *arguments;
    int status;
    const char *says;
  } cases[] = {
      {"fisher", 2, "needs --model"},
      {"gram --model mlp", 2, "needs --input"},
      {"gram --model mlp --seed 1 --input x", 2, "takes no --seed"},
      {"fisher --model mlp --input x --expectation all", 2, "exact|sampled|empirical"},
      {"fisher --model mlpp --input x", 3, "did you mean"},
      {"recalibrate --model mlp --input x second", 2, "one model, not 2"},
      {"recalibrate --model mlp --input x --nonsense", 2, "mergescape recalibrate --help"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    command_fails(s, arena_printf(s->arena, "%s %s -o %s", cases[i].arguments, w.a, none),
                  cases[i].status, cases[i].says, none);
  command_write_input(s, w.input, &other, SAMPLES, 0);
  const char *fisher = arena_printf(s->arena, "fisher --model %s --input %s", model, w.input);
  command_fails(s, arena_printf(s->arena, "%s --expectation empirical %s -o %s", fisher, w.a, none),
                2, "\"labels\" is missing", none);
  assert_int_equal(
      command_run(s, arena_printf(s->arena, "%s %s -o %s", fisher, w.a, w.input), &said), 2);
  assert_non_null(strstr(said, "one of the files that are read"));
  command_fails(s,
                arena_printf(s->arena, "recalibrate --model %s --input %s %s -o %s", model, w.input,
                             w.a, none),
                2, "mlp has no batch norm", none);
  const struct world text = setup(s, GPT);
  command_fails(s,
                arena_printf(s->arena, "fisher --model %s --input %s %s -o %s", text.of->model,
                             text.input, text.a, none),
                2, "--expectation=sampled", none);
  command_does(s, "fisher --help", "--expectation");
  command_does(s, "gram --help", "--convolutions");
  command_does(s, "recalibrate --help", "--batch");
  command_does(s, "--help", "recalibrate");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(fishers_are_what_merging_takes),
      SCRATCH_TEST(a_fisher_is_of_all_tensors_of_numbers),
      SCRATCH_TEST(grams_are_what_merging_takes),
      SCRATCH_TEST(statistics_become_the_samples),
      SCRATCH_TEST(types_stay),
      SCRATCH_TEST(evaluate_says_what_logits_say),
      SCRATCH_TEST(mistakes_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
