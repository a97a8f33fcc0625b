/* What may go wrong while a plan runs. */
#include "config.h"

#include "run_fake.h"

#include "base/file.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* a -> b(fails) -> c -> d;  e -> f: goes on */
static void test_failure(void **state)
{
  for (unsigned jobs = 0; jobs < 3; jobs++) {
    struct setup s = fake_setup(state, jobs);
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
    struct run_summary sum = fake_run(&s);
    fclose(s.options.progress);
    assert_true(sum.ran == 3 && sum.failed == 1 && sum.skipped == 2 && sum.wanted == 6);
    assert_true(fake_there(&s, f) && !fake_there(&s, b) && !fake_there(&s, c) &&
                !fake_there(&s, d));
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
  struct setup s = fake_setup(state, 0);
  struct source_set *sources = source_set_new(s.f->arena);
  source_add(sources, "fig01.exp", "abc trunk x\n", 12);
  fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  s.fake->fail = 1;
  s.options.sources = sources;
  char *said = NULL, *text = NULL;
  size_t length;
  s.options.progress = open_memstream(&said, &length);
  fake_run(&s);
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
    struct setup s = fake_setup(state, 2);
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
    struct run_summary sum = fake_run(&s);
    assert_true(sum.ran == 11 && sum.failed == 1 && sum.skipped == 1);
    assert_true(fake_there(&s, last) && !fake_there(&s, bad) && !fake_there(&s, after));
    assert_int_equal(diag_count(s.f->diag), 1);
    assert_true(fixture_said(s.f->diag, numbers[i] == SIGKILL
                                            ? "killed by signal 9 (out of memory?)"
                                        : numbers[i] ? "killed by signal 15"
                                                     : "ended with status 3"));
    assert_int_equal(fixture_entries(s.f, "tmp"), 0);
  }
}

/* Waits for the log to hold n lines. */
static void wait_for_log(const struct setup *s, unsigned n)
{
  double end = fixture_now() + 20;
  while (fake_logged(s, NULL, NULL, n) < n && fixture_now() < end)
    usleep(2000);
  assert_int_equal(fake_logged(s, NULL, NULL, n), n);
}

/* Interrupted and run again gives the objects of one run. */
static void interrupt_with(void **state, int number, unsigned jobs)
{
  enum { N = 40 };
  struct setup s = fake_setup(state, jobs);
  fake_random_plan(s.f, N);
  s.fake->delay = 5000;
  unlink(s.fake->log);
  pid_t pid = fake_child();
  if (!pid) {
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    struct run_summary sum = fake_run(&s);
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
  struct run_summary sum = fake_run(&s);
  assert_true(sum.ran > 0 && sum.ran + sum.cached == N);
  char *resumed = fake_all_weights(&s, N);
  for (uint32_t i = 0; i < N; i++)
    fake_lose(&s, i);
  assert_int_equal(fake_run(&s).ran, N);
  assert_string_equal(resumed, fake_all_weights(&s, N));
  for (uint32_t i = 0; i < N; i++)
    fake_lose(&s, i);
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
  struct setup s = fake_setup(state, 2);
  fake_random_plan(s.f, 30);
  s.fake->delay = 5000;
  unlink(s.fake->log);
  pid_t pid = fake_child();
  if (!pid) {
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    struct run_summary sum = fake_run(&s);
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
  struct setup s = fake_setup(state, 2);
  fake_random_plan(s.f, 40);
  s.fake->delay = 3000;
  unlink(s.fake->log);
  pid_t pid = fake_child();
  if (!pid) {
    fake_run(&s);
    _exit(0);
  }
  wait_for_log(&s, 6);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  long pids[64];
  unsigned n = fake_logged(&s, NULL, pids, 64), alive = n;
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
  struct run_summary sum = fake_run(&s);
  assert_int_equal(sum.ran + sum.cached, 40);
  assert_int_equal(diag_count(s.f->diag), 0);
}

/* A damaged input, whose own input is gone: both come again, and the readers. */
static void test_damaged_input(void **state)
{
  for (unsigned jobs = 0; jobs < 4; jobs++) {
    struct setup s = fake_setup(state, jobs);
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
    assert_int_equal(fake_run(&s).ran, 8);
    size_t length;
    char *before = fixture_read(s.f, fixture_path(s.f, last, "weights.bin"), &length);
    fake_lose(&s, data);
    for (uint32_t k = 0; k < 5; k++)
      fake_lose(&s, readers[k]);
    fake_lose(&s, last);
    fixture_write(fixture_path(s.f, train, "weights.bin"), "damage");
    struct run_summary sum = fake_run(&s);
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
    struct setup s = fake_setup(state, jobs);
    diag_clear(s.f->diag);
    uint32_t data = fixture_step(s.f, PLAN_DATA, 10 * jobs + 1, NULL, 0);
    uint32_t train = fixture_step(s.f, PLAN_TRAIN, 10 * jobs + 2, &data, 1);
    s.wanted[0] = s.wanted[1] = s.wanted[2] = jobs == 0;
    fixture_step(s.f, PLAN_MEASURE, 10 * jobs + 3, &train, 1);
    s.fake->spoil = 10 * jobs + 1;
    struct run_summary sum = fake_run(&s);
    assert_true(sum.failed == 1 && sum.skipped == 1);
    assert_int_equal(diag_errors(s.f->diag), 1);
    assert_in_range(fake_logged(&s, NULL, NULL, 99), 2 * 3, 2 * 5);
  }
}

/* Full store: one message, nothing partial, and the rest is not tried. */
static void test_full(void **state)
{
  for (unsigned jobs = 0; jobs < 3; jobs++) {
    struct setup s = fake_setup(state, jobs);
    for (int k = 1; k <= 30; k++)
      fixture_step(s.f, PLAN_DATA, k, NULL, 0);
    pid_t pid = fake_child();
    if (!pid) {
      signal(SIGXFSZ, SIG_IGN);
      struct rlimit rl = {300, 300};
      setrlimit(RLIMIT_FSIZE, &rl);
      struct run_summary sum = fake_run(&s);
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

/* The same on a real, small file system, where the tests may mount one. */
static int full_disk_child(struct setup *s)
{
  if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
      mount("none", s->f->root, "tmpfs", 0, "size=64k"))
    return 77;
  s->fake->log = "/dev/null";
  s->f->store = store_open(s->f->arena, file_join(s->f->arena, s->f->root, "small"), s->f->diag);
  struct run_summary sum =
      run_plan(s->f->plan, s->wanted, s->f->store, s->kinds, &s->options, s->f->diag);
  bool good = sum.ran > 0 && sum.failed >= 1 && sum.failed <= 2 && sum.skipped > 0 &&
              diag_count(s->f->diag) == 1 && fixture_said(s->f->diag, "o space left on device") &&
              !fixture_entries(s->f, "tmp");
  diag_clear(s->f->diag);
  uint32_t whole = 0;
  for (uint32_t i = 0; i < plan_count(s->f->plan); i++)
    whole += store_file(s->f->store, plan_step(s->f->plan, i)->key, "weights.bin", s->f->arena,
                        s->f->diag) != NULL;
  return good && whole == sum.ran && !diag_count(s->f->diag) ? 0 : 1;
}

static void test_full_disk(void **state)
{
  struct setup s = fake_setup(state, 2);
  for (int k = 1; k <= 60; k++)
    fixture_step(s.f, PLAN_DATA, k, NULL, 0);
  pid_t pid = fake_child();
  if (!pid)
    _exit(full_disk_child(&s));
  int status;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77)
    skip();
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)
  const struct CMUnitTest tests[] = {
      TEST(test_failure),       TEST(test_failure_place),   TEST(test_worker_dies),
      TEST(test_interrupt),     TEST(test_interrupt_group), TEST(test_parent_killed),
      TEST(test_damaged_input), TEST(test_always_damaged),  TEST(test_full),
      TEST(test_full_disk),
  };
  return cmocka_run_group_tests_name("run_faults", tests, NULL, NULL);
}
