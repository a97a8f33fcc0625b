/* The floating-point types of checkpoints, to and from double.
 *
 * Reading is exact.  Writing rounds once, to nearest, ties to even; what is too
 * large becomes infinite, a NaN stays one. */
#ifndef MERGESCAPE_BASE_FLOATS_H
#define MERGESCAPE_BASE_FLOATS_H

#include "base/safetensors.h"

/* n values of a type that safetensors_is_float says it of; the bytes need no alignment. */
void floats_read(enum safetensors_dtype, const void *bytes, size_t n, double *out);
void floats_write(enum safetensors_dtype, const double *, size_t n, void *bytes);

/* The largest double that does not round to infinity. */
double floats_largest(enum safetensors_dtype);

/* Is none of the n values NaN, or of a larger magnitude? */
bool floats_within(const double *, size_t n, double largest);
/* Is none NaN or infinite? */
bool floats_finite(const double *, size_t n);

/* The same with as much of the processor as is said, for tests: nothing of its own conversions,
 * AVX2, AVX-512.  The bits are the same. */
enum floats_isa { FLOATS_PLAIN, FLOATS_WIDE, FLOATS_WIDER, FLOATS_ISA_COUNT };
enum floats_isa floats_widest(void); /* that this machine has; it has all before it */
void floats_read_isa(enum floats_isa, enum safetensors_dtype, const void *bytes, size_t n,
                     double *out);
void floats_write_isa(enum floats_isa, enum safetensors_dtype, const double *, size_t n,
                      void *bytes);
bool floats_within_isa(enum floats_isa, const double *, size_t n, double largest);

#endif
