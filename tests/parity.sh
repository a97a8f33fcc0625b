#!/bin/sh
# The engine against PyTorch; skipped (77) where no Python here has torch.
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import torch' 2>/dev/null; then
    exec "$python" "${srcdir:-.}/tests/parity.py" tests/parity_driver
  fi
done
echo "parity: PyTorch is not installed (Debian: python3-torch); skipped"
exit 77
