#include "config.h"

#include "base/safetensors.h"

#include "base/file.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

static json_t *shape_json(const struct safetensors_tensor *t)
{
  json_t *shape = json_array();
  for (uint32_t i = 0; i < t->rank; i++)
    json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
  return shape;
}

/* false: the name is taken, or not UTF-8. */
static bool add_tensor(json_t *root, const struct safetensors_tensor *t, uint64_t begin)
{
  if (!strcmp(t->name, "__metadata__") || json_object_get(root, t->name))
    return false;
  return !json_object_set_new(
      root, t->name,
      json_pack("{s:s, s:o, s:[I, I]}", "dtype", safetensors_dtype_name(t->dtype), "shape",
                shape_json(t), "data_offsets", (json_int_t)begin, (json_int_t)(begin + t->bytes)));
}

static bool add_meta(json_t *root, const struct safetensors *s)
{
  if (!s->n_meta)
    return true;
  json_t *meta = json_object();
  bool ok = true;
  for (size_t i = 0; i < s->n_meta && ok; i++)
    ok = !json_object_set_new(meta, s->meta[i].key, json_string(s->meta[i].value));
  return !json_object_set_new(root, "__metadata__", meta) && ok;
}

/* The tensors' bytes go in the order of decreasing element size, so that with a header padded
 * to 8 each is aligned to its elements.  Fills begin[], offsets behind the header, and order[],
 * the tensors as they follow; returns the bytes of all. */
static uint64_t place_tensors(const struct safetensors *s, uint64_t *begin, size_t *order)
{
  uint64_t at = 0;
  size_t k = 0;
  for (size_t width = 8; width; width /= 2)
    for (size_t i = 0; i < s->n_tensors; i++)
      if (safetensors_dtype_bytes(s->tensors[i].dtype) == width) {
        begin[i] = at;
        order[k++] = i;
        at += s->tensors[i].bytes;
      }
  return at;
}

/* Length, JSON and padding in one block; NULL: a diagnostic was added. */
static char *make_header(struct arena *a, const char *path, const struct safetensors *s,
                         const uint64_t *begin, size_t *length, struct diag *d)
{
  json_t *root = json_object();
  bool ok = add_meta(root, s);
  if (!ok)
    diag_error(d, SPAN_NONE, "cannot write %s: its metadata is not UTF-8 text", path);
  for (size_t i = 0; i < s->n_tensors && ok; i++) {
    ok = add_tensor(root, &s->tensors[i], begin[i]);
    if (!ok)
      diag_error(d, SPAN_NONE,
                 "cannot write %s: the tensor name \"%s\" is taken, reserved or not UTF-8", path,
                 s->tensors[i].name);
  }
  char *json = ok ? json_dumps(root, JSON_COMPACT) : NULL;
  char *header = NULL;
  if (json) {
    size_t n = strlen(json), padded = (n + 7) & ~(size_t)7;
    header = arena_alloc(a, LENGTH_BYTES + padded);
    memset(header, ' ', LENGTH_BYTES + padded);
    for (int i = 0; i < LENGTH_BYTES; i++)
      header[i] = (char)(unsigned char)((uint64_t)padded >> (8 * i));
    memcpy(header + LENGTH_BYTES, json, n);
    *length = LENGTH_BYTES + padded;
  }
  free(json);
  json_decref(root);
  return header;
}

bool safetensors_write(const char *path, const struct safetensors *s, struct diag *d)
{
  struct arena *a = arena_new();
  uint64_t *begin = arena_array(a, s->n_tensors, sizeof *begin);
  size_t *order = arena_array(a, s->n_tensors, sizeof *order), length = 0;
  struct file_part *parts = arena_array(a, s->n_tensors + 1, sizeof *parts);
  place_tensors(s, begin, order);
  char *header = make_header(a, path, s, begin, &length, d);
  parts[0] = (struct file_part){header, length};
  for (size_t k = 0; k < s->n_tensors; k++)
    parts[k + 1] = (struct file_part){s->tensors[order[k]].data, s->tensors[order[k]].bytes};
  bool ok = header && file_write_parts(path, parts, s->n_tensors + 1, d);
  arena_free(a);
  return ok;
}

/* Piece by piece ------------------------------------------------------------ */

struct safetensors_writer {
  struct arena *arena;
  struct file_draft *file;
  const struct safetensors_tensor *tensors;
  size_t n_tensors;
  uint64_t *begin; /* in the file */
};

struct safetensors_writer *safetensors_writer_new(const char *path, const struct safetensors *s,
                                                  struct diag *d)
{
  struct arena *a = arena_new();
  struct safetensors_writer *w = arena_alloc(a, sizeof *w);
  size_t *order = arena_array(a, s->n_tensors, sizeof *order), length = 0;
  w->arena = a;
  w->n_tensors = s->n_tensors;
  w->tensors = arena_copy(a, s->tensors, s->n_tensors * sizeof *s->tensors);
  w->begin = arena_array(a, s->n_tensors, sizeof *w->begin);
  uint64_t bytes = place_tensors(s, w->begin, order);
  char *header = make_header(a, path, s, w->begin, &length, d);
  for (size_t i = 0; i < s->n_tensors; i++)
    w->begin[i] += length;
  w->file = header ? file_draft_new(path, length + bytes, d) : NULL;
  if (w->file && file_draft_write(w->file, 0, header, length, d))
    return w;
  safetensors_writer_abandon(w);
  return NULL;
}

bool safetensors_writer_put(struct safetensors_writer *w, size_t tensor, uint64_t at,
                            const void *bytes, size_t n, struct diag *d)
{
  assert(tensor < w->n_tensors && at <= w->tensors[tensor].bytes &&
         n <= w->tensors[tensor].bytes - at);
  return file_draft_write(w->file, w->begin[tensor] + at, bytes, n, d);
}

bool safetensors_writer_commit(struct safetensors_writer *w, struct diag *d)
{
  bool ok = file_draft_commit(w->file, d);
  arena_free(w->arena);
  return ok;
}

void safetensors_writer_abandon(struct safetensors_writer *w)
{
  if (!w)
    return;
  file_draft_abandon(w->file);
  arena_free(w->arena);
}
