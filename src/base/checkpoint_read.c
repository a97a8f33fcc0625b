#include "config.h"

#include "base/checkpoint.h"

#include "base/arena.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char index_suffix[] = ".safetensors.index.json", suffix[] = ".safetensors";
enum { MAX_ERRORS = 20, CHUNK = 1 << 16 };

/* What was checked is what is read: a file that is exchanged meanwhile is noticed. */
struct checkpoint_file {
  const char *path;
  dev_t device;
  ino_t inode;
  off_t size;
  struct timespec changed;
};

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

static void note_identity(struct checkpoint_file *f, const struct stat *st)
{
  f->device = st->st_dev;
  f->inode = st->st_ino;
  f->size = st->st_size;
  f->changed = st->st_mtim;
}

static bool is_same(const struct checkpoint_file *f, const struct stat *st)
{
  return f->device == st->st_dev && f->inode == st->st_ino && f->size == st->st_size &&
         f->changed.tv_sec == st->st_mtim.tv_sec && f->changed.tv_nsec == st->st_mtim.tv_nsec;
}

/* ---- opening ---- */

static int by_offset(const void *a, const void *b)
{
  const struct checkpoint_tensor *x = a, *y = b;
  if (x->offset != y->offset)
    return x->offset < y->offset ? -1 : 1;
  return strcmp(x->name, y->name); /* empty ones */
}

static int by_name(const void *a, const void *b)
{
  const struct checkpoint_tensor *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

/* One file's header, behind what is there. */
static bool add_file(struct arena *a, struct checkpoint *c, size_t *cap, const char *path,
                     struct diag *d)
{
  struct checkpoint_file *f = &c->files[c->n_files];
  struct safetensors s;
  struct stat st;
  f->path = path;
  if (stat(path, &st)) {
    file_report(d, "read", path, errno);
    return false;
  }
  note_identity(f, &st);
  if (!safetensors_open(a, path, &s, d))
    return false;
  size_t first = c->n_tensors;
  for (size_t i = 0; i < s.n_tensors; i++) {
    const struct safetensors_tensor *t = &s.tensors[i];
    struct checkpoint_tensor out = {
        .name = t->name,
        .dtype = t->dtype,
        .rank = t->rank,
        .count = t->bytes / safetensors_dtype_bytes(t->dtype),
        .bytes = t->bytes,
        .file = (uint32_t)c->n_files,
        .offset = (uint64_t)((const char *)t->data - (const char *)s.map),
    };
    memcpy(out.shape, t->shape, sizeof out.shape);
    ARENA_PUSH(a, c->tensors, c->n_tensors, *cap, out);
  }
  if (c->n_tensors > first)
    qsort(c->tensors + first, c->n_tensors - first, sizeof *c->tensors, by_offset);
  if (!c->n_files) {
    c->meta = s.meta;
    c->n_meta = s.n_meta;
  }
  c->n_files++;
  safetensors_close(&s);
  return true;
}

/* The files that the index names, in the order in which it first does.  NULL: a diagnostic. */
static const char **index_files(struct arena *a, const char *path, const json_t *map, size_t *n,
                                struct diag *d)
{
  const char **files = NULL, *name;
  size_t cap = 0;
  json_t *value, *seen = json_object();
  json_object_foreach((json_t *)map, name, value)
  {
    const char *file = json_string_value(value);
    if (!file || !*file || strchr(file, '/') || !strcmp(file, "..")) {
      diag_error(d, SPAN_NONE, "%s: \"%s\" is not in a file of the same folder", path, name);
      files = NULL;
      break;
    }
    if (json_object_get(seen, file))
      continue;
    json_object_set_new(seen, file, json_true());
    file = arena_strdup(a, file);
    ARENA_PUSH(a, files, *n, cap, file);
  }
  json_decref(seen);
  return files;
}

/* Each tensor lies where the index says, and no other is there. */
static void check_index(const struct checkpoint *c, const char *path, const json_t *map,
                        const char *const *files, struct diag *d)
{
  const char *name;
  json_t *value;
  unsigned before = diag_errors(d);
  for (size_t i = 0; i < c->n_tensors && diag_errors(d) - before < MAX_ERRORS; i++) {
    const struct checkpoint_tensor *t = &c->tensors[i];
    const char *said = json_string_value(json_object_get(map, t->name));
    if (!said || strcmp(said, files[t->file]))
      diag_error(d, SPAN_NONE, "%s: \"%s\" is in %s, but %s says %s", c->path, t->name,
                 files[t->file], path, said ? said : "nothing of it");
  }
  json_object_foreach((json_t *)map, name, value)
  {
    if (diag_errors(d) - before >= MAX_ERRORS)
      break;
    if (!checkpoint_find(c, name))
      diag_error(d, SPAN_NONE, "%s: \"%s\" is not in %s", path, name, json_string_value(value));
  }
}

/* Sorted, so that checkpoint_find can search. */
static void sort_names(struct arena *a, struct checkpoint *c)
{
  c->by_name = arena_array(a, c->n_tensors + 1, sizeof *c->by_name);
  for (size_t i = 0; i < c->n_tensors; i++)
    c->by_name[i] = &c->tensors[i];
  qsort(c->by_name, c->n_tensors, sizeof *c->by_name, by_name);
}

static bool open_index(struct arena *a, struct checkpoint *c, const char *path, struct diag *d)
{
  size_t length, n = 0, cap = 0;
  json_error_t error;
  const char *text = file_read(a, path, &length, d);
  if (!text)
    return false;
  json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
  const json_t *map = json_object_get(root, "weight_map");
  if (!root)
    diag_error(d, SPAN_NONE, "%s: not JSON: %s (line %d)", path, error.text, error.line);
  else if (!json_is_object(map))
    diag_error(d, SPAN_NONE, "%s: no \"weight_map\"", path);
  const char **files = json_is_object(map) ? index_files(a, path, map, &n, d) : NULL;
  bool ok = files != NULL;
  if (json_is_object(map) && !json_object_size(map))
    diag_error(d, SPAN_NONE, "%s: the \"weight_map\" is empty", path);
  c->files = arena_array(a, n + 1, sizeof *c->files);
  char *dir = file_dir_name(a, path);
  for (size_t i = 0; i < n && ok; i++)
    ok = add_file(a, c, &cap, file_join(a, dir, files[i]), d);
  if (ok) {
    unsigned before = diag_errors(d);
    sort_names(a, c);
    check_index(c, path, map, files, d);
    ok = diag_errors(d) == before;
  }
  json_decref(root);
  return ok;
}

static int by_text(const void *a, const void *b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The one file of the folder whose name ends so.  NULL: none, or several (diagnostic). */
static const char *only_file(struct arena *a, const char *dir, const char *end, struct diag *d)
{
  DIR *handle = opendir(dir);
  if (!handle) {
    file_report(d, "read", dir, errno);
    return NULL;
  }
  const char **names = NULL;
  size_t n = 0, cap = 0;
  for (struct dirent *e; (e = readdir(handle));)
    if (ends_with(e->d_name, end) && e->d_name[0] != '.') {
      const char *name = arena_strdup(a, e->d_name);
      ARENA_PUSH(a, names, n, cap, name);
    }
  closedir(handle);
  if (n > 1) {
    qsort(names, n, sizeof *names, by_text);
    diag_error(d, SPAN_NONE, "%s: %zu files end in %s: %s, %s%s", dir, n, end, names[0], names[1],
               n > 2 ? ", ..." : "");
    diag_hint(d, "name the one that is meant");
  }
  return n == 1 ? file_join(a, dir, names[0]) : NULL;
}

/* What is to be opened: the path itself, or what is in the folder. */
static const char *find_inside(struct arena *a, const char *path, struct diag *d)
{
  struct stat st;
  unsigned before = diag_errors(d);
  if (stat(path, &st)) {
    file_report(d, "read", path, errno);
    return NULL;
  }
  if (!S_ISDIR(st.st_mode))
    return path;
  const char *found = only_file(a, path, index_suffix, d);
  if (!found && diag_errors(d) == before)
    found = only_file(a, path, suffix, d);
  if (!found && diag_errors(d) == before) {
    diag_error(d, SPAN_NONE, "%s: no %s file is in this folder", path, suffix);
    diag_hint(d, "checkpoints of other formats (.bin, .pt) have to be converted first");
  }
  return found;
}

bool checkpoint_open(struct arena *a, const char *path, struct checkpoint *c, struct diag *d)
{
  size_t cap = 0;
  *c = (struct checkpoint){.path = path, .fd = -1};
  const char *inside = find_inside(a, path, d);
  if (!inside)
    return false;
  if (ends_with(inside, ".index.json"))
    return open_index(a, c, inside, d);
  c->files = arena_alloc(a, sizeof *c->files);
  if (!add_file(a, c, &cap, inside, d))
    return false;
  sort_names(a, c);
  return true;
}

void checkpoint_close(struct checkpoint *c)
{
  if (c->fd >= 0)
    close(c->fd);
  c->fd = -1;
}

/* ---- looking ---- */

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
  const struct checkpoint_tensor wanted = {.name = name}, *key = &wanted;
  const struct checkpoint_tensor **found =
      c->n_tensors ? bsearch(&key, c->by_name, c->n_tensors, sizeof *c->by_name, by_name) : NULL;
  return found ? *found : NULL;
}

bool checkpoint_holds(const struct checkpoint *c, const char *path)
{
  struct stat st;
  if (stat(path, &st))
    return false;
  for (size_t i = 0; i < c->n_files; i++)
    if (c->files[i].device == st.st_dev && c->files[i].inode == st.st_ino)
      return true;
  return false;
}

static int by_path(const void *a, const void *b)
{
  const struct checkpoint_file *const *x = a, *const *y = b;
  return strcmp((*x)->path, (*y)->path);
}

bool checkpoint_digest(const struct checkpoint *c, struct hash *out, struct diag *d)
{
  const struct checkpoint_file **files = mem_alloc((c->n_files + 1) * sizeof *files);
  for (size_t i = 0; i < c->n_files; i++)
    files[i] = &c->files[i];
  qsort(files, c->n_files, sizeof *files, by_path); /* not as the index has them */
  struct hasher *all = hash_begin();
  size_t i = 0;
  for (; i < c->n_files && hash_file(files[i]->path, out); i++)
    hash_bytes(all, out, sizeof *out);
  const bool ok = i == c->n_files;
  if (!ok)
    file_report(d, "read", files[i]->path, errno);
  const struct hash whole = hash_end(all);
  if (c->n_files > 1)
    *out = whole;
  free(files);
  return ok;
}

char *checkpoint_shape(struct arena *a, const struct checkpoint_tensor *t)
{
  char *text = arena_strdup(a, "[");
  for (uint32_t i = 0; i < t->rank; i++)
    text = arena_printf(a, "%s%s%" PRIu64, text, i ? ", " : "", t->shape[i]);
  return arena_printf(a, "%s]", text);
}

char *checkpoint_place(struct arena *a, const struct checkpoint_tensor *t, uint64_t index)
{
  struct checkpoint_tensor at = *t;
  for (uint32_t i = t->rank; i--;) {
    at.shape[i] = index % t->shape[i];
    index /= t->shape[i];
  }
  return checkpoint_shape(a, &at);
}

/* ---- reading ---- */

/* One file is open at a time: a model has hundreds of shards, and a process not
 * many more descriptors. */
static bool open_file(struct checkpoint *c, uint32_t file, struct diag *d)
{
  if (c->fd >= 0 && c->open_file == file)
    return true;
  const struct checkpoint_file *f = &c->files[file];
  struct stat st;
  checkpoint_close(c);
  c->fd = open(f->path, O_RDONLY | O_CLOEXEC);
  if (c->fd < 0 || fstat(c->fd, &st)) {
    file_report(d, "read", f->path, errno);
    return false;
  }
  c->open_file = file;
  if (!is_same(f, &st)) {
    diag_error(d, SPAN_NONE, "%s: changed while it was read", f->path);
    return false;
  }
#ifdef POSIX_FADV_SEQUENTIAL
  posix_fadvise(c->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
#endif
  return true;
}

bool checkpoint_read(struct checkpoint *c, const struct checkpoint_tensor *t, uint64_t from,
                     void *out, size_t length, struct diag *d)
{
  char *p = out;
  uint64_t at = t->offset + from;
  if (!open_file(c, t->file, d))
    return false;
  while (length) {
    ssize_t n = pread(c->fd, p, length, (off_t)at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      if (n < 0)
        file_report(d, "read", c->files[t->file].path, errno);
      else
        diag_error(d, SPAN_NONE, "%s: cut off while it was read", c->files[t->file].path);
      return false;
    }
    p += n;
    at += (uint64_t)n;
    length -= (size_t)n;
  }
  return true;
}

bool checkpoint_floats(struct checkpoint *c, const struct checkpoint_tensor *t, uint64_t first,
                       size_t n, float *to, struct diag *d)
{
  const size_t width = safetensors_dtype_bytes(t->dtype), most = CHUNK / width;
  unsigned char bytes[CHUNK];
  if (t->dtype == SAFETENSORS_F32)
    return checkpoint_read(c, t, first * width, to, n * width, d);
  for (size_t i = 0; i < n; i += most) {
    const size_t m = n - i < most ? n - i : most;
    const struct safetensors_tensor piece = {.dtype = t->dtype, .bytes = m * width, .data = bytes};
    if (!checkpoint_read(c, t, (first + i) * width, bytes, m * width, d))
      return false;
    safetensors_floats(&piece, 0, m, to + i);
  }
  return true;
}
