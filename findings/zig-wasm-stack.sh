#!/usr/bin/env bash
# ziglang 0.17.1 (clang 22, lld), wasmtime 50.0.1
#
# The memory that a WebAssembly module asks for at its start holds its stack, and zig gives a program for WASI 16 MiB of
# it, one for no system 1 MiB: 257 pages or 16 for a function that returns 7. `-Wl,-z,stack-size=65536` makes it 2.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages ziglang==0.17.1 wasmtime==50.0.1
cd "$work"

cat > seven.c << 'EOF'
int main(void) { return 7; }
EOF
cat > pages.py << 'EOF'
import sys
import wasmtime

module = wasmtime.Module.from_file(wasmtime.Engine(), sys.argv[1])
print(*(export.type.limits.min for export in module.exports if isinstance(export.type, wasmtime.MemoryType)))
EOF
pages() {
    python -m ziglang cc -target "$@" -O2 seven.c -o seven.wasm
    python pages.py seven.wasm
}
bare=(wasm32-freestanding -nostdlib -Wl,--no-entry -Wl,--export=main)
expect "pages of 64 KiB for WASI" "$(pages wasm32-wasi)" "257"
expect "pages of 64 KiB for no system" "$(pages "${bare[@]}")" "16"
expect "pages of 64 KiB for WASI with a stack of one" "$(pages wasm32-wasi -Wl,-z,stack-size=65536)" "2"
