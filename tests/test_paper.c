/* Prose with numbers, highlighted code, and the paper's generated parts. */
#include "config.h"

#include "base/file.h"
#include "dsl/check.h"
#include "dsl/highlight.h"
#include "dsl/lower.h"
#include "dsl/parse.h"
#include "dsl/prose.h"
#include "paper/paper.h"

#include <stdarg.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "scratch.h"

#define RUNS                                                                                       \
  "experiment runs {\n"                                                                            \
  "  data = fashion_mnist; model = mlp; batch = 32;\n"                                             \
  "  momentum = 0.9;  @assumed(\"any_number & more\")\n"                                           \
  "  sweep lr over 1, 2;\n"                                                                        \
  "  trunk every 1 epochs for 2 epochs at constant;\n"                                             \
  "  measure gain = loss(trunk, test);  @paper(\"3.1\")\n"                                         \
  "}\n"

struct world {
  struct paper paper;
  struct dsl *dsl;
};

/* From text to plan, with a store in the scratch folder. */
static struct world make(struct scratch *s, const char *text)
{
  static const char *versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};
  struct arena *a = s->arena;
  struct ast_program *program = ast_program_new(a);
  struct lower_result *lowered = arena_alloc(a, sizeof *lowered);
  struct plan *plan = plan_new(a, versions);
  *lowered = (struct lower_result){0};
  parse_text(program, "paper.exp", text, strlen(text), s->diag);
  struct dsl *dsl = dsl_resolve(a, program, NULL, s->diag);
  dsl_check(dsl, s->diag);
  prose_check(program, dsl, s->diag);
  if (!diag_errors(s->diag))
    dsl_lower(dsl, plan, &(struct lower_options){1e6}, lowered, s->diag);
  struct store *store = store_open(a, scratch_path(s, "store"), s->diag);
  return (struct world){{.arena = a,
                         .program = program,
                         .dsl = dsl,
                         .lowered = lowered,
                         .plan = plan,
                         .store = store,
                         .tier = "paper",
                         .figures = s->dir},
                        dsl};
}

/* Puts a table with these gains in the place of what the store has. */
static void store_table(struct scratch *s, const struct world *w, const char *experiment,
                        const char *rows)
{
  const uint32_t k = w->paper.lowered->targets[0].step;
  const struct plan_step *step = plan_step(w->paper.plan, k);
  assert_string_equal(w->paper.lowered->targets[0].experiment, experiment);
  char hex[HASH_HEX];
  hash_hex(step->key, hex);
  const char *object = arena_printf(s->arena, "store/objects/%.2s/%s", hex, hex);
  if (store_has(w->paper.store, step->key))
    assert_true(file_remove_tree(scratch_path(s, object), s->diag));
  struct store_draft *draft = store_begin(w->paper.store, s->arena, s->diag);
  struct store_result result = {.seconds = 2, .memory = 123.4e6};
  struct store_file file = {.name = "table.csv"};
  char *text = arena_printf(s->arena, "lr,gain,failed\n%s", rows);
  assert_true(file_write_synced(store_draft_path(draft, "table.csv"), text, strlen(text), s->diag));
  ARENA_PUSH(s->arena, result.files, result.n_files, result.cap_files, file);
  assert_true(store_commit(draft, w->paper.plan, step, &result, s->diag));
}

static char *weave(struct scratch *s, const struct world *w, const char *name)
{
  size_t n;
  const char *folder = scratch_path(s, "generated");
  assert_true(file_make_dir(folder, s->diag));
  assert_true(paper_weave(&w->paper, folder, s->diag));
  return file_read(s->arena, file_join(s->arena, folder, name), &n, s->diag);
}

static void expect(const char *text, const char *part)
{
  if (!strstr(text, part))
    fail_msg("\"%s\" is not in\n%s", part, text);
}

/* The numbers of the text are those of the stored results, and change with them. */
static void numbers_come_from_the_store(void **state)
{
  struct scratch *s = *state;
  struct world w = make(s, "## Half of it is \\result{median(gain)}, all \\result[1]{max(gain)}.\n"
                           RUNS
                           "## Seen from elsewhere: \\result[runs, 2]{mean(gain)}.\n"
                           "figure 1 \"f\" { panel a lines of runs { x = lr; y = gain; } }\n");
  assert_int_equal(diag_errors(s->diag), 0);
  expect(weave(s, &w, "sections.tex"), "Half of it is ---, all ---.");
  store_table(s, &w, "runs", "1,0.25,0\n2,0.75,0\n");
  const char *text = weave(s, &w, "sections.tex");
  expect(text, "Half of it is \\ensuremath{0.500}, all \\ensuremath{0.8}.");
  expect(text, "Seen from elsewhere: \\ensuremath{0.50}.");
  store_table(s, &w, "runs", "1,-2e-7,0\n2,-4e-7,0\n");
  text = weave(s, &w, "sections.tex");
  expect(text,
         "Half of it is \\ensuremath{-3.00\\times10^{-7}}, all \\ensuremath{-2\\times10^{-7}}.");
}

/* What each figure took; of results that do not say how much memory, it is unknown. */
static void costs_come_from_the_store(void **state)
{
  struct scratch *s = *state;
  struct world w = make(s, RUNS "figure 1 \"f\" { panel a lines of runs { x = lr; y = gain; } }\n");
  assert_int_equal(diag_errors(s->diag), 0);
  expect(weave(s, &w, "artifact.tex"), "& unknown \\\\\n");
  expect(weave(s, &w, "numbers.tex"), "\\newcommand{\\WorkerMemory}{an unknown amount}");
  store_table(s, &w, "runs", "1,0.25,0\n2,0.75,0\n");
  expect(weave(s, &w, "artifact.tex"), "& 2 & 2 & 0.0 & 123 \\\\\n");
  expect(weave(s, &w, "numbers.tex"), "\\newcommand{\\WorkerMemory}{123\\,MB}");
}

static void verdicts_come_from_the_claims(void **state)
{
  struct scratch *s = *state;
  struct world w = make(s, RUNS "## It says \\verdict{C1}.\n"
                                "claim C1 \"it is_large\" on runs { expect mean(gain) > 0; }\n");
  assert_int_equal(diag_errors(s->diag), 0);
  struct claims_row row = {&w.paper.lowered->claims[0], {0}, "paper.exp"};
  w.paper.claims = &row;
  w.paper.n_claims = 1;
  row.result =
      (struct claims_result){.verdict = CLAIMS_FAIL, .statistic = 1.5, .low = 1, .high = 2};
  expect(weave(s, &w, "sections.tex"), "It says \\Fail{}.");
  expect(weave(s, &w, "claims.tex"), "it is\\_large & \\Fail{} & \\ensuremath{1.50}");
  row.result.verdict = CLAIMS_PASS;
  expect(weave(s, &w, "sections.tex"), "It says \\Pass{}.");
  expect(weave(s, &w, "numbers.tex"), "\\newcommand{\\ClaimsPass}{1}");
}

static void code_and_assumptions(void **state)
{
  struct scratch *s = *state;
  struct world w = make(s, RUNS);
  const char *text = weave(s, &w, "sections.tex");
  expect(text, "\\Kw{experiment} runs \\char123{}\n");
  expect(text, "\\Set{momentum} = \\Num{0.9};\n");
  assert_null(strstr(text, "assumed"));
  expect(weave(s, &w, "assumptions.tex"), "momentum = 0.\\allowbreak{}9 & any\\_number \\& more");
  expect(weave(s, &w, "numbers.tex"), "\\newcommand{\\AssumptionCount}{1}");
}

static void mistakes_in_prose(void **state)
{
  struct scratch *s = *state;
  static const char *const cases[][3] = {
      {"## \\result{median(gian)}\n" RUNS, "gian", "gain"},
      {"## \\result{median(gain}\n" RUNS, NULL, NULL},
      {"## \\result\n" RUNS, "\\result has no {...}", "median(gain)"},
      {"## \\result[rums]{median(gain)}\n" RUNS, "rums", "runs"},
      {"## \\result[runs, 20]{median(gain)}\n" RUNS, "`20` is no number of digits", "1 to 9"},
      {"## \\verdict{C9}\n" RUNS, "C9", NULL},
      {RUNS "experiment more : runs { sweep lr over 3, 4; }\n"
            "## \\result{median(gain)}\n"
            "figure 1 \"f\" { panel a lines of runs { x = lr; y = gain; }\n"
            "  panel b lines of more { x = lr; y = gain; } }\n",
       "does not say of what experiment", "\\result[EXPERIMENT]"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    make(s, cases[i][0]);
    assert_true(diag_errors(s->diag) > 0);
    const char *message = diag_message(s->diag, 0), *hint = diag_hint_of(s->diag, 0);
    for (int k = 1; k < 3; k++)
      if (cases[i][k] && !strstr(message, cases[i][k]) && !(hint && strstr(hint, cases[i][k])))
        fail_msg("\"%s\" is not in \"%s\" (hint: %s)", cases[i][k], message, hint ? hint : "");
    diag_clear(s->diag);
  }
}

/* All of the text, in order, whatever is in it. */
static void highlighting_keeps_the_text(void **state)
{
  struct scratch *s = *state;
  static const char text[] = "# c\ninclude \"a # b.exp\"; ## prose\n\n" RUNS "  # end";
  size_t n, at = 0;
  unsigned seen[HIGHLIGHT_NOTE + 1] = {0};
  const struct highlight_run *runs = highlight(s->arena, text, sizeof text - 1, &n);
  for (size_t i = 0; i < n; i++) {
    assert_ptr_equal(runs[i].text, text + at);
    at += runs[i].length;
    seen[runs[i].kind]++;
    const char *line_end = memchr(runs[i].text, '\n', runs[i].length);
    assert_true(!line_end || line_end + 1 == runs[i].text + runs[i].length);
  }
  assert_int_equal(at, sizeof text - 1);
  assert_int_equal(seen[HIGHLIGHT_STRING], 1);
  assert_int_equal(seen[HIGHLIGHT_COMMENT], 3);
  assert_int_equal(seen[HIGHLIGHT_NOTE], 2);
  assert_true(seen[HIGHLIGHT_KEYWORD] > 6 && seen[HIGHLIGHT_NUMBER] > 4);
}

/* ---- the report ---- */

static char *report(struct scratch *s, const struct world *w)
{
  size_t n;
  const char *path = scratch_path(s, "report.html");
  assert_true(paper_report(&w->paper, path, s->diag));
  return file_read(s->arena, path, &n, s->diag);
}

static void expect_not(const char *text, const char *part)
{
  if (strstr(text, part))
    fail_msg("\"%s\" is in\n%s", part, text);
}

static void put(struct scratch *s, const char *name, const char *text)
{
  assert_true(file_write_atomic(scratch_path(s, name), text, strlen(text), s->diag));
}

#define PANEL " panel a lines of runs { x = lr; y = gain; } }\n"

/* Claims are judged by the stored results, and rows and provenance read from them. */
static void the_report_comes_from_the_store(void **state)
{
  struct scratch *s = *state;
  struct world w = make(s, RUNS "figure 1 \"f\" {" PANEL
                                "claim C1 \"large\" on runs { expect mean(gain) > 0.3; }\n");
  assert_int_equal(diag_errors(s->diag), 0);
  struct claims_row row = {&w.paper.lowered->claims[0], {0}, "paper.exp"};
  w.paper.claims = &row;
  w.paper.n_claims = 1;
  const char *text = report(s, &w);
  expect(text, "0 measured points");
  expect(text, "<dt>Machine</dt><dd>–");
  expect(text, "It has not been drawn.");
  expect(text, "<dt>Memory</dt><dd>unknown</dd>");
  store_table(s, &w, "runs", "1,0.25,0\n2,0.75,1\n");
  assert_true(claims_judge(w.paper.store, w.paper.plan, row.claim, &row.result, s->diag));
  text = report(s, &w);
  expect(text, "2 measured points, of which 1 come of training that failed");
  expect(text, "[interval]\">0.5</td><td role=cell data-is=\"Claimed\">&gt; "
               "<span class=line>0.3</span></td><td role=cell data-is=\"Units\">1 "
               "<span class=line>seed</span></td>");
  expect(text, "<a href=\"#fig01\">Figure&nbsp;1</a>");
  expect(text, "<a href=\"#claim-C1\">C1</a> <span class=\"verdict undecided\">UNDECIDED</span>");
  expect(text, "2.0 s of one worker");
  expect(text, "<dt>Memory</dt><dd>123 MB</dd>");
  expect(text, " MB</td><td class=num>123 MB</td></tr>");
  expect(text, "mergescape " PACKAGE_VERSION "; libc ");
  store_table(s, &w, "runs", "1,1.5,0\n2,2,0\n3,2.5,0\n");
  assert_true(claims_judge(w.paper.store, w.paper.plan, row.claim, &row.result, s->diag));
  text = report(s, &w);
  expect(text, "3 measured points.");
  expect(text, "[interval]\">2</td>");
}

static void the_report_escapes(void **state)
{
  struct scratch *s = *state;
  struct world w = make(s, RUNS "figure 1 \"<b>f</b> & 'g'\" {" PANEL
                                "claim C1 \"<script>alert(1)</script>\" on runs {\n"
                                "  expect mean(gain) > 0;  @assumed(\"a < b\")\n}\n");
  assert_int_equal(diag_errors(s->diag), 0);
  struct claims_row row = {&w.paper.lowered->claims[0], {0}, "paper.exp"};
  row.result.verdict = CLAIMS_NOT_JUDGED;
  row.result.note = "<i>";
  w.paper.claims = &row;
  w.paper.n_claims = 1;
  put(s, "fig01.svg", "<svg viewBox='0 0 1 1'><text>a &lt; b</text></svg>");
  const char *text = report(s, &w);
  expect_not(text, "<script");
  expect_not(text, "<b>");
  expect_not(text, "<i>");
  expect(text, "&lt;script&gt;alert(1)&lt;/script&gt;");
  expect(text, "Figure 1. &lt;b&gt;f&lt;/b&gt; &amp; &#39;g&#39;");
  expect(text, "role=\"img\" aria-label=\"Figure 1. &lt;b&gt;f&lt;/b&gt; &amp; &#39;g&#39;.");
  expect(text, "<text>a &lt; b</text>");
  expect(text, "a &lt; b</td>");
  expect(text, "<span class=s>momentum</span> = <span class=m>0.9</span>;");
  expect(text, "<span class=n>@assumed(&quot;any_number &amp; more&quot;)</span>");
}

/* Two pictures with the same names in them: no name is there twice, and each refers to its own. */
static void names_in_the_report_are_unique(void **state)
{
  struct scratch *s = *state;
  static const char svg[] = "<?xml version=\"1.0\"?>\n<svg viewBox=\"0 0 1 1\">"
                            "<title>Gnuplot</title>"
                            "<defs><circle id='gpDot' r='1'/><path id=\"clip\"/></defs>"
                            "<use xlink:href='#gpDot'/><g clip-path=\"url(#clip)\">"
                            "<text>id='gpDot'</text></g></svg>\n";
  struct world w = make(s, RUNS "figure 1 \"f\" {" PANEL "figure 2 \"g\" {" PANEL
                                "claim C1 \"c\" on runs { expect mean(gain) > 0; }\n");
  assert_int_equal(diag_errors(s->diag), 0);
  struct claims_row row = {&w.paper.lowered->claims[0], {.verdict = CLAIMS_NOT_JUDGED}, "p.exp"};
  w.paper.claims = &row;
  w.paper.n_claims = 1;
  put(s, "fig01.svg", svg);
  put(s, "fig02.svg", svg);
  const char *text = report(s, &w);
  expect_not(text, "<?xml");
  expect_not(text, "Gnuplot");
  expect(text, "<use xlink:href='#fig02-gpDot'/><g clip-path=\"url(#fig02-clip)\">");
  expect(text, "<text>id='gpDot'</text>");
  const char *seen[200];
  size_t n = 0;
  for (const char *at = text; (at = strstr(at, " id=")); at++) {
    const char *name = at + 4 + (at[4] == '"' || at[4] == '\'');
    assert_true(n < 200);
    for (size_t i = 0; i < n; i++)
      if (strcspn(seen[i], "\"'> ") == strcspn(name, "\"'> ") &&
          !strncmp(seen[i], name, strcspn(name, "\"'> ")))
        fail_msg("the name %.20s is there twice", name);
    seen[n++] = name;
  }
  assert_true(n > 15);
  put(s, "fig02.svg", "no picture");
  assert_false(paper_report(&w.paper, scratch_path(s, "report.html"), s->diag));
  scratch_expect(s, "fig02.svg is no SVG picture", NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(numbers_come_from_the_store),
      SCRATCH_TEST(costs_come_from_the_store),
      SCRATCH_TEST(verdicts_come_from_the_claims),
      SCRATCH_TEST(code_and_assumptions),
      SCRATCH_TEST(mistakes_in_prose),
      SCRATCH_TEST(highlighting_keeps_the_text),
      SCRATCH_TEST(the_report_comes_from_the_store),
      SCRATCH_TEST(the_report_escapes),
      SCRATCH_TEST(names_in_the_report_are_unique),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
