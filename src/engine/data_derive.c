/* Other tasks and shifted tests, made of samples in memory. */
#include "engine/data_int.h"

#include "base/rng.h"

#include <math.h>
#include <string.h>

static const double noise = 0.15, contrast = 0.4;
static const unsigned moved_part = 7;

static uint8_t to_pixel(double v)
{
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : lround(v));
}

/* A quarter clockwise: the left edge becomes the upper one. */
static void turn(const struct data_set *set, const uint8_t *from, uint8_t *to)
{
  const size_t h = set->height, c = set->channels;
  for (size_t y = 0; y < h; y++)
    for (size_t x = 0; x < h; x++)
      memcpy(to + (y * h + x) * c, from + ((h - 1 - x) * h + y) * c, c);
}

void data_transform(enum data_transform what, const struct data_set *set, struct data_samples *s)
{
  const size_t bytes = (size_t)set->height * set->width * set->channels;
  if (what == DATA_AS_IS)
    return;
  struct arena *scratch = arena_new();
  uint8_t *turned = arena_alloc(scratch, bytes);
  for (size_t i = 0; i < s->n; i++) {
    uint8_t *p = s->pixels + i * bytes;
    if (what == DATA_TURNED) {
      turn(set, p, turned);
      memcpy(p, turned, bytes);
      continue;
    }
    for (size_t k = 0; k < bytes; k++)
      p[k] = (uint8_t)(255 - p[k]);
  }
  arena_free(scratch);
}

static void add_noise(uint32_t sample, size_t bytes, const uint8_t *from, uint8_t *to)
{
  struct rng r = rng_at(0, RNG_SHIFT, 0, 0, sample);
  for (size_t k = 0; k < bytes; k++)
    to[k] = to_pixel(from[k] + 255 * noise * rng_normal(&r));
}

/* Each channel around its own mean. */
static void lower_contrast(const struct data_set *set, const uint8_t *from, uint8_t *to)
{
  const size_t pixels = (size_t)set->height * set->width, c = set->channels;
  for (size_t k = 0; k < c; k++) {
    double mean = 0;
    for (size_t i = 0; i < pixels; i++)
      mean += from[i * c + k];
    mean /= (double)pixels;
    for (size_t i = 0; i < pixels; i++)
      to[i * c + k] = to_pixel(mean + contrast * (from[i * c + k] - mean));
  }
}

static void move(const struct data_set *set, const uint8_t *from, uint8_t *to)
{
  const size_t h = set->height, w = set->width, c = set->channels;
  const size_t down = (h + moved_part - 1) / moved_part, right = (w + moved_part - 1) / moved_part;
  memset(to, 0, h * w * c);
  for (size_t y = down; y < h; y++)
    memcpy(to + (y * w + right) * c, from + (y - down) * w * c, (w - right) * c);
}

struct data_samples data_shifted(struct arena *a, enum data_shift shift,
                                 const struct data_set *set)
{
  const struct data_samples *test = &set->split[DATA_TEST];
  const size_t bytes = (size_t)set->height * set->width * set->channels;
  struct data_samples out = {.n = test->n, .labels = test->labels};
  out.pixels = arena_array(a, test->n, bytes);
  for (uint32_t i = 0; i < test->n; i++) {
    const uint8_t *from = test->pixels + i * bytes;
    uint8_t *to = out.pixels + i * bytes;
    if (shift == DATA_NOISE)
      add_noise(i, bytes, from, to);
    else if (shift == DATA_CONTRAST)
      lower_contrast(set, from, to);
    else
      move(set, from, to);
  }
  return out;
}
