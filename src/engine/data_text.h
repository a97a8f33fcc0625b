/* Text on its way to tokens. */
#ifndef MERGESCAPE_ENGINE_DATA_TEXT_H
#define MERGESCAPE_ENGINE_DATA_TEXT_H

#include "engine/data.h"

#include <stddef.h>

enum { DATA_BYTES_VOCABULARY = 256, DATA_GPT2_VOCABULARY = 50257 };

struct data_tokens {
  uint16_t *ids;
  size_t n;
};

/* Text data sets' names, in the order of their table; NULL: no more. */
const char *data_text_name(size_t i);
bool data_is_text(const char *name);
/* What data_shape and data_load do, for text. */
bool data_text_shape(const struct data_spec *, struct data_set *, struct diag *);
bool data_text_load(struct arena *, const struct data_spec *, const char *const *dirs,
                    size_t n_dirs, struct data_set *, struct diag *);

/* The verses of a bible.data, of Debian's bible-kjv-text: one a line, without title and
 * references.  NULL: a diagnostic. */
char *data_bible_read(struct arena *, const char *path, size_t *n, struct diag *);

/* GPT-2's byte-pair encoding (Radford et al. 2019), from its vocab.json and merges.txt. */
struct data_gpt2;

/* NULL: a diagnostic. */
struct data_gpt2 *data_gpt2_new(struct arena *, const char *vocab, const char *merges,
                                struct diag *);
/* The tokens of n bytes of UTF-8; `name` is the text's, for messages.  Letters and numbers
 * are told apart as Unicode does in Latin, Greek and Cyrillic; a character whose class is not
 * known here is an error that says where it stands. */
bool data_gpt2_encode(const struct data_gpt2 *, struct arena *, const char *name, const char *text,
                      size_t n, struct data_tokens *, struct diag *);

#endif
