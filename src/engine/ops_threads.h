/* Operations split over threads: a table that calls another one's operations on parts of
 * their work, side by side.
 *
 * Parts are such that every sum is taken in the order that it has in one piece: samples,
 * rows, or channels that no sum goes across.  So results are the same bit for bit, whatever
 * the number of threads.  What cannot be split so, or is not worth it, is done in one piece. */
#ifndef MERGESCAPE_ENGINE_OPS_THREADS_H
#define MERGESCAPE_ENGINE_OPS_THREADS_H

#include "engine/ops.h"

/* A table over `base`, which must outlive it, for one caller at a time.  `threads` counts the
 * caller; the others start with the first operation that is split. */
const struct ops *ops_threads_new(const struct ops *base, unsigned threads);
void ops_threads_free(const struct ops *); /* NULL: nothing */

#endif
