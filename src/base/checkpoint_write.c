#include "config.h"

#include "base/checkpoint.h"

#include "base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SHARDS = 512 }; /* each is open until all are written */

struct shard {
  const char *name; /* in the folder; of a single file: the path */
  struct safetensors what;
  struct safetensors_writer *writer; /* NULL: committed, or never begun */
};

struct checkpoint_writer {
  struct arena *arena;
  const char *folder; /* NULL: a single file */
  bool made_folder;
  struct shard *shards;
  size_t n_shards, n_placed;
  size_t n_tensors;
  uint64_t total;
  /* Of each tensor. */
  uint32_t *shard, *index; /* which of that shard's */
  uint64_t *put;           /* bytes so far */
};

static const char *shard_path(const struct checkpoint_writer *w, const struct shard *s)
{
  return w->folder ? file_join(w->arena, w->folder, s->name) : s->name;
}

/* In the order of the tensors; a tensor that is larger than a shard has one of its own. */
static size_t assign(struct checkpoint_writer *w, const struct safetensors *s, uint64_t limit)
{
  uint64_t used = 0;
  size_t n = 1;
  for (size_t i = 0; i < s->n_tensors; i++) {
    uint64_t bytes = s->tensors[i].bytes;
    if (limit && used && (bytes > limit || used > limit - bytes)) {
      n++;
      used = 0;
    }
    used += bytes;
    w->total += bytes;
    w->shard[i] = (uint32_t)(n - 1);
  }
  return n;
}

static void name_shards(struct checkpoint_writer *w, const char *path)
{
  for (size_t k = 0; k < w->n_shards; k++)
    w->shards[k].name =
        !w->folder ? arena_strdup(w->arena, path)
        : w->n_shards == 1
            ? "model.safetensors"
            : arena_printf(w->arena, "model-%05zu-of-%05zu.safetensors", k + 1, w->n_shards);
}

static void fill_shards(struct checkpoint_writer *w, const struct safetensors *s)
{
  for (size_t i = 0; i < s->n_tensors; i++)
    w->shards[w->shard[i]].what.n_tensors++;
  for (size_t k = 0; k < w->n_shards; k++) {
    struct safetensors *what = &w->shards[k].what;
    what->tensors = arena_array(w->arena, what->n_tensors + 1, sizeof *what->tensors);
    what->meta = s->meta;
    what->n_meta = s->n_meta;
    what->n_tensors = 0;
  }
  for (size_t i = 0; i < s->n_tensors; i++) {
    struct safetensors *what = &w->shards[w->shard[i]].what;
    w->index[i] = (uint32_t)what->n_tensors;
    what->tensors[what->n_tensors++] = s->tensors[i];
  }
}

/* No file of another model is mixed with this one's, so that what lies there when the
 * index comes belongs together. */
static bool folder_is_free(const char *path, struct diag *d)
{
  DIR *dir = opendir(path);
  if (!dir) {
    file_report(d, "write into", path, errno);
    return false;
  }
  bool is_free = true;
  for (struct dirent *e; is_free && (e = readdir(dir));)
    if (strstr(e->d_name, ".safetensors") && !strstr(e->d_name, ".tmp.")) {
      diag_error(d, SPAN_NONE, "cannot write into %s: %s is there", path, e->d_name);
      diag_hint(d, "choose another folder, or remove that file");
      is_free = false;
    }
  closedir(dir);
  return is_free;
}

static bool make_folder(struct checkpoint_writer *w, struct diag *d)
{
  w->made_folder = !file_exists(w->folder);
  return file_make_dir(w->folder, d) && folder_is_free(w->folder, d);
}

struct checkpoint_writer *checkpoint_create(struct arena *a, const char *path,
                                            const struct safetensors *s, uint64_t shard_bytes,
                                            struct diag *d)
{
  struct checkpoint_writer *w = arena_alloc(a, sizeof *w);
  w->arena = a;
  w->folder = shard_bytes ? arena_strdup(a, path) : NULL;
  w->n_tensors = s->n_tensors;
  w->shard = arena_array(a, s->n_tensors, sizeof *w->shard);
  w->index = arena_array(a, s->n_tensors, sizeof *w->index);
  w->put = arena_array(a, s->n_tensors, sizeof *w->put);
  w->n_shards = assign(w, s, shard_bytes);
  if (w->n_shards > MAX_SHARDS) {
    diag_error(d, SPAN_NONE, "%s: %zu files of at most %" PRIu64 " bytes, more than %d", path,
               w->n_shards, shard_bytes, MAX_SHARDS);
    diag_hint(d, "allow larger files");
    return NULL;
  }
  w->shards = arena_array(a, w->n_shards, sizeof *w->shards);
  name_shards(w, path);
  fill_shards(w, s);
  bool ok = !w->folder || make_folder(w, d);
  if (ok && w->folder)
    file_remove_drafts(w->folder, NULL);
  else if (ok)
    file_remove_drafts(file_dir_name(a, path), strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
  for (size_t k = 0; k < w->n_shards && ok; k++) {
    struct shard *shard = &w->shards[k];
    shard->writer = safetensors_writer_new(shard_path(w, shard), &shard->what, d);
    ok = shard->writer != NULL;
  }
  if (ok)
    return w;
  checkpoint_discard(w);
  return NULL;
}

bool checkpoint_put(struct checkpoint_writer *w, size_t k, const void *bytes, size_t length,
                    struct diag *d)
{
  uint64_t at = w->put[k];
  w->put[k] += length;
  return safetensors_writer_put(w->shards[w->shard[k]].writer, w->index[k], at, bytes, length, d);
}

/* The index comes last: before it there is no model. */
static bool write_index(struct checkpoint_writer *w, struct diag *d)
{
  json_t *map = json_object();
  for (size_t k = 0; k < w->n_shards; k++)
    for (size_t i = 0; i < w->shards[k].what.n_tensors; i++)
      json_object_set_new(map, w->shards[k].what.tensors[i].name, json_string(w->shards[k].name));
  json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->total,
                           "weight_map", map);
  char *text = json_dumps(root, JSON_INDENT(2));
  json_decref(root);
  bool ok = file_write_atomic(file_join(w->arena, w->folder, "model.safetensors.index.json"), text,
                              strlen(text), d);
  free(text);
  return ok;
}

bool checkpoint_commit(struct checkpoint_writer *w, struct diag *d)
{
  bool ok = true;
  for (size_t k = 0; k < w->n_tensors; k++) {
    const struct safetensors *what = &w->shards[w->shard[k]].what;
    assert(w->put[k] == what->tensors[w->index[k]].bytes);
    (void)what;
  }
  for (; w->n_placed < w->n_shards && ok; w->n_placed += ok) {
    ok = safetensors_writer_commit(w->shards[w->n_placed].writer, d);
    w->shards[w->n_placed].writer = NULL;
  }
  ok = ok && (w->n_shards == 1 || write_index(w, d));
  if (!ok)
    checkpoint_discard(w);
  return ok;
}

/* A single file that was put in another's place stays: what it replaced is gone. */
void checkpoint_discard(struct checkpoint_writer *w)
{
  for (size_t k = 0; k < w->n_shards; k++) {
    safetensors_writer_abandon(w->shards[k].writer);
    w->shards[k].writer = NULL;
    if (w->folder && k < w->n_placed)
      unlink(shard_path(w, &w->shards[k]));
  }
  if (w->made_folder)
    rmdir(w->folder);
}
