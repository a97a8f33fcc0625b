/* Floating-point numbers as files hold them, little-endian and not aligned. */
#include "base/safetensors.h"

#include <assert.h>
#include <string.h>

static float of_bits(uint32_t bits)
{
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

/* 1 sign, 5 exponent (bias 15) and 10 fraction bits. */
static float of_f16(uint16_t half)
{
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16, fraction = half & 0x3ff;
  const uint32_t exponent = half >> 10 & 0x1f;
  if (exponent == 0x1f) /* infinity, NaN */
    return of_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent)
    return of_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
  /* Subnormal, or zero: fraction * 2^-24, which a float holds exactly. */
  const float v = (float)fraction * 0x1p-24f;
  return sign ? -v : v;
}

bool safetensors_is_float(enum safetensors_dtype t)
{
  return t == SAFETENSORS_F16 || t == SAFETENSORS_BF16 || t == SAFETENSORS_F32 ||
         t == SAFETENSORS_F64;
}

void safetensors_floats(const struct safetensors_tensor *t, uint64_t first, size_t n, float *to)
{
  const size_t width = safetensors_dtype_bytes(t->dtype);
  assert(safetensors_is_float(t->dtype) && first <= t->bytes / width &&
         n <= t->bytes / width - first);
  if (!n)
    return;
  const unsigned char *from = (const unsigned char *)t->data + first * width;
  if (t->dtype == SAFETENSORS_F32) {
    memcpy(to, from, n * sizeof *to);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    uint16_t half;
    double wide;
    if (t->dtype == SAFETENSORS_F64) {
      memcpy(&wide, from + i * width, sizeof wide);
      to[i] = (float)wide;
      continue;
    }
    memcpy(&half, from + i * width, sizeof half);
    to[i] = t->dtype == SAFETENSORS_F16 ? of_f16(half) : of_bits((uint32_t)half << 16);
  }
}
