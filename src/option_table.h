/* Options of a command that does one of several things, its methods, as a table.  --model, --input,
 * --output, --quiet and --help have short forms everywhere. */
#ifndef MERGESCAPE_OPTION_TABLE_H
#define MERGESCAPE_OPTION_TABLE_H

#include "base/diag.h"
#include "base/source.h"

#include <stdbool.h>
#include <stddef.h>

struct option_row {
  const char *name;
  /* "SHARE", or words "mean|sum"; "W1,W2,...": said again, values are joined by commas; NULL: it
   * takes none. */
  const char *argument;
  const char *methods; /* names between blanks; NULL: all */
  const char *def, *meaning;
};

/* Rows that say the same everywhere. */
#define OPTION_OUTPUT                                                                              \
  {                                                                                                \
    "output", "OUT", NULL, NULL, "a file where it ends in .safetensors, else a folder"             \
  }
#define OPTION_THREADS                                                                             \
  {                                                                                                \
    "threads", "N", NULL, NULL, "threads (default: one a core); the result does not depend on it"  \
  }
#define OPTION_QUIET                                                                               \
  {                                                                                                \
    "quiet", NULL, NULL, NULL, "say nothing but errors"                                            \
  }
#define OPTION_HELP                                                                                \
  {                                                                                                \
    "help", NULL, NULL, NULL, "print this help and exit"                                           \
  }

enum { OPTION_MOST = 40 }; /* rows */

/* What a command line says.  Of row k: value[k], as said or by default; said[k]. */
struct option_values {
  struct arena *arena;
  struct diag *diag;
  const struct option_row *rows;
  size_t n;
  const char *value[OPTION_MOST];
  bool said[OPTION_MOST];
  char **rest; /* what is no option, in order */
  size_t n_rest;
};

/* arena, diag, rows and n are set.  false: getopt has said what is wrong. */
bool option_scan(struct option_values *, int argc, char **argv);

bool option_is_of(const struct option_row *, const char *method);
/* Options that were said and are not the method's are errors. */
void option_check(struct option_values *, const char *method);
/* For help: a row; all that a method takes, its own first. */
void option_print(const struct option_row *);
void option_print_all(const struct option_row *, size_t n, const char *method);

/* Values; what is wrong is reported, and something in the range comes back. */
double option_number(struct option_values *, unsigned row, double low, double high);
/* Whole numbers. */
double option_whole(struct option_values *, unsigned row, double low, double high);
/* Of threads, from 1 to 1024; not said: one a core. */
unsigned option_threads(struct option_values *, unsigned row);
/* Numbers between commas.  NULL: a diagnostic. */
double *option_numbers(struct option_values *, unsigned row, size_t *n);
/* Which of the words in the row's argument. */
unsigned option_word(struct option_values *, unsigned row);
bool option_in_range(struct option_values *, unsigned row, double v, double low, double high);

/* What is to be done with a command line. */
struct option_command {
  const char *name; /* "mergescape fisher": whose --help lists the options */
  unsigned help;    /* the row of --help */
  void (*print_help)(void *);
  void (*check)(void *); /* what is wrong with the values is reported */
  int (*run)(void *);    /* where nothing is: an exit status */
};

/* Scans, and does it; prints all diagnostics.  An exit status. */
int option_run(struct option_values *, const struct option_command *, void *context, int argc,
               char **argv, const struct source_set *);

#endif
