/* How files of weights name an architecture's tensors, where they do not name them as the zoo
 * does. */
#ifndef MERGESCAPE_ENGINE_ZOO_NAMES_H
#define MERGESCAPE_ENGINE_ZOO_NAMES_H

enum { ZOO_RENAMED = 16, ZOO_IGNORED = 12, ZOO_TIED = 2 };

struct zoo_pair {
  const char *first, *second; /* NULL behind the last of several */
};

struct zoo_names {
  const char *model;
  const char *origin; /* where tensors have the zoo's names: "in torchvision" */
  /* A name that is none here may become one: in this order, where `first` is in it, `second`
   * takes its place; `first` "": `second` goes before it. */
  struct zoo_pair renamed[ZOO_RENAMED];
  /* What a file may hold beside, as patterns of fnmatch(3). */
  const char *ignored[ZOO_IGNORED];
  /* `first`, which the zoo does not keep, must equal the tensor `second`. */
  struct zoo_pair tied[ZOO_TIED];
};

/* Of a model without a row: nothing but its name. */
struct zoo_names zoo_names(const char *model);

#endif
