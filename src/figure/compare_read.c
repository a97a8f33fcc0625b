#include "figure/compare.h"

#include "base/file.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

bool compare_add(struct arena *a, struct compare_results *r, const char *id, const char *text,
                 size_t length, struct diag *d)
{
  struct compare_figure one = {.id = id};
  if (!figure_csv_parse(a, arena_printf(a, "%s.csv", id), text, length, &one.csv, d))
    return false;
  ARENA_PUSH(a, r->figures, r->n, r->cap, one);
  for (size_t i = r->n; --i && strcmp(r->figures[i - 1].id, id) > 0;) {
    r->figures[i] = r->figures[i - 1];
    r->figures[i - 1] = one;
  }
  return true;
}

/* figNN.csv */
static bool is_figure(const char *name)
{
  const char *p = name + 3;
  if (strncmp(name, "fig", 3) || !isdigit((unsigned char)*p))
    return false;
  while (isdigit((unsigned char)*p))
    p++;
  return !strcmp(p, ".csv");
}

/* A file that is not there is fine. */
static bool read_table(struct arena *a, const char *path, struct figure_csv *csv, struct diag *d)
{
  size_t length;
  if (!file_exists(path))
    return true;
  char *text = file_read(a, path, &length, d);
  return text && figure_csv_parse(a, path, text, length, csv, d);
}

bool compare_read_noise(struct arena *a, const char *path, struct compare_results *r,
                        struct diag *d)
{
  size_t length;
  char *text = file_read(a, path, &length, d);
  return text && figure_csv_parse(a, path, text, length, &r->noise, d);
}

static bool read_figures(struct arena *a, const char *folder, struct compare_results *r,
                         struct diag *d)
{
  DIR *dir = opendir(folder);
  bool ok = true;
  for (struct dirent *e; dir && ok && (e = readdir(dir));) {
    size_t length;
    if (!is_figure(e->d_name))
      continue;
    char *text = file_read(a, file_join(a, folder, e->d_name), &length, d);
    ok = text &&
         compare_add(a, r, arena_strndup(a, e->d_name, strlen(e->d_name) - 4), text, length, d);
  }
  if (dir)
    closedir(dir);
  return ok;
}

bool compare_read(struct arena *a, const char *folder, struct compare_results *r, struct diag *d)
{
  const char *folders[] = {folder, file_join(a, folder, "figures")};
  *r = (struct compare_results){.name = folder};
  for (size_t i = 0; i < 2; i++) {
    if (!r->n && !read_figures(a, folders[i], r, d))
      return false;
    if (!r->claims.n_columns &&
        !read_table(a, file_join(a, folders[i], "claims.csv"), &r->claims, d))
      return false;
    if (!r->noise.n_columns && !read_table(a, file_join(a, folders[i], "noise.csv"), &r->noise, d))
      return false;
  }
  if (r->n || r->claims.n_columns)
    return true;
  diag_error(d, SPAN_NONE, "%s holds no results: neither figNN.csv nor claims.csv is there",
             folder);
  diag_hint(d, "a folder of figures, a recorded reference, an unpacked export, or a store "
               "together with the experiment files");
  return false;
}
