/* The parts of mergescape merge that know a network. */
#ifndef MERGESCAPE_COMMAND_MERGE_H
#define MERGESCAPE_COMMAND_MERGE_H

#include "merge/fuse.h"
#include "merge/match.h"

/* mergescape merge with one of these methods among its arguments; an exit status. */
int command_match(int argc, char **argv, enum match_method);
int command_fuse(int argc, char **argv, enum fuse_method);

#endif
