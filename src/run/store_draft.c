#include "config.h"

#include "run/store_int.h"

#include "base/file.h"
#include "run/peak.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct store_draft {
  struct store *store;
  struct arena *arena;
  char path[STORE_PATH_MAX]; /* empty: committed or abandoned */
};

enum { DRAFT_TRIES = 100000 };

struct store_draft *store_begin(struct store *store, struct arena *a, struct diag *d)
{
  if (store->view) {
    diag_error(d, SPAN_NONE, "the store %s is opened for reading only", store->path);
    return NULL;
  }
  struct store_draft *draft = arena_alloc(a, sizeof *draft);
  draft->store = store;
  draft->arena = a;
  /* A name may be taken by a process that had the same id and was killed. */
  for (unsigned i = 0; i < DRAFT_TRIES; i++) {
    snprintf(draft->path, sizeof draft->path, "%s/tmp/%s.%ld.%u", store->path, store->host,
             (long)getpid(), store->next_draft++);
    if (!mkdir(draft->path, 0777))
      return draft;
    if (errno != EEXIST)
      break;
  }
  file_report(d, "make folder", draft->path, errno);
  return NULL;
}

const char *store_draft_path(struct store_draft *draft, const char *name)
{
  assert(draft->path[0] && !strchr(name, '/'));
  return file_join(draft->arena, draft->path, name);
}

void store_abandon(struct store_draft *draft)
{
  if (!draft || !draft->path[0])
    return;
  struct arena *a = arena_new();
  file_remove_tree(draft->path, diag_new(a)); /* what stays is swept later */
  arena_free(a);
  draft->path[0] = 0;
}

static bool sync_file(const char *path, struct diag *d)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int error = fd < 0 || (fsync(fd) && errno != EINVAL && errno != ENOTSUP) ? errno : 0;
  if (fd >= 0)
    close(fd);
  if (error)
    file_report(d, "sync", path, error);
  return !error;
}

static bool seal_files(struct store_draft *draft, struct store_result *r, struct diag *d)
{
  for (size_t i = 0; i < r->n_files; i++) {
    const char *path = store_draft_path(draft, r->files[i].name);
    if (!hash_file(path, &r->files[i].digest)) {
      file_report(d, "read", path, errno);
      return false;
    }
    if (!sync_file(path, d))
      return false;
  }
  return true;
}

static bool write_result(struct store_draft *draft, const struct plan *plan,
                         const struct plan_step *step, const struct store_result *r, struct diag *d)
{
  size_t length;
  const char *path = store_draft_path(draft, "result.json");
  char *text = store_json_write(draft->store, plan, step, r, draft->arena, &length);
  if (!text) {
    file_report(d, "write", path, ENOMEM);
    return false;
  }
  return file_write_synced(path, text, length, d) && file_sync_dir(draft->path, d);
}

/* STORE/objects/ab: made when the first of its objects comes. */
static bool make_shelf(const struct store *store, const char *shelf, struct diag *d)
{
  if (mkdir(shelf, 0777)) {
    if (errno == EEXIST)
      return true;
    return file_make_dir(shelf, d); /* objects/ itself is gone */
  }
  char objects[STORE_PATH_MAX];
  snprintf(objects, sizeof objects, "%s/objects", store->path);
  return file_sync_dir(objects, d);
}

static bool publish(struct store_draft *draft, struct hash key, struct diag *d)
{
  struct store *store = draft->store;
  char target[STORE_PATH_MAX];
  store_object_path(store, key, NULL, target);
  const char *shelf = file_dir_name(draft->arena, target);
  if (!make_shelf(store, shelf, d))
    return false;
  for (int tries = 0; rename(draft->path, target); tries++) {
    int error = errno;
    if (store_has(store, key)) { /* another process was first: its object is as good */
      store_abandon(draft);
      return true;
    }
    /* A folder without a result is no object, and in the way. */
    bool blocked = error == EEXIST || error == ENOTEMPTY || error == ENOTDIR;
    if (!blocked || tries == 3) {
      file_report(d, "write", target, error);
      return false;
    }
    if (store_set_aside(store, key, d) == STORE_ASIDE_FAILED)
      return false;
  }
  draft->path[0] = 0;
  return file_sync_dir(shelf, d);
}

bool store_commit(struct store_draft *draft, const struct plan *plan, const struct plan_step *step,
                  struct store_result *r, struct diag *d)
{
  if (!(r->memory > 0)) {
    bool of_step;
    r->memory = peak_bytes(&of_step);
    r->memory_of_worker = !of_step;
  }
  bool good = seal_files(draft, r, d) && write_result(draft, plan, step, r, d) &&
              publish(draft, step->key, d);
  if (!good)
    store_abandon(draft);
  return good;
}
