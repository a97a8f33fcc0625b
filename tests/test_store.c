#include "config.h"

#include "run_fixture.h"

#include "base/file.h"
#include "base/rng.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char weights[] = "0123456789 weights";

static const struct plan_step *step_of(struct fixture *f, uint32_t index)
{
  return plan_step(f->plan, index);
}

/* Commits one value and one file. */
static bool commit(struct fixture *f, uint32_t index, double value, struct diag *d)
{
  struct store_draft *draft = store_begin(f->store, f->arena, d);
  if (!draft)
    return false;
  struct store_result r = {.seconds = 1.5};
  store_set(f->arena, &r, "loss", value);
  struct store_file file = {.name = "weights.bin"};
  ARENA_PUSH(f->arena, r.files, r.n_files, r.cap_files, file);
  if (!file_write_synced(store_draft_path(draft, "weights.bin"), weights, sizeof weights - 1, d)) {
    store_abandon(draft);
    return false;
  }
  return store_commit(draft, f->plan, step_of(f, index), &r, d);
}

static void test_round_trip(void **state)
{
  struct fixture *f = *state;
  uint32_t data = fixture_step(f, PLAN_DATA, 1, NULL, 0);
  uint32_t step = fixture_step(f, PLAN_TRAIN, 0.1, &data, 1);
  struct hash key = step_of(f, step)->key;
  assert_false(store_has(f->store, key));
  store_set_provenance(f->store, "blas", "a \"fast\" one");

  const double numbers[] = {0.1,  1.0 / 3,  -0.0, 5e-324,   1.7976931348623157e308,
                            1e16, 1234567., NAN,  INFINITY, -INFINITY};
  enum { N = sizeof numbers / sizeof *numbers };
  struct store_draft *draft = store_begin(f->store, f->arena, f->diag);
  struct store_result r = {.seconds = 2.25, .diverged = true, .note = "at step \"8\"\n\xff"};
  for (int i = 0; i < N; i++)
    store_set(f->arena, &r, arena_printf(f->arena, "v%d", i), numbers[i]);
  store_set(f->arena, &r, "v1", 7);
  store_set(f->arena, &r, "v1", numbers[1]);
  assert_int_equal(r.n_values, N);
  assert_true(store_commit(draft, f->plan, step_of(f, step), &r, f->diag));
  assert_true(store_has(f->store, key));
  assert_int_equal(fixture_entries(f, "tmp"), 0);

  struct store_result back;
  assert_true(store_read(f->store, key, f->arena, &back, f->diag));
  assert_int_equal(back.n_values, N);
  for (int i = 0; i < N; i++) {
    double v = store_get(&back, arena_printf(f->arena, "v%d", i));
    assert_true(isnan(numbers[i]) ? isnan(v) : !memcmp(&v, &numbers[i], sizeof v));
    assert_string_equal(back.values[i].name, r.values[i].name);
  }
  assert_true(isnan(store_get(&back, "no such value")));
  assert_true(back.diverged);
  assert_non_null(strstr(back.note, "at step \"8\"\n"));
  assert_true(back.seconds == 2.25);
  char *text = fixture_read(f, fixture_path(f, step, "result.json"), NULL);
  const char *const parts[] = {"\"kind\": \"train\"",
                               "\"seed\": 0.1",
                               "\"experiment\": \"noise\"",
                               "\"v0\": 0.1,",
                               "\"v7\": null",
                               "\"v8\": \"inf\"",
                               "\"v9\": \"-inf\"",
                               "\"blas\": \"a \\\"fast\\\" one\"",
                               "\"host\"",
                               "\"date\": \"20",
                               "\"point\": \"seed=0.1\""};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    assert_non_null(strstr(text, parts[i]));
  char hex[HASH_HEX];
  hash_hex(step_of(f, data)->key, hex);
  assert_non_null(strstr(text, hex));
  assert_int_equal(diag_count(f->diag), 0);
}

/* Takes a member out of a stored result.json, with a checksum that fits: what an earlier
 * version has written. */
static void drop_member(struct fixture *f, uint32_t step, const char *name)
{
  const char *path = fixture_path(f, step, "result.json");
  char *text = fixture_read(f, path, NULL), hex[HASH_HEX];
  char *from = strstr(text, arena_printf(f->arena, ",\n  \"%s\": ", name));
  assert_non_null(from);
  char *to = strstr(from + 1, ",\n");
  assert_non_null(to);
  memmove(from, to, strlen(to) + 1);
  char *end = strstr(text, ",\n  \"checksum\"");
  assert_non_null(end);
  *end = '\0';
  hash_hex(hash_of(text, strlen(text)), hex);
  fixture_write(path, arena_printf(f->arena, "%s,\n  \"checksum\": \"%s\"\n}\n", text, hex));
}

static void test_memory(void **state)
{
  struct fixture *f = *state;
  uint32_t asked = fixture_step(f, PLAN_INIT, 1, NULL, 0);
  uint32_t said = fixture_step(f, PLAN_INIT, 2, NULL, 0);
  struct store_result r;
  assert_true(commit(f, asked, 1, f->diag));
  assert_true(store_read(f->store, step_of(f, asked)->key, f->arena, &r, f->diag));
  assert_true(r.memory > 1e5 && r.memory < 1e12);
  struct store_draft *draft = store_begin(f->store, f->arena, f->diag);
  r = (struct store_result){.memory = 12345, .memory_of_worker = true};
  assert_true(store_commit(draft, f->plan, step_of(f, said), &r, f->diag));
  assert_true(store_read(f->store, step_of(f, said)->key, f->arena, &r, f->diag));
  assert_true(r.memory == 12345 && r.memory_of_worker);
  drop_member(f, said, "memory");
  drop_member(f, said, "memory_of_worker");
  assert_true(store_read(f->store, step_of(f, said)->key, f->arena, &r, f->diag));
  assert_true(r.memory == 0 && !r.memory_of_worker);
  assert_int_equal(diag_count(f->diag), 0);
}

static void test_file(void **state)
{
  struct fixture *f = *state;
  uint32_t step = fixture_step(f, PLAN_INIT, 1, NULL, 0);
  struct hash key = step_of(f, step)->key;
  assert_null(store_file(f->store, key, "weights.bin", f->arena, f->diag));
  assert_int_equal(diag_count(f->diag), 0); /* not there: nothing to say */
  assert_true(commit(f, step, 1, f->diag));
  const char *path = store_file(f->store, key, "weights.bin", f->arena, f->diag);
  assert_string_equal(path, fixture_path(f, step, "weights.bin"));
  assert_null(store_file(f->store, key, "other.bin", f->arena, f->diag));
  assert_int_equal(diag_errors(f->diag), 1);
  assert_true(store_has(f->store, key));
}

/* Every single byte of result.json matters. */
static void test_flipped_bytes(void **state)
{
  struct fixture *f = *state;
  uint32_t step = fixture_step(f, PLAN_INIT, 1, NULL, 0);
  struct hash key = step_of(f, step)->key;
  assert_true(commit(f, step, 0.25, f->diag));
  const char *path = fixture_path(f, step, "result.json");
  size_t length;
  char *good = fixture_read(f, path, &length);
  char *bad = arena_copy(f->arena, good, length);
  unsigned found = 0;
  for (size_t i = 0; i < length; i += 7) {
    bad[i] ^= 1;
    struct diag *d = diag_new(f->arena);
    struct store_result r;
    assert_true(file_write_synced(path, bad, length, d));
    assert_false(store_read(f->store, key, f->arena, &r, d));
    assert_int_equal(diag_errors(d), 0);
    assert_true(fixture_said(d, "damaged") && fixture_said(d, "computed again"));
    assert_false(store_has(f->store, key));
    found++;
    bad[i] ^= 1;
    assert_true(commit(f, step, 0.25, d));
  }
  assert_int_equal(fixture_entries(f, "damaged"), found);
}

struct damage {
  const char *file;
  const char *text; /* what is written there; NULL: the file is removed */
  const char *said; /* NULL: the result counts as never made */
};

static void test_damage(void **state)
{
  static const struct damage kinds[] = {
      {"result.json", "", "empty"},
      {"result.json", "{\"key\": ", "checksum"},
      {"result.json", "garbage \x01\xff", "checksum"},
      {"result.json", "{}", "checksum"},
      {"result.json", NULL, NULL},
      {"weights.bin", "", "weights.bin does not match"},
      {"weights.bin", "0123456789 weightt", "weights.bin does not match"},
      {"weights.bin", "0123456789 weights and more", "weights.bin does not match"},
      {"weights.bin", NULL, "weights.bin is missing"},
  };
  struct fixture *f = *state;
  uint32_t step = fixture_step(f, PLAN_INIT, 1, NULL, 0);
  struct hash key = step_of(f, step)->key;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    struct diag *d = diag_new(f->arena);
    assert_true(commit(f, step, 3, d)); /* also over a folder without a result */
    const char *path = fixture_path(f, step, kinds[i].file);
    if (kinds[i].text)
      fixture_write(path, kinds[i].text);
    else
      assert_int_equal(unlink(path), 0);
    assert_null(store_file(f->store, key, "weights.bin", f->arena, d));
    assert_int_equal(diag_errors(d), 0);
    assert_false(store_has(f->store, key));
    if (kinds[i].said)
      assert_true(fixture_said(d, kinds[i].said));
    else
      assert_int_equal(diag_count(d), 0);
  }
  assert_true(commit(f, step, 3, f->diag));
  assert_non_null(store_file(f->store, key, "weights.bin", f->arena, f->diag));
  assert_int_equal(fixture_entries(f, "tmp"), 0);
}

/* A whole and sound result in the wrong folder is damage too. */
static void test_wrong_key(void **state)
{
  struct fixture *f = *state;
  uint32_t a = fixture_step(f, PLAN_INIT, 1, NULL, 0), b = fixture_step(f, PLAN_INIT, 2, NULL, 0);
  assert_true(commit(f, a, 1, f->diag) && commit(f, b, 2, f->diag));
  char *text = fixture_read(f, fixture_path(f, a, "result.json"), NULL);
  fixture_write(fixture_path(f, b, "result.json"), text);
  struct store_result r;
  assert_false(store_read(f->store, step_of(f, b)->key, f->arena, &r, f->diag));
  assert_true(fixture_said(f->diag, "another step"));
}

static void test_second_commit(void **state)
{
  struct fixture *f = *state;
  uint32_t step = fixture_step(f, PLAN_INIT, 1, NULL, 0);
  assert_true(commit(f, step, 1, f->diag));
  assert_true(commit(f, step, 2, f->diag)); /* dropped: the first stays */
  struct store_result r;
  assert_true(store_read(f->store, step_of(f, step)->key, f->arena, &r, f->diag));
  assert_true(store_get(&r, "loss") == 1);
  assert_int_equal(fixture_entries(f, "tmp"), 0);
  assert_int_equal(diag_count(f->diag), 0);
}

static pid_t in_child(void)
{
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  return pid;
}

static int wait_for(pid_t pid)
{
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

/* Processes that commit the same keys, and all find damage at the same time. */
static void test_races(void **state)
{
  struct fixture *f = *state;
  enum { STEPS = 60, PROCESSES = 3 };
  uint32_t steps[STEPS];
  for (int i = 0; i < STEPS; i++)
    steps[i] = fixture_step(f, PLAN_INIT, i, NULL, 0);
  for (int i = 0; i < STEPS; i += 2) {
    assert_true(commit(f, steps[i], i, f->diag));
    fixture_write(fixture_path(f, steps[i], "weights.bin"), "damage");
  }
  pid_t pids[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    if ((pids[p] = in_child()))
      continue;
    bool good = true;
    for (int i = 0; i < STEPS; i++) {
      struct hash key = step_of(f, steps[i])->key;
      for (int tries = 0; tries < 20; tries++) {
        if (store_file(f->store, key, "weights.bin", f->arena, f->diag))
          break;
        good = good && commit(f, steps[i], i, f->diag);
      }
    }
    _exit(good && !diag_errors(f->diag) ? 0 : 1);
  }
  for (int p = 0; p < PROCESSES; p++)
    assert_int_equal(wait_for(pids[p]), 0);
  for (int i = 0; i < STEPS; i++) {
    struct store_result r;
    struct hash key = step_of(f, steps[i])->key;
    assert_non_null(store_file(f->store, key, "weights.bin", f->arena, f->diag));
    assert_true(store_read(f->store, key, f->arena, &r, f->diag));
    assert_true(store_get(&r, "loss") == i);
  }
  assert_int_equal(fixture_entries(f, "tmp"), 0);
  assert_int_equal(diag_count(f->diag), 0);
}

static void test_stale_drafts(void **state)
{
  struct fixture *f = *state;
  pid_t pid = in_child();
  if (!pid) {
    struct store_draft *draft = store_begin(f->store, f->arena, f->diag);
    fixture_write(store_draft_path(draft, "half.bin"), "half");
    kill(getpid(), SIGKILL);
  }
  wait_for(pid);
  assert_int_equal(fixture_entries(f, "tmp"), 1);
  struct store_draft *mine = store_begin(f->store, f->arena, f->diag);
  const char *tmp = file_join(f->arena, store_path(f->store), "tmp");
  assert_int_equal(mkdir(arena_printf(f->arena, "%s/elsewhere.%ld.0", tmp, (long)pid), 0777), 0);
  assert_int_equal(mkdir(arena_printf(f->arena, "%s/odd", tmp), 0777), 0);
  assert_non_null(store_open(f->arena, store_path(f->store), f->diag));
  /* Ours, another host's, and what is not a draft stay. */
  assert_int_equal(fixture_entries(f, "tmp"), 3);
  assert_true(file_exists(store_draft_path(mine, ".")));
  store_abandon(mine);
  store_abandon(mine);
  assert_int_equal(fixture_entries(f, "tmp"), 2);
}

/* Killed at any moment, a process leaves whole objects only. */
static void test_kill(void **state)
{
  struct fixture *f = *state;
  enum { ROUNDS = 60, STEPS = 200 };
  uint32_t steps[STEPS];
  for (int i = 0; i < STEPS; i++)
    steps[i] = fixture_step(f, PLAN_INIT, i, NULL, 0);
  struct rng rng = rng_at(7, RNG_TEST, 0, 0, 0);
  unsigned whole = 0;
  for (int round = 0; round < ROUNDS; round++) {
    pid_t pid = in_child();
    if (!pid) {
      for (int i = 0;; i = (i + 1) % STEPS)
        if (!store_has(f->store, step_of(f, steps[i])->key))
          commit(f, steps[i], i, f->diag);
    }
    /* A slow machine gets longer, until something was committed. */
    bool some = false;
    for (int i = 0; i < STEPS && !some; i++)
      some = store_has(f->store, step_of(f, steps[i])->key);
    unsigned more = some ? 0 : 1000 * (unsigned)round;
    usleep(rng_below(&rng, 6000) + more);
    kill(pid, SIGKILL);
    wait_for(pid);
  }
  assert_non_null(store_open(f->arena, store_path(f->store), f->diag));
  assert_int_equal(fixture_entries(f, "tmp"), 0);
  for (int i = 0; i < STEPS; i++) {
    struct hash key = step_of(f, steps[i])->key;
    if (!file_exists(fixture_path(f, steps[i], ".")))
      continue;
    assert_true(store_has(f->store, key));
    assert_non_null(store_file(f->store, key, "weights.bin", f->arena, f->diag));
    whole++;
  }
  assert_true(whole > 0);
  assert_int_equal(fixture_entries(f, "damaged"), 0);
  assert_int_equal(diag_count(f->diag), 0);
}

/* A file-size limit stands in for a full disk: writes fail half-way. */
static void test_no_space(void **state)
{
  struct fixture *f = *state;
  uint32_t a = fixture_step(f, PLAN_INIT, 1, NULL, 0), b = fixture_step(f, PLAN_INIT, 2, NULL, 0);
  assert_true(commit(f, a, 1, f->diag));
  for (rlim_t limit = 5; limit <= 305; limit += 300) { /* within weights, within result.json */
    pid_t pid = in_child();
    if (!pid) {
      signal(SIGXFSZ, SIG_IGN);
      struct rlimit rl = {limit, limit};
      setrlimit(RLIMIT_FSIZE, &rl);
      bool good = !commit(f, b, 2, f->diag) && diag_errors(f->diag) == 1 &&
                  strcasestr(diag_message(f->diag, 0), strerror(EFBIG)) &&
                  strstr(diag_message(f->diag, 0), store_path(f->store));
      _exit(good ? 0 : 1);
    }
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(fixture_entries(f, "tmp"), 0);
    assert_false(store_has(f->store, step_of(f, b)->key));
    assert_non_null(store_file(f->store, step_of(f, a)->key, "weights.bin", f->arena, f->diag));
  }
}

static void test_missing_file(void **state)
{
  struct fixture *f = *state;
  uint32_t step = fixture_step(f, PLAN_INIT, 1, NULL, 0);
  struct store_draft *draft = store_begin(f->store, f->arena, f->diag);
  struct store_file file = {.name = "never-written.bin"};
  struct store_result r = {.files = &file, .n_files = 1};
  assert_false(store_commit(draft, f->plan, step_of(f, step), &r, f->diag));
  assert_true(fixture_said(f->diag, "never-written.bin"));
  store_abandon(draft);
  assert_int_equal(fixture_entries(f, "tmp"), 0);
}

static void test_open_fails(void **state)
{
  struct fixture *f = *state;
  const char *file = file_join(f->arena, f->root, "file");
  fixture_write(file, "not a folder");
  assert_null(store_open(f->arena, file_join(f->arena, file, "store"), f->diag));
  assert_int_equal(diag_count(f->diag), 1);
  assert_non_null(strstr(diag_message(f->diag, 0), "file/store"));
  assert_non_null(diag_hint_of(f->diag, 0));
  diag_clear(f->diag);
  assert_null(store_open(f->arena, "", f->diag));
  assert_int_equal(diag_errors(f->diag), 1);
  if (getuid() == 0 || access("/proc/1", F_OK)) {
    diag_clear(f->diag);
    assert_null(store_open(f->arena, "/proc/none/store", f->diag));
    assert_int_equal(diag_count(f->diag), 1);
  }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)
  const struct CMUnitTest tests[] = {
      TEST(test_round_trip), TEST(test_file),         TEST(test_flipped_bytes),
      TEST(test_damage),     TEST(test_wrong_key),    TEST(test_second_commit),
      TEST(test_races),      TEST(test_stale_drafts), TEST(test_kill),
      TEST(test_no_space),   TEST(test_missing_file), TEST(test_open_fails),
      TEST(test_memory),
  };
  return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
