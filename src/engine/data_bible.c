/* The data file of the Bible Retrieval System (Chapin 1989), as Debian's bible-kjv-text
 * installs it: windows of text, each compressed by itself as compress(1) does (LZW, 9 to 16
 * bits a code, least bit first; at each change of width the rest of eight codes is skipped).
 *
 *   0   "EC02Compressed Data File", zeros
 *   84  bytes of text a window, big-endian, as all that follow
 *   88  number of windows
 *   92  where each window begins in the file, and where the last one ends */
#include "engine/data_text.h"

#include "base/file.h"

#include <inttypes.h>
#include <string.h>

enum { WINDOW_AT = 84, COUNT_AT = 88, OFFSETS_AT = 92, MOST_TEXT = 1 << 26, CODES = 1 << 16 };
enum { FIRST_BITS = 9, MOST_BITS = 16, CLEAR = 256 };

static const char magic[] = "EC02Compressed Data File";

static uint32_t big_endian(const uint8_t *p)
{
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

struct lzw {
  const uint8_t *p;
  size_t bits_in, at; /* bits: of all, read so far */
  size_t group;       /* where the codes of this width begin */
  unsigned width, n_codes;
  uint16_t *prefix;
  uint8_t *last; /* byte of a code; its first bytes are its prefix's */
  uint8_t *stack;
};

/* -1: the end */
static int32_t next_code(struct lzw *z)
{
  if (z->at + z->width > z->bits_in)
    return -1;
  uint32_t bits = 0;
  for (size_t k = 0, byte = z->at / 8; k < 3 && byte + k < z->bits_in / 8; k++)
    bits |= (uint32_t)z->p[byte + k] << (8 * k);
  bits = bits >> (z->at % 8) & ((1u << z->width) - 1);
  z->at += z->width;
  return (int32_t)bits;
}

static void widen(struct lzw *z)
{
  if (z->n_codes < 1u << z->width || z->width == MOST_BITS)
    return;
  size_t rest = (z->at - z->group) / z->width % 8;
  z->at += rest ? (8 - rest) * z->width : 0;
  z->group = z->at;
  z->width++;
}

/* Up to `room` bytes of a window's text, as many as there are.  SIZE_MAX: no LZW. */
static size_t unpack(struct lzw *z, char *out, size_t room)
{
  size_t done = 0;
  int32_t before = -1, code;
  uint8_t first = 0;
  z->at = z->group = 0;
  z->width = FIRST_BITS;
  z->n_codes = CLEAR + 1;
  while (done < room && (code = next_code(z)) >= 0) {
    size_t n = 0;
    unsigned c = (unsigned)code;
    if (code == CLEAR || c > z->n_codes || (before < 0 && c > CLEAR) ||
        (c == z->n_codes && z->n_codes == CODES))
      return SIZE_MAX;
    if (c == z->n_codes) { /* the code that is being made: the one before, and its first byte */
      z->stack[n++] = first;
      c = (unsigned)before;
    }
    for (; c > CLEAR; c = z->prefix[c])
      z->stack[n++] = z->last[c];
    z->stack[n++] = first = (uint8_t)c;
    if (before >= 0 && z->n_codes < CODES) {
      z->prefix[z->n_codes] = (uint16_t)before;
      z->last[z->n_codes++] = first;
    }
    while (n && done < room)
      out[done++] = (char)z->stack[--n];
    before = code;
    widen(z);
  }
  return done;
}

static bool damaged(struct diag *d, const char *path, const char *what)
{
  diag_error(d, SPAN_NONE, "%s: %s", path, what);
  diag_hint(d, "the file is damaged or another one: install Debian's package bible-kjv-text anew");
  return false;
}

static bool unpack_all(struct arena *a, const uint8_t *file, size_t size, const char *path,
                       char **text, size_t *n, struct diag *d)
{
  if (size < OFFSETS_AT + 8 || memcmp(file, magic, sizeof magic - 1) != 0)
    return damaged(d, path, "not a bible.data: it does not begin with \"EC02Compressed\"");
  uint32_t window = big_endian(file + WINDOW_AT), count = big_endian(file + COUNT_AT);
  if (!window || !count || count > (size - OFFSETS_AT) / 4 - 1 || window > MOST_TEXT / count)
    return damaged(d, path, "its header does not fit its length");
  struct lzw z = {.prefix = arena_array(a, CODES, sizeof *z.prefix),
                  .last = arena_alloc(a, CODES),
                  .stack = arena_alloc(a, CODES + 1)};
  char *out = *text = arena_alloc(a, (size_t)window * count);
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *at = file + OFFSETS_AT + 4 * (size_t)i;
    uint32_t begin = big_endian(at), end = big_endian(at + 4);
    if (begin < OFFSETS_AT || begin > end || end > size)
      return damaged(
          d, path,
          arena_printf(a, "cut off: window %" PRIu32 " of %" PRIu32 " lies behind the file's end",
                       i + 1, count));
    z.p = file + begin;
    z.bits_in = 8 * (size_t)(end - begin);
    size_t got = unpack(&z, out, window);
    if (!got || got == SIZE_MAX || (got < window && i + 1 < count))
      return damaged(d, path,
                     arena_printf(a, "window %" PRIu32 " of %" PRIu32 " is damaged", i + 1, count));
    out += got;
  }
  *n = (size_t)(out - *text);
  return true;
}

/* "Ge1:1 In the beginning ...": what stands before the blank goes, in place.  0: a line has no
 * reference. */
static size_t drop_references(char *text, size_t n)
{
  size_t done = 0;
  char *end = text + n, *line = memchr(text, '\n', n);
  line = line ? line + 1 : end;
  for (char *next; line < end; line = next) {
    next = memchr(line, '\n', (size_t)(end - line));
    next = next ? next + 1 : end;
    char *verse = memchr(line, ' ', (size_t)(next - line));
    if (!verse || !memchr(line, ':', (size_t)(verse - line)))
      return 0;
    size_t length = (size_t)(next - ++verse);
    memmove(text + done, verse, length);
    done += length;
  }
  return done;
}

char *data_bible_read(struct arena *a, const char *path, size_t *n, struct diag *d)
{
  size_t size;
  char *text;
  const char *file = file_read(a, path, &size, d);
  if (!file || !unpack_all(a, (const uint8_t *)file, size, path, &text, n, d))
    return NULL;
  *n = drop_references(text, *n);
  if (*n)
    return text;
  damaged(d, path, "not the text of the Bible: a line does not begin with a reference like Ge1:1");
  return NULL;
}
