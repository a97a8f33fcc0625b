#include "config.h"

#include "base/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TENSORS = 6 };

static unsigned char data[TENSORS][64];

/* Of several widths, one of them empty. */
static const struct safetensors_tensor tensors[TENSORS] = {
    {.name = "a", .dtype = SAFETENSORS_F16, .rank = 1, .shape = {3}, .bytes = 6, .data = data[0]},
    {.name = "b",
     .dtype = SAFETENSORS_F32,
     .rank = 2,
     .shape = {2, 3},
     .bytes = 24,
     .data = data[1]},
    {.name = "c", .dtype = SAFETENSORS_I64, .rank = 0, .bytes = 8, .data = data[2]},
    {.name = "d", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {5}, .bytes = 5, .data = data[3]},
    {.name = "e",
     .dtype = SAFETENSORS_F64,
     .rank = 2,
     .shape = {0, 4},
     .bytes = 0,
     .data = data[4]},
    {.name = "f", .dtype = SAFETENSORS_F32, .rank = 1, .shape = {16}, .bytes = 64, .data = data[5]},
};
static struct safetensors_meta meta[] = {{"format", "pt"}, {"origin", "a test"}};

static struct safetensors whole(void)
{
  struct safetensors s = {.tensors = (struct safetensors_tensor *)tensors,
                          .n_tensors = TENSORS,
                          .meta = meta,
                          .n_meta = 2};
  for (int i = 0; i < TENSORS; i++)
    for (int k = 0; k < 64; k++)
      data[i][k] = (unsigned char)(7 * i + k);
  return s;
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

static void put_text(struct scratch *s, const char *name, const char *text)
{
  assert_true(file_write_synced(scratch_path(s, name), text, strlen(text), s->diag));
}

/* Every byte of every tensor, in pieces of three. */
static void assert_is_whole(struct scratch *s, const char *path)
{
  struct checkpoint c;
  if (!checkpoint_open(s->arena, path, &c, s->diag))
    fail_msg("%s", diag_message(s->diag, 0));
  assert_int_equal(c.n_tensors, TENSORS);
  assert_int_equal(c.n_meta, 2);
  assert_string_equal(c.meta[1].value, "a test");
  for (int i = 0; i < TENSORS; i++) {
    const struct checkpoint_tensor *t = checkpoint_find(&c, tensors[i].name);
    unsigned char back[64];
    assert_non_null(t);
    assert_int_equal(t->dtype, tensors[i].dtype);
    assert_int_equal(t->rank, tensors[i].rank);
    assert_memory_equal(t->shape, tensors[i].shape, t->rank * sizeof *t->shape);
    assert_int_equal(t->bytes, tensors[i].bytes);
    assert_int_equal(t->count * safetensors_dtype_bytes(t->dtype), t->bytes);
    for (size_t at = 0; at < t->bytes; at += 3)
      assert_true(
          checkpoint_read(&c, t, at, back + at, t->bytes - at < 3 ? t->bytes - at : 3, s->diag));
    assert_memory_equal(back, data[i], t->bytes);
  }
  assert_null(checkpoint_find(&c, "g"));
  assert_null(checkpoint_find(&c, ""));
  for (size_t i = 1; i < c.n_tensors; i++)
    assert_true(c.tensors[i].file > c.tensors[i - 1].file ||
                (c.tensors[i].file == c.tensors[i - 1].file &&
                 c.tensors[i].offset >= c.tensors[i - 1].offset));
  checkpoint_close(&c);
  assert_int_equal(diag_count(s->diag), 0);
}

/* The tensors last to first, each in two pieces. */
static bool write_all(struct scratch *s, const char *path, uint64_t shard_bytes)
{
  struct safetensors what = whole();
  struct checkpoint_writer *w = checkpoint_create(s->arena, path, &what, shard_bytes, s->diag);
  if (!w)
    return false;
  for (size_t i = TENSORS; i--;) {
    size_t half = tensors[i].bytes / 2;
    assert_true(checkpoint_put(w, i, data[i], half, s->diag));
    assert_true(checkpoint_put(w, i, data[i] + half, tensors[i].bytes - half, s->diag));
  }
  return checkpoint_commit(w, s->diag);
}

static void a_file_comes_back(void **state)
{
  struct scratch *s = *state;
  char *path = scratch_path(s, "x.safetensors");
  assert_true(write_all(s, path, 0));
  assert_is_whole(s, path);
  assert_is_whole(s, s->dir); /* the only one in its folder */
  struct safetensors what = whole();
  assert_true(safetensors_write(scratch_path(s, "y.safetensors"), &what, s->diag));
  assert_is_whole(s, scratch_path(s, "y.safetensors"));
  struct checkpoint c;
  assert_false(checkpoint_open(s->arena, s->dir, &c, s->diag));
  scratch_expect(s, "2 files end in .safetensors", "name the one");
}

static void shards_come_back(void **state)
{
  struct scratch *s = *state;
  static const struct {
    uint64_t bytes;
    unsigned files;
  } sizes[] = {{1, 5}, {32, 3}, {43, 2}, {64, 2}, {107, 1}, {1000, 1}};
  for (int i = 0; i < 6; i++) {
    char *dir = scratch_path(s, arena_printf(s->arena, "of%u/deep", (unsigned)sizes[i].bytes));
    assert_true(write_all(s, dir, sizes[i].bytes));
    assert_int_equal(entries(dir), sizes[i].files + (sizes[i].files > 1));
    assert_is_whole(s, dir);
    if (sizes[i].files > 1)
      assert_is_whole(s, file_join(s->arena, dir, "model.safetensors.index.json"));
    else
      assert_is_whole(s, file_join(s->arena, dir, "model.safetensors"));
    /* Not into what is there. */
    assert_false(write_all(s, dir, sizes[i].bytes));
    scratch_expect(s, "is there", "another folder");
    assert_is_whole(s, dir);
  }
  /* Beside other files it is fine. */
  put_text(s, "config.json", "{}");
  assert_true(write_all(s, s->dir, 40));
  assert_is_whole(s, s->dir);
}

static struct hash digest_of(struct scratch *s, const char *path)
{
  struct checkpoint c;
  struct hash h;
  assert_true(checkpoint_open(s->arena, path, &c, s->diag));
  assert_true(checkpoint_digest(&c, &h, s->diag));
  checkpoint_close(&c);
  return h;
}

/* Of all files, wherever they lie. */
static void the_digest_is_of_all_bytes(void **state)
{
  struct scratch *s = *state;
  char *one = scratch_path(s, "x.safetensors"), *a = scratch_path(s, "a"),
       *b = scratch_path(s, "b");
  struct hash h;
  assert_true(write_all(s, one, 0));
  assert_true(hash_file(one, &h) && hash_equal(h, digest_of(s, one)));
  assert_true(write_all(s, a, 40) && write_all(s, b, 40));
  assert_true(hash_equal(digest_of(s, a), digest_of(s, b)));
  assert_false(hash_equal(digest_of(s, a), h));
  const char *index = file_join(s->arena, a, "model.safetensors.index.json");
  assert_true(hash_equal(digest_of(s, index), digest_of(s, a)));
  FILE *f = fopen(file_join(s->arena, b, "model-00001-of-00003.safetensors"), "r+b");
  assert_non_null(f);
  assert_true(!fseek(f, -1, SEEK_END) && fputc(0x55, f) == 0x55 && !fclose(f));
  assert_false(hash_equal(digest_of(s, b), digest_of(s, a)));
}

static void too_many_shards_are_refused(void **state)
{
  struct scratch *s = *state;
  enum { MANY = 600 };
  struct safetensors_tensor *many = arena_array(s->arena, MANY, sizeof *many);
  struct safetensors what = {.tensors = many, .n_tensors = MANY};
  for (int i = 0; i < MANY; i++) {
    many[i] = tensors[3];
    many[i].name = arena_printf(s->arena, "t%d", i);
  }
  assert_null(checkpoint_create(s->arena, scratch_path(s, "dir"), &what, 5, s->diag));
  scratch_expect(s, "600 files of at most 5 bytes", "larger files");
  assert_int_equal(entries(s->dir), 0);
}

static void what_is_discarded_leaves_nothing(void **state)
{
  struct scratch *s = *state;
  struct safetensors what = whole();
  char *file = scratch_path(s, "x.safetensors"), *dir = scratch_path(s, "dir");
  for (int i = 0; i < 2; i++) {
    struct checkpoint_writer *w =
        checkpoint_create(s->arena, i ? dir : file, &what, i ? 30 : 0, s->diag);
    assert_non_null(w);
    assert_true(checkpoint_put(w, 5, data[5], 64, s->diag));
    checkpoint_discard(w);
    assert_int_equal(entries(s->dir), 0);
  }
  /* A folder that was there stays. */
  assert_true(file_make_dir(dir, s->diag));
  checkpoint_discard(checkpoint_create(s->arena, dir, &what, 30, s->diag));
  assert_int_equal(entries(s->dir), 1);
  assert_int_equal(entries(dir), 0);
  put_text(s, "taken", "");
  assert_false(write_all(s, scratch_path(s, "taken/deeper"), 30));
  scratch_expect(s, "taken", "not a directory");
  assert_false(write_all(s, scratch_path(s, "no/x.safetensors"), 0));
  scratch_expect(s, "no/x.safetensors", "no such file");
  assert_false(write_all(s, dir, 0));
  scratch_expect(s, dir, "is a directory");
}

/* The limit on a file's size stands in for a full disk: at creation, and in the middle. */
static void a_full_disk_leaves_nothing(void **state)
{
  struct scratch *s = *state;
  struct safetensors what = whole();
  struct rlimit old, low;
  char *dir = scratch_path(s, "dir");
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  low = old;
  signal(SIGXFSZ, SIG_IGN);
  low.rlim_cur = 100;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  bool early = write_all(s, dir, 30);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  struct checkpoint_writer *w = checkpoint_create(s->arena, dir, &what, 30, s->diag);
  low.rlim_cur = 10;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  bool late = w && checkpoint_put(w, 5, data[5], 64, s->diag);
  /* The index is too large. */
  low.rlim_cur = 300;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  char *other = scratch_path(s, "other");
  bool last = write_all(s, other, 30);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, SIG_DFL);
  assert_false(early);
  assert_non_null(w);
  assert_false(late);
  assert_false(last);
  checkpoint_discard(w);
  assert_int_equal(diag_count(s->diag), 3);
  for (unsigned k = 0; k < 3; k++)
    assert_non_null(strstr(diag_message(s->diag, k), "too large"));
  assert_non_null(strstr(diag_message(s->diag, 2), "index.json"));
  assert_int_equal(entries(s->dir), 0);
}

static void refuse(struct scratch *s, const char *name, const char *a, const char *b)
{
  struct checkpoint c;
  if (checkpoint_open(s->arena, scratch_path(s, name), &c, s->diag))
    fail_msg("%s was opened", name);
  checkpoint_close(&c);
  scratch_expect(s, a, b);
}

static void what_is_no_checkpoint_is_refused(void **state)
{
  struct scratch *s = *state;
  struct safetensors what = whole();
  refuse(s, "missing", "missing", "no such file");
  refuse(s, ".", "no .safetensors file", "converted");
  put_text(s, "x.safetensors", "nonsense");
  refuse(s, ".", "x.safetensors", "not a safetensors file");
  put_text(s, "m.safetensors.index.json", "{");
  refuse(s, ".", "m.safetensors.index.json", "not JSON");
  put_text(s, "m.safetensors.index.json", "[]");
  refuse(s, ".", "weight_map", NULL);
  put_text(s, "m.safetensors.index.json", "{\"weight_map\": {}}");
  refuse(s, ".", "empty", NULL);
  put_text(s, "m.safetensors.index.json", "{\"weight_map\": {\"a\": 1}}");
  refuse(s, ".", "\"a\" is not in a file", NULL);
  put_text(s, "m.safetensors.index.json", "{\"weight_map\": {\"a\": \"../x\"}}");
  refuse(s, ".", "\"a\" is not in a file of the same folder", NULL);
  put_text(s, "m.safetensors.index.json", "{\"weight_map\": {\"a\": \"none.safetensors\"}}");
  refuse(s, ".", "none.safetensors", "no such file");
  assert_true(safetensors_write(scratch_path(s, "x.safetensors"), &what, s->diag));
  what.n_tensors = 5;
  assert_true(safetensors_write(scratch_path(s, "y.safetensors"), &what, s->diag));
  put_text(s, "m.safetensors.index.json",
           "{\"weight_map\": {\"a\": \"y.safetensors\", \"b\": \"y.safetensors\","
           "\"c\": \"y.safetensors\", \"d\": \"y.safetensors\"}}");
  refuse(s, ".", "\"e\" is in y.safetensors", "says nothing of it");
  put_text(s, "m.safetensors.index.json",
           "{\"weight_map\": {\"a\": \"y.safetensors\", \"b\": \"y.safetensors\","
           "\"c\": \"y.safetensors\", \"d\": \"y.safetensors\", \"e\": \"y.safetensors\","
           "\"g\": \"y.safetensors\"}}");
  refuse(s, ".", "\"g\" is not in y.safetensors", NULL);
  put_text(s, "n.safetensors.index.json", "{}");
  refuse(s, ".", "2 files end in .safetensors.index.json", "name the one");
}

static void files_that_change_are_noticed(void **state)
{
  struct scratch *s = *state;
  struct checkpoint c;
  char *dir = scratch_path(s, "dir"), back[64];
  assert_true(write_all(s, dir, 30));
  assert_true(checkpoint_open(s->arena, dir, &c, s->diag));
  assert_true(checkpoint_holds(&c, file_join(s->arena, dir, "model-00002-of-00003.safetensors")));
  assert_false(checkpoint_holds(&c, dir));
  assert_false(checkpoint_holds(&c, scratch_path(s, "missing")));
  const struct checkpoint_tensor *first = &c.tensors[0], *last = checkpoint_find(&c, "f");
  assert_true(last->file > first->file);
  assert_true(checkpoint_read(&c, first, 0, back, 1, s->diag));
  const char *second = file_join(s->arena, dir, "model-00003-of-00003.safetensors");
  assert_true(checkpoint_read(&c, last, 0, back, 1, s->diag));
  assert_int_equal(truncate(second, 100), 0);
  assert_false(checkpoint_read(&c, last, 0, back, 64, s->diag));
  scratch_expect(s, second, "cut off");
  assert_true(checkpoint_read(&c, first, 0, back, 1, s->diag));
  assert_false(checkpoint_read(&c, last, 0, back, 1, s->diag));
  scratch_expect(s, second, "changed");
  checkpoint_close(&c);
}

static void places_have_coordinates(void **state)
{
  struct scratch *s = *state;
  struct checkpoint_tensor t = {.rank = 3, .shape = {2, 3, 4}}, scalar = {.rank = 0};
  assert_string_equal(checkpoint_shape(s->arena, &t), "[2, 3, 4]");
  assert_string_equal(checkpoint_shape(s->arena, &scalar), "[]");
  assert_string_equal(checkpoint_place(s->arena, &t, 0), "[0, 0, 0]");
  assert_string_equal(checkpoint_place(s->arena, &t, 17), "[1, 1, 1]");
  assert_string_equal(checkpoint_place(s->arena, &t, 23), "[1, 2, 3]");
  assert_string_equal(checkpoint_place(s->arena, &scalar, 0), "[]");
}

static char *leave(struct scratch *s, const char *name, bool old)
{
  const struct timespec then[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
  char *path = scratch_path(s, name);
  assert_true(file_write_synced(path, "half", 4, s->diag));
  if (old)
    assert_int_equal(utimensat(AT_FDCWD, path, then, 0), 0);
  return path;
}

/* Old, not locked, and of this file or another file of the folder. */
static void what_a_killed_process_has_left_is_removed(void **state)
{
  struct scratch *s = *state;
  static const char *const kept[] = {"m.safetensors.tmp.1.2.3", "m.safetensors.tmp.1.",
                                     "other.safetensors.tmp.1.2", "m.safetensors.tmp.x.2",
                                     "m.safetensors.old"};
  const struct safetensors empty = {0};
  assert_true(file_make_dir(scratch_path(s, "f"), s->diag));
  for (int folder = 0; folder < 2; folder++) {
    char *stale = leave(
        s, folder ? "f/model-00001-of-00002.safetensors.tmp.77.0" : "m.safetensors.tmp.77.0", true);
    char *young =
        leave(s, folder ? "f/model.safetensors.tmp.78.1" : "m.safetensors.tmp.78.1", false);
    char *locked =
        leave(s, folder ? "f/model.safetensors.index.json.tmp.9.0" : "m.safetensors.tmp.9.0", true);
    for (size_t i = 0; i < sizeof kept / sizeof *kept && !folder; i++)
      leave(s, kept[i], true);
    const int fd = open(locked, O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    char *out = scratch_path(s, folder ? "f" : "m.safetensors");
    struct checkpoint_writer *w =
        checkpoint_create(s->arena, out, &empty, (uint64_t)folder, s->diag);
    assert_non_null(w);
    assert_false(file_exists(stale));
    assert_true(file_exists(young));
    assert_true(file_exists(locked));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
      assert_true(file_exists(scratch_path(s, kept[i])));
    assert_true(checkpoint_commit(w, s->diag));
    close(fd);
    w = checkpoint_create(s->arena, folder ? scratch_path(s, "g") : out, &empty, (uint64_t)folder,
                          s->diag);
    checkpoint_discard(w);
    assert_true(file_exists(locked) == folder);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(a_file_comes_back),
      SCRATCH_TEST(shards_come_back),
      SCRATCH_TEST(the_digest_is_of_all_bytes),
      SCRATCH_TEST(too_many_shards_are_refused),
      SCRATCH_TEST(what_is_discarded_leaves_nothing),
      SCRATCH_TEST(a_full_disk_leaves_nothing),
      SCRATCH_TEST(what_is_no_checkpoint_is_refused),
      SCRATCH_TEST(files_that_change_are_noticed),
      SCRATCH_TEST(places_have_coordinates),
      SCRATCH_TEST(what_a_killed_process_has_left_is_removed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
