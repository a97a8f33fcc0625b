# What the tests of the whole program begin with: a made-up data set, e.exp, and what is said, ran
# and left behind.  To be read with `. cli_common.sh` in the build folder.
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

# As the last line of a test.
finish()
{
  [ $failures -eq 0 ] || { echo "$failures checks failed"; exit 1; }
  echo "all checks passed"
  exit 0
}
