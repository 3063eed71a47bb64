#!/usr/bin/env bash
# arm-none-eabi-gcc 12.2, ziglang 0.17.1 (clang 22)
#
# Without any option for warnings, gcc says at -O2 and -O3 that an iteration "invokes undefined behavior" of a correct
# loop: the one that does the rest after four at a time, where a constant width of 12, 16 or more leaves no rest. It is
# not wrong code, but -Werror stops at it. `width - row >= 1` gets the warning at -O1 already, `row < width` does not.
# A width of 13 gets none, nor does clang warn, and its sanitizer, which zig turns on without -O, finds nothing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs arm-none-eabi-gcc gcc-arm-none-eabi
packages ziglang==0.17.1
cd "$work"

cat > twice.c << 'EOF'
#include <stddef.h>

void twice(float *y, const float *x);

void twice(float *y, const float *x)
{
    const size_t width = WIDTH;
    size_t row = 0;
    for (; row + 4 <= width; row += 4)
        for (size_t i = 0; i < 4; i++)
            y[row + i] = 2.0f * x[row + i];
    for (; REST; row++)
        y[row] = 2.0f * x[row];
}
EOF
cat > main.c << 'EOF'
#include <stdio.h>

void twice(float *y, const float *x);

int main(void)
{
    float x[WIDTH], y[WIDTH];
    for (int i = 0; i < WIDTH; i++)
        x[i] = (float)i;
    twice(y, x);
    for (int i = 0; i < WIDTH; i++)
        printf("%g ", y[i]);
    return 0;
}
EOF

# warns LEVEL WIDTH REST: what gcc says of the loop, without the number of the iteration; clang has to say nothing.
warns() {
    arm-none-eabi-gcc -mcpu=cortex-m4 "$1" -DWIDTH="$2" "-DREST=$3" -c twice.c -o twice.o 2>&1 |
        sed -n 's/.*warning: iteration [0-9]* //p' | sort -u
    python -m ziglang cc -Wall -Wextra "$1" -DWIDTH="$2" "-DREST=$3" -c twice.c -o twice.o 2>&1
}

warning="invokes undefined behavior [-Waggressive-loop-optimizations]"
expect "width 12, row < width, -O1" "$(warns -O1 12 'row < width')" ""
expect "width 12, row < width, -O2" "$(warns -O2 12 'row < width')" "$warning"
expect "width 12, row < width, -O3" "$(warns -O3 12 'row < width')" "$warning"
expect "width 12, width - row >= 1, -O1" "$(warns -O1 12 'width - row >= 1')" "$warning"
expect "width 13, row < width, -O2" "$(warns -O2 13 'row < width')" ""
for rest in 'row < width' 'width - row >= 1'; do
    python -m ziglang cc -DWIDTH=12 "-DREST=$rest" main.c twice.c -o twice
    expect "with clang's sanitizer, $rest" "$(./twice 2>&1)" "0 2 4 6 8 10 12 14 16 18 20 22 "
done
