#include "config.h"

#include "run_fixture.h"

#include "base/file.h"
#include "base/rng.h"
#include "run/run.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What the fake steps do, by their seed. */
struct fake {
  struct fixture *f;
  const char *log; /* a file to which every execution adds its seed and process */
  double fail;     /* the step with this seed fails */
  double die;      /* ... ends its worker, by signal `number`, or exit(3) where that is 0 */
  double spoil;    /* ... writes an object that is damaged, always */
  double diverge;
  int number;
  unsigned delay; /* microseconds a step */
};

static double seed_of(const struct plan_step *step)
{
  return plan_num(step, PLAN_A_seed);
}

static void add_log(const struct fake *fake, double seed)
{
  char line[64];
  int n = snprintf(line, sizeof line, "%g %ld\n", seed, (long)getpid());
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
    kinds[i] = (struct run_kind){.context = fake, .execute = execute, .cost = cost};
  return fake;
}

struct setup {
  struct fixture *f;
  struct run_kind kinds[PLAN_KIND_COUNT];
  struct fake *fake;
  bool *wanted;
  struct run_options options;
};

static struct setup setup(void **state, unsigned jobs)
{
  struct setup s = {.f = *state, .options = {.jobs = jobs}};
  s.fake = fake_new(s.f, s.kinds);
  s.wanted = arena_array(s.f->arena, 4096, sizeof *s.wanted);
  memset(s.wanted, true, 4096);
  return s;
}

static struct run_summary run(struct setup *s)
{
  unlink(s->fake->log);
  return run_plan(s->f->plan, s->wanted, s->f->store, s->kinds, &s->options, s->f->diag);
}

/* The seeds in the log, in order; returns how many. */
static unsigned logged(const struct setup *s, double *seeds, long *pids, unsigned cap)
{
  unsigned n = 0;
  double seed;
  long pid;
  FILE *in = fopen(s->fake->log, "r");
  while (in && n < cap && fscanf(in, "%lf %ld", &seed, &pid) == 2) {
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

static bool there(struct setup *s, uint32_t step)
{
  return store_has(s->f->store, plan_step(s->f->plan, step)->key);
}

static void lose(struct setup *s, uint32_t step)
{
  const char *folder = file_dir_name(s->f->arena, fixture_path(s->f, step, "result.json"));
  assert_true(file_remove_tree(folder, s->f->diag));
}

/* n steps, each with up to three inputs among the earlier ones; seeds from 1. */
static void random_plan(struct fixture *f, uint32_t n)
{
  struct rng rng = rng_at(3, RNG_TEST, 0, 0, 0);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t inputs[3], n_inputs = i ? rng_below(&rng, 4) : 0;
    for (uint32_t k = 0; k < n_inputs; k++)
      inputs[k] = rng_below(&rng, i);
    assert_int_equal(fixture_step(f, PLAN_TRAIN, i + 1, inputs, n_inputs), i);
  }
}

static char *all_weights(struct setup *s, uint32_t n)
{
  char *text = "";
  for (uint32_t i = 0; i < n; i++)
    text = arena_printf(s->f->arena, "%s %s", text,
                        fixture_read(s->f, fixture_path(s->f, i, "weights.bin"), NULL));
  return text;
}

/* Any number of workers: every step once, inputs first, the same objects. */
static void test_jobs(void **state)
{
  enum { N = 60 };
  static const unsigned jobs[] = {0, 1, 2, 4};
  char *first = NULL;
  random_plan(*state, N);
  for (int j = 0; j < 4; j++) {
    struct setup s = setup(state, jobs[j]);
    struct run_summary sum = run(&s);
    assert_int_equal(sum.wanted, N);
    assert_int_equal(sum.ran, N);
    assert_int_equal(sum.cached + sum.failed + sum.skipped + sum.diverged, 0);
    assert_false(sum.interrupted);
    double seeds[N + 1];
    assert_int_equal(logged(&s, seeds, NULL, N + 1), N);
    unsigned place[N];
    for (unsigned k = 0; k < N; k++)
      place[(unsigned)seeds[k] - 1] = k;
    for (uint32_t i = 0; i < N; i++) {
      const struct plan_step *step = plan_step(s.f->plan, i);
      for (uint32_t k = 0; k < step->n_inputs; k++)
        assert_true(place[step->inputs[k]] < place[i]);
    }
    char *now = all_weights(&s, N);
    if (first)
      assert_string_equal(now, first);
    first = now;
    assert_int_equal(fixture_entries(s.f, "tmp"), 0);
    assert_int_equal(diag_count(s.f->diag), 0);
    for (uint32_t i = 0; i < N; i++)
      lose(&s, i);
  }
}

/* The longest chain of costs goes first; ties by index. */
static void test_priority(void **state)
{
  struct setup s = setup(state, 1);
  fixture_step(s.f, PLAN_INIT, 5, NULL, 0);
  uint32_t b = fixture_step(s.f, PLAN_INIT, 2, NULL, 0);
  uint32_t c = fixture_step(s.f, PLAN_TRAIN, 3, &b, 1);
  fixture_step(s.f, PLAN_TRAIN, 4, &c, 1); /* 2 + 3 + 4 = 9 */
  fixture_step(s.f, PLAN_DATA, 5, NULL, 0);
  fixture_step(s.f, PLAN_INIT, 6, NULL, 0);
  run(&s);
  const double expected[] = {2, 3, 6, 5, 5, 4};
  double seeds[7];
  assert_int_equal(logged(&s, seeds, NULL, 7), 6);
  for (int i = 0; i < 6; i++)
    assert_true(seeds[i] == expected[i]);
}

static void test_cached(void **state)
{
  struct setup s = setup(state, 2);
  uint32_t data = fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  uint32_t train = fixture_step(s.f, PLAN_TRAIN, 2, &data, 1);
  uint32_t measure = fixture_step(s.f, PLAN_MEASURE, 3, &train, 1);
  uint32_t other = fixture_step(s.f, PLAN_INIT, 9, NULL, 0);
  enum run_state states[4];
  s.wanted[other] = false;
  run_states(s.f->plan, s.wanted, s.f->store, s.kinds, states);
  assert_true(states[data] == RUN_TODO && states[train] == RUN_TODO);
  assert_true(states[measure] == RUN_TODO && states[other] == RUN_UNWANTED);
  assert_int_equal(run(&s).ran, 3);
  assert_false(there(&s, other));

  struct run_summary sum = run(&s);
  assert_true(sum.wanted == 3 && sum.cached == 3 && sum.ran == 0);
  assert_int_equal(logged(&s, NULL, NULL, 9), 0);

  lose(&s, train); /* nobody needs it: its measure is there */
  run_states(s.f->plan, s.wanted, s.f->store, s.kinds, states);
  assert_true(states[measure] == RUN_CACHED && states[train] == RUN_UNWANTED);
  sum = run(&s);
  assert_true(sum.cached == 2 && sum.ran == 0);

  lose(&s, measure); /* now it is needed, and its input is cached */
  run_states(s.f->plan, s.wanted, s.f->store, s.kinds, states);
  assert_true(states[measure] == RUN_TODO && states[train] == RUN_TODO);
  assert_true(states[data] == RUN_CACHED);
  sum = run(&s);
  assert_true(sum.cached == 1 && sum.ran == 2);
}

/* A step that is wanted alone brings what it needs. */
static void test_inputs_not_wanted(void **state)
{
  struct setup s = setup(state, 0);
  uint32_t data = fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  uint32_t train = fixture_step(s.f, PLAN_TRAIN, 2, &data, 1);
  s.wanted[data] = false;
  struct run_summary sum = run(&s);
  assert_true(sum.wanted == 2 && sum.ran == 2);
  assert_true(there(&s, data) && there(&s, train));
}

static void test_nothing(void **state)
{
  struct setup s = setup(state, 2);
  struct run_summary sum = run(&s);
  assert_true(sum.wanted == 0 && sum.ran == 0 && !sum.interrupted);
}

/* a -> b(fails) -> c -> d;  e -> f: goes on */
static void test_failure(void **state)
{
  for (unsigned jobs = 0; jobs < 3; jobs++) {
    struct setup s = setup(state, jobs);
    diag_clear(s.f->diag);
    double base = 10 * jobs;
    uint32_t a = fixture_step(s.f, PLAN_DATA, base + 1, NULL, 0);
    uint32_t b = fixture_step(s.f, PLAN_TRAIN, base + 2, &a, 1);
    uint32_t c = fixture_step(s.f, PLAN_TRAIN, base + 3, &b, 1);
    uint32_t d = fixture_step(s.f, PLAN_MEASURE, base + 4, &c, 1);
    uint32_t e = fixture_step(s.f, PLAN_DATA, base + 5, NULL, 0);
    uint32_t f = fixture_step(s.f, PLAN_TRAIN, base + 6, (uint32_t[]){e, a}, 2);
    s.fake->fail = base + 2;
    for (uint32_t i = 0; i < a; i++)
      s.wanted[i] = false;
    char *text = NULL;
    size_t length;
    s.options.progress = open_memstream(&text, &length);
    struct run_summary sum = run(&s);
    fclose(s.options.progress);
    assert_true(sum.ran == 3 && sum.failed == 1 && sum.skipped == 2 && sum.wanted == 6);
    assert_true(there(&s, f) && !there(&s, b) && !there(&s, c) && !there(&s, d));
    assert_int_equal(diag_errors(s.f->diag), 1);
    assert_int_equal(diag_count(s.f->diag), 2);
    assert_string_equal(diag_message(s.f->diag, 0), "something odd");
    assert_string_equal(
        diag_message(s.f->diag, 1),
        arena_printf(s.f->arena, "train noise seed=%g failed: no such data", base + 2));
    assert_string_equal(diag_hint_of(s.f->diag, 1), "install it");
    assert_non_null(strstr(text, "failed: train noise"));
    assert_non_null(strstr(text, "6 steps: 0 cached, 3 ran, 1 failed (2 skipped) in "));
    free(text);
  }
}

/* The diagnostic stands at the source line of the step. */
static void test_failure_place(void **state)
{
  struct setup s = setup(state, 0);
  struct source_set *sources = source_set_new(s.f->arena);
  source_add(sources, "fig01.exp", "abc trunk x\n", 12);
  fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  s.fake->fail = 1;
  s.options.sources = sources;
  char *said = NULL, *text = NULL;
  size_t length;
  s.options.progress = open_memstream(&said, &length);
  run(&s);
  fclose(s.options.progress);
  assert_non_null(strstr(said, "data noise seed=1 (fig01.exp:1): no such data"));
  FILE *out = open_memstream(&text, &length);
  diag_print(s.f->diag, sources, out, false);
  fclose(out);
  assert_non_null(strstr(text, "fig01.exp:1:5: error: data noise seed=1 failed"));
  assert_non_null(strstr(text, "abc trunk x"));
  free(text);
  free(said);
}

static void test_worker_dies(void **state)
{
  static const int numbers[] = {SIGKILL, SIGTERM, 0};
  for (int i = 0; i < 3; i++) {
    struct setup s = setup(state, 2);
    diag_clear(s.f->diag);
    double base = 100 * i;
    uint32_t first = fixture_step(s.f, PLAN_DATA, base + 1, NULL, 0);
    uint32_t bad = fixture_step(s.f, PLAN_TRAIN, base + 2, &first, 1);
    uint32_t after = fixture_step(s.f, PLAN_TRAIN, base + 3, &bad, 1), last = 0;
    for (int k = 0; k < 10; k++)
      last = fixture_step(s.f, PLAN_TRAIN, base + 4 + k, &first, 1);
    for (uint32_t k = 0; k < first; k++)
      s.wanted[k] = false;
    s.fake->die = base + 2;
    s.fake->number = numbers[i];
    struct run_summary sum = run(&s);
    assert_true(sum.ran == 11 && sum.failed == 1 && sum.skipped == 1);
    assert_true(there(&s, last) && !there(&s, bad) && !there(&s, after));
    assert_int_equal(diag_count(s.f->diag), 1);
    assert_true(fixture_said(s.f->diag, numbers[i] == SIGKILL
                                            ? "killed by signal 9 (out of memory?)"
                                        : numbers[i] ? "killed by signal 15"
                                                     : "ended with status 3"));
    assert_int_equal(fixture_entries(s.f, "tmp"), 0);
  }
}

static void test_diverged(void **state)
{
  struct setup s = setup(state, 2);
  random_plan(s.f, 9);
  s.fake->diverge = 4;
  assert_int_equal(run(&s).diverged, 1);
}

static pid_t in_child(void)
{
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  return pid;
}

/* Waits for the log to hold n lines. */
static void wait_for_log(const struct setup *s, unsigned n)
{
  double end = fixture_now() + 20;
  while (logged(s, NULL, NULL, n) < n && fixture_now() < end)
    usleep(2000);
  assert_int_equal(logged(s, NULL, NULL, n), n);
}

/* Interrupted and run again gives the objects of one run. */
static void interrupt_with(void **state, int number, unsigned jobs)
{
  enum { N = 40 };
  struct setup s = setup(state, jobs);
  random_plan(s.f, N);
  s.fake->delay = 5000;
  unlink(s.fake->log);
  pid_t pid = in_child();
  if (!pid) {
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    struct run_summary sum = run(&s);
    bool good = sum.interrupted && !sum.failed && !sum.skipped && sum.ran < N && sum.ran > 0 &&
                !diag_count(s.f->diag);
    struct sigaction now;
    sigaction(number, NULL, &now);
    _exit(good && now.sa_handler == SIG_DFL ? 0 : 1);
  }
  wait_for_log(&s, 8);
  kill(pid, number);
  int status;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(fixture_entries(s.f, "tmp"), 0);
  s.fake->delay = 0;
  struct run_summary sum = run(&s);
  assert_true(sum.ran > 0 && sum.ran + sum.cached == N);
  char *resumed = all_weights(&s, N);
  for (uint32_t i = 0; i < N; i++)
    lose(&s, i);
  assert_int_equal(run(&s).ran, N);
  assert_string_equal(resumed, all_weights(&s, N));
  for (uint32_t i = 0; i < N; i++)
    lose(&s, i);
}

static void test_interrupt(void **state)
{
  interrupt_with(state, SIGTERM, 2);
  interrupt_with(state, SIGINT, 2);
  interrupt_with(state, SIGINT, 0);
}

/* The terminal's ^C reaches workers as well: they leave it to the parent. */
static void test_interrupt_group(void **state)
{
  struct setup s = setup(state, 2);
  random_plan(s.f, 30);
  s.fake->delay = 5000;
  unlink(s.fake->log);
  pid_t pid = in_child();
  if (!pid) {
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    struct run_summary sum = run(&s);
    _exit(sum.interrupted && !sum.failed && !diag_count(s.f->diag) ? 0 : 1);
  }
  wait_for_log(&s, 5);
  kill(-pid, SIGINT);
  int status;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* Workers end by themselves when the parent is gone. */
static void test_parent_killed(void **state)
{
  struct setup s = setup(state, 2);
  random_plan(s.f, 40);
  s.fake->delay = 3000;
  unlink(s.fake->log);
  pid_t pid = in_child();
  if (!pid) {
    run(&s);
    _exit(0);
  }
  wait_for_log(&s, 6);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  long pids[64];
  unsigned n = logged(&s, NULL, pids, 64), alive = n;
  for (double end = fixture_now() + 10; alive && fixture_now() < end; usleep(2000)) {
    alive = 0;
    for (unsigned k = 0; k < n; k++) {
      char path[64], text[256] = "";
      snprintf(path, sizeof path, "/proc/%ld/stat", pids[k]);
      FILE *in = fopen(path, "r"); /* a zombie that nobody reaps has ended, too */
      if (in) {
        alive += fgets(text, sizeof text, in) && !strstr(text, ") Z");
        fclose(in);
      }
    }
  }
  assert_int_equal(alive, 0);
  s.fake->delay = 0;
  struct run_summary sum = run(&s);
  assert_int_equal(sum.ran + sum.cached, 40);
  assert_int_equal(diag_count(s.f->diag), 0);
}

/* A damaged input, whose own input is gone: both come again, and the readers. */
static void test_damaged_input(void **state)
{
  for (unsigned jobs = 0; jobs < 4; jobs++) {
    struct setup s = setup(state, jobs);
    diag_clear(s.f->diag);
    double base = 100 * jobs;
    uint32_t data = fixture_step(s.f, PLAN_DATA, base + 1, NULL, 0);
    uint32_t train = fixture_step(s.f, PLAN_TRAIN, base + 2, &data, 1);
    uint32_t readers[5];
    for (uint32_t k = 0; k < 5; k++)
      readers[k] = fixture_step(s.f, PLAN_MEASURE, base + 3 + k, (uint32_t[]){train, train}, 2);
    uint32_t last = fixture_step(s.f, PLAN_MERGE, base + 20, readers, 5);
    for (uint32_t k = 0; k < data; k++)
      s.wanted[k] = false;
    assert_int_equal(run(&s).ran, 8);
    size_t length;
    char *before = fixture_read(s.f, fixture_path(s.f, last, "weights.bin"), &length);
    lose(&s, data);
    for (uint32_t k = 0; k < 5; k++)
      lose(&s, readers[k]);
    lose(&s, last);
    fixture_write(fixture_path(s.f, train, "weights.bin"), "damage");
    struct run_summary sum = run(&s);
    assert_int_equal(sum.failed + sum.skipped, 0);
    assert_int_equal(sum.ran, 8);
    assert_string_equal(before, fixture_read(s.f, fixture_path(s.f, last, "weights.bin"), NULL));
    assert_int_equal(diag_errors(s.f->diag), 0);
    assert_int_equal(diag_count(s.f->diag), 1);
    assert_true(fixture_said(s.f->diag, "damaged"));
  }
}

/* An input that always comes out damaged ends in a failure, not in a circle. */
static void test_always_damaged(void **state)
{
  for (unsigned jobs = 0; jobs < 3; jobs += 2) {
    struct setup s = setup(state, jobs);
    diag_clear(s.f->diag);
    uint32_t data = fixture_step(s.f, PLAN_DATA, 10 * jobs + 1, NULL, 0);
    uint32_t train = fixture_step(s.f, PLAN_TRAIN, 10 * jobs + 2, &data, 1);
    s.wanted[0] = s.wanted[1] = s.wanted[2] = jobs == 0;
    fixture_step(s.f, PLAN_MEASURE, 10 * jobs + 3, &train, 1);
    s.fake->spoil = 10 * jobs + 1;
    struct run_summary sum = run(&s);
    assert_true(sum.failed == 1 && sum.skipped == 1);
    assert_int_equal(diag_errors(s.f->diag), 1);
    assert_in_range(logged(&s, NULL, NULL, 99), 2 * 3, 2 * 5);
  }
}

/* Full store: one message, nothing partial, and the rest is not tried. */
static void test_full(void **state)
{
  for (unsigned jobs = 0; jobs < 3; jobs++) {
    struct setup s = setup(state, jobs);
    for (int k = 1; k <= 30; k++)
      fixture_step(s.f, PLAN_DATA, k, NULL, 0);
    pid_t pid = in_child();
    if (!pid) {
      signal(SIGXFSZ, SIG_IGN);
      struct rlimit rl = {300, 300};
      setrlimit(RLIMIT_FSIZE, &rl);
      struct run_summary sum = run(&s);
      bool good = sum.ran == 0 && sum.failed >= 1 && sum.failed <= (jobs ? jobs : 1) &&
                  sum.failed + sum.skipped == 30 && diag_count(s.f->diag) == 1 &&
                  strstr(diag_hint_of(s.f->diag, 0), "what is finished is kept");
      _exit(good ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(fixture_entries(s.f, "tmp"), 0);
    assert_int_equal(fixture_entries(s.f, "damaged"), 0);
  }
}

/* Two processes share a store: each step is there once, nothing fails. */
static void test_two_processes(void **state)
{
  enum { N = 60 };
  struct setup s = setup(state, 2);
  random_plan(s.f, N);
  s.fake->delay = 500;
  pid_t pid = in_child();
  struct run_summary sum =
      run_plan(s.f->plan, s.wanted, s.f->store, s.kinds, &s.options, s.f->diag);
  bool good = sum.ran + sum.cached == N && !sum.failed && !diag_count(s.f->diag);
  if (!pid)
    _exit(good ? 0 : 1);
  int status;
  waitpid(pid, &status, 0);
  assert_true(good);
  assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
  assert_in_range(logged(&s, NULL, NULL, 2 * N), N, 2 * N);
  assert_int_equal(fixture_entries(s.f, "tmp"), 0);
}

static bool never_done(void *context, const struct plan *plan, const struct plan_step *step)
{
  (void)plan;
  (void)step;
  return *(bool *)context;
}

static bool draw(void *context, struct store *store, const struct plan *plan,
                 const struct plan_step *step, struct diag *d)
{
  (void)store;
  (void)plan;
  (void)step;
  (void)d;
  return context != NULL;
}

/* A kind with its own idea of being done, and without a cost. */
static void test_own_done(void **state)
{
  struct setup s = setup(state, 1);
  bool done = false;
  s.kinds[PLAN_MEASURE] = (struct run_kind){&done, never_done, draw, NULL};
  uint32_t data = fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  fixture_step(s.f, PLAN_MEASURE, 2, &data, 1);
  assert_int_equal(run(&s).ran, 2);
  assert_int_equal(run(&s).ran, 1);
  done = true;
  assert_int_equal(run(&s).ran, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)
  const struct CMUnitTest tests[] = {
      TEST(test_jobs),
      TEST(test_priority),
      TEST(test_cached),
      TEST(test_inputs_not_wanted),
      TEST(test_nothing),
      TEST(test_failure),
      TEST(test_failure_place),
      TEST(test_worker_dies),
      TEST(test_diverged),
      TEST(test_interrupt),
      TEST(test_interrupt_group),
      TEST(test_parent_killed),
      TEST(test_damaged_input),
      TEST(test_always_damaged),
      TEST(test_full),
      TEST(test_two_processes),
      TEST(test_own_done),
  };
  return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
