#include "config.h"

#include "dsl/parse.h"

#include "base/file.h"
#include "dsl/parse_int.h"
#include "dsl/exp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct ast_program *ast_program_new(struct arena *a)
{
  struct ast_program *program = arena_alloc(a, sizeof *program);
  program->arena = a;
  program->sources = source_set_new(a);
  return program;
}

/* A file in another encoding has many bad bytes: the first one tells enough. */
static void check_bytes(struct span at, const char *text, size_t length, struct diag *diag)
{
  bool nul = false, broken = false;
  for (size_t i = 0, n; i < length; i += n) {
    long code;
    n = source_char(text + i, length - i, &code);
    at.begin = (uint32_t)i;
    at.end = (uint32_t)(i + n);
    if (!code && !nul) {
      diag_error(diag, at, "NUL byte in the text");
      diag_hint(diag, "is this a text file? .exp files are UTF-8");
    } else if (code < 0 && !broken) {
      diag_error(diag, at, "byte 0x%02X is not valid UTF-8", (unsigned char)text[i]);
      diag_hint(diag, "save the file as UTF-8");
    }
    nul |= !code;
    broken |= code < 0;
  }
}

static void check_docs(const struct parser *p)
{
  for (size_t i = 0; i < p->n_docs && !p->syntax_errors && !p->given_up; i++)
    if (!p->docs[i].used) {
      diag_warning(p->diag, p->docs[i].span, "this prose belongs to nothing");
      diag_hint(p->diag, "put it above a block or a statement; a comment begins with one #");
    }
}

/* Where parsing was given up, blocks are still open. */
static void close_blocks(struct parser *p)
{
  while (p->n_open) {
    parse_block_incomplete(p);
    parse_block_close(p);
  }
}

/* A thing that stands alone, or NULL. */
static struct ast_expr *parse_source(struct ast_program *program, uint32_t file,
                                     const struct parse_library *library, bool alone,
                                     struct diag *diag)
{
  size_t length;
  const char *text = source_text(program->sources, file, &length);
  check_bytes((struct span){file, 0, 0}, text, length, diag);
  struct parser *p = mem_zalloc(sizeof *p);
  p->program = program;
  p->diag = diag;
  p->file = file;
  p->library = library;
  p->alone = alone;
  p->complete = true;
  if (parse_scan_begin(p, text, length)) {
    exp_parse(p);
    parse_scan_end(p);
  }
  close_blocks(p);
  check_docs(p);
  struct ast_expr *thing = p->thing;
  free(p);
  return thing;
}

struct ast_expr *parse_thing(struct ast_program *program, const char *name, const char *text,
                             struct diag *diag)
{
  const unsigned before = diag_errors(diag);
  const uint32_t file = source_add(program->sources, name, text, strlen(text));
  struct ast_expr *thing =
      parse_source(program, file, &(struct parse_library){PARSE_NOTHING, NULL, 0}, true, diag);
  return diag_errors(diag) == before ? thing : NULL;
}

/* Takes the text as it is. */
static uint32_t read_into(struct ast_program *program, const struct parse_memory *text,
                          struct ast_file entry, const struct parse_library *library,
                          struct diag *diag)
{
  size_t k = program->n_files;
  entry.file = source_add_kept(program->sources, text->name, text->text, text->length);
  entry.reading = true;
  source_set_included(program->sources, entry.file, entry.included_at);
  ARENA_PUSH(program->arena, program->files, program->n_files, program->cap_files, entry);
  parse_source(program, entry.file, library, false, diag);
  program->files[k].reading = false;
  return entry.file;
}

static bool too_large(const char *name, uint64_t length, struct span at, struct diag *diag)
{
  if (length > PARSE_MAX_BYTES)
    diag_error(diag, at, "%s is larger than %d MiB", name, PARSE_MAX_BYTES >> 20);
  return length > PARSE_MAX_BYTES;
}

static void read_text(struct ast_program *program, struct parse_memory text, int from,
                      struct diag *diag)
{
  if (too_large(text.name, text.length, SPAN_NONE, diag))
    return;
  text.text = arena_strndup(program->arena, text.text, text.length);
  read_into(program, &text, (struct ast_file){0}, &(struct parse_library){from, NULL, 0}, diag);
}

void parse_text(struct ast_program *program, const char *name, const char *text, size_t length,
                struct diag *diag)
{
  read_text(program, (struct parse_memory){name, text, length}, PARSE_DISK, diag);
}

void parse_text_alone(struct ast_program *program, const char *name, const char *text,
                      size_t length, struct diag *diag)
{
  read_text(program, (struct parse_memory){name, text, length}, PARSE_NOTHING, diag);
}

/* How it came to that is said with the first message of an included file. */
static void report_cycle(const struct ast_program *program, const struct ast_file *again,
                         struct span at, struct diag *diag)
{
  bool itself = again->file == at.file;
  diag_error(diag, at, itself ? "`%s` includes itself" : "`%s` is included while it is being read",
             source_name(program->sources, again->file));
}

static const struct ast_file *find_file(const struct ast_program *program,
                                        const struct ast_file *entry)
{
  for (size_t i = 0; i < program->n_files; i++)
    if (program->files[i].inode && program->files[i].device == entry->device &&
        program->files[i].inode == entry->inode)
      return &program->files[i];
  return NULL;
}

static unsigned reading(const struct ast_program *program)
{
  unsigned n = 0;
  for (size_t i = 0; i < program->n_files; i++)
    n += program->files[i].reading;
  return n;
}

static void report_unreadable(const char *written, const char *path, struct span at, int error,
                              struct diag *diag)
{
  diag_error(diag, at, at.file ? "cannot include `%s`: %s" : "cannot read %s: %s", written,
             strerror(error));
  if (at.file && strcmp(written, path))
    diag_hint(diag, "looked for %s: paths start at the folder of the including file", path);
}

/* What tells the file at `path` from others, and its length; 0 or an errno. */
static int identify(const struct parse_library *library, const char *path, struct ast_file *entry,
                    uint64_t *length)
{
  if (library->from == PARSE_MEMORY) {
    for (size_t i = 0; i < library->n; i++)
      if (!strcmp(library->files[i].name, path)) {
        entry->device = UINT64_MAX;
        entry->inode = i + 1;
        *length = library->files[i].length;
        return 0;
      }
    return ENOENT;
  }
  struct stat st;
  if (stat(path, &st))
    return errno;
  entry->device = (uint64_t)st.st_dev;
  entry->inode = (uint64_t)st.st_ino;
  *length = (uint64_t)st.st_size;
  return S_ISDIR(st.st_mode) ? EISDIR : S_ISREG(st.st_mode) ? 0 : EINVAL;
}

static bool get_text(const struct parse_library *library, struct arena *a, const char *path,
                     const struct ast_file *entry, struct parse_memory *text, struct diag *diag)
{
  text->name = path;
  if (library->from == PARSE_MEMORY) {
    const struct parse_memory *file = &library->files[entry->inode - 1];
    text->text = arena_strndup(a, file->text, file->length);
    text->length = file->length;
  } else {
    text->text = file_read(a, path, &text->length, diag);
  }
  return text->text != NULL;
}

/* The number of the file, or 0 where it could not be read. */
static uint32_t read_path(struct ast_program *program, const struct parse_library *library,
                          const char *written, const char *path, struct span at, struct diag *diag)
{
  struct ast_file entry = {.included_at = at};
  struct parse_memory text;
  uint64_t length = 0;
  int error = identify(library, path, &entry, &length);
  if (error) {
    report_unreadable(written, path, at, error, diag);
    return 0;
  }
  const struct ast_file *known = find_file(program, &entry);
  if (known) {
    if (known->reading)
      report_cycle(program, known, at, diag);
    return known->file;
  }
  if (reading(program) >= PARSE_MAX_INCLUDES) {
    diag_error(diag, at, "more than %d files include one another", PARSE_MAX_INCLUDES);
    return 0;
  }
  if (too_large(path, length, at, diag) ||
      !get_text(library, program->arena, path, &entry, &text, diag))
    return 0;
  return read_into(program, &text, entry, library, diag);
}

void parse_file(struct ast_program *program, const char *path, struct diag *diag)
{
  read_path(program, &(struct parse_library){PARSE_DISK, NULL, 0}, path, path, SPAN_NONE, diag);
}

void parse_from_memory(struct ast_program *program, const struct parse_memory *files, size_t n,
                       size_t k, struct diag *diag)
{
  read_path(program, &(struct parse_library){PARSE_MEMORY, files, n}, files[k].name, files[k].name,
            SPAN_NONE, diag);
}

void parse_include(struct parser *p, struct ast_name path, struct span at)
{
  struct ast_program *program = p->program;
  struct ast_include include = {.path = path, .from = p->file};
  size_t length;
  /* A path without its closing quote was reported, and may be cut at a wrong place. */
  if (source_text(program->sources, p->file, &length)[path.span.end - 1] != '"')
    return;
  const char *dir = file_dir_name(program->arena, source_name(program->sources, p->file));
  include.doc = parse_doc_of(p, at, &include.doc_span);
  /* Included files come first, as their blocks do. */
  if (p->library->from != PARSE_NOTHING)
    include.file = read_path(program, p->library, path.text,
                             file_join(program->arena, dir, path.text), path.span, p->diag);
  ARENA_PUSH(program->arena, program->includes, program->n_includes, program->cap_includes,
             include);
}
