#include "base/safetensors.h"

#include "base/floats.h"

#include <assert.h>
#include <string.h>

enum { CHUNK = 512 };

bool safetensors_is_float(enum safetensors_dtype t)
{
  return t == SAFETENSORS_F16 || t == SAFETENSORS_BF16 || t == SAFETENSORS_F32 ||
         t == SAFETENSORS_F64;
}

void safetensors_floats(const struct safetensors_tensor *t, uint64_t first, size_t n, float *to)
{
  const size_t width = safetensors_dtype_bytes(t->dtype);
  const unsigned char *from = t->data;
  double wide[CHUNK];
  assert(safetensors_is_float(t->dtype) && first <= t->bytes / width &&
         n <= t->bytes / width - first);
  if (t->dtype == SAFETENSORS_F32) {
    if (n)
      memcpy(to, from + first * width, n * width);
    return;
  }
  for (size_t i = 0; i < n; i += CHUNK) {
    const size_t m = n - i < CHUNK ? n - i : CHUNK;
    floats_read(t->dtype, from + (first + i) * width, m, wide);
    for (size_t k = 0; k < m; k++)
      to[i + k] = (float)wide[k];
  }
}
