#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22), QEMU for Arm
#
# clang vectorises a plain loop over floats for Cortex-M55 with Helium at -O2, without fast-math; Helium's float
# instructions flush subnormal results to zero. So strict C computes other numbers than on Cortex-M4 and M7, and than
# the same file does with -fno-vectorize.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs qemu-system-arm qemu-system-arm
packages ziglang==0.17.1
cd "$work"

cat > products.c << 'EOF'
void products(float *restrict y, const float *restrict x, float factor, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] * factor;
}
EOF
cat > main.c << 'EOF'
void semihosting(int call, const void *argument);
void say(void);
void products(float *restrict y, const float *restrict x, float factor, int n);

static volatile float x[16], y[16];

void say(void)
{
    int kept = 0;
    for (int i = 0; i < 16; i++)
        x[i] = 0x1p-100f;
    products((float *)y, (const float *)x, 0x1p-30f, 16); /* 2 to the -130th is subnormal */
    for (int i = 0; i < 16; i++)
        kept += y[i] != 0.0f;
    semihosting(4, kept == 16 ? "subnormal" : kept == 0 ? "zero" : "mixed");
}
EOF
bare_cortex_m

# product MACHINE CPU FLAGS ...: what the loop makes of 2^-100 times 2^-30.
product() {
    python -m ziglang cc -target thumb-freestanding-eabihf -mcpu="$2" -O2 -g0 -ffp-contract=off "${@:3}" \
        -Wl,-T,memory.ld -Wl,-e,reset start.c main.c products.c -o firmware.elf
    bare_run "$1" firmware.elf
}

expect "Cortex-M4F" "$(product mps2-an386 cortex_m4+vfp4d16sp)" "subnormal"
expect "Cortex-M55, not vectorised" "$(product mps3-an547 cortex_m55+mve_fp -fno-vectorize)" "subnormal"
expect "Cortex-M55" "$(product mps3-an547 cortex_m55+mve_fp)" "zero"
