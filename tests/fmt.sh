#!/bin/sh
# mergescape fmt as a command: in place, --check, standard input, what it leaves alone.
set -eu
program=$PWD/mergescape
sources=$(cd "${srcdir:-.}" && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mergescape-fmt.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
export LC_ALL=C

fail()
{
  echo "FAIL: $*"
  exit 1
}
# expect STATUS ARGUMENTS
expect()
{
  wanted=$1
  shift
  status=0
  "$program" "$@" >out 2>err || status=$?
  [ $status -eq "$wanted" ] || { cat out err; fail "mergescape $*: status $status, not $wanted"; }
}

messy='experiment a { lr=5e-4 ; # kept
}'
printf '%s' "$messy" >messy.exp
printf 'experiment a {\n  lr = 5e-4;  # kept\n}\n' >neat.exp
printf 'experiment a { lr = ; }' >wrong.exp
cp wrong.exp wrong.before

expect 1 fmt --check messy.exp neat.exp
[ "$(cat out)" = messy.exp ] || fail "--check names what would change"
[ "$(cat messy.exp)" = "$messy" ] || fail "--check changed a file"
expect 0 fmt --check neat.exp
[ ! -s out ] || fail "--check names a neat file"

expect 0 fmt - <messy.exp
cmp -s out neat.exp || fail "standard input to standard output"
[ "$(cat messy.exp)" = "$messy" ] || fail "- changed a file"

chmod 640 messy.exp
ln -s messy.exp link.exp
expect 0 fmt link.exp
cmp -s messy.exp neat.exp || fail "formatting in place"
[ -L link.exp ] || fail "a link was replaced by a file"
[ "$(ls -l messy.exp | cut -c1-10)" = -rw-r----- ] || fail "permissions were not kept"

# One with an error is left alone; the others are done all the same.
printf '%s' "$messy" >messy.exp
expect 3 fmt wrong.exp messy.exp
grep -q 'wrong.exp:1:21: error: expected' err || fail "the mistake is not shown"
cmp -s wrong.exp wrong.before || fail "a file with an error was changed"
cmp -s messy.exp neat.exp || fail "the file behind one with an error was left out"
expect 2 fmt nowhere.exp
grep -q nowhere.exp err || fail "the missing file is not named"
[ "$(ls -A | grep -vc '\.exp$\|^out$\|^err$\|before$')" -eq 0 ] || fail "something was left behind"

# What is handed out is in the layout that the program writes.
find "$sources/experiments" -name '*.exp' >all
[ "$(wc -l <all)" -ge 40 ] || fail "the experiments are not there"
xargs "$program" fmt --check <all >out || { cat out; fail "not in canonical layout"; }
