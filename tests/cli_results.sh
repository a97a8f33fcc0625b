#!/bin/sh
# What is told of results: status, verify, claims, two runs, a recorded reference, an archive.
# Run from the build folder.
. "${srcdir:-.}/tests/cli_common.sh"

part "runs"
expect 0 $draw -q -s one -o fig e.exp
expect 0 $draw -q -s jobs1 -o figj1 e.exp
sed 's/over 0.01, 0.1, 1;/over 0.01, 0.1, 0.5;/' e.exp >lr.exp
expect 0 $draw -q -s lr -o fig3 lr.exp

part "status"
look="status --style=$style"
expect 0 $look -s nowhere -o fig9 e.exp
says "no run is going on"
[ ! -e nowhere ] || fail "to look at a store makes it"
expect 0 $look -s one -o fig e.exp
says "all is done"
says_not "killed"
mkdir -p one/runs
cat >one/runs/$(hostname).1.json <<END
{"host": "$(hostname)", "pid": 1, "started": 1, "workers": 2, "begun": 1e9, "heard": 1e9,
 "done": 3, "total": 9, "cost_done": 1, "cost_total": 2, "running": []}
END
expect 0 $look -s one -o fig e.exp
says "3 of 9 steps, 50%; it was killed, last heard of"
[ "$(ls one/runs | wc -l)" -eq 1 ] || fail "to look at a store changes it"
expect 0 $look --json -s one -o fig e.exp
says '"state": "killed"'
says '"waiting": 0'
rm -r one/runs
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
expect 0 $test -s one e.exp
says "computed again: 5 of 89 results (5.62%, chosen by seed 0): 5 with the same bits, 0 that differ"
says "0 damaged"
says "made on $(hostname), mergescape"
says "kernels"
cp -r one verified
expect 0 $test -s verified --all e.exp
says "89 with the same bits"
diff -r one verified >/dev/null || fail "to verify a store changes it"
expect 0 $test -s one --sample=10% --seed=3 -q e.exp
says "9 of 89 results (10.1%, chosen by seed 3)"
expect 0 $test -s one --json e.exp
says '"same": 5'
says '"not_tried": 0'
says '"findings": []'
says "\"host\": \"$(hostname)\""
expect 2 $test -s one --sample=0% e.exp
says "--sample takes"
expect 2 $test -s one --sample=many e.exp
# One bit of a checkpoint, and all that is computed from it.
weights=$(ls verified/objects/*/*/weights.safetensors | head -1)
printf '\001' | dd of="$weights" bs=1 seek=700 conv=notrunc 2>/dev/null
expect 1 $test -s verified --sample=1 e.exp
says "damaged: "
says "weights.safetensors does not match its checksum"
says "1 damaged"
expect 1 $test -s verified --sample=1 -q --json e.exp
says '"damaged": 1'
says '"verdict": "damaged"'
says '"line": "e.exp:'
[ -z "$(ls verified/damaged)" ] || fail "to verify a store changes it"
rm -r verified

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
expect 0 diff-results one jobs1 e.exp
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
# What it does not write stays, but for figures that no experiment draws.
cp refs/tiny/fig01.csv refs/tiny/fig99.csv
echo mine >refs/tiny/noise.csv
mkdir refs/tiny.tmp.1.0
expect 0 $record -q --reference=refs/tiny --commit=abc123 refuted.exp
grep -q "FAIL" refs/tiny/claims.csv || fail "the record is the old one"
[ "$(cat refs/tiny/noise.csv)" = mine ] || fail "a file of the folder is lost"
[ ! -e refs/tiny/fig99.csv ] || fail "a figure that is not drawn any more stays"
[ "$(ls refs)" = tiny ] || fail "something is left beside the record: $(ls refs)"
mkdir refs/tiny/mine
expect 2 $record --reference=refs/tiny claims.exp
says "refs/tiny/mine is a folder"
grep -q "FAIL" refs/tiny/claims.csv || fail "a record that failed changes the folder"
[ "$(ls refs)" = tiny ] || fail "something is left of a record that failed: $(ls refs)"
rmdir refs/tiny/mine
rm refs/tiny/noise.csv

part "a record that is killed"
cp -r refs/tiny refuted
expect 0 $record -q --reference=refs/tiny --commit=abc123 claims.exp
cp -r refs/tiny sound
for delay in 0.02 0.06 0.03 0.09 0.04 0.07 0.05; do
  "$program" $record -q --reference=refs/tiny --commit=abc123 refuted.exp >out 2>err </dev/null &
  pid=$!
  sleep $delay
  kill -s KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  diff -r refs/tiny sound >out || diff -r refs/tiny refuted >err ||
    fail "neither the old record nor the new one after $delay s"
  expect 0 $record -q --reference=refs/tiny --commit=abc123 claims.exp
  diff -r refs/tiny sound >out || fail "another record than before"
  [ "$(ls refs)" = tiny ] || fail "a killed record leaves $(ls refs)"
done
# A mount point cannot change places with a folder.
mkdir disk
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=1m none disk 2>/dev/null; then
  cp refuted/* disk
  cp refuted/fig01.csv disk/fig99.csv
  expect 0 $record -q --reference=disk --commit=abc123 claims.exp
  diff -r disk sound || fail "another record on a mount point"
  umount disk
else
  echo "note: no file system can be mounted here; a record on a mount point was not tried"
fi

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

part "an export that is interrupted"
mkdir slow
printf '#!/bin/sh\necho $$ >"%s/packing"\nexec sleep 60\n' "$tmp" >slow/tar
chmod +x slow/tar
slow_export() # in the background, up to where it packs
{
  rm -f packing
  PATH=$tmp/slow:$PATH "$program" $export -q --archive=packed/a.tar.gz claims.exp \
    >out 2>err </dev/null &
  pid=$!
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -s packing ] && return
    sleep 0.2
  done
  fail "it does not come to packing"
}
beside() # N: so many lie beside the three archives
{
  [ "$(ls packed | wc -l)" -eq $((3 + $1)) ] || fail "not $1 beside the archives: $(ls packed)"
}
cp packed/a.tar.gz before.tar.gz
slow_export
kill -s TERM $pid
wait $pid
status=$?
[ $status -eq 143 ] || fail "terminated while it packs: exit status $status"
packer=$(cat packing)
for try in 1 2 3 4 5 6 7 8 9 10; do # it may be dead, and waited for by nobody
  state=$(sed 's/.*) //; s/ .*//' "/proc/$packer/stat" 2>/dev/null)
  case $state in '' | Z) break ;; esac
  sleep 0.1
done
case $state in '' | Z) ;; *) fail "what packs goes on" ;; esac
beside 0
slow_export
kill -s KILL $pid
wait $pid 2>/dev/null
kill "$(cat packing)"
beside 1
same before.tar.gz packed/a.tar.gz
# The next one takes away what the killed one left, and nothing of one that is at work.
slow_export
beside 1
expect 0 $export -q --archive=packed/a.tar.gz claims.exp
beside 1
same before.tar.gz packed/a.tar.gz
kill -s TERM $pid
wait $pid 2>/dev/null
beside 0

part "report"
expect 0 report -q --data=data -s one -o fig --style="$style" --report=pages/report.html claims.exp
[ "$(ls pages)" = report.html ] || fail "a report is more than one file"
sh "$sources/tests/page_whole.sh" pages/report.html >out 2>err || fail "the page is not whole"
sed 's/<h2 id=h-claims>/<script src="https:x"><\/script>&/' pages/report.html >pages/linked.html
sh "$sources/tests/page_whole.sh" pages/linked.html >out 2>err && fail "it asks for another file"
sed 's/ id=fig01 / /' pages/report.html >pages/torn.html
sh "$sources/tests/page_whole.sh" pages/torn.html >out 2>err && fail "a link leads nowhere"
says "#fig01"
sed '/<svg/,/<\/svg>/d' pages/report.html >pages/blind.html
sh "$sources/tests/page_whole.sh" pages/blind.html >out 2>err && fail "a picture is missing"

finish
