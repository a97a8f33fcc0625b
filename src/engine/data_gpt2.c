#include "engine/data_text.h"

#include "base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NO_MERGE UINT32_MAX

/* Two tokens that become one; of several the one with the least rank first. */
struct merge {
  uint32_t pair; /* left << 16 | right */
  uint32_t rank; /* NO_MERGE: the place is empty */
  uint16_t token;
};

struct data_gpt2 {
  uint16_t bytes[256];
  struct merge *merges; /* hashed */
  uint32_t mask;
  json_t *vocab; /* while it is made */
};

/* ---- the vocabulary ---- */

/* The character that stands for a byte in vocab.json: printable ones for themselves. */
static void byte_text(unsigned byte, char text[4])
{
  unsigned c = byte, hidden = 0;
  for (unsigned k = 0; k <= byte; k++) {
    bool shown = (k >= '!' && k <= '~') || (k >= 0xa1 && k <= 0xac) || k >= 0xae;
    c = shown ? k : 256 + hidden;
    hidden += !shown;
  }
  if (c < 0x80) {
    text[0] = (char)c;
    text[1] = 0;
    return;
  }
  text[0] = (char)(0xc0 | c >> 6);
  text[1] = (char)(0x80 | (c & 0x3f));
  text[2] = 0;
}

static int32_t id_of(const struct data_gpt2 *g, const char *token)
{
  json_t *id = json_object_get(g->vocab, token);
  json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
  return v >= 0 && v < DATA_GPT2_VOCABULARY ? (int32_t)v : -1;
}

static bool read_vocabulary(struct data_gpt2 *g, const char *path, struct diag *d)
{
  json_error_t e;
  const char *key;
  json_t *value;
  g->vocab = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
  if (!g->vocab || !json_is_object(g->vocab)) {
    if (!g->vocab)
      diag_error(d, SPAN_NONE, "%s:%d: %s", path, e.line, e.text);
    else
      diag_error(d, SPAN_NONE, "%s: not an object of tokens and their numbers", path);
    diag_hint(d, "this is to be GPT-2's vocab.json");
    return false;
  }
  json_object_foreach(g->vocab, key, value)
  {
    if (id_of(g, key) >= 0)
      continue;
    diag_error(d, SPAN_NONE, "%s: token \"%s\" has no number from 0 to %d", path, key,
               DATA_GPT2_VOCABULARY - 1);
    return false;
  }
  for (unsigned b = 0; b < 256; b++) {
    char text[4];
    byte_text(b, text);
    int32_t id = id_of(g, text);
    if (id < 0) {
      diag_error(d, SPAN_NONE, "%s: no token \"%s\", which byte %u is written as", path, text, b);
      return false;
    }
    g->bytes[b] = (uint16_t)id;
  }
  return true;
}

/* ---- merges ---- */

static struct merge *place_of(const struct data_gpt2 *g, uint32_t pair)
{
  uint32_t at = (pair * 2654435761u) & g->mask;
  while (g->merges[at].rank != NO_MERGE && g->merges[at].pair != pair)
    at = (at + 1) & g->mask;
  return &g->merges[at];
}

static bool add_merge(struct data_gpt2 *g, struct arena *a, char *line, uint32_t rank)
{
  char *blank = strchr(line, ' ');
  if (!blank || strchr(blank + 1, ' '))
    return false;
  *blank = 0;
  int32_t left = id_of(g, line), right = id_of(g, blank + 1);
  int32_t both = id_of(g, arena_printf(a, "%s%s", line, blank + 1));
  if (left < 0 || right < 0 || both < 0)
    return false;
  uint32_t pair = (uint32_t)left << 16 | (uint32_t)right;
  struct merge *m = place_of(g, pair);
  if (m->rank == NO_MERGE)
    *m = (struct merge){pair, rank, (uint16_t)both};
  return true;
}

static bool read_merges(struct data_gpt2 *g, struct arena *a, const char *path, struct diag *d)
{
  size_t n, lines = 1;
  char *text = file_read(a, path, &n, d), *next;
  if (!text)
    return false;
  for (size_t i = 0; i < n; i++)
    lines += text[i] == '\n';
  for (g->mask = 1; g->mask < 2 * lines; g->mask *= 2)
    ;
  g->merges = arena_array(a, g->mask, sizeof *g->merges);
  for (uint32_t i = 0; i < g->mask; i++)
    g->merges[i].rank = NO_MERGE;
  g->mask--;
  uint32_t number = 0;
  for (char *line = text; line < text + n; line = next) {
    char *end = memchr(line, '\n', (size_t)(text + n - line));
    next = end ? end + 1 : text + n;
    if (end) /* file_read ends the last line with a 0 */
      *end = 0;
    size_t length = strlen(line);
    if (length && line[length - 1] == '\r')
      line[length - 1] = 0;
    number++;
    if (!*line || (number == 1 && *line == '#') || add_merge(g, a, line, number))
      continue;
    diag_error(d, SPAN_NONE, "%s:%" PRIu32 ": not two tokens of the vocabulary that make a third",
               path, number);
    diag_hint(d, "merges.txt and vocab.json must be of one model");
    return false;
  }
  return true;
}

struct data_gpt2 *data_gpt2_new(struct arena *a, const char *vocab, const char *merges,
                                struct diag *d)
{
  struct data_gpt2 *g = arena_alloc(a, sizeof *g);
  bool ok = read_vocabulary(g, vocab, d) && read_merges(g, a, merges, d);
  json_decref(g->vocab);
  g->vocab = NULL;
  return ok ? g : NULL;
}

/* ---- characters ---- */

enum class { LETTER, NUMBER, SPACE, OTHER, UNKNOWN };

/* Unicode 15's categories L* and N* and White_Space, of the blocks that are here. */
static const struct {
  uint32_t first, last;
  enum class class;
} classes[] = {
    {0x00, 0x08, OTHER},      {0x09, 0x0d, SPACE},      {0x0e, 0x1b, OTHER},
    {0x20, 0x20, SPACE},      {0x21, 0x2f, OTHER},      {0x30, 0x39, NUMBER},
    {0x3a, 0x40, OTHER},      {0x41, 0x5a, LETTER},     {0x5b, 0x60, OTHER},
    {0x61, 0x7a, LETTER},     {0x7b, 0x84, OTHER},      {0x85, 0x85, SPACE},
    {0x86, 0x9f, OTHER},      {0xa0, 0xa0, SPACE},      {0xa1, 0xa9, OTHER},
    {0xaa, 0xaa, LETTER},     {0xab, 0xb1, OTHER},      {0xb2, 0xb3, NUMBER},
    {0xb4, 0xb4, OTHER},      {0xb5, 0xb5, LETTER},     {0xb6, 0xb8, OTHER},
    {0xb9, 0xb9, NUMBER},     {0xba, 0xba, LETTER},     {0xbb, 0xbb, OTHER},
    {0xbc, 0xbe, NUMBER},     {0xbf, 0xbf, OTHER},      {0xc0, 0xd6, LETTER},
    {0xd7, 0xd7, OTHER},      {0xd8, 0xf6, LETTER},     {0xf7, 0xf7, OTHER},
    {0xf8, 0x2c1, LETTER},    {0x2c2, 0x2c5, OTHER},    {0x2c6, 0x2d1, LETTER},
    {0x2d2, 0x2df, OTHER},    {0x2e0, 0x2e4, LETTER},   {0x2e5, 0x2eb, OTHER},
    {0x2ec, 0x2ec, LETTER},   {0x2ed, 0x2ed, OTHER},    {0x2ee, 0x2ee, LETTER},
    {0x2ef, 0x36f, OTHER},    {0x370, 0x374, LETTER},   {0x375, 0x375, OTHER},
    {0x376, 0x377, LETTER},   {0x37a, 0x37d, LETTER},   {0x37e, 0x37e, OTHER},
    {0x37f, 0x37f, LETTER},   {0x384, 0x385, OTHER},    {0x386, 0x386, LETTER},
    {0x387, 0x387, OTHER},    {0x388, 0x38a, LETTER},   {0x38c, 0x38c, LETTER},
    {0x38e, 0x3a1, LETTER},   {0x3a3, 0x3f5, LETTER},   {0x3f6, 0x3f6, OTHER},
    {0x3f7, 0x481, LETTER},   {0x482, 0x489, OTHER},    {0x48a, 0x52f, LETTER},
    {0x1e00, 0x1eff, LETTER}, {0x2000, 0x200a, SPACE},  {0x200b, 0x2027, OTHER},
    {0x2028, 0x2029, SPACE},  {0x202a, 0x202e, OTHER},  {0x202f, 0x202f, SPACE},
    {0x2030, 0x205e, OTHER},  {0x205f, 0x205f, SPACE},  {0x2060, 0x2064, OTHER},
    {0x2066, 0x206f, OTHER},  {0x2070, 0x2070, NUMBER}, {0x2071, 0x2071, LETTER},
    {0x2074, 0x2079, NUMBER}, {0x207a, 0x207e, OTHER},  {0x207f, 0x207f, LETTER},
    {0x2080, 0x2089, NUMBER}, {0x208a, 0x208e, OTHER},  {0x2090, 0x209c, LETTER},
    {0x20a0, 0x20c0, OTHER},  {0x2150, 0x2182, NUMBER}, {0x2183, 0x2184, LETTER},
    {0x2185, 0x2189, NUMBER}, {0x2190, 0x2426, OTHER},  {0x2500, 0x2775, OTHER},
    {0xfb00, 0xfb06, LETTER}, {0xfeff, 0xfeff, OTHER},  {0xfffd, 0xfffd, OTHER},
};

struct reader {
  const unsigned char *text;
  size_t n;
};

/* The character at `at` and its bytes; UINT32_MAX: no UTF-8. */
static uint32_t character(const struct reader *r, size_t at, size_t *bytes)
{
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  unsigned char c = r->text[at];
  *bytes = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf8 ? 4 : 0;
  if (!*bytes || *bytes > r->n - at)
    return UINT32_MAX;
  uint32_t v = *bytes == 1 ? c : c & (0x7fu >> *bytes);
  for (size_t k = 1; k < *bytes; k++) {
    if ((r->text[at + k] & 0xc0) != 0x80)
      return UINT32_MAX;
    v = v << 6 | (r->text[at + k] & 0x3f);
  }
  return v < least[*bytes] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff) ? UINT32_MAX : v;
}

static enum class class_of(uint32_t c) {
  size_t low = 0, high = sizeof classes / sizeof *classes;
  while (low < high){size_t mid = (low + high) / 2; if (c > classes[mid].last) low = mid + 1;
                     else if (c < classes[mid].first) high = mid; else return classes[mid].class;}
return UNKNOWN;
}

/* UNKNOWN at the end, too: checked_text has excluded it elsewhere. */
static enum class class_at(const struct reader *r, size_t at, size_t *bytes) {
      *bytes = 0; return at < r->n ? class_of(character(r, at, bytes)) : UNKNOWN;
}

static bool checked_text(const struct reader *r, const char *name, struct diag *d)
{
  for (size_t at = 0, bytes; at < r->n; at += bytes) {
    uint32_t c = character(r, at, &bytes);
    if (c == UINT32_MAX) {
      diag_error(d, SPAN_NONE, "%s: byte %zu is not UTF-8", name, at);
      return false;
    }
    if (class_of(c) != UNKNOWN)
      continue;
    diag_error(d, SPAN_NONE,
               "%s: character U+%04" PRIX32 " at byte %zu: GPT-2's encoding is here "
               "for Latin, Greek and Cyrillic text",
               name, c, at);
    diag_hint(d, "encode the text as nanoGPT's prepare.py does, to train.bin and val.bin");
    return false;
  }
  return true;
}

/* ---- words ---- */

/* What the pattern of GPT-2's encoder matches at `at`:
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t word_at(const struct reader *r, size_t at)
{
  static const char *const ends[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  size_t bytes, end = at, last = at;
  for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
    size_t n = strlen(ends[k]);
    if (n <= r->n - at && !memcmp(r->text + at, ends[k], n))
      return n;
  }
  if (r->text[at] == ' ' && at + 1 < r->n)
    end++;
  enum class c = class_at(r, end, &bytes), first = c;
  if (c != SPACE && c != UNKNOWN) {
    for (; c == first; c = class_at(r, end, &bytes))
      end += bytes;
    return end - at;
  }
  /* Blanks; the last one goes with the word behind them. */
  for (end = at; class_at(r, end, &bytes) == SPACE; end += bytes)
    last = end;
  return end < r->n && last > at ? last - at : end - at;
}

/* Merges the tokens of a word in place; returns how many are left. */
static size_t merge_word(const struct data_gpt2 *g, uint16_t *t, size_t n)
{
  for (;;) {
    const struct merge *best = NULL;
    for (size_t i = 0; i + 1 < n; i++) {
      const struct merge *m = place_of(g, (uint32_t)t[i] << 16 | t[i + 1]);
      if (m->rank != NO_MERGE && (!best || m->rank < best->rank))
        best = m;
    }
    if (!best)
      return n;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
      bool both = i + 1 < n && ((uint32_t)t[i] << 16 | t[i + 1]) == best->pair;
      t[kept++] = both ? best->token : t[i];
      i += both;
    }
    n = kept;
  }
}

bool data_gpt2_encode(const struct data_gpt2 *g, struct arena *a, const char *name,
                      const char *text, size_t n, struct data_tokens *out, struct diag *d)
{
  const struct reader r = {(const unsigned char *)text, n};
  if (!checked_text(&r, name, d))
    return false;
  *out = (struct data_tokens){.ids = arena_array(a, n + 1, sizeof *out->ids)};
  for (size_t at = 0, length; at < n; at += length) {
    length = word_at(&r, at);
    uint16_t *word = out->ids + out->n;
    for (size_t k = 0; k < length; k++)
      word[k] = g->bytes[r.text[at + k]];
    out->n += merge_word(g, word, length);
  }
  return true;
}
