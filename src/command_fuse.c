/* mergescape merge intra_fusion|ot_fusion [OPTION]... A [B] -o OUT: units fused by optimal
 * transport. */
#include "config.h"

#include "command_json.h"
#include "command_merge.h"
#include "base/safetensors.h"
#include "dsl/option.h"
#include "dsl/parse.h"
#include "dsl/words.h"
#include "engine/ops.h"
#include "inputs.h"
#include "measure/measure.h"
#include "merge/fuse.h"
#include "option_table.h"
#include "run/bind.h"
#include "session.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  MODEL,
  MODEL_B,
  SHAPE,
  INPUT,
  KEEP,
  IMPORTANCE,
  MARGINALS,
  ORDER,
  SAMPLES,
  ALPHA,
  PASSES,
  OUTPUT,
  QUIET,
  HELP,
  OPTIONS
};
enum { BATCH = 64 };

/* Of an experiment's methods of the same names. */
static const struct option_row options[OPTIONS] = {
    [MODEL] = {"model", "MODEL", NULL, NULL,
               "the network that A is of, with its arguments, as in an experiment,\n"
               "such as 'mlp(width = 256)'"},
    [MODEL_B] = {"model-b", "MODEL", " ot_fusion ", NULL,
                 "that of B, where its width is another (default: A's)"},
    [SHAPE] = {"shape", "CxHxW", NULL, "3x32x32", "of an image; it matters to mlp"},
    [INPUT] = {"input", "X", " intra_fusion ", NULL,
               "what `forward` reads, of images with a tensor \"labels\", I64 [samples]"},
    [KEEP] = {"keep", "SHARE", " intra_fusion ", "0.5",
              "share of each layer's units that stays: of the width, or growth; of a\n"
              "transformer of its feed-forward neurons, and all else stays"},
    [IMPORTANCE] = {"importance", "l1|l2|taylor", " intra_fusion ", "l1",
                    "which units stay: sum of magnitudes of a unit's weights, their\n"
                    "length, or sum of magnitudes of weight x gradient (needs --input)"},
    [MARGINALS] = {"marginals", "uniform|importance", " intra_fusion ", "uniform",
                   "how much of each unit goes, and each that stays takes up"},
    [ORDER] = {"order", "together|sequential", " intra_fusion ", "together",
               "layers as they are, or as those before have been fused"},
    [SAMPLES] = {"samples", "N", " intra_fusion ", "256",
                 "most samples of X, evenly spaced, whose gradient taylor takes"},
    [ALPHA] = {"alpha", "ALPHA", " ot_fusion ", "0.5",
               "weight of B, whose units have been carried to A's"},
    [PASSES] = {"passes", "N", " ot_fusion ", "10", "most passes over all groups of units"},
    [OUTPUT] = OPTION_OUTPUT,
    [QUIET] = OPTION_QUIET,
    [HELP] = OPTION_HELP,
};

struct command {
  struct arena *arena;
  struct diag *diag;
  struct option_values o;
  enum fuse_method method;
  const char *name; /* the method's */
  char **models;
  size_t n_models;
  struct inputs in[2]; /* A and B; or A and what becomes of it */
  struct inputs_weights weights[2];
  double keep, alpha;
  unsigned passes, samples;
  struct fuse_how how;
};

static const char *const about[] = {
    [FUSE_INTRA] =
        "Usage: mergescape merge intra_fusion --model=MODEL [OPTION]... A -o OUT\n\n"
        "Makes A narrower: of each layer the most important units stay, and take the others up\n"
        "by optimal transport (Theus et al. 2024). Units that are alike merge without a loss.\n\n",
    [FUSE_OT] = "Usage: mergescape merge ot_fusion --model=MODEL [OPTION]... A B -o OUT\n\n"
                "Carries the units of B to those of A by optimal transport, and averages then\n"
                "(Singh & Jaggi 2020). B may have another width; OUT has A's.\n\n",
};

static void print_help(void *context)
{
  const struct command *c = context;
  fputs(about[c->method], stdout);
  option_print_all(options, OPTIONS, c->name);
  printf("\nA and B are what `mergescape forward` reads. OUT has F32 and the names of the model's\n"
         "origin (torchvision); `forward` reads it with the MODEL that is printed. Batch norms\n"
         "are folded for it and unfolded again: `mergescape recalibrate` is for what fusing has\n"
         "done to their statistics.\n");
}

static void check_command(void *context)
{
  struct command *c = context;
  c->models = c->o.rest + 1;
  c->n_models = c->o.n_rest ? c->o.n_rest - 1 : 0;
  const char *name = c->name;
  const size_t wanted = c->method == FUSE_OT ? 2 : 1;
  const unsigned before = diag_errors(c->diag);
  option_check(&c->o, name);
  if (c->n_models != wanted)
    diag_error(c->diag, SPAN_NONE, "`%s` takes %s, not %zu", name,
               wanted == 2 ? "two models" : "one model", c->n_models);
  if (!c->o.said[MODEL])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --model: the network that the weights are of", name);
  if (!c->o.said[OUTPUT])
    diag_error(c->diag, SPAN_NONE, "-o OUT is missing: where does the result go?");
  c->keep = option_number(&c->o, KEEP, 0, 1);
  c->alpha = option_number(&c->o, ALPHA, -100, 100);
  c->passes = (unsigned)option_whole(&c->o, PASSES, 1, 1e6);
  if (c->keep == 0)
    diag_error(c->diag, SPAN_NONE, "--keep=0 keeps nothing");
  c->samples = (unsigned)option_whole(&c->o, SAMPLES, 1, 1e9);
  c->how = (struct fuse_how){.importance = (enum fuse_importance)option_word(&c->o, IMPORTANCE),
                             .marginals_by_importance = option_word(&c->o, MARGINALS),
                             .sequential = option_word(&c->o, ORDER)};
  const bool taylor = c->how.importance == FUSE_TAYLOR;
  if (taylor && !c->o.said[INPUT])
    diag_error(c->diag, SPAN_NONE, "--importance=taylor needs --input: samples with labels");
  if (!taylor && (c->o.said[INPUT] || c->o.said[SAMPLES]))
    diag_error(c->diag, SPAN_NONE, "only --importance=taylor looks at samples");
  if (c->o.said[INPUT] && c->o.said[SHAPE])
    diag_error(c->diag, SPAN_NONE, "--shape: that of the images in --input counts");
  if (diag_errors(c->diag) > before)
    diag_hint(c->diag, "mergescape merge %s --help lists what it takes", name);
}

/* ---- networks ---- */

/* The MODEL that an option names; an exit status. */
static int choose_model(struct command *c, int k, unsigned row)
{
  struct inputs *in = &c->in[k];
  *in = (struct inputs){.arena = c->arena, .diag = c->diag, .program = c->in[0].program};
  const int status = inputs_model(in, row == MODEL ? "--model" : "--model-b", c->o.value[row]);
  if (status != EXIT_DONE)
    return status;
  const enum plan_attr_id fused = words_fused(in->spec.model);
  if (fused == PLAN_A_none || (c->method == FUSE_OT && fused == PLAN_A_hidden)) {
    diag_error(c->diag, SPAN_NONE, "the units of %s are not known to %s", in->spec.model, c->name);
    if (fused == PLAN_A_hidden)
      diag_hint(c->diag, "`intra_fusion` fuses its feed-forward neurons");
    return EXIT_EXPERIMENT;
  }
  if (c->o.said[INPUT])
    return inputs_samples(in, c->o.value[INPUT], true);
  return inputs_shape(in, c->o.said[SHAPE] ? c->o.value[SHAPE] : NULL);
}

/* in[1] becomes in[0] with a share of its units; its head is its own where that of A is. */
static int choose_narrower(struct command *c)
{
  struct inputs *to = &c->in[1];
  const struct net_spec shape = c->in[0].spec;
  *to = c->in[0];
  if (!dsl_narrow_option(c->arena, &c->in[0].init, c->keep, "--keep", &to->init, c->diag))
    return EXIT_ENVIRONMENT;
  bind_model_spec(&to->init, &to->spec);
  to->spec.channels = shape.channels;
  to->spec.height = shape.height;
  to->spec.image_width = shape.image_width;
  to->spec.classes = shape.classes;
  to->spec.block = shape.block;
  c->weights[1].untied = c->weights[0].untied;
  return EXIT_DONE;
}

static int load(struct command *c)
{
  int status = choose_model(c, 0, MODEL);
  if (status == EXIT_DONE)
    status = inputs_sizes(&c->in[0], c->models[0]);
  if (status == EXIT_DONE)
    status = inputs_weights(&c->in[0], c->models[0], &c->weights[0]);
  if (status != EXIT_DONE || c->method == FUSE_INTRA)
    return status == EXIT_DONE ? choose_narrower(c) : status;
  status = choose_model(c, 1, c->o.said[MODEL_B] ? MODEL_B : MODEL);
  if (status == EXIT_DONE)
    status = inputs_sizes(&c->in[1], c->models[1]);
  return status == EXIT_DONE ? inputs_weights(&c->in[1], c->models[1], &c->weights[1]) : status;
}

static bool prepare(struct command *c, int k, struct fuse_model *m)
{
  m->net = c->weights[k].net ? c->weights[k].net : inputs_net(&c->in[k], c->weights[k].untied);
  m->groups = m->net ? net_groups_new(c->arena, m->net, c->diag) : NULL;
  m->flat = c->weights[k].flat;
  return m->groups != NULL;
}

/* Of the mean loss of A on the samples, by its weights. */
static bool find_gradient(struct command *c, const struct fuse_model *m)
{
  struct inputs *in = &c->in[0];
  const struct net *net = inputs_sample_net(in, c->weights[0].untied);
  if (!net)
    return false;
  const size_t n = net_params(net);
  float *flat = arena_array(c->arena, net_count(net), sizeof *flat);
  float *there = arena_array(c->arena, net_count(net), sizeof *there);
  float *here = arena_array(c->arena, net_count(m->net), sizeof *here);
  double *gradient = arena_array(c->arena, n, sizeof *gradient);
  inputs_convey(m->net, m->flat, net, flat);
  struct net_work *work = net_work_new(net, ops_cpu(), BATCH, true);
  const struct measure_loss loss = {.work = work,
                                    .net = net,
                                    .set = &in->samples,
                                    .split = DATA_TRAIN,
                                    .samples = c->samples,
                                    .batch = BATCH};
  measure_gradient(&loss, flat, gradient);
  net_work_free(work);
  for (size_t i = 0; i < n; i++)
    there[i] = (float)gradient[i];
  inputs_convey(net, there, m->net, here);
  gradient = arena_array(c->arena, net_params(m->net), sizeof *gradient);
  for (size_t i = 0; i < net_params(m->net); i++)
    gradient[i] = (double)here[i];
  c->how.gradient = gradient;
  return true;
}

/* ---- the result ---- */

/* {"method": "intra_fusion", "model": "resnet18(width = 32, ...)", "models": ["a"], ...} */
static const char *describe(struct command *c, const char *model)
{
  json_t *root =
      json_pack("{s:s, s:s, s:s}", "program", PACKAGE_STRING, "method", c->name, "model", model);
  json_t *models = json_array();
  for (size_t k = 0; k < c->n_models; k++)
    json_array_append_new(models, json_string(inputs_last_part(c->arena, c->models[k])));
  json_object_set_new(root, "models", models);
  for (int i = KEEP; i < OUTPUT; i++)
    if (option_is_of(&options[i], c->name) && (i != SAMPLES || c->how.importance == FUSE_TAYLOR))
      json_object_set_new(root, options[i].name, json_string(c->o.value[i]));
  return command_json_line(c->arena, root);
}

static bool is_finite(const float *v, size_t n)
{
  size_t i = 0;
  while (i < n && isfinite(v[i]))
    i++;
  return i == n;
}

static bool fuse(struct command *c)
{
  struct fuse_model m[2];
  const int to = c->method == FUSE_INTRA;
  const char *output = c->o.value[OUTPUT];
  const char *read[] = {c->models[0], c->weights[1].path, c->o.value[INPUT]};
  if (!prepare(c, 0, &m[0]) || !prepare(c, 1, &m[1]) ||
      !inputs_check_output(&c->in[0], output, read, 3) ||
      (c->how.importance == FUSE_TAYLOR && !find_gradient(c, &m[0])))
    return false;
  const struct net *net = m[to].net;
  const char *model = inputs_expression(c->arena, &c->in[to].init);
  const struct safetensors_meta how = {"merged", describe(c, model)};
  float *fused = arena_array(c->arena, net_count(net), sizeof *fused);
  const bool ok = to ? fuse_narrower(&m[0], NULL, &c->how, &m[1], fused, c->diag)
                     : fuse_pair(&m[0], &m[1], c->alpha, c->passes, fused, c->diag);
  if (!ok)
    return false;
  if (!is_finite(fused, net_count(net))) {
    diag_error(c->diag, SPAN_NONE, "the fused weights are not finite");
    return false;
  }
  if (!net_save_as(net, fused, output, inputs_shard_bytes(output), &how, c->diag))
    return false;
  if (!c->o.said[QUIET])
    printf("%s: a %s of %zu weights\n", output, model, net_params(net));
  return true;
}

static int run(void *context)
{
  struct command *c = context;
  const int status = load(c);
  return status != EXIT_DONE || fuse(c) ? status : EXIT_ENVIRONMENT;
}

int command_fuse(int argc, char **argv, enum fuse_method method)
{
  struct arena *a = arena_new();
  static const char *const names[] = {[FUSE_INTRA] = "intra_fusion", [FUSE_OT] = "ot_fusion"};
  struct command c = {.arena = a, .diag = diag_new(a), .method = method, .name = names[method]};
  c.in[0].program = ast_program_new(a);
  c.o = (struct option_values){a, c.diag, options, OPTIONS, .n_rest = 0};
  const char *name = arena_printf(a, "mergescape merge %s", c.name);
  const struct option_command how = {name, HELP, print_help, check_command, run};
  const int status = option_run(&c.o, &how, &c, argc, argv, c.in[0].program->sources);
  arena_free(a);
  return status;
}
