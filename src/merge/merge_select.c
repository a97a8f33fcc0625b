#include "merge/merge_select.h"

#include "merge/merge_int.h"

#include <string.h>

enum { BINS = 1 << 20, BROAD = 11 /* bits of a bin, of which BINS hold all keys */ };

enum stage { BEGUN, SAMPLED, WINDOW, SPREAD, INSIDE, KNOWN };

struct merge_select {
  struct arena *arena;
  enum stage stage;
  uint64_t n, k;
  uint32_t key;
  uint64_t kept;
  uint32_t *sample; /* [MERGE_SAMPLES + MERGE_PIECE] */
  size_t n_sample;
  /* Bins from `low` on, each of 2^shift keys. */
  uint64_t *bins;
  uint32_t low;
  unsigned shift;
  uint64_t above; /* keys behind the bins */
};

struct merge_select *merge_select_new(struct arena *a)
{
  struct merge_select *s = arena_alloc(a, sizeof *s);
  s->arena = a;
  s->sample = arena_array(a, MERGE_SAMPLES + MERGE_PIECE, sizeof *s->sample);
  return s;
}

void merge_select_begin(struct merge_select *s, uint64_t n, uint64_t k)
{
  s->stage = k >= n ? KNOWN : BEGUN;
  s->n = n;
  s->k = k;
  s->key = 0;
  s->kept = n;
  s->n_sample = 0;
}

/* The k-th largest, byte by byte from the top; `kept` are as large or larger. */
static uint32_t select_sample(const uint32_t *keys, size_t n, uint64_t k, uint64_t *kept)
{
  uint32_t prefix = 0, mask = 0;
  uint64_t above = 0;
  for (unsigned shift = 24;; shift -= 8) {
    uint64_t count[256] = {0};
    for (size_t i = 0; i < n; i++)
      if ((keys[i] & mask) == prefix)
        count[keys[i] >> shift & 255]++;
    uint32_t byte = 255;
    while (above + count[byte] < k)
      above += count[byte--];
    prefix |= byte << shift;
    mask |= UINT32_C(255) << shift;
    if (!shift) {
      *kept = above + count[byte];
      return prefix;
    }
  }
}

static void aim(struct merge_select *s, enum stage stage, uint32_t low, unsigned shift)
{
  if (!s->bins)
    s->bins = arena_array(s->arena, BINS, sizeof *s->bins);
  memset(s->bins, 0, BINS * sizeof *s->bins);
  s->stage = stage;
  s->low = low;
  s->shift = shift;
  s->above = 0;
}

/* Where the sample has it, give or take half a window. */
static void aim_by_sample(struct merge_select *s)
{
  uint64_t ignored;
  uint64_t k = (uint64_t)((double)s->k / (double)s->n * (double)s->n_sample);
  k = k < 1 ? 1 : k > s->n_sample ? s->n_sample : k;
  uint32_t guess = select_sample(s->sample, s->n_sample, k, &ignored);
  aim(s, WINDOW, guess > BINS / 2 ? guess - BINS / 2 : 0, 0);
}

/* The bin that holds the k-th, of all keys behind it `above`; false: it is outside. */
static bool find_bin(const struct merge_select *s, uint32_t *bin, uint64_t *above)
{
  *above = s->above;
  if (*above >= s->k)
    return false;
  for (*bin = BINS; (*bin)--;) {
    if (*above + s->bins[*bin] >= s->k)
      return true;
    *above += s->bins[*bin];
  }
  return false;
}

bool merge_select_next(struct merge_select *s)
{
  uint32_t bin;
  uint64_t above;
  switch (s->stage) {
  case KNOWN:
    return true;
  case BEGUN:
    s->stage = SAMPLED;
    return false;
  case SAMPLED:
    if (s->n_sample == s->n) {
      s->key = select_sample(s->sample, s->n_sample, s->k, &s->kept);
      s->stage = KNOWN;
      return true;
    }
    if (s->n_sample)
      aim_by_sample(s);
    else
      aim(s, SPREAD, 0, BROAD);
    return false;
  default:
    break;
  }
  if (!find_bin(s, &bin, &above)) {
    aim(s, SPREAD, 0, BROAD);
    return false;
  }
  if (s->shift) {
    aim(s, INSIDE, s->low + (bin << s->shift), 0);
    return false;
  }
  s->key = s->low + bin;
  s->kept = above + s->bins[bin];
  s->stage = KNOWN;
  return true;
}

void merge_select_add(struct merge_select *s, const uint32_t *keys, size_t n)
{
  if (s->stage == SAMPLED) {
    size_t room = MERGE_SAMPLES + MERGE_PIECE - s->n_sample;
    n = n < room ? n : room;
    memcpy(s->sample + s->n_sample, keys, n * sizeof *keys);
    s->n_sample += n;
    return;
  }
  if (s->stage == KNOWN)
    return;
  uint64_t above = 0;
  for (size_t i = 0; i < n; i++) {
    /* Keys below `low` wrap around to far behind the bins. */
    uint32_t bin = (keys[i] - s->low) >> s->shift;
    above += keys[i] > s->low && bin >= BINS;
    if (bin < BINS)
      s->bins[bin]++;
  }
  s->above += above;
}

uint32_t merge_select_key(const struct merge_select *s)
{
  return s->key;
}

uint64_t merge_select_kept(const struct merge_select *s)
{
  return s->kept;
}
