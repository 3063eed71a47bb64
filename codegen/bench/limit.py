"""The limit (templates/tools/limit.c): the speed that no program on this machine can exceed.

Decoding a position needs every weight once, and no program can read weights faster than memory delivers them. A prompt
needs the weights once for all its positions; in float32, its multiplications and additions then decide the time. Both
times are lower bounds (the memory roof and the compute roof of Williams, Waterman and Patterson, 2009, "Roofline").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..quantise.quantize import QuantModel
from .engine import Engine, Work
from .native import compile_tool
from .subject import Subject


def bytes_a_token(model: QuantModel) -> int:
    """Bytes of weights and scales that a token needs: all matrices, except an embedding that is only looked up."""
    looked_up = model.graph.only_looked_up
    return sum(matrix.stored_bits for name, matrix in model.matrices.items() if name not in looked_up) // 8


def limit_engines(
    subject: Subject, bytes_read: Mapping[str, int], works: Sequence[Work], threads: Sequence[int], march: str | None
) -> list[Engine]:
    """Engines that read the weights of a token, in each scheme of `bytes_read`; and engines that compute the float32
    products of a prompt.

    A product is rounded before it is added, as everywhere in llgen. Where a processor can fuse multiplication and
    addition, the limit of programs that use it is twice as high. Raises LlgenError as `compile_tool` does.
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
