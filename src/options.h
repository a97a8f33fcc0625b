/* The command line. */
#ifndef MERGESCAPE_OPTIONS_H
#define MERGESCAPE_OPTIONS_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>

struct options {
  const char *command;
  const char *const *files;
  size_t n_files;
  const char *tier;   /* default "small" */
  const char *store;  /* default "store" */
  const char *output; /* folder of the figures, default "figures" */
  const char *paper;  /* folder of the paper's generated part, default "paper" */
  const char *report; /* the page's file, default "report.html" */
  const char *style;  /* style.gp; NULL: where it is found */
  const char **data;  /* folders, the command line's before the defaults */
  size_t n_data;
  unsigned *figures;  /* numbers asked for; none: all */
  size_t n_figures;
  const char *step; /* why: number or beginning of a key */
  const char *results[2]; /* diff-results: folders or stores */
  const char *reference; /* record: folder, default "reference" */
  const char *archive;   /* export: file, default "mergescape-results.tar.gz" */
  const char *commit, *source; /* record, export: the program's commit, its source; or NULL */
  const char *noise;      /* diff-results: a file, or NULL */
  unsigned jobs, threads; /* worker processes; threads of each, 0: as the plan has use for */
  unsigned cores;         /* that the workers share: no more than there are, nor than jobs */
  double max_steps;
  double sample_share, sample; /* verify: of the results; their number where the share is 0 */
  double seed;                 /* verify: of the choice */
  bool quiet, dot, json, summary;
  bool check; /* fmt: only say what would change */
  bool models;   /* export: with weights */
  bool all, csv; /* diff-results: every series; as CSV; verify: all results */
};

enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };

/* Prints help, the version or what is wrong itself. */
enum options_verdict options_parse(struct arena *, int argc, char **argv, struct options *);

/* forward has options of its own. */
struct forward_options {
  const char *model, *weights, *input, *output;
  unsigned threads;
  bool quiet;
};

/* Without the program's name: argv[0] is the command. */
enum options_verdict options_parse_forward(int argc, char **argv, struct forward_options *);

#endif
