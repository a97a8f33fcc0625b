/* TIES (Yadav et al. 2023): trim, elect, merge disjointly.  With task vectors
 * d_k = model_k - base:
 *
 * Trim.  Of each d_k the entries are kept whose magnitude is that of the K-th largest or more,
 * with K = keep * (entries), rounded to the nearest whole number, 1 at least.  (The article
 * keeps the top k %, its code int(keep * entries) + 1.)  Ties: all entries of that magnitude are
 * kept, so that it may be more than K; none hangs on the order of entries.  Magnitudes are
 * compared as floats.  The ranking is over the whole model or each tensor by itself.
 *
 * Elect.  The sign of an entry is that of the sum of the kept ones.  Where that sum is zero,
 * but not all are: neither, and the entry stays that of the base, as the article's formulas
 * have it; or, as its code has it, the sign that most entries of the model (or tensor) were
 * given.
 *
 * Merge.  base + scale * the mean (or sum) of the kept entries of the elected sign.  Zeros have
 * no sign: they neither vote nor count in the mean.
 *
 * Running statistics are no weights: they are not ranked, and all their entries are kept. */
#include "merge/merge_int.h"

#include "merge/merge_select.h"

#include <math.h>
#include <string.h>

enum stage { RANKING, COUNTING, READY };

struct ties {
  struct merge_select **trim; /* one a model */
  uint64_t n_counted, n_kept; /* over all models and tensors */
  enum stage stage;
  double majority; /* entries elected above zero less those below */
  int undecided;   /* -1, 0, 1 */
  int32_t keys[MERGE_VOTES];
  const double **model; /* of each, where its stretch begins */
  int32_t *least;       /* of each, the key of what is kept */
  struct merge_votes votes;
};

static struct ties *state_of(struct merge_run *r)
{
  if (!r->state) {
    struct ties *t = r->state = arena_alloc(r->arena, sizeof *t);
    t->trim = arena_array(r->arena, r->n_models, sizeof *t->trim);
    t->model = arena_array(r->arena, r->n_models, sizeof *t->model);
    t->least = arena_array(r->arena, r->n_models, sizeof *t->least);
    for (size_t k = 0; k < r->n_models; k++)
      t->trim[k] = merge_select_new(r->arena);
  }
  return r->state;
}

static void begin(struct merge_run *r, struct ties *t)
{
  double wanted = fmax(1, floor(r->args->keep * (double)r->n_counted + 0.5));
  for (size_t k = 0; k < r->n_models; k++)
    merge_select_begin(t->trim[k], r->n_counted, (uint64_t)wanted);
  t->stage = RANKING;
  t->undecided = 0;
  t->majority = 0;
}

static enum merge_next next(struct merge_run *r)
{
  struct ties *t = state_of(r);
  bool sampled = r->passes > 0, known = true;
  if (!r->passes)
    begin(r, t);
  if (t->stage == RANKING) {
    for (size_t k = 0; k < r->n_models; k++)
      known &= merge_select_next(t->trim[k]);
    if (!known)
      return sampled ? MERGE_SCAN : MERGE_SAMPLE;
    for (size_t k = 0; k < r->n_models; k++)
      t->n_kept += merge_select_kept(t->trim[k]);
    t->n_counted += r->n_counted * r->n_models;
    t->stage = r->args->undecided == MERGE_MAJORITY ? COUNTING : READY;
    return t->stage == COUNTING ? MERGE_SCAN : MERGE_APPLY;
  }
  t->undecided = t->majority > 0 ? 1 : t->majority < 0 ? -1 : 0;
  t->stage = READY;
  return MERGE_APPLY;
}

/* Of the entries at .. at + n - 1 of the piece. */
static void vote(const struct merge_run *r, struct ties *t, const struct merge_piece *p, size_t at,
                 size_t n)
{
  for (size_t k = 0; k < r->n_models; k++) {
    t->least[k] = p->buffer ? 0 : merge_select_key(t->trim[k]);
    t->model[k] = p->in[k] + at;
  }
  r->loops->ballot(t->model, p->in[r->n_models] + at, t->least, r->n_models, n, &t->votes);
}

static size_t stretch(const struct merge_piece *p, size_t at)
{
  return p->n - at < MERGE_VOTES ? p->n - at : MERGE_VOTES;
}

static void count_majority(const struct merge_run *r, struct ties *t, const struct merge_piece *p)
{
  const double *above = t->votes.above, *below = t->votes.below;
  for (size_t at = 0, n; at < p->n; at += n) {
    n = stretch(p, at);
    vote(r, t, p, at, n);
    for (size_t i = 0; i < n; i++)
      t->majority += (above[i] > below[i]) - (above[i] < below[i]);
  }
}

static void scan(struct merge_run *r, const struct merge_piece *p)
{
  struct ties *t = r->state;
  if (t->stage == COUNTING) {
    count_majority(r, t, p);
    return;
  }
  for (size_t k = 0; k < r->n_models; k++)
    for (size_t at = 0, n; at < p->n; at += n) {
      n = stretch(p, at);
      r->loops->keys(p->in[k] + at, p->in[r->n_models] + at, n, t->keys);
      merge_select_add(t->trim[k], r->loops, t->keys, n);
    }
}

static void apply(const struct merge_run *r, const struct merge_piece *p, double *out)
{
  struct ties *t = r->state;
  for (size_t at = 0, n; at < p->n; at += n) {
    n = stretch(p, at);
    vote(r, t, p, at, n);
    r->loops->elect(&t->votes, r->args->aggregate == MERGE_MEAN, t->undecided, r->args->scale,
                    p->in[r->n_models] + at, n, out + at);
  }
}

static const char *remark(const struct merge_run *r, struct arena *a)
{
  const struct ties *t = r->state;
  if (!t || !t->n_counted)
    return NULL;
  return arena_printf(a, "%.3g %% of the task vectors' entries were kept",
                      100 * (double)t->n_kept / (double)t->n_counted);
}

const struct merge_method merge_ties = {
    .name = "ties",
    .meaning = "base + scale * task vectors, trimmed to the largest entries, of the elected sign",
    .source = "Yadav et al. 2023",
    .min_models = 1,
    .extra = MERGE_BASE,
    .takes_scope = true,
    .scans = 1,
    .next = next,
    .scan = scan,
    .apply = apply,
    .remark = remark,
};
