/* Learning-rate schedules: a factor on the learning rate, by step. */
#ifndef MERGESCAPE_ENGINE_SCHEDULE_H
#define MERGESCAPE_ENGINE_SCHEDULE_H

#include <stdbool.h>

/* SCHEDULE(enum suffix, name)
 *   constant    1
 *   sqrt_decay  1 - sqrt(t / length)   (Haegele et al. 2024, "1-sqrt" cooldown)
 * with t the steps since the schedule began, 0 <= t < length. */
#define SCHEDULES(SCHEDULE)                                                   \
  SCHEDULE(CONSTANT, "constant")                                              \
  SCHEDULE(SQRT_DECAY, "sqrt_decay")

enum schedule_kind {
#define SCHEDULE(id, name) SCHEDULE_##id,
  SCHEDULES(SCHEDULE)
#undef SCHEDULE
  SCHEDULE_COUNT
};

bool schedule_find(const char *name, enum schedule_kind *);
double schedule_factor(enum schedule_kind, double t, double length);

#endif
