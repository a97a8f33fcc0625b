#include "config.h"

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage_commands[] =
    "Usage: mergescape COMMAND [OPTION]... FILE...\n"
    "\n"
    "Commands:\n"
    "  check     say what is wrong with the experiment files\n"
    "  explain   print the plan: values, steps, what is cached, shared, and costs\n"
    "  why       say why a step has to run: why STEP FILE..., STEP as explain has it\n"
    "            (#12) or the beginning of its key\n"
    "  what-if   say which figures the files as they are now would have to redo,\n"
    "            why, and what it costs\n"
    "  status    say what is done, what a run is doing now, what failed and why, and how\n"
    "            long the rest takes; may be asked beside a run\n"
    "  run       run the experiments, without drawing\n"
    "  figures   run what the figures need, and draw them\n"
    "  claims    run what the claims need, and judge them\n"
    "  verify    compute some of the stored results again and compare their bits, and test\n"
    "            the checksums of all\n"
    "  weave     run what figures and claims need, and write the sections and tables of\n"
    "            the paper\n"
    "  report    run what figures and claims need, and write all that came out as one page\n"
    "            of HTML\n"
    "  diff-results\n"
    "            diff-results A B [FILE...]: compare the results of two runs, folders of\n"
    "            figures, recorded references or unpacked exports; or stores, with the\n"
    "            experiment files\n"
    "  record    run what figures and claims need, and write their numbers into a folder\n"
    "            that later runs can be held against\n"
    "  export    run what figures and claims need, and pack results, figures, plan and\n"
    "            experiments into one archive\n"
    "  fmt       write the files anew in canonical layout; - is stdin to stdout\n"
    "  forward   run a model with weights of your own on arrays of your own; see\n"
    "            mergescape forward --help\n"
    "  merge     merge checkpoints of your own; see mergescape merge --help\n"
    "  evaluate  accuracy and loss of checkpoints on samples of your own\n"
    "  diff      compare two checkpoints; see mergescape diff --help\n"
    "  fisher, gram\n"
    "            what merge fisher and merge regmean read beside a checkpoint, of samples of\n"
    "            your own\n"
    "  recalibrate\n"
    "            compute a checkpoint's running statistics of batch norm anew\n"
    "\n";

static const char usage_options[] =
    "Options:\n"
    "  -t, --tier=NAME      scale to run at: small (default), smoke, paper, or a tier\n"
    "                       that a file defines; tiers/NAME.exp beside the first FILE\n"
    "                       is read\n"
    "  -f, --figure=N       only figure N, and claims beside it (repeatable)\n"
    "  -j, --jobs=N         worker processes (default: one a core)\n"
    "      --threads=N      threads of each (default: 1, and what -j leaves idle where\n"
    "                       there are fewer steps to run at a time)\n"
    "  -s, --store=DIR      where results are kept (default: store)\n"
    "  -o, --output=DIR     where figures are written (default: figures)\n"
    "      --paper=DIR      weave: where they are written (default: paper)\n"
    "      --report=FILE    report: the page (default: report.html)\n"
    "      --reference=DIR  record: the folder (default: reference)\n"
    "      --archive=FILE   export: the archive (default: mergescape-results.tar.gz)\n"
    "      --models         export: with the models' weights\n"
    "      --source=FILE    export: an archive of the program's source to put in\n"
    "      --commit=TEXT    record, export: the program's commit, to be noted\n"
    "  -d, --data=DIR       look for data sets in DIR first (repeatable)\n"
    "      --style=FILE     gnuplot style of all figures\n"
    "      --max-steps=N    refuse a plan with more steps (default: 1000000)\n"
    "      --summary        explain: without the steps\n"
    "      --dot, --json    explain: the plan for Graphviz, or as data; status, verify:\n"
    "                       as data\n"
    "      --all, --csv     diff-results: every series; as CSV (or --json)\n"
    "      --sample=N, =P%  verify: how many results, or what share (default: 5%)\n"
    "      --seed=N         verify: what chooses them (default: 0); --all: all of them\n"
    "      --noise=FILE     diff-results: what two like runs differ by, as --csv wrote it\n"
    "      --check          fmt: change nothing, name the files that would change\n"
    "  -q, --quiet          no progress\n"
    "  -h, --help           print this help and exit\n"
    "  -V, --version        print the version and exit\n"
    "\n"
    "Exit status: 0 done; 1 a claim or a check failed; 2 a step failed, or the machine\n"
    "(files, memory, disk, command line) is at fault; 3 an experiment file is wrong.\n";

enum {
  OPTION_STYLE = 256,
  OPTION_MAX_STEPS,
  OPTION_THREADS,
  OPTION_SUMMARY,
  OPTION_DOT,
  OPTION_JSON,
  OPTION_CHECK,
  OPTION_PAPER,
  OPTION_REPORT,
  OPTION_SAMPLE,
  OPTION_SEED,
  OPTION_ALL,
  OPTION_CSV,
  OPTION_NOISE,
  OPTION_REFERENCE,
  OPTION_ARCHIVE,
  OPTION_MODELS,
  OPTION_SOURCE,
  OPTION_COMMIT
};

static const struct option long_options[] = {
    {"tier", required_argument, NULL, 't'},
    {"figure", required_argument, NULL, 'f'},
    {"jobs", required_argument, NULL, 'j'},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"store", required_argument, NULL, 's'},
    {"output", required_argument, NULL, 'o'},
    {"data", required_argument, NULL, 'd'},
    {"style", required_argument, NULL, OPTION_STYLE},
    {"max-steps", required_argument, NULL, OPTION_MAX_STEPS},
    {"summary", no_argument, NULL, OPTION_SUMMARY},
    {"dot", no_argument, NULL, OPTION_DOT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"paper", required_argument, NULL, OPTION_PAPER},
    {"report", required_argument, NULL, OPTION_REPORT},
    {"sample", required_argument, NULL, OPTION_SAMPLE},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"all", no_argument, NULL, OPTION_ALL},
    {"csv", no_argument, NULL, OPTION_CSV},
    {"noise", required_argument, NULL, OPTION_NOISE},
    {"reference", required_argument, NULL, OPTION_REFERENCE},
    {"archive", required_argument, NULL, OPTION_ARCHIVE},
    {"models", no_argument, NULL, OPTION_MODELS},
    {"source", required_argument, NULL, OPTION_SOURCE},
    {"commit", required_argument, NULL, OPTION_COMMIT},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static void print_usage(FILE *to)
{
  fputs(usage_commands, to);
  fputs(usage_options, to);
}

static bool wrong(const char *what, const char *value)
{
  fprintf(stderr, "mergescape: error: %s `%s`\n", what, value);
  fprintf(stderr, "hint: mergescape --help lists commands and options\n");
  return false;
}

static bool whole_number(const char *option, const char *text, double low, double high, double *out)
{
  char *end;
  errno = 0;
  double v = strtod(text, &end);
  if (end == text || *end || errno || v != floor(v) || v < low || v > high) {
    fprintf(stderr, "mergescape: error: %s takes a whole number from %.0f to %.0f, not `%s`\n",
            option, low, high, text);
    return false;
  }
  *out = v;
  return true;
}

/* "5%" or "40" */
static bool sample_size(const char *text, struct options *o)
{
  const size_t n = strlen(text);
  char *end;
  if (!n || text[n - 1] != '%') {
    o->sample_share = 0;
    return whole_number("--sample", text, 1, 1e9, &o->sample);
  }
  const double percent = strtod(text, &end);
  if (end == text || *end != '%' || end[1] || !(percent > 0 && percent <= 100)) {
    fprintf(stderr, "mergescape: error: --sample takes a number, or a share from above 0%% to "
                    "100%%, not `%s`\n",
            text);
    return false;
  }
  o->sample_share = percent / 100;
  return true;
}

/* Where an option that takes a text keeps it, or NULL. */
static const char **text_of(struct options *o, int c)
{
  switch (c) {
  case 't':
    return &o->tier;
  case 's':
    return &o->store;
  case 'o':
    return &o->output;
  case OPTION_STYLE:
    return &o->style;
  case OPTION_PAPER:
    return &o->paper;
  case OPTION_REPORT:
    return &o->report;
  case OPTION_NOISE:
    return &o->noise;
  case OPTION_REFERENCE:
    return &o->reference;
  case OPTION_ARCHIVE:
    return &o->archive;
  case OPTION_SOURCE:
    return &o->source;
  case OPTION_COMMIT:
    return &o->commit;
  default:
    return NULL;
  }
}

/* The same of one that takes nothing. */
static bool *flag_of(struct options *o, int c)
{
  switch (c) {
  case OPTION_DOT:
    return &o->dot;
  case OPTION_JSON:
    return &o->json;
  case OPTION_SUMMARY:
    return &o->summary;
  case OPTION_CHECK:
    return &o->check;
  case OPTION_ALL:
    return &o->all;
  case OPTION_CSV:
    return &o->csv;
  case OPTION_MODELS:
    return &o->models;
  case 'q':
    return &o->quiet;
  default:
    return NULL;
  }
}

static bool set_option(struct arena *a, struct options *o, int c, const char *arg, size_t caps[2])
{
  const char **text = text_of(o, c);
  bool *flag = flag_of(o, c);
  double n;
  if (text)
    *text = arg;
  if (flag)
    *flag = true;
  if (text || flag)
    return true;
  switch (c) {
  case 'f':
    if (!whole_number("--figure", arg, 1, 999, &n))
      return false;
    ARENA_PUSH(a, o->figures, o->n_figures, caps[0], (unsigned)n);
    return true;
  case 'j':
    if (!whole_number("--jobs", arg, 1, 1024, &n))
      return false;
    o->jobs = (unsigned)n;
    return true;
  case OPTION_THREADS:
    if (!whole_number("--threads", arg, 1, 1024, &n))
      return false;
    o->threads = (unsigned)n;
    return true;
  case 'd':
    ARENA_PUSH(a, o->data, o->n_data, caps[1], arg);
    return true;
  case OPTION_MAX_STEPS:
    return whole_number("--max-steps", arg, 1, 4e9, &o->max_steps);
  case OPTION_SAMPLE:
    return sample_size(arg, o);
  case OPTION_SEED:
    return whole_number("--seed", arg, 0, 9007199254740992.0, &o->seed);
  default:
    fprintf(stderr, "hint: mergescape --help lists commands and options\n");
    return false;
  }
}

static void add_default_data(struct arena *a, struct options *o, size_t *cap)
{
  /* MERGESCAPE_DATA is a list of folders separated by colons, like PATH. */
  const char *path = getenv("MERGESCAPE_DATA");
  while (path && *path) {
    size_t n = strcspn(path, ":");
    if (n)
      ARENA_PUSH(a, o->data, o->n_data, *cap, arena_strndup(a, path, n));
    path += n + (path[n] == ':');
  }
  ARENA_PUSH(a, o->data, o->n_data, *cap, DATASETDIR);
}

static unsigned all_cores(void)
{
  const long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (unsigned)n : 1;
}

static void share_cores(struct options *o)
{
  const unsigned cores = all_cores(), threads = o->threads ? o->threads : 1;
  if (!o->jobs)
    o->jobs = threads < cores ? cores / threads : 1;
  o->cores = o->jobs < cores ? o->jobs : cores;
}

enum options_verdict options_parse(struct arena *a, int argc, char **argv, struct options *o)
{
  size_t caps[2] = {0};
  *o = (struct options){.tier = "small", .store = "store", .output = "figures", .paper = "paper",
                        .report = "report.html", .reference = "reference",
                        .archive = "mergescape-results.tar.gz", .max_steps = 1e6,
                        .sample_share = 0.05};
  int c;
  while ((c = getopt_long(argc, argv, "t:f:j:s:o:d:qhV", long_options, NULL)) != -1) {
    if (c == 'h') {
      print_usage(stdout);
      return OPTIONS_DONE;
    }
    if (c == 'V') {
      puts(PACKAGE_STRING);
      return OPTIONS_DONE;
    }
    if (!set_option(a, o, c, optarg, caps))
      return OPTIONS_WRONG;
  }
  add_default_data(a, o, &caps[1]);
  share_cores(o);
  if (optind == argc) {
    print_usage(stderr);
    return OPTIONS_WRONG;
  }
  o->command = argv[optind];
  o->files = (const char *const *)argv + optind + 1;
  o->n_files = (size_t)(argc - optind - 1);
  /* why STEP FILE... */
  if (!strcmp(o->command, "why") && o->n_files) {
    o->step = *o->files++;
    o->n_files--;
  }
  if (!strcmp(o->command, "diff-results")) {
    if (o->n_files < 2) {
      wrong("two results are needed by", o->command);
      return OPTIONS_WRONG;
    }
    o->results[0] = o->files[0];
    o->results[1] = o->files[1];
    o->files += 2;
    o->n_files -= 2;
    return OPTIONS_RUN;
  }
  static const char *const commands[] = {"check",   "explain", "why",   "what-if", "status", "run",
                                         "figures", "claims",  "weave", "report",  "record",
                                         "export",  "fmt",     "verify"};
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(commands[i], o->command))
      continue;
    if (o->n_files)
      return OPTIONS_RUN;
    wrong("no experiment file is given to", o->command);
    return OPTIONS_WRONG;
  }
  wrong("unknown command", o->command);
  return OPTIONS_WRONG;
}

/* ---- forward ---- */

static const char forward_usage[] =
    "Usage: mergescape forward --model=MODEL --weights=W --input=X --output=Y\n"
    "\n"
    "Runs a model on the samples in X and writes its logits to Y. W, X and Y are\n"
    ".safetensors files; W may be a folder of them with an index, as Hugging Face's\n"
    "libraries write large models.\n"
    "\n"
    "Options:\n"
    "  -m, --model=MODEL    a model of the language with its arguments, as in an experiment:\n"
    "                       resnet18, 'resnet18(stem = imagenet)', 'gpt(width = 768,\n"
    "                       layers = 12, heads = 12)'; docs/language.md lists them\n"
    "  -w, --weights=W      its weights: F32, F16, BF16 or F64, with the names that\n"
    "                       torchvision, timm (ViT, ConvNeXt), open_clip or Hugging Face (GPT-2)\n"
    "                       gives them; a word before all names (module., model., _orig_mod.) is\n"
    "                       left out. The number of classes is the classifier's, of a\n"
    "                       language model the vocabulary\n"
    "  -i, --input=X        the tensor \"input\": images, F32 [samples, channels, height,\n"
    "                       width], normalised as in training; or token ids, I64 [samples,\n"
    "                       tokens]\n"
    "  -o, --output=Y       the tensor \"output\": F32 [samples, classes], or [samples, tokens,\n"
    "                       vocabulary]; the file is written whole or not at all\n"
    "      --threads=N      threads (default: one a core); the logits do not depend on it\n"
    "  -q, --quiet          say nothing when it is done\n"
    "  -h, --help           print this help and exit\n"
    "\n"
    "Model, weights and input are held against one another before anything is computed, and\n"
    "all that does not fit is listed.\n"
    "\n"
    "Exit status: 0 done; 2 a file is missing, damaged or does not fit, or the command line or\n"
    "the machine is at fault; 3 MODEL is wrong; 130 interrupted.\n"
    "\n"
    "Example:\n"
    "  mergescape forward --model 'resnet18(stem = imagenet)' --weights resnet18.safetensors \\\n"
    "    --input photos.safetensors --output logits.safetensors\n";

static bool forward_is_whole(const struct forward_options *o)
{
  const struct {
    const char *name, *value;
  } needed[] = {{"--model", o->model},
                {"--weights", o->weights},
                {"--input", o->input},
                {"--output", o->output}};
  bool whole = true;
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
    if (!needed[i].value) {
      fprintf(stderr, "mergescape: error: forward needs %s\n", needed[i].name);
      whole = false;
    }
  return whole;
}

enum options_verdict options_parse_forward(int argc, char **argv, struct forward_options *o)
{
  static const struct option forward_options[] = {
      {"model", required_argument, NULL, 'm'},
      {"weights", required_argument, NULL, 'w'},
      {"input", required_argument, NULL, 'i'},
      {"output", required_argument, NULL, 'o'},
      {"quiet", no_argument, NULL, 'q'},
      {"help", no_argument, NULL, 'h'},
      {"threads", required_argument, NULL, OPTION_THREADS},
      {NULL, 0, NULL, 0},
  };
  bool known = true;
  double threads = all_cores();
  int c;
  *o = (struct forward_options){0};
  while ((c = getopt_long(argc, argv, "m:w:i:o:qh", forward_options, NULL)) != -1) {
    const char **value = c == 'm'   ? &o->model
                         : c == 'w' ? &o->weights
                         : c == 'i' ? &o->input
                         : c == 'o' ? &o->output
                                    : NULL;
    if (c == 'h') {
      fputs(forward_usage, stdout);
      return OPTIONS_DONE;
    }
    if (value)
      *value = optarg;
    o->quiet |= c == 'q';
    known = known && c != '?';
    if (c == OPTION_THREADS && !whole_number("--threads", optarg, 1, 1024, &threads))
      return OPTIONS_WRONG;
  }
  o->threads = (unsigned)threads;
  if (known && optind < argc)
    fprintf(stderr, "mergescape: error: forward takes no `%s`\n", argv[optind]);
  else if (known && forward_is_whole(o))
    return OPTIONS_RUN;
  fprintf(stderr, "hint: mergescape forward --help lists its options\n");
  return OPTIONS_WRONG;
}
