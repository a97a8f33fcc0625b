/* libFuzzer target for the safetensors reader: make check-fuzz FUZZ_TARGET=safetensors */
#include "base/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct safetensors s;
  if (safetensors_parse(a, "fuzz", bytes, length, &s, d)) {
    /* What was accepted must lie in the input: touch its first and last bytes. */
    volatile unsigned char sink = 0;
    for (size_t i = 0; i < s.n_tensors; i++)
      if (s.tensors[i].bytes) {
        const unsigned char *p = s.tensors[i].data;
        sink = (unsigned char)(sink ^ p[0] ^ p[s.tensors[i].bytes - 1]);
      }
  } else if (!diag_errors(d)) {
    abort();
  }
  arena_free(a);
  return 0;
}
