/* How far two checkpoints on disk are apart, tensor by tensor; a piece of each is in memory. */
#ifndef MERGESCAPE_MEASURE_MEASURE_FILES_H
#define MERGESCAPE_MEASURE_MEASURE_FILES_H

#include "base/checkpoint.h"

/* Sums over the elements of a tensor, or of several. */
struct measure_sums {
  uint64_t n;
  double aa, bb, ab, dd; /* products, and squared differences */
};

double measure_sums_cosine(const struct measure_sums *); /* NaN where one is zero */
void measure_sums_add(struct measure_sums *, const struct measure_sums *);

enum measure_fit {
  MEASURE_COMPARED, /* of floating-point numbers in both: the sums hold */
  MEASURE_EQUAL,    /* of another type, and the same bytes */
  MEASURE_DIFFERENT,
  MEASURE_NO_FIT, /* other shapes, or types that cannot be compared */
  MEASURE_ONLY_A,
  MEASURE_ONLY_B
};

struct measure_row {
  const char *name;
  const struct checkpoint_tensor *a, *b; /* NULL: it is not there */
  enum measure_fit fit;
  struct measure_sums sums;
};

/* A row for each tensor of a, in its order, then those that only b has.  Names live in the
 * checkpoints.  NULL: a diagnostic. */
struct measure_row *measure_files(struct arena *, struct checkpoint *a, struct checkpoint *b,
                                  size_t *n, struct diag *);

#endif
