#!/bin/sh
# The same plan gives the same bits: with any number of workers and of threads of each, killed
# in between, and wherever program, data and store lie.  Run from the build folder.
set -u
program=$PWD/mergescape
make_idx=$PWD/tests/make_idx
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mergescape-bits.XXXXXX") || exit 2
tmp=$(cd "$tmp" && pwd)
export LC_ALL=C
unset MERGESCAPE_DATA
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM

failures=0
fail()
{
  failures=$((failures + 1))
  echo "FAIL: $*"
}

run() # STORE ARGUMENTS
{
  store=$1
  shift
  "$program" run -q --data="$tmp/data" -s "$store" "$@" e.exp >"$tmp/out" 2>&1 </dev/null ||
    { fail "run -s $store $*: exit status $?"; tail -5 "$tmp/out"; }
}

# All that a store holds, but for when and where it was computed, and how long it took.
fingerprint()
{
  (
    cd "$1/objects" || exit
    find . -name '*.safetensors' | sort | xargs sha256sum
    find . -name result.json | sort |
      xargs sed -e '/^  "\(seconds\|threads\|memory\|host\|date\|checksum\)"/d' -e '/^  "versions"/,/^  }/d'
  )
}

same() # STORE: as the first one
{
  fingerprint "$1" >"$tmp/now.txt"
  cmp -s "$tmp/first.txt" "$tmp/now.txt" && return
  fail "$1 differs"
  diff "$tmp/first.txt" "$tmp/now.txt" | head -5
}

mkdir -p "$tmp/data/fashion-mnist" "$tmp/tiers"
"$make_idx" "$tmp/data/fashion-mnist" || exit 2
cd "$tmp" || exit 2
echo 'tier small "tiny" { }' >tiers/small.exp
# Layers that are large enough to be split, of every kind that images need.
cat >e.exp <<'END'
experiment convolutions {
  data      = fashion_mnist(size = 14, train = 320, test = 100);
  model     = resnet18(width = 32, stages = 2, blocks = 1);
  optimizer = sgd(momentum = 0.9);
  batch     = 40;
  lr        = 0.01;
  augment   = flip_crop;
  trunk every 1 epochs for 2 epochs at constant;
  branch ends[2] at every 1 epochs of trunk for 1 epochs at sqrt_decay;
  merge mid = linear(ends);
  measure gain = accuracy(mid, test) - mean(accuracy(ends, test));
}

experiment blocks : convolutions {
  model = densenet121(growth = 16, stages = 2, layers = 2);
}

experiment layers : convolutions {
  model     = mlp(width = 300);
  augment   = none;
  optimizer = adamw;
  lr        = 0.001;
}
END

run first -j 1 --threads=1
fingerprint first >first.txt
[ "$(grep -c 'weights\.safetensors' first.txt)" -ge 24 ] || fail "few checkpoints"
grep -rq '"threads": 1' first/objects || fail "results do not say how many threads there were"
for how in "-j 2 --threads=1" "-j 4 --threads=1" "-j 1 --threads=2" "-j 1 --threads=3" \
  "-j 2 --threads=2" "-j 2"; do
  name=$(echo "$how" | tr -d ' =-')
  run "$name" $how
  same "$name"
done
grep -rq '"threads": 3' j1threads3/objects || fail "--threads=3 uses no 3 threads"

kills=0
for delay in 0.3 0.8 0.5 1.2; do
  setsid "$program" run -q --data="$tmp/data" -s killed -j 2 --threads=2 e.exp \
    >out 2>&1 </dev/null &
  pid=$!
  sleep $delay
  kill -s KILL -- -$pid 2>/dev/null && kills=$((kills + 1))
  wait $pid 2>/dev/null
done
[ $kills -ge 2 ] || echo "note: only $kills runs were killed before they had finished"
run killed -j 1 --threads=1
same killed

# Another folder for everything, the program too.
mkdir -p "$tmp/else where/deep"
cp "$program" "$tmp/else where/deep/mergescape"
mv data "$tmp/else where/data"
(
  cd "else where" || exit 1
  cp -r ../e.exp ../tiers .
  deep/mergescape run -q --data=data -s ../moved -j 2 e.exp >../out 2>&1 </dev/null
) || fail "in another folder: exit status $?"
same moved
for store in first moved; do
  grep -rlF "$tmp" $store/objects >paths.txt && fail "paths in $(head -1 paths.txt)"
done

[ $failures -eq 0 ] || { echo "$failures failures"; exit 1; }
echo "the same bits each time"
