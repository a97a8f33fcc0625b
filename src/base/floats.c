#include "base/floats.h"

#include <float.h>
#include <math.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

/* The largest value and half a step above it, less one step of a double. */
double floats_largest(enum safetensors_dtype t)
{
  switch (t) {
  case SAFETENSORS_F16:
    return nextafter(65520, 0);
  case SAFETENSORS_BF16:
    return nextafter(0x1.ffp127, 0);
  case SAFETENSORS_F32:
    return nextafter(0x1.ffffffp127, 0);
  default:
    return DBL_MAX;
  }
}

static float as_float(uint32_t bits)
{
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static uint32_t as_bits(float f)
{
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

/* ---- in plain C ---- */

static double half_to_double(uint16_t h)
{
  int exponent = h >> 10 & 31, mantissa = h & 1023;
  double v;
  if (exponent == 31)
    v = mantissa ? NAN : INFINITY;
  else if (exponent)
    v = ldexp(1024 + mantissa, exponent - 25);
  else
    v = ldexp(mantissa, -24);
  return h >> 15 ? -v : v;
}

/* To nearest even by adding and taking away a number whose last place is the
 * result's: the sum is rounded as any sum is. */
static uint16_t half_of_double(double x)
{
  uint16_t sign = signbit(x) ? 0x8000 : 0;
  double v = fabs(x);
  if (isnan(v))
    return sign | 0x7e00;
  if (v >= 65520)
    return sign | 0x7c00;
  int exponent = v < 0x1p-14 ? -14 : ilogb(v);
  double shift = ldexp(1, exponent + 42); /* its last place is 2^(exponent - 10) */
  volatile double sum = v + shift;
  double units = ldexp(sum - shift, 10 - exponent); /* 1024 to 2048, or below 1024 */
  return (uint16_t)(sign + (uint16_t)(((unsigned)exponent + 14) << 10) + (uint16_t)units);
}

/* The float towards zero, with the last bit set where something was cut off.  A
 * second rounding to fewer bits then is as good as a single one. */
static uint32_t float_to_odd(double x)
{
  float f = (float)x;
  uint32_t bits = as_bits(f);
  double back = (double)f;
  if (back == x || isnan(x))
    return bits;
  return (bits - (fabs(back) > fabs(x))) | 1;
}

static uint16_t brain_of_double(double x)
{
  uint32_t bits = float_to_odd(x);
  if (isnan(x))
    return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void read_plain(enum safetensors_dtype t, const void *bytes, size_t n, double *out)
{
  const unsigned char *p = bytes;
  if (t == SAFETENSORS_F64) {
    memcpy(out, bytes, n * sizeof *out);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    uint16_t h;
    if (t == SAFETENSORS_F32) {
      float f;
      memcpy(&f, p + i * sizeof f, sizeof f);
      out[i] = (double)f;
      continue;
    }
    memcpy(&h, p + i * sizeof h, sizeof h);
    out[i] = t == SAFETENSORS_F16 ? half_to_double(h) : (double)as_float((uint32_t)h << 16);
  }
}

static void write_plain(enum safetensors_dtype t, const double *x, size_t n, void *bytes)
{
  unsigned char *p = bytes;
  if (t == SAFETENSORS_F64) {
    memcpy(bytes, x, n * sizeof *x);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    if (t == SAFETENSORS_F32) {
      float f = (float)x[i];
      memcpy(p + i * sizeof f, &f, sizeof f);
      continue;
    }
    uint16_t h = t == SAFETENSORS_F16 ? half_of_double(x[i]) : brain_of_double(x[i]);
    memcpy(p + i * sizeof h, &h, sizeof h);
  }
}

/* ---- eight at a time ---- */

#ifdef __x86_64__
#define WIDE __attribute__((target("avx2,f16c")))

/* The floats of float_to_odd, eight. */
WIDE static inline __m256i floats_to_odd(const double *x)
{
  __m256d x0 = _mm256_loadu_pd(x), x1 = _mm256_loadu_pd(x + 4);
  const __m256d sign = _mm256_set1_pd(-0.0);
  __m128 f[2] = {_mm256_cvtpd_ps(x0), _mm256_cvtpd_ps(x1)};
  __m256d v[2] = {x0, x1};
  __m128i odd[2];
  for (int k = 0; k < 2; k++) {
    __m256d back = _mm256_cvtps_pd(f[k]);
    __m256d over =
        _mm256_cmp_pd(_mm256_andnot_pd(sign, back), _mm256_andnot_pd(sign, v[k]), _CMP_GT_OQ);
    __m256d inexact = _mm256_cmp_pd(back, v[k], _CMP_NEQ_OQ);
    /* The low halves of four masks of 64 bits each: -1 or 0. */
    const __m256i low = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    __m128i o = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_castpd_si256(over), low));
    __m128i i =
        _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_castpd_si256(inexact), low));
    odd[k] = _mm_or_si128(_mm_add_epi32(_mm_castps_si128(f[k]), o), _mm_srli_epi32(i, 31));
  }
  return _mm256_inserti128_si256(_mm256_castsi128_si256(odd[0]), odd[1], 1);
}

WIDE static void store_floats(double *out, __m256 f)
{
  _mm256_storeu_pd(out, _mm256_cvtps_pd(_mm256_castps256_ps128(f)));
  _mm256_storeu_pd(out + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(f, 1)));
}

/* How many values were read: a multiple of 8. */
WIDE static size_t read_wide(enum safetensors_dtype t, const unsigned char *p, size_t n,
                             double *out)
{
  size_t i = 0;
  if (t == SAFETENSORS_F16)
    for (; i + 8 <= n; i += 8)
      store_floats(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 2 * i))));
  if (t == SAFETENSORS_BF16)
    for (; i + 8 <= n; i += 8) {
      __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 2 * i)));
      store_floats(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
  if (t == SAFETENSORS_F32)
    for (; i + 8 <= n; i += 8)
      store_floats(out + i, _mm256_loadu_ps((const float *)(const void *)(p + 4 * i)));
  return i;
}

WIDE static void store_brains(unsigned char *p, const double *x)
{
  const __m256i one = _mm256_set1_epi32(1), half = _mm256_set1_epi32(0x7fff);
  __m256i bits = floats_to_odd(x);
  __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(half, even)), 16);
  __m256 f = _mm256_castsi256_ps(bits);
  __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
  __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  rounded = _mm256_blendv_epi8(rounded, quiet, nan);
  __m128i packed =
      _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
  _mm_storeu_si128((__m128i *)p, packed);
}

WIDE static size_t write_wide(enum safetensors_dtype t, const double *x, size_t n, unsigned char *p)
{
  size_t i = 0;
  if (t == SAFETENSORS_F16)
    for (; i + 8 <= n; i += 8) {
      __m256 odd = _mm256_castsi256_ps(floats_to_odd(x + i));
      _mm_storeu_si128((__m128i *)(p + 2 * i), _mm256_cvtps_ph(odd, _MM_FROUND_TO_NEAREST_INT));
    }
  if (t == SAFETENSORS_BF16)
    for (; i + 8 <= n; i += 8)
      store_brains(p + 2 * i, x + i);
  if (t == SAFETENSORS_F32)
    for (; i + 4 <= n; i += 4)
      _mm_storeu_ps((float *)(void *)(p + 4 * i), _mm256_cvtpd_ps(_mm256_loadu_pd(x + i)));
  return i;
}

/* How many are within: n or less, where the first that is not is among the next 8. */
WIDE static size_t within_wide(const double *x, size_t n, double largest)
{
  const __m256d sign = _mm256_set1_pd(-0.0), most = _mm256_set1_pd(largest);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256d a = _mm256_andnot_pd(sign, _mm256_loadu_pd(x + i));
    __m256d b = _mm256_andnot_pd(sign, _mm256_loadu_pd(x + i + 4));
    __m256d fit =
        _mm256_and_pd(_mm256_cmp_pd(a, most, _CMP_LE_OQ), _mm256_cmp_pd(b, most, _CMP_LE_OQ));
    if (_mm256_movemask_pd(fit) != 15)
      return i;
  }
  return i;
}

/* ---- the same with twice as wide vectors ---- */

#define WIDER __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,f16c")))

WIDER static size_t read_wider(enum safetensors_dtype t, const unsigned char *p, size_t n,
                               double *out)
{
  size_t i = 0;
  if (t == SAFETENSORS_F16)
    for (; i + 8 <= n; i += 8) {
      __m256 f = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 2 * i)));
      _mm512_storeu_pd(out + i, _mm512_cvtps_pd(f));
    }
  if (t == SAFETENSORS_BF16)
    for (; i + 8 <= n; i += 8) {
      __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 2 * i)));
      __m256 f = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
      _mm512_storeu_pd(out + i, _mm512_cvtps_pd(f));
    }
  if (t == SAFETENSORS_F32)
    for (; i + 8 <= n; i += 8) {
      __m256 f = _mm256_loadu_ps((const float *)(const void *)(p + 4 * i));
      _mm512_storeu_pd(out + i, _mm512_cvtps_pd(f));
    }
  return i;
}

/* Rounded towards zero, then made odd where something was cut off. */
WIDER static inline __m256i round_to_odd(const double *x)
{
  __m512d v = _mm512_loadu_pd(x);
  __m256 f = _mm512_cvt_roundpd_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  __mmask8 inexact = _mm512_cmp_pd_mask(_mm512_cvtps_pd(f), v, _CMP_NEQ_OQ);
  __m256i bits = _mm256_castps_si256(f);
  return _mm256_mask_or_epi32(bits, inexact, bits, _mm256_set1_epi32(1));
}

WIDER static void store_brains_wider(unsigned char *p, const double *x)
{
  __m256i bits = round_to_odd(x), high = _mm256_srli_epi32(bits, 16);
  __m256i up = _mm256_and_si256(high, _mm256_set1_epi32(1));
  up = _mm256_add_epi32(up, _mm256_set1_epi32(0x7fff));
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, up), 16);
  __m256 f = _mm256_castsi256_ps(bits);
  __mmask8 nan = _mm256_cmp_ps_mask(f, f, _CMP_UNORD_Q);
  rounded = _mm256_mask_or_epi32(rounded, nan, high, _mm256_set1_epi32(0x40));
  _mm_storeu_si128((__m128i *)p, _mm256_cvtepi32_epi16(rounded));
}

WIDER static size_t write_wider(enum safetensors_dtype t, const double *x, size_t n,
                                unsigned char *p)
{
  size_t i = 0;
  if (t == SAFETENSORS_F16)
    for (; i + 8 <= n; i += 8) {
      __m256 odd = _mm256_castsi256_ps(round_to_odd(x + i));
      _mm_storeu_si128((__m128i *)(p + 2 * i), _mm256_cvtps_ph(odd, _MM_FROUND_TO_NEAREST_INT));
    }
  if (t == SAFETENSORS_BF16)
    for (; i + 8 <= n; i += 8)
      store_brains_wider(p + 2 * i, x + i);
  if (t == SAFETENSORS_F32)
    for (; i + 8 <= n; i += 8)
      _mm256_storeu_ps((float *)(void *)(p + 4 * i), _mm512_cvtpd_ps(_mm512_loadu_pd(x + i)));
  return i;
}

WIDER static size_t within_wider(const double *x, size_t n, double largest)
{
  const __m512d most = _mm512_set1_pd(largest);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m512d a = _mm512_abs_pd(_mm512_loadu_pd(x + i)),
            b = _mm512_abs_pd(_mm512_loadu_pd(x + i + 8));
    if ((_mm512_cmp_pd_mask(a, most, _CMP_LE_OQ) & _mm512_cmp_pd_mask(b, most, _CMP_LE_OQ)) != 255)
      return i;
  }
  return i;
}

static enum floats_isa find_isa(void)
{
  __builtin_cpu_init();
  unsigned a, b, c, d;
  /* clang before 16 does not know "f16c" there. */
  if (!__builtin_cpu_supports("avx2") || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_F16C))
    return FLOATS_PLAIN;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
             ? FLOATS_WIDER
             : FLOATS_WIDE;
}

#define CHOOSE(isa, wide, wider)                                                                   \
  ((isa) == FLOATS_WIDER ? (wider) : (isa) == FLOATS_WIDE ? (wide) : 0)
#else
static enum floats_isa find_isa(void)
{
  return FLOATS_PLAIN;
}

#define CHOOSE(isa, wide, wider) 0
#endif

enum floats_isa floats_widest(void)
{
  /* Asked once: a virtual machine answers in microseconds. */
  static _Atomic int known = FLOATS_ISA_COUNT;
  if (known == FLOATS_ISA_COUNT)
    known = find_isa();
  return (enum floats_isa)known;
}

bool floats_within_isa(enum floats_isa isa, const double *x, size_t n, double largest)
{
  size_t i = CHOOSE(isa, within_wide(x, n, largest), within_wider(x, n, largest));
  while (i < n && fabs(x[i]) <= largest)
    i++;
  return i == n;
}

bool floats_within(const double *x, size_t n, double largest)
{
  return floats_within_isa(floats_widest(), x, n, largest);
}

bool floats_finite(const double *x, size_t n)
{
  return floats_within(x, n, DBL_MAX);
}

void floats_read_isa(enum floats_isa isa, enum safetensors_dtype t, const void *bytes, size_t n,
                     double *out)
{
  const unsigned char *p = bytes;
  size_t done = CHOOSE(isa, read_wide(t, p, n, out), read_wider(t, p, n, out));
  read_plain(t, p + done * safetensors_dtype_bytes(t), n - done, out + done);
}

void floats_write_isa(enum floats_isa isa, enum safetensors_dtype t, const double *x, size_t n,
                      void *bytes)
{
  unsigned char *p = bytes;
  size_t done = CHOOSE(isa, write_wide(t, x, n, p), write_wider(t, x, n, p));
  write_plain(t, x + done, n - done, p + done * safetensors_dtype_bytes(t));
}

void floats_read(enum safetensors_dtype t, const void *bytes, size_t n, double *out)
{
  floats_read_isa(floats_widest(), t, bytes, n, out);
}

void floats_write(enum safetensors_dtype t, const double *x, size_t n, void *bytes)
{
  floats_write_isa(floats_widest(), t, x, n, bytes);
}
