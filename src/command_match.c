/* mergescape merge weight_matching|activation_matching|learned_matching [OPTION]... A B -o OUT: B
 * in the arrangement that fits A. */
#include "config.h"

#include "command_json.h"
#include "command_merge.h"
#include "dsl/parse.h"
#include "engine/net_copy.h"
#include "engine/ops_threads.h"
#include "inputs.h"
#include "option_table.h"
#include "session.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOKED_AT = 64, CHECKED_TOKENS = 64, A = 0, B = 1 };

enum {
  MODEL,
  SHAPE,
  INPUT,
  SYMMETRIES,
  CANONICAL_A,
  SAMPLES,
  EPOCHS,
  BATCH,
  LR,
  MOMENTUM,
  PASSES,
  RESTARTS,
  SEED,
  OUTPUT,
  THREADS,
  QUIET,
  HELP,
  OPTIONS
};

/* Of an experiment's methods of the same names. */
static const struct option_row options[OPTIONS] = {
    [MODEL] = {"model", "MODEL", NULL, NULL,
               "the network that A and B are of, as in an experiment:\n"
               "mlp, resnet18, densenet121, convnext_tiny, gpt, vit_s_16, vit_b_16 or\n"
               "clip_vit_b_16, with its arguments, such as 'mlp(width = 256)'"},
    [SHAPE] = {"shape", "CxHxW", " weight_matching ", NULL,
               "of an image (default: 3x32x32); it matters to mlp and vit"},
    [INPUT] = {"input", "X", " activation_matching learned_matching ", NULL,
               ".safetensors: the tensor \"input\", F32 [samples, channels, height, width],\n"
               "normalised as in training; or I64 [samples, tokens]. learned_matching\n"
               "needs \"labels\" of images: whole numbers [samples]"},
    [SYMMETRIES] = {"symmetries", "permutations|general", " weight_matching learned_matching ",
                    "permutations",
                    "general: of transformers also turns of the residual stream and\n"
                    "inside heads, and scales of neurons with ReLU (Theus et al. 2025)"},
    [CANONICAL_A] = {"canonical-a", "FILE", " weight_matching learned_matching ", NULL,
                     "with general symmetries: where A goes in the form that OUT has"},
    [SAMPLES] = {"samples", "N", " activation_matching ", "2048",
                 "most samples of X, evenly spaced"},
    [EPOCHS] = {"epochs", "N", " learned_matching ", "10", "passes over the samples of X"},
    [BATCH] = {"batch", "N", " learned_matching ", "128", "samples a step"},
    [LR] = {"lr", "LR", " learned_matching ", "0.01",
            "learning rate of SGD; of Adam where symmetries are general"},
    [MOMENTUM] = {"momentum", "M", " learned_matching ", "0.9",
                  "momentum of SGD; Adam's first decay"},
    [PASSES] = {"passes", "N", " weight_matching learned_matching ", "100",
                "most passes over all groups of channels, in each step"},
    [RESTARTS] = {"restarts", "N", " weight_matching learned_matching ", "1",
                  "searches, of which the best is kept"},
    [SEED] = {"seed", "N", " weight_matching learned_matching ", "0",
              "of the search, and of the order of samples"},
    [OUTPUT] = OPTION_OUTPUT,
    [THREADS] = OPTION_THREADS,
    [QUIET] = OPTION_QUIET,
    [HELP] = OPTION_HELP,
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
    [MATCH_LEARNED] =
        "Usage: mergescape merge learned_matching --model=MODEL --input=X [OPTION]... A B -o OUT\n"
        "\n"
        "Permutes the channels of B so that the loss midway between A and OUT is low on the\n"
        "samples of X: learned, beginning at weight matching (Ainsworth et al. 2023).\n",
};

static const char about_general[] =
    "\n"
    "With --symmetries=general OUT has another form than B, which only this form can be turned\n"
    "in: norms scale nothing, what is written to the residual stream has no mean, keys have no\n"
    "bias. It computes what B computes, in F32. Of images, names and all else are B's (and CLIP's\n"
    "residual stream is permuted, for its first norm does not let it be turned). Of gpt,\n"
    "names are those of Hugging Face's GPT2LMHeadModel, and the head is no longer tied:\n"
    "\"lm_head.weight\" is a tensor of its own (tie_word_embeddings=False). Merge OUT with A in\n"
    "the same form, --canonical-a=FILE, and not with A itself.\n";

struct command {
  struct arena *arena;
  struct diag *diag;
  struct option_values o;
  enum match_method method;
  const char *name; /* the method's */
  char **models;
  size_t n_models;
  struct match_learning how;
  struct inputs in;
  struct inputs_weights weights[2];
  bool general;
  unsigned threads;
  const struct net *whole; /* that both are matched in, with all positions */
  const struct ops *ops;
  double loss; /* of learned matching, midway */
};

/* ---- the command line ---- */

static void print_help(void *context)
{
  const struct command *c = context;
  fputs(about[c->method], stdout);
  printf("OUT computes what B computes, with B's names and types; merge it with A then.\n\n");
  option_print_all(options, OPTIONS, c->name);
  if (option_is_of(&options[SYMMETRIES], c->name))
    fputs(about_general, stdout);
  printf("\nA and B are what `mergescape forward` reads.\n\n"
         "Exit status: 0 done; 2 a file does not fit, or the command line is wrong; 3 MODEL is\n"
         "wrong.\n\n"
         "Example:\n"
         "  mergescape merge weight_matching --model resnet18 a.safetensors b.safetensors -o "
         "c.safetensors\n"
         "  mergescape merge linear a.safetensors c.safetensors -o middle.safetensors\n");
}

static void check_command(void *context)
{
  struct command *c = context;
  c->models = c->o.rest + 1;
  c->n_models = c->o.n_rest ? c->o.n_rest - 1 : 0;
  const char *name = c->name;
  const unsigned before = diag_errors(c->diag);
  option_check(&c->o, name);
  if (c->n_models != 2)
    diag_error(c->diag, SPAN_NONE, "`%s` takes two models, not %zu", name, c->n_models);
  if (!c->o.said[MODEL])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --model: the network that the weights are of", name);
  if (option_is_of(&options[INPUT], name) && !c->o.said[INPUT])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --input: samples to %s", name,
               c->method == MATCH_LEARNED ? "learn from" : "look at activations of");
  if (!c->o.said[OUTPUT])
    diag_error(c->diag, SPAN_NONE, "-o OUT is missing: where does the result go?");
  c->general = option_word(&c->o, SYMMETRIES) == 1;
  c->how = (struct match_learning){.search = {(unsigned)option_whole(&c->o, PASSES, 1, 1e6),
                                              (unsigned)option_whole(&c->o, RESTARTS, 1, 1e6),
                                              (uint64_t)option_whole(&c->o, SEED, 0, 4294967295.0)},
                                   .epochs = (unsigned)option_whole(&c->o, EPOCHS, 0, 1e6),
                                   .batch = (unsigned)option_whole(&c->o, BATCH, 1, 1e9),
                                   .lr = option_number(&c->o, LR, 0, 1e30),
                                   .momentum = option_number(&c->o, MOMENTUM, 0, 1)};
  c->threads = option_threads(&c->o, THREADS);
  if (!(c->how.lr > 0))
    diag_error(c->diag, SPAN_NONE, "--lr is a number greater than 0");
  if (c->how.momentum == 1)
    diag_error(c->diag, SPAN_NONE, "--momentum is less than 1");
  if (diag_errors(c->diag) > before)
    diag_hint(c->diag, "mergescape merge %s --help lists what it takes", name);
}

/* Model, samples and both files; an exit status. */
static int load(struct command *c)
{
  struct inputs *in = &c->in;
  int status = inputs_model(in, "--model", c->o.value[MODEL]);
  if (status == EXIT_DONE)
    status = c->o.said[INPUT] ? inputs_samples(in, c->o.value[INPUT], c->method == MATCH_LEARNED)
                              : inputs_shape(in, c->o.value[SHAPE]);
  if (status == EXIT_DONE)
    status = inputs_sizes(in, c->models[A]);
  /* All that does not fit, of both. */
  for (int k = 0, one; status != EXIT_EXPERIMENT && k < 2; k++) {
    if (k == A && status != EXIT_DONE)
      break;
    one = inputs_weights_to_change(in, c->models[k], &c->weights[k]);
    status = one == EXIT_DONE ? status : one;
  }
  return status;
}

/* ---- matching ---- */

/* Both models as the network that they are matched in has them. */
struct pair {
  struct match match;
  float *flat[2];
};

/* weights[k] for `net`, in canonical form where it is wanted. */
static bool prepare(struct command *c, const struct net *net, bool canonical, struct pair *p)
{
  const struct net_groups *groups = net ? net_groups_new(c->arena, net, c->diag) : NULL;
  for (int k = 0; groups && k < 2; k++) {
    const struct inputs_weights *w = &c->weights[k];
    p->flat[k] = arena_array(c->arena, net_count(net), sizeof **p->flat);
    if (!canonical) {
      inputs_convey(w->net, w->flat, net, p->flat[k]);
      continue;
    }
    /* Its own network with as many positions. */
    const struct net *own = net == c->whole ? w->net : inputs_sample_net(&c->in, w->untied);
    float *cut = arena_array(c->arena, net_count(own), sizeof *cut);
    inputs_convey(w->net, w->flat, own, cut);
    if (!match_canonical(own, cut, net, groups, p->flat[k], c->diag))
      return false;
  }
  p->match = (struct match){c->ops, net, groups, p->flat[A], p->flat[B]};
  return groups != NULL;
}

/* What learned matching and activations look at: the same with the positions that samples have, and
 * the same groups. */
static bool find_by_samples(struct command *c, uint32_t **perms, struct match_maps *maps)
{
  const struct net *net = inputs_sample_net(&c->in, maps ? true : c->weights[A].untied);
  const bool learned = c->method == MATCH_LEARNED;
  struct pair p;
  if (!prepare(c, net, maps != NULL, &p))
    return false;
  const unsigned batch = learned ? c->how.batch : LOOKED_AT, n = c->in.samples.split[DATA_TRAIN].n;
  struct net_work *work = net_work_new(net, c->ops, batch < n ? batch : n, learned);
  bool ok = true;
  if (!learned) {
    ok = match_activations(&p.match, work, batch < n ? batch : n, &c->in.samples,
                           (unsigned)option_whole(&c->o, SAMPLES, 2, 1e9), perms, c->diag);
  } else if (maps) {
    struct match_maps *found = match_maps_new(c->arena, p.match.groups);
    c->loss = match_general_learned(&p.match, &c->how, work, &c->in.samples, found);
    match_maps_copy(found, maps);
  } else {
    c->loss = match_learned(&p.match, &c->how, work, &c->in.samples, perms);
  }
  net_work_free(work);
  return ok;
}

static bool find(struct command *c, const struct match *match, uint32_t **perms,
                 struct match_maps *maps)
{
  if (c->method != MATCH_WEIGHTS)
    return find_by_samples(c, perms, maps);
  if (maps)
    match_general(match, &c->how.search, maps);
  else
    match_weights(match, &c->how.search, perms);
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

/* perms NULL: general symmetries. */
static void summarize(const struct command *c, const struct match *match, uint32_t *const *perms,
                      const float *matched)
{
  const struct net_groups *groups = match->groups;
  size_t moved = 0, all = 0;
  for (size_t g = 0; perms && g < groups->n; g++)
    for (uint32_t i = 0; i < groups->v[g].size; i++, all++)
      moved += perms[g][i] != i;
  printf("%s: ", c->o.value[OUTPUT]);
  if (perms)
    printf("%zu of %zu channels moved, ", moved, all);
  printf("in %zu groups; cosine with %s %.4f -> %.4f", groups->n,
         perms ? c->models[A] : c->o.value[CANONICAL_A], cosine(match->net, match->to, match->from),
         cosine(match->net, match->to, matched));
  if (c->method == MATCH_LEARNED)
    printf("; loss midway %.4f", c->loss);
  putchar('\n');
}

/* {"method": "weight_matching", "model": "resnet18", "models": ["a", "b"], ...} */
static const char *describe(const struct command *c)
{
  json_t *root = json_pack("{s:s, s:s, s:s, s:[s,s]}", "program", PACKAGE_STRING, "method", c->name,
                           "model", c->in.model, "models", inputs_last_part(c->arena, c->models[A]),
                           inputs_last_part(c->arena, c->models[B]));
  for (int i = SYMMETRIES; i < OUTPUT; i++)
    if (i != CANONICAL_A && option_is_of(&options[i], c->name))
      json_object_set_new(root, options[i].name, json_string(c->o.value[i]));
  return command_json_line(c->arena, root);
}

static float *conveyed(const struct net *from, const float *flat, const struct net *to)
{
  float *out = mem_alloc(net_count(to) * sizeof *out);
  inputs_convey(from, flat, to, out);
  return out;
}

/* Does `flat` compute what the file's weights do?  On short texts: logits of GPT-2's longest take
 * gigabytes. */
static bool is_same(struct command *c, const struct inputs_weights *own, const struct net *net,
                    const float *flat)
{
  const bool untied = c->general || c->weights[A].untied; /* c->whole's */
  const struct net *a = inputs_short_net(&c->in, CHECKED_TOKENS, own->untied);
  const struct net *b = inputs_short_net(&c->in, CHECKED_TOKENS, untied);
  float *of_a = conveyed(own->net, own->flat, a), *of_b = conveyed(net, flat, b);
  struct net_work *work_a = net_work_new(a, c->ops, MATCH_CHECKED, false);
  struct net_work *work_b = net_work_new(b, c->ops, MATCH_CHECKED, false);
  const bool same = match_same_function(a, work_a, of_a, work_b, of_b, c->diag);
  net_work_free(work_a);
  net_work_free(work_b);
  free(of_a);
  free(of_b);
  return same;
}

/* A language model's head is a tensor more than the file may have. */
static bool write_canonical(struct command *c, const struct net *net, const float *flat,
                            const char *from, const char *to, const struct safetensors_meta *how)
{
  const uint64_t shard = inputs_shard_bytes(to);
  return net_reads_text(net) ? net_save_as(net, flat, to, shard, how, c->diag)
                             : net_copy_weights(net, flat, from, to, shard, how, c->diag);
}

static bool match_general_models(struct command *c)
{
  const struct safetensors_meta how = {"matched", describe(c)}, form = {"canonical", "general"};
  const struct net *net = c->whole;
  struct pair p;
  if (!prepare(c, net, true, &p))
    return false;
  struct match_maps *maps = match_maps_new(c->arena, p.match.groups);
  float *matched = arena_array(c->arena, net_count(net), sizeof *matched);
  if (!find(c, &p.match, NULL, maps))
    return false;
  match_map(maps, p.flat[B], net_count(net), matched);
  const bool ok =
      is_same(c, &c->weights[A], net, p.flat[A]) && is_same(c, &c->weights[B], net, matched) &&
      write_canonical(c, net, p.flat[A], c->models[A], c->o.value[CANONICAL_A], &form) &&
      write_canonical(c, net, matched, c->models[B], c->o.value[OUTPUT], &how);
  if (ok && !c->o.said[QUIET])
    summarize(c, &p.match, NULL, matched);
  return ok;
}

static bool permute_model(struct command *c)
{
  const struct safetensors_meta how = {"matched", describe(c)};
  const struct net *net = c->whole;
  struct pair p;
  if (!prepare(c, net, false, &p))
    return false;
  uint32_t **perms = match_identity(c->arena, p.match.groups);
  float *matched = arena_array(c->arena, net_count(net), sizeof *matched);
  if (!find(c, &p.match, perms, NULL))
    return false;
  net_permute(net, p.match.groups, perms, p.flat[B], matched);
  const char *output = c->o.value[OUTPUT];
  const bool ok = is_same(c, &c->weights[B], net, matched) &&
                  net_permute_file(net, p.match.groups, perms, c->models[B], output,
                                   inputs_shard_bytes(output), &how, c->diag);
  if (ok && !c->o.said[QUIET])
    summarize(c, &p.match, perms, matched);
  return ok;
}

/* Without heads, permutations are all there is. */
static bool check_form(struct command *c)
{
  const struct net_groups *groups = net_groups_new(c->arena, c->weights[A].net, c->diag);
  const char *canonical = c->o.value[CANONICAL_A];
  if (!groups)
    return false;
  const bool general = c->general && match_has_heads(groups);
  if (canonical && !general)
    diag_error(c->diag, SPAN_NONE,
               "--canonical-a: %s is matched by permutations, and A stays as it is",
               c->in.spec.model);
  else if (general && !canonical)
    diag_error(c->diag, SPAN_NONE,
               "--symmetries=general needs --canonical-a: OUT is merged with A in its form");
  else if (general && !strcmp(canonical, c->o.value[OUTPUT]))
    diag_error(c->diag, SPAN_NONE, "--canonical-a and -o are the same file");
  else if (!general && c->weights[A].untied != c->weights[B].untied)
    diag_error(c->diag, SPAN_NONE, "one of the models has a head of its own, the other has not");
  else {
    c->general = general;
    return true;
  }
  return false;
}

static bool match_models(struct command *c)
{
  const char *const read[] = {c->models[A], c->models[B], c->o.value[INPUT]};
  if (!check_form(c) || !inputs_check_output(&c->in, c->o.value[OUTPUT], read, 3) ||
      (c->general && !inputs_check_output(&c->in, c->o.value[CANONICAL_A], read, 3)))
    return false;
  c->whole = inputs_net(&c->in, c->general || c->weights[A].untied);
  c->ops = ops_threads_new(ops_cpu(), c->threads);
  const bool ok = c->general ? match_general_models(c) : permute_model(c);
  ops_threads_free(c->ops);
  return ok;
}

static int run(void *context)
{
  struct command *c = context;
  const int status = load(c);
  return status != EXIT_DONE || match_models(c) ? status : EXIT_ENVIRONMENT;
}

int command_match(int argc, char **argv, enum match_method method)
{
  struct arena *a = arena_new();
  struct command c = {.arena = a, .diag = diag_new(a), .method = method, .name = names[method]};
  c.in = (struct inputs){.arena = a, .diag = c.diag, .program = ast_program_new(a)};
  c.o = (struct option_values){a, c.diag, options, OPTIONS, .n_rest = 0};
  const char *name = arena_printf(a, "mergescape merge %s", c.name);
  const struct option_command how = {name, HELP, print_help, check_command, run};
  const int status = option_run(&c.o, &how, &c, argc, argv, c.in.program->sources);
  arena_free(a);
  return status;
}
