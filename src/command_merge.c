/* mergescape merge METHOD [OPTION]... MODEL... -o OUT: merging of checkpoints on disk. */
#include "config.h"

#include "command_json.h"
#include "command_merge.h"
#include "inputs.h"
#include "merge/merge_files.h"
#include "option_table.h"
#include "run/progress.h"
#include "session.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum option_id {
  WEIGHTS,
  NORMALIZE,
  AS_GIVEN,
  T,
  BASE,
  SCALE,
  KEEP,
  DROP,
  SEED,
  FISHER,
  FLOOR,
  UNIT_FISHERS,
  GRAM,
  GRAM_SCALE,
  INPUTS_FIRST,
  SCOPE,
  AGGREGATE,
  UNDECIDED,
  COMBINE,
  X,
  Y,
  OUTPUT,
  DTYPE,
  SHARD_SIZE,
  QUIET,
  HELP,
  OPTIONS
};

/* What a method may be told. */
static const struct option_row options[OPTIONS] = {
    [WEIGHTS] = {"weights", "W1,W2,...", " linear fisher ", NULL,
                 "one for each model; linear's have to add up to 1 (default: all the same)"},
    [NORMALIZE] = {"normalize", NULL, " linear ", NULL, "divide the weights by their sum"},
    [AS_GIVEN] = {"as-given", NULL, " linear ", NULL,
                  "take weights that do not add up to 1 as they are"},
    [T] = {"t", "T", " slerp ", "0.5", "0 is the first model, 1 the second"},
    [BASE] = {"base", "BASE", " task_arithmetic ties dare ", NULL,
              "the model that the others were trained from"},
    [SCALE] = {"scale", "S", " task_arithmetic ties dare ", "1",
               "coefficient of the task vectors; of task_arithmetic and dare also S1,S2,...,\n"
               "one for each"},
    [KEEP] = {"keep", "SHARE", " ties ", "0.2", "share of the entries that is kept, the largest"},
    [DROP] = {"drop", "P", " dare ", "0.9", "probability that an entry is dropped"},
    [SEED] = {"seed", "N", " dare ", "0", "what decides which entries are dropped"},
    [FISHER] = {"fisher", "F1,F2,...", " fisher ", NULL,
                "the diagonal of each model's Fisher matrix: checkpoints with the same names,\n"
                "such as `mergescape fisher` writes"},
    [FLOOR] = {"floor", "F", " fisher ", "0", "least value of a Fisher entry"},
    [UNIT_FISHERS] = {"unit-fishers", NULL, " fisher ", NULL,
                      "divide each Fisher matrix by its Euclidean length first"},
    [GRAM] = {"gram", "G1,G2,...", " regmean ", NULL,
              "each model's Gram matrices: checkpoints that have, for the weights of linear\n"
              "layers, [inputs, inputs] by the weight's name; all other tensors are averaged;\n"
              "`mergescape gram` writes them"},
    [GRAM_SCALE] = {"gram-scale", "S", " regmean ", "0.9",
                    "what Gram matrices' entries beside the diagonal are multiplied by"},
    [INPUTS_FIRST] = {"inputs-first", NULL, " regmean ", NULL,
                      "weights with Gram matrices are [inputs, outputs], as GPT-2's"},
    [SCOPE] = {"scope", "model|tensor", " slerp ties ", "model",
               "what the angle, or the ranking, is over"},
    [AGGREGATE] = {"aggregate", "mean|sum", " ties dare ", "mean",
                   "of the entries of the elected sign (dare: with --combine ties)"},
    [UNDECIDED] = {"undecided", "neither|majority", " ties ", "neither",
                   "sign where the kept entries add up to zero: none, or that of most entries"},
    [COMBINE] = {"combine", "sum|ties", " dare ", "sum",
                 "how the thinned task vectors are joined: added up, or signs elected first"},
    [X] = {"x", "X", " plane ", "0", "along the line from the first model (0) to the second (1)"},
    [Y] = {"y", "Y", " plane ", "0", "at a right angle to it, towards the third, in that unit"},
    [OUTPUT] = {"output", "OUT", NULL, NULL, "where the result goes"},
    [DTYPE] = {"dtype", "F32|F16|BF16|F64", NULL, NULL,
               "type of the merged tensors (default: as in the first model)"},
    [SHARD_SIZE] = {"shard-size", "SIZE", NULL, NULL,
                    "largest file, such as 500MB, where OUT is a folder (default: 5GB)"},
    [QUIET] = OPTION_QUIET,
    [HELP] = OPTION_HELP,
};

struct command {
  struct arena *arena;
  struct diag *diag;
  const struct merge_method *method;
  struct option_values o;
  char **models;
  size_t n_models;
};

/* ---- help ---- */

static const char how_many[] =
    "A model is a .safetensors file, or a folder (or index) of shards as Hugging Face's\n"
    "libraries write them; F16, BF16, F32 and F64 may be mixed. OUT is a file where it ends in\n"
    ".safetensors, else a folder. Tensors of whole numbers have to be equal in all models and\n"
    "are copied; num_batches_tracked is the first model's. Other files of a folder (config,\n"
    "tokenizer) are not copied. Nothing is written unless all fits together, and OUT appears\n"
    "when it is whole.\n";

static void print_help(void)
{
  printf("Usage: mergescape merge METHOD [OPTION]... MODEL... -o OUT\n\n"
         "Merges checkpoints tensor by tensor.\n\nMethods:\n");
  for (size_t k = 0; merge_at(k); k++)
    printf("  %-16s %s\n", merge_at(k)->name, merge_at(k)->meaning);
  printf("  weight_matching, activation_matching, learned_matching\n"
         "  %-16s one model in the arrangement that fits another\n"
         "  intra_fusion     a narrower model, made by fusing units that are alike\n"
         "  ot_fusion        two models, the second's units carried to the first's\n",
         "");
  printf("\n%s\n`mergescape merge METHOD --help` lists a method's options. Of all methods:\n",
         how_many);
  for (int i = 0; i < OPTIONS; i++)
    if (!options[i].methods)
      option_print(&options[i]);
  printf("\nExample:\n"
         "  mergescape merge ties --base base.safetensors --keep 0.2 a.safetensors b.safetensors "
         "-o out.safetensors\n");
}

static void print_method_help(const struct merge_method *m)
{
  static const char *const extra[] = {"", " --base=BASE", " --fisher=F1,F2,...",
                                      " --gram=G1,G2,..."};
  printf("Usage: mergescape merge %s%s [OPTION]... ", m->name, extra[m->extra]);
  if (m->max_models)
    for (size_t k = 0; k < m->max_models; k++)
      printf("%c ", (char)('A' + k));
  else
    printf("MODEL... ");
  printf("-o OUT\n\n%s\n(%s).\n\n", m->meaning, m->source);
  option_print_all(options, OPTIONS, m->name);
  printf("\n%s", how_many);
}

/* ---- the command line ---- */

static const double *one_each(struct command *c, enum option_id id)
{
  size_t n;
  const double *v = option_numbers(&c->o, id, &n);
  if (v && n != c->n_models) {
    diag_error(c->diag, SPAN_NONE, "--%s has %zu numbers for %zu models", options[id].name, n,
               c->n_models);
    return NULL;
  }
  return v;
}

static const double *linear_weights(struct command *c)
{
  const double *given = one_each(c, WEIGHTS);
  if (!given)
    return NULL;
  double *w = arena_copy(c->arena, given, c->n_models * sizeof *w), sum = 0;
  for (size_t k = 0; k < c->n_models; k++)
    sum += w[k];
  if (c->o.said[NORMALIZE] && sum == 0)
    diag_error(c->diag, SPAN_NONE, "--normalize: the weights add up to 0");
  else if (!c->o.said[NORMALIZE] && !c->o.said[AS_GIVEN] && fabs(sum - 1) > 1e-6) {
    diag_error(c->diag, SPAN_NONE, "the weights add up to %g, not to 1", sum);
    diag_hint(c->diag, "--normalize divides them by their sum, --as-given takes them as they are");
  }
  for (size_t k = 0; k < c->n_models && c->o.said[NORMALIZE]; k++)
    w[k] /= sum;
  return w;
}

static struct merge_args read_args(struct command *c)
{
  const bool fisher = c->method->extra == MERGE_FISHERS;
  struct merge_args a = {
      .alpha = option_number(&c->o, T, -100, 100),
      .scope = (enum merge_scope)option_word(&c->o, SCOPE),
      .keep = option_number(&c->o, KEEP, 0, 1),
      .aggregate = (enum merge_aggregate)option_word(&c->o, AGGREGATE),
      .undecided = (enum merge_undecided)option_word(&c->o, UNDECIDED),
      .drop = option_number(&c->o, DROP, 0, 1),
      .seed = (uint64_t)option_number(&c->o, SEED, 0, 0x1p53),
      .elect = option_word(&c->o, COMBINE),
      .floor = option_number(&c->o, FLOOR, 0, INFINITY),
      .x = option_number(&c->o, X, -100, 100),
      .y = option_number(&c->o, Y, -100, 100),
      .normalize = c->o.said[UNIT_FISHERS],
      .scale = 1,
  };
  if (c->o.said[WEIGHTS])
    a.weights = fisher ? one_each(c, WEIGHTS) : linear_weights(c);
  for (size_t k = 0; fisher && a.weights && k < c->n_models; k++)
    option_in_range(&c->o, WEIGHTS, a.weights[k], 1e-300, 1e300);
  if (strchr(c->o.value[SCALE], ',') && strcmp(c->method->name, "ties"))
    a.scales = one_each(c, SCALE);
  else
    a.scale = option_number(&c->o, SCALE, -100, 100);
  if (c->method->extra == MERGE_GRAMS)
    a.scale = option_number(&c->o, GRAM_SCALE, 0, 1);
  if (a.keep == 0 || a.drop == 1)
    diag_error(c->diag, SPAN_NONE, a.keep == 0 ? "--keep=0 keeps nothing" : "--drop=1 drops all");
  return a;
}

/* "5GB", "200MiB", "1000000" -> bytes. */
static uint64_t shard_size(struct command *c)
{
  static const struct {
    const char *unit;
    double bytes;
  } units[] = {{"", 1},     {"B", 1},        {"KB", 1e3},     {"MB", 1e6},
               {"GB", 1e9}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
  char *end;
  const char *text = c->o.said[SHARD_SIZE] ? c->o.value[SHARD_SIZE] : "5GB";
  double v = strtod(text, &end);
  for (size_t i = 0; end > text && i < sizeof units / sizeof *units; i++)
    if (!strcmp(end, units[i].unit) && v * units[i].bytes >= 1 && v * units[i].bytes < 0x1p62)
      return (uint64_t)(v * units[i].bytes);
  diag_error(c->diag, SPAN_NONE, "--shard-size: `%s` is no size such as 500MB or 5GB", text);
  return 1;
}

static enum safetensors_dtype output_type(struct command *c)
{
  static const enum safetensors_dtype types[] = {SAFETENSORS_F32, SAFETENSORS_F16, SAFETENSORS_BF16,
                                                 SAFETENSORS_F64};
  return c->o.said[DTYPE] ? types[option_word(&c->o, DTYPE)] : SAFETENSORS_DTYPE_COUNT;
}

static bool find_method(struct command *c, const char *name)
{
  c->method = name ? merge_find(name) : NULL;
  if (c->method)
    return true;
  const char *names[16], *list = "";
  size_t n = 0;
  for (; merge_at(n); n++) {
    names[n] = merge_at(n)->name;
    list = arena_printf(c->arena, "%s%s%s", list, n ? ", " : "", names[n]);
  }
  if (!name) {
    diag_error(c->diag, SPAN_NONE, "no method is named");
    diag_hint(c->diag, "mergescape merge METHOD ...: one of %s", list);
    return false;
  }
  const char *near = diag_nearest(name, names, n);
  diag_error(c->diag, SPAN_NONE, "unknown merging method `%s`", name);
  if (near)
    diag_hint(c->diag, "did you mean `%s`?", near);
  else
    diag_hint(c->diag, "methods: %s", list);
  return false;
}

/* What is needed and was not said, or said and is not taken. */
static void check_command(struct command *c)
{
  const struct merge_method *m = c->method;
  unsigned before = diag_errors(c->diag);
  option_check(&c->o, m->name);
  if (c->n_models < m->min_models || (m->max_models && c->n_models > m->max_models))
    diag_error(c->diag, SPAN_NONE, "`%s` merges %zu%s models, not %zu", m->name, m->min_models,
               m->max_models ? "" : " or more", c->n_models);
  if (m->extra == MERGE_BASE && !c->o.said[BASE])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --base: the model that the others were trained from",
               m->name);
  if (m->extra == MERGE_FISHERS && !c->o.said[FISHER])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --fisher: one checkpoint for each model", m->name);
  if (m->extra == MERGE_GRAMS && !c->o.said[GRAM])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --gram: one checkpoint for each model", m->name);
  if (!c->o.said[OUTPUT])
    diag_error(c->diag, SPAN_NONE, "-o OUT is missing: where does the result go?");
  if (diag_errors(c->diag) > before)
    diag_hint(c->diag, "mergescape merge %s --help lists what it takes", m->name);
}

struct paths {
  const char **v;
  size_t n, cap;
};

/* The paths between commas in an option's value, one for each model.  false: a diagnostic. */
static bool add_paths(struct command *c, enum option_id id, struct paths *list)
{
  const size_t before = list->n;
  for (const char *p = c->o.value[id]; p;) {
    size_t length = strcspn(p, ",");
    const char *path = arena_strndup(c->arena, p, length);
    ARENA_PUSH(c->arena, list->v, list->n, list->cap, path);
    p = p[length] ? p + length + 1 : NULL;
  }
  if (list->n - before == c->n_models)
    return true;
  diag_error(c->diag, SPAN_NONE, "--%s names %zu checkpoints for %zu models", options[id].name,
             list->n - before, c->n_models);
  return false;
}

/* The models, then base or Fishers.  NULL: a diagnostic. */
static const char **list_inputs(struct command *c)
{
  struct paths list = {0};
  for (size_t k = 0; k < c->n_models; k++)
    ARENA_PUSH(c->arena, list.v, list.n, list.cap, c->models[k]);
  if (c->method->extra == MERGE_BASE)
    ARENA_PUSH(c->arena, list.v, list.n, list.cap, c->o.value[BASE]);
  if (c->method->extra == MERGE_FISHERS && !add_paths(c, FISHER, &list))
    return NULL;
  return list.v;
}

static const char **list_grams(struct command *c)
{
  struct paths list = {0};
  return c->method->extra == MERGE_GRAMS && add_paths(c, GRAM, &list) ? list.v : NULL;
}

/* ---- doing it ---- */

/* For the metadata: {"method": "ties", "models": ["a", "b"], "base": "base", "keep": "0.2", ...} */
static const char *describe(struct command *c, const char *const *inputs)
{
  json_t *root = json_pack("{s:s, s:s}", "program", PACKAGE_STRING, "method", c->method->name);
  json_t *models = json_array();
  for (size_t k = 0; k < c->n_models; k++)
    json_array_append_new(models, json_string(inputs_last_part(c->arena, c->models[k])));
  json_object_set_new(root, "models", models);
  for (int i = 0; i < OUTPUT; i++)
    if (c->o.value[i] && option_is_of(&options[i], c->method->name) && i != BASE && i != FISHER &&
        i != GRAM)
      json_object_set_new(root, options[i].name, json_string(c->o.value[i]));
  if (c->method->extra == MERGE_BASE)
    json_object_set_new(root, "base",
                        json_string(inputs_last_part(c->arena, inputs[c->n_models])));
  return command_json_line(c->arena, root);
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct bar {
  double begun, last;
};

/* A line that is written over and over. */
static void show(void *context, uint64_t done, uint64_t total)
{
  struct bar *b = context;
  double t = now(), passed = t - b->begun;
  char left[32];
  if (t < b->last + 0.1 || passed <= 0)
    return;
  b->last = t;
  fprintf(stderr, "\r\033[K[%3.0f%%] %.2f of %.2f GB  %.2f GB/s  %s left",
          100 * (double)done / (double)total, 1e-9 * (double)done, 1e-9 * (double)total,
          1e-9 * (double)done / passed,
          progress_duration((double)(total - done) * passed / (double)done, left));
  fflush(stderr);
}

static void summarize(const struct command *c, const struct merge_files_report *r, double seconds)
{
  char took[32];
  double bytes = (double)r->read + (double)r->written;
  printf("%s: %zu tensors merged", c->o.value[OUTPUT], r->merged);
  if (r->copied)
    printf(", %zu copied", r->copied);
  printf("; %.3g GB read, %.3g GB written in %s (%.2f GB/s)\n", 1e-9 * (double)r->read,
         1e-9 * (double)r->written, progress_duration(seconds, took), 1e-9 * bytes / seconds);
  if (r->run.remark)
    printf("%s\n", r->run.remark);
}

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

static bool merge_models(struct command *c)
{
  const bool to_file = ends_with(c->o.value[OUTPUT], ".safetensors");
  struct bar bar = {.begun = now()};
  struct merge_files_report report = {0};
  struct merge_files task = {
      .method = c->method,
      .args = read_args(c),
      .n_models = c->n_models,
      .in_first = c->o.said[INPUTS_FIRST],
      .out = c->o.value[OUTPUT],
      .shard_bytes = to_file ? 0 : shard_size(c),
      .dtype = output_type(c),
      .context = &bar,
      .progress = isatty(STDERR_FILENO) && !c->o.said[QUIET] ? show : NULL,
  };
  if (to_file && c->o.said[SHARD_SIZE]) {
    diag_error(c->diag, SPAN_NONE, "--shard-size: %s is a single file", c->o.value[OUTPUT]);
    diag_hint(c->diag, "name a folder: an OUT that does not end in .safetensors");
  }
  task.inputs = list_inputs(c);
  task.grams = list_grams(c);
  if (diag_errors(c->diag))
    return false;
  task.how = describe(c, task.inputs);
  bool ok = merge_files(c->arena, &task, &report, c->diag);
  if (bar.last > 0)
    fputs("\r\033[K", stderr);
  if (ok && !c->o.said[QUIET])
    summarize(c, &report, now() - bar.begun);
  return ok;
}

/* Does an option stand alone?  Those that only matching and fusing have take a value. */
static bool is_flag(const char *option)
{
  const char *name = option + 1 + (option[1] == '-');
  const size_t n = strlen(name);
  for (size_t k = 0; k < OPTIONS && n; k++)
    if (!strncmp(options[k].name, name, n))
      return !options[k].argument;
  return false;
}

/* The first word that is neither an option nor an option's value. */
static const char *find_word(int argc, char **argv)
{
  for (int i = 1; i < argc; i++) {
    const char *s = argv[i];
    if (s[0] != '-')
      return s;
    const bool attached = strchr(s, '=') || (s[1] && s[1] != '-' && s[2]);
    i += !attached && !is_flag(s);
  }
  return "";
}

int command_merge(int argc, char **argv)
{
  static char name[] = "mergescape merge"; /* before getopt's messages */
  struct arena *a = arena_new();
  struct command c = {.arena = a, .diag = diag_new(a)};
  enum match_method matching;
  enum fuse_method fusing;
  argv[0] = name;
  const char *word = find_word(argc, argv);
  const bool matches = match_find(word, &matching);
  if (matches || fuse_find(word, &fusing)) {
    arena_free(a);
    return matches ? command_match(argc, argv, matching) : command_fuse(argc, argv, fusing);
  }
  c.o = (struct option_values){a, c.diag, options, OPTIONS, .n_rest = 0};
  if (!option_scan(&c.o, argc, argv)) {
    fputs("hint: mergescape merge METHOD --help lists a method's options\n", stderr);
    arena_free(a);
    return EXIT_ENVIRONMENT;
  }
  const char *method = c.o.n_rest ? c.o.rest[0] : NULL;
  const bool help = c.o.said[HELP];
  bool ok = true;
  c.models = c.o.rest + 1;
  c.n_models = c.o.n_rest ? c.o.n_rest - 1 : 0;
  if (help && !method)
    print_help();
  else if (!find_method(&c, method))
    ok = false;
  else if (help)
    print_method_help(c.method);
  else {
    check_command(&c);
    ok = !diag_errors(c.diag) && merge_models(&c);
  }
  /* A full disk or a closed pipe must not look like success. */
  ok = !fflush(stdout) && !ferror(stdout) && ok;
  diag_print(c.diag, NULL, stderr, diag_colour(stderr));
  arena_free(a);
  return ok ? EXIT_DONE : EXIT_ENVIRONMENT;
}
