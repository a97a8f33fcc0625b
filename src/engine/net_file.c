/* Networks as .safetensors files that PyTorch loads strictly. */
#include "engine/net_match.h"
#include "engine/net_positions.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHOWN = 20, CHUNK = 4096 };

/* All that a file of it holds; data lie in flat. */
static struct safetensors list_tensors(struct arena *arena, const struct net *net,
                                       const float *flat)
{
  static const int64_t zero = 0;
  struct safetensors file = {
      .tensors = arena_array(arena, 2 * net->n_tensors, sizeof *file.tensors),
  };
  for (size_t i = 0; i < net->n_tensors; i++) {
    const struct net_tensor *t = &net->tensors[i];
    struct safetensors_tensor *s = &file.tensors[file.n_tensors++];
    *s = (struct safetensors_tensor){.name = t->name,
                                     .dtype = SAFETENSORS_F32,
                                     .rank = t->rank,
                                     .bytes = t->count * sizeof *flat,
                                     .data = flat + t->offset};
    for (unsigned k = 0; k < t->rank; k++)
      s->shape[k] = t->shape[k];
    const char *tracked = net_tracked_name(arena, t);
    if (tracked)
      file.tensors[file.n_tensors++] = (struct safetensors_tensor){
          .name = tracked, .dtype = SAFETENSORS_I64, .bytes = sizeof zero, .data = &zero};
  }
  return file;
}

bool net_save(const struct net *net, const float *flat, const char *path, struct diag *diag)
{
  struct arena *arena = arena_new();
  const struct safetensors file = list_tensors(arena, net, flat);
  const bool ok = safetensors_write(path, &file, diag);
  arena_free(arena);
  return ok;
}

bool net_save_as(const struct net *net, const float *flat, const char *path, uint64_t shard_bytes,
                 const struct safetensors_meta *also, struct diag *diag)
{
  struct arena *arena = arena_new();
  struct safetensors file = list_tensors(arena, net, flat);
  file.n_meta = 1;
  file.meta = arena_copy(arena, also, sizeof *also);
  struct checkpoint_writer *out = checkpoint_create(arena, path, &file, shard_bytes, diag);
  bool ok = out != NULL;
  for (size_t k = 0; k < file.n_tensors && ok; k++)
    ok = checkpoint_put(out, k, file.tensors[k].data, file.tensors[k].bytes, diag);
  if (ok)
    ok = checkpoint_commit(out, diag);
  else if (out)
    checkpoint_discard(out);
  arena_free(arena);
  return ok;
}

/* ---- what is wrong with a file ---- */

enum mismatch { MISSING, MISSHAPED, MISTYPED, TWICE, FOREIGN, UNTIED, MISMATCHES };

/* What all of them say of a file.  EXPLAINED: a hint has said what it takes. */
enum verdict { FITS, OTHER_CLASSIFIER, OTHER_MODEL, EXPLAINED };

struct review {
  struct arena *arena;
  const struct net *net;
  const char *path;
  struct checkpoint file;
  struct net_match match;
  struct diag *diag;
  size_t n[MISMATCHES], of_classifier;
  bool unreadable; /* values of the file */
};

/* May one more be shown?  The rest are counted. */
static bool counts(struct review *r, enum mismatch kind, bool classifier)
{
  r->of_classifier += classifier;
  return r->n[kind]++ < MOST_SHOWN;
}

static void report_rest(struct review *r)
{
  static const char *const what[MISMATCHES] = {"are missing", "have another shape",
                                               "have another type", "are there twice",
                                               "are not of this model"};
  for (int k = 0; k < MISMATCHES; k++)
    if (r->n[k] > MOST_SHOWN)
      diag_error(r->diag, SPAN_NONE, "%s: %zu more tensors %s", r->path, r->n[k] - MOST_SHOWN,
                 what[k]);
}

/* What it would be in a file. */
static struct checkpoint_tensor in_file(const struct net_tensor *t)
{
  struct checkpoint_tensor s = {.name = t->name, .rank = t->rank};
  for (unsigned k = 0; k < t->rank; k++)
    s.shape[k] = t->shape[k];
  return s;
}

/* The first layer of a kind, or NULL. */
static const struct net_layer *layer_of(const struct net *net, enum net_layer_kind kind)
{
  for (size_t i = 0; i < net->n_layers; i++)
    if (net->layers[i].kind == kind)
      return &net->layers[i];
  return NULL;
}

/* The layer whose positions they are, one for each token: LAYER_EMBEDDING or LAYER_CLASS_TOKEN;
 * or NULL. */
static const struct net_layer *layer_of_positions(const struct net *net, const struct net_tensor *t)
{
  const struct net_layer *text = layer_of(net, LAYER_EMBEDDING);
  const struct net_layer *l = text ? text : layer_of(net, LAYER_CLASS_TOKEN);
  return l && t->offset == l->bias ? l : NULL;
}

/* The side of the square of patches that n positions are for, behind a class token's; or 0. */
static unsigned side_of(uint64_t n)
{
  const uint64_t patches = n ? n - 1 : 0, side = (uint64_t)sqrt((double)patches);
  return side * side == patches && side <= 65536 ? (unsigned)side : 0;
}

/* Sizes of 1 do not count: timm's layer scales are [c], torchvision's [c, 1, 1]. */
static bool same_sizes(const struct net_tensor *t, const struct checkpoint_tensor *s)
{
  unsigned i = 0, k = 0;
  for (;; i++, k++) {
    while (i < t->rank && t->shape[i] == 1)
      i++;
    while (k < s->rank && s->shape[k] == 1)
      k++;
    if (i >= t->rank || k >= s->rank)
      return i >= t->rank && k >= s->rank;
    if (t->shape[i] != s->shape[k])
      return false;
  }
}

/* Positions of texts may be for more tokens than the network reads: the first are taken.  Those of
 * images may be for another grid: they are resampled. */
static bool shape_fits(const struct net *net, const struct net_tensor *t,
                       const struct checkpoint_tensor *s)
{
  const struct net_layer *l = layer_of_positions(net, t);
  bool fits = l && s->rank == t->rank;
  for (unsigned k = 0; fits && k < t->rank; k++)
    if (k + 2 == t->rank)
      fits = l->kind == LAYER_EMBEDDING ? s->shape[k] >= t->shape[k] : side_of(s->shape[k]) > 0;
    else
      fits = s->shape[k] == t->shape[k];
  return fits || same_sizes(t, s);
}

static void review_tensor(struct review *r, size_t i, bool shapes)
{
  const struct net_tensor *t = &r->net->tensors[i];
  const struct checkpoint_tensor *s = r->match.of[i], *again = r->match.again[i];
  const struct checkpoint_tensor wanted = in_file(t);
  const bool classifier = net_in_classifier(r->net, t);
  if (!s) {
    if (counts(r, MISSING, classifier))
      diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\" is missing", r->path, t->name);
    return;
  }
  if (!safetensors_is_float(s->dtype) && counts(r, MISTYPED, classifier))
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\" has type %s, not F32, F16, BF16 or F64",
               r->path, s->name, safetensors_dtype_name(s->dtype));
  if (shapes && !shape_fits(r->net, t, s) && counts(r, MISSHAPED, classifier))
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\" has shape %s, the model needs %s", r->path,
               s->name, checkpoint_shape(r->arena, s), checkpoint_shape(r->arena, &wanted));
  if (again && counts(r, TWICE, classifier))
    diag_error(r->diag, SPAN_NONE, "%s: tensors \"%s\" and \"%s\" are both the model's \"%s\"",
               r->path, s->name, again->name, t->name);
}

/* "fc.weight" of the classifier -> "fc." */
static bool of_classifier(const struct net *net, const char *name)
{
  for (size_t i = 0; i < net->n_tensors; i++) {
    const char *own = net->tensors[i].name, *end = strrchr(own, '.');
    if (net_in_classifier(net, &net->tensors[i]) && end &&
        !strncmp(own, name, (size_t)(end + 1 - own)))
      return true;
  }
  return false;
}

static void review_extra(struct review *r, const struct checkpoint_tensor *s, bool body)
{
  const bool classifier = of_classifier(r->net, s->name + r->match.wrapped);
  if (!(body && classifier) && counts(r, FOREIGN, classifier))
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\" is not of this model", r->path, s->name);
}

/* Where a tied tensor first differs from the one that it must equal, or UINT64_MAX. */
static uint64_t first_difference(struct review *r, const struct checkpoint_tensor *a,
                                 const struct checkpoint_tensor *b)
{
  float x[CHUNK], y[CHUNK];
  for (uint64_t at = 0; at < a->count && !r->unreadable; at += CHUNK) {
    const size_t m = a->count - at < CHUNK ? (size_t)(a->count - at) : CHUNK;
    r->unreadable = !checkpoint_floats(&r->file, a, at, m, x, r->diag) ||
                    !checkpoint_floats(&r->file, b, at, m, y, r->diag);
    for (size_t i = 0; i < m && !r->unreadable; i++)
      if (x[i] != y[i] && !(isnan(x[i]) && isnan(y[i])))
        return at + i;
  }
  return UINT64_MAX;
}

static void review_tied(struct review *r, const struct net_tied *tied)
{
  const struct checkpoint_tensor *a = tied->tensor, *b = r->match.of[tied->same];
  if (!b)
    return; /* is reported as missing */
  bool same = a->rank == b->rank && safetensors_is_float(a->dtype);
  for (uint32_t k = 0; same && k < a->rank; k++)
    same = a->shape[k] == b->shape[k];
  if (!safetensors_is_float(b->dtype))
    return;
  const uint64_t at = same ? first_difference(r, a, b) : 0;
  if (at == UINT64_MAX || !counts(r, UNTIED, false))
    return;
  if (same)
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\" differs from \"%s\" at %s", r->path, a->name,
               b->name, checkpoint_place(r->arena, a, at));
  else
    diag_error(r->diag, SPAN_NONE, "%s: tensor \"%s\" is %s %s, and \"%s\" is %s %s", r->path,
               a->name, safetensors_dtype_name(a->dtype), checkpoint_shape(r->arena, a), b->name,
               safetensors_dtype_name(b->dtype), checkpoint_shape(r->arena, b));
  diag_hint(r->diag, "%s reads and writes tokens with the same weights", r->net->model);
}

/* Every mismatch is reported.  Of a body's classifier nothing is asked. */
static enum verdict review(struct review *r, bool body, bool shapes)
{
  size_t all = 0;
  r->match = net_match(r->arena, r->net, &r->file);
  for (size_t i = 0; i < r->net->n_tensors; i++)
    if (!body || !net_in_classifier(r->net, &r->net->tensors[i]))
      review_tensor(r, i, shapes);
  for (size_t i = 0; i < r->match.n_extra; i++)
    review_extra(r, r->match.extra[i], body);
  for (size_t i = 0; i < r->match.n_tied && shapes; i++)
    review_tied(r, &r->match.tied[i]);
  report_rest(r);
  for (int k = 0; k < MISMATCHES; k++)
    all += r->n[k];
  if (!r->match.found && r->file.n_tensors) {
    diag_hint(r->diag,
              "the tensors of %s are named as %s, such as \"%s\"; the file's are such as "
              "\"%s\"",
              r->net->model, zoo_names(r->net->model).origin, r->net->tensors[0].name,
              r->file.tensors[0].name);
    return EXPLAINED;
  }
  if (!all && !r->unreadable)
    return FITS;
  if (all == r->n[UNTIED])
    return EXPLAINED;
  return all == r->of_classifier ? OTHER_CLASSIFIER : OTHER_MODEL;
}

bool net_check_file(const struct net *net, const char *path, bool shapes, struct diag *diag)
{
  struct review r = {.arena = arena_new(), .net = net, .path = path, .diag = diag};
  bool fits = checkpoint_open(r.arena, path, &r.file, diag);
  if (fits) {
    fits = review(&r, false, shapes) == FITS;
    checkpoint_close(&r.file);
  }
  arena_free(r.arena);
  return fits;
}

/* Rows of the tensor that begins at `offset`, or 0. */
static unsigned rows_in_file(const struct net *net, const struct net_match *match, size_t offset)
{
  for (size_t i = 0; i < net->n_tensors; i++) {
    const struct checkpoint_tensor *s = match->of[i];
    if (net->tensors[i].offset == offset)
      return s && s->rank && s->shape[0] <= UINT_MAX ? (unsigned)s->shape[0] : 0;
  }
  return 0;
}

/* Is its head tied to nothing? */
static bool is_untied(struct review *r)
{
  const struct net_tied *tied = r->match.n_tied ? &r->match.tied[0] : NULL;
  const struct checkpoint_tensor *a = tied ? tied->tensor : NULL;
  const struct checkpoint_tensor *b = tied ? r->match.of[tied->same] : NULL;
  bool same = a && b && a->rank == b->rank && safetensors_is_float(a->dtype) &&
              safetensors_is_float(b->dtype);
  for (uint32_t k = 0; same && k < a->rank; k++)
    same = a->shape[k] == b->shape[k];
  return same && first_difference(r, a, b) != UINT64_MAX;
}

bool net_file_sizes(const struct net *like, const char *path, struct net_sizes *sizes,
                    struct diag *diag)
{
  struct review r = {.arena = arena_new(), .net = like, .path = path, .diag = diag};
  *sizes = (struct net_sizes){0};
  bool ok = checkpoint_open(r.arena, path, &r.file, diag);
  if (ok) {
    r.match = net_match(r.arena, like, &r.file);
    const struct net_layer *words = layer_of(like, LAYER_EMBEDDING);
    sizes->classes = rows_in_file(like, &r.match, like->layers[like->n_layers - 1].weight);
    sizes->tokens = words ? rows_in_file(like, &r.match, words->bias) : 0;
    sizes->untied = is_untied(&r);
    ok = !r.unreadable;
    checkpoint_close(&r.file);
  }
  arena_free(r.arena);
  return ok;
}

bool net_check_values(const struct net *net, const float *flat, const char *path, struct diag *diag)
{
  struct arena *arena = arena_new();
  size_t tensors = 0;
  for (size_t i = 0; i < net->n_tensors; i++) {
    const struct net_tensor *t = &net->tensors[i];
    const bool variance = net_tracked_name(arena, t) != NULL;
    const float *v = flat + t->offset;
    uint64_t first = t->count, bad = 0;
    for (size_t k = 0; k < t->count; k++)
      if ((!isfinite(v[k]) || (variance && v[k] < 0)) && !bad++)
        first = k;
    if (!bad || tensors++ >= MOST_SHOWN)
      continue;
    const struct checkpoint_tensor like = in_file(t);
    const char *at = checkpoint_place(arena, &like, first);
    if (isfinite(v[first]))
      diag_error(diag, SPAN_NONE, "%s: tensor \"%s\" is %g at %s, and no variance", path, t->name,
                 (double)v[first], at);
    else
      diag_error(diag, SPAN_NONE, "%s: tensor \"%s\" is %s at %s", path, t->name,
                 isnan(v[first]) ? "NaN" : "infinite", at);
    if (bad > 1)
      diag_hint(diag, "and so are %" PRIu64 " more of its elements", bad - 1);
  }
  if (tensors > MOST_SHOWN)
    diag_error(diag, SPAN_NONE, "%s: %zu more tensors are not finite", path, tensors - MOST_SHOWN);
  arena_free(arena);
  return !tensors;
}

/* ---- reading ---- */

static bool resample(struct review *r, const struct net_layer *l, const struct checkpoint_tensor *s,
                     float *to)
{
  const struct net_value *grid = &r->net->values[l->in];
  const unsigned side = side_of(s->count / grid->c);
  float *from = mem_alloc(s->count * sizeof *from);
  const bool ok = checkpoint_floats(&r->file, s, 0, s->count, from, r->diag);
  if (ok) {
    net_resample_positions(from, side, to, grid->h, grid->w, grid->c);
    diag_warning(r->diag, SPAN_NONE, "%s: positions of %u x %u patches are resampled to %u x %u",
                 r->path, side, side, grid->h, grid->w);
  }
  free(from);
  return ok;
}

static bool fill(struct review *r, bool body, float *flat)
{
  bool ok = true;
  for (size_t i = 0; ok && i < r->net->n_tensors; i++) {
    const struct net_tensor *t = &r->net->tensors[i];
    const struct checkpoint_tensor *s = r->match.of[i];
    const struct net_layer *l = layer_of_positions(r->net, t);
    if (body && net_in_classifier(r->net, t))
      continue;
    if (l && l->kind == LAYER_CLASS_TOKEN && s->count != t->count)
      ok = resample(r, l, s, flat + t->offset);
    else
      ok = checkpoint_floats(&r->file, s, 0, t->count, flat + t->offset, r->diag);
  }
  return ok;
}

static bool load(const struct net *net, const char *path, bool body, float *flat, struct diag *diag)
{
  struct review r = {.arena = arena_new(), .net = net, .path = path, .diag = diag};
  bool ok = false;
  if (checkpoint_open(r.arena, path, &r.file, diag)) {
    const enum verdict verdict = review(&r, body, true);
    ok = verdict == FITS && fill(&r, body, flat);
    if (verdict == OTHER_CLASSIFIER)
      diag_hint(diag, "only the classifier differs: `head = new` draws one for these data");
    else if (verdict == OTHER_MODEL)
      diag_hint(diag, "is \"%s\" a checkpoint of the same model, width and data?", path);
    checkpoint_close(&r.file);
  }
  arena_free(r.arena);
  return ok;
}

bool net_load(const struct net *net, const char *path, float *flat, struct diag *diag)
{
  return load(net, path, false, flat, diag);
}

bool net_load_body(const struct net *net, const char *path, float *flat, struct diag *diag)
{
  return load(net, path, true, flat, diag);
}
