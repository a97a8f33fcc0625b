#include "option_table.h"

#include "session.h"

#include <assert.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  FIRST = 256, /* getopt's value of the first row */
  COLUMN = 28  /* where help says what an option does */
};

bool option_is_of(const struct option_row *o, const char *method)
{
  char name[64];
  if (!o->methods)
    return true;
  snprintf(name, sizeof name, " %s ", method);
  return strstr(o->methods, name) != NULL;
}

void option_check(struct option_values *v, const char *method)
{
  for (size_t i = 0; i < v->n; i++)
    if (v->said[i] && !option_is_of(&v->rows[i], method))
      diag_error(v->diag, SPAN_NONE, "`%s` takes no --%s", method, v->rows[i].name);
}

/* Its short form, or 0. */
static char letter_of(const struct option_row *o)
{
  static const char *const short_forms[] = {"model", "input", "output", "quiet", "help"};
  for (size_t i = 0; i < sizeof short_forms / sizeof *short_forms; i++)
    if (!strcmp(short_forms[i], o->name))
      return *o->name;
  return 0;
}

static bool gathers(const struct option_row *o)
{
  return o->argument && strstr(o->argument, ",...");
}

/* ---- help ---- */

void option_print(const struct option_row *o)
{
  const char letter = letter_of(o);
  int n = letter ? printf("  -%c, --", letter) : printf("  --");
  n += printf("%s%s%s", o->name, o->argument ? "=" : "", o->argument ? o->argument : "");
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

void option_print_all(const struct option_row *rows, size_t n, const char *method)
{
  for (size_t i = 0; i < n; i++)
    if (option_is_of(&rows[i], method))
      option_print(&rows[i]);
}

/* ---- the command line ---- */

static void set(struct option_values *v, size_t row, const char *value)
{
  if (gathers(&v->rows[row]) && v->said[row])
    value = arena_printf(v->arena, "%s,%s", v->value[row], value);
  v->value[row] = value ? value : "yes";
  v->said[row] = true;
}

static size_t row_of(const struct option_values *v, int o)
{
  size_t i = 0;
  if (o >= FIRST)
    return (size_t)(o - FIRST);
  while (letter_of(&v->rows[i]) != o)
    i++;
  return i;
}

bool option_scan(struct option_values *v, int argc, char **argv)
{
  struct option table[OPTION_MOST + 1] = {{0}};
  char letters[2 * OPTION_MOST + 1];
  size_t n = 0;
  assert(v->n <= OPTION_MOST);
  for (size_t i = 0; i < v->n; i++) {
    const struct option_row *row = &v->rows[i];
    table[i] = (struct option){row->name, row->argument ? required_argument : no_argument, NULL,
                               FIRST + (int)i};
    v->value[i] = row->def;
    if (!letter_of(row))
      continue;
    letters[n++] = letter_of(row);
    if (row->argument)
      letters[n++] = ':';
  }
  letters[n] = 0;
  for (int o; (o = getopt_long(argc, argv, letters, table, NULL)) != -1;) {
    if (o == '?')
      return false;
    set(v, row_of(v, o), optarg);
  }
  v->rest = argv + optind;
  v->n_rest = (size_t)(argc - optind);
  return true;
}

/* ---- values ---- */

bool option_in_range(struct option_values *o, unsigned row, double v, double low, double high)
{
  if (v >= low && v <= high)
    return true;
  diag_error(o->diag, SPAN_NONE, "--%s is a number from %g to %g, not %g", o->rows[row].name, low,
             high, v);
  return false;
}

double *option_numbers(struct option_values *o, unsigned row, size_t *n)
{
  const char *text = o->value[row];
  double *list = NULL;
  size_t cap = 0;
  *n = 0;
  for (const char *p = text;;) {
    char *end;
    const double v = strtod(p, &end);
    if (end == p || (*end && *end != ',') || !isfinite(v)) {
      diag_error(o->diag, SPAN_NONE, "--%s: `%s` is not %s", o->rows[row].name, text,
                 strchr(text, ',') ? "a list of numbers" : "a number");
      return NULL;
    }
    ARENA_PUSH(o->arena, list, *n, cap, v);
    if (!*end)
      return list;
    p = end + 1;
  }
}

double option_number(struct option_values *o, unsigned row, double low, double high)
{
  size_t n;
  const double *v = option_numbers(o, row, &n);
  if (v && n != 1)
    diag_error(o->diag, SPAN_NONE, "--%s takes one number", o->rows[row].name);
  return v && n == 1 && option_in_range(o, row, v[0], low, high) ? v[0] : low;
}

double option_whole(struct option_values *o, unsigned row, double low, double high)
{
  const char *text = o->value[row];
  char *end;
  const double v = strtod(text, &end);
  if (end > text && !*end && v >= low && v <= high && v == floor(v))
    return v;
  diag_error(o->diag, SPAN_NONE, "--%s is a whole number from %.0f to %.0f, not `%s`",
             o->rows[row].name, low, high, text);
  return low;
}

unsigned option_threads(struct option_values *o, unsigned row)
{
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  if (o->said[row])
    return (unsigned)option_whole(o, row, 1, 1024);
  return cores > 0 ? (unsigned)cores : 1;
}

unsigned option_word(struct option_values *o, unsigned row)
{
  const char *p = o->rows[row].argument, *said = o->value[row];
  for (unsigned k = 0; p; k++) {
    const size_t n = strcspn(p, "|");
    if (strlen(said) == n && !strncmp(p, said, n))
      return k;
    p = p[n] ? p + n + 1 : NULL;
  }
  diag_error(o->diag, SPAN_NONE, "--%s is one of %s, not `%s`", o->rows[row].name,
             o->rows[row].argument, said);
  return 0;
}

int option_run(struct option_values *o, const struct option_command *command, void *context,
               int argc, char **argv, const struct source_set *sources)
{
  int status = EXIT_ENVIRONMENT;
  if (!option_scan(o, argc, argv)) {
    fprintf(stderr, "hint: %s --help lists its options\n", command->name);
  } else if (o->said[command->help]) {
    command->print_help(context);
    status = EXIT_DONE;
  } else {
    command->check(context);
    if (!diag_errors(o->diag))
      status = command->run(context);
  }
  /* A full disk or a closed pipe must not look like success. */
  if (fflush(stdout) || ferror(stdout))
    status = EXIT_ENVIRONMENT;
  diag_print(o->diag, sources, stderr, diag_colour(stderr));
  return status;
}
