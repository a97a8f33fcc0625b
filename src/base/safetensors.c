#include "config.h"

#include "base/safetensors.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The limit of the reference implementation, against headers that eat memory. */
#define MAX_HEADER UINT64_C(100000000)
enum { LENGTH_BYTES = 8, MAX_ERRORS = 20, MAX_NAME = 1000 };

static const struct {
  const char *name;
  size_t bytes;
} dtypes[SAFETENSORS_DTYPE_COUNT] = {
#define X(name, bytes) {#name, bytes},
    SAFETENSORS_DTYPES(X)
#undef X
};

const char *safetensors_dtype_name(enum safetensors_dtype t)
{
  return dtypes[t].name;
}

size_t safetensors_dtype_bytes(enum safetensors_dtype t)
{
  return dtypes[t].bytes;
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name)
{
  for (size_t i = 0; i < s->n_tensors; i++)
    if (!strcmp(s->tensors[i].name, name))
      return &s->tensors[i];
  return NULL;
}

struct place { /* where a tensor's bytes are, behind the header */
  uint64_t begin, end;
  const struct safetensors_tensor *tensor;
};

struct reader {
  struct arena *arena;
  const char *file;
  struct safetensors *out;
  struct diag *diag;
  struct place *places;
  const unsigned char *data; /* behind the header */
  uint64_t data_bytes;
};

static bool get_dtype(struct reader *r, struct safetensors_tensor *t, const json_t *v)
{
  const char *name = json_string_value(v);
  for (int i = 0; name && i < SAFETENSORS_DTYPE_COUNT; i++)
    if (!strcmp(dtypes[i].name, name)) {
      t->dtype = (enum safetensors_dtype)i;
      return true;
    }
  if (!name) {
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\": no dtype", r->file, t->name);
    return false;
  }
  diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\": unknown dtype \"%s\"", r->file, t->name, name);
  diag_hint(r->diag, "dtypes that can be read: "
#define X(id, bytes) #id " "
            SAFETENSORS_DTYPES(X)
#undef X
                "- convert the file with one of these");
  return false;
}

/* shape times the size of an element; every product is checked. */
static bool get_shape(struct reader *r, struct safetensors_tensor *t, const json_t *v)
{
  if (!json_is_array(v)) {
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\": no shape", r->file, t->name);
    return false;
  }
  if (json_array_size(v) > SAFETENSORS_MAX_RANK) {
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\": %zu dimensions, more than %d", r->file,
               t->name, json_array_size(v), SAFETENSORS_MAX_RANK);
    return false;
  }
  size_t bytes = dtypes[t->dtype].bytes;
  t->rank = (uint32_t)json_array_size(v);
  for (uint32_t i = 0; i < t->rank; i++) {
    const json_t *item = json_array_get(v, i);
    json_int_t size = json_integer_value(item);
    if (!json_is_integer(item) || size < 0) {
      diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\": dimension %" PRIu32 " is not a size",
                 r->file, t->name, i);
      return false;
    }
    t->shape[i] = (uint64_t)size;
    if (__builtin_mul_overflow(bytes, t->shape[i], &bytes)) {
      diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\": its shape is larger than any memory",
                 r->file, t->name);
      return false;
    }
  }
  t->bytes = bytes;
  return true;
}

static bool get_offsets(struct reader *r, struct safetensors_tensor *t, struct place *p,
                        const json_t *v)
{
  const json_t *begin = json_array_get(v, 0), *end = json_array_get(v, 1);
  if (json_array_size(v) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
      json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)) {
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\": data_offsets are not [begin, end]", r->file,
               t->name);
    return false;
  }
  p->begin = (uint64_t)json_integer_value(begin);
  p->end = (uint64_t)json_integer_value(end);
  p->tensor = t;
  if (p->end > r->data_bytes) {
    diag_error(r->diag, SPAN_NONE,
               "%s: tensor \"%s\" ends at byte %" PRIu64 " of the data, but the file has %" PRIu64,
               r->file, t->name, p->end, r->data_bytes);
    diag_hint(r->diag, "the file is cut off or damaged: fetch or make it again");
    return false;
  }
  if (p->end - p->begin != t->bytes) {
    diag_error(r->diag, SPAN_NONE,
               "%s: tensor \"%s\": its shape and dtype need %zu bytes, its offsets span %" PRIu64,
               r->file, t->name, t->bytes, p->end - p->begin);
    return false;
  }
  t->data = r->data + p->begin;
  return true;
}

static void get_tensor(struct reader *r, const char *name, const json_t *v)
{
  struct safetensors_tensor *t = &r->out->tensors[r->out->n_tensors];
  struct place *p = &r->places[r->out->n_tensors];
  t->name = arena_strdup(r->arena, name);
  if (strlen(name) > MAX_NAME) {
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%.60s...\" has a name of %zu bytes, more than %d",
               r->file, name, strlen(name), MAX_NAME);
    return;
  }
  if (!json_is_object(v)) {
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\" is not described by an object", r->file,
               name);
    return;
  }
  if (get_dtype(r, t, json_object_get(v, "dtype")) &&
      get_shape(r, t, json_object_get(v, "shape")) &&
      get_offsets(r, t, p, json_object_get(v, "data_offsets")))
    r->out->n_tensors++;
}

static void get_meta(struct reader *r, const json_t *v)
{
  if (!json_is_object(v)) {
    diag_error(r->diag, SPAN_NONE, "%s: __metadata__ is not an object", r->file);
    return;
  }
  r->out->meta = arena_array(r->arena, json_object_size(v), sizeof *r->out->meta);
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)v, key, value)
  {
    if (!json_is_string(value)) {
      diag_error(r->diag, SPAN_NONE, "%s: __metadata__: the value of \"%s\" is not a string",
                 r->file, key);
      return;
    }
    r->out->meta[r->out->n_meta++] = (struct safetensors_meta){
        arena_strdup(r->arena, key), arena_strdup(r->arena, json_string_value(value))};
  }
}

static int by_place(const void *a, const void *b)
{
  const struct place *x = a, *y = b;
  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors' bytes must fill the file without gap or overlap, in any order. */
static void check_layout(struct reader *r)
{
  size_t n = r->out->n_tensors;
  uint64_t at = 0;
  if (n)
    qsort(r->places, n, sizeof *r->places, by_place);
  for (size_t i = 0; i < n; i++) {
    const struct place *p = &r->places[i];
    if (p->begin < at) {
      diag_error(r->diag, SPAN_NONE, "%s: tensors \"%s\" and \"%s\" overlap", r->file,
                 r->places[i - 1].tensor->name, p->tensor->name);
      return;
    }
    if (p->begin > at) {
      diag_error(r->diag, SPAN_NONE,
                 "%s: %" PRIu64 " bytes before tensor \"%s\" belong to no tensor", r->file,
                 p->begin - at, p->tensor->name);
      return;
    }
    at = p->end;
  }
  if (at < r->data_bytes)
    diag_error(r->diag, SPAN_NONE, "%s: %" PRIu64 " bytes at the end belong to no tensor", r->file,
               r->data_bytes - at);
}

static bool get_header(struct reader *r, const char *text, size_t length)
{
  json_error_t error;
  json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
  if (!root) {
    diag_error(r->diag, SPAN_NONE, "%s: the header is not JSON: %s (byte %d)", r->file, error.text,
               error.position);
    return false;
  }
  unsigned before = diag_errors(r->diag);
  if (!json_is_object(root))
    diag_error(r->diag, SPAN_NONE, "%s: the header is not a JSON object", r->file);
  size_t n = json_object_size(root);
  r->out->tensors = arena_array(r->arena, n, sizeof *r->out->tensors);
  r->places = arena_array(r->arena, n, sizeof *r->places);
  const char *key;
  json_t *value;
  json_object_foreach(root, key, value)
  {
    if (diag_errors(r->diag) - before >= MAX_ERRORS)
      break;
    if (!strcmp(key, "__metadata__"))
      get_meta(r, value);
    else
      get_tensor(r, key, value);
  }
  if (diag_errors(r->diag) == before)
    check_layout(r);
  json_decref(root);
  return diag_errors(r->diag) == before;
}

bool safetensors_parse(struct arena *a, const char *name, const void *bytes, size_t length,
                       struct safetensors *out, struct diag *d)
{
  const unsigned char *p = bytes;
  *out = (struct safetensors){0};
  if (length < LENGTH_BYTES) {
    diag_error(d, SPAN_NONE, "%s: not a safetensors file: only %zu bytes", name, length);
    return false;
  }
  uint64_t header = 0;
  for (int i = LENGTH_BYTES - 1; i >= 0; i--)
    header = header << 8 | p[i];
  if (header > MAX_HEADER) {
    diag_error(d, SPAN_NONE, "%s: not a safetensors file: a header of %" PRIu64 " bytes", name,
               header);
    return false;
  }
  if (header > length - LENGTH_BYTES) {
    diag_error(d, SPAN_NONE, "%s: the header has %" PRIu64 " bytes, but the file only %zu", name,
               header, length);
    diag_hint(d, "the file is cut off, or no safetensors file");
    return false;
  }
  struct reader r = {.arena = a,
                     .file = name,
                     .out = out,
                     .diag = d,
                     .data = p + LENGTH_BYTES + header,
                     .data_bytes = length - LENGTH_BYTES - header};
  bool ok = get_header(&r, (const char *)p + LENGTH_BYTES, (size_t)header);
  if (!ok)
    *out = (struct safetensors){0};
  return ok;
}

bool safetensors_open(struct arena *a, const char *path, struct safetensors *out, struct diag *d)
{
  struct stat st;
  const void *map = NULL;
  size_t length = 0;
  *out = (struct safetensors){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool opened = fd >= 0 && !fstat(fd, &st);
  if (opened && !S_ISREG(st.st_mode)) {
    opened = false;
    errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
  }
  if (opened && st.st_size > 0) {
    length = (size_t)st.st_size;
    map = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
  }
  int error = errno;
  if (fd >= 0)
    close(fd);
  if (!opened || map == MAP_FAILED) {
    file_report(d, "read", path, error);
    return false;
  }
  bool ok = safetensors_parse(a, path, map, length, out, d);
  out->map = map;
  out->map_bytes = length;
  if (!ok)
    safetensors_close(out);
  return ok;
}

void safetensors_close(struct safetensors *s)
{
  if (s->map)
    munmap((void *)(uintptr_t)s->map, s->map_bytes);
  *s = (struct safetensors){0};
}
