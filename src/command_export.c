/* record and export: the results as files to compare with, and all of a run as one archive. */
#include "config.h"

#include "base/file.h"
#include "paper/paper.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

int command_record(struct session *s)
{
  struct paper paper;
  const int status = session_paper(s, &paper);
  if (status != EXIT_DONE)
    return status;
  paper_record(&paper, s->options.reference, s->options.commit, s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  if (!s->options.quiet)
    printf("%s\n", s->options.reference);
  return EXIT_DONE;
}

static bool ends_with(const char *text, const char *end)
{
  const size_t n = strlen(text), m = strlen(end);
  return n > m && !strcmp(text + n - m, end);
}

int command_export(struct session *s)
{
  const char *path = s->options.archive;
  const struct paper_export how = {s->options.commit, s->options.source, s->options.models};
  struct paper paper;
  if (!ends_with(path, ".tar.gz") && !ends_with(path, ".tgz")) {
    fprintf(stderr, "mergescape: error: --archive takes a name that ends in .tar.gz, not `%s`\n",
            path);
    return EXIT_ENVIRONMENT;
  }
  file_make_dir(file_dir_name(s->arena, path), s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  const int status = session_paper(s, &paper);
  if (status != EXIT_DONE)
    return status;
  paper_export(&paper, path, &how, s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  if (!s->options.quiet)
    printf("%s\n", path);
  return EXIT_DONE;
}
