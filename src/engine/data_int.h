/* Between the table of data sets and the readers of their formats. */
#ifndef MERGESCAPE_ENGINE_DATA_INT_H
#define MERGESCAPE_ENGINE_DATA_INT_H

#include "engine/data.h"

#include <stddef.h>

struct data_intake;

/* A row of the table: what is known of a data set without reading it. */
struct data_source {
  const char *name;
  const char *folder; /* looked for in each data folder, before the folder itself */
  const char *mend;   /* where to get it */
  unsigned channels, height, width, classes;
  unsigned items[DATA_READ_SPLITS];
  /* Reads one split: data_intake_begin once, then data_intake_add for each
   * item in order.  false: one diagnostic was added. */
  bool (*read)(struct data_intake *);
};

const struct data_source *data_source_find(const char *name);
size_t data_source_count(void);
const struct data_source *data_source_at(size_t);

/* One split on its way in: only the items that are wanted are kept, pooled. */
struct data_intake {
  const struct data_source *source;
  enum data_split split;
  const char *const *dirs;
  size_t n_dirs;
  struct arena *scratch; /* goes when the split is read */
  struct diag *diag;

  unsigned size, pool;      /* samples to make; pixels averaged each way */
  bool all, pairs;          /* all: the file must hold what the table says */
  uint32_t *picks;          /* [size], or [2 * size] for pairs: items */
  uint32_t *slot;           /* [items]: where an item is kept, or DATA_UNWANTED */
  uint8_t *pixels;          /* [kept][height][width][channels], pooled */
  int32_t *labels;          /* [kept] */
  unsigned items, kept;
};

#define DATA_UNWANTED UINT32_MAX

/* `path` holds (or begins) a split of `items` items: draws those that are
 * wanted.  false: there are too few or too many. */
bool data_intake_begin(struct data_intake *, uint64_t items, const char *path);
/* planes [channel][row][column] of the source's shape. */
void data_intake_add(struct data_intake *, uint32_t item, const uint8_t *planes, int32_t label);

/* The path of the first of the names that exists below the data folders; NULL:
 * a diagnostic says where it was looked for. */
const char *data_find_file(struct data_intake *, const char *const *names, size_t n);

/* Turned by a quarter (square images) or inverted, in place. */
void data_transform(enum data_transform, const struct data_set *, struct data_samples *);
/* The test samples, shifted; noise is one of (sample) alone. */
struct data_samples data_shifted(struct arena *, enum data_shift, const struct data_set *);

bool data_idx_read(struct data_intake *);
bool data_cifar_read(struct data_intake *);

#endif
