/* The IDX format of MNIST: a big-endian magic number (0, 0, 8 for bytes, number
 * of dimensions), the dimensions, the bytes.  Plain or gzipped. */
#include "config.h"

#include "engine/data_int.h"

#include "base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <zlib.h>

enum { MAGIC_LABELS = 0x801, MAGIC_IMAGES = 0x803, BUFFER = 256 << 10 };

struct idx {
  const char *path;
  gzFile gz;
  struct diag *diag;
};

static void fetch_again(struct idx *f)
{
  diag_hint(f->diag, "the file is damaged or another one: remove it and fetch it again");
}

static bool idx_open(struct idx *f)
{
  errno = 0;
  f->gz = gzopen(f->path, "rb");
  if (!f->gz) {
    file_report(f->diag, "read", f->path, errno ? errno : ENOMEM);
    return false;
  }
  gzbuffer(f->gz, BUFFER);
  return true;
}

/* Exactly n bytes; `done` of `total` `what` are read so far, for the message. */
static bool idx_read(struct idx *f, void *p, unsigned n, const char *what, uint32_t done,
                     uint32_t total)
{
  errno = 0;
  int got = gzread(f->gz, p, n), zerror = Z_OK;
  if (got == (int)n)
    return true;
  const char *text = gzerror(f->gz, &zerror);
  if (zerror == Z_ERRNO) {
    file_report(f->diag, "read", f->path, errno);
    return false;
  }
  if (zerror != Z_OK && zerror != Z_BUF_ERROR && zerror != Z_STREAM_END)
    diag_error(f->diag, SPAN_NONE, "%s: damaged after %" PRIu32 " of %" PRIu32 " %s: %s", f->path,
               done, total, what, text);
  else
    diag_error(f->diag, SPAN_NONE, "%s: cut off after %" PRIu32 " of %" PRIu32 " %s", f->path, done,
               total, what);
  fetch_again(f);
  return false;
}

/* The end must be where the header says; reading there also checks the gzip
 * checksum. */
static bool idx_at_end(struct idx *f)
{
  unsigned char more;
  errno = 0;
  int got = gzread(f->gz, &more, 1), zerror = Z_OK;
  const char *text = gzerror(f->gz, &zerror);
  if (!got && (zerror == Z_OK || zerror == Z_STREAM_END))
    return true;
  if (got > 0)
    diag_error(f->diag, SPAN_NONE, "%s: longer than its header says", f->path);
  else
    diag_error(f->diag, SPAN_NONE, "%s: damaged at its end: %s", f->path, text);
  fetch_again(f);
  return false;
}

static bool idx_header(struct idx *f, uint32_t magic, uint32_t *dims, unsigned rank)
{
  uint8_t b[16];
  unsigned n = 4 * (1 + rank);
  uint32_t words[4];
  if (!idx_read(f, b, n, "header bytes", 0, n))
    return false;
  for (unsigned i = 0; i <= rank; i++)
    words[i] = (uint32_t)b[4 * i] << 24 | (uint32_t)b[4 * i + 1] << 16 |
               (uint32_t)b[4 * i + 2] << 8 | b[4 * i + 3];
  if (words[0] != magic) {
    diag_error(f->diag, SPAN_NONE,
               "%s: not an IDX file of %s: magic number 0x%08" PRIx32 ", not 0x%08" PRIx32, f->path,
               magic == MAGIC_IMAGES ? "images" : "labels", words[0], magic);
    fetch_again(f);
    return false;
  }
  for (unsigned i = 0; i < rank; i++)
    dims[i] = words[1 + i];
  return true;
}

static bool check_label(struct idx *f, const struct data_intake *in, uint32_t i, uint8_t label)
{
  if (label < in->source->classes)
    return true;
  diag_error(f->diag, SPAN_NONE, "%s: label %u of item %" PRIu32 " is outside 0 to %u", f->path,
             label, i, in->source->classes - 1);
  fetch_again(f);
  return false;
}

static uint8_t *read_labels(struct data_intake *in, struct idx *f, uint32_t *n)
{
  if (!idx_header(f, MAGIC_LABELS, n, 1) || !data_intake_begin(in, *n, f->path))
    return NULL;
  uint8_t *labels = arena_alloc(in->scratch, *n);
  if (!idx_read(f, labels, *n, "labels", 0, *n) || !idx_at_end(f))
    return NULL;
  for (uint32_t i = 0; i < *n; i++)
    if (!check_label(f, in, i, labels[i]))
      return NULL;
  return labels;
}

static bool read_images(struct data_intake *in, struct idx *f, const uint8_t *labels, uint32_t n,
                        const char *labels_path)
{
  uint32_t dims[3];
  const struct data_source *s = in->source;
  if (!idx_header(f, MAGIC_IMAGES, dims, 3))
    return false;
  if (dims[1] != s->height || dims[2] != s->width) {
    diag_error(f->diag, SPAN_NONE,
               "%s: images of %" PRIu32 "x%" PRIu32 " pixels; those of %s have %ux%u", f->path,
               dims[1], dims[2], s->name, s->height, s->width);
    fetch_again(f);
    return false;
  }
  if (dims[0] != n) {
    diag_error(f->diag, SPAN_NONE, "%s: %" PRIu32 " images, but %" PRIu32 " labels in %s", f->path,
               dims[0], n, labels_path);
    diag_hint(f->diag, "the two files don't belong together: fetch both again");
    return false;
  }
  unsigned bytes = s->height * s->width;
  uint8_t *image = arena_alloc(in->scratch, bytes);
  for (uint32_t i = 0; i < n; i++) {
    if (!idx_read(f, image, bytes, "images", i, n))
      return false;
    data_intake_add(in, i, image, labels[i]);
  }
  return idx_at_end(f);
}

bool data_idx_read(struct data_intake *in)
{
  static const char *const names[DATA_READ_SPLITS][2][2] = {
      {{"train-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte"},
       {"train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"}},
      {{"t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte"},
       {"t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"}}};
  struct idx f[2] = {{.diag = in->diag}, {.diag = in->diag}};
  uint32_t n = 0;
  for (int i = 0; i < 2; i++) {
    f[i].path = data_find_file(in, names[in->split][i], 2);
    if (!f[i].path)
      return false;
  }
  if (!idx_open(&f[0]))
    return false;
  const uint8_t *labels = read_labels(in, &f[0], &n);
  gzclose(f[0].gz);
  if (!labels || !idx_open(&f[1]))
    return false;
  bool ok = read_images(in, &f[1], labels, n, f[0].path);
  gzclose(f[1].gz);
  return ok;
}
