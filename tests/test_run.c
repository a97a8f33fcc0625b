#include "config.h"

#include "run_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Any number of workers: every step once, inputs first, the same objects. */
static void test_jobs(void **state)
{
  enum { N = 60 };
  static const unsigned jobs[] = {0, 1, 2, 4};
  char *first = NULL;
  fake_random_plan(*state, N);
  for (int j = 0; j < 4; j++) {
    struct setup s = fake_setup(state, jobs[j]);
    struct run_summary sum = fake_run(&s);
    assert_int_equal(sum.wanted, N);
    assert_int_equal(sum.ran, N);
    assert_int_equal(sum.cached + sum.failed + sum.skipped + sum.diverged, 0);
    assert_false(sum.interrupted);
    double seeds[N + 1];
    assert_int_equal(fake_logged(&s, seeds, NULL, N + 1), N);
    unsigned place[N];
    for (unsigned k = 0; k < N; k++)
      place[(unsigned)seeds[k] - 1] = k;
    for (uint32_t i = 0; i < N; i++) {
      const struct plan_step *step = plan_step(s.f->plan, i);
      for (uint32_t k = 0; k < step->n_inputs; k++)
        assert_true(place[step->inputs[k]] < place[i]);
    }
    char *now = fake_all_weights(&s, N);
    if (first)
      assert_string_equal(now, first);
    first = now;
    assert_int_equal(fixture_entries(s.f, "tmp"), 0);
    assert_int_equal(diag_count(s.f->diag), 0);
    for (uint32_t i = 0; i < N; i++)
      fake_lose(&s, i);
  }
}

/* What the plan's first target needs goes first; within it the longest chain of costs. */
static void test_priority(void **state)
{
  struct setup s = fake_setup(state, 1);
  uint32_t a = fixture_step(s.f, PLAN_INIT, 5, NULL, 0);
  uint32_t b = fixture_step(s.f, PLAN_INIT, 2, NULL, 0);
  uint32_t c = fixture_step(s.f, PLAN_TRAIN, 4, &b, 1);
  uint32_t shared = fixture_step(s.f, PLAN_INIT, 1, NULL, 0);
  fixture_step(s.f, PLAN_INIT, 9, NULL, 0);
  fixture_step(s.f, PLAN_MERGE, 3, (uint32_t[]){a, c, shared}, 3);
  fixture_step(s.f, PLAN_TRAIN, 8, &shared, 1);
  fixture_step(s.f, PLAN_INIT, 7, NULL, 0);
  fake_run(&s);
  const double expected[] = {9, 2, 1, 5, 4, 3, 8, 7};
  double seeds[9];
  assert_int_equal(fake_logged(&s, seeds, NULL, 9), 8);
  for (int i = 0; i < 8; i++)
    assert_true(seeds[i] == expected[i]);
}

static void test_cached(void **state)
{
  struct setup s = fake_setup(state, 2);
  uint32_t data = fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  uint32_t train = fixture_step(s.f, PLAN_TRAIN, 2, &data, 1);
  uint32_t measure = fixture_step(s.f, PLAN_MEASURE, 3, &train, 1);
  uint32_t other = fixture_step(s.f, PLAN_INIT, 9, NULL, 0);
  enum run_state states[4];
  s.wanted[other] = false;
  run_states(s.f->plan, s.wanted, s.f->store, s.kinds, states);
  assert_true(states[data] == RUN_TODO && states[train] == RUN_TODO);
  assert_true(states[measure] == RUN_TODO && states[other] == RUN_UNWANTED);
  assert_int_equal(fake_run(&s).ran, 3);
  assert_false(fake_there(&s, other));

  struct run_summary sum = fake_run(&s);
  assert_true(sum.wanted == 3 && sum.cached == 3 && sum.ran == 0);
  assert_int_equal(fake_logged(&s, NULL, NULL, 9), 0);

  fake_lose(&s, train); /* nobody needs it: its measure is there */
  run_states(s.f->plan, s.wanted, s.f->store, s.kinds, states);
  assert_true(states[measure] == RUN_CACHED && states[train] == RUN_UNWANTED);
  sum = fake_run(&s);
  assert_true(sum.cached == 2 && sum.ran == 0);

  fake_lose(&s, measure); /* now it is needed, and its input is cached */
  run_states(s.f->plan, s.wanted, s.f->store, s.kinds, states);
  assert_true(states[measure] == RUN_TODO && states[train] == RUN_TODO);
  assert_true(states[data] == RUN_CACHED);
  sum = fake_run(&s);
  assert_true(sum.cached == 1 && sum.ran == 2);
}

/* A step that is wanted alone brings what it needs. */
static void test_inputs_not_wanted(void **state)
{
  struct setup s = fake_setup(state, 0);
  uint32_t data = fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  uint32_t train = fixture_step(s.f, PLAN_TRAIN, 2, &data, 1);
  s.wanted[data] = false;
  struct run_summary sum = fake_run(&s);
  assert_true(sum.wanted == 2 && sum.ran == 2);
  assert_true(fake_there(&s, data) && fake_there(&s, train));
}

static void test_nothing(void **state)
{
  struct setup s = fake_setup(state, 2);
  struct run_summary sum = fake_run(&s);
  assert_true(sum.wanted == 0 && sum.ran == 0 && !sum.interrupted);
}

static void test_diverged(void **state)
{
  struct setup s = fake_setup(state, 2);
  fake_random_plan(s.f, 9);
  s.fake->diverge = 4;
  assert_int_equal(fake_run(&s).diverged, 1);
}

/* The memory of a step is its own, not that of one before it in the same worker; where Linux
 * does not permit to ask so, the result says it. */
static void test_memory(void **state)
{
  struct setup s = fake_setup(state, 1);
  struct store_result r[3];
  for (uint32_t i = 0; i < 3; i++)
    fixture_step(s.f, PLAN_TRAIN, i + 1, (uint32_t[]){i - 1}, i > 0);
  s.fake->greedy = 2;
  assert_int_equal(fake_run(&s).ran, 3);
  for (uint32_t i = 0; i < 3; i++)
    assert_true(
        store_read(s.f->store, plan_step(s.f->plan, i)->key, s.f->arena, &r[i], s.f->diag));
  assert_true(r[1].memory > r[0].memory + 0.9 * FAKE_GREED);
  assert_true(r[2].memory_of_worker || r[2].memory < r[1].memory - 0.9 * FAKE_GREED);
}

/* Two processes share a store: each step is there once, nothing fails. */
static void test_two_processes(void **state)
{
  enum { N = 60 };
  struct setup s = fake_setup(state, 2);
  fake_random_plan(s.f, N);
  s.fake->delay = 500;
  pid_t pid = fake_child();
  struct run_summary sum =
      run_plan(s.f->plan, s.wanted, s.f->store, s.kinds, &s.options, s.f->diag);
  bool good = sum.ran + sum.cached == N && !sum.failed && !diag_count(s.f->diag);
  if (!pid)
    _exit(good ? 0 : 1);
  int status;
  waitpid(pid, &status, 0);
  assert_true(good);
  assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
  assert_in_range(fake_logged(&s, NULL, NULL, 2 * N), N, 2 * N);
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
  struct setup s = fake_setup(state, 1);
  bool done = false;
  s.kinds[PLAN_MEASURE] = (struct run_kind){.context = &done, .done = never_done, .execute = draw};
  uint32_t data = fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  fixture_step(s.f, PLAN_MEASURE, 2, &data, 1);
  assert_int_equal(fake_run(&s).ran, 2);
  assert_int_equal(fake_run(&s).ran, 1);
  done = true;
  assert_int_equal(fake_run(&s).ran, 0);
}

/* n chains of three steps that take about as long; the first ones' seeds are 100, 103, ... */
static void add_chains(struct setup *s, unsigned n)
{
  for (unsigned i = 0; i < 3 * n; i++) {
    const uint32_t before = i - 1;
    fixture_step(s->f, PLAN_TRAIN, 100 + i, &before, i % 3 != 0);
  }
}

static unsigned first_threads(void **state, unsigned chains, unsigned cores, unsigned threads)
{
  fixture_end(state);
  fixture_begin(state);
  struct setup s = fake_setup(state, 1);
  s.options.cores = cores;
  s.options.threads = threads;
  add_chains(&s, chains);
  assert_int_equal(fake_run(&s).ran, 3 * chains);
  return fake_threads(&s, 100);
}

/* Cores that steps cannot keep busy go to the steps there are. */
static void test_threads(void **state)
{
  assert_int_equal(first_threads(state, 1, 4, 0), 4);
  assert_int_equal(first_threads(state, 2, 4, 0), 2);
  assert_int_equal(first_threads(state, 3, 4, 0), 1);
  assert_int_equal(first_threads(state, 4, 4, 0), 1);
  assert_int_equal(first_threads(state, 9, 4, 0), 1);
  assert_int_equal(first_threads(state, 3, 16, 0), 5);
  assert_int_equal(first_threads(state, 1, 1, 0), 1);
  assert_int_equal(first_threads(state, 1, 0, 0), 1);
  assert_int_equal(first_threads(state, 9, 4, 3), 3);
}

/* Short steps beside a long chain take no core from it; at the end the last step has all. */
static void test_threads_of_a_long_chain(void **state)
{
  struct setup s = fake_setup(state, 2);
  s.options.cores = 2;
  uint32_t at = fixture_step(s.f, PLAN_INIT, 50, NULL, 0);
  for (unsigned i = 1; i < 6; i++) {
    at = fixture_step(s.f, PLAN_TRAIN, 1000 + i, &at, 1);
    fixture_step(s.f, PLAN_MEASURE, i, &at, 1);
  }
  assert_int_equal(fake_run(&s).ran, 11);
  for (unsigned i = 1; i < 6; i++)
    assert_int_equal(fake_threads(&s, 1000 + i), 2);
  assert_int_equal(fake_threads(&s, 1), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)
  const struct CMUnitTest tests[] = {
      TEST(test_jobs),          TEST(test_priority),
      TEST(test_cached),        TEST(test_inputs_not_wanted),
      TEST(test_nothing),       TEST(test_diverged),
      TEST(test_two_processes), TEST(test_own_done),
      TEST(test_threads),       TEST(test_threads_of_a_long_chain),
      TEST(test_memory),
  };
  return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
