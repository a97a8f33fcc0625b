#include "config.h"

#include "run/status.h"

#include "run/store_int.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const double write_seconds = 1, silent_seconds = 60;

double status_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- files ---- */

/* Not synced: after a crash of the machine the run is gone, too. */
static bool write_file(const char *path, const json_t *json)
{
  char draft[STORE_PATH_MAX + 8];
  snprintf(draft, sizeof draft, "%s.new", path);
  FILE *out = fopen(draft, "w");
  if (!out)
    return false;
  const bool whole = !json_dumpf(json, out, JSON_INDENT(1)) && fputc('\n', out) != EOF;
  if (!fclose(out) && whole && !rename(draft, path))
    return true;
  unlink(draft);
  return false;
}

/* A text that is not UTF-8 loses its odd bytes. */
static json_t *text_json(const char *text)
{
  json_t *json = json_string(text);
  char *plain = json ? NULL : strdup(text);
  for (char *p = plain; p && *p; p++)
    if ((unsigned char)*p >= 0x80)
      *p = '?';
  if (plain)
    json = json_string(plain);
  free(plain);
  return json ? json : json_string("");
}

static json_t *key_json(struct hash key)
{
  char hex[HASH_HEX];
  hash_hex(key, hex);
  return json_string(hex);
}

static void make_folder(const struct store *store, const char *name)
{
  char path[STORE_PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", store->path, name);
  mkdir(path, 0777);
}

static void failure_path(const struct store *store, struct hash key, char path[STORE_PATH_MAX])
{
  char hex[HASH_HEX];
  hash_hex(key, hex);
  snprintf(path, STORE_PATH_MAX, "%s/failed/%s.json", store->path, hex);
}

/* ---- the run's side ---- */

struct at_work {
  uint32_t step; /* UINT32_MAX: idle */
  pid_t pid;
  unsigned threads;
  double since, cost;
};

struct status {
  struct store *store;
  const struct plan *plan;
  unsigned n;
  struct at_work *workers;
  double begun, written;
  char path[STORE_PATH_MAX];
};

/* "HOST.PID.json" of processes that are gone from this host, and their drafts. */
static void remove_killed(const struct store *store)
{
  char path[STORE_PATH_MAX + 512];
  snprintf(path, sizeof path, "%s/runs", store->path);
  DIR *dir = opendir(path);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    const pid_t owner = store_owner(store, e->d_name);
    snprintf(path, sizeof path, "%s/runs/%s", store->path, e->d_name);
    if (owner && store_is_gone(owner))
      unlink(path);
  }
  if (dir)
    closedir(dir);
}

struct status *status_begin(struct arena *a, struct store *store, const struct plan *plan,
                            unsigned workers)
{
  struct status *s = arena_alloc(a, sizeof *s);
  s->store = store;
  s->plan = plan;
  s->n = workers;
  s->workers = arena_array(a, workers, sizeof *s->workers);
  for (unsigned k = 0; k < workers; k++)
    s->workers[k].step = UINT32_MAX;
  s->begun = status_now();
  snprintf(s->path, sizeof s->path, "%s/runs/%s.%ld.json", store->path, store->host,
           (long)getpid());
  make_folder(store, "runs");
  remove_killed(store);
  return s;
}

void status_started(struct status *s, unsigned worker, pid_t pid, uint32_t step, unsigned threads,
                    double cost)
{
  s->workers[worker] = (struct at_work){step, pid, threads, status_now(), cost};
}

void status_ended(struct status *s, unsigned worker)
{
  s->workers[worker].step = UINT32_MAX;
}

void status_update(struct status *s, struct progress_count count)
{
  const double now = status_now();
  if (now >= s->written && now < s->written + write_seconds)
    return;
  s->written = now;
  json_t *steps = json_array();
  for (unsigned k = 0; k < s->n; k++) {
    const struct at_work *w = &s->workers[k];
    if (w->step != UINT32_MAX)
      json_array_append_new(
          steps,
          json_pack("{s:i, s:I, s:I, s:o, s:i, s:f, s:f}", "worker", (int)k + 1, "pid",
                    (json_int_t)w->pid, "started", (json_int_t)store_started(w->pid), "key",
                    key_json(plan_step(s->plan, w->step)->key), "threads", (int)w->threads,
                    "since", w->since, "cost", w->cost));
  }
  json_t *json = json_pack(
      "{s:o, s:I, s:I, s:i, s:f, s:f, s:I, s:I, s:f, s:f, s:o}", "host", text_json(s->store->host),
      "pid", (json_int_t)getpid(), "started", (json_int_t)store_started(getpid()), "workers",
      (int)s->n, "begun", s->begun, "heard", now, "done", (json_int_t)count.done, "total",
      (json_int_t)count.total, "cost_done", count.cost_done, "cost_total", count.cost_total,
      "running", steps);
  if (json)
    write_file(s->path, json);
  json_decref(json);
}

void status_end(struct status *s)
{
  unlink(s->path);
}

void status_failed(struct store *store, struct hash key, const char *error, const char *hint)
{
  char path[STORE_PATH_MAX];
  json_t *json = json_pack("{s:o, s:o, s:o, s:o, s:f}", "key", key_json(key), "error",
                           text_json(error), "hint", text_json(hint), "host",
                           text_json(store->host), "when", status_now());
  make_folder(store, "failed");
  failure_path(store, key, path);
  if (json)
    write_file(path, json);
  json_decref(json);
}

void status_succeeded(struct store *store, struct hash key)
{
  char path[STORE_PATH_MAX];
  failure_path(store, key, path);
  unlink(path);
}

/* ---- the reader's side ---- */

/* Does the process go on that began then?  On this host. */
static bool is_same(long pid, long long started)
{
  return !store_is_gone((pid_t)pid) && store_started((pid_t)pid) == started;
}

static bool parse_steps(json_t *list, struct arena *a, struct status_run *r)
{
  size_t i;
  json_t *item;
  r->steps = arena_array(a, json_array_size(list) + 1, sizeof *r->steps);
  json_array_foreach(list, i, item)
  {
    struct status_step *s = &r->steps[r->n_steps++];
    const char *key;
    json_int_t pid, started;
    int worker, threads;
    if (json_unpack(item, "{s:i, s:I, s:I, s:s, s:i, s:F, s:F}", "worker", &worker, "pid", &pid,
                    "started", &started, "key", &key, "threads", &threads, "since", &s->since,
                    "cost", &s->cost) ||
        !hash_parse(key, &s->key))
      return false;
    s->worker = (unsigned)worker;
    s->threads = (unsigned)threads;
    s->pid = (long)pid;
    s->alive = is_same(s->pid, started);
  }
  return true;
}

static bool parse_run(json_t *json, struct arena *a, struct status_run *r, long long *started)
{
  const char *host;
  json_int_t pid, begun_at, done, total;
  json_t *steps;
  int workers;
  if (json_unpack(json, "{s:s, s:I, s:I, s:i, s:F, s:F, s:I, s:I, s:F, s:F, s:o}", "host", &host,
                  "pid", &pid, "started", &begun_at, "workers", &workers, "begun", &r->begun,
                  "heard", &r->heard, "done", &done, "total", &total, "cost_done",
                  &r->count.cost_done, "cost_total", &r->count.cost_total, "running", &steps))
    return false;
  r->host = arena_strdup(a, host);
  r->pid = (long)pid;
  r->workers = (unsigned)workers;
  r->count.done = (uint32_t)done;
  r->count.total = (uint32_t)total;
  *started = begun_at;
  return parse_steps(steps, a, r);
}

static bool read_run(const struct store *store, const char *path, struct arena *a,
                     struct status_run *r)
{
  json_t *json = json_load_file(path, 0, NULL);
  long long started;
  const bool good = parse_run(json, a, r, &started);
  json_decref(json);
  if (!good)
    return false;
  const bool here = !strcmp(r->host, store->host);
  r->state = here && !is_same(r->pid, started)          ? STATUS_KILLED
             : status_now() > r->heard + silent_seconds ? STATUS_SILENT
                                                        : STATUS_GOING;
  for (size_t i = 0; !here && i < r->n_steps; i++)
    r->steps[i].alive = r->state == STATUS_GOING;
  return true;
}

static int by_begin(const void *a, const void *b)
{
  const double x = ((const struct status_run *)a)->begun, y = ((const struct status_run *)b)->begun;
  return (x > y) - (x < y);
}

struct status_run *status_runs(const struct store *store, struct arena *a, size_t *n)
{
  struct status_run *runs = NULL;
  size_t cap = 0;
  char path[STORE_PATH_MAX + 512];
  *n = 0;
  snprintf(path, sizeof path, "%s/runs", store->path);
  DIR *dir = opendir(path);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    const char *end = strrchr(e->d_name, '.');
    struct status_run r = {0};
    if (!end || strcmp(end, ".json"))
      continue;
    snprintf(path, sizeof path, "%s/runs/%s", store->path, e->d_name);
    if (read_run(store, path, a, &r))
      ARENA_PUSH(a, runs, *n, cap, r);
  }
  if (dir)
    closedir(dir);
  if (*n)
    qsort(runs, *n, sizeof *runs, by_begin);
  return runs;
}

double status_left(const struct status_run *r)
{
  const double part = r->count.cost_total > 0 ? r->count.cost_done / r->count.cost_total : 0;
  return part > 0 ? (r->heard - r->begun) / part * fmax(1 - part, 0) : NAN;
}

bool status_failure(const struct store *store, struct hash key, struct arena *a,
                    struct status_failure *f)
{
  char path[STORE_PATH_MAX];
  const char *error, *hint, *host;
  failure_path(store, key, path);
  json_t *json = json_load_file(path, 0, NULL);
  const bool good = json && !json_unpack(json, "{s:s, s:s, s:s, s:F}", "error", &error, "hint",
                                         &hint, "host", &host, "when", &f->when);
  if (good) {
    f->error = arena_strdup(a, error);
    f->hint = arena_strdup(a, hint);
    f->host = arena_strdup(a, host);
  }
  json_decref(json);
  return good;
}
