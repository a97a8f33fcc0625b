#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

char *num_text(double v, char text[NUM_TEXT])
{
  if (isnan(v))
    snprintf(text, NUM_TEXT, "nan");
  else if (isinf(v))
    snprintf(text, NUM_TEXT, v < 0 ? "-inf" : "inf");
  else
    for (int digits = 1; digits <= 17; digits++) {
      snprintf(text, NUM_TEXT, "%.*g", digits, v);
      if (strtod(text, NULL) == v)
        break;
    }
  return text;
}
