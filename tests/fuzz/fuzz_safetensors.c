/* libFuzzer target for the safetensors reader: make check-fuzz FUZZ_TARGET=safetensors
 *
 * What is accepted is read to the last byte, written anew, and read again. */
#include "config.h"

#include "base/file.h"
#include "base/safetensors.h"

#include "fuzz_safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static char rewritten[64];

static void remove_rewritten(void)
{
  unlink(rewritten);
}

/* Files to start from, into the folder that run.sh names. */
static void write_seeds(const char *dir)
{
  static const unsigned char data[64];
  struct safetensors_tensor t[SAFETENSORS_DTYPE_COUNT];
  struct safetensors_meta meta[] = {{"format", "pt"}};
  struct arena *a = arena_new();
  for (unsigned k = 0; k < SAFETENSORS_DTYPE_COUNT; k++) {
    const size_t width = safetensors_dtype_bytes((enum safetensors_dtype)k);
    t[k] = (struct safetensors_tensor){.name = arena_printf(a, "t%u", k),
                                       .dtype = (enum safetensors_dtype)k,
                                       .rank = k % 4,
                                       .shape = {1, 2, 1},
                                       .bytes = width * (k % 4 > 1 ? 2 : 1),
                                       .data = data};
  }
  for (unsigned n = 0; n <= SAFETENSORS_DTYPE_COUNT; n++) {
    const struct safetensors file = {.tensors = t, .n_tensors = n, .meta = meta, .n_meta = n % 2};
    if (!safetensors_write(arena_printf(a, "%s/made%u", dir, n), &file, diag_new(a)))
      abort();
  }
  arena_free(a);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  if (getenv("FUZZ_SEEDS"))
    write_seeds(getenv("FUZZ_SEEDS"));
  snprintf(rewritten, sizeof rewritten, "/dev/shm/mergescape-fuzz-%ld", (long)getpid());
  atexit(remove_rewritten);
  return 0;
}

/* The sum keeps the reading from being left out. */
static unsigned read_all(const struct safetensors_tensor *t)
{
  const unsigned char *p = t->data;
  unsigned sum = 0;
  float v[16];
  for (size_t i = 0; i < t->bytes; i++)
    sum += p[i];
  const size_t n = t->bytes / safetensors_dtype_bytes(t->dtype);
  for (size_t i = 0; safetensors_is_float(t->dtype) && i < n; i += 16)
    safetensors_floats(t, i, n - i < 16 ? n - i : 16, v);
  return sum;
}

static void same(bool is)
{
  if (!is) {
    fprintf(stderr, "fuzz_safetensors: written and read, it is another file\n");
    abort();
  }
}

static void write_and_read(struct arena *a, const struct safetensors *s, struct diag *d)
{
  struct safetensors again;
  same(safetensors_write(rewritten, s, d) && safetensors_open(a, rewritten, &again, d));
  same(again.n_tensors == s->n_tensors && again.n_meta == s->n_meta);
  for (size_t i = 0; i < s->n_tensors; i++) {
    const struct safetensors_tensor *x = &s->tensors[i], *y = safetensors_find(&again, x->name);
    same(y && x->dtype == y->dtype && x->rank == y->rank && x->bytes == y->bytes);
    same(!memcmp(x->shape, y->shape, x->rank * sizeof *x->shape));
    same(!x->bytes || !memcmp(x->data, y->data, x->bytes));
  }
  safetensors_close(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
  static volatile unsigned sink;
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct safetensors s;
  if (safetensors_parse(a, "fuzz", bytes, length, &s, d)) {
    for (size_t i = 0; i < s.n_tensors; i++)
      sink = sink + read_all(&s.tensors[i]);
    write_and_read(a, &s, d);
  } else if (!diag_errors(d)) {
    abort();
  }
  arena_free(a);
  return 0;
}
