/* 128-bit BLAKE2b digests (libb2): keys of plan steps, checksums of objects. */
#ifndef MERGESCAPE_BASE_HASH_H
#define MERGESCAPE_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HASH_BYTES = 16, HASH_HEX = 2 * HASH_BYTES + 1 };

struct hash {
  uint8_t b[HASH_BYTES];
};

struct hasher; /* opaque, of one thread; hash_end gives it back */

struct hasher *hash_begin(void);
void hash_bytes(struct hasher *, const void *, size_t);
/* Strings and numbers go in with their length or type, so that two different
 * sequences of calls never feed the same bytes. */
void hash_str(struct hasher *, const char *);
void hash_u64(struct hasher *, uint64_t);
void hash_num(struct hasher *, double); /* -0 counts as 0, all NaN as one */
struct hash hash_end(struct hasher *);

struct hash hash_of(const void *, size_t);
/* Digest of a whole file; false when it cannot be read (errno is set). */
bool hash_file(const char *path, struct hash *);

bool hash_equal(struct hash, struct hash);
void hash_hex(struct hash, char hex[HASH_HEX]);
bool hash_parse(const char *hex, struct hash *);
uint64_t hash_short(struct hash); /* for hash tables */

#endif
