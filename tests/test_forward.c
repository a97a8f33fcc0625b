/* mergescape forward, as a user runs it: files in, a file or messages out. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include "base/checkpoint.h"
#include "base/rng.h"
#include "base/safetensors.h"
#include "engine/net.h"
#include "engine/ops.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct net_spec MLP = {.model = "mlp",
                                    .width = 8,
                                    .layers = 1,
                                    .channels = 2,
                                    .height = 4,
                                    .image_width = 3,
                                    .classes = 5};
static const struct net_spec RESNET = {.model = "resnet18",
                                       .width = 4,
                                       .stages = 2,
                                       .blocks = 1,
                                       .channels = 3,
                                       .height = 8,
                                       .image_width = 7,
                                       .classes = 6};
static const struct net_spec GPT = {.model = "gpt",
                                    .width = 8,
                                    .layers = 1,
                                    .heads = 2,
                                    .block = 6,
                                    .channels = 1,
                                    .height = 1,
                                    .image_width = 6,
                                    .classes = 11};

struct world {
  struct scratch *s;
  struct net *net;
  float *flat;
  const char *weights, *input, *output, *model;
};

static struct world setup(struct scratch *s, const struct net_spec *spec, const char *model)
{
  struct world w = {.s = s,
                    .weights = scratch_path(s, "w.safetensors"),
                    .input = scratch_path(s, "x.safetensors"),
                    .output = scratch_path(s, "y.safetensors"),
                    .model = model};
  w.net = net_new(s->arena, spec, s->diag);
  assert_non_null(w.net);
  w.flat = arena_array(s->arena, net_count(w.net), sizeof *w.flat);
  net_init(w.net, 3, w.flat);
  assert_true(net_save(w.net, w.flat, w.weights, s->diag));
  return w;
}

static float *random_floats(struct arena *a, size_t n)
{
  struct rng r = rng_at(5, RNG_TEST, 0, 0, 0);
  float *v = arena_array(a, n + 1, sizeof *v);
  for (size_t i = 0; i < n; i++)
    v[i] = (float)rng_normal(&r);
  return v;
}

static void put(const struct world *w, const char *name, enum safetensors_dtype dtype,
                uint32_t rank, const uint64_t *shape, const void *data)
{
  struct safetensors_tensor t = {.name = name,
                                 .dtype = dtype,
                                 .rank = rank,
                                 .bytes = safetensors_dtype_bytes(dtype),
                                 .data = data};
  for (uint32_t k = 0; k < rank; k++) {
    t.shape[k] = shape[k];
    t.bytes *= shape[k];
  }
  const struct safetensors file = {.tensors = &t, .n_tensors = 1};
  assert_true(safetensors_write(w->input, &file, w->s->diag));
}

static char *command(const struct world *w)
{
  return arena_printf(w->s->arena,
                      "./mergescape forward --model '%s' --weights %s --input %s -o %s", w->model,
                      w->weights, w->input, w->output);
}

/* Runs it; what it said, on both streams, and its exit status. */
static char *said(struct scratch *s, const char *line, int status)
{
  const char *log = scratch_path(s, "log");
  size_t n;
  const int got = system(arena_printf(s->arena, "%s > %s 2>&1", line, log));
  char *text = file_read(s->arena, log, &n, s->diag);
  assert_int_equal(remove(log), 0);
  if (!WIFEXITED(got) || WEXITSTATUS(got) != status)
    fail_msg("exit status %d, not %d: %s", WEXITSTATUS(got), status, text);
  return text;
}

static unsigned count(const char *text, const char *part)
{
  unsigned n = 0;
  for (; (text = strstr(text, part)); text += strlen(part))
    n++;
  return n;
}

static void holds(const char *text, const char *part)
{
  if (!strstr(text, part))
    fail_msg("\"%s\" is not in: %s", part, text);
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

/* It refuses: everything that is expected is said, nothing is written or left. */
static void refuses(const struct world *w, unsigned errors, const char *const *parts, size_t n)
{
  const unsigned before = entries(w->s->dir);
  const char *text = said(w->s, command(w), 2);
  for (size_t i = 0; i < n; i++)
    holds(text, parts[i]);
  if (count(text, "error: ") != errors)
    fail_msg("not %u errors: %s", errors, text);
  assert_int_equal(entries(w->s->dir), before);
}

#define REFUSES(w, errors, ...)                                                                    \
  refuses(w, errors, (const char *const[]){__VA_ARGS__},                                           \
          sizeof(const char *[]){__VA_ARGS__} / sizeof(const char *))

/* The output tensor, which must have this shape. */
static const float *output(const struct world *w, uint32_t rank, const uint64_t *shape)
{
  struct safetensors file;
  assert_true(safetensors_open(w->s->arena, w->output, &file, w->s->diag));
  assert_int_equal(file.n_tensors, 1);
  const struct safetensors_tensor *t = &file.tensors[0];
  assert_string_equal(t->name, "output");
  assert_int_equal(t->dtype, SAFETENSORS_F32);
  assert_int_equal(t->rank, rank);
  assert_memory_equal(t->shape, shape, rank * sizeof *shape);
  const float *v = arena_copy(w->s->arena, t->data, t->bytes + 1);
  safetensors_close(&file);
  return v;
}

static void close_to(const float *a, const float *b, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (!(fabsf(a[i] - b[i]) < 1e-5f))
      fail_msg("[%zu]: %g, not %g", i, (double)a[i], (double)b[i]);
}

/* More samples than fit in a batch, NCHW; then none. */
static void images_become_logits(void **state)
{
  enum { N = 300, C = 3, H = 8, W = 7, CLASSES = 6 };
  struct scratch *s = *state;
  struct world w = setup(s, &RESNET, "resnet18(width = 4, stages = 2, blocks = 1)");
  const float *nchw = random_floats(s->arena, N * C * H * W);
  float *nhwc = arena_array(s->arena, N * C * H * W, sizeof *nhwc);
  float *logits = arena_array(s->arena, N * CLASSES, sizeof *logits);
  for (size_t i = 0; i < N; i++)
    for (size_t c = 0; c < C; c++)
      for (size_t k = 0; k < H * W; k++)
        nhwc[(i * H * W + k) * C + c] = nchw[(i * C + c) * H * W + k];
  struct net_work *work = net_work_new(w.net, ops_cpu(), N, false);
  net_logits(work, w.flat, nhwc, N, logits);
  net_work_free(work);
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){N, C, H, W}, nchw);
  holds(said(s, command(&w), 0), "y.safetensors: output F32 [300, 6]");
  close_to(output(&w, 2, (uint64_t[]){N, CLASSES}), logits, N * CLASSES);
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){0, C, H, W}, nchw);
  assert_string_equal(said(s, arena_printf(s->arena, "%s --quiet", command(&w)), 0), "");
  output(&w, 2, (uint64_t[]){0, CLASSES});
  assert_int_equal(entries(s->dir), 3);
}

/* Shorter texts than the model knows: the same logits as at its full length. */
static void tokens_become_logits(void **state)
{
  enum { N = 3, T = 4, FULL = 6, V = 11 };
  struct scratch *s = *state;
  struct world w = setup(s, &GPT, "gpt(width = 8, layers = 1, heads = 2)");
  int64_t ids[N * T];
  float x[N * FULL] = {0}, logits[N * FULL * V], shorter[N * T * V];
  for (int i = 0; i < N * T; i++) {
    ids[i] = i * 7 % V;
    x[i / T * FULL + i % T] = (float)ids[i];
  }
  struct net_work *work = net_work_new(w.net, ops_cpu(), N, false);
  net_logits(work, w.flat, x, N, logits);
  net_work_free(work);
  for (int i = 0; i < N; i++)
    memcpy(shorter + i * T * V, logits + i * FULL * V, T * V * sizeof *logits);
  put(&w, "input", SAFETENSORS_I64, 2, (uint64_t[]){N, T}, ids);
  holds(said(s, command(&w), 0), "output F32 [3, 4, 11]");
  close_to(output(&w, 3, (uint64_t[]){N, T, V}), shorter, N * T * V);
}

static void every_mismatch_is_listed_at_once(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &MLP, "mlp(width = 8, layers = 1)");
  const float data[256] = {0};
  struct safetensors_tensor tensors[] = {
      {"fc1.weight", SAFETENSORS_F32, 2, {8, 23}, 8 * 23 * 4, data},
      {"fc1.bias", SAFETENSORS_I64, 1, {8}, 64, data},
      {"fc2.weight", SAFETENSORS_F32, 2, {5, 8}, 160, data},
      {"fc3.bias", SAFETENSORS_F32, 1, {5}, 20, data},
  };
  const struct safetensors file = {.tensors = tensors, .n_tensors = 4};
  assert_true(safetensors_write(w.weights, &file, s->diag));
  put(&w, "input", SAFETENSORS_F64, 4, (uint64_t[]){1, 2, 4, 3}, data);
  REFUSES(
      &w, 5, "x.safetensors: tensor \"input\" is F64 [1, 2, 4, 3], mlp reads F32",
      "w.safetensors: tensor \"fc1.weight\" has shape [8, 23], the model needs [8, 24]",
      "\"fc1.bias\" has type I64", "\"fc2.bias\" is missing", "\"fc3.bias\" is not of this model",
      "the model is mlp width=8 layers=1 for the input's 2 x 4 x 3, with the weights' 5 classes",
      "--model may say its width, layers");
  /* Of an input that tells no shape, names and types are held against the model. */
  put(&w, "input", SAFETENSORS_F32, 3, (uint64_t[]){2, 4, 3}, data);
  REFUSES(&w, 4, "\"input\" is F32 [2, 4, 3]", "\"fc1.bias\" has type", "\"fc2.bias\"",
          "\"fc3.bias\"");
  put(&w, "images", SAFETENSORS_F32, 4, (uint64_t[]){1, 2, 4, 3}, data);
  REFUSES(&w, 4, "tensor \"input\" is missing", "warning: ", "tensor \"images\" is not read",
          "\"fc2.bias\"");
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){1, 2, 0, 3}, data);
  REFUSES(&w, 4, "an image has no sizes from 1 to 65536", "\"fc2.bias\"");
}

static void values_are_checked(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &MLP, "mlp(width = 8, layers = 1)");
  float *x = random_floats(s->arena, 2 * 24);
  x[24 + 12 + 2 * 3 + 1] = NAN;
  x[5] = -INFINITY;
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){2, 2, 4, 3}, x);
  REFUSES(&w, 2, "sample 0 is infinite at channel 0, row 1, column 2",
          "sample 1 is NaN at channel 1, row 2, column 1", "counted from 0");
  for (int i = 0; i < 48; i++)
    x[i] = NAN;
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){2, 2, 4, 3}, x);
  REFUSES(&w, 21, "28 more values are not finite");
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){2, 2, 4, 3}, random_floats(s->arena, 48));
  w.flat[1] = NAN;
  assert_true(net_save(w.net, w.flat, w.weights, s->diag));
  REFUSES(&w, 1, "w.safetensors: tensor \"fc1.weight\" is NaN at [0, 1]");
  w.flat[1] = 3e38f;
  w.flat[2] = 3e38f;
  assert_true(net_save(w.net, w.flat, w.weights, s->diag));
  holds(said(s, command(&w), 0), "warning: ");
}

static void tokens_are_checked(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &GPT, "gpt(width = 8, layers = 1, heads = 2)");
  const int64_t ids[] = {0, 10, 11, 3, -1, 2, 4, INT64_MIN};
  put(&w, "input", SAFETENSORS_I64, 2, (uint64_t[]){2, 4}, ids);
  REFUSES(&w, 3, "token 11 of sample 0, position 2, is outside 0 to 10",
          "token -1 of sample 1, position 0", "token -9223372036854775808 of sample 1, position 3");
  put(&w, "input", SAFETENSORS_I64, 2, (uint64_t[]){1, 7}, ids);
  REFUSES(&w, 3, "texts of 7 tokens, but ", "has positions for 6", "token 11");
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){1, 2, 2, 2}, ids);
  REFUSES(&w, 1, "is F32 [1, 2, 2, 2], gpt reads I64 [samples, tokens]");
}

static void a_wrong_model_is_shown(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &MLP, "mlp(widht = 8, layers = 0)");
  const char *text = said(s, command(&w), 3);
  holds(text, "--model:1:5: error: `mlp` has no argument `widht`");
  holds(text, "   1 | mlp(widht = 8, layers = 0)\n     |     ^~~~~");
  holds(text, "did you mean `width`?");
  holds(text, "--model:1:25: error: `layers` must be from 1 to");
  w.model = "mlp(width = 8";
  holds(said(s, command(&w), 3), "expected `,` or `)` before the end");
  w.model = "gpt(width = 9, heads = 2)";
  holds(said(s, command(&w), 3), "gpt: width 9 with 2 heads");
  /* Four stages of a small image: the input does not fit, and the model is right. */
  w.model = "densenet121(stem = imagenet, growth = 2)";
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){1, 2, 4, 3}, random_floats(s->arena, 24));
  REFUSES(&w, 1, "leave nothing of 4 x 3 pixels");
}

static void files_are_checked(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &MLP, "mlp(width = 8, layers = 1)");
  const char *weights = w.weights, *input = w.input;
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){1, 2, 4, 3}, random_floats(s->arena, 24));
  w.weights = scratch_path(s, "none");
  w.input = s->dir;
  REFUSES(&w, 2, "none: no such file", "is a directory");
  w.weights = weights;
  w.input = input;
  w.output = scratch_path(s, "no/y");
  REFUSES(&w, 1, "cannot write ", "no such file");
  w.output = s->dir;
  REFUSES(&w, 1, "cannot write ", "is a directory");
  /* What was there before stays. */
  w.output = scratch_path(s, "y.safetensors");
  assert_true(file_write_synced(w.output, "old", 3, s->diag));
  w.model = "mlp(width = 9, layers = 1)";
  REFUSES(&w, 3, "has shape");
  size_t n;
  assert_string_equal(file_read(s->arena, w.output, &n, s->diag), "old");
}

/* The weights again, as a folder: of files that hold at most `share` of all, and an index. */
static const char *shards(const struct world *w, const char *name, double share)
{
  const char *path = scratch_path(w->s, name);
  struct safetensors file;
  assert_true(safetensors_open(w->s->arena, w->weights, &file, w->s->diag));
  double bytes = 0;
  for (size_t k = 0; k < file.n_tensors; k++)
    bytes += (double)file.tensors[k].bytes;
  struct checkpoint_writer *to =
      checkpoint_create(w->s->arena, path, &file, (uint64_t)(bytes * share), w->s->diag);
  assert_non_null(to);
  for (size_t k = 0; k < file.n_tensors; k++)
    assert_true(checkpoint_put(to, k, file.tensors[k].data, file.tensors[k].bytes, w->s->diag));
  assert_true(checkpoint_commit(to, w->s->diag));
  safetensors_close(&file);
  return path;
}

static void weights_may_be_a_folder(void **state)
{
  struct scratch *s = *state;
  struct world w = setup(s, &RESNET, "resnet18(width = 4, stages = 2, blocks = 1)");
  const uint64_t shape[] = {2, 6};
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){2, 3, 8, 7},
      random_floats(s->arena, 2 * 3 * 8 * 7));
  said(s, command(&w), 0);
  const float *whole = output(&w, 2, shape);
  const char *file = w.weights;
  w.weights = shards(&w, "folder", 0.1);
  assert_true(entries(w.weights) > 3);
  said(s, command(&w), 0);
  assert_memory_equal(output(&w, 2, shape), whole, 12 * sizeof *whole);
  /* A shard is gone; its tensors lie elsewhere; nothing is there at all. */
  assert_int_equal(remove(w.output), 0);
  w.weights = file;
  w.weights = shards(&w, "two", 0.75);
  const char *first = file_join(s->arena, w.weights, "model-00001-of-00002.safetensors");
  const char *second = file_join(s->arena, w.weights, "model-00002-of-00002.safetensors");
  const char *aside = scratch_path(s, "aside");
  assert_int_equal(rename(first, aside), 0);
  REFUSES(&w, 1, "model-00001-of-00002.safetensors: no such file");
  assert_int_equal(rename(second, first), 0);
  assert_int_equal(rename(aside, second), 0);
  REFUSES(&w, 20, "is in model-00001-of-00002.safetensors, but ", "index.json says model-00002");
  w.weights = s->dir;
  REFUSES(&w, 1, "2 files end in .safetensors", "name the one that is meant");
  w.weights = file_join(s->arena, s->dir, "none");
  assert_true(file_make_dir(w.weights, s->diag));
  REFUSES(&w, 1, "no .safetensors file is in this folder", "have to be converted first");
}

/* Work enough for the threads to share. */
static void threads_change_no_bit(void **state)
{
  enum { N = 5, SIDE = 32 };
  struct scratch *s = *state;
  struct net_spec spec = RESNET;
  spec.width = 24;
  spec.height = spec.image_width = SIDE;
  struct world w = setup(s, &spec, "resnet18(width = 24, stages = 2, blocks = 1)");
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){N, 3, SIDE, SIDE},
      random_floats(s->arena, N * 3 * SIDE * SIDE));
  const uint64_t shape[] = {N, 6};
  said(s, command(&w), 0);
  const float *all = output(&w, 2, shape);
  for (unsigned threads = 1; threads < 5; threads += 2) {
    said(s, arena_printf(s->arena, "%s --threads=%u", command(&w), threads), 0);
    assert_memory_equal(output(&w, 2, shape), all, N * 6 * sizeof *all);
  }
  holds(said(s, arena_printf(s->arena, "%s --threads=0", command(&w)), 2), "a whole number from 1");
}

static void options_are_its_own(void **state)
{
  struct scratch *s = *state;
  holds(said(s, "./mergescape forward --help", 0), "Usage: mergescape forward");
  const char *text = said(s, "./mergescape forward --model mlp --input x", 2);
  holds(text, "forward needs --weights");
  holds(text, "forward needs --output");
  holds(text, "mergescape forward --help");
  holds(said(s, "./mergescape forward --modl mlp", 2), "--modl");
  holds(said(s, "./mergescape forward -m mlp -w w -i x -o y z", 2), "takes no `z`");
}

/* A signal ends it between two batches, and nothing is left of the output. */
static void a_signal_leaves_nothing(void **state)
{
  enum { N = 2000, VALUES = 3 * 32 * 32 };
  struct scratch *s = *state;
  struct net_spec spec = RESNET;
  spec.width = 32;
  spec.stages = 4;
  spec.blocks = 2;
  spec.height = spec.image_width = 32;
  struct world w = setup(s, &spec, "resnet18(width = 32)");
  put(&w, "input", SAFETENSORS_F32, 4, (uint64_t[]){N, 3, 32, 32},
      random_floats(s->arena, (size_t)N * VALUES));
  const pid_t pid = fork();
  if (!pid) {
    execl("./mergescape", "mergescape", "forward", "--model", w.model, "--weights", w.weights,
          "--input", w.input, "--output", w.output, (char *)NULL);
    _exit(99);
  }
  nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
  assert_int_equal(kill(pid, SIGTERM), 0);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  /* On a slow machine it had not begun to write. */
  if (WIFSIGNALED(status))
    assert_int_equal(WTERMSIG(status), SIGTERM);
  else
    assert_int_equal(WEXITSTATUS(status), 130);
  assert_int_equal(entries(s->dir), 2);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(images_become_logits),
      SCRATCH_TEST(tokens_become_logits),
      SCRATCH_TEST(every_mismatch_is_listed_at_once),
      SCRATCH_TEST(values_are_checked),
      SCRATCH_TEST(tokens_are_checked),
      SCRATCH_TEST(a_wrong_model_is_shown),
      SCRATCH_TEST(files_are_checked),
      SCRATCH_TEST(weights_may_be_a_folder),
      SCRATCH_TEST(threads_change_no_bit),
      SCRATCH_TEST(options_are_its_own),
      SCRATCH_TEST(a_signal_leaves_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
