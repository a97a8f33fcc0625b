/* Reading ahead: while pieces are merged, a thread reads the blocks behind them.  It changes
 * when bytes are read, never which. */
#include "merge/merge_files_int.h"

#include "base/file.h"

#include <pthread.h>
#include <stdlib.h>

enum {
  SLOTS = 3,               /* blocks in memory */
  SLOT_BYTES = 2 << 20,    /* of a block, all inputs together, where they are F64 */
  WIDEST = sizeof(double), /* bytes of an element at most */
};

/* A block: elements first .. first + n - 1 of a tensor, of each input. */
struct slot {
  size_t tensor; /* of those that are merged */
  uint64_t first;
  size_t n;
  bool ok;              /* false: it could not be read, and no other follows */
  unsigned char *bytes; /* [inputs][ahead.block * WIDEST] */
};

struct files_ahead {
  struct files *files;
  size_t block; /* elements */
  /* The pass that is read. */
  size_t from, to;
  bool buffers;
  pthread_t thread;
  bool running;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  /* Blocks so far; block k is in slot k % SLOTS. */
  size_t n_read, n_done;
  bool holds; /* block n_done is at work */
  bool stop, ended;
  struct slot slots[SLOTS];
};

struct files_ahead *files_ahead_new(struct files *f)
{
  struct files_ahead *a = arena_alloc(f->arena, sizeof *a);
  const size_t fit = SLOT_BYTES / WIDEST / f->n_in / MERGE_PIECE * MERGE_PIECE;
  *a = (struct files_ahead){.files = f, .block = fit ? fit : MERGE_PIECE};
  for (size_t k = 0; k < SLOTS; k++)
    a->slots[k].bytes = mem_alloc(f->n_in * a->block * WIDEST);
  pthread_mutex_init(&a->lock, NULL);
  pthread_cond_init(&a->changed, NULL);
  return a;
}

/* ---- the thread ---- */

static bool read_block(const struct files_ahead *a, struct slot *s, struct diag *d)
{
  const struct files *f = a->files;
  bool ok = true;
  for (size_t i = 0; i < f->n_in && ok; i++) {
    const struct checkpoint_tensor *t = files_tensor(f, f->merged_at[s->tensor], i);
    const size_t width = safetensors_dtype_bytes(t->dtype);
    ok = checkpoint_read(&f->in[i], t, s->first * width, s->bytes + i * a->block * WIDEST,
                         s->n * width, d);
  }
  return ok;
}

/* The next free slot; NULL: no more is wanted. */
static struct slot *free_slot(struct files_ahead *a)
{
  pthread_mutex_lock(&a->lock);
  while (!a->stop && a->n_read == a->n_done + SLOTS)
    pthread_cond_wait(&a->changed, &a->lock);
  struct slot *s = a->stop ? NULL : &a->slots[a->n_read % SLOTS];
  pthread_mutex_unlock(&a->lock);
  return s;
}

static void give(struct files_ahead *a, bool block, bool ended)
{
  pthread_mutex_lock(&a->lock);
  a->n_read += block;
  a->ended |= ended;
  pthread_cond_signal(&a->changed);
  pthread_mutex_unlock(&a->lock);
}

/* Failures are told by whoever needs the block, and reads it again. */
static bool read_tensor(struct files_ahead *a, size_t tensor, struct diag *unheard)
{
  const struct merge_tensor *t = &a->files->merged[tensor];
  bool ok = true;
  for (uint64_t at = 0; (a->buffers || !t->buffer) && at < t->count && ok; at += a->block) {
    struct slot *s = free_slot(a);
    if (!s)
      return false;
    s->tensor = tensor;
    s->first = at;
    s->n = t->count - at < a->block ? (size_t)(t->count - at) : a->block;
    s->ok = ok = read_block(a, s, unheard);
    give(a, true, false);
  }
  return ok;
}

static void *read_pass(void *context)
{
  struct files_ahead *a = context;
  struct arena *arena = arena_new();
  struct diag *unheard = diag_new(arena);
  for (size_t k = a->from; k < a->to && read_tensor(a, k, unheard); k++)
    ;
  give(a, false, true);
  arena_free(arena);
  return NULL;
}

/* ---- who merges ---- */

static void stop(struct files_ahead *a)
{
  if (!a->running)
    return;
  pthread_mutex_lock(&a->lock);
  a->stop = true;
  pthread_cond_signal(&a->changed);
  pthread_mutex_unlock(&a->lock);
  pthread_join(a->thread, NULL);
  a->running = false;
}

/* A pass of a single block is not worth a thread. */
void files_ahead_begin(struct files_ahead *a, size_t from, size_t to, bool buffers)
{
  uint64_t count = 0;
  stop(a);
  for (size_t k = from; k < to; k++)
    count += a->files->merged[k].count;
  if (count <= a->block)
    return;
  a->from = from;
  a->to = to;
  a->buffers = buffers;
  a->n_read = a->n_done = 0;
  a->holds = a->stop = a->ended = false;
  a->running = !pthread_create(&a->thread, NULL, read_pass, a);
}

static bool is_in(const struct slot *s, size_t tensor, uint64_t first, size_t n)
{
  return s->tensor == tensor && first >= s->first && first + n <= s->first + s->n;
}

/* The block behind the one that was at work; NULL: that was the last. */
static const struct slot *next_slot(struct files_ahead *a)
{
  pthread_mutex_lock(&a->lock);
  if (a->holds) {
    a->n_done++;
    pthread_cond_signal(&a->changed);
  }
  while (a->n_done == a->n_read && !a->ended)
    pthread_cond_wait(&a->changed, &a->lock);
  a->holds = a->n_done < a->n_read;
  pthread_mutex_unlock(&a->lock);
  return a->holds ? &a->slots[a->n_done % SLOTS] : NULL;
}

bool files_ahead_find(struct files_ahead *a, size_t tensor, uint64_t first, size_t n,
                      const unsigned char **bytes)
{
  if (!a->running)
    return false;
  const struct slot *s = &a->slots[a->n_done % SLOTS];
  if (!a->holds || !is_in(s, tensor, first, n))
    s = next_slot(a);
  if (!s || !s->ok || !is_in(s, tensor, first, n)) {
    stop(a);
    return false;
  }
  const struct files *f = a->files;
  for (size_t i = 0; i < f->n_in; i++) {
    const size_t width = safetensors_dtype_bytes(files_tensor(f, f->merged_at[tensor], i)->dtype);
    bytes[i] = s->bytes + i * a->block * WIDEST + (first - s->first) * width;
  }
  return true;
}

void files_ahead_free(struct files_ahead *a)
{
  if (!a)
    return;
  stop(a);
  pthread_cond_destroy(&a->changed);
  pthread_mutex_destroy(&a->lock);
  for (size_t k = 0; k < SLOTS; k++)
    free(a->slots[k].bytes);
}
