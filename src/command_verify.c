/* verify: are the stored results whole, and do the same bits come out again? */
#include "config.h"

#include "run/bind.h"
#include "run/verify.h"
#include "session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct verification {
  struct session *s;
  bool *stored, *may, *chosen; /* by step */
  struct verify_finding *findings;
  uint32_t n_stored, n_may, n_chosen;
  double bytes; /* of the stored ones */
  unsigned of[VERIFY_FAILED + 1];
};

/* ---- what there is ---- */

/* Tests the checksums of all that is stored of the wanted steps. */
static void check_stored(struct verification *v)
{
  struct session *s = v->s;
  for (uint32_t i = 0; i < plan_count(s->plan); i++) {
    const struct plan_step *step = plan_step(s->plan, i);
    if (!s->wanted[i] || step->kind == PLAN_FIGURE || !store_has(s->store, step->key))
      continue;
    struct arena *a = arena_new();
    struct store_result r;
    const char *wrong = store_check(s->store, step->key, a, &r);
    v->stored[i] = true;
    v->n_stored++;
    v->bytes += store_bytes(s->store, step->key);
    if (wrong)
      v->findings[i] =
          (struct verify_finding){VERIFY_DAMAGED, NAN, arena_strdup(s->arena, wrong)};
    arena_free(a);
  }
}

/* Those can be computed again whose inputs are there and whole. */
static void find_computable(struct verification *v)
{
  const struct plan *plan = v->s->plan;
  for (uint32_t i = 0; i < plan_count(plan); i++) {
    const struct plan_step *step = plan_step(plan, i);
    v->may[i] = v->stored[i] && v->findings[i].verdict != VERIFY_DAMAGED;
    for (uint32_t k = 0; v->may[i] && k < step->n_inputs; k++)
      v->may[i] = v->stored[step->inputs[k]] &&
                  v->findings[step->inputs[k]].verdict != VERIFY_DAMAGED;
    v->n_may += v->may[i];
  }
}

static uint32_t sample_size(const struct verification *v)
{
  const struct options *o = &v->s->options;
  if (o->all)
    return v->n_may;
  if (o->sample_share > 0)
    return (uint32_t)ceil(o->sample_share * v->n_may - 1e-9);
  return o->sample < v->n_may ? (uint32_t)o->sample : v->n_may;
}

/* ---- what is told ---- */

/* "train noise lr=0.1 (seed 0) [fig01.exp:12]" */
static const char *name_of(struct session *s, uint32_t i)
{
  const struct plan_step *step = plan_step(s->plan, i);
  const struct plan_origin *o = &step->origin;
  const struct plan_attr *seed = plan_attr(step, PLAN_A_seed);
  return arena_printf(s->arena, "%s %s%s%s%s [%s]", plan_kind_name(step->kind), o->experiment,
                      *o->point ? " " : "", o->point,
                      seed ? arena_printf(s->arena, " (seed %.0f)", seed->num) : "",
                      source_line_name(s->program->sources, o->span, s->arena));
}

static void print_findings(const struct verification *v, const char *bad, const char *off)
{
  static const char *const words[] = {"", "", "differs", "damaged", "not computed"};
  for (uint32_t i = 0; i < plan_count(v->s->plan); i++) {
    const struct verify_finding *f = &v->findings[i];
    char hex[HASH_HEX];
    if (f->verdict <= VERIFY_SAME)
      continue;
    hash_hex(plan_step(v->s->plan, i)->key, hex);
    printf("%s%s:%s %s, key %.12s: %s", bad, words[f->verdict], off, name_of(v->s, i), hex,
           f->what);
    if (f->verdict == VERIFY_DIFFERS && !isnan(f->difference))
      printf("; the largest difference is %.3g", f->difference);
    putchar('\n');
  }
}

struct maker {
  const char *text, *libraries;
  unsigned n;
};

static struct maker maker_of(struct session *s, uint32_t step, struct arena *a)
{
  struct store_provenance p;
  struct maker m = {"unknown", "", 1};
  if (!store_read_provenance(s->store, plan_step(s->plan, step)->key, a, &p))
    return m;
  m.text = arena_printf(a, "on %s", p.host);
  for (size_t i = 0; i < p.n_versions; i++) {
    const struct store_text *t = &p.versions[i];
    m.text = arena_printf(a, "%s, %s %s", m.text, t->name, t->value);
    if (!strcmp(t->name, "libraries"))
      m.libraries = t->value;
  }
  return m;
}

/* Who made what was computed again; returns how many were made with other libraries or another
 * instruction set than this program has. */
static unsigned print_makers(const struct verification *v)
{
  struct arena *a = arena_new();
  struct maker *makers = NULL;
  size_t n = 0, cap = 0;
  unsigned others = 0;
  for (uint32_t i = 0; i < plan_count(v->s->plan); i++) {
    size_t k = 0;
    if (!v->chosen[i])
      continue;
    const struct maker m = maker_of(v->s, i, a);
    others += *m.libraries && strcmp(m.libraries, bind_libraries());
    while (k < n && strcmp(makers[k].text, m.text))
      k++;
    if (k < n)
      makers[k].n++;
    else
      ARENA_PUSH(a, makers, n, cap, m);
  }
  for (size_t k = 0; k < n; k++)
    printf("made %s: %u\n", makers[k].text, makers[k].n);
  arena_free(a);
  return others;
}

static void print_verification(struct verification *v)
{
  const struct options *o = &v->s->options;
  const bool colour = diag_colour(stdout);
  const char *bad = colour ? "\033[1;31m" : "", *off = colour ? "\033[0m" : "";
  char amount[32], share[32];
  for (uint32_t i = 0; i < plan_count(v->s->plan); i++)
    v->of[v->findings[i].verdict]++;
  v->of[VERIFY_NOT_TRIED] =
      v->n_chosen - v->of[VERIFY_SAME] - v->of[VERIFY_DIFFERS] - v->of[VERIFY_FAILED];
  print_findings(v, bad, off);
  printf("checksums: %u results in %s, %s: %u damaged\n", (unsigned)v->n_stored, o->store,
         cost_amount(v->bytes, "B", amount), v->of[VERIFY_DAMAGED]);
  snprintf(share, sizeof share, "%.3g%%", v->n_may ? 100.0 * v->n_chosen / v->n_may : 0);
  printf("computed again: %u of %u results (%s, chosen by seed %.0f): %u with the same bits, "
         "%u that differ",
         (unsigned)v->n_chosen, (unsigned)v->n_may, share, o->seed, v->of[VERIFY_SAME],
         v->of[VERIFY_DIFFERS]);
  if (v->of[VERIFY_FAILED])
    printf(", %u that could not be computed", v->of[VERIFY_FAILED]);
  if (v->of[VERIFY_NOT_TRIED])
    printf(", %u not tried", v->of[VERIFY_NOT_TRIED]);
  putchar('\n');
  const uint32_t lost = v->n_stored - v->n_may - v->of[VERIFY_DAMAGED];
  if (lost)
    printf("%u more cannot be computed again: inputs of them are missing or damaged\n",
           (unsigned)lost);
  const unsigned others = print_makers(v);
  printf("here: %s\n", bind_libraries());
  if (others)
    printf("%u were made with another instruction set or library than is used here: their last "
           "bits may differ, and whole runs with them\n",
           others);
  else
    puts("another instruction set or library may give other last bits (MERGESCAPE_ISA chooses)");
}

static int status_of(const struct verification *v, const struct run_summary *done)
{
  if (v->of[VERIFY_DIFFERS] || v->of[VERIFY_DAMAGED])
    return EXIT_CHECK;
  if (done->interrupted)
    return EXIT_INTERRUPTED;
  return v->of[VERIFY_FAILED] || v->of[VERIFY_NOT_TRIED] ? EXIT_ENVIRONMENT : EXIT_DONE;
}

int command_verify(struct session *s)
{
  if (!session_choose(s, !session_has_figures(s)))
    return EXIT_EXPERIMENT;
  if (!session_view_store(s))
    return EXIT_ENVIRONMENT;
  const size_t n = (size_t)plan_count(s->plan) + 1;
  struct verification v = {.s = s,
                           .stored = arena_array(s->arena, n, sizeof *v.stored),
                           .may = arena_array(s->arena, n, sizeof *v.may),
                           .chosen = arena_array(s->arena, n, sizeof *v.chosen),
                           .findings = arena_array(s->arena, n, sizeof *v.findings)};
  check_stored(&v);
  if (!v.n_stored) {
    fprintf(stderr, "mergescape: error: %s has no result of these experiments at tier %s\n"
                    "hint: `mergescape run` makes them; --store=DIR names another store\n",
            s->options.store, s->options.tier);
    return EXIT_ENVIRONMENT;
  }
  find_computable(&v);
  v.n_chosen = verify_choose(s->plan, v.may, sample_size(&v), (uint64_t)s->options.seed, v.chosen);
  const struct run_options options = session_run_options(s);
  const char *temporary = getenv("TMPDIR");
  struct run_summary done = {0};
  if (v.n_chosen)
    done = verify_run(s->plan, v.chosen, s->store, s->kinds, &options,
                      temporary && *temporary ? temporary : "/tmp", s->arena, v.findings, s->diag);
  const bool fine = session_report(s);
  print_verification(&v);
  const int status = status_of(&v, &done);
  return status == EXIT_DONE && !fine ? EXIT_ENVIRONMENT : status;
}
