#!/bin/sh
# The whole program on a made-up data set: caching, why, workers, mistakes, the command line.
# Run from the build folder.
. "${srcdir:-.}/tests/cli_common.sh"

part "first run"
expect 0 $draw -s one -o fig e.exp
ran 90
says "fig/fig01.pdf"
for kind in csv gp json pdf svg; do
  [ -s fig/fig01.$kind ] || fail "no fig01.$kind"
done
[ "$(wc -l <fig/fig01.csv)" -eq 7 ] || fail "fig01.csv has not 3 + 3 rows"
[ -z "$(find one/tmp one/damaged -mindepth 1)" ] || fail "something is left in tmp or damaged"
fingerprint one >one.txt
[ "$(grep -c safetensors one.txt)" -ge 60 ] || fail "few checkpoints"

part "nothing has changed"
cp fig/fig01.csv first.csv
expect 0 $draw -s one -o fig e.exp
ran 0
says "90 cached"
expect 0 $draw -s one -o fig2 e.exp
ran 1
same fig/fig01.csv fig2/fig01.csv
expect 0 explain --data=data -s one -o fig --style="$style" e.exp
says_not "to do  "

part "a comment"
sed 's/^  sweep/  # more of them\n\n  sweep/' e.exp >comment.exp
expect 0 $draw -s one -o fig comment.exp
ran 0

part "a learning rate"
sed 's/over 0.01, 0.1, 1;/over 0.01, 0.1, 0.5;/' e.exp >lr.exp
expect 0 explain --summary --data=data -s one -o fig --style="$style" lr.exp
says "train          36       27        9"
expect 0 $draw -s one -o fig3 lr.exp
ran 23 # 3 of the trunk, 6 ends, 3 merges, 9 measures, a table, the figure
cmp -s fig/fig01.csv fig3/fig01.csv && fail "another learning rate draws the same"
expect 0 $draw -s one -o fig e.exp
ran 0
same fig/fig01.csv first.csv

part "why and what-if"
expect 0 what-if --data=data -s jobs9 -o fig9 --style="$style" e.exp
says "figure 1: 90 steps to do"
says "the store has no data step yet"
says "1 of 1 figures"
expect 0 what-if --data=data -s one -o fig --style="$style" e.exp
says "figure 1: nothing to do"
sed 's/over 0.01, 0.1, 1;/over 0.01, 0.1, 0.25;/' e.exp >quarter.exp
expect 0 what-if --data=data -s one -o fig --style="$style" quarter.exp
says "figure 1: 23 steps to do"
says "because lr changed in rates (quarter.exp:13)"
expect 0 explain --data=data -s one -o fig --style="$style" quarter.exp
says "lr=0.25"
says "sweep lr     0.01, 0.1, 0.25"
says "time to do with "
step=$(sed -n 's/^#\([0-9]*\) *to do  measure.*/\1/p' out | head -1)
expect 0 why "$step" --data=data -s one -o fig --style="$style" quarter.exp
says "to do, and 1 of its 2 inputs are to do before"
says "lr: 0.25 here, 0."
says "[quarter.exp:13]"
expect 0 why '#0' --data=data -s one -o fig --style="$style" quarter.exp
says ": cached in one/objects/"
key=$(sed -n 's/^key \([0-9a-f]*\):.*/\1/p' out)
expect 0 why "${key%????????}" --data=data -s one -o fig --style="$style" quarter.exp
says "#0 data"
expect 2 why 4000 --data=data -s one -o fig --style="$style" quarter.exp
says "has no step \`4000\`"
expect 2 why 3
says "no experiment file"
expect 0 explain --json --data=data -s one -o fig --style="$style" quarter.exp
says '"wall_seconds"'
expect 0 explain --dot --data=data -s one -o fig --style="$style" quarter.exp
says "digraph plan {"
{
  cat e.exp
  echo 'tier half "other values" {'
  echo '  replace model mlp with mlp(width = 8);'
  echo '  experiment base { batch = 16; trunk every 1 epochs for 2 epochs at constant; }'
  echo '}'
} >over.exp
expect 0 explain --summary -t half --data=data -s one -o fig --style="$style" over.exp
says "mlp(width = 8) "
says "paper: mlp(width = 16) "
says "paper: 32 "
says "every 1 epochs for 2 epochs at constant"
says "paper: every 1 epochs for 3 epochs at constant"
expect 0 what-if -t half --data=data -s one -o fig --style="$style" over.exp
says "width changed in rates (over.exp:27)"
[ -s one/calibration.json ] || fail "no calibration is kept"

part "workers"
for jobs in 1 2 4; do
  expect 0 $draw -q -j $jobs -s jobs$jobs -o figj$jobs e.exp
  fingerprint jobs$jobs >jobs.txt
  same one.txt jobs.txt 2>/dev/null
  same first.csv figj$jobs/fig01.csv
done

part "mistakes in files"
echo 'include "a.exp";' >b.exp
echo 'include "b.exp";' >a.exp
expect 3 check a.exp
says "a.exp:1:9"
sed 's/mlp(/mpl(/' e.exp >wrong.exp
for command in check explain run figures; do
  expect 3 $command -s untouched wrong.exp
  says "did you mean \`mlp\`?"
done
[ ! -e untouched ] || fail "a wrong file makes a store"
expect 3 check --max-steps=50 e.exp
says "--max-steps"
expect 0 check --max-steps=200 e.exp
expect 3 check --tier=large e.exp
says "unknown tier"
expect 3 figures -f 9 -s one e.exp
says "figure 9"
expect 2 check missing.exp
says "missing.exp"
echo 'experiment a { }' | sed 's/a/\xff/' >bytes.exp
expect 3 check bytes.exp

part "the experiments that are shipped"
for tier in "$sources"/experiments/tiers/*.exp; do
  tier=$(basename "$tier" .exp)
  for file in "$sources"/experiments/fig*.exp; do
    expect 0 check --tier="$tier" "$file"
  done
  expect 0 check --tier="$tier" "$sources"/experiments/fig*.exp
  [ "$tier" = paper ] || says_not "warning" # the paper's data are not all there
done

part "command line"
expect 0 --help
says "Exit status"
expect 0 --version
says "mergescape"
expect 2
expect 2 draw e.exp
says "unknown command"
expect 2 run
says "no experiment file"
expect 2 run --nonsense e.exp
says "nonsense"
expect 2 run --jobs=0 e.exp
says "--jobs"
expect 2 run --jobs=two e.exp
expect 2 run --threads=0 e.exp
says "--threads"
expect 2 run e.exp --store
expect 0 run e.exp -q -s one --data=data
if [ -c /dev/full ]; then
  "$program" explain -s one --data=data e.exp >/dev/full 2>err
  status=$?
  [ $status -eq 2 ] || fail "a full standard output: exit status $status"
fi

part "colour"
esc=$(printf '\033')
TERM=xterm expect 3 check wrong.exp
says_not "$esc"
# A pseudo-terminal, where there is one to be had.
if command -v script >/dev/null && TERM=xterm script -qec true /dev/null >/dev/null 2>&1; then
  TERM=xterm NO_COLOR= script -qec "$program check wrong.exp" /dev/null >out 2>err </dev/null
  says "$esc["
  TERM=xterm NO_COLOR=1 script -qec "$program check wrong.exp" /dev/null >out 2>err </dev/null
  says "error"
  says_not "$esc["
  TERM=dumb script -qec "$program check wrong.exp" /dev/null >out 2>err </dev/null
  says_not "$esc["
fi

finish
