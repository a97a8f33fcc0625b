/* Between scanner and grammar: tells names that begin a setting, knows which
 * brackets are open, notices a missing } where the next block begins, and skips
 * to a sensible place after a mistake. */
#include "config.h"

#include "dsl/parse_int.h"
#include "dsl/exp.h"

#include <string.h>

void parse_give_up(struct parser *p)
{
  p->given_up = true;
}

static struct parse_token raw(struct parser *p)
{
  struct parse_token t;
  if (p->n_ahead) {
    t = p->ahead[0];
    p->ahead[0] = p->ahead[1];
    p->ahead[1] = p->ahead[2];
    p->n_ahead--;
    return t;
  }
  if (p->end.kind)
    return p->end;
  p->newline |= !p->scanned;
  t.kind = parse_scan(p, &t.value, &t.span);
  t.first = p->newline;
  t.index = p->scanned;
  t.quiet = t.index <= p->quiet_until;
  p->newline = false;
  if (t.kind == TOK_END) {
    t.kind = TOK_END_INSIDE;
    p->end = t;
  }
  return t;
}

static void push_back(struct parser *p, struct parse_token t)
{
  p->ahead[2] = p->ahead[1];
  p->ahead[1] = p->ahead[0];
  p->ahead[0] = t;
  p->n_ahead++;
}

static int peek(struct parser *p)
{
  if (!p->n_ahead)
    push_back(p, raw(p));
  return p->ahead[0].kind;
}

static bool in_parentheses(const struct parser *p)
{
  return p->n_brackets && p->brackets[p->n_brackets - 1].kind != '{';
}

/* May a name before `=` begin a setting here?  Also where a `;` is missing, so
 * that the mistake is found before the name and not behind it. */
static bool may_set(const struct parser *p, const struct parse_token *t)
{
  switch (p->fetched) {
  case TOK_LET:
  case TOK_USE:
  case TOK_MERGE:
  case TOK_MEASURE:
  case TOK_EXPECT:
    return false;
  case 0:
  case ';':
  case '{':
  case '}':
  case ')':
  case ']':
  case TOK_NAME:
  case TOK_UNIT:
  case TOK_STRING:
  case TOK_NUMBER:
    return !in_parentheses(p);
  default:
    return t->first && !in_parentheses(p);
  }
}

/* The next token, whether it goes to the grammar or is skipped. */
static struct parse_token fetch(struct parser *p)
{
  struct parse_token t = raw(p);
  if (t.kind == TOK_NAME && may_set(p, &t) && peek(p) == '=')
    t.kind = TOK_SETTER;
  else if (t.kind == TOK_NAME && p->fetched == TOK_NUMBER && !t.first && peek(p) != '=')
    t.kind = TOK_UNIT;
  p->fetched = t.kind;
  return t;
}

const struct parse_bracket *parse_open_brace(const struct parser *p)
{
  for (unsigned i = p->n_brackets; i-- > 0;)
    if (p->brackets[i].kind == '{')
      return &p->brackets[i];
  return NULL;
}

static void close_parentheses(struct parser *p)
{
  while (in_parentheses(p))
    p->n_brackets--;
}

static void open_bracket(struct parser *p, const struct parse_token *t)
{
  if (p->n_brackets == PARSE_MAX_BRACKETS) {
    parse_too_deep(p, t->span);
    return;
  }
  p->brackets[p->n_brackets++] = (struct parse_bracket){t->kind, t->span, p->start.kind};
  p->n_braces += t->kind == '{';
}

static void track(struct parser *p, const struct parse_token *t)
{
  int open = t->kind == ')' ? '(' : '[';
  switch (t->kind) {
  case '(':
  case '[':
  case '{':
    open_bracket(p, t);
    break;
  case ')':
  case ']':
    if (p->n_brackets && p->brackets[p->n_brackets - 1].kind == open)
      p->n_brackets--;
    break;
  case '}':
    close_parentheses(p);
    if (p->n_brackets) {
      p->n_brackets--;
      p->n_braces--;
    }
    break;
  case ';':
  case TOK_SYNC:
    close_parentheses(p);
    break;
  default:
    break;
  }
}

/* Hands a token to the grammar. */
static int deliver(struct parser *p, struct parse_token t)
{
  p->before = p->last;
  p->last = t;
  p->brackets_before = p->n_brackets;
  p->braces_before = p->n_braces;
  if (p->complete)
    p->start = t;
  track(p, &t);
  p->complete = t.kind == ';' || t.kind == '{' || t.kind == '}' || t.kind == TOK_SYNC ||
                (t.kind == ')' && p->start.kind == '@');
  return t.kind;
}

static struct parse_token synthetic(const struct parser *p, int kind)
{
  uint32_t end = p->last.span.end;
  return (struct parse_token){.kind = kind, .span = {p->file, end, end}};
}

static bool begins_block(int kind)
{
  return kind == TOK_EXPERIMENT || kind == TOK_FIGURE || kind == TOK_PANEL || kind == TOK_CLAIM ||
         kind == TOK_TIER;
}

static bool begins_stmt(int kind)
{
  return kind == TOK_SETTER || kind == TOK_SWEEP || kind == TOK_LET || kind == TOK_TRUNK ||
         kind == TOK_BRANCH || kind == TOK_MERGE || kind == TOK_MEASURE || kind == TOK_REPLACE ||
         kind == TOK_EXPECT;
}

static bool only_outside(int kind)
{
  return kind == TOK_FIGURE || kind == TOK_CLAIM || kind == TOK_TIER || kind == TOK_INCLUDE;
}

/* How many } are missing before a token that begins a block. */
static unsigned missing_braces(const struct parser *p, const struct parse_token *t)
{
  if (!p->complete || !t->first || !p->n_braces)
    return 0;
  int inner = parse_open_brace(p)->head;
  if (t->kind == TOK_PANEL)
    return inner == TOK_PANEL;
  if (t->kind == TOK_EXPERIMENT && inner == TOK_TIER)
    return 0;
  if (t->kind == TOK_EXPERIMENT && p->n_braces == 2 && inner == TOK_EXPERIMENT)
    return 1;
  return only_outside(t->kind) || t->kind == TOK_EXPERIMENT ? p->n_braces : 0;
}

/* Undo what the last token did to the brackets: the grammar refused it. */
void parse_recover(struct parser *p)
{
  p->n_brackets = p->brackets_before;
  p->n_braces = p->braces_before;
  p->recovering = true;
}

static bool stops_skip(const struct parser *p, const struct parse_token *t)
{
  if (t->index == p->stopped_at)
    return false;
  bool missing = p->missing_end && t->index == p->last.index;
  if (p->start.kind == '@' && (t->kind == '@' || t->first))
    return t->index != p->start.index;
  return (t->first || missing) &&
         (begins_stmt(t->kind) || begins_block(t->kind) || only_outside(t->kind));
}

/* Skips from the refused token to the end of its statement or head. */
static struct parse_token skip(struct parser *p)
{
  struct parse_token t = p->last;
  bool head = begins_block(p->start.kind) && p->start.index != t.index;
  unsigned groups = 0;
  for (;; t = fetch(p)) {
    if (t.kind == TOK_END_INSIDE || (t.kind == ';' && !groups))
      break;
    if (t.kind == ')' && !groups && p->start.kind == '@')
      break;
    if (t.kind == '{' && !groups && head) {
      push_back(p, t);
      close_parentheses(p);
      return synthetic(p, TOK_SYNC_HEAD);
    }
    if ((t.kind == '}' && !groups && p->n_braces) ||
        ((!groups || only_outside(t.kind)) && stops_skip(p, &t))) {
      p->stopped_at = t.index;
      push_back(p, t);
      if (!head || !begins_stmt(t.kind))
        break;
      /* Only the { is missing: read the block. */
      push_back(p, synthetic(p, '{'));
      close_parentheses(p);
      return synthetic(p, TOK_SYNC_HEAD);
    }
    if (t.kind == '}' && (!groups || !--groups))
      break;
    groups += t.kind == '{';
    if (t.kind == '(' || t.kind == ')')
      track(p, &t);
  }
  return synthetic(p, TOK_SYNC);
}

static int give(struct parser *p)
{
  if (p->given_up)
    return deliver(p, synthetic(p, TOK_END));
  if (p->recovering) {
    struct parse_token t = skip(p);
    p->recovering = false;
    return deliver(p, t);
  }
  if (p->inject_braces) {
    p->inject_braces--;
    return deliver(p, synthetic(p, '}'));
  }
  if (p->alone && p->complete)
    return deliver(p, (struct parse_token){.kind = TOK_ALONE, .span = {p->file, 0, 0}});
  struct parse_token t = fetch(p);
  if (t.kind == TOK_END_INSIDE && (p->alone || (p->complete && !p->n_braces)))
    return deliver(p, synthetic(p, TOK_END));
  unsigned missing = missing_braces(p, &t);
  if (t.kind == TOK_END_INSIDE && p->complete)
    missing = p->n_braces;
  if (!missing)
    return deliver(p, t);
  parse_unclosed(p, &t);
  push_back(p, t);
  p->inject_braces = missing - 1;
  return deliver(p, synthetic(p, '}'));
}

int exp_lex(EXP_STYPE *value, struct span *at, struct parser *p)
{
  int kind = give(p);
  value->value = p->last.value;
  *at = p->last.span;
  return kind;
}
