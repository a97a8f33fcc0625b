/* make_idx FOLDER: a tiny made-up Fashion-MNIST, in gzipped IDX files: pictures
 * of ten kinds that a small network tells apart, with noise.  For cli.sh. */
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { SIDE = 28, TRAIN = 600, TEST = 200 };

static void put32(gzFile out, uint32_t v)
{
  unsigned char b[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8),
                        (unsigned char)v};
  gzwrite(out, b, 4);
}

static gzFile open_file(const char *folder, const char *name)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  gzFile out = gzopen(path, "wb1");
  if (!out) {
    perror(path);
    exit(2);
  }
  return out;
}

static void close_file(gzFile out)
{
  if (gzclose(out) != Z_OK) {
    fprintf(stderr, "make_idx: cannot write\n");
    exit(2);
  }
}

/* A bright bar whose place tells the label, over noise. */
static void draw(unsigned char *pixels, unsigned label, struct rng *r)
{
  unsigned top = label / 2 * 5 + rng_below(r, 3), left = label % 2 * 12 + rng_below(r, 3);
  for (unsigned i = 0; i < SIDE * SIDE; i++)
    pixels[i] = (unsigned char)rng_below(r, 120);
  for (unsigned y = top; y < top + 5 && y < SIDE; y++)
    for (unsigned x = left; x < left + 12 && x < SIDE; x++)
      pixels[y * SIDE + x] = (unsigned char)(135 + rng_below(r, 120));
}

static void write_split(const char *folder, const char *prefix, uint32_t n, uint32_t stream)
{
  char name[64];
  unsigned char pixels[SIDE * SIDE];
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte.gz", prefix);
  gzFile labels = open_file(folder, name);
  snprintf(name, sizeof name, "%s-images-idx3-ubyte.gz", prefix);
  gzFile images = open_file(folder, name);
  put32(labels, 0x801);
  put32(labels, n);
  put32(images, 0x803);
  put32(images, n);
  put32(images, SIDE);
  put32(images, SIDE);
  for (uint32_t i = 0; i < n; i++) {
    struct rng r = rng_at(7, RNG_TEST, stream, 0, i);
    unsigned char label = (unsigned char)rng_below(&r, 10);
    draw(pixels, label, &r);
    gzwrite(labels, &label, 1);
    gzwrite(images, pixels, sizeof pixels);
  }
  close_file(labels);
  close_file(images);
}

int main(int argc, char **argv)
{
  if (argc != 2) {
    fprintf(stderr, "usage: make_idx FOLDER\n");
    return 2;
  }
  write_split(argv[1], "train", TRAIN, 0);
  write_split(argv[1], "t10k", TEST, 1);
  return 0;
}
