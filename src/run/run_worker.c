/* Worker processes: forked once, fed one step at a time. */
#include "config.h"

#include "run/run_int.h"

#include "run/peak.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_LIMIT = 4096, MESSAGE_LIMIT = 32 };

/* Before the messages: for each its level (a byte), text and hint, both with
 * their NUL. */
struct reply_head {
  uint32_t bytes;
  uint8_t good, diverged;
  uint16_t n_messages;
};

void run_step_here(const struct run_context *c, struct run_order order, struct arena *a,
                   struct run_reply *reply)
{
  const struct plan_step *step = plan_step(c->plan, order.step);
  const struct run_kind *kind = &c->kinds[step->kind];
  struct diag *d = diag_new(a);
  *reply = (struct run_reply){0};
  assert(kind->execute);
  if (kind->threads)
    kind->threads(kind->context, order.threads);
  peak_begin();
  reply->good = kind->execute(kind->context, c->store, c->plan, step, d);
  struct store_result result;
  if (reply->good && !kind->done && store_read(c->store, step->key, a, &result, d))
    reply->diverged = result.diverged;
  for (unsigned k = 0; k < diag_count(d) && k < MESSAGE_LIMIT; k++) {
    const char *hint = diag_hint_of(d, k);
    struct run_message m = {diag_level_of(d, k), diag_message(d, k), hint ? hint : ""};
    ARENA_PUSH(a, reply->messages, reply->n_messages, reply->cap_messages, m);
  }
}

/* ---- the worker's side ---- */

static bool send_all(int fd, const void *bytes, size_t n)
{
  const char *p = bytes;
  while (n) {
    ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent <= 0)
      return false;
    p += sent;
    n -= (size_t)sent;
  }
  return true;
}

static bool receive_all(int fd, void *bytes, size_t n)
{
  char *p = bytes;
  while (n) {
    ssize_t got = recv(fd, p, n, 0);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return false;
    p += got;
    n -= (size_t)got;
  }
  return true;
}

static size_t put_text(char *to, const char *text)
{
  size_t n = strlen(text);
  if (n >= TEXT_LIMIT)
    n = TEXT_LIMIT - 1;
  memcpy(to, text, n);
  to[n] = 0;
  return n + 1;
}

static bool send_reply(int fd, const struct run_reply *reply)
{
  struct reply_head head = {0, reply->good, reply->diverged, (uint16_t)reply->n_messages};
  size_t n = sizeof head;
  char *bytes = mem_alloc(n + reply->n_messages * (1 + 2 * TEXT_LIMIT));
  for (size_t k = 0; k < reply->n_messages; k++) {
    bytes[n++] = (char)reply->messages[k].level;
    n += put_text(bytes + n, reply->messages[k].text);
    n += put_text(bytes + n, reply->messages[k].hint);
  }
  head.bytes = (uint32_t)(n - sizeof head);
  memcpy(bytes, &head, sizeof head);
  bool sent = send_all(fd, bytes, n);
  free(bytes);
  return sent;
}

static void set_handler(int signal_number, void (*handler)(int))
{
  struct sigaction action = {.sa_handler = handler};
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, NULL);
}

_Noreturn static void worker_main(struct run_pool *pool, int fd)
{
  /* Another worker's socket kept open here would hide the parent's end from it. */
  for (unsigned k = 0; k < pool->n; k++)
    if (pool->workers[k].pid)
      close(pool->workers[k].fd);
  /* The terminal's ^C reaches the whole process group: the parent decides. */
  set_handler(SIGINT, SIG_IGN);
  set_handler(SIGTERM, SIG_DFL);
  sigprocmask(SIG_SETMASK, &pool->signals, NULL);
  for (struct run_order order; receive_all(fd, &order, sizeof order);) {
    struct arena *a = arena_new();
    struct run_reply reply;
    run_step_here(&pool->context, order, a, &reply);
    bool sent = send_reply(fd, &reply);
    arena_free(a);
    if (!sent)
      break;
  }
  _exit(0);
}

/* ---- the parent's side ---- */

bool pool_start(struct run_pool *pool, unsigned k)
{
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
    return false;
  fflush(NULL); /* or the worker would write what is buffered a second time */
  pid_t pid = fork();
  if (!pid) {
    close(ends[0]);
    worker_main(pool, ends[1]);
  }
  int error = errno;
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    errno = error;
    return false;
  }
  pool->workers[k] = (struct run_worker){pid, ends[0], RUN_NONE};
  return true;
}

/* Closes our end and waits; returns the wait status. */
static int reap(struct run_worker *worker)
{
  int status = 0;
  close(worker->fd);
  while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
    ;
  *worker = (struct run_worker){0, -1, RUN_NONE};
  return status;
}

bool pool_send(struct run_pool *pool, unsigned k, struct run_order order)
{
  struct run_worker *worker = &pool->workers[k];
  for (int tries = 0; tries < 2; tries++) {
    if (!worker->pid && !pool_start(pool, k))
      return false;
    if (send_all(worker->fd, &order, sizeof order)) {
      worker->step = order.step;
      return true;
    }
    reap(worker);
  }
  errno = ECHILD;
  return false;
}

static bool parse_reply(char *bytes, size_t n, unsigned n_messages, struct arena *a,
                        struct run_reply *reply)
{
  size_t at = 0;
  for (unsigned k = 0; k < n_messages; k++) {
    struct run_message m = {.level = DIAG_WARNING};
    const char **texts[] = {&m.text, &m.hint};
    if (at >= n)
      return false;
    m.level = bytes[at++] == DIAG_ERROR ? DIAG_ERROR : DIAG_WARNING;
    for (int i = 0; i < 2; i++) {
      *texts[i] = bytes + at;
      size_t length = strnlen(bytes + at, n - at);
      if (length == n - at)
        return false;
      at += length + 1;
    }
    ARENA_PUSH(a, reply->messages, reply->n_messages, reply->cap_messages, m);
  }
  return true;
}

static void died(int status, struct arena *a, struct run_reply *reply)
{
  struct run_message m = {DIAG_ERROR, NULL, ""};
  if (WIFSIGNALED(status)) {
    int number = WTERMSIG(status);
    m.text = arena_printf(a, "its worker was killed by signal %d (%s)", number,
                          number == SIGKILL ? "out of memory?" : strsignal(number));
    if (number == SIGKILL)
      m.hint = "the kernel ends a process so when memory is short: try fewer jobs";
  } else {
    m.text = arena_printf(a, "its worker ended with status %d", WEXITSTATUS(status));
    m.hint = "a message of the worker may stand further up";
  }
  *reply = (struct run_reply){0};
  ARENA_PUSH(a, reply->messages, reply->n_messages, reply->cap_messages, m);
}

void pool_receive(struct run_pool *pool, unsigned k, struct arena *a, struct run_reply *reply)
{
  struct run_worker *worker = &pool->workers[k];
  struct reply_head head;
  *reply = (struct run_reply){0};
  if (receive_all(worker->fd, &head, sizeof head)) {
    char *bytes = arena_alloc(a, (size_t)head.bytes + 1);
    if (receive_all(worker->fd, bytes, head.bytes) &&
        parse_reply(bytes, head.bytes, head.n_messages, a, reply)) {
      reply->good = head.good;
      reply->diverged = head.diverged;
      worker->step = RUN_NONE;
      return;
    }
  }
  died(reap(worker), a, reply);
  store_sweep(pool->context.store);
}

void pool_stop(struct run_pool *pool, bool kill_them)
{
  for (unsigned k = 0; k < pool->n; k++)
    if (pool->workers[k].pid && kill_them)
      kill(pool->workers[k].pid, SIGKILL);
  for (unsigned k = 0; k < pool->n; k++)
    if (pool->workers[k].pid)
      reap(&pool->workers[k]);
  if (kill_them)
    store_sweep(pool->context.store);
}
