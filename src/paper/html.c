/* Text, code and pictures for HTML. */
#include "paper/paper_int.h"

#include "dsl/highlight.h"

#include <math.h>
#include <string.h>

void html_bytes(FILE *out, const char *s, size_t n)
{
  for (size_t i = 0; i < n; i++)
    switch (s[i]) {
    case '&':
      fputs("&amp;", out);
      break;
    case '<':
      fputs("&lt;", out);
      break;
    case '>':
      fputs("&gt;", out);
      break;
    case '"':
      fputs("&quot;", out);
      break;
    case '\'':
      fputs("&#39;", out);
      break;
    default:
      fputc(s[i], out);
    }
}

void html_text(FILE *out, const char *s)
{
  html_bytes(out, s, strlen(s));
}

void html_words(FILE *out, const char *s)
{
  for (; *s; s++) {
    html_bytes(out, s, 1);
    if (strchr("_/(,", *s))
      fputs("<wbr>", out);
  }
}

void html_seconds(FILE *out, double seconds)
{
  if (seconds < 90)
    fprintf(out, "%.1f s", seconds);
  else if (seconds < 5400)
    fprintf(out, "%.1f min", seconds / 60);
  else
    fprintf(out, "%.1f h", seconds / 3600);
}

void html_code(FILE *out, struct arena *a, const char *text, size_t length)
{
  static const char *const class[] = {
      [HIGHLIGHT_PLAIN] = NULL,    [HIGHLIGHT_KEYWORD] = "k", [HIGHLIGHT_SETTING] = "s",
      [HIGHLIGHT_NUMBER] = "m",    [HIGHLIGHT_STRING] = "q",  [HIGHLIGHT_COMMENT] = "c",
      [HIGHLIGHT_NOTE] = "n"};
  size_t n;
  const struct highlight_run *runs = highlight(a, text, length, &n);
  for (size_t i = 0; i < n; i++) {
    const char *c = class[runs[i].kind];
    if (c)
      fprintf(out, "<span class=%s>", c);
    html_bytes(out, runs[i].text, runs[i].length);
    if (c)
      fputs("</span>", out);
  }
}

/* ---- pictures ---- */

static bool begins(const char *s, const char *end, const char *with)
{
  const size_t n = strlen(with);
  return (size_t)(end - s) >= n && !memcmp(s, with, n);
}

static const char *behind(const char *s, const char *end, const char *what)
{
  for (; s < end; s++)
    if (begins(s, end, what))
      return s + strlen(what);
  return end;
}

/* One tag, from `<` to behind `>`, with `id-` before each name that it gives or refers to. */
static const char *write_tag(FILE *out, const char *s, const char *end, const char *id)
{
  static const char *const names[] = {" id='", " id=\"", "href='#", "href=\"#", "url(#"};
  while (s < end && *s != '>') {
    size_t k = 0;
    while (k < sizeof names / sizeof *names && !begins(s, end, names[k]))
      k++;
    if (k == sizeof names / sizeof *names) {
      fputc(*s++, out);
      continue;
    }
    fprintf(out, "%s%s-", names[k], id);
    s += strlen(names[k]);
  }
  if (s < end)
    fputc(*s++, out);
  return s;
}

bool html_svg(FILE *out, const char *text, size_t length, const char *id, const char *label)
{
  const char *end = text + length, *s = behind(text, end, "<svg");
  if (s == end)
    return false;
  fputs("<svg role=\"img\" aria-label=\"", out);
  html_text(out, label);
  fputs("\"", out);
  s = write_tag(out, s, end, id);
  while (s < end) {
    /* gnuplot's own names for things would be read aloud, and shown where the mouse is. */
    if (begins(s, end, "<title"))
      s = behind(s, end, "</title>");
    else if (begins(s, end, "<desc"))
      s = behind(s, end, "</desc>");
    else if (*s == '<')
      s = write_tag(out, s, end, id);
    else
      fputc(*s++, out);
  }
  return true;
}
