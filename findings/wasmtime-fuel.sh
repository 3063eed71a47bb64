#!/usr/bin/env bash
# wasmtime 45.0.0 and 46.0.1, the Python packages
#
# Fuel counts instructions, and what a bulk instruction costs changed between two releases: memory.copy and memory.fill
# are one up to 45, and one and a unit for each byte from 46 on. The same module's count is no longer comparable.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cat > "$work/try.py" << 'EOF'
from wasmtime import Config, Engine, Instance, Module, Store

TEXT = """
(module
  (memory 1)
  (func (export "copy") (memory.copy (i32.const 0) (i32.const 2000) (i32.const 1000)))
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 7) (i32.const 1000))))
"""
config = Config()
config.consume_fuel = True
engine = Engine(config)
store = Store(engine)
store.set_fuel(10**6)
exports = Instance(store, Module(engine, TEXT), []).exports(store)
for name in ("copy", "fill"):
    before = store.get_fuel()
    exports[name](store)
    print(name, before - store.get_fuel())
EOF
packages wasmtime==45.0.0
expect "fuel for 1,000 bytes by wasmtime 45" "$(python "$work/try.py")" "\
copy 5
fill 5"
packages wasmtime==46.0.1
expect "fuel for 1,000 bytes by wasmtime 46" "$(python "$work/try.py")" "\
copy 1005
fill 1005"
