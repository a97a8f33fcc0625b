/* status: what is done, what a run is doing now, what failed, and how long the rest takes.
 * Nothing is written, so that it works beside a run. */
#include "config.h"

#include "command_json.h"
#include "run/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* HELD_UP: it needs the result of one that failed. */
enum look { LOOK_OUT, LOOK_DONE, LOOK_RUNNING, LOOK_FAILED, LOOK_HELD_UP, LOOK_WAITING, LOOKS };

struct scene {
  struct session *s;
  struct explain plan;
  enum look *looks;                /* by step */
  struct status_failure *failures; /* by step, where it FAILED */
  struct cost *left;               /* by step: what it still takes */
  struct status_run *runs;
  size_t n_runs;
  unsigned jobs; /* workers of the runs that go on; else those that a run would have */
  bool going;
};

/* Of one figure or experiment, or of all. */
struct count {
  unsigned all, of[LOOKS];
  double seconds; /* until it is done, but for what failed */
};

/* ---- looking ---- */

static const struct status_step *at_work(const struct scene *c, struct hash key)
{
  for (size_t r = 0; r < c->n_runs; r++)
    for (size_t k = 0; k < c->runs[r].n_steps; k++)
      if (c->runs[r].steps[k].alive && hash_equal(c->runs[r].steps[k].key, key))
        return &c->runs[r].steps[k];
  return NULL;
}

static enum look look_at(struct scene *c, uint32_t i)
{
  const struct session *s = c->s;
  const struct plan_step *step = plan_step(s->plan, i);
  if (c->plan.states[i] != EXPLAIN_TODO)
    return c->plan.states[i] == EXPLAIN_CACHED ? LOOK_DONE : LOOK_OUT;
  if (at_work(c, step->key))
    return LOOK_RUNNING;
  if (status_failure(s->store, step->key, s->arena, &c->failures[i]))
    return LOOK_FAILED;
  for (uint32_t k = 0; k < step->n_inputs; k++) {
    const enum look input = c->looks[step->inputs[k]];
    if (input == LOOK_FAILED || input == LOOK_HELD_UP)
      return LOOK_HELD_UP;
  }
  return LOOK_WAITING;
}

static struct scene look_around(struct session *s)
{
  const uint32_t n = plan_count(s->plan);
  struct scene c = {.s = s, .jobs = 0};
  c.runs = status_runs(s->store, s->arena, &c.n_runs);
  c.plan = session_describe(s);
  c.looks = arena_array(s->arena, (size_t)n + 1, sizeof *c.looks);
  c.failures = arena_array(s->arena, (size_t)n + 1, sizeof *c.failures);
  c.left = arena_array(s->arena, (size_t)n + 1, sizeof *c.left);
  for (uint32_t i = 0; i < n; i++) {
    c.looks[i] = look_at(&c, i);
    c.left[i] = c.plan.costs[i];
    const struct status_step *at =
        c.looks[i] == LOOK_RUNNING ? at_work(&c, plan_step(s->plan, i)->key) : NULL;
    if (at)
      c.left[i].seconds = fmax(c.left[i].seconds - (status_now() - at->since), 0);
  }
  for (size_t r = 0; r < c.n_runs; r++)
    if (c.runs[r].state == STATUS_GOING)
      c.jobs += c.runs[r].workers;
  c.going = c.jobs > 0;
  if (!c.going)
    c.jobs = s->options.jobs;
  return c;
}

/* `targets` NULL: of all that is wanted. */
static struct count count(const struct scene *c, const uint32_t *targets, size_t n_targets)
{
  const struct plan *plan = c->s->plan;
  const uint32_t n = plan_count(plan);
  struct count sum = {0};
  struct arena *a = arena_new();
  bool *chosen = arena_array(a, (size_t)n + 1, sizeof *chosen);
  if (targets)
    plan_closure(plan, targets, n_targets, chosen);
  for (uint32_t i = 0; i < n; i++) {
    const enum look look = c->looks[i];
    const bool mine = (!targets || chosen[i]) && c->s->wanted[i] && look != LOOK_OUT;
    sum.all += mine;
    sum.of[look] += mine;
    chosen[i] = mine && (look == LOOK_RUNNING || look == LOOK_WAITING);
  }
  const struct cost_total total = cost_total(plan, chosen, c->left);
  sum.seconds = cost_wall(&total, c->jobs);
  arena_free(a);
  return sum;
}

/* "train noise lr=0.1 [fig01.exp:12]" */
static const char *name_of(const struct scene *c, uint32_t i)
{
  const struct session *s = c->s;
  const struct plan_step *step = plan_step(s->plan, i);
  const struct plan_origin *o = &step->origin;
  return arena_printf(s->arena, "%s %s%s%s [%s]", plan_kind_name(step->kind), o->experiment,
                      *o->point ? " " : "", o->point,
                      source_line_name(s->program->sources, o->span, s->arena));
}

/* ---- as text ---- */

struct colours {
  const char *bold, *good, *bad, *soft, *off;
};

static struct colours colours_of(FILE *out)
{
  return diag_colour(out)
             ? (struct colours){"\033[1m", "\033[32m", "\033[1;31m", "\033[2m", "\033[0m"}
             : (struct colours){"", "", "", "", ""};
}

static const char *date_of(const struct scene *c, double when)
{
  const time_t t = (time_t)when;
  struct tm local;
  char text[64] = "";
  if (localtime_r(&t, &local))
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return arena_strdup(c->s->arena, text);
}

static void print_at_work(const struct scene *c, const struct status_step *at)
{
  const uint32_t i = plan_find(c->s->plan, at->key);
  char hex[HASH_HEX], since[32], cost[32];
  hash_hex(at->key, hex);
  printf("  worker %u: %s, for %s of about %s", at->worker,
         i == UINT32_MAX ? arena_printf(c->s->arena, "step %.12s, not of these files", hex)
                         : name_of(c, i),
         cost_duration(fmax(status_now() - at->since, 0), since), cost_duration(at->cost, cost));
  if (at->threads > 1)
    printf(", %u threads", at->threads);
  putchar('\n');
}

static void print_run(const struct scene *c, const struct status_run *r, const struct colours *ink)
{
  const double part = r->count.cost_total > 0 ? r->count.cost_done / r->count.cost_total : 0;
  const double left = status_left(r) - (status_now() - r->heard);
  char time[32];
  printf("%srun %ld%s on %s", ink->bold, r->pid, ink->off, r->host);
  printf(", %u worker%s, begun %s: %u of %u steps, %.0f%%", r->workers, r->workers == 1 ? "" : "s",
         date_of(c, r->begun), (unsigned)r->count.done, (unsigned)r->count.total,
         floor(100 * fmin(part, 1)));
  if (r->state == STATUS_KILLED)
    printf("; it %swas killed%s, last heard of %s: what it finished is kept", ink->bad, ink->off,
           date_of(c, r->heard));
  else if (r->state == STATUS_SILENT)
    printf("; %ssilent%s since %s: stopped, or killed on another host", ink->bad, ink->off,
           date_of(c, r->heard));
  else if (isfinite(left))
    printf(", about %s left at its pace", cost_duration(fmax(left, 0), time));
  putchar('\n');
  for (size_t k = 0; k < r->n_steps; k++)
    if (r->steps[k].alive)
      print_at_work(c, &r->steps[k]);
}

static void print_failures(const struct scene *c, const struct colours *ink)
{
  for (uint32_t i = 0; i < plan_count(c->s->plan); i++) {
    const struct status_failure *f = &c->failures[i];
    if (c->looks[i] != LOOK_FAILED)
      continue;
    printf("%sfailed:%s %s, at %s on %s: %s\n", ink->bad, ink->off, name_of(c, i),
           date_of(c, f->when), f->host, f->error);
    if (*f->hint)
      printf("  hint: %s\n", f->hint);
  }
}

static void print_count(const char *name, const struct count *n, const struct colours *ink)
{
  const unsigned bad = n->of[LOOK_FAILED] + n->of[LOOK_HELD_UP];
  const bool done = n->of[LOOK_DONE] == n->all;
  char time[32];
  printf("%-14s %7u %s%7u%s %8u %s%7u%s %8u %8u %13s\n", name, n->all, done ? ink->good : "",
         n->of[LOOK_DONE], done ? ink->off : "", n->of[LOOK_RUNNING], bad ? ink->bad : "",
         n->of[LOOK_FAILED], bad ? ink->off : "", n->of[LOOK_HELD_UP], n->of[LOOK_WAITING],
         done ? "-" : cost_duration(n->seconds, time));
}

static const char *target_name(const struct scene *c, const struct lower_target *t)
{
  return t->experiment ? t->experiment : arena_printf(c->s->arena, "figure %u", t->number);
}

static bool is_shown(const struct scene *c, const struct lower_target *t)
{
  return !t->unavailable && c->s->wanted[t->step] &&
         (t->experiment == NULL) == session_has_figures(c->s);
}

static void print_scene(const struct scene *c)
{
  const struct colours ink = colours_of(stdout);
  const struct lower_result *lowered = &c->s->lowered;
  const struct count all = count(c, NULL, 0);
  char time[32];
  for (size_t r = 0; r < c->n_runs; r++)
    print_run(c, &c->runs[r], &ink);
  print_failures(c, &ink);
  printf("%s%-14s %7s %7s %8s %7s %8s %8s %13s%s\n", ink.bold, "", "steps", "done", "running",
         "failed", "held up", "waiting", "time left", ink.off);
  for (size_t i = 0; i < lowered->n; i++) {
    const struct lower_target *t = &lowered->targets[i];
    if (!is_shown(c, t))
      continue;
    const struct count one = count(c, &t->step, 1);
    print_count(target_name(c, t), &one, &ink);
  }
  print_count("all", &all, &ink);
  if (all.of[LOOK_DONE] == all.all) {
    printf("%sall is done%s\n", ink.good, ink.off);
    return;
  }
  printf("time left: about %s with %u worker%s", cost_duration(all.seconds, time), c->jobs,
         c->jobs == 1 ? "" : "s");
  printf(c->going ? "\n" : "; no run is going on\n");
  if (all.of[LOOK_FAILED])
    printf("a run tries again what failed, and what it held up; their time is not counted\n");
}

/* ---- as data ---- */

static json_t *text_json(const struct scene *c, const char *text)
{
  return command_json_text(c->s->arena, text);
}

static const char *const count_names[LOOKS] = {"", "done", "running", "failed", "held_up",
                                               "waiting"};

static json_t *count_json(const struct count *n)
{
  json_t *j = json_pack("{s:i, s:o}", "steps", (int)n->all, "time_left",
                        command_json_number(n->seconds));
  for (int k = LOOK_DONE; k < LOOKS; k++)
    json_object_set_new(j, count_names[k], json_integer(n->of[k]));
  return j;
}

static json_t *run_json(const struct scene *c, const struct status_run *r)
{
  static const char *const states[] = {"going", "silent", "killed"};
  json_t *steps = json_array();
  for (size_t k = 0; k < r->n_steps; k++) {
    const struct status_step *at = &r->steps[k];
    json_t *step = json_pack("{s:i, s:I, s:i, s:b, s:o, s:o}", "worker", (int)at->worker, "pid",
                             (json_int_t)at->pid, "threads", (int)at->threads, "alive", at->alive,
                             "since", command_json_number(at->since), "expected",
                             command_json_number(at->cost));
    command_json_add_step(c->s, step, at->key);
    json_array_append_new(steps, step);
  }
  return json_pack("{s:o, s:I, s:s, s:i, s:o, s:o, s:I, s:I, s:o, s:o}", "host",
                   text_json(c, r->host), "pid", (json_int_t)r->pid, "state", states[r->state],
                   "workers", (int)r->workers, "begun", command_json_number(r->begun), "heard",
                   command_json_number(r->heard), "done", (json_int_t)r->count.done, "steps",
                   (json_int_t)r->count.total, "time_left", command_json_number(status_left(r)),
                   "running", steps);
}

static json_t *failures_json(const struct scene *c)
{
  json_t *list = json_array();
  for (uint32_t i = 0; i < plan_count(c->s->plan); i++) {
    const struct status_failure *f = &c->failures[i];
    if (c->looks[i] != LOOK_FAILED)
      continue;
    json_t *j = json_pack("{s:o, s:o, s:o, s:o}", "error", text_json(c, f->error), "hint",
                          text_json(c, f->hint), "host", text_json(c, f->host), "when",
                          command_json_number(f->when));
    command_json_add_step(c->s, j, plan_step(c->s->plan, i)->key);
    json_array_append_new(list, j);
  }
  return list;
}

static bool write_json(const struct scene *c)
{
  const struct lower_result *lowered = &c->s->lowered;
  const struct count all = count(c, NULL, 0);
  json_t *runs = json_array(), *targets = json_array();
  for (size_t r = 0; r < c->n_runs; r++)
    json_array_append_new(runs, run_json(c, &c->runs[r]));
  for (size_t i = 0; i < lowered->n; i++) {
    const struct lower_target *t = &lowered->targets[i];
    if (!is_shown(c, t))
      continue;
    const struct count one = count(c, &t->step, 1);
    json_t *j = count_json(&one);
    json_object_set_new(j, "name", text_json(c, target_name(c, t)));
    json_array_append_new(targets, j);
  }
  json_t *json = json_pack("{s:o, s:o, s:i, s:o, s:o, s:o, s:o}", "tier",
                           text_json(c, c->s->options.tier), "store",
                           text_json(c, c->s->options.store), "workers", (int)c->jobs, "all",
                           count_json(&all), "targets", targets, "runs", runs, "failures",
                           failures_json(c));
  return command_json_print(json);
}

int command_status(struct session *s)
{
  if (!session_choose(s, !session_has_figures(s)))
    return EXIT_EXPERIMENT;
  if (!session_view_store(s))
    return EXIT_ENVIRONMENT;
  const struct scene c = look_around(s);
  if (s->options.json)
    return write_json(&c) ? EXIT_DONE : EXIT_ENVIRONMENT;
  print_scene(&c);
  return EXIT_DONE;
}
