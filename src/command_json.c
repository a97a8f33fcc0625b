#include "config.h"

#include "command_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *command_json_text(struct arena *a, const char *text)
{
  json_t *j = json_string(text);
  if (j)
    return j;
  char *plain = arena_strdup(a, text);
  for (char *p = plain; *p; p++)
    if ((unsigned char)*p >= 0x80)
      *p = '?';
  return json_string(plain);
}

json_t *command_json_number(double v)
{
  return isfinite(v) ? json_real(v) : json_null();
}

void command_json_add_step(const struct session *s, json_t *j, struct hash key)
{
  const uint32_t i = plan_find(s->plan, key);
  char hex[HASH_HEX];
  hash_hex(key, hex);
  json_object_set_new(j, "key", json_string(hex));
  if (i == UINT32_MAX)
    return;
  const struct plan_step *step = plan_step(s->plan, i);
  const char *line = source_line_name(s->program->sources, step->origin.span, s->arena);
  json_object_set_new(j, "number", json_integer(i));
  json_object_set_new(j, "kind", json_string(plan_kind_name(step->kind)));
  json_object_set_new(j, "experiment", command_json_text(s->arena, step->origin.experiment));
  json_object_set_new(j, "point", command_json_text(s->arena, step->origin.point));
  json_object_set_new(j, "line", command_json_text(s->arena, line));
}

bool command_json_print(json_t *j)
{
  const bool good = j && !json_dumpf(j, stdout, JSON_INDENT(1)) && putchar('\n') != EOF;
  json_decref(j);
  return good;
}

const char *command_json_line(struct arena *a, json_t *j)
{
  char *text = json_dumps(j, JSON_COMPACT);
  const char *copy = text ? arena_strdup(a, text) : NULL;
  free(text);
  json_decref(j);
  return copy;
}

void command_csv_field(const char *s)
{
  bool quoted = strpbrk(s, ",\"\r\n") != NULL;
  if (quoted)
    putchar('"');
  for (; *s; s++) {
    if (*s == '"')
      putchar('"');
    putchar(*s);
  }
  if (quoted)
    putchar('"');
}
