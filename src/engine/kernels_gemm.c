/* Matrix products of the shapes that transformers have: c = a b, or c += a b.
 *
 * b is packed into panels of a few vectors' width, [panel][k][width], zeros behind the
 * last column; a is read where it lies, with any strides.  Six rows times one panel of c
 * stay in registers over a stretch of k, and a panel's stretch stays in the first-level
 * cache over a block of rows (Goto & van de Geijn 2008, without packing a). */
#include "engine/kernels_token.h"
#include "engine/kernels_vec.h"

void KERNEL(gemm)(const struct kernel_gemm *);
void KERNEL(gemm_pack)(unsigned, unsigned, const float *, size_t, size_t, float *);
size_t KERNEL(gemm_floats)(unsigned, unsigned);

enum {
  ROWS = 6,
  WIDE = PANEL / LANES, /* 6 * 4 + 5 of 32 registers, or 6 * 2 + 3 */
  TALL = 12,
  FEW = WIDE / 2, /* vectors of a tall tile */
  STEPS = 256,    /* k in one go: 64 KiB of a panel */
  ROW_BLOCK = 96,
};

size_t KERNEL(gemm_floats)(unsigned n, unsigned k)
{
  return (size_t)k * ((n + LANES - 1) / LANES * LANES);
}

INLINE void transpose(const float *from, size_t from_row, float *to, size_t to_row)
{
  vec v[LANES];
  UNROLL
  for (int i = 0; i < LANES; i++)
    v[i] = vec_load(from + (unsigned)i * from_row);
  vec_transpose(v);
  UNROLL
  for (int i = 0; i < LANES; i++)
    vec_store(to + (unsigned)i * to_row, v[i]);
}

/* A panel of `columns`, in rows of `width`. */
static void pack_rows(unsigned columns, unsigned k, const float *b, size_t b_row, float *to,
                      unsigned width)
{
  const unsigned part = columns % LANES, whole = columns - part;
  for (unsigned i = 0; i < k; i++, b += b_row, to += width) {
    for (unsigned j = 0; j < whole; j += LANES)
      vec_store(to + j, vec_load(b + j));
    if (part)
      vec_store(to + whole, vec_load_part(b + whole, part));
  }
}

static void pack_columns(unsigned columns, unsigned k, const float *b, size_t b_column, float *to,
                         unsigned width)
{
  const unsigned whole_j = columns - columns % LANES, whole_i = k - k % LANES;
  for (unsigned j = 0; j < whole_j; j += LANES) {
    for (unsigned i = 0; i < whole_i; i += LANES)
      transpose(b + j * b_column + i, b_column, to + (size_t)i * width + j, width);
  }
  for (unsigned i = 0; i < k; i++) {
    for (unsigned j = i < whole_i ? whole_j : 0; j < width; j++)
      to[(size_t)i * width + j] = j < columns ? b[j * b_column + i] : 0;
  }
}

void KERNEL(gemm_pack)(unsigned n, unsigned k, const float *b, size_t b_row, size_t b_column,
                       float *to)
{
  for (unsigned j = 0; j < n; j += PANEL) {
    const unsigned columns = n - j < PANEL ? n - j : PANEL;
    const unsigned width = (columns + LANES - 1) / LANES * LANES;
    if (b_column == 1)
      pack_rows(columns, k, b + j, b_row, to, width);
    else
      pack_columns(columns, k, b + j * b_column, b_column, to, width);
    to += (size_t)k * width;
  }
}

struct tile {
  unsigned rows, columns, steps; /* rows: those left */
  const float *a, *b;
  size_t a_row, a_step;
  float *c;
  size_t c_row;
  bool add;
};

INLINE void store_last(float *c, vec v, unsigned part, bool add)
{
  if (part)
    vec_store_part(c, add ? v + vec_load_part(c, part) : v, part);
  else
    vec_store(c, add ? v + vec_load(c) : v);
}

INLINE void store_row(const struct tile *t, const vec *acc, const int vectors, float *c)
{
  UNROLL
  for (int j = 0; j < vectors - 1; j++)
    vec_store(c + j * LANES, t->add ? acc[j] + vec_load(c + j * LANES) : acc[j]);
  store_last(c + (vectors - 1) * LANES, acc[vectors - 1], t->columns % LANES, t->add);
}

/* Rows beyond the last are the last one again, and are not stored. */
INLINE void tile_product(const struct tile *t, const int vectors)
{
  vec acc[ROWS][WIDE] = {{{0}}};
  const float *a[ROWS], *b = t->b;
  UNROLL
  for (unsigned r = 0; r < ROWS; r++)
    a[r] = t->a + (r < t->rows ? r : t->rows - 1) * t->a_row;
  size_t at = 0;
  for (unsigned k = 0; k < t->steps; k++, at += t->a_step, b += vectors * LANES) {
    vec v[WIDE];
    UNROLL
    for (int j = 0; j < vectors; j++)
      v[j] = vec_load(b + j * LANES);
    UNROLL
    for (int r = 0; r < ROWS; r++) {
      UNROLL
      for (int j = 0; j < vectors; j++)
        acc[r][j] += a[r][at] * v[j];
    }
  }
  UNROLL
  for (unsigned r = 0; r < ROWS; r++) {
    if (r >= t->rows)
      break;
    store_row(t, acc[r], vectors, t->c + r * t->c_row);
  }
}

/* Twelve rows times few vectors: with six, multiplications would wait for one another.  Three
 * rows share a pointer, for there are not enough registers for twelve. */
INLINE void tall_product(const struct tile *t, const int vectors)
{
  vec acc[TALL][FEW] = {{{0}}};
  const float *a[TALL / 3], *b = t->b;
  UNROLL
  for (unsigned r = 0; r < TALL / 3; r++)
    a[r] = t->a + 3 * r * t->a_row;
  const size_t row = t->a_row;
  for (unsigned k = 0; k < t->steps; k++, b += vectors * LANES) {
    vec v[FEW];
    UNROLL
    for (int j = 0; j < vectors; j++)
      v[j] = vec_load(b + j * LANES);
    UNROLL
    for (unsigned r = 0; r < TALL; r++) {
      const float x = a[r / 3][r % 3 * row];
      UNROLL
      for (int j = 0; j < vectors; j++)
        acc[r][j] += x * v[j];
    }
    UNROLL
    for (unsigned r = 0; r < TALL / 3; r++)
      a[r] += t->a_step;
  }
  UNROLL
  for (unsigned r = 0; r < TALL; r++)
    store_row(t, acc[r], vectors, t->c + r * t->c_row);
}

/* Returns the rows that it did. */
static unsigned any_tile(const struct tile *t)
{
  const bool tall = t->rows >= TALL;
  switch ((t->columns + LANES - 1) / LANES) {
  case 1:
    tall ? tall_product(t, 1) : tile_product(t, 1);
    return tall ? TALL : ROWS;
#if LANES == 16
  case 2:
    tall ? tall_product(t, 2) : tile_product(t, 2);
    return tall ? TALL : ROWS;
  case 3:
    tile_product(t, 3);
    return ROWS;
#endif
  default:
    tile_product(t, WIDE);
    return ROWS;
  }
}

/* Rows of a transposed a lie far apart: some of them side by side touch fewer pages. */
static void copy_columns(unsigned rows, unsigned steps, const float *a, size_t a_step, float *to)
{
  for (unsigned k = 0; k < steps; k++, a += a_step, to += ROW_BLOCK)
    memcpy(to, a, rows * sizeof *to);
}

void KERNEL(gemm)(const struct kernel_gemm *g)
{
  const bool copy = g->a_row == 1 && g->a_step > ROW_BLOCK;
  float columns[STEPS * ROW_BLOCK];
  struct tile t = {.a_row = g->a_row, .a_step = g->a_step, .c_row = g->c_row};
  const unsigned most = g->stretch ? g->stretch : STEPS;
  for (unsigned k = 0; k < g->k; k += most) {
    t.steps = g->k - k < most ? g->k - k : most;
    t.add = g->add || k;
    for (unsigned block = 0; block < g->m; block += ROW_BLOCK) {
      const unsigned end = g->m - block < ROW_BLOCK ? g->m : block + ROW_BLOCK;
      const float *a = g->a + block * g->a_row + k * g->a_step;
      if (copy) {
        copy_columns(end - block, t.steps, a, g->a_step, columns);
        a = columns;
        t.a_step = ROW_BLOCK;
      }
      for (unsigned j = 0; j < g->n; j += PANEL) {
        t.columns = g->n - j < PANEL ? g->n - j : PANEL;
        const unsigned width = (t.columns + LANES - 1) / LANES * LANES;
        t.b = g->b + (size_t)j * g->packed_k + (size_t)k * width;
        for (unsigned i = block; i < end;) {
          t.rows = end - i;
          t.a = a + (i - block) * g->a_row;
          t.c = g->c + i * g->c_row + j;
          i += any_tile(&t);
        }
      }
    }
  }
}
