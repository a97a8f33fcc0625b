/* What runs tell of themselves while they go on, for whoever looks.
 *
 *   STORE/runs/HOST.PID.json   a run; written anew every second, removed at its end
 *   STORE/failed/KEY.json      why a step has no result; removed once it has one
 *
 * None of it is a result, nothing reads it to compute, and that it cannot be written is no
 * fault.  A run that was killed leaves its file, and who reads it finds its process gone; the
 * next run on that host removes it. */
#ifndef MERGESCAPE_RUN_STATUS_H
#define MERGESCAPE_RUN_STATUS_H

#include "plan/plan.h"
#include "run/progress.h"
#include "run/store.h"

#include <sys/types.h>

/* ---- the run's side ---- */

struct status;

struct status *status_begin(struct arena *, struct store *, const struct plan *, unsigned workers);
/* A worker began with a step, that takes about `cost` seconds; ended with it. */
void status_started(struct status *, unsigned worker, pid_t, uint32_t step, unsigned threads,
                    double cost);
void status_ended(struct status *, unsigned worker);
/* Writes the file where it is older than a second. */
void status_update(struct status *, struct progress_count);
void status_end(struct status *);

/* `hint`: "" for none. */
void status_failed(struct store *, struct hash key, const char *error, const char *hint);
/* The step has a result. */
void status_succeeded(struct store *, struct hash key);

/* ---- the reader's side: nothing is written ---- */

/* KILLED: its process is gone.  SILENT: it is on another host, or stopped, and was last heard
 * of longer ago than runs are silent. */
enum status_state { STATUS_GOING, STATUS_SILENT, STATUS_KILLED };

struct status_step {
  struct hash key;
  unsigned worker, threads;
  long pid;
  double since;  /* seconds since 1970 */
  double cost;   /* seconds that it was expected to take */
  bool alive;    /* its worker goes on with it, even where the run was killed */
};

struct status_run {
  const char *host;
  long pid;
  enum status_state state;
  unsigned workers;
  double begun, heard; /* seconds since 1970 */
  struct progress_count count;
  struct status_step *steps;
  size_t n_steps;
};

/* The runs that use the store, in the order in which they began. */
struct status_run *status_runs(const struct store *, struct arena *, size_t *n);
/* Seconds that a run still takes at the pace so far; NaN: nothing is done yet. */
double status_left(const struct status_run *);

struct status_failure {
  const char *error, *hint; /* "": none */
  const char *host;
  double when; /* seconds since 1970 */
};

/* false: nothing is known of a failure of the step. */
bool status_failure(const struct store *, struct hash key, struct arena *, struct status_failure *);

double status_now(void); /* seconds since 1970 */

#endif
