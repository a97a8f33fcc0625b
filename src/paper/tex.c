#include "paper/paper_int.h"

#include "dsl/highlight.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *from, *to;
} special[] = {{"\\", "\\textbackslash{}"}, {"{", "\\{"}, {"}", "\\}"}, {"_", "\\_"},
               {"%", "\\%"}, {"&", "\\&"}, {"#", "\\#"}, {"$", "\\$"},
               {"~", "\\textasciitilde{}"}, {"^", "\\textasciicircum{}"},
               {"<", "\\ensuremath{<}"}, {">", "\\ensuremath{>}"},
               {"α", "\\ensuremath{\\alpha}"}, {"\"", "\\textquotedbl{}"}};

/* breaks: behind which characters a line may end. */
static void escaped(FILE *out, const char *s, const char *breaks)
{
  while (*s) {
    size_t k = 0, n = 1;
    while (k < sizeof special / sizeof *special &&
           strncmp(s, special[k].from, strlen(special[k].from)))
      k++;
    if (k < sizeof special / sizeof *special) {
      fputs(special[k].to, out);
      n = strlen(special[k].from);
    } else {
      fputc(*s, out);
    }
    if (strchr(breaks, *s))
      fputs("\\allowbreak{}", out);
    s += n;
  }
}

void tex_text(FILE *out, const char *s)
{
  escaped(out, s, "");
}

void tex_words(FILE *out, const char *s)
{
  escaped(out, s, "_/(.");
}

void tex_number(FILE *out, double v, unsigned digits)
{
  char text[64];
  if (!isfinite(v)) {
    fputs(isnan(v) ? "---" : v < 0 ? "$-\\infty$" : "$\\infty$", out);
    return;
  }
  snprintf(text, sizeof text, "%#.*g", (int)digits, v);
  char *exponent = strchr(text, 'e');
  const int power = exponent ? atoi(exponent + 1) : 0;
  if (exponent)
    *exponent = '\0';
  const size_t n = strlen(text);
  if (n && text[n - 1] == '.')
    text[n - 1] = '\0';
  fprintf(out, "\\ensuremath{%s", text);
  if (exponent)
    fprintf(out, "\\times10^{%d}", power);
  fputs("}", out);
}

static void verbatim(FILE *out, const char *s, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    if (strchr("\\{}", s[i]))
      fprintf(out, "\\char%d{}", s[i]);
    else
      fputc(s[i], out);
  }
}

/* Blanks before an annotation that is left out, and of empty lines. */
static size_t without_blanks(const char *s, size_t n)
{
  while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
    n--;
  return n;
}

static void code_run(FILE *out, const struct highlight_run *run, bool before_note)
{
  static const char *const macro[] = {[HIGHLIGHT_KEYWORD] = "\\Kw",
                                      [HIGHLIGHT_SETTING] = "\\Set",
                                      [HIGHLIGHT_NUMBER] = "\\Num",
                                      [HIGHLIGHT_STRING] = "\\Str",
                                      [HIGHLIGHT_COMMENT] = "\\Com",
                                      [HIGHLIGHT_NOTE] = NULL};
  const size_t n = before_note ? without_blanks(run->text, run->length) : run->length;
  if (macro[run->kind])
    fprintf(out, "%s{", macro[run->kind]);
  verbatim(out, run->text, n);
  if (macro[run->kind])
    fputs("}", out);
}

void tex_code(FILE *out, struct arena *a, const char *text, size_t length)
{
  size_t n;
  const struct highlight_run *runs = highlight(a, text, length, &n);
  fputs("\\begin{ExpCode}\n", out);
  for (size_t i = 0; i < n; i++) {
    const bool before = i + 1 < n && runs[i + 1].kind == HIGHLIGHT_NOTE;
    if (runs[i].kind != HIGHLIGHT_NOTE)
      code_run(out, &runs[i], before);
  }
  fputs("\n\\end{ExpCode}\n", out);
}

const char *tex_verdict(enum claims_verdict v)
{
  static const char *const names[] = {[CLAIMS_PASS] = "\\Pass{}",
                                      [CLAIMS_FAIL] = "\\Fail{}",
                                      [CLAIMS_UNDECIDED] = "\\Undecided{}",
                                      [CLAIMS_NOT_JUDGED] = "\\NotJudged{}",
                                      [CLAIMS_NOT_AVAILABLE] = "\\NotAvailable{}"};
  return names[v];
}
