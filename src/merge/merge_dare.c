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
  double sum[MERGE_PIECE], delta[MERGE_PIECE];
  struct merge_votes votes;
};

static enum merge_next next(struct merge_run *r)
{
  if (!r->state)
    r->state = arena_alloc(r->arena, sizeof(struct dare));
  return MERGE_APPLY;
}

/* Four numbers a block, of which the i-th decides on entry 4 * block + i.  A tensor has up to
 * 2^40 blocks of them. */
static void thin_out(const struct merge_run *r, const struct merge_piece *p, size_t model,
                     double *delta)
{
  const double limit = round(r->args->drop * 0x1p32), rescale = 1 / (1 - r->args->drop);
  const uint64_t name = hash_short(hash_of(p->tensor, strlen(p->tensor)));
  uint64_t block = UINT64_MAX;
  uint32_t draws[4] = {0};
  for (size_t i = 0; i < p->n; i++) {
    uint64_t index = p->first + i;
    if (index / 4 != block) {
      block = index / 4;
      struct rng at = rng_at(r->args->seed, RNG_DROP, (uint32_t)(model | block >> 32 << 12),
                             (uint32_t)(name >> 32), (uint32_t)name);
      at.counter[0] = (uint32_t)block;
      rng_philox(at.counter, at.key, draws);
    }
    delta[i] = draws[index % 4] < limit ? 0 : delta[i] * rescale;
  }
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  struct dare *s = r->state;
  const double *base = p->in[r->n_models], factor = merge_factor(r->args);
  memset(s->sum, 0, p->n * sizeof *s->sum);
  if (r->args->elect)
    merge_votes_clear(&s->votes, p->n);
  for (size_t k = 0; k < r->n_models; k++) {
    double weight = merge_weight(r->args, k);
    merge_delta(p->in[k], base, p->n, s->delta);
    if (r->args->drop > 0 && !p->buffer)
      thin_out(r, p, k, s->delta);
    for (size_t i = 0; i < p->n; i++) {
      s->delta[i] *= weight;
      s->sum[i] += s->delta[i];
    }
    if (r->args->elect)
      merge_votes_add(&s->votes, s->delta, p->n);
  }
  if (r->args->elect) {
    merge_votes_elect(&s->votes, r->args->aggregate, 0, factor, base, p->n, out);
    return;
  }
  merge_add(base, factor, s->sum, p->n, out);
}

const struct merge_method merge_dare = {
    .name = "dare", .min_models = 1, .extra = MERGE_BASE, .next = next, .apply = apply};
