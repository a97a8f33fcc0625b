/* Singular values, and the rotation nearest to a matrix, by LAPACK.  Matrices are row by row. */
#ifndef MERGESCAPE_MERGE_SVD_H
#define MERGESCAPE_MERGE_SVD_H

#include <stdbool.h>
#include <stddef.h>

/* a [m][n] = u [m][k] diag(s [k]) vt [k][n], k the smaller of m and n, s falling.
 * false: it is not finite. */
bool svd(size_t m, size_t n, const double *a, double *u, double *s, double *vt);

/* The orthogonal matrix q [n][n] with the largest inner product with a [n][n] (Schoenemann 1966):
 * its polar factor.  u, s, vt: as above, for the gradient.  false: not finite; q stays. */
bool svd_polar(size_t n, const double *a, double *q, double *u, double *s, double *vt);

/* From the gradient with respect to q to that with respect to a; da may be dq. */
void svd_polar_gradient(size_t n, const double *u, const double *s, const double *vt,
                        const double *dq, double *da);

/* y [m][n] = a [m][k] b [k][n], a or b transposed where said: then a is [k][m], b [n][k]. */
void svd_product(bool ta, bool tb, size_t m, size_t n, size_t k, const double *a, const double *b,
                 double *y);

#endif
