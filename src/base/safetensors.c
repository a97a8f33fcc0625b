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
/* Longer descriptions of a tensor are none, and would eat twenty times their length. */
enum { LENGTH_BYTES = 8, MAX_ERRORS = 20, MAX_NAME = 1000, MAX_ITEM = 1 << 16 };

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
  struct place *places; /* as many as tensors */
  size_t cap, cap_meta;
  bool has_meta;
  const char *header, *at, *end; /* its text, and where reading is */
  const unsigned char *data;     /* behind the header */
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
  struct safetensors_tensor t = {.name = arena_strdup(r->arena, name)};
  struct place p;
  if (!get_dtype(r, &t, json_object_get(v, "dtype")) ||
      !get_shape(r, &t, json_object_get(v, "shape")) ||
      !get_offsets(r, &t, &p, json_object_get(v, "data_offsets")))
    return;
  size_t n = r->out->n_tensors, cap = r->cap;
  ARENA_PUSH(r->arena, r->places, n, cap, p);
  ARENA_PUSH(r->arena, r->out->tensors, r->out->n_tensors, r->cap, t);
}

/* ---- the header's text, a member at a time: all of it at once would take twenty times its
 * length ---- */

static void not_json(struct reader *r, const char *why, size_t at)
{
  diag_error(r->diag, SPAN_NONE, "%s: the header is not JSON: %s (byte %zu)", r->file, why, at);
}

static void skip_space(struct reader *r)
{
  while (r->at < r->end && strchr(" \t\n\r", *r->at) && *r->at)
    r->at++;
}

/* The value that comes next, of `most` bytes.  NULL: a diagnostic. */
static json_t *get_value(struct reader *r, size_t most)
{
  const size_t left = (size_t)(r->end - r->at), at = (size_t)(r->at - r->header);
  json_error_t error;
  json_t *v = json_loadb(r->at, left < most ? left : most,
                         JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
  if (v)
    r->at += error.position;
  else if (left > most && json_error_code(&error) == json_error_premature_end_of_input)
    diag_error(r->diag, SPAN_NONE, "%s: the header has an item of more than %zu bytes at byte %zu",
               r->file, most, at);
  else
    not_json(r, error.text, at + (size_t)error.position);
  return v;
}

static bool begin_object(struct reader *r)
{
  skip_space(r);
  if (r->at == r->end || *r->at != '{')
    return false;
  r->at++;
  return true;
}

/* The name of the next member, before its value; NULL: none is left, or a diagnostic. */
static json_t *next_name(struct reader *r, bool first)
{
  skip_space(r);
  if (r->at < r->end && *r->at == '}') {
    r->at++;
    return NULL;
  }
  if (!first && r->at < r->end && *r->at == ',') {
    r->at++;
    skip_space(r);
  } else if (!first) {
    not_json(r, "',' or '}' expected", (size_t)(r->at - r->header));
    return NULL;
  }
  if (r->at == r->end || *r->at != '"') {
    not_json(r, "a name expected", (size_t)(r->at - r->header));
    return NULL;
  }
  json_t *name = get_value(r, SIZE_MAX);
  skip_space(r);
  if (name && r->at < r->end && *r->at == ':') {
    r->at++;
    return name;
  }
  if (name)
    not_json(r, "':' expected", (size_t)(r->at - r->header));
  json_decref(name);
  return NULL;
}

static void get_meta(struct reader *r)
{
  json_t *name;
  const unsigned before = diag_errors(r->diag);
  if (!begin_object(r)) {
    diag_error(r->diag, SPAN_NONE, "%s: __metadata__ is not an object", r->file);
    return;
  }
  if (r->has_meta)
    diag_error(r->diag, SPAN_NONE, "%s: __metadata__ is there twice: a duplicate", r->file);
  r->has_meta = true;
  for (bool first = true; diag_errors(r->diag) == before && (name = next_name(r, first));
       first = false) {
    json_t *v = get_value(r, SIZE_MAX);
    const char *key = json_string_value(name), *text = json_string_value(v);
    if (text) {
      struct safetensors_meta meta = {arena_strdup(r->arena, key), arena_strdup(r->arena, text)};
      ARENA_PUSH(r->arena, r->out->meta, r->out->n_meta, r->cap_meta, meta);
    } else if (v) {
      diag_error(r->diag, SPAN_NONE, "%s: __metadata__: the value of \"%s\" is not a string",
                 r->file, key);
    }
    json_decref(v);
    json_decref(name);
  }
}

/* One member; false: what follows cannot be read. */
static bool get_member(struct reader *r, const char *name)
{
  if (!strcmp(name, "__metadata__")) {
    const unsigned before = diag_errors(r->diag);
    get_meta(r);
    return diag_errors(r->diag) == before;
  }
  json_t *v = get_value(r, MAX_ITEM);
  if (v)
    get_tensor(r, name, v);
  json_decref(v);
  return v != NULL;
}

static int by_text(const void *a, const void *b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* `names` are put in order. */
static void check_unique(struct reader *r, const char *what, const char **names, size_t n)
{
  if (n)
    qsort(names, n, sizeof *names, by_text);
  for (size_t i = 1; i < n; i++)
    if (!strcmp(names[i - 1], names[i])) {
      diag_error(r->diag, SPAN_NONE, "%s: duplicate %s \"%s\"", r->file, what, names[i]);
      return;
    }
}

static void check_names(struct reader *r)
{
  const struct safetensors *s = r->out;
  const size_t most = s->n_tensors > s->n_meta ? s->n_tensors : s->n_meta;
  const char **names = arena_array(r->arena, most + 1, sizeof *names);
  for (size_t i = 0; i < s->n_tensors; i++)
    names[i] = s->tensors[i].name;
  check_unique(r, "tensor", names, s->n_tensors);
  for (size_t i = 0; i < s->n_meta; i++)
    names[i] = s->meta[i].key;
  check_unique(r, "__metadata__ of the name", names, s->n_meta);
}

/* ---- the whole ---- */

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

static bool get_header(struct reader *r)
{
  const unsigned before = diag_errors(r->diag);
  json_t *name;
  bool goes_on = begin_object(r);
  if (!goes_on)
    diag_error(r->diag, SPAN_NONE, "%s: the header is not a JSON object", r->file);
  for (bool first = true; goes_on && diag_errors(r->diag) - before < MAX_ERRORS; first = false) {
    name = next_name(r, first);
    if (!name)
      break;
    goes_on = get_member(r, json_string_value(name));
    json_decref(name);
  }
  if (diag_errors(r->diag) > before)
    return false;
  skip_space(r);
  if (r->at < r->end)
    not_json(r, "something follows its end", (size_t)(r->at - r->header));
  check_names(r);
  for (size_t i = 0; i < r->out->n_tensors; i++)
    r->places[i].tensor = &r->out->tensors[i];
  if (diag_errors(r->diag) == before)
    check_layout(r);
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
                     .header = (const char *)p + LENGTH_BYTES,
                     .at = (const char *)p + LENGTH_BYTES,
                     .end = (const char *)p + LENGTH_BYTES + header,
                     .data = p + LENGTH_BYTES + header,
                     .data_bytes = length - LENGTH_BYTES - header};
  bool ok = get_header(&r);
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
