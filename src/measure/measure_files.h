/* How far two checkpoints on disk are apart, tensor by tensor; a piece of each is in memory. */
#ifndef MERGESCAPE_MEASURE_MEASURE_FILES_H
#define MERGESCAPE_MEASURE_MEASURE_FILES_H

#include "base/checkpoint.h"

/* Sums over the elements of a tensor, or of several.  With a base, products are those of the task
 * vectors a - base and b - base. */
struct measure_sums {
  uint64_t n;
  double aa, bb, ab, dd; /* products, and squared differences a - b */
};

double measure_sums_cosine(const struct measure_sums *); /* NaN where one is zero */
void measure_sums_add(struct measure_sums *, const struct measure_sums *);

enum measure_fit {
  MEASURE_COMPARED, /* of floating-point numbers in both: the sums hold */
  MEASURE_EQUAL,    /* of another type, and the same bytes */
  MEASURE_DIFFERENT,
  MEASURE_NO_FIT, /* other shapes, or types that cannot be compared */
  MEASURE_MISSING /* not in all checkpoints */
};

enum { MEASURE_A, MEASURE_B, MEASURE_BASE, MEASURE_FILES };

struct measure_row {
  const char *name;
  const struct checkpoint_tensor *of[MEASURE_FILES]; /* NULL: it is not there */
  enum measure_fit fit;
  struct measure_sums sums;
};

/* A row for each tensor of the first checkpoint, in its order, then those that only later ones
 * have. Of n = 2 checkpoints, or 3 with a base.  Names live in the checkpoints.  NULL: a
 * diagnostic. */
struct measure_row *measure_files(struct arena *, struct checkpoint *files, size_t n,
                                  size_t *n_rows, struct diag *);

#endif
