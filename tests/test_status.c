/* What a run tells of itself, and who looks beside it. */
#include "config.h"

#include "run_fake.h"

#include "base/file.h"
#include "run/status.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct store *view_of(struct fixture *f)
{
  struct store *view = store_view(f->arena, store_path(f->store), f->diag);
  assert_non_null(view);
  return view;
}

static unsigned n_alive(const struct status_run *r)
{
  unsigned n = 0;
  for (size_t k = 0; k < r->n_steps; k++)
    n += r->steps[k].alive;
  return n;
}

/* Looks until there is a run in this state with so many steps at work. */
static struct status_run wait_for_run(struct fixture *f, enum status_state state, unsigned alive)
{
  const struct store *view = view_of(f);
  for (double end = fixture_now() + 20; fixture_now() < end; usleep(5000)) {
    size_t n;
    struct status_run *runs = status_runs(view, f->arena, &n);
    if (n == 1 && runs[0].state == state && n_alive(&runs[0]) == alive)
      return runs[0];
  }
  fail_msg("no such run was seen");
  return (struct status_run){0};
}

static pid_t start_run(struct setup *s)
{
  unlink(s->fake->log);
  const pid_t pid = fake_child();
  if (!pid) {
    fake_run(s);
    _exit(0);
  }
  return pid;
}

/* Two chains for two workers, of slow steps. */
static struct setup slow_setup(void **state, unsigned delay)
{
  struct setup s = fake_setup(state, 2);
  for (uint32_t i = 0; i < 12; i++)
    fixture_step(s.f, PLAN_TRAIN, 100 + i, (uint32_t[]){i - 2}, i > 1);
  s.fake->delay = delay;
  return s;
}

static void test_going(void **state)
{
  struct setup s = slow_setup(state, 600000);
  const double before = status_now();
  const pid_t pid = start_run(&s);
  const struct status_run r = wait_for_run(s.f, STATUS_GOING, 2);
  assert_int_equal(r.pid, pid);
  assert_int_equal(r.workers, 2);
  assert_int_equal(r.count.total, 12);
  assert_true(r.begun >= before && r.heard >= r.begun && r.heard <= status_now());
  for (unsigned k = 0; k < 2; k++) {
    const uint32_t step = plan_find(s.f->plan, r.steps[k].key);
    assert_true(step < 12);
    assert_true(r.steps[k].worker == 1 || r.steps[k].worker == 2);
    assert_true(r.steps[k].cost == 100 + step);
    assert_true(r.steps[k].since >= r.begun && r.steps[k].threads == 1);
    assert_int_equal(kill((pid_t)r.steps[k].pid, 0), 0);
  }
  assert_true(r.steps[0].pid != r.steps[1].pid);
  kill(pid, SIGTERM);
  waitpid(pid, NULL, 0);
  assert_int_equal(fixture_entries(s.f, "runs"), 0);
}

/* What is done and left is told at the pace so far. */
static void test_progress(void **state)
{
  struct setup s = slow_setup(state, 400000);
  const pid_t pid = start_run(&s);
  struct status_run r = wait_for_run(s.f, STATUS_GOING, 2);
  assert_true(r.count.done > 0 || isnan(status_left(&r)));
  for (double end = fixture_now() + 20; r.count.done < 4 && fixture_now() < end;)
    r = wait_for_run(s.f, STATUS_GOING, 2);
  assert_true(r.count.done >= 4 && r.count.done < 12);
  const double part = r.count.cost_done / r.count.cost_total;
  assert_true(fabs(status_left(&r) - (r.heard - r.begun) * (1 / part - 1)) < 1e-6);
  assert_true(status_left(&r) > 0 && status_left(&r) < 20);
  waitpid(pid, NULL, 0);
  size_t n;
  status_runs(view_of(s.f), s.f->arena, &n);
  assert_int_equal(n, 0);
}

/* kill -9: the run is gone; its workers finish the step that they have.  The next run takes the
 * file away. */
static void test_killed(void **state)
{
  struct setup s = slow_setup(state, 1500000);
  const pid_t pid = start_run(&s);
  wait_for_run(s.f, STATUS_GOING, 2);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  assert_int_equal(wait_for_run(s.f, STATUS_KILLED, 2).pid, pid);
  wait_for_run(s.f, STATUS_KILLED, 0);
  assert_int_equal(fixture_entries(s.f, "runs"), 1);
  s.fake->delay = 0;
  const struct run_summary sum = fake_run(&s);
  assert_true(sum.ran + sum.cached == 12 && sum.cached >= 2);
  assert_int_equal(fixture_entries(s.f, "runs"), 0);
}

static void test_two_runs(void **state)
{
  struct setup s = slow_setup(state, 300000);
  const pid_t pids[2] = {start_run(&s), start_run(&s)};
  const struct store *view = view_of(s.f);
  size_t n = 0;
  struct status_run *runs = NULL;
  for (double end = fixture_now() + 20; n < 2 && fixture_now() < end; usleep(5000))
    runs = status_runs(view, s.f->arena, &n);
  assert_int_equal(n, 2);
  assert_true(runs[0].begun <= runs[1].begun && runs[0].pid != runs[1].pid);
  for (int k = 0; k < 2; k++) {
    kill(pids[k], SIGTERM);
    waitpid(pids[k], NULL, 0);
  }
}

/* Why a step failed stays, until it has a result. */
static void test_failure(void **state)
{
  for (unsigned jobs = 0; jobs < 2; jobs++) {
    struct setup s = fake_setup(state, jobs);
    diag_clear(s.f->diag);
    const uint32_t good = fixture_step(s.f, PLAN_DATA, 10 * jobs + 1, NULL, 0);
    const uint32_t bad = fixture_step(s.f, PLAN_TRAIN, 10 * jobs + 2, &good, 1);
    fixture_step(s.f, PLAN_TRAIN, 10 * jobs + 3, &bad, 1);
    const struct hash key = plan_step(s.f->plan, bad)->key;
    const struct store *view = view_of(s.f);
    struct status_failure f;
    const double before = status_now();
    assert_false(status_failure(view, key, s.f->arena, &f));
    s.fake->fail = 10 * jobs + 2;
    assert_int_equal(fake_run(&s).failed, 1);
    assert_true(status_failure(view, key, s.f->arena, &f));
    assert_string_equal(f.error, "no such data");
    assert_string_equal(f.hint, "install it");
    assert_true(*f.host && f.when >= before && f.when <= status_now());
    assert_false(status_failure(view, plan_step(s.f->plan, good)->key, s.f->arena, &f));
    s.fake->fail = 0;
    assert_int_equal(fake_run(&s).ran, 2);
    assert_false(status_failure(view, key, s.f->arena, &f));
    assert_int_equal(fixture_entries(s.f, "failed"), 0);
  }
}

static void test_worker_killed(void **state)
{
  struct setup s = fake_setup(state, 1);
  const uint32_t step = fixture_step(s.f, PLAN_TRAIN, 1, NULL, 0);
  struct status_failure f;
  s.fake->die = 1;
  s.fake->number = SIGKILL;
  assert_int_equal(fake_run(&s).failed, 1);
  assert_true(
      status_failure(view_of(s.f), plan_step(s.f->plan, step)->key, s.f->arena, &f));
  assert_non_null(strstr(f.error, "killed by signal 9"));
  assert_non_null(strstr(f.hint, "fewer jobs"));
}

static void put_run(struct fixture *f, const char *name, const char *host, long pid, double heard)
{
  const char *folder = file_join(f->arena, store_path(f->store), "runs");
  assert_true(file_make_dir(folder, f->diag));
  fixture_write(file_join(f->arena, folder, name),
                arena_printf(f->arena,
                             "{\"host\": \"%s\", \"pid\": %ld, \"started\": 1, \"workers\": 3,\n"
                             "\"begun\": %.1f, \"heard\": %.1f, \"done\": 1, \"total\": 4,\n"
                             "\"cost_done\": 1.0, \"cost_total\": 4, \"running\": []}\n",
                             host, pid, heard - 10, heard));
}

/* Another host's process cannot be asked: it is the time that tells.  A process that has the id
 * of a run's, but began at another time, is another one. */
static void test_others(void **state)
{
  struct fixture *f = *state;
  const struct store *view = view_of(f);
  char host[256] = "";
  size_t n;
  gethostname(host, sizeof host - 1);
  put_run(f, "other.1.json", "other", 1, status_now() - 3600);
  put_run(f, "other.2.json", "other", 2, status_now() - 2);
  put_run(f, "here.json", host, (long)getpid(), status_now() - 1);
  fixture_write(file_join(f->arena, store_path(f->store), "runs/odd.json"), "{\"host\": 1");
  fixture_write(file_join(f->arena, store_path(f->store), "runs/odd.json.new"), "{}");
  const struct status_run *runs = status_runs(view, f->arena, &n);
  assert_int_equal(n, 3);
  assert_true(runs[0].state == STATUS_SILENT && runs[0].pid == 1);
  assert_true(runs[1].state == STATUS_GOING && runs[1].pid == 2);
  assert_true(runs[2].state == STATUS_KILLED);
  assert_true(fabs(status_left(&runs[1]) - 30) < 1e-3);
}

/* Looking makes, moves and removes nothing. */
static void test_view(void **state)
{
  struct fixture *f = *state;
  const char *nowhere = file_join(f->arena, f->root, "nowhere");
  struct store *view = store_view(f->arena, nowhere, f->diag);
  size_t n;
  assert_true(store_is_view(view) && !store_is_view(f->store));
  assert_null(status_runs(view, f->arena, &n));
  assert_int_equal(n, 0);
  assert_false(file_exists(nowhere));
  struct setup s = fake_setup(state, 0);
  const uint32_t step = fixture_step(f, PLAN_TRAIN, 1, NULL, 0);
  const struct hash key = plan_step(f->plan, step)->key;
  struct store_result r;
  assert_int_equal(fake_run(&s).ran, 1);
  view = view_of(f);
  assert_true(store_read(view, key, f->arena, &r, f->diag));
  assert_int_equal(diag_count(f->diag), 0);
  fixture_write(fixture_path(f, step, "weights.bin"), "spoilt");
  assert_null(store_file(view, key, "weights.bin", f->arena, f->diag));
  assert_true(fixture_said(f->diag, "is damaged (weights.bin does not match its checksum)"));
  assert_true(store_has(view, key));
  assert_int_equal(fixture_entries(f, "damaged"), 0);
  assert_null(store_begin(view, f->arena, f->diag));
  assert_int_equal(fixture_entries(f, "tmp"), 0);
}

/* That nothing can be written beside the results is no fault. */
static void test_unwritable(void **state)
{
  struct setup s = fake_setup(state, 2);
  fixture_write(file_join(s.f->arena, store_path(s.f->store), "runs"), "in the way");
  fixture_write(file_join(s.f->arena, store_path(s.f->store), "failed"), "in the way");
  fixture_step(s.f, PLAN_TRAIN, 1, NULL, 0);
  fixture_step(s.f, PLAN_TRAIN, 2, NULL, 0);
  s.fake->fail = 2;
  const struct run_summary sum = fake_run(&s);
  assert_true(sum.ran == 1 && sum.failed == 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)
  const struct CMUnitTest tests[] = {
      TEST(test_going),   TEST(test_progress),      TEST(test_killed), TEST(test_two_runs),
      TEST(test_failure), TEST(test_worker_killed), TEST(test_others), TEST(test_view),
      TEST(test_unwritable),
  };
  return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
