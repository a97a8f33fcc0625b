/* The K-th largest of numbers that are seen in passes, exactly, in 12 MB: radix selection over
 * 31-bit keys.
 *
 * A first pass may show a sample.  If it was all, the answer is known.  Else it says about where
 * the answer lies, and a pass over everything counts each key by itself in a window around
 * that place.  Where the answer is outside, one more pass counts in broad bins over all
 * keys, and another in the right bin. */
#ifndef MERGESCAPE_MERGE_MERGE_SELECT_H
#define MERGESCAPE_MERGE_MERGE_SELECT_H

#include "base/arena.h"
#include "merge/merge_loops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_select;

struct merge_select *merge_select_new(struct arena *);
/* The k-th largest of n keys; anew for other numbers. */
void merge_select_begin(struct merge_select *, uint64_t n, uint64_t k);
/* Before the first pass and after each: is the answer known? */
bool merge_select_next(struct merge_select *);
/* Of what a pass shows.  Keys are 0 to 2^31 - 2. */
void merge_select_add(struct merge_select *, const struct merge_loops *, const int32_t *keys,
                      size_t n);
int32_t merge_select_key(const struct merge_select *);  /* 0 where all are kept */
uint64_t merge_select_kept(const struct merge_select *); /* keys that are as large or larger */

#endif
