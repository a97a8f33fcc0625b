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

/* The same without the processor's own conversions, for tests. */
void floats_read_plain(enum safetensors_dtype, const void *bytes, size_t n, double *out);
void floats_write_plain(enum safetensors_dtype, const double *, size_t n, void *bytes);

#endif
