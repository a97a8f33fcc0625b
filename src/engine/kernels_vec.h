/* Vectors of the instruction set that this compilation is for. */
#ifndef MERGESCAPE_ENGINE_KERNELS_VEC_H
#define MERGESCAPE_ENGINE_KERNELS_VEC_H

#include "engine/kernels.h"

#include <string.h>

#if defined KERNEL_AVX512
#define KERNEL(name) kernels_avx512_##name
#define KERNEL_TABLE kernels_avx512
#define KERNEL_NAME "avx512"
#define LANES 16
#define REGISTERS 32
#elif defined KERNEL_AVX2
#define KERNEL(name) kernels_avx2_##name
#define KERNEL_TABLE kernels_avx2
#define KERNEL_NAME "avx2"
#define LANES 8
#define REGISTERS 16
#else
#define KERNEL(name) kernels_baseline_##name
#define KERNEL_TABLE kernels_baseline
#define KERNEL_NAME "baseline"
#define LANES 4
#define REGISTERS 16
#endif

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

void KERNEL(conv)(const struct kernel_conv *);
void KERNEL(wgrad)(const struct kernel_wgrad *);
void KERNEL(norm_sums)(const struct kernel_norm *, double *, double *);
void KERNEL(norm_apply)(const struct kernel_norm *, const float *, bool, float *);
void KERNEL(norm_grad_sums)(const struct kernel_norm *, const float *, float *, double *,
                            double *);
void KERNEL(norm_grad)(const struct kernel_norm *, const float *, float *);

#endif
