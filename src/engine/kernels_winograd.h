/* The CPU backend's inner loops of Winograd's convolution F(4x4, 3x3): between images and
 * products at 36 points.  Compiled once an instruction set, as kernels.h says.
 *
 * A tile is 4x4 pixels of one side of a 3x3 convolution (stride 1) and the 6x6 window of the
 * other side that they meet.  With the matrices of kernels_winograd.c, for each tile
 *   y = A' [(G w G') . (B' x B)] A,    dw = G' [(A dy A') . (B' x B)] G  (its adjoint)
 * where . is a product at each of the 36 points: of matrices, if there are many channels and
 * tiles (Lavin & Gray 2016). */
#ifndef MERGESCAPE_ENGINE_KERNELS_WINOGRAD_H
#define MERGESCAPE_ENGINE_KERNELS_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>

enum { WINOGRAD_TILE = 4, WINOGRAD_WINDOW = 6, WINOGRAD_POINTS = 36, WINOGRAD_MAX_CHANNELS = 4096 };

/* Some tiles of a batch of images, and some channels. */
struct kernel_tiles {
  unsigned h, w, down, across; /* image; tiles of one */
  size_t first;                /* of the tiles of all images */
  unsigned count;
  unsigned pad; /* the first window begins that far outside of the image */
  unsigned channels;
  size_t pixel; /* floats between pixels */
  size_t tile;  /* floats between tiles at a point: channels, rounded up to vectors */
  size_t point; /* floats between points */
};

/* Weights of some input channels and one panel of output channels, or, backward with respect
 * to the input, the reverse. */
struct kernel_taps {
  unsigned rows, lanes; /* rows: channels that the products sum over */
  size_t row, lane;     /* floats between them, in PyTorch's layout */
  bool flip;            /* turned by half a circle */
  size_t width, point;  /* [point][rows][width] */
};

struct kernels_winograd {
  /* B' x B of the windows, zeros outside of the image; lanes behind the last channel are 0 */
  void (*windows)(const struct kernel_tiles *, const float *x, float *points);
  /* A dy A' of the tiles, likewise */
  void (*tiles)(const struct kernel_tiles *, const float *dy, float *points);
  /* A' points A into the tiles, set or added to */
  void (*back)(const struct kernel_tiles *, const float *points, float *y, bool add);
  void (*taps)(const struct kernel_taps *, const float *w, float *points);      /* G w G' */
  void (*taps_back)(const struct kernel_taps *, const float *points, float *w); /* G' points G */
};

extern const struct kernels_winograd kernels_winograd_baseline;
extern const struct kernels_winograd kernels_winograd_avx2;
extern const struct kernels_winograd kernels_winograd_avx512;

#endif
