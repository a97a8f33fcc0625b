/* A runner whose steps write small objects, or misbehave as told. */
#ifndef MERGESCAPE_TESTS_RUN_FAKE_H
#define MERGESCAPE_TESTS_RUN_FAKE_H

#include "run_fixture.h"

#include "run/run.h"

#include <sys/types.h>

enum { FAKE_GREED = 64 << 20 };

/* What the fake steps do, by their seed. */
struct fake {
  struct fixture *f;
  const char *log; /* a file to which every execution adds its seed, process and threads */
  unsigned threads;
  double fail;     /* the step with this seed fails */
  double die;      /* ... ends its worker, by signal `number`, or exit(3) where that is 0 */
  double spoil;    /* ... writes an object that is damaged, always */
  double diverge;
  double greedy; /* ... takes FAKE_GREED bytes of memory */
  int number;
  unsigned delay; /* microseconds a step */
};

struct setup {
  struct fixture *f;
  struct run_kind kinds[PLAN_KIND_COUNT];
  struct fake *fake;
  bool *wanted;
  struct run_options options;
};

/* All steps wanted, by fake kinds, in the fixture's store. */
struct setup fake_setup(void **state, unsigned jobs);
struct run_summary fake_run(struct setup *);
/* The seeds and processes in the log, in order (each may be NULL); returns how many. */
unsigned fake_logged(const struct setup *, double *seeds, long *pids, unsigned cap);
/* How many threads the step with this seed might use; 0: it did not run. */
unsigned fake_threads(const struct setup *, double seed);
bool fake_there(struct setup *, uint32_t step); /* in the store */
void fake_lose(struct setup *, uint32_t step);  /* out of the store */
/* n steps, each with up to three inputs among the earlier ones; seeds from 1. */
void fake_random_plan(struct fixture *, uint32_t n);
char *fake_all_weights(struct setup *, uint32_t n);
pid_t fake_child(void); /* fork, that must work */

#endif
