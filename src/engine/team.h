/* A few threads that work on one job at a time. */
#ifndef MERGESCAPE_ENGINE_TEAM_H
#define MERGESCAPE_ENGINE_TEAM_H

struct team;

/* `threads` counts the caller.  The others start with the first job, in the process that
 * runs it: a process forked from that one starts its own. */
struct team *team_new(unsigned threads);
void team_free(struct team *);

/* Calls work(context, k) once for each k below the number of threads, side by side, and
 * returns when all are done.  One job at a time: not from within one. */
void team_run(struct team *, void (*work)(void *context, unsigned k), void *context);

#endif
