#include "config.h"

#include "figure/figure_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: never returns. */
static void become_gnuplot(const char *program, const char *folder, const char *setting,
                           const char *script, int errors)
{
  int nothing = open("/dev/null", O_RDWR);
  if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 || dup2(errors, 2) < 0 ||
      chdir(folder) != 0)
    _exit(126);
  /* Numbers with a point, whatever the user's language. */
  setenv("LC_ALL", "C.UTF-8", 1);
  unsetenv("GNUTERM");
  execlp(program, program, "-d", "-e", setting, script, (char *)NULL);
  _exit(errno == ENOENT ? 127 : 126);
}

/* All that is written to the pipe; kept: the first few kilobytes. */
static char *drain(struct arena *a, int from)
{
  enum { KEPT = 4000 };
  char *text = arena_alloc(a, KEPT + 1), rest[1024];
  size_t n = 0;
  for (;;) {
    char *to = n < KEPT ? text + n : rest;
    ssize_t got = read(from, to, n < KEPT ? KEPT - n : sizeof rest);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      break;
    if (n < KEPT)
      n += (size_t)got;
  }
  while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
    n--;
  text[n] = '\0';
  return text;
}

static bool report(const char *program, const char *folder, const char *script, int status,
                   const char *said, struct diag *d)
{
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return true;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    diag_error(d, SPAN_NONE, "cannot draw %s/%s: there is no program \"%s\"", folder, script,
               program);
    diag_hint(d, "install gnuplot (Debian: apt-get install gnuplot-nox); the CSV file and the "
                 "script are there already");
  } else {
    diag_error(d, SPAN_NONE, "%s failed on %s/%s%s%s", program, folder, script, *said ? ":\n" : "",
               said);
    diag_hint(d, "try it by hand: cd %s && %s %s", folder, program, script);
  }
  return false;
}

bool figure_run_gnuplot(struct arena *a, const char *program, const char *folder, const char *name,
                        const char *script, struct diag *d)
{
  const char *setting = arena_printf(a, "name=%s", figure_quote(a, name));
  int ends[2];
  pid_t child = -1;
  if (pipe(ends) == 0) {
    child = fork();
    if (child == 0) {
      close(ends[0]);
      become_gnuplot(program, folder, setting, script, ends[1]);
    }
    close(ends[1]);
    if (child < 0)
      close(ends[0]);
  }
  if (child < 0) {
    diag_error(d, SPAN_NONE, "cannot start %s: %s", program, strerror(errno));
    return false;
  }
  char *said = drain(a, ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      diag_error(d, SPAN_NONE, "lost track of %s: %s", program, strerror(errno));
      return false;
    }
  }
  return report(program, folder, script, status, said, d);
}
