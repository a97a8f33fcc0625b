/* CIFAR-10's binary version: records of one label byte and the red, green and
 * blue planes, 3,072 bytes; five files for training and one for testing. */
#include "config.h"

#include "engine/data_int.h"

#include "base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

enum { FILES = 5, CHUNK = 64 };

static unsigned record_bytes(const struct data_source *s)
{
  return 1 + s->channels * s->height * s->width;
}

static bool count_records(struct data_intake *in, const char *path, uint64_t *n)
{
  struct stat st;
  unsigned record = record_bytes(in->source);
  if (stat(path, &st) || !S_ISREG(st.st_mode)) {
    file_report(in->diag, "read", path, errno ? errno : EINVAL);
    return false;
  }
  if (!st.st_size || st.st_size % record) {
    diag_error(in->diag, SPAN_NONE, "%s: %" PRIu64 " bytes are not a number of %u-byte records",
               path, (uint64_t)st.st_size, record);
    diag_hint(in->diag, "the file is cut off or another one: remove it and fetch it again");
    return false;
  }
  *n = (uint64_t)st.st_size / record;
  return true;
}

static bool read_records(struct data_intake *in, FILE *f, const char *path, uint64_t n,
                         uint32_t first)
{
  unsigned record = record_bytes(in->source);
  uint8_t *chunk = arena_array(in->scratch, CHUNK, record);
  for (uint64_t i = 0; i < n;) {
    size_t want = n - i < CHUNK ? (size_t)(n - i) : CHUNK;
    if (fread(chunk, record, want, f) != want) {
      file_report(in->diag, "read", path, ferror(f) ? errno : EIO);
      return false;
    }
    for (size_t k = 0; k < want; k++, i++) {
      const uint8_t *p = chunk + k * record;
      if (p[0] >= in->source->classes) {
        diag_error(in->diag, SPAN_NONE, "%s: label %u of record %" PRIu64 " is outside 0 to %u",
                   path, p[0], i, in->source->classes - 1);
        diag_hint(in->diag, "the file is damaged or another one: remove it and fetch it again");
        return false;
      }
      data_intake_add(in, first + (uint32_t)i, p + 1, p[0]);
    }
  }
  return true;
}

bool data_cifar_read(struct data_intake *in)
{
  static const char *const names[FILES] = {"data_batch_1.bin", "data_batch_2.bin",
                                           "data_batch_3.bin", "data_batch_4.bin",
                                           "data_batch_5.bin"};
  static const char *const test_name = "test_batch.bin";
  int files = in->split == DATA_TRAIN ? FILES : 1;
  const char *paths[FILES];
  uint64_t n[FILES], total = 0;
  for (int i = 0; i < files; i++) {
    paths[i] = data_find_file(in, in->split == DATA_TRAIN ? &names[i] : &test_name, 1);
    if (!paths[i] || !count_records(in, paths[i], &n[i]))
      return false;
    total += n[i];
  }
  if (!data_intake_begin(in, total, paths[0]))
    return false;
  uint32_t first = 0;
  for (int i = 0; i < files; i++) {
    FILE *f = fopen(paths[i], "rb");
    if (!f) {
      file_report(in->diag, "read", paths[i], errno);
      return false;
    }
    bool ok = read_records(in, f, paths[i], n[i], first);
    fclose(f);
    if (!ok)
      return false;
    first += (uint32_t)n[i];
  }
  return true;
}
