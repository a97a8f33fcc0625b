/* Vectors of the instruction set that this compilation is for. */
#ifndef MERGESCAPE_ENGINE_KERNELS_VEC_H
#define MERGESCAPE_ENGINE_KERNELS_VEC_H

#include "engine/kernels.h"

#include <string.h>

#if defined KERNEL_AVX512 || defined KERNEL_AVX2
#include <immintrin.h>
#endif

#if defined KERNEL_AVX512
#define KERNEL(name) kernels_avx512_##name
#define KERNEL_TABLE kernels_avx512
#define KERNEL_TOKEN_TABLE kernels_token_avx512
#define KERNEL_WINOGRAD_TABLE kernels_winograd_avx512
#define KERNEL_NAME "avx512"
#define LANES 16
#define REGISTERS 32
#elif defined KERNEL_AVX2
#define KERNEL(name) kernels_avx2_##name
#define KERNEL_TABLE kernels_avx2
#define KERNEL_TOKEN_TABLE kernels_token_avx2
#define KERNEL_WINOGRAD_TABLE kernels_winograd_avx2
#define KERNEL_NAME "avx2"
#define LANES 8
#define REGISTERS 16
#else
#define KERNEL(name) kernels_baseline_##name
#define KERNEL_TABLE kernels_baseline
#define KERNEL_TOKEN_TABLE kernels_token_baseline
#define KERNEL_WINOGRAD_TABLE kernels_winograd_baseline
#define KERNEL_NAME "baseline"
#define LANES 4
#define REGISTERS 16
#endif

enum { PANEL = (LANES == 16 ? 4 : 2) * LANES }; /* columns of a packed factor */

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float vec_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec vec_load(const float *p)
{
  return *(const vec_any *)p;
}

INLINE void vec_store(float *p, vec v)
{
  *(vec_any *)p = v;
}

/* 0 where y <= 0; a NaN stays. */
INLINE vec vec_mask(vec v, vec y)
{
  return (vec)((ivec)v & ~(ivec)(y <= 0.0f));
}

/* The first n lanes, n < LANES; the others are 0. */
#if defined KERNEL_AVX512
INLINE vec vec_load_part(const float *p, unsigned n)
{
  return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

INLINE void vec_store_part(float *p, vec v, unsigned n)
{
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#elif defined KERNEL_AVX2
INLINE __m256i vec_part(unsigned n)
{
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE vec vec_load_part(const float *p, unsigned n)
{
  return (vec)_mm256_maskload_ps(p, vec_part(n));
}

INLINE void vec_store_part(float *p, vec v, unsigned n)
{
  _mm256_maskstore_ps(p, vec_part(n), (__m256)v);
}
#else
INLINE vec vec_load_part(const float *p, unsigned n)
{
  vec v = {0};
  for (unsigned i = 0; i < n; i++)
    v[i] = p[i];
  return v;
}

INLINE void vec_store_part(float *p, vec v, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    p[i] = v[i];
}
#endif

/* The two halves of a and b, interleaved. */
#if LANES == 16
#define ZIP_LOW(a, b)                                                                              \
  __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH(a, b)                                                                             \
  __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif LANES == 8
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

/* LANES x LANES values: interleaving log2(LANES) times turns rows into columns. */
INLINE void vec_transpose(vec v[LANES])
{
  vec t[LANES];
  UNROLL
  for (int stage = 1; stage < LANES; stage *= 2) {
    UNROLL
    for (int i = 0; i < LANES / 2; i++) {
      t[2 * i] = ZIP_LOW(v[i], v[i + LANES / 2]);
      t[2 * i + 1] = ZIP_HIGH(v[i], v[i + LANES / 2]);
    }
    UNROLL
    for (int i = 0; i < LANES; i++)
      v[i] = t[i];
  }
}

#if LANES == 16
/* Half blocks: lanes 2i and 2i + 1 belong together. */
typedef double pair_vec __attribute__((vector_size(64)));
typedef uint64_t pair_bits __attribute__((vector_size(64)));
typedef uint32_t half_bits __attribute__((vector_size(32)));
typedef float half_vec __attribute__((vector_size(32)));
typedef float half_any __attribute__((vector_size(32), aligned(4), may_alias));

INLINE vec broadcast_pair(const float *p)
{
  double d;
  memcpy(&d, p, sizeof d);
  return (vec)(pair_vec){d, d, d, d, d, d, d, d};
}

/* The sums of the pairs. */
INLINE half_vec fold_pairs(vec v)
{
  const vec sum = v + (vec)((pair_bits)v >> 32);
  return (half_vec) __builtin_convertvector((pair_bits)sum, half_bits);
}

/* Every value twice. */
INLINE vec make_pairs(half_vec v)
{
  const pair_bits low = __builtin_convertvector((half_bits)v, pair_bits);
  return (vec)(low | low << 32);
}
#endif

void KERNEL(conv)(const struct kernel_conv *);
void KERNEL(wgrad)(const struct kernel_wgrad *);
void KERNEL(depthwise)(const struct kernel_depthwise *);
void KERNEL(depthwise_grad)(const struct kernel_depthwise_grad *);
void KERNEL(norm_sums)(const struct kernel_norm *, double *, double *);
void KERNEL(norm_apply)(const struct kernel_norm *, const float *, bool, float *);
void KERNEL(norm_grad_sums)(const struct kernel_norm *, const float *, float *, double *, double *);
void KERNEL(norm_grad)(const struct kernel_norm *, const float *, bool, float *);
void KERNEL(adamw)(const struct ops_adamw *, size_t, float *, float *, float *, const float *);

#endif
