#include "base/rng.h"

#include <math.h>

static void mulhilo(uint32_t a, uint32_t b, uint32_t *hi, uint32_t *lo)
{
  uint64_t p = (uint64_t)a * b;
  *hi = (uint32_t)(p >> 32);
  *lo = (uint32_t)p;
}

void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint32_t hi0, lo0, hi1, lo1;
    mulhilo(0xD2511F53u, c0, &hi0, &lo0);
    mulhilo(0xCD9E8D57u, c2, &hi1, &lo1);
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* The counter holds (draw, index, epoch, purpose and stream); the key holds
 * the seed.  2^32 blocks of one stream, 2^20 streams of one purpose. */
struct rng rng_at(uint64_t seed, enum rng_purpose purpose, uint32_t stream, uint32_t epoch,
                  uint32_t index)
{
  return (struct rng){
      .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
      .counter = {0, index, epoch, (uint32_t)purpose << 20 ^ stream},
  };
}

uint32_t rng_u32(struct rng *r)
{
  if (!r->left) {
    rng_philox(r->counter, r->key, r->block);
    r->counter[0]++;
    r->left = 4;
  }
  return r->block[4 - r->left--];
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
  /* Lemire's multiply-and-reject. */
  uint64_t m = (uint64_t)rng_u32(r) * n;
  if ((uint32_t)m < n) {
    uint32_t floor = -n % n;
    while ((uint32_t)m < floor)
      m = (uint64_t)rng_u32(r) * n;
  }
  return (uint32_t)(m >> 32);
}

double rng_uniform(struct rng *r)
{
  uint64_t hi = rng_u32(r), lo = rng_u32(r);
  return (double)((hi << 32 | lo) >> 11) * 0x1p-53;
}

double rng_normal(struct rng *r)
{
  double u = 1 - rng_uniform(r), v = rng_uniform(r);
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

void rng_shuffle(struct rng *r, uint32_t *items, size_t n)
{
  for (size_t i = n; i > 1; i--) {
    uint32_t j = rng_below(r, (uint32_t)i);
    uint32_t t = items[i - 1];
    items[i - 1] = items[j];
    items[j] = t;
  }
}
