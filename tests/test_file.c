#include "config.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void put(const char *path, const char *text)
{
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
  assert_int_equal(fclose(f), 0);
}

static unsigned entries(const char *path)
{
  unsigned n = 0;
  DIR *dir = opendir(path);
  assert_non_null(dir);
  while (readdir(dir))
    n++;
  closedir(dir);
  return n - 2;
}

static void reads_whole_files(void **state)
{
  struct scratch *s = *state;
  static const char text[] = "a\0b\nc";
  char *path = scratch_path(s, "f");
  size_t n = 99;
  assert_true(file_write_synced(path, text, sizeof text, s->diag));
  char *back = file_read(s->arena, path, &n, s->diag);
  assert_int_equal(n, sizeof text);
  assert_memory_equal(back, text, sizeof text);
  assert_int_equal(back[n], 0);
  assert_true(file_write_synced(path, NULL, 0, s->diag));
  back = file_read(s->arena, path, &n, s->diag);
  assert_int_equal(n, 0);
  assert_string_equal(back, "");
  assert_int_equal(diag_count(s->diag), 0);
}

/* Its size is unknown before it is read, and grows past the first buffer. */
static void reads_pipes(void **state)
{
  struct scratch *s = *state;
  int ends[2];
  enum { SIZE = 300000 };
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    close(ends[0]);
    for (int i = 0; i < SIZE; i++) {
      char c = (char)('a' + i % 26);
      if (write(ends[1], &c, 1) != 1)
        _exit(1);
    }
    _exit(0);
  }
  close(ends[1]);
  size_t n = 0;
  char *path = arena_printf(s->arena, "/dev/fd/%d", ends[0]);
  char *back = file_read(s->arena, path, &n, s->diag);
  close(ends[0]);
  assert_non_null(back);
  assert_int_equal(n, SIZE);
  for (int i = 0; i < SIZE; i++)
    assert_int_equal(back[i], 'a' + i % 26);
}

static void read_errors_name_the_path(void **state)
{
  struct scratch *s = *state;
  size_t n;
  char *path = scratch_path(s, "nothing.exp");
  assert_null(file_read(s->arena, path, &n, s->diag));
  scratch_expect(s, path, "cannot read");
  assert_null(file_read(s->arena, path, &n, s->diag));
  scratch_expect(s, "no such file or directory", NULL);
  assert_null(file_read(s->arena, s->dir, &n, s->diag));
  scratch_expect(s, s->dir, "is a directory");
}

static void atomic_writes_replace(void **state)
{
  struct scratch *s = *state;
  char *path = scratch_path(s, "f");
  size_t n;
  assert_true(file_write_atomic(path, "one", 3, s->diag));
  assert_true(file_write_atomic(path, "three", 5, s->diag));
  assert_string_equal(file_read(s->arena, path, &n, s->diag), "three");
  assert_int_equal(entries(s->dir), 1);
  assert_int_equal(diag_count(s->diag), 0);
}

static void failed_atomic_writes_leave_nothing(void **state)
{
  struct scratch *s = *state;
  char *missing = scratch_path(s, "no/such/f"), *folder = scratch_path(s, "folder");
  assert_false(file_write_atomic(missing, "x", 1, s->diag));
  scratch_expect(s, missing, "no such file");
  assert_true(file_make_dir(folder, s->diag));
  assert_false(file_write_atomic(folder, "x", 1, s->diag));
  scratch_expect(s, folder, "cannot write");
  assert_int_equal(entries(s->dir), 1);
}

static void a_full_disk_is_named(void **state)
{
  struct scratch *s = *state;
  if (access("/dev/full", W_OK))
    skip();
  assert_false(file_write_synced("/dev/full", "x", 1, s->diag));
  scratch_expect(s, "cannot write /dev/full: no space left on device", "free some space");
  assert_true(file_exists("/dev/full"));
}

/* The limit on a file's size cuts a write short, as a full disk does. */
static void partial_writes_are_removed(void **state)
{
  struct scratch *s = *state;
  static char big[1 << 16];
  struct rlimit old, low;
  char *path = scratch_path(s, "f"), *kept = scratch_path(s, "kept");
  size_t n;
  put(kept, "old");
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  low = old;
  low.rlim_cur = 1000;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  bool synced = file_write_synced(path, big, sizeof big, s->diag);
  bool atomic = file_write_atomic(kept, big, sizeof big, s->diag);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, SIG_DFL);
  assert_false(synced);
  assert_false(atomic);
  assert_int_equal(diag_count(s->diag), 2);
  assert_non_null(strstr(diag_message(s->diag, 0), path));
  assert_non_null(strstr(diag_message(s->diag, 0), "too large"));
  assert_non_null(strstr(diag_message(s->diag, 1), kept));
  assert_int_equal(entries(s->dir), 1);
  assert_string_equal(file_read(s->arena, kept, &n, s->diag), "old");
}

static void parts_follow_each_other(void **state)
{
  struct scratch *s = *state;
  char *path = scratch_path(s, "f");
  struct file_part parts[] = {{"ab", 2}, {NULL, 0}, {"cd", 1}};
  size_t n;
  assert_true(file_write_parts(path, parts, 3, s->diag));
  assert_string_equal(file_read(s->arena, path, &n, s->diag), "abc");
}

/* Killed at any moment before it is committed, a draft leaves nothing; afterwards the file
 * is whole, in the old one's place. */
static void a_killed_draft_leaves_nothing(void **state)
{
  struct scratch *s = *state;
  char *path = scratch_path(s, "f");
  size_t n;
  put(path, "old");
#ifdef O_TMPFILE
  int fd = open(s->dir, O_TMPFILE | O_WRONLY, 0600);
#else
  int fd = -1;
#endif
  if (fd < 0)
    skip(); /* this file system wants a name from the beginning */
  close(fd);
  for (int stage = 0; stage < 4; stage++) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
      struct file_draft *f = file_draft_new(path, 6, s->diag);
      if (stage > 0)
        file_draft_write(f, 3, "new", 3, s->diag);
      if (stage > 1)
        file_draft_write(f, 0, "new", 3, s->diag);
      if (stage > 2)
        file_draft_commit(f, s->diag);
      kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(entries(s->dir), 1);
    assert_string_equal(file_read(s->arena, path, &n, s->diag), stage < 3 ? "old" : "newnew");
  }
}

static void drafts_are_reserved_and_abandoned(void **state)
{
  struct scratch *s = *state;
  char *path = scratch_path(s, "f");
  struct file_draft *f = file_draft_new(path, 100, s->diag);
  assert_non_null(f);
  assert_true(file_draft_write(f, 50, "x", 1, s->diag));
  file_draft_abandon(f);
  file_draft_abandon(NULL);
  assert_int_equal(entries(s->dir), 0);
  assert_null(file_draft_new(path, UINT64_MAX, s->diag));
  scratch_expect(s, path, "too large");
  assert_null(file_draft_new(s->dir, 1, s->diag));
  scratch_expect(s, s->dir, "is a directory");
  assert_null(file_draft_new("/dev/null", 1, s->diag));
  scratch_expect(s, "/dev/null", "invalid argument");
  assert_int_equal(entries(s->dir), 0);
}

static void makes_folders(void **state)
{
  struct scratch *s = *state;
  char *path = scratch_path(s, "a/b//c/"), *file = scratch_path(s, "f");
  struct stat st;
  assert_true(file_make_dir(path, s->diag));
  assert_true(file_make_dir(path, s->diag));
  assert_int_equal(stat(path, &st), 0);
  assert_true(S_ISDIR(st.st_mode));
  assert_true(file_sync_dir(path, s->diag));
  put(file, "x");
  char *through = scratch_path(s, "f/deeper");
  assert_false(file_make_dir(through, s->diag));
  scratch_expect(s, through, "not a directory");
  assert_false(file_sync_dir(file, s->diag));
  scratch_expect(s, file, "sync");
}

static void removes_trees_but_not_through_links(void **state)
{
  struct scratch *s = *state;
  char *tree = scratch_path(s, "tree"), *outside = scratch_path(s, "outside");
  assert_true(file_make_dir(scratch_path(s, "tree/a/b"), s->diag));
  assert_true(file_make_dir(outside, s->diag));
  put(scratch_path(s, "outside/precious"), "x");
  put(scratch_path(s, "tree/a/f"), "x");
  assert_int_equal(symlink(outside, scratch_path(s, "tree/a/link")), 0);
  assert_true(file_remove_tree(tree, s->diag));
  assert_false(file_exists(tree));
  assert_true(file_exists(scratch_path(s, "outside/precious")));
  assert_true(file_remove_tree(tree, s->diag));
  assert_true(file_remove_tree(scratch_path(s, "outside/precious"), s->diag));
  assert_int_equal(entries(outside), 0);
  assert_int_equal(diag_count(s->diag), 0);
}

static void names(void **state)
{
  struct scratch *s = *state;
  static const char *const dirs[][2] = {{"a/b.exp", "a"}, {"b.exp", "."}, {"/b", "/"},
                                        {"a//b", "a"},    {"//b", "/"},   {"a/b/c", "a/b"}};
  for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
    assert_string_equal(file_dir_name(s->arena, dirs[i][0]), dirs[i][1]);
  assert_string_equal(file_join(s->arena, "a", "b"), "a/b");
  assert_string_equal(file_join(s->arena, "a/", "b"), "a/b");
  assert_string_equal(file_join(s->arena, ".", "b"), "b");
  assert_string_equal(file_join(s->arena, "a", "/b"), "/b");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(reads_whole_files),
      SCRATCH_TEST(reads_pipes),
      SCRATCH_TEST(read_errors_name_the_path),
      SCRATCH_TEST(atomic_writes_replace),
      SCRATCH_TEST(failed_atomic_writes_leave_nothing),
      SCRATCH_TEST(a_full_disk_is_named),
      SCRATCH_TEST(partial_writes_are_removed),
      SCRATCH_TEST(parts_follow_each_other),
      SCRATCH_TEST(a_killed_draft_leaves_nothing),
      SCRATCH_TEST(drafts_are_reserved_and_abandoned),
      SCRATCH_TEST(makes_folders),
      SCRATCH_TEST(removes_trees_but_not_through_links),
      SCRATCH_TEST(names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
