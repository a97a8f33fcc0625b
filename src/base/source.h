/* Source texts and byte spans into them. */
#ifndef MERGESCAPE_BASE_SOURCE_H
#define MERGESCAPE_BASE_SOURCE_H

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>

struct source_set;

/* Bytes [begin, end) of file number `file`.  File 0 is "no place": a fault of
 * the environment, or a value that no source wrote. */
struct span {
  uint32_t file, begin, end;
};

#define SPAN_NONE ((struct span){0, 0, 0})

struct source_set *source_set_new(struct arena *);
/* Takes a copy of text; returns the file's number, from 1. */
uint32_t source_add(struct source_set *, const char *name, const char *text, size_t length);
/* The same without a copy: the text ends with a NUL and lives as long as the set. */
uint32_t source_add_kept(struct source_set *, const char *name, const char *text, size_t length);
const char *source_name(const struct source_set *, uint32_t file);
const char *source_text(const struct source_set *, uint32_t file,
                        size_t *length); /* NUL-terminated */
uint32_t source_count(const struct source_set *);
/* What included the file; SPAN_NONE: nothing did. */
void source_set_included(struct source_set *, uint32_t file, struct span at);
struct span source_included(const struct source_set *, uint32_t file);

struct source_place {
  const char *name;
  uint32_t line, column;     /* from 1; the column counts characters, not bytes */
  const char *line_text;     /* not terminated */
  uint32_t line_length;      /* bytes, without the line end */
  uint32_t line_offset;      /* of the span's begin within line_text, bytes */
};

bool source_locate(const struct source_set *, struct span, struct source_place *);
/* "file:line", for plans and progress; "-" where there is no place. */
const char *source_line_name(const struct source_set *, struct span, struct arena *);
/* One character of possibly broken UTF-8 (n > 0): its length in bytes, and its
 * code point or -1 where the bytes are no character. */
size_t source_char(const char *text, size_t n, long *code);
struct span span_join(struct span, struct span);

#endif
