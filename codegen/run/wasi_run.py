"""Run a WASI program in wasmtime: `python -m llgen.codegen.run.wasi_run PROGRAM.wasm ARGUMENTS...`.

With LLGEN_FUEL set, the program's instructions are counted, and their number printed on standard error at its end.
"""

from __future__ import annotations

import os
import sys

import wasmtime

_ENDLESS = 1 << 62


def main(argv: list[str]) -> int:
    """Run the program that the first argument names; returns its exit code."""
    counts = bool(os.environ.get("LLGEN_FUEL"))
    config = wasmtime.Config()
    config.consume_fuel = counts
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    if counts:
        store.set_fuel(_ENDLESS)
    wasi = wasmtime.WasiConfig()
    wasi.argv = argv
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, argv[0]))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    code = 0
    try:
        start(store)
    except wasmtime.ExitTrap as ended:
        code = ended.code
    if counts:
        print(f"fuel {_ENDLESS - store.get_fuel()}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
