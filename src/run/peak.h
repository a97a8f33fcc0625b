/* How much memory a step takes: the peak of the resident memory of the process that computes
 * it, with the plan, and with data and networks that it keeps for the steps to come. */
#ifndef MERGESCAPE_RUN_PEAK_H
#define MERGESCAPE_RUN_PEAK_H

#include <stdbool.h>

/* Forgets the peak so far.  Linux 4.0 and later can (/proc/self/clear_refs); where that is not
 * permitted, the peak stays that of the process since it began. */
void peak_begin(void);
/* Bytes; 0: not known.  *since_begin: false, the peak may be that of an earlier step. */
double peak_bytes(bool *since_begin);
/* Bytes that are resident now; 0: not known. */
double peak_now(void);

#endif
