#include "plan/explain.h"

#include <string.h>

static void print_inputs(const struct plan_step *s, FILE *out)
{
  enum { SHOWN = 4 };
  for (uint32_t k = 0; k < s->n_inputs && k < SHOWN; k++)
    fprintf(out, "%s#%u", k ? " " : " <- ", (unsigned)s->inputs[k]);
  if (s->n_inputs > SHOWN)
    fprintf(out, " and %u more", (unsigned)(s->n_inputs - SHOWN));
}

void explain_steps(const struct explain *e, FILE *out)
{
  struct arena *a = arena_new();
  char seconds[32];
  for (uint32_t i = 0; i < plan_count(e->plan); i++) {
    const struct plan_step *s = plan_step(e->plan, i);
    if (e->states[i] == EXPLAIN_UNWANTED)
      continue;
    fprintf(out, "#%-5u %-6s %s", (unsigned)i,
            e->states[i] == EXPLAIN_CACHED  ? "cached"
            : e->states[i] == EXPLAIN_LATER ? "later"
                                            : "to do",
            plan_step_text(a, s));
    print_inputs(s, out);
    fprintf(out, "  [%s%s%s, %s", s->origin.experiment, *s->origin.point ? " " : "",
            s->origin.point, source_line_name(e->sources, s->origin.span, a));
    if (e->asked[i] > 1)
      fprintf(out, ", for %u experiments", (unsigned)e->asked[i]);
    if (e->states[i] == EXPLAIN_TODO && e->costs[i].seconds >= 0.05)
      fprintf(out, ", %s", cost_duration(e->costs[i].seconds, seconds));
    fputs("]\n", out);
  }
  arena_free(a);
}

/* ---- counts and cost ---- */

struct cost_total explain_total(const struct explain *e, enum explain_state state)
{
  struct arena *a = arena_new();
  uint32_t n = plan_count(e->plan);
  bool *chosen = arena_array(a, (size_t)n + 1, sizeof *chosen);
  for (uint32_t i = 0; i < n; i++)
    chosen[i] = e->wanted[i] && (state == EXPLAIN_UNWANTED ? e->states[i] != EXPLAIN_LATER
                                                           : e->states[i] == state);
  struct cost_total total = cost_total(e->plan, chosen, e->costs);
  arena_free(a);
  return total;
}

static void print_cost(const struct explain *e, FILE *out)
{
  struct cost_total all = explain_total(e, EXPLAIN_UNWANTED);
  struct cost_total todo = explain_total(e, EXPLAIN_TODO);
  char flops[32], seconds[32], disk[32], memory[32], wall[32], chain[32];
  const struct cost_total *rows[] = {&all, &todo};
  static const char *const names[] = {"planned", "left"};
  fprintf(out, "%-8s %10s %14s %14s %10s %12s\n", "cost", "arithmetic", "one worker",
          "longest chain", "disk", "memory each");
  for (int i = 0; i < 2; i++)
    fprintf(out, "%-8s %10s %14s %14s %10s %12s\n", names[i],
            cost_amount(rows[i]->sum.flops, "FLOP", flops),
            cost_duration(rows[i]->sum.seconds, seconds), cost_duration(rows[i]->chain, chain),
            cost_amount(rows[i]->sum.bytes, "B", disk),
            rows[i]->sum.memory > 0 ? cost_amount(rows[i]->sum.memory, "B", memory) : "unknown");
  fputs("memory each: of each worker, at the largest step\n", out);
  fprintf(out, "time to do with %u worker%s: about %s\n", e->jobs, e->jobs == 1 ? "" : "s",
          cost_duration(cost_wall(&todo, e->jobs), wall));
}

/* Steps of a kind, in all and by state. */
struct counts {
  unsigned all, of[EXPLAIN_LATER + 1];
};

static void print_counts(const char *name, const struct counts *c, bool later, FILE *out)
{
  fprintf(out, "%-8s %8u %8u %8u", name, c->all, c->of[EXPLAIN_CACHED], c->of[EXPLAIN_TODO]);
  if (later)
    fprintf(out, " %8u", c->of[EXPLAIN_LATER]);
  fputc('\n', out);
}

void explain_summary(const struct explain *e, FILE *out)
{
  struct counts counts[PLAN_KIND_COUNT + 1] = {0}, *all = &counts[PLAN_KIND_COUNT];
  double training_todo = 0;
  for (uint32_t i = 0; i < plan_count(e->plan); i++) {
    const struct plan_step *s = plan_step(e->plan, i);
    if (!e->wanted[i])
      continue;
    struct counts *both[] = {&counts[s->kind], all};
    for (int k = 0; k < 2; k++) {
      both[k]->all++;
      both[k]->of[e->states[i]]++;
    }
    if (s->kind == PLAN_TRAIN && e->states[i] == EXPLAIN_TODO)
      training_todo += plan_num(s, PLAN_A_to) - plan_num(s, PLAN_A_from);
  }
  bool later = all->of[EXPLAIN_LATER] > 0;
  fprintf(out, "%-8s %8s %8s %8s%s\n", "steps", "planned", "cached", "to do",
          later ? "    later" : "");
  for (int k = 0; k < PLAN_KIND_COUNT; k++)
    if (counts[k].all)
      print_counts(plan_kind_name((enum plan_kind)k), &counts[k], later, out);
  print_counts("all", all, later, out);
  if (later)
    fputs("later: what this needs is not available yet, so that its time is not known\n", out);
  struct plan_sharing sharing = plan_sharing(e->plan, e->wanted);
  fprintf(out, "training steps: %.0f planned, %.0f without sharing", sharing.steps,
          sharing.steps_unshared);
  if (sharing.steps_unshared > 0)
    fprintf(out, " (%.1f%% saved)", 100 * (1 - sharing.steps / sharing.steps_unshared));
  fprintf(out, ", %.0f to do\n", training_todo);
  print_cost(e, out);
}

/* ---- what figures share ---- */

enum { WORD_BITS = 64 };

/* Which figures need each step: one bit a figure, `words` words a step. */
static uint64_t *needed_by(const struct explain *e, const uint32_t *figures, size_t n,
                           size_t words, struct arena *a)
{
  uint32_t count = plan_count(e->plan);
  uint64_t *bits = arena_array(a, (size_t)count * words + 1, sizeof *bits);
  for (size_t f = 0; f < n; f++)
    bits[figures[f] * words + f / WORD_BITS] |= (uint64_t)1 << f % WORD_BITS;
  for (uint32_t i = count; i-- > 0;) {
    const struct plan_step *s = plan_step(e->plan, i);
    for (uint32_t k = 0; k < s->n_inputs; k++)
      for (size_t w = 0; w < words; w++)
        bits[s->inputs[k] * words + w] |= bits[i * words + w];
  }
  return bits;
}

static void add_shared(struct explain_figures *f, const uint64_t *bits, size_t words, double steps,
                       size_t *who)
{
  size_t n = 0;
  for (size_t w = 0; w < words; w++)
    for (uint64_t left = bits[w]; left; left &= left - 1)
      who[n++] = w * WORD_BITS + (size_t)__builtin_ctzll(left);
  if (n == 1)
    f->alone[who[0]] += steps;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < n; k++)
      f->steps[who[i] * f->n + who[k]] += steps;
}

struct explain_figures explain_figures(const struct explain *e, struct arena *a)
{
  struct explain_figures f = {0};
  struct arena *own = arena_new();
  uint32_t *at = NULL;
  size_t n_at = 0, cap_at = 0, cap = 0;
  for (uint32_t i = 0; i < plan_count(e->plan); i++) {
    const struct plan_step *s = plan_step(e->plan, i);
    if (s->kind != PLAN_FIGURE || !e->wanted[i])
      continue;
    ARENA_PUSH(own, at, n_at, cap_at, i);
    ARENA_PUSH(a, f.figures, f.n, cap, s->figure);
  }
  size_t words = f.n / WORD_BITS + 1;
  f.steps = arena_array(a, f.n * f.n + 1, sizeof *f.steps);
  f.alone = arena_array(a, f.n + 1, sizeof *f.alone);
  uint64_t *bits = needed_by(e, at, f.n, words, own);
  size_t *who = arena_array(own, f.n + 1, sizeof *who);
  for (uint32_t i = 0; i < plan_count(e->plan); i++) {
    const struct plan_step *s = plan_step(e->plan, i);
    if (s->kind == PLAN_TRAIN && e->wanted[i])
      add_shared(&f, bits + i * words, words,
                 plan_num(s, PLAN_A_to) - plan_num(s, PLAN_A_from), who);
  }
  arena_free(own);
  return f;
}

/* Too many for a table: a line a figure. */
static void print_shared(const struct explain_figures *f, size_t i, FILE *out)
{
  double own = f->steps[i * f->n + i];
  fprintf(out, "figure %-2u needs %10.0f, of them %10.0f also for", f->figures[i]->number, own,
          own - f->alone[i]);
  for (size_t k = 0; k < f->n; k++)
    if (k != i && f->steps[i * f->n + k] > 0)
      fprintf(out, " %u", f->figures[k]->number);
  fputc('\n', out);
}

void explain_sharing(const struct explain *e, FILE *out)
{
  enum { MOST = 12 }; /* columns that fit on a line */
  struct arena *a = arena_new();
  struct explain_figures f = explain_figures(e, a);
  size_t *with = arena_array(a, f.n + 1, sizeof *with), n = 0;
  for (size_t i = 0; i < f.n; i++) {
    double shared = 0;
    for (size_t k = 0; k < f.n; k++)
      shared += k == i ? 0 : f.steps[i * f.n + k];
    if (shared > 0)
      with[n++] = i;
  }
  if (n)
    fprintf(out, "training steps that figures share:\n");
  if (n && n <= MOST) {
    fprintf(out, "%-9s", "");
    for (size_t i = 0; i < n; i++)
      fprintf(out, " %8u", f.figures[with[i]]->number);
    fputc('\n', out);
    for (size_t i = 0; i < n; i++) {
      fprintf(out, "figure %-2u", f.figures[with[i]]->number);
      for (size_t k = 0; k < n; k++)
        fprintf(out, " %8.0f", f.steps[with[i] * f.n + with[k]]);
      fputc('\n', out);
    }
  } else {
    for (size_t i = 0; i < n; i++)
      print_shared(&f, with[i], out);
  }
  arena_free(a);
}
