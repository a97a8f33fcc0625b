/* Reading .exp files into one tree. */
#ifndef MERGESCAPE_DSL_PARSE_H
#define MERGESCAPE_DSL_PARSE_H

#include "base/diag.h"
#include "dsl/ast.h"

/* Reads `path` and all that it includes (relative to the including file) into
 * the program; a file that is already in is not read again.  Every syntax error
 * is reported: the parser goes on behind the next ; or }.  What could be read
 * is in the tree even then. */
void parse_file(struct ast_program *, const char *path, struct diag *);
/* The same for text in memory (tests, fuzzing); includes are relative to ".". */
void parse_text(struct ast_program *, const char *name, const char *text, size_t length,
                struct diag *);
/* The same without reading what it includes: their `file` is 0 (fmt). */
void parse_text_alone(struct ast_program *, const char *name, const char *text, size_t length,
                      struct diag *);

/* A file that is in memory only; `name` is its path. */
struct parse_memory {
  const char *name, *text;
  size_t length;
};
/* The same for files[k].  What it includes is looked up among the n files by
 * path, and nothing is read from the disk. */
void parse_from_memory(struct ast_program *, const struct parse_memory *files, size_t n, size_t k,
                       struct diag *);
/* One thing with its arguments, such as `resnet18(stem = imagenet)`, that stands alone; `name`
 * says where, for messages.  NULL: a diagnostic. */
struct ast_expr *parse_thing(struct ast_program *, const char *name, const char *text,
                             struct diag *);
struct ast_program *ast_program_new(struct arena *);

#endif
