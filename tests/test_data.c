#include "config.h"

#include "engine/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum {
  SIDE = 28,
  AREA = SIDE * SIDE,
  TRAIN = 50,
  TEST = 20,
  MAGIC_LABELS = 0x801,
  MAGIC_IMAGES = 0x803
};

/* Item i of a fixture: its number in the first two pixels, a pattern behind. */
static uint8_t pixel(unsigned item, unsigned k)
{
  if (k < 2)
    return (uint8_t)(k ? item >> 8 : item);
  return (uint8_t)(item * 31 + k * 7 + k / SIDE * 3);
}

static uint8_t label(unsigned item)
{
  return (uint8_t)(item * 3 % 10);
}

static void put_bytes(const char *path, const void *bytes, size_t n, bool gzip)
{
  if (gzip) {
    gzFile f = gzopen(path, "wb1");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, (unsigned)n), n);
    assert_int_equal(gzclose(f), Z_OK);
  } else {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
  }
}

struct idx {
  uint8_t *bytes;
  size_t n;
};

static struct idx make_idx(struct arena *a, uint32_t magic, unsigned items, const char *side)
{
  unsigned rank = magic == MAGIC_IMAGES ? 3 : 1;
  uint32_t words[4] = {magic, items, SIDE, (uint32_t)(SIDE + (side ? atoi(side) : 0))};
  size_t each = rank == 3 ? AREA : 1, head = 4 * (1 + rank);
  struct idx f = {arena_array(a, 1, head + items * each), head + items * each};
  for (unsigned i = 0; i <= rank; i++)
    for (unsigned k = 0; k < 4; k++)
      f.bytes[4 * i + k] = (uint8_t)(words[i] >> (24 - 8 * k));
  for (unsigned i = 0; i < items; i++)
    for (size_t k = 0; k < each; k++)
      f.bytes[head + i * each + k] = rank == 3 ? pixel(i, (unsigned)k) : label(i);
  return f;
}

static char *idx_path(struct scratch *s, const char *folder, bool train, bool images, bool gzip)
{
  const char *name = arena_printf(s->arena, "%s-%s-ubyte%s", train ? "train" : "t10k",
                                  images ? "images-idx3" : "labels-idx1", gzip ? ".gz" : "");
  return file_join(s->arena, folder, name);
}

static char *make_fixture(struct scratch *s, const char *name, bool gzip)
{
  char *folder = scratch_path(s, name);
  assert_true(file_make_dir(folder, s->diag));
  for (int i = 0; i < 4; i++) {
    bool train = i < 2, images = i % 2;
    struct idx f =
        make_idx(s->arena, images ? MAGIC_IMAGES : MAGIC_LABELS, train ? TRAIN : TEST, NULL);
    put_bytes(idx_path(s, folder, train, images, gzip), f.bytes, f.n, gzip);
  }
  return folder;
}

static bool load(struct scratch *s, const struct data_spec *spec, struct data_set *set)
{
  const char *dirs[] = {scratch_path(s, "nowhere"), s->dir};
  return data_load(s->arena, spec, dirs, 2, set, s->diag);
}

/* The fixtures are smaller than the originals: a warning a split, no more. */
static void must_load(struct scratch *s, const struct data_spec *spec, struct data_set *set)
{
  struct data_set shape;
  if (!load(s, spec, set))
    fail_msg("%s", diag_message(s->diag, 0));
  assert_int_equal(diag_errors(s->diag), 0);
  assert_int_equal(diag_count(s->diag), 2);
  assert_non_null(strstr(diag_message(s->diag, 0), "hold"));
  diag_clear(s->diag);
  assert_true(data_shape(spec, &shape, s->diag));
  assert_int_equal(shape.channels, set->channels);
  assert_int_equal(shape.height, set->height);
  assert_int_equal(shape.width, set->width);
  assert_int_equal(shape.classes, set->classes);
  for (int k = 0; k < DATA_SPLIT_COUNT; k++)
    assert_int_equal(shape.split[k].n, set->split[k].n);
}

static const struct data_spec small = {.name = "fashion_mnist", .size = {TRAIN, TEST}};

static void shapes_without_files(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  assert_true(data_shape(&(struct data_spec){.name = "fashion_mnist"}, &set, s->diag));
  assert_int_equal(set.channels, 1);
  assert_int_equal(set.height, 28);
  assert_int_equal(set.classes, 10);
  assert_int_equal(set.split[DATA_TRAIN].n, 60000);
  assert_int_equal(set.split[DATA_TEST].n, 10000);
  struct data_spec pairs = {.name = "cifar10", .image_size = 16, .pairs = true, .size = {70000, 0}};
  assert_true(data_shape(&pairs, &set, s->diag));
  assert_int_equal(set.channels, 6);
  assert_int_equal(set.width, 16);
  assert_int_equal(set.classes, 100);
  assert_int_equal(set.split[DATA_TRAIN].n, 70000);
  assert_int_equal(diag_count(s->diag), 0);
}

static void impossible_shapes(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  struct data_spec spec = {.name = "fashion_mist"};
  assert_false(data_shape(&spec, &set, s->diag));
  scratch_expect(s, "unknown data set \"fashion_mist\"", "fashion_mnist");
  static const unsigned sizes[] = {9, 27, 56};
  for (int i = 0; i < 3; i++) {
    spec = (struct data_spec){.name = "fashion_mnist", .image_size = sizes[i]};
    assert_false(data_shape(&spec, &set, s->diag));
    scratch_expect(s, "28x28 images cannot be average-pooled", "divide 28");
  }
  spec = (struct data_spec){.name = "fashion_mnist", .size = {0, 10001}};
  assert_false(data_shape(&spec, &set, s->diag));
  scratch_expect(s, "10001 test samples asked for, but it has 10000", "10000 or fewer");
}

static void plain_and_gzipped_are_the_same(void **state)
{
  struct scratch *s = *state;
  struct data_set plain, gz;
  char *folder = make_fixture(s, "fashion-mnist", false);
  must_load(s, &small, &plain);
  assert_true(file_remove_tree(folder, s->diag));
  make_fixture(s, ".", true); /* and in the data folder itself */
  must_load(s, &small, &gz);
  assert_true(hash_equal(plain.digest, gz.digest));
  for (unsigned i = 0; i < TRAIN; i++) {
    assert_int_equal(plain.split[DATA_TRAIN].labels[i], label(i));
    for (unsigned k = 0; k < AREA; k++)
      assert_int_equal(plain.split[DATA_TRAIN].pixels[i * AREA + k], pixel(i, k));
  }
}

static unsigned item_of(const uint8_t *p, unsigned channels)
{
  return p[0] | (unsigned)p[channels] << 8;
}

static void subsets_are_distinct_and_nested(void **state)
{
  struct scratch *s = *state;
  struct data_set big, little;
  make_fixture(s, "fashion-mnist", true);
  must_load(s, &(struct data_spec){.name = "fashion_mnist", .size = {40, 20}}, &big);
  must_load(s, &(struct data_spec){.name = "fashion_mnist", .size = {15, 20}}, &little);
  assert_false(hash_equal(big.digest, little.digest));
  bool seen[TRAIN] = {false}, ordered = true;
  for (unsigned i = 0, last = 0; i < 40; i++) {
    unsigned item = item_of(big.split[0].pixels + i * AREA, 1);
    assert_true(item < TRAIN);
    assert_false(seen[item]);
    seen[item] = true;
    ordered = ordered && item >= last;
    last = item;
    assert_int_equal(big.split[0].labels[i], label(item));
  }
  assert_false(ordered);
  assert_memory_equal(big.split[0].pixels, little.split[0].pixels, 15 * AREA);
}

static void pooling_rounds_to_nearest(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  make_fixture(s, "fashion-mnist", false);
  for (unsigned pool = 2; pool <= 28; pool += pool == 2 ? 2 : pool == 4 ? 3 : 21) {
    struct data_spec spec = small;
    spec.image_size = SIDE / pool;
    must_load(s, &spec, &set);
    unsigned side = SIDE / pool;
    assert_int_equal(set.height, side);
    for (unsigned i = 0; i < TRAIN; i++)
      for (unsigned y = 0; y < side; y++)
        for (unsigned x = 0; x < side; x++) {
          double sum = 0;
          for (unsigned k = 0; k < pool * pool; k++)
            sum += pixel(i, (y * pool + k / pool) * SIDE + x * pool + k % pool);
          assert_int_equal(set.split[0].pixels[(i * side + y) * side + x],
                           (int)floor(sum / (pool * pool) + 0.5));
        }
  }
}

static void pairs_compose_labels_and_channels(void **state)
{
  struct scratch *s = *state;
  struct data_set set, again;
  struct data_spec spec = {.name = "fashion_mnist", .pairs = true, .size = {200, 30}};
  make_fixture(s, "fashion-mnist", true);
  must_load(s, &spec, &set);
  assert_int_equal(set.channels, 2);
  assert_int_equal(set.classes, 100);
  unsigned used = 0;
  bool seen[TRAIN] = {false};
  for (unsigned i = 0; i < 200; i++) {
    const uint8_t *p = set.split[0].pixels + (size_t)i * 2 * AREA;
    unsigned a = item_of(p, 2), b = item_of(p + 1, 2);
    assert_true(a < TRAIN && b < TRAIN);
    used += !seen[a];
    seen[a] = true;
    assert_int_equal(set.split[0].labels[i], 10 * label(a) + label(b));
    for (unsigned k = 0; k < AREA; k++) {
      assert_int_equal(p[2 * k], pixel(a, k));
      assert_int_equal(p[2 * k + 1], pixel(b, k));
    }
  }
  assert_true(used > 40); /* 200 draws miss few of 50 */
  must_load(s, &spec, &again);
  assert_true(hash_equal(set.digest, again.digest));
}

static void labels_of_pairs(void **state)
{
  struct scratch *s = *state;
  struct data_set both, one;
  struct data_spec spec = {.name = "fashion_mnist", .pairs = true, .size = {200, 30}};
  make_fixture(s, "fashion-mnist", true);
  must_load(s, &spec, &both);
  for (int second = 0; second < 2; second++) {
    spec.labels = second ? DATA_LABELS_SECOND : DATA_LABELS_FIRST;
    must_load(s, &spec, &one);
    assert_int_equal(one.classes, 10);
    assert_memory_equal(one.split[0].pixels, both.split[0].pixels, 200 * 2 * AREA);
    for (unsigned i = 0; i < 200; i++)
      assert_int_equal(one.split[0].labels[i],
                       second ? both.split[0].labels[i] % 10 : both.split[0].labels[i] / 10);
    assert_false(hash_equal(one.digest, both.digest));
  }
}

static void transformed_images(void **state)
{
  struct scratch *s = *state;
  struct data_set plain, turned, inverted;
  struct data_spec spec = {.name = "fashion_mnist", .pairs = true, .size = {20, 30}};
  make_fixture(s, "fashion-mnist", true);
  must_load(s, &spec, &plain);
  spec.transform = DATA_TURNED;
  must_load(s, &spec, &turned);
  spec.transform = DATA_INVERTED;
  must_load(s, &spec, &inverted);
  for (int k = 0; k < DATA_READ_SPLITS; k++)
    for (size_t i = 0; i < plain.split[k].n; i++)
      for (size_t y = 0; y < SIDE; y++)
        for (size_t x = 0; x < SIDE; x++)
          for (size_t c = 0; c < 2; c++) {
            const uint8_t p = plain.split[k].pixels[((i * SIDE + y) * SIDE + x) * 2 + c];
            /* Clockwise: a row becomes a column, counted from the right. */
            assert_int_equal(
                turned.split[k].pixels[((i * SIDE + x) * SIDE + (SIDE - 1 - y)) * 2 + c], p);
            assert_int_equal(inverted.split[k].pixels[((i * SIDE + y) * SIDE + x) * 2 + c],
                             255 - p);
          }
}

/* Labels and order stay, and training data are as they were; what a shift does to one
 * sample does not depend on the others. */
static void shifted_split(void **state)
{
  struct scratch *s = *state;
  struct data_set plain, set, fewer;
  struct data_spec spec = small;
  make_fixture(s, "fashion-mnist", true);
  must_load(s, &spec, &plain);
  assert_int_equal(plain.split[DATA_OOD].n, 0);
  const unsigned n = plain.split[DATA_TEST].n;
  for (enum data_shift shift = DATA_NOISE; shift <= DATA_MOVED; shift++) {
    spec.shift = shift;
    must_load(s, &spec, &set);
    const struct data_samples *ood = &set.split[DATA_OOD], *test = &plain.split[DATA_TEST];
    assert_int_equal(ood->n, n);
    assert_memory_equal(ood->labels, test->labels, n * sizeof *test->labels);
    assert_memory_equal(set.split[DATA_TRAIN].pixels, plain.split[DATA_TRAIN].pixels,
                        (size_t)plain.split[DATA_TRAIN].n * AREA);
    assert_memory_equal(set.split[DATA_TEST].pixels, test->pixels, (size_t)n * AREA);
    assert_true(set.mean[0] == plain.mean[0] && set.std[0] == plain.std[0]);
    double difference = 0, square = 0;
    for (size_t i = 0; i < (size_t)n * AREA; i++) {
      const double d = (double)ood->pixels[i] - test->pixels[i];
      difference += fabs(d);
      square += d * d;
      if (shift == DATA_MOVED)
        assert_int_equal(ood->pixels[i], i % SIDE < 4 || i % AREA / SIDE < 4
                                             ? 0
                                             : test->pixels[i - 4 * SIDE - 4]);
    }
    assert_true(difference / (n * AREA) > 1);
    /* Clipping takes away from the noise. */
    if (shift == DATA_NOISE)
      assert_true(sqrt(square / (n * AREA)) / 255 < 0.16 && sqrt(square / (n * AREA)) / 255 > 0.1);
    struct data_spec half = spec;
    half.size[DATA_TEST] = n / 2;
    must_load(s, &half, &fewer);
    for (size_t i = 0; i < n / 2 && !memcmp(fewer.split[1].pixels, test->pixels, n / 2 * AREA); i++)
      assert_memory_equal(fewer.split[DATA_OOD].pixels + i * AREA, ood->pixels + i * AREA, AREA);
  }
}

static void contrast_keeps_the_mean(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  struct data_spec spec = small;
  spec.shift = DATA_CONTRAST;
  make_fixture(s, "fashion-mnist", true);
  must_load(s, &spec, &set);
  for (size_t i = 0; i < set.split[DATA_TEST].n; i++) {
    const uint8_t *was = set.split[DATA_TEST].pixels + i * AREA;
    const uint8_t *is = set.split[DATA_OOD].pixels + i * AREA;
    double mean = 0;
    for (size_t k = 0; k < AREA; k++)
      mean += was[k] / (double)AREA;
    for (size_t k = 0; k < AREA; k++)
      assert_true(fabs(is[k] - (mean + 0.4 * (was[k] - mean))) <= 0.5 + 1e-9);
  }
}

static void moments_are_those_of_the_training_pixels(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  struct data_spec spec = {
      .name = "fashion_mnist", .image_size = 14, .pairs = true, .size = {70, 10}};
  make_fixture(s, "fashion-mnist", true);
  must_load(s, &spec, &set);
  for (unsigned c = 0; c < 2; c++) {
    double n = 70 * 14 * 14, mean = 0, variance = 0;
    for (unsigned i = 0; i < n; i++)
      mean += set.split[0].pixels[2 * i + c] / 255.0 / n;
    for (unsigned i = 0; i < n; i++)
      variance += pow(set.split[0].pixels[2 * i + c] / 255.0 - mean, 2) / n;
    assert_true(fabs(set.mean[c] - mean) < 1e-6);
    assert_true(fabs(set.std[c] - sqrt(variance)) < 1e-6);
  }
}

/* Damaged files: one diagnostic each, with the path. ------------------------ */

static void refuses(struct scratch *s, const char *a, const char *b)
{
  struct data_set set;
  assert_false(load(s, &small, &set));
  scratch_expect(s, a, b);
}

static void missing_files_say_where(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  assert_false(load(s, &small, &set));
  assert_non_null(strstr(diag_message(s->diag, 0), scratch_path(s, "nowhere/fashion-mnist")));
  scratch_expect(s, "train-labels-idx1-ubyte.gz", "dataset-fashion-mnist");
  refuses(s, scratch_path(s, "fashion-mnist"), "--data");
  char *folder = make_fixture(s, "fashion-mnist", true);
  assert_int_equal(unlink(idx_path(s, folder, false, true, true)), 0);
  refuses(s, "t10k-images-idx3-ubyte.gz", s->dir);
  assert_false(data_load(s->arena, &small, NULL, 0, &set, s->diag));
  scratch_expect(s, "no folder", NULL);
}

/* Files of the same names in another data set's folder are not taken. */
static void one_set_is_not_taken_for_another(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  struct data_spec spec = small;
  const char *dirs[] = {make_fixture(s, "fashion-mnist", true)};
  assert_true(data_load(s->arena, &spec, dirs, 1, &set, s->diag));
  diag_clear(s->diag);
  spec.name = "mnist";
  assert_false(data_load(s->arena, &spec, dirs, 1, &set, s->diag));
  scratch_expect(s, "mnist: cannot find", NULL);
}

static void damaged_idx(void **state)
{
  struct scratch *s = *state;
  char *folder = make_fixture(s, "fashion-mnist", false);
  char *images = idx_path(s, folder, true, true, false);
  char *labels = idx_path(s, folder, true, false, false);
  struct idx f = make_idx(s->arena, MAGIC_IMAGES, TRAIN, NULL);
  struct idx l = make_idx(s->arena, MAGIC_LABELS, TRAIN, NULL);
  put_bytes(images, f.bytes, f.n - 1, false);
  refuses(s, images, "cut off after 49 of 50 images");
  put_bytes(images, f.bytes, 7, false);
  refuses(s, images, "cut off");
  put_bytes(images, f.bytes, 0, false);
  refuses(s, images, "cut off");
  put_bytes(images, l.bytes, l.n, false);
  refuses(s, images, "magic number 0x00000801, not 0x00000803");
  struct idx other = make_idx(s->arena, MAGIC_IMAGES, TRAIN, "4");
  put_bytes(images, other.bytes, other.n, false);
  refuses(s, images, "28x32");
  other = make_idx(s->arena, MAGIC_IMAGES, TRAIN - 1, NULL);
  put_bytes(images, other.bytes, other.n, false);
  refuses(s, images, "49 images, but 50 labels");
  uint8_t *longer = arena_alloc(s->arena, f.n + 1);
  memcpy(longer, f.bytes, f.n);
  put_bytes(images, longer, f.n + 1, false);
  refuses(s, images, "longer than its header says");
  put_bytes(images, f.bytes, f.n, false);

  l.bytes[8 + 12] = 10;
  put_bytes(labels, l.bytes, l.n, false);
  refuses(s, labels, "label 10 of item 12 is outside 0 to 9");
  put_bytes(labels, l.bytes, l.n - 3, false);
  refuses(s, labels, "cut off");
  l.bytes[4] = 0x7f; /* a count that no memory could hold */
  put_bytes(labels, l.bytes, l.n, false);
  refuses(s, labels, "has 60000");
  assert_int_equal(unlink(labels), 0);
  assert_int_equal(mkdir(labels, 0777), 0);
  refuses(s, labels, "is a directory");
}

static void damaged_gzip(void **state)
{
  struct scratch *s = *state;
  char *folder = make_fixture(s, "fashion-mnist", true);
  char *images = idx_path(s, folder, true, true, true);
  size_t n;
  char *whole = file_read(s->arena, images, &n, s->diag);
  static const size_t cuts[] = {1, 4, 8, 100};
  for (int i = 0; i < 4; i++) {
    put_bytes(images, whole, n - cuts[i], false);
    refuses(s, images, "remove it and fetch it again");
  }
  whole[n - 6] ^= 1; /* the checksum */
  put_bytes(images, whole, n, false);
  refuses(s, images, "damaged");
  whole[n - 6] ^= 1;
  whole[n / 2] ^= 0x55;
  put_bytes(images, whole, n, false);
  refuses(s, images, "fetch it again");
}

static void too_small_for_the_subset(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  make_fixture(s, "fashion-mnist", true);
  assert_false(load(s, &(struct data_spec){.name = "fashion_mnist", .size = {TRAIN + 1, 1}}, &set));
  scratch_expect(s, "51 samples asked for, but it has 50", "train-labels");
  assert_false(load(s, &(struct data_spec){.name = "fashion_mnist"}, &set));
  scratch_expect(s, "50 items", "60000");
}

/* CIFAR-10 ------------------------------------------------------------------- */

enum { RECORD = 3073, RECORDS = 70 };

static uint8_t cifar_pixel(unsigned record, unsigned c, unsigned k)
{
  return (uint8_t)(record * 13 + c * 80 + k * 3 + k / 32);
}

static uint8_t *cifar_file(struct scratch *s, unsigned first)
{
  uint8_t *bytes = arena_array(s->arena, RECORDS, RECORD);
  for (unsigned i = 0; i < RECORDS; i++) {
    bytes[i * RECORD] = (uint8_t)((first + i) % 10);
    for (unsigned k = 0; k < 3 * 1024; k++)
      bytes[i * RECORD + 1 + k] = cifar_pixel(first + i, k / 1024, k % 1024);
  }
  return bytes;
}

static void cifar_is_read_channels_last(void **state)
{
  struct scratch *s = *state;
  struct data_set set;
  struct data_spec spec = {.name = "cifar10", .size = {5 * RECORDS, RECORDS}};
  assert_true(file_make_dir(scratch_path(s, "cifar-10-batches-bin"), s->diag));
  char *path = NULL;
  for (unsigned i = 0; i < 6; i++) {
    const char *name =
        i < 5 ? arena_printf(s->arena, "data_batch_%u.bin", i + 1) : "test_batch.bin";
    path = file_join(s->arena, scratch_path(s, "cifar-10-batches-bin"), name);
    put_bytes(path, cifar_file(s, i * RECORDS), (size_t)RECORDS * RECORD, false);
  }
  must_load(s, &spec, &set);
  for (unsigned i = 0; i < 5 * RECORDS; i++) {
    assert_int_equal(set.split[0].labels[i], i % 10);
    for (unsigned k = 0; k < 1024; k++)
      for (unsigned c = 0; c < 3; c++)
        assert_int_equal(set.split[0].pixels[(i * 1024 + k) * 3 + c], cifar_pixel(i, c, k));
  }
  spec.image_size = 16;
  must_load(s, &spec, &set);
  for (unsigned c = 0; c < 3; c++) {
    unsigned sum = 2;
    for (unsigned k = 0; k < 4; k++)
      sum += cifar_pixel(5 * RECORDS + 4, c, (6 + k / 2) * 32 + 10 + k % 2);
    assert_int_equal(set.split[1].pixels[((4 * 16 + 3) * 16 + 5) * 3 + c], sum / 4);
  }
  uint8_t *bytes = cifar_file(s, 0);
  put_bytes(path, bytes, (size_t)RECORDS * RECORD - 1, false);
  assert_false(load(s, &spec, &set));
  scratch_expect(s, path, "not a number of 3073-byte records");
  bytes[3 * RECORD] = 77;
  put_bytes(path, bytes, (size_t)RECORDS * RECORD, false);
  assert_false(load(s, &spec, &set));
  scratch_expect(s, path, "label 77 of record 3");
}

/* What is known of the real files, where Debian's package is installed. */
static void the_real_fashion_mnist(void **state)
{
  struct scratch *s = *state;
  static const char *const dirs[] = {"/usr/share/datasets"};
  static const int32_t first[] = {9, 0, 0, 3, 0};
  struct data_set set;
  if (!file_exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz"))
    skip();
  assert_true(
      data_load(s->arena, &(struct data_spec){.name = "fashion_mnist"}, dirs, 1, &set, s->diag));
  assert_int_equal(diag_count(s->diag), 0);
  assert_int_equal(set.split[DATA_TRAIN].n, 60000);
  assert_int_equal(set.split[DATA_TEST].n, 10000);
  unsigned count[2][10] = {{0}};
  for (int k = 0; k < 2; k++)
    for (unsigned i = 0; i < set.split[k].n; i++)
      count[k][set.split[k].labels[i]]++;
  for (int c = 0; c < 10; c++) {
    assert_int_equal(count[0][c], 6000);
    assert_int_equal(count[1][c], 1000);
  }
  for (int i = 0; i < 5; i++)
    assert_int_equal(set.split[DATA_TRAIN].labels[i], first[i]);
  assert_true(fabs(set.mean[0] - 0.2860) < 1e-4); /* the values that everyone uses */
  assert_true(fabs(set.std[0] - 0.3530) < 1e-4);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(shapes_without_files),
      SCRATCH_TEST(impossible_shapes),
      SCRATCH_TEST(plain_and_gzipped_are_the_same),
      SCRATCH_TEST(subsets_are_distinct_and_nested),
      SCRATCH_TEST(pooling_rounds_to_nearest),
      SCRATCH_TEST(pairs_compose_labels_and_channels),
      SCRATCH_TEST(labels_of_pairs),
      SCRATCH_TEST(transformed_images),
      SCRATCH_TEST(shifted_split),
      SCRATCH_TEST(contrast_keeps_the_mean),
      SCRATCH_TEST(moments_are_those_of_the_training_pixels),
      SCRATCH_TEST(missing_files_say_where),
      SCRATCH_TEST(one_set_is_not_taken_for_another),
      SCRATCH_TEST(damaged_idx),
      SCRATCH_TEST(damaged_gzip),
      SCRATCH_TEST(too_small_for_the_subset),
      SCRATCH_TEST(cifar_is_read_channels_last),
      SCRATCH_TEST(the_real_fashion_mnist),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
