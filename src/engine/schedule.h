/* Learning-rate schedules: a factor on the learning rate, by step. */
#ifndef MERGESCAPE_ENGINE_SCHEDULE_H
#define MERGESCAPE_ENGINE_SCHEDULE_H

#include <stdbool.h>

/* SCHEDULE(enum suffix, name)
 *   constant         1
 *   sqrt_decay       1 - sqrt(t / length)   (Haegele et al. 2024, "1-sqrt" cooldown)
 *   linear_decay     1 - t / length
 *   cosine           (1 + cos(pi t / length)) / 2   (Loshchilov and Hutter 2017, no restarts)
 *   warmup_constant  (t + 1) / warmup for t < warmup, then 1
 *   warmup_cosine    the same rise, then a cosine over the length - warmup steps that are left
 * with t the steps since the schedule began, 0 <= t < length.  From t = length on
 * those that fall are 0. */
#define SCHEDULES(SCHEDULE)                                                   \
  SCHEDULE(CONSTANT, "constant")                                              \
  SCHEDULE(SQRT_DECAY, "sqrt_decay")                                          \
  SCHEDULE(LINEAR_DECAY, "linear_decay")                                      \
  SCHEDULE(COSINE, "cosine")                                                  \
  SCHEDULE(WARMUP_CONSTANT, "warmup_constant")                                \
  SCHEDULE(WARMUP_COSINE, "warmup_cosine")

enum schedule_kind {
#define SCHEDULE(id, name) SCHEDULE_##id,
  SCHEDULES(SCHEDULE)
#undef SCHEDULE
  SCHEDULE_COUNT
};

bool schedule_find(const char *name, enum schedule_kind *);
/* All in steps; schedules without a warmup ignore it. */
double schedule_factor(enum schedule_kind, double t, double length, double warmup);

#endif
