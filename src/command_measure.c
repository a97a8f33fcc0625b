/* mergescape fisher, gram and recalibrate: what samples say of a model, for merging. */
#include "config.h"

#include "command_json.h"
#include "base/floats.h"
#include "dsl/parse.h"
#include "engine/net_copy.h"
#include "engine/net_linear.h"
#include "engine/ops_threads.h"
#include "inputs.h"
#include "measure/measure.h"
#include "option_table.h"
#include "session.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  MODEL,
  INPUT,
  EXPECTATION,
  CONVOLUTIONS,
  BATCH,
  SAMPLES,
  SEED,
  OUTPUT,
  THREADS,
  QUIET,
  HELP,
  OPTIONS
};

enum { LOOKED_AT = 64 };

static const struct option_row options[OPTIONS] = {
    [MODEL] = {"model", "MODEL", NULL, NULL,
               "the network that A is of, with its arguments, as in an experiment,\n"
               "such as 'resnet18(stem = imagenet)'"},
    [INPUT] = {"input", "X", NULL, NULL,
               ".safetensors: the tensor \"input\", F32 [samples, channels, height, width],\n"
               "normalised as in training; or I64 [samples, tokens], of which the last is\n"
               "nothing but a label"},
    [EXPECTATION] = {"expectation", "exact|sampled|empirical", " fisher ", "exact",
                     "over labels as the model predicts them, or of one draw a sample;\n"
                     "empirical takes the data's: of images the tensor \"labels\", whole numbers\n"
                     "[samples]. Of text there is no exact one"},
    [CONVOLUTIONS] = {"convolutions", "averaged|unfolded", " gram ", "averaged",
                      "averaged: they get no Gram matrix; unfolded: linear layers over windows"},
    [BATCH] = {"batch", "N", " recalibrate ", "128", "samples a batch"},
    [SAMPLES] = {"samples", "N", NULL, NULL, "most samples (default: all of X)"},
    [SEED] = {"seed", "N", " fisher recalibrate ", "0", "of drawn labels; of the order of samples"},
    [OUTPUT] = OPTION_OUTPUT,
    [THREADS] = OPTION_THREADS,
    [QUIET] = OPTION_QUIET,
    [HELP] = OPTION_HELP,
};

struct command {
  struct arena *arena;
  struct diag *diag;
  struct option_values o;
  const struct command_row *row;
  const char *path; /* A */
  unsigned samples, batch, threads;
  uint64_t seed;
  enum measure_expectation expectation;
  bool unfolds;
  struct inputs in;
  struct inputs_weights weights;
  const struct ops *ops;
  struct safetensors_meta how;
};

struct command_row {
  const char *name, *about;
  bool (*run)(struct command *);
};

/* ---- Fisher matrices ---- */

struct fisher {
  const struct net *net;
  const float *flat; /* as large as the file's network */
};

/* Merging wants all tensors of numbers, and no others.  What is not of the network has no
 * gradient. */
static bool describe_fisher(void *context, size_t i, struct safetensors_tensor *to)
{
  (void)context;
  (void)i;
  if (!safetensors_is_float(to->dtype))
    return false;
  to->dtype = SAFETENSORS_F32;
  return true;
}

static bool fill_fisher(void *context, size_t i, const struct safetensors_tensor *to, void *bytes,
                        struct diag *d)
{
  const struct fisher *f = context;
  size_t n;
  const struct net_tensor *t = net_tensors(f->net, &n);
  (void)d;
  memset(bytes, 0, to->bytes);
  if (i != SIZE_MAX && !t[i].buffer)
    memcpy(bytes, f->flat + t[i].offset, to->bytes);
  return true;
}

/* Of the weights as the network for the samples has them: net_count floats. */
static float *measure(struct command *c, const struct net *net, const float *flat)
{
  const size_t n = net_params(net);
  double *fisher = arena_array(c->arena, n, sizeof *fisher);
  float *out = arena_array(c->arena, net_count(net), sizeof *out);
  struct net_work *work = net_work_new(net, c->ops, 1, true);
  const struct measure_loss loss = {work, net, &c->in.samples, DATA_TRAIN, c->samples, 1};
  measure_fisher(&loss, flat, c->expectation, c->seed, fisher);
  net_work_free(work);
  for (size_t i = 0; i < n; i++) {
    out[i] = (float)fisher[i];
    if (isfinite(out[i]))
      continue;
    diag_error(c->diag, SPAN_NONE, "%s: gradients are not finite, or too large to be squared",
               c->path);
    return NULL;
  }
  return out;
}

static bool run_fisher(struct command *c)
{
  const struct net *whole = c->weights.net, *net = inputs_sample_net(&c->in, c->weights.untied);
  if (!net)
    return false;
  if (c->expectation == MEASURE_EXACT && net_targets(net) > 1) {
    diag_error(c->diag, SPAN_NONE, "`fisher` cannot go through all labels of a text");
    diag_hint(c->diag, "--expectation=sampled draws labels as the model predicts them");
    return false;
  }
  float *flat = arena_array(c->arena, net_count(net), sizeof *flat);
  inputs_convey(whole, c->weights.flat, net, flat);
  const float *fisher = measure(c, net, flat);
  float *all = arena_array(c->arena, net_count(whole), sizeof *all);
  if (!fisher)
    return false;
  inputs_convey(net, fisher, whole, all);
  struct fisher f = {whole, all};
  const struct net_copier how = {&f, describe_fisher, fill_fisher};
  const char *output = c->o.value[OUTPUT];
  if (!net_copy_file(whole, &how, c->path, output, inputs_shard_bytes(output), &c->how, c->diag))
    return false;
  double sum = 0;
  for (size_t i = 0; i < net_params(whole); i++)
    sum += (double)all[i];
  if (!c->o.said[QUIET])
    printf("%s: Fisher matrix's diagonal of %zu weights, trace %.4g, by %u samples\n", output,
           net_params(whole), sum, c->samples);
  return true;
}

/* ---- Gram matrices ---- */

struct grams {
  const struct net_linear *linears;
  size_t n;
  double **of; /* [n]; NULL: none */
};

static size_t gram_of(const struct grams *g, size_t tensor)
{
  size_t k = 0;
  while (k < g->n && (g->linears[k].tensor != tensor || !g->of[k]))
    k++;
  return k;
}

static bool describe_gram(void *context, size_t i, struct safetensors_tensor *to)
{
  const struct grams *g = context;
  const size_t k = gram_of(g, i);
  if (k == g->n)
    return false;
  to->dtype = SAFETENSORS_F64;
  to->rank = 2;
  to->shape[0] = to->shape[1] = g->linears[k].in;
  return true;
}

static bool fill_gram(void *context, size_t i, const struct safetensors_tensor *to, void *bytes,
                      struct diag *d)
{
  const struct grams *g = context;
  (void)d;
  memcpy(bytes, g->of[gram_of(g, i)], to->bytes);
  return true;
}

static bool is_finite(const double *v, size_t n)
{
  size_t i = 0;
  while (i < n && isfinite(v[i]))
    i++;
  return i == n;
}

static bool run_gram(struct command *c)
{
  const struct net *net = inputs_sample_net(&c->in, c->weights.untied);
  if (!net)
    return false;
  struct grams g = {0};
  float *flat = arena_array(c->arena, net_count(net), sizeof *flat);
  size_t measured = 0;
  bool in_first = false;
  inputs_convey(c->weights.net, c->weights.flat, net, flat);
  g.linears = net_linears(c->arena, net, &g.n);
  g.of = arena_array(c->arena, g.n + 1, sizeof *g.of);
  for (size_t k = 0; k < g.n; k++) {
    if (g.linears[k].convolution && !c->unfolds)
      continue;
    g.of[k] = arena_array(c->arena, g.linears[k].in * g.linears[k].in, sizeof **g.of);
    in_first |= g.linears[k].in_first;
    measured++;
  }
  struct net_work *work = net_work_new(net, c->ops, LOOKED_AT, false);
  measure_grams(work, LOOKED_AT, flat, &c->in.samples, c->samples, g.linears, g.n, g.of);
  net_work_free(work);
  for (size_t k = 0; k < g.n; k++)
    if (g.of[k] && !is_finite(g.of[k], g.linears[k].in * g.linears[k].in)) {
      diag_error(c->diag, SPAN_NONE, "%s: activations are not finite", c->path);
      return false;
    }
  const struct net_copier how = {&g, describe_gram, fill_gram};
  const char *output = c->o.value[OUTPUT];
  if (!net_copy_file(c->weights.net, &how, c->path, output, inputs_shard_bytes(output), &c->how,
                     c->diag))
    return false;
  if (!c->o.said[QUIET])
    printf("%s: Gram matrices of %zu layers, by %u samples%s\n", output, measured, c->samples,
           in_first ? "; `merge regmean` needs --inputs-first for them" : "");
  return true;
}

/* ---- running statistics ---- */

struct statistics {
  struct arena *arena;
  const struct net *net;
  const float *flat;
  const char *path;
};

/* In the file's type. */
static bool fill_statistics(void *context, size_t i, const struct safetensors_tensor *to,
                            void *bytes, struct diag *d)
{
  const struct statistics *s = context;
  size_t n;
  const struct net_tensor *t = net_tensors(s->net, &n);
  if (i == SIZE_MAX || !t[i].buffer)
    return true;
  double *v = arena_array(s->arena, t[i].count, sizeof *v);
  for (size_t k = 0; k < t[i].count; k++)
    v[k] = (double)s->flat[t[i].offset + k];
  if (!floats_within(v, t[i].count, floats_largest(to->dtype))) {
    diag_error(d, SPAN_NONE, "%s: \"%s\" becomes more than %s can hold", s->path, to->name,
               safetensors_dtype_name(to->dtype));
    return false;
  }
  floats_write(to->dtype, v, t[i].count, bytes);
  return true;
}

static bool run_recalibrate(struct command *c)
{
  const struct net *net = c->weights.net;
  if (!net_has_batchnorm(net)) {
    diag_error(c->diag, SPAN_NONE, "%s has no batch norm, and nothing to be recalibrated",
               c->in.spec.model);
    return false;
  }
  float *flat = c->weights.flat;
  const unsigned batch = c->batch < c->samples ? c->batch : c->samples;
  struct net_work *work = net_work_new(net, c->ops, batch, false);
  measure_recalibrate(work, batch, flat, net, &c->in.samples, NULL, c->samples, c->seed);
  net_work_free(work);
  struct statistics s = {c->arena, net, flat, c->path};
  const struct net_copier how = {&s, NULL, fill_statistics};
  const char *output = c->o.value[OUTPUT];
  if (!net_copy_file(net, &how, c->path, output, inputs_shard_bytes(output), &c->how, c->diag))
    return false;
  if (!c->o.said[QUIET])
    printf("%s: running statistics of %u batches of %u\n", output, c->samples / batch, batch);
  return true;
}

/* ---- the commands ---- */

static const struct command_row commands[] = {
    {"fisher",
     "Usage: mergescape fisher --model=MODEL --input=X [OPTION]... A -o OUT\n"
     "\n"
     "The diagonal of A's Fisher matrix (Matena & Raffel 2022, section 3.2): of each weight the\n"
     "mean square of the gradient of log p(label | sample). OUT has A's tensors of numbers, F32,\n"
     "as `mergescape merge fisher --fisher=` takes them; batch norm's running statistics and\n"
     "what is not of MODEL have zeros.\n",
     run_fisher},
    {"gram",
     "Usage: mergescape gram --model=MODEL --input=X [OPTION]... A -o OUT\n"
     "\n"
     "Gram matrices X'X of what A's linear layers read, by the names of their weights, F64, as\n"
     "`mergescape merge regmean --gram=` takes them (Jin et al. 2023).\n",
     run_gram},
    {"recalibrate",
     "Usage: mergescape recalibrate --model=MODEL --input=X [OPTION]... A -o OUT\n"
     "\n"
     "A with batch norm's running statistics computed anew, as the plain average over batches\n"
     "of X in random order (an incomplete last batch is left out): what a merged model needs\n"
     "before it can be used. All else stays, types too.\n",
     run_recalibrate},
};

static void print_help(void *context)
{
  const struct command *c = context;
  printf("%s\n", c->row->about);
  option_print_all(options, OPTIONS, c->row->name);
  printf("\nA is what `mergescape forward` reads.\n\n"
         "Exit status: 0 done; 2 a file does not fit, or the command line is wrong; 3 MODEL is\n"
         "wrong.\n");
}

static void check_command(void *context)
{
  struct command *c = context;
  const char *name = c->row->name;
  const unsigned before = diag_errors(c->diag);
  option_check(&c->o, name);
  if (c->o.n_rest != 1)
    diag_error(c->diag, SPAN_NONE, "`%s` takes one model, not %zu", name, c->o.n_rest);
  if (!c->o.said[MODEL])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --model: the network that the weights are of", name);
  if (!c->o.said[INPUT])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --input: samples to look at", name);
  if (!c->o.said[OUTPUT])
    diag_error(c->diag, SPAN_NONE, "-o OUT is missing: where does the result go?");
  c->expectation = (enum measure_expectation)option_word(&c->o, EXPECTATION);
  c->unfolds = option_word(&c->o, CONVOLUTIONS) == 1;
  c->samples = c->o.said[SAMPLES] ? (unsigned)option_whole(&c->o, SAMPLES, 1, 1e9) : UINT32_MAX;
  c->batch = (unsigned)option_whole(&c->o, BATCH, 1, 1e9);
  c->seed = (uint64_t)option_whole(&c->o, SEED, 0, 4294967295.0);
  c->threads = option_threads(&c->o, THREADS);
  c->path = c->o.rest[0];
  if (diag_errors(c->diag) > before)
    diag_hint(c->diag, "mergescape %s --help lists what it takes", name);
}

/* {"program": "mergescape 1.0", "model": "resnet18", "samples": 256, ...} */
static const char *describe(const struct command *c)
{
  json_t *root =
      json_pack("{s:s, s:s, s:s, s:I}", "program", PACKAGE_STRING, "model", c->in.model, "of",
                inputs_last_part(c->arena, c->path), "samples", (json_int_t)c->samples);
  for (int i = EXPECTATION; i < OUTPUT; i++)
    if (i != SAMPLES && option_is_of(&options[i], c->row->name))
      json_object_set_new(root, options[i].name, json_string(c->o.value[i]));
  return command_json_line(c->arena, root);
}

static int run(void *context)
{
  struct command *c = context;
  struct inputs *in = &c->in;
  const char *const read[] = {c->path, c->o.value[INPUT]};
  int status = inputs_model(in, "--model", c->o.value[MODEL]);
  if (status == EXIT_DONE)
    status = inputs_samples(in, c->o.value[INPUT],
                            c->row->run == run_fisher && c->expectation == MEASURE_EMPIRICAL);
  if (status == EXIT_DONE)
    status = inputs_sizes(in, c->path);
  if (status == EXIT_DONE)
    status = inputs_weights_to_change(in, c->path, &c->weights);
  if (status != EXIT_DONE)
    return status;
  if (!inputs_check_output(in, c->o.value[OUTPUT], read, 2))
    return EXIT_ENVIRONMENT;
  const unsigned all = in->samples.split[DATA_TRAIN].n;
  c->samples = c->samples < all ? c->samples : all;
  c->how = (struct safetensors_meta){c->row->name, describe(c)};
  c->ops = ops_threads_new(ops_cpu(), c->threads);
  status = c->row->run(c) ? EXIT_DONE : EXIT_ENVIRONMENT;
  ops_threads_free(c->ops);
  return status;
}

bool command_measure_find(const char *name)
{
  for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
    if (!strcmp(commands[k].name, name))
      return true;
  return false;
}

int command_measure(int argc, char **argv)
{
  struct arena *a = arena_new();
  struct command c = {.arena = a, .diag = diag_new(a), .row = commands};
  while (strcmp(c.row->name, argv[0]) != 0)
    c.row++;
  argv[0] = arena_printf(a, "mergescape %s", c.row->name); /* before getopt's messages */
  c.in = (struct inputs){.arena = a, .diag = c.diag, .program = ast_program_new(a)};
  c.o = (struct option_values){a, c.diag, options, OPTIONS, .n_rest = 0};
  const struct option_command how = {argv[0], HELP, print_help, check_command, run};
  const int status = option_run(&c.o, &how, &c, argc, argv, c.in.program->sources);
  arena_free(a);
  return status;
}
