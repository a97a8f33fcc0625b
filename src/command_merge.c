/* mergescape merge METHOD [OPTION]... MODEL... -o OUT: merging of checkpoints on disk. */
#include "config.h"

#include "command_merge.h"
#include "merge/merge_files.h"
#include "run/progress.h"
#include "session.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
  OPTION_FIRST = 256, /* getopt's value of the first of options[] */
  COLUMN = 28         /* where help says what an option does */
};

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

/* What a method may be told.  methods: names between blanks; NULL: any. */
static const struct option_row {
  const char *name, *argument, *methods, *def, *meaning;
} options[OPTIONS] = {
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
                "the diagonal of each model's Fisher matrix: checkpoints with the same names"},
    [FLOOR] = {"floor", "F", " fisher ", "0", "least value of a Fisher entry"},
    [UNIT_FISHERS] = {"unit-fishers", NULL, " fisher ", NULL,
                      "divide each Fisher matrix by its Euclidean length first"},
    [GRAM] = {"gram", "G1,G2,...", " regmean ", NULL,
              "each model's Gram matrices: checkpoints that have, for the weights of linear\n"
              "layers, [inputs, inputs] by the weight's name; all other tensors are averaged"},
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
    [OUTPUT] = {"output", "OUT", NULL, NULL, "where the result goes (-o)"},
    [DTYPE] = {"dtype", "F32|F16|BF16|F64", NULL, NULL,
               "type of the merged tensors (default: as in the first model)"},
    [SHARD_SIZE] = {"shard-size", "SIZE", NULL, NULL,
                    "largest file, such as 500MB, where OUT is a folder (default: 5GB)"},
    [QUIET] = {"quiet", NULL, NULL, NULL, "say nothing but errors (-q)"},
    [HELP] = {"help", NULL, NULL, NULL, "print this help and exit (-h)"},
};

struct command {
  struct arena *arena;
  struct diag *diag;
  const struct merge_method *method;
  const char *value[OPTIONS]; /* as said, else the default */
  bool said[OPTIONS];
  const char **models;
  size_t n_models;
  bool help;
};

static bool takes(const struct merge_method *m, const struct option_row *o)
{
  char name[64];
  if (!o->methods)
    return true;
  snprintf(name, sizeof name, " %s ", m->name);
  return strstr(o->methods, name) != NULL;
}

/* ---- help ---- */

static void print_option(const struct option_row *o)
{
  int n = printf("  --%s%s%s", o->name, o->argument ? "=" : "", o->argument ? o->argument : "");
  printf(n < COLUMN ? "%*s" : "\n%*s", n < COLUMN ? COLUMN - n : COLUMN, "");
  for (const char *p = o->meaning; *p; p++) {
    putchar(*p);
    if (*p == '\n')
      printf("%*s", COLUMN, "");
  }
  if (o->def)
    printf(" (default: %s)", o->def);
  putchar('\n');
}

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
  printf("  weight_matching, activation_matching\n"
         "  %-16s one model's channels in the order that fits another's\n",
         "");
  printf("\n%s\n`mergescape merge METHOD --help` lists a method's options. Of all methods:\n",
         how_many);
  for (int i = 0; i < OPTIONS; i++)
    if (!options[i].methods)
      print_option(&options[i]);
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
  /* Its own stand before those of all methods. */
  for (int i = 0; i < OPTIONS; i++)
    if (takes(m, &options[i]))
      print_option(&options[i]);
  printf("\n%s", how_many);
}

/* ---- the command line ---- */

static bool has_range(struct command *c, enum option_id id, double v, double low, double high)
{
  if (v >= low && v <= high)
    return true;
  diag_error(c->diag, SPAN_NONE, "--%s is a number from %g to %g, not %g", options[id].name, low,
             high, v);
  return false;
}

/* Numbers between commas.  NULL: a diagnostic. */
static double *numbers(struct command *c, enum option_id id, size_t *n)
{
  const char *text = c->value[id];
  double *list = NULL;
  size_t cap = 0;
  *n = 0;
  for (const char *p = text;;) {
    char *end;
    double v = strtod(p, &end);
    if (end == p || (*end && *end != ',') || !isfinite(v)) {
      diag_error(c->diag, SPAN_NONE, "--%s: `%s` is not %s", options[id].name, text,
                 strchr(text, ',') ? "a list of numbers" : "a number");
      return NULL;
    }
    ARENA_PUSH(c->arena, list, *n, cap, v);
    if (!*end)
      return list;
    p = end + 1;
  }
}

static double number(struct command *c, enum option_id id, double low, double high)
{
  size_t n;
  const double *v = numbers(c, id, &n);
  if (v && n != 1)
    diag_error(c->diag, SPAN_NONE, "--%s takes one number", options[id].name);
  return v && n == 1 && has_range(c, id, v[0], low, high) ? v[0] : low;
}

/* Which of the words in the option's argument ("mean|sum") was said. */
static unsigned word(struct command *c, enum option_id id)
{
  const char *p = options[id].argument, *said = c->value[id];
  for (unsigned k = 0; p; k++) {
    size_t n = strcspn(p, "|");
    if (strlen(said) == n && !strncmp(p, said, n))
      return k;
    p = p[n] ? p + n + 1 : NULL;
  }
  diag_error(c->diag, SPAN_NONE, "--%s is one of %s, not `%s`", options[id].name,
             options[id].argument, said);
  return 0;
}

static const double *one_each(struct command *c, enum option_id id)
{
  size_t n;
  const double *v = numbers(c, id, &n);
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
  if (c->said[NORMALIZE] && sum == 0)
    diag_error(c->diag, SPAN_NONE, "--normalize: the weights add up to 0");
  else if (!c->said[NORMALIZE] && !c->said[AS_GIVEN] && fabs(sum - 1) > 1e-6) {
    diag_error(c->diag, SPAN_NONE, "the weights add up to %g, not to 1", sum);
    diag_hint(c->diag, "--normalize divides them by their sum, --as-given takes them as they are");
  }
  for (size_t k = 0; k < c->n_models && c->said[NORMALIZE]; k++)
    w[k] /= sum;
  return w;
}

static struct merge_args read_args(struct command *c)
{
  const bool fisher = c->method->extra == MERGE_FISHERS;
  struct merge_args a = {
      .alpha = number(c, T, -100, 100),
      .scope = (enum merge_scope)word(c, SCOPE),
      .keep = number(c, KEEP, 0, 1),
      .aggregate = (enum merge_aggregate)word(c, AGGREGATE),
      .undecided = (enum merge_undecided)word(c, UNDECIDED),
      .drop = number(c, DROP, 0, 1),
      .seed = (uint64_t)number(c, SEED, 0, 0x1p53),
      .elect = word(c, COMBINE),
      .floor = number(c, FLOOR, 0, INFINITY),
      .x = number(c, X, -100, 100),
      .y = number(c, Y, -100, 100),
      .normalize = c->said[UNIT_FISHERS],
      .scale = 1,
  };
  if (c->said[WEIGHTS])
    a.weights = fisher ? one_each(c, WEIGHTS) : linear_weights(c);
  for (size_t k = 0; fisher && a.weights && k < c->n_models; k++)
    has_range(c, WEIGHTS, a.weights[k], 1e-300, 1e300);
  if (strchr(c->value[SCALE], ',') && strcmp(c->method->name, "ties"))
    a.scales = one_each(c, SCALE);
  else
    a.scale = number(c, SCALE, -100, 100);
  if (c->method->extra == MERGE_GRAMS)
    a.scale = number(c, GRAM_SCALE, 0, 1);
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
  const char *text = c->said[SHARD_SIZE] ? c->value[SHARD_SIZE] : "5GB";
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
  return c->said[DTYPE] ? types[word(c, DTYPE)] : SAFETENSORS_DTYPE_COUNT;
}

static void set(struct command *c, enum option_id id, const char *value)
{
  /* --fisher and --gram can be said again and again. */
  if ((id == FISHER || id == GRAM) && c->said[id])
    value = arena_printf(c->arena, "%s,%s", c->value[id], value);
  c->value[id] = value ? value : "yes";
  c->said[id] = true;
}

/* false: getopt has said what is wrong. */
static bool scan_options(struct command *c, int argc, char **argv)
{
  struct option table[OPTIONS + 1] = {{0}};
  for (int i = 0; i < OPTIONS; i++) {
    table[i] =
        (struct option){options[i].name, options[i].argument ? required_argument : no_argument,
                        NULL, OPTION_FIRST + i};
    c->value[i] = options[i].def;
  }
  for (int o; (o = getopt_long(argc, argv, "o:qh", table, NULL)) != -1;) {
    if (o == '?')
      return false;
    enum option_id id = o == 'o'   ? OUTPUT
                        : o == 'q' ? QUIET
                        : o == 'h' ? HELP
                                   : (enum option_id)(o - OPTION_FIRST);
    set(c, id, optarg);
  }
  c->help = c->said[HELP];
  c->models = arena_array(c->arena, (size_t)(argc - optind) + 1, sizeof *c->models);
  for (int i = optind + 1; i < argc; i++)
    c->models[c->n_models++] = argv[i];
  return true;
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
  for (int i = 0; i < OPTIONS; i++)
    if (c->said[i] && !takes(m, &options[i]))
      diag_error(c->diag, SPAN_NONE, "`%s` takes no --%s", m->name, options[i].name);
  if (c->n_models < m->min_models || (m->max_models && c->n_models > m->max_models))
    diag_error(c->diag, SPAN_NONE, "`%s` merges %zu%s models, not %zu", m->name, m->min_models,
               m->max_models ? "" : " or more", c->n_models);
  if (m->extra == MERGE_BASE && !c->said[BASE])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --base: the model that the others were trained from",
               m->name);
  if (m->extra == MERGE_FISHERS && !c->said[FISHER])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --fisher: one checkpoint for each model", m->name);
  if (m->extra == MERGE_GRAMS && !c->said[GRAM])
    diag_error(c->diag, SPAN_NONE, "`%s` needs --gram: one checkpoint for each model", m->name);
  if (!c->said[OUTPUT])
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
  for (const char *p = c->value[id]; p;) {
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
    ARENA_PUSH(c->arena, list.v, list.n, list.cap, c->value[BASE]);
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

const char *command_merge_last_part(struct arena *a, const char *path)
{
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/')
    n--;
  char *whole = arena_strndup(a, path, n), *slash = strrchr(whole, '/');
  return slash && slash[1] ? slash + 1 : whole;
}

/* For the metadata: {"method": "ties", "models": ["a", "b"], "base": "base", "keep": "0.2", ...} */
static const char *describe(struct command *c, const char *const *inputs)
{
  json_t *root = json_pack("{s:s, s:s}", "program", PACKAGE_STRING, "method", c->method->name);
  json_t *models = json_array();
  for (size_t k = 0; k < c->n_models; k++)
    json_array_append_new(models, json_string(command_merge_last_part(c->arena, c->models[k])));
  json_object_set_new(root, "models", models);
  for (int i = 0; i < OUTPUT; i++)
    if (c->value[i] && takes(c->method, &options[i]) && i != BASE && i != FISHER && i != GRAM)
      json_object_set_new(root, options[i].name, json_string(c->value[i]));
  if (c->method->extra == MERGE_BASE)
    json_object_set_new(root, "base",
                        json_string(command_merge_last_part(c->arena, inputs[c->n_models])));
  char *text = json_dumps(root, JSON_COMPACT);
  const char *copy = text ? arena_strdup(c->arena, text) : NULL;
  free(text);
  json_decref(root);
  return copy;
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
  printf("%s: %zu tensors merged", c->value[OUTPUT], r->merged);
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
  const bool to_file = ends_with(c->value[OUTPUT], ".safetensors");
  struct bar bar = {.begun = now()};
  struct merge_files_report report = {0};
  struct merge_files task = {
      .method = c->method,
      .args = read_args(c),
      .n_models = c->n_models,
      .in_first = c->said[INPUTS_FIRST],
      .out = c->value[OUTPUT],
      .shard_bytes = to_file ? 0 : shard_size(c),
      .dtype = output_type(c),
      .context = &bar,
      .progress = isatty(STDERR_FILENO) && !c->said[QUIET] ? show : NULL,
  };
  if (to_file && c->said[SHARD_SIZE]) {
    diag_error(c->diag, SPAN_NONE, "--shard-size: %s is a single file", c->value[OUTPUT]);
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
  if (ok && !c->said[QUIET])
    summarize(c, &report, now() - bar.begun);
  return ok;
}

int command_merge(int argc, char **argv)
{
  static char name[] = "mergescape merge"; /* before getopt's messages */
  struct arena *a = arena_new();
  struct command c = {.arena = a, .diag = diag_new(a)};
  enum match_method matching;
  argv[0] = name;
  for (int i = 1; i < argc; i++)
    if (match_find(argv[i], &matching)) {
      arena_free(a);
      return command_match(argc, argv, matching);
    }
  if (!scan_options(&c, argc, argv)) {
    fputs("hint: mergescape merge METHOD --help lists a method's options\n", stderr);
    arena_free(a);
    return EXIT_ENVIRONMENT;
  }
  const char *method = optind < argc ? argv[optind] : NULL;
  bool ok = true;
  if (c.help && !method)
    print_help();
  else if (!find_method(&c, method))
    ok = false;
  else if (c.help)
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
