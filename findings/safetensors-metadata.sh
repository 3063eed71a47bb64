#!/usr/bin/env bash
# safetensors 0.8.0
#
# A file with two or more metadata entries is written with them in another order each time, within one process too: the
# same weights give files of different hashes. Tensors are sorted; one entry, as {"format": "pt"}, is the same file.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages safetensors==0.8.0 numpy==2.4.6

cat > "$work/try.py" << 'EOF'
import numpy as np
from safetensors.numpy import save

weights = {"weights": np.zeros(4, np.float32)}
many = {name: name for name in ("format", "source", "licence", "dataset", "steps", "note")}
print("six entries, saved 40 times, one file:", len({save(weights, metadata=many) for _ in range(40)}) == 1)
print("one entry, saved 40 times, one file:", len({save(weights, metadata={"format": "pt"}) for _ in range(40)}) == 1)
EOF
expect "files of the same weights" "$(python "$work/try.py")" "\
six entries, saved 40 times, one file: False
one entry, saved 40 times, one file: True"
