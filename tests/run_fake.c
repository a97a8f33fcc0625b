#include "config.h"

#include "run_fake.h"

#include "base/file.h"
#include "base/rng.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static double seed_of(const struct plan_step *step)
{
  return plan_num(step, PLAN_A_seed);
}

static void add_log(const struct fake *fake, double seed)
{
  char line[64];
  int n = snprintf(line, sizeof line, "%g %ld %u\n", seed, (long)getpid(), fake->threads);
  int fd = open(fake->log, O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (write(fd, line, (size_t)n) != n)
    abort();
  close(fd);
}

/* The sum of the inputs' values and the seed. */
static bool sum_inputs(const struct fake *fake, struct store *store, const struct plan_step *step,
                       struct arena *a, double *sum, struct diag *d)
{
  *sum = seed_of(step);
  for (uint32_t i = 0; i < step->n_inputs; i++) {
    struct store_result r;
    struct hash key = plan_step(fake->f->plan, step->inputs[i])->key;
    if (!store_file(store, key, "weights.bin", a, d) || !store_read(store, key, a, &r, d))
      return false;
    *sum = *sum * 1.25 + store_get(&r, "sum");
  }
  return true;
}

static bool write_step(struct store *store, const struct plan *plan, const struct plan_step *step,
                       const struct fake *fake, struct arena *a, double sum, struct diag *d)
{
  struct store_draft *draft = store_begin(store, a, d);
  if (!draft)
    return false;
  if (fake->die != 0 && seed_of(step) == fake->die) {
    if (!fake->number)
      _exit(3);
    kill(getpid(), fake->number);
  }
  struct store_file file = {.name = "weights.bin"};
  struct store_result r = {
      .files = &file, .n_files = 1, .diverged = seed_of(step) == fake->diverge};
  store_set(a, &r, "sum", sum);
  const char *text = arena_printf(a, "%a", sum);
  if (!file_write_synced(store_draft_path(draft, "weights.bin"), text, strlen(text), d)) {
    store_abandon(draft);
    return false;
  }
  return store_commit(draft, plan, step, &r, d);
}

static bool execute(void *context, struct store *store, const struct plan *plan,
                    const struct plan_step *step, struct diag *d)
{
  const struct fake *fake = context;
  double seed = seed_of(step), sum;
  add_log(fake, seed);
  if (fake->delay)
    usleep(fake->delay);
  if (fake->greedy != 0 && seed == fake->greedy) {
    /* Not malloc, of which a sanitizer keeps what is freed. */
    char *much =
        mmap(NULL, FAKE_GREED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (much == MAP_FAILED)
      abort();
    memset(much, 1, FAKE_GREED);
    munmap(much, FAKE_GREED);
  }
  if (fake->fail != 0 && seed == fake->fail) {
    diag_warning(d, SPAN_NONE, "something odd");
    diag_error(d, SPAN_NONE, "no such data");
    diag_hint(d, "install it");
    return false;
  }
  struct arena *a = arena_new();
  bool good =
      sum_inputs(fake, store, step, a, &sum, d) && write_step(store, plan, step, fake, a, sum, d);
  if (good && fake->spoil != 0 && seed == fake->spoil) {
    char hex[HASH_HEX];
    hash_hex(step->key, hex);
    fixture_write(arena_printf(a, "%s/objects/%.2s/%s/weights.bin", store_path(store), hex, hex),
                  "spoilt");
  }
  arena_free(a);
  return good;
}

static void set_threads(void *context, unsigned threads)
{
  struct fake *fake = context;
  fake->threads = threads;
}

static double cost(void *context, const struct plan *plan, const struct plan_step *step)
{
  (void)context;
  (void)plan;
  return seed_of(step);
}

static struct fake *fake_new(struct fixture *f, struct run_kind kinds[PLAN_KIND_COUNT])
{
  struct fake *fake = arena_alloc(f->arena, sizeof *fake);
  fake->f = f;
  fake->log = file_join(f->arena, f->root, "log");
  for (int i = 0; i < PLAN_KIND_COUNT; i++)
    kinds[i] = (struct run_kind){
        .context = fake, .execute = execute, .cost = cost, .threads = set_threads};
  return fake;
}

struct setup fake_setup(void **state, unsigned jobs)
{
  struct setup s = {.f = *state, .options = {.jobs = jobs}};
  s.fake = fake_new(s.f, s.kinds);
  s.wanted = arena_array(s.f->arena, 4096, sizeof *s.wanted);
  memset(s.wanted, true, 4096);
  return s;
}

struct run_summary fake_run(struct setup *s)
{
  unlink(s->fake->log);
  return run_plan(s->f->plan, s->wanted, s->f->store, s->kinds, &s->options, s->f->diag);
}

unsigned fake_logged(const struct setup *s, double *seeds, long *pids, unsigned cap)
{
  unsigned n = 0;
  double seed;
  long pid;
  FILE *in = fopen(s->fake->log, "r");
  while (in && n < cap && fscanf(in, "%lf %ld %*u", &seed, &pid) == 2) {
    if (seeds)
      seeds[n] = seed;
    if (pids)
      pids[n] = pid;
    n++;
  }
  if (in)
    fclose(in);
  return n;
}

unsigned fake_threads(const struct setup *s, double seed)
{
  unsigned threads = 0, found = 0;
  double at;
  FILE *in = fopen(s->fake->log, "r");
  assert_non_null(in);
  while (fscanf(in, "%lf %*d %u", &at, &threads) == 2)
    found = at == seed ? threads : found;
  fclose(in);
  return found;
}

bool fake_there(struct setup *s, uint32_t step)
{
  return store_has(s->f->store, plan_step(s->f->plan, step)->key);
}

void fake_lose(struct setup *s, uint32_t step)
{
  const char *folder = file_dir_name(s->f->arena, fixture_path(s->f, step, "result.json"));
  assert_true(file_remove_tree(folder, s->f->diag));
}

void fake_random_plan(struct fixture *f, uint32_t n)
{
  struct rng rng = rng_at(3, RNG_TEST, 0, 0, 0);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t inputs[3], n_inputs = i ? rng_below(&rng, 4) : 0;
    for (uint32_t k = 0; k < n_inputs; k++)
      inputs[k] = rng_below(&rng, i);
    assert_int_equal(fixture_step(f, PLAN_TRAIN, i + 1, inputs, n_inputs), i);
  }
}

char *fake_all_weights(struct setup *s, uint32_t n)
{
  char *text = "";
  for (uint32_t i = 0; i < n; i++)
    text = arena_printf(s->f->arena, "%s %s", text,
                        fixture_read(s->f, fixture_path(s->f, i, "weights.bin"), NULL));
  return text;
}

pid_t fake_child(void)
{
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  return pid;
}
