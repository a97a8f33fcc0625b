/* mergescape diff [OPTION]... A B: how far two checkpoints are apart, tensor by tensor. */
#include "config.h"

#include "base/num.h"
#include "command_json.h"
#include "measure/measure_files.h"
#include "merge/merge_files.h"
#include "session.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: mergescape diff [OPTION]... A B\n"
    "\n"
    "Compares two checkpoints: for each tensor the norms of both, the norm of A - B, its share\n"
    "of A's norm, and the cosine of the angle between them. A and B are .safetensors files, or\n"
    "folders of shards; types may differ. The total leaves out batch norm's running statistics.\n"
    "\n"
    "Options:\n"
    "  -b, --base=BASE  compares the task vectors A - BASE and B - BASE: norms, share and cosine\n"
    "               are theirs, the norm of A - B is as it was\n"
    "  -l, --layers   one row for each layer: for tensors whose names differ behind the last dot\n"
    "      --csv      the rows as CSV\n"
    "      --json     all of it as JSON\n"
    "  -h, --help     print this help and exit\n"
    "\n"
    "Exit status: 0 all tensors are in both, with the same shapes; 1 some are not; 2 a file\n"
    "cannot be read, or the command line is wrong.\n";

/* What is printed of a tensor, of a layer, or of all. */
struct row {
  const char *name;
  const struct checkpoint_tensor *shape; /* NULL: several tensors */
  struct measure_sums sums;
};

struct result {
  struct arena *arena;
  const char *path[MEASURE_FILES]; /* of the base: NULL where there is none */
  size_t n_files;
  struct row *rows;
  size_t n, cap;
  struct measure_sums total;
  bool has_buffers;
  struct measure_row *all; /* also what could not be compared */
  size_t n_all;
  size_t n_misfit; /* of those without a partner that fits */
};

enum format { TABLE, CSV, JSON };

/* ---- rows ---- */

static char *layer_of(struct arena *a, const char *tensor)
{
  const char *dot = strrchr(tensor, '.');
  return dot ? arena_strndup(a, tensor, (size_t)(dot - tensor)) : arena_strdup(a, tensor);
}

/* Tensors of a layer need not lie beside each other. */
static struct row *row_of(struct result *r, const struct measure_row *m, bool layers)
{
  const char *name = layers ? layer_of(r->arena, m->name) : m->name;
  for (size_t i = r->n; layers && i--;)
    if (!strcmp(r->rows[i].name, name)) {
      r->rows[i].shape = NULL;
      return &r->rows[i];
    }
  struct row row = {.name = name, .shape = m->of[MEASURE_A]};
  ARENA_PUSH(r->arena, r->rows, r->n, r->cap, row);
  return &r->rows[r->n - 1];
}

static void collect(struct result *r, bool layers)
{
  for (size_t i = 0; i < r->n_all; i++) {
    const struct measure_row *m = &r->all[i];
    r->n_misfit += m->fit >= MEASURE_NO_FIT;
    if (m->fit != MEASURE_COMPARED)
      continue;
    bool buffer = merge_is_buffer(m->name);
    r->has_buffers |= buffer;
    if (!buffer)
      measure_sums_add(&r->total, &m->sums);
    if (!layers || !buffer)
      measure_sums_add(&row_of(r, m, layers)->sums, &m->sums);
  }
}

static void values_of(const struct measure_sums *s, double v[5])
{
  v[0] = sqrt(s->aa);
  v[1] = sqrt(s->bb);
  v[2] = sqrt(s->dd);
  v[3] = v[2] / v[0];
  v[4] = measure_sums_cosine(s);
}

static const char *const columns[5] = {"norm_a", "norm_b", "distance", "relative", "cosine"};

/* "only in a, base"; "F32 [2] in a, F32 [3] in b" */
static const char *why_no_fit(struct arena *a, const struct result *r, const struct measure_row *m)
{
  const char *text = m->fit == MEASURE_MISSING ? "only in " : "";
  const char *comma = "";
  for (size_t k = 0; k < r->n_files; k++) {
    const struct checkpoint_tensor *t = m->of[k];
    if (m->fit == MEASURE_MISSING && t)
      text = arena_printf(a, "%s%s%s", text, comma, r->path[k]);
    else if (t)
      text = arena_printf(a, "%s%s%s %s in %s", text, comma, safetensors_dtype_name(t->dtype),
                          checkpoint_shape(a, t), r->path[k]);
    comma = t ? ", " : comma;
  }
  return text;
}

static const char *why(struct arena *a, const struct result *r, const struct measure_row *m)
{
  if (m->fit >= MEASURE_NO_FIT)
    return why_no_fit(a, r, m);
  return arena_printf(a, "%s, %s", safetensors_dtype_name(m->of[MEASURE_A]->dtype),
                      m->fit == MEASURE_DIFFERENT ? "differs" : "equal");
}

/* ---- printing ---- */

static void print_values(const struct measure_sums *s)
{
  double v[5];
  values_of(s, v);
  printf("  %9.4g %9.4g %9.3g %9.3g", v[0], v[1], v[2], v[3]);
  /* A small angle shows in the last digits alone. */
  if (isnan(v[4]))
    printf("  %10s\n", "-");
  else
    printf("  %10.7f\n", v[4]);
}

static void print_table(struct result *r)
{
  int width = 6, shapes = 5;
  for (size_t i = 0; i < r->n; i++) {
    int n = (int)strlen(r->rows[i].name);
    int m = r->rows[i].shape ? (int)strlen(checkpoint_shape(r->arena, r->rows[i].shape)) : 0;
    width = n > width ? n : width;
    shapes = m > shapes ? m : shapes;
  }
  const bool tasks = r->n_files > MEASURE_BASE;
  printf("%-*s  %-*s  %9s %9s %9s %9s  %10s\n", width, "tensor", shapes, "shape",
         tasks ? "|A-base|" : "|A|", tasks ? "|B-base|" : "|B|", "|A-B|", "relative", "cosine");
  for (size_t i = 0; i < r->n; i++) {
    const struct row *row = &r->rows[i];
    printf("%-*s  %-*s", width, row->name, shapes,
           row->shape ? checkpoint_shape(r->arena, row->shape) : "");
    print_values(&row->sums);
  }
  printf("%-*s  %-*" PRIu64, width, "total", shapes, r->total.n);
  print_values(&r->total);
  if (r->has_buffers)
    printf("(the total is without batch norm's running statistics)\n");
  for (size_t i = 0; i < r->n_all; i++)
    if (r->all[i].fit == MEASURE_EQUAL || r->all[i].fit == MEASURE_DIFFERENT)
      printf("%s: %s\n", r->all[i].name, why(r->arena, r, &r->all[i]));
}

static void print_csv(const struct result *r)
{
  printf("name,elements");
  for (int k = 0; k < 5; k++)
    printf(",%s", columns[k]);
  putchar('\n');
  for (size_t i = 0; i < r->n; i++) {
    double v[5];
    char text[NUM_TEXT];
    values_of(&r->rows[i].sums, v);
    command_csv_field(r->rows[i].name);
    printf(",%" PRIu64, r->rows[i].sums.n);
    for (int k = 0; k < 5; k++)
      printf(",%s", isfinite(v[k]) ? num_text(v[k], text) : "");
    putchar('\n');
  }
}

static json_t *values_json(const struct measure_sums *s)
{
  json_t *j = json_pack("{s:I}", "elements", (json_int_t)s->n);
  double v[5];
  values_of(s, v);
  for (int k = 0; k < 5; k++)
    json_object_set_new(j, columns[k], isfinite(v[k]) ? json_real(v[k]) : json_null());
  return j;
}

static void print_json(struct result *r)
{
  json_t *rows = json_array(), *other = json_object(), *misfit = json_object();
  for (size_t i = 0; i < r->n; i++) {
    json_t *j = values_json(&r->rows[i].sums);
    json_object_set_new(j, "name", json_string(r->rows[i].name));
    json_array_append_new(rows, j);
  }
  for (size_t i = 0; i < r->n_all; i++)
    if (r->all[i].fit != MEASURE_COMPARED)
      json_object_set_new(r->all[i].fit >= MEASURE_NO_FIT ? misfit : other, r->all[i].name,
                          json_string(why(r->arena, r, &r->all[i])));
  json_t *root =
      json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "a", r->path[0], "b", r->path[1], "rows", rows,
                "total", values_json(&r->total), "not_numbers", other, "mismatched", misfit);
  if (r->n_files > MEASURE_BASE)
    json_object_set_new(root, "base", json_string(r->path[MEASURE_BASE]));
  json_dumpf(root, stdout, JSON_INDENT(2));
  putchar('\n');
  json_decref(root);
}

/* ---- the command ---- */

/* `base`: NULL where there is none. */
static int compare(struct arena *a, char **paths, const char *base, bool layers,
                   enum format format, struct diag *d)
{
  struct result r = {
      .arena = a, .path = {paths[0], paths[1], base}, .n_files = base ? 3 : 2};
  struct checkpoint c[MEASURE_FILES] = {{.fd = -1}, {.fd = -1}, {.fd = -1}};
  bool ok = true;
  for (size_t k = 0; k < r.n_files; k++)
    ok = checkpoint_open(a, r.path[k], &c[k], d) && ok;
  if (ok)
    r.all = measure_files(a, c, r.n_files, &r.n_all, d);
  for (size_t k = 0; k < r.n_files; k++)
    checkpoint_close(&c[k]);
  if (!r.all)
    return EXIT_ENVIRONMENT;
  collect(&r, layers);
  if (format == CSV)
    print_csv(&r);
  else if (format == JSON)
    print_json(&r);
  else
    print_table(&r);
  for (size_t i = 0; i < r.n_all; i++)
    if (r.all[i].fit >= MEASURE_NO_FIT)
      diag_error(d, SPAN_NONE, "\"%s\": %s", r.all[i].name, why(a, &r, &r.all[i]));
  return r.n_misfit ? EXIT_CHECK : EXIT_DONE;
}

int command_diff(int argc, char **argv)
{
  static char name[] = "mergescape diff"; /* before getopt's messages */
  static const struct option options[] = {
      {"base", required_argument, NULL, 'b'},
      {"layers", no_argument, NULL, 'l'},
      {"csv", no_argument, NULL, 'c'},
      {"json", no_argument, NULL, 'j'},
      {"help", no_argument, NULL, 'h'},
      {NULL, 0, NULL, 0},
  };
  const char *base = NULL;
  bool layers = false;
  enum format format = TABLE;
  argv[0] = name;
  for (int o; (o = getopt_long(argc, argv, "b:lh", options, NULL)) != -1;) {
    if (o == 'h') {
      fputs(usage, stdout);
      return EXIT_DONE;
    }
    if (o == '?') {
      fputs("hint: mergescape diff --help lists its options\n", stderr);
      return EXIT_ENVIRONMENT;
    }
    base = o == 'b' ? optarg : base;
    layers |= o == 'l';
    format = o == 'c' ? CSV : o == 'j' ? JSON : format;
  }
  if (argc - optind != 2) {
    fprintf(stderr,
            "mergescape: error: diff compares two checkpoints, not %d\n"
            "hint: mergescape diff A B\n",
            argc - optind);
    return EXIT_ENVIRONMENT;
  }
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  int status = compare(a, argv + optind, base, layers, format, d);
  /* A full disk or a closed pipe must not look like success. */
  if (fflush(stdout) || ferror(stdout))
    status = EXIT_ENVIRONMENT;
  diag_print(d, NULL, stderr, diag_colour(stderr));
  arena_free(a);
  return status;
}
