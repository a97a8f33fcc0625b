/* AdamW's pass over the flat vector. */
#include "engine/kernels_vec.h"

#include "engine/ops.h"

#include <math.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

INLINE vec vec_sqrt(vec v)
{
#if defined KERNEL_AVX512
  return (vec)_mm512_sqrt_ps((__m512)v);
#elif defined KERNEL_AVX2
  return (vec)_mm256_sqrt_ps((__m256)v);
#elif defined __SSE2__
  return (vec)_mm_sqrt_ps((__m128)v);
#else
  for (int i = 0; i < LANES; i++)
    v[i] = sqrtf(v[i]);
  return v;
#endif
}

INLINE void step(const struct ops_adamw *p, vec g, vec *w, vec *m, vec *v)
{
  *m += p->mean * (g - *m);
  *v += p->square * (g * g - *v);
  *w = p->keep * *w - p->rate * (*m / (p->root * vec_sqrt(*v) + p->epsilon));
}

void KERNEL(adamw)(const struct ops_adamw *p, size_t n, float *w, float *m, float *v,
                   const float *grad)
{
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    vec wi = vec_load(w + i), mi = vec_load(m + i), vi = vec_load(v + i);
    step(p, vec_load(grad + i), &wi, &mi, &vi);
    vec_store(w + i, wi);
    vec_store(m + i, mi);
    vec_store(v + i, vi);
  }
  if (i == n)
    return;
  /* The rest in a vector too: every weight is treated alike, wherever a pass begins. */
  float rest[4][LANES] = {{0}};
  const size_t bytes = (n - i) * sizeof *w;
  const float *from[] = {w + i, m + i, v + i, grad + i};
  for (int k = 0; k < 4; k++)
    memcpy(rest[k], from[k], bytes);
  vec wi = vec_load(rest[0]), mi = vec_load(rest[1]), vi = vec_load(rest[2]);
  step(p, vec_load(rest[3]), &wi, &mi, &vi);
  vec_store(rest[0], wi);
  vec_store(rest[1], mi);
  vec_store(rest[2], vi);
  memcpy(w + i, rest[0], bytes);
  memcpy(m + i, rest[1], bytes);
  memcpy(v + i, rest[2], bytes);
}
