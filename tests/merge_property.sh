#!/bin/sh
# Random merges against NumPy, where there is a Python with PyTorch.  Run from the build folder;
# MERGE_ROUNDS and MERGE_SEED: how many, and from which on.
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import numpy, torch' 2>/dev/null; then
    exec "$python" -B "${srcdir:-.}/tests/merge_property.py" ./mergescape \
      "${MERGE_ROUNDS:-120}" "${MERGE_SEED:-0}"
  fi
done
echo "merge_property: skipped, no Python here has PyTorch (Debian: python3-torch)"
exit 77
