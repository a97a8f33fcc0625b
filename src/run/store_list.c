#include "config.h"

#include "run/store_int.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

static bool kind_of(const char *name, enum plan_kind *kind)
{
  for (int k = 0; name && k < PLAN_KIND_COUNT; k++)
    if (!strcmp(name, plan_kind_name((enum plan_kind)k))) {
      *kind = (enum plan_kind)k;
      return true;
    }
  return false;
}

/* Ascending by id, as a step's are.  Names that this program does not know any
 * more are left out. */
static void read_attrs(json_t *attrs, struct arena *a, struct store_object *o)
{
  struct plan_attr *v = arena_array(a, PLAN_ATTR_COUNT, sizeof *v);
  for (int id = 0; id < PLAN_ATTR_COUNT; id++) {
    json_t *item = json_object_get(attrs, plan_attr_name((enum plan_attr_id)id));
    if (!item)
      continue;
    struct plan_attr at = {.id = (enum plan_attr_id)id, .num = NAN};
    if (json_is_number(item))
      at.num = json_number_value(item);
    else if (json_is_string(item))
      at.str = arena_strdup(a, json_string_value(item));
    v[o->n_attrs++] = at;
  }
  o->attrs = v;
}

static bool read_object(const char *path, struct arena *a, struct store_object *o)
{
  json_t *root = json_load_file(path, 0, NULL), *item;
  const char *hex = json_string_value(json_object_get(root, "key"));
  json_t *inputs = json_object_get(root, "inputs"), *origin = json_object_get(root, "origin");
  size_t i;
  bool fine = hex && hash_parse(hex, &o->key) &&
              kind_of(json_string_value(json_object_get(root, "kind")), &o->kind);
  if (fine) {
    const char *experiment = json_string_value(json_object_get(origin, "experiment"));
    const char *point = json_string_value(json_object_get(origin, "point"));
    o->experiment = arena_strdup(a, experiment ? experiment : "");
    o->point = arena_strdup(a, point ? point : "");
    read_attrs(json_object_get(root, "attributes"), a, o);
    o->inputs = arena_array(a, json_array_size(inputs) + 1, sizeof *o->inputs);
    json_array_foreach(inputs, i, item)
    {
      hex = json_string_value(item);
      fine = fine && hex && hash_parse(hex, &o->inputs[i]);
      o->n_inputs++;
    }
  }
  json_decref(root);
  return fine;
}

static void list_shelf(const char *shelf, struct arena *a, struct store_object **objects,
                       size_t *n, size_t *cap)
{
  DIR *dir = opendir(shelf);
  char path[STORE_PATH_MAX];
  for (struct dirent *e; dir && (e = readdir(dir));) {
    struct store_object o = {0};
    if (e->d_name[0] == '.')
      continue;
    int length = snprintf(path, sizeof path, "%s/%s/result.json", shelf, e->d_name);
    if (length > 0 && (size_t)length < sizeof path && read_object(path, a, &o))
      ARENA_PUSH(a, *objects, *n, *cap, o);
  }
  if (dir)
    closedir(dir);
}

bool store_list(const struct store *store, struct arena *a, struct store_object **objects,
                size_t *n, struct diag *d)
{
  char path[STORE_PATH_MAX], shelf[STORE_PATH_MAX + 256];
  size_t cap = 0;
  *objects = NULL;
  *n = 0;
  snprintf(path, sizeof path, "%s/objects", store->path);
  DIR *dir = opendir(path);
  if (!dir) {
    file_report(d, "read", path, errno);
    return false;
  }
  for (struct dirent *e; (e = readdir(dir));) {
    if (e->d_name[0] == '.')
      continue;
    snprintf(shelf, sizeof shelf, "%s/%s", path, e->d_name);
    list_shelf(shelf, a, objects, n, &cap);
  }
  closedir(dir);
  return true;
}

static const char *text_of(json_t *json, struct arena *a)
{
  const char *text = json_string_value(json);
  return arena_strdup(a, text ? text : "");
}

bool store_read_provenance(const struct store *store, struct hash key, struct arena *a,
                           struct store_provenance *p)
{
  char path[STORE_PATH_MAX];
  store_object_path(store, key, "result.json", path);
  json_t *root = json_load_file(path, 0, NULL), *item;
  json_t *versions = json_object_get(root, "versions");
  const char *name;
  *p = (struct store_provenance){.host = text_of(json_object_get(root, "host"), a),
                                 .date = text_of(json_object_get(root, "date"), a)};
  p->versions = arena_array(a, json_object_size(versions) + 1, sizeof *p->versions);
  json_object_foreach(versions, name, item)
  {
    p->versions[p->n_versions++] = (struct store_text){arena_strdup(a, name), text_of(item, a)};
  }
  const bool fine = root != NULL;
  json_decref(root);
  return fine;
}

double store_bytes(const struct store *store, struct hash key)
{
  char path[STORE_PATH_MAX];
  double bytes = 0;
  store_object_path(store, key, NULL, path);
  DIR *folder = opendir(path);
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    struct stat s;
    if (!fstatat(dirfd(folder), entry->d_name, &s, 0) && S_ISREG(s.st_mode))
      bytes += (double)s.st_size;
  }
  if (folder)
    closedir(folder);
  return bytes;
}
