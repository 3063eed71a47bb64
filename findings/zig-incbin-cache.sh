#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22)
#
# zig's cache does not know the files that the assembler includes: after a file named in `.incbin` changed, the same
# command gives the object of before. A file named in `#embed` is known.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages ziglang==0.17.1
cd "$work"

cat > assembled.c << 'EOF'
__asm__(".section .rodata.weights,\"a\",%progbits\n.globl weights\nweights: .incbin \"weights.bin\"\n");
EOF
cat > embedded.c << 'EOF'
const unsigned char weights[4] = {
#embed "weights.bin"
};
EOF

# compiled FILE: the weights that stand in its object.
compiled() {
    python -m ziglang cc -target thumb-freestanding-eabi -mcpu=cortex_m3 -std=c23 -O2 -g0 -c "$1.c" -o "$1.o"
    grep -ao 'ABCD\|WXYZ' "$1.o"
}

printf ABCD > weights.bin
expect "at first, .incbin and #embed" "$(compiled assembled) $(compiled embedded)" "ABCD ABCD"
printf WXYZ > weights.bin
expect "after the file changed" "$(compiled assembled) $(compiled embedded)" "ABCD WXYZ"
