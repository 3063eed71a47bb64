"""Logits computed by PyTorch, with which the NumPy reference is compared: an independent implementation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from llgen.codegen.model.checkpoint import Checkpoint

from .model import Llama


def torch_logits(checkpoint: Checkpoint, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    """Logits of every position of one sequence, [len(tokens), vocab_size], in float32."""
    model = Llama.from_checkpoint(checkpoint).eval()
    with torch.no_grad():
        logits = model(torch.tensor([list(tokens)], dtype=torch.long))
    result: npt.NDArray[np.float32] = logits[0].float().numpy()
    return result
