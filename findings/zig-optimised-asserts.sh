#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22)
#
# From -O1 on, `zig cc` defines NDEBUG, which clang and gcc leave to the user: assert() vanishes from optimised C.
# -UNDEBUG brings it back. And -O1, -O2, -O3 and -Ofast are one: the object is the same byte for byte, so that -Ofast is
# no fast-math, and a comparison with it is one with -O2.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages ziglang==0.17.1
cd "$work"

cat > defined.c << 'EOF'
#ifdef NDEBUG
const char asserts[] = "asserts are gone";
#else
const char asserts[] = "asserts are kept";
#endif
EOF
cat > sum.c << 'EOF'
float sum(const float *x, int n)
{
    float total = 0.0f;
    for (int i = 0; i < n; i++)
        total += x[i];
    return total;
}
EOF

compile() { python -m ziglang cc -target x86_64-linux-musl -g0 "$@"; }

for flags in -O0 -O1 -Os "-O2 -UNDEBUG"; do
    # shellcheck disable=SC2086
    compile $flags -c defined.c -o defined.o
    printf '%s: %s\n' "$flags" "$(grep -ao 'asserts are [a-z]*' defined.o)"
done > seen
expect "asserts" "$(cat seen)" "\
-O0: asserts are kept
-O1: asserts are gone
-Os: asserts are gone
-O2 -UNDEBUG: asserts are kept"
for level in 1 2 3 fast; do
    compile -O$level -c sum.c -o "sum-$level.o"
done
compile -O2 -ffast-math -c sum.c -o sum-math.o
expect "different objects of -O1, -O2, -O3, -Ofast" "$(cksum < sum-1.o; cksum < sum-2.o; cksum < sum-3.o; cksum < sum-fast.o)" \
    "$(for _ in 1 2 3 4; do cksum < sum-2.o; done)"
cmp -s sum-2.o sum-math.o && same=yes || same=no
expect "-O2 -ffast-math gives the same object" "$same" "no"
