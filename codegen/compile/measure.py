"""Measures compiled objects: flash, RAM, and the largest stack of their calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_RELOC_TYPE_AARCH64, ENUM_RELOC_TYPE_ARM, ENUM_RELOC_TYPE_x64
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Section, SymbolTableSection

from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import Target

from ..plan.sizes import round_up
from . import wasm

_CALLS = {
    "EM_ARM": (ENUM_RELOC_TYPE_ARM["R_ARM_THM_CALL"], ENUM_RELOC_TYPE_ARM["R_ARM_CALL"]),
    "EM_AARCH64": (ENUM_RELOC_TYPE_AARCH64["R_AARCH64_CALL26"],),
    "EM_X86_64": (ENUM_RELOC_TYPE_x64["R_X86_64_PLT32"],),
    "EM_RISCV": (18, 19),  # R_RISCV_CALL and R_RISCV_CALL_PLT, which pyelftools does not name
}
"""Types of the relocations of calls."""


@dataclass(frozen=True)
class Measurement:
    """Bytes of a model's objects, without its demonstration program."""

    code: int
    rodata: int
    writable: int
    """Bytes of .data and .bss: zero, because the caller owns all state."""
    stack: int | None
    """Stack of the deepest chain of calls, return addresses included, callbacks and the C library not included; None
    when the objects do not hold stack sizes."""
    undefined: tuple[str, ...]
    """Sorted names of functions that other objects must define."""

    @property
    def flash(self) -> int:
        return self.code + self.rodata


@dataclass(frozen=True)
class _Function:
    """A function in its own section; callees are keys of the same table, or names of other objects' functions."""

    frame: int
    callees: frozenset[str]


def measure(objects: Iterable[Path]) -> Measurement | None:
    """Add up object files that were compiled with one section per function and with stack sizes.

    ELF gives all values, WebAssembly code and data; None for other formats.

    Raises LlgenError when functions call each other in a circle, because the stack then has no limit.
    """
    code = rodata = writable = 0
    functions: dict[str, _Function] = {}
    globals_: dict[str, str] = {}
    undefined: set[str] = set()
    pointer = 8
    objects = list(objects)
    if objects and all(_begins_with(path, wasm.MAGIC) for path in objects):
        sizes = [wasm.code_and_data(path) for path in objects]
        return Measurement(sum(code for code, _ in sizes), sum(data for _, data in sizes), 0, None, ())
    for path in objects:
        with path.open("rb") as stream:
            if stream.read(4) != b"\x7fELF":
                return None
            stream.seek(0)
            elf = ELFFile(stream)
            pointer = elf.elfclass // 8
            for section in elf.iter_sections():
                flags = section["sh_flags"]
                if not flags & SH_FLAGS.SHF_ALLOC or section.name.startswith((".eh_frame", ".ARM.ex")):
                    continue
                if flags & SH_FLAGS.SHF_WRITE:
                    writable += section["sh_size"]
                elif flags & SH_FLAGS.SHF_EXECINSTR:
                    code += section["sh_size"]
                else:
                    rodata += section["sh_size"]
            _read_functions(elf, path.name, functions, globals_, undefined)
    undefined -= set(globals_)
    return Measurement(code, rodata, writable, _deepest(functions, globals_, pointer), tuple(sorted(undefined)))


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _read_functions(
    elf: ELFFile,
    file: str,
    functions: dict[str, _Function],
    globals_: dict[str, str],
    undefined: set[str],
) -> None:
    """Add the functions of one object; a key is "file:section"."""
    symbols = next(section for section in elf.iter_sections() if isinstance(section, SymbolTableSection))
    text = {
        index: f"{file}:{section.name}"
        for index, section in enumerate(elf.iter_sections())
        if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_size"]
    }
    calls = _CALLS.get(elf["e_machine"], ())
    frames = dict.fromkeys(text.values(), 0)
    callees: dict[str, set[str]] = {key: set() for key in text.values()}
    for symbol in symbols.iter_symbols():
        where = symbol["st_shndx"]
        if symbol["st_info"]["bind"] != "STB_GLOBAL":
            continue
        if where == "SHN_UNDEF":
            undefined.add(symbol.name)
        else:
            globals_[symbol.name] = text.get(where, "")
    for section in elf.iter_sections():
        if section.name == ".stack_sizes" and section["sh_link"] in text:
            frames[text[section["sh_link"]]] = _stack_size(section, elf.elfclass // 8)
        if isinstance(section, RelocationSection) and section["sh_info"] in text:
            caller = text[section["sh_info"]]
            for relocation in section.iter_relocations():
                target = symbols.get_symbol(relocation["r_info_sym"])
                callee = text.get(target["st_shndx"], target.name if target["st_shndx"] == "SHN_UNDEF" else "")
                # A relocation to its own section belongs to a jump table, unless it is a call.
                if callee and (callee != caller or relocation["r_info_type"] in calls):
                    callees[caller].add(callee)
    for key in text.values():
        functions[key] = _Function(frames[key], frozenset(callees[key]))


def _stack_size(section: Section, pointer: int) -> int:
    """The ULEB128 number after the address of the section's only function."""
    value = shift = 0
    for byte in section.data()[pointer:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value


def _deepest(functions: Mapping[str, _Function], globals_: Mapping[str, str], pointer: int) -> int:
    depth: dict[str, int] = {}

    def visit(key: str, above: tuple[str, ...]) -> int:
        if key in above:
            raise LlgenError(f"{key} calls itself, by way of {len(above)} functions: the stack has no bound")
        if key not in depth:
            function = functions[key]
            inner = [visit(found, (*above, key)) for name in function.callees if (found := resolve(name))]
            depth[key] = function.frame + pointer + max(inner, default=0)
        return depth[key]

    def resolve(name: str) -> str | None:
        key = name if name in functions else globals_.get(name, "")
        return key if key in functions else None

    return max((visit(key, ()) for key in functions), default=0)

LIBRARY_BYTES = 256
"""Bytes of stack for the compiler's own functions and for an interrupt, which llgen's objects do not show."""


def require_stack(program: Measurement | None, target: Target) -> None:
    """Refuse a compiled program that needs more stack than the target has.

    Raises LlgenError (does not fit) with the bytes, the limit, and a limit that would suffice.
    """
    firmware = target.firmware
    if firmware is None or program is None or program.stack is None:
        return
    need = program.stack + LIBRARY_BYTES
    if need > firmware.stack_bytes:
        raise LlgenError(
            f"the compiled program needs {need:,} bytes of stack; '{target.name}' has {firmware.stack_bytes:,}",
            f"stack_bytes = {round_up(need, 256)} under [firmware] of the target's file",
            ExitCode.DOES_NOT_FIT,
            {"region": "stack", "needed": need, "available": firmware.stack_bytes},
        )
