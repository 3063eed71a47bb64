"""What a model takes on a target: one that is there, or one of some shape before there is such a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llgen.targets.schema import Target

from .blocking import has_threads, positions_of_block
from .config import ModelConfig
from .errors import LlgenError
from .fit import CODE_BYTES, require_fit
from .kernels import select
from .matrix import GROUP, FloatMatrix, IntMatrix, Matrix
from .plan import plan
from .quantize import QuantModel, bits_of, layers_of, matrix_shapes, usual_cache
from .rotation import gain_block
from .tokenizer_tables import tabulate
from .vocabulary import Vocabulary


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
    return Estimate(memory.rodata_bytes + CODE_BYTES, memory.ram_bytes, complaint)


def blank_model(config: ModelConfig, scheme: str, vocabulary: Vocabulary | None) -> QuantModel:
    """A model that has shapes and no numbers: its arrays take no memory, however large it is."""
    matrices = {name: _blank(shape, bits_of(scheme, name)) for name, shape in matrix_shapes(config).items()}
    nothing = np.broadcast_to(np.float32(0.0), (config.max_seq_len, config.head_dim // 2))
    return QuantModel(
        name="model",
        sha256="",
        scheme=scheme,
        kv=usual_cache(scheme),
        config=config,
        context=config.max_seq_len,
        embedding=matrices["embedding"],
        layers=layers_of(matrices, config),
        final_gain=np.broadcast_to(np.float32(0.0), config.dim) if config.tied else None,
        gain_block=gain_block(config, scheme),
        classifier=matrices.get("classifier"),
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
