#include "measure/measure_files.h"

#include "base/floats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 4096, BLOCK = 8 * PIECE };

struct pieces {
  unsigned char bytes[MEASURE_FILES][BLOCK];
  double x[MEASURE_FILES][PIECE];
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

/* Of equal infinities, too, the difference is 0. */
static double difference(double a, double b)
{
  return a == b ? 0 : a - b;
}

static void add_piece(struct measure_sums *s, const double *a, const double *b, size_t n)
{
  double aa = s->aa, bb = s->bb, ab = s->ab, dd = s->dd;
  for (size_t i = 0; i < n; i++) {
    const double d = difference(a[i], b[i]);
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
    dd += d * d;
  }
  *s = (struct measure_sums){s->n + n, aa, bb, ab, dd};
}

/* The distance is that of a and b themselves: differences of differences would be rounded. */
static void add_tasks(struct measure_sums *s, double *a, double *b, const double *base, size_t n)
{
  double dd = s->dd;
  for (size_t i = 0; i < n; i++) {
    const double d = difference(a[i], b[i]);
    dd += d * d;
    a[i] = difference(a[i], base[i]);
    b[i] = difference(b[i], base[i]);
  }
  add_piece(s, a, b, n);
  s->dd = dd;
}

static bool compare_floats(struct checkpoint *files, size_t n_files, struct measure_row *r,
                           struct pieces *p, struct diag *d)
{
  const uint64_t count = r->of[MEASURE_A]->count;
  for (uint64_t at = 0; at < count; at += PIECE) {
    const size_t n = count - at < PIECE ? (size_t)(count - at) : PIECE;
    for (size_t k = 0; k < n_files; k++) {
      const size_t width = safetensors_dtype_bytes(r->of[k]->dtype);
      if (!checkpoint_read(&files[k], r->of[k], at * width, p->bytes[k], n * width, d))
        return false;
      floats_read(r->of[k]->dtype, p->bytes[k], n, p->x[k]);
    }
    if (n_files > MEASURE_BASE)
      add_tasks(&r->sums, p->x[MEASURE_A], p->x[MEASURE_B], p->x[MEASURE_BASE], n);
    else
      add_piece(&r->sums, p->x[MEASURE_A], p->x[MEASURE_B], n);
  }
  return true;
}

static bool compare_bytes(struct checkpoint *files, size_t n_files, struct measure_row *r,
                          struct pieces *p, struct diag *d)
{
  const uint64_t bytes = r->of[MEASURE_A]->bytes;
  for (uint64_t at = 0; at < bytes; at += BLOCK) {
    const size_t n = bytes - at < BLOCK ? (size_t)(bytes - at) : BLOCK;
    for (size_t k = 0; k < n_files; k++)
      if (!checkpoint_read(&files[k], r->of[k], at, p->bytes[k], n, d))
        return false;
    for (size_t k = 1; k < n_files; k++)
      if (memcmp(p->bytes[0], p->bytes[k], n))
        r->fit = MEASURE_DIFFERENT;
  }
  return true;
}

static enum measure_fit fit_of(const struct measure_row *r, size_t n_files)
{
  const struct checkpoint_tensor *a = r->of[MEASURE_A];
  bool floats = true, same = true;
  for (size_t k = 0; k < n_files; k++)
    if (!r->of[k])
      return MEASURE_MISSING;
  for (size_t k = 0; k < n_files; k++) {
    const struct checkpoint_tensor *t = r->of[k];
    if (a->rank != t->rank || memcmp(a->shape, t->shape, a->rank * sizeof *a->shape))
      return MEASURE_NO_FIT;
    floats = floats && safetensors_is_float(t->dtype);
    same = same && a->dtype == t->dtype;
  }
  return floats ? MEASURE_COMPARED : same ? MEASURE_EQUAL : MEASURE_NO_FIT;
}

struct measure_row *measure_files(struct arena *a, struct checkpoint *files, size_t n,
                                  size_t *n_rows, struct diag *d)
{
  struct measure_row *rows;
  struct pieces *p = mem_alloc(sizeof *p);
  size_t most = 1;
  bool ok = true;
  for (size_t k = 0; k < n; k++)
    most += files[k].n_tensors;
  rows = arena_array(a, most, sizeof *rows);
  *n_rows = 0;
  for (size_t k = 0; k < n; k++)
    for (size_t i = 0; i < files[k].n_tensors && ok; i++) {
      struct measure_row *r = &rows[*n_rows];
      size_t first = n;
      *r = (struct measure_row){.name = files[k].tensors[i].name};
      for (size_t j = n; j--;) {
        r->of[j] = checkpoint_find(&files[j], r->name);
        first = r->of[j] ? j : first;
      }
      if (first < k)
        continue; /* it has its row */
      (*n_rows)++;
      r->fit = fit_of(r, n);
      if (r->fit == MEASURE_COMPARED)
        ok = compare_floats(files, n, r, p, d);
      else if (r->fit == MEASURE_EQUAL)
        ok = compare_bytes(files, n, r, p, d);
    }
  free(p);
  return ok ? rows : NULL;
}
