/* The commands: each reads the files, and goes as far along the way from text
 * to figures as its name says. */
#include "config.h"

#include "base/diag.h"
#include "base/file.h"
#include "dsl/check.h"
#include "dsl/lower.h"
#include "dsl/parse.h"
#include "dsl/prose.h"
#include "figure/figure.h"
#include "run/bind.h"
#include "run/run.h"
#include "session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool session_report(struct session *s)
{
  bool fine = diag_errors(s->diag) == 0;
  fflush(stdout);
  diag_print(s->diag, s->program->sources, stderr, diag_colour(stderr));
  diag_clear(s->diag);
  return fine;
}

/* ---- reading ---- */

static bool defines_tier(const struct session *s)
{
  for (size_t i = 0; i < s->program->n_blocks; i++)
    if (s->program->blocks[i].kind == AST_TIER && s->program->blocks[i].name.text &&
        !strcmp(s->program->blocks[i].name.text, s->options.tier))
      return true;
  return false;
}

/* The tier's file: tiers/NAME.exp beside the first file, else the installed one. */
static void read_tier(struct session *s)
{
  char *name = arena_printf(s->arena, "tiers/%s.exp", s->options.tier);
  char *dir = file_dir_name(s->arena, s->options.files[0]);
  char *beside = file_join(s->arena, dir, name);
  char *installed = file_join(s->arena, PKGDATADIR "/experiments", name);
  if (file_exists(beside))
    parse_file(s->program, beside, s->diag);
  else if (!defines_tier(s) && file_exists(installed))
    parse_file(s->program, installed, s->diag);
  else if (!defines_tier(s)) {
    diag_error(s->diag, SPAN_NONE,
               "unknown tier `%s`: neither %s nor %s exists, and no file defines it",
               s->options.tier, beside, installed);
    diag_hint(s->diag, "choose one with --tier=NAME");
  }
}

/* A file that the command line names and that is not there is no mistake in an
 * experiment. */
static bool files_are_there(struct session *s)
{
  for (size_t i = 0; i < s->options.n_files; i++)
    if (access(s->options.files[i], R_OK))
      file_report(s->diag, "read", s->options.files[i], errno);
  return session_report(s);
}

static bool read_files(struct session *s)
{
  for (size_t i = 0; i < s->options.n_files; i++)
    parse_file(s->program, s->options.files[i], s->diag);
  read_tier(s);
  if (!defines_tier(s))
    return session_report(s);
  s->dsl = dsl_resolve(s->arena, s->program, s->options.tier, s->diag);
  dsl_check(s->dsl, s->diag);
  prose_check(s->program, s->dsl, s->diag);
  struct lower_options lower = {s->options.max_steps};
  if (!diag_errors(s->diag))
    dsl_lower(s->dsl, s->plan, &lower, &s->lowered, s->diag);
  return session_report(s);
}

/* ---- what is wanted ---- */

bool session_asks_for(const struct session *s, unsigned figure)
{
  for (size_t i = 0; i < s->options.n_figures; i++)
    if (s->options.figures[i] == figure)
      return true;
  return s->options.n_figures == 0;
}

/* `run` wants every experiment's table; `figures` and `explain` the figures, and
 * the tables where no figure is defined. */
bool session_choose(struct session *s, bool tables)
{
  uint32_t *targets = arena_array(s->arena, s->lowered.n + 1, sizeof *targets);
  size_t n = 0;
  for (size_t i = 0; i < s->lowered.n; i++) {
    const struct lower_target *t = &s->lowered.targets[i];
    if (!t->experiment && t->unavailable && session_asks_for(s, t->number))
      diag_warning(s->diag, plan_step(s->plan, t->step)->origin.span,
                   "figure %u cannot be drawn yet: %s", t->number, t->unavailable);
    if (t->unavailable)
      continue;
    if (tables ? t->experiment != NULL : !t->experiment && session_asks_for(s, t->number))
      targets[n++] = t->step;
  }
  s->wanted = arena_array(s->arena, plan_count(s->plan) + 1, sizeof *s->wanted);
  plan_closure(s->plan, targets, n, s->wanted);
  for (size_t f = 0; !tables && f < s->options.n_figures; f++) {
    bool found = false;
    for (size_t i = 0; i < s->lowered.n; i++)
      found |= !s->lowered.targets[i].experiment &&
               s->lowered.targets[i].number == s->options.figures[f];
    if (!found)
      diag_error(s->diag, SPAN_NONE, "no file defines figure %u", s->options.figures[f]);
  }
  return session_report(s);
}

bool session_has_figures(const struct session *s)
{
  for (size_t i = 0; i < s->lowered.n; i++)
    if (!s->lowered.targets[i].experiment)
      return true;
  return false;
}

/* ---- running ---- */

/* gnuplot twice, with its fonts; a table is nothing beside it. */
static double figure_seconds(void *context, const struct plan *plan, const struct plan_step *step)
{
  (void)context;
  (void)plan;
  return step->kind == PLAN_FIGURE ? 0.3 : 0.005;
}

static void bind_kinds(struct session *s)
{
  s->bind = bind_new(s->arena, s->options.data, s->options.n_data);
  bind_calibrate(s->bind, s->arena, s->store);
  for (int k = 0; k < PLAN_TABLE; k++)
    s->kinds[k] = (struct run_kind){s->bind, NULL, bind_execute, bind_seconds, bind_threads};
  s->kinds[PLAN_TABLE] = (struct run_kind){NULL, NULL, figure_execute_table, figure_seconds, NULL};
  s->kinds[PLAN_UNION] = (struct run_kind){NULL, NULL, figure_execute_union, figure_seconds, NULL};
  s->kinds[PLAN_FIGURE] =
      (struct run_kind){&s->figures, figure_is_current, figure_execute, figure_seconds, NULL};
}

/* The one asked for; else the output folder's, that of the sources which the
 * experiments belong to, the installed one. */
static const char *find_style(struct session *s)
{
  if (s->options.style)
    return s->options.style;
  char *own = file_join(s->arena, s->options.output, "style.gp");
  if (file_exists(own))
    return own;
  char *dir = file_dir_name(s->arena, s->options.files[0]);
  char *beside = file_join(s->arena, dir, "../figures/style.gp");
  return file_exists(beside) ? beside : PKGDATADIR "/style.gp";
}

/* What would fail only once everything was trained is tried first. */
bool session_can_write(struct session *s)
{
  const char *output = s->options.output;
  if (file_make_dir(output, s->diag) && access(output, W_OK))
    file_report(s->diag, "write into", output, errno);
  return session_report(s);
}

static bool draws(const struct session *s)
{
  for (uint32_t i = 0; i < plan_count(s->plan); i++)
    if (s->wanted[i] && plan_step(s->plan, i)->kind == PLAN_FIGURE)
      return true;
  return false;
}

bool session_can_draw(struct session *s)
{
  const char *style = find_style(s);
  if (draws(s) && access(style, R_OK)) {
    diag_error(s->diag, SPAN_NONE, "cannot read the gnuplot style %s: %s", style, strerror(errno));
    diag_hint(s->diag, "name the file figures/style.gp of the sources with --style=FILE");
  }
  return session_can_write(s);
}

static bool use_store(struct session *s, struct store *store)
{
  s->figures = (struct figure_context){s->options.output, find_style(s), GNUPLOT};
  s->store = store;
  if (store)
    store_set_provenance(store, "libraries", bind_libraries());
  bind_kinds(s);
  return session_report(s);
}

bool session_open_store(struct session *s)
{
  return use_store(s, store_open(s->arena, s->options.store, s->diag));
}

bool session_view_store(struct session *s)
{
  return use_store(s, store_view(s->arena, s->options.store, s->diag));
}

/* For who looks at the run meanwhile: what steps cost is known. */
static void save_costs(void *context)
{
  bind_calibrate_save(context);
}

struct run_options session_run_options(struct session *s)
{
  return (struct run_options){
      .jobs = s->options.jobs,
      .threads = s->options.threads,
      .cores = s->options.cores,
      .progress = s->options.quiet ? NULL : stderr,
      .terminal = isatty(STDERR_FILENO),
      .colour = diag_colour(stderr),
      .sources = s->program->sources,
      .begun = save_costs,
      .context = s->bind,
  };
}

int session_run(struct session *s)
{
  if (!s->store && !session_open_store(s))
    return EXIT_ENVIRONMENT;
  const struct run_options options = session_run_options(s);
  struct run_summary done =
      run_plan(s->plan, s->wanted, s->store, s->kinds, &options, s->diag);
  bind_calibrate_save(s->bind);
  bool fine = session_report(s);
  if (done.interrupted)
    return EXIT_INTERRUPTED;
  return fine && !done.failed && !done.skipped ? EXIT_DONE : EXIT_ENVIRONMENT;
}

/* ---- commands ---- */

static int command_check(struct session *s)
{
  if (!s->options.quiet)
    printf("%zu file%s: no mistake found at tier %s\n", s->options.n_files,
           s->options.n_files == 1 ? "" : "s", s->options.tier);
  return EXIT_DONE;
}

static int command_run(struct session *s)
{
  return session_choose(s, true) ? session_run(s) : EXIT_EXPERIMENT;
}

static int command_figures(struct session *s)
{
  if (!session_has_figures(s)) {
    fprintf(stderr, "mergescape: error: the files define no figure\n"
                    "hint: `mergescape run` runs experiments that no figure draws\n");
    return EXIT_EXPERIMENT;
  }
  if (!session_choose(s, false))
    return EXIT_EXPERIMENT;
  if (!session_can_draw(s))
    return EXIT_ENVIRONMENT;
  int status = session_run(s);
  for (uint32_t i = 0; status == EXIT_DONE && i < plan_count(s->plan); i++) {
    const struct plan_step *step = plan_step(s->plan, i);
    if (step->kind == PLAN_FIGURE && s->wanted[i])
      printf("%s/%s.pdf\n", s->options.output, plan_figure_id(s->arena, step->figure));
  }
  return status;
}

static const struct {
  const char *name;
  int (*run)(struct session *);
} commands[] = {
    {"check", command_check},
    {"explain", command_explain},
    {"why", command_why},
    {"what-if", command_what_if},
    {"status", command_status},
    {"run", command_run},
    {"figures", command_figures},
    {"claims", command_claims},
    {"verify", command_verify},
    {"weave", command_weave},
    {"report", command_report},
    {"diff-results", command_diff_results},
    {"record", command_record},
    {"export", command_export},
};

static int forward(int argc, char **argv)
{
  static char name[] = "mergescape forward"; /* before getopt's messages */
  struct forward_options o;
  argv[0] = name;
  enum options_verdict verdict = options_parse_forward(argc, argv, &o);
  if (verdict == OPTIONS_RUN)
    return command_forward(&o);
  return verdict == OPTIONS_DONE ? EXIT_DONE : EXIT_ENVIRONMENT;
}

int main(int argc, char **argv)
{
  if (argc > 1 && !strcmp(argv[1], "forward"))
    return forward(argc - 1, argv + 1);
  if (argc > 1 && !strcmp(argv[1], "merge"))
    return command_merge(argc - 1, argv + 1);
  if (argc > 1 && !strcmp(argv[1], "diff"))
    return command_diff(argc - 1, argv + 1);
  if (argc > 1 && !strcmp(argv[1], "evaluate"))
    return command_evaluate(argc - 1, argv + 1);
  if (argc > 1 && command_measure_find(argv[1]))
    return command_measure(argc - 1, argv + 1);
  struct session s = {.arena = arena_new()};
  enum options_verdict verdict = options_parse(s.arena, argc, argv, &s.options);
  if (verdict != OPTIONS_RUN) {
    arena_free(s.arena);
    return verdict == OPTIONS_DONE ? EXIT_DONE : EXIT_ENVIRONMENT;
  }
  s.diag = diag_new(s.arena);
  s.program = ast_program_new(s.arena);
  bind_versions(s.versions);
  s.versions[PLAN_TABLE] = FIGURE_TABLE_VERSION;
  s.versions[PLAN_UNION] = FIGURE_TABLE_VERSION;
  s.versions[PLAN_FIGURE] = FIGURE_DRAW_VERSION;
  s.plan = plan_new(s.arena, s.versions);
  int status = EXIT_EXPERIMENT;
  if (!strcmp(s.options.command, "fmt"))
    status = command_fmt(&s.options);
  else if (!files_are_there(&s))
    status = EXIT_ENVIRONMENT;
  else if (!s.options.n_files || read_files(&s)) /* diff-results can do without */
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
      if (!strcmp(commands[i].name, s.options.command))
        status = commands[i].run(&s);
  /* A full disk or a closed pipe must not look like success. */
  if (fflush(stdout) || ferror(stdout))
    status = EXIT_ENVIRONMENT;
  arena_free(s.arena);
  return status;
}
