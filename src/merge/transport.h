/* The transportation problem (discrete optimal transport), solved exactly: how is what n sources
 * supply carried to m targets at the least cost? */
#ifndef MERGESCAPE_MERGE_TRANSPORT_H
#define MERGESCAPE_MERGE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>

/* cost [n][m], supply [n] and demand [m], 0 or more, of equal sums -> plan [n][m].  Whole numbers
 * are best, with which sums are exact: plan is whole then, too.  Successive shortest paths with
 * Dijkstra's algorithm (Ahuja, Magnanti & Orlin 1993, section 9.7); n = m with equal supplies and
 * demands is an assignment, which is much quicker.  Which of several optimal plans is found
 * depends on the arguments alone.
 *
 * false: a cost is not finite. */
bool transport_solve(size_t n, size_t m, const double *cost, const double *supply,
                     const double *demand, double *plan);

#endif
