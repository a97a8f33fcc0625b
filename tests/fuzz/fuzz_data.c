/* libFuzzer target for what data and results are read from: make check-fuzz FUZZ_TARGET=data
 *
 * The first byte says which file the rest is: IDX labels or images, a CIFAR batch, nanoGPT's
 * tokens, the Bible, GPT-2's vocabulary or merges, or a result.json.  The other files of the data
 * set are good ones. */
#include "config.h"

#include "base/file.h"
#include "engine/data.h"
#include "run/store_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct target {
  const char *data, *file; /* file: in the data folder */
  const char *tokenizer;   /* of a text */
};

static const struct target targets[] = {
    {"mnist", "mnist/train-labels-idx1-ubyte", NULL},
    {"mnist", "mnist/train-images-idx3-ubyte", NULL},
    {"cifar10", "cifar-10-batches-bin/test_batch.bin", NULL},
    {"tinystories", "tinystories/train.bin", "gpt2"},
    {"king_james", "king_james/bible.data", "bytes"},
    {"king_james", "gpt2/vocab.json", "gpt2"},
    {"king_james", "gpt2/merges.txt", "gpt2"},
};

enum { TARGETS = sizeof targets / sizeof *targets, IMAGES = 2, PIXELS = 28 * 28, TOKENS = 40 };

static struct arena *library;
static const char *folder;
static char *good[TARGETS]; /* what the files hold else */
static size_t good_length[TARGETS];

static void check(bool holds, const char *what)
{
  if (!holds) {
    fprintf(stderr, "fuzz_data: %s\n", what);
    abort();
  }
}

static void put(const char *name, const void *bytes, size_t length)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  char *path = file_join(a, folder, name);
  check(file_make_dir(file_dir_name(a, path), d) && file_write_synced(path, bytes, length, d),
        "a file cannot be written");
  arena_free(a);
}

static void keep(unsigned k, const void *bytes, size_t length)
{
  good[k] = arena_copy(library, bytes, length);
  good_length[k] = length;
  put(targets[k].file, bytes, length);
}

static void remove_folder(void)
{
  struct arena *a = arena_new();
  file_remove_tree(folder, diag_new(a));
  arena_free(a);
}

static void make_images(void)
{
  static unsigned char labels[8 + IMAGES] = {0, 0, 8, 1, 0, 0, 0, IMAGES, 3, 9};
  static unsigned char images[16 + IMAGES * PIXELS] = {0, 0, 8,  3, 0, 0, 0,  IMAGES, 0,
                                                       0, 0, 28, 0, 0, 0, 28, 1,      255};
  static unsigned char batch[2 * 3073] = {7};
  keep(0, labels, sizeof labels);
  keep(1, images, sizeof images);
  put("mnist/t10k-labels-idx1-ubyte", labels, sizeof labels);
  put("mnist/t10k-images-idx3-ubyte", images, sizeof images);
  keep(2, batch, sizeof batch);
  for (int k = 1; k <= 5; k++)
    put(arena_printf(library, "cifar-10-batches-bin/data_batch_%d.bin", k), batch, sizeof batch);
}

/* A window of the Bible's file holds codes of 9 bits, each a byte of text. */
static void make_bible(void)
{
  static const char text[] = "Title\nGe1:1 In the beginning God created the heaven and the earth.\n"
                             "Ge1:2 And the earth was without form, and void; and darkness was.\n";
  enum { N = sizeof text - 1, AT = 92 + 8 };
  unsigned char file[AT + 2 * N] = "EC02Compressed Data File";
  const unsigned end = AT + (9 * N + 7) / 8;
  file[86] = N >> 8;
  file[87] = N & 255;
  file[91] = 1;
  file[95] = AT;
  file[98] = (unsigned char)(end >> 8);
  file[99] = end & 255;
  for (size_t i = 0; i < N; i++)
    for (size_t b = 0; b < 8; b++)
      if ((unsigned char)text[i] >> b & 1)
        file[AT + (9 * i + b) / 8] |= (unsigned char)(1 << (9 * i + b) % 8);
  keep(4, file, end);
}

static void make_texts(void)
{
  unsigned char tokens[2 * TOKENS];
  char *vocabulary = arena_strdup(library, "{");
  for (unsigned i = 0; i < TOKENS; i++) {
    tokens[2 * i] = (unsigned char)(i * 7);
    tokens[2 * i + 1] = (unsigned char)i;
  }
  put("tinystories/val.bin", tokens, sizeof tokens);
  keep(3, tokens, sizeof tokens);
  make_bible();
  /* The characters that stand for bytes: the printable ones, then U+0100 and on. */
  for (unsigned b = 0, hidden = 0; b < 256; b++) {
    const bool shown = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    const unsigned c = shown ? b : 256 + hidden++;
    vocabulary = arena_printf(library, "%s\"\\u%04x\":%u,", vocabulary, c, b);
  }
  vocabulary = arena_printf(library, "%s\"th\":256,\"the\":257}", vocabulary);
  keep(5, vocabulary, strlen(vocabulary));
  static const char merges[] = "#version: 0.2\nt h\nth e\n";
  keep(6, merges, sizeof merges - 1);
}

static void write_seeds(const char *dir)
{
  static const char result[] = "{\"key\":\"00000000000000000000000000000000\",\"seconds\":1.5,"
                               "\"values\":{\"loss\":null,\"accuracy\":\"inf\"},\"files\":"
                               "{\"weights\":\"0123456789abcdef0123456789abcdef\"}";
  struct diag *d = diag_new(library);
  for (unsigned k = 0; k <= TARGETS; k++) {
    const size_t n = k < TARGETS ? good_length[k] : sizeof result - 1;
    char *seed = arena_alloc(library, n + 1);
    seed[0] = (char)k;
    memcpy(seed + 1, k < TARGETS ? good[k] : result, n);
    check(file_write_synced(arena_printf(library, "%s/%u", dir, k), seed, n + 1, d),
          "a seed cannot be written");
  }
}

static bool load(struct arena *a, const struct target *t, struct diag *d)
{
  struct data_set set;
  const struct data_spec spec = {
      .name = t->data, .block = t->tokenizer ? 3 : 0, .tokenizer = t->tokenizer, .size = {1, 1}};
  return data_load(a, &spec, &folder, 1, &set, d);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  library = arena_new();
  folder = arena_printf(library, "/dev/shm/mergescape-fuzz-%ld", (long)getpid());
  atexit(remove_folder);
  make_images();
  make_texts();
  struct diag *d = diag_new(library);
  for (unsigned k = 0; k < TARGETS; k++)
    if (!load(library, &targets[k], d))
      check(false, diag_message(d, 0));
  if (getenv("FUZZ_SEEDS"))
    write_seeds(getenv("FUZZ_SEEDS"));
  return 0;
}

/* With the right checksum behind it: a wrong one is all that would be seen. */
static void read_result(struct arena *a, const uint8_t *bytes, size_t length)
{
  struct store_result r = {0};
  char hex[HASH_HEX];
  char *text = arena_alloc(a, length + HASH_HEX + 64);
  memcpy(text, bytes, length);
  hash_hex(hash_of(text, length), hex);
  const int more = snprintf(text + length, HASH_HEX + 64, ",\n  \"checksum\": \"%s\"\n}\n", hex);
  store_json_read(text, length + (size_t)more, (struct hash){0}, a, &r);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
  if (!length)
    return 0;
  const unsigned k = bytes[0] % (TARGETS + 1);
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  if (k == TARGETS) {
    read_result(a, bytes + 1, length - 1);
  } else {
    put(targets[k].file, bytes + 1, length - 1);
    const bool loaded = load(a, &targets[k], d);
    put(targets[k].file, good[k], good_length[k]);
    check(loaded == !diag_errors(d), "it says other than it does");
  }
  arena_free(a);
  return 0;
}
