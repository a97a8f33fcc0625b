#include "base/hash.h"

#include "base/arena.h"

#include <blake2.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A key is made of hundreds of small pieces, and each call of the library costs more
 * than the few bytes that it is given. */
struct hasher {
  blake2b_state state;
  size_t n;
  bool used;
  unsigned char waiting[2048];
};

/* One a thread is nearly always enough; a second one at a time is allocated. */
static _Thread_local struct hasher own;

struct hasher *hash_begin(void)
{
  struct hasher *h = own.used ? mem_alloc(sizeof *h) : &own;
  blake2b_init(&h->state, HASH_BYTES);
  h->n = 0;
  h->used = true;
  return h;
}

void hash_bytes(struct hasher *h, const void *p, size_t n)
{
  if (h->n + n > sizeof h->waiting) {
    blake2b_update(&h->state, h->waiting, h->n);
    h->n = 0;
  }
  if (n > sizeof h->waiting) {
    blake2b_update(&h->state, p, n);
  } else if (n) {
    memcpy(h->waiting + h->n, p, n);
    h->n += n;
  }
}

static void tagged(struct hasher *h, char tag, const void *p, size_t n)
{
  uint8_t head[9] = {(uint8_t)tag};
  for (int i = 0; i < 8; i++)
    head[1 + i] = (uint8_t)((uint64_t)n >> (8 * i));
  hash_bytes(h, head, sizeof head);
  hash_bytes(h, p, n);
}

void hash_str(struct hasher *h, const char *s)
{
  tagged(h, 's', s, strlen(s));
}

void hash_u64(struct hasher *h, uint64_t v)
{
  uint8_t b[8];
  for (int i = 0; i < 8; i++)
    b[i] = (uint8_t)(v >> (8 * i));
  tagged(h, 'u', b, sizeof b);
}

void hash_num(struct hasher *h, double v)
{
  if (v == 0)
    v = 0;
  if (isnan(v))
    v = NAN;
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  if (isnan(v))
    bits = UINT64_C(0x7ff8000000000000);
  uint8_t b[8];
  for (int i = 0; i < 8; i++)
    b[i] = (uint8_t)(bits >> (8 * i));
  tagged(h, 'n', b, sizeof b);
}

struct hash hash_end(struct hasher *h)
{
  struct hash out;
  blake2b_update(&h->state, h->waiting, h->n);
  blake2b_final(&h->state, out.b, HASH_BYTES);
  if (h == &own)
    own.used = false;
  else
    free(h);
  return out;
}

struct hash hash_of(const void *p, size_t n)
{
  struct hasher *h = hash_begin();
  hash_bytes(h, p, n);
  return hash_end(h);
}

bool hash_file(const char *path, struct hash *out)
{
  FILE *f = fopen(path, "rb");
  if (!f)
    return false;
  struct hasher *h = hash_begin();
  enum { CHUNK = 1 << 16 };
  unsigned char *buf = mem_alloc(CHUNK);
  size_t n;
  while ((n = fread(buf, 1, CHUNK, f)) > 0)
    hash_bytes(h, buf, n);
  int error = ferror(f) ? errno : 0;
  free(buf);
  fclose(f);
  *out = hash_end(h);
  errno = error;
  return !error;
}

bool hash_equal(struct hash a, struct hash b)
{
  return !memcmp(a.b, b.b, HASH_BYTES);
}

void hash_hex(struct hash h, char hex[HASH_HEX])
{
  static const char digit[] = "0123456789abcdef";
  for (int i = 0; i < HASH_BYTES; i++) {
    hex[2 * i] = digit[h.b[i] >> 4];
    hex[2 * i + 1] = digit[h.b[i] & 15];
  }
  hex[2 * HASH_BYTES] = 0;
}

static int nibble(char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hash_parse(const char *hex, struct hash *out)
{
  for (int i = 0; i < HASH_BYTES; i++) {
    int hi = nibble(hex[2 * i]);
    int lo = hi < 0 ? -1 : nibble(hex[2 * i + 1]);
    if (lo < 0)
      return false;
    out->b[i] = (uint8_t)(hi << 4 | lo);
  }
  return !hex[2 * HASH_BYTES];
}

uint64_t hash_short(struct hash h)
{
  uint64_t v;
  memcpy(&v, h.b, sizeof v);
  return v;
}
