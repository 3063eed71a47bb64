#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22), arm-none-eabi-gcc and its ld, QEMU for Arm
#
# `zig cc -target thumb-freestanding-eabihf -mcpu=cortex_m4` states in the object that floats are passed in registers of
# the float unit, and passes them in integer registers: the CPU's name brings no float unit, +vfp4d16sp does. ld links
# the object into hard-float firmware without a word about it, and the function computes with what is in no register of
# its own. Cortex-M7, M33, M55 and M85 are alike.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs arm-none-eabi-gcc gcc-arm-none-eabi
needs qemu-system-arm qemu-system-arm
packages ziglang==0.17.1
cd "$work"

echo 'float scale(float x, float y) { return x * y; }' > scale.c
bare_cortex_m
cat > main.c << 'EOF'
float scale(float x, float y);
void semihosting(int call, const void *argument);
void say(void);

void say(void)
{
    volatile float x = 2.5f, y = 4.0f;
    semihosting(4, scale(x, y) == 10.0f ? "10\n" : "not 10\n");
}
EOF

for cpu in cortex_m4 cortex_m4+vfp4d16sp; do
    python -m ziglang cc -target thumb-freestanding-eabihf -mcpu=$cpu -O2 -g0 \
        -fno-unwind-tables -fno-asynchronous-unwind-tables -c scale.c -o scale.o
    arm-none-eabi-gcc -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2 -ffreestanding -nostdlib -T memory.ld \
        start.c main.c scale.o -lgcc -o firmware.elf 2> words
    expect "$cpu: what the object states" "$(arm-none-eabi-readelf -A scale.o | grep -o 'ABI_VFP_args.*')" \
        "ABI_VFP_args: VFP registers"
    expect "$cpu: what ld says of floats" "$(grep -ciE 'vfp|float|abi_' words || true)" "0"
    product=10
    [ $cpu != cortex_m4 ] || product="not 10"
    expect "$cpu: 2.5 times 4" "$(bare_run mps2-an386 firmware.elf)" "$product"
done
