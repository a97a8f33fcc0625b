#!/bin/sh
# Killed and interrupted runs, damaged results, divergence, folders, disks and data at fault.
# Run from the build folder.
. "${srcdir:-.}/tests/cli_common.sh"

part "sound runs"
for jobs in 1 2; do
  expect 0 $draw -q -j $jobs -s jobs$jobs -o figj$jobs e.exp
done
fingerprint jobs1 >whole.txt
cp figj1/fig01.csv first.csv
expect 0 $draw -q -s one -o fig e.exp

part "killed"
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
for command in weave report record export; do
  expect 2 $command -s unstarted -o fig4 --style=nowhere.gp --data=data e.exp
  says "nowhere.gp"
done
[ ! -e unstarted ] || fail "something runs before the style is looked for"

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

finish
