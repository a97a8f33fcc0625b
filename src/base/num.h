/* Numbers as text: the shortest decimal that reads back as the same double,
 * so that plans, keys' dumps and CSV files show 0.1, not 0.10000000000000001. */
#ifndef MERGESCAPE_BASE_NUM_H
#define MERGESCAPE_BASE_NUM_H

#include <stddef.h>

enum { NUM_TEXT = 32 };

/* Returns `text`. "nan", "inf" and "-inf" where it is not finite. */
char *num_text(double, char text[NUM_TEXT]);

#endif
