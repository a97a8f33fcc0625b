#!/bin/sh
# Every operation of struct ops has a unit test: some test function calls it, and where it computes
# gradients (*_backward*, *_loss, *_rows), a function that compares them with differences.
set -eu
cd "${srcdir:-.}"

members=$(sed -n '/^struct ops {/,/^};/s/.*(\*\([a-z_0-9]*\))(const struct ops.*/\1/p' src/engine/ops.h)

# "CALL NAME" and, in functions that call check_gradient, "GRADIENT NAME".  How work is split over
# threads is tested apart.
calls=$(ls tests/test_*.c | grep -v threads | xargs cat | awk '
  /^[^ ].*[^;]$/ { body = "" }
  { body = body "\n" $0 }
  /^}/ {
    gradient = body ~ /check_gradient\(/
    while (match(body, /ops->[a-z_0-9]+\(/)) {
      name = substr(body, RSTART + 5, RLENGTH - 6)
      print "CALL " name
      if (gradient) print "GRADIENT " name
      body = substr(body, RSTART + RLENGTH)
    }
  }' | sort -u)

status=0
for name in $members; do
  case $name in
  *_backward* | *_loss | *_rows) wanted=GRADIENT ;;
  *) wanted=CALL ;;
  esac
  if ! echo "$calls" | grep -qx "$wanted $name"; then
    case $wanted in
    CALL) echo "ops_covered: no test calls ops->$name" ;;
    *) echo "ops_covered: no test compares the gradients of ops->$name with differences" ;;
    esac
    status=1
  fi
done
[ "$(echo "$members" | wc -l)" -gt 40 ] || { echo "ops_covered: ops.h is not read right"; exit 1; }
exit $status
