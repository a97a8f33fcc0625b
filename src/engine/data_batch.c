#include "engine/data.h"

#include "base/rng.h"

#include <stddef.h>

void data_order(uint64_t seed, uint32_t stream, uint32_t epoch, uint32_t *order, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    order[i] = i;
  struct rng r = rng_at(seed, RNG_ORDER, stream, epoch, 0);
  rng_shuffle(&r, order, n);
}

/* A pixel's normalised value, by channel: a load instead of arithmetic. */
struct table {
  float value[DATA_MAX_CHANNELS][256];
};

static void fill_table(const struct data_set *set, struct table *t)
{
  for (unsigned c = 0; c < set->channels; c++) {
    double scale = 1 / (double)set->std[c];
    for (int v = 0; v < 256; v++)
      t->value[c][v] = (float)((v / 255.0 - (double)set->mean[c]) * scale);
  }
}

/* n pixels of `channels` bytes from p on, `step` (1 or -1) pixels apart. */
static float *put_pixels(const struct table *t, unsigned channels, const uint8_t *p, unsigned n,
                         int step, float *x)
{
  ptrdiff_t stride = step * (ptrdiff_t)channels;
  if (channels == 1)
    for (unsigned i = 0; i < n; i++)
      *x++ = t->value[0][p[(ptrdiff_t)i * stride]];
  else if (channels == 2)
    for (unsigned i = 0; i < n; i++, x += 2) {
      x[0] = t->value[0][p[(ptrdiff_t)i * stride]];
      x[1] = t->value[1][p[(ptrdiff_t)i * stride + 1]];
    }
  else
    for (unsigned i = 0; i < n; i++)
      for (unsigned c = 0; c < channels; c++)
        *x++ = t->value[c][p[(ptrdiff_t)i * stride + c]];
  return x;
}

static float *put_black(const struct table *t, unsigned channels, unsigned n, float *x)
{
  for (unsigned i = 0; i < n; i++)
    for (unsigned c = 0; c < channels; c++)
      *x++ = t->value[c][0];
  return x;
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

static void put_sample(const struct data_set *set, const struct table *t, const uint8_t *image,
                       struct shift s, float *x)
{
  int w = (int)set->width, h = (int)set->height;
  unsigned c = set->channels;
  /* Columns [left, right) of the output lie in the image, before mirroring. */
  int left = s.x < 0 ? -s.x : 0, right = s.x > 0 ? w - s.x : w;
  if (left > w)
    left = w;
  if (right < left)
    right = left;
  unsigned before = (unsigned)(s.flip ? w - right : left), n = (unsigned)(right - left);
  for (int y = 0; y < h; y++) {
    int from = y + s.y;
    if (from < 0 || from >= h || !n) {
      x = put_black(t, c, set->width, x);
      continue;
    }
    const uint8_t *row = image + (size_t)from * set->width * c;
    int first = s.flip ? right - 1 + s.x : left + s.x;
    x = put_black(t, c, before, x);
    x = put_pixels(t, c, row + (size_t)first * c, n, s.flip ? -1 : 1, x);
    x = put_black(t, c, set->width - before - n, x);
  }
}

void data_batch(const struct data_set *set, enum data_split split, const uint32_t *indices,
                unsigned count, const struct data_augment *augment, uint64_t seed, uint32_t stream,
                uint32_t epoch, float *x, int32_t *labels)
{
  const struct data_samples *s = &set->split[split];
  size_t bytes = (size_t)set->height * set->width * set->channels;
  struct table table;
  fill_table(set, &table);
  for (unsigned i = 0; i < count; i++, x += bytes) {
    const uint8_t *image = s->pixels + indices[i] * bytes;
    labels[i] = s->labels[indices[i]];
    if (augment && (augment->flip || augment->padding)) {
      struct rng r = rng_at(seed, RNG_AUGMENT, stream, epoch, indices[i]);
      put_sample(set, &table, image, draw_shift(augment, r), x);
    } else
      put_pixels(&table, set->channels, image, set->height * set->width, 1, x);
  }
}
