#include "config.h"

#include "base/file_int.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 100, LINK_PATH = 48, STALE_SECONDS = 60 };

/* How far writing goes ahead of the disk. */
static const uint64_t stretch = 32 << 20;

struct file_draft {
  struct arena *arena;
  const char *path;
  char *temp; /* its name so far; NULL: none */
  int fd;
  uint64_t told; /* bytes that the disk was told to write */
};

/* The process id keeps processes apart; another host on a shared file system may
 * have the same one, so the name must be new. */
static char *new_name(struct file_draft *f)
{
  static unsigned counter;
  return arena_printf(f->arena, "%s.tmp.%ld.%u", f->path, (long)getpid(), counter++);
}

/* Without a name, so that a process which is killed leaves nothing: where the file
 * system can do that, and a name can be given later. */
static void open_unnamed(struct file_draft *f)
{
#ifdef O_TMPFILE
  if (!access("/proc/self/fd", X_OK))
    f->fd = open(file_dir_name(f->arena, f->path), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
#else
  (void)f;
#endif
}

static void open_named(struct file_draft *f)
{
  for (int i = 0; i < TRIES && f->fd < 0; i++) {
    char *temp = new_name(f);
    f->fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->fd >= 0)
      f->temp = temp;
    else if (errno != EEXIST)
      return;
  }
}

/* A file system that cannot reserve is asked for space when it is written to. */
static bool reserve(int fd, uint64_t bytes)
{
  if (bytes > INT64_MAX) {
    errno = EFBIG;
    return false;
  }
  return !bytes || !fallocate(fd, 0, 0, (off_t)bytes) ||
         (errno != ENOSPC && errno != EDQUOT && errno != EFBIG);
}

struct file_draft *file_draft_new(const char *path, uint64_t bytes, struct diag *d)
{
  struct arena *a = arena_new();
  struct file_draft *f = arena_alloc(a, sizeof *f);
  struct stat st;
  *f = (struct file_draft){.arena = a, .path = arena_strdup(a, path), .fd = -1};
  int error = 0;
  /* Renaming would put a file in a device's place. */
  if (!stat(path, &st) && !S_ISREG(st.st_mode))
    error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
  if (!error)
    open_unnamed(f);
  if (!error && f->fd < 0)
    open_named(f);
  /* Who writes holds the lock: see file_remove_drafts. */
  if (f->fd >= 0)
    flock(f->fd, LOCK_EX | LOCK_NB);
  if (f->fd >= 0 && reserve(f->fd, bytes))
    return f;
  error = error ? error : errno;
  file_draft_abandon(f);
  file_report(d, "write", path, error);
  return NULL;
}

bool file_draft_write(struct file_draft *f, uint64_t at, const void *bytes, size_t length,
                      struct diag *d)
{
  const char *p = bytes;
  while (length) {
    ssize_t n = pwrite(f->fd, p, length, (off_t)at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0) {
      file_report(d, "write", f->path, errno);
      return false;
    }
    p += n;
    at += (uint64_t)n;
    length -= (size_t)n;
  }
#ifdef SYNC_FILE_RANGE_WRITE
  /* The disk works while the next stretch is made; the sync at the end waits less. */
  if (at >= f->told + stretch) {
    sync_file_range(f->fd, (off_t)f->told, (off_t)(at - f->told), SYNC_FILE_RANGE_WRITE);
    f->told = at;
  }
#endif
  return true;
}

/* Closes, and takes the name away that it has so far. */
void file_draft_abandon(struct file_draft *f)
{
  if (!f)
    return;
  if (f->fd >= 0)
    close(f->fd);
  if (f->temp)
    unlink(f->temp);
  arena_free(f->arena);
}

/* A name of its own, from which it can be renamed to that of another file. */
static bool give_name(struct file_draft *f)
{
  char from[LINK_PATH];
  snprintf(from, sizeof from, "/proc/self/fd/%d", f->fd);
  for (int i = 0; i < TRIES && !f->temp; i++) {
    char *temp = new_name(f);
    if (!linkat(AT_FDCWD, from, AT_FDCWD, temp, AT_SYMLINK_FOLLOW))
      f->temp = temp;
    else if (errno != EEXIST)
      return false;
  }
  return f->temp != NULL;
}

bool file_draft_commit(struct file_draft *f, struct diag *d)
{
  int error = file_sync_fd(f->fd) && give_name(f) ? 0 : errno;
  const int lock = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
  if (close(f->fd) && !error)
    error = errno;
  f->fd = -1;
  if (!error && rename(f->temp, f->path))
    error = errno;
  if (lock >= 0)
    close(lock);
  bool ok = !error;
  if (ok)
    f->temp = NULL;
  else
    file_report(d, "write", f->path, error);
  ok = ok && file_sync_dir(file_dir_name(f->arena, f->path), d);
  file_draft_abandon(f);
  return ok;
}

/* ---- what killed processes have left ---- */

static bool ends_with(const char *text, size_t n, const char *end)
{
  const size_t m = strlen(end);
  return n >= m && !memcmp(text + n - m, end, m);
}

static bool skip_number(const char **p)
{
  const char *begin = *p;
  while (isdigit((unsigned char)**p))
    ++*p;
  return *p > begin;
}

/* NAME.tmp.PID.COUNTER, as new_name makes them. */
static bool is_draft(const char *entry, const char *name)
{
  const char *tmp = strstr(entry, ".tmp."), *p = tmp ? tmp + strlen(".tmp.") : NULL;
  if (!p || !skip_number(&p) || *p++ != '.' || !skip_number(&p) || *p)
    return false;
  const size_t n = (size_t)(tmp - entry);
  if (name)
    return n == strlen(name) && !memcmp(entry, name, n);
  return ends_with(entry, n, ".safetensors") || ends_with(entry, n, ".safetensors.index.json");
}

static void remove_stale(int dir, const char *entry)
{
  struct stat st;
  const int fd = openat(dir, entry, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return;
  if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_mtime + STALE_SECONDS < time(NULL) &&
      !flock(fd, LOCK_EX | LOCK_NB))
    unlinkat(dir, entry, 0);
  close(fd);
}

void file_remove_drafts(const char *dir, const char *name)
{
  DIR *handle = opendir(dir);
  if (!handle)
    return;
  for (struct dirent *e; (e = readdir(handle));)
    if (is_draft(e->d_name, name))
      remove_stale(dirfd(handle), e->d_name);
  closedir(handle);
}

bool file_write_atomic(const char *path, const void *bytes, size_t length, struct diag *d)
{
  struct file_draft *f = file_draft_new(path, length, d);
  if (f && !file_draft_write(f, 0, bytes, length, d)) {
    file_draft_abandon(f);
    f = NULL;
  }
  return f && file_draft_commit(f, d);
}
