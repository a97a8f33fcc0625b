/* mergescape merge weight_matching|activation_matching [OPTION]... A B -o OUT: B with its channels
 * in the order that fits A. */
#include "config.h"

#include "base/checkpoint.h"
#include "command_merge.h"
#include "dsl/parse.h"
#include "inputs.h"
#include "option_table.h"
#include "session.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, A = 0, B = 1 };

enum { MODEL, SHAPE, INPUT, SAMPLES, PASSES, RESTARTS, SEED, OUTPUT, QUIET, HELP, OPTIONS };

/* Of an experiment's methods of the same names. */
static const struct option_row options[OPTIONS] = {
    [MODEL] = {"model", "MODEL", NULL, NULL,
               "the network that A and B are of, as in an experiment:\n"
               "mlp, resnet18, densenet121, convnext_tiny, gpt, vit_s_16, vit_b_16 or\n"
               "clip_vit_b_16, with its arguments, such as 'mlp(width = 256)'"},
    [SHAPE] = {"shape", "CxHxW", " weight_matching ", NULL,
               "of an image (default: 3x32x32); it matters to mlp and vit"},
    [INPUT] = {"input", "X", " activation_matching ", NULL,
               ".safetensors: the tensor \"input\", F32 [samples, channels, height, width],\n"
               "normalised as in training; or I64 [samples, tokens]"},
    [SAMPLES] = {"samples", "N", " activation_matching ", "2048",
                 "most samples of X, evenly spaced"},
    [PASSES] = {"passes", "N", " weight_matching ", "100",
                "most passes over all groups of channels"},
    [RESTARTS] = {"restarts", "N", " weight_matching ", "1", "searches, of which the best is kept"},
    [SEED] = {"seed", "N", " weight_matching ", "0", "of the search"},
    [OUTPUT] = {"output", "OUT", NULL, NULL, "a file where it ends in .safetensors, else a folder"},
    [QUIET] = {"quiet", NULL, NULL, NULL, "say nothing but errors"},
    [HELP] = {"help", NULL, NULL, NULL, "print this help and exit"},
};

static const char *const names[] = {[MATCH_WEIGHTS] = "weight_matching",
                                    [MATCH_ACTIVATIONS] = "activation_matching",
                                    [MATCH_LEARNED] = "learned_matching"};

static const char *const about[] = {
    [MATCH_WEIGHTS] =
        "Usage: mergescape merge weight_matching --model=MODEL [OPTION]... A B -o OUT\n"
        "\n"
        "Permutes the channels of B so that they fit those of A: the permutations\n"
        "with the largest inner product of the weights (Ainsworth et al. 2023).\n",
    [MATCH_ACTIVATIONS] =
        "Usage: mergescape merge activation_matching --model=MODEL --input=X [OPTION]... A B -o "
        "OUT\n"
        "\n"
        "Permutes the channels of B so that they fit those of A: the permutations for which\n"
        "channels are most alike on the samples of X (Li et al. 2016).\n",
    [MATCH_LEARNED] = "",
};

struct command {
  struct arena *arena;
  struct diag *diag;
  struct option_values o;
  enum match_method method;
  const char *name; /* the method's */
  char **models;
  size_t n_models;
  struct match_search search;
  struct inputs in;
  struct inputs_weights weights[2];
};

/* ---- the command line ---- */

static void print_help(const struct command *c)
{
  fputs(about[c->method], stdout);
  printf("OUT computes what B computes, with B's names and types; merge it with A then.\n\n");
  option_print_all(options, OPTIONS, c->name);
  printf("\nA and B are what `mergescape forward` reads.\n\n"
         "Exit status: 0 done; 2 a file does not fit, or the command line is wrong; 3 MODEL is\n"
         "wrong.\n\n"
         "Example:\n"
         "  mergescape merge weight_matching --model resnet18 a.safetensors b.safetensors -o "
         "c.safetensors\n"
         "  mergescape merge linear a.safetensors c.safetensors -o middle.safetensors\n");
}

static void check_command(struct command *c)
{
  const char *name = c->name;
  const unsigned before = diag_errors(c->diag);
  if (c->method == MATCH_LEARNED) {
    diag_error(c->diag, SPAN_NONE,
               "`%s` trains on labelled samples: it is to be had in experiments", name);
    return;
  }
  option_check(&c->o, name);
  if (c->n_models != 2)
    diag_error(c->diag, SPAN_NONE, "`%s` takes two models, not %zu", name, c->n_models);
  if (!c->o.said[MODEL])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --model: the network that the weights are of", name);
  if (option_is_of(&options[INPUT], name) && !c->o.said[INPUT])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --input: samples to look at activations of", name);
  if (!c->o.said[OUTPUT])
    diag_error(c->diag, SPAN_NONE, "-o OUT is missing: where does the result go?");
  c->search = (struct match_search){(unsigned)option_whole(&c->o, PASSES, 1, 1e6),
                                    (unsigned)option_whole(&c->o, RESTARTS, 1, 1e6),
                                    (uint64_t)option_whole(&c->o, SEED, 0, 4294967295.0)};
  if (diag_errors(c->diag) > before)
    diag_hint(c->diag, "mergescape merge %s --help lists what it takes", name);
}

/* Model, samples and both files; an exit status. */
static int load(struct command *c)
{
  struct inputs *in = &c->in;
  int status = inputs_model(in, "--model", c->o.value[MODEL]);
  if (status == EXIT_DONE)
    status = c->o.said[INPUT] ? inputs_samples(in, c->o.value[INPUT], false)
                              : inputs_shape(in, c->o.value[SHAPE]);
  if (status == EXIT_DONE)
    status = inputs_sizes(in, c->models[A]);
  /* All that does not fit, of both. */
  for (int k = 0, one; status != EXIT_EXPERIMENT && k < 2; k++) {
    if (k == A && status != EXIT_DONE)
      break;
    one = inputs_weights(in, c->models[k], &c->weights[k]);
    status = one == EXIT_DONE ? status : one;
  }
  return status;
}

/* ---- matching ---- */

/* By a network for the samples, which may have fewer positions than the files: groups are the
 * same. */
static bool match_activations_in(struct command *c, uint32_t **perms)
{
  const struct net *net = inputs_sample_net(&c->in, c->weights[A].untied);
  const struct net_groups *groups = net ? net_groups_new(c->arena, net, c->diag) : NULL;
  float *flat[2];
  if (!groups)
    return false;
  for (int k = 0; k < 2; k++) {
    flat[k] = arena_array(c->arena, net_count(net), sizeof **flat);
    inputs_convey(c->weights[k].net, c->weights[k].flat, net, flat[k]);
  }
  const struct match match = {ops_cpu(), net, groups, flat[A], flat[B]};
  struct net_work *work = net_work_new(net, match.ops, BATCH, false);
  const bool ok = match_activations(&match, work, BATCH, &c->in.samples,
                                    (unsigned)option_whole(&c->o, SAMPLES, 2, 1e9), perms, c->diag);
  net_work_free(work);
  return ok;
}

static bool find_perms(struct command *c, const struct match *match, uint32_t **perms)
{
  if (c->method == MATCH_ACTIVATIONS)
    return match_activations_in(c, perms);
  match_weights(match, &c->search, perms);
  return true;
}

/* Of the trainable weights. */
static double cosine(const struct net *net, const float *a, const float *b)
{
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < net_params(net); i++) {
    aa += (double)a[i] * (double)a[i];
    bb += (double)b[i] * (double)b[i];
    ab += (double)a[i] * (double)b[i];
  }
  return ab / (sqrt(aa) * sqrt(bb));
}

static void summarize(const struct command *c, const struct match *match, uint32_t *const *perms,
                      const float *matched)
{
  const struct net_groups *groups = match->groups;
  size_t moved = 0, all = 0;
  for (size_t g = 0; g < groups->n; g++)
    for (uint32_t i = 0; i < groups->v[g].size; i++, all++)
      moved += perms[g][i] != i;
  printf("%s: %zu of %zu channels moved, in %zu groups; cosine with %s %.4f -> %.4f\n",
         c->o.value[OUTPUT], moved, all, groups->n, c->models[A],
         cosine(match->net, match->to, match->from), cosine(match->net, match->to, matched));
}

/* {"method": "weight_matching", "model": "resnet18", "models": ["a", "b"], ...} */
static const char *describe(const struct command *c)
{
  json_t *root = json_pack("{s:s, s:s, s:s, s:[s,s]}", "program", PACKAGE_STRING, "method", c->name,
                           "model", c->in.model, "models", inputs_last_part(c->arena, c->models[A]),
                           inputs_last_part(c->arena, c->models[B]));
  for (int i = SAMPLES; i < OUTPUT; i++)
    if (option_is_of(&options[i], c->name))
      json_object_set_new(root, options[i].name, json_string(c->o.value[i]));
  char *text = json_dumps(root, JSON_COMPACT);
  const char *copy = text ? arena_strdup(c->arena, text) : NULL;
  free(text);
  json_decref(root);
  return copy;
}

static bool match_models(struct command *c)
{
  const struct net *net = c->weights[A].net;
  const struct net_groups *groups = net_groups_new(c->arena, net, c->diag);
  const char *output = c->o.value[OUTPUT];
  const char *const read[] = {c->models[A], c->models[B], c->o.value[INPUT]};
  if (!groups || !inputs_check_output(&c->in, output, read, 3))
    return false;
  if (c->weights[A].untied != c->weights[B].untied) {
    diag_error(c->diag, SPAN_NONE, "one of the models has a head of its own, the other has not");
    return false;
  }
  const struct match match = {ops_cpu(), net, groups, c->weights[A].flat, c->weights[B].flat};
  const struct safetensors_meta how = {"matched", describe(c)};
  uint32_t **perms = match_identity(c->arena, groups);
  float *matched = arena_array(c->arena, net_count(net), sizeof *matched);
  if (!find_perms(c, &match, perms))
    return false;
  net_permute(net, groups, perms, match.from, matched);
  struct net_work *work = net_work_new(net, ops_cpu(), MATCH_CHECKED, false);
  bool ok = match_same_function(net, work, match.from, work, matched, c->diag);
  net_work_free(work);
  ok = ok && net_permute_file(net, groups, perms, c->models[B], output, inputs_shard_bytes(output),
                              &how, c->diag);
  if (ok && !c->o.said[QUIET])
    summarize(c, &match, perms, matched);
  return ok;
}

int command_match(int argc, char **argv, enum match_method method)
{
  struct arena *a = arena_new();
  struct command c = {.arena = a, .diag = diag_new(a), .method = method, .name = names[method]};
  c.in = (struct inputs){.arena = a, .diag = c.diag, .program = ast_program_new(a)};
  c.o = (struct option_values){a, c.diag, options, OPTIONS, .n_rest = 0};
  int status = EXIT_ENVIRONMENT;
  if (!option_scan(&c.o, argc, argv)) {
    fprintf(stderr, "hint: mergescape merge weight_matching --help lists its options\n");
  } else if (c.o.said[HELP]) {
    print_help(&c);
    status = EXIT_DONE;
  } else {
    c.models = c.o.rest + 1;
    c.n_models = c.o.n_rest ? c.o.n_rest - 1 : 0;
    check_command(&c);
    if (!diag_errors(c.diag))
      status = load(&c);
    if (status == EXIT_DONE && !match_models(&c))
      status = EXIT_ENVIRONMENT;
  }
  /* A full disk or a closed pipe must not look like success. */
  if (fflush(stdout) || ferror(stdout))
    status = EXIT_ENVIRONMENT;
  diag_print(c.diag, c.in.program->sources, stderr, diag_colour(stderr));
  arena_free(a);
  return status;
}
