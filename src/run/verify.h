/* Computing stored results again, to see whether the same bits come out.
 *
 * The store is only looked at.  Each step is computed in a scratch store of its own, whose
 * objects are symbolic links to the step's inputs, so that nothing that a computation does can
 * reach what is verified. */
#ifndef MERGESCAPE_RUN_VERIFY_H
#define MERGESCAPE_RUN_VERIFY_H

#include "run/run.h"

/* DAMAGED: it is not what was stored, by its checksum.  FAILED: it could not be computed. */
enum verify_verdict {
  VERIFY_NOT_TRIED,
  VERIFY_SAME,
  VERIFY_DIFFERS,
  VERIFY_DAMAGED,
  VERIFY_FAILED
};

struct verify_finding {
  enum verify_verdict verdict;
  double difference; /* DIFFERS: the largest of two numbers; NaN: none can be told */
  const char *what;  /* where it differs, how it is damaged, why it failed; else "" */
};

/* Chooses `n` of the steps that may be chosen (all where there are fewer), each as likely as
 * any other; the seed and the steps' keys decide which.  Returns how many. */
uint32_t verify_choose(const struct plan *, const bool *may, uint32_t n, uint64_t seed,
                       bool *chosen);

/* What two results of a step differ in; `stored` and `again` are the stores that have them. */
struct verify_finding verify_compare(struct store *stored, struct store *again, struct hash key,
                                     struct arena *);

/* Computes the chosen steps again, whose inputs the store has, in a folder that is made below
 * `temporary` and removed at the end.  findings[plan_count] is filled for them; its texts are
 * the arena's.  What cannot be done at all (no space for the folder) is in diag. */
struct run_summary verify_run(const struct plan *, const bool *chosen, struct store *,
                              const struct run_kind kinds[PLAN_KIND_COUNT],
                              const struct run_options *, const char *temporary, struct arena *,
                              struct verify_finding *findings, struct diag *);

#endif
