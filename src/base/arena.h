/* Memory that lives and dies together.
 *
 * One arena a lifetime: the syntax tree, the plan, one step's work.  Nothing
 * in an arena is freed on its own.  Running out of memory ends the process in
 * one place (exit status 2), so no caller checks for NULL. */
#ifndef MERGESCAPE_BASE_ARENA_H
#define MERGESCAPE_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *); /* NULL is allowed */

/* Zeroed, aligned to 16 bytes. */
void *arena_alloc(struct arena *, size_t size);
/* Zeroed array; ends the process when n * size overflows. */
void *arena_array(struct arena *, size_t n, size_t size);
void *arena_copy(struct arena *, const void *, size_t size);
char *arena_strdup(struct arena *, const char *);
char *arena_strndup(struct arena *, const char *, size_t n);
char *arena_printf(struct arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *, const char *fmt, va_list) __attribute__((format(printf, 2, 0)));
size_t arena_bytes(const struct arena *);

/* Append to an array that lives in an arena: ARENA_PUSH(a, v, n, cap, item)
 * with `v` a pointer, `n` its length and `cap` its capacity, all lvalues.  An
 * old copy stays in the arena until it goes, so growth doubles. */
void *arena_grow(struct arena *, const void *old, size_t n, size_t *cap, size_t size);
#define ARENA_PUSH(a, v, n, cap, item)                                        \
  do {                                                                        \
    if ((n) == (cap))                                                         \
      (v) = arena_grow((a), (v), (n), &(cap), sizeof *(v));                   \
    (v)[(n)++] = (item);                                                      \
  } while (0)

/* malloc that cannot return NULL, for memory that outgrows an arena's pattern
 * (aligned to 64 bytes; release with free). */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);

#endif
