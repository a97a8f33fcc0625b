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
  else if (fabs(v) < 1e15 && v == floor(v)) /* 20, where %g would say 2e+01 */
    snprintf(text, NUM_TEXT, "%.0f", v);
  else
    for (int digits = 1; digits <= 17; digits++) {
      snprintf(text, NUM_TEXT, "%.*g", digits, v);
      if (strtod(text, NULL) == v)
        break;
    }
  return text;
}
