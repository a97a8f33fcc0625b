#!/bin/sh
# The engine against PyTorch: a quick part of tests/parity/run.py, or with `all` the paper's sizes
# too.  Skipped (77) where no Python here has torch.
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import torch' 2>/dev/null; then
    exec "$python" -B "${srcdir:-.}/tests/parity/run.py" tests/parity/driver "${1:-quick}"
  fi
done
echo "parity: skipped, no Python here has PyTorch (Debian: python3-torch)"
exit 77
