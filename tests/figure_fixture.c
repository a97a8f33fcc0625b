#include "figure_fixture.h"

#include "base/file.h"

#include <string.h>

bool figure_fixture_page(struct arena *a, const struct plan_figure *f, const char *const *tables,
                         struct figure_page *page, struct diag *d)
{
  *page = (struct figure_page){.plan = f, .id = plan_figure_id(a, f), .n_panels = f->n_panels};
  page->panels = arena_array(a, f->n_panels + 1, sizeof *page->panels);
  for (size_t k = 0; k < f->n_panels; k++) {
    const struct plan_panel *p = &f->panels[k];
    struct figure_csv csv;
    page->panels[k].plan = p;
    if (p->omitted)
      continue;
    const char *text = tables[p->table];
    if (!figure_csv_parse(a, "table.csv", text, strlen(text), &csv, d) ||
        !figure_points(a, page->id, p, &csv, &page->panels[k], d))
      return false;
  }
  figure_layout(a, page);
  return true;
}

bool figure_fixture_write(struct arena *a, const struct figure_page *page, const char *folder,
                          struct diag *d)
{
  char *csv = figure_points_csv(a, page->panels, page->n_panels);
  char *script = figure_script(a, page);
  char *base = file_join(a, folder, page->id);
  return file_write_atomic(arena_printf(a, "%s.csv", base), csv, strlen(csv), d) &&
         file_write_atomic(arena_printf(a, "%s.gp", base), script, strlen(script), d);
}
