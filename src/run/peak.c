#include "config.h"

#include "run/peak.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static bool began;

void peak_begin(void)
{
  const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  began = fd >= 0 && write(fd, "5", 1) == 1; /* 5: the peak becomes what is resident now */
  if (fd >= 0)
    close(fd);
}

/* A line "NAME:   123 kB" of /proc/self/status; 0: there is none. */
static double status_bytes(const char *name)
{
  FILE *in = fopen("/proc/self/status", "r");
  const size_t n = strlen(name);
  char line[256];
  unsigned long kilobytes = 0;
  while (in && fgets(line, sizeof line, in))
    if (!strncmp(line, name, n) && line[n] == ':' && sscanf(line + n + 1, "%lu", &kilobytes) == 1)
      break;
  if (in)
    fclose(in);
  return 1024.0 * (double)kilobytes;
}

double peak_bytes(bool *since_begin)
{
  double bytes = status_bytes("VmHWM");
  struct rusage usage;
  *since_begin = began && bytes > 0;
  if (!(bytes > 0) && !getrusage(RUSAGE_SELF, &usage))
    bytes = 1024.0 * (double)usage.ru_maxrss;
  return bytes;
}

double peak_now(void)
{
  return status_bytes("VmRSS");
}
