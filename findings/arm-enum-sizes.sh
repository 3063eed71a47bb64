#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22), arm-none-eabi-gcc 12.2
#
# For bare Arm an enum of small values has one byte in arm-none-eabi-gcc and four in `zig cc`, so that a struct with an
# enum has another size and layout on the two sides of one header. GNU ld links both, with a warning at most.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs arm-none-eabi-gcc gcc-arm-none-eabi
packages ziglang==0.17.1
cd "$work"

cat > answer.c << 'EOF'
enum status { DONE = 0, FAILED = -1 };
struct answer { enum status status; unsigned char tokens; };
const unsigned char sizes[] = {'s', 'i', 'z', 'e', 's', ' ', '0' + sizeof(enum status), ' ', '0' + sizeof(struct answer)};
EOF
python -m ziglang cc -target thumb-freestanding-eabi -mcpu=cortex_m3 -O2 -g0 -c answer.c -o zig.o
arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb -O2 -c answer.c -o gcc.o
expect "bytes of the enum and of the struct, by zig" "$(grep -ao 'sizes . .' zig.o)" "sizes 4 8"
expect "bytes of the enum and of the struct, by gcc" "$(grep -ao 'sizes . .' gcc.o)" "sizes 1 2"
