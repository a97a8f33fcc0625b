/* How an operation is split: what ops_threads*.c share. */
#ifndef MERGESCAPE_ENGINE_OPS_THREADS_INT_H
#define MERGESCAPE_ENGINE_OPS_THREADS_INT_H

#include "engine/ops.h"
#include "engine/team.h"

struct threaded {
  struct ops ops; /* first: operations are given a pointer to it */
  const struct ops *base;
  struct team *team;
  unsigned threads;
};

static inline const struct threaded *threaded_of(const struct ops *ops)
{
  return (const struct threaded *)(const void *)ops;
}

/* Samples, rows or channels of an operation, and scratch memory of its own. */
struct part {
  size_t first, count;
  float *scratch;
};

struct split {
  void (*run)(const struct ops *base, const void *args, const struct part *);
  const void *args;
  size_t total, grain; /* parts are multiples of the grain, the last with what is left over */
  double work;         /* of all: multiply-adds, or SPLIT_PASS a float that is read or written */
  float *scratch;
  size_t scratch_part; /* floats of it a part */
};

/* As long as a pass over memory takes for a float, so many multiply-adds are done. */
enum { SPLIT_PASS = 8 };

/* How many parts there are, at most as many as threads, and the k-th of them. */
unsigned split_parts(const struct threaded *, size_t total, size_t grain);
struct part split_part(size_t total, size_t grain, unsigned parts, unsigned k);
/* Runs the parts side by side, or all as one where that is quicker. */
void split_run(const struct threaded *, const struct split *);

static inline size_t split_align(size_t floats)
{
  return (floats + 15) & ~(size_t)15;
}

/* Put their operations into the table. */
void ops_threads_images(struct ops *);
void ops_threads_tokens(struct ops *);
void ops_threads_convnext(struct ops *);

#endif
