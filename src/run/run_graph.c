/* What is left to do, and in which order. */
#include "config.h"

#include "run/run_int.h"

#include <assert.h>
#include <string.h>

static bool step_done(const struct plan *plan, struct store *store, const struct run_kind *kinds,
                      uint32_t i)
{
  const struct plan_step *step = plan_step(plan, i);
  const struct run_kind *kind = &kinds[step->kind];
  return kind->done ? kind->done(kind->context, plan, step) : store_has(store, step->key);
}

static bool is_done(const struct run_graph *g, uint32_t i)
{
  return step_done(g->plan, g->store, g->kinds, i);
}

void graph_plan(const struct plan *plan, const bool *wanted, struct store *store,
                const struct run_kind *kinds, struct arena *a, enum step_state *state)
{
  uint32_t n = plan_count(plan);
  bool *read = arena_array(a, n, sizeof *read); /* by a wanted step */
  bool *needed = arena_array(a, n, sizeof *needed);
  for (uint32_t i = 0; i < n; i++) {
    const struct plan_step *step = plan_step(plan, i);
    for (uint32_t k = 0; wanted[i] && k < step->n_inputs; k++)
      read[step->inputs[k]] = true;
  }
  /* Readers come after what they read, so one pass backwards settles all. */
  for (uint32_t i = n; i-- > 0;) {
    state[i] = STEP_OUT;
    needed[i] |= wanted[i] && !read[i];
    if (!wanted[i] && !needed[i])
      continue;
    if (step_done(plan, store, kinds, i)) {
      state[i] = STEP_CACHED;
      continue;
    }
    if (!needed[i]) /* what was made from it is there: no need of it */
      continue;
    state[i] = STEP_TODO;
    const struct plan_step *step = plan_step(plan, i);
    for (uint32_t k = 0; k < step->n_inputs; k++)
      needed[step->inputs[k]] = true;
  }
}

static void link_readers(struct run_graph *g)
{
  g->next_at = arena_array(g->arena, (size_t)g->n + 2, sizeof *g->next_at);
  /* Counted one place further on, so that filling moves each start into place. */
  for (uint32_t i = 0; i < g->n; i++) {
    const struct plan_step *step = plan_step(g->plan, i);
    for (uint32_t k = 0; k < step->n_inputs; k++)
      g->next_at[step->inputs[k] + 2]++;
  }
  for (uint32_t i = 0; i < g->n; i++)
    g->next_at[i + 2] += g->next_at[i + 1];
  g->next = arena_array(g->arena, (size_t)g->next_at[g->n + 1] + 1, sizeof *g->next);
  for (uint32_t i = 0; i < g->n; i++) {
    const struct plan_step *step = plan_step(g->plan, i);
    for (uint32_t k = 0; k < step->n_inputs; k++)
      g->next[g->next_at[step->inputs[k] + 1]++] = i;
  }
}

/* ---- the heap of steps that may start ---- */

/* What the plan names first is wanted first, so that a figure is there long before the last one.
 * Within it, long chains start early: else a last one would leave the other workers idle. */
static bool before(const struct run_graph *g, uint32_t a, uint32_t b)
{
  if (g->target[a] != g->target[b])
    return g->target[a] < g->target[b];
  return g->chain[a] > g->chain[b] || (g->chain[a] == g->chain[b] && a < b);
}

static void heap_push(struct run_graph *g, uint32_t step)
{
  ARENA_PUSH(g->arena, g->heap, g->n_heap, g->cap_heap, step);
  size_t at = g->n_heap - 1;
  while (at && before(g, step, g->heap[(at - 1) / 2])) {
    g->heap[at] = g->heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  g->heap[at] = step;
}

static uint32_t heap_pop(struct run_graph *g)
{
  uint32_t top = g->heap[0], last = g->heap[--g->n_heap];
  size_t at = 0;
  for (size_t child; (child = 2 * at + 1) < g->n_heap; at = child) {
    if (child + 1 < g->n_heap && before(g, g->heap[child + 1], g->heap[child]))
      child++;
    if (!before(g, g->heap[child], last))
      break;
    g->heap[at] = g->heap[child];
  }
  g->heap[at] = last;
  return top;
}

static bool open_state(enum step_state s)
{
  return s == STEP_TODO || s == STEP_RUNNING;
}

/* Counts, chains, targets and the heap, from the states alone. */
static void settle(struct run_graph *g)
{
  g->n_heap = 0;
  for (uint32_t i = g->n; i-- > 0;) {
    g->pending[i] = 0;
    g->chain[i] = 0;
    g->target[i] = RUN_NONE;
    if (!open_state(g->state[i]))
      continue;
    for (uint32_t k = g->next_at[i]; k < g->next_at[i + 1]; k++) {
      if (g->chain[g->next[k]] > g->chain[i])
        g->chain[i] = g->chain[g->next[k]];
      if (g->target[g->next[k]] < g->target[i])
        g->target[i] = g->target[g->next[k]];
    }
    g->chain[i] += g->cost[i];
    if (g->target[i] == RUN_NONE)
      g->target[i] = i;
    const struct plan_step *step = plan_step(g->plan, i);
    for (uint32_t k = 0; k < step->n_inputs; k++)
      g->pending[i] += open_state(g->state[step->inputs[k]]);
  }
  for (uint32_t i = 0; i < g->n; i++)
    if (g->state[i] == STEP_TODO && !g->pending[i])
      heap_push(g, i);
}

/* Asked for when it is needed: the first time may take a probe of the machine. */
static double cost_of(struct run_graph *g, uint32_t i)
{
  const struct plan_step *step = plan_step(g->plan, i);
  const struct run_kind *kind = &g->kinds[step->kind];
  if (!(g->cost[i] > 0)) {
    double cost = kind->cost ? kind->cost(kind->context, g->plan, step) : 1;
    g->cost[i] = cost > 0 ? cost : 1;
  }
  return g->cost[i];
}

void graph_begin(struct run_graph *g, const bool *wanted)
{
  struct arena *a = g->arena;
  g->n = plan_count(g->plan);
  g->state = arena_array(a, g->n, sizeof *g->state);
  g->pending = arena_array(a, g->n, sizeof *g->pending);
  g->cost = arena_array(a, g->n, sizeof *g->cost);
  g->chain = arena_array(a, g->n, sizeof *g->chain);
  g->target = arena_array(a, g->n, sizeof *g->target);
  g->tries = arena_array(a, g->n, sizeof *g->tries);
  g->sent = arena_array(a, g->n, sizeof *g->sent);
  g->revived = arena_array(a, g->n, sizeof *g->revived);
  g->stack = arena_array(a, g->n, sizeof *g->stack);
  graph_plan(g->plan, wanted, g->store, g->kinds, a, g->state);
  for (uint32_t i = 0; i < g->n; i++) {
    if (g->state[i] == STEP_TODO) {
      g->count.total++;
      g->count.cost_total += cost_of(g, i);
    }
  }
  link_readers(g);
  settle(g);
}

/* ---- while it runs ---- */

static void close_step(struct run_graph *g, uint32_t i, enum step_state state)
{
  assert(open_state(g->state[i]));
  g->state[i] = state;
  g->count.done++;
  g->count.cost_done += g->cost[i];
  if (state == STEP_FAILED || state == STEP_SKIPPED)
    return;
  for (uint32_t k = g->next_at[i]; k < g->next_at[i + 1]; k++) {
    uint32_t reader = g->next[k];
    if (g->state[reader] == STEP_TODO && !--g->pending[reader])
      heap_push(g, reader);
  }
}

uint32_t graph_next(struct run_graph *g)
{
  while (g->n_heap) {
    uint32_t i = heap_pop(g);
    if (g->state[i] != STEP_TODO)
      continue;
    if (is_done(g, i)) {
      close_step(g, i, STEP_CACHED);
      continue;
    }
    g->state[i] = STEP_RUNNING;
    g->sent[i] = ++g->clock;
    return i;
  }
  return RUN_NONE;
}

void graph_finish(struct run_graph *g, uint32_t i)
{
  close_step(g, i, STEP_DONE);
}

/* Closes a step that will have no result, and skips all that would read it. */
static void give_up(struct run_graph *g, uint32_t from, enum step_state state)
{
  size_t n = 0;
  close_step(g, from, state);
  g->stack[n++] = from;
  while (n) {
    uint32_t i = g->stack[--n];
    for (uint32_t k = g->next_at[i]; k < g->next_at[i + 1]; k++) {
      uint32_t reader = g->next[k];
      if (g->state[reader] != STEP_TODO)
        continue;
      close_step(g, reader, STEP_SKIPPED);
      g->stack[n++] = reader;
    }
  }
}

void graph_fail(struct run_graph *g, uint32_t i)
{
  give_up(g, i, STEP_FAILED);
}

void graph_stop(struct run_graph *g)
{
  for (uint32_t i = 0; i < g->n; i++)
    if (g->state[i] == STEP_TODO)
      close_step(g, i, STEP_SKIPPED);
  g->n_heap = 0;
}

/* A step that was there is to do again, with what it needs. */
static void revive(struct run_graph *g, uint32_t gone)
{
  size_t n = 0;
  g->stack[n++] = gone;
  g->state[gone] = STEP_TODO;
  while (n) {
    uint32_t i = g->stack[--n];
    g->revived[i] = ++g->clock;
    g->count.total++;
    g->count.cost_total += cost_of(g, i);
    const struct plan_step *step = plan_step(g->plan, i);
    for (uint32_t k = 0; k < step->n_inputs; k++) {
      uint32_t input = step->inputs[k];
      enum step_state was = g->state[input];
      if (was != STEP_OUT && was != STEP_CACHED && was != STEP_DONE)
        continue;
      if (is_done(g, input)) {
        if (was == STEP_OUT)
          g->state[input] = STEP_CACHED;
        continue;
      }
      g->state[input] = STEP_TODO;
      g->stack[n++] = input;
    }
  }
}

bool graph_retry(struct run_graph *g, uint32_t i)
{
  const struct plan_step *step = plan_step(g->plan, i);
  bool again = false;
  if (g->tries[i] >= RUN_TRIES)
    return false;
  for (uint32_t k = 0; k < step->n_inputs; k++) {
    uint32_t input = step->inputs[k];
    /* Two steps may have met the same damage: for the second, the input is on
     * its way already, or even there again. */
    if (g->revived[input] > g->sent[i]) {
      again = true;
    } else if (!is_done(g, input)) {
      revive(g, input);
      again = true;
    }
  }
  if (!again)
    return false;
  g->tries[i]++;
  g->state[i] = STEP_TODO;
  settle(g);
  /* An input that failed meanwhile takes this step with it. */
  for (uint32_t k = 0; k < step->n_inputs; k++) {
    enum step_state s = g->state[step->inputs[k]];
    if (g->state[i] == STEP_TODO && (s == STEP_FAILED || s == STEP_SKIPPED))
      give_up(g, i, STEP_SKIPPED);
  }
  return true;
}
