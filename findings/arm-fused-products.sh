#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22), arm-none-eabi-gcc 12.2
#
# Whether a * b + c is rounded once or twice depends on the name of the core: clang fuses it for Cortex-M7, M55 and M85,
# and not for M4F and M33, which have the instruction too. So one file gives other bits on two boards. gcc fuses it for
# Cortex-M4F, but neither with -std=c11 nor with -ffp-contract=on. The C standard's own pragma, FP_CONTRACT OFF, is
# obeyed by clang, and ignored by gcc without a word.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs arm-none-eabi-gcc gcc-arm-none-eabi
packages ziglang==0.17.1
cd "$work"

cat > sum.c << 'EOF'
#ifdef OFF
#pragma STDC FP_CONTRACT OFF
#endif
float sum(float a, float b, float c);

float sum(float a, float b, float c)
{
    return a * b + c;
}
EOF

# roundings COMPILER ...: of a product that is added; vfma is fused, vmla is one instruction and rounds twice.
roundings() {
    "$@" -O2 -S sum.c -o sum.s 2> said
    case $(grep -oE '\b(vfma|vmla|vmul)\.f32' sum.s) in
        vfma.f32) echo one ;;
        vmla.f32 | vmul.f32) echo two ;;
    esac
}

zig_cc() { python -m ziglang cc -target thumb-freestanding-eabihf -mcpu="$1" "${@:2}"; }
gcc_m4() { arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 "$@"; }

for core in cortex_m4+vfp4d16sp cortex_m33+fp_armv8d16sp; do
    expect "clang, $core" "$(roundings zig_cc $core)" "two"
done
for core in cortex_m7+fp_armv8d16sp cortex_m55+mve_fp cortex_m85+mve_fp; do
    expect "clang, $core" "$(roundings zig_cc $core)" "one"
    expect "clang, $core, pragma" "$(roundings zig_cc $core -DOFF)" "two"
done
expect "gcc, Cortex-M4F" "$(roundings gcc_m4)" "one"
expect "gcc, Cortex-M4F, -std=c11" "$(roundings gcc_m4 -std=c11)" "two"
expect "gcc, Cortex-M4F, -ffp-contract=on" "$(roundings gcc_m4 -ffp-contract=on)" "two"
expect "gcc, Cortex-M4F, pragma" "$(roundings gcc_m4 -DOFF)" "one"
expect "what gcc says of the pragma" "$(gcc_m4 -DOFF -O2 -S sum.c -o sum.s 2>&1)" ""
