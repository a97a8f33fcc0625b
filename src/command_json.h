/* Parts of what commands print as data. */
#ifndef MERGESCAPE_COMMAND_JSON_H
#define MERGESCAPE_COMMAND_JSON_H

#include "session.h"

#include <jansson.h>

/* Bytes of a text that is not UTF-8 are question marks. */
json_t *command_json_text(struct arena *, const char *);
/* NaN and infinities are null. */
json_t *command_json_number(double);
/* Adds to an object what a step is called: key, number, kind, experiment, point, line; of a step
 * that the files do not plan only the key. */
void command_json_add_step(const struct session *, json_t *, struct hash key);
/* Takes the value over; false: it could not be written. */
bool command_json_print(json_t *);
/* On one line, for metadata; takes the value over. */
const char *command_json_line(struct arena *, json_t *);
/* A field as RFC 4180 wants it, to standard output. */
void command_csv_field(const char *);

#endif
