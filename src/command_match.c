/* mergescape merge weight_matching|activation_matching [OPTION]... A B -o OUT: B with its channels
 * in the order that fits A. */
#include "config.h"

#include "command_merge.h"
#include "base/checkpoint.h"
#include "dsl/option.h"
#include "dsl/parse.h"
#include "engine/net.h"
#include "engine/zoo.h"
#include "merge/match.h"
#include "run/bind.h"
#include "session.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, A = 0, B = 1 };

static const uint64_t shard_bytes = 5000000000;

static const char usage[] =
    "Usage: mergescape merge weight_matching --model=MODEL [OPTION]... A B -o OUT\n"
    "       mergescape merge activation_matching --model=MODEL --input=X [OPTION]... A B -o OUT\n"
    "\n"
    "Permutes the channels of B so that they fit those of A. OUT computes what B computes, with\n"
    "B's names and types; merge it with A then. By weights: the permutations with the largest\n"
    "inner product with A's weights (Ainsworth et al. 2023). By activations: those for which\n"
    "channels are most alike on the samples of X (Li et al. 2016).\n"
    "\n"
    "Options:\n"
    "  -m, --model=MODEL    as in an experiment: mlp, resnet18, densenet121 or convnext_tiny,\n"
    "                       with its arguments, such as 'mlp(width = 256)'\n"
    "      --shape=CxHxW    of an image (default: 3x32x32, or as X has it); it matters to mlp\n"
    "      --input=X        .safetensors: the tensor \"input\", F32 [samples, channels, height,\n"
    "                       width], normalised as in training\n"
    "      --passes=N       weights: most passes over all groups of channels (default: 100)\n"
    "      --restarts=N     weights: searches, of which the best is kept (default: 1)\n"
    "      --seed=N         weights: of the search (default: 0)\n"
    "  -o, --output=OUT     a file where it ends in .safetensors, else a folder\n"
    "  -q, --quiet          say nothing but errors\n"
    "  -h, --help           print this help and exit\n"
    "\n"
    "A and B are what `mergescape forward` reads. Learned matching needs labels, and transformers\n"
    "have more symmetries than orders of channels: both are to be had in experiments.\n"
    "\n"
    "Exit status: 0 done; 2 a file does not fit, or the command line is wrong; 3 MODEL is wrong.\n"
    "\n"
    "Example:\n"
    "  mergescape merge weight_matching --model resnet18 a.safetensors b.safetensors -o "
    "c.safetensors\n"
    "  mergescape merge linear a.safetensors c.safetensors -o middle.safetensors\n";

struct command {
  struct arena *arena;
  struct diag *diag;
  enum match_method method;
  const char *model, *shape, *input, *output, *path[2];
  struct match_search search;
  bool quiet, help;
  struct net_spec spec;
  const char *spec_text;
  struct safetensors file; /* of the input */
  const struct safetensors_tensor *x;
  const struct net *net;
  float *flat[2];
};

/* ---- the command line ---- */

static unsigned whole_number(struct command *c, const char *name, const char *text, double least)
{
  char *end;
  const double v = strtod(text, &end);
  if (end > text && !*end && v >= least && v <= 4294967295.0 && v == floor(v))
    return (unsigned)v;
  diag_error(c->diag, SPAN_NONE, "--%s is a whole number from %g on, not `%s`", name, least, text);
  return 1;
}

/* false: getopt has said what is wrong. */
static bool scan_options(struct command *c, int argc, char **argv)
{
  enum { SHAPE = 256, INPUT, PASSES, RESTARTS, SEED };
  static const struct option table[] = {
      {"model", required_argument, NULL, 'm'},   {"shape", required_argument, NULL, SHAPE},
      {"input", required_argument, NULL, INPUT}, {"passes", required_argument, NULL, PASSES},
      {"seed", required_argument, NULL, SEED},   {"restarts", required_argument, NULL, RESTARTS},
      {"output", required_argument, NULL, 'o'},  {"quiet", no_argument, NULL, 'q'},
      {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
  };
  for (int o; (o = getopt_long(argc, argv, "m:o:qh", table, NULL)) != -1;) {
    if (o == '?')
      return false;
    const char **text = o == 'm'     ? &c->model
                        : o == 'o'   ? &c->output
                        : o == SHAPE ? &c->shape
                        : o == INPUT ? &c->input
                                     : NULL;
    if (text)
      *text = optarg;
    if (o == PASSES)
      c->search.passes = whole_number(c, "passes", optarg, 1);
    if (o == RESTARTS)
      c->search.restarts = whole_number(c, "restarts", optarg, 1);
    if (o == SEED)
      c->search.seed = whole_number(c, "seed", optarg, 0);
    c->quiet |= o == 'q';
    c->help |= o == 'h';
  }
  return true;
}

static void check_command(struct command *c, int argc, char **argv)
{
  const char *name = argv[optind]; /* the method */
  const unsigned before = diag_errors(c->diag);
  if (argc - optind - 1 != 2)
    diag_error(c->diag, SPAN_NONE, "`%s` takes two models, not %d", name, argc - optind - 1);
  for (int k = 0; k < 2 && optind + 1 + k < argc; k++)
    c->path[k] = argv[optind + 1 + k];
  if (c->method == MATCH_LEARNED)
    diag_error(c->diag, SPAN_NONE,
               "`%s` trains on labelled samples: it is to be had in experiments", name);
  if (!c->model)
    diag_error(c->diag, SPAN_NONE, "`%s` needs --model: the network that the weights are of", name);
  if (c->method == MATCH_ACTIVATIONS && !c->input)
    diag_error(c->diag, SPAN_NONE, "`%s` needs --input: samples to look at activations of", name);
  if (c->method == MATCH_WEIGHTS && c->input)
    diag_error(c->diag, SPAN_NONE, "`%s` looks at no --input", name);
  if (c->input && c->shape)
    diag_error(c->diag, SPAN_NONE, "--shape is that of --input: leave one out");
  if (!c->output)
    diag_error(c->diag, SPAN_NONE, "-o OUT is missing: where does the result go?");
  if (diag_errors(c->diag) > before)
    diag_hint(c->diag, "mergescape merge %s --help lists what it takes", name);
}

/* ---- the network ---- */

static void read_shape(struct command *c)
{
  const char *text = c->shape ? c->shape : "3x32x32";
  int end = 0;
  const int n =
      sscanf(text, "%5ux%5ux%5u%n", &c->spec.channels, &c->spec.height, &c->spec.image_width, &end);
  if (n != 3 || text[end] || !c->spec.channels || !c->spec.height || !c->spec.image_width)
    diag_error(c->diag, SPAN_NONE, "--shape: `%s` is no shape such as 1x28x28", text);
}

static void read_input(struct command *c)
{
  if (!safetensors_open(c->arena, c->input, &c->file, c->diag))
    return;
  const struct safetensors_tensor *x = safetensors_find(&c->file, "input");
  bool fits = x && x->rank == 4 && x->dtype == SAFETENSORS_F32 && x->shape[0] <= UINT32_MAX;
  for (uint32_t k = 0; fits && k < 4; k++)
    fits = x->shape[k] > 0 && (!k || x->shape[k] <= 65536);
  if (!fits) {
    diag_error(c->diag, SPAN_NONE,
               "%s: no tensor \"input\", F32 [samples, channels, height, width]", c->input);
    return;
  }
  const float *v = x->data;
  for (size_t i = 0; i < x->bytes / sizeof *v; i++)
    if (!isfinite(v[i])) {
      diag_error(c->diag, SPAN_NONE, "%s: element %zu of \"input\" is not finite", c->input, i);
      return;
    }
  c->x = x;
  c->spec.channels = (unsigned)x->shape[1];
  c->spec.height = (unsigned)x->shape[2];
  c->spec.image_width = (unsigned)x->shape[3];
}

/* An exit status. */
static int choose_net(struct command *c, struct ast_program *program)
{
  struct plan_step init;
  struct net_sizes sizes = {0};
  if (!dsl_model_option(program, "--model", c->model, &init, c->diag))
    return EXIT_EXPERIMENT;
  bind_model_spec(&init, &c->spec);
  if (zoo_reads_text(c->spec.model)) {
    diag_error(c->diag, SPAN_NONE, "%s: the order of its channels is not known here",
               c->spec.model);
    return EXIT_EXPERIMENT;
  }
  if (c->input)
    read_input(c);
  else
    read_shape(c);
  if (diag_errors(c->diag))
    return EXIT_ENVIRONMENT;
  c->spec.classes = 2;
  const struct net *like = net_new(c->arena, &c->spec, c->diag);
  if (!like)
    return EXIT_EXPERIMENT;
  if (!net_file_sizes(like, c->path[A], &sizes, c->diag))
    return EXIT_ENVIRONMENT;
  c->spec.classes = sizes.classes ? sizes.classes : 2;
  c->net = net_new(c->arena, &c->spec, c->diag);
  return c->net ? EXIT_DONE : EXIT_EXPERIMENT;
}

/* Both files, with all that does not fit reported. */
static bool load(struct command *c)
{
  const unsigned before = diag_errors(c->diag);
  for (int k = 0; k < 2; k++)
    if (net_check_file(c->net, c->path[k], true, c->diag)) {
      c->flat[k] = arena_array(c->arena, net_count(c->net), sizeof(float));
      if (net_load(c->net, c->path[k], c->flat[k], c->diag))
        net_check_values(c->net, c->flat[k], c->path[k], c->diag);
    }
  if (diag_errors(c->diag) == before)
    return true;
  if (!diag_hint_of(c->diag, diag_count(c->diag) - 1))
    diag_hint(c->diag, "the network is %s for images of %u x %u x %u (--shape, --input)", c->model,
              c->spec.channels, c->spec.height, c->spec.image_width);
  return false;
}

/* ---- matching ---- */

/* Samples as the network reads them: channels last. */
static void take(void *context, unsigned first, unsigned n, float *x)
{
  const struct command *c = context;
  const size_t channels = c->spec.channels;
  const size_t pixels = (size_t)c->spec.height * c->spec.image_width;
  const float *p = (const float *)c->x->data + first * channels * pixels;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < channels; k++)
      for (size_t at = 0; at < pixels; at++)
        x[(i * pixels + at) * channels + k] = *p++;
}

static bool find_perms(struct command *c, const struct match *match, uint32_t **perms)
{
  if (c->method == MATCH_WEIGHTS) {
    match_weights(match, &c->search, perms);
    return true;
  }
  const struct match_samples samples = {take, c, (unsigned)c->x->shape[0]};
  struct net_work *work = net_work_new(c->net, match->ops, BATCH, false);
  const bool ok = match_activations_of(match, work, BATCH, &samples, perms, c->diag);
  net_work_free(work);
  return ok;
}

/* Of the trainable weights. */
static double cosine(const struct command *c, const float *a, const float *b)
{
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < net_params(c->net); i++) {
    aa += (double)a[i] * (double)a[i];
    bb += (double)b[i] * (double)b[i];
    ab += (double)a[i] * (double)b[i];
  }
  return ab / (sqrt(aa) * sqrt(bb));
}

static void summarize(const struct command *c, const struct net_groups *groups,
                      uint32_t *const *perms, const float *matched)
{
  size_t moved = 0, all = 0;
  for (size_t g = 0; g < groups->n; g++)
    for (uint32_t i = 0; i < groups->v[g].size; i++, all++)
      moved += perms[g][i] != i;
  printf("%s: %zu of %zu channels moved, in %zu groups; cosine with %s %.4f -> %.4f\n", c->output,
         moved, all, groups->n, c->path[A], cosine(c, c->flat[A], c->flat[B]),
         cosine(c, c->flat[A], matched));
}

/* {"method": "weight_matching", "model": "resnet18", "models": ["a", "b"], ...} */
static const char *describe(const struct command *c, const char *method)
{
  json_t *root =
      json_pack("{s:s, s:s, s:s, s:[s,s]}", "program", PACKAGE_STRING, "method", method, "model",
                c->model, "models", command_merge_last_part(c->arena, c->path[A]),
                command_merge_last_part(c->arena, c->path[B]));
  if (c->method == MATCH_WEIGHTS)
    json_object_update_new(
        root, json_pack("{s:I, s:I, s:I}", "passes", (json_int_t)c->search.passes, "restarts",
                        (json_int_t)c->search.restarts, "seed", (json_int_t)c->search.seed));
  char *text = json_dumps(root, JSON_COMPACT);
  const char *copy = text ? arena_strdup(c->arena, text) : NULL;
  free(text);
  json_decref(root);
  return copy;
}

/* Neither of the two that are read. */
static bool check_output(struct command *c)
{
  for (int k = 0; k < 2; k++) {
    struct checkpoint from;
    if (!checkpoint_open(c->arena, c->path[k], &from, c->diag))
      return false;
    if (checkpoint_holds(&from, c->output)) {
      diag_error(c->diag, SPAN_NONE, "%s is one of the models that are matched", c->output);
      diag_hint(c->diag, "write the result to another file");
      return false;
    }
  }
  return true;
}

static const struct net_groups *find_groups(struct command *c)
{
  const struct net_groups *groups = net_groups_new(c->arena, c->net, c->diag);
  if (!groups || !match_has_heads(groups))
    return groups;
  diag_error(c->diag, SPAN_NONE, "transformers such as %s are matched in experiments only",
             c->spec.model);
  return NULL;
}

static bool match_models(struct command *c, const char *method)
{
  const struct net_groups *groups = find_groups(c);
  if (!groups || !check_output(c))
    return false;
  const struct match match = {ops_cpu(), c->net, groups, c->flat[A], c->flat[B]};
  const size_t n = strlen(c->output), m = strlen(".safetensors");
  const bool to_file = n >= m && !strcmp(c->output + n - m, ".safetensors");
  const struct safetensors_meta how = {"matched", describe(c, method)};
  uint32_t **perms = match_identity(c->arena, groups);
  float *matched = arena_array(c->arena, net_count(c->net), sizeof *matched);
  if (!find_perms(c, &match, perms))
    return false;
  net_permute(c->net, groups, perms, c->flat[B], matched);
  struct net_work *work = net_work_new(c->net, ops_cpu(), MATCH_CHECKED, false);
  bool ok = match_same_function(c->net, work, c->flat[B], work, matched, c->diag);
  net_work_free(work);
  ok = ok && net_permute_file(c->net, groups, perms, c->path[B], c->output,
                              to_file ? 0 : shard_bytes, &how, c->diag);
  if (ok && !c->quiet)
    summarize(c, groups, perms, matched);
  return ok;
}

static int run(struct command *c, struct ast_program *program, const char *method)
{
  const int status = choose_net(c, program);
  if (status != EXIT_DONE)
    return status;
  return load(c) && match_models(c, method) ? EXIT_DONE : EXIT_ENVIRONMENT;
}

int command_match(int argc, char **argv, enum match_method method)
{
  struct arena *a = arena_new();
  struct ast_program *program = ast_program_new(a);
  struct command c = {
      .arena = a, .diag = diag_new(a), .method = method, .search = {.passes = 100, .restarts = 1}};
  int status = EXIT_ENVIRONMENT;
  if (!scan_options(&c, argc, argv)) {
    fprintf(stderr, "hint: mergescape merge weight_matching --help lists its options\n");
  } else if (c.help) {
    fputs(usage, stdout);
    status = EXIT_DONE;
  } else {
    check_command(&c, argc, argv);
    if (!diag_errors(c.diag))
      status = run(&c, program, argv[optind]);
  }
  safetensors_close(&c.file);
  /* A full disk or a closed pipe must not look like success. */
  if (fflush(stdout) || ferror(stdout))
    status = EXIT_ENVIRONMENT;
  diag_print(c.diag, program->sources, stderr, diag_colour(stderr));
  arena_free(a);
  return status;
}
