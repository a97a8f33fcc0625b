/* What steps cost, summed up.  Who knows the engine says what one step costs. */
#ifndef MERGESCAPE_PLAN_COST_H
#define MERGESCAPE_PLAN_COST_H

#include "plan/plan.h"

struct cost {
  double flops;   /* floating-point operations, a multiply-add counts as 2 */
  double seconds; /* on one worker of this machine */
  double bytes;   /* that the result takes in the store */
  double memory;  /* bytes that its worker has resident at most, about; 0: not known */
};

typedef struct cost cost_function(void *context, const struct plan *, const struct plan_step *);

struct cost_total {
  uint32_t steps;
  struct cost sum; /* of memory the largest */
  double chain; /* seconds of the longest chain of steps that wait for each other */
};

/* costs[i] of every step that is chosen; of the others zero. */
void cost_of_steps(const struct plan *, const bool *chosen, cost_function *, void *context,
                   struct cost *costs);
struct cost_total cost_total(const struct plan *, const bool *chosen, const struct cost *costs);
/* Seconds that `jobs` workers need at least: neither less than the longest chain
 * nor less than their share of the sum. */
double cost_wall(const struct cost_total *, unsigned jobs);

/* "0.4 s", "83 s", "12 min 05 s", "3 h 20 min", "41 days". */
char *cost_duration(double seconds, char text[32]);
/* "3.2 MB", "1.8 PFLOP": powers of 1000. */
char *cost_amount(double, const char *unit, char text[32]);

#endif
