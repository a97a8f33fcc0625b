/* What the store's own files share. */
#ifndef MERGESCAPE_RUN_STORE_INT_H
#define MERGESCAPE_RUN_STORE_INT_H

#include "run/store.h"

#include <sys/types.h>

enum { STORE_PATH_MAX = 4096, STORE_ROOT_MAX = 3800, STORE_HOST_MAX = 256 };

struct store {
  struct arena *arena;
  const char *path;
  char host[STORE_HOST_MAX];
  bool view; /* nothing is written */
  unsigned next_draft;
  struct store_text *versions;
  size_t n_versions, cap_versions;
};

/* The process of a file "HOST.PID.anything" on this host; 0: not ours to judge. */
pid_t store_owner(const struct store *, const char *name);
bool store_is_gone(pid_t);
/* When the process began, in ticks since the machine did; -1: it is gone.  Tells it from a
 * later one with the same id. */
long long store_started(pid_t);

/* STORE/objects/ab/ab12...[/name]; name may be NULL. */
void store_object_path(const struct store *, struct hash key, const char *name,
                       char path[STORE_PATH_MAX]);
/* Moves an object out of the way.  GONE: another process, which saw the same
 * damage, was first.  FAILED: a diagnostic says why. */
enum store_aside { STORE_ASIDE_MOVED, STORE_ASIDE_GONE, STORE_ASIDE_FAILED };
enum store_aside store_set_aside(struct store *, struct hash key, struct diag *);

/* result.json as text.  Its last member is the digest of all bytes before it,
 * so that a flipped byte anywhere is found, whatever library wrote the rest. */
char *store_json_write(const struct store *, const struct plan *, const struct plan_step *,
                       const struct store_result *, struct arena *, size_t *length);
/* NULL, or what is wrong with the text. */
const char *store_json_read(const char *text, size_t length, struct hash key, struct arena *,
                            struct store_result *);

#endif
