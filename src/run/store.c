#include "config.h"

#include "run/store_int.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ASIDE_TRIES = 100000 };

static const char *const folders[] = {"objects", "tmp", "damaged"};

const char *store_path(const struct store *store)
{
  return store->path;
}

void store_set_provenance(struct store *store, const char *name, const char *value)
{
  struct store_text text = {arena_strdup(store->arena, name), arena_strdup(store->arena, value)};
  ARENA_PUSH(store->arena, store->versions, store->n_versions, store->cap_versions, text);
}

pid_t store_owner(const struct store *store, const char *name)
{
  size_t n = strlen(store->host);
  if (strncmp(name, store->host, n) || name[n] != '.')
    return 0;
  char *end;
  long pid = strtol(name + n + 1, &end, 10);
  if (pid <= 0 || pid > INT_MAX || *end != '.')
    return 0;
  return (pid_t)pid;
}

/* The text behind the name in /proc/PID/stat: "STATE PPID ..."; false: there is none. */
static bool process_stat(pid_t pid, char text[512], const char **state)
{
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
  FILE *in = fopen(path, "r");
  if (!in)
    return false;
  size_t n = fread(text, 1, 511, in);
  fclose(in);
  text[n] = 0;
  *state = strrchr(text, ')'); /* "PID (NAME) STATE ..." */
  if (*state)
    *state += strspn(*state, ") ");
  return *state != NULL;
}

/* A killed process that nobody has waited for (a container without an init) is
 * gone, although it can still be signalled. */
static bool is_zombie(pid_t pid)
{
  char text[512];
  const char *state;
  return process_stat(pid, text, &state) && (*state == 'Z' || *state == 'X');
}

bool store_is_gone(pid_t pid)
{
  return (kill(pid, 0) && errno == ESRCH) || is_zombie(pid);
}

long long store_started(pid_t pid)
{
  enum { FIELDS = 19 }; /* between the state and the time, see proc(5) */
  char text[512];
  const char *at;
  if (!process_stat(pid, text, &at))
    return -1;
  for (int i = 0; i < FIELDS && at; i++)
    at = strchr(at + 1, ' ');
  return at ? strtoll(at, NULL, 10) : -1;
}

void store_sweep(struct store *store)
{
  char path[STORE_PATH_MAX + 512];
  snprintf(path, sizeof path, "%s/tmp", store->path);
  DIR *dir = opendir(path);
  if (!dir)
    return;
  struct arena *a = arena_new();
  struct diag *quiet = diag_new(a); /* what cannot be removed does no harm */
  for (struct dirent *e; (e = readdir(dir));) {
    pid_t owner = store_owner(store, e->d_name);
    if (!owner || !store_is_gone(owner))
      continue;
    snprintf(path, sizeof path, "%s/tmp/%s", store->path, e->d_name);
    file_remove_tree(path, quiet);
  }
  closedir(dir);
  arena_free(a);
}

static bool make_folders(const struct store *store, struct diag *d)
{
  char path[STORE_PATH_MAX];
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    snprintf(path, sizeof path, "%s/%s", store->path, folders[i]);
    if (!file_make_dir(path, d))
      return false;
    if (access(path, W_OK | X_OK)) {
      file_report(d, "write in", path, errno);
      return false;
    }
  }
  return true;
}

static struct store *make_store(struct arena *a, const char *path, bool view, struct diag *d)
{
  if (!*path || strlen(path) > STORE_ROOT_MAX) {
    diag_error(d, SPAN_NONE, "the store's path is %s", *path ? "too long" : "empty");
    return NULL;
  }
  struct store *store = arena_alloc(a, sizeof *store);
  store->arena = a;
  store->path = arena_strdup(a, path);
  store->view = view;
  if (gethostname(store->host, sizeof store->host - 1) || !store->host[0])
    snprintf(store->host, sizeof store->host, "localhost");
  return store;
}

struct store *store_view(struct arena *a, const char *path, struct diag *d)
{
  return make_store(a, path, true, d);
}

bool store_is_view(const struct store *store)
{
  return store->view;
}

struct store *store_open(struct arena *a, const char *path, struct diag *d)
{
  struct store *store = make_store(a, path, false, d);
  if (!store)
    return NULL;
  if (!make_folders(store, d)) {
    diag_hint(d, "results are kept there: make that place writable, free some space, or choose "
                 "another folder for the store");
    return NULL;
  }
  store_sweep(store);
  return store;
}

void store_set(struct arena *a, struct store_result *r, const char *name, double num)
{
  for (size_t i = 0; i < r->n_values; i++)
    if (!strcmp(r->values[i].name, name)) {
      r->values[i].num = num;
      return;
    }
  struct store_value value = {arena_strdup(a, name), num};
  ARENA_PUSH(a, r->values, r->n_values, r->cap_values, value);
}

double store_get(const struct store_result *r, const char *name)
{
  for (size_t i = 0; i < r->n_values; i++)
    if (!strcmp(r->values[i].name, name))
      return r->values[i].num;
  return NAN;
}

void store_object_path(const struct store *store, struct hash key, const char *name,
                       char path[STORE_PATH_MAX])
{
  char hex[HASH_HEX];
  hash_hex(key, hex);
  snprintf(path, STORE_PATH_MAX, "%s/objects/%.2s/%s%s%s", store->path, hex, hex, name ? "/" : "",
           name ? name : "");
}

bool store_has(const struct store *store, struct hash key)
{
  char path[STORE_PATH_MAX];
  store_object_path(store, key, "result.json", path);
  return !access(path, F_OK);
}

enum store_aside store_set_aside(struct store *store, struct hash key, struct diag *d)
{
  char from[STORE_PATH_MAX], to[STORE_PATH_MAX], hex[HASH_HEX];
  store_object_path(store, key, NULL, from);
  hash_hex(key, hex);
  for (unsigned n = 0; n < ASIDE_TRIES; n++) {
    snprintf(to, sizeof to, "%s/damaged/%s.%u", store->path, hex, n);
    if (!access(to, F_OK))
      continue;
    if (!rename(from, to))
      return STORE_ASIDE_MOVED;
    if (errno == ENOENT && access(from, F_OK))
      return STORE_ASIDE_GONE;
    if (errno != EEXIST && errno != ENOTEMPTY)
      break;
  }
  file_report(d, "set aside the damaged result", from, errno);
  return STORE_ASIDE_FAILED;
}

/* Which folder it was that looked damaged: by the time that it is moved,
 * another process may have moved it and computed a good one. */
static bool folder_id(const struct store *store, struct hash key, struct stat *st)
{
  char path[STORE_PATH_MAX];
  store_object_path(store, key, NULL, path);
  return !stat(path, st);
}

static void damaged(struct store *store, struct hash key, const struct stat *seen,
                    const char *wrong, struct diag *d)
{
  char hex[HASH_HEX];
  struct stat now;
  hash_hex(key, hex);
  if (store->view) {
    diag_warning(d, SPAN_NONE, "result %s in the store is damaged (%s)", hex, wrong);
    return;
  }
  bool same =
      folder_id(store, key, &now) && now.st_ino == seen->st_ino && now.st_dev == seen->st_dev;
  /* Who moves it tells of it: once is enough. */
  if (!same || store_set_aside(store, key, d) != STORE_ASIDE_MOVED)
    return;
  diag_warning(d, SPAN_NONE,
               "result %s in the store is damaged (%s): it is set aside in %s/damaged and will be "
               "computed again",
               hex, wrong, store->path);
}

static bool read_object(struct store *store, struct hash key, struct stat *seen, struct arena *a,
                        struct store_result *r, struct diag *d)
{
  *r = (struct store_result){0};
  if (!store_has(store, key) || !folder_id(store, key, seen))
    return false;
  char path[STORE_PATH_MAX];
  store_object_path(store, key, "result.json", path);
  size_t length;
  struct arena *scratch = arena_new();
  struct diag *tried = diag_new(scratch);
  errno = 0;
  const char *text = file_read(scratch, path, &length, tried);
  bool good = false;
  if (text) {
    const char *wrong = store_json_read(text, length, key, a, r);
    good = !wrong;
    if (wrong)
      damaged(store, key, seen, wrong, d);
  } else if (!access(path, F_OK)) {
    diag_error(d, SPAN_NONE, "%s", diag_message(tried, 0));
    diag_hint(d, "move that folder away to have the step computed again");
  }
  arena_free(scratch);
  if (!good)
    *r = (struct store_result){0};
  return good;
}

bool store_read(struct store *store, struct hash key, struct arena *a, struct store_result *r,
                struct diag *d)
{
  struct stat seen;
  return read_object(store, key, &seen, a, r, d);
}

/* NULL: `name` is what the result says that it is.  *error: an errno where
 * nothing can be said. */
static const char *check_file(const char *path, const struct store_file *file, struct arena *a,
                              int *error)
{
  struct hash digest;
  *error = 0;
  if (hash_file(path, &digest))
    return hash_equal(digest, file->digest)
               ? NULL
               : arena_printf(a, "%s does not match its checksum", file->name);
  if (errno == ENOENT || errno == EISDIR)
    return arena_printf(a, "%s is missing", file->name);
  if (errno == EIO)
    return arena_printf(a, "%s cannot be read from the disk", file->name);
  *error = errno;
  return NULL;
}

const char *store_file(struct store *store, struct hash key, const char *name, struct arena *a,
                       struct diag *d)
{
  struct store_result r;
  struct stat seen;
  if (!read_object(store, key, &seen, a, &r, d))
    return NULL;
  char path[STORE_PATH_MAX];
  store_object_path(store, key, name, path);
  for (size_t i = 0; i < r.n_files; i++) {
    if (strcmp(r.files[i].name, name))
      continue;
    int error;
    const char *wrong = check_file(path, &r.files[i], a, &error);
    if (!wrong && !error)
      return arena_strdup(a, path);
    if (wrong)
      damaged(store, key, &seen, wrong, d);
    else
      file_report(d, "read", path, error);
    return NULL;
  }
  diag_error(d, SPAN_NONE, "the stored result has no file %s", path);
  return NULL;
}

const char *store_check(const struct store *store, struct hash key, struct arena *a,
                        struct store_result *r)
{
  char path[STORE_PATH_MAX];
  size_t length;
  struct diag *d = diag_new(a);
  *r = (struct store_result){0};
  store_object_path(store, key, "result.json", path);
  const char *text = file_read(a, path, &length, d);
  const char *wrong = text ? store_json_read(text, length, key, a, r) : diag_message(d, 0);
  for (size_t i = 0; !wrong && i < r->n_files; i++) {
    int error;
    store_object_path(store, key, r->files[i].name, path);
    wrong = check_file(path, &r->files[i], a, &error);
    if (!wrong && error)
      wrong = arena_printf(a, "%s: %s", r->files[i].name, strerror(error));
  }
  return wrong;
}
