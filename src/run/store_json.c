#include "config.h"

#include "run/store_int.h"

#include "base/num.h"

#include <gnu/libc-version.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char checksum_head[] = ",\n  \"checksum\": \"";
static const char checksum_tail[] = "\"\n}\n";

/* Texts come from users' files: what is not UTF-8 goes in byte by byte. */
static void put_str(FILE *out, const char *text)
{
  json_t *json = json_string(text);
  if (!json) {
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
      if (*p < 0x20 || *p >= 0x7F || *p == '"' || *p == '\\')
        fprintf(out, "\\u%04x", (unsigned)*p);
      else
        fputc(*p, out);
    fputc('"', out);
    return;
  }
  char *quoted = json_dumps(json, JSON_ENCODE_ANY);
  fputs(quoted ? quoted : "\"\"", out);
  free(quoted);
  json_decref(json);
}

static void put_num(FILE *out, double v)
{
  char text[NUM_TEXT];
  if (isnan(v))
    fputs("null", out);
  else if (isinf(v))
    fprintf(out, "\"%s\"", num_text(v, text));
  else if (v == 0 && signbit(v)) /* a JSON reader takes -0 for the integer 0 */
    fputs("-0.0", out);
  else
    fputs(num_text(v, text), out);
}

static void put_member(FILE *out, const char *name)
{
  fprintf(out, ",\n  \"%s\": ", name);
}

static void put_item(FILE *out, size_t i, const char *name)
{
  fputs(i ? ",\n    " : "\n    ", out);
  if (name) {
    put_str(out, name);
    fputs(": ", out);
  }
}

static void put_close(FILE *out, size_t n, char bracket)
{
  fprintf(out, "%s%c", n ? "\n  " : "", bracket);
}

static void put_step(FILE *out, const struct plan *plan, const struct plan_step *step)
{
  char hex[HASH_HEX];
  hash_hex(step->key, hex);
  fprintf(out, "{\n  \"key\": \"%s\"", hex);
  put_member(out, "kind");
  put_str(out, plan_kind_name(step->kind));
  put_member(out, "attributes");
  fputc('{', out);
  for (uint32_t i = 0; i < step->n_attrs; i++) {
    const struct plan_attr *attr = &step->attrs[i];
    put_item(out, i, plan_attr_name(attr->id));
    if (attr->str)
      put_str(out, attr->str);
    else
      put_num(out, attr->num);
  }
  put_close(out, step->n_attrs, '}');
  put_member(out, "inputs");
  fputc('[', out);
  for (uint32_t i = 0; i < step->n_inputs; i++) {
    put_item(out, i, NULL);
    hash_hex(plan_step(plan, step->inputs[i])->key, hex);
    put_str(out, hex);
  }
  put_close(out, step->n_inputs, ']');
  put_member(out, "origin");
  fputs("{\"experiment\": ", out);
  put_str(out, step->origin.experiment ? step->origin.experiment : "");
  fputs(", \"point\": ", out);
  put_str(out, step->origin.point ? step->origin.point : "");
  fputc('}', out);
}

static void put_result(FILE *out, const struct store_result *r)
{
  char hex[HASH_HEX];
  put_member(out, "values");
  fputc('{', out);
  for (size_t i = 0; i < r->n_values; i++) {
    put_item(out, i, r->values[i].name);
    put_num(out, r->values[i].num);
  }
  put_close(out, r->n_values, '}');
  put_member(out, "files");
  fputc('{', out);
  for (size_t i = 0; i < r->n_files; i++) {
    put_item(out, i, r->files[i].name);
    hash_hex(r->files[i].digest, hex);
    put_str(out, hex);
  }
  put_close(out, r->n_files, '}');
  put_member(out, "diverged");
  fputs(r->diverged ? "true" : "false", out);
  put_member(out, "note");
  if (r->note)
    put_str(out, r->note);
  else
    fputs("null", out);
  put_member(out, "seconds");
  put_num(out, r->seconds);
  if (r->threads) {
    put_member(out, "threads");
    put_num(out, r->threads);
  }
  if (r->memory > 0) {
    put_member(out, "memory");
    put_num(out, r->memory);
  }
  if (r->memory_of_worker) {
    put_member(out, "memory_of_worker");
    fputs("true", out);
  }
}

static void put_provenance(FILE *out, const struct store *store)
{
  char date[32] = "";
  time_t now = time(NULL);
  struct tm utc;
  if (gmtime_r(&now, &utc))
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
  put_member(out, "host");
  put_str(out, store->host);
  put_member(out, "date");
  put_str(out, date);
  put_member(out, "versions");
  fputs("{\n    \"mergescape\": \"" PACKAGE_VERSION "\",\n    \"libc\": ", out);
  put_str(out, gnu_get_libc_version());
  fputs(",\n    \"jansson\": \"" JANSSON_VERSION "\"", out);
  for (size_t i = 0; i < store->n_versions; i++) {
    put_item(out, i + 1, store->versions[i].name);
    put_str(out, store->versions[i].value);
  }
  put_close(out, 1, '}');
}

char *store_json_write(const struct store *store, const struct plan *plan,
                       const struct plan_step *step, const struct store_result *result,
                       struct arena *a, size_t *length)
{
  char *text = NULL, hex[HASH_HEX];
  size_t n = 0;
  FILE *out = open_memstream(&text, &n);
  if (!out)
    return NULL;
  put_step(out, plan, step);
  put_result(out, result);
  put_provenance(out, store);
  fflush(out);
  hash_hex(hash_of(text, n), hex);
  fprintf(out, "%s%s%s", checksum_head, hex, checksum_tail);
  bool good = !ferror(out);
  char *copy = !fclose(out) && good ? arena_strndup(a, text, n) : NULL;
  free(text);
  *length = n;
  return copy;
}

static bool checksum_good(const char *text, size_t length)
{
  size_t head = sizeof checksum_head - 1, tail = sizeof checksum_tail - 1;
  size_t ending = head + HASH_HEX - 1 + tail;
  if (length < ending)
    return false;
  const char *at = text + length - ending;
  char hex[HASH_HEX];
  hash_hex(hash_of(text, length - ending), hex);
  return !memcmp(at, checksum_head, head) && !memcmp(at + head, hex, HASH_HEX - 1) &&
         !memcmp(at + head + HASH_HEX - 1, checksum_tail, tail);
}

static bool read_num(const json_t *json, double *v)
{
  const char *text = json_string_value(json);
  if (json_is_null(json))
    *v = NAN;
  else if (json_is_number(json))
    *v = json_number_value(json);
  else if (text && !strcmp(text, "inf"))
    *v = INFINITY;
  else if (text && !strcmp(text, "-inf"))
    *v = -INFINITY;
  else
    return false;
  return true;
}

static bool read_values(json_t *values, struct arena *a, struct store_result *r)
{
  const char *name;
  json_t *item;
  if (!json_is_object(values))
    return false;
  json_object_foreach(values, name, item)
  {
    struct store_value value = {arena_strdup(a, name), 0};
    if (!read_num(item, &value.num))
      return false;
    ARENA_PUSH(a, r->values, r->n_values, r->cap_values, value);
  }
  return true;
}

static bool read_files(json_t *files, struct arena *a, struct store_result *r)
{
  const char *name;
  json_t *item;
  if (!json_is_object(files))
    return false;
  json_object_foreach(files, name, item)
  {
    struct store_file file = {.name = arena_strdup(a, name)};
    const char *hex = json_string_value(item);
    if (!hex || !hash_parse(hex, &file.digest) || strchr(name, '/'))
      return false;
    ARENA_PUSH(a, r->files, r->n_files, r->cap_files, file);
  }
  return true;
}

static const char *read_root(json_t *root, struct hash key, struct arena *a, struct store_result *r)
{
  struct hash stored;
  const char *hex = json_string_value(json_object_get(root, "key"));
  if (!hex || !hash_parse(hex, &stored))
    return "result.json has no key";
  if (!hash_equal(stored, key))
    return "result.json is of another step";
  const char *note = json_string_value(json_object_get(root, "note"));
  r->note = note ? arena_strdup(a, note) : NULL;
  r->diverged = json_is_true(json_object_get(root, "diverged"));
  json_t *memory = json_object_get(root, "memory"); /* older results have none */
  r->memory = json_is_number(memory) ? json_number_value(memory) : 0;
  r->memory_of_worker = json_is_true(json_object_get(root, "memory_of_worker"));
  if (!read_num(json_object_get(root, "seconds"), &r->seconds) ||
      !read_values(json_object_get(root, "values"), a, r) ||
      !read_files(json_object_get(root, "files"), a, r))
    return "result.json lacks a part";
  return NULL;
}

const char *store_json_read(const char *text, size_t length, struct hash key, struct arena *a,
                            struct store_result *r)
{
  if (!length)
    return "result.json is empty";
  if (!checksum_good(text, length))
    return "result.json does not match its checksum";
  json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
  const char *wrong = root ? read_root(root, key, a, r) : "result.json is no JSON";
  json_decref(root);
  return wrong;
}
