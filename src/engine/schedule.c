#include "engine/schedule.h"

#include <math.h>
#include <string.h>

static const char *const names[SCHEDULE_COUNT] = {
#define SCHEDULE(id, name) [SCHEDULE_##id] = name,
    SCHEDULES(SCHEDULE)
#undef SCHEDULE
};

bool schedule_find(const char *name, enum schedule_kind *kind)
{
  for (int i = 0; i < SCHEDULE_COUNT; i++) {
    if (!strcmp(names[i], name)) {
      *kind = (enum schedule_kind)i;
      return true;
    }
  }
  return false;
}

double schedule_factor(enum schedule_kind kind, double t, double length)
{
  if (kind == SCHEDULE_SQRT_DECAY)
    return t >= length ? 0 : 1 - sqrt(t / length);
  return 1;
}
