#include "config.h"

#include "figure/figure_int.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a figure consists of, the manifest apart. */
static const char *const endings[] = {"csv", "gp", "pdf", "svg"};
enum { N_ENDINGS = sizeof endings / sizeof *endings };

static char *path_of(struct arena *a, const struct figure_context *c, const char *id,
                     const char *ending)
{
  return file_join(a, c->folder, arena_printf(a, "%s.%s", id, ending));
}

static char *digest_text(struct arena *a, const char *path)
{
  struct hash h;
  char hex[HASH_HEX];
  if (!hash_file(path, &h))
    return NULL;
  hash_hex(h, hex);
  return arena_strdup(a, hex);
}

/* ---- style.gp beside the figures ---- */

static bool put_style(struct arena *a, const struct figure_context *c, struct diag *d)
{
  char *here = file_join(a, c->folder, "style.gp");
  char *wanted = digest_text(a, c->style), *found = digest_text(a, here);
  if (wanted && found && strcmp(wanted, found) == 0)
    return true;
  size_t length;
  char *text = file_read(a, c->style, &length, d);
  return text && file_write_atomic(here, text, length, d);
}

/* ---- from tables to a page ---- */

bool figure_read_table(struct arena *a, struct store *store, const struct plan *plan,
                       const struct plan_step *table, struct figure_csv *csv, struct diag *d)
{
  const char *path = store_file(store, table->key, "table.csv", a, d);
  size_t length;
  if (!path) {
    char *names = NULL;
    for (uint32_t i = 0; !table->table && i < table->n_inputs; i++) {
      const char *name = plan_step(plan, table->inputs[i])->table->experiment;
      names = names ? arena_printf(a, "%s, %s", names, name) : arena_strdup(a, name);
    }
    diag_error(d, SPAN_NONE, "the table of experiment%s %s is not in the store",
               table->table ? "" : "s", table->table ? table->table->experiment : names);
    diag_hint(d, "run the plan again: it computes what is missing");
    return false;
  }
  char *text = file_read(a, path, &length, d);
  return text && figure_csv_parse(a, path, text, length, csv, d);
}

static bool fill_page(struct arena *a, struct store *store, const struct plan *plan,
                      const struct plan_step *step, struct figure_page *page, struct diag *d)
{
  const struct plan_figure *f = step->figure;
  *page = (struct figure_page){.plan = f, .id = plan_figure_id(a, f), .n_panels = f->n_panels};
  page->panels = arena_array(a, f->n_panels + 1, sizeof *page->panels);
  struct figure_csv *tables = arena_array(a, step->n_inputs + 1, sizeof *tables);
  bool ok = true;
  for (size_t k = 0; k < f->n_panels; k++) {
    const struct plan_panel *p = &f->panels[k];
    page->panels[k].plan = p;
    if (p->omitted)
      continue;
    struct figure_csv *csv = &tables[p->table];
    const struct plan_step *table = plan_step(plan, step->inputs[p->table]);
    if (csv->n_columns == 0 && !figure_read_table(a, store, plan, table, csv, d))
      return false;
    ok = figure_points(a, page->id, p, csv, &page->panels[k], d) && ok;
  }
  if (ok)
    figure_layout(a, page);
  return ok;
}

/* ---- pictures ---- */

static bool sync_file(const char *path, struct diag *d)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool ok = fd >= 0 && fsync(fd) == 0;
  if (!ok)
    diag_error(d, SPAN_NONE, "cannot write %s: %s", path, strerror(errno));
  if (fd >= 0)
    close(fd);
  return ok;
}

/* gnuplot draws under another name; whole pictures are renamed. */
static bool draw(struct arena *a, const struct figure_context *c, const char *id, struct diag *d)
{
  static const char *const kinds[] = {"pdf", "svg"};
  char *draft = arena_printf(a, "%s.tmp.%ld", id, (long)getpid());
  bool ok = figure_run_gnuplot(a, c->gnuplot, c->folder, draft, arena_printf(a, "%s.gp", id), d);
  for (size_t k = 0; k < 2; k++) {
    char *from = path_of(a, c, draft, kinds[k]), *to = path_of(a, c, id, kinds[k]);
    if (ok && sync_file(from, d) && rename(from, to) == 0)
      continue;
    if (ok && diag_errors(d) == 0)
      diag_error(d, SPAN_NONE, "cannot rename %s to %s: %s", from, to, strerror(errno));
    ok = false;
    unlink(from);
  }
  return ok;
}

/* ---- the manifest ---- */

static json_t *panel_json(const struct plan *plan, const struct plan_step *step,
                          const struct plan_panel *p)
{
  char hex[HASH_HEX];
  json_t *j = json_object();
  json_object_set_new(j, "panel", json_string(p->name));
  if (p->omitted) {
    json_object_set_new(j, "omitted", json_string(p->omitted));
    return j;
  }
  const struct plan_step *table = plan_step(plan, step->inputs[p->table]);
  hash_hex(table->key, hex);
  json_object_set_new(j, "table", json_string(hex));
  if (table->table) {
    json_object_set_new(j, "experiment", json_string(table->table->experiment));
    return j;
  }
  json_t *experiments = json_array(); /* of a union */
  for (uint32_t i = 0; i < table->n_inputs; i++)
    json_array_append_new(experiments,
                          json_string(plan_step(plan, table->inputs[i])->table->experiment));
  json_object_set_new(j, "experiments", experiments);
  return j;
}

static void add_tables(json_t *tables, const struct plan *plan, const struct plan_step *step)
{
  char hex[HASH_HEX];
  for (uint32_t i = 0; i < step->n_inputs; i++) {
    const struct plan_step *table = plan_step(plan, step->inputs[i]);
    json_t *keys = json_array();
    for (uint32_t k = 0; k < table->n_inputs; k++) {
      hash_hex(plan_step(plan, table->inputs[k])->key, hex);
      json_array_append_new(keys, json_string(hex));
    }
    hash_hex(table->key, hex);
    json_object_set_new(tables, hex, keys);
    if (table->kind == PLAN_UNION)
      add_tables(tables, plan, table);
  }
}

/* Each table once, with the steps that its cells read; of a union its tables. */
static json_t *tables_json(const struct plan *plan, const struct plan_step *step)
{
  json_t *tables = json_object();
  add_tables(tables, plan, step);
  return tables;
}

static bool write_manifest(struct arena *a, const struct figure_context *c, const struct plan *plan,
                           const struct plan_step *step, const char *id, const char *style,
                           struct diag *d)
{
  char hex[HASH_HEX];
  json_t *j = json_object(), *panels = json_array(), *files = json_object();
  hash_hex(step->key, hex);
  json_object_set_new(j, "figure", json_integer(step->figure->number));
  json_object_set_new(j, "key", json_string(hex));
  json_object_set_new(j, "style", json_string(style));
  json_object_set_new(j, "drawing", json_string(FIGURE_DRAW_VERSION));
  for (size_t k = 0; k < step->figure->n_panels; k++)
    json_array_append_new(panels, panel_json(plan, step, &step->figure->panels[k]));
  json_object_set_new(j, "panels", panels);
  json_object_set_new(j, "tables", tables_json(plan, step));
  for (size_t k = 0; k < N_ENDINGS; k++) {
    char *digest = digest_text(a, path_of(a, c, id, endings[k]));
    if (digest)
      json_object_set_new(files, arena_printf(a, "%s.%s", id, endings[k]), json_string(digest));
  }
  json_object_set_new(j, "files", files);
  char *text = json_dumps(j, JSON_INDENT(1));
  json_decref(j);
  bool ok = text != NULL;
  if (ok) {
    char *whole = arena_printf(a, "%s\n", text);
    ok = file_write_atomic(path_of(a, c, id, "json"), whole, strlen(whole), d);
  } else {
    diag_error(d, SPAN_NONE, "cannot write %s.json: a name in it is not UTF-8", id);
  }
  free(text);
  return ok;
}

static bool says(const json_t *j, const char *name, const char *value)
{
  const char *found = json_string_value(json_object_get(j, name));
  return found && value && strcmp(found, value) == 0;
}

bool figure_is_current(void *context, const struct plan *plan, const struct plan_step *step)
{
  const struct figure_context *c = context;
  struct arena *a = arena_new();
  const char *id = plan_figure_id(a, step->figure);
  char hex[HASH_HEX];
  (void)plan;
  hash_hex(step->key, hex);
  bool ok = true;
  for (size_t k = 0; ok && k < N_ENDINGS; k++)
    ok = file_exists(path_of(a, c, id, endings[k]));
  json_t *j = ok ? json_load_file(path_of(a, c, id, "json"), 0, NULL) : NULL;
  ok = j && says(j, "key", hex) && says(j, "drawing", FIGURE_DRAW_VERSION) &&
       says(j, "style", digest_text(a, c->style));
  json_decref(j);
  arena_free(a);
  return ok;
}

char *figure_csv_text(struct arena *a, struct store *store, const struct plan *plan,
                      const struct plan_step *step, struct diag *d)
{
  struct figure_page page;
  if (!fill_page(a, store, plan, step, &page, d))
    return NULL;
  return figure_points_csv(a, page.panels, page.n_panels);
}

static bool execute(struct arena *a, const struct figure_context *c, struct store *store,
                    const struct plan *plan, const struct plan_step *step, struct diag *d)
{
  struct figure_page page;
  if (!fill_page(a, store, plan, step, &page, d) || !file_make_dir(c->folder, d) ||
      !put_style(a, c, d))
    return false;
  char *style = digest_text(a, c->style);
  char *csv = figure_points_csv(a, page.panels, page.n_panels);
  char *script = figure_script(a, &page);
  /* From here on the folder holds a mixture, which no manifest may vouch for. */
  unlink(path_of(a, c, page.id, "json"));
  return style && file_write_atomic(path_of(a, c, page.id, "csv"), csv, strlen(csv), d) &&
         file_write_atomic(path_of(a, c, page.id, "gp"), script, strlen(script), d) &&
         draw(a, c, page.id, d) && write_manifest(a, c, plan, step, page.id, style, d);
}

bool figure_execute(void *context, struct store *store, const struct plan *plan,
                    const struct plan_step *step, struct diag *d)
{
  struct arena *a = arena_new();
  bool ok = execute(a, context, store, plan, step, d);
  arena_free(a);
  return ok;
}
