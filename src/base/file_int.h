/* What file.c and file_draft.c share. */
#ifndef MERGESCAPE_BASE_FILE_INT_H
#define MERGESCAPE_BASE_FILE_INT_H

#include "base/file.h"

/* Some file systems and devices cannot sync and say so: that is no failure. */
bool file_sync_fd(int fd);

#endif
