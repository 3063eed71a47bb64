"""What a model takes on a target: one that is there, or one of some shape before there is such a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llgen.errors import LlgenError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import Target

from ..contract.matrix import GROUP, FloatMatrix, IntMatrix, Matrix
from ..model.config import ModelConfig
from ..model.vocabulary import Vocabulary
from ..plan.blocking import has_threads, positions_of_block
from ..plan.fit import CODE_BYTES, require_fit
from ..plan.memory import plan
from ..plan.program import module_bytes
from ..quantise.quantize import QuantModel, matrix_shapes, usual_bits, usual_cache
from ..quantise.rotation import gain_block
from .tabulate import tabulate


@dataclass(frozen=True)
class Estimate:
    """Bytes of flash, RAM and room for code; `complaint` says why it does not fit, when it does not."""

    flash_bytes: int
    ram_bytes: int
    complaint: LlgenError | None


def estimate(model: QuantModel, target: Target) -> Estimate:
    """Plan a model. Without a vocabulary the flash is stated without the tokenizer's tables."""
    kernels = select(target.isa)
    tokenizer_bytes = 0 if model.vocabulary is None else tabulate(model.vocabulary).size
    positions = positions_of_block(model, kernels, target)
    memory = plan(model, kernels, tokenizer_bytes, positions, threads=has_threads(target, positions))
    complaint = None
    try:
        require_fit(model, kernels, memory, target)
    except LlgenError as error:
        complaint = error
    ram = memory.ram_bytes
    if target.is_module:
        ram = module_bytes(target, ram, memory.rodata_bytes, model.context, model.vocabulary is not None)
    return Estimate(memory.rodata_bytes + CODE_BYTES, ram, complaint)


def blank_model(config: ModelConfig, scheme: str, vocabulary: Vocabulary | None) -> QuantModel:
    """A model that has shapes and no numbers: its arrays take no memory, however large it is."""
    bits = usual_bits(config, scheme)
    nothing = np.broadcast_to(np.float32(0.0), (config.max_seq_len, config.head_dim // 2))
    return QuantModel(
        name="model",
        sha256="",
        scheme=scheme,
        kv=usual_cache(scheme),
        config=config,
        context=config.max_seq_len,
        matrices={name: _blank(shape, bits[name]) for name, shape in matrix_shapes(config).items()},
        final_gain=np.broadcast_to(np.float32(0.0), config.dim) if config.tied else None,
        gain_block=gain_block(config, scheme),
        rope_cos=nothing,
        rope_sin=nothing,
        error={},
        vocabulary=vocabulary,
    )


def _blank(shape: tuple[int, int], bits: int) -> Matrix:
    rows, columns = shape
    if bits == 32:
        return FloatMatrix(np.broadcast_to(np.float32(0.0), shape))
    return IntMatrix(
        bits,
        np.broadcast_to(np.int8(0), shape),
        np.broadcast_to(np.float32(0.0), rows),
        np.broadcast_to(np.uint8(0), (rows, -(-columns // GROUP))) if bits < 8 else None,
    )
