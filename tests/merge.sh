#!/bin/sh
# mergescape merge and diff on small checkpoints that are written here byte by byte.
# Run from the build folder.
set -u
program=$PWD/mergescape
sources=$(cd "${srcdir:-.}" && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mergescape-merge.XXXXXX") || exit 2
export LC_ALL=C
clean_up()
{
  umount "$tmp/disk" 2>/dev/null
  rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 2' HUP INT TERM
cd "$tmp" || exit 2

failures=0
fail()
{
  failures=$((failures + 1))
  echo "FAIL ($now): $*"
  sed 's/^/  | /' out err 2>/dev/null | tail -20
}
part()
{
  now=$1
}
# expect STATUS ARGUMENTS: what it prints is in out and err.
expect()
{
  wanted=$1
  shift
  "$program" "$@" >out 2>err </dev/null
  status=$?
  [ $status -eq "$wanted" ] || fail "mergescape $*: exit status $status, not $wanted"
}
says()
{
  grep -qF -- "$1" out err || fail "\"$1\" is not said"
}
# holds FILE VALUE...: "w" of the file, as little-endian floats in hexadecimal.
holds()
{
  file=$1
  shift
  got=$(tail -c $((4 * $#)) "$file" | od -An -v -tx4 | tr -s ' \n' ' ' | sed 's/^ //; s/ $//')
  [ "$got" = "$*" ] || fail "$file holds $got, not $*"
}
# checkpoint FILE HEADER DATA: data as printf's escapes.
checkpoint()
{
  length=$(printf %s "$2" | wc -c)
  {
    printf "\\$(printf %o $((length % 256)))\\$(printf %o $((length / 256)))\\0\\0\\0\\0\\0\\0"
    printf %s "$2"
    printf "$3"
  } >"$1"
}
tensor() # NAME DTYPE SHAPE FROM TO
{
  printf '"%s":{"dtype":"%s","shape":%s,"data_offsets":[%s,%s]}' "$1" "$2" "$3" "$4" "$5"
}

one='\000\000\200\077' two='\000\000\000\100' three='\000\000\100\100' four='\000\000\200\100'
zero='\000\000\000\000' minus='\000\000\200\277'
header="{\"__metadata__\":{\"format\":\"pt\"},$(tensor w F32 '[4]' 0 16)}"
checkpoint base.safetensors "$header" "$zero$zero$zero$zero"
checkpoint a.safetensors "$header" "$four$one$zero$two"
checkpoint b.safetensors "$header" "$two$minus$three$zero"
checkpoint f.safetensors "$header" "$one$one$one$zero"
checkpoint g.safetensors "$header" "$three$one$zero$zero"

part "help"
expect 0 merge --help
for method in linear slerp task_arithmetic ties dare fisher regmean swa plane; do
  grep -q "^  $method " out || fail "$method is not listed"
done
for method in linear slerp task_arithmetic ties dare fisher regmean swa plane; do
  expect 0 merge $method --help
  says "Usage: mergescape merge $method"
  says "--dtype"
done
expect 0 merge ties -h
says "--keep=SHARE"
says "Yadav"
grep -q -- --drop out && fail "ties is said to take --drop"
expect 0 diff --help
expect 0 --help
says "merge"
says "diff"

part "methods"
expect 0 merge linear a.safetensors b.safetensors -o out.safetensors
says "1 tensors merged"
holds out.safetensors 40400000 00000000 3fc00000 3f800000
expect 0 merge linear --weights 0.75,0.25 a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40600000 3f000000 3f400000 3fc00000
expect 0 merge linear --weights=3,1 --normalize a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40600000 3f000000 3f400000 3fc00000
expect 0 merge linear --weights=1,1 --as-given a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40c00000 00000000 40400000 40000000
expect 0 merge swa a.safetensors a.safetensors b.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40400000 00000000 3fc00000 3f800000
expect 0 merge slerp --t 1 a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40000000 bf800000 40400000 00000000
expect 0 merge slerp --scope tensor --t 0 a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40800000 3f800000 00000000 40000000
expect 0 merge task_arithmetic --base base.safetensors --scale 0.5 a.safetensors b.safetensors \
  -o out.safetensors
holds out.safetensors 40400000 00000000 3fc00000 3f800000
expect 0 merge task_arithmetic --base base.safetensors --scale 1,-1 a.safetensors b.safetensors \
  -o out.safetensors
holds out.safetensors 40000000 40000000 c0400000 40000000
# Of each the two largest: 4 2 and 2 3; the first entry has two voters.
expect 0 merge ties --base base.safetensors --keep 0.5 a.safetensors b.safetensors -o out.safetensors
says "50 % of the task vectors' entries were kept"
holds out.safetensors 40400000 00000000 40400000 40000000
expect 0 merge ties --base base.safetensors --keep 0.5 --aggregate sum --scale 2 a.safetensors \
  b.safetensors -o out.safetensors
holds out.safetensors 41400000 00000000 40c00000 40800000
# All of them: 1 and -1 add up to zero.
expect 0 merge ties --base base.safetensors --keep 1 a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40400000 00000000 40400000 40000000
expect 0 merge ties --base base.safetensors --keep 1 --undecided majority a.safetensors \
  b.safetensors -o out.safetensors
holds out.safetensors 40400000 3f800000 40400000 40000000
expect 0 merge dare --base base.safetensors --drop 0 a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40c00000 00000000 40400000 40000000
expect 0 merge dare --base base.safetensors --drop 0 --combine ties a.safetensors b.safetensors \
  -o out.safetensors
holds out.safetensors 40400000 00000000 40400000 40000000
expect 0 merge dare --base base.safetensors --seed 1 a.safetensors b.safetensors -o x.safetensors
expect 0 merge dare --base base.safetensors --seed 1 a.safetensors b.safetensors -o y.safetensors
cmp -s x.safetensors y.safetensors || fail "one seed gives two results"
# Weights 1:3, 1:1, 1:0 and none.
expect 0 merge fisher --fisher f.safetensors,g.safetensors a.safetensors b.safetensors \
  -o out.safetensors
holds out.safetensors 40200000 00000000 00000000 3f800000
expect 0 merge fisher --fisher f.safetensors --fisher f.safetensors a.safetensors b.safetensors \
  -o out.safetensors
holds out.safetensors 40400000 00000000 3fc00000 3f800000
expect 0 merge fisher --unit-fishers --fisher f.safetensors,f.safetensors a.safetensors \
  b.safetensors -o out.safetensors
holds out.safetensors 40400000 00000000 3fc00000 3f800000
# Each model's inputs are another one of the two: it keeps the weight of what it reads.
row="{$(tensor w F32 '[1,2]' 0 8),$(tensor b F32 '[2]' 8 16)}"
square="{$(tensor w F32 '[2,2]' 0 16)}"
checkpoint ra.safetensors "$row" "$four$one$zero$two"
checkpoint rb.safetensors "$row" "$two$minus$three$zero"
checkpoint ga.safetensors "$square" "$two$zero$zero$zero"
checkpoint gb.safetensors "$square" "$zero$zero$zero$three"
expect 0 merge regmean --gram ga.safetensors,gb.safetensors ra.safetensors rb.safetensors \
  -o out.safetensors
holds out.safetensors 40800000 bf800000 3fc00000 3f800000
# As two rows of one input they have Gram matrices of one number.
expect 2 merge regmean --inputs-first --gram ga.safetensors,gb.safetensors ra.safetensors \
  rb.safetensors -o out.safetensors
says "a row and a column for each input"
expect 2 merge regmean --gram ga.safetensors ra.safetensors rb.safetensors -o out.safetensors
says "1 checkpoints for 2 models"
expect 2 merge regmean --gram ga.safetensors --gram a.safetensors ra.safetensors rb.safetensors \
  -o out.safetensors
says "and the weight is"
expect 2 merge regmean ra.safetensors rb.safetensors -o out.safetensors
says "needs --gram"
expect 0 merge plane --x 1 base.safetensors a.safetensors b.safetensors -o out.safetensors
holds out.safetensors 40800000 3f800000 00000000 40000000
for method in linear slerp swa; do
  expect 0 merge $method a.safetensors a.safetensors -o out.safetensors
  holds out.safetensors 40800000 3f800000 00000000 40000000
done

part "types and metadata"
expect 0 merge linear --dtype BF16 a.safetensors b.safetensors -o half.safetensors
grep -q '"dtype":"BF16"' half.safetensors || fail "not BF16"
grep -q '"format":"pt"' half.safetensors || fail "the metadata are lost"
grep -q 'merged.*linear.*a.safetensors' half.safetensors || fail "it is not said how it was merged"
expect 0 merge linear a.safetensors half.safetensors -o out.safetensors
grep -q '"dtype":"F32"' out.safetensors || fail "not F32"
holds out.safetensors 40600000 3f000000 3f400000 3fc00000
expect 0 merge linear half.safetensors half.safetensors -o again.safetensors
grep -q 'merged.2' again.safetensors || fail "what was said before is lost"

part "folders"
header2="{$(tensor u F32 '[2]' 0 8),$(tensor v F32 '[2]' 8 16),$(tensor n I64 '[]' 16 24)}"
checkpoint c.safetensors "$header2" "$four$one$zero$two$zero$zero"
checkpoint d.safetensors "$header2" "$two$minus$three$zero$zero$zero"
expect 0 merge linear c.safetensors d.safetensors -o whole.safetensors
expect 0 merge linear c.safetensors d.safetensors -o shards --shard-size 8B
[ "$(ls shards | wc -l)" -eq 4 ] || fail "not three files and an index"
says "2 tensors merged, 1 copied"
expect 0 diff shards whole.safetensors
says "n: I64, equal"
says " 0         0   1.0000000"
expect 0 merge linear shards whole.safetensors -o again2.safetensors
expect 0 diff again2.safetensors shards/model.safetensors.index.json
says " 0         0   1.0000000"
expect 0 merge linear c.safetensors d.safetensors -o single
[ "$(ls single)" = model.safetensors ] || fail "a small model has shards"
expect 2 merge linear c.safetensors d.safetensors -o shards
says "another folder"
expect 2 merge linear c.safetensors d.safetensors -o x.safetensors --shard-size 8B
says "single file"
expect 2 merge linear c.safetensors d.safetensors -o other --shard-size 8 GB
expect 2 merge linear c.safetensors d.safetensors -o other --shard-size big
says "no size"
[ ! -e other ] || fail "a folder is made for nothing"

part "mistakes"
cp out.safetensors kept.safetensors
expect 2 merge
says "no method"
expect 2 merge lineal a.safetensors b.safetensors -o out.safetensors
says "did you mean \`linear\`?"
expect 2 merge linear a.safetensors b.safetensors
says "-o OUT is missing"
expect 2 merge slerp a.safetensors -o out.safetensors
says "merges 2 models, not 1"
expect 2 merge ties a.safetensors -o out.safetensors
says "--base"
expect 2 merge ties --base base.safetensors --keep 0 a.safetensors -o out.safetensors
says "keeps nothing"
expect 2 merge ties --base base.safetensors --keep 1.5 a.safetensors -o out.safetensors
says "from 0 to 1"
expect 2 merge ties --base base.safetensors --scope layer a.safetensors -o out.safetensors
says "model|tensor"
expect 2 merge ties --base base.safetensors --drop 0.5 a.safetensors -o out.safetensors
says "takes no --drop"
expect 2 merge dare --base base.safetensors --drop x a.safetensors -o out.safetensors
says "not a number"
expect 2 merge linear --weights 1,1 a.safetensors b.safetensors -o out.safetensors
says "add up to 2"
says "--normalize"
expect 2 merge linear --weights 1 a.safetensors b.safetensors -o out.safetensors
says "1 numbers for 2 models"
expect 2 merge fisher --fisher f.safetensors a.safetensors b.safetensors -o out.safetensors
says "1 checkpoints for 2 models"
expect 2 merge linear a.safetensors missing.safetensors -o out.safetensors
says "missing.safetensors"
expect 2 merge linear a.safetensors c.safetensors -o out.safetensors
says "has no tensor \"w\""
expect 2 merge linear a.safetensors b.safetensors -o a.safetensors
says "one of the models"
ln -s a.safetensors link.safetensors
expect 2 merge linear link.safetensors b.safetensors -o ./a.safetensors
expect 2 merge linear a.safetensors b.safetensors -o no/such/out.safetensors
says "no such file"
expect 2 merge linear --nonsense a.safetensors b.safetensors -o out.safetensors
says "nonsense"
expect 2 merge plane --y 1 a.safetensors a.safetensors b.safetensors -o out.safetensors
says "equal"
cmp -s out.safetensors kept.safetensors || fail "a refused merge has changed its output"
[ -z "$(ls | grep tmp)" ] || fail "something is left: $(ls)"

part "diff"
expect 0 diff a.safetensors a.safetensors
expect 0 diff --csv a.safetensors b.safetensors
says "name,elements,norm_a,norm_b,distance,relative,cosine"
says "w,4,4.58257569495584,3.7416573867739413,4.5825756949558"
expect 0 diff --json a.safetensors b.safetensors
says '"mismatched": {}'
expect 1 diff a.safetensors c.safetensors
says "\"w\": only in a.safetensors"
says "\"u\": only in c.safetensors"
expect 2 diff a.safetensors
expect 2 diff a.safetensors missing.safetensors
expect 2 diff --nonsense a.safetensors b.safetensors
expect 0 diff --layers c.safetensors d.safetensors

part "progress"
if command -v script >/dev/null && TERM=xterm script -qec true /dev/null >/dev/null 2>&1; then
  head -c 40000000 /dev/zero >zeros
  {
    length=$(tensor w F32 '[10000000]' 0 40000000 | wc -c)
    printf "\\$(printf %o $((length + 2)))\\0\\0\\0\\0\\0\\0\\0"
    printf '{%s}' "$(tensor w F32 '[10000000]' 0 40000000)"
    cat zeros
  } >big.safetensors
  script -qec "$program merge slerp big.safetensors big.safetensors -o out.safetensors" /dev/null \
    >out 2>err </dev/null
  says "of 0.2"
  says "GB/s"
  script -qec "$program merge slerp -q big.safetensors big.safetensors -o out.safetensors" \
    /dev/null >out 2>err </dev/null
  [ ! -s out ] || fail "--quiet is not quiet"
  escape=$(printf '\033')
  for colour in '' 1; do
    script -qec "TERM=xterm NO_COLOR=$colour $program merge lineal" /dev/null >out 2>err </dev/null
    says "unknown merging method"
    if grep -q "$escape" out; then
      [ -z "$colour" ] || fail "NO_COLOR, and there are colours"
    else
      [ -n "$colour" ] || fail "no colours on a terminal"
    fi
  done

  part "a full disk"
  mkdir disk
  if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=20m none disk 2>/dev/null; then
    expect 2 merge linear big.safetensors big.safetensors -o disk/out.safetensors
    says "no space left"
    [ -z "$(ls disk)" ] || fail "something is left on a full disk"
    umount disk
  else
    echo "note: no small file system can be mounted here; the full disk was not tried"
  fi
fi
if [ -c /dev/full ]; then
  "$program" diff a.safetensors b.safetensors >/dev/full 2>err
  [ $? -eq 2 ] || fail "a full standard output is no failure"
fi

part "models with the names of methods"
mkdir weight_matching
cp a.safetensors weight_matching/
expect 0 merge linear weight_matching b.safetensors -o intra_fusion
expect 0 merge -q -o ot_fusion linear intra_fusion weight_matching
[ -s ot_fusion/model.safetensors ] || fail "a method's name cannot be a folder's"
expect 2 merge -o learned_matching weight_matching a.safetensors
says "weight_matching"
says "--model"

part "another reader"
if command -v python3 >/dev/null; then
  python3 "$sources/tests/merge.py" out.safetensors half.safetensors whole.safetensors \
    shards/*.safetensors >out 2>err || fail "Python reads it otherwise"
  python3 "$sources/tests/merge.py" --values whole.safetensors u 3 0 v 1.5 1 >out 2>err ||
    fail "Python reads other numbers"
else
  echo "note: no python3 here; its reader was not tried"
fi

[ $failures -eq 0 ] || { echo "$failures checks failed"; exit 1; }
echo "all checks passed"
