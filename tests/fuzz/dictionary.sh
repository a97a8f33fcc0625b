#!/bin/sh
# libFuzzer's dictionary of the language: the words of words.def and claim.def,
# and the tokens of the grammar.
#   dictionary.sh SRCDIR > exp.dict
set -eu
{
  # The names are among the first three arguments, with or without quotes.
  sed -n 's/^[A-Z][A-Z]*(\(.*\)$/\1/p' "$1/dsl/words.def" "$1/src/plan/claim.def" |
    sed 's/"[^"]* [^"]*"//g' | cut -d, -f1-3 | tr ',()" ' '\n\n\n\n\n' | grep -x '[a-z_][a-z0-9_]*'
  sed -n '/^%token/,/^$/p' "$1/dsl/exp.y" | grep -o '"[^ "]*"' | tr -d '"'
  printf '%s\n' '(' ')' '[' ']' '{' '}' ';' ',' ':' '=' '@' '+' '-' '*' '/' '^' '<' '>' '"' '##' '#' \
    '# tier: small' epochs steps '@paper("1");' ' 1e-3' ' 200k'
} | sort -u | sed 's/[\\"]/\\&/g; s/.*/" & "/'
