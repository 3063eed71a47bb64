"""The limit (templates/tools/limit.c): how fast the machine at hand could be, whatever the program.

A position that is decoded needs every weight once, and no program can read them sooner than memory gives them. A prompt
needs them once for all its positions: there, as far as it is computed in floats, products and sums take their time.
Both times are floors (the memory and the compute roof of Williams, Waterman and Patterson, 2009, "Roofline").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..quantize import QuantModel, only_looked_up
from .engine import Engine, Work
from .native import compile_tool
from .subject import Subject


def bytes_a_token(model: QuantModel) -> int:
    """Of weights, scales among them, that a token needs: of all matrices but an embedding that is only looked up."""
    matrices = model.matrices()
    return sum(matrices[name].stored_bits for name in matrices.keys() - only_looked_up(matrices)) // 8


def limit_engines(
    subject: Subject, bytes_read: Mapping[str, int], works: Sequence[Work], threads: Sequence[int], march: str | None
) -> list[Engine]:
    """Reading a token's weights in each scheme, so many bytes; and float32's products and sums of a prompt.

    A product is rounded before it is added, as everywhere in llgen: where sums and products could be fused, programs
    that do so have twice this limit. Raises LlgenError as `compile_tool` does.
    """
    tool = compile_tool("limit", fast_math=False, march=march)
    found = []
    for work in works:
        for count in threads:
            for scheme, size in bytes_read.items():
                if work.kind == "decode":
                    words = ["read", str(size)]
                elif scheme == "f32":
                    words = ["multiply", str(subject.prompt_products(work.positions) // work.positions)]
                else:
                    continue
                command = [str(tool.program), *words, str(work.positions), str(count)]
                found.append(_engine(command, scheme, count, work, "memory" if work.kind == "decode" else tool.isa))
    return found


def _engine(command: list[str], scheme: str, threads: int, work: Work, isa: str) -> Engine:
    return Engine("limit", scheme, threads, work, lambda repeats: [*command, str(repeats)], isa=isa)
