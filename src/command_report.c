/* report: all results as one page of HTML. */
#include "config.h"

#include "base/file.h"
#include "paper/paper.h"
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int command_report(struct session *s)
{
  const char *path = s->options.report, *folder = file_dir_name(s->arena, path);
  struct paper paper;
  if (file_make_dir(folder, s->diag) && access(folder, W_OK))
    file_report(s->diag, "write into", folder, errno);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  const int status = session_paper(s, &paper);
  if (status != EXIT_DONE)
    return status;
  paper_report(&paper, path, s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  if (!s->options.quiet)
    printf("%s\n", path);
  return EXIT_DONE;
}
