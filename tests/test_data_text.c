#include "config.h"

#include "engine/data_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <stdio.h>
#include <unistd.h>

/* ---- GPT-2's encoding ---- */

/* A vocabulary of this test's own: the bytes in the order of GPT-2's, then merges. */
static const char *const merges[] = {"h e",      "l l", "he ll",         "hell o",
                                     "\u0120 w", "o r", "\u0120w or",    "l d",
                                     "' s",      "1 2", "\u00c3 \u00a9", "\u010a \u010a"};
enum { MERGES = sizeof merges / sizeof *merges };

static void write_text(const struct scratch *s, const char *name, const char *text)
{
  FILE *f = fopen(scratch_path(s, name), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
  assert_int_equal(fclose(f), 0);
}

/* Tokens 0 to 255 are the bytes, 33 to 126 first, as GPT-2 counts them. */
static char *vocabulary(struct arena *a, bool complete)
{
  char *text = arena_strdup(a, "{");
  unsigned id = 0, hidden = 0;
  for (int shown = 1; shown >= 0; shown--)
    for (unsigned b = 0; b < 256; b++) {
      if (((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174) != shown)
        continue;
      unsigned c = shown ? b : 256 + hidden++;
      if (complete || id != 200)
        text = arena_printf(a, "%s\"\\u%04x\": %u, ", text, c, id);
      id++;
    }
  for (int i = 0; i < MERGES; i++) {
    char *token = arena_strdup(a, merges[i]), *blank = strchr(token, ' ');
    memmove(blank, blank + 1, strlen(blank));
    text = arena_printf(a, "%s\"%s\": %d%s", text, token, 256 + i, i + 1 < MERGES ? ", " : "}");
  }
  return text;
}

static const struct data_gpt2 *load_gpt2(struct scratch *s)
{
  char *text = arena_strdup(s->arena, "#version: 0.2\n");
  for (int i = 0; i < MERGES; i++)
    text = arena_printf(s->arena, "%s%s\n", text, merges[i]);
  write_text(s, "vocab.json", vocabulary(s->arena, true));
  write_text(s, "merges.txt", text);
  const struct data_gpt2 *g = data_gpt2_new(s->arena, scratch_path(s, "vocab.json"),
                                            scratch_path(s, "merges.txt"), s->diag);
  if (!g)
    fail_msg("%s", diag_message(s->diag, 0));
  return g;
}

static void encodes(struct scratch *s, const struct data_gpt2 *g, const char *text, const int *want)
{
  struct data_tokens t;
  if (!data_gpt2_encode(g, s->arena, "text", text, strlen(text), &t, s->diag))
    fail_msg("%s", diag_message(s->diag, 0));
  size_t n = 0;
  for (; want[n] >= 0; n++)
    if (n >= t.n || t.ids[n] != want[n])
      fail_msg("\"%s\": token %zu is %d, not %d", text, n, n < t.n ? t.ids[n] : -1, want[n]);
  assert_int_equal(t.n, n);
}

#define ENCODES(text, ...) encodes(s, g, text, (const int[]){__VA_ARGS__, -1})

enum { BLANK = 220, NEWLINE = 198, HELLO = 259, HELL = 258, WOR = 262, LD = 263, S_END = 264 };

static void merges_go_by_rank(void **state)
{
  struct scratch *s = *state;
  const struct data_gpt2 *g = load_gpt2(s);
  ENCODES("hello", HELLO);
  ENCODES("hello world", HELLO, WOR, LD);
  ENCODES("hellhell", HELL, HELL);
  ENCODES("lll", 257, 75);
  ENCODES("!~", 0, 93);
  ENCODES("\u00e9", 266); /* two bytes that are one token */
}

/* What GPT-2's pattern takes for a word: nothing is merged across its ends. */
static void words_end_as_in_gpt2(void **state)
{
  struct scratch *s = *state;
  const struct data_gpt2 *g = load_gpt2(s);
  ENCODES("he's", 256, S_END);
  ENCODES("'st", S_END, 83);    /* 's, then t */
  ENCODES("x '", 87, BLANK, 6); /* blank and quotation mark are one word, without a merge */
  ENCODES("l'l", 75, 6, 75);
  ENCODES("12", 265);
  ENCODES("a12b", 64, 265, 65);
  ENCODES("  wor", BLANK, WOR); /* the last blank goes with the word */
  ENCODES("wor  ", 86, 261, BLANK, BLANK);
  ENCODES("\n\n", 267);
  ENCODES("\n\nhe", NEWLINE, NEWLINE, 256);
  ENCODES(" ", BLANK);
  ENCODES("\u00a0he", 126, 254, 256); /* a blank that no word begins with */
  ENCODES("h\u00e9", 71, 266);        /* one word of letters */
  ENCODES("o\u00bd", 78, 126, 121);
}

static void odd_characters_have_a_place(void **state)
{
  struct scratch *s = *state;
  const struct data_gpt2 *g = load_gpt2(s);
  struct data_tokens t;
  static const struct {
    const char *text, *message;
  } cases[] = {{"ab\xe4\xb8\xad", "text: character U+4E2D at byte 2"},
               {"ab\xff", "byte 2 is not UTF-8"},
               {"\xc3", "byte 0 is not UTF-8"},
               {"\xc0\xaf", "byte 0 is not UTF-8"},
               {"x\xed\xa0\x80", "byte 1 is not UTF-8"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_false(
        data_gpt2_encode(g, s->arena, "text", cases[i].text, strlen(cases[i].text), &t, s->diag));
    scratch_expect(s, cases[i].message, NULL);
  }
  assert_true(data_gpt2_encode(g, s->arena, "text", "", 0, &t, s->diag));
  assert_int_equal(t.n, 0);
}

static void damaged_vocabularies(void **state)
{
  struct scratch *s = *state;
  const char *vocab = scratch_path(s, "vocab.json"), *list = scratch_path(s, "merges.txt");
  load_gpt2(s);
  write_text(s, "merges.txt", "#version\nh e\nh zz\n");
  assert_null(data_gpt2_new(s->arena, vocab, list, s->diag));
  scratch_expect(s, "merges.txt:3: not two tokens", "one model");
  write_text(s, "merges.txt", "#version\nhe\n");
  assert_null(data_gpt2_new(s->arena, vocab, list, s->diag));
  scratch_expect(s, "merges.txt:2: not two tokens", NULL);
  static const char *const texts[][2] = {{"{\"a\": 1", "vocab.json:1: "},
                                         {"[1]", "not an object"},
                                         {"{\"a\": 50257}", "token \"a\" has no number"},
                                         {"{\"a\": -1}", "token \"a\" has no number"}};
  for (int i = 0; i < 4; i++) {
    write_text(s, "vocab.json", texts[i][0]);
    assert_null(data_gpt2_new(s->arena, vocab, list, s->diag));
    scratch_expect(s, texts[i][1], NULL);
  }
  write_text(s, "vocab.json", vocabulary(s->arena, false));
  assert_null(data_gpt2_new(s->arena, vocab, list, s->diag));
  scratch_expect(s, "which byte 12 is written as", NULL);
  assert_int_equal(unlink(list), 0);
  write_text(s, "vocab.json", vocabulary(s->arena, true));
  assert_null(data_gpt2_new(s->arena, vocab, list, s->diag));
  scratch_expect(s, "merges.txt", NULL);
}

/* ---- token files ---- */

enum { TOKENS = 1000, TEST_TOKENS = 101, BLOCK = 10 };

static unsigned token(unsigned i)
{
  return i * 50 + 7;
}

static void write_tokens(const struct scratch *s, const char *name, unsigned n, size_t bytes)
{
  unsigned char *p = arena_alloc(s->arena, 2 * (size_t)n + 2);
  for (unsigned i = 0; i < n; i++) {
    p[2 * i] = (unsigned char)token(i);
    p[2 * i + 1] = (unsigned char)(token(i) >> 8);
  }
  FILE *f = fopen(scratch_path(s, name), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(p, 1, bytes, f), bytes);
  assert_int_equal(fclose(f), 0);
}

static bool load(struct scratch *s, const struct data_spec *spec, struct data_set *set)
{
  const char *dirs[] = {s->dir};
  return data_load(s->arena, spec, dirs, 1, set, s->diag);
}

static void write_stories(const struct scratch *s)
{
  assert_true(file_make_dir(scratch_path(s, "tinystories"), s->diag));
  write_tokens(s, "tinystories/train.bin", TOKENS, 2 * TOKENS);
  write_tokens(s, "tinystories/val.bin", TEST_TOKENS, 2 * TEST_TOKENS);
}

static const struct data_spec stories = {
    .name = "tinystories", .block = BLOCK, .tokenizer = "gpt2", .size = {40, 10}};

static void samples_are_windows_of_a_file(void **state)
{
  struct scratch *s = *state;
  struct data_set set, less;
  write_stories(s);
  assert_true(load(s, &stories, &set));
  assert_int_equal(diag_errors(s->diag), 0);
  assert_int_equal(diag_count(s->diag), 2); /* not as many tokens as the original */
  diag_clear(s->diag);
  assert_int_equal(set.classes, 50257);
  assert_int_equal(set.width, BLOCK);
  assert_int_equal(set.targets, BLOCK);
  bool seen[TOKENS / BLOCK] = {false}, ordered = true;
  for (unsigned i = 0, last = 0; i < 40; i++) {
    const uint16_t *t = set.split[DATA_TRAIN].tokens + i * (BLOCK + 1);
    unsigned first = (t[0] - 7u) / 50;
    assert_true(first % BLOCK == 0 && first + BLOCK < TOKENS);
    assert_false(seen[first / BLOCK]);
    seen[first / BLOCK] = true;
    ordered = ordered && first >= last;
    last = first;
    for (unsigned k = 0; k <= BLOCK; k++)
      assert_int_equal(t[k], token(first + k));
  }
  assert_false(ordered);
  /* All of the test split, in order: 101 tokens are 10 windows and the last target. */
  for (unsigned i = 0; i < 10; i++)
    assert_int_equal(set.split[DATA_TEST].tokens[i * (BLOCK + 1) + BLOCK], token(10 * i + 10));
  struct data_spec fewer = stories;
  fewer.size[DATA_TRAIN] = 7;
  assert_true(load(s, &fewer, &less));
  assert_memory_equal(less.split[0].tokens, set.split[0].tokens,
                      7 * (BLOCK + 1) * sizeof *less.split[0].tokens);
  assert_false(hash_equal(less.digest, set.digest));
  /* The folder itself may be named; another data set's of the same files may not. */
  const char *dirs[] = {scratch_path(s, "tinystories")};
  assert_true(data_load(s->arena, &stories, dirs, 1, &less, s->diag));
  assert_true(hash_equal(less.digest, set.digest));
  diag_clear(s->diag);
  fewer.name = "wikitext103";
  assert_false(data_load(s->arena, &fewer, dirs, 1, &less, s->diag));
  scratch_expect(s, "wikitext103: cannot find train.bin", "prepare.py");
}

static void batches_hold_tokens_and_those_that_follow(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  write_stories(s);
  assert_true(load(s, &stories, &set));
  static const uint32_t indices[] = {3, 9, 0};
  const struct data_augment augment = {true, 2};
  float x[3 * BLOCK];
  int32_t labels[3 * BLOCK];
  data_batch(&set, DATA_TEST, indices, 3, &augment, 1, 2, 3, x, labels);
  for (unsigned i = 0; i < 3 * BLOCK; i++) {
    unsigned at = indices[i / BLOCK] * BLOCK + i % BLOCK;
    assert_true(x[i] == (float)token(at));
    assert_int_equal(labels[i], token(at + 1));
  }
}

static void damaged_token_files(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  assert_false(load(s, &stories, &set));
  scratch_expect(s, "tinystories: cannot find train.bin; looked in", "prepare.py");
  write_stories(s);
  write_tokens(s, "tinystories/train.bin", TOKENS, 2 * TOKENS - 1);
  assert_false(load(s, &stories, &set));
  scratch_expect(s, "cut off: 1999 bytes", "prepare.py");
  write_tokens(s, "tinystories/train.bin", TOKENS, 0);
  assert_false(load(s, &stories, &set));
  scratch_expect(s, "0 tokens are 0 train samples of 10, but 40 are asked for", "ask for fewer");
  write_tokens(s, "tinystories/train.bin", 400, 800); /* the last one has no target */
  assert_false(load(s, &stories, &set));
  scratch_expect(s, "400 tokens are 39 train samples", NULL);
  write_tokens(s, "tinystories/train.bin", 1100, 2200);
  struct data_spec all = stories;
  all.size[DATA_TRAIN] = 109;
  assert_false(load(s, &all, &set));
  scratch_expect(s, "token 50257 at place 1005 is outside 0 to 50256", "least byte first");
  assert_int_equal(unlink(scratch_path(s, "tinystories/train.bin")), 0);
  assert_true(file_make_dir(scratch_path(s, "tinystories/train.bin"), s->diag));
  assert_false(load(s, &stories, &set));
  scratch_expect(s, "train.bin", "irectory");
}

static void shapes_that_cannot_be(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  struct data_spec spec = stories;
  spec.tokenizer = "bytes";
  assert_false(data_shape(&spec, &set, s->diag));
  scratch_expect(s, "its files hold GPT-2's tokens", "tokenizer = gpt2");
  spec.tokenizer = "words";
  assert_false(data_shape(&spec, &set, s->diag));
  scratch_expect(s, "unknown tokenizer \"words\"", "bytes");
  spec = (struct data_spec){.name = "king_james", .tokenizer = "bytes"};
  assert_false(data_shape(&spec, &set, s->diag));
  scratch_expect(s, "no tokens", NULL);
  spec.block = 64;
  spec.size[DATA_TEST] = 6466;
  assert_false(data_shape(&spec, &set, s->diag));
  scratch_expect(s, "6466 test samples of 64 tokens asked for, but it has 6465", "6465");
  spec.size[DATA_TEST] = 0;
  assert_true(data_shape(&spec, &set, s->diag));
  assert_int_equal(set.split[DATA_TEST].n, 6465);
  assert_int_equal(set.split[DATA_TRAIN].n, 3724064 / 64);
  assert_int_equal(set.classes, 256);
  spec.name = "king_jams";
  assert_false(data_shape(&spec, &set, s->diag));
  scratch_expect(s, "king_jams", "king_james");
}

/* ---- the Bible ---- */

enum { WINDOW = 64, HEADER = 92 };

/* Packs without ever repeating a string: each byte is its own code of 9 bits, and the table
 * grows by one a code; windows of 64 bytes stay below 512 codes. */
static unsigned char *pack(struct arena *a, const char *text, size_t *size)
{
  size_t n = strlen(text), windows = (n + WINDOW - 1) / WINDOW;
  size_t table = HEADER + 4 * (windows + 1), at = table,
         most = table + windows * (WINDOW * 9 / 8 + 8);
  unsigned char *file = arena_alloc(a, most);
  memcpy(file, "EC02Compressed Data File", 24);
  file[84 + 3] = WINDOW;
  file[88 + 3] = (unsigned char)windows;
  for (size_t w = 0; w <= windows; w++) {
    file[HEADER + 4 * w + 2] = (unsigned char)(at >> 8);
    file[HEADER + 4 * w + 3] = (unsigned char)at;
    size_t bits = 0;
    for (size_t i = w * WINDOW; i < n && i < (w + 1) * WINDOW; i++, bits += 9)
      for (int k = 0; k < 9; k++)
        file[at + (bits + k) / 8] |=
            (unsigned char)(((unsigned char)text[i] >> k & 1) << (bits + k) % 8);
    at += (bits + 7) / 8;
  }
  *size = at;
  return file;
}

static char *read_bible(struct scratch *s, const unsigned char *file, size_t size, size_t *n)
{
  assert_true(file_write_synced(scratch_path(s, "bible.data"), file, size, s->diag));
  return data_bible_read(s->arena, scratch_path(s, "bible.data"), n, s->diag);
}

static void a_bible_is_unpacked(void **state)
{
  struct scratch *s = *state;
  static const char verses[] = "A title, with a date.\n"
                               "Ge1:1 In the beginning was a test: it was short.\n"
                               "Ge1:2 And it had a second verse, \n"
                               "1Sm12:13 and a third one, in the book of tests.\n";
  static const char want[] =
      "In the beginning was a test: it was short.\nAnd it had a second verse, \n"
      "and a third one, in the book of tests.\n";
  size_t size, n;
  unsigned char *file = pack(s->arena, verses, &size);
  const char *text = read_bible(s, file, size, &n);
  if (!text)
    fail_msg("%s", diag_message(s->diag, 0));
  assert_int_equal(n, strlen(want));
  assert_memory_equal(text, want, n);
}

static void damaged_bibles(void **state)
{
  struct scratch *s = *state;
  size_t size, n;
  unsigned char *file = pack(s->arena,
                             "Title of it\nGe1:1 "
                             "This is as long as it takes to fill "
                             "two windows of sixty-four bytes.\n",
                             &size);
  static const size_t sizes[] = {0, 50, 95, 110};
  for (int i = 0; i < 4; i++) {
    assert_null(read_bible(s, file, sizes[i], &n));
    scratch_expect(s, "bible.data: ", "bible-kjv-text");
  }
  assert_null(read_bible(s, file, size - 1, &n));
  scratch_expect(s, "cut off: window 2 of 2", "bible-kjv-text");
  /* Any one byte may be wrong: an answer or a diagnostic. */
  for (size_t i = 0; i < size; i++) {
    unsigned char was = file[i];
    for (int k = 0; k < 3; k++) {
      file[i] = (unsigned char)(k == 0 ? 0 : k == 1 ? 0xff : was ^ 0x55);
      assert_true(read_bible(s, file, size, &n) || diag_errors(s->diag) == 1);
      diag_clear(s->diag);
    }
    file[i] = was;
  }
  /* Windows of 64 MB, which would ask for more memory than any text needs. */
  memcpy(file + 84, (unsigned char[]){4, 0, 0, 0}, 4);
  assert_null(read_bible(s, file, size, &n));
  scratch_expect(s, "its header does not fit its length", NULL);
  file = pack(s->arena, "Title\nGe1:1 verse\nno reference\n", &size);
  assert_null(read_bible(s, file, size, &n));
  scratch_expect(s, "does not begin with a reference", NULL);
}

static void another_bible_is_used_and_told_of(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  size_t size;
  char *verses = arena_strdup(s->arena, "Title\n");
  for (int i = 0; i < 40; i++)
    verses = arena_printf(s->arena, "%sGe1:%d %08d, %08d.\n", verses, i, i, 2 * i);
  unsigned char *file = pack(s->arena, verses, &size);
  assert_true(file_write_synced(scratch_path(s, "bible.data"), file, size, s->diag));
  /* 40 lines of 20 bytes: the last 80 are the test split. */
  struct data_spec spec = {
      .name = "king_james", .block = 19, .tokenizer = "bytes", .size = {37, 4}};
  assert_true(load(s, &spec, &set));
  assert_int_equal(diag_count(s->diag), 2);
  diag_clear(s->diag);
  assert_int_equal(set.split[DATA_TEST].tokens[0], '0');
  assert_int_equal(set.split[DATA_TEST].tokens[6], '3');
  assert_int_equal(set.split[DATA_TEST].tokens[7], '6');
  spec.size[DATA_TEST] = 5;
  assert_false(load(s, &spec, &set));
  scratch_expect(s, "80 tokens are 4 test samples of 19, but 5", "bible-kjv-text");
  spec.size[DATA_TEST] = 4;
  spec.tokenizer = "gpt2";
  assert_false(load(s, &spec, &set));
  scratch_expect(s, "cannot find vocab.json", "DIR/gpt2");
  assert_true(file_make_dir(scratch_path(s, "gpt2"), s->diag));
  load_gpt2(s);
  assert_int_equal(rename(scratch_path(s, "vocab.json"), scratch_path(s, "gpt2/vocab.json")), 0);
  assert_int_equal(rename(scratch_path(s, "merges.txt"), scratch_path(s, "gpt2/merges.txt")), 0);
  spec.size[DATA_TRAIN] = 30;
  assert_true(load(s, &spec, &set));
  diag_clear(s->diag);
  assert_int_equal(set.split[DATA_TEST].tokens[0], 15); /* "0" */
}

/* What is known of the real text, where Debian's package is installed. */
static void the_real_king_james(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  static const struct data_spec spec = {.name = "king_james", .block = 64, .tokenizer = "bytes"};
  static const char first[] = "In the beginning God created the heaven and the earth.\nAnd the ea";
  if (!file_exists("/usr/lib/bible.data"))
    skip();
  assert_true(data_load(s->arena, &spec, NULL, 0, &set, s->diag));
  assert_int_equal(diag_count(s->diag), 0); /* the counts of the table */
  assert_int_equal(set.split[DATA_TRAIN].n, 58188);
  for (int k = 0; k <= 64; k++)
    assert_int_equal(set.split[DATA_TRAIN].tokens[k], first[k]);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(merges_go_by_rank),
      SCRATCH_TEST(words_end_as_in_gpt2),
      SCRATCH_TEST(odd_characters_have_a_place),
      SCRATCH_TEST(damaged_vocabularies),
      SCRATCH_TEST(samples_are_windows_of_a_file),
      SCRATCH_TEST(batches_hold_tokens_and_those_that_follow),
      SCRATCH_TEST(damaged_token_files),
      SCRATCH_TEST(shapes_that_cannot_be),
      SCRATCH_TEST(a_bible_is_unpacked),
      SCRATCH_TEST(damaged_bibles),
      SCRATCH_TEST(another_bible_is_used_and_told_of),
      SCRATCH_TEST(the_real_king_james),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
