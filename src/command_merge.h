/* What the two files of mergescape merge share. */
#ifndef MERGESCAPE_COMMAND_MERGE_H
#define MERGESCAPE_COMMAND_MERGE_H

#include "base/arena.h"
#include "merge/match.h"

/* The last part of a path: where it lay says more about a machine than about a model. */
const char *command_merge_last_part(struct arena *, const char *path);

/* mergescape merge with a matching method among its arguments; an exit status. */
int command_match(int argc, char **argv, enum match_method);

#endif
