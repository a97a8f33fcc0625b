/* Merging checkpoints on disk, of any size: a few pieces of each are in memory at a time.
 *
 * The first model decides on names, shapes, order and types.  All must have the same names and
 * shapes; F16, BF16, F32 and F64 may stand for each other.  Tensors of other types are not
 * merged: they must be equal in all models, and are copied; batch norm's num_batches_tracked
 * alone may differ, and is the first model's.  Fishers need no such tensors.
 *
 * Everything is checked before the first byte is written.  NaN in an input ends the merge, and
 * so does an infinity that is not the same in all models, a negative Fisher entry, and a result
 * that is too large for its type. */
#ifndef MERGESCAPE_MERGE_MERGE_FILES_H
#define MERGESCAPE_MERGE_MERGE_FILES_H

#include "base/safetensors.h"
#include "merge/merge.h"

struct merge_files {
  const struct merge_method *method;
  struct merge_args args;
  const char *const *inputs; /* paths: the models, then what is extra */
  size_t n_models;
  const char *const *grams; /* paths, one a model, for a method that takes such; else NULL */
  bool in_first;            /* weights with Gram matrices are [in][out] */
  const char *out;
  uint64_t shard_bytes; /* 0: `out` is a file; else a folder of files of this size at most */
  enum safetensors_dtype dtype; /* of what is merged; SAFETENSORS_DTYPE_COUNT: the first's own */
  const char *how; /* goes into the metadata as "merged" (or "merged.2", ...); NULL: nothing */
  void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes; may be NULL */
  void *context;
};

struct merge_files_report {
  size_t merged, copied; /* tensors */
  uint64_t read, written;
  struct merge_report run; /* its remark lives in the arena */
};

/* Is it batch norm's running mean or variance? */
bool merge_is_buffer(const char *tensor);

/* false: a diagnostic tells why, and nothing was written. */
bool merge_files(struct arena *, const struct merge_files *, struct merge_files_report *,
                 struct diag *);

#endif
