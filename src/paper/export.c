/* Results, figures, plan and sources in one archive.
 *
 * A folder of links is made first; coreutils and GNU tar, which every Debian has, sum and pack what
 * they point to.  Names are sorted, owners are nobody, and all dates are that of the last result:
 * the same store gives the same bytes. */
#include "paper/paper_int.h"

#include "base/file.h"
#include "paper/stage.h"
#include "plan/explain.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INSIDE "mergescape-results"
#define ARCHIVE "archive.tar.gz"

struct pack {
  const struct paper *p;
  const struct paper_export *how;
  const char *folder; /* what becomes the archive's one folder */
  struct diag *d;
};

/* ---- links and texts ---- */

static char *place(const struct pack *s, const char *name)
{
  char *path = file_join(s->p->arena, s->folder, name);
  return !stage_interrupted() && file_make_dir(file_dir_name(s->p->arena, path), s->d) ? path
                                                                                       : NULL;
}

static bool put_link(const struct pack *s, const char *name, const char *target)
{
  char *path = place(s, name), *whole = realpath(target, NULL);
  const bool ok = path && whole && !symlink(whole, path);
  if (path && !ok)
    file_report(s->d, "pack", target, errno);
  free(whole);
  return ok;
}

static bool put_text(const struct pack *s, const char *name, const char *text, size_t length)
{
  char *path = text ? place(s, name) : NULL;
  return path && file_write_atomic(path, text, length, s->d);
}

/* ---- what goes in ---- */

static bool put_figures(const struct pack *s)
{
  static const char *const endings[] = {"csv", "gp", "json", "pdf", "svg"};
  const struct paper *p = s->p;
  for (uint32_t i = 0; i < plan_count(p->plan); i++) {
    const struct plan_step *step = plan_step(p->plan, i);
    if (step->kind != PLAN_FIGURE || !p->wanted[i])
      continue;
    for (int k = 0; k < 5; k++) {
      char *name =
          arena_printf(p->arena, "%s.%s", plan_figure_id(p->arena, step->figure), endings[k]);
      if (!put_link(s, arena_printf(p->arena, "figures/%s", name),
                    file_join(p->arena, p->figures, name)))
        return false;
    }
  }
  char *style = file_join(p->arena, p->figures, "style.gp");
  return !file_exists(style) || put_link(s, "figures/style.gp", style);
}

/* An object's files; weights only where they are asked for. */
static bool put_object(const struct pack *s, struct hash key)
{
  char hex[HASH_HEX];
  bool ok = true;
  hash_hex(key, hex);
  char *inside = arena_printf(s->p->arena, "objects/%.2s/%s", hex, hex);
  char *folder = file_join(s->p->arena, store_path(s->p->store), inside);
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && ok && (e = readdir(dir));) {
    if (e->d_name[0] == '.' || (!s->how->models && strstr(e->d_name, ".safetensors")))
      continue;
    ok = put_link(s, arena_printf(s->p->arena, "store/%s/%s", inside, e->d_name),
                  file_join(s->p->arena, folder, e->d_name));
  }
  if (dir)
    closedir(dir);
  return ok;
}

static bool put_store(const struct pack *s)
{
  bool ok = true;
  for (uint32_t i = 0; ok && i < plan_count(s->p->plan); i++)
    if (s->p->wanted[i] && plan_step(s->p->plan, i)->kind != PLAN_FIGURE)
      ok = put_object(s, plan_step(s->p->plan, i)->key);
  return ok;
}

/* Where the file lies below the folder of the first one; an installed tier lies where its own
 * folder of experiments says. */
static const char *source_inside(const struct paper *p, const char *path)
{
  const char *first = source_name(p->program->sources, 1), *slash = strrchr(first, '/');
  const size_t n = slash ? (size_t)(slash - first) + 1 : 0;
  const char *installed = strstr(path, "/experiments/");
  if (!strncmp(path, first, n) && path[n] != '/' && !strstr(path + n, "../"))
    return path + n;
  if (installed)
    return installed + strlen("/experiments/");
  slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* As they were read: a file may have changed since.  Texts of the program's own are no files. */
static bool put_sources(const struct pack *s)
{
  const struct source_set *sources = s->p->program->sources;
  bool ok = true;
  for (uint32_t f = 1; ok && f <= source_count(sources); f++) {
    size_t length;
    const char *path = source_name(sources, f), *text = source_text(sources, f, &length);
    if (file_exists(path))
      ok = put_text(s, arena_printf(s->p->arena, "experiments/%s", source_inside(s->p, path)), text,
                    length);
  }
  return ok && (!s->how->source || put_link(s, "source.tar.gz", s->how->source));
}

/* The plan with what each step took. */
static bool put_plan(const struct pack *s)
{
  const struct paper *p = s->p;
  const uint32_t n = plan_count(p->plan);
  enum explain_state *states = arena_array(p->arena, (size_t)n + 1, sizeof *states);
  struct cost *costs = arena_array(p->arena, (size_t)n + 1, sizeof *costs);
  uint32_t *asked = arena_array(p->arena, (size_t)n + 1, sizeof *asked);
  char *text;
  size_t length;
  FILE *out;
  for (uint32_t i = 0; i < n; i++) {
    struct arena *scratch = arena_new();
    struct store_result r = {0};
    const struct hash key = plan_step(p->plan, i)->key;
    if (p->wanted[i] && store_read(p->store, key, scratch, &r, s->d))
      costs[i] = (struct cost){.seconds = r.seconds, .bytes = store_bytes(p->store, key)};
    states[i] = p->wanted[i] ? EXPLAIN_CACHED : EXPLAIN_UNWANTED;
    arena_free(scratch);
  }
  plan_asked(p->plan, p->wanted, asked);
  if (!paper_memory(&out, &text, &length, s->d))
    return false;
  const struct explain e = {p->plan, p->wanted, states, costs, p->program->sources, 1, asked};
  bool ok = explain_json(&e, out);
  ok = !fclose(out) && ok && put_text(s, "plan.json", text, length);
  free(text);
  return ok;
}

static void write_readme(const struct pack *s, const char *last, FILE *out)
{
  const struct paper *p = s->p;
  size_t of[CLAIMS_NOT_AVAILABLE + 1] = {0};
  for (size_t i = 0; i < p->n_claims; i++)
    of[p->claims[i].result.verdict]++;
  fprintf(out,
          "# Results of mergescape, tier %s\n\n"
          "Made with %s%s%s; the last result is of %s.\n"
          "Claims: %zu PASS, %zu FAIL, %zu UNDECIDED.\n\n"
          "| | |\n|---|---|\n"
          "| `claims.csv` | the paper's claims with verdict, statistic, interval, runs |\n"
          "| `figures/` | of each figure the numbers (`.csv`), a gnuplot script (`.gp`), pictures, "
          "and the results behind it (`.json`) |\n"
          "| `run.json` | the plan's hash, the machine, versions, and what each figure took |\n"
          "| `plan.json` | every step: what it does, from what, asked for by which line |\n"
          "| `experiments/` | the experiment files that were run, with the tier |\n"
          "| `store/` | the results themselves, a folder a step%s |\n"
          "| `SHA256SUMS` | checksums: `sha256sum -c SHA256SUMS` |\n",
          p->tier, p->program_version, s->how->commit ? ", commit " : "",
          s->how->commit ? s->how->commit : "", last, of[CLAIMS_PASS], of[CLAIMS_FAIL],
          of[CLAIMS_UNDECIDED], s->how->models ? "" : ", without the models' weights");
  if (s->how->source)
    fputs("| `source.tar.gz` | the program's source |\n", out);
  fprintf(out,
          "\nDraw the figures again, which trains nothing:\n\n"
          "    cd figures && gnuplot fig01.gp\n\n"
          "Hold another run against this one, in that run's folder:\n\n"
          "    ./mergescape diff-results /path/to/" INSIDE " figures\n\n"
          "Judge the claims again from the stored results:\n\n"
          "    ./mergescape claims -t %s -s store experiments/*.exp\n",
          p->tier);
}

static bool put_readme(const struct pack *s, const char *last)
{
  char *text;
  size_t length;
  FILE *out;
  if (!paper_memory(&out, &text, &length, s->d))
    return false;
  write_readme(s, last, out);
  const bool ok = !fclose(out) && put_text(s, "README.md", text, length);
  free(text);
  return ok;
}

/* ---- packing ---- */

static const char script[] =
    "set -e; export LC_ALL=C; cd " INSIDE "\n"
    "find -L . -type f ! -path ./SHA256SUMS -printf '%P\\0' | sort -z | "
    "xargs -0 sha256sum > SHA256SUMS\n"
    "cd ..\n"
    "tar --sort=name --mtime=\"$1\" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "
    "--format=gnu --use-compress-program='gzip -9n' -chf \"$2\" " INSIDE "\n";

/* The shell has its children in a group of its own: a signal to us ends them all. */
static bool wait_for(pid_t child)
{
  const struct timespec pause = {.tv_nsec = 20000000};
  int status = -1;
  bool told = false;
  pid_t ended = 0;
  while (child > 0 &&
         (!(ended = waitpid(child, &status, WNOHANG)) || (ended < 0 && errno == EINTR))) {
    if (stage_interrupted() && !told)
      told = !kill(-child, SIGTERM);
    nanosleep(&pause, NULL);
  }
  return ended == child && WIFEXITED(status) && !WEXITSTATUS(status);
}

static bool pack(const char *folder, const char *path, const char *date, struct diag *d)
{
  fflush(NULL);
  const pid_t child = fork();
  if (!child) {
    setpgid(0, 0);
    if (!chdir(folder))
      execlp("sh", "sh", "-c", script, "sh", date, ARCHIVE, (char *)NULL);
    _exit(126);
  }
  if (child > 0)
    setpgid(child, child);
  if (wait_for(child))
    return true;
  if (stage_interrupted())
    return false;
  diag_error(d, SPAN_NONE, "cannot pack %s", path);
  diag_hint(d, "it takes GNU tar, gzip, find and sha256sum, and room on the disk");
  return false;
}

static const char *last_date(const struct paper *p)
{
  const char *last = "1970-01-01T00:00:00Z";
  struct store_provenance from;
  for (uint32_t i = 0; i < plan_count(p->plan); i++) {
    struct arena *scratch = arena_new();
    if (p->wanted[i] &&
        store_read_provenance(p->store, plan_step(p->plan, i)->key, scratch, &from) &&
        strcmp(from.date, last) > 0)
      last = arena_strdup(p->arena, from.date);
    arena_free(scratch);
  }
  return last;
}

static bool fill(const struct pack *s, const char *last)
{
  const char *claims = claims_csv(s->p->arena, s->p->claims, s->p->n_claims, s->p->tier);
  const char *run = paper_run_json(s->p, s->how->commit, s->d);
  return put_figures(s) && put_store(s) && put_sources(s) && put_plan(s) &&
         put_text(s, "claims.csv", claims, strlen(claims)) && run &&
         put_text(s, "run.json", run, strlen(run)) && put_readme(s, last);
}

bool paper_export(const struct paper *p, const char *path, const struct paper_export *how,
                  struct diag *d)
{
  const char *last = last_date(p);
  struct stage stage;
  if (!stage_begin(p->arena, path, &stage, d))
    return false;
  const struct pack s = {p, how, file_join(p->arena, stage.path, INSIDE), d};
  bool ok = file_make_dir(s.folder, d) && fill(&s, last) && pack(stage.path, path, last, d);
  if (ok && rename(file_join(p->arena, stage.path, ARCHIVE), path)) {
    file_report(d, "write", path, errno);
    ok = false;
  }
  return stage_end(&stage, d) && ok;
}
