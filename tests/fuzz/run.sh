#!/bin/sh
# Builds a fuzz target and runs it from the texts of the source tree, or from files that the
# target makes itself, in a temporary folder that goes away when nothing was found.
#   FUZZ_CC=clang FUZZ_SECONDS=120 run.sh SRCDIR exp|safetensors|net|data
set -eu
srcdir=$1 target=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/mergescape-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
mkdir "$work/seeds" "$work/corpus" "$work/found"

echo 'int LLVMFuzzerTestOneInput(const char *, long); int LLVMFuzzerTestOneInput(const char *t, long n) { (void)t; (void)n; return 0; }' > "$work/probe.c"
if ! ${FUZZ_CC:-clang} -fsanitize=fuzzer,address,undefined "$work/probe.c" -o "$work/probe" > "$work/log" 2>&1; then
  sed 's/^/  /' "$work/log" | head -n 3
  echo "SKIP: check-fuzz: clang with libFuzzer is not there (Debian 12: clang libclang-rt-14-dev); FUZZ_CC=... names another"
  exit 0
fi
$MAKE --no-print-directory "fuzz-objects/fuzz_$target" FUZZ_TARGET="$target"

# One flat folder; experiments are read at the tier that people run.
n=0
find "$srcdir/experiments" "$srcdir/tests" -name "*.$target" > "$work/list"
while read -r file; do
  n=$((n + 1))
  case $file in
  */experiments/fig*) { echo '# tier: small'; cat "$file"; } > "$work/seeds/$n" ;;
  *) cat "$file" > "$work/seeds/$n" ;;
  esac
done < "$work/list"
case $target in
exp) sh "$srcdir/tests/fuzz/dictionary.sh" "$srcdir" > "$work/words.dict" ;;
safetensors | net) cp "$srcdir/tests/fuzz/safetensors.dict" "$work/words.dict" ;;
esac
if [ "$target" != exp ]; then
  FUZZ_SEEDS="$work/seeds" "fuzz-objects/fuzz_$target" -runs=0 > "$work/log" 2>&1 ||
    { cat "$work/log"; exit 1; }
  n=$(find "$work/seeds" -type f | wc -l)
fi

echo "fuzzing $target for $FUZZ_SECONDS s from $n files"
set -- -max_total_time="$FUZZ_SECONDS" -max_len=8000 -timeout=10 -rss_limit_mb=3000 \
  -artifact_prefix="$work/found/" -print_final_stats=1 -verbosity=1
[ ! -f "$work/words.dict" ] || set -- "$@" -dict="$work/words.dict"
if UBSAN_OPTIONS=print_stacktrace=1 "fuzz-objects/fuzz_$target" "$@" "$work/corpus" "$work/seeds" \
  > "$work/log" 2>&1; then
  grep -E '^stat::number_of_executed|DONE' "$work/log" | tail -n 2
  echo "nothing found"
  exit 0
fi
trap - EXIT
tail -n 60 "$work/log"
echo
for file in "$work"/found/*; do
  echo "FAIL: check-fuzz: this input brings it down: $file"
  echo "      again: fuzz-objects/fuzz_$target $file"
done
exit 1
