/* What merge_files.c and merge_files_check.c share. */
#ifndef MERGESCAPE_MERGE_MERGE_FILES_INT_H
#define MERGESCAPE_MERGE_MERGE_FILES_INT_H

#include "base/checkpoint.h"
#include "merge/merge_files.h"

struct files {
  struct arena *arena;
  const struct merge_files *task;
  struct diag *diag;
  struct checkpoint *in;
  struct checkpoint *grams; /* of each model; NULL: the method takes none */
  size_t n_in, n_alike; /* of which the first are models and base, the rest Fishers */
  /* As the first has them: [tensor * n_in + input]; NULL: a Fisher without it. */
  const struct checkpoint_tensor **tensors;
  size_t n_tensors;
  /* Those that are merged. */
  struct merge_tensor *merged;
  size_t *merged_at; /* which of n_tensors */
  size_t n_merged;
  enum safetensors_dtype *dtype; /* [n_tensors], of the result */
  struct checkpoint_writer *writer;
  struct files_ahead *ahead;
  const unsigned char **found; /* [n_in] */
  unsigned char *bytes;        /* FILES_BLOCK */
  unsigned char *out;          /* FILES_BLOCK, of which `held` are not written yet */
  size_t held;
  uint64_t read, written, shown, total;
};

enum { FILES_BLOCK = 1 << 18 };

static inline const struct checkpoint_tensor *files_tensor(const struct files *f, size_t tensor,
                                                           size_t input)
{
  return f->tensors[tensor * f->n_in + input];
}

/* Reading ahead in a pass over all of some tensors that are merged. */
struct files_ahead *files_ahead_new(struct files *);
void files_ahead_free(struct files_ahead *);
void files_ahead_begin(struct files_ahead *, size_t from, size_t to, bool buffers);
/* Where the elements' bytes are, of each input, until the next call; false: they were not read
 * ahead, and nothing is read at the moment. */
bool files_ahead_find(struct files_ahead *, size_t tensor, uint64_t first, size_t n,
                      const unsigned char **bytes);

/* Gram matrices: opened, held against the models, and as merge_grams gives them. */
bool files_open_grams(struct files *);
bool files_check_grams(struct files *);
bool files_find_gram(void *files, size_t tensor, struct merge_gram *);
bool files_load_gram(void *files, size_t tensor, size_t model, double *gram, struct diag *);
/* Bytes that were read and written, for the progress. */
void files_advance(struct files *, uint64_t read, uint64_t written);

/* Fills `tensors`, and says all that does not fit. */
bool files_check(struct files *);
/* Of a piece that has something that is not finite, or a Fisher below zero; true: it may pass. */
bool files_explain_input(const struct files *, size_t tensor, uint64_t first, size_t n,
                         double *const *in);
/* Of a result that is too large for its type; true: it may pass. */
bool files_explain_output(const struct files *, size_t tensor, uint64_t first, size_t n,
                          const double *const *in, const double *out);

#endif
