/* The safetensors format: an 8-byte little-endian header length, a JSON header,
 * then the tensors' bytes.  https://huggingface.co/docs/safetensors
 *
 * The reader trusts nothing: lengths, offsets, overlaps, shapes and types are
 * checked against the file's size before any tensor is touched. */
#ifndef MERGESCAPE_BASE_SAFETENSORS_H
#define MERGESCAPE_BASE_SAFETENSORS_H

#include "base/arena.h"
#include "base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(enum name, name in the file, bytes an element) */
#define SAFETENSORS_DTYPES(X)                                                 \
  X(BOOL, 1) X(U8, 1) X(I8, 1) X(I16, 2) X(U16, 2) X(F16, 2) X(BF16, 2)       \
  X(I32, 4) X(U32, 4) X(F32, 4) X(F64, 8) X(I64, 8) X(U64, 8)

enum safetensors_dtype {
#define X(name, bytes) SAFETENSORS_##name,
  SAFETENSORS_DTYPES(X)
#undef X
  SAFETENSORS_DTYPE_COUNT
};

enum { SAFETENSORS_MAX_RANK = 8 };

struct safetensors_tensor {
  const char *name;
  enum safetensors_dtype dtype;
  uint32_t rank;
  uint64_t shape[SAFETENSORS_MAX_RANK];
  size_t bytes;
  const void *data; /* when read: into the mapped file; when written: the caller's */
};

struct safetensors_meta {
  const char *key, *value;
};

struct safetensors {
  struct safetensors_tensor *tensors; /* in the order of the file's header */
  size_t n_tensors;
  struct safetensors_meta *meta; /* "__metadata__" */
  size_t n_meta;
  const void *map; /* what safetensors_close releases */
  size_t map_bytes;
};

const char *safetensors_dtype_name(enum safetensors_dtype);
size_t safetensors_dtype_bytes(enum safetensors_dtype);

/* Maps and checks the file.  false: a diagnostic names the file and the tensor.
 * Names live in the arena, data in the mapping until safetensors_close. */
bool safetensors_open(struct arena *, const char *path, struct safetensors *, struct diag *);
/* The same over memory, for fuzzing; nothing to close. */
bool safetensors_parse(struct arena *, const char *name, const void *bytes, size_t length,
                       struct safetensors *, struct diag *);
void safetensors_close(struct safetensors *);
const struct safetensors_tensor *safetensors_find(const struct safetensors *, const char *name);

/* Is it a tensor of floating-point numbers: F16, BF16, F32 or F64? */
bool safetensors_is_float(enum safetensors_dtype);
/* Its elements first... first + n - 1 as floats.  F16, BF16 and F32 keep their values, and F32
 * its bits; F64 is rounded to the nearest, and to infinity where it is too large. */
void safetensors_floats(const struct safetensors_tensor *, uint64_t first, size_t n, float *to);

/* Writes and syncs; the header is padded with spaces to 8 bytes.  The caller
 * gives `path` a temporary name where atomicity matters. */
bool safetensors_write(const char *path, const struct safetensors *, struct diag *);

/* The same for tensors that are larger than memory, or not known yet: `data` is not read, the
 * bytes come by safetensors_writer_put, in any order.  The file appears at `path` when it is
 * committed.  NULL: a diagnostic. */
struct safetensors_writer;
struct safetensors_writer *safetensors_writer_new(const char *path, const struct safetensors *,
                                                  struct diag *);
/* n bytes of the tensor number `tensor`, from its byte `at` on. */
bool safetensors_writer_put(struct safetensors_writer *, size_t tensor, uint64_t at, const void *,
                            size_t n, struct diag *);
bool safetensors_writer_commit(struct safetensors_writer *, struct diag *); /* it is gone then */
void safetensors_writer_abandon(struct safetensors_writer *); /* NULL is allowed */

#endif
