/* Data sets of images and of text: read from disk, derived in memory, served as batches.
 *
 * A sample of text is `block` tokens in a row, and its targets are the tokens that follow
 * each of them.  As a shape it is channels 1, height 1, width block, with the vocabulary
 * as classes; what is said of pixels holds for tokens. */
#ifndef MERGESCAPE_ENGINE_DATA_H
#define MERGESCAPE_ENGINE_DATA_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/hash.h"

#include <stdbool.h>
#include <stdint.h>

/* Raised when what is derived from the same files changes. */
#define DATA_VERSION "1"

/* The last one is not read from files: it is made of the test samples, or empty. */
enum data_split { DATA_TRAIN, DATA_TEST, DATA_OOD, DATA_SPLIT_COUNT };
enum { DATA_READ_SPLITS = DATA_OOD, DATA_MAX_CHANNELS = 8 };

/* What the class of a pair is. */
enum data_labels { DATA_LABELS_BOTH, DATA_LABELS_FIRST, DATA_LABELS_SECOND };
/* What is done to all images: another task of the same items. */
enum data_transform { DATA_AS_IS, DATA_TURNED, DATA_INVERTED };
/* How the images of the shifted split differ from the test samples, which they are
 * otherwise (after Hendrycks & Dietterich 2019, scaled to small images): Gaussian noise of
 * standard deviation 0.15; contrast around the image's mean times 0.4; moved by a seventh of
 * the height and width towards the lower right, black behind. */
enum data_shift { DATA_NO_SHIFT, DATA_NOISE, DATA_CONTRAST, DATA_MOVED };

struct data_spec {
  const char *name;    /* a name of the table in data.c: fashion_mnist, cifar10, ... */
  unsigned image_size; /* average-pooled to this height and width; 0: as it is */
  bool pairs;          /* two items as the channels of one sample; classes squared */
  enum data_labels labels; /* of pairs */
  enum data_transform transform;
  enum data_shift shift; /* DATA_NO_SHIFT: DATA_OOD is empty */
  unsigned block;          /* text: tokens a sample; else 0 */
  const char *tokenizer;   /* text: "bytes" (vocabulary 256) or "gpt2" (50257); else NULL */
  unsigned size[DATA_READ_SPLITS]; /* samples taken; 0: all (of pairs: as many as items) */
};

struct data_samples {
  unsigned n;
  uint8_t *pixels;        /* [n][height][width][channels]; text: NULL */
  const float *values;    /* the same, normalised already: instead of pixels; mostly NULL */
  const int32_t *labels;  /* [n]; text: NULL */
  const uint16_t *tokens; /* text: [n][block + 1], the last one a target only; else NULL */
};

struct data_set {
  unsigned channels, height, width, classes;
  unsigned block;   /* text: tokens a sample; images: 0 */
  unsigned targets; /* labels a sample: 1, or with text block */
  float mean[DATA_MAX_CHANNELS], std[DATA_MAX_CHANNELS]; /* of the training pixels / 255 */
  struct data_samples split[DATA_SPLIT_COUNT];
  struct hash digest; /* of all pixels and labels, or tokens: the identity of what was loaded */
};

/* Looks for the files below each of dirs in turn.  Every problem (missing,
 * truncated, wrong magic number, label out of range, too few samples) names
 * the file and what to do. */
bool data_load(struct arena *, const struct data_spec *, const char *const *dirs, size_t n_dirs,
               struct data_set *, struct diag *);
/* The shape alone, without reading files: channels, height, width, classes, block,
 * targets and split[].n are set. */
bool data_shape(const struct data_spec *, struct data_set *, struct diag *);

struct data_augment {
  bool flip;        /* horizontal, probability 1/2 */
  unsigned padding; /* random crop after this zero padding; 0: none */
};

/* The training order of an epoch: a permutation of [0, n). */
void data_order(uint64_t seed, uint32_t stream, uint32_t epoch, uint32_t *order, unsigned n);

/* Normalised ((pixel/255 - mean) / std) samples into x [count][h][w][c], and
 * their labels.  `augment` NULL: as they are; what is normalised already can only be taken so.
 * Padding is black (pixel 0), as with torchvision's RandomCrop before Normalize.  Random numbers
 * depend on (seed, stream, epoch, sample) alone.
 *
 * Text: x [count][block] are token ids (whole numbers below 65536 are exact in a float),
 * labels [count][block] the ids that follow; `augment` changes nothing. */
void data_batch(const struct data_set *, enum data_split, const uint32_t *indices, unsigned count,
                const struct data_augment *augment, uint64_t seed, uint32_t stream, uint32_t epoch,
                float *x, int32_t *labels);

#endif
