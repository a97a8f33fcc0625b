#include "merge/merge_select.h"

#include "merge/merge_int.h"

#include <string.h>

enum {
  BINS = 1 << 20,
  BROAD = 11 /* bits of a broad bin, of which BINS hold all keys */
};

/* The share of the sample that the window reaches to each side. */
static const double margin = 0.01;

enum stage { BEGUN, SAMPLED, BROADLY, CLOSELY, KNOWN };

struct merge_select {
  struct arena *arena;
  enum stage stage;
  uint64_t n, k;
  int32_t key;
  uint64_t kept;
  int32_t *sample; /* [SAMPLE] */
  size_t n_sample;
  /* Counts of the broad bins, or of `width` keys from `low` on. */
  uint64_t *bins;
  int32_t low, width;
  uint64_t above; /* keys behind the bins */
};

enum { SAMPLE = MERGE_SAMPLES + MERGE_PIECE };

struct merge_select *merge_select_new(struct arena *a)
{
  struct merge_select *s = arena_alloc(a, sizeof *s);
  s->arena = a;
  s->sample = arena_array(a, SAMPLE, sizeof *s->sample);
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
static int32_t select_sample(const int32_t *keys, size_t n, uint64_t k, uint64_t *kept)
{
  uint32_t prefix = 0, mask = 0;
  uint64_t above = 0;
  for (unsigned shift = 24;; shift -= 8) {
    uint64_t count[256] = {0};
    for (size_t i = 0; i < n; i++)
      if (((uint32_t)keys[i] & mask) == prefix)
        count[(uint32_t)keys[i] >> shift & 255]++;
    uint32_t byte = 255;
    while (above + count[byte] < k)
      above += count[byte--];
    prefix |= byte << shift;
    mask |= UINT32_C(255) << shift;
    if (!shift) {
      *kept = above + count[byte];
      return (int32_t)prefix;
    }
  }
}

static void aim(struct merge_select *s, enum stage stage, int32_t low, int32_t width)
{
  if (!s->bins)
    s->bins = arena_array(s->arena, BINS, sizeof *s->bins);
  s->stage = stage;
  s->width = width < BINS ? width : BINS;
  s->low = low < 0 ? 0 : low < INT32_MAX - s->width ? low : INT32_MAX - s->width;
  s->above = 0;
  memset(s->bins, 0, (size_t)s->width * sizeof *s->bins);
}

static int32_t sample_at(const struct merge_select *s, double rank)
{
  uint64_t ignored, k = rank < 1 ? 1 : (uint64_t)rank;
  return select_sample(s->sample, s->n_sample, k < s->n_sample ? k : s->n_sample, &ignored);
}

/* From one side of where the sample has it to the other; where that is too wide, about it. */
static void aim_by_sample(struct merge_select *s)
{
  double m = (double)s->n_sample, rank = (double)s->k / (double)s->n * m;
  int32_t low = sample_at(s, rank + margin * m), high = sample_at(s, rank - margin * m);
  if (high - low < BINS)
    aim(s, CLOSELY, low, high - low + 1);
  else
    aim(s, CLOSELY, sample_at(s, rank) - BINS / 2, BINS);
}

/* The bin that holds the k-th, of all keys behind it `above`; false: it is outside. */
static bool find_bin(const struct merge_select *s, int32_t *bin, uint64_t *above)
{
  *above = s->above;
  if (*above >= s->k)
    return false;
  for (*bin = s->width; (*bin)-- > 0;) {
    if (*above + s->bins[*bin] >= s->k)
      return true;
    *above += s->bins[*bin];
  }
  return false;
}

static void begin_sampled(struct merge_select *s)
{
  if (s->n_sample == s->n) {
    s->key = select_sample(s->sample, s->n_sample, s->k, &s->kept);
    s->stage = KNOWN;
  } else if (s->n_sample) {
    aim_by_sample(s);
  } else {
    aim(s, BROADLY, 0, BINS);
  }
}

bool merge_select_next(struct merge_select *s)
{
  int32_t bin;
  uint64_t above;
  if (s->stage == BEGUN) {
    s->stage = SAMPLED;
  } else if (s->stage == SAMPLED) {
    begin_sampled(s);
  } else if (s->stage != KNOWN && !find_bin(s, &bin, &above)) {
    aim(s, BROADLY, 0, BINS);
  } else if (s->stage == BROADLY) {
    aim(s, CLOSELY, bin << BROAD, 1 << BROAD);
  } else if (s->stage == CLOSELY) {
    s->key = s->low + bin;
    s->kept = above + s->bins[bin];
    s->stage = KNOWN;
  }
  return s->stage == KNOWN;
}

void merge_select_add(struct merge_select *s, const struct merge_loops *loops, const int32_t *keys,
                      size_t n)
{
  if (s->stage == SAMPLED) {
    n = n < SAMPLE - s->n_sample ? n : SAMPLE - s->n_sample;
    memcpy(s->sample + s->n_sample, keys, n * sizeof *keys);
    s->n_sample += n;
  } else if (s->stage == CLOSELY) {
    s->above += loops->count(keys, n, s->low, s->width, s->bins);
  } else if (s->stage == BROADLY) {
    for (size_t i = 0; i < n; i++)
      s->bins[keys[i] >> BROAD]++;
  }
}

int32_t merge_select_key(const struct merge_select *s)
{
  return s->key;
}

uint64_t merge_select_kept(const struct merge_select *s)
{
  return s->kept;
}
