/* Why a step is not in the store: what differs from the nearest that is. */
#ifndef MERGESCAPE_RUN_WHY_H
#define MERGESCAPE_RUN_WHY_H

#include "plan/plan.h"
#include "run/store.h"

/* One attribute of the step, or of a step that it comes from. */
struct why_difference {
  uint32_t step;                 /* of the plan, whose attribute it is */
  struct plan_attr here, there;  /* id of both is set; `has_` tells which exist */
  bool has_here, has_there;
};

struct why {
  bool cached;
  const struct store_object *nearest; /* of the same kind; NULL: the store has none */
  struct why_difference *differences; /* each kind's attribute once */
  size_t n, cap;
  /* Kinds of steps, one bit each, that have the same attributes and inputs, but
   * another key: the code that computes them has another version, or (tables)
   * they compute something else. */
  unsigned versions;
  unsigned unknown; /* ancestors of the nearest that are no longer in the store */
  bool shape;       /* they come about in another way: other kinds or numbers of inputs */
};

struct why_index;

/* Reads all of the store's results: some thousands in a fraction of a second. */
struct why_index *why_open(struct arena *, struct store *, struct diag *);
/* Nearest: fewest differing attributes among the step and all that it comes from;
 * of equals the same experiment's, then the nearest numbers. */
struct why why_step(const struct why_index *, struct arena *, const struct plan *, uint32_t step);

#endif
