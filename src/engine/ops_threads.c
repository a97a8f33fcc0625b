/* The table, how work is split, and the operations over one flat vector. */
#include "engine/ops_threads.h"

#include "base/arena.h"
#include "engine/ops_threads_int.h"

#include <stdlib.h>

/* Less than this takes about as long as waking the threads. */
static const double least_work = 1e6;

unsigned split_parts(const struct threaded *t, size_t total, size_t grain)
{
  const size_t grains = total / grain;
  return grains < 2 ? 1 : grains < t->threads ? (unsigned)grains : t->threads;
}

struct part split_part(size_t total, size_t grain, unsigned parts, unsigned k)
{
  const size_t grains = total / grain, first = grains * k / parts * grain;
  const size_t end = k + 1 == parts ? total : grains * (k + 1) / parts * grain;
  return (struct part){.first = first, .count = end - first};
}

struct job {
  const struct ops *base;
  const struct split *split;
  unsigned parts;
};

static void run_part(void *context, unsigned k)
{
  const struct job *j = context;
  const struct split *s = j->split;
  if (k >= j->parts)
    return;
  struct part part = split_part(s->total, s->grain, j->parts, k);
  part.scratch = s->scratch ? s->scratch + k * s->scratch_part : NULL;
  s->run(j->base, s->args, &part);
}

void split_run(const struct threaded *t, const struct split *s)
{
  struct job job = {t->base, s, split_parts(t, s->total, s->grain)};
  if (job.parts > 1 && s->work >= least_work)
    team_run(t->team, run_part, &job);
  else
    s->run(t->base, s->args, &(struct part){0, s->total, s->scratch});
}

/* ---- optimizers ---- */

/* A whole number of vectors of any instruction set, and of cache lines. */
enum { OPTIM_GRAIN = 16 };

struct update {
  const struct ops_adamw *adamw; /* NULL: SGD */
  float lr, momentum, weight_decay;
  float *w, *first, *second;
  const float *grad;
};

static void update_part(const struct ops *base, const void *args, const struct part *p)
{
  const struct update *u = args;
  const size_t at = p->first;
  if (u->adamw)
    base->adamw(base, u->adamw, p->count, u->w + at, u->first + at, u->second + at, u->grad + at);
  else
    base->sgd(base, p->count, u->lr, u->momentum, u->weight_decay, u->w + at, u->first + at,
              u->grad + at);
}

static void update(const struct ops *ops, size_t n, const struct update *u)
{
  split_run(threaded_of(ops), &(struct split){.run = update_part,
                                              .args = u,
                                              .total = n,
                                              .grain = OPTIM_GRAIN,
                                              .work = (double)n * SPLIT_PASS * 5});
}

static void sgd(const struct ops *ops, size_t n, float lr, float momentum, float weight_decay,
                float *w, float *v, const float *grad)
{
  update(ops, n,
         &(struct update){.lr = lr,
                          .momentum = momentum,
                          .weight_decay = weight_decay,
                          .w = w,
                          .first = v,
                          .grad = grad});
}

static void adamw(const struct ops *ops, const struct ops_adamw *a, size_t n, float *w, float *m,
                  float *v, const float *grad)
{
  update(ops, n, &(struct update){.adamw = a, .w = w, .first = m, .second = v, .grad = grad});
}

/* ---- the table ---- */

const struct ops *ops_threads_new(const struct ops *base, unsigned threads)
{
  struct threaded *t = mem_zalloc(sizeof *t);
  t->ops = *base;
  t->base = base;
  t->threads = threads ? threads : 1;
  t->team = team_new(t->threads);
  t->ops.sgd = sgd;
  t->ops.adamw = adamw;
  ops_threads_images(&t->ops);
  ops_threads_tokens(&t->ops);
  ops_threads_convnext(&t->ops);
  return &t->ops;
}

void ops_threads_free(const struct ops *ops)
{
  if (!ops)
    return;
  team_free(threaded_of(ops)->team);
  /* What ops_threads_new made; only its users see it as const. */
  union {
    const struct ops *seen;
    void *made;
  } u = {ops};
  free(u.made);
}
