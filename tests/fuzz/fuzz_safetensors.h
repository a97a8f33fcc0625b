/* Mutations of a .safetensors file that keep its header's length true, so that they reach what
 * the header says.  Half of them are libFuzzer's own, of the whole. */
#ifndef MERGESCAPE_FUZZ_SAFETENSORS_H
#define MERGESCAPE_FUZZ_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t length, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t most, unsigned seed);

enum { FUZZ_PREFIX = 8 };

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t most, unsigned seed)
{
  uint64_t header = 0;
  for (size_t i = FUZZ_PREFIX; i-- > 0 && length >= FUZZ_PREFIX;)
    header = header << 8 | bytes[i];
  if (length < FUZZ_PREFIX || header > length - FUZZ_PREFIX || seed % 2)
    return LLVMFuzzerMutate(bytes, length, most);
  /* The header at the end, where it can grow; then the data behind it again. */
  static uint8_t data[1 << 20];
  const size_t n = length - FUZZ_PREFIX - (size_t)header;
  if (n > sizeof data || most < FUZZ_PREFIX + n)
    return LLVMFuzzerMutate(bytes, length, most);
  memcpy(data, bytes + FUZZ_PREFIX + header, n);
  header = LLVMFuzzerMutate(bytes + FUZZ_PREFIX, (size_t)header, most - FUZZ_PREFIX - n);
  memcpy(bytes + FUZZ_PREFIX + header, data, n);
  for (size_t i = 0; i < FUZZ_PREFIX; i++)
    bytes[i] = (uint8_t)(header >> (8 * i));
  return FUZZ_PREFIX + (size_t)header + n;
}

#endif
