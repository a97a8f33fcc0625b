#!/bin/sh
# What the program makes of files of weights, against PyTorch; skipped (77) where no Python here has
# torchvision.
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import torchvision' 2>/dev/null; then
    exec "$python" -B "${srcdir:-.}/tests/matched.py" ./mergescape
  fi
done
echo "matched: torchvision is not installed (Debian: python3-torchvision); skipped"
exit 77
