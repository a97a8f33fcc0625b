#!/bin/sh
# Who may include whom (ARCHITECTURE.md): base nothing; plan base; dsl base, plan;
# engine base; merge and measure base, engine; run base, plan, and the engine's
# side only from bind*; figure base, plan, run/store.h; paper the same, dsl and figure;
# main and options all.
set -eu
cd "${srcdir:-.}"

# A line a forbidden include: FILE: "HEADER"
forbidden()
{
  find src dsl -name '*.[chly]' -o -name '*.def' | LC_ALL=C sort | xargs awk '
    function module(file) {
      sub(/^src\//, "", file)
      return file ~ /\// ? substr(file, 1, index(file, "/") - 1) : "main"
    }
    BEGIN {
      allowed["base"] = "base"
      allowed["plan"] = "base plan"
      allowed["dsl"] = "base plan dsl"
      allowed["engine"] = "base engine"
      allowed["merge"] = "base engine merge"
      allowed["measure"] = "base engine measure"
      allowed["run"] = "base plan run"
      allowed["figure"] = "base plan figure"
      allowed["paper"] = "base plan dsl figure paper"
      allowed["main"] = "base plan dsl engine merge measure run figure paper main"
    }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
      split($0, part, "\"")
      header = part[2]
      if (header == "config.h" || header == "exp.h")
        next # made by configure, and by bison
      from = module(FILENAME)
      to = module(header)
      if (index(" " allowed[from] " ", " " to " "))
        next
      if (FILENAME ~ /^src\/run\/bind/ && index(" engine merge measure ", " " to " "))
        next
      if ((from == "figure" || from == "paper") && header == "run/store.h")
        next
      print FILENAME ": \"" header "\""
    }'
}

# An internal header stays in its folder.
foreign_internals()
{
  grep -rn '^[ 	]*#[ 	]*include[ 	]*"[a-z/]*_int\.h"' src dsl |
    awk -F: '{
      split($3, part, "\"")
      folder = $1
      sub(/^src\//, "", folder)
      sub(/\/[^\/]*$/, "", folder)
      header = part[2]
      sub(/\/[^\/]*$/, "", header)
      if (header != folder) print $1 ": \"" part[2] "\""
    }'
}

bad=$(forbidden; foreign_internals)
if [ -n "$bad" ]; then
  echo "these includes go against the layout:"
  echo "$bad"
  exit 1
fi
# The check itself: it must have read something.
n=$(grep -rl '#include "' src dsl | wc -l)
[ "$n" -gt 50 ] || { echo "only $n files with includes were found"; exit 1; }
echo "includes of $n files keep to the layout"
