/* Merging files: against the same method on the same numbers in memory, and what is refused. */
#include "config.h"

#include "base/checkpoint.h"
#include "base/floats.h"
#include "base/rng.h"
#include "merge/merge_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_MODELS = 4, MOST_INPUTS = 2 * MOST_MODELS, MOST_TENSORS = 9 };

static const enum safetensors_dtype floats[] = {SAFETENSORS_F32, SAFETENSORS_F16, SAFETENSORS_BF16,
                                                SAFETENSORS_F64};
static const enum safetensors_dtype others[] = {SAFETENSORS_BOOL, SAFETENSORS_U8, SAFETENSORS_I8,
                                                SAFETENSORS_I16, SAFETENSORS_I64};

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

/* ---- checkpoints ---- */

/* Of input k all has the same names and shapes. */
struct world {
  size_t n_tensors;
  const char *name[MOST_TENSORS];
  uint32_t rank[MOST_TENSORS];
  uint64_t shape[MOST_TENSORS][SAFETENSORS_MAX_RANK];
  size_t count[MOST_TENSORS];
  enum safetensors_dtype dtype[MOST_INPUTS][MOST_TENSORS];
  void *bytes[MOST_INPUTS][MOST_TENSORS];
};

static void write_input(struct scratch *s, const struct world *w, size_t k, const char *path,
                        uint64_t shard_bytes)
{
  static struct safetensors_meta meta[] = {{"format", "pt"}, {"merged", "before"}};
  struct safetensors_tensor t[MOST_TENSORS];
  struct safetensors what = {.tensors = t, .n_tensors = w->n_tensors, .meta = meta, .n_meta = 2};
  for (size_t i = 0; i < w->n_tensors; i++) {
    t[i] = (struct safetensors_tensor){
        .name = w->name[i],
        .dtype = w->dtype[k][i],
        .rank = w->rank[i],
        .bytes = w->count[i] * safetensors_dtype_bytes(w->dtype[k][i]),
        .data = w->bytes[k][i],
    };
    memcpy(t[i].shape, w->shape[i], sizeof t[i].shape);
  }
  struct checkpoint_writer *c = checkpoint_create(s->arena, path, &what, shard_bytes, s->diag);
  assert_non_null(c);
  for (size_t i = 0; i < w->n_tensors; i++)
    assert_true(checkpoint_put(c, i, t[i].data, t[i].bytes, s->diag));
  assert_true(checkpoint_commit(c, s->diag));
}

static double draw(struct rng *r, bool fisher)
{
  double v = rng_below(r, 4) ? rng_normal(r) : (double)rng_below(r, 5) / 4;
  return fisher ? fabs(v) : v;
}

static void fill(struct arena *a, struct rng *r, struct world *w, size_t k, size_t i, bool fisher)
{
  const enum safetensors_dtype t = w->dtype[k][i];
  const size_t n = w->count[i], width = safetensors_dtype_bytes(t);
  unsigned char *bytes = w->bytes[k][i] = arena_alloc(a, n * width + 1);
  if (safetensors_is_float(t)) {
    for (size_t j = 0; j < n; j++) {
      double v = draw(r, fisher);
      floats_write_isa(FLOATS_PLAIN, t, &v, 1, bytes + j * width);
    }
  } else if (k && strcmp(w->name[i], "n.num_batches_tracked")) {
    memcpy(bytes, w->bytes[0][i], n * width);
  } else {
    for (size_t j = 0; j < n * width; j++)
      bytes[j] = (unsigned char)rng_u32(r);
  }
}

/* Some large enough for several pieces, some empty. */
static struct world *make_world(struct arena *a, struct rng *r, size_t n_models, size_t n_inputs,
                                bool fishers)
{
  static const char *const names[MOST_TENSORS] = {
      "a.weight", "a.bias", "n.running_var", "n.num_batches_tracked", "\xcf\x80/\"x\"", "e",
      "f",        "g",      "z.weight"};
  struct world *w = arena_alloc(a, sizeof *w);
  w->n_tensors = 1 + rng_below(r, MOST_TENSORS);
  for (size_t i = 0; i < w->n_tensors; i++) {
    w->name[i] = names[i];
    w->rank[i] = rng_below(r, 4);
    w->count[i] = 1;
    for (uint32_t d = 0; d < w->rank[i]; d++) {
      w->shape[i][d] = rng_below(r, d ? 7 : rng_below(r, 8) ? 40 : 3000);
      w->count[i] *= w->shape[i][d];
    }
    bool as_float = i != 3 && rng_below(r, 5);
    enum safetensors_dtype other = others[rng_below(r, 5)];
    for (size_t k = 0; k < n_inputs; k++) {
      w->dtype[k][i] = as_float ? floats[rng_below(r, 4)] : other;
      fill(a, r, w, k, i, fishers && k >= n_models);
    }
  }
  return w;
}

/* ---- the same in memory ---- */

struct memory {
  const struct world *w;
  size_t n_inputs;
  const size_t *at; /* which of the world's tensors */
  double *out[MOST_TENSORS];
};

static bool load(void *context, size_t tensor, uint64_t first, size_t n, double *const *in,
                 struct diag *d)
{
  const struct memory *m = context;
  size_t i = m->at[tensor];
  (void)d;
  for (size_t k = 0; k < m->n_inputs; k++) {
    const enum safetensors_dtype t = m->w->dtype[k][i];
    const unsigned char *bytes = m->w->bytes[k][i];
    floats_read_isa(FLOATS_PLAIN, t, bytes + first * safetensors_dtype_bytes(t), n, in[k]);
  }
  return true;
}

static bool store(void *context, size_t tensor, uint64_t first, size_t n, const double *const *in,
                  const double *out, struct diag *d)
{
  const struct memory *m = context;
  (void)in, (void)d;
  memcpy(m->out[m->at[tensor]] + first, out, n * sizeof *out);
  return true;
}

/* In the order in which the first file holds them: sums of products depend on it. */
static void merge_memory(struct scratch *s, const struct merge_files *task, struct memory *m,
                         const struct checkpoint *first)
{
  struct merge_tensor tensors[MOST_TENSORS];
  size_t n = 0, at[MOST_TENSORS];
  for (size_t k = 0; k < first->n_tensors; k++)
    for (size_t i = 0; i < m->w->n_tensors; i++)
      if (!strcmp(m->w->name[i], first->tensors[k].name) &&
          safetensors_is_float(m->w->dtype[0][i])) {
        m->out[i] = arena_array(s->arena, m->w->count[i], sizeof(double));
        tensors[n] = (struct merge_tensor){m->w->name[i], m->w->count[i],
                                           !strcmp(m->w->name[i], "n.running_var")};
        at[n++] = i;
      }
  m->at = at;
  const struct merge_io io = {.context = m, .load = load, .store = store, .piece = 777};
  assert_true(merge_tensors(task->method, &task->args, task->n_models, tensors, n, &io, NULL,
                            s->arena, s->diag));
}

static void check_result(struct scratch *s, const struct merge_files *task, const struct world *w)
{
  struct checkpoint first, c;
  struct memory m = {.w = w, .n_inputs = merge_inputs(task->method, task->n_models)};
  if (!checkpoint_open(s->arena, task->out, &c, s->diag) ||
      !checkpoint_open(s->arena, task->inputs[0], &first, s->diag))
    fail_msg("%s", diag_message(s->diag, 0));
  merge_memory(s, task, &m, &first);
  assert_int_equal(c.n_tensors, w->n_tensors);
  assert_int_equal(c.n_meta, 3);
  assert_string_equal(c.meta[1].value, "before");
  assert_string_equal(c.meta[2].key, "merged.2");
  assert_string_equal(c.meta[2].value, "in a test");
  for (size_t i = 0; i < w->n_tensors; i++) {
    const struct checkpoint_tensor *t = checkpoint_find(&c, w->name[i]);
    assert_non_null(t);
    bool as_float = safetensors_is_float(w->dtype[0][i]);
    enum safetensors_dtype expected =
        as_float && task->dtype != SAFETENSORS_DTYPE_COUNT ? task->dtype : w->dtype[0][i];
    assert_int_equal(t->dtype, expected);
    assert_int_equal(t->rank, w->rank[i]);
    assert_memory_equal(t->shape, w->shape[i], t->rank * sizeof *t->shape);
    unsigned char *bytes = arena_alloc(s->arena, t->bytes + 1);
    unsigned char *wanted = arena_alloc(s->arena, t->bytes + 1);
    assert_true(checkpoint_read(&c, t, 0, bytes, t->bytes, s->diag));
    if (as_float)
      floats_write_isa(FLOATS_PLAIN, expected, m.out[i], w->count[i], wanted);
    else
      memcpy(wanted, w->bytes[0][i], t->bytes);
    if (memcmp(bytes, wanted, t->bytes))
      fail_msg("%s, \"%s\": other numbers than in memory", task->method->name, t->name);
  }
  checkpoint_close(&c);
  checkpoint_close(&first);
}

/* ---- recipes ---- */

static struct merge_args draw_args(struct arena *a, struct rng *r, size_t n_models)
{
  double *weights = arena_array(a, n_models, sizeof *weights), sum = 0;
  for (size_t k = 0; k < n_models; k++)
    sum += weights[k] = 0.1 + rng_uniform(r);
  for (size_t k = 0; k < n_models; k++)
    weights[k] /= sum;
  return (struct merge_args){
      .alpha = rng_uniform(r) * 1.5,
      .weights = rng_below(r, 2) ? weights : NULL,
      .scale = rng_uniform(r),
      .scales = rng_below(r, 2) ? weights : NULL,
      .scope = rng_below(r, 2) ? MERGE_EACH_TENSOR : MERGE_WHOLE_MODEL,
      .keep = 0.01 + 0.98 * rng_uniform(r),
      .aggregate = rng_below(r, 2) ? MERGE_SUM : MERGE_MEAN,
      .undecided = rng_below(r, 2) ? MERGE_MAJORITY : MERGE_NEITHER,
      .drop = 0.9 * rng_uniform(r),
      .seed = rng_u32(r),
      .elect = rng_below(r, 2),
      .floor = rng_below(r, 2) ? 0.1 : 0,
      .x = rng_uniform(r),
      .y = rng_uniform(r),
  };
}

static void merge_one(struct scratch *s, struct rng *r, unsigned round)
{
  const struct merge_method *method = merge_at(round % 8);
  size_t most = method->max_models ? method->max_models : MOST_MODELS;
  size_t n_models = method->min_models + rng_below(r, (uint32_t)(most - method->min_models + 1));
  size_t n_inputs = merge_inputs(method, n_models);
  const char *paths[MOST_INPUTS];
  struct world *w = make_world(s->arena, r, n_models, n_inputs, method->extra == MERGE_FISHERS);
  for (size_t k = 0; k < n_inputs; k++) {
    bool folder = rng_below(r, 3) == 0;
    paths[k] = scratch_path(
        s, arena_printf(s->arena, "in%u.%zu%s", round, k, folder ? "" : ".safetensors"));
    write_input(s, w, k, paths[k], folder ? 1 + rng_below(r, 20000) : 0);
  }
  bool folder = rng_below(r, 3) == 0;
  struct merge_files task = {
      .method = method,
      .args = draw_args(s->arena, r, n_models),
      .inputs = paths,
      .n_models = n_models,
      .out =
          scratch_path(s, arena_printf(s->arena, "out%u%s", round, folder ? "" : ".safetensors")),
      .shard_bytes = folder ? 1 + rng_below(r, 20000) : 0,
      .dtype = rng_below(r, 2) ? floats[rng_below(r, 4)] : SAFETENSORS_DTYPE_COUNT,
      .how = "in a test",
  };
  struct merge_files_report report;
  if (!merge_files(s->arena, &task, &report, s->diag)) {
    /* All that a method may say of three models by chance. */
    assert_non_null(strstr(diag_message(s->diag, 0), "plane: "));
    diag_clear(s->diag);
    return;
  }
  assert_int_equal(diag_count(s->diag), 0);
  check_result(s, &task, w);
  assert_int_equal(report.merged + report.copied, w->n_tensors);
}

static void any_recipe_gives_a_sound_file(void **state)
{
  struct scratch *s = *state;
  struct rng r = rng_at(5, RNG_TEST, 0, 0, 0);
  for (unsigned round = 0; round < 96; round++)
    merge_one(s, &r, round);
}

/* ---- one model and another ---- */

static struct world *two_models(struct scratch *s, size_t count)
{
  static const char *const names[] = {"a.weight", "b", "n.num_batches_tracked", "ids"};
  static const enum safetensors_dtype types[] = {SAFETENSORS_F32, SAFETENSORS_F16, SAFETENSORS_I64,
                                                 SAFETENSORS_I16};
  struct world *w = arena_alloc(s->arena, sizeof *w);
  struct rng r = rng_at(6, RNG_TEST, 0, 0, 0);
  w->n_tensors = 4;
  for (size_t i = 0; i < 4; i++) {
    w->name[i] = names[i];
    w->rank[i] = i < 2 ? 2 : 0;
    w->shape[i][0] = i ? 3 : count / 4;
    w->shape[i][1] = 4;
    w->count[i] = i < 2 ? w->shape[i][0] * 4 : 1;
    for (size_t k = 0; k < 3; k++) {
      w->dtype[k][i] = types[i];
      fill(s->arena, &r, w, k, i, false);
    }
  }
  return w;
}

static struct merge_files linear_task(struct scratch *s, const char **paths)
{
  paths[0] = scratch_path(s, "one.safetensors");
  paths[1] = scratch_path(s, "two.safetensors");
  return (struct merge_files){
      .method = merge_find("linear"),
      .args = {.alpha = 0.5},
      .inputs = paths,
      .n_models = 2,
      .out = scratch_path(s, "out.safetensors"),
      .dtype = SAFETENSORS_DTYPE_COUNT,
  };
}

static void write_both(struct scratch *s, const struct world *w, const char **paths)
{
  for (size_t k = 0; k < 2; k++)
    write_input(s, w, k, paths[k], 0);
}

/* The merge fails with one diagnostic and leaves the inputs and nothing else. */
static void refuse(struct scratch *s, const struct merge_files *task, const char *a, const char *b)
{
  struct merge_files_report report;
  unsigned before = entries(s->dir);
  if (merge_files(s->arena, task, &report, s->diag))
    fail_msg("merged");
  scratch_expect(s, a, b);
  assert_int_equal(entries(s->dir), before);
}

static void what_does_not_fit_is_refused(void **state)
{
  struct scratch *s = *state;
  const char *paths[2];
  struct merge_files task = linear_task(s, paths);
  struct world *w = two_models(s, 16), *other = two_models(s, 16);
  write_input(s, w, 0, paths[0], 0);
  refuse(s, &task, "two.safetensors", "no such file");
  other->shape[0][0] = 8;
  other->shape[0][1] = 2;
  write_input(s, other, 1, paths[1], 0);
  refuse(s, &task, "\"a.weight\" is [4, 4] in", "[8, 2]");
  *other = *w;
  other->n_tensors = 3;
  write_input(s, other, 1, paths[1], 0);
  refuse(s, &task, "two.safetensors has no tensor \"ids\"", NULL);
  *other = *w;
  other->name[0] = "module.a.weight";
  write_input(s, other, 1, paths[1], 0);
  struct merge_files_report report;
  assert_false(merge_files(s->arena, &task, &report, s->diag));
  assert_int_equal(diag_count(s->diag), 2);
  assert_non_null(strstr(diag_message(s->diag, 0), "no tensor \"a.weight\""));
  assert_non_null(strstr(diag_hint_of(s->diag, 0), "take \"module.\" off"));
  assert_non_null(strstr(diag_message(s->diag, 1), "a tensor \"module.a.weight\", which is not"));
  diag_clear(s->diag);
  *other = *w;
  other->dtype[1][3] = SAFETENSORS_U16;
  write_input(s, other, 1, paths[1], 0);
  refuse(s, &task, "\"ids\" is I16 in", "U16");
  *other = *w;
  other->dtype[1][3] = SAFETENSORS_F16;
  write_input(s, other, 1, paths[1], 0);
  refuse(s, &task, "\"ids\" is I16 in", "F16");
  *other = *w;
  other->bytes[1][3] = other->bytes[1][1];
  write_input(s, other, 1, paths[1], 0);
  refuse(s, &task, "\"ids\" is I16, which cannot be merged, and differs", NULL);
  write_both(s, w, paths);
  task.out = scratch_path(s, "./one.safetensors");
  refuse(s, &task, "is one of the models", "another file");
  task.out = scratch_path(s, "link.safetensors");
  assert_int_equal(symlink(paths[1], task.out), 0);
  refuse(s, &task, "is one of the models", NULL);
}

/* The first twenty of many. */
static void many_mistakes_are_cut_short(void **state)
{
  struct scratch *s = *state;
  enum { MANY = 30 };
  struct safetensors_tensor t[MANY];
  struct safetensors what = {.tensors = t, .n_tensors = MANY};
  const char *paths[2];
  struct merge_files task = linear_task(s, paths);
  for (int k = 0; k < 2; k++) {
    for (int i = 0; i < MANY; i++)
      t[i] = (struct safetensors_tensor){.name = arena_printf(s->arena, "t%d", i),
                                         .dtype = SAFETENSORS_F32,
                                         .rank = 1,
                                         .shape = {(uint64_t)k + 1},
                                         .bytes = 4 * (size_t)(k + 1),
                                         .data = "1234567"};
    assert_true(safetensors_write(paths[k], &what, s->diag));
  }
  struct merge_files_report report;
  assert_false(merge_files(s->arena, &task, &report, s->diag));
  assert_int_equal(diag_count(s->diag), 21);
  assert_string_equal(diag_message(s->diag, 20), "... and 10 more of this kind");
}

static void set_float(struct world *w, size_t k, size_t i, size_t at, double v)
{
  enum safetensors_dtype t = w->dtype[k][i];
  unsigned char *bytes = w->bytes[k][i];
  floats_write_isa(FLOATS_PLAIN, t, &v, 1, bytes + at * safetensors_dtype_bytes(t));
}

static void numbers_that_are_none_are_named(void **state)
{
  struct scratch *s = *state;
  const char *paths[4];
  struct merge_files task = linear_task(s, paths);
  struct merge_files_report report;
  struct world *w = two_models(s, 40000);
  set_float(w, 1, 0, 4 * 2500 + 3, NAN);
  write_both(s, w, paths);
  refuse(s, &task, "two.safetensors: \"a.weight\" has a NaN at [2500, 3]", "diverged");
  set_float(w, 1, 0, 4 * 2500 + 3, -INFINITY);
  write_both(s, w, paths);
  refuse(s, &task, "\"a.weight\" is infinite at [2500, 3]", NULL);
  set_float(w, 0, 0, 4 * 2500 + 3, -INFINITY);
  write_both(s, w, paths);
  assert_true(merge_files(s->arena, &task, &report, s->diag));
  set_float(w, 0, 0, 4 * 2500 + 3, 1);
  set_float(w, 1, 0, 4 * 2500 + 3, 1);
  /* What the type of the result cannot hold. */
  set_float(w, 0, 1, 5, 60000);
  set_float(w, 1, 1, 5, 65000);
  write_both(s, w, paths);
  task.args.alpha = 3;
  refuse(s, &task, "\"b\" would be 74976 at [1, 1], which F16 cannot hold", "--dtype");
  task.dtype = SAFETENSORS_F32;
  assert_true(merge_files(s->arena, &task, &report, s->diag));
  /* A Fisher matrix. */
  task = linear_task(s, paths);
  task.method = merge_find("fisher");
  paths[2] = scratch_path(s, "three.safetensors");
  paths[3] = paths[2];
  for (size_t i = 0; i < 2; i++)
    for (size_t j = 0; j < w->count[i]; j++)
      set_float(w, 2, i, j, 1);
  w->n_tensors = 2;
  write_input(s, w, 2, paths[2], 0); /* without those that are not merged */
  w->n_tensors = 4;
  assert_true(merge_files(s->arena, &task, &report, s->diag));
  set_float(w, 2, 1, 2, -1);
  write_input(s, w, 2, paths[2], 0);
  refuse(s, &task, "three.safetensors: \"b\" is -1 at [0, 2]", "no negative");
}

/* ---- faults in the middle ---- */

enum fault { NOTHING, DISK_FULL, CUT_OFF, KILLED };

struct accident {
  enum fault fault;
  const char *path;
};

/* Once eight megabytes are done. */
static void happen(void *context, uint64_t done, uint64_t total)
{
  const struct accident *a = context;
  struct rlimit low;
  assert_true(done <= total);
  if (a->fault == DISK_FULL && !getrlimit(RLIMIT_FSIZE, &low)) {
    low.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &low);
  } else if (a->fault == CUT_OFF) {
    assert_int_equal(truncate(a->path, 1000), 0);
  } else if (a->fault == KILLED) {
    kill(getpid(), SIGKILL);
  }
}

static void faults_leave_nothing(void **state)
{
  struct scratch *s = *state;
  const char *paths[2];
  struct merge_files task = linear_task(s, paths);
  struct merge_files_report report;
  struct world *w = two_models(s, 3 << 20);
  struct accident accident = {NOTHING, paths[1]};
  struct rlimit old;
  task.progress = happen;
  task.context = &accident;
  for (int folder = 0; folder < 2; folder++) {
    task.out = scratch_path(s, folder ? "folder" : "out.safetensors");
    task.shard_bytes = folder ? 1 << 20 : 0;
    for (accident.fault = DISK_FULL; accident.fault <= KILLED; accident.fault++) {
      write_both(s, w, paths);
      pid_t child = accident.fault == KILLED ? fork() : 0;
      assert_true(child >= 0);
      if (child) {
        assert_int_equal(waitpid(child, NULL, 0), child);
        /* The folder was made, and holds nothing. */
        assert_int_equal(entries(s->dir), 2 + (unsigned)folder);
        if (folder)
          assert_int_equal(entries(task.out), 0);
        continue;
      }
      assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
      signal(SIGXFSZ, SIG_IGN);
      bool ok = merge_files(s->arena, &task, &report, s->diag);
      assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
      signal(SIGXFSZ, SIG_DFL);
      assert_false(ok);
      scratch_expect(s, accident.fault == DISK_FULL ? "too large" : "cut off",
                     accident.fault == DISK_FULL ? "cannot write" : paths[1]);
      assert_int_equal(entries(s->dir), 2);
    }
    if (folder)
      assert_int_equal(rmdir(task.out), 0);
  }
  accident.fault = NOTHING;
  task.out = scratch_path(s, "out.safetensors");
  task.shard_bytes = 0;
  write_both(s, w, paths);
  assert_true(merge_files(s->arena, &task, &report, s->diag));
  assert_int_equal(diag_count(s->diag), 0);
}

static void buffers_are_known_by_name(void **state)
{
  (void)state;
  assert_true(merge_is_buffer("layer1.0.bn1.running_mean"));
  assert_true(merge_is_buffer("running_var"));
  assert_false(merge_is_buffer("layer1.weight"));
  assert_false(merge_is_buffer("not_running_var"));
  assert_false(merge_is_buffer("running_var.weight"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(any_recipe_gives_a_sound_file), SCRATCH_TEST(what_does_not_fit_is_refused),
      SCRATCH_TEST(many_mistakes_are_cut_short),   SCRATCH_TEST(numbers_that_are_none_are_named),
      SCRATCH_TEST(faults_leave_nothing),          cmocka_unit_test(buffers_are_known_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
