#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22), QEMU for Arm
#
# -fno-tree-vectorize and -fno-vectorize are lost with -flto: loops are vectorised at link time, though each object was
# compiled with the flag and the line that links has it too. On Cortex-M55 that changes results, for Helium makes zero
# of subnormal products. -fno-lto, and no -flto, keep the flag.
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
    semihosting(4, kept == 16 ? "scalar" : kept == 0 ? "Helium" : "mixed");
}
EOF
bare_cortex_m

# product FLAGS ...: what multiplies, told by what becomes of a subnormal product.
product() {
    local source flags=(-target thumb-freestanding-eabihf -mcpu=cortex_m55+mve_fp -Os -g0 -ffp-contract=off "$@")
    for source in start main products; do
        python -m ziglang cc "${flags[@]}" -c $source.c -o $source.o
    done
    python -m ziglang cc "${flags[@]}" -Wl,-T,memory.ld -Wl,-e,reset start.o main.o products.o -o firmware.elf
    bare_run mps3-an547 firmware.elf
}

expect "no flag" "$(product)" "Helium"
expect "-fno-tree-vectorize" "$(product -fno-tree-vectorize)" "scalar"
expect "-fno-tree-vectorize -flto" "$(product -fno-tree-vectorize -flto)" "Helium"
expect "-fno-vectorize -flto" "$(product -fno-vectorize -flto)" "Helium"
expect "-fno-tree-vectorize -flto -fno-lto" "$(product -fno-tree-vectorize -flto -fno-lto)" "scalar"
