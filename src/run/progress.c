#include "config.h"

#include "run/progress.h"

#include "plan/cost.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double redraw_seconds = 0.1, plain_seconds = 5, plain_part = 0.1, quiet_seconds = 60;

char *progress_duration(double s, char text[32])
{
  return cost_duration(s, text);
}

static void clock_text(double s, char text[32])
{
  unsigned long whole = s < 1e7 ? (unsigned long)(s + 0.5) : 10000000;
  if (whole < 3600)
    snprintf(text, 32, "%02lu:%02lu", whole / 60, whole % 60);
  else
    snprintf(text, 32, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
}

static double part_of(const struct progress_count *c)
{
  double part = c->cost_total > 0 ? c->cost_done / c->cost_total : 0;
  return part < 1 ? part : 1;
}

static unsigned columns_of(const struct progress *p)
{
  struct winsize size;
  if (p->columns)
    return p->columns;
  if (!ioctl(fileno(p->out), TIOCGWINSZ, &size) && size.ws_col)
    return size.ws_col;
  return 80;
}

/* Cuts to `columns` characters, never within one. */
static void cut(char *text, unsigned columns)
{
  unsigned seen = 0;
  for (; *text; text++)
    if ((*text & 0xC0) != 0x80 && seen++ == columns) {
      *text = 0;
      return;
    }
}

static void line_text(const struct progress *p, double now, char *text, size_t size)
{
  const struct progress_count *c = &p->count;
  double part = part_of(c), elapsed = now - p->begun;
  char left[32] = "--:--", rate[32] = "";
  if (part > 0 && elapsed > 0) {
    clock_text(elapsed / part * (1 - part), left);
    snprintf(rate, sizeof rate, "  %.*f steps/s", c->done / elapsed < 100 ? 1 : 0,
             c->done / elapsed);
  }
  snprintf(text, size, "[%3d%%] %lu/%lu steps%s  %s left  %s", (int)(part * 100),
           (unsigned long)c->done, (unsigned long)c->total, rate, left, p->label);
}

static void draw(struct progress *p, double now)
{
  char text[512];
  line_text(p, now, text, sizeof text);
  p->last = now;
  p->shown = p->count;
  if (!p->terminal) {
    fprintf(p->out, "%s\n", text);
    fflush(p->out);
    return;
  }
  /* One column stays free: some terminals wrap when the last is written. */
  cut(text, columns_of(p) - 1);
  char *percent_end = p->colour ? strchr(text, ']') : NULL;
  if (percent_end)
    fprintf(p->out, "\r\033[32m%.*s\033[0m%s\033[K", (int)(percent_end + 1 - text), text,
            percent_end + 1);
  else
    fprintf(p->out, "\r%s\033[K", text);
  fflush(p->out);
}

static void clear(const struct progress *p)
{
  if (p->terminal)
    fputs("\r\033[K", p->out);
}

void progress_begin(struct progress *p, uint32_t cached, struct progress_count count, double now)
{
  p->begun = now;
  p->last = now;
  p->count = p->shown = count;
  p->label[0] = 0;
  if (!p->out || p->terminal || !count.total)
    return;
  fprintf(p->out, "%lu steps to do, %lu cached\n", (unsigned long)count.total,
          (unsigned long)cached);
  fflush(p->out);
}

void progress_label(struct progress *p, const char *label)
{
  size_t n = strlen(label);
  if (n >= sizeof p->label) {
    n = sizeof p->label - 1;
    while (n && (label[n] & 0xC0) == 0x80)
      n--;
  }
  memcpy(p->label, label, n);
  p->label[n] = 0;
  /* A control character would break the line that is rewritten. */
  for (char *c = p->label; *c; c++)
    if ((unsigned char)*c < 0x20)
      *c = ' ';
}

void progress_update(struct progress *p, struct progress_count count, double now)
{
  p->count = count;
  if (!p->out)
    return;
  double wait = now - p->last;
  bool due;
  if (p->terminal)
    due = wait >= redraw_seconds;
  else if (count.done == p->shown.done)
    due = wait >= quiet_seconds; /* nothing new: a sign of life is enough */
  else
    due = wait >= plain_seconds || (wait >= plain_seconds * plain_part &&
                                    part_of(&count) - part_of(&p->shown) >= plain_part);
  if (due)
    draw(p, now);
}

void progress_say(struct progress *p, bool error, const char *text)
{
  if (!p->out)
    return;
  clear(p);
  const char *colour = p->colour ? error ? "\033[1;31m" : "\033[1;35m" : "";
  fprintf(p->out, "%s%s:%s %s\n", colour, error ? "failed" : "warning", p->colour ? "\033[0m" : "",
          text);
  if (p->terminal)
    draw(p, p->last);
  fflush(p->out);
}

void progress_end(struct progress *p, const char *text)
{
  if (!p->out)
    return;
  clear(p);
  fprintf(p->out, "%s\n", text);
  fflush(p->out);
}
