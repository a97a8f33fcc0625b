#include "config.h"

#include "base/file.h"
#include "dsl/fmt.h"
#include "dsl/parse.h"
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { EXIT_CHANGES = 1 };

static char *read_stdin(struct arena *a, size_t *length, struct diag *diag)
{
  char *text = NULL, part[1 << 16];
  FILE *out = open_memstream(&text, length);
  if (out) {
    for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;)
      fwrite(part, 1, n, out);
    fclose(out);
  }
  if (!out || ferror(stdin)) {
    file_report(diag, "read", "standard input", errno);
    free(text);
    return NULL;
  }
  char *copy = arena_copy(a, text, *length + 1);
  free(text);
  return copy;
}

/* Writes through a link to the file that it names, which atomic renaming would
 * replace, and keeps the file's permissions. */
static bool write_file(struct arena *a, const char *path, const char *text, size_t length,
                       struct diag *diag)
{
  char *real = realpath(path, NULL);
  if (!real) {
    file_report(diag, "write", path, errno);
    return false;
  }
  const char *target = arena_strdup(a, real);
  struct stat st;
  bool known = !stat(real, &st);
  free(real);
  if (!file_write_atomic(target, text, length, diag))
    return false;
  if (!known || !chmod(target, st.st_mode & 07777))
    return true;
  file_report(diag, "set the permissions of", target, errno);
  return false;
}

static int format_one(const struct options *o, struct ast_program *program, const char *path,
                      struct diag *diag)
{
  struct arena *a = program->arena;
  bool standard = !strcmp(path, "-");
  size_t length, new_length;
  char *text = standard ? read_stdin(a, &length, diag) : file_read(a, path, &length, diag);
  if (!text)
    return EXIT_ENVIRONMENT;
  char *formatted =
      fmt_text(program, standard ? "<stdin>" : path, text, length, &new_length, diag);
  if (!formatted)
    return EXIT_EXPERIMENT;
  bool same = length == new_length && !memcmp(text, formatted, length);
  if (o->check) {
    if (!same)
      printf("%s\n", standard ? "<stdin>" : path);
    return same ? EXIT_DONE : EXIT_CHANGES;
  }
  if (standard)
    return fwrite(formatted, 1, new_length, stdout) == new_length ? EXIT_DONE : EXIT_ENVIRONMENT;
  return same || write_file(a, path, formatted, new_length, diag) ? EXIT_DONE : EXIT_ENVIRONMENT;
}

int command_fmt(const struct options *o)
{
  int worst = EXIT_DONE;
  for (size_t i = 0; i < o->n_files; i++) {
    struct arena *a = arena_new();
    struct ast_program *program = ast_program_new(a);
    struct diag *diag = diag_new(a);
    int status = format_one(o, program, o->files[i], diag);
    /* Warnings are what `check` is for. */
    if (diag_errors(diag)) {
      fflush(stdout);
      diag_print(diag, program->sources, stderr, diag_colour(stderr));
    }
    worst = status > worst ? status : worst;
    arena_free(a);
  }
  return worst;
}
