"""What a model of some shape would take on a target, before there is such a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llgen.targets.schema import Target

from .checkpoint import Checkpoint
from .config import ModelConfig
from .errors import LlgenError
from .fit import CODE_BYTES, require_fit
from .kernels import select
from .plan import plan
from .quantize import quantize
from .spec import lower
from .tokenizer_tables import tabulate
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Estimate:
    """Bytes of flash, RAM and room for code; `complaint` says why it does not fit, when it does not."""

    flash_bytes: int
    ram_bytes: int
    complaint: LlgenError | None


def estimate(config: ModelConfig, target: Target, scheme: str, vocabulary: Vocabulary | None) -> Estimate:
    """Plan a model of zeros. Without a vocabulary the flash is stated without the tokenizer's tables."""
    zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    model = quantize(lower(Checkpoint("model", config, zeros, vocabulary)), scheme)
    kernels = select(target.isa)
    memory = plan(model, kernels, 0 if vocabulary is None else tabulate(vocabulary).size)
    complaint = None
    try:
        require_fit(model, kernels, memory, target)
    except LlgenError as error:
        complaint = error
    return Estimate(memory.rodata_bytes + CODE_BYTES, memory.ram_bytes, complaint)
