/* What the runner's own files share: the graph of what is left to do, and the
 * worker processes. */
#ifndef MERGESCAPE_RUN_RUN_INT_H
#define MERGESCAPE_RUN_RUN_INT_H

#include "run/progress.h"
#include "run/run.h"

#include <signal.h>
#include <sys/types.h>

#define RUN_NONE UINT32_MAX /* no step */
enum { RUN_TRIES = 3 };

/* ---- the graph ---- */

enum step_state {
  STEP_OUT,    /* nobody needs it */
  STEP_CACHED, /* its result was there */
  STEP_TODO,
  STEP_RUNNING,
  STEP_DONE,
  STEP_FAILED,
  STEP_SKIPPED /* an input failed */
};

/* Arrays are indexed by step. */
struct run_graph {
  struct arena *arena;
  const struct plan *plan;
  struct store *store;
  const struct run_kind *kinds;
  uint32_t n;
  enum step_state *state;
  uint32_t *pending; /* inputs that are not there yet, each as often as it is read */
  double *cost;      /* of the step alone */
  double *chain;     /* of the longest way from here through what is to do */
  uint32_t *target;  /* the first step to do that needs this one and that nothing reads */
  uint32_t *next_at; /* n + 1: where the readers of a step begin in `next` */
  uint32_t *next;
  uint32_t *heap; /* steps that may start; the first target's first, of these the longest chain */
  size_t n_heap, cap_heap;
  uint8_t *tries;    /* times that a step was put back because an input was gone */
  uint32_t *sent;    /* when the step was handed out, by `clock` */
  uint32_t *revived; /* when a step that was there became one to do again */
  uint32_t clock;
  uint32_t *stack; /* scratch, n entries */
  struct progress_count count;
};

/* What is wanted becomes CACHED where the store has it, else a step to do; the rest
 * is OUT. */
void graph_plan(const struct plan *, const bool *wanted, struct store *,
                const struct run_kind *kinds, struct arena *, enum step_state *state);
void graph_begin(struct run_graph *, const bool *wanted);
/* The step to do next, now RUNNING; RUN_NONE: none can start now.  What another
 * process did meanwhile becomes CACHED on the way. */
uint32_t graph_next(struct run_graph *);
void graph_finish(struct run_graph *, uint32_t step);
/* The step failed.  true: because an input is gone from the store; the input
 * and the step are to do again. */
bool graph_retry(struct run_graph *, uint32_t step);
/* It failed for good: its readers are skipped. */
void graph_fail(struct run_graph *, uint32_t step);
/* Everything that has not started is skipped. */
void graph_stop(struct run_graph *);

/* ---- doing a step, here or in a worker ---- */

struct run_message {
  enum diag_level level;
  const char *text, *hint; /* hint: "" for none */
};

struct run_reply {
  bool good, diverged;
  struct run_message *messages;
  size_t n_messages, cap_messages;
};

struct run_context {
  const struct plan *plan;
  struct store *store;
  const struct run_kind *kinds;
};

/* A step, and how many threads it may use: what a worker is sent. */
struct run_order {
  uint32_t step, threads;
};

void run_step_here(const struct run_context *, struct run_order, struct arena *,
                   struct run_reply *);

struct run_worker {
  pid_t pid; /* 0: none */
  int fd;
  uint32_t step; /* RUN_NONE: idle */
};

struct run_pool {
  struct run_context context;
  struct run_worker *workers;
  unsigned n;
  sigset_t signals; /* the mask that workers get */
};

/* Starts the k-th worker; false: errno says why. */
bool pool_start(struct run_pool *, unsigned k);
/* Hands a step to an idle worker; starts it anew where it died idle. */
bool pool_send(struct run_pool *, unsigned k, struct run_order);
/* Reads the reply that the k-th worker has for us.  A worker that died is a
 * failed reply; it is reaped and its drafts are removed. */
void pool_receive(struct run_pool *, unsigned k, struct arena *, struct run_reply *);
/* Ends all workers: by closing their sockets, or at once. */
void pool_stop(struct run_pool *, bool kill_them);

#endif
