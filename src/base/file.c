#include "config.h"

#include "base/file_int.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_READ = 64 << 10 };

void file_report(struct diag *d, const char *what, const char *path, int error)
{
  char reason[128];
  snprintf(reason, sizeof reason, "%s", strerror(error));
  if (reason[0] && islower((unsigned char)reason[1]))
    reason[0] = (char)tolower((unsigned char)reason[0]);
  diag_error(d, SPAN_NONE, "cannot %s %s: %s", what, path, reason);
  if (error == ENOSPC || error == EDQUOT)
    diag_hint(d, "free some space on that file system, or choose another folder");
  else if (error == EACCES || error == EPERM || error == EROFS)
    diag_hint(d, "check the permissions there, or choose another folder");
}

/* Reads to the end of the file; NULL with errno set when that fails. */
static char *read_all(struct arena *a, int fd, size_t guess, size_t *length)
{
  size_t cap = guess + 1, n = 0;
  char *text = arena_alloc(a, cap);
  for (;;) {
    if (n + 1 >= cap) { /* the last byte is the NUL's */
      char *bigger = arena_alloc(a, cap * 2 + FIRST_READ);
      memcpy(bigger, text, n);
      text = bigger;
      cap = cap * 2 + FIRST_READ;
    }
    ssize_t got = read(fd, text + n, cap - 1 - n);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return NULL;
    if (!got)
      break;
    n += (size_t)got;
  }
  text[n] = 0;
  *length = n;
  return text;
}

char *file_read(struct arena *a, const char *path, size_t *length, struct diag *d)
{
  struct stat st;
  char *text = NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && !fstat(fd, &st)) {
    /* One byte more than the file, so that a second read sees its end. */
    size_t guess = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size + 1 : FIRST_READ;
    text = read_all(a, fd, guess, length);
  }
  int error = errno;
  if (fd >= 0)
    close(fd);
  if (!text)
    file_report(d, "read", path, error);
  return text;
}

static bool write_all(int fd, const void *bytes, size_t length)
{
  const char *p = bytes;
  while (length) {
    ssize_t n = write(fd, p, length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return false;
    p += n;
    length -= (size_t)n;
  }
  return true;
}

bool file_sync_fd(int fd)
{
  return !fsync(fd) || errno == EINVAL || errno == ENOTSUP || errno == EROFS;
}

/* Writes, syncs and closes; 0 or an errno. */
static int write_fd(int fd, const struct file_part *parts, size_t n)
{
  int error = 0;
  for (size_t i = 0; i < n && !error; i++)
    if (!write_all(fd, parts[i].bytes, parts[i].length))
      error = errno;
  if (!error && !file_sync_fd(fd))
    error = errno;
  if (close(fd) && !error)
    error = errno;
  return error;
}

/* Only what is a plain file goes: writing to /dev/full must not remove it. */
static void remove_partial(const char *path)
{
  struct stat st;
  if (!lstat(path, &st) && S_ISREG(st.st_mode))
    unlink(path);
}

bool file_write_parts(const char *path, const struct file_part *parts, size_t n, struct diag *d)
{
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  int error = errno;
  if (fd >= 0) {
    error = write_fd(fd, parts, n);
    if (!error)
      return true;
    remove_partial(path);
  }
  file_report(d, "write", path, error);
  return false;
}

bool file_write_synced(const char *path, const void *bytes, size_t length, struct diag *d)
{
  return file_write_parts(path, &(struct file_part){bytes, length}, 1, d);
}

static bool is_dir(const char *path)
{
  struct stat st;
  return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool file_make_dir(const char *path, struct diag *d)
{
  size_t length = strlen(path);
  char *p = mem_alloc(length + 1);
  memcpy(p, path, length + 1);
  int error = 0;
  for (size_t i = 1; i <= length && !error; i++) {
    if (p[i] && p[i] != '/')
      continue;
    char keep = p[i];
    p[i] = 0;
    /* Another process may make it at the same moment: that is as good. */
    if (mkdir(p, 0777)) {
      error = errno;
      if (is_dir(p))
        error = 0;
      else if (error == EEXIST)
        error = ENOTDIR;
    }
    p[i] = keep;
  }
  free(p);
  if (error)
    file_report(d, "make folder", path, error);
  return !error;
}

bool file_exists(const char *path)
{
  struct stat st;
  return !stat(path, &st);
}

bool file_sync_dir(const char *path, struct diag *d)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = fd < 0 || !file_sync_fd(fd) ? errno : 0;
  if (fd >= 0)
    close(fd);
  if (error)
    file_report(d, "sync folder", path, error);
  return !error;
}

static int remove_at(int parent, const char *name);

/* Removes what is in the folder; 0 or an errno.  Takes over `fd`. */
static int empty_dir(int fd)
{
  DIR *dir = fdopendir(fd);
  if (!dir) {
    int error = errno;
    close(fd);
    return error;
  }
  int error = 0;
  for (struct dirent *e; !error && (errno = 0, e = readdir(dir));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
      error = remove_at(fd, e->d_name);
  if (!error)
    error = errno == ENOENT ? 0 : errno;
  closedir(dir);
  return error;
}

/* Never through a symbolic link.  What another process removed first is gone,
 * which is what was asked for. */
static int remove_at(int parent, const char *name)
{
  if (!unlinkat(parent, name, 0) || errno == ENOENT)
    return 0;
  if (errno != EISDIR && errno != EPERM)
    return errno;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int error = fd < 0 ? errno : empty_dir(fd);
  if (!error && unlinkat(parent, name, AT_REMOVEDIR))
    error = errno;
  return error == ENOENT ? 0 : error;
}

bool file_remove_tree(const char *path, struct diag *d)
{
  int error = remove_at(AT_FDCWD, path);
  if (error)
    file_report(d, "remove", path, error);
  return !error;
}

char *file_dir_name(struct arena *a, const char *path)
{
  const char *slash = strrchr(path, '/');
  if (!slash)
    return arena_strdup(a, ".");
  while (slash > path && slash[-1] == '/')
    slash--;
  return slash == path ? arena_strdup(a, "/") : arena_strndup(a, path, (size_t)(slash - path));
}

char *file_join(struct arena *a, const char *dir, const char *name)
{
  size_t n = strlen(dir);
  if (name[0] == '/' || !n || !strcmp(dir, "."))
    return arena_strdup(a, name);
  return arena_printf(a, "%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}
