/* A store in a folder of its own, and small plans: what the tests of src/run share. */
#ifndef MERGESCAPE_TESTS_RUN_FIXTURE_H
#define MERGESCAPE_TESTS_RUN_FIXTURE_H

#include "plan/plan.h"
#include "run/store.h"

struct fixture {
  struct arena *arena;
  struct diag *diag;
  char root[256]; /* a temporary folder */
  struct store *store;
  struct plan *plan;
};

int fixture_begin(void **state);
int fixture_end(void **state);

/* A step of the kind whose attribute "seed" is `seed`. */
uint32_t fixture_step(struct fixture *, enum plan_kind, double seed, const uint32_t *inputs,
                      uint32_t n_inputs);
/* Path of a file of the step's object. */
const char *fixture_path(struct fixture *, uint32_t step, const char *name);
unsigned fixture_entries(struct fixture *, const char *folder); /* of the store's folder */
void fixture_write(const char *path, const char *text);
char *fixture_read(struct fixture *, const char *path, size_t *length);
/* Is the text in one of the diagnostics? */
bool fixture_said(const struct diag *, const char *text);
double fixture_now(void); /* seconds */

#endif
