#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* AddressSanitizer sees a block as one piece; told what is in use, it finds
 * what reads behind an allocation. */
#if defined __has_feature
#if __has_feature(address_sanitizer)
#define ARENA_ASAN
#endif
#endif
#if defined ARENA_ASAN || defined __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GAP = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
enum { GAP = 0 };
#endif

enum { FIRST_BLOCK = 16 << 10, MAX_BLOCK = 8 << 20, ALIGN = 16 };

struct block {
  struct block *next;
  size_t used, size;
  _Alignas(16) unsigned char bytes[];
};

struct arena {
  struct block *head;
  size_t total;
};

/* The one place where running out of memory ends. */
static void out_of_memory(size_t size)
{
  fprintf(stderr, "mergescape: error: out of memory (%zu bytes asked for)\n", size);
  exit(2);
}

void *mem_alloc(size_t size)
{
  size_t rounded = (size + 63) & ~(size_t)63;
  void *p = rounded < size ? NULL : aligned_alloc(64, rounded ? rounded : 64);
  if (!p)
    out_of_memory(size);
  return p;
}

void *mem_zalloc(size_t size)
{
  void *p = mem_alloc(size);
  memset(p, 0, size);
  return p;
}

struct arena *arena_new(void)
{
  struct arena *a = calloc(1, sizeof *a);
  if (!a)
    out_of_memory(sizeof *a);
  return a;
}

void arena_free(struct arena *a)
{
  if (!a)
    return;
  for (struct block *b = a->head, *next; b; b = next) {
    next = b->next;
    ASAN_UNPOISON_MEMORY_REGION(b->bytes, b->size);
    free(b);
  }
  free(a);
}

static struct block *add_block(struct arena *a, size_t need)
{
  size_t size = a->head ? a->head->size * 2 : FIRST_BLOCK;
  if (size > MAX_BLOCK)
    size = MAX_BLOCK;
  if (size < need)
    size = need;
  struct block *b = size > SIZE_MAX - sizeof *b ? NULL : calloc(1, sizeof *b + size);
  if (!b)
    out_of_memory(size);
  ASAN_POISON_MEMORY_REGION(b->bytes, size);
  b->size = size;
  b->next = a->head;
  a->head = b;
  a->total += size;
  return b;
}

static size_t rounded(size_t size)
{
  if (size > SIZE_MAX - ALIGN - GAP)
    out_of_memory(size);
  return ((size + ALIGN - 1) & ~(size_t)(ALIGN - 1)) + GAP;
}

void *arena_alloc(struct arena *a, size_t size)
{
  size_t need = rounded(size);
  struct block *b = a->head;
  if (!b || b->size - b->used < need)
    b = add_block(a, need);
  void *p = b->bytes + b->used;
  b->used += need;
  ASAN_UNPOISON_MEMORY_REGION(p, size);
  return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
  if (size && n > SIZE_MAX / size)
    out_of_memory(SIZE_MAX);
  return arena_alloc(a, n * size);
}

void *arena_copy(struct arena *a, const void *src, size_t size)
{
  void *p = arena_alloc(a, size);
  if (size)
    memcpy(p, src, size);
  return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
  char *p = arena_alloc(a, n + 1);
  memcpy(p, s, n);
  return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
  return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list args)
{
  va_list again;
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  char *p = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
  if (n >= 0)
    vsnprintf(p, (size_t)n + 1, fmt, again);
  va_end(again);
  return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  char *p = arena_vprintf(a, fmt, args);
  va_end(args);
  return p;
}

size_t arena_bytes(const struct arena *a)
{
  return a->total;
}

/* What was allocated last grows where it is, if its block has room. */
static bool grow_here(struct arena *a, const void *old, size_t now, size_t bigger)
{
  struct block *b = a->head;
  size_t used = rounded(now), more = rounded(bigger);
  if (!b || b->used < used || b->bytes + b->used - used != old || b->size - b->used < more - used)
    return false;
  b->used += more - used;
  ASAN_UNPOISON_MEMORY_REGION(old, bigger);
  return true;
}

void *arena_grow(struct arena *a, const void *old, size_t n, size_t *cap, size_t size)
{
  enum { FEW = 64 }; /* bytes: most lists are short */
  size_t bigger = *cap ? *cap * 2 : size < FEW ? FEW / size : 1;
  if (bigger > SIZE_MAX / 2 / size)
    out_of_memory(SIZE_MAX);
  if (!*cap || !grow_here(a, old, *cap * size, bigger * size)) {
    void *p = arena_array(a, bigger, size);
    if (n)
      memcpy(p, old, n * size);
    old = p;
  }
  *cap = bigger;
  return (void *)old;
}
