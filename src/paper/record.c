/* What a run came to, in the few files that another run is held against: figNN.csv, claims.csv,
 * and run.json about the run. */
#include "paper/paper_int.h"

#include "base/file.h"
#include "figure/figure.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
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

static bool put(const struct paper *p, const char *folder, const char *name, const char *text,
                struct diag *d)
{
  return text && file_write_atomic(file_join(p->arena, folder, name), text, strlen(text), d);
}

bool paper_record(const struct paper *p, const char *folder, const char *commit, struct diag *d)
{
  bool ok = file_make_dir(folder, d);
  for (size_t i = 0; ok && i < p->lowered->n; i++) {
    const uint32_t at = p->lowered->targets[i].step;
    const struct plan_step *step = plan_step(p->plan, at);
    if (step->kind != PLAN_FIGURE || p->lowered->targets[i].unavailable || !p->wanted[at])
      continue;
    ok = put(p, folder, arena_printf(p->arena, "%s.csv", plan_figure_id(p->arena, step->figure)),
             figure_csv_text(p->arena, p->store, p->plan, step, d), d);
  }
  return ok &&
         put(p, folder, "claims.csv", claims_csv(p->arena, p->claims, p->n_claims, p->tier), d) &&
         put(p, folder, "run.json", paper_run_json(p, commit, d), d);
}
