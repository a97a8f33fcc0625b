/* verify: are the stored results whole, and do the same bits come out again? */
#include "config.h"

#include "command_json.h"
#include "run/bind.h"
#include "run/verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* On one host, with one set of versions. */
struct maker {
  const char *text;
  struct store_provenance from;
  unsigned n; /* results that were computed again */
};

struct verification {
  struct session *s;
  bool *stored, *may, *chosen; /* by step */
  struct verify_finding *findings;
  uint32_t n_stored, n_may, n_chosen;
  double bytes; /* of the stored ones */
  unsigned of[VERIFY_FAILED + 1];
  struct maker *makers;
  size_t n_makers, cap_makers;
  unsigned n_others; /* made with another instruction set or other libraries than there are here */
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
      v->findings[i] = (struct verify_finding){VERIFY_DAMAGED, NAN, arena_strdup(s->arena, wrong)};
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
      v->may[i] =
          v->stored[step->inputs[k]] && v->findings[step->inputs[k]].verdict != VERIFY_DAMAGED;
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

/* ---- what came out ---- */

static bool made_otherwise(const struct store_provenance *p)
{
  for (size_t i = 0; i < p->n_versions; i++)
    if (!strcmp(p->versions[i].name, "libraries"))
      return *p->versions[i].value && strcmp(p->versions[i].value, bind_libraries());
  return false;
}

static struct maker maker_of(struct session *s, uint32_t step)
{
  struct arena *a = s->arena;
  struct maker m = {"unknown", {.host = NULL}, 1};
  if (!store_read_provenance(s->store, plan_step(s->plan, step)->key, a, &m.from)) {
    m.from = (struct store_provenance){0};
    return m;
  }
  m.text = arena_printf(a, "on %s", m.from.host);
  for (size_t i = 0; i < m.from.n_versions; i++)
    m.text =
        arena_printf(a, "%s, %s %s", m.text, m.from.versions[i].name, m.from.versions[i].value);
  return m;
}

static void count_makers(struct verification *v)
{
  for (uint32_t i = 0; i < plan_count(v->s->plan); i++) {
    size_t k = 0;
    if (!v->chosen[i])
      continue;
    const struct maker m = maker_of(v->s, i);
    v->n_others += made_otherwise(&m.from);
    while (k < v->n_makers && strcmp(v->makers[k].text, m.text))
      k++;
    if (k < v->n_makers)
      v->makers[k].n++;
    else
      ARENA_PUSH(v->s->arena, v->makers, v->n_makers, v->cap_makers, m);
  }
}

static void count_findings(struct verification *v)
{
  for (uint32_t i = 0; i < plan_count(v->s->plan); i++)
    v->of[v->findings[i].verdict]++;
  v->of[VERIFY_NOT_TRIED] =
      v->n_chosen - v->of[VERIFY_SAME] - v->of[VERIFY_DIFFERS] - v->of[VERIFY_FAILED];
}

/* Inputs of them are missing or damaged. */
static uint32_t n_lost(const struct verification *v)
{
  return v->n_stored - v->n_may - v->of[VERIFY_DAMAGED];
}

/* ---- as text ---- */

static const char *const verdict_words[] = {"", "", "differs", "damaged", "not computed"};

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
  for (uint32_t i = 0; i < plan_count(v->s->plan); i++) {
    const struct verify_finding *f = &v->findings[i];
    char hex[HASH_HEX];
    if (f->verdict <= VERIFY_SAME)
      continue;
    hash_hex(plan_step(v->s->plan, i)->key, hex);
    printf("%s%s:%s %s, key %.12s: %s", bad, verdict_words[f->verdict], off, name_of(v->s, i), hex,
           f->what);
    if (f->verdict == VERIFY_DIFFERS && !isnan(f->difference))
      printf("; the largest difference is %.3g", f->difference);
    putchar('\n');
  }
}

static void print_verification(const struct verification *v)
{
  const struct options *o = &v->s->options;
  const bool colour = diag_colour(stdout);
  const char *bad = colour ? "\033[1;31m" : "", *off = colour ? "\033[0m" : "";
  char amount[32], share[32];
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
  if (n_lost(v))
    printf("%u more cannot be computed again: inputs of them are missing or damaged\n",
           (unsigned)n_lost(v));
  for (size_t k = 0; k < v->n_makers; k++)
    printf("made %s: %u\n", v->makers[k].text, v->makers[k].n);
  printf("here: %s\n", bind_libraries());
  if (v->n_others)
    printf("%u were made with another instruction set or library than is used here: their last "
           "bits may differ, and whole runs with them\n",
           v->n_others);
  else
    puts("another instruction set or library may give other last bits (MERGESCAPE_ISA chooses)");
}

/* ---- as data ---- */

static json_t *findings_json(const struct verification *v)
{
  json_t *list = json_array();
  for (uint32_t i = 0; i < plan_count(v->s->plan); i++) {
    const struct verify_finding *f = &v->findings[i];
    const struct plan_step *step = plan_step(v->s->plan, i);
    const struct plan_attr *seed = plan_attr(step, PLAN_A_seed);
    if (f->verdict <= VERIFY_SAME)
      continue;
    json_t *j = json_pack("{s:s, s:o, s:o, s:o}", "verdict", verdict_words[f->verdict], "what",
                          command_json_text(v->s->arena, f->what), "largest_difference",
                          command_json_number(f->difference), "seed",
                          seed ? json_integer((json_int_t)seed->num) : json_null());
    command_json_add_step(v->s, j, step->key);
    json_array_append_new(list, j);
  }
  return list;
}

static json_t *makers_json(const struct verification *v)
{
  json_t *list = json_array();
  for (size_t k = 0; k < v->n_makers; k++) {
    const struct store_provenance *p = &v->makers[k].from;
    json_t *versions = json_object();
    for (size_t i = 0; i < p->n_versions; i++)
      json_object_set_new(versions, p->versions[i].name,
                          command_json_text(v->s->arena, p->versions[i].value));
    json_array_append_new(list,
                          json_pack("{s:o, s:o, s:i}", "host",
                                    p->host ? command_json_text(v->s->arena, p->host) : json_null(),
                                    "versions", versions, "results", (int)v->makers[k].n));
  }
  return list;
}

static bool write_json(const struct verification *v)
{
  const struct options *o = &v->s->options;
  json_t *stored =
      json_pack("{s:i, s:f, s:i, s:i}", "results", (int)v->n_stored, "bytes", v->bytes, "damaged",
                (int)v->of[VERIFY_DAMAGED], "not_computable", (int)n_lost(v));
  json_t *computed =
      json_pack("{s:i, s:i, s:I, s:i, s:i, s:i, s:i}", "results", (int)v->n_chosen, "of",
                (int)v->n_may, "seed", (json_int_t)o->seed, "same", (int)v->of[VERIFY_SAME],
                "differ", (int)v->of[VERIFY_DIFFERS], "failed", (int)v->of[VERIFY_FAILED],
                "not_tried", (int)v->of[VERIFY_NOT_TRIED]);
  return command_json_print(json_pack(
      "{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:i}", "tier", command_json_text(v->s->arena, o->tier),
      "store", command_json_text(v->s->arena, o->store), "stored", stored, "computed_again",
      computed, "findings", findings_json(v), "made", makers_json(v), "here", bind_libraries(),
      "made_otherwise", (int)v->n_others));
}

/* ---- the command ---- */

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
    fprintf(stderr,
            "mergescape: error: %s has no result of these experiments at tier %s\n"
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
  count_findings(&v);
  count_makers(&v);
  if (s->options.json && !write_json(&v))
    return EXIT_ENVIRONMENT;
  if (!s->options.json)
    print_verification(&v);
  const int status = status_of(&v, &done);
  return status == EXIT_DONE && !fine ? EXIT_ENVIRONMENT : status;
}
