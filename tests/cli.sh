#!/bin/sh
# The whole program on a made-up data set: caching, interruptions, damage, faults
# of the machine, exit statuses.  Run from the build folder.
set -u
program=$PWD/mergescape
make_idx=$PWD/tests/make_idx
sources=$(cd "${srcdir:-.}" && pwd)
style=$sources/figures/style.gp
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mergescape-cli.XXXXXX") || exit 2
tmp=$(cd "$tmp" && pwd)
export LC_ALL=C
unset MERGESCAPE_DATA

clean_up()
{
  umount "$tmp/disk" 2>/dev/null
  rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 2' HUP INT TERM

failures=0
part()
{
  now=$1
  [ -z "${VERBOSE:-}" ] || echo "$(date +%S.%N | cut -c1-5) $now"
}
fail()
{
  failures=$((failures + 1))
  echo "FAIL ($now): $*"
  sed 's/^/  | /' "$tmp/out" "$tmp/err" 2>/dev/null | tail -20
}

# expect STATUS ARGUMENTS: runs mergescape; what it prints is in $tmp/out and $tmp/err.
expect()
{
  wanted=$1
  shift
  "$program" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
  status=$?
  [ $status -eq "$wanted" ] || fail "mergescape $*: exit status $status, not $wanted"
}
says() # TEXT: on either stream
{
  grep -qF -- "$1" "$tmp/out" "$tmp/err" || fail "\"$1\" is not said"
}
says_not()
{
  grep -qF -- "$1" "$tmp/out" "$tmp/err" && fail "\"$1\" is said"
}
ran() # N: steps that the last run computed
{
  says " $1 ran in "
}
same() # A B: two files
{
  cmp -s "$1" "$2" || { fail "$1 and $2 differ"; diff "$1" "$2" | head -5; }
}

# What a store holds, without times, host and versions.
fingerprint()
{
  (
    cd "$1/objects" || exit
    find . -name '*.safetensors' | sort | xargs sha256sum
    find . -name result.json | sort |
      xargs sed -e '/^  "\(seconds\|threads\|memory\|host\|date\|checksum\)"/d' -e '/^  "versions"/,/^  }/d'
  )
}

mkdir -p "$tmp/data/fashion-mnist" "$tmp/tiers"
"$make_idx" "$tmp/data/fashion-mnist" || exit 2
cd "$tmp" || exit 2
echo 'tier small "tiny" { }' >tiers/small.exp
cat >e.exp <<'END'
experiment base {
  data      = fashion_mnist(size = 7, train = 320, test = 100);
  model     = mlp(width = 16);
  optimizer = sgd(momentum = 0.9);
  batch     = 32;
  trunk every 1 epochs for 3 epochs at constant;
  branch ends[2] at every 1 epochs of trunk for 1 epochs at sqrt_decay;
  merge mid = linear(ends);
  measure gain = accuracy(mid, test) - mean(accuracy(ends, test));
}

experiment rates : base {
  sweep lr over 0.01, 0.1, 1;
}

experiment norm : base {
  model   = resnet18(width = 8, stages = 1, blocks = 1);
  augment = flip_crop;
  lr      = 0.1;
}

figure 1 "gain" {
  panel a lines of rates { x = lr log; y = median(gain) band quartiles; }
  panel b box of norm { x = epoch; y = gain; }
}
END
draw="figures --data=$tmp/data --style=$style"
run="run --data=$tmp/data"

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
  # The sweep above left more in the first store: compare with this one from now on.
  [ $jobs -ne 1 ] || cp jobs.txt whole.txt
done

part "killed"
fingerprint jobs1 >whole.txt
kills=0
for delay in 0.03 0.08 0.05 0.12 0.07 0.1 0.04; do
  setsid "$program" $draw -q -s killed -o figk e.exp >out 2>err </dev/null &
  pid=$!
  sleep $delay
  kill -s KILL -- -$pid 2>/dev/null && kills=$((kills + 1))
  wait $pid 2>/dev/null
  # Its workers are not waited for by anyone here: while they die they still own their drafts.
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 -- -$pid 2>/dev/null || break
    sleep 0.05
  done
done
[ $kills -ge 2 ] || echo "note: only $kills runs were killed before they had finished"
expect 0 $draw -s killed -o figk e.exp
fingerprint killed >killed.txt
same whole.txt killed.txt
same first.csv figk/fig01.csv
left=$(find killed/tmp killed/damaged -mindepth 1)
[ -z "$left" ] || fail "left in tmp or damaged: $left"

part "status"
look="status --style=$style"
expect 0 $look -s nowhere -o fig9 e.exp
says "no run is going on"
[ ! -e nowhere ] || fail "to look at a store makes it"
expect 0 $look -s killed -o figk e.exp
says "all is done"
says_not "killed"
mkdir -p killed/runs
cat >killed/runs/$(hostname).1.json <<END
{"host": "$(hostname)", "pid": 1, "started": 1, "workers": 2, "begun": 1e9, "heard": 1e9,
 "done": 3, "total": 9, "cost_done": 1, "cost_total": 2, "running": []}
END
expect 0 $look -s killed -o figk e.exp
says "3 of 9 steps, 50%; it was killed, last heard of"
[ "$(ls killed/runs | wc -l)" -eq 1 ] || fail "to look at a store changes it"
expect 0 $look --json -s killed -o figk e.exp
says '"state": "killed"'
says '"waiting": 0'
rm -r killed/runs
mkdir -p bad/fashion-mnist
echo "no images" >bad/fashion-mnist/train-images-idx3-ubyte
cp data/fashion-mnist/*labels* bad/fashion-mnist
expect 2 figures --data=bad --style="$style" -s failing -o figf e.exp
expect 0 $look -s failing -o figf e.exp
says "failed: data rates lr=0.01 [e.exp:2], at 20"
says "bad/fashion-mnist/train-images"
says "figure 1            90       0        0       1       89        0         0.0 s"
expect 0 $draw -q -s failing -o figf e.exp
expect 0 $look -s failing -o figf e.exp
says "all is done"
"$program" $draw -q -j 1 -s going -o figg e.exp >out 2>err </dev/null &
pid=$!
seen=0
while kill -0 $pid 2>/dev/null && [ $seen -eq 0 ]; do
  expect 0 $look -s going -o figg e.exp
  grep -q "^run $pid on .*, 1 worker, begun " out && grep -q "^  worker 1: .*\[e.exp:" out && seen=1
done
wait $pid || fail "a run that is looked at: exit status $?"
[ $seen -eq 1 ] || fail "the run was not seen"
expect 0 $look -s going -o figg e.exp
says_not "run $pid"

part "verify"
test="verify --data=$tmp/data --style=$style"
expect 2 $test -s nowhere e.exp
says "has no result of these experiments"
[ ! -e nowhere ] || fail "to verify a store makes it"
expect 0 $test -s killed e.exp
says "computed again: 5 of 89 results (5.62%, chosen by seed 0): 5 with the same bits, 0 that differ"
says "0 damaged"
says "made on $(hostname), mergescape"
says "kernels"
cp -r killed verified
expect 0 $test -s verified --all e.exp
says "89 with the same bits"
diff -r killed verified >/dev/null || fail "to verify a store changes it"
expect 0 $test -s killed --sample=10% --seed=3 -q e.exp
says "9 of 89 results (10.1%, chosen by seed 3)"
expect 2 $test -s killed --sample=0% e.exp
says "--sample takes"
expect 2 $test -s killed --sample=many e.exp
# One bit of a checkpoint, and all that is computed from it.
weights=$(ls verified/objects/*/*/weights.safetensors | head -1)
printf '\001' | dd of="$weights" bs=1 seek=700 conv=notrunc 2>/dev/null
expect 1 $test -s verified --sample=1 e.exp
says "damaged: "
says "weights.safetensors does not match its checksum"
says "1 damaged"
[ -z "$(ls verified/damaged)" ] || fail "to verify a store changes it"
rm -r verified

part "terminated"
"$program" $draw -s term -o figt e.exp >out 2>err </dev/null &
pid=$!
sleep 0.1
kill -TERM $pid 2>/dev/null
wait $pid
status=$?
# 143: it came before there was anything to keep.
case $status in 0 | 130 | 143) ;; *) fail "terminated: exit status $status" ;; esac
expect 0 $draw -s term -o figt e.exp
fingerprint term >term.txt
same whole.txt term.txt

part "two at once"
"$program" $draw -q -j 2 -s both -o figa e.exp >out 2>err </dev/null &
pid=$!
expect 0 $draw -q -j 2 -s both -o figb e.exp
wait $pid || fail "the other of two runs: exit status $?"
fingerprint both >both.txt
same whole.txt both.txt
same figa/fig01.csv figb/fig01.csv

part "damage"
# Measures that are new read the ends' weights: one is cut short, one has a byte
# flipped, and one has a result that is no JSON any more.
sed 's/measure gain.*/&\n  measure fit = mean(loss(ends, train));/' e.exp >fit.exp
ends=$(grep -l '"stream": [12]' jobs1/objects/*/*/result.json | sort | head -3)
k=0
for result in $ends; do
  k=$((k + 1))
  weights=${result%result.json}weights.safetensors
  case $k in
  1) truncate -s 700 "$weights" ;;
  2) printf 'x' | dd of="$weights" bs=1 seek=900 conv=notrunc 2>/dev/null ;;
  3) truncate -s 100 "$result" ;;
  esac
done
expect 0 $run -s jobs1 fit.exp
says "warning"
says "damaged"
[ "$(ls jobs1/damaged | wc -l)" -eq 3 ] || fail "not 3 objects are set aside"
expect 0 $run -s jobs2 -q fit.exp
fingerprint jobs1 >mended.txt
fingerprint jobs2 >sound.txt
same sound.txt mended.txt

part "divergence"
sed 's/over 0.01, 0.1, 1;/over 0.1, 1e30;/' e.exp >diverge.exp
expect 0 $draw -s one -o figd diverge.exp
says "diverged"
grep -q '"diverged": true' one/objects/*/*/result.json || fail "no result is diverged"
grep -q '^a,,1e+30,,,,,0,3,' figd/fig01.csv || fail "diverged runs are not counted in fig01.csv"
expect 0 $draw -s one -o figd diverge.exp
ran 0

part "places that cannot be written"
expect 2 $run -s e.exp e.exp
says "e.exp"
says "not a directory"
expect 2 $draw -s one -o e.exp e.exp
says "not a directory"
says_not "steps to do"
if [ "$(id -u)" -ne 0 ]; then
  mkdir -m 500 locked
  expect 2 $run -s locked e.exp
  says "permission denied"
  expect 2 $draw -s one -o locked e.exp
fi
expect 2 figures -s one -o fig4 --style=nowhere.gp --data=data e.exp
says "nowhere.gp"
says "--style"

part "a full disk"
mkdir disk
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=160k none disk 2>/dev/null; then
  expect 2 $run -s disk/store e.exp
  says "no space left"
  mount -o remount,size=50m disk
  expect 0 $run -s disk/store -q e.exp
  fingerprint disk/store >disk.txt
  expect 0 $run -s jobs4 -q e.exp
  fingerprint jobs4 | grep -v figure >jobs.txt
  same jobs.txt disk.txt
else
  echo "note: no small file system can be mounted here; the full disk was not tried"
fi

part "data"
sed 's/fashion_mnist(size = 7/cifar10(size = 8/' e.exp >cifar.exp
expect 2 $run -s none cifar.exp
says "cifar10"
says "$tmp/data"
says "--data"
for fault in cut magic labels; do
  mkdir -p $fault/fashion-mnist
  cp data/fashion-mnist/* $fault/fashion-mnist
  gunzip $fault/fashion-mnist/*
done
truncate -s 10000 cut/fashion-mnist/train-images-idx3-ubyte
printf '\001' | dd of=magic/fashion-mnist/train-images-idx3-ubyte bs=1 conv=notrunc 2>/dev/null
printf '\377' |
  dd of=labels/fashion-mnist/train-labels-idx1-ubyte bs=1 seek=9 conv=notrunc 2>/dev/null
for fault in cut:"cut off after 12 of 600 images" magic:"magic number" \
  labels:"label 255 of item 1"; do
  expect 2 run --data="$tmp/${fault%%:*}" -s none e.exp
  says "${fault#*:}"
  says "$tmp/${fault%%:*}/fashion-mnist/train-"
  [ -z "$(find none -name weights.safetensors)" ] || fail "${fault%%:*}: something was trained"
done
# Other pictures under the same name must not be mixed with results of the first.
mkdir -p other/fashion-mnist
cp cut/fashion-mnist/* other/fashion-mnist
gunzip -c data/fashion-mnist/train-images-idx3-ubyte.gz >other/fashion-mnist/train-images-idx3-ubyte
dd if=/dev/zero of=other/fashion-mnist/train-images-idx3-ubyte bs=784 seek=100 count=300 \
  conv=notrunc 2>/dev/null
sed 's/over 0.01, 0.1, 1;/over 0.2;/' e.exp >lr2.exp
expect 2 run --data=other -s one lr2.exp
says "is not the one that this store's results were made with"
MERGESCAPE_DATA=nowhere:$tmp/data expect 0 run -s one -q lr2.exp

part "claims"
cat >claims.exp <<'END'
include "e.exp";
claim A "accuracy differs by less than everything" on rates {
  expect max(abs(gain)) < 1.5;
  units = epoch;
}
claim B "never judged here" on rates { expect mean(gain) > 0; tiers = paper; }
claim C "one seed decides nothing" on rates { expect mean(gain) > 0; }
END
expect 0 claims --data=data -s one -o figc claims.exp
ran 0
says "1 PASS, 0 FAIL, 1 UNDECIDED, 1 not judged"
[ "$(wc -l <figc/claims.csv)" -eq 4 ] || fail "claims.csv has not three rows"
sed 's/< 1.5/> 1.5/' claims.exp >refuted.exp
expect 1 claims --data=data -s one -o figc refuted.exp
says "FAIL"
expect 3 claims -f 1 -q --data=data -s one -o figc refuted.exp
says "beside these figures"
expect 3 claims --data=data -s one e.exp
says "no claim"
sed 's/gain)) </gian)) </' claims.exp >misspelt.exp
expect 3 claims --data=data -s one misspelt.exp
says "did you mean \`gain\`?"
expect 2 claims --data=data -s one -o e.exp claims.exp

part "results of two runs"
expect 0 diff-results fig figj1
says "1 figure: 1 equal"
expect 0 diff-results one jobs2 e.exp
says "1 figure: 1 equal"
expect 1 diff-results fig fig3
says "fig01   missing"
says "1 places lost, 1 gained"
expect 1 diff-results --json fig fig3
says '"agrees": false'
expect 0 diff-results --csv fig figj1
says "series,fig01,a,,equal,3,0,"
expect 2 diff-results one fig
says "takes the experiment files"
expect 2 diff-results fig tiers
says "holds no results"
expect 2 diff-results fig
says "two results are needed"
expect 3 diff-results one fig -t nowhere e.exp
mkdir figr
expect 0 claims --data=data -s one -o figc claims.exp
expect 1 claims --data=data -s one -o figr refuted.exp
expect 1 diff-results figc figr
says "3 claims: 2 equal, 1 flipped"
expect 0 diff-results figc one claims.exp
says "3 claims: 3 equal"

part "a recorded reference"
record="record --data=data -s one -o fig --style=$style"
expect 0 $record --reference=refs/tiny --commit=abc123 claims.exp
ran 0
same refs/tiny/fig01.csv fig/fig01.csv
says "refs/tiny"
grep -q '"commit": "abc123"' refs/tiny/run.json || fail "run.json has no commit"
grep -q '"plan": "[0-9a-f]\{32\}"' refs/tiny/run.json || fail "run.json has no hash of the plan"
expect 0 diff-results refs/tiny one claims.exp
cp -r refs/tiny shifted
awk -F, -v OFS=, 'NR == 3 { $4 += 1000 } { print }' refs/tiny/fig01.csv >shifted/fig01.csv
expect 1 diff-results refs/tiny shifted
says "1 figure: 1 shifted"
says "3 claims: 3 equal"
rm shifted/fig01.csv
expect 1 diff-results refs/tiny shifted
says "1 figure: 1 missing"
expect 0 diff-results shifted refs/tiny
says "1 figure: 1 added"
expect 2 $record --reference=e.exp claims.exp
says "not a directory"

part "export"
export="export --data=data -s one -o fig --style=$style"
expect 0 $export --archive=packed/a.tar.gz claims.exp
ran 0
expect 0 $export --archive=packed/b.tgz -q claims.exp
same packed/a.tar.gz packed/b.tgz
[ "$(ls packed | wc -l)" -eq 2 ] || fail "something is left beside the archives"
tar xzf packed/a.tar.gz
(cd mergescape-results && sha256sum --quiet -c SHA256SUMS) >out 2>err || fail "checksums differ"
for file in README.md run.json plan.json claims.csv figures/fig01.pdf figures/fig01.gp \
  experiments/e.exp experiments/claims.exp experiments/tiers/small.exp; do
  grep -q " $file\$" mergescape-results/SHA256SUMS || fail "no $file in the archive"
done
[ -z "$(find mergescape-results -name '*.safetensors')" ] || fail "there are models in the archive"
expect 0 diff-results refs/tiny mergescape-results
says "1 figure: 1 equal"
expect 0 claims -s mergescape-results/store -o figx mergescape-results/experiments/claims.exp
ran 0
same figx/claims.csv mergescape-results/claims.csv
rm -r mergescape-results
expect 0 $export --models --source=e.exp --archive=packed/c.tar.gz claims.exp
tar tzf packed/c.tar.gz >out
says "/weights.safetensors"
says "mergescape-results/source.tar.gz"
expect 2 $export --archive=packed/d.zip claims.exp
says "ends in .tar.gz"
expect 2 $export --archive=e.exp/d.tar.gz claims.exp
expect 2 $export --source=nowhere.tar.gz --archive=packed/d.tar.gz claims.exp
says "nowhere.tar.gz"
[ "$(ls packed | wc -l)" -eq 3 ] || fail "something is left of an archive that failed"

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

[ $failures -eq 0 ] || { echo "$failures checks failed"; exit 1; }
echo "all checks passed"
