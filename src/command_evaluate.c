/* mergescape evaluate: accuracy and loss of checkpoints on samples of the user's own. */
#include "config.h"

#include "base/num.h"
#include "command_json.h"
#include "dsl/parse.h"
#include "engine/ops_threads.h"
#include "inputs.h"
#include "measure/measure.h"
#include "option_table.h"
#include "session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL, INPUT, SAMPLES, THREADS, CSV, JSON, HELP, OPTIONS };

enum { BATCH = 64 };

static const struct option_row options[OPTIONS] = {
    [MODEL] = {"model", "MODEL", NULL, NULL,
               "the network that the checkpoints are of, with its arguments, as in an\n"
               "experiment, such as 'resnet18(stem = imagenet)'"},
    [INPUT] = {"input", "X", NULL, NULL,
               ".safetensors: the tensor \"input\", F32 [samples, channels, height, width],\n"
               "normalised as in training, with \"labels\", whole numbers [samples]; or I64\n"
               "[samples, tokens], each of which is the label of those before it"},
    [SAMPLES] = {"samples", "N", NULL, NULL, "most samples, evenly spaced (default: all of X)"},
    [THREADS] = OPTION_THREADS,
    [CSV] = {"csv", NULL, NULL, NULL, "the rows as CSV"},
    [JSON] = {"json", NULL, NULL, NULL, "the rows as JSON"},
    [HELP] = OPTION_HELP,
};

static const char usage[] =
    "Usage: mergescape evaluate --model=MODEL --input=X [OPTION]... A...\n"
    "\n"
    "Accuracy (the share of labels whose logit is the largest) and loss (mean cross-entropy,\n"
    "nats a label) of each checkpoint on the samples of X, in inference mode.\n"
    "\n";

struct row {
  const char *path;
  struct measure_evaluation is;
};

struct command {
  struct arena *arena;
  struct diag *diag;
  struct option_values o;
  struct inputs in;
  unsigned samples, threads;
  struct row *rows;
};

static void print_help(void *context)
{
  (void)context;
  fputs(usage, stdout);
  option_print_all(options, OPTIONS, "");
  printf("\nA is what `mergescape forward` reads.\n\n"
         "Exit status: 0 done; 2 a file does not fit, or the command line is wrong; 3 MODEL is\n"
         "wrong.\n\n"
         "Example:\n"
         "  mergescape evaluate --model resnet18 --input test.safetensors a.safetensors \\\n"
         "    b.safetensors middle.safetensors\n");
}

static void check_command(void *context)
{
  struct command *c = context;
  const unsigned before = diag_errors(c->diag);
  if (!c->o.n_rest)
    diag_error(c->diag, SPAN_NONE, "`evaluate` needs a checkpoint, or several");
  if (!c->o.said[MODEL])
    diag_error(c->diag, SPAN_NONE, "`evaluate` needs --model: the network that the weights are of");
  if (!c->o.said[INPUT])
    diag_error(c->diag, SPAN_NONE, "`evaluate` needs --input: samples to look at");
  if (c->o.said[CSV] && c->o.said[JSON])
    diag_error(c->diag, SPAN_NONE, "--csv and --json are two forms: leave one out");
  c->samples = c->o.said[SAMPLES] ? (unsigned)option_whole(&c->o, SAMPLES, 1, 1e9) : UINT32_MAX;
  c->threads = option_threads(&c->o, THREADS);
  if (diag_errors(c->diag) > before)
    diag_hint(c->diag, "mergescape evaluate --help lists what it takes");
}

/* ---- what is printed ---- */

static void print_table(const struct command *c)
{
  int width = 10;
  for (size_t i = 0; i < c->o.n_rest; i++) {
    const int n = (int)strlen(c->rows[i].path);
    width = n > width ? n : width;
  }
  printf("%-*s  %8s  %9s\n", width, "checkpoint", "accuracy", "loss");
  for (size_t i = 0; i < c->o.n_rest; i++)
    printf("%-*s  %8.4f  %9.5f\n", width, c->rows[i].path, c->rows[i].is.accuracy,
           c->rows[i].is.loss);
  printf("%u samples\n", c->samples);
}

static void print_csv(const struct command *c)
{
  char accuracy[NUM_TEXT], loss[NUM_TEXT];
  puts("checkpoint,accuracy,loss,samples");
  for (size_t i = 0; i < c->o.n_rest; i++) {
    const struct row *r = &c->rows[i];
    command_csv_field(r->path);
    printf(",%s,%s,%u\n", num_text(r->is.accuracy, accuracy),
           isfinite(r->is.loss) ? num_text(r->is.loss, loss) : "", c->samples);
  }
}

static void print_json(const struct command *c)
{
  json_t *rows = json_array();
  for (size_t i = 0; i < c->o.n_rest; i++) {
    const struct row *r = &c->rows[i];
    json_array_append_new(rows, json_pack("{s:o, s:f, s:o}", "checkpoint",
                                          command_json_text(c->arena, r->path), "accuracy",
                                          r->is.accuracy, "loss", command_json_number(r->is.loss)));
  }
  command_json_print(json_pack("{s:o, s:o, s:I, s:o}", "model",
                               command_json_text(c->arena, c->in.model), "input",
                               command_json_text(c->arena, c->in.samples_path), "samples",
                               (json_int_t)c->samples, "checkpoints", rows));
}

/* ---- doing it ---- */

static int evaluate(struct command *c, const struct ops *ops, struct row *row)
{
  struct inputs *in = &c->in;
  struct inputs_weights weights;
  const int status = inputs_weights(in, row->path, &weights);
  if (status != EXIT_DONE)
    return status;
  const struct net *net = inputs_sample_net(in, weights.untied);
  if (!net)
    return EXIT_ENVIRONMENT;
  float *flat = mem_alloc(net_count(net) * sizeof *flat);
  inputs_convey(weights.net, weights.flat, net, flat);
  struct net_work *work = net_work_new(net, ops, BATCH, false);
  row->is = measure_evaluate(work, BATCH, flat, net, &in->samples, DATA_TRAIN, c->samples);
  net_work_free(work);
  free(flat);
  return EXIT_DONE;
}

static int run(void *context)
{
  struct command *c = context;
  struct inputs *in = &c->in;
  int status = inputs_model(in, "--model", c->o.value[MODEL]);
  if (status == EXIT_DONE)
    status = inputs_samples(in, c->o.value[INPUT], true);
  if (status == EXIT_DONE)
    status = inputs_sizes(in, c->o.rest[0]);
  if (status != EXIT_DONE)
    return status;
  const unsigned all = in->samples.split[DATA_TRAIN].n;
  c->samples = c->samples < all ? c->samples : all;
  const struct ops *ops = ops_threads_new(ops_cpu(), c->threads);
  c->rows = arena_array(c->arena, c->o.n_rest, sizeof *c->rows);
  for (size_t i = 0; i < c->o.n_rest && status == EXIT_DONE; i++) {
    c->rows[i].path = c->o.rest[i];
    status = evaluate(c, ops, &c->rows[i]);
  }
  ops_threads_free(ops);
  if (status == EXIT_DONE)
    (c->o.said[CSV] ? print_csv : c->o.said[JSON] ? print_json : print_table)(c);
  return status;
}

int command_evaluate(int argc, char **argv)
{
  static const struct option_command how = {"mergescape evaluate", HELP, print_help, check_command,
                                            run};
  static char name[] = "mergescape evaluate"; /* before getopt's messages */
  struct arena *a = arena_new();
  struct command c = {.arena = a, .diag = diag_new(a)};
  argv[0] = name;
  c.in = (struct inputs){.arena = a, .diag = c.diag, .program = ast_program_new(a)};
  c.o = (struct option_values){a, c.diag, options, OPTIONS, .n_rest = 0};
  const int status = option_run(&c.o, &how, &c, argc, argv, c.in.program->sources);
  arena_free(a);
  return status;
}
