/* The grammar of .exp files.  It knows shapes; words are looked up by check.
 *
 * ALONE is no text: parse_token.c gives it first where a thing is read that stands alone, as
 * the model on a command line.
 * SYNC and SYNC_HEAD are no text: parse_token.c gives them after a mistake,
 * when it has skipped to the end of the statement, or to the { behind a head
 * that could not be read. */
%define api.pure full
%define api.prefix {exp_}
%define api.token.prefix {TOK_}
%define api.location.type {struct span}
%define parse.error custom
%define parse.lac full
%locations
%param {struct parser *p}
%expect 0

%code requires {
#include "dsl/parse_int.h"
}

%union {
  struct parse_value value;
  struct ast_name name;
  struct ast_expr *expr;
  struct ast_stmt *stmt;
  struct ast_block *block;
  struct ast_note note;
  struct ast_arg arg;
  struct parse_notes notes;
}

%code provides {
int exp_lex(EXP_STYPE *, struct span *, struct parser *);
}

%code {
#define YYLLOC_DEFAULT(now, rhs, n)                                           \
  (now) = (n) ? span_join(YYRHSLOC(rhs, 1), YYRHSLOC(rhs, n))                 \
              : (struct span){YYRHSLOC(rhs, 0).file, YYRHSLOC(rhs, 0).end, YYRHSLOC(rhs, 0).end}
#define YYMAXDEPTH 4000

static const struct parse_value parse_trunk = {.text = "trunk"};
static const struct parse_value parse_experiment = {.text = "experiment"};
static void yyerror(struct span *, struct parser *, const char *);
}

%token END 0 "the end of the file"
%token <value> NAME "a name" SETTER "a setting" UNIT "a unit"
%token <value> STRING "a text in quotes" NUMBER "a number"
%token ALONE "a thing"
%token SYNC "the end of what was skipped" SYNC_HEAD "the end of a skipped head"
%token END_INSIDE "the end of a file that is not complete"
%token EXPERIMENT "experiment" FIGURE "figure" PANEL "panel" CLAIM "claim" TIER "tier"
%token INCLUDE "include" SWEEP "sweep" OVER "over" LET "let" TRUNK "trunk" BRANCH "branch"
%token MERGE "merge" MEASURE "measure" REPLACE "replace" WITH "with" EXPECT "expect"
%token OF "of" ON "on" AT "at" EVERY "every" FOR "for" BY "by" AND "and" OR "or" NOT "not"
%token WHERE "where" USE "use"
%token LE "<=" GE ">=" EQ "==" NE "!="

%precedence MEMBER
%precedence OF
%left BY
%left OR
%left AND
%precedence NOT
%nonassoc '<' '>' LE GE EQ NE
%left '+' '-'
%left '*' '/'
%precedence NEGATIVE
%right '^'

%type <expr> expr args some_args number word tuple member
%type <stmt> stmt setting trunk branch branch_head points list tuples names some_words
%type <block> head
%type <name> base title
%type <value> setter
%type <arg> arg
%type <note> note
%type <notes> notes

%%

input:
    file
  | ALONE NAME               { p->thing = parse_leaf(p, AST_NAME, $2, @2); }
  | ALONE NAME '(' args ')'  { p->thing = parse_call(p, $2, @2, $4, span_join(@2, @5)); }
  ;

file:
    %empty
  | file INCLUDE STRING ';'  { parse_include(p, parse_name($3, @3), @2); }
  | file block
  | file error SYNC          { yyerrok; }
  ;

block:
    head '{'  { yyerrok; parse_block_open(p, $1); }
    items '}' { parse_block_close(p); }
  | head error SYNC_HEAD '{'  { yyerrok; parse_block_open(p, $1); }
    items '}' { parse_block_close(p); }
  | head error SYNC        { yyerrok; parse_block_incomplete(p); }
  | EXPERIMENT error SYNC  { yyerrok; parse_block_incomplete(p); }
  | FIGURE error SYNC      { yyerrok; parse_block_incomplete(p); }
  | PANEL error SYNC       { yyerrok; parse_block_incomplete(p); }
  | CLAIM error SYNC       { yyerrok; parse_block_incomplete(p); }
  | TIER error SYNC        { yyerrok; parse_block_incomplete(p); }
  ;

head:
    EXPERIMENT NAME base {
      $$ = parse_block(p, AST_EXPERIMENT, $2, @2, @$);
      $$->base = $3;
    }
  | FIGURE number STRING {
      $$ = parse_nameless(p, AST_FIGURE, @$);
      $$->number = $2;
      $$->title = parse_name($3, @3);
    }
  | PANEL NAME NAME OF names title {
      $$ = parse_block(p, AST_PANEL, $2, @2, @$);
      $$->panel_kind = parse_name($3, @3);
      parse_block_of($$, $5);
      $$->title = $6;
    }
  | CLAIM NAME STRING ON names {
      $$ = parse_block(p, AST_CLAIM, $2, @2, @$);
      $$->title = parse_name($3, @3);
      parse_block_of($$, $5);
    }
  | TIER NAME base STRING {
      $$ = parse_block(p, AST_TIER, $2, @2, @$);
      $$->base = $3;
      $$->title = parse_name($4, @4);
    }
  | EXPERIMENT error SYNC_HEAD  { $$ = parse_nameless(p, AST_EXPERIMENT, @1); }
  | FIGURE error SYNC_HEAD      { $$ = parse_nameless(p, AST_FIGURE, @1); }
  | PANEL error SYNC_HEAD       { $$ = parse_nameless(p, AST_PANEL, @1); }
  | CLAIM error SYNC_HEAD       { $$ = parse_nameless(p, AST_CLAIM, @1); }
  | TIER error SYNC_HEAD        { $$ = parse_nameless(p, AST_TIER, @1); }
  ;

base:
    %empty    { $$ = (struct ast_name){0}; }
  | ':' NAME  { $$ = parse_name($2, @2); }
  ;

title:
    %empty  { $$ = (struct ast_name){0}; }
  | STRING  { $$ = parse_name($1, @1); }
  ;

items:
    %empty
  | items stmt ';' notes  { parse_stmt_add(p, $2, &$4); }
  | items block
  | items error SYNC      { yyerrok; parse_block_incomplete(p); }
  ;

notes:
    %empty          { $$ = (struct parse_notes){0}; }
  | notes note      { $$ = $1; ARENA_PUSH(p->program->arena, $$.v, $$.n, $$.cap, $2); }
  | notes '@' error SYNC  { $$ = $1; yyerrok; parse_block_incomplete(p); }
  ;

note:
    '@' NAME '(' STRING ')'  { $$ = (struct ast_note){parse_name($2, @2), parse_name($4, @4)}; }
  ;

stmt:
    setting
  | SWEEP NAME OVER list     { $$ = parse_stmt_as($4, AST_SWEEP, $2, @2, @$); }
  | SWEEP '(' names ')' OVER tuples  { $$ = parse_paired_sweep($3, $6, @$); }
  | WHERE expr {
      $$ = parse_stmt(p, AST_WHERE, @$);
      $$->value = $2;
    }
  | LET NAME '=' expr        { $$ = parse_stmt_new(p, AST_LET, $2, @2, $4, @$); }
  | USE NAME '=' expr        { $$ = parse_stmt_new(p, AST_USE, $2, @2, $4, @$); }
  | MEASURE NAME '=' expr    { $$ = parse_stmt_new(p, AST_MEASURE, $2, @2, $4, @$); }
  | MERGE NAME '=' expr      { $$ = parse_stmt_new(p, AST_MERGE, $2, @2, $4, @$); }
  | MERGE NAME '=' expr WITH some_words {
      $$ = parse_stmt_as($6, AST_MERGE, $2, @2, @$);
      $$->value = $4;
    }
  | EXPECT expr {
      $$ = parse_stmt(p, AST_EXPECT, @$);
      $$->value = $2;
    }
  | trunk
  | branch
  | REPLACE NAME NAME WITH expr title {
      $$ = parse_stmt_new(p, AST_REPLACE, $3, @3, $5, @$);
      $$->kind_word = parse_name($2, @2);
      $$->label = $6;
    }
  ;

setting:
    setter '=' expr { $$ = parse_stmt_new(p, AST_SETTING, $1, @1, $3, @$); }
  | setter '=' expr some_words {
      $$ = parse_stmt_as($4, AST_SETTING, $1, @1, @$);
      $$->value = $3;
    }
  ;

/* A SETTER is a name before `=`; a bare NAME only leads to a better message. */
setter:
    SETTER
  | NAME
  ;

trunk:
    TRUNK FOR expr AT expr             { $$ = parse_training(p, AST_TRUNK, NULL, $3, $5, @$); }
  | TRUNK EVERY expr FOR expr AT expr  { $$ = parse_training(p, AST_TRUNK, $3, $5, $7, @$); }
  ;

branch:
    branch_head
  | branch_head WITH NAME EVERY expr { $$ = parse_snapshots(p, $1, $3, @3, $5, @$); }
  ;

branch_head:
    BRANCH NAME '[' expr ']' AT points of_trunk FOR expr AT expr {
      $$ = parse_stmt_as($7, AST_BRANCH, $2, @2, @$);
      $$->count = $4;
      $$->length = $10;
      $$->schedule = $12;
    }
  ;

points:
    EVERY expr  { $$ = parse_training(p, AST_BRANCH, $2, NULL, NULL, @$); }
  | list
  ;

of_trunk:
    %empty
  | OF TRUNK
  ;

list:
    expr           { $$ = parse_stmt(p, AST_SWEEP, @$); parse_stmt_value(p, $$, $1); }
  | list ',' expr  { $$ = $1; parse_stmt_value(p, $$, $3); }
  ;

/* A sweep of several settings at once: their names, then tuples of values. */
names:
    NAME            { $$ = parse_stmt(p, AST_SWEEP, @$); parse_stmt_name(p, $$, $1, @1); }
  | names ',' NAME  { $$ = $1; parse_stmt_name(p, $$, $3, @3); }
  ;

tuples:
    tuple             { $$ = parse_stmt(p, AST_SWEEP, @$); parse_stmt_value(p, $$, $1); }
  | tuples ',' tuple  { $$ = $1; parse_stmt_value(p, $$, $3); }
  ;

tuple:
    '(' list ')'       { $$ = parse_tuple(p, $2, @$); }
  | NAME '(' args ')'  { $$ = parse_call(p, $1, @1, $3, @$); }
  ;

/* The first word cannot be a negative number: that would be a difference. */
some_words:
    word                   { $$ = parse_stmt(p, AST_SETTING, @$); parse_stmt_word(p, $$, $1); }
  | some_words word        { $$ = $1; parse_stmt_word(p, $$, $2); }
  | some_words '-' number  { $$ = $1; parse_stmt_word(p, $$, parse_negative($3, @2)); }
  ;

word:
    NAME    { $$ = parse_leaf(p, AST_NAME, $1, @$); }
  | STRING  { $$ = parse_leaf(p, AST_STRING, $1, @$); }
  | number
  ;

number:
    NUMBER       { $$ = parse_leaf(p, AST_NUMBER, $1, @$); }
  | NUMBER UNIT  {
      $$ = parse_leaf(p, AST_NUMBER, $1, @$);
      $$->unit = parse_name($2, @2);
    }
  ;

expr:
    number
  | STRING                { $$ = parse_leaf(p, AST_STRING, $1, @$); }
  | member %prec MEMBER
  | member OF NAME        {
      $$ = parse_of(p, $1, parse_leaf(p, AST_NAME, $3, @3), @2, @$);
    }
  | member OF NAME '(' args ')'  {
      $$ = parse_of(p, $1, parse_call(p, $3, @3, $5, span_join(@3, @6)), @2, @$);
    }
  | member OF TRUNK       { $$ = $1; }  /* at end of trunk: of its own, so it says no more */
  | NAME '(' args ')'     { $$ = parse_call(p, $1, @1, $3, @$); }
  | '(' expr ')'          { $$ = $2; $$->span = @$; }
  | '-' expr %prec NEGATIVE  { $$ = parse_operator(p, "-", @1, $2, NULL, @$); }
  | NOT expr              { $$ = parse_operator(p, "not", @1, $2, NULL, @$); }
  | expr BY expr          { $$ = parse_operator(p, "by", @2, $1, $3, @$); }
  | expr OR expr          { $$ = parse_operator(p, "or", @2, $1, $3, @$); }
  | expr AND expr         { $$ = parse_operator(p, "and", @2, $1, $3, @$); }
  | expr '<' expr         { $$ = parse_operator(p, "<", @2, $1, $3, @$); }
  | expr '>' expr         { $$ = parse_operator(p, ">", @2, $1, $3, @$); }
  | expr LE expr          { $$ = parse_operator(p, "<=", @2, $1, $3, @$); }
  | expr GE expr          { $$ = parse_operator(p, ">=", @2, $1, $3, @$); }
  | expr EQ expr          { $$ = parse_operator(p, "==", @2, $1, $3, @$); }
  | expr NE expr          { $$ = parse_operator(p, "!=", @2, $1, $3, @$); }
  | expr '+' expr         { $$ = parse_operator(p, "+", @2, $1, $3, @$); }
  | expr '-' expr         { $$ = parse_operator(p, "-", @2, $1, $3, @$); }
  | expr '*' expr         { $$ = parse_operator(p, "*", @2, $1, $3, @$); }
  | expr '/' expr         { $$ = parse_operator(p, "/", @2, $1, $3, @$); }
  | expr '^' expr         { $$ = parse_operator(p, "^", @2, $1, $3, @$); }
  ;

/* A setting, a measure, or a model: ends, ends[0], trunk. */
member:
    NAME               { $$ = parse_leaf(p, AST_NAME, $1, @$); }
  | TRUNK              { $$ = parse_leaf(p, AST_NAME, parse_trunk, @$); }
  | EXPERIMENT         { $$ = parse_leaf(p, AST_NAME, parse_experiment, @$); }
  | NAME '[' expr ']'  { $$ = parse_index(p, $1, @1, $3, @$); }
  ;

args:
    %empty  { $$ = NULL; }
  | some_args
  ;

some_args:
    arg                { $$ = parse_arg_add(p, NULL, $1); }
  | some_args ',' arg  { $$ = parse_arg_add(p, $1, $3); }
  ;

arg:
    expr           { $$ = (struct ast_arg){.value = $1}; }
  | NAME '=' expr  { $$ = (struct ast_arg){parse_name($1, @1), $3}; }
  | NAME '=' '(' list ',' expr ')'  {
      parse_stmt_value(p, $4, $6);
      $$ = (struct ast_arg){parse_name($1, @1), parse_tuple(p, $4, span_join(@3, @7))};
    }
  ;

%%

static int yyreport_syntax_error(const yypcontext_t *context, struct parser *p)
{
  yysymbol_kind_t kinds[YYNTOKENS];
  const char *names[YYNTOKENS];
  int n = yypcontext_expected_tokens(context, kinds, YYNTOKENS);
  for (int i = 0; i < n; i++)
    names[i] = yysymbol_name(kinds[i]);
  parse_syntax_error(p, names, n > 0 ? (size_t)n : 0);
  return 0;
}

/* bison calls it for one thing only: its stack is full. */
static void yyerror(struct span *at, struct parser *p, const char *message)
{
  (void)message;
  parse_too_deep(p, *at);
}
