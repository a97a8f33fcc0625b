#include "base/source.h"

#include <string.h>

struct source_file {
  const char *name, *text;
  size_t length;
  uint32_t *lines; /* where each line begins */
  size_t n_lines, cap_lines;
  struct span included_at;
};

struct source_set {
  struct arena *arena;
  struct source_file *files; /* file number k is files[k - 1] */
  size_t n_files, cap_files;
  struct counted *counted;
};

/* Where columns were counted last: many places on one long line are looked up
 * one behind the other. */
struct counted {
  uint32_t file, line_begin, at, column;
};

struct source_set *source_set_new(struct arena *a)
{
  struct source_set *set = arena_alloc(a, sizeof *set);
  set->arena = a;
  set->counted = arena_alloc(a, sizeof *set->counted);
  return set;
}

/* Spans are 32 bits wide; no source that a person wrote comes near. */
static size_t clamp(size_t length)
{
  return length > UINT32_MAX - 1 ? UINT32_MAX - 1 : length;
}

uint32_t source_add(struct source_set *set, const char *name, const char *text, size_t length)
{
  length = clamp(length);
  return source_add_kept(set, name, arena_strndup(set->arena, text, length), length);
}

uint32_t source_add_kept(struct source_set *set, const char *name, const char *text, size_t length)
{
  struct source_file file = {0};
  file.name = arena_strdup(set->arena, name);
  file.text = text;
  file.length = clamp(length);
  ARENA_PUSH(set->arena, file.lines, file.n_lines, file.cap_lines, 0);
  const char *end = text + file.length;
  for (const char *at = text; (at = memchr(at, '\n', (size_t)(end - at))); at++)
    ARENA_PUSH(set->arena, file.lines, file.n_lines, file.cap_lines, (uint32_t)(at - text) + 1);
  ARENA_PUSH(set->arena, set->files, set->n_files, set->cap_files, file);
  return (uint32_t)set->n_files;
}

static const struct source_file *find(const struct source_set *set, uint32_t file)
{
  return set && file && file <= set->n_files ? &set->files[file - 1] : NULL;
}

const char *source_name(const struct source_set *set, uint32_t file)
{
  const struct source_file *f = find(set, file);
  return f ? f->name : NULL;
}

const char *source_text(const struct source_set *set, uint32_t file, size_t *length)
{
  const struct source_file *f = find(set, file);
  *length = f ? f->length : 0;
  return f ? f->text : NULL;
}

uint32_t source_count(const struct source_set *set)
{
  return (uint32_t)set->n_files;
}

void source_set_included(struct source_set *set, uint32_t file, struct span at)
{
  if (find(set, file))
    set->files[file - 1].included_at = at;
}

struct span source_included(const struct source_set *set, uint32_t file)
{
  const struct source_file *f = find(set, file);
  return f ? f->included_at : SPAN_NONE;
}

/* The last line that begins at or before `at`. */
static size_t line_of(const struct source_file *f, uint32_t at)
{
  size_t low = 0, high = f->n_lines;
  while (high - low > 1) {
    size_t mid = low + (high - low) / 2;
    if (f->lines[mid] <= at)
      low = mid;
    else
      high = mid;
  }
  return low;
}

static uint32_t column_of(const struct source_set *set, const struct source_file *f, uint32_t begin,
                          uint32_t at)
{
  struct counted *c = set->counted, now = {(uint32_t)(f - set->files) + 1, begin, begin, 1};
  if (c->file == now.file && c->line_begin == begin && c->at <= at)
    now = *c;
  for (; now.at < at; now.at++)
    now.column += (f->text[now.at] & 0xC0) != 0x80;
  *c = now;
  return now.column;
}

bool source_locate(const struct source_set *set, struct span span, struct source_place *place)
{
  const struct source_file *f = find(set, span.file);
  if (!f)
    return false;
  uint32_t at = span.begin < f->length ? span.begin : (uint32_t)f->length;
  size_t line = line_of(f, at);
  uint32_t begin = f->lines[line];
  uint32_t end = line + 1 < f->n_lines ? f->lines[line + 1] - 1 : (uint32_t)f->length;
  if (end > begin && f->text[end - 1] == '\r')
    end--;
  place->name = f->name;
  place->line = (uint32_t)line + 1;
  place->line_text = f->text + begin;
  place->line_length = end - begin;
  place->line_offset = (at < end ? at : end) - begin;
  place->column = column_of(set, f, begin, begin + place->line_offset);
  return true;
}

const char *source_line_name(const struct source_set *set, struct span span, struct arena *a)
{
  struct source_place place;
  if (!source_locate(set, span, &place))
    return "-";
  return arena_printf(a, "%s:%u", place.name, (unsigned)place.line);
}

size_t source_char(const char *text, size_t n, long *code)
{
  const unsigned char *s = (const unsigned char *)text;
  *code = -1;
  if (s[0] < 0x80) {
    *code = s[0];
    return 1;
  }
  size_t len = s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : s[0] >= 0xE0 ? 3 : 2;
  if (s[0] < 0xC2 || s[0] > 0xF4 || len > n)
    return 1;
  long c = s[0] & (0x7F >> len);
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xC0) != 0x80)
      return 1;
    c = c << 6 | (s[i] & 0x3F);
  }
  static const long least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[len] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
    return 1;
  *code = c;
  return len;
}

struct span span_join(struct span a, struct span b)
{
  if (!a.file || (b.file && b.file != a.file))
    return b.file && !a.file ? b : a;
  if (!b.file)
    return a;
  return (struct span){a.file, a.begin < b.begin ? a.begin : b.begin,
                       a.end > b.end ? a.end : b.end};
}
