#include "engine/data.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void data_order(uint64_t seed, uint32_t stream, uint32_t epoch, uint32_t *order, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    order[i] = i;
  struct rng r = rng_at(seed, RNG_ORDER, stream, epoch, 0);
  rng_shuffle(&r, order, n);
}

enum { LANES = 16 };

/* (pixel / 255 - mean) / std as pixel * scale + bias, repeated until the pattern
 * of channels fits a whole number of lanes. */
struct scaling {
  unsigned period; /* LANES * channels */
  float scale[LANES * DATA_MAX_CHANNELS], bias[LANES * DATA_MAX_CHANNELS];
};

static void find_scaling(const struct data_set *set, struct scaling *s)
{
  s->period = LANES * set->channels;
  for (unsigned i = 0; i < s->period; i++) {
    double mean = (double)set->mean[i % set->channels], std = (double)set->std[i % set->channels];
    s->scale[i] = (float)(1 / (255 * std));
    s->bias[i] = (float)(-mean / std);
  }
}

/* The inner loop has a constant length, so that compilers vectorise it. */
static void normalise(const struct scaling *s, const uint8_t *restrict p, size_t n,
                      float *restrict x)
{
  size_t i = 0;
  unsigned at = 0;
  for (; i + LANES <= n; i += LANES) {
    const float *restrict scale = s->scale + at, *restrict bias = s->bias + at;
    for (unsigned k = 0; k < LANES; k++)
      x[i + k] = (float)p[i + k] * scale[k] + bias[k];
    at = at + LANES == s->period ? 0 : at + LANES;
  }
  for (; i < n; i++, at++)
    x[i] = (float)p[i] * s->scale[at] + s->bias[at];
}

struct shift { /* where the crop begins in the image, and whether it is mirrored */
  int y, x;
  bool flip;
};

static struct shift draw_shift(const struct data_augment *a, struct rng r)
{
  struct shift s = {0};
  uint32_t coin = rng_u32(&r);
  s.flip = a->flip && coin >> 31;
  if (a->padding) {
    s.y = (int)rng_below(&r, 2 * a->padding + 1) - (int)a->padding;
    s.x = (int)rng_below(&r, 2 * a->padding + 1) - (int)a->padding;
  }
  return s;
}

/* n pixels in reverse order; inlined with a constant number of channels. */
static inline __attribute__((always_inline)) void
mirror(uint8_t *restrict to, const uint8_t *restrict from, unsigned n, unsigned channels)
{
  /* Eight bytes at a time; the last eight may be some of those before once more. */
  for (unsigned i = 0; channels == 1 && n >= 8 && i < n; i += 8) {
    const unsigned at = i + 8 <= n ? i : n - 8;
    uint64_t eight;
    memcpy(&eight, from + n - 8 - at, sizeof eight);
    eight = __builtin_bswap64(eight);
    memcpy(to + at, &eight, sizeof eight);
  }
  for (unsigned i = channels == 1 && n >= 8 ? n : 0; i < n; i++)
    memcpy(to + (size_t)i * channels, from + (size_t)(n - 1 - i) * channels, channels);
}

static void mirror_row(uint8_t *to, const uint8_t *from, unsigned n, unsigned channels)
{
  switch (channels) {
  case 1:
    mirror(to, from, n, 1);
    break;
  case 2:
    mirror(to, from, n, 2);
    break;
  case 3:
    mirror(to, from, n, 3);
    break;
  default:
    mirror(to, from, n, channels);
  }
}

/* A few bytes.  volatile: compilers would call memset, which takes longer. */
static inline void blacken(uint8_t *to, size_t n)
{
  for (size_t i = 0; i < n; i++)
    ((volatile uint8_t *)to)[i] = 0;
}

/* The rows [first, end) of the shifted image, not mirrored: in memory the whole image moves, and
 * what came from the row before or behind is made black. */
static void move_rows(const struct data_set *set, const uint8_t *image, struct shift s, int first,
                      int end, uint8_t *out)
{
  const ptrdiff_t c = (ptrdiff_t)set->channels, row = (ptrdiff_t)set->width * c, by = s.x * c;
  ptrdiff_t from = (first + s.y) * row + by, n = (end - first) * row;
  const ptrdiff_t all = (ptrdiff_t)set->height * row, before = from < 0 ? -from : 0;
  n = from + n > all ? all - from : n;
  memcpy(out + first * row + before, image + (from + before), (size_t)(n - before));
  const ptrdiff_t black = by < 0 ? -by : by;
  uint8_t *to = out + first * row + (by < 0 ? 0 : row - black);
  for (int y = first; y < end; y++, to += row)
    blacken(to, (size_t)black);
}

/* The shifted image, black where it came from outside. */
static void shift_image(const struct data_set *set, const uint8_t *image, struct shift s,
                        uint8_t *out)
{
  const int w = (int)set->width, h = (int)set->height;
  const unsigned c = set->channels;
  const size_t row = (size_t)set->width * c;
  /* Rows [first, end) and columns [left, right) of the output lie in the image, before
   * mirroring. */
  const int first = s.y < 0 ? -s.y : 0, end = s.y > 0 ? h - s.y : h;
  const int left = s.x < 0 ? -s.x : 0, right = s.x > 0 ? w - s.x : w;
  if (first >= end || left >= right) {
    memset(out, 0, (size_t)h * row);
    return;
  }
  memset(out, 0, (size_t)first * row);
  memset(out + (size_t)end * row, 0, (size_t)(h - end) * row);
  if (!s.flip) {
    move_rows(set, image, s, first, end, out);
    return;
  }
  const size_t n = (size_t)(right - left) * c, before = (size_t)(w - right) * c;
  for (int y = first; y < end; y++) {
    uint8_t *to = out + (size_t)y * row;
    blacken(to, before);
    mirror_row(to + before, image + (size_t)(y + s.y) * row + (size_t)(left + s.x) * c,
               (unsigned)(right - left), c);
    blacken(to + before + n, row - before - n);
  }
}

static void text_batch(const struct data_set *set, const uint16_t *tokens, const uint32_t *indices,
                       unsigned count, float *x, int32_t *labels)
{
  for (size_t i = 0; i < count; i++) {
    const uint16_t *sample = tokens + indices[i] * ((size_t)set->block + 1);
    for (unsigned k = 0; k < set->block; k++) {
      *x++ = sample[k];
      *labels++ = sample[k + 1];
    }
  }
}

static void values_batch(const struct data_samples *s, size_t each, const uint32_t *indices,
                         unsigned count, float *x, int32_t *labels)
{
  for (unsigned i = 0; i < count; i++) {
    memcpy(x + i * each, s->values + indices[i] * each, each * sizeof *x);
    labels[i] = s->labels[indices[i]];
  }
}

void data_batch(const struct data_set *set, enum data_split split, const uint32_t *indices,
                unsigned count, const struct data_augment *augment, uint64_t seed, uint32_t stream,
                uint32_t epoch, float *x, int32_t *labels)
{
  const struct data_samples *samples = &set->split[split];
  if (set->block) {
    text_batch(set, samples->tokens, indices, count, x, labels);
    return;
  }
  size_t bytes = (size_t)set->height * set->width * set->channels;
  bool shifted = augment && (augment->flip || augment->padding);
  assert(!samples->values || !shifted);
  if (samples->values) {
    values_batch(samples, bytes, indices, count, x, labels);
    return;
  }
  uint8_t *scratch = shifted ? mem_alloc(bytes) : NULL;
  struct scaling scaling;
  find_scaling(set, &scaling);
  for (unsigned i = 0; i < count; i++, x += bytes) {
    const uint8_t *image = samples->pixels + indices[i] * bytes;
    labels[i] = samples->labels[indices[i]];
    if (shifted) {
      struct rng r = rng_at(seed, RNG_AUGMENT, stream, epoch, indices[i]);
      shift_image(set, image, draw_shift(augment, r), scratch);
      image = scratch;
    }
    normalise(&scaling, image, bytes, x);
  }
  free(scratch);
}
