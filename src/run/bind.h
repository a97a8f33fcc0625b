/* Where the plan meets the engine: how each kind of step is computed.
 *
 * Only the files bind* of run/ know engine, merge and measure. */
#ifndef MERGESCAPE_RUN_BIND_H
#define MERGESCAPE_RUN_BIND_H

#include "plan/cost.h"
#include "plan/plan.h"
#include "run/store.h"

struct bind;

/* Versions of the arithmetic behind data, init, train, merge and measure steps;
 * the other kinds' are NULL, for the caller to fill. */
void bind_versions(const char *versions[PLAN_KIND_COUNT]);

/* `dirs`: where data sets are looked for, in order; kept, not copied. */
struct bind *bind_new(struct arena *, const char *const *dirs, size_t n_dirs);

/* Releases the data sets and networks that it holds; the bind itself is the arena's. */
void bind_free(struct bind *);

/* For struct run_kind, with the bind as context. */
bool bind_execute(void *bind, struct store *, const struct plan *, const struct plan_step *,
                  struct diag *);
/* Of the steps that follow in this process; 0 and 1: one. */
void bind_threads(void *bind, unsigned threads);
/* Costs are in seconds of this machine: what is not known yet is probed when it
 * is first asked for, some tenths of a second a network and batch size.  Probes
 * are kept in the store's folder: bind_calibrate names it, bind_calibrate_save
 * writes. */
void bind_calibrate(struct bind *, struct arena *, struct store *);
void bind_calibrate_save(struct bind *);
struct cost bind_cost(void *bind, const struct plan *, const struct plan_step *);
double bind_seconds(void *bind, const struct plan *, const struct plan_step *); /* for run_kind */

/* The architecture that an init step names; the data's shape stays 0. */
struct net_spec;
void bind_model_spec(const struct plan_step *init, struct net_spec *);

/* "OpenBLAS 0.3.21 ... avx512": for the store's provenance. */
const char *bind_libraries(void);

#endif
