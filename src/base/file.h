/* Files: whole reads, atomic writes, folders.
 *
 * Functions that return bool or NULL add one diagnostic that names the path
 * and the system's reason. */
#ifndef MERGESCAPE_BASE_FILE_H
#define MERGESCAPE_BASE_FILE_H

#include "base/arena.h"
#include "base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole file, with a NUL behind it that `length` does not count. */
char *file_read(struct arena *, const char *path, size_t *length, struct diag *);
/* A file that is written piece by piece and appears under its name whole or not at all:
 * until it is committed it has no name, or where the file system cannot do that a temporary
 * one beside `path`.  Space for `bytes` is reserved, so that a full disk is noticed first.
 * NULL: a diagnostic. */
struct file_draft;
struct file_draft *file_draft_new(const char *path, uint64_t bytes, struct diag *);
bool file_draft_write(struct file_draft *, uint64_t at, const void *, size_t length, struct diag *);
bool file_draft_commit(struct file_draft *, struct diag *); /* syncs, renames; the draft is gone */
void file_draft_abandon(struct file_draft *); /* NULL is allowed */

/* What processes that were killed have left of the file `name` in a folder, where it had to have a
 * name: nobody holds its lock, and nothing was written into it for a minute.  NULL: of any
 * checkpoint. */
void file_remove_drafts(const char *dir, const char *name);

/* All of it at once. */
bool file_write_atomic(const char *path, const void *, size_t length, struct diag *);
/* Writes and syncs a file that is not yet visible under its final name. */
bool file_write_synced(const char *path, const void *, size_t length, struct diag *);

struct file_part {
  const void *bytes;
  size_t length;
};
/* The same from several places in memory, one behind the other.  On failure a
 * regular file is removed again. */
bool file_write_parts(const char *path, const struct file_part *, size_t n, struct diag *);

/* Like mkdir -p. */
bool file_make_dir(const char *path, struct diag *);
bool file_exists(const char *path);
bool file_sync_dir(const char *path, struct diag *);
/* Like rm -r, on a folder of ours; missing is fine. */
bool file_remove_tree(const char *path, struct diag *);
/* "a/b.exp" -> "a"; "b.exp" -> ".". */
char *file_dir_name(struct arena *, const char *path);
/* An absolute name stays as it is. */
char *file_join(struct arena *, const char *dir, const char *name);
/* "cannot WHAT PATH: no space left on device", with a hint where one helps;
 * `error` is an errno. */
void file_report(struct diag *, const char *what, const char *path, int error);

#endif
