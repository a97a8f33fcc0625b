/* The linear assignment problem, solved exactly: which one-to-one assignment of n rows to n
 * columns has the smallest (or largest) sum of costs? */
#ifndef MERGESCAPE_MERGE_ASSIGNMENT_H
#define MERGESCAPE_MERGE_ASSIGNMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum assignment_goal { ASSIGNMENT_MINIMISE, ASSIGNMENT_MAXIMISE };

/* cost [n][n] -> column[i] of each row i.  Shortest augmenting paths (Jonker & Volgenant 1987;
 * Crouse 2016), O(n^3) at most, and much less where a good assignment is easy to see.  Which of
 * several optimal ones is found depends on the costs alone.
 *
 * row [n] and col [n] (both NULL: not wanted): the dual solution, which proves the optimum:
 * row[i] + col[j] <= cost[i][j] (maximise: >=), with equality where i is assigned to j, but for
 * rounding.
 *
 * false: a cost is not finite. */
bool assignment_solve(size_t n, const double *cost, enum assignment_goal, uint32_t *column,
                      double *row, double *col);

#endif
