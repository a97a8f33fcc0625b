#!/bin/sh
# The engine's GPT against PyTorch; skipped (77) where no Python here has torch.
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import torch' 2>/dev/null; then
    exec "$python" "${srcdir:-.}/tests/parity_gpt.py" tests/parity_gpt_driver "$@"
  fi
done
echo "parity_gpt: PyTorch is not installed (Debian: python3-torch); skipped"
exit 77
