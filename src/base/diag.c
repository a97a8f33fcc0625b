#include "config.h"

#include "base/diag.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TAB = 8, NEAREST_MAX = 64, LINE_SHOWN = 160 };

struct note {
  struct span span;
  const char *text;
};

struct within {
  struct span block;
  const char *text;
  const struct within *outer;
};

struct item {
  enum diag_level level;
  struct span span;
  const char *text, *hint;
  const struct within *within; /* what was open */
  struct note *notes;
  size_t n_notes, cap_notes;
};

struct diag {
  struct arena *arena;
  struct item *items;
  size_t n_items, cap_items;
  size_t last;     /* index of the item that hints belong to; NONE: it was dropped */
  uint32_t *table; /* open addressing: index + 1 of an item, 0: free */
  size_t slots;    /* a power of two, or 0 */
  unsigned errors;
  const struct within *within;
  struct told *told;
};

/* Files of which it was said what includes them; outlives diag_clear. */
struct told {
  bool *files;
  size_t n;
};

static const size_t NONE = SIZE_MAX;

struct diag *diag_new(struct arena *a)
{
  struct diag *d = arena_alloc(a, sizeof *d);
  d->arena = a;
  d->last = NONE;
  d->told = arena_alloc(a, sizeof *d->told);
  return d;
}

static bool same(const struct item *a, const struct item *b)
{
  return a->level == b->level && a->span.file == b->span.file && a->span.begin == b->span.begin &&
         a->span.end == b->span.end && !strcmp(a->text, b->text);
}

static size_t digest(const struct item *item)
{
  size_t h = (size_t)item->level + item->span.file * (size_t)31 + item->span.begin;
  for (const char *c = item->text; *c; c++)
    h = (h ^ (unsigned char)*c) * (size_t)1099511628211u;
  return h ^ h >> 29;
}

/* The slot of the same item, or the free one where it belongs. */
static uint32_t *find_slot(const struct diag *d, const struct item *item)
{
  size_t k = digest(item);
  while (d->table[k &= d->slots - 1] && !same(&d->items[d->table[k] - 1], item))
    k++;
  return &d->table[k];
}

static void grow_table(struct diag *d)
{
  d->slots = d->slots ? d->slots * 2 : 64;
  d->table = arena_array(d->arena, d->slots, sizeof *d->table);
  for (size_t i = 0; i < d->n_items; i++)
    *find_slot(d, &d->items[i]) = (uint32_t)i + 1;
}

static void add(struct diag *d, enum diag_level level, struct span span, const char *text)
{
  struct item item = {.level = level, .span = span, .text = text, .within = d->within};
  d->errors += level == DIAG_ERROR;
  if (d->n_items * 2 >= d->slots)
    grow_table(d);
  uint32_t *slot = find_slot(d, &item);
  d->last = *slot ? NONE : d->n_items;
  if (*slot)
    return;
  ARENA_PUSH(d->arena, d->items, d->n_items, d->cap_items, item);
  *slot = (uint32_t)d->n_items;
}

void diag_within(struct diag *d, struct span block, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  struct within within = {block, arena_vprintf(d->arena, fmt, args), d->within};
  va_end(args);
  d->within = arena_copy(d->arena, &within, sizeof within);
}

void diag_within_end(struct diag *d)
{
  if (d->within)
    d->within = d->within->outer;
}

void diag_error(struct diag *d, struct span span, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  add(d, DIAG_ERROR, span, arena_vprintf(d->arena, fmt, args));
  va_end(args);
}

void diag_warning(struct diag *d, struct span span, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  add(d, DIAG_WARNING, span, arena_vprintf(d->arena, fmt, args));
  va_end(args);
}

void diag_hint(struct diag *d, const char *fmt, ...)
{
  if (d->last == NONE)
    return;
  va_list args;
  va_start(args, fmt);
  d->items[d->last].hint = arena_vprintf(d->arena, fmt, args);
  va_end(args);
}

void diag_note(struct diag *d, struct span span, const char *fmt, ...)
{
  if (d->last == NONE)
    return;
  va_list args;
  va_start(args, fmt);
  struct note note = {span, arena_vprintf(d->arena, fmt, args)};
  va_end(args);
  struct item *item = &d->items[d->last];
  ARENA_PUSH(d->arena, item->notes, item->n_notes, item->cap_notes, note);
}

unsigned diag_errors(const struct diag *d)
{
  return d->errors;
}

unsigned diag_count(const struct diag *d)
{
  return (unsigned)d->n_items;
}

enum diag_level diag_level_of(const struct diag *d, unsigned k)
{
  return k < d->n_items ? d->items[k].level : DIAG_WARNING;
}

const char *diag_message(const struct diag *d, unsigned k)
{
  return k < d->n_items ? d->items[k].text : NULL;
}

const char *diag_hint_of(const struct diag *d, unsigned k)
{
  return k < d->n_items ? d->items[k].hint : NULL;
}

void diag_clear(struct diag *d)
{
  d->items = NULL;
  d->n_items = d->cap_items = 0;
  d->table = NULL;
  d->slots = 0;
  d->last = NONE;
  d->errors = 0;
}

/* Terminal cells of a character.  (wcwidth would depend on the locale.) */
static unsigned cells(long c)
{
  static const struct {
    long first, last;
    unsigned cells;
  } ranges[] = {
      {0x0300, 0x036F, 0}, {0x1100, 0x115F, 2}, {0x200B, 0x200F, 0},   {0x2E80, 0xA4CF, 2},
      {0xAC00, 0xD7A3, 2}, {0xF900, 0xFAFF, 2}, {0xFE00, 0xFE0F, 0},   {0xFE30, 0xFE6F, 2},
      {0xFF00, 0xFF60, 2}, {0xFFE0, 0xFFE6, 2}, {0x1F300, 0x1FAFF, 2}, {0x20000, 0x3FFFD, 2},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
    if (c >= ranges[i].first && c <= ranges[i].last)
      return ranges[i].cells;
  return 1;
}

/* Writes text as a terminal may safely show it: tabs as blanks, control
 * characters and broken UTF-8 as U+FFFD.  Returns the column behind it; `out`
 * may be NULL to measure only. */
static unsigned put_text(FILE *out, const char *text, size_t n, unsigned column)
{
  for (size_t i = 0; i < n;) {
    long c;
    size_t len = source_char(text + i, n - i, &c);
    if (c == '\t') {
      unsigned next = (column / TAB + 1) * TAB;
      if (out)
        fprintf(out, "%*s", (int)(next - column), "");
      column = next;
    } else if (c < 0x20 || (c >= 0x7F && c < 0xA0)) {
      if (out)
        fputs("\xEF\xBF\xBD", out);
      column++;
    } else {
      if (out)
        fwrite(text + i, 1, len, out);
      column += cells(c);
    }
    i += len;
  }
  return column;
}

struct printer {
  const struct source_set *sources;
  FILE *out;
  bool colour;
};

static const char bold[] = "\033[1m", red[] = "\033[1;31m", magenta[] = "\033[1;35m",
                  cyan[] = "\033[1;36m", green[] = "\033[1;32m";

static void paint(const struct printer *p, const char *colour)
{
  if (p->colour)
    fputs(colour ? colour : "\033[0m", p->out);
}

/* Messages may hold line breaks; what follows one is indented. */
static void put_message(const struct printer *p, const char *text)
{
  for (;;) {
    size_t n = strcspn(text, "\n");
    put_text(p->out, text, n, 0);
    fputc('\n', p->out);
    if (!text[n])
      return;
    text += n + 1;
    fputs("  ", p->out);
  }
}

static uint32_t char_end(const struct source_place *at, uint32_t i)
{
  while (i < at->line_length && (at->line_text[i] & 0xC0) == 0x80)
    i++;
  return i;
}

/* Where a line that is too long to show begins: some way before the span. */
static uint32_t clip_begin(const struct source_place *at)
{
  if (at->line_length <= LINE_SHOWN || at->line_offset <= LINE_SHOWN / 2)
    return 0;
  return char_end(at, at->line_offset - LINE_SHOWN / 2);
}

/* The source line and the underline of the span's part on it. */
static void put_excerpt(const struct printer *p, struct span span, const struct source_place *at,
                        const char *colour)
{
  uint32_t begin = at->line_offset, length = span.end > span.begin ? span.end - span.begin : 0;
  uint32_t end = length < at->line_length - begin ? begin + length : at->line_length;
  uint32_t first = clip_begin(at), last = at->line_length;
  if (last - first > LINE_SHOWN)
    last = char_end(at, first + LINE_SHOWN);
  if (end > last)
    end = last;
  unsigned from = first ? 3 : 0;
  fprintf(p->out, "%4u | %s", (unsigned)at->line, first ? "..." : "");
  put_text(p->out, at->line_text + first, last - first, from);
  if (last < at->line_length)
    fputs("...", p->out);
  from = put_text(NULL, at->line_text + first, begin - first, from);
  unsigned to = put_text(NULL, at->line_text + begin, end - begin, from);
  fprintf(p->out, "\n     | %*s", (int)from, "");
  paint(p, colour);
  fputc('^', p->out);
  for (unsigned i = from + 1; i < to; i++)
    fputc('~', p->out);
  paint(p, NULL);
  fputc('\n', p->out);
}

static void put_one(const struct printer *p, struct span span, const char *word, const char *colour,
                    const char *text)
{
  struct source_place at;
  bool found = source_locate(p->sources, span, &at);
  paint(p, bold);
  if (found)
    fprintf(p->out, "%s:%u:%u: ", at.name, (unsigned)at.line, (unsigned)at.column);
  else
    fputs("mergescape: ", p->out);
  paint(p, colour);
  fprintf(p->out, "%s: ", word);
  paint(p, NULL);
  put_message(p, text);
  if (found)
    put_excerpt(p, span, &at, colour);
}

static bool inside(struct span part, struct span whole)
{
  return part.file == whole.file && part.begin >= whole.begin && part.end <= whole.end;
}

static void put_item(const struct printer *p, const struct item *item)
{
  if (item->level == DIAG_ERROR)
    put_one(p, item->span, "error", red, item->text);
  else
    put_one(p, item->span, "warning", magenta, item->text);
  if (item->hint) {
    paint(p, green);
    fputs("hint: ", p->out);
    paint(p, NULL);
    put_message(p, item->hint);
  }
  for (size_t i = 0; i < item->n_notes; i++)
    put_one(p, item->notes[i].span, "note", cyan, item->notes[i].text);
  for (const struct within *w = item->within; w && item->level == DIAG_ERROR; w = w->outer)
    if (item->span.file && !inside(item->span, w->block))
      put_one(p, w->block, "note", cyan, w->text);
}

/* Once a file: what includes it, from the inside out. */
static void put_includes(const struct printer *p, struct told *told, uint32_t file)
{
  struct source_place at;
  if (file >= told->n || told->files[file])
    return;
  told->files[file] = true;
  struct span from = source_included(p->sources, file);
  for (; source_locate(p->sources, from, &at); from = source_included(p->sources, from.file)) {
    paint(p, cyan);
    fputs("note: ", p->out);
    paint(p, NULL);
    fprintf(p->out, "included from %s:%u:%u\n", at.name, (unsigned)at.line, (unsigned)at.column);
  }
}

static int compare(uint32_t a, uint32_t b)
{
  return (a > b) - (a < b);
}

/* By place; among those of one place, in the order in which they were added
 * (all live in one array, so their addresses tell). */
static int by_place(const void *left, const void *right)
{
  const struct item *a = *(const struct item *const *)left;
  const struct item *b = *(const struct item *const *)right;
  int order = compare(a->span.file, b->span.file);
  if (!order)
    order = compare(a->span.begin, b->span.begin);
  return order ? order : (a > b) - (a < b);
}

static void put_summary(FILE *out, unsigned errors, unsigned warnings)
{
  if (errors)
    fprintf(out, "%u error%s", errors, errors == 1 ? "" : "s");
  if (warnings)
    fprintf(out, "%s%u warning%s", errors ? ", " : "", warnings, warnings == 1 ? "" : "s");
  fputc('\n', out);
}

static void know_files(const struct diag *d, const struct source_set *sources)
{
  size_t n = sources ? source_count(sources) + 1 : 0;
  if (n <= d->told->n)
    return;
  bool *files = arena_array(d->arena, n, sizeof *files);
  if (d->told->n)
    memcpy(files, d->told->files, d->told->n);
  *d->told = (struct told){files, n};
}

void diag_print(const struct diag *d, const struct source_set *sources, FILE *out, bool colour)
{
  if (!d->n_items)
    return;
  struct printer p = {sources, out, colour};
  know_files(d, sources);
  const struct item **sorted = mem_alloc(d->n_items * sizeof *sorted);
  for (size_t i = 0; i < d->n_items; i++)
    sorted[i] = &d->items[i];
  qsort(sorted, d->n_items, sizeof *sorted, by_place);
  unsigned counts[2] = {0, 0};
  bool placed = false;
  for (size_t i = 0; i < d->n_items; i++) {
    put_item(&p, sorted[i]);
    put_includes(&p, d->told, sorted[i]->span.file);
    counts[sorted[i]->level]++;
    placed |= source_name(sources, sorted[i]->span.file) != NULL;
  }
  if (placed)
    put_summary(out, counts[DIAG_ERROR], counts[DIAG_WARNING]);
  free(sorted);
}

static char lower(char c)
{
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned least(unsigned a, unsigned b)
{
  return a < b ? a : b;
}

/* Optimal string alignment (Damerau-Levenshtein where no part is edited twice);
 * letter case does not count. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
  unsigned rows[3][NEAREST_MAX + 1];
  unsigned *before = rows[0], *last = rows[1], *now = rows[2];
  for (size_t j = 0; j <= m; j++)
    last[j] = (unsigned)j;
  for (size_t i = 1; i <= n; i++) {
    now[0] = (unsigned)i;
    for (size_t j = 1; j <= m; j++) {
      unsigned change = last[j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));
      now[j] = least(change, least(last[j], now[j - 1]) + 1);
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
          lower(a[i - 2]) == lower(b[j - 1]))
        now[j] = least(now[j], before[j - 2] + 1);
    }
    unsigned *spare = before;
    before = last;
    last = now;
    now = spare;
  }
  return last[m];
}

const char *diag_nearest(const char *word, const char *const *words, size_t n)
{
  size_t length = strlen(word);
  const char *best = NULL;
  unsigned best_distance = 0;
  for (size_t i = 0; i < n && length <= NEAREST_MAX; i++) {
    size_t other = strlen(words[i]);
    size_t longer = length > other ? length : other;
    if (other > NEAREST_MAX)
      continue;
    /* A third of the letters may be wrong, and one of two. */
    unsigned limit = longer == 2 ? 1 : (unsigned)(longer / 3);
    unsigned d = distance(word, length, words[i], other);
    if (d <= limit && (!best || d < best_distance)) {
      best = words[i];
      best_distance = d;
    }
  }
  return best;
}

bool diag_colour(FILE *file)
{
  const char *off = getenv("NO_COLOR"), *term = getenv("TERM");
  return !(off && *off) && term && strcmp(term, "dumb") && isatty(fileno(file));
}
