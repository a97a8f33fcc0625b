#include "figure/figure_int.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *figure_quote(struct arena *a, const char *s)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "'");
  for (; *s; s++) {
    if (*s == '\'')
      figure_add(&t, "''");
    else
      figure_add(&t, "%c", (unsigned char)*s < ' ' ? ' ' : *s);
  }
  figure_add(&t, "'");
  return t.s;
}

char *figure_enhance(struct arena *a, const char *s)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "%s", "");
  for (; *s; s++)
    figure_add(&t, strchr("\\^_{}@&~", *s) ? "\\%c" : "%c", *s);
  return t.s;
}

char *figure_label(struct arena *a, const char *s)
{
  return figure_quote(a, figure_enhance(a, s));
}

char *figure_field(struct arena *a, const char *s)
{
  char *copy = arena_strdup(a, s);
  for (char *p = copy; *p; p++) {
    if (*p == ',')
      *p = ';';
    else if (*p == '"')
      *p = '\'';
    else if (*p == '\\')
      *p = '/';
    else if ((unsigned char)*p < ' ')
      *p = ' ';
  }
  return copy;
}

const char *figure_rounded(struct arena *a, const char *s)
{
  char *end;
  double v = strtod(s, &end);
  bool computed = *s && !*end && strlen(s) > 9;
  return computed ? arena_printf(a, "%.4g", v) : s;
}

char *figure_pretty(struct arena *a, const char *s)
{
  char *end;
  s = figure_rounded(a, s);
  strtod(s, &end);
  const char *e = strpbrk(s, "eE");
  if (*s == '\0' || *end != '\0' || !e)
    return figure_enhance(a, s);
  long exponent = strtol(e + 1, NULL, 10);
  bool one = e - s == 1 && s[0] == '1';
  return arena_printf(a, "%.*s%s10^{%s%ld}", one ? 0 : (int)(e - s), s, one ? "" : "·",
                      exponent < 0 ? "−" : "", labs(exponent));
}

char *figure_comment(struct arena *a, const char *s)
{
  char *copy = arena_strdup(a, s);
  for (char *p = copy; *p; p++) {
    if ((unsigned char)*p < ' ')
      *p = ' ';
    else if (*p == '\\')
      *p = '/';
  }
  return copy;
}

char *figure_name(struct arena *a, const char *s)
{
  char *copy = arena_strdup(a, s);
  for (char *p = copy; *p; p++)
    *p = isascii((unsigned char)*p) && isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p)
                                                                  : '_';
  return copy;
}

/* Advances of DejaVu Sans, which Debian brings with fontconfig, in hundredths
 * of the size, from U+0020. */
static const unsigned char advances[] = {
    32, 40, 46, 84, 64, 95, 78, 27, 39,  39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 34, 34, 84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79,
    60, 79, 69, 63, 61, 73, 68, 99, 69,  61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63,
    63, 28, 28, 58, 28, 97, 63, 61, 63,  63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84};

double figure_width(const char *s, double size)
{
  double width = 0;
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c >= ' ' && c < 127)
      width += advances[c - ' '];
    else if ((c & 0xc0) != 0x80) /* the first byte of a character */
      width += c >= 0xe3 ? 100 : 70;
  }
  return width * size / 100;
}

size_t figure_wrap(struct arena *a, const char *s, double size, double width, const char **lines,
                   size_t max)
{
  size_t n = 0;
  while (*s == ' ')
    s++;
  while (*s && n < max) {
    size_t take = strlen(s);
    /* Shorten word by word until it fits; a single long word stays whole. */
    while (n + 1 < max && figure_width(arena_strndup(a, s, take), size) > width) {
      size_t cut = take;
      while (cut > 0 && s[cut - 1] != ' ')
        cut--;
      if (cut == 0)
        break;
      while (cut > 0 && s[cut - 1] == ' ')
        cut--;
      take = cut;
    }
    lines[n++] = arena_strndup(a, s, take);
    s += take;
    while (*s == ' ')
      s++;
  }
  return n;
}
