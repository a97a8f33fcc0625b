#include "config.h"

#include "engine/data_int.h"
#include "engine/data_text.h"

#include "base/file.h"
#include "base/rng.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const struct data_source sources[] = {
    {"fashion_mnist",
     "fashion-mnist",
     "install Debian's package dataset-fashion-mnist, or name the folder that holds the files with "
     "--data DIR",
     1,
     28,
     28,
     10,
     {60000, 10000},
     data_idx_read},
    {"mnist",
     "mnist",
     "put the four IDX files (gzipped or not) into DIR/mnist and name that folder with --data DIR",
     1,
     28,
     28,
     10,
     {60000, 10000},
     data_idx_read},
    {"cifar10",
     "cifar-10-batches-bin",
     "unpack cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) in DIR and name "
     "that folder with --data DIR",
     3,
     32,
     32,
     10,
     {50000, 10000},
     data_cifar_read},
};

enum { N_SOURCES = sizeof sources / sizeof *sources };

size_t data_source_count(void)
{
  return N_SOURCES;
}

const struct data_source *data_source_at(size_t i)
{
  return &sources[i];
}

const struct data_source *data_source_find(const char *name)
{
  for (size_t i = 0; i < N_SOURCES; i++)
    if (!strcmp(sources[i].name, name))
      return &sources[i];
  return NULL;
}

static const struct data_source *find_source(const char *name, struct diag *d)
{
  const struct data_source *s = data_source_find(name);
  if (s)
    return s;
  const char *names[2 * N_SOURCES], *text;
  size_t n = 0;
  for (; n < N_SOURCES; n++)
    names[n] = sources[n].name;
  for (size_t i = 0; n < 2 * N_SOURCES && (text = data_text_name(i)); i++)
    names[n++] = text;
  diag_error(d, SPAN_NONE, "unknown data set \"%s\"", name);
  const char *near = diag_nearest(name, names, n);
  if (near)
    diag_hint(d, "did you mean \"%s\"?", near);
  return NULL;
}

static const char *split_name(enum data_split s)
{
  return s == DATA_TRAIN ? "train" : "test";
}

bool data_shape(const struct data_spec *spec, struct data_set *set, struct diag *d)
{
  if (data_is_text(spec->name))
    return data_text_shape(spec, set, d);
  *set = (struct data_set){0};
  const struct data_source *s = find_source(spec->name, d);
  if (!s)
    return false;
  unsigned before = diag_errors(d);
  unsigned size = spec->image_size ? spec->image_size : s->height;
  if (size > s->height || s->height % size || s->width != s->height) {
    diag_error(d, SPAN_NONE, "data set %s: %ux%u images cannot be average-pooled to %ux%u", s->name,
               s->height, s->width, size, size);
    diag_hint(d, "the image size must divide %u", s->height);
  }
  for (int k = 0; k < DATA_READ_SPLITS; k++) {
    uint64_t most = spec->pairs ? (uint64_t)s->items[k] * s->items[k] : s->items[k];
    set->split[k].n = spec->size[k] ? spec->size[k] : s->items[k];
    if (set->split[k].n > most) {
      diag_error(d, SPAN_NONE, "data set %s: %u %s samples asked for, but it has %" PRIu64, s->name,
                 spec->size[k], split_name((enum data_split)k), most);
      diag_hint(d, "ask for %" PRIu64 " or fewer", most);
    }
  }
  set->channels = s->channels * (spec->pairs ? 2 : 1);
  set->classes =
      s->classes * (spec->pairs && spec->labels == DATA_LABELS_BOTH ? s->classes : 1);
  set->split[DATA_OOD].n = spec->shift ? set->split[DATA_TEST].n : 0;
  set->height = set->width = size;
  set->targets = 1;
  assert(set->channels <= DATA_MAX_CHANNELS);
  return diag_errors(d) == before;
}

/* A data folder that is itself another data set's: its files have the same
 * names, and must not be taken for this one's. */
static bool is_of_another(const struct data_intake *in, const char *dir)
{
  size_t n = strlen(dir);
  while (n && dir[n - 1] == '/')
    n--;
  for (size_t i = 0; i < N_SOURCES; i++) {
    size_t m = strlen(sources[i].folder);
    if (&sources[i] != in->source && n >= m && !memcmp(dir + n - m, sources[i].folder, m) &&
        (n == m || dir[n - m - 1] == '/'))
      return true;
  }
  return false;
}

const char *data_find_file(struct data_intake *in, const char *const *names, size_t n)
{
  char *looked = arena_strdup(in->scratch, "");
  for (size_t i = 0; i < in->n_dirs; i++) {
    const char *folders[] = {file_join(in->scratch, in->dirs[i], in->source->folder), in->dirs[i]};
    for (int f = 0; f < (is_of_another(in, in->dirs[i]) ? 1 : 2); f++) {
      for (size_t k = 0; k < n; k++) {
        const char *path = file_join(in->scratch, folders[f], names[k]);
        if (file_exists(path))
          return path;
      }
      looked = arena_printf(in->scratch, "%s%s%s", looked, *looked ? ", " : "", folders[f]);
    }
  }
  diag_error(in->diag, SPAN_NONE, "data set %s: cannot find %s; looked in %s", in->source->name,
             names[0], *looked ? looked : "no folder at all");
  diag_hint(in->diag, "%s", in->source->mend);
  return NULL;
}

/* Distinct items: the first `size` of a shuffle, so that a smaller subset is the
 * beginning of a larger one. */
static void pick_subset(struct data_intake *in)
{
  uint32_t *all = arena_array(in->scratch, in->items, sizeof *all);
  for (uint32_t i = 0; i < in->items; i++)
    all[i] = i;
  if (in->size < in->items) {
    struct rng r = rng_at(0, RNG_SUBSET, (uint32_t)in->split, 0, 0);
    for (uint32_t i = 0; i < in->size; i++) {
      uint32_t j = i + rng_below(&r, in->items - i), t = all[i];
      all[i] = all[j];
      all[j] = t;
    }
  }
  in->picks = all;
}

static void pick_pairs(struct data_intake *in)
{
  in->picks = arena_array(in->scratch, in->size, 2 * sizeof *in->picks);
  for (uint32_t i = 0; i < in->size; i++) {
    struct rng r = rng_at(0, RNG_PAIR, (uint32_t)in->split, 0, i);
    in->picks[2 * (size_t)i] = rng_below(&r, in->items);
    in->picks[2 * (size_t)i + 1] = rng_below(&r, in->items);
  }
}

static bool check_items(const struct data_intake *in, uint64_t items, const char *path)
{
  const struct data_source *s = in->source;
  unsigned known = s->items[in->split];
  if (items > known || !items || (items < known && in->all)) {
    diag_error(in->diag, SPAN_NONE, "%s: %" PRIu64 " items, but the %s split of %s has %u", path,
               items, split_name(in->split), s->name, known);
    diag_hint(in->diag, "another data set under this name? %s", s->mend);
    return false;
  }
  if (!in->pairs && in->size > items) {
    diag_error(in->diag, SPAN_NONE, "%s: %u samples asked for, but it has %" PRIu64, path, in->size,
               items);
    diag_hint(in->diag, "ask for fewer, or fetch the whole data set: %s", s->mend);
    return false;
  }
  return true;
}

bool data_intake_begin(struct data_intake *in, uint64_t items, const char *path)
{
  if (!check_items(in, items, path))
    return false;
  in->items = (unsigned)items;
  if (in->pairs)
    pick_pairs(in);
  else
    pick_subset(in);
  in->slot = arena_array(in->scratch, in->items, sizeof *in->slot);
  memset(in->slot, 0xff, in->items * sizeof *in->slot);
  size_t n_picks = (size_t)in->size * (in->pairs ? 2 : 1);
  for (size_t i = 0; i < n_picks; i++)
    if (in->slot[in->picks[i]] == DATA_UNWANTED)
      in->slot[in->picks[i]] = in->kept++;
  const struct data_source *s = in->source;
  size_t bytes = (size_t)s->channels * (s->height / in->pool) * (s->width / in->pool);
  in->pixels = arena_array(in->scratch, in->kept, bytes);
  in->labels = arena_array(in->scratch, in->kept, sizeof *in->labels);
  return true;
}

void data_intake_add(struct data_intake *in, uint32_t item, const uint8_t *planes, int32_t label)
{
  uint32_t slot = in->slot[item];
  if (slot == DATA_UNWANTED)
    return;
  const struct data_source *s = in->source;
  unsigned pool = in->pool, area = pool * pool;
  unsigned height = s->height / pool, width = s->width / pool, channels = s->channels;
  uint8_t *out = in->pixels + (size_t)slot * height * width * channels;
  in->labels[slot] = label;
  if (area == 1) {
    for (unsigned c = 0; c < channels; c++)
      for (unsigned k = 0; k < height * width; k++)
        out[k * channels + c] = *planes++;
    return;
  }
  for (unsigned c = 0; c < channels; c++)
    for (unsigned y = 0; y < height; y++)
      for (unsigned x = 0; x < width; x++) {
        const uint8_t *from = planes + ((size_t)c * s->height + y * pool) * s->width + x * pool;
        unsigned sum = area / 2; /* rounds to the nearest */
        for (unsigned i = 0; i < pool; i++)
          for (unsigned j = 0; j < pool; j++)
            sum += from[i * s->width + j];
        out[((size_t)y * width + x) * channels + c] = (uint8_t)(sum / area);
      }
}

static int32_t pair_label(enum data_labels labels, unsigned classes, int32_t first, int32_t second)
{
  switch (labels) {
  case DATA_LABELS_FIRST:
    return first;
  case DATA_LABELS_SECOND:
    return second;
  default:
    return (int32_t)classes * first + second;
  }
}

/* From the items that were kept to samples: as they are, or two as channels. */
static struct data_samples compose(struct arena *a, const struct data_intake *in,
                                   enum data_labels what, size_t pixels)
{
  size_t c = in->source->channels, item_bytes = pixels * c;
  struct data_samples out = {.n = in->size};
  if (!in->pairs) {
    out.pixels = arena_copy(a, in->pixels, in->size * item_bytes);
    out.labels = arena_copy(a, in->labels, in->size * sizeof *in->labels);
    return out;
  }
  uint8_t *p = arena_array(a, in->size, 2 * item_bytes);
  int32_t *labels = arena_array(a, in->size, sizeof *labels);
  out.pixels = p;
  out.labels = labels;
  for (size_t i = 0; i < in->size; i++) {
    uint32_t sa = in->slot[in->picks[2 * i]], sb = in->slot[in->picks[2 * i + 1]];
    const uint8_t *pa = in->pixels + sa * item_bytes, *pb = in->pixels + sb * item_bytes;
    labels[i] = pair_label(what, in->source->classes, in->labels[sa], in->labels[sb]);
    for (size_t k = 0; k < pixels; k++, p += 2 * c, pa += c, pb += c) {
      memcpy(p, pa, c);
      memcpy(p + c, pb, c);
    }
  }
  return out;
}

/* Sums of whole numbers, so that the order of summation cannot matter. */
static void find_moments(struct data_set *set)
{
  const struct data_samples *s = &set->split[DATA_TRAIN];
  size_t pixels = (size_t)s->n * set->height * set->width;
  for (unsigned c = 0; c < set->channels; c++) {
    uint64_t sum = 0, squares = 0;
    const uint8_t *p = s->pixels + c;
    for (size_t i = 0; i < pixels; i++) {
      unsigned v = p[i * set->channels];
      sum += v;
      squares += v * v;
    }
    double mean = (double)sum / (double)pixels;
    double variance = (double)squares / (double)pixels - mean * mean;
    set->mean[c] = (float)(mean / 255);
    /* One value everywhere: nothing to scale. */
    set->std[c] = variance > 1e-9 ? (float)(sqrt(variance) / 255) : 1;
  }
}

static void find_digest(struct data_set *set)
{
  struct hasher *h = hash_begin();
  hash_u64(h, set->channels);
  hash_u64(h, set->height);
  hash_u64(h, set->width);
  hash_u64(h, set->classes);
  for (int k = 0; k < DATA_SPLIT_COUNT; k++) {
    const struct data_samples *s = &set->split[k];
    if (k >= DATA_READ_SPLITS && !s->n)
      continue;
    hash_u64(h, s->n);
    hash_bytes(h, s->pixels, (size_t)s->n * set->height * set->width * set->channels);
    for (unsigned i = 0; i < s->n; i++)
      hash_u64(h, (uint64_t)s->labels[i]);
  }
  set->digest = hash_end(h);
}

bool data_load(struct arena *a, const struct data_spec *spec, const char *const *dirs,
               size_t n_dirs, struct data_set *set, struct diag *d)
{
  if (data_is_text(spec->name))
    return data_text_load(a, spec, dirs, n_dirs, set, d);
  if (!data_shape(spec, set, d))
    return false;
  const struct data_source *source = data_source_find(spec->name);
  unsigned items[DATA_READ_SPLITS];
  for (int k = 0; k < DATA_READ_SPLITS; k++) {
    struct data_intake in = {.source = source,
                             .split = (enum data_split)k,
                             .dirs = dirs,
                             .n_dirs = n_dirs,
                             .scratch = arena_new(),
                             .diag = d,
                             .size = set->split[k].n,
                             .pool = source->height / set->height,
                             .all = !spec->size[k],
                             .pairs = spec->pairs};
    bool ok = source->read(&in);
    if (ok)
      set->split[k] = compose(a, &in, spec->labels, (size_t)set->height * set->width);
    arena_free(in.scratch);
    if (!ok)
      return false;
    items[k] = in.items;
    data_transform(spec->transform, set, &set->split[k]);
  }
  for (int k = 0; k < DATA_READ_SPLITS; k++)
    if (items[k] < source->items[k])
      diag_warning(d, SPAN_NONE, "data set %s: the %s files hold %u items, the original's %u",
                   source->name, split_name((enum data_split)k), items[k], source->items[k]);
  if (spec->shift)
    set->split[DATA_OOD] = data_shifted(a, spec->shift, set);
  find_moments(set);
  find_digest(set);
  return true;
}
