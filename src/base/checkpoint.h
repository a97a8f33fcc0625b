/* Checkpoints of any size: one .safetensors file, or a folder of shards with an
 * index as Hugging Face's libraries write it (model.safetensors.index.json:
 * "weight_map" says which file each tensor is in).
 *
 * Only headers are held in memory: tensors are read and written in pieces. */
#ifndef MERGESCAPE_BASE_CHECKPOINT_H
#define MERGESCAPE_BASE_CHECKPOINT_H

#include "base/hash.h"
#include "base/safetensors.h"

struct checkpoint_tensor {
  const char *name;
  enum safetensors_dtype dtype;
  uint32_t rank;
  uint64_t shape[SAFETENSORS_MAX_RANK];
  uint64_t count, bytes; /* elements, and what they take */
  uint32_t file;
  uint64_t offset; /* of its first byte in that file */
};

struct checkpoint_file;

struct checkpoint {
  const char *path;                  /* as it was given */
  struct checkpoint_tensor *tensors; /* as they lie in the files, one file after the other */
  size_t n_tensors;
  struct safetensors_meta *meta; /* the first file's */
  size_t n_meta;
  /* For checkpoint_*. */
  struct checkpoint_file *files;
  size_t n_files;
  const struct checkpoint_tensor **by_name;
  uint32_t open_file;
  int fd; /* of open_file; -1: none */
};

/* `path`: a file, an index, or a folder with one of either.  Every header is read
 * and checked, and the index against them. */
bool checkpoint_open(struct arena *, const char *path, struct checkpoint *, struct diag *);
void checkpoint_close(struct checkpoint *);
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *, const char *name);
/* Bytes from .. from + length of a tensor. */
bool checkpoint_read(struct checkpoint *, const struct checkpoint_tensor *, uint64_t from, void *,
                     size_t length, struct diag *);
/* Elements first... first + n - 1 of a tensor that safetensors_is_float says it of, as
 * safetensors_floats makes them. */
bool checkpoint_floats(struct checkpoint *, const struct checkpoint_tensor *, uint64_t first,
                       size_t n, float *to, struct diag *);
/* Is `path` one of its files, by whatever name? */
bool checkpoint_holds(const struct checkpoint *, const char *path);
/* Of the bytes of all its files: of one file hash_file's, wherever it lies. */
bool checkpoint_digest(const struct checkpoint *, struct hash *, struct diag *);
/* "[512, 3, 3]" */
char *checkpoint_shape(struct arena *, const struct checkpoint_tensor *);
/* "[4, 0, 2]", where the tensor's `index`-th element is. */
char *checkpoint_place(struct arena *, const struct checkpoint_tensor *, uint64_t index);

/* Writing: into files without names, which get them when all is written and synced;
 * until then, and after a failure, there is nothing. */
struct checkpoint_writer;

/* Of each tensor: name, dtype, shape and bytes; of the rest: meta.  shard_bytes 0:
 * `path` is a file; else a folder, made where missing, of files that hold at most so
 * much, but for a tensor that is larger.  More than one file has an index. */
struct checkpoint_writer *checkpoint_create(struct arena *, const char *path,
                                            const struct safetensors *, uint64_t shard_bytes,
                                            struct diag *);
/* The next bytes of the k-th tensor.  Any order of tensors. */
bool checkpoint_put(struct checkpoint_writer *, size_t k, const void *, size_t length,
                    struct diag *);
/* All bytes of all tensors must have been put.  Frees, as checkpoint_discard does. */
bool checkpoint_commit(struct checkpoint_writer *, struct diag *);
void checkpoint_discard(struct checkpoint_writer *);

#endif
