/* The store: results on disk, one folder a step key.
 *
 *   STORE/objects/ab/ab12.../result.json     values, attributes, provenance
 *   STORE/objects/ab/ab12.../weights.safetensors
 *   STORE/tmp/HOST.PID.N/                    drafts: not yet results
 *   STORE/damaged/ab12....N/                 set aside by a failed checksum
 *
 * A draft is written, synced and renamed: a process killed at any moment
 * leaves a whole step or none.  No index and no lock: any number of processes
 * may share a store; the second of two that computed the same step finds the
 * first one's folder and drops its own draft. */
#ifndef MERGESCAPE_RUN_STORE_H
#define MERGESCAPE_RUN_STORE_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/hash.h"
#include "plan/plan.h"

#include <stdbool.h>

struct store;

/* Makes the folders where missing, and removes drafts whose process is gone
 * from this host.  NULL: a diagnostic says why ("cannot write ..."). */
struct store *store_open(struct arena *, const char *path, struct diag *);
/* For looking only: nothing is made, swept or set aside, whether the folder exists or not, and
 * a damaged object stays where it is (warning).  Nothing can be committed. */
struct store *store_view(struct arena *, const char *path, struct diag *);
bool store_is_view(const struct store *);
const char *store_path(const struct store *);
/* Removes drafts of processes of this host that are gone: what a killed worker
 * left.  store_open does it too. */
void store_sweep(struct store *);
/* One more entry of "versions" in every result.json from now on (the BLAS and
 * its kernels, say).  Copied. */
void store_set_provenance(struct store *, const char *name, const char *value);

struct store_value {
  const char *name;
  double num; /* any double: the JSON holds null for NaN, "inf" and "-inf" */
};

struct store_file {
  const char *name; /* in the object's folder */
  struct hash digest;
};

struct store_result {
  struct store_value *values;
  size_t n_values, cap_values;
  struct store_file *files; /* filled by store_commit and store_read */
  size_t n_files, cap_files;
  bool diverged;        /* a result too: the run left the finite numbers */
  const char *note;     /* "diverged at step 812"; NULL: none */
  double seconds;       /* of computing it */
  unsigned threads;     /* that it might use; 0: nothing is said of it */
  /* Peak resident bytes of the process while it computed it (peak.h); 0: not known, and
   * store_commit asks. */
  double memory;
  bool memory_of_worker; /* of all steps that the process had done, not of this one alone */
};

/* Replaces a value of the same name. */
void store_set(struct arena *, struct store_result *, const char *name, double);
/* NaN when there is no such value. */
double store_get(const struct store_result *, const char *name);

/* Is there a whole object?  Cheap: result.json exists. */
bool store_has(const struct store *, struct hash key);

/* Reads result.json.  false with no diagnostic: there is none.  A damaged one
 * (JSON broken, wrong key) is moved to damaged/ with a warning and counts as
 * missing.  An error in diag: it is there but cannot be read. */
bool store_read(struct store *, struct hash key, struct arena *, struct store_result *,
                struct diag *);
/* Path of a file of an object after its checksum was checked; NULL: missing or
 * damaged, and the whole object was set aside (warning), to be computed again.
 * As with store_read, an object that is not there adds no diagnostic; a file
 * that the object never had is an error. */
const char *store_file(struct store *, struct hash key, const char *name, struct arena *,
                       struct diag *);

/* Reads an object and tests all its checksums; nothing is set aside.  NULL: it is whole, else
 * what is wrong with it. */
const char *store_check(const struct store *, struct hash key, struct arena *,
                        struct store_result *);

/* What a result.json says of its step. */
struct store_object {
  struct hash key;
  enum plan_kind kind;
  struct plan_attr *attrs; /* ascending by id; those that this program knows */
  uint32_t n_attrs, n_inputs;
  struct hash *inputs;
  const char *experiment, *point; /* who asked for it first */
};

/* All objects, in no order.  What cannot be read is left out, without a check of
 * its checksum; false: the folder itself cannot be read. */
bool store_list(const struct store *, struct arena *, struct store_object **, size_t *n,
                struct diag *);

struct store_text {
  const char *name, *value;
};

/* Where, when and with what an object was computed. */
struct store_provenance {
  const char *host, *date; /* "2026-01-31T12:00:00Z" */
  struct store_text *versions;
  size_t n_versions;
};

/* false: there is no such object, or it cannot be read; its checksum is not tested. */
bool store_read_provenance(const struct store *, struct hash key, struct arena *,
                           struct store_provenance *);

/* Bytes that an object's files take; 0: there is none. */
double store_bytes(const struct store *, struct hash key);

struct store_draft;

/* The arena must live until the draft is committed or abandoned. */
struct store_draft *store_begin(struct store *, struct arena *, struct diag *);
/* Where to write a file of the object; give it to safetensors_write and the like. */
const char *store_draft_path(struct store_draft *, const char *name);
/* Writes result.json with the step's kind, attributes, input keys, origin,
 * host, versions and time; checksums `result->files` (their names are set by
 * the caller); syncs; renames.  On failure the draft is gone, and store_abandon is harmless. */
bool store_commit(struct store_draft *, const struct plan *, const struct plan_step *,
                  struct store_result *, struct diag *);
void store_abandon(struct store_draft *);

#endif
