/* A folder that is filled beside the place of what becomes of it.
 *
 * Whatever happens, the place holds what it held before, or all of the new.  The process that fills
 * a stage holds its lock, so that those of killed processes are known, and go when the next stage
 * of the same place begins.  SIGINT and SIGTERM are held back until a stage has been removed. */
#ifndef MERGESCAPE_PAPER_STAGE_H
#define MERGESCAPE_PAPER_STAGE_H

#include "base/arena.h"
#include "base/diag.h"

#include <signal.h>
#include <stdbool.h>

enum { STAGE_SIGNALS = 2 };

struct stage {
  const char *path; /* absolute where the place is */
  int lock;         /* a descriptor; -1: the file system has no locks */
  struct sigaction old[STAGE_SIGNALS];
};

/* An empty folder beside `place`, which need not be there; one stage at a time. */
bool stage_begin(struct arena *, const char *place, struct stage *, struct diag *);
/* Has a signal come?  What takes long asks, and then ends without a message. */
bool stage_interrupted(void);
/* Removes the folder with what is still in it, and lets a signal that has come do its work. */
bool stage_end(struct stage *, struct diag *);

#endif
