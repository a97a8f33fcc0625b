#include "config.h"

#include "paper/stage.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 100 };

static volatile sig_atomic_t came; /* the signal; 0: none */

static const int signals[STAGE_SIGNALS] = {SIGINT, SIGTERM};

static void on_signal(int number)
{
  came = number;
}

bool stage_interrupted(void)
{
  return came != 0;
}

static void take_signals(struct stage *s)
{
  came = 0;
  for (int i = 0; i < STAGE_SIGNALS; i++) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(signals[i], NULL, &s->old[i]);
    if (s->old[i].sa_handler != SIG_IGN) /* nohup, or a job in the background */
      sigaction(signals[i], &action, NULL);
  }
}

static void give_back_signals(const struct stage *s)
{
  const int number = came;
  for (int i = 0; i < STAGE_SIGNALS; i++)
    sigaction(signals[i], &s->old[i], NULL);
  if (number)
    raise(number);
}

/* ---- locks ---- */

/* *gone: another process holds it, or has removed it. */
static int lock(const char *path, bool *gone)
{
  struct stat held, there;
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  *gone = fd < 0;
  if (fd < 0)
    return -1;
  if (!flock(fd, LOCK_EX | LOCK_NB)) {
    *gone = fstat(fd, &held) || stat(path, &there) || held.st_ino != there.st_ino;
    if (!*gone)
      return fd;
  } else {
    *gone = errno == EWOULDBLOCK;
  }
  close(fd);
  return -1;
}

/* PLACE.tmp.PID.COUNTER */
static bool is_stage(const char *entry, const char *place)
{
  const size_t n = strlen(place);
  if (strncmp(entry, place, n) || strncmp(entry + n, ".tmp.", 5))
    return false;
  const char *p = entry + n + 5;
  const size_t pid = strspn(p, "0123456789");
  const size_t counter = p[pid] == '.' ? strspn(p + pid + 1, "0123456789") : 0;
  return pid && counter && !p[pid + 1 + counter];
}

/* Those whose locks nobody holds. */
static void remove_stale(struct arena *a, const char *folder, const char *place)
{
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    bool gone;
    if (!is_stage(e->d_name, place))
      continue;
    const char *path = file_join(a, folder, e->d_name);
    const int fd = lock(path, &gone);
    if (fd < 0)
      continue;
    file_remove_tree(path, diag_new(a)); /* what cannot be removed does no harm */
    close(fd);
  }
  if (dir)
    closedir(dir);
}

/* ---- stages ---- */

static bool make(struct arena *a, const char *folder, const char *place, struct stage *s)
{
  for (unsigned i = 0; i < TRIES; i++) {
    bool gone;
    s->path = file_join(a, folder, arena_printf(a, "%s.tmp.%ld.%u", place, (long)getpid(), i));
    if (mkdir(s->path, 0777)) {
      if (errno != EEXIST)
        return false;
      continue;
    }
    s->lock = lock(s->path, &gone);
    if (!gone)
      return true;
  }
  return false;
}

bool stage_begin(struct arena *a, const char *place, struct stage *s, struct diag *d)
{
  const char *slash = strrchr(place, '/'), *name = slash ? slash + 1 : place;
  const char *folder = file_dir_name(a, place);
  *s = (struct stage){.lock = -1};
  remove_stale(a, folder, name);
  take_signals(s);
  if (make(a, folder, name, s))
    return true;
  file_report(d, "make folder", s->path, errno);
  give_back_signals(s);
  return false;
}

bool stage_end(struct stage *s, struct diag *d)
{
  const bool ok = file_remove_tree(s->path, d);
  if (s->lock >= 0)
    close(s->lock);
  give_back_signals(s);
  return ok;
}
