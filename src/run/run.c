#include "config.h"

#include "run/run_int.h"
#include "run/status.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
  (void)number;
  interrupted = 1;
}

struct run {
  struct run_graph graph;
  struct run_pool pool;
  const struct run_options *options;
  struct progress progress;
  struct diag *diag;
  struct run_summary summary;
  double begun;
  struct status *status;
  bool stopping; /* the store is full: nothing new starts */
};

static double now_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- signals ---- */

static const int signals[] = {SIGINT, SIGTERM};
enum { N_SIGNALS = sizeof signals / sizeof *signals };

struct signal_state {
  struct sigaction old[N_SIGNALS];
  sigset_t mask;
};

/* With workers the signals are blocked but while we wait, so that none is lost
 * between a look at the flag and the wait. */
static void signals_take(struct signal_state *s, bool block)
{
  sigset_t ours;
  sigemptyset(&ours);
  interrupted = 0;
  for (int i = 0; i < N_SIGNALS; i++) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(signals[i], NULL, &s->old[i]);
    if (s->old[i].sa_handler == SIG_IGN) /* nohup, or a job in the background */
      continue;
    sigaction(signals[i], &action, NULL);
    sigaddset(&ours, signals[i]);
  }
  sigprocmask(block ? SIG_BLOCK : SIG_UNBLOCK, &ours, &s->mask);
}

static void signals_give_back(const struct signal_state *s)
{
  /* First the mask, so that one that is pending still meets our handler. */
  sigprocmask(SIG_SETMASK, &s->mask, NULL);
  for (int i = 0; i < N_SIGNALS; i++)
    sigaction(signals[i], &s->old[i], NULL);
}

/* ---- messages ---- */

/* "train noise lr=0.1 batch=32" */
static const char *label_of(const struct plan_step *step, struct arena *a)
{
  const char *experiment = step->origin.experiment ? step->origin.experiment : "";
  const char *point = step->origin.point ? step->origin.point : "";
  return arena_printf(a, "%s%s%s%s%s", plan_kind_name(step->kind), *experiment ? " " : "",
                      experiment, *point ? " " : "", point);
}

/* All errors of a reply as one text; *hint is the last one's. */
static const char *errors_of(const struct run_reply *reply, struct arena *a, const char **hint)
{
  const char *text = NULL;
  *hint = "";
  for (size_t k = 0; k < reply->n_messages; k++) {
    const struct run_message *m = &reply->messages[k];
    if (m->level != DIAG_ERROR)
      continue;
    text = text ? arena_printf(a, "%s\n%s", text, m->text) : m->text;
    if (*m->hint)
      *hint = m->hint;
  }
  return text ? text : "no reason was given";
}

/* Would every other step fail as well?  The reasons come from many places as
 * texts that end with the system's own words. */
static bool store_is_full(const struct run_reply *reply)
{
  static const int reasons[] = {ENOSPC, EDQUOT, EROFS, EFBIG};
  for (size_t k = 0; k < reply->n_messages; k++)
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
      if (reply->messages[k].level == DIAG_ERROR &&
          strcasestr(reply->messages[k].text, strerror(reasons[i])))
        return true;
  return false;
}

static void pass_warnings(struct run *run, const struct run_reply *reply)
{
  for (size_t k = 0; k < reply->n_messages; k++) {
    const struct run_message *m = &reply->messages[k];
    if (m->level != DIAG_WARNING)
      continue;
    progress_say(&run->progress, false, m->text);
    diag_warning(run->diag, SPAN_NONE, "%s", m->text);
    if (*m->hint)
      diag_hint(run->diag, "%s", m->hint);
  }
}

static void report_failure(struct run *run, const struct plan_step *step,
                           const struct run_reply *reply, struct arena *a)
{
  const char *hint, *text = errors_of(reply, a, &hint);
  const char *label = label_of(step, a);
  const struct source_set *sources = run->options->sources;
  const char *line = sources ? source_line_name(sources, step->origin.span, a) : "-";
  bool placed = strcmp(line, "-") != 0;
  progress_say(&run->progress, true,
               arena_printf(a, "%s%s%s%s: %s", label, placed ? " (" : "", placed ? line : "",
                            placed ? ")" : "", text));
  status_failed(run->graph.store, step->key, text, hint);
  diag_error(run->diag, step->origin.span, "%s failed: %s", label, text);
  if (run->stopping)
    diag_hint(run->diag, "the steps that were left are not tried; make room, then run again: "
                         "what is finished is kept");
  else if (*hint)
    diag_hint(run->diag, "%s", hint);
}

/* ---- one step's end ---- */

static void settle_step(struct run *run, uint32_t index, const struct run_reply *reply,
                        struct arena *a)
{
  struct run_graph *g = &run->graph;
  pass_warnings(run, reply);
  if (reply->good) {
    run->summary.diverged += reply->diverged;
    status_succeeded(g->store, plan_step(g->plan, index)->key);
    graph_finish(g, index);
    return;
  }
  if (!run->stopping && graph_retry(g, index))
    return;
  bool full = store_is_full(reply), again = full && run->stopping;
  run->stopping |= full;
  if (!again) /* a full store is told once */
    report_failure(run, plan_step(g->plan, index), reply, a);
  graph_fail(g, index);
  if (run->stopping)
    graph_stop(g);
}

static uint32_t start_next(struct run *run)
{
  uint32_t next = run->stopping ? RUN_NONE : graph_next(&run->graph);
  if (next == RUN_NONE)
    return next;
  struct arena *a = arena_new();
  progress_label(&run->progress, label_of(plan_step(run->graph.plan, next), a));
  arena_free(a);
  progress_update(&run->progress, run->graph.count, now_seconds());
  return next;
}

/* All that is left, in chains as long as the step's: where it would fill fewer than one such
 * chain a core, the cores are shared among these, and what is beside them is short.  So a
 * lone chain gets all cores, and of as many equal ones as there are cores each gets one. */
static struct run_order order_of(const struct run *run, uint32_t step)
{
  const struct run_options *o = run->options;
  const struct run_graph *g = &run->graph;
  if (o->threads)
    return (struct run_order){step, o->threads};
  const double left = g->count.cost_total - g->count.cost_done;
  const double chains = fmax(round(left / g->chain[step]), 1);
  const double threads = fmin(o->cores / chains, o->cores);
  return (struct run_order){step, threads < 1 ? 1 : (uint32_t)threads};
}

static void run_here(struct run *run)
{
  uint32_t index;
  while (!interrupted && (index = start_next(run)) != RUN_NONE) {
    struct arena *a = arena_new();
    struct run_reply reply;
    struct run_order order = order_of(run, index);
    status_started(run->status, 0, getpid(), index, order.threads, run->graph.cost[index]);
    status_update(run->status, run->graph.count);
    run_step_here(&run->pool.context, order, a, &reply);
    status_ended(run->status, 0);
    settle_step(run, index, &reply, a);
    arena_free(a);
    progress_update(&run->progress, run->graph.count, now_seconds());
  }
}

/* ---- with workers ---- */

/* Gives every idle worker a step; returns how many are busy. */
static unsigned feed(struct run *run)
{
  unsigned busy = 0;
  for (unsigned k = 0; k < run->pool.n; k++) {
    if (run->pool.workers[k].step != RUN_NONE) {
      busy++;
      continue;
    }
    uint32_t index = start_next(run);
    if (index == RUN_NONE)
      continue;
    struct run_order order = order_of(run, index);
    if (pool_send(&run->pool, k, order)) {
      status_started(run->status, k, run->pool.workers[k].pid, index, order.threads,
                     run->graph.cost[index]);
      busy++;
      continue;
    }
    struct arena *a = arena_new();
    struct run_message m = {DIAG_ERROR, NULL, "try fewer jobs"};
    m.text = arena_printf(a, "cannot start a worker process: %s", strerror(errno));
    struct run_reply reply = {.messages = &m, .n_messages = 1};
    settle_step(run, index, &reply, a);
    arena_free(a);
  }
  return busy;
}

static void receive(struct run *run, unsigned k)
{
  uint32_t index = run->pool.workers[k].step;
  struct arena *a = arena_new();
  struct run_reply reply;
  pool_receive(&run->pool, k, a, &reply);
  status_ended(run->status, k);
  settle_step(run, index, &reply, a);
  arena_free(a);
}

static void run_with_workers(struct run *run, const sigset_t *waiting)
{
  struct arena *a = run->graph.arena;
  struct run_pool *pool = &run->pool;
  struct pollfd *fds = arena_array(a, pool->n, sizeof *fds);
  for (unsigned busy; (busy = feed(run)) || run->graph.n_heap;) {
    status_update(run->status, run->graph.count);
    for (unsigned k = 0; k < pool->n; k++)
      fds[k] =
          (struct pollfd){pool->workers[k].step == RUN_NONE ? -1 : pool->workers[k].fd, POLLIN, 0};
    struct timespec wait = {busy ? 1 : 0, 0}; /* the time left goes on ticking */
    int got = ppoll(fds, pool->n, &wait, waiting);
    if (interrupted)
      break;
    for (unsigned k = 0; got > 0 && k < pool->n; k++)
      if (fds[k].fd >= 0 && fds[k].revents)
        receive(run, k);
    progress_update(&run->progress, run->graph.count, now_seconds());
  }
}

static void run_pool(struct run *run, unsigned jobs, const struct signal_state *state)
{
  struct run_pool *pool = &run->pool;
  pool->signals = state->mask;
  pool->n = jobs < run->graph.count.total ? jobs : run->graph.count.total;
  run->status = status_begin(run->graph.arena, run->graph.store, run->graph.plan, pool->n + !jobs);
  if (!jobs) {
    run_here(run);
  } else {
    pool->workers = arena_array(run->graph.arena, pool->n, sizeof *pool->workers);
    for (unsigned k = 0; k < pool->n; k++)
      pool->workers[k] = (struct run_worker){0, -1, RUN_NONE};
    sigset_t waiting = state->mask;
    for (int i = 0; i < N_SIGNALS; i++)
      sigdelset(&waiting, signals[i]);
    run_with_workers(run, &waiting);
    pool_stop(pool, interrupted);
  }
  status_end(run->status);
  run->summary.interrupted = interrupted;
}

/* ---- the whole ---- */

static void sum_up(struct run *run)
{
  struct run_summary *s = &run->summary;
  for (uint32_t i = 0; i < run->graph.n; i++) {
    enum step_state state = run->graph.state[i];
    s->wanted += state != STEP_OUT;
    s->cached += state == STEP_CACHED;
    s->ran += state == STEP_DONE;
    s->failed += state == STEP_FAILED;
    s->skipped += state == STEP_SKIPPED;
  }
  s->seconds = now_seconds() - run->begun;
}

static void say_end(struct run *run)
{
  const struct run_summary *s = &run->summary;
  char duration[32], text[256], failed[96] = "", diverged[48] = "";
  if (s->diverged)
    snprintf(diverged, sizeof diverged, " (%lu diverged)", (unsigned long)s->diverged);
  if (s->failed || s->skipped)
    snprintf(failed, sizeof failed, ", %lu failed (%lu skipped)", (unsigned long)s->failed,
             (unsigned long)s->skipped);
  snprintf(text, sizeof text, "%s%lu steps: %lu cached, %lu ran%s%s in %s%s",
           s->interrupted ? "interrupted: " : "", (unsigned long)s->wanted,
           (unsigned long)s->cached, (unsigned long)s->ran, diverged, failed,
           progress_duration(s->seconds, duration),
           s->interrupted ? "; what is finished is kept, run again to go on" : "");
  progress_end(&run->progress, text);
}

struct run_summary run_plan(const struct plan *plan, const bool *wanted, struct store *store,
                            const struct run_kind kinds[PLAN_KIND_COUNT],
                            const struct run_options *options, struct diag *diag)
{
  struct arena *a = arena_new();
  struct run *run = arena_alloc(a, sizeof *run);
  run->begun = now_seconds();
  run->options = options;
  run->diag = diag;
  run->progress.out = options->progress;
  run->progress.terminal = options->terminal;
  run->progress.colour = options->colour;
  run->graph.arena = a;
  run->graph.plan = plan;
  run->graph.store = store;
  run->graph.kinds = kinds;
  run->pool.context = (struct run_context){plan, store, kinds};
  /* From here on: learning what steps cost may take a second. */
  struct signal_state signals_before;
  signals_take(&signals_before, options->jobs > 0);
  graph_begin(&run->graph, wanted);
  if (options->begun)
    options->begun(options->context);
  uint32_t cached = 0;
  for (uint32_t i = 0; i < run->graph.n; i++)
    cached += run->graph.state[i] == STEP_CACHED;
  progress_begin(&run->progress, cached, run->graph.count, now_seconds());
  if (run->graph.count.total)
    run_pool(run, options->jobs, &signals_before);
  signals_give_back(&signals_before);
  sum_up(run);
  say_end(run);
  struct run_summary summary = run->summary;
  arena_free(a);
  return summary;
}

void run_states(const struct plan *plan, const bool *wanted, struct store *store,
                const struct run_kind kinds[PLAN_KIND_COUNT], enum run_state *states)
{
  struct arena *a = arena_new();
  uint32_t n = plan_count(plan);
  enum step_state *state = arena_array(a, n, sizeof *state);
  graph_plan(plan, wanted, store, kinds, a, state);
  for (uint32_t i = 0; i < n; i++)
    states[i] = state[i] == STEP_OUT      ? RUN_UNWANTED
                : state[i] == STEP_CACHED ? RUN_CACHED
                                          : RUN_TODO;
  arena_free(a);
}
