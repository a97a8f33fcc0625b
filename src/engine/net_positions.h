/* Positions of a vision transformer, for images of another size. */
#ifndef MERGESCAPE_ENGINE_NET_POSITIONS_H
#define MERGESCAPE_ENGINE_NET_POSITIONS_H

/* From the positions of a class token and side x side patches, [1 + side * side][c], those of the
 * class token, which stay, and h x w patches.  As timm and open_clip do it by default: cubic
 * convolution (Keys 1981) with a = -1/2, stretched over what it leaves out where the grid shrinks
 * (antialias), and weights that add up to 1 at the borders too. */
void net_resample_positions(const float *from, unsigned side, float *to, unsigned h, unsigned w,
                            unsigned c);

#endif
