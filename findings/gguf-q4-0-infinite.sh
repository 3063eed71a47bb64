#!/usr/bin/env bash
# gguf 0.19.0, numpy 2.4.6
#
# gguf.quants.quantize to Q4_0 stores the scale of a block as float16, a block's largest value over 8: of finite values
# above 524,160 it writes a scale that is infinite, and the block reads back as infinities and NaN. It raises nothing,
# while rows that do not divide into blocks do raise; NumPy's warning of the cast is the only sign. Q8_0 divides by 127.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages gguf==0.19.0 numpy==2.4.6

cat > "$work/try.py" << 'EOF'
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

for largest in (5e5, 6e5):
    for kind in (Type.Q8_0, Type.Q4_0):
        values = np.linspace(-largest, largest, 32, dtype=np.float32).reshape(1, 32)
        back = dequantize(quantize(values, kind), kind)
        print(f"{largest:,.0f} {kind.name} not finite: {np.count_nonzero(~np.isfinite(back))} of 32")
EOF
expect "a block of finite values" "$(python -W ignore "$work/try.py")" "\
500,000 Q8_0 not finite: 0 of 32
500,000 Q4_0 not finite: 0 of 32
600,000 Q8_0 not finite: 0 of 32
600,000 Q4_0 not finite: 32 of 32"
