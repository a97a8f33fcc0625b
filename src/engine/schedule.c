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

static double half_cosine(double t, double length)
{
  return t >= length ? 0 : (1 + cos(acos(-1) * t / length)) / 2;
}

double schedule_factor(enum schedule_kind kind, double t, double length, double warmup)
{
  bool warms = kind == SCHEDULE_WARMUP_CONSTANT || kind == SCHEDULE_WARMUP_COSINE;
  if (warms && t < warmup)
    return fmin((t + 1) / warmup, 1);
  switch (kind) {
  case SCHEDULE_SQRT_DECAY:
    return t >= length ? 0 : 1 - sqrt(t / length);
  case SCHEDULE_LINEAR_DECAY:
    return t >= length ? 0 : 1 - t / length;
  case SCHEDULE_COSINE:
    return half_cosine(t, length);
  case SCHEDULE_WARMUP_COSINE:
    return half_cosine(t - warmup, length - warmup);
  default:
    return 1;
  }
}
