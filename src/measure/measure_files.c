#include "measure/measure_files.h"

#include "base/floats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 4096, BLOCK = 8 * PIECE };

struct pieces {
  unsigned char bytes[2][BLOCK];
  double x[2][PIECE];
};

double measure_sums_cosine(const struct measure_sums *s)
{
  double cosine = s->ab / (sqrt(s->aa) * sqrt(s->bb));
  return cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
}

void measure_sums_add(struct measure_sums *to, const struct measure_sums *s)
{
  to->n += s->n;
  to->aa += s->aa;
  to->bb += s->bb;
  to->ab += s->ab;
  to->dd += s->dd;
}

static void add_piece(struct measure_sums *s, const double *a, const double *b, size_t n)
{
  double aa = s->aa, bb = s->bb, ab = s->ab, dd = s->dd;
  for (size_t i = 0; i < n; i++) {
    double d = a[i] == b[i] ? 0 : a[i] - b[i]; /* of equal infinities too */
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
    dd += d * d;
  }
  *s = (struct measure_sums){s->n + n, aa, bb, ab, dd};
}

static bool compare_floats(struct checkpoint *const c[2], struct measure_row *r, struct pieces *p,
                           struct diag *d)
{
  const struct checkpoint_tensor *const t[2] = {r->a, r->b};
  for (uint64_t at = 0; at < r->a->count; at += PIECE) {
    size_t n = r->a->count - at < PIECE ? (size_t)(r->a->count - at) : PIECE;
    for (int k = 0; k < 2; k++) {
      size_t width = safetensors_dtype_bytes(t[k]->dtype);
      if (!checkpoint_read(c[k], t[k], at * width, p->bytes[k], n * width, d))
        return false;
      floats_read(t[k]->dtype, p->bytes[k], n, p->x[k]);
    }
    add_piece(&r->sums, p->x[0], p->x[1], n);
  }
  return true;
}

static bool compare_bytes(struct checkpoint *const c[2], struct measure_row *r, struct pieces *p,
                          struct diag *d)
{
  for (uint64_t at = 0; at < r->a->bytes; at += BLOCK) {
    size_t n = r->a->bytes - at < BLOCK ? (size_t)(r->a->bytes - at) : BLOCK;
    if (!checkpoint_read(c[0], r->a, at, p->bytes[0], n, d) ||
        !checkpoint_read(c[1], r->b, at, p->bytes[1], n, d))
      return false;
    if (memcmp(p->bytes[0], p->bytes[1], n))
      r->fit = MEASURE_DIFFERENT;
  }
  return true;
}

static enum measure_fit fit_of(const struct checkpoint_tensor *a, const struct checkpoint_tensor *b)
{
  if (a->rank != b->rank || memcmp(a->shape, b->shape, a->rank * sizeof *a->shape))
    return MEASURE_NO_FIT;
  if (safetensors_is_float(a->dtype) && safetensors_is_float(b->dtype))
    return MEASURE_COMPARED;
  return a->dtype == b->dtype ? MEASURE_EQUAL : MEASURE_NO_FIT;
}

struct measure_row *measure_files(struct arena *arena, struct checkpoint *a, struct checkpoint *b,
                                  size_t *n, struct diag *d)
{
  struct measure_row *rows = arena_array(arena, a->n_tensors + b->n_tensors + 1, sizeof *rows);
  struct checkpoint *const both[2] = {a, b};
  struct pieces *p = mem_alloc(sizeof *p);
  bool ok = true;
  *n = 0;
  for (size_t i = 0; i < a->n_tensors && ok; i++) {
    struct measure_row *r = &rows[(*n)++];
    r->name = a->tensors[i].name;
    r->a = &a->tensors[i];
    r->b = checkpoint_find(b, r->name);
    r->fit = r->b ? fit_of(r->a, r->b) : MEASURE_ONLY_A;
    if (r->fit == MEASURE_COMPARED)
      ok = compare_floats(both, r, p, d);
    else if (r->fit == MEASURE_EQUAL)
      ok = compare_bytes(both, r, p, d);
  }
  for (size_t i = 0; i < b->n_tensors; i++)
    if (!checkpoint_find(a, b->tensors[i].name))
      rows[(*n)++] = (struct measure_row){
          .name = b->tensors[i].name, .b = &b->tensors[i], .fit = MEASURE_ONLY_B};
  free(p);
  return ok ? rows : NULL;
}
