#include "config.h"

#include "engine/team.h"

#include "base/arena.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct member {
  struct team *team;
  unsigned k;
  pthread_t thread;
};

struct team {
  unsigned threads, started; /* both with the caller; a thread may be refused */
  pid_t owner;               /* whose threads these are; 0: nobody's */
  void (*work)(void *context, unsigned k);
  void *context;
  bool closing;
  atomic_uint round; /* one more a job */
  atomic_uint left;  /* members still at work */
  pthread_mutex_t mutex;
  pthread_cond_t begun, ended;
  struct member *members;
};

/* From one operation to the next it is a few microseconds: a thread that sleeps in between
 * loses more time than it gives back.  Longer pauses are slept through. */
static const double spin_seconds = 5e-5;

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void breathe(void)
{
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

/* Waits a little while for the value to become another one; true: it has. */
static bool changes(atomic_uint *value, unsigned from)
{
  const double end = now() + spin_seconds;
  do {
    for (int i = 0; i < 64; i++) {
      if (atomic_load_explicit(value, memory_order_acquire) != from)
        return true;
      breathe();
    }
  } while (now() < end);
  return false;
}

static void *member_main(void *context)
{
  const struct member *m = context;
  struct team *t = m->team;
  for (unsigned seen = 0;; seen++) {
    if (!changes(&t->round, seen)) {
      pthread_mutex_lock(&t->mutex);
      while (atomic_load(&t->round) == seen)
        pthread_cond_wait(&t->begun, &t->mutex);
      pthread_mutex_unlock(&t->mutex);
    }
    if (t->closing)
      return NULL;
    t->work(t->context, m->k);
    if (atomic_fetch_sub(&t->left, 1) > 1)
      continue;
    pthread_mutex_lock(&t->mutex);
    pthread_cond_signal(&t->ended);
    pthread_mutex_unlock(&t->mutex);
  }
}

/* Signals are the caller's business.  A new thread takes over how its maker rounds, and that
 * it flushes denormals to zero. */
static void start(struct team *t)
{
  sigset_t all, before;
  sigfillset(&all);
  pthread_mutex_init(&t->mutex, NULL);
  pthread_cond_init(&t->begun, NULL);
  pthread_cond_init(&t->ended, NULL);
  atomic_store(&t->round, 0);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (t->started = 1; t->started < t->threads; t->started++) {
    struct member *m = &t->members[t->started];
    *m = (struct member){.team = t, .k = t->started};
    if (pthread_create(&m->thread, NULL, member_main, m))
      break;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  t->owner = getpid();
}

static void begin(struct team *t)
{
  atomic_store(&t->left, t->started - 1);
  pthread_mutex_lock(&t->mutex);
  atomic_fetch_add_explicit(&t->round, 1, memory_order_release);
  pthread_cond_broadcast(&t->begun);
  pthread_mutex_unlock(&t->mutex);
}

/* Spins as long as the count goes down within the time, then sleeps. */
static void wait_for_all(struct team *t)
{
  for (unsigned left; (left = atomic_load_explicit(&t->left, memory_order_acquire)) > 0;) {
    if (changes(&t->left, left))
      continue;
    pthread_mutex_lock(&t->mutex);
    while (atomic_load(&t->left) > 0)
      pthread_cond_wait(&t->ended, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
  }
}

struct team *team_new(unsigned threads)
{
  struct team *t = mem_zalloc(sizeof *t);
  t->threads = threads;
  t->members = mem_zalloc(threads * sizeof *t->members);
  return t;
}

void team_free(struct team *t)
{
  if (!t)
    return;
  if (t->owner == getpid()) {
    t->closing = true;
    begin(t);
    for (unsigned k = 1; k < t->started; k++)
      pthread_join(t->members[k].thread, NULL);
    pthread_cond_destroy(&t->begun);
    pthread_cond_destroy(&t->ended);
    pthread_mutex_destroy(&t->mutex);
  }
  free(t->members);
  free(t);
}

void team_run(struct team *t, void (*work)(void *context, unsigned k), void *context)
{
  if (t->owner != getpid())
    start(t);
  t->work = work;
  t->context = context;
  begin(t);
  work(context, 0);
  for (unsigned k = t->started; k < t->threads; k++)
    work(context, k);
  wait_for_all(t);
}
