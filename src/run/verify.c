#include "config.h"

#include "run/verify.h"

#include "base/file.h"
#include "base/num.h"
#include "base/safetensors.h"
#include "run/store_int.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a sample ---- */

struct ticket {
  struct hash draw;
  uint32_t step;
};

static int by_draw(const void *a, const void *b)
{
  return memcmp(&((const struct ticket *)a)->draw, &((const struct ticket *)b)->draw,
                sizeof(struct hash));
}

uint32_t verify_choose(const struct plan *plan, const bool *may, uint32_t n, uint64_t seed,
                       bool *chosen)
{
  const uint32_t count = plan_count(plan);
  struct arena *a = arena_new();
  struct ticket *tickets = arena_array(a, (size_t)count + 1, sizeof *tickets);
  char hex[HASH_HEX], text[HASH_HEX + 32];
  uint32_t n_tickets = 0;
  for (uint32_t i = 0; i < count; i++) {
    chosen[i] = false;
    if (!may[i])
      continue;
    hash_hex(plan_step(plan, i)->key, hex);
    const int length = snprintf(text, sizeof text, "%llu %s", (unsigned long long)seed, hex);
    tickets[n_tickets++] = (struct ticket){hash_of(text, (size_t)length), i};
  }
  qsort(tickets, n_tickets, sizeof *tickets, by_draw);
  n = n < n_tickets ? n : n_tickets;
  for (uint32_t k = 0; k < n; k++)
    chosen[tickets[k].step] = true;
  arena_free(a);
  return n;
}

/* ---- two results ---- */

/* Both NaN is the same, whatever their bits: a result.json has one NaN. */
static bool same_number(double a, double b)
{
  return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b));
}

static void differs(struct verify_finding *f, double difference, const char *what)
{
  const bool first = f->verdict != VERIFY_DIFFERS;
  f->verdict = VERIFY_DIFFERS;
  if (first || difference > f->difference || (isnan(f->difference) && !isnan(difference)))
    f->difference = difference;
  if (first)
    f->what = what;
}

static const char *text_or(const char *text)
{
  return text ? text : "";
}

static void compare_values(const struct store_result *stored, const struct store_result *again,
                           struct arena *a, struct verify_finding *f)
{
  if (stored->n_values != again->n_values)
    differs(f, NAN, "it has other values");
  for (size_t i = 0; i < stored->n_values; i++) {
    const double x = stored->values[i].num, y = store_get(again, stored->values[i].name);
    char one[NUM_TEXT], other[NUM_TEXT];
    if (!same_number(x, y))
      differs(f, fabs(x - y),
              arena_printf(a, "%s is %s in the store and %s now", stored->values[i].name,
                           num_text(x, one), num_text(y, other)));
  }
  if (stored->diverged != again->diverged)
    differs(f, NAN, again->diverged ? "it diverges now" : "it does not diverge now");
  if (strcmp(text_or(stored->note), text_or(again->note)))
    differs(f, NAN, arena_printf(a, "its note is \"%s\" in the store and \"%s\" now",
                                 text_or(stored->note), text_or(again->note)));
}

static void compare_tensor(const struct safetensors_tensor *x, const struct safetensors_tensor *y,
                           const char *file, struct arena *a, struct verify_finding *f)
{
  enum { PIECE = 4096 };
  float one[PIECE], other[PIECE];
  if (!y || x->dtype != y->dtype || x->bytes != y->bytes || !safetensors_is_float(x->dtype)) {
    if (!y || x->bytes != y->bytes || memcmp(x->data, y->data, x->bytes))
      differs(f, NAN, arena_printf(a, "%s: %s is another tensor", file, x->name));
    return;
  }
  const size_t n = x->bytes / safetensors_dtype_bytes(x->dtype);
  size_t other_bits = 0;
  double most = NAN;
  for (size_t at = 0; at < n; at += PIECE) {
    const size_t m = n - at < PIECE ? n - at : PIECE;
    safetensors_floats(x, at, m, one);
    safetensors_floats(y, at, m, other);
    for (size_t i = 0; i < m; i++) {
      if (!memcmp(&one[i], &other[i], sizeof one[i]))
        continue;
      other_bits++;
      most = fmax(most, fabs((double)one[i] - (double)other[i]));
    }
  }
  if (other_bits)
    differs(f, most,
            arena_printf(a, "%s: %zu of %zu numbers of %s", file, other_bits, n, x->name));
}

static void compare_tensors(const char *name, const char *stored, const char *again,
                            struct arena *a, struct verify_finding *f)
{
  struct diag *d = diag_new(a);
  struct safetensors x, y;
  if (!safetensors_open(a, stored, &x, d))
    return;
  if (safetensors_open(a, again, &y, d)) {
    for (size_t i = 0; i < x.n_tensors; i++)
      compare_tensor(&x.tensors[i], safetensors_find(&y, x.tensors[i].name), name, a, f);
    safetensors_close(&y);
  }
  safetensors_close(&x);
}

static const struct store_file *find_file(const struct store_result *r, const char *name)
{
  for (size_t i = 0; i < r->n_files; i++)
    if (!strcmp(r->files[i].name, name))
      return &r->files[i];
  return NULL;
}

static bool ends_in(const char *name, const char *end)
{
  const size_t n = strlen(name), m = strlen(end);
  return n >= m && !strcmp(name + n - m, end);
}

static void compare_files(struct store *stored, const struct store_result *of_stored,
                          struct store *again, const struct store_result *of_again,
                          struct hash key, struct arena *a, struct verify_finding *f)
{
  if (of_stored->n_files != of_again->n_files)
    differs(f, NAN, "it has other files");
  for (size_t i = 0; i < of_stored->n_files; i++) {
    const char *name = of_stored->files[i].name;
    const struct store_file *same = find_file(of_again, name);
    char one[STORE_PATH_MAX], other[STORE_PATH_MAX];
    if (same && hash_equal(same->digest, of_stored->files[i].digest))
      continue;
    store_object_path(stored, key, name, one);
    store_object_path(again, key, name, other);
    if (same && ends_in(name, ".safetensors"))
      compare_tensors(name, one, other, a, f);
    if (f->verdict != VERIFY_DIFFERS)
      differs(f, NAN, arena_printf(a, "%s has other bytes", name));
  }
}

struct verify_finding verify_compare(struct store *stored, struct store *again, struct hash key,
                                     struct arena *a)
{
  struct verify_finding f = {VERIFY_SAME, NAN, ""};
  struct store_result x, y;
  const char *wrong = store_check(stored, key, a, &x);
  if (wrong)
    return (struct verify_finding){VERIFY_DAMAGED, NAN, wrong};
  wrong = store_check(again, key, a, &y);
  if (wrong)
    return (struct verify_finding){VERIFY_FAILED, NAN, wrong};
  compare_values(&x, &y, a, &f);
  compare_files(stored, &x, again, &y, key, a, &f);
  return f;
}

/* ---- findings, from the workers to who asked ---- */

static bool write_finding(const char *path, const struct verify_finding *f, struct diag *d)
{
  struct arena *a = arena_new();
  const char *text = arena_printf(a, "%d %a\n%s", (int)f->verdict, f->difference, f->what);
  const bool good = file_write_atomic(path, text, strlen(text), d);
  arena_free(a);
  return good;
}

static struct verify_finding read_finding(const char *path, struct arena *a)
{
  struct verify_finding f = {VERIFY_NOT_TRIED, NAN, ""};
  size_t length;
  int verdict, at = 0;
  const char *text = file_exists(path) ? file_read(a, path, &length, diag_new(a)) : NULL;
  if (!text || sscanf(text, "%d %la%n", &verdict, &f.difference, &at) != 2 || text[at] != '\n')
    return f;
  f.verdict = (enum verify_verdict)verdict;
  f.what = text + at + 1;
  return f;
}

/* ---- computing again ---- */

struct verify {
  const struct plan *plan;
  const bool *chosen;
  struct store *stored;
  const char *root; /* of the store, absolute */
  const char *folder;
};

/* A kind of step, to be verified. */
struct verify_kind {
  const struct verify *v;
  const struct run_kind *of;
};

static char *finding_path(const struct verify *v, struct hash key, struct arena *a)
{
  char hex[HASH_HEX];
  hash_hex(key, hex);
  return arena_printf(a, "%s/%s.finding", v->folder, hex);
}

static bool is_found(void *context, const struct plan *plan, const struct plan_step *step)
{
  const struct verify_kind *k = context;
  if (!k->v->chosen[plan_find(plan, step->key)])
    return true;
  struct arena *a = arena_new();
  const bool found = file_exists(finding_path(k->v, step->key, a));
  arena_free(a);
  return found;
}

static bool link_inputs(const struct verify *v, struct store *scratch,
                        const struct plan_step *step, struct arena *a, struct diag *d)
{
  for (uint32_t k = 0; k < step->n_inputs; k++) {
    char hex[HASH_HEX];
    hash_hex(plan_step(v->plan, step->inputs[k])->key, hex);
    const char *shelf = arena_printf(a, "%s/objects/%.2s", store_path(scratch), hex);
    const char *link = arena_printf(a, "%s/%s", shelf, hex);
    const char *target = arena_printf(a, "%s/objects/%.2s/%s", v->root, hex, hex);
    if (!file_make_dir(shelf, d))
      return false;
    if (symlink(target, link) && errno != EEXIST) {
      file_report(d, "link", link, errno);
      return false;
    }
  }
  return true;
}

static struct verify_finding compute(const struct verify_kind *k, struct store *scratch,
                                     const struct plan_step *step, struct arena *a)
{
  struct diag *d = diag_new(a);
  if (k->of->execute(k->of->context, scratch, k->v->plan, step, d))
    return verify_compare(k->v->stored, scratch, step->key, a);
  const char *why = "no reason was given";
  for (unsigned i = 0; i < diag_count(d); i++)
    if (diag_level_of(d, i) == DIAG_ERROR)
      why = diag_message(d, i);
  /* A damaged input was noticed by its checksum, too: the warning says it better. */
  for (unsigned i = 0; i < diag_count(d); i++)
    if (diag_level_of(d, i) == DIAG_WARNING && strstr(diag_message(d, i), " is damaged ("))
      why = "an input of it is damaged";
  return (struct verify_finding){VERIFY_FAILED, NAN, why};
}

static bool execute(void *context, struct store *store, const struct plan *plan,
                    const struct plan_step *step, struct diag *d)
{
  const struct verify_kind *k = context;
  struct arena *a = arena_new();
  char hex[HASH_HEX];
  (void)store;
  (void)plan;
  hash_hex(step->key, hex);
  const char *folder = arena_printf(a, "%s/%s", k->v->folder, hex);
  struct store *scratch = store_open(a, folder, d);
  bool good = scratch && link_inputs(k->v, scratch, step, a, d);
  if (good) {
    const struct verify_finding f = compute(k, scratch, step, a);
    good = write_finding(finding_path(k->v, step->key, a), &f, d);
  }
  good = file_remove_tree(folder, d) && good; /* links, not what they point to */
  arena_free(a);
  return good;
}

static double cost(void *context, const struct plan *plan, const struct plan_step *step)
{
  const struct verify_kind *k = context;
  return k->of->cost ? k->of->cost(k->of->context, plan, step) : 1;
}

static void threads(void *context, unsigned n)
{
  const struct verify_kind *k = context;
  if (k->of->threads)
    k->of->threads(k->of->context, n);
}

struct run_summary verify_run(const struct plan *plan, const bool *chosen, struct store *store,
                              const struct run_kind kinds[PLAN_KIND_COUNT],
                              const struct run_options *options, const char *temporary,
                              struct arena *a, struct verify_finding *findings, struct diag *d)
{
  struct run_summary summary = {0};
  struct run_kind mine[PLAN_KIND_COUNT];
  struct verify_kind of[PLAN_KIND_COUNT];
  char *folder = file_join(a, temporary, "mergescape-verify-XXXXXX");
  char *root = realpath(store_path(store), NULL);
  if (!root || !mkdtemp(folder)) {
    file_report(d, root ? "make folder" : "read", root ? folder : store_path(store), errno);
    free(root);
    summary.failed = 1;
    return summary;
  }
  const struct verify v = {plan, chosen, store, root, folder};
  for (int k = 0; k < PLAN_KIND_COUNT; k++) {
    of[k] = (struct verify_kind){&v, &kinds[k]};
    mine[k] = (struct run_kind){&of[k], is_found, execute, cost, threads};
  }
  struct store *scratch = store_open(a, folder, d);
  if (scratch)
    summary = run_plan(plan, chosen, scratch, mine, options, d);
  for (uint32_t i = 0; i < plan_count(plan); i++)
    if (chosen[i])
      findings[i] = read_finding(finding_path(&v, plan_step(plan, i)->key, a), a);
  file_remove_tree(folder, d);
  free(root);
  return summary;
}
