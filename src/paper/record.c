/* What a run came to, in the few files that another run is held against: figNN.csv, claims.csv,
 * and run.json about the run. */
#include "config.h"

#include "paper/paper_int.h"

#include "base/file.h"
#include "figure/figure.h"
#include "paper/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the machine at hand ---- */

/* "Intel(R) Xeon(R) ...", from Linux; "unknown" elsewhere. */
static char *processor(struct arena *a)
{
  FILE *f = fopen("/proc/cpuinfo", "re");
  char line[512], *name = NULL;
  while (f && !name && fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (!strncmp(line, "model name", 10) && colon) {
      line[strcspn(line, "\n")] = '\0';
      name = arena_strdup(a, colon + 1 + strspn(colon + 1, " \t"));
    }
  }
  if (f)
    fclose(f);
  return name ? name : arena_strdup(a, "unknown");
}

/* ---- run.json ---- */

/* Of the keys of all wanted steps: two runs of the same plan have the same. */
static struct hash plan_hash(const struct paper *p, uint32_t *steps)
{
  struct hasher *h = hash_begin();
  *steps = 0;
  for (uint32_t i = 0; i < plan_count(p->plan); i++)
    if (p->wanted[i]) {
      hash_bytes(h, plan_step(p->plan, i)->key.b, HASH_BYTES);
      (*steps)++;
    }
  return hash_end(h);
}

static json_t *rounded(double v)
{
  return json_real(round(v * 10) / 10);
}

static json_t *cost_json(const struct paper_cost *c)
{
  json_t *j = json_object();
  if (c->figure)
    json_object_set_new(j, "figure", json_integer(c->figure->number));
  json_object_set_new(j, "steps", json_integer(c->steps));
  json_object_set_new(j, "optimizer_steps", json_real(c->optimizer_steps));
  json_object_set_new(j, "worker_seconds", rounded(c->seconds));
  if (c->figure)
    json_object_set_new(j, "worker_seconds_alone", rounded(c->alone));
  json_object_set_new(j, "megabytes", rounded(c->bytes / 1e6));
  return j;
}

/* The host's name is nobody's business. */
static json_t *made_with(const struct paper_machines *m)
{
  json_t *list = json_array();
  for (size_t i = 0; i < m->n; i++)
    json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:s}", "versions", m->list[i].versions,
                                          "results", (int)m->list[i].results, "first",
                                          m->list[i].first, "last", m->list[i].last));
  return list;
}

char *paper_run_json(const struct paper *p, const char *commit, struct diag *d)
{
  struct paper_machines machines;
  char hex[HASH_HEX];
  uint32_t steps;
  size_t n;
  struct paper_cost *costs = paper_costs(p, &n, d);
  paper_provenance(p, costs, n, &machines);
  hash_hex(plan_hash(p, &steps), hex);
  json_t *figures = json_array();
  for (size_t i = 0; i < n; i++)
    json_array_append_new(figures, cost_json(&costs[i]));
  json_t *j =
      json_pack("{s:s, s:o, s:s, s:s, s:i, s:{s:s, s:i}, s:o, s:o, s:o}", "program",
                p->program_version, "commit", commit ? json_string(commit) : json_null(), "tier",
                p->tier, "plan", hex, "steps", (int)steps, "machine", "processor",
                processor(p->arena), "cores", (int)sysconf(_SC_NPROCESSORS_ONLN), "computed_with",
                made_with(&machines), "total", cost_json(&costs[n]), "figures", figures);
  char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(10)) : NULL;
  char *whole = text ? arena_printf(p->arena, "%s\n", text) : NULL;
  free(text);
  json_decref(j);
  if (!whole)
    diag_error(d, SPAN_NONE, "cannot write run.json: a name in it is not UTF-8");
  return whole;
}

/* ---- the folder ---- */

struct record {
  const struct paper *p;
  const char *folder; /* without symbolic links */
  struct stage stage;
  struct diag *d;
};

static bool put(const struct record *r, const char *name, const char *text, size_t length)
{
  return text && !stage_interrupted() &&
         file_write_synced(file_join(r->p->arena, r->stage.path, name), text, length, r->d);
}

static bool put_text(const struct record *r, const char *name, const char *text)
{
  return put(r, name, text, text ? strlen(text) : 0);
}

static bool fill(const struct record *r, const char *commit)
{
  const struct paper *p = r->p;
  for (size_t i = 0; i < p->lowered->n; i++) {
    const struct lower_target *t = &p->lowered->targets[i];
    const struct plan_step *step = plan_step(p->plan, t->step);
    if (step->kind != PLAN_FIGURE || t->unavailable || !p->wanted[t->step])
      continue;
    const char *name = arena_printf(p->arena, "%s.csv", plan_figure_id(p->arena, step->figure));
    if (!put_text(r, name, figure_csv_text(p->arena, p->store, p->plan, step, r->d)))
      return false;
  }
  return put_text(r, "claims.csv", claims_csv(p->arena, p->claims, p->n_claims, p->tier)) &&
         put_text(r, "run.json", paper_run_json(p, commit, r->d));
}

/* figNN.csv that no experiment draws any more. */
static bool is_outdated(const struct paper *p, const char *name)
{
  unsigned number;
  int end = 0;
  if (sscanf(name, "fig%3u.csv%n", &number, &end) != 1 || !end || name[end])
    return false;
  for (size_t i = 0; i < p->lowered->n; i++) {
    const struct lower_target *t = &p->lowered->targets[i];
    if (!t->experiment && !t->unavailable && t->number == number)
      return false;
  }
  return true;
}

/* What else the folder holds goes on being there. */
static bool carry_over(const struct record *r)
{
  struct arena *a = r->p->arena;
  bool ok = true;
  DIR *dir = opendir(r->folder);
  for (struct dirent *e; dir && ok && (e = readdir(dir));) {
    struct stat st;
    size_t length;
    const char *from = file_join(a, r->folder, e->d_name);
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || is_outdated(r->p, e->d_name) ||
        file_exists(file_join(a, r->stage.path, e->d_name)))
      continue;
    if (!stat(from, &st) && S_ISDIR(st.st_mode)) {
      diag_error(r->d, SPAN_NONE, "%s is a folder, and a record is a folder of files", from);
      diag_hint(r->d, "name a folder of its own with --reference=DIR");
      ok = false;
    } else {
      const char *text = file_read(a, from, &length, r->d);
      ok = put(r, e->d_name, text, text ? length : 0);
    }
  }
  if (dir)
    closedir(dir);
  return ok;
}

static bool remove_outdated(const struct record *r)
{
  bool ok = true;
  DIR *dir = opendir(r->folder);
  for (struct dirent *e; dir && ok && (e = readdir(dir));) {
    const char *name = file_join(r->p->arena, r->folder, e->d_name);
    ok = !is_outdated(r->p, e->d_name) || !unlink(name);
    if (!ok)
      file_report(r->d, "remove", name, errno);
  }
  if (dir)
    closedir(dir);
  return ok;
}

/* Where two folders cannot change places, as mount points, each file does by itself. */
static bool write_each(const struct record *r)
{
  struct arena *a = r->p->arena;
  bool ok = true;
  DIR *dir = opendir(r->stage.path);
  for (struct dirent *e; dir && ok && (e = readdir(dir));) {
    size_t length;
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
      continue;
    const char *text = file_read(a, file_join(a, r->stage.path, e->d_name), &length, r->d);
    ok = text && file_write_atomic(file_join(a, r->folder, e->d_name), text, length, r->d);
  }
  if (dir)
    closedir(dir);
  return ok && remove_outdated(r);
}

static bool change_places(const char *one, const char *other)
{
#ifdef RENAME_EXCHANGE
  return !renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
#else
  (void)one;
  (void)other;
  return false;
#endif
}

static bool swap(const struct record *r)
{
  struct stat st;
  if (!file_sync_dir(r->stage.path, r->d))
    return false;
  if (!stat(r->folder, &st))
    chmod(r->stage.path, st.st_mode & 07777);
  if (!change_places(r->stage.path, r->folder) && !write_each(r))
    return false;
  return file_sync_dir(file_dir_name(r->p->arena, r->folder), r->d);
}

bool paper_record(const struct paper *p, const char *folder, const char *commit, struct diag *d)
{
  char *whole = file_make_dir(folder, d) ? realpath(folder, NULL) : NULL;
  struct record r = {.p = p, .folder = whole, .d = d};
  bool ok = whole && stage_begin(p->arena, whole, &r.stage, d);
  if (ok) {
    ok = fill(&r, commit) && carry_over(&r) && !stage_interrupted() && swap(&r);
    ok = stage_end(&r.stage, d) && ok;
  }
  free(whole);
  return ok;
}
