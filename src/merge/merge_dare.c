/* base + the sum of scale_k * m_k * (model_k - base) / (1 - p) (Yu et al. 2024): each mask m_k
 * keeps an entry with probability 1 - p.
 *
 * Whether an entry is kept is a function of the seed, the tensor's name, the entry's index in
 * the tensor and the model's number.  p is rounded to a multiple of 2^-32.  Running statistics
 * are no weights, and all of them are kept.
 *
 * `elect`: the entries that are left (times scale_k) are joined as by TIES, without trimming
 * (mergekit's dare_ties), instead of added up. */
#include "merge/merge_int.h"

#include "base/hash.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

struct dare {
  double sum[MERGE_VOTES], delta[MERGE_VOTES];
  uint32_t drawn[MERGE_VOTES + 8 * MERGE_LANES]; /* from the first entry's block on */
  struct merge_votes votes;
};

static enum merge_next next(struct merge_run *r)
{
  if (!r->state)
    r->state = arena_alloc(r->arena, sizeof(struct dare));
  return MERGE_APPLY;
}

/* Which entries of a tensor from `first` on are dropped: four numbers a block, of which the i-th
 * decides on entry 4 * block + i.  A tensor has up to 2^40 blocks. */
static void draw(const struct merge_run *r, uint64_t name, size_t model, uint64_t first, size_t n,
                 uint32_t *drawn)
{
  const uint64_t block = first / 4, end = (first + n + 3) / 4;
  for (uint64_t at = block, stop; at < end; at = stop) {
    stop = at | UINT32_MAX;
    stop = end - 1 > stop ? stop + 1 : end;
    const struct rng start = rng_at(r->args->seed, RNG_DROP, (uint32_t)(model | at >> 32 << 12),
                                    (uint32_t)(name >> 32), (uint32_t)name);
    struct merge_draws d = {.counter = {(uint32_t)at}};
    memcpy(d.key, start.key, sizeof d.key);
    memcpy(d.counter + 1, start.counter + 1, 3 * sizeof *d.counter);
    r->loops->draw(&d, (size_t)(stop - at), drawn + 4 * (at - block));
  }
}

/* The model's task vector, entries at .. at + n - 1 of the piece. */
static void thin_out(const struct merge_run *r, const struct merge_piece *p, uint64_t name,
                     size_t model, size_t at, size_t n)
{
  struct dare *s = r->state;
  const double limit = round(r->args->drop * 0x1p32), rescale = 1 / (1 - r->args->drop);
  const uint64_t first = p->first + at;
  draw(r, name, model, first, n, s->drawn);
  if (limit > UINT32_MAX)
    memset(s->delta, 0, sizeof s->delta);
  else
    r->loops->drop(s->drawn + first % 4, (uint32_t)limit, rescale, n, s->delta);
}

static void add_model(const struct merge_run *r, const struct merge_piece *p, uint64_t name,
                      size_t k, size_t at, size_t n)
{
  struct dare *s = r->state;
  const double weight = merge_weight(r->args, k);
  r->loops->delta(p->in[k] + at, p->in[r->n_models] + at, n, s->delta);
  if (r->args->drop > 0 && !p->buffer)
    thin_out(r, p, name, k, at, n);
  if (r->args->elect)
    r->loops->vote(&s->votes, weight, s->delta, n);
  else
    r->loops->accumulate(weight, s->delta, n, s->sum);
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  struct dare *s = r->state;
  const double *base = p->in[r->n_models], factor = merge_factor(r->args);
  const uint64_t name = hash_short(hash_of(p->tensor, strlen(p->tensor)));
  for (size_t at = 0, n; at < p->n; at += n) {
    n = p->n - at < MERGE_VOTES ? p->n - at : MERGE_VOTES;
    memset(s->sum, 0, sizeof s->sum);
    merge_votes_clear(&s->votes, n);
    for (size_t k = 0; k < r->n_models; k++)
      add_model(r, p, name, k, at, n);
    if (r->args->elect)
      r->loops->elect(&s->votes, r->args->aggregate == MERGE_MEAN, 0, factor, base + at, n,
                      out + at);
    else
      r->loops->add(base + at, factor, s->sum, n, out + at);
  }
}

const struct merge_method merge_dare = {
    .name = "dare",
    .meaning = "task arithmetic with entries dropped at random, the others rescaled",
    .source = "Yu et al. 2024",
    .min_models = 1,
    .extra = MERGE_BASE,
    .next = next,
    .apply = apply,
};
