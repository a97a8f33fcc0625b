/* libFuzzer target for weights: make check-fuzz FUZZ_TARGET=net
 *
 * A file is held against a small network, the one whose first name it has, whole and without its
 * classifier: what is refused is explained, and that in no more messages than the lists are long.
 */
#include "config.h"

#include "base/file.h"
#include "engine/net.h"

#include "fuzz_safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct net_spec specs[] = {
    {.model = "mlp",
     .width = 1,
     .layers = 1,
     .channels = 1,
     .height = 1,
     .image_width = 1,
     .classes = 2},
    {.model = "gpt",
     .width = 1,
     .layers = 1,
     .heads = 1,
     .block = 2,
     .channels = 1,
     .height = 1,
     .image_width = 2,
     .classes = 2},
    {.model = "resnet18",
     .width = 1,
     .stages = 1,
     .blocks = 1,
     .channels = 1,
     .height = 2,
     .image_width = 2,
     .classes = 2},
    {.model = "densenet121",
     .growth = 1,
     .stages = 1,
     .layers = 1,
     .channels = 1,
     .height = 2,
     .image_width = 2,
     .classes = 2},
    {.model = "vit_b_16",
     .width = 2,
     .layers = 1,
     .heads = 1,
     .patch = 1,
     .channels = 1,
     .height = 1,
     .image_width = 1,
     .classes = 2},
    /* The first one's name: a file whose positions it resamples. */
    {.model = "vit_b_16",
     .width = 2,
     .layers = 1,
     .heads = 1,
     .patch = 1,
     .channels = 1,
     .height = 3,
     .image_width = 3,
     .classes = 2},
    {.model = "convnext_tiny",
     .width = 1,
     .stages = 1,
     .blocks = 1,
     .channels = 1,
     .height = 4,
     .image_width = 4,
     .classes = 2},
    {.model = "clip_vit_b_16",
     .width = 3,
     .layers = 1,
     .heads = 1,
     .patch = 1,
     .channels = 1,
     .height = 1,
     .image_width = 1,
     .classes = 2},
};

enum { MODELS = sizeof specs / sizeof *specs, MOST_MESSAGES = 7 * 21 };

static struct arena *library;
static struct net *nets[MODELS];
static char path[64];

static void remove_file(void)
{
  unlink(path);
}

static void check(bool holds, const char *what)
{
  if (!holds) {
    fprintf(stderr, "fuzz_net: %s\n", what);
    abort();
  }
}

static float *weights(unsigned k)
{
  float *flat = arena_array(library, net_count(nets[k]), sizeof *flat);
  net_init(nets[k], 1, flat);
  return flat;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  library = arena_new();
  struct diag *d = diag_new(library);
  for (unsigned k = 0; k < MODELS; k++) {
    nets[k] = net_new(library, &specs[k], d);
    check(nets[k] != NULL, "a network cannot be built");
    const char *seeds = getenv("FUZZ_SEEDS");
    if (seeds)
      check(net_save(nets[k], weights(k), arena_printf(library, "%s/%u", seeds, k), d),
            "a seed cannot be written");
  }
  snprintf(path, sizeof path, "/dev/shm/mergescape-fuzz-%ld", (long)getpid());
  atexit(remove_file);
  return 0;
}

static void try_net(const struct net *net, struct arena *a)
{
  struct diag *d = diag_new(a);
  struct net_sizes sizes;
  float *flat = arena_array(a, net_count(net), sizeof *flat);
  const bool loaded = net_load(net, path, flat, d);
  check(loaded == !diag_errors(d), "it says other than it does");
  check(diag_count(d) <= MOST_MESSAGES, "too many messages");
  check(net_check_file(net, path, true, diag_new(a)) == loaded, "it checks other than it loads");
  if (loaded) {
    check(net_load_body(net, path, flat, d), "a whole network is no body");
    net_check_values(net, flat, path, d);
  }
  net_load_body(net, path, flat, diag_new(a));
  net_check_file(net, path, false, diag_new(a));
  net_file_sizes(net, path, &sizes, diag_new(a));
}

/* Of a file without any of the names, whichever its length says. */
static const struct net *nearest(struct arena *a, const uint8_t *bytes, size_t length)
{
  for (unsigned k = 0; k < MODELS; k++) {
    size_t n;
    const char *name = arena_printf(a, "\"%s\"", net_tensors(nets[k], &n)[0].name);
    if (memmem(bytes, length, name, strlen(name)))
      return nets[k];
  }
  return nets[length % MODELS];
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
  struct arena *a = arena_new();
  check(file_write_synced(path, bytes, length, diag_new(a)), "its file cannot be written");
  try_net(nearest(a, bytes, length), a);
  arena_free(a);
  return 0;
}
