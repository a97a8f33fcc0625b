#!/bin/sh
# The manual's tables and grammar, and the words that editors highlight, are those
# of dsl/words.def and dsl/exp.y.  `make update-words` writes them anew.
set -eu
sources=${srcdir:-.}
manual=$sources/docs/language.md
vim=$sources/contrib/vim/syntax/mergescape.vim
emacs=$sources/contrib/emacs/mergescape-mode.el
vscode=$sources/contrib/vscode

dsl/words_doc --check "$sources/dsl/exp.y" "$manual" "$vim" "$emacs" \
  "$vscode/syntaxes/exp.tmLanguage.json"

fail()
{
  echo "FAIL: $*"
  exit 1
}
# Every section is used somewhere, and every word of words.def is in the manual.
for section in settings things functions claims axes grammar levels keywords; do
  grep -q "generated: $section " "$manual" || fail "the manual has no section $section"
done
sed -n 's/^\(SETTING\|FUNCTION\|AXIS\)(\([a-z0-9_]*\),.*/\2/p
  s/^\(THING\|PARAM\|CHOICE\)([A-Za-z0-9_]*, *\([a-z0-9_]*\)[,)].*/\2/p' \
  "$sources/dsl/words.def" | sort -u | {
  n=0
  while read -r word; do
    n=$((n + 1))
    grep -q "\`$word[\` ]\|[ |]$word[, |]" "$manual" || fail "the manual does not have \`$word\`"
    grep -qw "$word" "$vim" || fail "Vim's file does not have \`$word\`"
    grep -qw "$word" "$emacs" || fail "Emacs' file does not have \`$word\`"
    grep -qw "$word" "$vscode/syntaxes/exp.tmLanguage.json" || fail "VS Code's file does not have \`$word\`"
  done
  [ $n -gt 40 ] || fail "only $n words were read"
}

# A change is noticed.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mergescape-words.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
sed 's/^`and` /`xor` /' "$manual" >"$tmp/language.md"
if dsl/words_doc --check "$sources/dsl/exp.y" "$tmp/language.md" 2>/dev/null; then
  fail "a stale manual passes"
fi
dsl/words_doc "$sources/dsl/exp.y" "$tmp/language.md"
cmp "$tmp/language.md" "$manual" || fail "what is written anew differs"

if python3 -c 'import json' 2>/dev/null; then
  for json in "$vscode"/*.json "$vscode"/syntaxes/*.json; do
    python3 -m json.tool "$json" >"$tmp/json" || fail "$json is not JSON"
  done
fi
# Vim shows a word of each group in its colour.
if vim --version 2>/dev/null | grep -q +syntax; then
  printf '## prose\n# note\nexperiment a { lr = 5e-4; } # end\n' >"$tmp/a.exp"
  vim -es -u NONE -i NONE --cmd "set rtp^=$sources/contrib/vim" -c 'filetype plugin on' \
    -c 'syntax on' -c "edit $tmp/a.exp" -c "redir! >$tmp/vim" \
    -c 'for p in [[1,4],[2,3],[3,1],[3,16],[3,21],[3,29]] | echo synIDattr(synID(p[0],p[1],1),"name") | endfor' \
    -c 'echo &filetype' -c 'redir END' -c 'qa!' </dev/null || fail "vim does not load the syntax"
  got=$(tr -s '\n' ' ' <"$tmp/vim" | tr -d '\r')
  [ "$got" = " expProse expComment expBlock expName expNumber expComment mergescape" ] ||
    [ "$got" = " expProse expComment expBlock expName expNumber expComment mergescape " ] ||
    fail "vim shows: $got"
fi
if emacs --version >/dev/null 2>&1; then
  emacs -Q --batch --eval '(setq byte-compile-error-on-warn t)' \
    --eval "(setq byte-compile-dest-file-function (lambda (f) \"$tmp/mode.elc\"))" \
    -f batch-byte-compile "$emacs" || fail "emacs does not load the mode"
fi
echo "manual and highlighting are up to date"
