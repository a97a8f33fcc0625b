/* The status of a run: one line rewritten in place on a terminal, a plain line
 * now and then elsewhere.
 *
 *   [ 42%] 123/290 steps  12.3 steps/s  01:23 left  train noise lr=0.1 batch=32
 *
 * Percent and time left go by cost, not by count.  Times are seconds of any
 * clock that the caller chooses.  With `out` NULL everything is silent. */
#ifndef MERGESCAPE_RUN_PROGRESS_H
#define MERGESCAPE_RUN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress_count {
  uint32_t done, total; /* steps that have to run, not the cached ones */
  double cost_done, cost_total;
};

struct progress {
  FILE *out;
  bool terminal, colour;
  unsigned columns; /* of the terminal; 0: ask it */
  double begun, last;
  struct progress_count count, shown;
  char label[256];
};

void progress_begin(struct progress *, uint32_t cached, struct progress_count, double now);
/* "train noise lr=0.1": what is being done. */
void progress_label(struct progress *, const char *label);
void progress_update(struct progress *, struct progress_count, double now);
/* A line of its own, at once: a failure or a warning. */
void progress_say(struct progress *, bool error, const char *text);
/* Takes the rewritten line away and writes the last one. */
void progress_end(struct progress *, const char *text);

/* "0.4 s", "83 s", "12 min 05 s", "3 h 20 min". */
char *progress_duration(double seconds, char text[32]);

#endif
