/* Text data sets: their table, and samples as windows of tokens.
 *
 * A split of T tokens has (T - 1) / block windows, one behind the other, each with the token
 * that follows it; a sample is a window.  Where fewer are asked for than there are they are
 * the first of one fixed shuffle. */
#include "engine/data_text.h"

#include "base/file.h"
#include "base/rng.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct text_source {
  const char *name;
  const char *mend;
  bool bible; /* else token files, as nanoGPT's prepare.py writes them: uint16, little-endian */
  uint64_t tokens[DATA_READ_SPLITS]; /* GPT-2's */
  uint64_t bytes[DATA_READ_SPLITS];  /* 0: there is no text */
};

/* The test split of a bible is its last tenth: bytes / 10, rounded down. */
static const struct text_source sources[] = {
    {"tinystories",
     "write train.bin and val.bin with nanoGPT's prepare.py into DIR/tinystories and name DIR with "
     "--data DIR",
     false,
     {471872517, 4743928},
     {0, 0}},
    {"wikitext103",
     "write train.bin and val.bin with nanoGPT's prepare.py into DIR/wikitext103 and name DIR with "
     "--data DIR",
     false,
     {117920140, 282946},
     {0, 0}},
    {"king_james",
     "install Debian's package bible-kjv-text, or name the folder that holds its bible.data with "
     "--data DIR",
     true,
     {924732, 99812},
     {3724065, 413785}},
};

enum { N_SOURCES = sizeof sources / sizeof *sources };

/* Where Debian puts the Bible. */
static const char bible_folder[] = "/usr/lib";

static const struct text_source *find_source(const char *name)
{
  for (size_t i = 0; i < N_SOURCES; i++)
    if (!strcmp(sources[i].name, name))
      return &sources[i];
  return NULL;
}

const char *data_text_name(size_t i)
{
  return i < N_SOURCES ? sources[i].name : NULL;
}

bool data_is_text(const char *name)
{
  return find_source(name) != NULL;
}

static const char *split_name(int split)
{
  return split == DATA_TRAIN ? "train" : "test";
}

static bool is_bytes(const struct data_spec *spec)
{
  return spec->tokenizer && !strcmp(spec->tokenizer, "bytes");
}

bool data_text_shape(const struct data_spec *spec, struct data_set *set, struct diag *d)
{
  const struct text_source *s = find_source(spec->name);
  unsigned before = diag_errors(d);
  bool bytes = is_bytes(spec);
  *set = (struct data_set){.channels = 1,
                           .height = 1,
                           .width = spec->block,
                           .block = spec->block,
                           .targets = spec->block,
                           .classes = bytes ? DATA_BYTES_VOCABULARY : DATA_GPT2_VOCABULARY};
  for (int c = 0; c < DATA_MAX_CHANNELS; c++)
    set->std[c] = 1;
  if (!spec->block)
    diag_error(d, SPAN_NONE, "data set %s: samples of no tokens", s->name);
  if (!bytes && (!spec->tokenizer || strcmp(spec->tokenizer, "gpt2") != 0)) {
    diag_error(d, SPAN_NONE, "data set %s: unknown tokenizer \"%s\"", s->name,
               spec->tokenizer ? spec->tokenizer : "");
    diag_hint(d, "there are bytes and gpt2");
  }
  if (bytes && !s->bytes[DATA_TRAIN]) {
    diag_error(d, SPAN_NONE, "data set %s: its files hold GPT-2's tokens, not bytes", s->name);
    diag_hint(d, "write tokenizer = gpt2");
  }
  for (int k = 0; k < DATA_READ_SPLITS && diag_errors(d) == before; k++) {
    uint64_t most = ((bytes ? s->bytes : s->tokens)[k] - 1) / spec->block;
    set->split[k].n = spec->size[k] ? spec->size[k] : (unsigned)most;
    if (set->split[k].n > most || !most) {
      diag_error(d, SPAN_NONE,
                 "data set %s: %u %s samples of %u tokens asked for, but it has %" PRIu64, s->name,
                 set->split[k].n, split_name(k), spec->block, most);
      diag_hint(d, "ask for %" PRIu64 " or fewer, or for shorter ones", most);
    }
  }
  return diag_errors(d) == before;
}

/* ---- finding files ---- */

struct text_intake {
  const struct text_source *source;
  const char *const *dirs;
  size_t n_dirs;
  struct arena *scratch;
  struct diag *diag;
  uint64_t found[DATA_READ_SPLITS]; /* tokens */
};

static bool ends_with_folder(const char *dir, const char *folder)
{
  size_t n = strlen(dir), m = strlen(folder);
  while (n && dir[n - 1] == '/')
    n--;
  return n >= m && !memcmp(dir + n - m, folder, m) && (n == m || dir[n - m - 1] == '/');
}

/* Below each data folder in `folder`; in the data folder itself where that is its name, as
 * the names of token files are all the same, or where `anywhere`. */
static const char *find_file(struct text_intake *in, const char *folder, const char *name,
                             bool anywhere, const char *last)
{
  char *looked = arena_strdup(in->scratch, "");
  for (size_t i = 0; i < in->n_dirs + (last != NULL); i++) {
    const char *dir = i < in->n_dirs ? in->dirs[i] : last;
    bool itself = i == in->n_dirs || anywhere || ends_with_folder(dir, folder);
    const char *folders[] = {file_join(in->scratch, dir, folder), dir};
    for (int f = i == in->n_dirs; f < 1 + itself; f++) {
      const char *path = file_join(in->scratch, folders[f], name);
      if (file_exists(path))
        return path;
      looked = arena_printf(in->scratch, "%s%s%s", looked, *looked ? ", " : "", folders[f]);
    }
  }
  diag_error(in->diag, SPAN_NONE, "data set %s: cannot find %s; looked in %s", in->source->name,
             name, *looked ? looked : "no folder at all");
  return NULL;
}

/* ---- samples ---- */

/* Which windows a split's samples are: the first `size` of a shuffle, so that a smaller
 * subset is the beginning of a larger one. */
static const uint32_t *pick_windows(struct text_intake *in, enum data_split split, uint32_t size,
                                    uint32_t windows)
{
  uint32_t *all = arena_array(in->scratch, windows, sizeof *all);
  for (uint32_t i = 0; i < windows; i++)
    all[i] = i;
  if (size == windows)
    return all;
  struct rng r = rng_at(0, RNG_SUBSET, (uint32_t)split, 0, 0);
  for (uint32_t i = 0; i < size; i++) {
    uint32_t j = i + rng_below(&r, windows - i), t = all[i];
    all[i] = all[j];
    all[j] = t;
  }
  return all;
}

/* Windows of a split of `tokens` tokens; 0: fewer than are wanted (diagnostic). */
static uint32_t count_windows(struct text_intake *in, const struct data_set *set,
                              enum data_split split, uint64_t tokens, const char *path)
{
  uint64_t windows = tokens ? (tokens - 1) / set->block : 0;
  if (windows && windows >= set->split[split].n && windows < UINT32_MAX)
    return (uint32_t)windows;
  diag_error(in->diag, SPAN_NONE,
             "%s: %" PRIu64 " tokens are %" PRIu64 " %s samples of %u, but %u are asked for", path,
             tokens, windows, split_name(split), set->block, set->split[split].n);
  diag_hint(in->diag, "ask for fewer, or fetch the whole data set: %s", in->source->mend);
  return 0;
}

/* ---- token files ---- */

static bool read_window(struct text_intake *in, FILE *f, const char *path, uint64_t first, size_t n,
                        uint16_t *to)
{
  if (fseeko(f, (off_t)(2 * first), SEEK_SET) || fread(to, sizeof *to, n, f) != n) {
    file_report(in->diag, "read", path, ferror(f) && errno ? errno : EIO);
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    const unsigned char *b = (const unsigned char *)&to[i];
    unsigned id = b[0] | (unsigned)b[1] << 8;
    to[i] = (uint16_t)id;
    if (id < DATA_GPT2_VOCABULARY)
      continue;
    diag_error(in->diag, SPAN_NONE, "%s: token %u at place %" PRIu64 " is outside 0 to %d", path,
               id, first + i, DATA_GPT2_VOCABULARY - 1);
    diag_hint(in->diag, "it is to hold GPT-2's tokens as 16-bit numbers, least byte first: %s",
              in->source->mend);
    return false;
  }
  return true;
}

static bool read_token_file(struct text_intake *in, struct data_set *set, enum data_split split,
                            uint16_t *out)
{
  const struct text_source *s = in->source;
  const char *path =
      find_file(in, s->name, split == DATA_TRAIN ? "train.bin" : "val.bin", false, NULL);
  struct stat st;
  if (!path) {
    diag_hint(in->diag, "%s", s->mend);
    return false;
  }
  FILE *f = fopen(path, "rb");
  if (!f || fstat(fileno(f), &st) || !S_ISREG(st.st_mode)) {
    file_report(in->diag, "read", path, f && !S_ISREG(st.st_mode) ? EISDIR : errno);
    if (f)
      fclose(f);
    return false;
  }
  bool ok = st.st_size % 2 == 0;
  if (!ok) {
    diag_error(in->diag, SPAN_NONE,
               "%s: cut off: %" PRIu64 " bytes are not a number of 16-bit tokens", path,
               (uint64_t)st.st_size);
    diag_hint(in->diag, "%s", s->mend);
  }
  uint64_t tokens = (uint64_t)st.st_size / 2;
  uint32_t windows = ok ? count_windows(in, set, split, tokens, path) : 0;
  ok = windows != 0;
  const uint32_t *picks = ok ? pick_windows(in, split, set->split[split].n, windows) : NULL;
  for (size_t i = 0; ok && i < set->split[split].n; i++, out += set->block + 1)
    ok = read_window(in, f, path, (uint64_t)picks[i] * set->block, set->block + 1, out);
  fclose(f);
  in->found[split] = tokens;
  return ok;
}

/* ---- text ---- */

struct text {
  const char *path, *bytes;
  size_t n;
  const struct data_gpt2 *gpt2; /* NULL: bytes */
};

static bool open_text(struct text_intake *in, bool bytes, struct text *t)
{
  t->path = find_file(in, in->source->name, "bible.data", true, bible_folder);
  if (!t->path) {
    diag_hint(in->diag, "%s", in->source->mend);
    return false;
  }
  t->bytes = data_bible_read(in->scratch, t->path, &t->n, in->diag);
  if (!t->bytes || bytes)
    return t->bytes != NULL;
  const char *vocab = find_file(in, "gpt2", "vocab.json", false, NULL);
  const char *merges = vocab ? find_file(in, "gpt2", "merges.txt", false, NULL) : NULL;
  if (!merges) {
    diag_hint(in->diag, "put GPT-2's vocab.json and merges.txt into DIR/gpt2 and name DIR with "
                        "--data DIR");
    return false;
  }
  t->gpt2 = data_gpt2_new(in->scratch, vocab, merges, in->diag);
  return t->gpt2 != NULL;
}

static bool take_text(struct text_intake *in, const struct text *t, struct data_set *set,
                      enum data_split split, uint16_t *out)
{
  size_t test = t->n / 10, train = t->n - test;
  const char *from = split == DATA_TRAIN ? t->bytes : t->bytes + train;
  struct data_tokens tokens = {.n = split == DATA_TRAIN ? train : test};
  if (t->gpt2) {
    if (!data_gpt2_encode(t->gpt2, in->scratch, t->path, from, tokens.n, &tokens, in->diag))
      return false;
  } else {
    tokens.ids = arena_array(in->scratch, tokens.n + 1, sizeof *tokens.ids);
    for (size_t i = 0; i < tokens.n; i++)
      tokens.ids[i] = (unsigned char)from[i];
  }
  uint32_t windows = count_windows(in, set, split, tokens.n, t->path);
  if (!windows)
    return false;
  const uint32_t *picks = pick_windows(in, split, set->split[split].n, windows);
  for (size_t i = 0; i < set->split[split].n; i++)
    memcpy(out + i * (set->block + 1), tokens.ids + (size_t)picks[i] * set->block,
           (set->block + 1) * sizeof *out);
  in->found[split] = tokens.n;
  return true;
}

static void find_digest(struct data_set *set)
{
  struct hasher *h = hash_begin();
  hash_u64(h, set->block);
  hash_u64(h, set->classes);
  for (int k = 0; k < DATA_READ_SPLITS; k++) {
    const struct data_samples *s = &set->split[k];
    hash_u64(h, s->n);
    hash_bytes(h, s->tokens, (size_t)s->n * (set->block + 1) * sizeof *s->tokens);
  }
  set->digest = hash_end(h);
}

bool data_text_load(struct arena *a, const struct data_spec *spec, const char *const *dirs,
                    size_t n_dirs, struct data_set *set, struct diag *d)
{
  if (!data_text_shape(spec, set, d))
    return false;
  struct text_intake in = {.source = find_source(spec->name),
                           .dirs = dirs,
                           .n_dirs = n_dirs,
                           .scratch = arena_new(),
                           .diag = d};
  struct text text = {0};
  bool ok = !in.source->bible || open_text(&in, is_bytes(spec), &text);
  for (int k = 0; ok && k < DATA_READ_SPLITS; k++) {
    uint16_t *tokens = arena_array(a, set->split[k].n, (set->block + 1) * sizeof *tokens);
    set->split[k].tokens = tokens;
    ok = in.source->bible ? take_text(&in, &text, set, (enum data_split)k, tokens)
                          : read_token_file(&in, set, (enum data_split)k, tokens);
  }
  arena_free(in.scratch);
  if (!ok)
    return false;
  const uint64_t *known = is_bytes(spec) ? in.source->bytes : in.source->tokens;
  for (int k = 0; k < DATA_READ_SPLITS; k++)
    if (in.found[k] != known[k])
      diag_warning(d, SPAN_NONE,
                   "data set %s: the %s files hold %" PRIu64 " tokens, the original's %" PRIu64,
                   spec->name, split_name(k), in.found[k], known[k]);
  find_digest(set);
  return true;
}
