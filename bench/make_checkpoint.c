/* A checkpoint with the shapes of a language model (GPT-2's), for timing merges of files.
 *
 *   bench/make_checkpoint OUT.safetensors BYTES DTYPE [SEED]
 *
 * Width 1024, a vocabulary of 50257, and as many blocks as come nearest to BYTES (1e9 and the
 * like).  DTYPE: F32, F16, BF16, F64.  Weights are bell-shaped, of deviation 0.02; those of SEED
 * 1 and on differ from those of SEED 0, which is the default, by 1e-3 of another draw: as models
 * that were trained from one base do. */
#include "config.h"

#include "base/checkpoint.h"
#include "base/floats.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1024, VOCABULARY = 50257, POSITIONS = 1024, PIECE = 4096, BLOCK_TENSORS = 12 };

struct shape {
  const char *name;
  uint64_t rows, columns; /* columns 0: a vector */
};

static const struct shape ends[] = {{"wte.weight", VOCABULARY, WIDTH},
                                    {"wpe.weight", POSITIONS, WIDTH},
                                    {"ln_f.weight", WIDTH, 0},
                                    {"ln_f.bias", WIDTH, 0}};
static const struct shape block[BLOCK_TENSORS] = {
    {"ln_1.weight", WIDTH, 0},
    {"ln_1.bias", WIDTH, 0},
    {"attn.c_attn.weight", WIDTH, 3 * WIDTH},
    {"attn.c_attn.bias", 3 * WIDTH, 0},
    {"attn.c_proj.weight", WIDTH, WIDTH},
    {"attn.c_proj.bias", WIDTH, 0},
    {"ln_2.weight", WIDTH, 0},
    {"ln_2.bias", WIDTH, 0},
    {"mlp.c_fc.weight", WIDTH, 4 * WIDTH},
    {"mlp.c_fc.bias", 4 * WIDTH, 0},
    {"mlp.c_proj.weight", 4 * WIDTH, WIDTH},
    {"mlp.c_proj.bias", WIDTH, 0},
};

static uint64_t elements(const struct shape *s, size_t n)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += s[i].rows * (s[i].columns ? s[i].columns : 1);
  return sum;
}

static void add(struct safetensors *s, const char *name, const struct shape *shape,
                enum safetensors_dtype dtype)
{
  struct safetensors_tensor *t = &s->tensors[s->n_tensors++];
  t->name = name;
  t->dtype = dtype;
  t->rank = shape->columns ? 2 : 1;
  t->shape[0] = shape->rows;
  t->shape[1] = shape->columns;
  t->bytes = (size_t)elements(shape, 1) * safetensors_dtype_bytes(dtype);
}

static void list(struct arena *a, struct safetensors *s, enum safetensors_dtype dtype, double bytes)
{
  const double each = (double)elements(block, BLOCK_TENSORS),
               rest = (double)elements(ends, sizeof ends / sizeof *ends),
               left = bytes / (double)safetensors_dtype_bytes(dtype) - rest;
  const unsigned blocks = left > each / 2 ? (unsigned)(left / each + 0.5) : 1;
  *s = (struct safetensors){.tensors =
                                arena_array(a, blocks * BLOCK_TENSORS + 4, sizeof *s->tensors)};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    add(s, ends[i].name, &ends[i], dtype);
  for (unsigned k = 0; k < blocks; k++)
    for (size_t i = 0; i < BLOCK_TENSORS; i++)
      add(s, arena_printf(a, "h.%u.%s", k, block[i].name), &block[i], dtype);
}

/* A sum of four numbers of 16 bits: near enough to a normal one, and quick. */
static void draw(uint64_t seed, uint32_t tensor, uint32_t piece, double *x)
{
  const double unit = 0x1p-16 * sqrt(3);
  struct rng r = rng_at(seed, RNG_TEST, 0, tensor, piece);
  for (size_t i = 0; i < PIECE; i++) {
    const uint32_t u = rng_u32(&r), v = rng_u32(&r);
    const uint32_t sum = (u & 0xffff) + (u >> 16) + (v & 0xffff) + (v >> 16);
    x[i] = ((double)sum - 2 * 65535.0) * unit;
  }
}

static bool put(struct checkpoint_writer *w, uint64_t seed, uint32_t tensor,
                const struct safetensors_tensor *t, struct diag *d)
{
  const size_t width = safetensors_dtype_bytes(t->dtype), count = t->bytes / width;
  double x[PIECE], change[PIECE];
  unsigned char bytes[8 * PIECE];
  bool ok = true;
  for (size_t at = 0; at < count && ok; at += PIECE) {
    const size_t n = count - at < PIECE ? count - at : PIECE;
    draw(0, tensor, (uint32_t)(at / PIECE), x);
    if (seed)
      draw(seed, tensor, (uint32_t)(at / PIECE), change);
    for (size_t i = 0; i < n; i++)
      x[i] = 0.02 * x[i] + (seed ? 1e-3 * change[i] : 0);
    floats_write(t->dtype, x, n, bytes);
    ok = checkpoint_put(w, tensor, bytes, n * width, d);
  }
  return ok;
}

static bool find_dtype(const char *name, enum safetensors_dtype *dtype)
{
  for (int i = 0; i < SAFETENSORS_DTYPE_COUNT; i++) {
    *dtype = (enum safetensors_dtype)i;
    if (!strcmp(safetensors_dtype_name(*dtype), name))
      return safetensors_is_float(*dtype);
  }
  return false;
}

int main(int argc, char **argv)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct safetensors s;
  enum safetensors_dtype dtype;
  if (argc < 4 || !find_dtype(argv[3], &dtype)) {
    fputs("usage: make_checkpoint OUT.safetensors BYTES DTYPE [SEED]\n", stderr);
    return 2;
  }
  const uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
  list(a, &s, dtype, strtod(argv[2], NULL));
  struct checkpoint_writer *w = checkpoint_create(a, argv[1], &s, 0, d);
  bool ok = w != NULL;
  for (size_t i = 0; i < s.n_tensors && ok; i++)
    ok = put(w, seed, (uint32_t)i, &s.tensors[i], d);
  if (w && ok)
    ok = checkpoint_commit(w, d);
  else if (w)
    checkpoint_discard(w);
  diag_print(d, NULL, stderr, false);
  arena_free(a);
  return ok ? 0 : 2;
}
