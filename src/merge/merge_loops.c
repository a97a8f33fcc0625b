#include "merge/merge_loops.h"

#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined MERGE_AVX512
#define LOOPS merge_loops_avx512
#define LOW_PRODUCT(a, b) ((wide)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#define SIGNS(b) ((unsigned)_mm256_movepi32_mask((__m256i)(b)))
enum { LANES = 8 };
#elif defined MERGE_AVX2
#define LOOPS merge_loops_avx2
#define LOW_PRODUCT(a, b) ((wide)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#define SIGNS(b) ((unsigned)_mm256_movemask_ps((__m256)(b)))
enum { LANES = 4 };
#else
#define LOOPS merge_loops_baseline
/* Bit j: the sign of the j-th of eight numbers. */
#define SIGNS(b) signs((const int32_t *)&(b))
static inline unsigned signs(const int32_t *p)
{
  unsigned bits = 0;
  for (unsigned j = 0; j < 8; j++)
    bits |= ((uint32_t)p[j] >> 31) << j;
  return bits;
}
#ifdef __x86_64__
#define LOW_PRODUCT(a, b) ((wide)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#else
#define LOW_PRODUCT(a, b) (((a)&0xffffffff) * ((b)&0xffffffff))
#endif
enum { LANES = 2 };
#endif

/* Doubles, what comparing them gives, and as many floats and keys. */
typedef double vec __attribute__((vector_size(8 * LANES)));
typedef double vec_any __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
typedef int64_t mask __attribute__((vector_size(8 * LANES)));
typedef uint64_t wide __attribute__((vector_size(8 * LANES)));
typedef float narrow __attribute__((vector_size(4 * LANES)));
typedef int32_t key __attribute__((vector_size(4 * LANES)));
typedef int32_t key_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Macros, for a function that takes vectors has no fixed interface. */
#define AT(p, i) ((vec) * (const vec_any *)((p) + (i)))
#define INTO(p, i) (*(vec_any *)((p) + (i)))
#define WHERE(m, v) ((vec)((m) & (mask)(v)))
#define PICK(m, a, b) ((vec)(((m) & (mask)(a)) | (~(m) & (mask)(b))))
#define ALL(x) ((vec){0} + (x))

/* Macros too: a task vector's entry, and its key. */
#define DELTA(x, y) WHERE((x) != (y), (x) - (y))
#define KEY(d) ((key) __builtin_convertvector(d, narrow) & 0x7fffffff)

static void between(double alpha, const double *a, const double *b, size_t n, double *out)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec x = AT(a, i), y = AT(b, i);
    INTO(out, i) = PICK(x == y, x, x + alpha * (y - x));
  }
}

static void delta(const double *model, const double *base, size_t n, double *out)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec x = AT(model, i), y = AT(base, i);
    INTO(out, i) = DELTA(x, y);
  }
}

static void add(const double *base, double factor, const double *sum, size_t n, double *out)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec b = AT(base, i), s = AT(sum, i);
    INTO(out, i) = PICK(s == 0.0, b, b + factor * s);
  }
}

static void mix(const double *const *models, size_t n_models, const double *weights, double divisor,
                bool always, size_t n, double *out)
{
  for (size_t i = 0; i < n; i += LANES) {
    const vec first = AT(models[0], i);
    vec sum = weights ? weights[0] * first : first;
    mask differs = (mask){0} - (always ? 1 : 0);
    for (size_t k = 1; k < n_models; k++) {
      vec x = AT(models[k], i);
      differs |= x != first;
      sum += weights ? weights[k] * x : x;
    }
    INTO(out, i) = PICK(differs, sum / divisor, first);
  }
}

static void accumulate(double weight, const double *x, size_t n, double *sum)
{
  for (size_t i = 0; i < n; i += LANES)
    INTO(sum, i) += weight * AT(x, i);
}

/* The counter's words in the lower halves of 64 bits; what is in the upper ones does not matter. */
static void draw(const struct merge_draws *d, size_t n_blocks, uint32_t *out)
{
  enum { ROUNDS = 10 };
  const wide first = (wide){0} + 0xD2511F53u, second = (wide){0} + 0xCD9E8D57u;
  wide keys[ROUNDS][2], lane;
  for (unsigned j = 0; j < LANES; j++)
    lane[j] = j;
  for (uint32_t k = 0; k < ROUNDS; k++) {
    keys[k][0] = (wide){0} + (d->key[0] + k * 0x9E3779B9u);
    keys[k][1] = (wide){0} + (d->key[1] + k * 0xBB67AE85u);
  }
  for (size_t i = 0; i < n_blocks; i += LANES, out += 4 * LANES) {
    wide c0 = lane + (d->counter[0] + i), c1 = (wide){0} + d->counter[1];
    wide c2 = (wide){0} + d->counter[2], c3 = (wide){0} + d->counter[3];
    for (int k = 0; k < ROUNDS; k++) {
      const wide p = LOW_PRODUCT(c0, first), q = LOW_PRODUCT(c2, second);
      c0 = (q >> 32) ^ c1 ^ keys[k][0];
      c1 = q;
      c2 = (p >> 32) ^ c3 ^ keys[k][1];
      c3 = p;
    }
    const wide low = (c0 & 0xffffffff) | c1 << 32, high = (c2 & 0xffffffff) | c3 << 32;
    uint64_t halves[2][LANES];
    memcpy(halves[0], &low, sizeof low);
    memcpy(halves[1], &high, sizeof high);
    for (unsigned j = 0; j < LANES; j++) {
      memcpy(out + 4 * j, &halves[0][j], 8);
      memcpy(out + 4 * j + 2, &halves[1][j], 8);
    }
  }
}

/* Unsigned numbers compare as signed ones do with the sign turned over. */
static void drop(const uint32_t *drawn, uint32_t limit, double factor, size_t n, double *x)
{
  const int32_t turn = INT32_MIN, least = (int32_t)(limit ^ 0x80000000u);
  for (size_t i = 0; i < n; i += LANES) {
    key kept = ((key) * (const key_any *)(drawn + i) ^ turn) >= least;
    INTO(x, i) = WHERE(__builtin_convertvector(kept, mask), AT(x, i) * factor);
  }
}

static void find_keys(const double *model, const double *base, size_t n, int32_t *keys)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec x = AT(model, i), y = AT(base, i), d = DELTA(x, y);
    *(key_any *)(keys + i) = KEY(d);
  }
}

/* Eight keys at a time, of which mostly few lie in the bins. */
static uint64_t count(const int32_t *keys, size_t n, int32_t low, int32_t n_bins, uint64_t *bins)
{
  enum { BLOCK = 8 };
  typedef int32_t block __attribute__((vector_size(4 * BLOCK), aligned(4), may_alias));
  const int32_t high = low + n_bins;
  block above = {0};
  size_t i = 0;
  uint64_t all = 0;
  for (; i + BLOCK <= n; i += BLOCK) {
    block k = *(const block *)(keys + i), over = k >= high, inside = (k >= low) & ~over;
    above -= over;
    for (unsigned bits = SIGNS(inside); bits; bits &= bits - 1)
      bins[keys[i + (unsigned)__builtin_ctz(bits)] - low]++;
  }
  for (size_t j = 0; j < BLOCK; j++)
    all += (uint64_t)above[j];
  for (; i < n; i++) {
    all += keys[i] >= high;
    if (keys[i] >= low && keys[i] < high)
      bins[keys[i] - low]++;
  }
  return all;
}

static void vote(struct merge_votes *v, double weight, const double *entries, size_t n)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec e = weight * AT(entries, i);
    mask up = e > 0.0, down = e < 0.0;
    INTO(v->above, i) += WHERE(up, e);
    INTO(v->below, i) -= WHERE(down, e);
    INTO(v->n_above, i) += WHERE(up, ALL(1.0));
    INTO(v->n_below, i) += WHERE(down, ALL(1.0));
  }
}

static void ballot(const double *const *models, const double *base, const int32_t *least,
                   size_t n_models, size_t n, struct merge_votes *v)
{
  for (size_t i = 0; i < n; i += LANES) {
    vec above = {0}, below = {0}, n_above = {0}, n_below = {0}, y = AT(base, i);
    for (size_t k = 0; k < n_models; k++) {
      vec x = AT(models[k], i), d = DELTA(x, y);
      key large = KEY(d) >= least[k];
      mask kept = __builtin_convertvector(large, mask), up = kept & (d > 0.0);
      mask down = kept & (d < 0.0);
      above += WHERE(up, d);
      below -= WHERE(down, d);
      n_above += WHERE(up, ALL(1.0));
      n_below += WHERE(down, ALL(1.0));
    }
    INTO(v->above, i) = above;
    INTO(v->below, i) = below;
    INTO(v->n_above, i) = n_above;
    INTO(v->n_below, i) = n_below;
  }
}

static void elect(const struct merge_votes *v, bool mean, int undecided, double scale,
                  const double *base, size_t n, double *out)
{
  const mask up_if_equal = (mask){0} - (undecided > 0), down_if_equal = (mask){0} - (undecided < 0);
  for (size_t i = 0; i < n; i += LANES) {
    vec above = AT(v->above, i), below = AT(v->below, i), b = AT(base, i);
    mask equal = above == below;
    mask up = (above > below) | (equal & up_if_equal);
    mask down = (above < below) | (equal & down_if_equal);
    vec voters = PICK(up, AT(v->n_above, i), AT(v->n_below, i));
    vec sum = PICK(up, above, -below);
    mask changes = (up | down) & (voters > 0.0);
    vec value = mean ? sum / PICK(changes, voters, ALL(1.0)) : sum;
    INTO(out, i) = PICK(changes, b + scale * value, b);
  }
}

const struct merge_loops LOOPS = {between, delta,     add,   mix,  accumulate, draw,
                                  drop,    find_keys, count, vote, ballot,     elect};
