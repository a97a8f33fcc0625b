/* How fast this machine is: short runs of the engine itself, timed once and kept
 * in STORE/calibration.json.
 *
 * Times are processor time, so that what else the machine does while it is
 * probed does not stay in the file; a plan's time is thus that of workers which
 * have a core each. */
#ifndef MERGESCAPE_RUN_BIND_CALIBRATE_H
#define MERGESCAPE_RUN_BIND_CALIBRATE_H

#include "engine/data.h"
#include "engine/net.h"
#include "run/store.h"

#include <stdbool.h>

/* gradient: loss and gradient of a batch; statistics: a batch of recalibration; evaluate: a
 * batch of BIND_EVAL_BATCH samples; all with making the batches.  sgd, adamw: an update of all
 * weights. */
enum calibrate_what {
  CALIBRATE_GRADIENT,
  CALIBRATE_STATISTICS,
  CALIBRATE_EVALUATE,
  CALIBRATE_SGD,
  CALIBRATE_ADAMW
};

struct calibration;

/* `store` NULL: nothing is read or kept. */
struct calibration *calibration_open(struct arena *, struct store *store);
/* Seconds of one sample; of an optimizer, of one step (batch 1).  `network` names the architecture
 * and the data's shape; `net` and `data` (shape only) are what it names.  Probes and keeps what is
 * not known yet: some tenths of a second at most. */
double calibration_sample(struct calibration *, const char *network, const struct net *,
                          const struct data_set *shape, enum calibrate_what, unsigned batch,
                          bool augment);
/* Seconds of writing a result: files that are synced and renamed. */
double calibration_commit(struct calibration *, unsigned files, double bytes);
/* Writes what was probed; that it cannot be written is no fault. */
void calibration_save(struct calibration *);

#endif
