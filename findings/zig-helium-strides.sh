#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22), QEMU for Arm
#
# A plain loop that reads every 32nd float is compiled wrongly for Cortex-M55 from -O1 on: clang vectorises it with an
# instruction that adds 512 to four addresses, whose field holds up to 508, and encodes 0. The loop reads 512 bytes in
# front of the array, and there the same four floats again and again. No warning; the assembly that clang writes is
# refused by clang. Strides of 31 and 33 floats are right, and so is -fno-vectorize.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs qemu-system-arm qemu-system-arm
packages ziglang==0.17.1
cd "$work"

cat > column.c << 'EOF'
void column(float *restrict y, const float *restrict x, int n);

void column(float *restrict y, const float *restrict x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i * STRIDE] + 1.0f;
}
EOF
cat > main.c << 'EOF'
void semihosting(int call, const void *argument);
void say(void);
void column(float *restrict y, const float *restrict x, int n);

static volatile float memory[256 + 8 * STRIDE], y[8];

void say(void)
{
    static char digits[9];
    volatile float *x = memory + 256; /* the 256 in front are zero */
    for (int i = 0; i < 8; i++)
        x[i * STRIDE] = (float)i;
    column((float *)y, (const float *)x, 8);
    for (int i = 0; i < 8; i++)
        digits[i] = (char)('0' + (int)y[i]);
    semihosting(4, digits);
}
EOF
bare_cortex_m

zig_cc() { python -m ziglang cc -target thumb-freestanding-eabihf -mcpu=cortex_m55+mve_fp "$@"; }

# column STRIDE FLAGS ...: what the loop reads of 0, 1, 2, ... 7, each plus 1.
column() {
    zig_cc -DSTRIDE="$1" -g0 "${@:2}" -Wl,-T,memory.ld -Wl,-e,reset start.c main.c column.c -o firmware.elf
    bare_run mps3-an547 firmware.elf
}

expect "every 31st, -O2" "$(column 31 -O2)" "12345678"
expect "every 32nd, -O2" "$(column 32 -O2)" "11111111"
expect "every 32nd, -O1" "$(column 32 -O1)" "11111111"
expect "every 33rd, -O2" "$(column 33 -O2)" "12345678"
expect "every 32nd, -O2 -fno-vectorize" "$(column 32 -O2 -fno-vectorize)" "12345678"
zig_cc -DSTRIDE=32 -O2 -g0 -S column.c -o column.s 2> /dev/null
expect "the instruction" "$(grep -o '\[q[0-7], #512\]!' column.s | sed 's/q./qN/')" "[qN, #512]!"
expect "what clang says of its own assembly" "$(zig_cc -c column.s -o column.o 2>&1 | grep -o 'error: .*')" \
    "error: invalid operand for instruction"
