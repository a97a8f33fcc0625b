/* why and what-if: what the files as they are now would compute anew, and the
 * words that ask for it. */
#include "config.h"

#include "base/file.h"
#include "base/num.h"
#include "dsl/words.h"
#include "run/why.h"
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- where an attribute is said ---- */

/* The setting or sweep of the experiment that asked first, else its statement. */
static const char *said_at(const struct session *s, const struct why_difference *d,
                           struct arena *a)
{
  const struct plan_origin *origin = &plan_step(s->plan, d->step)->origin;
  const struct dsl_experiment *e = dsl_experiment(s->dsl, origin->experiment);
  const struct dsl_var *var = e ? dsl_var(e, words_setting_of(d->here.id)) : NULL;
  const struct ast_stmt *stmt = var ? dsl_said_by(s->dsl, var) : NULL;
  struct span span = stmt ? stmt->span : origin->span;
  return source_line_name(s->program->sources, span, a);
}

static const char *value_text(const struct plan_attr *at, bool there, struct arena *a)
{
  char number[NUM_TEXT];
  if (!there)
    return "not set";
  return at->str ? at->str : arena_strdup(a, num_text(at->num, number));
}

/* ---- why ---- */

/* By number, with or without #, else by the beginning of a key: the files decide
 * which is meant where both could be. */
static uint32_t find_step(struct session *s)
{
  const char *text = s->options.step, *digits = text + (*text == '#');
  uint32_t n = plan_count(s->plan), found = UINT32_MAX;
  char *end, hex[HASH_HEX];
  unsigned long number = strtoul(digits, &end, 10);
  size_t length = strlen(text), matches = 0;
  if (*digits && !*end && number < n && length < 8)
    return (uint32_t)number;
  for (uint32_t i = 0; length && i < n; i++) {
    hash_hex(plan_step(s->plan, i)->key, hex);
    if (!strncmp(hex, text, length)) {
      found = i;
      matches++;
    }
  }
  if (matches == 1)
    return found;
  if (matches)
    diag_error(s->diag, SPAN_NONE, "%zu steps have keys that begin with `%s`", matches, text);
  else
    diag_error(s->diag, SPAN_NONE, "the plan of these files has no step `%s`", text);
  diag_hint(s->diag, "give the number that `mergescape explain` prints (0 to %u), or more of the "
            "key", n ? n - 1 : 0);
  return UINT32_MAX;
}

static void print_kinds(unsigned kinds, FILE *out)
{
  for (int k = 0; k < PLAN_KIND_COUNT; k++)
    if (kinds >> k & 1 && k < PLAN_TABLE)
      fprintf(out, "  the code that computes %s steps has another version\n",
              plan_kind_name((enum plan_kind)k));
    else if (kinds >> k & 1)
      fprintf(out, "  the %s reads the same results, but shows something else of them\n",
              plan_kind_name((enum plan_kind)k));
}

static void print_why(struct session *s, uint32_t step, const struct why *why, struct arena *a)
{
  char hex[HASH_HEX];
  hash_hex(why->nearest->key, hex);
  printf("nearest in the store: %s %.12s (%s%s%s)\n", plan_kind_name(why->nearest->kind), hex,
         why->nearest->experiment, *why->nearest->point ? " " : "", why->nearest->point);
  for (size_t i = 0; i < why->n; i++) {
    const struct why_difference *d = &why->differences[i];
    const struct plan_step *of = plan_step(s->plan, d->step);
    printf("  %s: %s here, %s there", plan_attr_name(d->here.id),
           value_text(&d->here, d->has_here, a), value_text(&d->there, d->has_there, a));
    if (d->step != step)
      printf(", of #%u (%s), which it comes from", (unsigned)d->step, plan_kind_name(of->kind));
    printf("  [%s]\n", said_at(s, d, a));
  }
  print_kinds(why->versions, stdout);
  if (why->shape)
    printf("  it comes about from other kinds or numbers of steps\n");
  if (why->unknown)
    printf("  %u of the steps that the nearest came from %s no longer in the store\n", why->unknown,
           why->unknown == 1 ? "is" : "are");
}

static void explain_why(struct session *s, uint32_t step, const struct why *why)
{
  const struct plan_step *of = plan_step(s->plan, step);
  char hex[HASH_HEX];
  hash_hex(of->key, hex);
  printf("#%u %s\n  [%s%s%s, %s]\nkey %s: ", (unsigned)step, plan_step_text(s->arena, of),
         of->origin.experiment, *of->origin.point ? " " : "", of->origin.point,
         source_line_name(s->program->sources, of->origin.span, s->arena), hex);
  if (why->cached) {
    printf("cached in %s/objects/%.2s/%s\n", s->options.store, hex, hex);
    return;
  }
  unsigned missing = 0;
  for (uint32_t k = 0; k < of->n_inputs; k++)
    missing += !store_has(s->store, plan_step(s->plan, of->inputs[k])->key);
  printf("to do");
  if (missing)
    printf(", and %u of its %u inputs are to do before", missing, (unsigned)of->n_inputs);
  putchar('\n');
  if (why->nearest)
    print_why(s, step, why, s->arena);
  else
    printf("the store has no %s step yet\n", plan_kind_name(of->kind));
}

/* Figures are in the output folder, not in the store. */
static int why_figure(struct session *s, uint32_t step)
{
  const struct plan_step *of = plan_step(s->plan, step);
  const struct run_kind *kind = &s->kinds[PLAN_FIGURE];
  printf("#%u %s\n", (unsigned)step, plan_step_text(s->arena, of));
  if (kind->done(kind->context, s->plan, of)) {
    printf("drawn in %s/%s.pdf\n", s->options.output, plan_figure_id(s->arena, of->figure));
    return EXIT_DONE;
  }
  printf("to do: %s does not hold this very figure\n", s->options.output);
  for (uint32_t k = 0; k < of->n_inputs; k++)
    if (!store_has(s->store, plan_step(s->plan, of->inputs[k])->key))
      printf("  its table #%u is to do: mergescape why %u tells more\n", (unsigned)of->inputs[k],
             (unsigned)of->inputs[k]);
  return EXIT_DONE;
}

int command_why(struct session *s)
{
  uint32_t step = find_step(s);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  if (!session_open_store(s))
    return EXIT_ENVIRONMENT;
  if (plan_step(s->plan, step)->kind == PLAN_FIGURE)
    return why_figure(s, step);
  struct why_index *index = why_open(s->arena, s->store, s->diag);
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  struct why why = why_step(index, s->arena, s->plan, step);
  explain_why(s, step, &why);
  return EXIT_DONE;
}

/* ---- what-if ---- */

enum { MOST_ASKED = 48, MOST_REASONS = 8 };

struct reasons {
  const char *texts[MOST_REASONS];
  size_t n;
};

static void add_reason(struct reasons *r, const char *text)
{
  for (size_t i = 0; i < r->n; i++)
    if (!strcmp(r->texts[i], text))
      return;
  if (r->n < MOST_REASONS)
    r->texts[r->n++] = text;
}

static void reasons_of_step(struct session *s, const struct why_index *index, uint32_t i,
                            struct reasons *r)
{
  struct why why = why_step(index, s->arena, s->plan, i);
  const char *kind = plan_kind_name(plan_step(s->plan, i)->kind);
  if (!why.nearest)
    add_reason(r, arena_printf(s->arena, "the store has no %s step yet", kind));
  for (size_t k = 0; k < why.n; k++) {
    const struct why_difference *d = &why.differences[k];
    /* Where a segment begins and ends follows from what else has changed. */
    if (why.n > 1 && (d->here.id == PLAN_A_from || d->here.id == PLAN_A_schedule_from))
      continue;
    add_reason(r, arena_printf(s->arena, "%s changed in %s (%s)", plan_attr_name(d->here.id),
                               plan_step(s->plan, d->step)->origin.experiment,
                               said_at(s, d, s->arena)));
  }
  for (int k = 0; k < PLAN_KIND_COUNT; k++)
    if (why.versions >> k & 1 && k < PLAN_TABLE)
      add_reason(r, arena_printf(s->arena, "the code of %s steps changed",
                                 plan_kind_name((enum plan_kind)k)));
    else if (why.versions >> k & 1)
      add_reason(r, arena_printf(s->arena, "what %s shows changed (%s)",
                                 plan_step(s->plan, i)->origin.experiment,
                                 source_line_name(s->program->sources,
                                                  plan_step(s->plan, i)->origin.span, s->arena)));
  if (!why.cached && why.nearest && !why.n && !why.versions)
    add_reason(r, arena_printf(s->arena, "a %s step is new", kind));
}

/* Asks the steps that are to do though nothing they read is. */
static struct reasons find_reasons(struct session *s, const struct why_index *index,
                                   const enum run_state *states)
{
  struct reasons r = {.n = 0};
  unsigned asked = 0;
  for (uint32_t i = 0; i < plan_count(s->plan) && asked < MOST_ASKED; i++) {
    const struct plan_step *step = plan_step(s->plan, i);
    bool first = states[i] == RUN_TODO && step->kind != PLAN_FIGURE;
    for (uint32_t k = 0; first && k < step->n_inputs; k++)
      first = states[step->inputs[k]] != RUN_TODO;
    if (!first || store_has(s->store, step->key))
      continue;
    reasons_of_step(s, index, i, &r);
    asked++;
  }
  return r;
}

struct what_if {
  struct session *s;
  struct explain all;
  const struct why_index *index;
  enum run_state *states;
  bool *chosen, *todo;
};

static struct cost_total count(struct what_if *w, const uint32_t *targets, size_t n)
{
  plan_closure(w->s->plan, targets, n, w->chosen);
  run_states(w->s->plan, w->chosen, w->s->store, w->s->kinds, w->states);
  for (uint32_t i = 0; i < plan_count(w->s->plan); i++)
    w->todo[i] = w->states[i] == RUN_TODO;
  return cost_total(w->s->plan, w->todo, w->all.costs);
}

static bool drawn_before(struct session *s, const struct plan_step *figure)
{
  char *id = plan_figure_id(s->arena, figure->figure);
  char *path = arena_printf(s->arena, "%s/%s.json", s->options.output, id);
  return file_exists(path);
}

/* One line; false: there is nothing to do for it. */
static bool print_target(struct what_if *w, uint32_t target)
{
  const struct plan_step *step = plan_step(w->s->plan, target);
  struct cost_total total = count(w, &target, 1);
  char seconds[32];
  if (step->figure)
    printf("figure %u: ", step->figure->number);
  else
    printf("experiment %s: ", step->table->experiment);
  if (!total.steps) {
    puts("nothing to do");
    return false;
  }
  struct reasons r = find_reasons(w->s, w->index, w->states);
  printf("%u step%s to do, %s", (unsigned)total.steps, total.steps == 1 ? "" : "s",
         cost_duration(cost_wall(&total, w->s->options.jobs), seconds));
  for (size_t i = 0; i < r.n; i++)
    printf("%s%s", i ? ", and " : ", because ", r.texts[i]);
  if (!r.n && step->figure)
    printf(drawn_before(w->s, step) ? ", because the drawing changed, not what it shows"
                                    : ", because it was not drawn yet");
  putchar('\n');
  return true;
}

/* The claims whose tables have something to do; the reasons are their figures'. */
static size_t print_claims(struct what_if *w, size_t *judged)
{
  size_t touched = 0;
  char seconds[32];
  *judged = 0;
  for (size_t i = 0; i < w->s->lowered.n_claims; i++) {
    const struct plan_claim *c = &w->s->lowered.claims[i];
    if (!c->judged || c->omitted || !w->s->wanted[c->table])
      continue;
    ++*judged;
    struct cost_total total = count(w, &c->table, 1);
    if (!total.steps)
      continue;
    touched++;
    printf("claim %s: %u step%s to do, %s, for %s\n", c->name, (unsigned)total.steps,
           total.steps == 1 ? "" : "s",
           cost_duration(cost_wall(&total, w->s->options.jobs), seconds), c->experiment);
  }
  return touched;
}

int command_what_if(struct session *s)
{
  if (!session_choose(s, !session_has_figures(s)))
    return EXIT_EXPERIMENT;
  if (!session_open_store(s))
    return EXIT_ENVIRONMENT;
  uint32_t n = plan_count(s->plan);
  struct what_if w = {
      .s = s,
      .all = session_describe(s),
      .index = why_open(s->arena, s->store, s->diag),
      .states = arena_array(s->arena, (size_t)n + 1, sizeof *w.states),
      .chosen = arena_array(s->arena, (size_t)n + 1, sizeof *w.chosen),
      .todo = arena_array(s->arena, (size_t)n + 1, sizeof *w.todo),
  };
  if (!session_report(s))
    return EXIT_ENVIRONMENT;
  enum plan_kind kind = session_has_figures(s) ? PLAN_FIGURE : PLAN_TABLE;
  uint32_t *targets = arena_array(s->arena, (size_t)n + 1, sizeof *targets);
  size_t n_targets = 0, touched = 0, judged;
  for (uint32_t i = 0; i < n; i++)
    if (s->wanted[i] && plan_step(s->plan, i)->kind == kind) {
      targets[n_targets++] = i;
      touched += print_target(&w, i);
    }
  size_t claims = print_claims(&w, &judged);
  struct cost_total total = count(&w, targets, n_targets);
  char wall[32], sum[32];
  printf("all together: %zu of %zu %s", touched, n_targets,
         kind == PLAN_FIGURE ? "figures" : "experiments");
  if (judged)
    printf(" and %zu of %zu claims", claims, judged);
  printf(" to redo, %u step%s, %s with %u worker%s (%s with one)\n",
         (unsigned)total.steps, total.steps == 1 ? "" : "s",
         cost_duration(cost_wall(&total, s->options.jobs), wall), s->options.jobs,
         s->options.jobs == 1 ? "" : "s", cost_duration(total.sum.seconds, sum));
  return EXIT_DONE;
}
